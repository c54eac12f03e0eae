//! A disk with a volatile write cache, as disks have: what was written is safe after the next flush, and not before.
//!
//! When the power goes, each sector may hold what it held at the last flush or any of the versions written since, each sector for itself:
//! a disk writes its cache back in whatever order it likes. `Survival` says how much of that freedom is used.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use posthaste_mail::dice::Dice;

pub const SECTOR: usize = 512;

type Sector = [u8; SECTOR];

/// What is on the platter, after the power went, of what was in the cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Survival {
    Nothing,
    /// Of each sector any version, by the dice.
    Anything,
    /// The newest of each: as after SIGKILL, which loses no page of the kernel.
    Everything,
}

/// Whether the disk does on a flush what it promises.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flush {
    Honest,
    /// Says that it is done, and keeps everything in the cache. With it the proof must fail.
    Lying,
}

/// How a cut went.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Loss {
    /// Sectors that had not been flushed.
    pub cached: usize,
    /// Of these, the ones that hold another version now than was written last.
    pub lost: usize,
}

#[derive(Debug)]
pub struct Disk {
    platter: File,
    size: u64,
    /// A liar begins to lie when there is something to lose: when the file system is made and mounted.
    pub flush: Flush,
    powered: bool,
    /// A cut that was announced, and how many more writes come before it.
    announced: Option<(u64, Survival, Dice)>,
    /// How the last cut went, while the power is off.
    loss: Option<Loss>,
    /// By sector number, the versions since the last flush, oldest first; never an empty list.
    cache: BTreeMap<u64, Vec<Sector>>,
    pub flushes: u64,
}

impl Disk {
    /// A blank disk; `platter` is an empty file that holds what is safe.
    pub fn new(platter: File, size: u64) -> io::Result<Disk> {
        assert_eq!(size % SECTOR as u64, 0);
        platter.set_len(size)?;
        Ok(Disk {
            platter,
            size,
            flush: Flush::Honest,
            powered: true,
            announced: None,
            loss: None,
            cache: BTreeMap::new(),
            flushes: 0,
        })
    }

    pub fn size(&self) -> u64 {
        self.size
    }

    pub fn read(&self, offset: u64, length: usize) -> io::Result<Vec<u8>> {
        self.has_power()?;
        let length = length.min(usize::try_from(self.size.saturating_sub(offset)).unwrap());
        let mut content = vec![0; length];
        self.platter.read_exact_at(&mut content, offset)?;
        let end = offset + length as u64;
        let first = offset / SECTOR as u64;
        for (number, versions) in self.cache.range(first..end.div_ceil(SECTOR as u64)) {
            let Some(newest) = versions.last() else { continue };
            for (at, octet) in (number * SECTOR as u64..).zip(newest) {
                if (offset..end).contains(&at) {
                    content[usize::try_from(at - offset).unwrap()] = *octet;
                }
            }
        }
        Ok(content)
    }

    /// Into the cache, and no further.
    pub fn write(&mut self, offset: u64, content: &[u8]) -> io::Result<()> {
        self.has_power()?;
        let end = offset + content.len() as u64;
        if end > self.size {
            return Err(io::ErrorKind::StorageFull.into());
        }
        let sector = SECTOR as u64;
        for number in offset / sector..end.div_ceil(sector) {
            let start = number * sector;
            // A write need not begin or end with a sector: the rest of it stays as it is.
            let mut whole = Sector::try_from(self.read(start, SECTOR)?).unwrap();
            for (at, octet) in (start..).zip(&mut whole) {
                if (offset..end).contains(&at) {
                    *octet = content[usize::try_from(at - offset).unwrap()];
                }
            }
            self.cache.entry(number).or_default().push(whole);
        }
        match self.announced.take() {
            // The write that meets the cut gets no answer; of its sectors some may be on the platter.
            Some((0, survival, mut dice)) => {
                self.cut(survival, &mut dice)?;
                Err(no_power())
            }
            Some((writes, survival, dice)) => {
                self.announced = Some((writes - 1, survival, dice));
                Ok(())
            }
            None => Ok(()),
        }
    }

    /// Everything written so far is safe when this returns.
    pub fn flush(&mut self) -> io::Result<()> {
        self.has_power()?;
        self.flushes += 1;
        match self.flush {
            Flush::Honest => {
                for (number, versions) in std::mem::take(&mut self.cache) {
                    self.keep(number, versions.last())?;
                }
                Ok(())
            }
            Flush::Lying => Ok(()),
        }
    }

    /// The power will go at the write after so many, when there is something to lose.
    pub fn cut_after(&mut self, writes: u64, survival: Survival, dice: Dice) {
        self.announced = Some((writes, survival, dice));
    }

    /// How the cut went, if the power is off.
    pub fn loss(&self) -> Option<Loss> {
        self.loss
    }

    /// The power goes. From now on everything fails, until it is back.
    pub fn cut(&mut self, survival: Survival, dice: &mut Dice) -> io::Result<Loss> {
        self.has_power()?;
        self.powered = false;
        let mut loss = Loss::default();
        for (number, versions) in std::mem::take(&mut self.cache) {
            let kept = match survival {
                Survival::Nothing => 0,
                Survival::Anything => dice.below(versions.len() + 1),
                Survival::Everything => versions.len(),
            };
            loss.cached += 1;
            loss.lost += usize::from(kept < versions.len());
            self.keep(number, versions[..kept].last())?;
        }
        self.loss = Some(loss);
        Ok(loss)
    }

    pub fn power_on(&mut self) {
        self.powered = true;
        self.loss = None;
    }

    fn keep(&self, number: u64, sector: Option<&Sector>) -> io::Result<()> {
        match sector {
            Some(sector) => self.platter.write_all_at(sector, number * SECTOR as u64),
            None => Ok(()),
        }
    }

    fn has_power(&self) -> io::Result<()> {
        if self.powered { Ok(()) } else { Err(no_power()) }
    }
}

fn no_power() -> io::Error {
    io::Error::other("no power")
}
