//! Whom certificates are traced back to.

use std::fmt::Display;
use std::fs::File;
use std::path::{Path, PathBuf};

use openssl::error::{Error, ErrorStack};
use openssl::ssl::{SslContext, SslContextBuilder, SslRef};
use openssl::stack::Stack;
use openssl::x509::store::{X509Store, X509StoreBuilder};
use openssl::x509::verify::{X509CheckFlags, X509VerifyParam};
use openssl::x509::{X509, X509PurposeId, X509StoreContext};

use posthaste_mail::address::Domain;
use posthaste_mail::certificate::Mistrust;

use super::verdict;

/// 112 bits of security, what public authorities have to keep to: neither SHA-1 nor RSA below 2048 bits proves anything.
pub(super) const AUTH_LEVEL: i32 = 2;

/// RFC 8461 §4.1: a DNS-ID, not the common name; RFC 6125 §6.4.3: a wildcard is a whole label.
pub(super) fn name_rules() -> X509CheckFlags {
    X509CheckFlags::NO_PARTIAL_WILDCARDS | X509CheckFlags::NEVER_CHECK_SUBJECT
}

/// PEM files, or the system's store when there are none.
pub(super) struct Files(Vec<PathBuf>);

impl Files {
    pub(super) fn new(files: &[&Path]) -> Files {
        Files(files.iter().map(|file| file.to_path_buf()).collect())
    }

    pub(super) fn load(&self, context: &mut SslContextBuilder) -> Result<(), String> {
        if self.0.is_empty() {
            context.set_default_verify_paths().map_err(|e| e.to_string())?;
        }
        for file in &self.0 {
            let failed = |why: &dyn Display| format!("reading {}: {why}", file.display());
            // The library's own words for a file that is not there are long.
            File::open(file).map_err(|e| failed(&e))?;
            context.set_ca_file(file).map_err(|e| {
                match e.errors().first().and_then(Error::reason) {
                    Some(reason) => failed(&reason),
                    None => failed(&e),
                }
            })?;
        }
        Ok(())
    }
}

/// The same roots, read already, for a second look at a chain.
#[derive(Clone)]
pub(super) struct Roots(Vec<X509>);

impl Roots {
    pub(super) fn of(context: &SslContext) -> Roots {
        Roots(context.cert_store().all_certificates().into_iter().collect())
    }

    /// The verdict of PKIX on a certificate that was judged by other rules in its handshake.
    pub(super) fn judge(&self, ssl: &SslRef, host: &Domain) -> Result<(), Mistrust> {
        let judged = self.verify(ssl, host);
        drop(ErrorStack::get()); // a refusal leaves its reasons in the thread's queue
        judged.unwrap_or_else(|e| Err(verdict::other(&e.to_string())))
    }

    fn verify(&self, ssl: &SslRef, host: &Domain) -> Result<Result<(), Mistrust>, ErrorStack> {
        let Some(certificate) = ssl.peer_certificate() else {
            return Ok(Err(verdict::other("there is no certificate")));
        };
        let store = self.store(host)?;
        let none = Stack::new()?;
        let chain = ssl.peer_cert_chain().unwrap_or(&none);
        let mut context = X509StoreContext::new()?;
        let result = context.init(&store, &certificate, chain, |context| {
            context.verify_cert()?;
            Ok(context.error())
        })?;
        Ok(verdict::of_result(result))
    }

    /// The crate sets host and level on a store only, so there is one for each host: a third of a millisecond.
    fn store(&self, host: &Domain) -> Result<X509Store, ErrorStack> {
        let mut store = X509StoreBuilder::new()?;
        for root in &self.0 {
            store.add_cert(root.clone())?;
        }
        if self.0.is_empty() {
            store.set_default_paths()?; // a directory that is searched, not read
        }
        let mut param = X509VerifyParam::new()?;
        param.set_auth_level(AUTH_LEVEL);
        param.set_purpose(X509PurposeId::SSL_SERVER)?;
        param.set_hostflags(name_rules());
        param.set_host(host.ascii())?;
        store.set_param(&param)?;
        Ok(store.build())
    }
}
