//! Whether we may say who we are, over a session that stands.
//!
//! A password goes where nobody else can read it, to whom it is meant for: over proven TLS, or to a neighbour on this machine. A session in
//! the clear that stands in for a broken encrypted one is neither, wherever it leads: somebody may have broken it for the purpose.

use std::net::IpAddr;

use crate::outcome::{Cause, Failure};
use crate::policy::proof::Channel;
use crate::wire::client::auth::Login;

/// How far it is to the peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Distance {
    /// A Unix socket, or loopback: nobody is in between.
    Here,
    Elsewhere,
}

impl Distance {
    pub fn to(address: IpAddr) -> Distance {
        // ::ffff:127.0.0.1 is loopback too.
        match address.to_canonical().is_loopback() {
            true => Distance::Here,
            false => Distance::Elsewhere,
        }
    }
}

/// May this be said over such a session?
pub fn may_be_said(login: &Login, channel: &Channel, distance: Distance) -> Result<(), Failure> {
    let refused = |why: &str| {
        let text = format!("credentials are not sent: {why}");
        Err(Failure::new(Cause::CredentialsUnsafe, text))
    };
    match (channel, distance, login) {
        (Channel::ClearAfterFailure, _, _) => refused("TLS has failed with this server"),
        // It is the certificate that says who we are.
        (Channel::Clear, _, Login::External) => refused("EXTERNAL needs TLS, and there is none"),
        (Channel::Clear, Distance::Here, Login::Plain(_) | Login::Login(_)) => Ok(()),
        (Channel::Clear, Distance::Elsewhere, _) => refused("the session is not encrypted"),
        (Channel::Encrypted(_), Distance::Here, _) => Ok(()),
        (Channel::Encrypted(certificate), Distance::Elsewhere, _) => match &certificate.pkix {
            Ok(()) => Ok(()),
            Err(why) => refused(&format!("the server's certificate is not proven: {why}")),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::requirement::Certificate;
    use crate::status::Enhanced;
    use crate::wire::client::auth::Account;

    fn encrypted(pkix: Result<(), &str>) -> Channel {
        let pkix = pkix.map_err(str::to_string);
        Channel::Encrypted(Certificate { pkix, dane: None, sound: true })
    }

    #[test]
    fn over_proven_tls_or_to_a_neighbour() {
        use Distance::{Elsewhere, Here};
        let account = Account::new("user", "secret").unwrap();
        let (plain, login) = (Login::Plain(account.clone()), Login::Login(account));
        for (channel, distance, password, external) in [
            (encrypted(Ok(())), Elsewhere, true, true),
            (encrypted(Err("self-signed")), Elsewhere, false, false),
            (Channel::Clear, Elsewhere, false, false),
            (Channel::ClearAfterFailure, Elsewhere, false, false),
            (encrypted(Ok(())), Here, true, true),
            (encrypted(Err("self-signed")), Here, true, true), // nobody can stand in between
            (Channel::Clear, Here, true, false),
            (Channel::ClearAfterFailure, Here, false, false),
        ] {
            for (how, may) in [(&plain, password), (&login, password), (&Login::External, external)]
            {
                let end = may_be_said(how, &channel, distance);
                assert_eq!(end.is_ok(), may, "{how:?} over {channel:?}, {distance:?}");
                if let Err(failure) = end {
                    assert_eq!((failure.code, failure.status), (451, Enhanced(4, 7, 11)));
                    assert!(!failure.text.contains("secret"));
                }
            }
        }
    }

    #[test]
    fn loopback_in_every_form_is_here() {
        let to = |address: &str| Distance::to(address.parse().unwrap());
        for address in ["127.0.0.1", "127.9.9.9", "::1", "::ffff:127.0.0.1"] {
            assert_eq!(to(address), Distance::Here, "{address}");
        }
        for address in ["192.0.2.1", "10.0.0.1", "0.0.0.0", "fe80::1", "2001:db8::1"] {
            assert_eq!(to(address), Distance::Elsewhere, "{address}");
        }
    }
}
