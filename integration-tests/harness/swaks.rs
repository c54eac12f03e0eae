//! swaks, the SMTP client with a switch for everything.

use std::net::SocketAddr;
use std::process::Output;

use crate::harness::area::Area;
use crate::harness::connection::stuffed;
use crate::harness::message::Message;
use crate::harness::process::command;

pub const PROGRAM: &str = "swaks";

/// Sends the message exactly as it is. `options` are swaks' own, `--tls` for instance.
pub fn send(
    area: &Area,
    server: SocketAddr,
    from: &str,
    to: &str,
    message: &Message,
    options: &[&str],
) -> Output {
    let data = area.write(&format!("{}.swaks", message.id()), stuffed(message.bytes()));
    let mut swaks = command(PROGRAM);
    swaks.args(["--server", &server.ip().to_string(), "--port", &server.port().to_string()]);
    swaks.args(["--from", from, "--to", to, "--helo", "client.test"]);
    // Without the second switch swaks replaces words between percent signs and changes line ends.
    swaks.arg("--data").arg(format!("@{}", data.display())).arg("--no-data-fixup");
    swaks.args(options).output().unwrap()
}

/// Whether swaks can speak TLS here. If not, says so; the test then returns.
pub fn speaks_tls(area: &Area) -> bool {
    let probe = command("perl").args(["-MNet::SSLeay", "-e", "1"]).output();
    probe.is_ok_and(|output| output.status.success()) || area.skip("Net::SSLeay, for swaks --tls,")
}
