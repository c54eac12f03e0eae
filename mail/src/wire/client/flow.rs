//! How a transaction goes over the wire, by what the server offers.
//!
//! What counts is round trips. With PIPELINING the group of commands ends with DATA, whose 354 comes together with the replies to RCPT:
//! BDAT, which must not be sent before a recipient is accepted, would wait for the same replies and save nothing. Without PIPELINING, DATA
//! is a round trip of its own and BDAT is none: the content follows the last reply to RCPT at once. But each further chunk is a round trip
//! again, since its reply has to be awaited before the next one (RFC 2920 §3.1 is what allows more). So content goes by BDAT where all of
//! it is one chunk and PIPELINING is not offered.

use crate::wire::capabilities::Capabilities;
use crate::wire::client::opening::Dialect;

/// Content of more octets is not sent by BDAT: beside the round trips it would have to be counted before it is sent.
pub const LARGEST_CHUNK: u64 = 64 * 1024;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flow {
    /// One command at a time.
    Stepped,
    /// Commands in groups, DATA in the last one.
    Grouped,
    /// One command at a time, and the content as one chunk in place of DATA.
    Chunk,
}

/// Whether BDAT may be used where it is offered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Chunks {
    Welcome,
    /// The server has announced CHUNKING and then not known BDAT.
    Unknown,
}

impl Flow {
    /// `size` is that of the content.
    pub fn of(dialect: Dialect, offered: &Capabilities, size: u64, chunks: Chunks) -> Flow {
        // RFC 2033 knows DATA only, and is spoken to neighbours.
        let smtp = dialect == Dialect::Smtp;
        // RFC 3030 §2: BDAT only where CHUNKING was announced.
        let chunking = offered.chunking && chunks == Chunks::Welcome;
        match offered.pipelining {
            true => Flow::Grouped,
            false if smtp && chunking && size <= LARGEST_CHUNK => Flow::Chunk,
            false => Flow::Stepped,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chunk_where_it_saves_a_round_trip() {
        let offered =
            |pipelining, chunking| Capabilities { pipelining, chunking, ..Capabilities::default() };
        let smtp =
            |offered: &Capabilities, size| Flow::of(Dialect::Smtp, offered, size, Chunks::Welcome);
        assert_eq!(smtp(&offered(false, true), 1000), Flow::Chunk);
        assert_eq!(smtp(&offered(false, true), LARGEST_CHUNK), Flow::Chunk);
        assert_eq!(smtp(&offered(false, true), LARGEST_CHUNK + 1), Flow::Stepped); // two chunks
        assert_eq!(smtp(&offered(true, true), 1000), Flow::Grouped); // 354 comes with the replies to RCPT
        assert_eq!(smtp(&offered(true, false), 1000), Flow::Grouped);
        assert_eq!(smtp(&offered(false, false), 1000), Flow::Stepped);
        let lying = Flow::of(Dialect::Smtp, &offered(false, true), 1000, Chunks::Unknown);
        assert_eq!(lying, Flow::Stepped);
        let lmtp = Flow::of(Dialect::Lmtp, &offered(false, true), 1000, Chunks::Welcome);
        assert_eq!(lmtp, Flow::Stepped);
    }
}
