//! Encryption of what is kept in memory for a while, with a key that nobody knows outside this process and that ends with it. It keeps
//! secrets out of what memory leaves behind: swap, core files, pages given back.

use std::fmt;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};

use openssl::rand::rand_bytes;
use openssl::symm::{Cipher, decrypt_aead, encrypt_aead};

/// AES-256-GCM (NIST SP 800-38D).
pub struct Seal {
    key: [u8; 32],
    /// SP 800-38D §8.2.1: a nonce is never used twice with a key; a counter sees to it.
    sealed: AtomicU64,
}

/// What was sealed; without its `Seal` it is noise.
pub struct Sealed {
    nonce: [u8; 12],
    tag: [u8; 16],
    secret: Vec<u8>,
}

impl Seal {
    /// Fails when the system has no randomness for a key.
    pub fn new() -> io::Result<Seal> {
        let mut key = [0; 32];
        rand_bytes(&mut key)?;
        Ok(Seal { key, sealed: AtomicU64::new(0) })
    }

    /// `label` is not secret, and the same one is needed to open it.
    pub fn close(&self, secret: &[u8], label: &[u8]) -> io::Result<Sealed> {
        let number = self.sealed.fetch_add(1, Ordering::Relaxed);
        let mut nonce = [0; 12];
        for (octet, given) in nonce.iter_mut().zip(number.to_be_bytes()) {
            *octet = given;
        }
        let mut tag = [0; 16];
        let cipher = Cipher::aes_256_gcm();
        let secret = encrypt_aead(cipher, &self.key, Some(&nonce), label, secret, &mut tag)?;
        Ok(Sealed { nonce, tag, secret })
    }

    /// `None`: it was sealed by somebody else, or under another label, or was changed.
    pub fn open(&self, sealed: &Sealed, label: &[u8]) -> Option<Vec<u8>> {
        let Sealed { nonce, tag, secret } = sealed;
        decrypt_aead(Cipher::aes_256_gcm(), &self.key, Some(nonce), label, secret, tag).ok()
    }
}

impl fmt::Debug for Seal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Seal(hidden)")
    }
}

impl fmt::Debug for Sealed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Sealed(hidden)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn opens_with_its_seal_and_label_alone() {
        let seal = Seal::new().unwrap();
        let sealed = seal.close(b"correct horse", b"one").unwrap();
        assert_eq!(seal.open(&sealed, b"one").as_deref(), Some(b"correct horse".as_slice()));
        assert_eq!(seal.open(&sealed, b"two"), None);
        assert_eq!(Seal::new().unwrap().open(&sealed, b"one"), None);
        let changed = Sealed { tag: [0; 16], ..sealed };
        assert_eq!(seal.open(&changed, b"one"), None);
    }

    #[test]
    fn the_same_secret_looks_different_each_time() {
        let seal = Seal::new().unwrap();
        let [one, two] = [(); 2].map(|()| seal.close(b"correct horse", b"").unwrap());
        assert_ne!(one.nonce, two.nonce);
        assert_ne!(one.secret, two.secret);
        assert_ne!(one.secret, b"correct horse");
    }

    #[test]
    fn nothing_shows_it_by_mistake() {
        let seal = Seal::new().unwrap();
        let shown = format!("{seal:?} {:?}", seal.close(b"correct horse", b"").unwrap());
        assert_eq!(shown, "Seal(hidden) Sealed(hidden)");
    }
}
