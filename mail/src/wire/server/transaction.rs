//! Where a mail transaction stands.

/// What the transaction waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// Recipients, then DATA or BDAT.
    Recipients,
    /// More chunks: the first BDAT was taken (RFC 3030 §2: then neither DATA nor RCPT may come).
    Chunks,
    /// Its end: a chunk was refused. Chunks already on their way are refused too; RSET, EHLO or MAIL begin anew.
    Failed,
}

/// A transaction begun by an accepted MAIL.
#[derive(Clone, Copy, Debug)]
pub(super) struct Transaction {
    pub smtputf8: bool,
    /// Recipients accepted, duplicates included.
    pub recipients: u32,
    pub phase: Phase,
}

impl Transaction {
    pub fn new(smtputf8: bool) -> Transaction {
        Transaction { smtputf8, recipients: 0, phase: Phase::Recipients }
    }
}
