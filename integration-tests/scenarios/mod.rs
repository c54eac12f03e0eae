//! Behaviours, one a file.

mod peers_dialogue;
mod peers_dns;
mod peers_fake_dns;
mod peers_postfix;
mod peers_smtp_sink;
mod peers_tls;
