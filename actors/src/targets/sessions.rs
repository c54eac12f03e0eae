//! Directives about sessions, the same in every target that makes them.

use std::time::Duration;

use posthaste_config::{Block, Node, Problem};
use posthaste_edge::session::{TRANSACTION_LIMIT, Timeouts};
use posthaste_mail::attempt::mailing::EightBit;
use posthaste_mail::pool::Keeping;

/// How long each step may take, which sessions are kept, and what goes over them.
#[derive(Clone, Debug)]
pub struct SessionSettings {
    pub connect_timeout: Duration,
    pub timeouts: Timeouts,
    pub keeping: Keeping,
    pub eight_bit: EightBit,
}

pub fn read(block: &mut Block<'_>) -> SessionSettings {
    let connect_timeout =
        block.duration("connect_timeout").check(not_zero).or(Duration::from_secs(300));
    let timeouts = Timeouts {
        // "The latter is not configurable and is hardcoded to be 5 minutes."
        greeting: Duration::from_secs(300),
        command: block.duration("command_timeout").check(not_zero).or(Duration::from_secs(300)),
        block: Duration::from_secs(180),
        submission: block
            .duration("submission_timeout")
            .check(not_zero)
            .or(Duration::from_secs(12 * 60)),
        transaction: TRANSACTION_LIMIT,
    };
    let defaults = Keeping::default();
    let keeping = Keeping {
        most_transactions: block
            .integer("conn_reuse_limit", 0..=1_000_000u32)
            .or(defaults.most_transactions),
        most_idle: block.integer("conn_max_idle_count", 0..=5_000usize).or(defaults.most_idle),
        longest_idle: block.value("conn_max_idle_time", seconds).or(defaults.longest_idle),
    };
    // `strict_8bit`, default no: ours.
    let eight_bit = match block.boolean("strict_8bit").or(false) {
        true => EightBit::OnlyAnnounced,
        false => EightBit::AsItIs,
    };
    SessionSettings { connect_timeout, timeouts, keeping, eight_bit }
}

fn not_zero(patience: &Duration) -> Result<(), String> {
    match *patience {
        Duration::ZERO => Err("0 would give every host up before it can answer".to_string()),
        _ => Ok(()),
    }
}

/// "Syntax: conn_max_idle_time integer": seconds; a duration is taken as well.
fn seconds(node: &Node) -> Result<Duration, Problem> {
    match node.args.as_slice() {
        [word] if word.bytes().all(|b| b.is_ascii_digit()) => word
            .parse()
            .map(Duration::from_secs)
            .map_err(|_| Problem::error(&node.at, "conn_max_idle_time: too many seconds")),
        _ => posthaste_config::values::duration(node),
    }
}
