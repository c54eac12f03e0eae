//! Which records SMTP can use, and which of those count beside each other.

use std::fmt;

use super::record::TlsaRecord;

const DANE_TA: u8 = 2;
const DANE_EE: u8 = 3;
const CERTIFICATE: u8 = 0;
const PUBLIC_KEY: u8 = 1;
const FULL: u8 = 0;
const SHA2_256: u8 = 1;
const SHA2_512: u8 = 2;

/// Why a record cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unusable {
    /// RFC 7672 §3.1.3: not PKIX-TA and PKIX-EE, as nobody knows which roots a sender trusts; nor unknown ones.
    Usage(u8),
    Selector(u8),
    Matching(u8),
    /// A digest of another length: it can never match.
    DigestLength(usize),
    /// Neither certificate nor public key, where one of them has to be in full.
    Malformed,
}

impl fmt::Display for Unusable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Unusable::Usage(usage) => write!(f, "usage {usage} is not for SMTP"),
            Unusable::Selector(selector) => write!(f, "selector {selector} is unknown"),
            Unusable::Matching(matching) => write!(f, "matching type {matching} is unknown"),
            Unusable::DigestLength(octets) => write!(f, "no digest has {octets} octets"),
            Unusable::Malformed => f.write_str("neither a certificate nor a public key"),
        }
    }
}

impl TlsaRecord {
    /// As far as it can be told without reading certificates.
    pub fn usability(&self) -> Result<(), Unusable> {
        if !matches!(self.usage, DANE_TA | DANE_EE) {
            return Err(Unusable::Usage(self.usage));
        }
        if !matches!(self.selector, CERTIFICATE | PUBLIC_KEY) {
            return Err(Unusable::Selector(self.selector));
        }
        let length = match self.matching {
            FULL if is_one_sequence(&self.data) => return Ok(()),
            FULL => return Err(Unusable::Malformed),
            SHA2_256 => 32,
            SHA2_512 => 64,
            other => return Err(Unusable::Matching(other)),
        };
        match self.data.len() {
            same if same == length => Ok(()),
            other => Err(Unusable::DigestLength(other)),
        }
    }

    /// The record holds a certificate or a key itself, which has to be read before it is known to be one.
    pub fn is_full(&self) -> bool {
        self.matching == FULL
    }

    /// Of full ones: a certificate, not a bare key.
    pub fn is_of_certificate(&self) -> bool {
        self.selector == CERTIFICATE
    }
}

/// X.690 §8.1, as far as certificates and public keys need it: a SEQUENCE, and nothing before or behind it.
fn is_one_sequence(der: &[u8]) -> bool {
    let (length, content) = match der {
        [0x30, short @ 0..=0x7f, content @ ..] => (usize::from(*short), content),
        [0x30, 0x81, low, content @ ..] => (usize::from(*low), content),
        [0x30, 0x82, high, low, content @ ..] => {
            (usize::from(u16::from_be_bytes([*high, *low])), content)
        }
        _ => return false, // longer than a record can be
    };
    content.len() == length
}

/// Records apart by whether they can be used.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sifted {
    pub usable: Vec<TlsaRecord>,
    pub unusable: Vec<(TlsaRecord, Unusable)>,
}

/// `decodes` is asked of full records only.
pub fn sift(records: Vec<TlsaRecord>, decodes: impl Fn(&TlsaRecord) -> bool) -> Sifted {
    let mut sifted = Sifted::default();
    for record in records {
        match record.usability() {
            Ok(()) if record.is_full() && !decodes(&record) => {
                sifted.unusable.push((record, Unusable::Malformed));
            }
            Ok(()) => sifted.usable.push(record),
            Err(why) => sifted.unusable.push((record, why)),
        }
    }
    sifted
}

/// Whether a usable record counts beside the others. RFC 7671 §9: of the digests for one usage and selector only the strongest does, or
/// whoever breaks the weaker one would pass; what is no digest always counts. The TLS library does the same: this is for those who have
/// to explain its verdict.
pub fn counts(record: &TlsaRecord, usable: &[TlsaRecord]) -> bool {
    record.matching != SHA2_256
        || !usable.iter().any(|other| {
            (other.usage, other.selector, other.matching)
                == (record.usage, record.selector, SHA2_512)
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn record(usage: u8, selector: u8, matching: u8, data: &[u8]) -> TlsaRecord {
        TlsaRecord { usage, selector, matching, data: data.to_vec() }
    }

    fn why(usage: u8, selector: u8, matching: u8, data: &[u8]) -> Option<Unusable> {
        record(usage, selector, matching, data).usability().err()
    }

    #[test]
    fn what_can_be_used() {
        for usage in [2, 3] {
            for selector in [0, 1] {
                assert_eq!(why(usage, selector, 0, &[0x30, 0]), None);
                assert_eq!(
                    why(usage, selector, 0, &[&[0x30, 0x81, 200][..], &[0; 200]].concat()),
                    None
                );
                assert_eq!(
                    why(usage, selector, 0, &[&[0x30, 0x82, 1, 0][..], &[0; 256]].concat()),
                    None
                );
                assert_eq!(why(usage, selector, 1, &[0; 32]), None);
                assert_eq!(why(usage, selector, 2, &[0; 64]), None);
            }
        }
    }

    #[test]
    fn what_cannot() {
        assert_eq!(why(0, 1, 1, &[0; 32]), Some(Unusable::Usage(0))); // RFC 7672 §3.1.3
        assert_eq!(why(1, 1, 1, &[0; 32]), Some(Unusable::Usage(1)));
        assert_eq!(why(4, 1, 1, &[0; 32]), Some(Unusable::Usage(4)));
        assert_eq!(why(255, 1, 1, &[0; 32]), Some(Unusable::Usage(255))); // PrivCert
        assert_eq!(why(3, 2, 1, &[0; 32]), Some(Unusable::Selector(2)));
        assert_eq!(why(3, 1, 3, &[0; 32]), Some(Unusable::Matching(3)));
        assert_eq!(why(3, 1, 1, &[0; 31]), Some(Unusable::DigestLength(31)));
        assert_eq!(why(3, 1, 1, &[0; 64]), Some(Unusable::DigestLength(64)));
        assert_eq!(why(3, 1, 2, &[0; 32]), Some(Unusable::DigestLength(32)));
        assert_eq!(why(3, 1, 2, &[]), Some(Unusable::DigestLength(0)));
        assert_eq!(why(3, 1, 0, &[]), Some(Unusable::Malformed));
        assert_eq!(why(2, 0, 0, b"-----BEGIN"), Some(Unusable::Malformed));
        assert_eq!(why(2, 0, 0, &[0x30, 2, 5, 0, 0]), Some(Unusable::Malformed)); // something behind
        assert_eq!(why(2, 0, 0, &[0x30, 2, 5]), Some(Unusable::Malformed)); // something missing
        assert_eq!(why(2, 0, 0, &[0x30, 0x80, 0, 0]), Some(Unusable::Malformed)); // BER
    }

    #[test]
    fn full_records_have_to_be_readable() {
        let (full, digest) = (record(2, 0, 0, &[0x30, 0]), record(3, 1, 1, &[0; 32]));
        let sifted = sift(vec![full.clone(), digest.clone()], |_| false);
        assert_eq!(sifted.usable, [digest]);
        assert_eq!(sifted.unusable, [(full, Unusable::Malformed)]);
    }

    #[test]
    fn of_digests_the_strongest_counts() {
        let (weak, strong) = (record(3, 1, 1, &[0; 32]), record(3, 1, 2, &[0; 64]));
        let full = record(3, 1, 0, &[0x30, 0]);
        let other = record(2, 1, 1, &[0; 32]); // another usage
        let set = [weak.clone(), strong.clone(), full.clone(), other.clone()];
        assert!(!counts(&weak, &set));
        assert!(counts(&strong, &set) && counts(&full, &set) && counts(&other, &set));
        assert!(counts(&weak, &[weak.clone(), full, other]));
    }

    proptest! {
        #[test]
        fn any_octets_are_sorted_out_and_none_lost(
            records in proptest::collection::vec(
                (0..5u8, 0..3u8, 0..4u8, prop_oneof![
                    proptest::collection::vec(any::<u8>(), 0..70),
                    proptest::collection::vec(any::<u8>(), 32..=32),
                    proptest::collection::vec(any::<u8>(), 64..=64),
                    proptest::collection::vec(any::<u8>(), 0..100).prop_map(|content| {
                        [&[0x30, content.len() as u8][..], &content].concat()
                    }),
                ]),
                0..20,
            ),
        ) {
            let records: Vec<_> = records.iter().map(|(u, s, m, d)| record(*u, *s, *m, d)).collect();
            let sifted = sift(records.clone(), |r| r.data.len() != 1);
            prop_assert_eq!(sifted.usable.len() + sifted.unusable.len(), records.len());
            for usable in &sifted.usable {
                prop_assert!(matches!(usable.usage, 2 | 3) && usable.selector < 2);
                let fits = match usable.matching {
                    0 => is_one_sequence(&usable.data),
                    1 => usable.data.len() == 32,
                    2 => usable.data.len() == 64,
                    _ => false,
                };
                prop_assert!(fits, "{}", usable);
            }
            // Leaving out what does not count leaves something to match.
            let counting = sifted.usable.iter().filter(|r| counts(r, &sifted.usable)).count();
            prop_assert_eq!(counting == 0, sifted.usable.is_empty());
        }
    }
}
