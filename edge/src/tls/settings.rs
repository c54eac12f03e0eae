//! How a client speaks TLS: which versions, ciphers and curves it offers, whom it trusts, and who it is. The words are those of the
//! configuration, the names behind them the library's.

use std::path::PathBuf;

use openssl::error::ErrorStack;
use openssl::pkey::{PKey, Private};
use openssl::ssl::{SslContextBuilder, SslMethod, SslVersion};

/// What a `tls_client { }` says; the default is what the library likes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TlsSettings {
    /// `root_ca`: PEM files in place of the system's store.
    pub roots: Vec<PathBuf>,
    /// `protocols`
    pub versions: Option<Versions>,
    /// `ciphers`: those of TLS 1.2 and older, best first. TLS 1.3 has its own, which are all good. Empty: the library's.
    pub ciphers: Vec<Cipher>,
    /// `curves`, best first. Empty: the library's.
    pub curves: Vec<Curve>,
    /// `cert` and `key`
    pub identity: Option<Identity>,
}

/// The oldest and the newest version that are offered; never the wrong way round.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Versions {
    oldest: Version,
    newest: Version,
}

impl Versions {
    /// `None` when the oldest is newer than the newest.
    pub fn new(oldest: Version, newest: Version) -> Option<Versions> {
        (oldest <= newest).then_some(Versions { oldest, newest })
    }

    pub fn oldest(self) -> Version {
        self.oldest
    }

    pub fn newest(self) -> Version {
        self.newest
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Version {
    Tls10,
    Tls11,
    Tls12,
    Tls13,
}

impl Version {
    pub const NAMES: &[(&str, Version)] = &[
        ("tls1.0", Version::Tls10),
        ("tls1.1", Version::Tls11),
        ("tls1.2", Version::Tls12),
        ("tls1.3", Version::Tls13),
    ];

    fn number(self) -> SslVersion {
        match self {
            Version::Tls10 => SslVersion::TLS1,
            Version::Tls11 => SslVersion::TLS1_1,
            Version::Tls12 => SslVersion::TLS1_2,
            Version::Tls13 => SslVersion::TLS1_3,
        }
    }
}

/// A cipher suite of TLS 1.2 or older.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cipher(&'static str);

impl Cipher {
    pub const NAMES: &[(&str, Cipher)] = &[
        ("RSA-WITH-RC4128-SHA", Cipher("RC4-SHA")),
        ("RSA-WITH-3DES-EDE-CBC-SHA", Cipher("DES-CBC3-SHA")),
        ("RSA-WITH-AES128-CBC-SHA", Cipher("AES128-SHA")),
        ("RSA-WITH-AES256-CBC-SHA", Cipher("AES256-SHA")),
        ("RSA-WITH-AES128-CBC-SHA256", Cipher("AES128-SHA256")),
        ("RSA-WITH-AES128-GCM-SHA256", Cipher("AES128-GCM-SHA256")),
        ("RSA-WITH-AES256-GCM-SHA384", Cipher("AES256-GCM-SHA384")),
        ("ECDHE-ECDSA-WITH-RC4128-SHA", Cipher("ECDHE-ECDSA-RC4-SHA")),
        ("ECDHE-ECDSA-WITH-AES128-CBC-SHA", Cipher("ECDHE-ECDSA-AES128-SHA")),
        ("ECDHE-ECDSA-WITH-AES256-CBC-SHA", Cipher("ECDHE-ECDSA-AES256-SHA")),
        ("ECDHE-ECDSA-WITH-AES128-CBC-SHA256", Cipher("ECDHE-ECDSA-AES128-SHA256")),
        ("ECDHE-ECDSA-WITH-AES128-GCM-SHA256", Cipher("ECDHE-ECDSA-AES128-GCM-SHA256")),
        ("ECDHE-ECDSA-WITH-AES256-GCM-SHA384", Cipher("ECDHE-ECDSA-AES256-GCM-SHA384")),
        ("ECDHE-ECDSA-WITH-CHACHA20-POLY1305", Cipher("ECDHE-ECDSA-CHACHA20-POLY1305")),
        ("ECDHE-RSA-WITH-RC4128-SHA", Cipher("ECDHE-RSA-RC4-SHA")),
        ("ECDHE-RSA-WITH-3DES-EDE-CBC-SHA", Cipher("ECDHE-RSA-DES-CBC3-SHA")),
        ("ECDHE-RSA-WITH-AES128-CBC-SHA", Cipher("ECDHE-RSA-AES128-SHA")),
        ("ECDHE-RSA-WITH-AES256-CBC-SHA", Cipher("ECDHE-RSA-AES256-SHA")),
        ("ECDHE-RSA-WITH-AES128-CBC-SHA256", Cipher("ECDHE-RSA-AES128-SHA256")),
        ("ECDHE-RSA-WITH-AES128-GCM-SHA256", Cipher("ECDHE-RSA-AES128-GCM-SHA256")),
        ("ECDHE-RSA-WITH-AES256-GCM-SHA384", Cipher("ECDHE-RSA-AES256-GCM-SHA384")),
        ("ECDHE-RSA-WITH-CHACHA20-POLY1305", Cipher("ECDHE-RSA-CHACHA20-POLY1305")),
    ];

    /// As the configuration calls it.
    pub fn name(self) -> &'static str {
        let named = Cipher::NAMES.iter().find(|(_, cipher)| *cipher == self);
        named.map_or(self.0, |(name, _)| name)
    }

    /// Whether the library was built with it: RC4 and 3DES mostly are not there any more.
    pub fn is_available(self) -> bool {
        let try_it = || -> Result<(), ErrorStack> {
            let mut builder = SslContextBuilder::new(SslMethod::tls_client())?;
            builder.set_security_level(0);
            builder.set_cipher_list(self.0)
        };
        let available = try_it().is_ok();
        drop(ErrorStack::get());
        available
    }
}

/// A group for the exchange of keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Curve(&'static str);

impl Curve {
    pub const NAMES: &[(&str, Curve)] = &[
        ("p256", Curve("P-256")),
        ("p384", Curve("P-384")),
        ("p521", Curve("P-521")),
        ("X25519", Curve("X25519")),
    ];
}

/// PEM files of a certificate, with the chain behind it, and of its key. They may be one file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    pub certificate: PathBuf,
    pub key: PathBuf,
}

impl Identity {
    /// The server is shown it if it asks for one.
    fn load(&self, builder: &mut SslContextBuilder) -> Result<(), String> {
        let (certificate, key) = (self.certificate.display(), self.key.display());
        builder
            .set_certificate_chain_file(&self.certificate)
            .map_err(|e| format!("reading certificate {certificate}: {e}"))?;
        let read = self.read_key().map_err(|e| format!("reading key {key}: {e}"))?;
        builder
            .set_private_key(&read)
            .map_err(|e| format!("key {key} is not that of certificate {certificate}: {e}"))
    }

    /// The library would ask for a passphrase at the terminal: a key that has one is an error instead.
    fn read_key(&self) -> Result<PKey<Private>, String> {
        let pem = std::fs::read(&self.key).map_err(|e| e.to_string())?;
        PKey::private_key_from_pem_callback(&pem, |_| Ok(0)).map_err(|e| e.to_string())
    }
}

/// What a context is for, and so what of the settings it may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Strength {
    /// Whatever is offered, unless the settings say otherwise.
    Any,
    /// TLS 1.2 at least, whatever the settings say.
    Sound,
}

impl TlsSettings {
    pub(super) fn apply(
        &self,
        builder: &mut SslContextBuilder,
        strength: Strength,
    ) -> Result<(), String> {
        self.offer(builder, strength).map_err(|e| e.to_string())?;
        match &self.identity {
            Some(identity) => identity.load(builder),
            None => Ok(()),
        }
    }

    fn offer(&self, builder: &mut SslContextBuilder, strength: Strength) -> Result<(), ErrorStack> {
        let level = match strength {
            Strength::Any => 0,
            // A key that DANE pins should not be refused for its size, when the alternative is that no mail is delivered.
            Strength::Sound => 1,
        };
        let ciphers: Vec<Cipher> =
            self.ciphers.iter().copied().filter(|cipher| cipher.is_available()).collect();
        let names: Vec<&str> = ciphers.iter().map(|cipher| cipher.0).collect();
        let names = if names.is_empty() { "DEFAULT".to_string() } else { names.join(":") };
        builder.set_cipher_list(&format!("{names}:@SECLEVEL={level}"))?;
        builder.set_security_level(level);
        let floor = match strength {
            // Nothing else was wanted, and of what was wanted nothing is there.
            _ if ciphers.is_empty() && !self.ciphers.is_empty() => Version::Tls13,
            Strength::Any => Version::Tls10,
            Strength::Sound => Version::Tls12,
        };
        let oldest = self.versions.map_or(floor, |versions| versions.oldest.max(floor));
        builder.set_min_proto_version(Some(oldest.number()))?;
        if let Some(versions) = self.versions {
            builder.set_max_proto_version(Some(versions.newest.max(oldest).number()))?;
        }
        if !self.curves.is_empty() {
            let curves: Vec<&str> = self.curves.iter().map(|curve| curve.0).collect();
            builder.set_groups_list(&curves.join(":"))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
