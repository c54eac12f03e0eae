//! Large messages and many sessions cost disk, not memory.

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpStream};

use crate::harness::outbound::{Outbound, SENDER, SOON};
use crate::harness::process::wait_until;

const MEGABYTE: usize = 1 << 20;

/// A session in the middle of its content.
struct Sending {
    stream: TcpStream,
    reader: BufReader<TcpStream>,
}

impl Sending {
    fn begin(listen: SocketAddr, to: &str) -> Sending {
        let stream = TcpStream::connect(listen).unwrap();
        let mut sending = Sending { reader: BufReader::new(stream.try_clone().unwrap()), stream };
        sending.reply("220");
        for (command, code) in [
            ("HELO client.test".to_string(), "250"),
            (format!("MAIL FROM:<{SENDER}>"), "250"),
            (format!("RCPT TO:<{to}>"), "250"),
            ("DATA".to_string(), "354"),
        ] {
            sending.stream.write_all(format!("{command}\r\n").as_bytes()).unwrap();
            sending.reply(code);
        }
        sending.stream.write_all(b"Subject: large\r\n\r\n").unwrap();
        sending
    }

    /// Lines of 1000 octets and a bit.
    fn content(&mut self, octets: usize) {
        let line = [&[b'x'; 998][..], b"\r\n"].concat();
        let block = line.repeat(100);
        for _ in 0..octets.div_ceil(block.len()) {
            self.stream.write_all(&block).unwrap();
        }
    }

    fn end(&mut self) {
        self.stream.write_all(b".\r\n").unwrap();
        self.reply("250");
    }

    fn reply(&mut self, code: &str) {
        let mut line = String::new();
        self.reader.read_line(&mut line).unwrap();
        assert!(line.starts_with(code), "wanted {code}, got {line:?}");
    }
}

/// The most memory the process ever had, in megabytes.
fn peak(pid: u32) -> usize {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<usize>().unwrap() / 1024
}

#[test]
fn memory_stays_bounded() {
    let test = Outbound::start_with("memory_stays_bounded", &[], |config| {
        config.smtp = "max_message_size 200M".to_string();
    });
    let sink = test.sink("large.test");
    let before = peak(test.daemon.pid());

    let mut large = Sending::begin(test.listen(), "user@large.test");
    large.content(100 * MEGABYTE);
    large.end();
    wait_until("the message of 100 MB is delivered", SOON * 3, || !sink.transactions().is_empty());
    assert!(sink.transactions()[0].content.len() > 100 * MEGABYTE);
    let after_large = peak(test.daemon.pid());

    // 300 sessions in the middle of a message of a megabyte and a half.
    let mut many: Vec<Sending> =
        (0..300).map(|_| Sending::begin(test.listen(), "user@large.test")).collect();
    many.iter_mut().for_each(|sending| sending.content(3 * MEGABYTE / 2));
    let after_many = peak(test.daemon.pid());
    drop(many);
    test.area.report(&format!(
        "peak memory: {before} MB at start, {after_large} MB after 100 MB, {after_many} MB with 300 sessions"
    ));
    assert!(after_large < before + 60, "{after_large} MB");
    assert!(after_many < before + 200, "{after_many} MB");
}
