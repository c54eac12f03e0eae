//! The other end of one SMTP session, led by a test line by line.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};

use posthaste_edge::clock::Clock;
use posthaste_edge::session::{Opened, Session, Timeouts};
use posthaste_edge::tls::{ClientTls, Demand, Reference};
use posthaste_mail::envelope::{EnvelopeId, TlsWish};
use posthaste_mail::outcome::{Remote, SessionFacts};
use posthaste_mail::policy::proof::{Channel, Proof};
use posthaste_mail::pool::{Class, PoolKey};
use posthaste_mail::route::destination::DestinationKey;
use posthaste_mail::time::Timestamp;
use posthaste_mail::wire::client::opening::{Dialect, StartTls};

use crate::messages::pool::Idle;
use crate::wire::Wire;

/// A test that waits longer has failed.
const PATIENCE: Duration = Duration::from_secs(10);

pub struct Peer(BufReader<TcpStream>);

impl Peer {
    /// The next line, or `None` at the end of the connection.
    pub async fn hears(&mut self) -> Option<String> {
        let mut line = String::new();
        let read = tokio::time::timeout(PATIENCE, self.0.read_line(&mut line)).await;
        let count = read.expect("the client says something in time").ok()?;
        (count > 0).then(|| line.trim_end().to_string())
    }

    pub async fn says(&mut self, line: &str) {
        self.0.write_all(format!("{line}\r\n").as_bytes()).await.unwrap();
    }
}

/// An idle session in the clear, used last at `now`, and its other end.
pub async fn idle(now: Timestamp) -> (Box<Idle>, Peer) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let greet = async {
        let mut peer = Peer(BufReader::new(listener.accept().await.unwrap().0));
        peer.says("220 peer.test").await;
        assert_eq!(peer.hears().await.as_deref(), Some("EHLO we.test"));
        peer.says("250 peer.test").await;
        peer
    };
    let tls = ClientTls::new(&[]).unwrap();
    let remote = Remote { host: "peer.test".to_string(), address: Some(address.ip().to_string()) };
    let wire = Arc::new(Wire::new(Clock::system()));
    let id = EnvelopeId::from_bytes([0; 16]);
    let recording = wire.record("mx", "peer.test".to_string(), remote.clone(), id);
    let how = Opened {
        dialect: Dialect::Smtp,
        our_name: "we.test",
        starttls: StartTls::IfOffered,
        tls: &tls,
        host: Reference::None,
        demand: Demand::Opportunistic,
        timeouts: Timeouts {
            greeting: PATIENCE,
            command: PATIENCE,
            block: PATIENCE,
            submission: PATIENCE,
            transaction: PATIENCE,
        },
        listener: recording.clone(),
        whereabouts: None,
    };
    let open = async { Session::open(TcpStream::connect(address).await.unwrap(), how).await };
    let (session, peer) = tokio::join!(open, greet);
    let idle = Idle {
        session: session.unwrap(),
        remote,
        facts: SessionFacts::default(),
        proof: proof(address.ip(), Channel::Clear),
        opened: now,
        last_used: now,
        transactions: 1,
        recording,
    };
    (Box::new(idle), peer)
}

pub fn proof(address: IpAddr, channel: Channel) -> Proof {
    Proof { address, local: None, exchanger: None, channel, offers_requiretls: false }
}

/// A key of that destination.
pub fn key(destination: &str) -> PoolKey {
    PoolKey {
        target: "mx".to_string(),
        destination: DestinationKey::Target(destination.to_string()),
        local: Vec::new(),
        class: Class { tls: TlsWish::Unsaid, credentials: None },
    }
}
