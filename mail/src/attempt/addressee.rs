//! Whom a server is asked about: each address once, whoever of the envelope's recipients has it.

use crate::envelope::{Notify, Recipient};

/// Recipients with the same address. They are named to the server once, and have one outcome.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Addressee {
    /// At least one, in the order of the envelope.
    pub indices: Vec<u32>,
    pub recipient: Recipient,
}

impl Addressee {
    pub fn new(index: u32, recipient: Recipient) -> Addressee {
        Addressee { indices: vec![index], recipient }
    }

    /// What it is called by.
    pub fn index(&self) -> u32 {
        self.indices.first().copied().unwrap_or(u32::MAX)
    }
}

/// Brings together what has the same address. RFC 3461 §4.1: whoever wants a report of one gets it; ORCPT is the first one's.
pub fn addressees(recipients: &[(u32, Recipient)]) -> Vec<Addressee> {
    let mut found: Vec<Addressee> = Vec::new();
    let mut places = std::collections::HashMap::new();
    for (index, recipient) in recipients {
        let address = &recipient.address;
        match places.get(&(address.local(), address.host())) {
            None => {
                places.insert((address.local(), address.host()), found.len());
                found.push(Addressee::new(*index, recipient.clone()));
            }
            Some(place) => {
                if let Some(twin) = found.get_mut(*place) {
                    twin.indices.push(*index);
                    twin.recipient.notify = united(twin.recipient.notify, recipient.notify);
                }
            }
        }
    }
    found
}

fn united(one: Option<Notify>, other: Option<Notify>) -> Option<Notify> {
    match (one, other) {
        (Some(Notify::Never), other) => other,
        (one, Some(Notify::Never)) => one,
        // Without NOTIFY failures are reported, and delays if the server likes.
        (None, None) => None,
        (Some(Notify::On { success, .. }), None) | (None, Some(Notify::On { success, .. })) => {
            Some(Notify::On { success, failure: true, delay: true })
        }
        (
            Some(Notify::On { success, failure, delay }),
            Some(Notify::On { success: s, failure: f, delay: d }),
        ) => Some(Notify::On { success: success || s, failure: failure || f, delay: delay || d }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::address::Mailbox;

    #[test]
    fn each_address_once() {
        let on = |success, failure, delay| Some(Notify::On { success, failure, delay });
        let people = [
            ("ann@example.org", None),
            ("bob@example.org", on(true, false, false)),
            ("ann@EXAMPLE.org", Some(Notify::Never)),
            ("Ann@example.org", None), // the local part is the server's affair
            ("bob@example.org", on(false, true, false)),
        ];
        let recipients: Vec<(u32, Recipient)> = (3..)
            .zip(people)
            .map(|(index, (address, notify))| {
                let address = Mailbox::parse(address).unwrap();
                (index, Recipient { notify, ..Recipient::new(address) })
            })
            .collect();
        let found = addressees(&recipients);
        let indices: Vec<&[u32]> = found.iter().map(|a| &a.indices[..]).collect();
        assert_eq!(indices, [&[3, 5][..], &[4, 7], &[6]]);
        assert_eq!(found[0].recipient.notify, None);
        assert_eq!(found[1].recipient.notify, on(true, true, false));
    }
}
