//! `posthaste check` names every mistake of a file with its line, in one run, and touches nothing.

use std::process::Command;

use crate::harness::area::Area;
use crate::harness::daemon::{Config, binary};

#[test]
fn check_reports_all_mistakes() {
    let area = Area::new("check_all_mistakes");
    let state = area.file("state");
    let text = format!(
        "hostname mx.sender.test
state_dir {state}
runtime_dir {state}
tls off
hostnam mx.sender.test
smtp tcp://127.0.0.1 {{
    deliver_to &nowhere
}}
target.queue outbound {{
    target &mx
    max_tries many
}}
target.queue second {{
    location second
}}
target.remote mx {{
    connect_timeout 5 parsecs
}}
",
        state = state.display()
    );
    let file = area.write("wrong.conf", text);
    let (code, said) = check(&file);
    for (line, what) in [
        (5, "an unknown directive"),
        (6, "an address without a port"),
        (7, "a reference to nothing"),
        (11, "a number that is none"),
        (13, "a queue without a target"),
        (17, "a duration that is none"),
    ] {
        let place = format!("{}:{line}: ", file.display());
        assert!(said.contains(&place), "{what} in line {line} is not reported:\n{said}");
    }
    assert!(said.contains("hostname"), "the nearest known directive is suggested:\n{said}");
    assert_eq!(code, Some(78));
    assert!(!state.exists(), "check made {}", state.display());
}

#[test]
fn check_is_content_with_a_good_file() {
    let area = Area::new("check_good_file");
    let file = area.write("good.conf", Config::new(&area, area.socket()).text());
    let (code, said) = check(&file);
    assert_eq!(code, Some(0), "{said}");
    assert!(!area.file("state").exists() && !area.file("run").exists());
}

#[test]
fn run_refuses_what_check_refuses() {
    let area = Area::new("run_refuses");
    let file = area.write("wrong.conf", "hostname mx.sender.test\nnonsense\n");
    let output = Command::new(binary()).arg("run").arg("--config").arg(&file).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(78), "{said}");
    assert!(said.contains(&format!("{}:2: ", file.display())), "{said}");
}

/// Exit code and everything printed.
fn check(file: &std::path::Path) -> (Option<i32>, String) {
    let output = Command::new(binary()).arg("check").arg("--config").arg(file).output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8_lossy(&said).into_owned())
}
