//! What the committer is asked to do.

use std::collections::HashMap;
use std::sync::Arc;

use posthaste_mail::envelope::EnvelopeId;
use posthaste_mail::queue::amendment::{Amended, Amendment, Order};
use posthaste_mail::queue::archive::Archived;
use posthaste_mail::queue::ledger::{NotLeasable, Settlement, Terms};
use posthaste_mail::queue::record::{BatchId, JournalEntry};
use posthaste_mail::queue::schedule::Plan;
use posthaste_mail::time::Timestamp;

use super::incoming::{Content, Incoming};
use super::recovery::Recovery;
use super::work::Ground;
use super::{Notices, SpoolError, Taken};

pub enum Job {
    Accept {
        incoming: Box<Incoming>,
        call: Call<()>,
    },
    Import {
        incoming: Box<Incoming>,
        archived: Box<Archived>,
        call: Call<bool>,
    },
    Take {
        batch: BatchId,
        terms: Terms,
        plan: Plan,
        seed: u64,
        call: Box<Call<Result<Taken, NotLeasable>>>,
    },
    Journal {
        batch: BatchId,
        entries: Vec<(u32, JournalEntry)>,
        call: Call<()>,
    },
    Settle {
        settle: Box<Settle>,
        call: Box<Call<Settlement>>,
    },
    Amend {
        batch: BatchId,
        order: Arc<Order<Amendment>>,
        now: Timestamp,
        call: Call<Amended>,
    },
    Decide {
        id: EnvelopeId,
        keep: bool,
        call: Call<bool>,
    },
    /// From the check: a message that is only in the segments.
    Recover {
        recovery: Box<Recovery>,
        call: Call<bool>,
    },
    /// From the check: gives a batch its entry in the schedule.
    Mend {
        batch: BatchId,
        call: Call<bool>,
    },
    /// From the check: how many envelopes keep each segment.
    Count {
        call: Call<HashMap<u64, u64>>,
    },
    /// From the check: everything was compared. Segments may go now.
    Checked {
        call: Call<()>,
    },
}

pub struct Settle {
    pub ground: Ground,
    pub plan: Plan,
    pub now: Timestamp,
    pub seed: u64,
    pub notices: Stage,
}

/// Notifications, before and after they are made: a settlement may have to wait for the next group with them in hand.
pub enum Stage {
    Wanted(Notices),
    Made(Vec<Incoming>),
}

impl Stage {
    fn made(&self) -> &[Incoming] {
        match self {
            Stage::Made(made) => made,
            Stage::Wanted(_) => &[],
        }
    }
}

/// Who asked, and what will be answered once it is durable.
pub struct Call<T> {
    reply: Box<dyn FnOnce(Result<T, SpoolError>) + Send>,
    pub value: Option<Result<T, SpoolError>>,
}

impl<T> Call<T> {
    pub fn new(reply: impl FnOnce(Result<T, SpoolError>) + Send + 'static) -> Call<T> {
        Call { reply: Box::new(reply), value: None }
    }

    /// Answers without doing anything.
    pub fn refuse(self, error: SpoolError) {
        (self.reply)(Err(error));
    }

    fn finish(self, end: Result<(), SpoolError>) {
        let unanswered = || Err(SpoolError::Broken("the spool did not answer".into()));
        (self.reply)(end.and_then(|()| self.value.unwrap_or_else(unanswered)));
    }
}

impl Job {
    /// Answers. The files of bodies stay when the message does, and also when that cannot be told.
    pub fn finish(self, end: Result<(), SpoolError>) {
        let keep = matches!(end, Ok(()) | Err(SpoolError::Broken(_)));
        match self {
            Job::Accept { incoming, call } => {
                let own = matches!(call.value, Some(Err(_)));
                settle_file(*incoming, keep && !own);
                call.finish(end);
            }
            Job::Import { incoming, call, .. } => {
                // When it is there already the file is the body of that one.
                let own = matches!(call.value, Some(Err(_)));
                settle_file(*incoming, keep && !own);
                call.finish(end);
            }
            Job::Take { call, .. } => call.finish(end),
            Job::Journal { call, .. } => call.finish(end),
            Job::Settle { settle, call } => {
                let own = matches!(call.value, Some(Err(_)));
                if let Stage::Made(made) = settle.notices {
                    made.into_iter().for_each(|incoming| settle_file(incoming, keep && !own));
                }
                call.finish(end);
            }
            Job::Amend { call, .. } => call.finish(end),
            Job::Decide { call, .. } | Job::Recover { call, .. } | Job::Mend { call, .. } => {
                call.finish(end);
            }
            Job::Count { call } => call.finish(end),
            Job::Checked { call } => call.finish(end),
        }
    }
}

fn settle_file(incoming: Incoming, keep: bool) {
    match incoming.content {
        Content::Apart(large) if keep => large.keep(),
        Content::Apart(_) | Content::Inline(_) => {}
    }
}

impl Job {
    /// Its name among the points of `fault`.
    pub fn kind(&self) -> &'static str {
        match self {
            Job::Accept { .. } => "accept",
            Job::Import { .. } => "import",
            Job::Take { .. } => "take",
            Job::Journal { entries, .. } => {
                let is_dot = |(_, entry): &(u32, JournalEntry)| *entry == JournalEntry::DotSent;
                if entries.iter().any(is_dot) { "dot" } else { "outcome" }
            }
            Job::Settle { settle, .. } => match &settle.notices {
                Stage::Made(made) if !made.is_empty() => "notify",
                Stage::Made(_) | Stage::Wanted(_) => "settle",
            },
            Job::Amend { .. } => "amend",
            Job::Decide { .. } => "decide",
            Job::Recover { .. } => "recover",
            Job::Mend { .. } => "mend",
            Job::Count { .. } => "count",
            Job::Checked { .. } => "checked",
        }
    }

    /// Messages the job brought in.
    pub fn brought(&self) -> &[Incoming] {
        match self {
            Job::Accept { incoming, .. } => std::slice::from_ref(incoming),
            Job::Settle { settle, .. } => settle.notices.made(),
            // Not tried at once, or not of this kind.
            Job::Import { .. }
            | Job::Take { .. }
            | Job::Journal { .. }
            | Job::Amend { .. }
            | Job::Decide { .. }
            | Job::Recover { .. }
            | Job::Mend { .. }
            | Job::Count { .. }
            | Job::Checked { .. } => &[],
        }
    }

    /// Octets the job adds to the segment.
    pub fn appends(&self) -> u64 {
        match self {
            Job::Accept { incoming, .. } | Job::Import { incoming, .. } => {
                incoming.head.record_length()
            }
            Job::Settle { settle, .. } => {
                settle.notices.made().iter().map(|i| i.head.record_length()).sum()
            }
            Job::Take { .. }
            | Job::Journal { .. }
            | Job::Amend { .. }
            | Job::Decide { .. }
            | Job::Recover { .. }
            | Job::Mend { .. }
            | Job::Count { .. }
            | Job::Checked { .. } => 0,
        }
    }

    pub fn fail(&mut self, error: SpoolError) {
        match self {
            Job::Accept { call, .. } | Job::Journal { call, .. } | Job::Checked { call } => {
                call.value = Some(Err(error));
            }
            Job::Count { call } => call.value = Some(Err(error)),
            Job::Take { call, .. } => call.value = Some(Err(error)),
            Job::Settle { call, .. } => call.value = Some(Err(error)),
            Job::Amend { call, .. } => call.value = Some(Err(error)),
            Job::Import { call, .. }
            | Job::Decide { call, .. }
            | Job::Recover { call, .. }
            | Job::Mend { call, .. } => {
                call.value = Some(Err(error));
            }
        }
    }
}
