use std::time::Duration;

use posthaste_mail::attempt::mailing::EightBit;
use posthaste_mail::pool::Keeping;

use super::*;
use crate::configuration::tests::with_reader;

/// What a top-level block comes to, and what is said about it.
fn block(module: &str, body: &str) -> (Option<ForwardSettings>, Vec<String>) {
    let dialect = if module == "target.lmtp" { Dialect::Lmtp } else { Dialect::Smtp };
    let text = format!("hostname we.test\nruntime_dir /run/x\n{module} relay {{\n{body}\n}}");
    with_reader(&text, |reader| {
        let top = &reader.loaded.blocks[0];
        read(reader, &top.node, false, dialect)
    })
}

fn smtp(body: &str) -> ForwardSettings {
    let (settings, problems) = block("target.smtp", &format!("targets tcp://127.0.0.1:25\n{body}"));
    assert_eq!(problems, [""; 0]);
    settings.unwrap()
}

fn shown(settings: &ForwardSettings) -> Vec<String> {
    settings.targets.iter().map(ToString::to_string).collect()
}

/// The problem that a line leads to, without its place.
fn problem(body: &str) -> String {
    let (_, problems) = block("target.smtp", body);
    assert_eq!(problems.len(), 1, "{body}: {problems:?}");
    problems[0].split_once(": target.smtp relay: ").unwrap().1.to_string()
}

#[test]
fn defaults_are_those_of_the_manual() {
    let settings = smtp("");
    assert_eq!(settings.dialect, Dialect::Smtp);
    assert_eq!(settings.hostname.ascii(), "we.test");
    assert_eq!(settings.security, Security { attempt_starttls: true, require_tls: false });
    assert_eq!(settings.auth, Auth::Off);
    assert!(!settings.debug && settings.limits.is_none());
    let SessionSettings { connect_timeout, timeouts, keeping, eight_bit } = settings.sessions;
    assert_eq!(connect_timeout, Duration::from_secs(300));
    assert_eq!(timeouts.command, Duration::from_secs(300));
    assert_eq!(timeouts.submission, Duration::from_secs(720));
    assert_eq!(keeping, Keeping::default());
    assert_eq!(eight_bit, EightBit::AsItIs);
    // "no for target.lmtp"
    let (lmtp, problems) = block("target.lmtp", "targets unix:lmtp");
    assert_eq!(problems, [""; 0]);
    let lmtp = lmtp.unwrap();
    assert_eq!(lmtp.dialect, Dialect::Lmtp);
    assert_eq!(lmtp.security, Security { attempt_starttls: false, require_tls: false });
    assert_eq!(shown(&lmtp), ["unix:/run/x/lmtp"]);
}

#[test]
fn every_directive_is_read() {
    let settings = smtp(
        "hostname relay.we.test
        auth plain user \"pass word\"
        require_tls
        connect_timeout 1m
        command_timeout 2m
        submission_timeout 3m
        conn_reuse_limit 3
        conn_max_idle_count 4
        conn_max_idle_time 5
        strict_8bit
        limits { destination concurrency 2 }
        tls_client { protocols tls1.3 }
        debug",
    );
    assert_eq!(settings.hostname.ascii(), "relay.we.test");
    let Auth::As(Login::Plain(account)) = &settings.auth else { panic!("{:?}", settings.auth) };
    assert_eq!(account.user(), "user");
    assert_eq!(settings.security, Security { attempt_starttls: true, require_tls: true });
    let minutes = |n: u64| Duration::from_secs(60 * n);
    let sessions = &settings.sessions;
    assert_eq!((sessions.connect_timeout, sessions.timeouts.command), (minutes(1), minutes(2)));
    assert_eq!(sessions.timeouts.submission, minutes(3));
    let longest_idle = Duration::from_secs(5);
    assert_eq!(sessions.keeping, Keeping { most_transactions: 3, most_idle: 4, longest_idle });
    assert_eq!(sessions.eight_bit, EightBit::OnlyAnnounced);
    assert!(settings.limits.is_some() && settings.debug);
}

#[test]
fn targets_keep_their_order_and_those_of_the_line_come_last() {
    let several =
        "targets tls://mx.test:465 unix:/run/a tcp://[::1]:25 tcp://mx.test:25 tls://mx.test:465";
    let (settings, problems) = block("target.smtp", several);
    assert_eq!(problems, [""; 0]);
    let expected = [
        "tls://mx.test:465",
        "unix:/run/a",
        "tcp://[::1]:25",
        "tcp://mx.test:25",
        "tls://mx.test:465", // once more, if that is wanted
    ];
    assert_eq!(shown(&settings.unwrap()), expected);

    let inline = |words: &str, body: &str| {
        let text = format!(
            "hostname we.test\nmsgpipeline p {{\ndeliver_to smtp {words} {{\n{body}\n}}\n}}"
        );
        with_reader(&text, |reader| {
            let deliver = &reader.loaded.blocks[0].node.children()[0];
            let module = posthaste_config::ModuleRef::of(deliver, "target").unwrap();
            let posthaste_config::ModuleRef::Inline(inline) = module else { panic!() };
            read(reader, &inline.node, true, Dialect::Smtp).map(|settings| shown(&settings))
        })
    };
    let two = ["tcp://b.test:25", "tcp://a.test:25"].map(str::to_string);
    assert_eq!(inline("tcp://a.test:25", "targets tcp://b.test:25"), (Some(two.to_vec()), vec![]));
    assert_eq!(inline("tcp://a.test:25", "").0.unwrap(), ["tcp://a.test:25"]);
    let (settings, problems) = inline("mx.test", "");
    assert!(settings.is_none() && problems.len() == 1, "{problems:?}");
    let (_, problems) = inline("", "");
    assert_eq!(problems, ["/nonexistent/c:3: smtp: missing required directive targets"]);
}

#[test]
fn both_words_for_starttls() {
    let security = |body: &str| {
        let Security { attempt_starttls, require_tls } = smtp(body).security;
        (attempt_starttls, require_tls)
    };
    assert_eq!(security("starttls"), (true, true));
    assert_eq!(security("starttls no"), (false, false));
    assert_eq!(security("attempt_starttls no"), (false, false));
    assert_eq!(security("require_tls yes"), (true, true));
    for beside in ["attempt_starttls yes", "require_tls no"] {
        let body = format!("targets tcp://127.0.0.1:25\nstarttls yes\n{beside}");
        assert!(problem(&body).starts_with("starttls stands in place of"));
    }
}

#[test]
fn every_way_to_log_in() {
    let auth = |words: &str| smtp(&format!("auth {words}")).auth;
    let account = Account::new("u", "p").unwrap();
    assert_eq!(auth("off"), Auth::Off);
    assert_eq!(auth("plain u p"), Auth::As(Login::Plain(account.clone())));
    assert_eq!(auth("login u p"), Auth::As(Login::Login(account)));
    assert_eq!(auth("forward"), Auth::Forward);
    for (words, text) in [
        ("", "auth: expects off, plain USER PASSWORD"),
        ("on", "auth: expects off, plain USER PASSWORD"),
        ("off really", "auth: expects off, plain USER PASSWORD"),
        ("plain user", "auth: expects a user name and a password"),
        ("login user pass word", "auth: expects a user name and a password"),
        ("plain user \"\"", "auth: user name and password must not be empty"),
    ] {
        let told = problem(&format!("targets tcp://127.0.0.1:25\nauth {words}"));
        assert!(told.starts_with(text) && !told.contains(" word"), "{words}: {told}");
    }
}

#[test]
fn mistakes_are_told() {
    for (body, text) in [
        ("", "missing required directive targets"),
        ("targets", "targets: "),
        ("targets smtp://a:25", "targets: address smtp://a:25: expects tcp://HOST:PORT"),
        ("targets tcp://0.0.0.0:25", "targets: address tcp://0.0.0.0:25: a wildcard"),
        ("targets tcp://a", "targets: address tcp://a: the port is missing"),
        ("targets tcp://a:25\ntargets tcp://b:25", "targets is given twice"),
        ("targets tcp://a:25\ncommand_timeout 0", "command_timeout: 0 would give"),
        ("targets tcp://a:25\nrequire_tsl", "unknown directive require_tsl, did you mean"),
        ("targets tcp://a:25\nmx_auth { dane }", "unknown directive mx_auth"),
    ] {
        let told = problem(body);
        assert!(told.starts_with(text), "{body}: {told}");
    }
}

#[test]
fn what_can_never_work_is_told_before_mail_waits_for_it() {
    let (_, problems) =
        block("target.smtp", "targets tcp://a:25 tls://a:465\nstarttls no\nauth plain u p");
    let said =
        "warning: target.smtp relay: auth: tcp://a:25 is never used: credentials are not sent";
    assert!(problems.len() == 1 && problems[0].contains(said), "{problems:?}");
    let no = "attempt_starttls no\nrequire_tls yes";
    let (_, problems) =
        block("target.smtp", &format!("targets tcp://a:25 tls://a:465 unix:b\n{no}"));
    let said: Vec<bool> = problems
        .iter()
        .map(|p| p.contains("warning") && p.contains("is never used: require_tls"))
        .collect();
    assert_eq!(said, [true, true], "{problems:?}");
    let (_, problems) = block("target.lmtp", "targets tcp://a:25 tcp://a:24");
    assert!(problems.len() == 1 && problems[0].contains("port 25 is for SMTP"), "{problems:?}");
    let (_, problems) = block("target.smtp", "targets tls://a:465\nauth external");
    assert!(problems.len() == 1 && problems[0].contains("external needs a certificate"));
    let (_, problems) =
        block("target.smtp", "targets unix:a tls://a:465\nstarttls no\nauth external");
    let never = problems.iter().filter(|p| p.contains("is never used: external needs TLS"));
    assert_eq!((never.count(), problems.len()), (1, 2), "{problems:?}");
    // Neighbours need no TLS.
    let near = "targets unix:a tcp://127.0.0.1:25 tcp://[::1]:25 tcp://localhost:25\nstarttls no\nauth plain u p";
    assert_eq!(block("target.smtp", near).1, [""; 0]);
}

#[test]
fn no_password_is_shown() {
    let settings = smtp("auth plain user correct-horse");
    assert!(!format!("{settings:?}").contains("correct-horse"));
}
