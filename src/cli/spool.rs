//! `posthaste spool`: what is done to the spools themselves, while no daemon holds them.

use std::fs::File;
use std::io::{self, BufRead, BufReader, BufWriter, Write};
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use serde_json::json;

use posthaste_actors::offline::{self, Findings, Place, Stopped};

use crate::cli::Console;
use crate::cli::reach::Reach;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::show::page::{Page, Tone};

/// Check, rebuild, export or import spools; the daemon must not run
#[derive(Debug, Subcommand)]
pub enum Spool {
    /// Compare all that is stored, and mend what can be mended without loss
    Check(Which),
    /// Make the database anew of all that can be read; the old one is kept beside
    Rebuild(Which),
    /// Write every message, with all that is known of it, as JSON lines
    Export(Export),
    /// Put the messages of an export into their queues
    Import(Import),
}

#[derive(Debug, Args)]
pub struct Which {
    /// Only this queue [default: all]
    #[arg(long, value_name = "NAME")]
    queue: Option<String>,
    /// One JSON object per queue
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
pub struct Export {
    /// Where to; - is standard output
    file: PathBuf,
    /// Only this queue [default: all]
    #[arg(long, value_name = "NAME")]
    queue: Option<String>,
}

#[derive(Debug, Args)]
pub struct Import {
    /// Where from; - is standard input
    file: PathBuf,
    /// Into this queue, whatever queue the messages are from
    #[arg(long, value_name = "NAME")]
    queue: Option<String>,
}

impl Spool {
    pub fn perform(&self, reach: &Reach, console: &mut Console<'_>) -> Result<Exit, Failure> {
        match self {
            Spool::Check(which) => {
                let mut sound = true;
                for place in which.places(reach)? {
                    let (findings, messages) = place.check()?;
                    sound &= findings == Findings::default();
                    which.show(&place, &findings, messages, None, &mut console.page())?;
                }
                Ok(if sound { Exit::Done } else { Exit::Refused })
            }
            Spool::Rebuild(which) => {
                for place in which.places(reach)? {
                    let rebuilt = place.rebuild()?;
                    let records = Some((rebuilt.taken, rebuilt.left));
                    let (findings, messages) = place.check()?;
                    let found = Findings { damaged: rebuilt.left, ..rebuilt.findings };
                    let found = Findings { missing: findings.missing, ..found };
                    which.show(&place, &found, messages, records, &mut console.page())?;
                }
                Ok(Exit::Done)
            }
            Spool::Export(verb) => verb.perform(reach, console),
            Spool::Import(verb) => verb.perform(reach, console),
        }
    }
}

impl Which {
    fn places(&self, reach: &Reach) -> Result<Vec<Place>, Failure> {
        Ok(offline::places(&reach.options(), self.queue.as_deref())?)
    }

    fn show(
        &self,
        place: &Place,
        found: &Findings,
        messages: u64,
        records: Option<(u64, u64)>,
        page: &mut Page<'_>,
    ) -> io::Result<()> {
        let ids = |ids: &[_]| ids.iter().map(ToString::to_string).collect::<Vec<String>>();
        if self.json {
            return page.json(&json!({
                "queue": place.queue, "location": place.location, "messages": messages,
                "requeued": ids(&found.requeued), "restored": ids(&found.restored),
                "missing": ids(&found.missing), "unscheduled": found.unscheduled,
                "orphans": found.orphans, "damaged": found.damaged,
                "records_taken": records.map(|(taken, _)| taken),
                "records_left": records.map(|(_, left)| left),
            }));
        }
        let title = format!("{}: {messages} messages in {}", place.queue, place.location.display());
        page.line(Tone::Title, &title)?;
        if let Some((taken, left)) = records {
            page.plain(&format!("  {taken} records taken over, {left} left behind"))?;
        } else if *found == Findings::default() {
            return page.line(Tone::Good, "  sound");
        }
        for (ids, tone, what) in [
            (ids(&found.requeued), Tone::Waiting, "found in the segments, in the queue again"),
            (ids(&found.restored), Tone::Waiting, "record written again from the segment"),
            (ids(&found.missing), Tone::Bad, "has no body and cannot be delivered"),
        ] {
            for id in ids {
                page.line(tone, &format!("  {id} {what}"))?;
            }
        }
        for (count, what) in [
            (found.unscheduled, "batches had no place in the schedule and have one now"),
            (found.orphans, "files of no message were removed"),
            (found.damaged, "records do not verify; posthaste spool rebuild leaves them behind"),
        ] {
            if count > 0 {
                page.line(Tone::Waiting, &format!("  {count} {what}"))?;
            }
        }
        Ok(())
    }
}

impl Export {
    fn perform(&self, reach: &Reach, console: &mut Console<'_>) -> Result<Exit, Failure> {
        let places = offline::places(&reach.options(), self.queue.as_deref())?;
        let (mut count, mut all_read) = (0, true);
        let mut export = |to: &mut dyn Write| -> Result<(), Failure> {
            for place in &places {
                let (written, unread) = place.export(to)?;
                count += written;
                for (id, why) in unread {
                    all_read = false;
                    writeln!(console.complaints, "posthaste: {id} left out: {why}")
                        .map_err(Failure::Output)?;
                }
            }
            Ok(())
        };
        if is_standard(&self.file) {
            export(console.output)?;
            console.output.flush().map_err(Failure::Output)?;
        } else {
            let failed = |e| Failure::Input(self.file.display().to_string(), e);
            let file = File::create_new(&self.file).map_err(failed)?;
            let mut to = BufWriter::new(file);
            export(&mut to)?;
            let file = to.into_inner().map_err(|e| failed(e.into_error()))?;
            // Whoever exports means to remove the spool next.
            file.sync_all().map_err(failed)?;
            console.page().plain(&format!("{count} messages"))?;
        }
        Ok(if all_read { Exit::Done } else { Exit::Refused })
    }
}

impl Import {
    fn perform(&self, reach: &Reach, console: &mut Console<'_>) -> Result<Exit, Failure> {
        let mut file;
        let from: &mut dyn BufRead = if is_standard(&self.file) {
            console.input
        } else {
            let failed = |e| Failure::Input(self.file.display().to_string(), e);
            file = BufReader::new(File::open(&self.file).map_err(failed)?);
            &mut file
        };
        let (came, there) = offline::import(&reach.options(), self.queue.as_deref(), from)?;
        let text = match there {
            0 => format!("{came} messages"),
            _ => format!("{came} messages, {there} were there already"),
        };
        console.page().plain(&text)?;
        Ok(Exit::Done)
    }
}

fn is_standard(file: &Path) -> bool {
    file == Path::new("-")
}

impl From<Stopped> for Failure {
    fn from(stopped: Stopped) -> Failure {
        Failure::Offline(stopped)
    }
}
