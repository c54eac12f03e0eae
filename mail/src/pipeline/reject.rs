//! `reject [CODE [ENH [TEXT]]]`: refuse the recipient with this reply.

use super::{Fault, Place, Refusal};
use crate::outcome::Cause;
use crate::status::Enhanced;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reject {
    pub code: u16,
    pub enhanced: Enhanced,
    pub text: String,
}

/// The enhanced code was of another class than the code, and was given that of the code (RFC 2034 §4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RejectWarning {
    pub given: Enhanced,
    pub used: Enhanced,
}

impl std::fmt::Display for RejectWarning {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "reject: enhanced code {} is of another class, using {}", self.given, self.used)
    }
}

const TEXT: &str = "message refused by local policy";
/// RFC 5321 §4.5.3.1.5: a reply line has 512 octets, of which codes and line end take some twenty.
const LONGEST_TEXT: usize = 480;

impl Default for Reject {
    fn default() -> Reject {
        Reject { code: 554, enhanced: Enhanced(5, 7, 0), text: TEXT.to_string() }
    }
}

impl Reject {
    /// Reads the arguments of the directive.
    pub fn parse(arguments: &[&str]) -> Result<(Reject, Option<RejectWarning>), Fault> {
        let mut reject = Reject::default();
        let mut warning = None;
        let (code, enhanced, text) = match *arguments {
            [] => return Ok((reject, None)),
            [code] => (code, None, None),
            [code, enhanced] => (code, Some(enhanced), None),
            [code, enhanced, text] => (code, Some(enhanced), Some(text)),
            _ => return Err(Fault::BadReject("expected at most code, enhanced code and text")),
        };
        reject.code = reply_code(code).ok_or(Fault::BadReject("code must be 400 to 599"))?;
        // The class follows the code, given or not.
        let class = if reject.code >= 500 { 5 } else { 4 };
        reject.enhanced.0 = class;
        if let Some(enhanced) = enhanced {
            let given = Enhanced::parse(enhanced)
                .filter(|enhanced| enhanced.0 >= 4)
                .ok_or(Fault::BadReject("enhanced code must be 4.x.x or 5.x.x"))?;
            let used = Enhanced(class, given.1, given.2);
            warning = (given != used).then_some(RejectWarning { given, used });
            reject.enhanced = used;
        }
        if let Some(text) = text {
            if text.trim().is_empty() {
                return Err(Fault::BadReject("text must not be empty"));
            }
            if text.chars().any(char::is_control) {
                return Err(Fault::BadReject("text must not have control characters"));
            }
            if text.len() > LONGEST_TEXT {
                return Err(Fault::BadReject("text is longer than 480 octets"));
            }
            reject.text = text.to_string();
        }
        Ok((reject, warning))
    }

    pub(super) fn refusal(&self, place: &Place) -> Refusal {
        Refusal::of(Cause::RejectedByRule, self.code, self.enhanced, self.text.clone()).at(place)
    }
}

fn reply_code(text: &str) -> Option<u16> {
    let three_digits = text.len() == 3 && text.bytes().all(|b| b.is_ascii_digit());
    let code = if three_digits { text.parse().ok()? } else { 0 };
    (400..600).contains(&code).then_some(code)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_of_every_number() {
        for (arguments, code, enhanced, text) in [
            (&[][..], 554, Enhanced(5, 7, 0), TEXT),
            (&["550"], 550, Enhanced(5, 7, 0), TEXT),
            (&["450"], 450, Enhanced(4, 7, 0), TEXT), // the class follows the code
            (&["550", "5.1.1"], 550, Enhanced(5, 1, 1), TEXT),
            (&["550", "5.1.1", "no such user"], 550, Enhanced(5, 1, 1), "no such user"),
        ] {
            let (reject, warning) = Reject::parse(arguments).unwrap();
            assert_eq!(
                (reject.code, reject.enhanced, reject.text.as_str(), warning),
                (code, enhanced, text, None),
                "{arguments:?}"
            );
        }
    }

    #[test]
    fn a_class_that_disagrees_is_told_and_corrected() {
        let (reject, warning) = Reject::parse(&["450", "5.1.1"]).unwrap();
        assert_eq!(reject.enhanced, Enhanced(4, 1, 1));
        assert_eq!(
            warning.unwrap().to_string(),
            "reject: enhanced code 5.1.1 is of another class, using 4.1.1"
        );
    }

    #[test]
    fn arguments_that_make_no_reply() {
        let long = "x".repeat(481);
        for bad in [
            &["250"][..],
            &["600"],
            &["399"],
            &["5500"],
            &["+55"],
            &["abc"],
            &[""],
            &["550", "2.1.1"],
            &["550", "5.1"],
            &["550", "5.1.a"],
            &["550", "no"],
            &["550", "5.1.1", ""],
            &["550", "5.1.1", " "],
            &["550", "5.1.1", "a\r\nb"],
            &["550", "5.1.1", &long],
            &["550", "5.1.1", "no", "more"],
        ] {
            assert!(matches!(Reject::parse(bad), Err(Fault::BadReject(_))), "{bad:?}");
        }
    }
}
