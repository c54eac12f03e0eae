//! AUTH (RFC 4954) with PLAIN (RFC 4616) and LOGIN: from the lines of the client to credentials. Whether they are right is not decided
//! here.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::status::Enhanced;
use crate::wire::password::Password;

use super::reply::Answer;

/// The SASL mechanisms we know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mechanism {
    /// RFC 4616.
    Plain,
    /// Never standardised, but the only one some clients know: two prompts, user name and password.
    Login,
}

impl Mechanism {
    pub fn name(self) -> &'static str {
        match self {
            Mechanism::Plain => "PLAIN",
            Mechanism::Login => "LOGIN",
        }
    }
}

/// Who the client says it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Credentials {
    pub mechanism: Mechanism,
    pub username: String,
    pub password: Password,
    /// RFC 4616 §2: the identity to act as, when it is not the one that authenticates.
    pub authorize_as: Option<String>,
}

/// Where an exchange stands.
#[derive(Debug)]
pub(super) enum Exchange {
    PlainMessage,
    LoginName,
    LoginPassword { username: String },
}

/// What follows from a line of the client.
#[derive(Debug)]
pub(super) enum Turn {
    /// Send 334 with this challenge (base64) and read a line.
    Challenge(&'static str, Exchange),
    Complete(Credentials),
    Refuse(Answer),
}

const ASK_NAME: &str = "VXNlcm5hbWU6"; // "Username:"
const ASK_PASSWORD: &str = "UGFzc3dvcmQ6"; // "Password:"

/// The AUTH command, with its initial response where there is one.
pub(super) fn begin(mechanism: Mechanism, initial: Option<&str>) -> Turn {
    let (challenge, exchange) = match mechanism {
        // RFC 4954 §4: an empty challenge is `334 ` with nothing behind the space.
        Mechanism::Plain => ("", Exchange::PlainMessage),
        Mechanism::Login => (ASK_NAME, Exchange::LoginName),
    };
    match initial {
        None => Turn::Challenge(challenge, exchange),
        // RFC 4954 §4: `=` is an empty initial response.
        Some("=") => respond(exchange, ""),
        Some(response) => respond(exchange, response),
    }
}

/// A line of the client during the exchange.
pub(super) fn proceed(exchange: Exchange, line: &[u8]) -> Turn {
    // RFC 4954 §4: a lone `*` cancels, and the reply is 501.
    if line == b"*" {
        return Turn::Refuse(Answer::new(501, Enhanced(5, 7, 0), "Authentication cancelled"));
    }
    match std::str::from_utf8(line) {
        Ok(line) => respond(exchange, line),
        Err(_) => malformed(),
    }
}

fn respond(exchange: Exchange, coded: &str) -> Turn {
    let Some(response) = STANDARD.decode(coded).ok().and_then(|r| String::from_utf8(r).ok()) else {
        return malformed();
    };
    match exchange {
        Exchange::PlainMessage => plain(&response),
        Exchange::LoginName if response.is_empty() || response.contains('\0') => malformed(),
        Exchange::LoginName => {
            Turn::Challenge(ASK_PASSWORD, Exchange::LoginPassword { username: response })
        }
        Exchange::LoginPassword { .. } if response.contains('\0') => malformed(),
        Exchange::LoginPassword { username } => Turn::Complete(Credentials {
            mechanism: Mechanism::Login,
            username,
            password: Password::new(response),
            authorize_as: None,
        }),
    }
}

/// RFC 4616 §2: `[authzid] NUL authcid NUL passwd`, the last two not empty.
fn plain(message: &str) -> Turn {
    let parts: Vec<&str> = message.split('\0').collect();
    match parts.as_slice() {
        [authorize_as, username, password] if !username.is_empty() && !password.is_empty() => {
            Turn::Complete(Credentials {
                mechanism: Mechanism::Plain,
                username: (*username).to_string(),
                password: Password::new(*password),
                authorize_as: Some(*authorize_as).filter(|id| !id.is_empty()).map(String::from),
            })
        }
        _ => malformed(),
    }
}

/// RFC 4954 §4: 501 when the response cannot be decoded.
fn malformed() -> Turn {
    Turn::Refuse(Answer::new(501, Enhanced(5, 5, 2), "Malformed authentication response"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dice::Dice;

    fn complete(turn: Turn) -> Credentials {
        match turn {
            Turn::Complete(credentials) => credentials,
            other => panic!("{other:?}"),
        }
    }

    fn code(turn: &Turn) -> u16 {
        match turn {
            Turn::Refuse(answer) => answer.code(),
            Turn::Challenge(..) => 334,
            Turn::Complete(_) => 235,
        }
    }

    fn coded(text: &str) -> String {
        STANDARD.encode(text)
    }

    #[test]
    fn plain_in_one_line_or_two() {
        let message = coded("\0ann\0secret");
        let at_once = complete(begin(Mechanism::Plain, Some(&message)));
        assert_eq!((at_once.username.as_str(), at_once.password.expose()), ("ann", "secret"));
        assert_eq!(at_once.authorize_as, None);
        assert!(matches!(
            begin(Mechanism::Plain, None),
            Turn::Challenge("", Exchange::PlainMessage)
        ));
        let message = coded("boss\0änn\0sécret");
        let later = complete(proceed(Exchange::PlainMessage, message.as_bytes()));
        assert_eq!(later.authorize_as.as_deref(), Some("boss"));
        assert_eq!(later.username, "änn");
    }

    #[test]
    fn login_asks_twice() {
        let Turn::Challenge(ASK_NAME, exchange) = begin(Mechanism::Login, None) else { panic!() };
        let Turn::Challenge(ASK_PASSWORD, exchange) = proceed(exchange, coded("ann").as_bytes())
        else {
            panic!()
        };
        let credentials = complete(proceed(exchange, coded("secret").as_bytes()));
        assert_eq!(
            (credentials.username.as_str(), credentials.password.expose()),
            ("ann", "secret")
        );
        let initial = coded("ann");
        assert_eq!(code(&begin(Mechanism::Login, Some(&initial))), 334); // straight to the password
    }

    #[test]
    fn what_is_no_response() {
        for bad in ["=", "!", "YQ", "YQ==", "/w==", &coded("ann\0secret"), &coded("a\0b\0c\0d")] {
            assert_eq!(code(&begin(Mechanism::Plain, Some(bad))), 501, "{bad}");
        }
        for bad in ["\0\0secret", "\0ann\0", "\0\0"] {
            assert_eq!(code(&begin(Mechanism::Plain, Some(&coded(bad)))), 501, "{bad:?}");
        }
        assert_eq!(code(&begin(Mechanism::Login, Some("="))), 501);
        assert_eq!(code(&proceed(Exchange::LoginName, b"*")), 501);
        assert_eq!(code(&proceed(Exchange::PlainMessage, b"\xff")), 501);
    }

    #[test]
    fn passwords_are_not_printed() {
        let message = coded("\0ann\0secret");
        let shown = format!("{:?}", begin(Mechanism::Plain, Some(&message)));
        assert!(shown.contains("ann") && !shown.contains("secret"), "{shown}");
    }

    #[test]
    fn parsers_take_any_bytes() {
        let mut dice = Dice::new(91);
        for _ in 0..20_000 {
            let line: Vec<u8> =
                (0..dice.below(12)).map(|_| b"AGE=*/+\0\xffYQ"[dice.below(11)]).collect();
            let _ = proceed(Exchange::PlainMessage, &line);
            let _ = proceed(Exchange::LoginName, &line);
        }
    }
}
