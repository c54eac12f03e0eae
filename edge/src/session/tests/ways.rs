//! The ways to a session besides TCP in the clear: Unix sockets, TLS before the greeting, LMTP, and logging in.

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::UnixStream;

use posthaste_mail::wire::client::auth::Account;

use super::*;
use crate::tls::ServerTls;

fn how<'a>(tls: &'a ClientTls, dialect: Dialect, starttls: StartTls) -> Opened<'a> {
    Opened {
        dialect,
        our_name: "client.test",
        starttls,
        tls,
        host: Reference::None,
        demand: Demand::Opportunistic,
        timeouts: Sending::default().timeouts,
        listener: Arc::new(()),
        whereabouts: None,
    }
}

/// A line with nothing in it, where nothing at all is not waited for.
const EMPTY: &str = " ";

/// Any stream's end, line by line: hears what begins with the left, says the right.
async fn plays<S>(stream: S, lines: &[(&str, &str)]) -> BufReader<S>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let mut stream = BufReader::new(stream);
    for (heard, said) in lines {
        if !heard.is_empty() {
            let mut line = String::new();
            stream.read_line(&mut line).await.unwrap();
            assert_eq!(line.trim_end(), heard.trim_end());
        }
        stream.write_all(said.as_bytes()).await.unwrap();
        stream.flush().await.unwrap();
    }
    stream
}

#[tokio::test]
async fn lmtp_over_a_unix_socket_has_a_reply_for_each() {
    let (near, far) = UnixStream::pair().unwrap();
    let server = plays(
        far,
        &[
            ("", "220 lmtp.test\r\n"),
            ("LHLO client.test", "250-lmtp.test\r\n250 PIPELINING\r\n"),
            ("MAIL FROM:<a@sender.test>", "250 ok\r\n"),
            ("RCPT TO:<b@peer.test>", "250 ok\r\n"),
            ("RCPT TO:<bb@peer.test>", "550 5.1.1 nobody\r\n"),
            ("RCPT TO:<bbb@peer.test>", "250 ok\r\n"),
            ("DATA", "354 go on\r\n"),
            ("Subject: x", ""),
            (EMPTY, ""),
            ("y", ""),
            (".", "250 b taken\r\n452 4.2.2 bbb is full\r\n"),
        ],
    );
    let client = async {
        let tls = ClientTls::new(&[]).unwrap();
        let mut session =
            Session::open(near, how(&tls, Dialect::Lmtp, StartTls::Skip)).await.unwrap();
        assert_eq!((session.local_address(), session.is_quiet()), (None, true));
        let recipient =
            |i: usize| format!("RCPT TO:<{}@peer.test>\r\n", "b".repeat(i)).into_bytes();
        let body = Body::memory(b"Subject: x\r\n\r\ny\r\n".to_vec());
        let before_dot = |accepted| async move {
            assert_eq!(accepted, [0, 2]);
            Ok(())
        };
        let mail = b"MAIL FROM:<a@sender.test>\r\n".to_vec();
        let recipients = (1..4).map(recipient).collect();
        let ending = session.transact(Flow::Grouped, mail, recipients, &body, before_dot).await;
        (session, ending)
    };
    let ((session, ending), far) = tokio::join!(client, server);
    assert!(matches!(&ending.fates[..], [Fate::Taken(_), Fate::Refused(a), Fate::Refused(b)]
        if (a.code, b.code) == (550, 452)));
    // The end of the other side is seen without a word.
    assert!(session.is_quiet());
    drop(far);
    timeout(Duration::from_secs(5), session.disturbed()).await.unwrap();
    assert!(!session.is_quiet());
}

#[tokio::test]
async fn what_a_unix_peer_says_unasked_disturbs() {
    let (near, far) = UnixStream::pair().unwrap();
    let tls = ClientTls::new(&[]).unwrap();
    let greets = [("", "220 lmtp.test\r\n"), ("LHLO client.test", "250 lmtp.test\r\n")];
    let open = Session::open(near, how(&tls, Dialect::Lmtp, StartTls::Skip));
    let (session, mut far) = tokio::join!(open, plays(far, &greets));
    let session = session.unwrap();
    let (_, ()) = tokio::join!(far.write_all(b"421 going\r\n"), session.disturbed());
    assert!(!session.is_quiet());
}

async fn tcp() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (near, far) = tokio::join!(TcpStream::connect(address), listener.accept());
    (near.unwrap(), far.unwrap().0)
}

#[tokio::test]
async fn tls_before_the_greeting() {
    let (near, far) = tcp().await;
    let server = async {
        let far = ServerTls::self_signed(&["peer.test"]).unwrap().handshake(far).await.unwrap();
        let lines =
            [("", "220 peer.test\r\n"), ("EHLO client.test", "250-peer.test\r\n250 STARTTLS\r\n")];
        plays(far, &lines).await
    };
    let tls = ClientTls::new(&[]).unwrap();
    let open = Session::open(near, how(&tls, Dialect::Smtp, StartTls::AtOnce));
    let (session, _far) = tokio::join!(open, server);
    let session = session.unwrap();
    assert_eq!(session.tls().unwrap().version, "TLSv1.3");
    assert!(session.is_quiet());
}

#[tokio::test]
async fn a_server_in_the_clear_where_tls_comes_first() {
    let (near, mut far) = tcp().await;
    far.write_all(b"220 peer.test\r\n").await.unwrap();
    let tls = ClientTls::new(&[]).unwrap();
    let end = Session::open(near, how(&tls, Dialect::Smtp, StartTls::AtOnce)).await;
    assert_eq!(end.unwrap_err().cause, Cause::HandshakeFailed);
}

#[tokio::test]
async fn logging_in() {
    let account = Account::new("tim", "tanstaaftanstaaf").unwrap();
    for (reply, cause) in [
        ("235 2.7.0 ok\r\n", None),
        ("535 5.7.8 no\r\n", Some(Cause::CredentialsRefused)),
        ("454 4.7.0 later\r\n", Some(Cause::Refused(Stage::Auth))),
        ("nonsense\r\n", Some(Cause::Protocol(Stage::Auth))),
    ] {
        let (near, far) = tcp().await;
        let lines = [
            ("", "220 peer.test\r\n"),
            ("EHLO client.test", "250-peer.test\r\n250 AUTH PLAIN\r\n"),
            ("AUTH PLAIN AHRpbQB0YW5zdGFhZnRhbnN0YWFm", reply),
        ];
        let client = async {
            let tls = ClientTls::new(&[]).unwrap();
            let open = Session::open(near, how(&tls, Dialect::Smtp, StartTls::IfOffered));
            open.await.unwrap().log_in(&Login::Plain(account.clone())).await
        };
        let (end, _) = tokio::join!(client, plays(far, &lines));
        assert_eq!(end.err().map(|failure| failure.cause), cause, "{reply}");
    }
    // Whoever is gone in the middle of it has refused nothing.
    let (near, far) = tcp().await;
    let lines = [("", "220 peer.test\r\n"), ("EHLO client.test", "250-x\r\n250 AUTH PLAIN\r\n")];
    let client = async {
        let tls = ClientTls::new(&[]).unwrap();
        let open = Session::open(near, how(&tls, Dialect::Smtp, StartTls::IfOffered));
        open.await.unwrap().log_in(&Login::Plain(account.clone())).await
    };
    let server = async { drop(plays(far, &lines).await) };
    let (end, ()) = tokio::join!(client, server);
    assert_eq!(end.unwrap_err().cause, Cause::Lost(Stage::Auth));
}
