//! What a report on TLS (RFC 8460) wants to know of one attempt at a session: which policies of the domain it was made under, and whether
//! it came up to each of them. Sessions that are used again are no attempts.

use std::fmt;
use std::net::IpAddr;

use crate::address::Domain;
use crate::certificate::{DaneVerdict, Reason};
use crate::outcome::{Cause, Failure, Stage};
use crate::policy::facts::MxFacts;
use crate::policy::settings::Policies;
use crate::route::mx::Candidate;
use crate::sts::policy::Mode;
use crate::sts::response;
use crate::sts::{Absent, StsAnswer};
use crate::tlsa::Dane;

/// One policy, and how the attempt came out under it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    pub kind: PolicyType,
    /// RFC 8460 §4.4 `policy-string`: the records, or the lines of the policy.
    pub text: Vec<String>,
    /// Whose policy it is: the domain of the mail for MTA-STS and for none, the TLSA base domain for DANE.
    pub domain: Domain,
    /// `mx-host`: the exchangers that an MTA-STS policy lists.
    pub hosts: Vec<String>,
    pub failure: Option<FailureDetail>,
}

/// RFC 8460 §4.4 `failure-details`, but for what all verdicts of an attempt share.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FailureDetail {
    pub kind: ResultType,
    /// `failure-reason-code`: in words.
    pub reason: String,
}

/// An attempt with all its verdicts; there is at least one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsAttempt {
    /// `sending-mta-ip`, when there was a connection.
    pub local: Option<IpAddr>,
    /// `receiving-mx-hostname`.
    pub host: Domain,
    /// `receiving-mx-helo`: what it calls itself, when it came to that.
    pub name: Option<String>,
    /// `receiving-ip`.
    pub address: Option<IpAddr>,
    pub verdicts: Vec<Verdict>,
}

/// RFC 8460 §4.4.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PolicyType {
    Tlsa,
    Sts,
    NoPolicyFound,
}

/// RFC 8460 §4.3.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ResultType {
    StartTlsNotSupported,
    CertificateHostMismatch,
    CertificateExpired,
    CertificateNotTrusted,
    ValidationFailure,
    TlsaInvalid,
    DnssecInvalid,
    Sts(response::ResultType),
}

/// How an attempt ended.
#[derive(Clone, Copy, Debug)]
pub enum End<'a> {
    /// With a session, and what its certificate proves; `None` in the clear.
    Session(Option<Shown<'a>>),
    /// Before there was one that could be used.
    Failure(&'a Failure),
}

/// What the handshake showed.
#[derive(Clone, Copy, Debug)]
pub struct Shown<'a> {
    /// Why PKIX does not prove the certificate: of what kind, and in words.
    pub pkix: Option<(Reason, &'a str)>,
    pub dane: &'a DaneVerdict,
}

/// The verdicts of an attempt at this exchanger. Empty for ends that say nothing of TLS: no connection, a refusal in words, our own faults.
pub fn verdicts(
    policies: &Policies,
    exchanger: &Candidate,
    sts: Option<&StsAnswer>,
    facts: &MxFacts,
    end: End<'_>,
) -> Vec<Verdict> {
    let mut all = Vec::new();
    if policies.mtasts {
        all.extend(sts.and_then(|answer| by_sts(exchanger, answer, end)));
    }
    if policies.dane {
        all.extend(by_dane(exchanger, &facts.dane, end));
    }
    if all.is_empty() {
        all.extend(without_policy(exchanger, end));
    }
    all
}

fn by_sts(exchanger: &Candidate, answer: &StsAnswer, end: End<'_>) -> Option<Verdict> {
    let domain = exchanger.next_hop.domain.clone();
    let kind = PolicyType::Sts;
    match answer {
        StsAnswer::Policy { entry, .. } if entry.policy.mode != Mode::None => {
            let listed = crate::sts::matching::allows(&entry.policy.mx, &exchanger.host);
            let failure = match (listed, common(end)) {
                (false, _) => {
                    let reason = format!("{} is not in the policy", exchanger.host);
                    Some(FailureDetail { kind: ResultType::ValidationFailure, reason })
                }
                (true, Common::Nothing) => return None,
                (true, Common::Failed(failure)) => Some(failure),
                (true, Common::Encrypted(shown)) => {
                    shown.pkix.map(|(reason, text)| FailureDetail::of_certificate(reason, text))
                }
            };
            let text = entry.text.lines().map(str::to_string).collect();
            let hosts = entry.policy.mx.iter().map(ToString::to_string).collect();
            Some(Verdict { kind, text, domain, hosts, failure })
        }
        StsAnswer::Absent(Absent::NotFetched(why)) => {
            let result = why.result_type()?;
            let detail = FailureDetail { kind: ResultType::Sts(result), reason: why.to_string() };
            let (text, hosts) = (Vec::new(), Vec::new());
            Some(Verdict { kind, text, domain, hosts, failure: Some(detail) })
        }
        StsAnswer::Policy { .. } | StsAnswer::Absent(_) | StsAnswer::Unavailable(_) => None,
    }
}

fn by_dane(exchanger: &Candidate, dane: &Dane, end: End<'_>) -> Option<Verdict> {
    let (domain, records, failure) = match dane {
        Dane::NotInForce(_) | Dane::Unasked(_) => return None,
        Dane::Failed(why) => {
            let kind = ResultType::DnssecInvalid;
            (&exchanger.host, &[][..], Some(FailureDetail { kind, reason: why.clone() }))
        }
        Dane::Unusable(records) => {
            let reason = "no record can be used".to_string();
            let failure = FailureDetail { kind: ResultType::TlsaInvalid, reason };
            (&exchanger.host, records.as_slice(), Some(failure))
        }
        Dane::Usable(tlsa) => {
            let failure = match common(end) {
                Common::Nothing => return None,
                Common::Failed(failure) => Some(failure),
                Common::Encrypted(Shown { dane: DaneVerdict::Matched(_), .. }) => None,
                Common::Encrypted(Shown { dane: DaneVerdict::Refused(why), .. }) => {
                    Some(FailureDetail::of_certificate(why.reason, &why.text))
                }
                // Waived: the records were not shown.
                Common::Encrypted(_) => return None,
            };
            (&tlsa.base, tlsa.records.as_slice(), failure)
        }
    };
    let text = records.iter().map(ToString::to_string).collect();
    let (kind, domain) = (PolicyType::Tlsa, domain.clone());
    Some(Verdict { kind, text, domain, hosts: Vec::new(), failure })
}

fn without_policy(exchanger: &Candidate, end: End<'_>) -> Option<Verdict> {
    let failure = match common(end) {
        Common::Nothing => return None,
        Common::Failed(failure) => Some(failure),
        Common::Encrypted(_) => None,
    };
    let (text, domain, hosts) = (Vec::new(), exchanger.next_hop.domain.clone(), Vec::new());
    Some(Verdict { kind: PolicyType::NoPolicyFound, text, domain, hosts, failure })
}

/// What an end says under any policy.
enum Common<'a> {
    Nothing,
    Failed(FailureDetail),
    Encrypted(Shown<'a>),
}

fn common(end: End<'_>) -> Common<'_> {
    let failed =
        |kind, reason: &str| Common::Failed(FailureDetail { kind, reason: reason.to_string() });
    match end {
        End::Session(Some(shown)) => Common::Encrypted(shown),
        End::Session(None) => failed(ResultType::StartTlsNotSupported, "STARTTLS is not offered"),
        End::Failure(failure) => match failure.cause {
            Cause::TlsMissing | Cause::Refused(Stage::StartTls) => {
                failed(ResultType::StartTlsNotSupported, &failure.text)
            }
            Cause::HandshakeFailed
            | Cause::Injected
            | Cause::Lost(Stage::StartTls)
            | Cause::TimedOut(Stage::StartTls)
            | Cause::Protocol(Stage::StartTls) => {
                failed(ResultType::ValidationFailure, &failure.text)
            }
            _ => Common::Nothing,
        },
    }
}

impl FailureDetail {
    fn of_certificate(reason: Reason, text: &str) -> FailureDetail {
        let kind = match reason {
            Reason::Expired => ResultType::CertificateExpired,
            Reason::NameMismatch => ResultType::CertificateHostMismatch,
            Reason::NotTrusted => ResultType::CertificateNotTrusted,
            Reason::NoRecordMatches | Reason::Other => ResultType::ValidationFailure,
        };
        FailureDetail { kind, reason: text.to_string() }
    }
}

impl fmt::Display for PolicyType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            PolicyType::Tlsa => "tlsa",
            PolicyType::Sts => "sts",
            PolicyType::NoPolicyFound => "no-policy-found",
        })
    }
}

impl fmt::Display for ResultType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            ResultType::StartTlsNotSupported => "starttls-not-supported",
            ResultType::CertificateHostMismatch => "certificate-host-mismatch",
            ResultType::CertificateExpired => "certificate-expired",
            ResultType::CertificateNotTrusted => "certificate-not-trusted",
            ResultType::ValidationFailure => "validation-failure",
            ResultType::TlsaInvalid => "tlsa-invalid",
            ResultType::DnssecInvalid => "dnssec-invalid",
            ResultType::Sts(response::ResultType::StsPolicyFetchError) => "sts-policy-fetch-error",
            ResultType::Sts(response::ResultType::StsPolicyInvalid) => "sts-policy-invalid",
            ResultType::Sts(response::ResultType::StsWebpkiInvalid) => "sts-webpki-invalid",
        })
    }
}

#[cfg(test)]
mod tests;
