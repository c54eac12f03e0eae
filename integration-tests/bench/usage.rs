//! What a process and its descendants have cost, from /proc.
//!
//! The kernel adds the times of a dead child to its parent's `cutime` and `cstime` when the parent waits for it, and Postfix's master waits
//! for all of its daemons; so the sum of `utime`, `stime`, `cutime` and `cstime` over the living tree has every process in it, however short
//! it lived. Each living process is rounded down to a hundredth of a second.

use std::collections::HashMap;
use std::fs;
use std::time::Duration;

/// Ticks a second in /proc/PID/stat: USER_HZ, part of the kernel's interface.
const USER_HZ: u64 = 100;

#[derive(Clone, Copy, Debug, Default)]
pub struct Usage {
    /// User and system time, dead children included.
    pub cpu: Duration,
    /// The greatest resident size of each living process (VmHWM), summed, in KiB. Pages that several processes share count in each.
    pub peak: u64,
    /// The proportional resident size now (Pss), summed, in KiB: a page that n processes share counts a n-th in each.
    pub proportional: u64,
    pub processes: usize,
}

struct Process {
    parent: u32,
    ticks: u64,
}

impl Usage {
    /// Of the process and all that descend from it.
    pub fn of_tree(root: u32) -> Usage {
        let living = living();
        let belongs = |mut pid: u32| {
            // Every step goes to a parent; pid 1 and what died while we looked have none here.
            for _ in 0..living.len() {
                if pid == root {
                    return true;
                }
                match living.get(&pid) {
                    Some(process) => pid = process.parent,
                    None => return false,
                }
            }
            false
        };
        let mut usage = Usage::default();
        for (pid, process) in living.iter().filter(|(pid, _)| belongs(**pid)) {
            usage.cpu += Duration::from_millis(process.ticks * 1000 / USER_HZ);
            usage.peak += kilobytes(*pid, "status", "VmHWM:");
            usage.proportional += kilobytes(*pid, "smaps_rollup", "Pss:");
            usage.processes += 1;
        }
        usage
    }
}

/// A line of a file below /proc/PID, in KiB; 0 when the process is gone or the kernel does not tell.
pub fn kilobytes(pid: u32, file: &str, key: &str) -> u64 {
    let text = fs::read_to_string(format!("/proc/{pid}/{file}")).unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix(key)).unwrap_or_default();
    line.split_whitespace().next().and_then(|number| number.parse().ok()).unwrap_or(0)
}

fn living() -> HashMap<u32, Process> {
    let entries = fs::read_dir("/proc").unwrap().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.filter_map(|pid: u32| Some((pid, stat(pid)?))).collect()
}

/// proc_pid_stat(5): the name is in brackets and may hold anything; the state is field 3, the parent 4, the times 14 to 17.
fn stat(pid: u32) -> Option<Process> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, fields) = text.rsplit_once(") ")?;
    let fields: Vec<&str> = fields.split_whitespace().collect();
    let parent = fields.get(1)?.parse().ok()?;
    let ticks = fields.get(11..15)?.iter().map(|field| field.parse().unwrap_or(0)).sum();
    Some(Process { parent, ticks })
}
