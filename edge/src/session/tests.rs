//! Faults of our own in the middle of a message: the final dot is not sent, and nobody else is blamed.

use std::fs::File;
use std::io::Write;
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

use posthaste_mail::outcome::Outcome;
use posthaste_mail::wire::client::transaction::{Fate, Standing};

use super::*;
use crate::spool::suite::Scratch;

/// Takes one message from whoever comes, and returns all it was sent once the line is closed.
async fn peer() -> (TcpStream, JoinHandle<Vec<u8>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let heard = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut heard = Vec::new();
        // Greeting, EHLO, MAIL, RCPT; after 354 it only listens, but for the end.
        for reply in ["220 peer.test\r\n", "250 peer.test\r\n", "250 ok\r\n", "250 ok\r\n"] {
            stream.write_all(reply.as_bytes()).await.unwrap();
            assert_ne!(stream.read_buf(&mut heard).await.unwrap(), 0);
        }
        stream.write_all(b"354 go on\r\n").await.unwrap();
        while stream.read_buf(&mut heard).await.is_ok_and(|read| read > 0) {
            if has_end(&heard) {
                stream.write_all(b"250 taken\r\n").await.unwrap();
            }
        }
        heard
    });
    (TcpStream::connect(address).await.unwrap(), heard)
}

fn has_end(heard: &[u8]) -> bool {
    heard.windows(5).any(|piece| piece == b"\r\n.\r\n")
}

/// All that a listener is told, in words.
#[derive(Debug, Default)]
struct Told(Mutex<Vec<String>>);

impl Told {
    fn note(&self, word: &str, bytes: &[u8]) {
        self.0.lock().unwrap().push(format!("{word} {}", bytes.escape_ascii()));
    }
}

impl Listener for Told {
    fn sends(&self, bytes: &[u8]) {
        self.note("sends", bytes);
    }

    fn receives(&self, bytes: &[u8]) {
        self.note("receives", bytes);
    }

    fn sends_content(&self, octets: usize) {
        self.note("content", octets.to_string().as_bytes());
    }

    fn ends_content(&self) {
        self.note("end of content", b"");
    }

    fn notes(&self, text: std::fmt::Arguments<'_>) {
        self.note("notes", text.to_string().as_bytes());
    }
}

/// How a message is sent.
struct Sending {
    flow: Flow,
    timeouts: Timeouts,
    people: usize,
    noted: Result<(), Failure>,
    listener: Arc<dyn Listener>,
}

impl Default for Sending {
    fn default() -> Sending {
        let minute = Duration::from_secs(60);
        let timeouts = Timeouts {
            greeting: minute,
            command: minute,
            block: minute,
            submission: minute,
            transaction: minute,
        };
        let listener = Arc::new(());
        Sending { flow: Flow::Stepped, timeouts, people: 1, noted: Ok(()), listener }
    }
}

impl Sending {
    /// A session with whoever is at the other end of the stream, and one transaction in it.
    async fn over(self, stream: TcpStream, body: &Body) -> Ending {
        let how = Opened {
            dialect: Dialect::Smtp,
            our_name: "client.test",
            starttls: StartTls::Skip,
            tls: &ClientTls::new(&[]).unwrap(),
            host: Reference::None,
            demand: Demand::Opportunistic,
            timeouts: self.timeouts,
            listener: self.listener,
            whereabouts: None,
        };
        let mut session = Session::open(stream, how).await.unwrap();
        let mail = b"MAIL FROM:<a@sender.test>\r\n".to_vec();
        let recipient = |i| format!("RCPT TO:<{}@peer.test>\r\n", "b".repeat(i + 1)).into_bytes();
        let recipients = (0..self.people).map(recipient).collect();
        let all: Vec<usize> = (0..self.people).collect();
        let before_dot = |accepted| async move {
            assert_eq!(accepted, all);
            self.noted
        };
        session.transact(self.flow, mail, recipients, body, before_dot).await
    }

    /// Both ends at once.
    async fn to<T>(self, body: Body, serve: impl AsyncFnOnce(Peer) -> T) -> (Ending, T) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let client = async { self.over(TcpStream::connect(address).await.unwrap(), &body).await };
        let server = async {
            let (stream, _) = listener.accept().await.unwrap();
            serve(Peer(BufReader::new(stream))).await
        };
        tokio::join!(client, server)
    }
}

async fn send(body: &Body, noted: Result<(), Failure>) -> (Ending, Vec<u8>) {
    send_heard(body, noted, Arc::new(())).await
}

async fn send_heard(
    body: &Body,
    noted: Result<(), Failure>,
    listener: Arc<dyn Listener>,
) -> (Ending, Vec<u8>) {
    let (stream, heard) = peer().await;
    let ending = Sending { noted, listener, ..Sending::default() }.over(stream, body).await;
    (ending, heard.await.unwrap())
}

/// The other end, led by a test.
struct Peer(BufReader<TcpStream>);

impl Peer {
    /// The next line; empty at the end of the connection.
    async fn hears(&mut self) -> String {
        let mut line = String::new();
        self.0.read_line(&mut line).await.unwrap();
        line.trim_end().to_string()
    }

    async fn says(&mut self, line: &str) {
        self.0.write_all(format!("{line}\r\n").as_bytes()).await.unwrap();
    }

    /// Greets, and says yes up to the recipient.
    async fn accepts(&mut self) {
        self.says("220 peer.test").await;
        for command in ["EHLO", "MAIL", "RCPT"] {
            let line = self.hears().await;
            assert!(line.starts_with(command), "{line}");
            self.says("250 ok").await;
        }
    }
}

fn assert_our_own(ending: &Ending, heard: &[u8]) {
    assert!(!has_end(heard), "the final dot was sent");
    assert_eq!(ending.standing, Standing::Broken, "QUIT in mid-content would be content");
    let [Fate::Refused(failure)] = &ending.fates[..] else { panic!("{:?}", ending.fates) };
    assert_eq!(failure.cause, Cause::OwnResources);
    assert!(matches!(failure.clone().outcome(), Outcome::Postponed(_)), "{failure:?}");
}

#[tokio::test]
async fn what_is_noted_and_whole_is_sent() {
    let (ending, heard) = send(&Body::memory(b"Subject: x\r\n\r\ny\r\n".to_vec()), Ok(())).await;
    assert!(matches!(&ending.fates[..], [Fate::Taken(reply)] if reply.code == 250), "{ending:?}");
    assert!(ending.standing == Standing::Good && has_end(&heard));
}

#[tokio::test]
async fn a_listener_hears_everything_but_the_content() {
    let told = Arc::new(Told::default());
    let body = Body::memory(b"Subject: x\r\n\r\n.y\r\n".to_vec());
    let (_, heard) = send_heard(&body, Ok(()), told.clone()).await;
    assert!(has_end(&heard));
    let told = told.0.lock().unwrap();
    assert_eq!(
        told[..],
        [
            "receives 220 peer.test\\r\\n",
            "sends EHLO client.test\\r\\n",
            "receives 250 peer.test\\r\\n",
            "sends MAIL FROM:<a@sender.test>\\r\\n",
            "receives 250 ok\\r\\n",
            "sends RCPT TO:<b@peer.test>\\r\\n",
            "receives 250 ok\\r\\n",
            "sends DATA\\r\\n",
            "receives 354 go on\\r\\n",
            "content 22", // one dot doubled, and the one at the end
            "end of content ",
            "receives 250 taken\\r\\n",
        ]
    );
}

#[tokio::test]
async fn without_a_note_of_it_the_final_dot_is_not_sent() {
    let body = Body::memory(b"Subject: x\r\n\r\ny\r\n".to_vec());
    let failure = Failure::new(Cause::OwnResources, "no space is left");
    let (ending, heard) = send(&body, Err(failure)).await;
    assert_our_own(&ending, &heard);
}

/// The disk fails in the middle: the first piece is read and sent, the second is not there.
#[tokio::test]
async fn a_body_that_cannot_be_read_to_its_end_is_our_own_fault() {
    let scratch = Scratch::new();
    let path = scratch.path().join("body");
    let lines = b"0123456789012345678901234567890123456789\r\n".repeat(PIECE / 40);
    File::create(&path).unwrap().write_all(&lines).unwrap();
    let file = Arc::new(File::open(&path).unwrap());
    let body = Body::range(file, 0, 3 * PIECE as u64);
    let (ending, heard) = send(&body, Ok(())).await;
    assert!(heard.len() > PIECE, "only {} octets were sent before", heard.len());
    assert_our_own(&ending, &heard);
}

/// RFC 3030 §2: a chunk is its own end, so all of it waits for the note.
#[tokio::test]
async fn a_chunk_is_sent_when_it_is_noted_and_not_a_letter_before() {
    let body = Body::memory(b"Subject: x\r\n\r\n.y".to_vec());
    let chunk = || Sending { flow: Flow::Chunk, ..Sending::default() };
    let taken = chunk().to(body.clone(), async |mut peer: Peer| {
        peer.accepts().await;
        assert_eq!(peer.hears().await, "BDAT 18 LAST");
        let mut octets = [0; 18];
        peer.0.read_exact(&mut octets).await.unwrap();
        assert_eq!(&octets, b"Subject: x\r\n\r\n.y\r\n");
        peer.says("250 taken").await;
    });
    let (ending, ()) = taken.await;
    assert!(matches!(&ending.fates[..], [Fate::Taken(_)]), "{ending:?}");
    assert_eq!(ending.standing, Standing::Good);

    let noted = Err(Failure::new(Cause::OwnResources, "no space is left"));
    let untold = Sending { noted, ..chunk() }.to(body.clone(), async |mut peer: Peer| {
        peer.accepts().await;
        peer.hears().await
    });
    let (ending, heard) = untold.await;
    assert_our_own(&ending, heard.as_bytes());
    assert_eq!(heard, "");
}

fn small() -> Body {
    Body::memory(b"Subject: x\r\n\r\ny\r\n".to_vec())
}

fn shortened(change: impl FnOnce(&mut Timeouts)) -> Timeouts {
    let mut timeouts = Sending::default().timeouts;
    change(&mut timeouts);
    timeouts
}

fn causes(ending: &Ending) -> Vec<Cause> {
    let cause = |fate: &Fate| match fate {
        Fate::Refused(failure) => failure.cause,
        other => panic!("{other:?}"),
    };
    ending.fates.iter().map(cause).collect()
}

/// Says yes after `pause`, to every recipient anew; how many were named.
async fn dawdle(peer: &mut Peer, pause: Duration) -> usize {
    peer.says("220 peer.test").await;
    let mut named = 0;
    loop {
        let line = peer.hears().await;
        if line.is_empty() || line == "DATA" {
            return named;
        }
        if line.starts_with("RCPT") {
            named += 1;
            tokio::time::sleep(pause).await;
        }
        if peer.0.write_all(b"250 ok\r\n").await.is_err() {
            return named;
        }
    }
}

#[tokio::test]
async fn a_hundred_answers_in_the_nick_of_time_are_one_answer_too_late() {
    let pause = Duration::from_millis(40);
    let timeouts = shortened(|all| all.transaction = Duration::from_millis(400));
    let slow = Sending { timeouts, people: 100, ..Sending::default() };
    let (ending, named) = slow.to(small(), async |mut peer| dawdle(&mut peer, pause).await).await;
    assert!((1..=10).contains(&named), "{named}");
    assert_eq!(causes(&ending), [Cause::TimedOut(Stage::Rcpt); 100]);
    assert_eq!(ending.standing, Standing::Broken);

    // A few such answers are no trouble.
    let timeouts = shortened(|all| all.transaction = Duration::from_secs(20));
    let few = Sending { timeouts, people: 3, ..Sending::default() };
    let delivered = few.to(small(), async |mut peer: Peer| {
        assert_eq!(dawdle(&mut peer, pause).await, 3);
        peer.says("354 go on").await;
        while peer.hears().await != "." {}
        peer.says("250 taken").await;
    });
    let (ending, ()) = delivered.await;
    assert!(ending.fates.iter().all(|fate| matches!(fate, Fate::Taken(_))), "{ending:?}");
}

#[tokio::test]
async fn after_the_dot_the_ceiling_is_forgotten() {
    let timeouts = shortened(|all| all.transaction = Duration::from_secs(5));
    let patient = Sending { timeouts, ..Sending::default() };
    let delivered = patient.to(small(), async |mut peer: Peer| {
        peer.accepts().await;
        assert_eq!(peer.hears().await, "DATA");
        peer.says("354 go on").await;
        while peer.hears().await != "." {}
        tokio::time::sleep(Duration::from_secs(6)).await;
        peer.says("250 taken").await;
    });
    let (ending, ()) = delivered.await;
    assert!(matches!(&ending.fates[..], [Fate::Taken(_)]), "{ending:?}");
}

/// More than the buffers between two sockets hold.
fn large() -> Body {
    Body::memory(b"0123456789012345678901234567890123456789\r\n".repeat(400_000))
}

#[tokio::test]
async fn content_has_as_much_time_as_its_size_gives_it() {
    // Nothing at all is allowed besides: 10,000 octets have twenty seconds, a few have none.
    let timeouts = shortened(|all| all.transaction = Duration::ZERO);
    let slow = async |mut peer: Peer| {
        peer.accepts().await;
        assert_eq!(peer.hears().await, "DATA");
        tokio::time::sleep(Duration::from_millis(700)).await;
        peer.says("354 go on").await;
        while !matches!(peer.hears().await.as_str(), "." | "") {}
        let _ = peer.0.write_all(b"250 taken\r\n").await;
    };
    let many = Body::memory(b"01234567\r\n".repeat(1000));
    let (ending, ()) = Sending { timeouts, ..Sending::default() }.to(many, slow).await;
    assert!(matches!(&ending.fates[..], [Fate::Taken(_)]), "{ending:?}");
    let (ending, ()) = Sending { timeouts, ..Sending::default() }.to(small(), slow).await;
    assert!(matches!(causes(&ending)[..], [Cause::TimedOut(_)]), "{ending:?}");
}

#[tokio::test]
async fn a_peer_that_reads_no_further_does_not_keep_us() {
    let timeouts = shortened(|all| all.block = Duration::from_millis(300));
    let stalled = Sending { timeouts, ..Sending::default() };
    let stalls = stalled.to(large(), async |mut peer: Peer| {
        peer.accepts().await;
        assert_eq!(peer.hears().await, "DATA");
        peer.says("354 go on").await;
        peer.hears().await;
        peer // left open and unread
    });
    let (ending, _peer) = stalls.await;
    assert_eq!(causes(&ending), [Cause::TimedOut(Stage::Content)]);
}

/// Takes some of the content and then says this, once it has read no more for a while.
async fn interrupts(peer: &mut Peer, words: &str) {
    peer.accepts().await;
    assert_eq!(peer.hears().await, "DATA");
    peer.says("354 go on").await;
    peer.hears().await;
    tokio::time::sleep(Duration::from_millis(100)).await;
    peer.0.write_all(words.as_bytes()).await.unwrap();
}

#[tokio::test]
async fn a_refusal_in_mid_content_is_heard_at_once() {
    for (words, cause, code) in [
        ("552 5.3.4 too big\r\n", Cause::Refused(Stage::Content), 552),
        ("452-4.3.1 no\r\n452 4.3.1 room\r\n", Cause::Refused(Stage::Content), 452),
        ("421 4.3.2 going\r\n", Cause::Refused(Stage::Content), 421),
        // What else it may say is no answer to half a message, and surely not that it was taken.
        ("250 taken\r\n", Cause::Protocol(Stage::Content), 451),
        ("thanks\r\n", Cause::Protocol(Stage::Content), 451),
    ] {
        let refused = Sending::default().to(large(), async |mut peer: Peer| {
            interrupts(&mut peer, words).await;
            peer // it reads no further, and does not go
        });
        let end = timeout(Duration::from_secs(20), refused).await;
        let (ending, _peer) = end.unwrap_or_else(|_| panic!("{words:?} was not heard"));
        assert_eq!(causes(&ending), [cause], "{words:?}");
        assert!(matches!(&ending.fates[..], [Fate::Refused(failure)] if failure.code == code));
        assert_eq!(ending.standing, Standing::Broken);
    }
}

#[tokio::test]
async fn half_a_reply_in_mid_content_is_waited_for() {
    let refused = Sending::default().to(large(), async |mut peer: Peer| {
        interrupts(&mut peer, "554-5.7.1 I say\r\n554 5.7.1 n").await;
        while peer.hears().await != "." {}
        peer.says("o").await;
    });
    let (ending, ()) = refused.await;
    assert_eq!(causes(&ending), [Cause::Refused(Stage::Dot)]);
    assert_eq!(ending.standing, Standing::Parting);
}

/// A reply too many to RCPT is not the one to the dot.
#[tokio::test]
async fn what_was_said_before_the_dot_is_no_answer_to_it() {
    let (ending, heard) = Sending::default()
        .to(small(), async |mut peer: Peer| {
            peer.accepts().await;
            assert_eq!(peer.hears().await, "DATA");
            peer.0.write_all(b"354 go on\r\n250 ok\r\n").await.unwrap();
            let mut heard = Vec::new();
            peer.0.read_to_end(&mut heard).await.unwrap();
            heard
        })
        .await;
    assert_eq!(causes(&ending), [Cause::Protocol(Stage::Content)]);
    assert!(!has_end(&heard), "the final dot was sent");
}

mod ways;

/// A listing of one recipient, before its content, with a server led by a test.
async fn listed<T>(
    serve: impl AsyncFnOnce(Peer) -> T,
) -> (Session, Listing, impl Future<Output = T>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let tls = ClientTls::new(&[]).unwrap();
    let how = Opened {
        dialect: Dialect::Smtp,
        our_name: "client.test",
        starttls: StartTls::Skip,
        tls: &tls,
        host: Reference::None,
        demand: Demand::Opportunistic,
        timeouts: Sending::default().timeouts,
        listener: Arc::new(()),
        whereabouts: None,
    };
    let begin = async {
        let stream = TcpStream::connect(address).await.unwrap();
        let mut session = Session::open(stream, how).await.unwrap();
        let mut listing = session.list(b"MAIL FROM:<a@sender.test>\r\n".to_vec()).await;
        let named = session.name(&mut listing, b"RCPT TO:<b@peer.test>\r\n".to_vec()).await;
        assert_eq!(named, Ok(()));
        (session, listing)
    };
    let accept = async {
        let mut peer = Peer(BufReader::new(listener.accept().await.unwrap().0));
        peer.accepts().await;
        peer
    };
    let ((session, listing), peer) = tokio::join!(begin, accept);
    (session, listing, serve(peer))
}

#[tokio::test]
async fn a_server_is_kept_waiting_and_then_has_the_content() {
    let (mut session, mut listing, serve) = listed(async |mut peer: Peer| {
        assert_eq!(peer.hears().await, "NOOP");
        peer.says("500 never heard of it").await; // it is there, that is what counts
        assert_eq!(peer.hears().await, "DATA");
        peer.says("354 go on").await;
        while peer.hears().await != "." {}
        peer.says("250 taken").await;
    })
    .await;
    let client = async {
        session.stay(&mut listing).await;
        session.deliver(listing, &Body::memory(b"Subject: x\r\n\r\n".to_vec())).await
    };
    let (ending, ()) = tokio::join!(client, serve);
    assert!(matches!(&ending.fates[..], [Fate::Taken(reply)] if reply.code == 250), "{ending:?}");
}

#[tokio::test]
async fn a_server_that_has_lost_its_patience_tells_whoever_comes_next() {
    let (mut session, mut listing, serve) = listed(async |mut peer: Peer| {
        peer.says("421 4.4.2 too long").await;
        assert_eq!(peer.hears().await, "NOOP");
        assert_eq!(peer.hears().await, ""); // closed as soon as it is known
    })
    .await;
    let client = async {
        session.stay(&mut listing).await;
        session.stay(&mut listing).await; // nobody is there to say it to
        let named = session.name(&mut listing, b"RCPT TO:<c@peer.test>\r\n".to_vec()).await;
        assert_eq!(named.unwrap_err().code, 421);
        session.deliver(listing, &Body::memory(b"Subject: x\r\n\r\n".to_vec())).await
    };
    let (ending, ()) = tokio::join!(client, serve);
    assert_eq!(ending.standing, Standing::Broken);
    for fate in &ending.fates {
        assert!(matches!(fate, Fate::Refused(failure) if failure.code == 421), "{ending:?}");
    }
}

#[tokio::test]
async fn nobody_keeps_a_server_waiting_for_ever() {
    let (mut session, mut listing, serve) = listed(async |mut peer: Peer| {
        assert_eq!(peer.hears().await, "QUIT");
        peer.says("221 at last").await;
        assert_eq!(peer.hears().await, ""); // nor the connection, though the client is still there
    })
    .await;
    session.timeouts.transaction = Duration::ZERO;
    let client = async {
        session.stay(&mut listing).await;
        session.stay(&mut listing).await; // it is gone already
        session.deliver(listing, &Body::memory(b"Subject: x\r\n\r\n".to_vec())).await
    };
    let (ending, ()) = tokio::join!(client, serve);
    assert_eq!(causes(&ending), [Cause::TimedOut(Stage::Content)]);
    assert_eq!(ending.standing, Standing::Broken);
}
