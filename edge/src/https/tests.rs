//! Fetches from a server on loopback that behaves as the test wants. Names below `localhost` need no name server, and have `::1` besides
//! the address the server listens at.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream as Plain};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use openssl::asn1::Asn1Time;
use openssl::ec::{EcGroup, EcKey};
use openssl::hash::MessageDigest;
use openssl::nid::Nid;
use openssl::pkey::{PKey, Private};
use openssl::ssl::{SslAcceptor, SslMethod, SslStream, SslVersion};
use openssl::x509::extension::{BasicConstraints, SubjectAlternativeName};
use openssl::x509::{X509, X509NameBuilder};

use posthaste_mail::sts::response::ResultType;
use posthaste_mail::sts::silence::HEARSAY;
use posthaste_mail::time::Timestamp;

use super::*;
use crate::clock::Clock;
use crate::dns::Signed;

const GOOD: &str = "HTTP/1.1 200 OK\r\nContent-Type: text/plain; charset=utf-8\r\n\
                    Content-Length: 14\r\n\r\nversion: STSv1";

struct Issued {
    key: PKey<Private>,
    certificate: X509,
}

/// `names` are the alternative ones; days from now.
fn issue(issuer: Option<&Issued>, common: &str, names: &[&str], days: [i64; 2]) -> Issued {
    let group = EcGroup::from_curve_name(Nid::X9_62_PRIME256V1).unwrap();
    let key = PKey::from_ec_key(EcKey::generate(&group).unwrap()).unwrap();
    let mut subject = X509NameBuilder::new().unwrap();
    subject.append_entry_by_nid(Nid::COMMONNAME, common).unwrap();
    let subject = subject.build();
    let mut builder = X509::builder().unwrap();
    builder.set_version(2).unwrap(); // X.509 v3
    builder.set_subject_name(&subject).unwrap();
    builder.set_issuer_name(issuer.map_or(&*subject, |i| i.certificate.subject_name())).unwrap();
    builder.set_pubkey(&key).unwrap();
    let now = i64::try_from(Clock::system().now().as_secs()).unwrap();
    let [first, last] = days.map(|day| Asn1Time::from_unix(now + day * 86_400).unwrap());
    builder.set_not_before(&first).unwrap();
    builder.set_not_after(&last).unwrap();
    if common == "root" {
        builder.append_extension(BasicConstraints::new().critical().ca().build().unwrap()).unwrap();
    } else if !names.is_empty() {
        let mut alternatives = SubjectAlternativeName::new();
        for name in names {
            alternatives.dns(name);
        }
        let above = issuer.map(|i| &*i.certificate);
        let names = alternatives.build(&builder.x509v3_context(above, None)).unwrap();
        builder.append_extension(names).unwrap();
    }
    builder.sign(issuer.map_or(&key, |i| &i.key), MessageDigest::sha256()).unwrap();
    Issued { key, certificate: builder.build() }
}

const VALID: [i64; 2] = [-1, 30];

/// A policy host, and those who trust its root.
struct Lab {
    hosts: PolicyHosts,
    root: PathBuf,
}

impl Drop for Lab {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.root);
    }
}

type Says = fn(&mut SslStream<Plain>);
type Certifies = fn(&Issued) -> Issued;

impl Lab {
    fn new(certificate: Certifies, says: Says) -> Lab {
        Lab::of_version(certificate, SslVersion::TLS1_3, says)
    }

    fn of_version(certificate: Certifies, version: SslVersion, says: Says) -> Lab {
        let root = issue(None, "root", &[], VALID);
        let leaf = certificate(&root);
        let mut acceptor = SslAcceptor::mozilla_intermediate_v5(SslMethod::tls_server()).unwrap();
        acceptor.set_min_proto_version(Some(SslVersion::TLS1)).unwrap();
        acceptor.set_max_proto_version(Some(version)).unwrap();
        acceptor.set_security_level(0);
        acceptor.set_cipher_list("ALL:@SECLEVEL=0").unwrap();
        acceptor.set_private_key(&leaf.key).unwrap();
        acceptor.set_certificate(&leaf.certificate).unwrap();
        let acceptor = acceptor.build();
        Lab::serving(&root, move |client| {
            if let Ok(mut tls) = acceptor.accept(client) {
                let mut head = Vec::new();
                let mut octet = [0];
                while !head.ends_with(b"\r\n\r\n") && tls.read_exact(&mut octet).is_ok() {
                    head.extend(octet);
                }
                let head = String::from_utf8(head).unwrap();
                assert!(head.starts_with("GET /.well-known/mta-sts.txt HTTP/1.1\r\n"), "{head}");
                assert!(head.to_lowercase().contains("host: mta-sts."), "{head}");
                says(&mut tls);
                let _ = tls.shutdown();
            }
        })
    }

    fn serving(root: &Issued, mut serve: impl FnMut(Plain) + Send + 'static) -> Lab {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        std::thread::spawn(move || listener.incoming().flatten().for_each(&mut serve));
        let file = format!("posthaste-web-{}-{port}.pem", std::process::id());
        let file = std::env::temp_dir().join(file);
        std::fs::write(&file, root.certificate.to_pem().unwrap()).unwrap();
        let tls = WebTls::new(&[&file]).unwrap();
        Lab { hosts: hosts(tls, port, true), root: file }
    }

    async fn fetch(&self) -> Result<String, FetchError> {
        let domain = Domain::parse("example.localhost").unwrap();
        let text = self.hosts.fetch(&domain, Duration::from_secs(5), Hearsay::Believed).await?;
        Ok(String::from_utf8(text).unwrap())
    }
}

fn hosts(tls: WebTls, port: u16, allow_loopback: bool) -> PolicyHosts {
    // Nobody is asked: all names are reserved ones.
    let clock = Clock::manual(Timestamp::from_secs(1_000_000));
    let server = "127.0.0.1:1".parse().unwrap();
    let resolver = Resolver::new(&[server], clock.clone(), Signed::Unneeded).unwrap();
    PolicyHosts::new(Settings {
        resolver,
        clock,
        tls,
        port,
        local: LocalAddresses::default(),
        families: Families::Both,
        allow_loopback,
        own_addresses: Vec::new(),
    })
}

fn good(root: &Issued) -> Issued {
    issue(Some(root), "whatever", &["x.test", "mta-sts.example.localhost"], VALID)
}

fn says(text: &'static str) -> impl Fn(&mut SslStream<Plain>) {
    move |tls| drop(tls.write_all(text.as_bytes()))
}

async fn end(lab: Lab) -> FetchError {
    lab.fetch().await.unwrap_err()
}

#[tokio::test]
async fn a_policy_is_fetched_over_tls_1_2_and_1_3() {
    let chunked: Says = says_chunked;
    for version in [SslVersion::TLS1_2, SslVersion::TLS1_3] {
        let lab = Lab::of_version(good, version, |tls| says(GOOD)(tls));
        assert_eq!(lab.fetch().await.unwrap(), "version: STSv1");
        assert_eq!(lab.fetch().await.unwrap(), "version: STSv1"); // and again
    }
    assert_eq!(Lab::new(good, chunked).fetch().await.unwrap(), "version: STSv1");
    let wildcard = |root: &Issued| issue(Some(root), "x", &["*.EXAMPLE.localhost"], VALID);
    assert!(Lab::new(wildcard, |tls| says(GOOD)(tls)).fetch().await.is_ok());
}

fn says_chunked(tls: &mut SslStream<Plain>) {
    let text = "HTTP/1.1 200 OK\r\ncontent-type: TEXT/plain\r\nTransfer-Encoding: chunked\r\n\r\n\
                7\r\nversion\r\n7\r\n: STSv1\r\n0\r\n\r\n";
    for octet in text.bytes() {
        let _ = tls.write_all(&[octet]); // in the smallest of pieces
    }
}

#[tokio::test]
async fn certificates_that_prove_nothing() {
    let certificates: [(&str, Certifies); 7] = [
        ("wrong name", |root| issue(Some(root), "x", &["mta-sts.example.test"], VALID)),
        ("the domain, not its policy host", |root| {
            issue(Some(root), "x", &["example.localhost"], VALID)
        }),
        ("wildcard too high", |root| issue(Some(root), "x", &["*.localhost"], VALID)),
        ("self-signed", |_| issue(None, "x", &["mta-sts.example.localhost"], VALID)),
        ("expired", |root| issue(Some(root), "x", &["mta-sts.example.localhost"], [-30, -1])),
        ("not valid yet", |root| issue(Some(root), "x", &["mta-sts.example.localhost"], [1, 30])),
        // RFC 8461 §3.3: the common name does not count.
        ("common name only", |root| issue(Some(root), "mta-sts.example.localhost", &[], VALID)),
    ];
    for (what, certificate) in certificates {
        let end = end(Lab::new(certificate, |tls| says(GOOD)(tls))).await;
        assert!(matches!(end, FetchError::Certificate(_)), "{what}: {end:?}");
        assert_eq!(end.result_type(), Some(ResultType::StsWebpkiInvalid));
    }
}

#[tokio::test]
async fn the_systems_roots_do_not_know_ours() {
    let lab = Lab::new(good, |tls| says(GOOD)(tls));
    let hosts = hosts(WebTls::new(&[]).unwrap(), lab.hosts.settings.port, true);
    let domain = Domain::parse("example.localhost").unwrap();
    let end = hosts.fetch(&domain, Duration::from_secs(5), Hearsay::Believed).await;
    assert!(matches!(end, Err(FetchError::Certificate(_))), "{end:?}");
}

#[tokio::test]
async fn tls_1_1_is_too_old() {
    let end = end(Lab::of_version(good, SslVersion::TLS1_1, |tls| says(GOOD)(tls))).await;
    assert!(matches!(end, FetchError::Handshake(_)), "{end:?}");
}

#[tokio::test]
async fn answers_that_are_no_policy() {
    let status = async |says: Says| match end(Lab::new(good, says)).await {
        FetchError::Status(status) => status,
        other => panic!("{other:?}"),
    };
    let redirect: Says = |tls| {
        let to = "Location: https://mta-sts.example.localhost/other.txt\r\n";
        let head = format!("HTTP/1.1 301 Moved\r\n{to}Content-Type: text/plain\r\n\r\n");
        let _ = tls.write_all(head.as_bytes());
    };
    assert_eq!(status(redirect).await, 301); // RFC 8461 §3.3: not followed
    let missing: Says = |tls| {
        let _ = tls.write_all(b"HTTP/1.1 404 Not Found\r\nContent-Type: text/plain\r\n\r\nversion");
    };
    assert_eq!(status(missing).await, 404);
    let html = end(Lab::new(good, |tls| {
        let _ = tls.write_all(b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n\r\n<p>version</p>");
    }))
    .await;
    assert_eq!(html, FetchError::MediaType("text/html".to_string()));
    let other = end(Lab::new(good, |tls| drop(tls.write_all(b"220 smtp.test ESMTP\r\n")))).await;
    assert!(matches!(other, FetchError::Http(_)), "{other:?}");
    let head = end(Lab::new(good, |tls| {
        let head = format!("HTTP/1.1 200 OK\r\nX: {}\r\n\r\n", "x".repeat(LONGEST_HEAD + 1000));
        let _ = tls.write_all(head.as_bytes());
    }))
    .await;
    assert!(matches!(head, FetchError::Http(_)), "{head:?}");
}

#[tokio::test]
async fn sixty_four_kib_and_no_octet_more() {
    let exactly: Says = |tls| {
        let body = "x".repeat(LONGEST - 1);
        let head = format!("HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n\r\n{body}\n");
        let _ = tls.write_all(head.as_bytes());
    };
    assert_eq!(Lab::new(good, exactly).fetch().await.unwrap().len(), LONGEST);
    let announced: Says = |tls| {
        let head = "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 66560\r\n\r\n";
        let _ = tls.write_all(head.as_bytes());
    };
    assert_eq!(end(Lab::new(good, announced)).await, FetchError::TooLong);
    let endless: Says = |tls| {
        let _ = tls.write_all(b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n\r\n");
        while tls.write_all(&[b'x'; 1000]).is_ok() {}
    };
    assert_eq!(end(Lab::new(good, endless)).await, FetchError::TooLong);
}

#[tokio::test]
async fn hosts_that_break_off_or_take_too_long() {
    let early: Says = |tls| {
        let head = "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 100\r\n\r\nver";
        let _ = tls.write_all(head.as_bytes());
    };
    let end_early = end(Lab::new(good, early)).await;
    assert!(matches!(end_early, FetchError::Http(_)), "{end_early:?}");
    let silent = end(Lab::new(good, |_| ())).await;
    assert!(matches!(silent, FetchError::Http(_)), "{silent:?}");
    let slow: Says = |tls| {
        let _ = tls.write_all(b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n\r\n");
        // Until the client has had enough.
        let wait = std::sync::mpsc::channel::<()>();
        while tls.write_all(b"x").is_ok() {
            let _ = wait.1.recv_timeout(Duration::from_millis(50));
        }
    };
    let lab = Lab::new(good, slow);
    let domain = Domain::parse("example.localhost").unwrap();
    let end_slow = lab.hosts.fetch(&domain, Duration::from_secs(1), Hearsay::Believed).await;
    assert_eq!(end_slow, Err(FetchError::TimedOut));
}

/// Closed without a word of TLS, as by somebody on the way.
#[tokio::test]
async fn a_policy_that_was_cut_off_is_none() {
    let cut: Says = |tls| {
        let head = "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n\r\nmode: none\nmax_age: 86";
        let _ = tls.write_all(head.as_bytes());
        let _ = tls.get_ref().shutdown(std::net::Shutdown::Both);
    };
    let end_cut = end(Lab::new(good, cut)).await;
    assert!(matches!(end_cut, FetchError::Http(_)), "{end_cut:?}");
    let whole: Says = |tls| {
        let head = "HTTP/1.0 200 OK\r\nContent-Type: text/plain\r\n\r\nmode: none\n";
        let _ = tls.write_all(head.as_bytes());
    };
    assert_eq!(Lab::new(good, whole).fetch().await.unwrap(), "mode: none\n");
}

#[tokio::test]
async fn hosts_without_tls_or_without_anybody() {
    let root = issue(None, "root", &[], VALID);
    let plain = Lab::serving(&root, |mut client| {
        let _ = client.write_all(GOOD.as_bytes());
    });
    let end_plain = end(plain).await;
    assert!(matches!(end_plain, FetchError::Handshake(_)), "{end_plain:?}");
    let closes = end(Lab::serving(&root, drop)).await;
    assert!(matches!(closes, FetchError::Handshake(_)), "{closes:?}");
    let held = std::sync::Mutex::new(Vec::new());
    let mute = Lab::serving(&root, move |client| held.lock().unwrap().push(client));
    let domain = Domain::parse("example.localhost").unwrap();
    let end_mute = mute.hosts.fetch(&domain, Duration::from_secs(1), Hearsay::Believed).await;
    assert_eq!(end_mute, Err(FetchError::TimedOut));

    let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let tls = WebTls::new(&[]).unwrap();
    let end_nobody =
        hosts(tls, nobody, true).fetch(&domain, Duration::from_secs(5), Hearsay::Believed).await;
    assert!(matches!(end_nobody, Err(FetchError::Connect(_))), "{end_nobody:?}");
}

/// Takes connections and says nothing, until it is told to speak.
struct Moody {
    lab: Lab,
    speaks: Arc<AtomicBool>,
    calls: Arc<AtomicUsize>,
}

impl Moody {
    fn new() -> Moody {
        let root = issue(None, "root", &[], VALID);
        let leaf = issue(Some(&root), "x", &["*.localhost", "mta-sts.example.localhost"], VALID);
        let mut acceptor = SslAcceptor::mozilla_intermediate_v5(SslMethod::tls_server()).unwrap();
        acceptor.set_private_key(&leaf.key).unwrap();
        acceptor.set_certificate(&leaf.certificate).unwrap();
        let acceptor = acceptor.build();
        let (speaks, calls) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let (speak, call) = (Arc::clone(&speaks), Arc::clone(&calls));
        let mut held = Vec::new();
        let lab = Lab::serving(&root, move |client| {
            let _ = client.peek(&mut [0]); // it is asked something
            call.fetch_add(1, Ordering::SeqCst);
            if speak.load(Ordering::SeqCst)
                && let Ok(mut tls) = acceptor.accept(client.try_clone().unwrap())
            {
                let _ = tls.read(&mut [0; 4096]);
                let _ = tls.write_all(GOOD.as_bytes());
                let _ = tls.shutdown();
            } else {
                held.push(client);
            }
        });
        Moody { lab, speaks, calls }
    }

    async fn fetch(&self, name: &str, hearsay: Hearsay) -> Result<Vec<u8>, FetchError> {
        let domain = Domain::parse(name).unwrap();
        self.lab.hosts.fetch(&domain, Duration::from_secs(5), hearsay).await
    }

    /// One waits at the host, and time goes by.
    async fn one_waits(&self, seconds: u64, meanwhile: impl Future<Output = ()>) {
        let begun = self.calls.load(Ordering::SeqCst);
        let meanwhile = async {
            while self.calls.load(Ordering::SeqCst) == begun {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            self.lab.hosts.settings.clock.advance(Duration::from_secs(seconds));
            meanwhile.await;
        };
        tokio::select! {
            end = self.fetch("first.localhost", Hearsay::Ignored) => panic!("{end:?}"),
            () = meanwhile => {}
        }
    }
}

#[tokio::test]
async fn a_silent_host_is_not_waited_for_by_all_its_domains() {
    let host = Moody::new();
    let clock = host.lab.hosts.settings.clock.clone();
    host.one_waits(5, async {
        for name in ["a.localhost", "b.localhost", "c.localhost"] {
            let end = host.fetch(name, Hearsay::Believed).await.unwrap_err();
            let FetchError::Silent { told, until } = &end else { panic!("{end:?}") };
            assert!(told.starts_with("127.0.0.1:") && told.contains("not a word in 1 s"));
            assert_eq!(until.as_secs(), 1_000_065);
            assert_eq!(end.result_type(), Some(ResultType::StsPolicyFetchError));
        }
    })
    .await;
    // Also when the one who waited has gone; and no longer than a minute.
    clock.advance(Duration::from_secs(59));
    assert!(matches!(
        host.fetch("d.localhost", Hearsay::Believed).await,
        Err(FetchError::Silent { .. })
    ));
    clock.advance(Duration::from_secs(1));
    assert_eq!(host.fetch("e.localhost", Hearsay::Believed).await, Err(FetchError::TimedOut));
    assert_eq!(host.calls.load(Ordering::SeqCst), 6, "each is asked");
}

#[tokio::test]
async fn hearsay_keeps_no_policy_from_a_host_that_speaks_and_a_word_ends_it() {
    for hearsay in [Hearsay::Believed, Hearsay::Ignored] {
        let mut host = Moody::new();
        host.lab.hosts.hurry = Duration::from_secs(30); // this machine may be busy
        host.one_waits(5, async {}).await;
        host.speaks.store(true, Ordering::SeqCst);
        let address = "127.0.0.1".parse().unwrap();
        assert!(host.lab.hosts.book.silent_until(address).is_some());
        assert!(host.fetch("example.localhost", hearsay).await.is_ok());
        assert_eq!(host.lab.hosts.book.silent_until(address), None);
    }
    // It speaks: whatever it says, that is no silence, however long it takes.
    static SPOKEN: AtomicBool = AtomicBool::new(false);
    let slow: Says = |tls| {
        let _ = tls.write_all(b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n\r\n");
        SPOKEN.store(true, Ordering::SeqCst);
        let _ = tls.read(&mut [0; 1]);
    };
    let lab = Lab::new(good, slow);
    let domain = Domain::parse("example.localhost").unwrap();
    let meanwhile = async {
        while !SPOKEN.load(Ordering::SeqCst) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        lab.hosts.settings.clock.advance(Duration::from_secs(20));
        pending::<()>().await;
    };
    let fetch = lab.hosts.fetch(&domain, Duration::from_secs(5), Hearsay::Believed);
    let end = tokio::select! {
        end = fetch => end,
        () = meanwhile => unreachable!(),
    };
    assert_eq!(end, Err(FetchError::TimedOut));
    assert!(SPOKEN.load(Ordering::SeqCst));
    assert_eq!(lab.hosts.book.silent_until("127.0.0.1".parse().unwrap()), None);
}

/// As many handshakes at once as have to wait for each other: what we have not asked yet nobody can have answered.
#[test]
fn time_that_we_need_ourselves_is_not_the_hosts() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(1)
        .build()
        .unwrap();
    runtime.block_on(async {
        let mut host = Moody::new();
        host.one_waits(5, async {}).await;
        host.speaks.store(true, Ordering::SeqCst);
        host.lab.hosts.hurry = Duration::from_secs(3);
        let (free, busy) = std::sync::mpsc::channel::<()>();
        let _others = tokio::task::spawn_blocking(move || busy.recv());
        let at_last = async {
            tokio::time::sleep(Duration::from_secs(4)).await;
            drop(free);
        };
        let domain = Domain::parse("example.localhost").unwrap();
        let limit = Duration::from_secs(30);
        let fetch = host.lab.hosts.fetch(&domain, limit, Hearsay::Believed);
        let (end, ()) = tokio::join!(fetch, at_last);
        assert!(end.is_ok(), "{end:?}");
    });
}

/// What another address says is not the last word while one had to hurry.
#[tokio::test]
async fn who_had_to_hurry_might_have_had_the_policy() {
    let until = Timestamp::from_secs(7);
    let hurried = || {
        let mut hurried = Hurried::default();
        hurried.note("192.0.2.1:443: not a word".to_string(), until);
        hurried
    };
    let told = "192.0.2.1:443: not a word; besides, policy host answered with status 404";
    let silent = FetchError::Silent { told: told.to_string(), until };
    assert_eq!(hurried().explain(FetchError::Status(404)), silent);
    let ours = FetchError::Ours("no descriptors".to_string());
    assert_eq!(hurried().explain(ours.clone()), ours);
    assert_eq!(Hurried::default().explain(FetchError::Status(404)), FetchError::Status(404));
}

#[tokio::test]
async fn a_silent_address_leaves_time_for_the_next() {
    let host = Moody::new();
    let clock = &host.lab.hosts.settings.clock;
    // Nobody listens at the second one.
    let [first, second] = ["127.0.0.1", "127.0.0.2"].map(|text| text.parse::<IpAddr>().unwrap());
    let name = Domain::parse("mta-sts.a.localhost").unwrap();
    let begun = tokio::time::Instant::now();
    let mut hurried = Hurried::default();
    let reach = host.lab.hosts.reach(&name, vec![first, second], Hearsay::Believed, &mut hurried);
    let end = reach.await.err();
    assert!(matches!(&end, Some(FetchError::Connect(why)) if why.contains("refused")), "{end:?}");
    assert!(begun.elapsed() >= WORD_LIMIT);
    assert_eq!(host.lab.hosts.book.silent_until(first), Some(clock.now().plus(HEARSAY)));
    assert_eq!(host.lab.hosts.book.silent_until(second), None);
}

#[tokio::test]
async fn our_own_addresses_are_no_policy_hosts() {
    let lab = Lab::new(good, |tls| says(GOOD)(tls));
    let hosts = hosts(lab.hosts.settings.tls.clone(), lab.hosts.settings.port, false);
    let of = async |name: &str| {
        let domain = Domain::parse(name).unwrap();
        hosts.fetch(&domain, Duration::from_secs(5), Hearsay::Believed).await.unwrap_err()
    };
    assert_eq!(
        of("example.localhost").await,
        FetchError::NoAddress("no address of mta-sts.example.localhost may be used".to_string())
    );
    let none = "mta-sts.example.invalid does not exist".to_string();
    assert_eq!(of("example.invalid").await, FetchError::NoAddress(none));
    let long = format!("{}.test", ["a"; 122].join("."));
    assert!(matches!(of(&long).await, FetchError::NoAddress(_)));
}

#[test]
fn roots_that_cannot_be_read_are_told() {
    let missing = WebTls::new(&[std::path::Path::new("/nonexistent/ca.pem")]).err().unwrap();
    assert!(missing.starts_with("reading /nonexistent/ca.pem: "), "{missing}");
    assert!(WebTls::new(&[std::path::Path::new("/dev/null")]).is_err());
}
