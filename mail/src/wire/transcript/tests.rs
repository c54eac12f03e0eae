use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::excerpt::PART;
use super::*;
use crate::dice::Dice;

const MARK: &str = "uncommon-marker";

/// Plays lines: `>` is ours, `<` the peer's. What is kept and what is told must be the same.
fn play(dialogue: &str) -> String {
    let mut transcript = Transcript::default();
    let mut told = Vec::new();
    let mut ear = |line: Told<'_>| told.push(format!("{} {}", line.speaker.sign(), line.text));
    for (ms, line) in (0..).zip(dialogue.lines()) {
        let (sign, text) = line.trim_start().split_once(' ').unwrap_or((line, ""));
        let bytes = format!("{text}\r\n");
        match sign {
            ">" => transcript.sent(ms, bytes.as_bytes(), &mut ear),
            "<" => transcript.received(ms, bytes.as_bytes(), &mut ear),
            _ => panic!("{line}"),
        }
    }
    assert_eq!(told, shown(&transcript));
    told.join("\n")
}

fn shown(transcript: &Transcript) -> Vec<String> {
    let shown = |line: &Line| format!("{} {}", line.speaker.sign(), line.text);
    transcript.excerpt().lines().iter().map(shown).collect()
}

fn ignore(_: Told<'_>) {}

#[test]
fn what_is_said_stays_as_it_was_said() {
    let dialogue = "< 220 mx.example.org ESMTP
> EHLO we.test
< 250-mx.example.org
< 250 SIZE 1000
> MAIL FROM:<a@we.test> SIZE=7
< 250 2.1.0 ok
> RCPT TO:<b@example.org>
< 550 5.1.1 no such user";
    assert_eq!(play(dialogue), dialogue);
}

#[test]
fn of_auth_remain_the_word_the_mechanism_and_the_answer() {
    let plain = STANDARD.encode("\0user@we.test\0pass word");
    for (dialogue, expected) in [
        (format!("> AUTH PLAIN {plain}\n< 235 2.7.0 ok"), "> AUTH PLAIN *\n< 235 2.7.0 ok"),
        (format!("> auth plain  {plain} x"), "> auth plain *"),
        (format!("> AUTH {plain}"), "> AUTH *"), // not a mechanism
        (
            format!("> AUTH PLAIN\n< 334 \n> {plain}\n< 535 5.7.8 not you\n> QUIT"),
            "> AUTH PLAIN\n< 334 *\n> *\n< 535 5.7.8 not you\n> QUIT",
        ),
        (
            "> AUTH LOGIN\n< 334 VXNlcm5hbWU6\n> dXNlcg==\n< 334 UGFzc3dvcmQ6\n> cGFzcw==\n\
             < 235 ok\n> MAIL FROM:<a@we.test>"
                .to_string(),
            "> AUTH LOGIN\n< 334 *\n> *\n< 334 *\n> *\n< 235 ok\n> MAIL FROM:<a@we.test>",
        ),
        // LMTP is the same; the exchange is given up with a star.
        (
            "> LHLO we.test\n< 250 AUTH PLAIN\n> AUTH CRAM-MD5\n< 334 PDE+\n> *\n< 501 ok"
                .to_string(),
            "> LHLO we.test\n< 250 AUTH PLAIN\n> AUTH CRAM-MD5\n< 334 *\n> *\n< 501 ok",
        ),
    ] {
        assert_eq!(play(&dialogue), expected);
    }
}

#[test]
fn whatever_answers_a_challenge_is_masked() {
    // An answer to something else comes first, and the exchange looks ended.
    let dialogue = "> AUTH LOGIN\n< 250 late\n< 334 x\n> c2VjcmV0\n< 250 ok\n> RSET";
    assert_eq!(play(dialogue), "> AUTH LOGIN\n< 250 late\n< 334 *\n> *\n< 250 ok\n> RSET");
}

#[test]
fn commands_of_a_group_are_masked_one_by_one() {
    let mut transcript = Transcript::default();
    transcript.sent(0, b"RSET\r\nAUTH PLAIN AHVzZXIAcGFzcw==\r\nNOOP\r\n", &mut ignore);
    assert_eq!(shown(&transcript), ["> RSET", "> AUTH PLAIN *", "> *"]);
}

#[test]
fn an_echo_of_credentials_is_masked_too() {
    let plain = STANDARD.encode("\0somebody\0pass word");
    let echo = |answer: String| play(&format!("> AUTH PLAIN {plain}\n{answer}\n> NOOP"));
    let ends =
        |text: String, end: &str| assert!(text.ends_with(&format!("{end}\n> NOOP")), "{text}");
    ends(echo(format!("< 500 what is AUTH PLAIN {plain}?")), "< 500 what is AUTH PLAIN *?");
    ends(echo(format!("< 500 {}...", &plain[..20])), "< 500 *...");
    ends(echo(format!("< 500-{}\n< 500 {}", &plain[..9], &plain[9..])), "< 500-*\n< 500 *");
    ends(echo("< 535 5.7.8 not 'pass word', somebody".to_string()), "< 535 5.7.8 not '*', *");
}

#[test]
fn content_is_counted_whichever_way_it_is_written() {
    // By count, as it should be.
    let mut transcript = Transcript::default();
    let mut ear = ignore;
    transcript.sent(0, b"DATA\r\n", &mut ear);
    transcript.received(1, b"354 go on\r\n", &mut ear);
    transcript.sent_content(10);
    transcript.sent_content(5);
    transcript.end_content(2, &mut ear);
    transcript.received(3, b"250 ok\r\n", &mut ear);
    transcript.sent(4, b"QUIT\r\n", &mut ear);
    let expected = ["> DATA", "< 354 go on", "- content: 15 octets", "< 250 ok", "> QUIT"];
    assert_eq!(shown(&transcript), expected);

    // Through the door of commands.
    let dialogue = format!("> DATA\n< 354 go on\n> Subject: {MARK}\n> .\n< 250 ok\n> QUIT");
    let expected = "> DATA\n< 354 go on\n- content: 26 octets\n> .\n< 250 ok\n> QUIT";
    assert_eq!(play(&dialogue), expected);

    // Behind its command.
    for (bytes, expected) in [
        (
            format!("BDAT 15 LAST\r\n{MARK}QUIT\r\n"),
            vec!["> BDAT 15 LAST", "- content: 15 octets", "> QUIT"],
        ),
        (format!("bdat 99 LAST\r\n{MARK}"), vec!["> bdat 99 LAST"]),
        (format!("RSET\r\nDATA\r\n{MARK}\r\n.\r\n"), vec!["> RSET", "> DATA"]),
    ] {
        let mut transcript = Transcript::default();
        transcript.sent(0, bytes.as_bytes(), &mut ear);
        assert_eq!(shown(&transcript), expected);
        transcript.note(1, format_args!("closed"), &mut ear);
        let text = shown(&transcript).join("\n");
        assert!(text.ends_with("- closed") && text.contains("content: ") && !text.contains(MARK));
    }
}

#[test]
fn a_data_that_nobody_wanted_ends_with_a_lone_dot() {
    let dialogue = "> DATA\n< 354 go on\n> .\n< 554 no\n> RSET";
    assert_eq!(play(dialogue), dialogue);
}

#[test]
fn an_invitation_that_answers_something_else_hides_nothing() {
    let dialogue = "> MAIL FROM:<a@we.test>\n< 354 odd\n> RSET";
    assert_eq!(play(dialogue), dialogue);
}

#[test]
fn lines_are_harmless_and_not_too_wide() {
    let mut transcript = Transcript::default();
    transcript.received(0, b"220 a\x1b[2J\0b\xff\xc3\xbc\rc\r\n", &mut ignore);
    assert_eq!(shown(&transcript), ["< 220 a\\u{1b}[2J\\u{0}b\\xffü\\rc"]);
    for long in [vec![b'x'; 3000], vec![0xff; 3000], vec![7; 3000], "ü".repeat(1500).into_bytes()]
    {
        let mut transcript = Transcript::default();
        transcript.received(0, &long, &mut ignore);
        assert!(
            transcript.excerpt().lines().is_empty() && transcript.partial.len() == LONGEST_LINE
        );
        transcript.note(0, format_args!("{}\n", "y".repeat(3000)), &mut ignore);
        let lines = transcript.excerpt().lines();
        assert_eq!(lines.len(), 2);
        assert!(
            lines.iter().all(|line| line.text.len() <= WIDEST + 3 && line.text.ends_with("..."))
        );
    }
}

#[test]
fn replies_are_whole_lines_in_any_cut() {
    let bytes = b"220 mx\r\n250-a\r\n250 b\n550 5.1.1 no\r\nunfinished";
    let mut dice = Dice::new(7);
    for _ in 0..200 {
        let (mut transcript, mut rest) = (Transcript::default(), &bytes[..]);
        while !rest.is_empty() {
            let (piece, behind) = rest.split_at(dice.below(rest.len()) + 1);
            transcript.received(0, piece, &mut ignore);
            rest = behind;
        }
        transcript.note(0, format_args!("closed"), &mut ignore);
        let expected =
            ["< 220 mx", "< 250-a", "< 250 b", "< 550 5.1.1 no", "< unfinished", "- closed"];
        assert_eq!(shown(&transcript), expected);
    }
}

#[test]
fn the_middle_gives_way() {
    let mut transcript = Transcript::default();
    for ms in 0..1000 {
        transcript.sent(ms, format!("NOOP {ms}\r\n").as_bytes(), &mut ignore);
        assert!(transcript.kept.octets() <= 2 * PART);
    }
    let lines = transcript.excerpt().lines();
    assert_eq!((lines[0].ms, lines[0].text.as_str()), (0, "NOOP 0"));
    assert_eq!(lines.last().unwrap().text, "NOOP 999");
    let gap = lines.iter().position(|line| line.speaker == Speaker::Note).unwrap();
    let (before, after) = (lines[gap - 1].ms, lines[gap + 1].ms);
    assert_eq!(lines[gap].text, format!("{} lines are left out here", after - before - 1));
    assert!(gap > 100 && lines.len() - gap > 100);
}

#[test]
fn bounded() {
    let mut dice = Dice::new(4711);
    let words: [&[u8]; 14] = [
        b"AUTH ",
        b"PLAIN ",
        b"334 ",
        b"354",
        b"DATA\r\n",
        b"BDAT 7",
        b"BDAT 99999999999999999999",
        b"\r\n",
        b"\n",
        b"250-",
        b".\r\n",
        b"c2VjcmV0",
        b"\xff\xfe\x00",
        b"\xe2\x80",
    ];
    for _ in 0..300 {
        let mut transcript = Transcript::default();
        let mut told = 0;
        let mut ear = |line: Told<'_>| {
            assert!(line.text.len() <= WIDEST + 3 && !line.text.contains(char::is_control));
            told += 1;
        };
        for ms in 0..dice.below(60) as u64 {
            let bytes: Vec<u8> =
                (0..dice.below(40)).flat_map(|_| words[dice.below(words.len())]).copied().collect();
            match dice.below(5) {
                0 => transcript.sent_content(dice.below(9) as u64),
                1 => transcript.note(ms, format_args!("{}", bytes.escape_ascii()), &mut ear),
                2 => transcript.received(ms, &bytes, &mut ear),
                3 => transcript.received(ms, &bytes.repeat(30), &mut ear),
                _ => transcript.sent(ms, &bytes, &mut ear),
            }
            assert!(
                transcript.kept.octets() <= 2 * PART && transcript.partial.len() <= LONGEST_LINE
            );
        }
        let lines = transcript.excerpt().lines();
        assert!(lines.len() <= told + 1);
        assert!(lines.iter().all(|line| !line.text.contains(char::is_control)));
    }
}

/// Whatever the server says in between, a secret that was said to it shows nowhere.
#[test]
fn credentials_never_show() {
    let mut dice = Dice::new(99);
    let secret = STANDARD.encode(format!("\0{MARK}\0{MARK}"));
    let answers =
        ["334 ", "334-x\r\n334 y", "250 ok", "250-ok", "535 no", "354 x", "nonsense", "334"];
    for _ in 0..2000 {
        let mut transcript = Transcript::default();
        let mut text = String::new();
        let mut ear = |line: Told<'_>| text.push_str(&format!("{}\n", line.text));
        let first = ["AUTH LOGIN", "auth\tPLAIN", "AUTH X-Y"][dice.below(3)];
        match dice.below(2) {
            0 => transcript.sent(0, format!("{first} {secret}\r\n").as_bytes(), &mut ear),
            _ => {
                transcript.sent(0, format!("{first}\r\n").as_bytes(), &mut ear);
                for _ in 0..=dice.below(4) {
                    let answer = answers[dice.below(answers.len())];
                    transcript.received(0, format!("{answer}\r\n").as_bytes(), &mut ear);
                }
                // The client answers only a challenge.
                transcript.received(0, b"334 \r\n", &mut ear);
                transcript.sent(0, format!("{secret}\r\n").as_bytes(), &mut ear);
            }
        }
        transcript.received(0, format!("501 {secret} and {MARK}?\r\n").as_bytes(), &mut ear);
        transcript.note(0, format_args!("closed"), &mut ear);
        assert!(!text.contains(&secret) && !text.contains(MARK), "{text}");
        assert!(!format!("{transcript:?}").contains(MARK));
        assert!(text.ends_with("closed\n"), "{text}");
    }
}
