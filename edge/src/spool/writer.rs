//! The end of the segments: the only place where records are added.

use std::fs::File;
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use posthaste_mail::envelope::EnvelopeId;
use rustix::fs::FallocateFlags;

use super::change::Messages;
use super::place::sync_directory;
use super::segment::{Head, Kind, Maker, Mark, out_of_space, path};

/// Records of a group are collected in memory and written at once; a group never spans two segments.
#[derive(Debug)]
pub struct Writer {
    directory: PathBuf,
    /// Size of a segment; a larger record gets a segment of its own size.
    size: u64,
    open: Option<Open>,
    /// Number of the next segment to be created.
    next: u64,
    pending: Vec<u8>,
    /// How the next write fails.
    #[cfg(test)]
    pub fault: Option<io::ErrorKind>,
    /// How the next sync fails: a number of the system.
    #[cfg(test)]
    pub unsynced: Option<i32>,
    /// The next write is torn: some of it reaches the disk.
    #[cfg(test)]
    pub torn: Option<posthaste_mail::dice::Dice>,
    /// How every segment fails to be begun: a number of the system.
    #[cfg(test)]
    pub no_segment: Option<i32>,
}

#[derive(Debug)]
struct Open {
    number: u64,
    file: File,
    size: u64,
    /// Octets written and synced.
    end: u64,
}

impl Open {
    /// Undoes the beginning of a group: no record of it may be found again. What was reserved stays so, the next group may be smaller.
    fn take_back(&mut self, length: u64) -> io::Result<()> {
        let left = usize::try_from(self.size.saturating_sub(self.end).min(length)).unwrap_or(0);
        let erased = self.file.write_all_at(&vec![0; left], self.end);
        if erased.is_err() {
            self.size = self.end;
        }
        self.file.set_len(self.size)
    }
}

/// Why a record was not taken.
#[derive(Debug)]
pub enum NoAppend {
    /// The group must be written first.
    GroupFull,
    Io(io::Error),
}

/// Octets a group may bring together before it is written; one job may go beyond.
const GROUP_LIMIT: usize = 16 << 20;
/// What a segment is begun with when the disk has no room for a whole one: then every octet counts for what is in the queue already.
const LITTLE: u64 = 1 << 20;

impl Writer {
    pub fn new(directory: PathBuf, size: u64, next: u64) -> Writer {
        Writer {
            directory,
            size,
            open: None,
            next,
            pending: Vec::new(),
            #[cfg(test)]
            fault: None,
            #[cfg(test)]
            unsynced: None,
            #[cfg(test)]
            torn: None,
            #[cfg(test)]
            no_segment: None,
        }
    }

    /// The segment that must not be deleted.
    pub fn current(&self) -> Option<u64> {
        self.open.as_ref().map(|open| open.number)
    }

    /// Up to where everything is written.
    pub fn end(&self) -> Mark {
        match &self.open {
            Some(open) => Mark { segment: open.number, offset: open.end },
            None => Mark { segment: self.next, offset: 0 },
        }
    }

    pub fn pending(&self) -> usize {
        self.pending.len()
    }

    /// The records of the group so far.
    pub fn messages(&self) -> Messages {
        Messages::of(&self.pending)
    }

    /// Has the group brought together enough?
    pub fn is_laden(&self) -> bool {
        self.pending.len() > GROUP_LIMIT
    }

    /// Begins a segment that has room for `length` octets. Only between groups.
    pub fn begin(&mut self, length: u64) -> io::Result<()> {
        self.cut(0);
        self.roll(length)
    }

    /// Takes back records of the group from `length` pending octets on.
    pub fn cut(&mut self, length: usize) {
        self.pending.truncate(length);
    }

    /// Adds a record to the group. `body` is left out when it lies apart.
    pub fn append(&mut self, head: &Head, envelope: &[u8], body: &[u8]) -> Result<Mark, NoAppend> {
        let length = head.record_length();
        let pending = self.pending.len();
        let end = self.open.as_ref().map_or(0, |open| open.end).saturating_add(pending as u64);
        let fits = self.open.as_ref().is_some_and(|open| end.saturating_add(length) <= open.size);
        if pending > 0 && !fits {
            return Err(NoAppend::GroupFull);
        }
        if !fits {
            self.roll(length).map_err(NoAppend::Io)?;
        }
        self.push(head, envelope, body).ok_or(NoAppend::GroupFull)
    }

    /// Ends the group with what it changes, in the same segment as its messages, also beyond the segment's size.
    pub fn append_changes(&mut self, changes: &[u8]) -> io::Result<()> {
        let head = Head {
            kind: Kind::Changes,
            maker: Maker::Settlement,
            id: EnvelopeId::from_bytes([0; 16]),
            envelope_length: 0,
            envelope_sum: crc32c::crc32c(&[]),
            body_length: changes.len() as u64,
            body_sum: crc32c::crc32c(changes),
        };
        match self.append(&head, &[], changes) {
            Ok(_) => Ok(()),
            Err(NoAppend::GroupFull) => {
                let pushed = self.push(&head, &[], changes);
                pushed.map(drop).ok_or_else(|| io::Error::other("no segment is open"))
            }
            Err(NoAppend::Io(error)) => Err(error),
        }
    }

    fn push(&mut self, head: &Head, envelope: &[u8], body: &[u8]) -> Option<Mark> {
        let open = self.open.as_ref()?;
        let at = Mark { segment: open.number, offset: open.end + self.pending.len() as u64 };
        self.pending.extend_from_slice(&head.encode(at));
        self.pending.extend_from_slice(envelope);
        self.pending.extend_from_slice(body);
        self.pending.resize(self.pending.len().next_multiple_of(8), 0);
        Some(at)
    }

    /// Writes the group and makes it durable; `between` is called when it is written and not durable yet. After `StorageFull` the segment ends where it did before and may be used again.
    pub fn flush(&mut self, between: impl FnOnce()) -> io::Result<()> {
        let Some(open) = &mut self.open else { return Ok(()) };
        if self.pending.is_empty() {
            return Ok(());
        }
        #[cfg(test)]
        if let Some(mut dice) = self.torn.take() {
            tear(&mut self.pending, &mut dice);
            self.fault = Some(io::ErrorKind::Other);
        }
        let written = open.file.write_all_at(&self.pending, open.end);
        #[cfg(test)]
        let written = self.fault.take().map_or(written, |kind| Err(kind.into()));
        let length = self.pending.len() as u64;
        self.pending.clear();
        if self.pending.capacity() > GROUP_LIMIT {
            self.pending.shrink_to(GROUP_LIMIT);
        }
        if let Err(error) = written {
            if out_of_space(&error) {
                open.take_back(length)?;
            }
            return Err(error);
        }
        between();
        // What a failed sync leaves on disk nobody knows: not even a full disk makes it a write that can be taken back.
        let synced = open.file.sync_data();
        #[cfg(test)]
        let synced = self.unsynced.take().map_or(synced, |n| Err(io::Error::from_raw_os_error(n)));
        synced.map_err(|e| io::Error::other(format!("sync: {e}")))?;
        open.end += length;
        Ok(())
    }

    /// Gives back what was reserved for the open segment and not used. Nothing more is appended.
    pub fn close(&mut self) -> io::Result<()> {
        match self.open.take() {
            Some(open) => open.file.set_len(open.end),
            None => Ok(()),
        }
    }

    /// Closes the open segment and begins the next one, with room for `length` octets at least.
    fn roll(&mut self, length: u64) -> io::Result<()> {
        match self.begin_with(self.size.max(length)) {
            Err(error) if out_of_space(&error) => match self.begin_with(LITTLE.max(length)) {
                Err(error) if out_of_space(&error) => self.begin_with(length),
                other => other,
            },
            other => other,
        }
    }

    fn begin_with(&mut self, size: u64) -> io::Result<()> {
        #[cfg(test)]
        if let Some(number) = self.no_segment {
            return Err(io::Error::from_raw_os_error(number));
        }
        let number = self.next;
        let path = path(&self.directory, number);
        let made = create(&path, size).and_then(|file| {
            sync_directory(&self.directory)?;
            Ok(file)
        });
        match made {
            Ok(file) => {
                // Only now: without the new one the old one may still be of use.
                self.close()?;
                self.next += 1;
                self.open = Some(Open { number, file, size, end: 0 });
                Ok(())
            }
            Err(error) => {
                // Nothing was written to it; if it cannot be removed now, the next try replaces it.
                let _ = std::fs::remove_file(&path);
                Err(error)
            }
        }
    }
}

/// What a disk may have of a write when the power goes: some of its blocks, or only the beginning.
#[cfg(test)]
fn tear(bytes: &mut Vec<u8>, dice: &mut posthaste_mail::dice::Dice) {
    if dice.below(2) == 0 {
        bytes.truncate(dice.below(bytes.len() + 1));
    } else {
        bytes.chunks_mut(512).filter(|_| dice.below(3) == 0).for_each(|block| block.fill(0));
    }
}

fn create(path: &Path, size: u64) -> io::Result<File> {
    let file = File::options()
        .read(true)
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(path)?;
    match rustix::fs::fallocate(&file, FallocateFlags::empty(), 0, size) {
        Ok(()) => {}
        // Without preallocation syncs cost more, nothing else.
        Err(rustix::io::Errno::OPNOTSUPP | rustix::io::Errno::NOSYS) => {}
        Err(error) => return Err(error.into()),
    }
    file.sync_all()?;
    Ok(file)
}
