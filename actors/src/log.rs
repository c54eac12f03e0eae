//! The log: slog, switched before it is queued, written by a thread of its own.
//!
//! Each target has a logger whose gate has its own level, so `log debug on NAME` costs the others nothing. Text of peers is escaped when
//! it becomes part of a failure (`outcome::one_line`), so no line of the log can be forged by a server.

use std::collections::HashMap;
use std::fs::OpenOptions;
use std::io::{self, IsTerminal, LineWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use slog::{Discard, Drain, Level, Logger, OwnedKVList, Record, o};
use slog_async::{Async, AsyncGuard, OverflowStrategy};

/// Where lines go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sink {
    Stderr,
    /// `stderr_ts`: with the time also where the service manager adds it.
    StderrWithTime,
    File(PathBuf),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    pub sinks: Vec<Sink>,
    pub json: bool,
    pub debug: bool,
}

/// Reads the words of the `log` directive.
pub fn settings(words: &[String], debug: bool) -> Result<Settings, String> {
    let mut settings = Settings { sinks: Vec::new(), json: false, debug };
    for word in words {
        match word.as_str() {
            "json" => settings.json = true,
            "stderr" => settings.sinks.push(Sink::Stderr),
            "stderr_ts" => settings.sinks.push(Sink::StderrWithTime),
            "off" if words.len() == 1 => return Ok(settings),
            "off" => return Err("off stands alone".to_string()),
            "syslog" => {
                return Err("syslog is not implemented; use stderr under a service manager, \
                            or a file"
                    .to_string());
            }
            path if path.contains('/') => settings.sinks.push(Sink::File(PathBuf::from(path))),
            other => {
                return Err(format!(
                    "unknown log target {other:?}: stderr, stderr_ts, json, off or a path with a slash"
                ));
            }
        }
    }
    if settings.sinks.is_empty() {
        settings.sinks.push(Sink::Stderr);
    }
    Ok(settings)
}

/// The switches, by target name; shared by the gates.
#[derive(Clone, Default)]
pub struct Switches {
    everything: Arc<AtomicBool>,
    targets: Arc<Mutex<HashMap<String, Arc<AtomicBool>>>>,
}

impl Switches {
    fn of(&self, target: &str) -> Arc<AtomicBool> {
        let mut targets = self.targets.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(targets.entry(target.to_string()).or_default())
    }

    /// Switches debug lines; `false` when there is no such target.
    pub fn set(&self, target: Option<&str>, on: bool) -> bool {
        match target {
            None => {
                self.everything.store(on, Ordering::Relaxed);
                true
            }
            Some(name) => {
                let targets = self.targets.lock().unwrap_or_else(PoisonError::into_inner);
                match targets.get(name) {
                    Some(switch) => {
                        switch.store(on, Ordering::Relaxed);
                        true
                    }
                    None => false,
                }
            }
        }
    }
}

/// Lets a record through when its level is wanted.
struct Gate<D> {
    inner: D,
    everything: Arc<AtomicBool>,
    mine: Arc<AtomicBool>,
}

impl<D: Drain> Drain for Gate<D> {
    type Ok = Option<D::Ok>;
    type Err = D::Err;

    fn log(&self, record: &Record<'_>, values: &OwnedKVList) -> Result<Self::Ok, D::Err> {
        if self.is_enabled(record.level()) {
            self.inner.log(record, values).map(Some)
        } else {
            Ok(None)
        }
    }

    fn is_enabled(&self, level: Level) -> bool {
        level.is_at_least(Level::Info)
            || self.everything.load(Ordering::Relaxed)
            || self.mine.load(Ordering::Relaxed)
    }
}

/// The open log. Dropping it writes what is queued.
pub struct Log {
    ungated: Logger,
    pub switches: Switches,
    _guards: Vec<AsyncGuard>,
    files: Vec<Reopening>,
}

impl Log {
    pub fn open(settings: &Settings) -> io::Result<Log> {
        let switches = Switches::default();
        switches.set(None, settings.debug);
        let mut ungated = Logger::root(Discard, o!());
        let (mut guards, mut files) = (Vec::new(), Vec::new());
        for sink in &settings.sinks {
            let (logger, guard) = match sink {
                Sink::Stderr => stderr(settings.json, false),
                Sink::StderrWithTime => stderr(settings.json, true),
                Sink::File(path) => {
                    let file = Reopening::open(path)?;
                    files.push(file.clone());
                    written(settings.json, true, file)
                }
            };
            guards.push(guard);
            ungated = if guards.len() == 1 {
                logger
            } else {
                Logger::root(slog::Duplicate(ungated, logger).fuse(), o!())
            };
        }
        Ok(Log { ungated, switches, _guards: guards, files })
    }

    /// The logger of one configured block.
    pub fn of(&self, target: &str, debug: bool) -> Logger {
        let mine = self.switches.of(target);
        mine.fetch_or(debug, Ordering::Relaxed);
        let everything = Arc::clone(&self.switches.everything);
        let gate = Gate { inner: self.ungated.clone(), everything, mine };
        Logger::root(gate.fuse(), o!("module" => target.to_string()))
    }

    /// SIGUSR1: files are opened anew, for log rotation.
    pub fn reopen(&self) -> io::Result<()> {
        self.files.iter().try_for_each(Reopening::reopen)
    }
}

fn stderr(json: bool, with_time: bool) -> (Logger, AsyncGuard) {
    if json || !io::stderr().is_terminal() {
        return written(json, with_time || !io::stderr().is_terminal(), io::stderr());
    }
    let decorator = slog_term::TermDecorator::new().stderr().build();
    queued(slog_term::FullFormat::new(decorator).use_utc_timestamp().build())
}

fn written<W: Write + Send + 'static>(json: bool, with_time: bool, to: W) -> (Logger, AsyncGuard) {
    let lines = LineWriter::with_capacity(16 * 1024, to);
    if json {
        return queued(slog_json::Json::new(lines).add_default_keys().build());
    }
    let format = slog_term::FullFormat::new(slog_term::PlainSyncDecorator::new(lines));
    let format = if with_time {
        format.use_utc_timestamp()
    } else {
        format.use_custom_timestamp(|_: &mut dyn Write| Ok(()))
    };
    queued(format.build())
}

/// A full queue holds the caller up rather than losing lines. What cannot be written (no space left, nobody reads) is lost: a log that
/// fails is no reason to stop the mail, and there is nowhere to say so.
fn queued<D>(drain: D) -> (Logger, AsyncGuard)
where
    D: Drain + Send + 'static,
{
    let (queue, guard) = Async::new(drain.ignore_res())
        .chan_size(8192)
        .overflow_strategy(OverflowStrategy::Block)
        .build_with_guard();
    (Logger::root(queue.ignore_res(), o!()), guard)
}

/// A file that can be opened anew under the same name.
#[derive(Clone)]
struct Reopening {
    path: Arc<Path>,
    file: Arc<Mutex<std::fs::File>>,
}

impl Reopening {
    fn open(path: &Path) -> io::Result<Reopening> {
        let file = OpenOptions::new().create(true).append(true).open(path).map_err(|e| {
            io::Error::new(e.kind(), format!("opening the log {}: {e}", path.display()))
        })?;
        Ok(Reopening { path: path.into(), file: Arc::new(Mutex::new(file)) })
    }

    fn reopen(&self) -> io::Result<()> {
        let fresh = OpenOptions::new().create(true).append(true).open(&self.path)?;
        *self.file.lock().unwrap_or_else(PoisonError::into_inner) = fresh;
        Ok(())
    }
}

impl Write for Reopening {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.lock().unwrap_or_else(PoisonError::into_inner).write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.lock().unwrap_or_else(PoisonError::into_inner).flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use slog::{debug, info};

    fn words(text: &str) -> Vec<String> {
        text.split_whitespace().map(String::from).collect()
    }

    #[test]
    fn the_words_of_the_directive() {
        let read = |text| settings(&words(text), false);
        assert_eq!(read("json stderr").unwrap().sinks, [Sink::Stderr]);
        assert!(read("json stderr").unwrap().json);
        assert!(read("off").unwrap().sinks.is_empty());
        assert!(read("off stderr").is_err());
        assert!(read("syslog").is_err());
        assert!(read("stdout").is_err());
        assert_eq!(read("/var/log/x").unwrap().sinks, [Sink::File("/var/log/x".into())]);
    }

    #[test]
    fn a_log_that_cannot_be_written_stops_nobody() {
        for json in [false, true] {
            let sinks = vec![Sink::File("/dev/full".into())];
            let log = Log::open(&Settings { sinks, json, debug: false }).unwrap();
            let one = log.of("one", false);
            // More than the queue holds: panics when the thread that writes has ended.
            for _ in 0..10_000 {
                info!(one, "lost");
            }
        }
    }

    #[test]
    fn debug_is_switched_by_target_while_running() {
        let path = std::env::temp_dir().join(format!("posthaste-log-{}", std::process::id()));
        let sinks = vec![Sink::File(path.clone())];
        let log = Log::open(&Settings { sinks, json: true, debug: false }).unwrap();
        let (one, two) = (log.of("one", false), log.of("two", false));
        debug!(one, "hidden");
        assert!(log.switches.set(Some("one"), true));
        assert!(!log.switches.set(Some("nobody"), true));
        debug!(one, "shown"; "key" => "value\n");
        debug!(two, "hidden too");
        info!(two, "always");
        drop((one, two));
        drop(log);
        let text = std::fs::read_to_string(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        assert_eq!(text.lines().count(), 2, "{text}");
        assert!(text.contains("\"module\":\"one\"") && text.contains("value\\n"), "{text}");
    }
}
