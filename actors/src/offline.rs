//! What needs the configuration and no daemon: spools are looked at, rebuilt, taken out and put in; retry plans are told.
//!
//! Each spool is locked while it is worked on, so that none of this meets a daemon. What is found is told to `Say`, in words fit for a
//! line; nothing is logged.

use std::io::{self, BufRead, Write};
use std::path::PathBuf;

use posthaste_edge::body::Body;
use posthaste_edge::clock::Clock;
use posthaste_edge::machine;
use posthaste_edge::spool::{DiskSpool, Options as SpoolOptions, Spool, rebuild};
pub use posthaste_edge::spool::{Findings, Rebuilt, SpoolError};
use posthaste_mail::envelope::EnvelopeId;
use posthaste_mail::queue::archive::{Archived, Line, PIECE, VERSION, decoded};
use posthaste_mail::queue::lease::Boot;
use posthaste_mail::queue::schedule::Plan;
use posthaste_mail::time::Timestamp;

use crate::Options;
use crate::configuration::{self, TargetSettings};
use crate::targets::queue::settings::QueueSettings;

/// A queue and where its spool is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    pub queue: String,
    pub location: PathBuf,
}

/// Why nothing can be done, or no more.
#[derive(Debug)]
pub enum Stopped {
    /// The configuration has errors; each a line.
    Configuration(Vec<String>),
    NoQueue(String),
    /// The spool of this queue.
    Spool(String, SpoolError),
    /// The file that is read or written.
    File(io::Error),
    /// A line of the file, counted from 1, and what is wrong with it.
    Line(u64, String),
}

impl std::fmt::Display for Stopped {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Stopped::Configuration(problems) => f.write_str(&problems.join("\n")),
            Stopped::NoQueue(name) => write!(f, "no queue {name} in the configuration"),
            Stopped::Spool(queue, error) => write!(f, "spool of queue {queue}: {error}"),
            Stopped::File(error) => write!(f, "{error}"),
            Stopped::Line(number, what) => write!(f, "line {number}: {what}"),
        }
    }
}

/// The spools of the configuration, or the one of a queue.
pub fn places(options: &Options, queue: Option<&str>) -> Result<Vec<Place>, Stopped> {
    let places = of_queues(options, queue, |settings| settings.location)?;
    Ok(places.into_iter().map(|(queue, location)| Place { queue, location }).collect())
}

/// What is wanted of the settings of each queue, with its name.
fn of_queues<T>(
    options: &Options,
    queue: Option<&str>,
    wanted: impl Fn(QueueSettings) -> T,
) -> Result<Vec<(String, T)>, Stopped> {
    let read = configuration::read(&options.config, &options.overrides);
    let Some(configuration) = read.configuration else {
        let problems = read.problems.iter().map(ToString::to_string).collect();
        return Err(Stopped::Configuration(problems));
    };
    let all = configuration.targets.into_iter().filter_map(|target| match target.settings {
        Some(TargetSettings::Queue(settings)) => Some((target.name, wanted(*settings))),
        Some(TargetSettings::Remote(_) | TargetSettings::Forward(_) | TargetSettings::Dummy)
        | None => None,
    });
    let found: Vec<_> = all.filter(|(name, _)| queue.is_none_or(|queue| name == queue)).collect();
    match queue {
        Some(queue) if found.is_empty() => Err(Stopped::NoQueue(queue.to_string())),
        _ => Ok(found),
    }
}

/// The retry plans of the configuration's queues, or of the one.
pub fn plans(options: &Options, queue: Option<&str>) -> Result<Vec<(String, Plan)>, Stopped> {
    of_queues(options, queue, |settings| settings.plan)
}

impl Place {
    /// Is there a spool? Without one nothing was ever queued.
    fn is_there(&self) -> bool {
        self.location.join("lock").exists()
    }

    /// Compares everything, and mends what can be mended without loss. Returns the number of messages too.
    pub fn check(&self) -> Result<(Findings, u64), Stopped> {
        if !self.is_there() {
            return Ok((Findings::default(), 0));
        }
        let spool = self.open()?;
        let findings = spool.check().map_err(|e| self.stopped(e))?;
        Ok((findings, spool.counts().envelopes))
    }

    /// Makes the database anew of all that can be read.
    pub fn rebuild(&self) -> Result<Rebuilt, Stopped> {
        if !self.is_there() {
            return Ok(Rebuilt { taken: 0, left: 0, findings: Findings::default() });
        }
        rebuild(&self.location, SpoolOptions::default(), boot()).map_err(|e| self.stopped(e))
    }

    /// Writes every message as JSON lines; returns how many, and those that could not be read.
    pub fn export(&self, to: &mut dyn Write) -> Result<(u64, Vec<(EnvelopeId, String)>), Stopped> {
        if !self.is_there() {
            return Ok((0, Vec::new()));
        }
        let spool = self.open()?;
        write_line(to, &Line::Queue { name: self.queue.clone(), version: VERSION })?;
        let (mut count, mut unread) = (0, Vec::new());
        let mut after = None;
        loop {
            let ids = spool.envelopes(after, 1000).map_err(|e| self.stopped(e))?;
            let Some(last) = ids.last() else { return Ok((count, unread)) };
            after = Some(*last);
            for id in ids {
                match spool.archived(id).and_then(|found| with_body(&spool, id, found)) {
                    Ok(Some((archived, body))) => {
                        write_message(to, archived, &body)?;
                        count += 1;
                    }
                    Ok(None) => {}
                    Err(error) => unread.push((id, error.to_string())),
                }
            }
        }
    }

    fn open(&self) -> Result<DiskSpool, Stopped> {
        DiskSpool::open(&self.location, SpoolOptions::default(), boot())
            .map_err(|e| self.stopped(e))
    }

    fn stopped(&self, error: SpoolError) -> Stopped {
        Stopped::Spool(self.queue.clone(), error)
    }
}

/// Puts the messages of an export into the queues they are from, or all into `queue`. Returns how many came in, and how many were
/// there already. What was put in before an error stays.
pub fn import(
    options: &Options,
    queue: Option<&str>,
    from: &mut dyn BufRead,
) -> Result<(u64, u64), Stopped> {
    let places = places(options, queue)?;
    let (mut came, mut there) = (0, 0);
    let mut open: Option<(String, DiskSpool)> = None;
    let mut pending: Option<(Archived, Vec<u8>)> = None;
    let mut lines = Lines { from, number: 0 };
    while let Some(line) = lines.next()? {
        match line {
            Line::Queue { version, .. } if version > VERSION => {
                return Err(lines.wrong(format!("version {version} is not known")));
            }
            Line::Queue { name, .. } => {
                let wanted = queue.unwrap_or(&name);
                let place = places.iter().find(|place| place.queue == wanted);
                let place = place.ok_or_else(|| Stopped::NoQueue(wanted.to_string()))?;
                drop(open.take());
                open = Some((place.queue.clone(), place.open()?));
            }
            Line::Message(archived) => pending = Some((*archived, Vec::new())),
            Line::Content(piece) => {
                let piece = decoded(&piece).map_err(|e| lines.wrong(e))?;
                let Some((_, content)) = &mut pending else {
                    return Err(lines.wrong("content without a message".to_string()));
                };
                content.extend_from_slice(&piece);
            }
        }
        let whole =
            |(archived, content): &(Archived, Vec<u8>)| content.len() as u64 >= archived.length;
        if let Some((archived, content)) = pending.take_if(|pending| whole(pending)) {
            if content.len() as u64 != archived.length || archived.batches.is_empty() {
                return Err(lines.wrong("the message is not whole".to_string()));
            }
            let Some((name, spool)) = &open else {
                return Err(lines.wrong("a message before the title of its queue".to_string()));
            };
            match wait(spool.import(archived, Body::memory(content))) {
                Ok(true) => came += 1,
                Ok(false) => there += 1,
                Err(error) => return Err(Stopped::Spool(name.clone(), error)),
            }
        }
    }
    match pending {
        Some(_) => Err(lines.wrong("the file ends within a message".to_string())),
        None => Ok((came, there)),
    }
}

/// There is no runtime here; the spool answers from a thread of its own.
fn wait<T>(ticket: impl std::future::Future<Output = T>) -> T {
    struct Waker(std::thread::Thread);
    impl std::task::Wake for Waker {
        fn wake(self: std::sync::Arc<Waker>) {
            self.0.unpark();
        }
    }
    let waker = std::sync::Arc::new(Waker(std::thread::current())).into();
    let mut context = std::task::Context::from_waker(&waker);
    let mut ticket = std::pin::pin!(ticket);
    loop {
        match ticket.as_mut().poll(&mut context) {
            std::task::Poll::Ready(value) => return value,
            std::task::Poll::Pending => std::thread::park(),
        }
    }
}

type Found = Option<(Archived, posthaste_mail::queue::record::BodyPlace)>;

fn with_body(
    spool: &DiskSpool,
    id: EnvelopeId,
    found: Found,
) -> Result<Option<(Archived, Body)>, SpoolError> {
    let Some((archived, place)) = found else { return Ok(None) };
    match spool.body(id, &place) {
        Ok(body) => Ok(Some((archived, body))),
        Err(SpoolError::NotFound) => Ok(None),
        Err(error) => Err(error),
    }
}

fn write_message(to: &mut dyn Write, archived: Archived, body: &Body) -> Result<(), Stopped> {
    write_line(to, &Line::Message(Box::new(archived)))?;
    let mut position = 0;
    while position < body.len() {
        let piece = body.read_at(position, PIECE).map_err(Stopped::File)?;
        position += piece.len() as u64;
        write_line(to, &Line::content(&piece))?;
    }
    Ok(())
}

fn write_line(to: &mut dyn Write, line: &Line) -> Result<(), Stopped> {
    let text = serde_json::to_string(line).map_err(|e| Stopped::File(e.into()))?;
    writeln!(to, "{text}").map_err(Stopped::File)
}

/// A line is never longer than this: a message of a million recipients, generously.
const LONGEST: u64 = 1 << 30;

struct Lines<'a> {
    from: &'a mut dyn BufRead,
    number: u64,
}

impl Lines<'_> {
    fn next(&mut self) -> Result<Option<Line>, Stopped> {
        let mut text = Vec::new();
        let read = io::Read::take(&mut self.from, LONGEST).read_until(b'\n', &mut text);
        if read.map_err(Stopped::File)? == 0 {
            return Ok(None);
        }
        self.number += 1;
        serde_json::from_slice(&text).map(Some).map_err(|e| self.wrong(e.to_string()))
    }

    fn wrong(&self, what: String) -> Stopped {
        Stopped::Line(self.number, what)
    }
}

/// The clock of the commands.
pub fn now() -> Timestamp {
    Clock::system().now()
}

fn boot() -> Boot {
    Boot { node: machine::hostname(), number: Clock::system().now().as_micros() }
}
