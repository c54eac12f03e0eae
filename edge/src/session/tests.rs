//! Faults of our own in the middle of a message: the final dot is not sent, and nobody else is blamed.

use std::fs::File;
use std::io::Write;
use std::sync::{Arc, Mutex};

use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use posthaste_mail::outcome::Outcome;
use posthaste_mail::wire::client::transaction::Fate;

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

async fn send(body: &Body, noted: Result<(), Failure>) -> (Ending, Vec<u8>) {
    send_heard(body, noted, Arc::new(())).await
}

async fn send_heard(
    body: &Body,
    noted: Result<(), Failure>,
    listener: Arc<dyn Listener>,
) -> (Ending, Vec<u8>) {
    let (stream, heard) = peer().await;
    let minute = Duration::from_secs(60);
    let timeouts =
        Timeouts { greeting: minute, command: minute, block: minute, submission: minute };
    let how = Opened {
        dialect: Dialect::Smtp,
        our_name: "client.test",
        starttls: StartTls::Skip,
        tls: &ClientTls::new(&[]).unwrap(),
        host: None,
        timeouts,
        listener,
        whereabouts: None,
    };
    let mut session = Session::open(stream, how).await.unwrap();
    let mail = b"MAIL FROM:<a@sender.test>\r\n".to_vec();
    let recipients = vec![b"RCPT TO:<b@peer.test>\r\n".to_vec()];
    let ending = session
        .transact(mail, recipients, body, |accepted| async move {
            assert_eq!(accepted, [0]);
            noted
        })
        .await;
    drop(session);
    (ending, heard.await.unwrap())
}

fn assert_our_own(ending: &Ending, heard: &[u8]) {
    assert!(!has_end(heard), "the final dot was sent");
    assert!(!ending.in_sync, "the line would be used again, in mid-content");
    let [Fate::Refused(failure)] = &ending.fates[..] else { panic!("{:?}", ending.fates) };
    assert_eq!(failure.cause, Cause::OwnResources);
    assert!(matches!(failure.clone().outcome(), Outcome::Postponed(_)), "{failure:?}");
}

#[tokio::test]
async fn what_is_noted_and_whole_is_sent() {
    let (ending, heard) = send(&Body::memory(b"Subject: x\r\n\r\ny\r\n".to_vec()), Ok(())).await;
    assert!(matches!(&ending.fates[..], [Fate::Taken(reply)] if reply.code == 250), "{ending:?}");
    assert!(ending.in_sync && has_end(&heard));
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
