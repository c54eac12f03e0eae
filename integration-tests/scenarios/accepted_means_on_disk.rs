//! The 250 to the final dot is sent after the content has been synced: seen in the system calls of the daemon.

use std::collections::HashMap;

use crate::harness::area::Area;
use crate::harness::client::Client;
use crate::harness::daemon::{Config, Daemon};
use crate::harness::dns::Dns;
use crate::harness::message::Message;

const CALLS: &str = "trace=write,pwrite64,writev,pwritev,pwritev2,sendto,sendmsg,fsync,fdatasync";
const MARK: &str = "the-last-line-of-the-content";

#[test]
fn accepted_means_on_disk() {
    let area = Area::new("accepted_means_on_disk");
    if !area.needs(&["strace"]) {
        return;
    }
    let dns = Dns::start(area.socket());
    // Delivery would write the content once more, to a socket.
    use hickory_resolver::proto::{op::ResponseCode, rr::RecordType};
    dns.fails("example.test", RecordType::MX, ResponseCode::ServFail);
    let config = Config::new(&area, dns.address());
    let trace = area.file("trace");
    // -D keeps the daemon our own child, -y shows the path behind each descriptor.
    let file = trace.display().to_string();
    let strace = ["strace", "-D", "-f", "-y", "-s", "4000000", "-e", CALLS, "-o", &file];
    let mut daemon = Daemon::start_with(&area, &config.text(), &strace, &[]);

    for (name, size) in [("small", 500), ("middling", 50_000), ("large", 3_000_000)] {
        let mark = format!("{MARK}-{name}");
        let message = Message::plain(name, size).with_line(mark.as_bytes());
        let mut client = Client::greeted(config.listen);
        let reply =
            client.transact("sender@sender.test", &["user@example.test"], message.bytes()).unwrap();
        assert_eq!(reply.code, 250, "{reply:?}");
        let _ = client.say("QUIT");
    }
    assert_eq!(daemon.terminate(), Some(0));
    let text = std::fs::read(&trace).unwrap();
    let text = String::from_utf8_lossy(&text);
    for name in ["small", "middling", "large"] {
        assert_synced_before_reply(&text, &format!("{MARK}-{name}"));
    }
}

/// A large message is written under `buffer/` and gets its place in the spool by a link: one file with two names.
fn file_of(path: &str) -> &str {
    if path.contains("/buffer/") || path.contains("/large/") {
        "the file of a large message"
    } else {
        path
    }
}

/// After the write with the mark comes a completed sync of the same file, and only then a 250.
fn assert_synced_before_reply(trace: &str, mark: &str) {
    let mut unfinished: HashMap<&str, &str> = HashMap::new();
    let mut written: Option<&str> = None;
    let mut begun_after_write: HashMap<&str, &str> = HashMap::new();
    let mut synced = false;
    for line in trace.lines() {
        let Some((process, call)) = line.split_once(' ') else { continue };
        let call = call.trim_start();
        let path =
            call.split_once('<').and_then(|(_, rest)| rest.split_once('>')).map(|(path, _)| path);
        let path = file_of(path.unwrap_or_default());
        let is_sync = call.starts_with("fdatasync(") || call.starts_with("fsync(");
        let is_socket = path.starts_with("socket:") || path.starts_with("TCP");
        if call.contains(mark) && !is_socket {
            // The content counts from where its last line is written, wherever the parts before it went.
            (written, synced) = (Some(path), false);
            begun_after_write.clear();
            if call.ends_with("<unfinished ...>") {
                unfinished.insert(process, path);
            }
        } else if call.starts_with("<... ") && call.contains("write") {
            unfinished.remove(process);
        } else if is_sync && written == Some(path) && unfinished.is_empty() {
            if call.ends_with("= 0") {
                synced = true;
            } else {
                begun_after_write.insert(process, path);
            }
        } else if call.starts_with("<... ") && call.contains("sync resumed") {
            synced |= begun_after_write.remove(process).is_some() && call.ends_with("= 0");
        } else if written.is_some() && is_socket && call.contains("\"250") {
            assert!(synced, "{mark}: 250 before {written:?} was synced: {line}");
            return;
        }
    }
    panic!(
        "{mark}: no write of the content followed by a 250 (written to {written:?}, synced {synced})"
    );
}

#[test]
fn a_trace_is_read_rightly() {
    let write = "7  pwrite64(9</s/seg>, \"MARK\", 4, 0) = 4\n";
    let sync = "7  fdatasync(9</s/seg>) = 0\n";
    let reply = "8  sendto(5<socket:[1]>, \"250 2.0.0 ok\\r\\n\", 14, 0, NULL, 0) = 14\n";
    let verdict = |parts: &[&str]| {
        let trace = parts.concat();
        std::panic::catch_unwind(move || assert_synced_before_reply(&trace, "MARK")).is_ok()
    };
    let begun = "7  fdatasync(9</s/seg> <unfinished ...>\n";
    let done = "7  <... fdatasync resumed>) = 0\n";
    let other = "7  fdatasync(4</s/db>) = 0\n";
    assert!(verdict(&[write, sync, reply]));
    assert!(verdict(&[write, begun, done, reply]));
    assert!(verdict(&[reply, write, sync, reply])); // the replies to EHLO, MAIL and RCPT come before
    assert!(!verdict(&[write, reply, sync])); // too late
    assert!(!verdict(&[sync, write, reply])); // too early
    assert!(!verdict(&[write, begun, reply, done])); // not finished
    assert!(!verdict(&[begun, write, done, reply])); // begun before the write
    assert!(!verdict(&[write, other, reply])); // another file
    assert!(!verdict(&[write, "7  fdatasync(9</s/seg>) = -1 EIO (Input/output error)\n", reply]));
    assert!(!verdict(&[write, sync])); // never acknowledged
}
