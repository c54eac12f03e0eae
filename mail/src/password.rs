//! Stored passwords, verified.
//!
//! Values of a password table, in the forms that mail administrators have: `bcrypt:$2a$...` and `argon2:TIME:MEMORY:THREADS:SALT:HASH`
//! (argon2id, memory in KiB, standard Base64), or bare `$2b$...` and `$argon2id$v=19$m=..,t=..,p=..$salt$hash` (the PHC string form).
//! The work a stored value may ask for is bounded, since a login costs it. Verifying takes from a tenth of a second up: off the
//! threads that serve sessions.

use std::fmt;

use argon2::{Algorithm, Argon2, Params, Version};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};

/// A stored hash, read once.
#[derive(Clone)]
pub struct PasswordHash(Kind);

#[derive(Clone)]
enum Kind {
    Bcrypt(String),
    Argon2 { algorithm: Algorithm, version: Version, params: Params, salt: Vec<u8>, hash: Vec<u8> },
}

/// Why a stored value is not a password hash. Never says anything about the password.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PasswordError {
    /// The scheme before the first colon (or dollar sign) is none of ours.
    UnknownScheme,
    /// The parts of the value are not what its scheme wants.
    Malformed(&'static str),
    /// The value asks for more time or memory than a login may cost.
    TooCostly,
    /// The algorithm failed, for want of memory.
    Failed,
}

impl fmt::Display for PasswordError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PasswordError::UnknownScheme => {
                f.write_str("unknown password scheme, expected bcrypt or argon2")
            }
            PasswordError::Malformed(part) => write!(f, "malformed password hash: {part}"),
            PasswordError::TooCostly => f.write_str("password hash asks for too much work"),
            PasswordError::Failed => f.write_str("computing the password hash failed"),
        }
    }
}

impl std::error::Error for PasswordError {}

/// Some 15 s on a slow machine; 12 is usual.
const MAX_BCRYPT_COST: u32 = 16;
/// In KiB: 1 GiB.
const MAX_ARGON2_MEMORY: u32 = 1 << 20;
/// Passes over the memory times its size in KiB: a few seconds.
const MAX_ARGON2_WORK: u64 = 4 << 20;
/// Shorter hashes are found by guessing.
const HASH_LENGTHS: std::ops::RangeInclusive<usize> = 16..=128;

impl PasswordHash {
    pub fn parse(stored: &str) -> Result<PasswordHash, PasswordError> {
        let stored = stored.trim();
        let value = stored.strip_prefix("bcrypt:").or_else(|| stored.strip_prefix("argon2:"));
        let kind = match (stored.starts_with("argon2:"), value.unwrap_or(stored)) {
            (_, phc) if phc.starts_with("$argon2") => argon2_phc(phc)?,
            (true, colons) => argon2_colons(colons)?,
            (false, crypt) if value.is_some() || crypt.starts_with("$2") => bcrypt_text(crypt)?,
            (false, _) => return Err(PasswordError::UnknownScheme),
        };
        Ok(PasswordHash(kind))
    }

    /// Whether `password` is the one behind the hash. bcrypt looks at its first 72 octets only.
    pub fn verify(&self, password: &[u8]) -> Result<bool, PasswordError> {
        match &self.0 {
            Kind::Bcrypt(text) => {
                bcrypt::verify(password, text).map_err(|_| PasswordError::Malformed("bcrypt"))
            }
            Kind::Argon2 { algorithm, version, params, salt, hash } => {
                let mut computed = vec![0; hash.len()];
                Argon2::new(*algorithm, *version, params.clone())
                    .hash_password_into(password, salt, &mut computed)
                    .map_err(|_| PasswordError::Failed)?;
                Ok(same(&computed, hash))
            }
        }
    }
}

/// Says the scheme only: a hash in a log can be attacked.
impl fmt::Debug for PasswordHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0 {
            Kind::Bcrypt(_) => "PasswordHash(bcrypt)",
            Kind::Argon2 { .. } => "PasswordHash(argon2)",
        })
    }
}

/// Reads a stored value and verifies a password against it.
pub fn verify(stored: &str, password: &[u8]) -> Result<bool, PasswordError> {
    PasswordHash::parse(stored)?.verify(password)
}

/// `$2a$`, `$2b$` or `$2y$`, two digits of cost, 22 characters of salt and 31 of hash.
fn bcrypt_text(text: &str) -> Result<Kind, PasswordError> {
    let malformed = PasswordError::Malformed("bcrypt");
    let known = ["$2a$", "$2b$", "$2y$"].iter().any(|prefix| text.starts_with(prefix));
    if !known {
        return Err(malformed);
    }
    let parts: bcrypt::HashParts = text.parse().map_err(|_| malformed.clone())?;
    match parts.get_cost() {
        0..4 => Err(malformed),
        4..=MAX_BCRYPT_COST => Ok(Kind::Bcrypt(text.to_string())),
        _ => Err(PasswordError::TooCostly),
    }
}

/// `TIME:MEMORY:THREADS:SALT:HASH`, argon2id version 1.3 (RFC 9106).
fn argon2_colons(text: &str) -> Result<Kind, PasswordError> {
    let parts: Vec<&str> = text.split(':').collect();
    let [time, memory, threads, salt, hash] = parts.as_slice() else {
        return Err(PasswordError::Malformed("argon2 has five parts"));
    };
    let costs = Costs { time: number(time)?, memory: number(memory)?, threads: number(threads)? };
    let decode = |text: &str| STANDARD.decode(text).map_err(|_| PasswordError::Malformed("Base64"));
    argon2_of(Algorithm::Argon2id, Version::V0x13, &costs, decode(salt)?, decode(hash)?)
}

/// `$argon2id$v=19$m=65536,t=2,p=1$SALT$HASH`; without `v=` it is version 1.0.
fn argon2_phc(text: &str) -> Result<Kind, PasswordError> {
    let mut parts = text.split('$').skip(1);
    let mut next = |what| parts.next().ok_or(PasswordError::Malformed(what));
    let algorithm = match next("argon2 name")? {
        "argon2id" => Algorithm::Argon2id,
        "argon2i" => Algorithm::Argon2i,
        "argon2d" => Algorithm::Argon2d,
        _ => return Err(PasswordError::UnknownScheme),
    };
    let mut costs_text = next("argon2 parameters")?;
    let version = match costs_text.strip_prefix("v=") {
        None | Some("16") => Version::V0x10,
        Some("19") => Version::V0x13,
        Some(_) => return Err(PasswordError::Malformed("argon2 version")),
    };
    if costs_text.starts_with("v=") {
        costs_text = next("argon2 parameters")?;
    }
    let costs = Costs::parse(costs_text)?;
    let decode =
        |text: &str| STANDARD_NO_PAD.decode(text).map_err(|_| PasswordError::Malformed("Base64"));
    let (salt, hash) = (decode(next("salt")?)?, decode(next("hash")?)?);
    match parts.next() {
        None => argon2_of(algorithm, version, &costs, salt, hash),
        Some(_) => Err(PasswordError::Malformed("too many parts")),
    }
}

/// What one computation takes.
struct Costs {
    time: u32,
    /// In KiB.
    memory: u32,
    threads: u32,
}

impl Costs {
    /// `m=65536,t=2,p=1`, in any order, each once.
    fn parse(text: &str) -> Result<Costs, PasswordError> {
        let (mut time, mut memory, mut threads) = (None, None, None);
        for part in text.split(',') {
            let (name, value) =
                part.split_once('=').ok_or(PasswordError::Malformed("argon2 parameters"))?;
            let slot = match name {
                "t" => &mut time,
                "m" => &mut memory,
                "p" => &mut threads,
                _ => return Err(PasswordError::Malformed("argon2 parameters")),
            };
            if slot.replace(number(value)?).is_some() {
                return Err(PasswordError::Malformed("argon2 parameter given twice"));
            }
        }
        match (time, memory, threads) {
            (Some(time), Some(memory), Some(threads)) => Ok(Costs { time, memory, threads }),
            _ => Err(PasswordError::Malformed("argon2 parameter missing")),
        }
    }
}

fn argon2_of(
    algorithm: Algorithm,
    version: Version,
    costs: &Costs,
    salt: Vec<u8>,
    hash: Vec<u8>,
) -> Result<Kind, PasswordError> {
    let work = u64::from(costs.memory) * u64::from(costs.time);
    if costs.memory > MAX_ARGON2_MEMORY || work > MAX_ARGON2_WORK || costs.threads > 255 {
        return Err(PasswordError::TooCostly);
    }
    if !HASH_LENGTHS.contains(&hash.len()) {
        return Err(PasswordError::Malformed("hash length"));
    }
    if salt.len() < argon2::MIN_SALT_LEN {
        return Err(PasswordError::Malformed("salt length"));
    }
    let params = Params::new(costs.memory, costs.time, costs.threads, Some(hash.len()))
        .map_err(|_| PasswordError::Malformed("argon2 parameters"))?;
    Ok(Kind::Argon2 { algorithm, version, params, salt, hash })
}

fn number(text: &str) -> Result<u32, PasswordError> {
    let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    let value = if digits { text.parse().ok() } else { None };
    value.ok_or(PasswordError::Malformed("number"))
}

/// Compares without telling by its duration how much agrees.
fn same(a: &[u8], b: &[u8]) -> bool {
    let differing = a.iter().zip(b).fold(0, |seen, (x, y)| std::hint::black_box(seen | (x ^ y)));
    a.len() == b.len() && differing == 0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dice::Dice;

    fn bcrypt_of(password: &str) -> String {
        let parts = bcrypt::hash_with_salt(password, 4, *b"0123456789abcdef").unwrap();
        parts.format_for_version(bcrypt::Version::TwoA)
    }

    fn raw(password: &str, version: Version, length: usize) -> Vec<u8> {
        let params = Params::new(64, 2, 1, Some(length)).unwrap();
        let mut out = vec![0; length];
        Argon2::new(Algorithm::Argon2id, version, params)
            .hash_password_into(password.as_bytes(), b"saltsaltsaltsalt", &mut out)
            .unwrap();
        out
    }

    fn colons(password: &str) -> String {
        let (salt, hash) = ("c2FsdHNhbHRzYWx0c2FsdA==", raw(password, Version::V0x13, 64));
        format!("argon2:2:64:1:{salt}:{}", STANDARD.encode(hash))
    }

    fn phc(password: &str) -> String {
        let hash = STANDARD_NO_PAD.encode(raw(password, Version::V0x13, 32));
        format!("$argon2id$v=19$m=64,t=2,p=1$c2FsdHNhbHRzYWx0c2FsdA${hash}")
    }

    #[test]
    fn the_right_password_and_only_it() {
        let stored = [
            bcrypt_of("geheim"),
            format!("bcrypt:{}", bcrypt_of("geheim")),
            bcrypt_of("geheim").replace("$2a$", "$2b$"),
            colons("geheim"),
            phc("geheim"),
            format!("argon2:{}", phc("geheim")),
            format!("  {}\n", phc("geheim")), // as a file may have it
            phc("geheim").replace("m=64,t=2,p=1", "p=1,m=64,t=2"),
        ];
        for stored in stored {
            assert_eq!(verify(&stored, b"geheim"), Ok(true), "{stored}");
            for wrong in ["", "Geheim", "geheim ", "geheim\0"] {
                assert_eq!(verify(&stored, wrong.as_bytes()), Ok(false), "{stored} {wrong:?}");
            }
        }
    }

    #[test]
    fn published_values_verify() {
        // A value of the reference implementation's own tests (version 1.3, t=2, m=256, p=1).
        let stored =
            "$argon2id$v=19$m=256,t=2,p=1$c29tZXNhbHQ$nf65EOgLrQMR/uIPnA4rEsF5h7TKyQwu9U1bMCHGi/4";
        assert_eq!(verify(stored, b"password"), Ok(true));
        // A widely published bcrypt test vector (John the Ripper).
        let stored = "bcrypt:$2a$05$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW";
        assert_eq!(verify(stored, b"U*U"), Ok(true));
    }

    #[test]
    fn values_that_are_no_hashes() {
        use PasswordError::{Malformed, TooCostly, UnknownScheme};
        let short = STANDARD.encode([0; 8]);
        for (stored, expected) in [
            ("".to_string(), UnknownScheme),
            ("geheim".to_string(), UnknownScheme), // a plain text is never compared
            ("sha256:c2FsdA==:AAAA".to_string(), UnknownScheme),
            ("$6$salt$hash".to_string(), UnknownScheme),
            ("bcrypt:geheim".to_string(), Malformed("bcrypt")),
            ("bcrypt:".to_string(), Malformed("bcrypt")),
            (bcrypt_of("x").replace("$2a$04", "$2a$03"), Malformed("bcrypt")),
            (bcrypt_of("x").replace("$2a$04", "$2x$04"), Malformed("bcrypt")),
            (bcrypt_of("x").replace("$2a$04", "$2a$31"), TooCostly),
            ("argon2:1:2:3".to_string(), Malformed("argon2 has five parts")),
            (colons("x").replace(":2:64:1:", ":-2:64:1:"), Malformed("number")),
            (colons("x").replace(":2:64:1:", ":2:4294967296:1:"), Malformed("number")),
            (colons("x").replace(":2:64:1:", ":2:4294967295:1:"), TooCostly),
            (colons("x").replace(":2:64:1:", ":4294967295:64:1:"), TooCostly),
            (colons("x").replace(":2:64:1:", ":2:64:300:"), TooCostly),
            (colons("x").replace(":2:64:1:", ":0:64:1:"), Malformed("argon2 parameters")),
            (colons("x").replace(":2:64:1:", ":2:64:0:"), Malformed("argon2 parameters")),
            (colons("x").replace(":2:64:1:", ":2:7:1:"), Malformed("argon2 parameters")),
            (format!("argon2:2:64:1:c2FsdHNhbHQ=:{short}"), Malformed("hash length")),
            ("argon2:2:64:1:c2FsdHNhbHQ=:".to_string(), Malformed("hash length")),
            (colons("x").replace("c2FsdHNhbHRzYWx0c2FsdA==", "!"), Malformed("Base64")),
            (colons("x").replace("c2FsdHNhbHRzYWx0c2FsdA==", "AAAA"), Malformed("salt length")),
            (phc("x").replace("v=19", "v=20"), Malformed("argon2 version")),
            (phc("x").replace("argon2id", "argon2x"), UnknownScheme),
            (phc("x").replace(",p=1", ""), Malformed("argon2 parameter missing")),
            (phc("x").replace(",p=1", ",t=1"), Malformed("argon2 parameter given twice")),
            (format!("{}$x", phc("x")), Malformed("too many parts")),
        ] {
            assert_eq!(PasswordHash::parse(&stored).unwrap_err(), expected, "{stored}");
        }
    }

    #[test]
    fn a_hash_is_not_shown() {
        let shown = format!("{:?}", PasswordHash::parse(&phc("x")).unwrap());
        assert_eq!(shown, "PasswordHash(argon2)");
    }

    #[test]
    fn parsers_take_any_bytes() {
        let mut dice = Dice::new(3);
        let seeds = [bcrypt_of("x"), colons("x"), phc("x"), String::new()];
        for _ in 0..20_000 {
            let mut chars: Vec<char> = seeds[dice.below(seeds.len())].chars().collect();
            for _ in 0..dice.below(6) {
                let at = dice.below(chars.len() + 1);
                let c = char::from_u32(dice.below(0x180) as u32).unwrap_or('$');
                match dice.below(3) {
                    0 if at < chars.len() => chars[at] = c,
                    1 => chars.truncate(at),
                    _ => chars.insert(at, c),
                }
            }
            let _ = PasswordHash::parse(&chars.iter().collect::<String>());
        }
    }
}
