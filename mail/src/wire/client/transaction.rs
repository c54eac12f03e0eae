//! One transaction: MAIL, RCPTs, DATA, content, the last reply (RFC 5321 §3.3); or BDAT in place of DATA and content (RFC 3030 §2).
//!
//! With PIPELINING commands go out in windows and replies are matched by position (RFC 2920 §3.1); without it one at a time. The
//! content is sent only when a recipient was accepted. What is decided for a recipient is never decided again.

use std::collections::VecDeque;

use crate::outcome::{Cause, Class, Failure, Stage};
use crate::status::Enhanced;
use crate::wire::client::flow::Flow;
use crate::wire::client::opening::Dialect;
use crate::wire::reply::Reply;

/// Commands sent before their replies are read. RFC 2920 §3.1 wants that both sides never write into full buffers at once, and so it is
/// bounded from either side: the replies to a window are at most 50 x 512 octets (RFC 5321 §4.5.3.1.5) = 25 KB, which our own receive buffer
/// takes (128 KB on Linux), so the server can always write and then read on; and the commands, some 80 octets each and never above 2 KB, are
/// mostly 4 KB and at worst 100 KB, which our send buffer (16 KB, growing to 4 MB) and the server's receive buffer (64 KB and more) take
/// without anybody reading. Only a server of odd replies to odd commands can fill both, and then `command_timeout` ends it.
const WINDOW: usize = 50;

/// What the driver has to do next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    Write(Vec<u8>),
    Await(Stage),
    /// Send the content with doubled dots; call `dot_sent` before the final dot is written.
    Content,
    /// Send the content as it is, behind `BDAT n LAST`; call `dot_sent` before it is written.
    Chunk,
    /// Nothing is under way: name another recipient, or close the list.
    Hold,
    Done,
}

/// What is known of one recipient.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fate {
    /// The server took responsibility.
    Taken(Reply),
    Refused(Failure),
    /// The server wants no more recipients in this transaction: another one may follow in the same session.
    AnotherTransaction(Failure),
}

/// What the session is good for once the transaction is over. It only gets worse: the greater one counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Standing {
    /// Another transaction may follow.
    Good,
    /// Both sides know whose turn it is, but no message should follow on this one: the peer is owed a QUIT.
    Parting,
    /// Broken, or nobody knows what the server is answering: closed without a word.
    Broken,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Expected {
    Mail,
    Rcpt(usize),
    Data,
    /// The reply to the end of data for everybody, or with LMTP for one accepted recipient (RFC 2033 §4.2).
    Dot(Option<usize>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Envelope,
    /// The server waits for content.
    Content,
    /// The content is out, replies follow.
    Sent,
    Over,
}

/// The machine. Recipients are known by their place in the list it was given.
#[derive(Debug)]
pub struct Transaction {
    dialect: Dialect,
    flow: Flow,
    write: Vec<u8>,
    waiting: VecDeque<Vec<u8>>,
    next_recipient: usize,
    expected: VecDeque<Expected>,
    phase: Phase,
    data_written: bool,
    accepted: Vec<usize>,
    fates: Vec<Option<Fate>>,
    mail_refused: bool,
    full: bool,
    dot_sent: bool,
    standing: Standing,
    chunk_unknown: bool,
    /// A MAIL is open that only RSET ends.
    open: bool,
    /// More recipients may be named.
    listing: bool,
    /// What ended it before its time, whoever is named.
    ended_by: Option<Failure>,
}

impl Transaction {
    /// `mail` and `recipients` are rendered commands, CRLF included.
    pub fn new(
        dialect: Dialect,
        flow: Flow,
        mail: Vec<u8>,
        recipients: Vec<Vec<u8>>,
    ) -> Transaction {
        let count = recipients.len();
        let mut transaction = Transaction {
            dialect,
            flow,
            write: mail,
            waiting: recipients.into(),
            next_recipient: 0,
            expected: VecDeque::from([Expected::Mail]),
            phase: Phase::Envelope,
            data_written: false,
            accepted: Vec::new(),
            fates: vec![None; count],
            mail_refused: false,
            full: false,
            dot_sent: false,
            standing: Standing::Good,
            chunk_unknown: false,
            open: false,
            listing: false,
            ended_by: None,
        };
        if flow == Flow::Grouped {
            transaction.fill_window();
        }
        transaction
    }

    /// Whose recipients are named one after the other, each when the answer about the last one is known: for those who have somebody else
    /// waiting for these answers.
    pub fn listing(dialect: Dialect, mail: Vec<u8>) -> Transaction {
        Transaction { listing: true, ..Transaction::new(dialect, Flow::Stepped, mail, Vec::new()) }
    }

    /// One recipient more, by its place. What becomes of it is known at the next `Hold` or `Done`.
    pub fn name(&mut self, recipient: Vec<u8>) -> usize {
        self.fates.push(self.ended_by.clone().map(Fate::Refused));
        if self.ended_by.is_none() {
            self.waiting.push_back(recipient);
        }
        self.fates.len() - 1
    }

    /// All are named: the content comes, if anybody was accepted.
    pub fn close(&mut self) {
        self.listing = false;
    }

    /// Nothing more is said in it.
    pub fn is_over(&self) -> bool {
        self.ended_by.is_some() || self.phase == Phase::Over
    }

    /// The session it was in is of no use to anybody.
    pub fn is_broken(&self) -> bool {
        self.is_over() && self.standing == Standing::Broken
    }

    /// `None`: it is accepted, or not asked for yet.
    pub fn fate(&self, recipient: usize) -> Option<&Fate> {
        self.fates.get(recipient)?.as_ref()
    }

    fn fill_window(&mut self) {
        while self.expected.len() < WINDOW {
            let Some(command) = self.waiting.pop_front() else { break };
            self.write.extend_from_slice(&command);
            self.expected.push_back(Expected::Rcpt(self.next_recipient));
            self.next_recipient += 1;
        }
        // RFC 2920 §3.1: DATA may be the last command of a group.
        if self.flow == Flow::Grouped && self.waiting.is_empty() && self.expected.len() < WINDOW {
            self.write_data();
        }
    }

    fn write_data(&mut self) {
        if !self.data_written {
            self.write.extend_from_slice(b"DATA\r\n");
            self.expected.push_back(Expected::Data);
            self.data_written = true;
        }
    }

    pub fn step(&mut self) -> Step {
        if !self.write.is_empty() {
            return Step::Write(std::mem::take(&mut self.write));
        }
        if let Some(next) = self.expected.front() {
            return Step::Await(match next {
                Expected::Mail => Stage::Mail,
                Expected::Rcpt(_) => Stage::Rcpt,
                Expected::Data => Stage::Data,
                Expected::Dot(_) => Stage::Dot,
            });
        }
        match self.phase {
            Phase::Content if self.flow == Flow::Chunk => Step::Chunk,
            Phase::Content => Step::Content,
            Phase::Envelope => self.go_on(),
            Phase::Sent | Phase::Over => Step::Done,
        }
    }

    /// All replies so far are in: more recipients, or the content, or nothing.
    fn go_on(&mut self) -> Step {
        if self.mail_refused || (self.data_written && self.accepted.is_empty()) {
            return self.over();
        }
        if self.full {
            self.waiting.clear();
        }
        if !self.waiting.is_empty() {
            if self.flow == Flow::Grouped {
                self.fill_window();
            } else if let Some(command) = self.waiting.pop_front() {
                self.write.extend_from_slice(&command);
                self.expected.push_back(Expected::Rcpt(self.next_recipient));
                self.next_recipient += 1;
            }
            return self.step();
        }
        if self.listing {
            return Step::Hold;
        }
        if self.accepted.is_empty() || self.data_written {
            return self.over();
        }
        if self.flow == Flow::Chunk {
            self.phase = Phase::Content;
            return Step::Chunk;
        }
        self.write_data();
        self.step()
    }

    fn over(&mut self) -> Step {
        self.phase = Phase::Over;
        Step::Done
    }

    /// One reply, in order.
    pub fn reply(&mut self, reply: Reply) {
        // RFC 5321 §3.8: 421 ends the session whatever it answers.
        if reply.code == 421 {
            let stage = self.stage();
            self.end_with(reply.failure(stage));
            return;
        }
        // RFC 5321 §4.2.1: 3yz asks for more, which only DATA has to give. Elsewhere it answers nothing of ours, and nobody knows whose
        // the replies behind it are: by their places they would be somebody else's.
        if reply.is_intermediate() && self.expected.front() != Some(&Expected::Data) {
            let stage = self.stage();
            self.end_with(reply.failure(stage));
            return;
        }
        match self.expected.pop_front() {
            Some(Expected::Mail) => self.mail_answered(&reply),
            Some(Expected::Rcpt(index)) => self.rcpt_answered(index, &reply),
            Some(Expected::Data) => self.data_answered(&reply),
            Some(Expected::Dot(whom)) => self.dot_answered(whom, reply),
            None => {
                let text = "the server speaks out of turn";
                self.end_with(Failure::new(Cause::Protocol(Stage::Data), text));
            }
        }
    }

    fn mail_answered(&mut self, reply: &Reply) {
        if reply.is_positive() {
            self.open = true;
            return;
        }
        self.spoiled_by(reply, Standing::Good);
        self.mail_refused = true;
        self.waiting.clear();
        // RFC 5321 §4.2.3: 503 to MAIL speaks of the order of commands, not of the message.
        let failure = if reply.code == 503 {
            self.worsen(Standing::Parting);
            Failure::new(Cause::Protocol(Stage::Mail), format!("MAIL refused: {}", reply.text()))
        } else {
            reply.failure(Stage::Mail)
        };
        for fate in &mut self.fates {
            *fate = Some(Fate::Refused(failure.clone()));
        }
        self.ended_by = Some(failure);
    }

    fn rcpt_answered(&mut self, index: usize, reply: &Reply) {
        if self.mail_refused {
            return; // answered already: without MAIL the server can only say no
        }
        if reply.is_positive() {
            self.accepted.push(index);
            return;
        }
        self.spoiled_by(reply, Standing::Good);
        let fate = match too_many(reply, self.dialect) {
            Some(failure) if !self.accepted.is_empty() => {
                // Who names them one after the other asks about each.
                self.full = !self.listing;
                Fate::AnotherTransaction(failure)
            }
            Some(failure) => Fate::Refused(failure),
            None => Fate::Refused(reply.failure(Stage::Rcpt)),
        };
        self.decide(index, fate);
    }

    fn data_answered(&mut self, reply: &Reply) {
        if reply.code == 354 {
            if self.accepted.is_empty() && self.dialect == Dialect::Lmtp {
                // RFC 2033 §4.2: it had to answer 503, and owes no reply to anybody now. What it waits for is not known.
                self.worsen(Standing::Broken);
                self.phase = Phase::Over;
            } else if self.accepted.is_empty() {
                // RFC 2920 §3.1: the server took DATA without a recipient: end it with a lone dot, the answer means nothing.
                self.write.extend_from_slice(b".\r\n");
                self.expected.push_back(Expected::Dot(None));
                self.phase = Phase::Sent;
                self.worsen(Standing::Parting);
            } else {
                self.phase = Phase::Content;
            }
            return;
        }
        self.phase = Phase::Over;
        if self.accepted.is_empty() {
            self.spoiled_by(reply, Standing::Good);
            return; // the refusal of DATA that a group without recipients expects
        }
        // The manual, `conn_reuse_limit`: never reused if the previous DATA failed.
        self.spoiled_by(reply, Standing::Parting);
        let failure = if contradicts(reply) {
            let text = format!("DATA refused after recipients were accepted: {}", reply.text());
            Failure::new(Cause::Protocol(Stage::Data), text)
        } else {
            reply.failure(Stage::Data)
        };
        self.fail_undecided(&failure);
    }

    fn dot_answered(&mut self, whom: Option<usize>, reply: Reply) {
        let fate = match reply.is_positive() {
            true => Fate::Taken(reply),
            false => Fate::Refused(self.content_refused(&reply, Stage::Dot)),
        };
        match whom {
            Some(index) => self.decide(index, fate),
            None => {
                for index in std::mem::take(&mut self.accepted) {
                    self.decide(index, fate.clone());
                }
            }
        }
        if self.expected.is_empty() {
            self.phase = Phase::Over;
            self.open = false;
        }
    }

    fn content_refused(&mut self, reply: &Reply, stage: Stage) -> Failure {
        // RFC 3030 §2: whoever announces CHUNKING knows BDAT. One who does not takes the content for commands.
        if self.flow == Flow::Chunk && matches!(reply.code, 500..=504) {
            self.chunk_unknown = true;
            self.worsen(Standing::Broken);
            let text = format!("BDAT is offered and not known: {}", reply.text());
            return Failure::new(Cause::Protocol(Stage::Data), text);
        }
        self.spoiled_by(reply, Standing::Parting); // as after DATA
        if self.flow == Flow::Chunk && contradicts(reply) {
            let text = format!("BDAT refused after recipients were accepted: {}", reply.text());
            return Failure::new(Cause::Protocol(Stage::Data), text);
        }
        reply.failure(stage)
    }

    /// The driver is about to write the final dot, or the chunk that is the content: from here on silence does not mean failure.
    pub fn dot_sent(&mut self) {
        self.dot_sent = true;
        self.phase = Phase::Sent;
        match self.dialect {
            Dialect::Smtp => self.expected.push_back(Expected::Dot(None)),
            Dialect::Lmtp => {
                self.expected.extend(self.accepted.iter().map(|i| Expected::Dot(Some(*i))));
            }
        }
    }

    /// The server refused before it was sent all of the content. It is not waited for.
    pub fn refused_within(&mut self, reply: &Reply) {
        let failure = match reply.code {
            421 => reply.failure(Stage::Content),
            _ => self.content_refused(reply, Stage::Content),
        };
        self.end_with(failure);
    }

    /// The connection is gone, silent or senseless. What was decided stays.
    pub fn lost(&mut self, failure: Failure) {
        self.end_with(failure);
    }

    fn end_with(&mut self, failure: Failure) {
        self.worsen(Standing::Broken);
        self.expected.clear();
        self.write.clear();
        self.waiting.clear();
        self.phase = Phase::Over;
        // A 4yz or 5yz reply is an answer, also to the dot; anything else after the dot leaves the question open.
        let answered = matches!(failure.cause, Cause::Refused(_)) || self.chunk_unknown;
        if self.dot_sent && !answered {
            let text = format!("{} (after the end of data)", failure.text);
            let unknown = Failure {
                remote: failure.remote.clone(),
                ..Failure::new(Cause::UnknownAfterDot, text)
            };
            for index in std::mem::take(&mut self.accepted) {
                self.decide(index, Fate::Refused(unknown.clone()));
            }
        }
        self.fail_undecided(&failure);
        self.ended_by.get_or_insert(failure);
    }

    /// A reply that is final speaks of those who were named: where the server wanted no more, the others stay for another transaction.
    fn fail_undecided(&mut self, failure: &Failure) {
        let concerned = match failure.class() {
            Class::Permanent => self.next_recipient,
            Class::Temporary => self.fates.len(),
        };
        for fate in self.fates.iter_mut().take(concerned).filter(|f| f.is_none()) {
            *fate = Some(Fate::Refused(failure.clone()));
        }
    }

    fn decide(&mut self, index: usize, fate: Fate) {
        if let Some(slot) = self.fates.get_mut(index).filter(|slot| slot.is_none()) {
            *slot = Some(fate);
        }
    }

    /// After a reply that was not the one hoped for. A refusal leaves the session at least this good; a positive or intermediate reply
    /// where none belongs breaks it: who knows what the server is answering.
    fn spoiled_by(&mut self, reply: &Reply, by_refusal: Standing) {
        self.worsen(if reply.code < 400 { Standing::Broken } else { by_refusal });
    }

    fn worsen(&mut self, standing: Standing) {
        self.standing = self.standing.max(standing);
    }

    /// Where the session stands.
    pub fn stage(&self) -> Stage {
        match (self.expected.front(), self.phase) {
            (Some(Expected::Mail), _) => Stage::Mail,
            (Some(Expected::Rcpt(_)), _) => Stage::Rcpt,
            (Some(Expected::Data), _) => Stage::Data,
            (Some(Expected::Dot(_)), _) | (None, Phase::Sent) => Stage::Dot,
            (None, Phase::Content) => Stage::Content,
            (None, Phase::Envelope | Phase::Over) => Stage::Mail,
        }
    }

    /// Recipients that were accepted and wait for the content.
    pub fn accepted(&self) -> &[usize] {
        &self.accepted
    }

    /// What became of each recipient, in the order given, and of the session. Recipients for which there was no room are told so.
    pub fn finish(self) -> Ending {
        let unsent = || {
            let text = "the server takes no more recipients in this transaction";
            Fate::AnotherTransaction(Failure::new(Cause::Refused(Stage::Rcpt), text))
        };
        let fates = self.fates.into_iter().map(|fate| fate.unwrap_or_else(unsent)).collect();
        let Transaction { standing, open, chunk_unknown, .. } = self;
        Ending { fates, standing, needs_reset: open, chunk_unknown }
    }
}

/// The end of a transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ending {
    pub fates: Vec<Fate>,
    pub standing: Standing,
    /// RSET must come first.
    pub needs_reset: bool,
    /// The server announced CHUNKING and does not know BDAT: nothing was decided, and DATA may do.
    pub chunk_unknown: bool,
}

impl Ending {
    /// No transaction was made, because the session is gone.
    pub fn lost(recipients: usize, failure: Failure) -> Ending {
        let fates = vec![Fate::Refused(failure); recipients];
        Ending { fates, standing: Standing::Broken, needs_reset: false, chunk_unknown: false }
    }
}

/// 503, and 554 5.5.1, say to DATA "no valid recipients": where some were accepted, that is not a verdict on them.
fn contradicts(reply: &Reply) -> bool {
    reply.code == 503 || (reply.code == 554 && reply.enhanced == Some(Enhanced(5, 5, 1)))
}

/// RFC 5321 §4.5.3.1.10: 452 to RCPT says "too many recipients"; 552 is the old code for it, but only where the status does not say
/// something else (5.3.4 too large, 5.2.2 mailbox full). LMTP replies are about the mailbox and stay what they are.
fn too_many(reply: &Reply, dialect: Dialect) -> Option<Failure> {
    if dialect == Dialect::Lmtp {
        return None;
    }
    match (reply.code, reply.enhanced) {
        (452, None | Some(Enhanced(4, 5, 3) | Enhanced(4, 3, 1) | Enhanced(4, 0, 0))) => {
            Some(reply.failure(Stage::Rcpt))
        }
        (552, None | Some(Enhanced(5, 5, 3))) => {
            Some(Failure::refused(Stage::Rcpt, 452, Some(Enhanced(4, 5, 3)), &reply.text()))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests;
