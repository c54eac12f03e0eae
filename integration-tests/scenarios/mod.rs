//! Behaviours, one a file. Those called `peers_*` are about the peers themselves, without the daemon.

mod accepted_means_on_disk;
mod check_reports_all_mistakes;
mod crash_matrix;
mod intake_refuses;
mod kill9_under_load_loses_nothing;
mod local_faults;
mod mail_exchanger_choice;
mod memory_stays_bounded;
mod message_arrives_byte_for_byte;
mod notifications_of_delay;
mod notifications_of_failure;
mod notifications_of_success;
mod operator_socket_takes_garbage;
mod panics_lose_nothing;
mod peers_dialogue;
mod peers_dns;
mod peers_fake_dns;
mod peers_postfix;
mod peers_smtp_sink;
mod peers_tls;
mod several_queues;
mod shutdown_drains;
mod spool_by_hand;
mod spool_is_rebuilt;
mod unfriendly_peers;
mod unknown_outcomes;
