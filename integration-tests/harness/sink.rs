//! An SMTP server that takes every message and remembers it, unless the test gives it other answers.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use openssl::ssl::SslAcceptor;

use crate::harness::connection::Connection;
use crate::harness::listener;
use crate::harness::process::wait_until;
use crate::harness::session::{Dialect, Greeting, Session};

/// One message, as the client sent it.
#[derive(Clone, Debug)]
pub struct Transaction {
    /// The argument of EHLO, HELO or LHLO.
    pub helo: String,
    /// The argument of MAIL FROM, with brackets and parameters.
    pub from: String,
    /// The arguments of the accepted RCPT TO, with brackets and parameters.
    pub to: Vec<String>,
    /// The content, doubled dots undone, otherwise byte for byte.
    pub content: Vec<u8>,
    /// TLS version, when encrypted.
    pub tls: Option<String>,
    /// The name asked for in the handshake.
    pub asked_name: Option<String>,
    /// Which connection to this sink it came over, counted from 1.
    pub connection: usize,
}

impl Transaction {
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.content).into_owned()
    }

    /// Whether the recipient is among those accepted.
    pub fn is_for(&self, address: &str) -> bool {
        self.to.iter().any(|to| to.contains(&format!("<{address}>")))
    }
}

/// Where in a session a question to `Manners::answer` arises.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    Greeting,
    Ehlo,
    Mail,
    Rcpt,
    Data,
    /// After the content: the line is the whole content.
    Dot,
}

/// A reply in place of the usual one, or `None` for the usual one. It may block to hold the client up.
type Answer = dyn Fn(Moment, &str) -> Option<String> + Send + Sync;

/// How a sink behaves. The default accepts everything, in the clear.
pub struct Manners {
    /// EHLO keywords besides STARTTLS. Where one of them is `AUTH ...`, everybody is let in.
    pub keywords: Vec<&'static str>,
    /// Those shown only within TLS, REQUIRETLS for instance (RFC 8689 §2).
    pub secured_keywords: Vec<&'static str>,
    /// STARTTLS is offered when set.
    pub tls: Option<SslAcceptor>,
    /// BDAT is known; whether CHUNKING is offered is said by the keywords.
    pub bdat: bool,
    pub answer: Box<Answer>,
}

impl Default for Manners {
    fn default() -> Manners {
        Manners {
            keywords: vec!["PIPELINING", "8BITMIME", "ENHANCEDSTATUSCODES", "SIZE 0"],
            secured_keywords: Vec::new(),
            tls: None,
            bdat: false,
            answer: Box::new(|_, _| None),
        }
    }
}

/// What the connections of a sink share.
#[derive(Default)]
struct Book {
    transactions: Mutex<Vec<Transaction>>,
    /// One entry a connection: its lines, as the client sent them.
    lines: Mutex<Vec<Vec<String>>>,
    /// One entry a connection: where it comes from.
    callers: Mutex<Vec<IpAddr>>,
    /// Second handles of the open connections by number, to end them when the sink goes.
    open: Mutex<HashMap<usize, TcpStream>>,
    stopped: AtomicBool,
}

pub struct Sink {
    address: SocketAddr,
    book: Arc<Book>,
    listening: Option<JoinHandle<()>>,
}

impl Sink {
    /// At port 0 the system chooses one.
    pub fn start(address: SocketAddr) -> Sink {
        Sink::with(address, Manners::default())
    }

    pub fn with(address: SocketAddr, manners: Manners) -> Sink {
        let manners = Arc::new(manners);
        Sink::serving(address, move |connection, number, record| {
            let dialect = Dialect::Smtp;
            Session { connection, manners: &manners, record, number, dialect }.run(Greeting::Due)
        })
    }

    /// A sink whose connections are led by `serve` (connection, its number from 1, where to write down what happens).
    pub fn serving(
        address: SocketAddr,
        serve: impl Fn(Connection, usize, &Record) -> io::Result<()> + Send + Sync + 'static,
    ) -> Sink {
        let listener = listener::tcp(address);
        let address = listener.local_addr().unwrap();
        let book = Arc::new(Book::default());
        let shared = Arc::clone(&book);
        let serve = Arc::new(serve);
        let listening = thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                if shared.stopped.load(Ordering::Acquire) {
                    break;
                }
                let number = {
                    let mut lines = shared.lines.lock().unwrap();
                    lines.push(Vec::new());
                    lines.len()
                };
                if let Ok(caller) = stream.peer_addr() {
                    shared.callers.lock().unwrap().push(caller.ip());
                }
                if let Ok(handle) = stream.try_clone() {
                    shared.open.lock().unwrap().insert(number, handle);
                }
                let record = Record { book: Arc::clone(&shared), number };
                let serve = Arc::clone(&serve);
                // The end of a connection, in order or not, is seen in what was recorded.
                thread::spawn(move || {
                    let _ = serve(Connection::over(stream), number, &record);
                    record.let_go();
                });
            }
        });
        Sink { address, book, listening: Some(listening) }
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    pub fn transactions(&self) -> Vec<Transaction> {
        self.book.transactions.lock().unwrap().clone()
    }

    /// How many copies of each message have arrived, by recipient.
    pub fn copies(&self) -> BTreeMap<String, usize> {
        let mut copies = BTreeMap::new();
        for message in self.transactions() {
            for to in &message.to {
                let address = to.trim_start_matches('<').split('>').next().unwrap_or_default();
                *copies.entry(address.to_owned()).or_default() += 1;
            }
        }
        copies
    }

    pub fn count(&self) -> usize {
        self.book.transactions.lock().unwrap().len()
    }

    /// Connections so far.
    pub fn connections(&self) -> usize {
        self.book.lines.lock().unwrap().len()
    }

    /// The address that each connection came from.
    pub fn callers(&self) -> Vec<IpAddr> {
        self.book.callers.lock().unwrap().clone()
    }

    /// The client's lines on each connection, content left out.
    pub fn lines(&self) -> Vec<Vec<String>> {
        self.book.lines.lock().unwrap().clone()
    }

    /// Waits until that many messages have come.
    pub fn wait_for(&self, count: usize, deadline: Duration) -> Vec<Transaction> {
        let what = format!("{count} messages are at {}", self.address);
        wait_until(&what, deadline, || self.count() >= count);
        self.transactions()
    }

    /// Waits for a message to the recipient.
    pub fn wait_for_recipient(&self, address: &str, deadline: Duration) -> Transaction {
        let mut found = None;
        wait_until(&format!("a message for {address} is at {}", self.address), deadline, || {
            found = self.transactions().into_iter().find(|message| message.is_for(address));
            found.is_some()
        });
        found.unwrap()
    }
}

impl Drop for Sink {
    fn drop(&mut self) {
        self.book.stopped.store(true, Ordering::Release);
        drop(TcpStream::connect(self.address)); // wakes the listener up
        for (_, stream) in self.book.open.lock().unwrap().drain() {
            let _ = stream.shutdown(std::net::Shutdown::Both);
        }
        if let Some(listening) = self.listening.take() {
            let _ = listening.join();
        }
    }
}

/// Where one connection is written down.
pub struct Record {
    book: Arc<Book>,
    number: usize,
}

impl Record {
    pub fn line(&self, line: &str) {
        self.book.lines.lock().unwrap()[self.number - 1].push(line.to_owned());
    }

    /// Leaves the connection to its only owner: dropping it now closes the socket.
    pub fn let_go(&self) {
        self.book.open.lock().unwrap().remove(&self.number);
    }

    /// Whether the sink has ended.
    pub fn is_over(&self) -> bool {
        self.book.stopped.load(Ordering::Acquire)
    }

    pub fn transaction(&self, transaction: Transaction) {
        self.book.transactions.lock().unwrap().push(transaction);
    }
}
