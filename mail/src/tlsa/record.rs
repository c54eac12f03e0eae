//! One TLSA record, as it came from DNS (RFC 6698 §2.1).

use std::fmt;

/// Any numbers and any data: what can be used of it is for `usable` to say.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TlsaRecord {
    /// RFC 7218 §2.1: 0 PKIX-TA, 1 PKIX-EE, 2 DANE-TA, 3 DANE-EE.
    pub usage: u8,
    /// RFC 7218 §2.2: 0 the whole certificate, 1 its public key.
    pub selector: u8,
    /// RFC 7218 §2.3: 0 the thing itself, 1 SHA2-256, 2 SHA2-512.
    pub matching: u8,
    pub data: Vec<u8>,
}

/// As in zone files (RFC 6698 §2.2).
impl fmt::Display for TlsaRecord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {} ", self.usage, self.selector, self.matching)?;
        self.data.iter().try_for_each(|octet| write!(f, "{octet:02x}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shown_as_in_zone_files() {
        let show = |usage, selector, matching, data: &[u8]| {
            TlsaRecord { usage, selector, matching, data: data.to_vec() }.to_string()
        };
        assert_eq!(show(3, 1, 1, &[0xab, 0x01, 0xff]), "3 1 1 ab01ff");
        assert_eq!(show(255, 9, 0, &[0]), "255 9 0 00");
        assert_eq!(show(2, 0, 2, &[]), "2 0 2 "); // not even a zone file can say it
    }
}
