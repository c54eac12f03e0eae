//! Peers, places and messages for the scenarios.
//!
//! | file | noun |
//! |---|---|
//! | `area` | a directory, addresses and a port of a test's own |
//! | `process`, `daemon`, `operator` | child processes; the daemon; its socket |
//! | `dns`, `zone` | DNS under the test's control; the real nsd and unbound |
//! | `connection`, `client`, `source` | one SMTP connection; a raw client; a load of messages that counts what was acknowledged |
//! | `sink`, `session`, `dialogue` | a recording SMTP or LMTP server, and one session of it; a server that plays a script |
//! | `certificates` | a certificate authority of the test's own |
//! | `postfix`, `exim`, `opensmtpd`, `nginx`, `smtp_sink`, `smtp_source`, `swaks` | the real programs |
//! | `smarthost` | a Postfix that asks for passwords and certificates |
//! | `dovecot`, `imap` | a real server of mailboxes; how they are read |
//! | `maildir`, `mounts` | where real servers deliver; how one that is only unpacked finds its files |
//! | `trial` | a table of misbehaving peers, and what must come of each |
//! | `message` | messages of every awkward kind, and the comparison of what was sent with what arrived |
//! | `notification` | a delivery status notification, taken apart |
//! | `outbound` | all of it put together: daemon, DNS, and a place for notifications |
//! | `forwarding` | a daemon with queues, and a forwarder behind each |
//! | `history` | what became of messages |

pub mod area;
pub mod certificates;
pub mod client;
pub mod connection;
pub mod daemon;
pub mod dialogue;
pub mod dns;
pub mod dovecot;
pub mod exim;
pub mod forwarding;
pub mod history;
pub mod imap;
pub mod listener;
pub mod maildir;
pub mod message;
pub mod mounts;
pub mod nginx;
pub mod notification;
pub mod opensmtpd;
pub mod operator;
pub mod outbound;
pub mod postfix;
pub mod process;
pub mod session;
pub mod sink;
pub mod smarthost;
pub mod smtp_sink;
pub mod smtp_source;
pub mod source;
pub mod swaks;
pub mod trial;
pub mod zone;
