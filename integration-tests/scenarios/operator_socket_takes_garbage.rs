//! Whatever is sent to the operator's socket, the daemon answers or hangs up, and goes on.

use std::io::Write;
use std::process::Stdio;

use serde_json::{Value, json};

use crate::harness::operator::Operator;
use crate::harness::outbound::Outbound;
use crate::harness::process::command;

/// More than a request may have.
const TOO_LONG: usize = (1 << 20) + 2;

#[test]
fn operator_socket_takes_garbage() {
    let mut outbound = Outbound::start("operator_garbage");
    let socket = outbound.daemon.socket().to_owned();
    let long = [vec![b'x'; TOO_LONG], b"\n".to_vec()].concat();
    let long_json =
        format!("{{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"{}\"}}\n", "m".repeat(TOO_LONG));
    let deep = format!("{}{}\n", "[".repeat(100_000), "]".repeat(100_000));
    let garbage: [&[u8]; 16] = [
        b"\n",
        b"\r\n\r\n",
        b"hello\n",
        b"{\n",
        b"null\n",
        b"[]\n",
        b"{}\n",
        b"\xff\xfe\x00\x01\n",
        b"{\"jsonrpc\":\"2.0\",\"id\":1}\n",
        b"{\"jsonrpc\":\"2.0\",\"id\":{},\"method\":7}\n",
        b"{\"jsonrpc\":\"1.0\",\"id\":1,\"method\":\"status\"}\n",
        b"{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"status\",\"params\":\"x\"}\n",
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
        &long,
        long_json.as_bytes(),
        deep.as_bytes(),
    ];
    for bytes in garbage {
        let mut operator = Operator::connect(&socket).unwrap();
        // A server that has seen enough may close before all is written.
        let _ = operator.send(bytes);
        // Half a request, and away.
        let _ = operator.send(b"{\"jsonrpc\":");
        drop(operator);
        assert_alive(&mut outbound, bytes);
    }

    // Connections that say nothing keep nobody out.
    let idle: Vec<Operator> = (0..50).map(|_| Operator::connect(&socket).unwrap()).collect();
    assert_alive(&mut outbound, b"idle connections");
    drop(idle);
}

fn assert_alive(outbound: &mut Outbound, after: &[u8]) {
    let shown = after[..after.len().min(60)].escape_ascii();
    assert!(outbound.daemon.is_running(), "ended by {shown}");
    let answer = outbound.daemon.operator().call("status", Value::Null);
    assert!(answer.is_ok_and(|answer| answer.result.is_ok()), "no answer after {shown}");
}

#[test]
fn mistakes_have_the_codes_of_json_rpc() {
    let outbound = Outbound::start("operator_codes");
    let mut operator = outbound.daemon.operator();
    assert_eq!(operator.greeting()["protocol"], json!(1));
    assert!(operator.greeting()["posthaste"].is_string());
    let mut code = |line: &[u8]| {
        operator.send(line).unwrap();
        operator.read().unwrap().unwrap()["error"]["code"].clone()
    };
    // One session survives all of these.
    assert_eq!(code(b"not json\n"), json!(-32700));
    assert_eq!(code(b"{\"jsonrpc\":\"2.0\",\"id\":1}\n"), json!(-32600));
    assert_eq!(code(b"{\"jsonrpc\":\"2.0\",\"id\":2,\"method\":\"explode\"}\n"), json!(-32601));
    let wrong =
        b"{\"jsonrpc\":\"2.0\",\"id\":3,\"method\":\"queue.retry\",\"params\":{\"id\":[7]}}\n";
    assert_eq!(code(wrong), json!(-32602));
    let answer = operator.call("status", Value::Null).unwrap();
    assert!(answer.result.unwrap()["version"].is_string());
}

#[test]
fn faults_are_not_for_everyone() {
    let outbound = Outbound::start("no_debug_faults"); // without --debug-faults
    let answer = outbound.daemon.operator().call("debug.panic", json!({"name": "queue"})).unwrap();
    assert_eq!(answer.result.unwrap_err()["code"], json!(-32601));
}

#[test]
fn the_example_of_the_manual_works() {
    let outbound = Outbound::start("socat_example");
    if !outbound.area.needs(&["socat"]) {
        return;
    }
    let mut socat = command("socat");
    socat.args(["-t", "10", "-"]).arg(format!("UNIX:{}", outbound.daemon.socket().display()));
    let mut child = socat.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let request = b"{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"status\"}\n";
    child.stdin.take().unwrap().write_all(request).unwrap(); // and the end of input
    let output = child.wait_with_output().unwrap();
    let lines = String::from_utf8(output.stdout).unwrap();
    let lines: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines[0]["protocol"], json!(1));
    assert!(
        lines.iter().any(|line| line["id"] == json!(1) && line["result"].is_object()),
        "{lines:?}"
    );
}
