//! Any octets, in any cut, in bounded memory.

use super::super::dialogue::{Driver, Seen};
use super::super::*;
use super::*;

#[test]
fn any_cut_of_the_stream_says_the_same() {
    let streams: [(Settings, &[u8]); 3] = [
        (
            smtp(),
            b"EHLO a\r\nMAIL FROM:<a@example.org> ENVID=x+2By\r\nRCPT TO:<b@example.org> NOTIFY=NEVER\r\nRCPT TO:<bad@example.org>\r\nDATA\r\n\
              Subject: x\r\n\r\n..dot\r\nlast\r\n.\r\nNOOP\nNOOP\r\nMAIL FROM:<a@example.org>\r\nRCPT TO:<b@example.org>\r\n\
              BDAT 7\r\nab\r\n.\r\nBDAT 4\r\nQUITBDAT 2 LAST\r\n\r\nMAIL FROM:<a@example.org>\r\nRCPT TO:<b@example.org>\r\nDATA\r\n\
              x\n.\r\ny\r\n.\r\nRSET\r\nVRFY a\r\nQUIT\r\n",
        ),
        (
            settings(Dialect::Lmtp),
            b"LHLO a\r\nMAIL FROM:<a@example.org>\r\nRCPT TO:<b@example.org>\r\nRCPT TO:<b@example.org>\r\nBDAT 3 LAST\r\na\r\nRSET\r\n\
              MAIL FROM:<>\r\nRCPT TO:<b@example.org>\r\nRCPT TO:<c@example.org>\r\nRCPT TO:<d@example.org>\r\nDATA\r\n.\r\nFOO\r\n",
        ),
        (
            {
                let mut settings = with_tls(Dialect::Submission);
                settings.tls = Tls::Active;
                settings.authentication = Authentication::Required;
                settings
            },
            b"EHLO a\r\nMAIL FROM:<a@example.org>\r\nAUTH LOGIN\r\nYW5u\r\nc2VjcmV0\r\nMAIL FROM:<a@example.org> REQUIRETLS\r\n\
              RCPT TO:<b@example.org>\r\nDATA\r\nFrom: a@example.org\r\n\r\n\r\n.\r\nQUIT\r\n",
        ),
    ];
    let mut dice = Dice::new(121);
    for (settings, stream) in streams {
        let mut at_once = Driver::new(Server::new(settings.clone()), decide());
        at_once.feed(stream, || usize::MAX);
        for round in 0..200 {
            let most = 1 + round % 20;
            let mut cut = Driver::new(Server::new(settings.clone()), decide());
            cut.feed(stream, || 1 + dice.below(most));
            assert_eq!(
                Seen { held: 0, ..cut.seen },
                Seen {
                    held: 0,
                    output: at_once.seen.output.clone(),
                    events: at_once.seen.events.clone(),
                    content: at_once.seen.content.clone(),
                    closed: at_once.seen.closed,
                }
            );
        }
    }
}

#[test]
fn parsers_take_any_bytes() {
    let words: [&[u8]; 31] = [
        b"EHLO a\r\n",
        b"LHLO a\r\n",
        b"MAIL FROM:<a@b.example>",
        b"MAIL FROM:<>\r\n",
        b"RCPT TO:<b@b.example>\r\n",
        b"RCPT TO:<bad@b.example>\r\n",
        b"DATA\r\n",
        b"BDAT 3\r\n",
        b"BDAT 5 LAST\r\n",
        b"BDAT 99999999999\r\n",
        b"RSET\r\n",
        b"NOOP\r\n",
        b"QUIT\r\n",
        b"STARTTLS\r\n",
        b"AUTH PLAIN\r\n",
        b"AUTH LOGIN YW5u\r\n",
        b"AGFubgBzZWNyZXQ=\r\n",
        b"\r\n",
        b"\r",
        b"\n",
        b".",
        b"\r\n.\r\n",
        b"\0",
        b"\xff\xc3",
        b" SIZE=5",
        b" SMTPUTF8",
        b" ORCPT=utf-8;\\x{E4}",
        b"<",
        b"abc",
        b"*\r\n",
        &[b'x'; 5000],
    ];
    let mut dice = Dice::new(131);
    for round in 0..4000 {
        let mut settings = match round % 3 {
            0 => settings(Dialect::Lmtp),
            1 => with_tls(Dialect::Smtp),
            _ => with_tls(Dialect::Submission),
        };
        if dice.below(2) == 0 {
            settings.tls = Tls::Active;
        }
        let mut driver = Driver::new(Server::new(settings), decide());
        let mut fed = 0;
        for _ in 0..dice.below(60) {
            let word = words[dice.below(words.len())];
            fed += word.len();
            driver.feed(word, || 1 + dice.below(3000));
        }
        assert!(driver.seen.held <= 32 << 10, "{}", driver.seen.held);
        assert!(driver.seen.output.len() <= 4096 + fed * 60);
        assert!(driver.seen.content.len() <= fed);
        for line in driver.seen.output.split_inclusive("\r\n") {
            let line = line.strip_suffix("\r\n").expect("a whole line");
            assert!(!line.contains(['\r', '\n', '\0']));
            assert!(line.as_bytes().iter().take(3).all(u8::is_ascii_digit), "{line:?}");
        }
    }
}

#[test]
fn a_flood_of_commands_is_answered_in_bounded_memory() {
    let mut driver = Driver::new(Server::new(smtp()), decide());
    driver.feed(&b"EHLO a\r\n".repeat(20_000), || usize::MAX);
    assert!(driver.seen.held <= 32 << 10, "{}", driver.seen.held);
    assert!(driver.seen.output.ends_with("250 LIMITS RCPTMAX=2\r\n"));
}
