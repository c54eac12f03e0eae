//! Where and when a figure was measured: without it no figure means anything.

use std::fs::{self, File};
use std::io::Write;
use std::path::Path;
use std::time::{Duration, Instant};

use posthaste_edge::clock::Clock;

/// Prints date, kernel, processors, load, disk and the time one sync of it takes.
pub fn print(folder: &Path) {
    let word = |file: &str| fs::read_to_string(file).unwrap_or_default().trim().to_owned();
    let processors = std::thread::available_parallelism().map_or(0, usize::from);
    let cpuinfo = word("/proc/cpuinfo");
    let model = cpuinfo.lines().find_map(|line| line.strip_prefix("model name")).unwrap_or("");
    let meminfo = word("/proc/meminfo");
    let memory = meminfo.lines().next().unwrap_or_default();
    println!("date    {}", Clock::system().now().rfc3339());
    println!("kernel  Linux {}", word("/proc/sys/kernel/osrelease"));
    println!("CPU     {processors} x {}", model.trim_start_matches([' ', '\t', ':']));
    println!("memory  {}", memory.trim_start_matches("MemTotal:").trim());
    println!("load    {} before the first run", word("/proc/loadavg"));
    println!("disk    {}", disk(folder));
    println!("sync    4 KiB appended, then fdatasync: {:?} (median of 101)", sync_time(folder));
}

/// File system and device under the folder, and how the device says that it caches writes.
fn disk(folder: &Path) -> String {
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    let fields = mounts.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    let below = fields.filter(|fields| fields.get(1).is_some_and(|at| folder.starts_with(at)));
    let Some(mount) = below.max_by_key(|fields| fields[1].len()) else {
        return "unknown".to_owned();
    };
    let device = mount[0].trim_start_matches("/dev/");
    let cache = fs::read_to_string(format!("/sys/class/block/{device}/queue/write_cache"))
        .map_or("unknown".to_owned(), |text| text.trim().to_owned());
    format!("{} on {} ({}), write cache: {cache}", mount[2], mount[0], mount[3])
}

fn sync_time(folder: &Path) -> Duration {
    let path = folder.join("sync-time");
    let mut file = File::create(&path).unwrap();
    let mut times: Vec<Duration> = (0..101)
        .map(|_| {
            let begin = Instant::now();
            file.write_all(&[b'x'; 4096]).unwrap();
            file.sync_data().unwrap();
            begin.elapsed()
        })
        .collect();
    fs::remove_file(path).unwrap();
    times.sort();
    times[times.len() / 2]
}
