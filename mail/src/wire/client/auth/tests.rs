use super::*;
use crate::dice::Dice;
use crate::outcome::Class;
use crate::status::Enhanced;
use crate::wire::reply::ReplyParser;

fn account() -> Account {
    Account::new("tim", "tanstaaftanstaaf").unwrap()
}

fn offered(names: &str) -> Vec<String> {
    names.split_whitespace().map(str::to_string).collect()
}

/// Plays the server's lines; what the client wrote, and how it ended. `None`: it waits for more.
fn play(login: &Login, names: &str, server: &[&str]) -> (String, Option<Result<(), Failure>>) {
    let mut exchange = match Exchange::new(login, &offered(names)) {
        Ok(exchange) => exchange,
        Err(failure) => return (String::new(), Some(Err(failure))),
    };
    let (mut said, mut lines) = (String::new(), server.iter());
    loop {
        match exchange.step() {
            AuthStep::Write(bytes) => {
                said += &String::from_utf8(bytes).unwrap().replace("\r\n", "|")
            }
            AuthStep::Done => return (said, Some(Ok(()))),
            AuthStep::Await => {
                let Some(line) = lines.next() else { return (said, None) };
                let text = format!("{line}\r\n");
                let reply = ReplyParser::default().feed(&mut text.as_bytes()).unwrap().unwrap();
                if let Err(failure) = exchange.reply(&reply) {
                    return (said, Some(Err(failure)));
                }
            }
        }
    }
}

fn failure(login: &Login, names: &str, server: &[&str]) -> Failure {
    play(login, names, server).1.unwrap().unwrap_err()
}

const TIM: &str = "AHRpbQB0YW5zdGFhZnRhbnN0YWFm";

#[test]
fn plain_is_one_command() {
    let plain = Login::Plain(account());
    let end = play(&plain, "LOGIN PLAIN", &["235 2.7.0 welcome"]);
    assert_eq!(end, (format!("AUTH PLAIN {TIM}|"), Some(Ok(())))); // RFC 4616 §4 has the same one
}

#[test]
fn login_answers_two_prompts_whatever_they_say() {
    let server = ["334 VXNlcm5hbWU6", "334 UGFzc3dvcmQ6", "235 ok"];
    let said = "AUTH LOGIN|dGlt|dGFuc3RhYWZ0YW5zdGFhZg==|";
    let login = Login::Login(account());
    assert_eq!(play(&login, "PLAIN LOGIN", &server), (said.to_string(), Some(Ok(()))));
    // PLAIN goes by LOGIN where there is nothing better.
    let plain = Login::Plain(account());
    assert_eq!(play(&plain, "LOGIN", &server), (said.to_string(), Some(Ok(()))));
    let odd = ["334", "334 cGFzcw==", "235 ok"];
    assert_eq!(play(&plain, "LOGIN", &odd), (said.to_string(), Some(Ok(()))));
}

#[test]
fn external_has_nothing_to_say() {
    let end = play(&Login::External, "PLAIN EXTERNAL", &["235 2.7.0 hello relay"]);
    assert_eq!(end, ("AUTH EXTERNAL =|".to_string(), Some(Ok(()))));
}

#[test]
fn long_credentials_wait_for_an_empty_challenge() {
    let password = "x".repeat(600);
    let plain = Login::Plain(Account::new("tim", &password).unwrap());
    let coded = STANDARD.encode(format!("\0tim\0{password}"));
    let (said, end) = play(&plain, "PLAIN", &["334 ", "235 ok"]);
    assert_eq!((said, end), (format!("AUTH PLAIN|{coded}|"), Some(Ok(()))));
    // RFC 4954 §4: up to 512 octets it is one command.
    let most = (1..600).map(|n| "x".repeat(n)).take_while(|password| {
        let login = Login::Plain(Account::new("t", password).unwrap());
        play(&login, "PLAIN", &[]).0.matches(' ').count() == 2
    });
    let longest =
        play(&Login::Plain(Account::new("t", &most.last().unwrap()).unwrap()), "PLAIN", &[]);
    // CRLF is one sign here, and base64 grows by four.
    assert!((509..=512).contains(&(longest.0.len() + 1)), "{}", longest.0.len());
}

#[test]
fn what_is_not_offered_is_not_tried() {
    let plain = Login::Plain(account());
    for (login, names, text) in [
        (&plain, "", "the server does not offer AUTH"),
        (&plain, "CRAM-MD5", "the server does not offer AUTH PLAIN or LOGIN, only CRAM-MD5"),
        (&Login::Login(account()), "PLAIN", "the server does not offer AUTH LOGIN, only PLAIN"),
        (
            &Login::External,
            "PLAIN LOGIN",
            "the server does not offer AUTH EXTERNAL, only PLAIN LOGIN",
        ),
    ] {
        let failure = failure(login, names, &[]);
        assert_eq!((failure.cause, failure.text.as_str()), (Cause::AuthMissing, text));
        assert_eq!((failure.code, failure.status), (451, Enhanced(4, 7, 0)));
    }
}

#[test]
fn no_refusal_sends_mail_back() {
    let plain = Login::Plain(account());
    for (reply, cause, code, status) in [
        ("535 5.7.8 wrong", Cause::CredentialsRefused, 451, Enhanced(4, 7, 8)),
        ("535 wrong", Cause::CredentialsRefused, 451, Enhanced(4, 7, 8)),
        ("534 5.7.9 too weak", Cause::CredentialsRefused, 451, Enhanced(4, 7, 8)),
        ("538 5.7.11 encrypt", Cause::CredentialsRefused, 451, Enhanced(4, 7, 8)),
        ("550 5.7.1 not you", Cause::CredentialsRefused, 451, Enhanced(4, 7, 8)),
        ("500 5.5.1 what?", Cause::AuthMissing, 451, Enhanced(4, 7, 0)),
        ("504 5.5.4 no such mechanism", Cause::AuthMissing, 451, Enhanced(4, 7, 0)),
        ("454 4.7.0 try later", Cause::Refused(Stage::Auth), 454, Enhanced(4, 7, 0)),
        ("432 4.7.12 change it", Cause::Refused(Stage::Auth), 432, Enhanced(4, 7, 12)),
        ("421 4.3.2 going", Cause::Refused(Stage::Auth), 421, Enhanced(4, 3, 2)),
        ("354 go ahead", Cause::Protocol(Stage::Auth), 451, Enhanced(4, 5, 0)),
    ] {
        let failure = failure(&plain, "PLAIN", &[reply]);
        assert_eq!((failure.cause, failure.code, failure.status), (cause, code, status), "{reply}");
        assert_eq!(failure.class(), Class::Temporary);
        let words = reply.rsplit(' ').next().unwrap();
        assert!(failure.text.contains(words), "{reply}: {}", failure.text);
    }
    // In mid-exchange the same.
    let login = Login::Login(account());
    let failure = failure(&login, "LOGIN", &["334 VXNlcm5hbWU6", "535 5.7.8 no such user"]);
    assert_eq!(failure.cause, Cause::CredentialsRefused);
}

#[test]
fn servers_that_ask_for_more_are_left() {
    for (login, names, prompts, said) in [
        (Login::Plain(account()), "PLAIN", 1, format!("AUTH PLAIN {TIM}|*|")),
        (Login::External, "EXTERNAL", 1, "AUTH EXTERNAL =|*|".to_string()),
        (
            Login::Login(account()),
            "LOGIN",
            3,
            "AUTH LOGIN|dGlt|dGFuc3RhYWZ0YW5zdGFhZg==|*|".to_string(),
        ),
    ] {
        for last in ["501 5.7.0 cancelled", "334 and more", "235 fine"] {
            let mut server = vec!["334 "; prompts];
            server.push(last);
            let (wrote, end) = play(&login, names, &server);
            assert_eq!(wrote, said);
            assert_eq!(end.unwrap().unwrap_err().cause, Cause::Protocol(Stage::Auth), "{last}");
        }
    }
}

#[test]
fn accounts_that_cannot_be_said() {
    for (user, password) in [("", "x"), ("x", ""), ("a\0b", "x"), ("x", "a\0b")] {
        assert_eq!(Account::new(user, password), None);
    }
    assert!(Account::new("müller@example.org", "pass word\r\n").is_some()); // base64 takes anything
}

#[test]
fn nothing_shows_a_password() {
    let login = Login::Plain(account());
    let exchange = Exchange::new(&login, &offered("PLAIN")).unwrap();
    let shown = format!("{login:?} {exchange:?} {:?}", account());
    assert!(!shown.contains("tanstaaf") && !shown.contains(TIM), "{shown}");
}

#[test]
fn an_echo_of_credentials_goes_into_no_report() {
    let plain = Login::Plain(account());
    let said = failure(&plain, "PLAIN", &[&format!("501 5.5.2 what is AUTH PLAIN {TIM}?")]);
    assert_eq!(said.text, "501 5.5.2 what is AUTH PLAIN *? (in reply to AUTH)");
    let server = ["334 VXNlcm5hbWU6", "334 UGFzc3dvcmQ6", "535 5.7.8 tanstaaftanstaaf is wrong"];
    let said = failure(&plain, "LOGIN", &server);
    assert_eq!(said.text, "535 5.7.8 * is wrong (in reply to AUTH)");
}

#[test]
fn it_ends_whatever_the_server_says() {
    let lines = ["334 ", "235 a", "535 b", "421 c", "454 d", "250 e", "354 f", "501 g"];
    let mut dice = Dice::new(17);
    for _ in 0..2000 {
        let login = match dice.below(3) {
            0 => Login::Plain(account()),
            1 => Login::Login(account()),
            _ => Login::External,
        };
        let server: Vec<&str> = (0..8).map(|_| lines[dice.below(lines.len())]).collect();
        let (said, end) = play(&login, "PLAIN LOGIN EXTERNAL", &server);
        assert!(end.is_some(), "{server:?}");
        assert!(said.matches('|').count() <= 4, "{said}");
    }
}
