use super::*;
use crate::wire::reply::ReplyParser;

fn reply(line: &str) -> Reply {
    let text = format!("{line}\r\n");
    ReplyParser::default().feed(&mut text.as_bytes()).unwrap().unwrap()
}

struct Play {
    dialect: Dialect,
    flow: Flow,
    people: usize,
}

const PIPED: Play = Play { dialect: Dialect::Smtp, flow: Flow::Grouped, people: 2 };
const STEPPED: Play = Play { dialect: Dialect::Smtp, flow: Flow::Stepped, people: 2 };
const CHUNKED: Play = Play { dialect: Dialect::Smtp, flow: Flow::Chunk, people: 2 };

impl Play {
    /// Plays the server's lines; a missing line is a lost connection.
    fn run(&self, server: &[&str]) -> (String, Ending) {
        let people = (0..self.people).map(|i| format!("R{i}\r\n").into_bytes()).collect();
        let mut transaction = Transaction::new(self.dialect, self.flow, b"M\r\n".to_vec(), people);
        let (mut said, mut lines) = (String::new(), server.iter());
        loop {
            match transaction.step() {
                Step::Write(bytes) => {
                    said += &String::from_utf8(bytes).unwrap().replace("\r\n", " ")
                }
                Step::Content => {
                    said += "[content] ";
                    transaction.dot_sent();
                }
                Step::Chunk => {
                    said += "[chunk] ";
                    transaction.dot_sent();
                }
                Step::Hold => panic!("nobody is named one by one"),
                Step::Done => return (said, transaction.finish()),
                Step::Await(stage) => match lines.next() {
                    Some(line) => transaction.reply(reply(line)),
                    None => transaction.lost(Failure::new(Cause::Lost(stage), "closed")),
                },
            }
        }
    }
}

fn fates(ending: &Ending) -> Vec<String> {
    ending
        .fates
        .iter()
        .map(|fate| match fate {
            Fate::Taken(reply) => format!("taken {}", reply.code),
            Fate::Refused(f) => format!("refused {} {}", f.code, f.cause.word()),
            Fate::AnotherTransaction(f) => format!("another {}", f.code),
        })
        .collect()
}

#[test]
fn one_flight_when_pipelining() {
    let (said, ending) = PIPED.run(&["250 m", "250 r", "251 r", "354 go", "250 ok"]);
    assert_eq!(said, "M R0 R1 DATA [content] ");
    assert_eq!(fates(&ending), ["taken 250", "taken 250"]);
    assert!(ending.standing == Standing::Good && !ending.needs_reset);
}

#[test]
fn one_at_a_time_otherwise() {
    let (said, ending) = STEPPED.run(&["250 m", "550 r", "250 r", "354 go", "250 ok"]);
    assert_eq!(said, "M R0 R1 DATA [content] ");
    assert_eq!(fates(&ending), ["refused 550 refused", "taken 250"]);
    assert_eq!(ending.standing, Standing::Good);
}

#[test]
fn no_data_without_a_recipient() {
    let (said, ending) = STEPPED.run(&["250 m", "550 r", "450 r"]);
    assert_eq!(said, "M R0 R1 ");
    assert_eq!(fates(&ending), ["refused 550 refused", "refused 450 refused"]);
    assert!(ending.standing == Standing::Good && ending.needs_reset);
    // Pipelined, DATA is out already: a refusal is as expected, a 354 is ended with a lone dot.
    let (_, ending) = PIPED.run(&["250 m", "550 r", "450 r", "503 no"]);
    assert!(ending.standing == Standing::Good && ending.needs_reset);
    let (said, ending) = PIPED.run(&["250 m", "550 r", "550 r", "354 go", "250 took nothing"]);
    assert_eq!(said, "M R0 R1 DATA . ");
    assert_eq!(fates(&ending), ["refused 550 refused", "refused 550 refused"]);
    assert_eq!(ending.standing, Standing::Parting);
}

#[test]
fn refused_mail_is_everybodys() {
    let (said, ending) = PIPED.run(&["550 5.7.1 no", "503 r", "503 r", "503 d"]);
    assert_eq!(said, "M R0 R1 DATA ");
    assert_eq!(fates(&ending), ["refused 550 refused", "refused 550 refused"]);
    assert_eq!(ending.standing, Standing::Good);
    let (said, _) = STEPPED.run(&["451 later"]);
    assert_eq!(said, "M ");
}

#[test]
fn mail_out_of_sequence_is_no_verdict() {
    let (_, ending) = STEPPED.run(&["503 5.5.1 nested MAIL"]);
    assert_eq!(fates(&ending), ["refused 451 protocol", "refused 451 protocol"]);
    assert_eq!(ending.standing, Standing::Parting);
}

#[test]
fn refused_content_is_everybodys_and_ends_reuse() {
    let (_, ending) = PIPED.run(&["250 m", "250 r", "550 r", "354 go", "552 5.3.4 big"]);
    assert_eq!(fates(&ending), ["refused 552 refused", "refused 550 refused"]);
    assert_eq!(ending.standing, Standing::Parting);
}

#[test]
fn who_asks_for_more_after_the_dot_may_have_the_message() {
    let (_, ending) = PIPED.run(&["250 m", "250 r", "550 r", "354 go", "354 go on"]);
    assert_eq!(fates(&ending), ["refused 451 unknown-after-dot", "refused 550 refused"]);
    assert_eq!(ending.standing, Standing::Broken);
}

#[test]
fn data_refused_after_acceptance() {
    let (_, ending) = STEPPED.run(&["250 m", "250 r", "250 r", "451 4.3.0 busy"]);
    assert_eq!(fates(&ending), ["refused 451 refused", "refused 451 refused"]);
    // "No valid recipients" although there are some: no verdict, so temporary.
    let (_, ending) = STEPPED.run(&["250 m", "250 r", "250 r", "554 5.5.1 no valid recipients"]);
    assert_eq!(fates(&ending), ["refused 451 protocol", "refused 451 protocol"]);
    let (_, ending) = STEPPED.run(&["250 m", "250 r", "250 r", "554 5.7.1 policy"]);
    assert_eq!(fates(&ending), ["refused 554 refused", "refused 554 refused"]);
}

#[test]
fn who_refused_in_step_is_owed_a_quit() {
    let stands = |server: &[&str]| PIPED.run(server).1.standing;
    let to_data = |reply| stands(&["250 m", "250 r", "250 r", reply]);
    for refusal in ["451 4.3.0 busy", "554 5.7.1 policy", "503 5.5.1 RCPT first"] {
        assert_eq!(to_data(refusal), Standing::Parting, "{refusal}");
    }
    assert_eq!(to_data("250 what?"), Standing::Broken); // it may be the answer to something else
    assert_eq!(to_data("421 4.3.2 going"), Standing::Broken); // RFC 5321 §3.8: it closes by itself
    let to_dot = |reply| stands(&["250 m", "250 r", "550 r", "354 go", reply]);
    for refusal in ["452 4.3.1 no room", "554 5.6.0 spam"] {
        assert_eq!(to_dot(refusal), Standing::Parting, "{refusal}");
    }
    assert_eq!(to_dot("354 more"), Standing::Broken);
    assert_eq!(to_dot("421 4.3.2 going"), Standing::Broken);
    // What was wrong once is not made good by what follows.
    assert_eq!(stands(&["250 m", "354 r", "250 r", "451 4.3.0 busy"]), Standing::Broken);
    assert_eq!(stands(&["250 m", "354 r", "250 r", "354 go", "250 ok"]), Standing::Broken);
}

#[test]
fn too_many_recipients_go_on_in_another_transaction() {
    let (_, ending) = PIPED.run(&["250 m", "250 r", "452 4.5.3 many", "354 go", "250 ok"]);
    assert_eq!(fates(&ending), ["taken 250", "another 452"]);
    let (_, ending) = PIPED.run(&["250 m", "250 r", "552 many", "354 go", "250 ok"]);
    assert_eq!(fates(&ending), ["taken 250", "another 452"]);
    // Not that: the mailbox is full, the message too large.
    let (_, ending) = PIPED.run(&["250 m", "250 r", "552 5.2.2 full", "354 go", "250 ok"]);
    assert_eq!(fates(&ending), ["taken 250", "refused 552 refused"]);
    let (_, ending) = PIPED.run(&["250 m", "250 r", "452 4.2.2 full", "354 go", "250 ok"]);
    assert_eq!(fates(&ending), ["taken 250", "refused 452 refused"]);
    // Nobody accepted: an ordinary refusal.
    let (_, ending) = PIPED.run(&["250 m", "452 many", "452 many", "503 no"]);
    assert_eq!(fates(&ending), ["refused 452 refused", "refused 452 refused"]);
}

#[test]
fn unsent_recipients_of_a_full_transaction_are_told() {
    let play = Play { people: 4, ..STEPPED };
    let (said, ending) = play.run(&["250 m", "250 r", "452 many", "354 go", "250 ok"]);
    assert_eq!(said, "M R0 R1 DATA [content] ");
    assert_eq!(fates(&ending), ["taken 250", "another 452", "another 451", "another 451"]);
}

#[test]
fn recipients_not_named_do_not_fail_for_good() {
    let play = Play { people: 4, ..STEPPED };
    let (_, ending) = play.run(&["250 m", "250 r", "452 many", "554 5.7.1 policy"]);
    let expected = ["refused 554 refused", "another 452", "another 451", "another 451"];
    assert_eq!(fates(&ending), expected);
    assert_eq!(ending.standing, Standing::Parting);
    let (_, ending) = play.run(&["250 m", "250 r", "452 many"]);
    assert_eq!(fates(&ending)[2], "refused 451 connection-lost"); // temporary: as for the others
}

#[test]
fn windows_for_many_recipients() {
    let play = Play { people: 120, ..PIPED };
    let mut server = vec!["250 ok"; 121];
    server.extend(["354 go", "250 taken"]);
    let (said, ending) = play.run(&server);
    assert!(said.ends_with("R119 DATA [content] "));
    assert!(fates(&ending).iter().all(|f| f == "taken 250"));
}

#[test]
fn lmtp_answers_each_accepted_recipient() {
    let play = Play { dialect: Dialect::Lmtp, people: 3, ..PIPED };
    let server = ["250 m", "250 a", "550 b", "250 c", "354 go", "250 a", "452 4.2.2 full"];
    let (_, ending) = play.run(&server);
    assert_eq!(fates(&ending), ["taken 250", "refused 550 refused", "refused 452 refused"]);
    // Closed after the first of two answers: the first stands, the other is unknown.
    let (_, ending) = play.run(&server[..6]);
    assert_eq!(fates(&ending)[0], "taken 250");
    assert_eq!(fates(&ending)[2], "refused 451 unknown-after-dot");
}

#[test]
fn lmtp_without_an_accepted_recipient_has_nothing_to_wait_for() {
    let piped = Play { dialect: Dialect::Lmtp, ..PIPED };
    let (said, ending) = piped.run(&["250 m", "550 a", "450 b", "503 5.5.1 nobody"]);
    assert_eq!(said, "M R0 R1 DATA ");
    assert!(ending.standing == Standing::Good && ending.needs_reset);
    // RFC 2033 §4.2 wants a 503. After a 354 there would be no reply at all to wait for.
    let (said, ending) = piped.run(&["250 m", "550 a", "450 b", "354 go"]);
    assert_eq!((said.as_str(), ending.standing), ("M R0 R1 DATA ", Standing::Broken));
    assert_eq!(fates(&ending), ["refused 550 refused", "refused 450 refused"]);
    let stepped = Play { dialect: Dialect::Lmtp, ..STEPPED };
    assert_eq!(stepped.run(&["250 m", "550 a", "450 b"]).0, "M R0 R1 ");
}

#[test]
fn lmtp_replies_after_the_dot_belong_to_their_places() {
    let play = Play { dialect: Dialect::Lmtp, people: 4, ..PIPED };
    let envelope = ["250 m", "250 a", "450 b", "250 c", "250 d", "354 go"];
    let after = |replies: &[&str]| {
        let (said, ending) = play.run(&[&envelope[..], replies].concat());
        assert_eq!(said.matches("[content]").count(), 1);
        (fates(&ending), ending.standing)
    };
    let (all, standing) = after(&["250 a", "550 5.2.1 closed", "250 d"]);
    assert_eq!(all, ["taken 250", "refused 450 refused", "refused 550 refused", "taken 250"]);
    assert_eq!(standing, Standing::Parting); // refused content ends the use of a session
    // 552 and 452 are about the mailbox, and stay what they are.
    let (all, _) = after(&["552 5.2.2 full", "452 4.2.2 full", "250 d"]);
    assert_eq!(
        all,
        ["refused 552 refused", "refused 450 refused", "refused 452 refused", "taken 250"]
    );
    // A server that ends after k of n: these k stand, nobody knows about the others.
    let unknown = "refused 451 unknown-after-dot";
    let (all, standing) = after(&["250 a", "550 c"]);
    assert_eq!(all, ["taken 250", "refused 450 refused", "refused 550 refused", unknown]);
    assert_eq!(standing, Standing::Broken);
    let (all, _) = after(&[]);
    assert_eq!(all, [unknown, "refused 450 refused", unknown, unknown]);
    // 421 is an answer, and one for all that is left.
    let (all, _) = after(&["250 a", "421 4.3.2 going"]);
    assert_eq!(all[2..], ["refused 421 refused", "refused 421 refused"]);
    assert_eq!(all[0], "taken 250");
    // Something that belongs nowhere is no refusal, and what follows it is nobody's: c may be told what is meant for a, and so on.
    let (all, standing) = after(&["354 more", "250 a", "550 c", "250 d"]);
    assert_eq!(all, [unknown, "refused 450 refused", unknown, unknown]);
    assert_eq!(standing, Standing::Broken);
    let (all, _) = after(&["250 a", "354 more", "250 d"]);
    assert_eq!(all, ["taken 250", "refused 450 refused", unknown, unknown]);
}

#[test]
fn a_reply_that_answers_nothing_makes_nobody_the_owner_of_another_ones() {
    // Behind the first 354 everything would be one place off: the refusal of the first would be the second one's.
    for flow in [Flow::Grouped, Flow::Stepped] {
        let play = Play { dialect: Dialect::Lmtp, flow, people: 3 };
        let (said, ending) = play.run(&["250 m", "354 what", "550 a", "250 b", "250 c", "354 go"]);
        assert!(!said.contains("[content]"), "{said}");
        assert_eq!(fates(&ending), ["refused 451 protocol"; 3]);
        assert_eq!(ending.standing, Standing::Broken);
    }
}

#[test]
fn a_reply_too_many_changes_nothing_but_the_session() {
    for dialect in [Dialect::Smtp, Dialect::Lmtp] {
        let people = vec![b"R0\r\n".to_vec(), b"R1\r\n".to_vec()];
        let mut transaction = Transaction::new(dialect, Flow::Grouped, b"M\r\n".to_vec(), people);
        let mut replies = ["250 m", "250 a", "250 b", "354 go", "250 a", "250 b"].iter();
        loop {
            match transaction.step() {
                Step::Write(_) => {}
                Step::Await(_) => transaction.reply(reply(replies.next().unwrap())),
                Step::Content | Step::Chunk => transaction.dot_sent(),
                Step::Hold | Step::Done => break,
            }
        }
        transaction.reply(reply("550 and another one"));
        assert_eq!(transaction.step(), Step::Done);
        let ending = transaction.finish();
        assert_eq!(fates(&ending), ["taken 250", "taken 250"]);
        assert_eq!(ending.standing, Standing::Broken);
    }
}

#[test]
fn a_chunk_takes_the_place_of_data_and_content() {
    let (said, ending) = CHUNKED.run(&["250 m", "250 r", "550 r", "250 taken"]);
    assert_eq!(said, "M R0 R1 [chunk] ");
    assert_eq!(fates(&ending), ["taken 250", "refused 550 refused"]);
    assert!(ending.standing == Standing::Good && !ending.needs_reset);
    // Nobody accepted: no chunk, and the open MAIL is ended by RSET.
    let (said, ending) = CHUNKED.run(&["250 m", "550 r", "450 r"]);
    assert_eq!(said, "M R0 R1 ");
    assert!(ending.standing == Standing::Good && ending.needs_reset);
    // RFC 2033 §4.2, if ever: a reply for each.
    let lmtp = Play { dialect: Dialect::Lmtp, ..CHUNKED };
    let (_, ending) = lmtp.run(&["250 m", "250 a", "250 b", "250 a", "452 4.2.2 full"]);
    assert_eq!(fates(&ending), ["taken 250", "refused 452 refused"]);
}

#[test]
fn a_refused_chunk_is_a_refused_content() {
    let to_chunk = |reply| CHUNKED.run(&["250 m", "250 r", "250 r", reply]).1;
    for (reply, fate) in [
        ("452 4.3.1 no room", "refused 452 refused"),
        ("552 5.3.4 too big", "refused 552 refused"),
        ("554 5.7.1 policy", "refused 554 refused"),
        ("554 5.5.1 no valid recipients", "refused 451 protocol"), // there are some
    ] {
        let ending = to_chunk(reply);
        assert_eq!(fates(&ending), [fate, fate]);
        // All of the chunk was sent: the server has taken it off the line, whatever it thinks of it (RFC 3030 §2).
        assert!(ending.standing == Standing::Parting && !ending.chunk_unknown, "{reply}");
    }
    assert_eq!(fates(&to_chunk("421 4.3.2 going"))[0], "refused 421 refused");
    assert_eq!(to_chunk("354 go ahead").standing, Standing::Broken);
    let (_, lost) = CHUNKED.run(&["250 m", "250 r", "250 r"]);
    assert_eq!(fates(&lost)[0], "refused 451 unknown-after-dot");
}

#[test]
fn an_unknown_bdat_is_no_verdict() {
    for reply in ["500 what?", "502 5.5.1 not here", "503 5.5.1 DATA first", "504 no LAST"] {
        let (_, ending) = CHUNKED.run(&["250 m", "250 r", "250 r", reply]);
        assert_eq!(fates(&ending), ["refused 451 protocol", "refused 451 protocol"]);
        // What follows are answers to the lines of the content.
        assert!(ending.standing == Standing::Broken && ending.chunk_unknown, "{reply}");
    }
    // To the dot they are verdicts, as they were.
    let (_, ending) = STEPPED.run(&["250 m", "250 r", "250 r", "354 go", "500 what?"]);
    assert_eq!(fates(&ending)[0], "refused 500 refused");
    assert!(!ending.chunk_unknown);
}

#[test]
fn a_refusal_within_the_content_is_an_answer() {
    let within = |flow, words: &str| {
        let people = vec![b"R0\r\n".to_vec()];
        let mut transaction = Transaction::new(Dialect::Smtp, flow, b"M\r\n".to_vec(), people);
        let mut replies = ["250 m", "250 r", "354 go"].iter();
        loop {
            match transaction.step() {
                Step::Await(_) => transaction.reply(reply(replies.next().unwrap())),
                Step::Content => transaction.refused_within(&reply(words)),
                Step::Chunk => {
                    transaction.dot_sent();
                    transaction.refused_within(&reply(words));
                }
                Step::Write(_) => {}
                Step::Hold | Step::Done => return transaction.finish(),
            }
        }
    };
    for flow in [Flow::Stepped, Flow::Grouped, Flow::Chunk] {
        for (words, fate) in [
            ("552 5.3.4 too big", "refused 552 refused"),
            ("452 4.3.1 no room", "refused 452 refused"),
            ("421 4.3.2 going", "refused 421 refused"),
        ] {
            let ending = within(flow, words);
            assert_eq!(fates(&ending), [fate]);
            assert_eq!(ending.standing, Standing::Broken); // in mid-content nothing else can be said
        }
    }
    assert_eq!(fates(&within(Flow::Stepped, "500 what?")), ["refused 500 refused"]);
    let unknown = within(Flow::Chunk, "500 what?");
    assert_eq!(fates(&unknown), ["refused 451 protocol"]);
    assert!(unknown.chunk_unknown);
}

#[test]
fn lost_at_each_stage() {
    let whole = ["250 m", "250 r", "550 r", "354 go", "250 ok"];
    for cut in 0..whole.len() {
        let (_, ending) = PIPED.run(&whole[..cut]);
        let word =
            if cut < 4 { "refused 451 connection-lost" } else { "refused 451 unknown-after-dot" };
        assert_eq!(fates(&ending)[0], word, "after {cut} replies");
        assert_eq!(ending.standing, Standing::Broken);
    }
}

#[test]
fn a_421_ends_the_session_but_is_an_answer() {
    let (_, ending) = PIPED.run(&["250 m", "421 4.3.2 shutting down"]);
    assert_eq!(fates(&ending), ["refused 421 refused", "refused 421 refused"]);
    let (_, ending) = PIPED.run(&["250 m", "250 r", "250 r", "354 go", "421 4.3.0 no"]);
    assert_eq!(fates(&ending), ["refused 421 refused", "refused 421 refused"]);
    assert_eq!(ending.standing, Standing::Broken);
}

#[test]
fn every_recipient_has_a_fate_whatever_comes() {
    let lines = ["250 a", "354 go", "421 x", "450 b", "550 c", "452 d", "552 e", "220 f", "503 g"];
    let mut dice = crate::dice::Dice::new(31);
    for round in 0..5000 {
        let play = Play {
            dialect: if round % 3 == 0 { Dialect::Lmtp } else { Dialect::Smtp },
            flow: [Flow::Stepped, Flow::Grouped, Flow::Chunk][dice.below(3)],
            people: 1 + dice.below(5),
        };
        let server: Vec<&str> =
            (0..dice.below(14)).map(|_| lines[dice.below(lines.len())]).collect();
        let (said, ending) = play.run(&server);
        assert_eq!(ending.fates.len(), play.people);
        let taken = ending.fates.iter().any(|f| matches!(f, Fate::Taken(_)));
        assert!(!taken || said.contains("[content]") || said.contains("[chunk]"), "{server:?}");
    }
}

/// Goes on until nothing is under way; the server's lines are used up.
fn until_held(transaction: &mut Transaction, lines: &mut Vec<&str>) -> (String, Step) {
    let mut said = String::new();
    loop {
        match transaction.step() {
            Step::Write(bytes) => said += &String::from_utf8(bytes).unwrap().replace("\r\n", " "),
            Step::Await(stage) if lines.is_empty() => {
                transaction.lost(Failure::new(Cause::Lost(stage), "closed"));
            }
            Step::Await(_) => transaction.reply(reply(lines.remove(0))),
            end => return (said, end),
        }
    }
}

#[test]
fn recipients_named_one_after_the_other() {
    let mut transaction = Transaction::listing(Dialect::Smtp, b"M\r\n".to_vec());
    let mut server =
        vec!["250 ok", "550 5.1.1 no", "250 ok", "452 4.5.3 enough", "250 ok", "354 go", "250 in"];
    assert_eq!(until_held(&mut transaction, &mut server), ("M ".into(), Step::Hold));
    for (place, refused) in [(0, Some(550)), (1, None), (2, Some(452)), (3, None)] {
        assert_eq!(transaction.name(format!("R{place}\r\n").into_bytes()), place);
        let said = format!("R{place} ");
        assert_eq!(until_held(&mut transaction, &mut server), (said, Step::Hold));
        let code = transaction.fate(place).map(|fate| match fate {
            Fate::Refused(failure) | Fate::AnotherTransaction(failure) => failure.code,
            Fate::Taken(reply) => reply.code,
        });
        assert_eq!(code, refused, "R{place}");
    }
    transaction.close();
    assert_eq!(until_held(&mut transaction, &mut server), ("DATA ".into(), Step::Content));
    transaction.dot_sent();
    assert_eq!(until_held(&mut transaction, &mut server).1, Step::Done);
    let ending = transaction.finish();
    assert_eq!(fates(&ending), ["refused 550 refused", "taken 250", "another 452", "taken 250"]);
    assert!(!ending.needs_reset && ending.standing == Standing::Good);
}

#[test]
fn what_ends_a_list_is_the_fate_of_all_who_are_named_after_it() {
    for (server, code) in [
        (vec!["550 5.7.1 not from you"], 550),
        (vec!["250 ok", "421 4.3.2 going down"], 421),
        (vec!["250 ok"], 451),
    ] {
        let mut transaction = Transaction::listing(Dialect::Lmtp, b"M\r\n".to_vec());
        let mut server = server;
        let _ = until_held(&mut transaction, &mut server);
        for place in 0..2 {
            transaction.name(b"R\r\n".to_vec());
            assert_eq!(until_held(&mut transaction, &mut server).1, Step::Done);
            let Some(Fate::Refused(failure)) = transaction.fate(place) else { panic!("{place}") };
            assert_eq!(failure.code, code);
        }
        transaction.close();
        assert_eq!(transaction.step(), Step::Done);
        assert_eq!(fates(&transaction.finish()).len(), 2);
    }
}

#[test]
fn a_list_without_anybody_accepted_sends_nothing() {
    let mut transaction = Transaction::listing(Dialect::Smtp, b"M\r\n".to_vec());
    let mut server = vec!["250 ok", "550 5.1.1 no"];
    let _ = until_held(&mut transaction, &mut server);
    transaction.name(b"R\r\n".to_vec());
    let _ = until_held(&mut transaction, &mut server);
    transaction.close();
    assert_eq!(until_held(&mut transaction, &mut server), (String::new(), Step::Done));
    assert!(transaction.finish().needs_reset);
}
