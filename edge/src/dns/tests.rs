//! The resolver against a server on loopback that says what the test wants and notes what it was asked.

mod signed;

use std::net::UdpSocket;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};

use hickory_resolver::proto::op::{Message, OpCode, ResponseCode};
use hickory_resolver::proto::rr::rdata::{A, AAAA, CNAME, MX, TXT};
use hickory_resolver::proto::rr::{Record, RecordType};

use posthaste_mail::route::addresses::Family;
use posthaste_mail::time::Timestamp;

use super::*;

type Says = fn(&str, RecordType) -> (ResponseCode, Vec<Record>);
/// Whether the answer has the AD bit.
type Signs = fn(&str, RecordType) -> bool;

struct Fake {
    address: SocketAddr,
    asked: Arc<AtomicUsize>,
}

impl Fake {
    fn start(says: Says) -> Fake {
        Fake::signing(says, |_, _| true)
    }

    /// Serves until the test program ends.
    fn signing(says: Says, signs: Signs) -> Fake {
        let socket = UdpSocket::bind(("127.0.0.1", 0)).unwrap();
        let address = socket.local_addr().unwrap();
        let asked = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&asked);
        std::thread::spawn(move || {
            let mut packet = [0; 4096];
            while let Ok((length, client)) = socket.recv_from(&mut packet) {
                count.fetch_add(1, Ordering::SeqCst);
                let query = Message::from_vec(&packet[..length]).unwrap();
                let question = query.queries[0].clone();
                let mut reply = Message::response(query.metadata.id, OpCode::Query);
                let (asked, kind) = (question.name.to_ascii(), question.query_type);
                let (code, records) = says(&asked, kind);
                reply.add_query(question);
                reply.metadata.response_code = code;
                // RFC 6840 §5.8: only who asks for it is told.
                let wants = query.metadata.authentic_data;
                reply.metadata.authentic_data = wants && signs(&asked, kind);
                reply.metadata.truncation = reply.queries[0].name.to_ascii() == "cut.test.";
                records.into_iter().for_each(|record| {
                    reply.add_answer(record);
                });
                socket.send_to(&reply.to_vec().unwrap(), client).unwrap();
            }
        });
        Fake { address, asked }
    }

    fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }
}

fn name(text: &str) -> Name {
    Name::from_ascii(text).unwrap()
}

fn record(owner: &str, data: RData) -> Record {
    Record::from_rdata(name(owner), 60, data)
}

fn alias(owner: &str, target: &str) -> Record {
    record(owner, RData::CNAME(CNAME(name(target))))
}

fn mx(owner: &str) -> Record {
    record(owner, RData::MX(MX::new(10, name("mx.test."))))
}

fn four(owner: &str) -> Record {
    record(owner, RData::A(A([192, 0, 2, 1].into())))
}

fn six(owner: &str) -> Record {
    record(owner, RData::AAAA(AAAA([0x2001, 0xdb8, 0, 0, 0, 0, 0, 1].into())))
}

fn domain(text: &str) -> Domain {
    Domain::parse(text).unwrap()
}

fn clock() -> Clock {
    Clock::manual(Timestamp::from_secs(1_000_000))
}

fn resolver(fake: &Fake, clock: &Clock) -> Resolver {
    Resolver::new(&[fake.address], clock.clone(), Signed::Unneeded).unwrap()
}

#[tokio::test]
async fn the_canonical_name_is_told_over_one_answer_and_over_several() {
    let fake = Fake::start(|asked, kind| {
        let records = match (asked, kind) {
            ("plain.test.", RecordType::MX) => vec![mx("plain.test.")],
            ("once.test.", RecordType::MX) => {
                vec![alias("once.test.", "Real.test."), mx("real.test.")]
            }
            ("twice.test.", RecordType::MX) => vec![alias("twice.test.", "once.test.")],
            ("host.test.", RecordType::A) => {
                vec![alias("host.test.", "real.test."), four("real.test.")]
            }
            ("host.test.", RecordType::AAAA) => {
                vec![alias("host.test.", "real.test."), six("real.test.")]
            }
            _ => vec![],
        };
        (ResponseCode::NoError, records)
    });
    let resolver = resolver(&fake, &clock());
    let canonical = async |asked| match resolver.mx(&domain(asked)).await {
        Lookup::Found { value, authentic: true, canonical } if value.len() == 1 => canonical,
        other => panic!("{other:?}"),
    };
    assert_eq!(canonical("plain.test").await, None);
    assert_eq!(canonical("once.test").await, Some(domain("real.test")));
    assert_eq!(canonical("twice.test").await, Some(domain("real.test")));
    match resolver.addresses(&domain("host.test"), Families::Both).await {
        Lookup::Found { value, canonical, .. } => {
            assert_eq!((value.list.len(), canonical), (2, Some(domain("real.test"))));
            assert!(value.authentic_v4 && value.authentic_v6);
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn aliases_in_a_circle_are_told_as_such() {
    let fake = Fake::start(|asked, _| {
        let records = match asked {
            "whole.test." => vec![alias("whole.test.", "b.test."), alias("b.test.", "whole.test.")],
            "one.test." => vec![alias("one.test.", "two.test.")],
            "two.test." => vec![alias("two.test.", "one.test.")],
            long => {
                let number: usize = long.trim_matches(|c: char| !c.is_numeric()).parse().unwrap();
                vec![alias(long, &format!("n{}.test.", number + 1))]
            }
        };
        (ResponseCode::NoError, records)
    });
    let resolver = resolver(&fake, &clock());
    for asked in ["whole.test", "one.test", "n0.test"] {
        let answer = resolver.mx(&domain(asked)).await;
        assert!(matches!(answer, Lookup::Looping(_)), "{asked}: {answer:?}");
        let answer = resolver.addresses(&domain(asked), Families::Both).await;
        assert!(matches!(answer, Lookup::Looping(_)), "{asked}: {answer:?}");
    }
    // n0 to n16, for each of three types; and the three others for each.
    assert_eq!(fake.asked(), 3 * (17 + 3));
}

#[tokio::test]
async fn a_family_that_fails_is_remembered() {
    let fake = Fake::start(|asked, kind| match kind {
        RecordType::A => (ResponseCode::NoError, vec![four(asked)]),
        _ => (ResponseCode::ServFail, vec![]),
    });
    let resolver = resolver(&fake, &clock());
    let host = domain("mx.test");
    match resolver.addresses(&host, Families::Both).await {
        Lookup::Found { value, .. } => {
            assert_eq!(value.list.len(), 1);
            let missing = value.missing.unwrap();
            assert_eq!(missing.family, Family::Ipv6);
            assert!(!missing.why.is_empty());
        }
        other => panic!("{other:?}"),
    }
    // Nobody misses a family that is not wanted.
    match resolver.addresses(&host, Families::OnlyIpv4).await {
        Lookup::Found { value, .. } => assert_eq!(value.missing, None),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_failure_is_believed_for_five_seconds() {
    let fake = Fake::start(|_, _| (ResponseCode::Refused, vec![]));
    let clock = clock();
    let resolver = resolver(&fake, &clock);
    let fails = async || {
        let answer = resolver.mx(&domain("example.test")).await;
        assert!(matches!(answer, Lookup::Failed(_)), "{answer:?}");
        fake.asked()
    };
    let once = fails().await;
    clock.advance(Duration::from_millis(4999));
    assert_eq!(fails().await, once);
    clock.advance(Duration::from_millis(1));
    assert_eq!(fails().await, 2 * once);
}

#[tokio::test]
async fn that_nobody_could_be_asked_is_not_believed_at_all() {
    let nobody = UdpSocket::bind(("127.0.0.1", 0)).unwrap();
    let address = nobody.local_addr().unwrap();
    drop(nobody);
    let hasty = Patience { round: Duration::from_millis(500), rounds: 1 };
    let resolver = Resolver::asking(
        each(&[address], hasty, Signed::Unneeded).unwrap(),
        None,
        clock(),
        Signed::Unneeded,
    )
    .unwrap();
    let name = domain("example.test");
    let answer = resolver.mx(&name).await;
    assert!(matches!(answer, Lookup::Unasked(_)), "{answer:?}");
    let back = UdpSocket::bind(address).unwrap();
    back.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    let seen = tokio::task::spawn_blocking(move || back.recv_from(&mut [0; 4096]).is_ok());
    let again = resolver.mx(&name);
    tokio::select! {
        seen = seen => assert!(seen.unwrap()),
        answer = again => panic!("not asked again: {answer:?}"),
    }
}

#[tokio::test]
async fn an_answer_whose_rest_is_refused_is_a_failure_of_the_name() {
    let fake = Fake::start(|_, _| (ResponseCode::NoError, vec![])); // nobody listens for TCP
    let answer = resolver(&fake, &clock()).mx(&domain("cut.test")).await;
    assert!(matches!(answer, Lookup::Failed(_)), "{answer:?}");
}

#[tokio::test]
async fn reserved_names_are_not_asked_for() {
    let fake = Fake::start(|asked, _| match asked {
        "alias.test." => (ResponseCode::NoError, vec![alias("alias.test.", "x.localhost.")]),
        _ => (ResponseCode::ServFail, vec![]),
    });
    let resolver = resolver(&fake, &clock());
    let loopback = ["::1", "127.0.0.1"].map(|ip| ip.parse::<IpAddr>().unwrap());
    for local in ["localhost", "Mail.LocalHost"] {
        let answer = resolver.addresses(&domain(local), Families::Both).await;
        assert_eq!(answer.map(|found| found.list), Lookup::found(loopback.to_vec()));
        let mx = resolver.mx(&domain(local)).await;
        assert_eq!(mx, Lookup::absent(Absence::NoSuchRecord));
    }
    for none in ["invalid", "Example.INVALID"] {
        let nothing = Lookup::absent(Absence::NoSuchName);
        assert_eq!(resolver.addresses(&domain(none), Families::Both).await.map(|_| ()), nothing);
        assert_eq!(resolver.mx(&domain(none)).await.map(|_| ()), nothing);
    }
    assert_eq!(fake.asked(), 0);
    // Nor when an alias leads there.
    let answer = resolver.addresses(&domain("alias.test"), Families::Both).await;
    assert!(matches!(answer, Lookup::Found { value, .. } if value.list == loopback));
    assert_eq!(fake.asked(), 2);
    // A name that only looks like one is asked for.
    let answer = resolver.mx(&domain("notlocalhost")).await;
    assert!(matches!(answer, Lookup::Failed(_)), "{answer:?}");
}

fn write(file: &Path, text: &str) {
    std::fs::write(file, text).unwrap();
}

#[tokio::test]
async fn servers_follow_resolv_conf() {
    let file = std::env::temp_dir().join(format!("posthaste-resolv-{}", std::process::id()));
    let clock = clock();
    write(&file, "nameserver 127.0.0.1\n");
    let resolver = Resolver::system_at(file.clone(), clock.clone(), Signed::Unneeded).unwrap();
    let servers = async |after: u64| {
        clock.advance(Duration::from_secs(after));
        resolver.current().await;
        resolver.servers().iter().map(|(s, _)| s.ip().to_string()).collect::<Vec<_>>()
    };
    write(&file, "nameserver 192.0.2.1\nnameserver 192.0.2.2\noptions timeout:1 attempts:1\n");
    assert_eq!(servers(9).await, ["127.0.0.1"]); // not looked at yet
    assert_eq!(servers(1).await, ["192.0.2.1", "192.0.2.2"]);
    let hasty = Patience { round: Duration::from_secs(1), rounds: 1 };
    assert!(resolver.now().iter().all(|server| server.patience() == hasty));
    for unusable in ["", "search lan\n"] {
        write(&file, unusable); // being written
        assert_eq!(servers(10).await, ["192.0.2.1", "192.0.2.2"]);
    }
    std::fs::remove_file(&file).unwrap();
    assert_eq!(servers(10).await, ["192.0.2.1", "192.0.2.2"]);
    write(&file, "nameserver 192.0.2.3\n");
    assert_eq!(servers(10).await, ["192.0.2.3"]);
    // At the start a file without servers means the one on this machine, and none at all is an error.
    write(&file, "# nothing\n");
    let local = Resolver::system_at(file.clone(), clock.clone(), Signed::Unneeded).unwrap();
    assert_eq!(local.servers(), [("127.0.0.1:53".parse().unwrap(), true)]);
    std::fs::remove_file(&file).unwrap();
    assert!(Resolver::system_at(file, clock.clone(), Signed::Unneeded).is_err());
}

#[tokio::test]
async fn texts_are_put_together_and_kept_until_asked_anew() {
    let fake = Fake::start(|asked, kind| {
        let text = |strings: &[&[u8]]| {
            record("_mta-sts.test.", RData::TXT(TXT::from_bytes(strings.to_vec())))
        };
        let records = match (asked, kind) {
            ("alias.test.", RecordType::TXT) => {
                vec![alias("alias.test.", "_mta-sts.test."), text(&[b"v=STSv1; ", b"id=", b"7"])]
            }
            ("_mta-sts.test.", RecordType::TXT) => {
                vec![text(&[b"one"]), text(&[b"\xff", b"", b"\0two"])]
            }
            _ => vec![],
        };
        (ResponseCode::NoError, records)
    });
    let resolver = resolver(&fake, &clock());
    let texts = async |name, asking| match resolver.txt(&domain(name), asking).await {
        Lookup::Found { value, .. } => value,
        other => panic!("{other:?}"),
    };
    assert_eq!(texts("alias.test", Asking::Cached).await, [b"v=STSv1; id=7"]);
    let two = [b"one".to_vec(), b"\xff\0two".to_vec()];
    assert_eq!(texts("_mta-sts.test", Asking::Cached).await, two);
    assert_eq!(texts("_mta-sts.test", Asking::Cached).await, two);
    assert_eq!(fake.asked(), 2);
    assert_eq!(texts("_mta-sts.test", Asking::Anew).await, two);
    assert_eq!(fake.asked(), 3);
    assert_eq!(texts("_mta-sts.test", Asking::Cached).await, two);
    assert_eq!(fake.asked(), 3);
}

#[test]
fn a_domain_that_can_be_looked_up_is_a_name() {
    let longest = format!("{0}.{0}.{0}.{1}", "a".repeat(63), "b".repeat(61));
    for text in
        ["x-.test", "a--b.test", "_x.test", "a_b.test", "0.test", "xn--bcher-kva.test", &longest]
    {
        let domain = Domain::parse(text).unwrap();
        assert!(domain.can_be_looked_up(), "{text}");
        assert!(Name::from_ascii(domain.ascii()).is_ok(), "{text}");
    }
    for text in ["-x.test", "a.-.test", "a.-b"] {
        let domain = Domain::parse(text).unwrap();
        assert!(!domain.can_be_looked_up(), "{text}");
        assert!(Name::from_ascii(domain.ascii()).is_err(), "{text}");
    }
}

#[test]
fn where_signatures_are_needed_servers_without_are_not_asked_beside_others() {
    let (near, far): (SocketAddr, SocketAddr) =
        ("127.0.0.53:53".parse().unwrap(), "192.0.2.1:53".parse().unwrap());
    let asked = |servers: &[SocketAddr], signed| {
        let resolver = Resolver::new(servers, Clock::system(), signed).unwrap();
        resolver.servers().into_iter().map(|(address, _)| address).collect::<Vec<_>>()
    };
    assert_eq!(asked(&[far, near], Signed::Needed), [near]);
    assert_eq!(asked(&[far, near], Signed::Unneeded), [far, near]);
    assert_eq!(asked(&[far], Signed::Needed), [far]); // better than none, and `validates` says no
}
