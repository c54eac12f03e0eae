//! TLSA records by what they are about.

use openssl::sha::{sha256, sha512};
use openssl::x509::X509;

use crate::harness::certificates::Certificate;
use crate::row::At;

/// A record of a host.
#[derive(Clone, Debug)]
pub struct Tlsa {
    pub numbers: &'static str,
    pub of: Of,
    pub at: At,
}

/// What the data of a TLSA record is made from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Of {
    /// The certificate of the host's server.
    Leaf,
    /// The one that vouches for it.
    Issuer,
    /// The last one above it.
    Root,
    /// A certificate that has nothing to do with it.
    Another,
    /// A digest that lacks its last octet.
    Short,
    /// Octets that are no certificate.
    Garbage,
}

/// The record's data as a zone file has it: `3 1 1 0a1b...`. `numbers` are usage, selector and matching type (RFC 6698 §2.1).
pub fn data(numbers: &str, of: Of, server: &Certificate, another: &Certificate) -> String {
    let certificate = match of {
        Of::Leaf | Of::Short => server.leaf(),
        Of::Issuer => server.above().first().unwrap(),
        Of::Root => server.above().last().unwrap(),
        Of::Another | Of::Garbage => another.leaf(),
    };
    let mut fields = numbers.split(' ').skip(1);
    let (selector, matching) = (fields.next().unwrap(), fields.next().unwrap());
    let mut octets = match of {
        Of::Garbage => b"no certificate".to_vec(),
        _ => matched(selector, matching, certificate),
    };
    if of == Of::Short {
        octets.pop();
    }
    let digits: String = octets.iter().map(|octet| format!("{octet:02x}")).collect();
    format!("{numbers} {digits}")
}

/// RFC 6698 §2.1.2 and §2.1.3; of a number that is none, as of 1.
fn matched(selector: &str, matching: &str, certificate: &X509) -> Vec<u8> {
    let content = match selector {
        "0" => certificate.to_der().unwrap(),
        _ => certificate.public_key().unwrap().public_key_to_der().unwrap(),
    };
    match matching {
        "0" => content,
        "2" => sha512(&content).to_vec(),
        _ => sha256(&content).to_vec(),
    }
}
