//! Whole commands against a daemon that says what the test wants.

use std::ffi::OsString;
use std::io::{BufRead, Read};

use clap::CommandFactory;
use serde_json::{Value, json};

use super::*;
use crate::client::fake_daemon::{FakeDaemon, GREETING, error, free_path, listing, result};
use crate::show::event::tests::trace_event;
use crate::show::queue::tests::batch;
use posthaste_mail::admin::answer::Event;

const ID: &str = "00000000000000000000000000";

/// A command and what it came to.
struct Ran {
    code: u8,
    output: String,
    complaints: String,
}

fn run(words: &[&str], input: &str) -> Ran {
    let words: Vec<OsString> = words.iter().map(OsString::from).collect();
    let (mut output, mut complaints) = (Vec::new(), Vec::new());
    let mut console = Console {
        input: &mut input.as_bytes(),
        output: &mut output,
        complaints: &mut complaints,
        colour: false,
    };
    let code = start(&words, &mut console).code();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    Ran { code, output: text(output), complaints: text(complaints) }
}

/// Runs a verb against a daemon; also what the daemon was asked.
fn against(
    answer: impl Fn(&Value, &mut dyn BufRead) -> String + Send + 'static,
    words: &[&str],
    input: &str,
) -> (Ran, Vec<Value>) {
    let daemon = FakeDaemon::start(GREETING, answer);
    let socket = daemon.path().to_str().unwrap().to_string();
    let mut all = vec![words[0], "--socket", &socket];
    all.extend(&words[1..]);
    let ran = run(&all, input);
    (ran, daemon.requests())
}

fn says(words: &str, answer: impl Fn(&Value) -> String + Send + 'static) -> (Ran, Vec<Value>) {
    let mut all = vec!["posthaste"];
    all.extend(words.split(' '));
    against(move |request, _| answer(request), &all, "")
}

#[test]
fn the_command_line_is_sound() {
    Cli::command().debug_assert();
}

#[test]
fn words_that_are_understood_and_words_that_are_not() {
    let good = |words: &str| Cli::try_parse_from(words.split(' ')).is_ok();
    for words in [
        "p run",
        "p run --config x.conf --set debug=yes --set hostname=a=b --debug-faults",
        "p --config x.conf check --json",
        "p send --from a@x --to b@y",
        "p send m.eml --from a@x --to b@y --to c@y --target outbound",
        "p send --from <> --to b@y -",
        "p sendmail -t -i",
        "p sendmail -f a@x -- b@y",
        "p --socket s status --json",
        "p status --socket s",
        "p ps --json",
        "p queue list --from a --to b --domain x --reason timeout --older 2d --tries 3 --held --queue q",
        "p queue list -",
        "p queue list --id 00000000000000000000000000,00000000000000000000000001",
        "p queue show 00000000000000000000000000",
        "p queue retry 00000000000000000000000000 -",
        "p queue retry --yes",
        "p queue hold --domain x --reason because --failure timeout",
        "p queue release --held",
        "p queue fail - --yes",
        "p queue drop --yes",
        "p queue reroute relay 00000000000000000000000000 --yes",
        "p retry-plan --queue q --json",
        "p trace",
        "p trace 00000000000000000000000000 --json",
        "p trace --domain example.org --follow",
        "p trace --domain example.org --wire",
        "p trace --wire --follow --json",
        "p probe example.org",
        "p probe MÜNCHEN.example --target mx --json",
        "p probe [192.0.2.1]",
        "p probe [IPv6:2001:db8::1]",
        "p sts list --cache mx --json",
        "p sts show example.org --json",
        "p sts refresh example.org --cache mx",
        "p sts forget example.org",
        "p log debug on",
        "p log debug off outbound",
        "p shutdown --drain 30s",
    ] {
        assert!(good(words), "{words}");
    }
    for words in [
        "p",
        "p nonsense",
        "p run --set debug",
        "p run --set =yes",
        "p send --to b@y",
        "p send --from a@x",
        "p queue",
        "p queue list --older 2",
        "p queue list --tries -1",
        "p queue list nonsense",
        "p queue show",
        "p queue show 1",
        "p queue reroute --yes",
        "p queue show --yes",
        "p trace 00000000000000000000000000 --domain example.org",
        "p sts",
        "p sts show",
        "p sts forget",
        "p log debug maybe",
        "p shutdown --drain soon",
        "p probe",
        "p probe a..b",
        "p probe user@example.org",
        "p probe 192.0.2.1",
        "p probe [192.0.2.1",
        "p status more",
    ] {
        assert!(!good(words), "{words}");
    }
}

#[test]
fn help_is_output_and_wrong_words_are_complaints() {
    for words in [&["posthaste", "--help"][..], &["posthaste", "queue", "list", "--help"]] {
        let ran = run(words, "");
        assert!(
            ran.code == 0 && ran.output.contains("Usage: posthaste") && ran.complaints.is_empty()
        );
    }
    for words in [&["posthaste", "sendmail", "--help"][..], &["/usr/sbin/sendmail", "--help"]] {
        let ran = run(words, "");
        assert!(ran.code == 0 && ran.output.contains("Usage: sendmail"), "{}", ran.output);
    }
    let hidden = run(&["posthaste", "run", "--help"], "").output;
    assert!(!hidden.contains("debug-faults"), "{hidden}");
    let ran = run(&["posthaste", "queue", "eat"], "");
    assert!(ran.code == 2 && ran.output.is_empty() && ran.complaints.contains("eat"));
    assert_eq!(run(&["posthaste"], "").code, 2);
    assert_eq!(run(&["posthaste", "--version"], "").code, 0);
    for words in [&["sendmail", "-bs"][..], &["posthaste", "sendmail", "-bs"], &["sendmail"]] {
        assert_eq!(run(words, "").code, 64, "{words:?}");
    }
}

#[test]
fn a_daemon_that_is_away_is_69() {
    let path = free_path();
    let socket = path.to_str().unwrap();
    for words in ["status", "ps", "queue list", "trace", "shutdown", "send --from a@x --to b@y"] {
        let mut all = vec!["posthaste", "--socket", socket];
        all.extend(words.split(' '));
        let ran = run(&all, "");
        let expected = format!("posthaste: daemon not reachable at {socket}: ");
        assert!(ran.code == 69 && ran.complaints.starts_with(&expected), "{}", ran.complaints);
    }
    let ran = run(&["posthaste", "--socket", socket, "sendmail", "-f", "a@x", "b@y"], "x\n");
    assert!(
        ran.code == 75 && ran.complaints.contains("daemon not reachable"),
        "{}",
        ran.complaints
    );
    let ran = run(&["sendmail", "--socket", socket, "-f", "a@x", "b@y"], "x\n");
    assert_eq!(ran.code, 75);
}

#[test]
fn listings_have_a_json_line_an_item() {
    let (ran, asked) = says("queue list --json --older 2h --held", |request| {
        listing(request, &[json!(batch()), json!({ "id": "new", "more": "\u{9b}" })])
    });
    let lines: Vec<Value> =
        ran.output.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(ran.code, 0);
    assert_eq!(lines, [json!(batch()), json!({ "id": "new", "more": "\u{9b}" })]); // what is not known yet too
    assert!(ran.output.contains("\\u009b"));
    assert_eq!(asked[0]["method"], "queue.list");
    assert_eq!(
        (&asked[0]["params"]["older"], &asked[0]["params"]["held"]),
        (&json!(7200), &json!(true))
    );
}

#[test]
fn a_filter_that_matches_nothing_is_1_and_an_empty_queue_is_not() {
    let (ran, _) = says("queue list", |request| listing(request, &[]));
    assert_eq!((ran.code, ran.output.as_str()), (0, "nothing waits\n"));
    let (ran, _) = says("queue list --json", |request| listing(request, &[]));
    assert_eq!((ran.code, ran.output.as_str()), (0, ""));
    let (ran, _) = says("queue list --from x", |request| listing(request, &[]));
    assert_eq!(ran.code, 1);
    let (ran, _) = says("trace --domain x", |request| listing(request, &[]));
    assert_eq!(ran.code, 1);
    let (ran, asked) = says("trace --wire --domain x", |request| listing(request, &[]));
    assert_eq!((ran.code, &asked[0]["method"]), (1, &json!("trace.wire")));
    let (ran, _) = says("trace", |request| listing(request, &[]));
    assert_eq!(ran.code, 0);
}

/// What the daemon of these tests says to an act: so many matched, two changed, one in delivery.
fn affected(matched: u64) -> impl Fn(&Value) -> String + Send + 'static {
    move |request: &Value| {
        result(request, json!({ "matched": matched, "changed": 2, "delivering": 1 }))
    }
}

#[test]
fn everything_is_changed_only_with_yes() {
    for words in [
        "queue retry",
        "queue retry --queue q",
        "queue hold --reason why",
        "queue release --queue q",
        "queue fail --domain example.org",
        "queue drop 00000000000000000000000000",
        "queue reroute relay --from a",
    ] {
        let (ran, asked) = says(words, affected(3));
        assert_eq!(ran.code, 1, "{words}");
        assert!(ran.output.starts_with("3 matched, 2 would be "), "{words}: {}", ran.output);
        assert!(ran.output.contains("nothing was changed: add --yes"), "{words}: {}", ran.output);
        assert_eq!((asked.len(), &asked[0]["params"]["count_only"]), (1, &json!(true)), "{words}");
        let (ran, asked) = says(&format!("{words} --yes"), affected(3));
        assert_eq!((ran.code, asked.len()), (0, 1), "{words}");
        assert!(ran.output.contains(", 1 delivering now"), "{words}: {}", ran.output);
        assert_eq!(asked[0]["params"]["count_only"], Value::Null, "{words}");
    }
}

#[test]
fn what_is_filtered_and_undone_easily_needs_no_yes() {
    let (ran, asked) = says("queue retry --domain example.org", affected(3));
    let said = "3 matched, 2 tried again now, 1 delivering now\n";
    assert_eq!((ran.code, ran.output.as_str()), (0, said));
    assert_eq!(asked[0]["method"], "queue.retry");
    let (ran, _) = says("queue release --held --from x", affected(0));
    assert_eq!(ran.code, 1); // nothing matched
}

#[test]
fn why_it_is_held_is_not_why_it_failed() {
    let (_, asked) =
        says("queue hold --domain x.test --reason busy --failure timeout", affected(1));
    assert_eq!(asked[0]["method"], "queue.hold");
    let params = &asked[0]["params"];
    assert_eq!((&params["because"], &params["reason"]), (&json!("busy"), &json!("timeout")));
    for reason in ["--reason", "--failure"] {
        let (_, asked) = says(&format!("queue drop {reason} timeout --yes"), affected(1));
        assert_eq!(asked[0]["params"]["reason"], "timeout");
    }
    let (_, asked) = says("queue reroute &relay --held --yes", affected(1));
    assert_eq!(asked[0]["params"]["target"], "relay");
}

#[test]
fn what_could_not_be_changed_is_to_be_tried_again() {
    let answer = json!({ "matched": 2, "changed": 1, "failed": 1, "why": "451 x\u{1b}[2J" });
    let (ran, _) = says("queue fail --held --yes", move |request| result(request, answer.clone()));
    assert_eq!(ran.code, 75);
    let lines = "2 matched, 1 failed\n1 could not be changed now, try again: 451 x\\u{1b}[2J\n";
    assert_eq!(ran.output, lines);
}

#[test]
fn the_retry_plan_is_that_of_the_manual() {
    let file = std::env::temp_dir().join(format!("posthaste-plan-{}.conf", std::process::id()));
    let text = "hostname a.test\ntarget.queue q {\n target dummy\n}\n\
        target.queue brisk {\n target dummy\n initial_retry_time 1m\n max_age 5m\n}\n";
    std::fs::write(&file, text).unwrap();
    let config = file.to_str().unwrap();
    let plan =
        |more: &[&str]| run(&[&["posthaste", "--config", config, "retry-plan"], more].concat(), "");
    let ran = plan(&["--queue", "q"]);
    let mut lines = ran.output.lines();
    assert_eq!((ran.code, lines.next()), (0, Some("q: max_tries 20, max_retry_time 720.0 min")));
    // Attempt, delay and age: columns of the table in the manual, which a test of the schedule holds against the code.
    let manual = include_str!("../../docs/directives.md");
    let (_, table) = manual.split_once("| attempt | delay | since acceptance |").unwrap();
    let rows = table.lines().skip(2).take_while(|line| line.starts_with('|'));
    let numbers = |line: &str| -> Vec<String> {
        let word = |word: &&str| word.parse::<f64>().is_ok();
        line.split_whitespace().filter(word).map(str::to_string).collect()
    };
    let rows: Vec<_> = rows.map(numbers).collect();
    assert_eq!(lines.skip(1).map(numbers).collect::<Vec<_>>(), rows);
    assert_eq!(rows.len(), 20);
    let ran = plan(&["--queue", "brisk", "--json"]);
    let attempts: Vec<Value> =
        ran.output.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let ages: Vec<_> = attempts.iter().map(|a| a["age_seconds"].as_f64().unwrap()).collect();
    assert_eq!(ages, [0.0, 72.0, 158.4, 262.08, 386.496]); // the first after max_age ends it
    assert_eq!(attempts[0]["max_age_seconds"], 300.0);
    assert_eq!(plan(&["--queue", "nowhere"]).code, 1);
    assert!(plan(&[]).output.contains("\n\nbrisk: "));
    std::fs::write(&file, "nonsense {").unwrap();
    assert_eq!(plan(&[]).code, 78);
    std::fs::remove_file(&file).unwrap();
}

#[test]
fn a_probe_that_reaches_nobody_is_1() {
    let stopped = || json!({ "stopped": { "why": "stopped after 30 minutes" } });
    let deferred = || json!({ "verdict": { "end": "deferred" } });
    for (words, items, code, said) in [
        ("probe example.org", vec![deferred()], 1, "a message now would be deferred\n"),
        ("probe example.org", vec![stopped()], 1, "stopped after 30 minutes\n"),
        ("probe example.org", vec![], 1, ""),
        ("probe example.org --json", vec![json!({ "new": 1 })], 1, "{\"new\":1}\n"),
    ] {
        let (ran, asked) = says(words, move |request| listing(request, &items));
        assert_eq!((ran.code, ran.output.as_str()), (code, said));
        assert_eq!(asked[0]["method"], "probe");
        assert_eq!(asked[0]["params"], json!({ "domain": "example.org", "target": null }));
    }
    let session = json!({ "verdict": { "end": "session", "remote": { "host": "mx.test" } } });
    let answer = move |request: &Value| listing(request, std::slice::from_ref(&session));
    let (ran, asked) = says("probe x.test --target &mx --json", answer);
    assert_eq!((ran.code, &asked[0]["params"]["target"]), (0, &json!("mx")));
    let (ran, _) =
        says("probe x.test", |request| error(request, -32000, "no target.remote x; there are: mx"));
    assert_eq!(ran.complaints, "posthaste: no target.remote x; there are: mx\n");
    assert_eq!((ran.code, run(&["posthaste", "probe", "a..b"], "").code), (1, 2));
}

#[test]
fn no_ids_on_standard_input_ask_for_nothing() {
    let (ran, asked) = against(|_, _| String::new(), &["posthaste", "queue", "retry", "-"], "\n");
    assert_eq!(
        (ran.code, ran.output.as_str(), asked.len()),
        (1, "0 matched, 0 tried again now\n", 0)
    );
}

#[test]
fn a_message_is_shown_or_refused() {
    let (ran, asked) = says(&format!("queue show {ID}"), |request| {
        result(request, json!({ "message": null, "history": [trace_event(Event::Removed)] }))
    });
    assert!(ran.code == 0 && ran.output.contains("HISTORY"), "{}", ran.output);
    assert_eq!(asked[0]["params"], json!({ "id": ID }));
    let (ran, _) =
        says(&format!("queue show {ID}"), |request| error(request, -32000, "no message"));
    assert_eq!((ran.code, ran.complaints.as_str()), (1, "posthaste: no message\n"));
}

#[test]
fn policies_of_other_domains_are_listed_shown_fetched_and_forgotten() {
    let view = crate::show::sts::tests::view();
    let items = [json!(view)];
    for (words, method) in
        [("sts show example.org", "sts.show"), ("sts refresh example.org", "sts.refresh")]
    {
        let items = items.clone();
        let (ran, asked) = says(words, move |request| listing(request, &items));
        assert!(ran.code == 0 && ran.output.contains("  mode          enforce"), "{}", ran.output);
        assert_eq!(asked[0]["method"], method);
        assert_eq!(asked[0]["params"], json!({ "domain": "example.org" }));
    }
    let lines = items.clone();
    let (ran, asked) = says("sts list --cache mx", move |request| listing(request, &lines));
    assert!(ran.code == 0 && ran.output.contains("example.org  enforce"), "{}", ran.output);
    assert_eq!(asked[0]["params"], json!({ "cache": "mx" }));
    let (ran, _) = says("sts list", |request| listing(request, &[]));
    assert_eq!((ran.code, ran.output.as_str()), (0, "no policy\n"));
    let (ran, asked) =
        says("sts forget example.org", |request| result(request, json!({ "forgotten": 1 })));
    assert_eq!((ran.code, ran.output.as_str()), (0, "forgotten in 1 cache\n"));
    assert_eq!(asked[0]["method"], "sts.forget");
    for words in ["sts list", "sts show a.test", "sts refresh a.test", "sts forget a.test"] {
        let (ran, _) =
            says(words, |request| error(request, -32000, "no mtasts cache is configured"));
        let told = "posthaste: no mtasts cache is configured\n";
        assert_eq!((ran.code, ran.complaints.as_str()), (1, told));
    }
}

#[test]
fn events_are_followed_to_the_end() {
    let (ran, asked) = says("trace --follow", |request| {
        listing(request, &[json!(trace_event(Event::Removed)), json!({ "missed": 2 })])
    });
    assert_eq!(ran.code, 0);
    assert!(
        ran.output
            .ends_with("removed   from the queue\n2 events not shown: this reader is too slow\n")
    );
    assert_eq!(asked[0]["method"], "trace.follow");
}

#[test]
fn actors_deliveries_and_sessions_are_told_apart() {
    let actor = json!({ "name": "queue", "kind": "target.queue", "state": "running", "restarts": 0,
        "counters": [], "answers": true });
    let session = json!({ "target": "mx", "destination": "example.org", "mx": "a.example.org",
        "address": "192.0.2.1", "tls_level": "encrypted", "transactions": 3, "idle_seconds": 1,
        "age_seconds": 2 });
    let (ran, _) = says("ps", move |request| {
        let new = json!({ "something": "new" });
        listing(request, &[json!({ "actor": actor }), new, json!({ "session": session })])
    });
    assert!(
        ran.code == 0 && ran.output.contains("target.queue"),
        "{}{}",
        ran.output,
        ran.complaints
    );
    assert!(ran.output.contains("no delivery in progress\n"));
    assert!(ran.output.contains("a.example.org") && ran.output.contains("encrypted"));
}

#[test]
fn small_wishes_are_passed_on() {
    let (ran, asked) =
        says("log debug on outbound", |request| result(request, json!({ "debug": true })));
    assert_eq!((ran.code, ran.output.as_str()), (0, "debug on: outbound\n"));
    assert_eq!(asked[0]["params"], json!({ "on": true, "target": "outbound" }));
    let (ran, asked) = says("shutdown --drain 1m30s", |request| {
        result(request, json!({ "stopping": true, "drain_seconds": 90 }))
    });
    assert_eq!(
        (ran.code, ran.output.as_str()),
        (0, "stopping; deliveries in progress have 1m 30s\n")
    );
    assert_eq!(
        (&asked[0]["method"], &asked[0]["params"]["drain"]),
        (&json!("shutdown"), &json!(90))
    );
}

/// Takes a message and keeps it where the test finds it: in the id of its answer.
fn taking(request: &Value, reader: &mut dyn BufRead) -> String {
    if request["method"] == "status" {
        let status = json!({ "version": "0", "pid": 1, "uptime_seconds": 0, "generation": 1,
            "hostname": "mx.example.org", "state_dir": "", "queues": [], "wrong": [] });
        return result(request, status);
    }
    let mut content = String::new();
    let length = request["params"]["length"].as_u64().unwrap();
    reader.take(length).read_to_string(&mut content).unwrap();
    assert_eq!(content.len() as u64, length);
    result(request, json!({ "id": content }))
}

#[test]
fn send_prints_the_queue_id() {
    let words =
        ["posthaste", "send", "--from", "<a@x>", "--to", "b@y", "<c@y>", "--target", "q", "-"];
    let (ran, asked) = against(taking, &words, "A: 1");
    assert_eq!((ran.code, ran.output.as_str()), (0, "A: 1\n"));
    let params = &asked[0]["params"];
    assert_eq!((&params["from"], &params["to"]), (&json!("a@x"), &json!(["b@y", "c@y"])));
    assert_eq!((&params["target"], &params["length"]), (&json!("q"), &json!(4)));
    for from in ["", "<>"] {
        let (_, asked) =
            against(taking, &["posthaste", "send", "--from", from, "--to", "b@y"], "x");
        assert_eq!(asked[0]["params"]["from"], "");
    }
    let ran = run(&["posthaste", "send", "--from", "a@x", "--to", "b@y", "/nowhere/m.eml"], "");
    assert!(ran.code == 1 && ran.complaints.starts_with("posthaste: reading /nowhere/m.eml: "));
}

#[test]
fn a_refusal_says_whether_to_try_again() {
    for (text, send, sendmail) in [
        ("451 4.3.1 spool is full", 75, 75),
        ("550 5.1.3 bad address", 1, 69),
        ("no such queue", 1, 69),
    ] {
        let words = ["posthaste", "send", "--from", "a@x", "--to", "b@y"];
        let (ran, _) = against(
            move |request, reader| {
                taking(request, reader);
                error(request, -32000, text)
            },
            &words,
            "x",
        );
        assert_eq!((ran.code, ran.complaints), (send, format!("posthaste: {text}\n")));
        let words = ["posthaste", "sendmail", "-f", "a@x", "b@y"];
        let (ran, _) = against(
            move |request, reader| {
                taking(request, reader);
                error(request, -32000, text)
            },
            &words,
            "x",
        );
        assert_eq!(ran.code, sendmail, "{text}");
    }
}

#[test]
fn sendmail_takes_recipients_from_words_and_header() {
    let message = "To: Bob <b@y>, root\nBcc: c@y\nFrom: x@x\n\nhello\n.\nnot read\n";
    let words = ["sendmail", "-t", "-f", "ann", "-N", "never", "-R", "hdrs", "-V", "id", "d@y,b@y"];
    let (ran, asked) = against(taking, &words, message);
    assert_eq!((ran.code, ran.output.as_str(), ran.complaints.as_str()), (0, "", ""));
    assert_eq!(asked[0]["method"], "status"); // names without a domain are of this host
    let params = &asked[1]["params"];
    assert_eq!(params["from"], "ann@mx.example.org");
    assert_eq!(params["to"], json!(["d@y", "b@y", "root@mx.example.org", "c@y"]));
    let expected = "To: Bob <b@y>, root\nFrom: x@x\n\nhello\n";
    assert_eq!(params["length"], expected.len());
    let wishes = (&params["notify"], &params["ret"], &params["envid"]);
    assert_eq!(wishes, (&json!("never"), &json!("hdrs"), &json!("id")));
}

#[test]
fn the_verb_sendmail_takes_its_words_as_they_are() {
    let words = ["posthaste", "sendmail", "-i", "-f", "a@x", "--", "-b@y", "c@y"];
    let (ran, asked) = against(taking, &words, "x\n");
    assert_eq!((ran.code, ran.complaints.as_str()), (0, ""));
    assert_eq!(asked[0]["params"]["to"], json!(["-b@y", "c@y"]));
}

#[test]
fn sendmail_with_i_reads_to_the_end() {
    for option in ["-i", "-oi"] {
        let words = ["sendmail", option, "-f", "", "b@y"];
        let (ran, asked) = against(taking, &words, "A: 1\n\n.\nb\n");
        assert_eq!((ran.code, asked.len()), (0, 1));
        assert_eq!(
            (&asked[0]["params"]["from"], &asked[0]["params"]["length"]),
            (&json!(""), &json!(10))
        );
    }
}

#[test]
fn sendmail_without_recipients_is_64() {
    for words in [&["sendmail", "-f", "a@x"][..], &["sendmail", "-t", "-f", "a@x"]] {
        let ran = run(words, "Subject: x\n\n");
        assert_eq!((ran.code, ran.complaints.as_str()), (64, "posthaste: no recipients\n"));
    }
    let ran = run(&["sendmail", "-f", "a@x", "Bob b@y"], "");
    assert_eq!((ran.code, ran.complaints.as_str()), (64, "posthaste: not an address: Bob b@y\n"));
}

/// Standard output whose reader has gone.
struct Closed;

impl Write for Closed {
    fn write(&mut self, _: &[u8]) -> std::io::Result<usize> {
        Err(std::io::ErrorKind::BrokenPipe.into())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_closed_pipe_ends_quietly() {
    let daemon = FakeDaemon::start(GREETING, |request, _| listing(request, &[json!(batch())]));
    let socket = daemon.path().to_str().unwrap();
    let words = ["posthaste", "queue", "list", "--socket", socket].map(OsString::from);
    let mut complaints = Vec::new();
    let mut console = Console {
        input: &mut std::io::empty(),
        output: &mut Closed,
        complaints: &mut complaints,
        colour: false,
    };
    assert_eq!(start(&words, &mut console), Exit::Done);
    assert!(complaints.is_empty());
}
