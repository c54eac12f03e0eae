//! OpenSSL's own DANE engine. The only file of this package with unsafe code: the crate binds none of these functions.
//!
//! They are exported by libssl since 1.1.0, and openssl-sys links that library already. Names and data are copied by it.

#![allow(unsafe_code)] // docs/decisions/0002-dependencies.md: nine functions, and nothing of theirs leaves this file

use std::ffi::{CStr, CString, c_char, c_int, c_uint, c_ulong};
use std::ptr;

use foreign_types::ForeignTypeRef;
use openssl::error::ErrorStack;
use openssl::ssl::{SslContextBuilder, SslRef};
use openssl_sys::{EVP_PKEY, SSL, SSL_CTX, X509};

use posthaste_mail::address::Domain;
use posthaste_mail::certificate::DaneMatch;
use posthaste_mail::tlsa::record::TlsaRecord;

unsafe extern "C" {
    fn SSL_CTX_dane_enable(context: *mut SSL_CTX) -> c_int;
    fn SSL_dane_enable(ssl: *mut SSL, base: *const c_char) -> c_int;
    fn SSL_add1_host(ssl: *mut SSL, name: *const c_char) -> c_int;
    fn SSL_set_hostflags(ssl: *mut SSL, flags: c_uint);
    fn SSL_dane_set_flags(ssl: *mut SSL, flags: c_ulong) -> c_ulong;
    fn SSL_dane_tlsa_add(
        ssl: *mut SSL,
        usage: u8,
        selector: u8,
        matching: u8,
        data: *const u8,
        length: usize,
    ) -> c_int;
    fn SSL_get0_dane_authority(
        ssl: *mut SSL,
        certificate: *mut *mut X509,
        key: *mut *mut EVP_PKEY,
    ) -> c_int;
    fn SSL_get0_dane_tlsa(
        ssl: *mut SSL,
        usage: *mut u8,
        selector: *mut u8,
        matching: *mut u8,
        data: *mut *const u8,
        length: *mut usize,
    ) -> c_int;
    fn SSL_get0_peername(ssl: *mut SSL) -> *const c_char;
}

/// `X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS`.
const NO_PARTIAL_WILDCARDS: c_uint = 0x4;
/// `DANE_FLAG_NO_DANE_EE_NAMECHECKS`.
const NO_NAMES_FOR_DANE_EE: c_ulong = 1;

/// Sessions of the context may be given records.
pub(super) fn enable(context: &mut SslContextBuilder) -> Result<(), ErrorStack> {
    // SAFETY: the pointer is that of a living context, which nobody else has yet.
    succeeded(unsafe { SSL_CTX_dane_enable(context.as_ptr()) })
}

/// From now on these records alone decide about the peer's certificate; SNI is the base domain. To be called before the handshake, on
/// a session of a context for which DANE is enabled. Returns how many of the records the engine took: with none it must not be asked
/// for a verdict.
pub(super) fn prepare(
    ssl: &mut SslRef,
    base: &Domain,
    further_names: &[Domain],
    records: &[TlsaRecord],
) -> Result<usize, ErrorStack> {
    let session = ssl.as_ptr();
    let c_name = |name: &Domain| CString::new(name.ascii()).map_err(|_| ErrorStack::get());
    let base = c_name(base)?;
    // SAFETY: `session` is a living session that is ours alone as long as `ssl` is borrowed, the strings end in NUL and outlive the calls,
    // which copy them.
    unsafe {
        succeeded(SSL_dane_enable(session, base.as_ptr()))?;
        // RFC 7672 §3.1.1: a DANE-EE record vouches for the key, whatever names are in the certificate.
        SSL_dane_set_flags(session, NO_NAMES_FOR_DANE_EE);
        // RFC 6125 §6.4.3: a wildcard is a whole label. The common name counts where there is no DNS name: RFC 7672 §3.2.3.
        SSL_set_hostflags(session, NO_PARTIAL_WILDCARDS);
        for name in further_names {
            let name = c_name(name)?;
            succeeded(SSL_add1_host(session, name.as_ptr()))?;
        }
    }
    let mut taken = 0;
    // The engine knows PKIX-TA and PKIX-EE too, and would trust the system's roots for them: RFC 7672 §3.1.3.
    for record in records.iter().filter(|record| record.usability().is_ok()) {
        let TlsaRecord { usage, selector, matching, data } = record;
        // SAFETY: as above; data and length are those of a slice, which is copied.
        let added = unsafe {
            SSL_dane_tlsa_add(session, *usage, *selector, *matching, data.as_ptr(), data.len())
        };
        taken += usize::from(added > 0);
        if added <= 0 {
            // What is left in the thread's queue would be taken for the fault of a later call.
            drop(ErrorStack::get());
        }
    }
    Ok(taken)
}

/// After the handshake of a prepared session whose verdict is good: what matched.
pub(super) fn matched(ssl: &SslRef) -> Option<DaneMatch> {
    let session = ssl.as_ptr();
    // SAFETY: a living session; null is allowed where an answer is not wanted (SSL_get0_dane_authority(3)).
    let depth = unsafe { SSL_get0_dane_authority(session, ptr::null_mut(), ptr::null_mut()) };
    let depth = u32::try_from(depth).ok()?;
    let (mut usage, mut selector, mut matching) = (0, 0, 0);
    let (mut data, mut length) = (ptr::null(), 0);
    // SAFETY: a living session, and places for the answers.
    let found = unsafe {
        SSL_get0_dane_tlsa(
            session,
            &raw mut usage,
            &raw mut selector,
            &raw mut matching,
            &raw mut data,
            &raw mut length,
        )
    };
    if found < 0 || data.is_null() {
        return None;
    }
    // SAFETY: the engine's own copy of the record, which lives as long as the session; copied here at once.
    let data = unsafe { std::slice::from_raw_parts(data, length) }.to_vec();
    let record = TlsaRecord { usage, selector, matching, data };
    Some(DaneMatch { record, depth, name: peer_name(ssl) })
}

/// What the certificate calls one of the reference names; a wildcard stays one.
fn peer_name(ssl: &SslRef) -> Option<String> {
    // SAFETY: a living session; what is returned is null or a string that belongs to it, copied at once.
    let name = unsafe { SSL_get0_peername(ssl.as_ptr()) };
    if name.is_null() {
        return None;
    }
    // SAFETY: not null, and it ends in NUL.
    let name = unsafe { CStr::from_ptr(name) };
    name.to_str().ok().map(str::to_string)
}

fn succeeded(result: c_int) -> Result<(), ErrorStack> {
    if result > 0 { Ok(()) } else { Err(ErrorStack::get()) }
}

#[cfg(test)]
mod corpus;
#[cfg(test)]
mod tests;
