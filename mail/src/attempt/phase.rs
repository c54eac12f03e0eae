//! What an attempt is doing just now, in a word, for whoever looks.

use crate::outcome::Stage;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Phase {
    /// The lease is being written, and the body opened.
    #[default]
    Starting,
    /// A target has it that says no more than this, or it began before the queue was restarted.
    Delivering,
    /// An idle session of the destination is looked for, and its peer asked whether it is there.
    IdleSession,
    MxLookup,
    AddressLookup,
    /// TLSA records of an exchanger, or the MTA-STS policy of the domain.
    PolicyLookup,
    /// The address took no connection lately, another delivery tries it, and its word is awaited.
    AwaitingOther,
    /// In a session, or on the way to one.
    In(Stage),
    /// Outcomes are being written down.
    Settling,
}

impl Phase {
    /// Constant: programs look for it.
    pub fn word(self) -> &'static str {
        match self {
            Phase::Starting => "starting",
            Phase::Delivering => "delivering",
            Phase::IdleSession => "idle-session",
            Phase::MxLookup => "mx-lookup",
            Phase::AddressLookup => "address-lookup",
            Phase::PolicyLookup => "policy-lookup",
            Phase::AwaitingOther => "awaiting-other",
            Phase::In(stage) => match stage {
                Stage::Connect => "connecting",
                Stage::Greeting => "greeting",
                Stage::Ehlo => "ehlo",
                Stage::Lhlo => "lhlo",
                Stage::StartTls => "starttls",
                Stage::Auth => "auth",
                Stage::Mail => "mail",
                Stage::Rcpt => "rcpt",
                Stage::Data => "data",
                Stage::Content => "content",
                Stage::Dot => "dot",
                Stage::Rset => "rset",
                Stage::Quit => "quit",
            },
            Phase::Settling => "settling",
        }
    }
}
