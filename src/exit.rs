//! Exit codes, as scripts and unit files know them (sysexits.h has most of these numbers).

/// What the program comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    Done,
    /// The daemon refused, or nothing matched.
    Refused,
    Usage,
    /// EX_USAGE, which callers of `sendmail` know instead of 2.
    SendmailUsage,
    /// EX_UNAVAILABLE: the daemon cannot be reached; for `sendmail` a refusal for good.
    Unavailable,
    /// EX_SOFTWARE.
    Internal,
    /// EX_TEMPFAIL.
    TryAgain,
    /// EX_CONFIG.
    Configuration,
    /// What the daemon itself came to.
    Daemon(u8),
}

impl Exit {
    pub fn code(self) -> u8 {
        match self {
            Exit::Done => 0,
            Exit::Refused => 1,
            Exit::Usage => 2,
            Exit::SendmailUsage => 64,
            Exit::Unavailable => 69,
            Exit::Internal => 70,
            Exit::TryAgain => 75,
            Exit::Configuration => 78,
            Exit::Daemon(code) => code,
        }
    }
}
