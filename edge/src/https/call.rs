//! A fetch at one address, from its dial: whether anybody speaks there is told to the other fetches (`posthaste_mail::sts::silence`).

use std::io;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::Notify;

use posthaste_mail::sts::silence::SilentHosts;
use posthaste_mail::time::Timestamp;

use crate::clock::Clock;

/// What the fetches of one cache know of addresses.
pub(super) struct Book {
    hosts: Mutex<SilentHosts>,
    clock: Clock,
}

impl Book {
    pub fn new(clock: Clock) -> Arc<Book> {
        Arc::new(Book { hosts: Mutex::default(), clock })
    }

    // A poisoned lock is used on: the book changes by single steps that do not panic.
    fn hosts(&self) -> MutexGuard<'_, SilentHosts> {
        self.hosts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn silent_until(&self, address: IpAddr) -> Option<Timestamp> {
        self.hosts().until(address, self.clock.now())
    }

    pub fn call(self: &Arc<Book>, address: IpAddr) -> Arc<Call> {
        let number = self.hosts().begin(address, self.clock.now());
        Arc::new(Call {
            book: Arc::clone(self),
            address,
            number,
            asked: AtomicBool::new(false),
            asks: Notify::new(),
            heard: AtomicBool::new(false),
        })
    }
}

/// Dropped without a word heard it tells how long there was none.
pub(super) struct Call {
    book: Arc<Book>,
    address: IpAddr,
    number: u64,
    asked: AtomicBool,
    asks: Notify,
    heard: AtomicBool,
}

impl Call {
    /// There is a connection, and what follows is work of our own (`tls::web`), for which there may be many at once.
    pub fn is_connected(&self) {
        self.book.hosts().rests(self.address, self.number);
    }

    /// When it is the other side that has to speak.
    pub async fn asked(&self) {
        self.asks.notified().await;
    }

    fn asks(&self) {
        if !self.asked.swap(true, Ordering::Relaxed) {
            self.book.hosts().waits(self.address, self.number, self.book.clock.now());
            self.asks.notify_one();
        }
    }

    pub fn was_heard(&self) -> bool {
        self.heard.load(Ordering::Relaxed)
    }

    fn hears(&self) {
        if !self.heard.swap(true, Ordering::Relaxed) {
            self.book.hosts().spoke(self.address, self.number, self.book.clock.now());
        }
    }

    /// Its time is over, and nobody has spoken.
    pub fn fell_silent(&self) {
        self.book.hosts().fell_silent(self.address, self.number, self.book.clock.now());
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        self.book.hosts().end(self.address, self.number, self.book.clock.now());
    }
}

/// The stream of a call.
pub(super) struct Heard {
    pub stream: TcpStream,
    pub call: Arc<Call>,
}

impl AsyncRead for Heard {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = into.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(cx, into))?;
        // The end of a connection on which nothing was said is no word.
        if into.filled().len() > before {
            self.call.hears();
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Heard {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        octets: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.call.asks();
        Pin::new(&mut self.stream).poll_write(cx, octets)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
