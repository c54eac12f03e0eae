//! `replace_sender` and `replace_rcpt`: other addresses by table.
//!
//! The key is the full address in comparison form; if the table has no such key, its local part, whose replacement keeps the domain
//! unless it brings one. A result is not looked up again. A replacement that is no address is an error of ours, answered as such.

use std::sync::Arc;

use super::{Place, Refusal};
use crate::address::{Host, Mailbox, ReversePath};
use crate::table::{MAX_VALUES, Table};

/// One line of a `modify` block.
#[derive(Clone, Debug)]
pub enum Modifier {
    /// `replace_sender TABLE`: the first value counts.
    ReplaceSender(Arc<dyn Table>),
    /// `replace_rcpt TABLE`: every value becomes a recipient.
    ReplaceRecipient(Arc<dyn Table>),
}

/// A modifier, and where it stands.
#[derive(Clone, Debug)]
pub(super) struct PlacedModifier {
    pub modifier: Modifier,
    pub place: Place,
}

/// Applies the sender modifiers of one level in their order.
pub(super) fn modify_sender(
    modifiers: &[PlacedModifier],
    sender: ReversePath,
) -> Result<ReversePath, Refusal> {
    let mut sender = sender;
    for PlacedModifier { modifier, place } in modifiers {
        let Modifier::ReplaceSender(table) = modifier else { continue };
        // The null sender stays null: with an address, a notification could itself be bounced (RFC 5321 §4.5.5). And nothing
        // becomes null here: an empty replacement is no address.
        let ReversePath::Mailbox(mailbox) = &sender else { break };
        if let Some(first) = replacements(table, place, mailbox)?.into_iter().next() {
            sender = ReversePath::Mailbox(first);
        }
    }
    Ok(sender)
}

/// Applies the recipient modifiers of one level in their order, each to all results of the one before.
pub(super) fn modify_recipient(
    modifiers: &[PlacedModifier],
    recipient: &Mailbox,
) -> Result<Vec<Mailbox>, Refusal> {
    let mut recipients = vec![recipient.clone()];
    for PlacedModifier { modifier, place } in modifiers {
        let Modifier::ReplaceRecipient(table) = modifier else { continue };
        let mut results = Vec::new();
        for recipient in recipients {
            match replacements(table, place, &recipient)? {
                found if found.is_empty() => results.push(recipient),
                found => results.extend(found),
            }
            if results.len() > MAX_VALUES {
                return Err(too_many().at(place));
            }
        }
        recipients = results;
    }
    Ok(recipients)
}

pub(super) fn too_many() -> Refusal {
    Refusal::internal("too many recipients come of this one, try again later")
}

/// What a table has for an address; nothing when it has neither the address nor its local part.
fn replacements(
    table: &Arc<dyn Table>,
    place: &Place,
    mailbox: &Mailbox,
) -> Result<Vec<Mailbox>, Refusal> {
    let lookup = |key: &str| table.lookup(key).map_err(|error| Refusal::lookup(place, &error));
    let parse = |text: &str| {
        Mailbox::parse(text).map_err(|error| Refusal::bad_replacement(place, text, error))
    };
    let qualified = !matches!(mailbox.host(), Host::Unqualified);
    if qualified {
        let values = lookup(&mailbox.normalized())?;
        if !values.is_empty() {
            return values.iter().map(|value| parse(value)).collect();
        }
    }
    let values = lookup(&mailbox.local().to_lowercase())?;
    let complete = |value: &String| match domain_text(mailbox) {
        Some(domain) if is_local_part(value) => parse(&format!("{value}@{domain}")),
        _ => parse(value),
    };
    values.iter().map(complete).collect()
}

/// Whether a replacement lacks a domain: no `@`, or only inside one quoted string.
fn is_local_part(value: &str) -> bool {
    !value.contains('@') || (value.len() > 1 && value.starts_with('"') && value.ends_with('"'))
}

/// What stands behind the `@`, as it was received.
fn domain_text(mailbox: &Mailbox) -> Option<&str> {
    mailbox.as_str().get(mailbox.local().len()..)?.strip_prefix('@')
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::table::broken::Broken;
    use crate::table::{Regexp, RegexpOptions, parse_file_table};

    fn table(text: &str) -> Arc<dyn Table> {
        Arc::new(parse_file_table(text).entries)
    }

    fn at(line: usize, modifier: Modifier) -> PlacedModifier {
        PlacedModifier { modifier, place: Place::new(&format!("test.conf:{line}")) }
    }

    fn rewritten(tables: &[&str], recipient: &str) -> String {
        let modifiers: Vec<_> = tables
            .iter()
            .enumerate()
            .map(|(line, text)| at(line + 1, Modifier::ReplaceRecipient(table(text))))
            .collect();
        match modify_recipient(&modifiers, &Mailbox::parse(recipient).unwrap()) {
            Ok(found) => found.iter().map(Mailbox::as_str).collect::<Vec<_>>().join(" "),
            Err(refusal) => format!("{refusal} at {}", refusal.rule.as_ref().unwrap()),
        }
    }

    #[test]
    fn the_address_first_then_the_local_part() {
        for (text, recipient, expected) in [
            ("ann@x.org: bob@y.org", "Ann@X.org.", "bob@y.org"),
            ("ann@x.org: bob@y.org\nann: eve", "ann@x.org", "bob@y.org"), // the full address wins
            ("ann: bob", "Ann@X.org", "bob@X.org"), // the domain stays as received
            ("ann: bob@y.org", "ann@x.org", "bob@y.org"),
            ("ann: \"b@c\"", "ann@x.org", "\"b@c\"@x.org"), // the @ is quoted
            ("ann: \"b@c\"@y.org", "ann@x.org", "\"b@c\"@y.org"),
            ("ann: bob, eve@y.org", "ann@x.org", "bob@x.org eve@y.org"),
            ("ann@münchen.example: bob@y.org", "ann@XN--MNCHEN-3YA.example", "bob@y.org"),
            ("\"ann\"@x.org: bob@y.org", "ann@x.org", "ann@x.org"), // quoting counts
            ("x.org: bob@y.org", "ann@x.org", "ann@x.org"),         // a domain is no key
            ("postmaster: ann@x.org", "Postmaster", "ann@x.org"),
            ("postmaster: postmaster", "postmaster", "postmaster"),
            ("ann: bob", "ann@[192.0.2.1]", "bob@[192.0.2.1]"),
            ("eve: bob", "Ann@X.org", "Ann@X.org"), // untouched, as received
        ] {
            assert_eq!(rewritten(&[text], recipient), expected, "{text} {recipient}");
        }
    }

    #[test]
    fn modifiers_follow_each_other_but_never_themselves() {
        assert_eq!(rewritten(&["a@x: b@x\nb@x: c@x"], "a@x"), "b@x");
        assert_eq!(rewritten(&["a@x: b@x", "b@x: c@x"], "a@x"), "c@x");
        assert_eq!(rewritten(&["a@x: b@x, c@x", "b@x: d@x, e@x"], "a@x"), "d@x e@x c@x");
        assert_eq!(rewritten(&["a@x: b@x", "a@x: c@x"], "a@x"), "b@x");
        assert_eq!(rewritten(&["a@x: a@x"], "a@x"), "a@x");
    }

    #[test]
    fn a_replacement_that_is_no_address_is_our_fault() {
        let ours = "451 4.3.0 local address rewriting failed, try again later at test.conf:1";
        for text in ["ann@x.org: bob", "ann: bob@", "ann:", "ann@x.org:", "ann: a b", "ann: b, @"] {
            assert_eq!(rewritten(&[text], "ann@x.org"), ours, "{text}");
        }
        assert_eq!(rewritten(&["postmaster: ann"], "postmaster"), ours); // no domain to keep
    }

    #[test]
    fn a_table_that_fails_is_answered_with_try_again() {
        let modifiers = [at(7, Modifier::ReplaceRecipient(Arc::new(Broken)))];
        let refusal = modify_recipient(&modifiers, &Mailbox::parse("a@x").unwrap()).unwrap_err();
        assert_eq!((refusal.code, refusal.enhanced.to_string().as_str()), (451, "4.3.0"));
        assert_eq!(refusal.rule.unwrap().as_str(), "test.conf:7");
        assert_eq!(refusal.detail.unwrap(), "reading aliases: permission denied");
        assert!(!refusal.text.contains("permission")); // nothing of it for the client
    }

    #[test]
    fn results_are_bounded() {
        let twice = "a@x: a@x, a@x";
        assert_eq!(
            rewritten(&[twice; 64], "a@x"),
            "451 4.3.0 too many recipients come of this one, try again later at test.conf:14"
        );
    }

    #[test]
    fn senders_take_the_first_value_and_null_stays_null() {
        let everything = Regexp::new(".*", vec!["bob@y.org".into()], RegexpOptions::default());
        let modifiers = [
            at(1, Modifier::ReplaceRecipient(Arc::new(Broken))), // not asked for senders
            at(2, Modifier::ReplaceSender(Arc::new(everything.unwrap()))),
            at(3, Modifier::ReplaceSender(table("bob: eve, mallory\n\"\": x"))),
        ];
        let sender = |text: &str| {
            let path = ReversePath::try_from(text.to_string()).unwrap();
            modify_sender(&modifiers, path).unwrap().to_string()
        };
        assert_eq!(sender("ann@x.org"), "<eve@y.org>");
        assert_eq!(sender(""), "<>");
        let empty = [at(1, Modifier::ReplaceSender(table("ann:")))];
        let ann = ReversePath::Mailbox(Mailbox::parse("ann@x.org").unwrap());
        assert_eq!(modify_sender(&empty, ann).unwrap_err().code, 451); // never to null
    }
}
