//! The content of a message on its way: written in pieces, with an ear for what the peer says meanwhile.

use std::future::{Future, poll_fn};
use std::io;
use std::pin::pin;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};

use tokio::time::{Instant, timeout};

use posthaste_mail::outcome::{Cause, Failure, Stage};
use posthaste_mail::wire::client::transaction::Transaction;
use posthaste_mail::wire::data::{DotStuffer, last_chunk};

use super::{LAST_WORDS, PIECE, REPLY_PIECE, Session, by, lost, timed_out};
use crate::body::Body;
use crate::fault;

impl Session {
    pub(super) async fn content<F, D>(
        &mut self,
        transaction: &mut Transaction,
        content: &Body,
        ceiling: Instant,
        before_dot: F,
    ) -> Option<Failure>
    where
        F: FnOnce(Vec<usize>) -> D,
        D: Future<Output = Result<(), Failure>>,
    {
        let noted = before_dot(transaction.accepted().to_vec());
        let sent = by(ceiling, Stage::Content, self.all_but_the_end(content));
        let (sent, noted) = tokio::join!(sent, noted);
        let (stuffer, mut last) = match sent {
            Ok(rest) => rest,
            Err(failure) => return self.last_words(transaction, failure).await,
        };
        if let Err(failure) = noted {
            return Some(failure);
        }
        stuffer.finish(&mut last);
        self.end_of_content(transaction, &last).await
    }

    /// The whole content in one piece. The chunk is content and dot in one, so nothing of it goes out before it is noted.
    pub(super) async fn chunk<F, D>(
        &mut self,
        transaction: &mut Transaction,
        content: &Body,
        before_dot: F,
    ) -> Option<Failure>
    where
        F: FnOnce(Vec<usize>) -> D,
        D: Future<Output = Result<(), Failure>>,
    {
        let noted = before_dot(transaction.accepted().to_vec());
        let (whole, noted) = tokio::join!(read_whole(content), noted);
        match (whole, noted) {
            (Err(failure), _) | (_, Err(failure)) => Some(failure),
            (Ok(whole), Ok(())) => {
                let (command, octets) = last_chunk(&whole);
                if let Err(failure) = self.write(&command, Stage::Data).await {
                    return Some(failure);
                }
                self.end_of_content(transaction, &octets).await
            }
        }
    }

    /// Writes what makes the message complete.
    async fn end_of_content(
        &mut self,
        transaction: &mut Transaction,
        last: &[u8],
    ) -> Option<Failure> {
        // Who has refused already has not got the message, whatever else happens.
        if let Some(failure) = poll_fn(|context| self.heard(context)).await {
            return self.last_words(transaction, failure).await;
        }
        transaction.dot_sent();
        let end = Instant::now() + self.timeouts.submission;
        let written = by(end, Stage::Content, self.write_content(last)).await;
        self.listener.ends_content();
        fault::reached("wire", "dot");
        match written {
            Ok(()) => None,
            Err(failure) => self.last_words(transaction, failure).await,
        }
    }

    /// Writes the content, except the last piece, which goes out with the final dot.
    async fn all_but_the_end(&mut self, content: &Body) -> Result<(DotStuffer, Vec<u8>), Failure> {
        let (mut stuffer, mut out, mut position) = (DotStuffer::default(), Vec::new(), 0);
        loop {
            let piece = content.chunk(position, PIECE).await.map_err(|e| unreadable(&e))?;
            position += piece.len() as u64;
            stuffer.encode(&piece, &mut out);
            if position >= content.len() {
                return Ok((stuffer, out));
            }
            if piece.is_empty() {
                return Err(too_short());
            }
            self.write_content(&out).await?;
            out.clear();
        }
    }

    /// The peer ended the connection or spoke while content was written: perhaps it has said why.
    async fn last_words(
        &mut self,
        transaction: &mut Transaction,
        failure: Failure,
    ) -> Option<Failure> {
        if matches!(failure.cause, Cause::Internal | Cause::OwnResources) {
            return Some(failure);
        }
        match timeout(LAST_WORDS, self.reply(Stage::Content)).await {
            Ok(Ok(reply)) if reply.code >= 400 => {
                transaction.refused_within(&reply);
                None
            }
            _ => Some(failure),
        }
    }

    /// Listens while it writes: a peer that refuses in mid-content may read no further, and wait for us as we for it.
    async fn write_content(&mut self, mut bytes: &[u8]) -> Result<(), Failure> {
        self.enters(Stage::Content);
        let limit = self.timeouts.block;
        while !bytes.is_empty() {
            let some = poll_fn(|context| match self.poll_interrupted(context) {
                Poll::Ready(failure) => Poll::Ready(Err(failure)),
                Poll::Pending => pin!(self.stream.write(bytes))
                    .poll(context)
                    .map_err(|e| lost(Stage::Content, &e)),
            });
            let written =
                timeout(limit, some).await.map_err(|_| timed_out(Stage::Content, limit))??;
            if written == 0 {
                return Err(lost(Stage::Content, &io::ErrorKind::WriteZero.into()));
            }
            self.listener.sends_content(written);
            bytes = bytes.get(written..).unwrap_or_default();
        }
        self.progress.fetch_add(1, Ordering::Relaxed);
        timeout(limit, self.stream.flush())
            .await
            .map_err(|_| timed_out(Stage::Content, limit))?
            .map_err(|e| lost(Stage::Content, &e))
    }

    /// Ready when the peer does in mid-content what is not its turn: says something whole, which is kept, or goes.
    fn poll_interrupted(&mut self, context: &mut Context<'_>) -> Poll<Failure> {
        loop {
            match self.parsed(Stage::Content) {
                Err(failure) => return Poll::Ready(failure),
                Ok(Some(reply)) => {
                    let text = format!("the server spoke before the end: {}", reply.text());
                    self.early = Some(reply);
                    return Poll::Ready(Failure::new(Cause::Protocol(Stage::Content), text));
                }
                Ok(None) => {}
            }
            self.unread.reserve(REPLY_PIECE);
            match pin!(self.stream.read(&mut self.unread)).poll(context) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Ok(0)) => {
                    let end = io::ErrorKind::UnexpectedEof.into();
                    return Poll::Ready(lost(Stage::Content, &end));
                }
                Poll::Ready(Ok(_)) => {}
                Poll::Ready(Err(e)) => return Poll::Ready(lost(Stage::Content, &e)),
            }
        }
    }

    /// The same without waiting for it.
    fn heard(&mut self, context: &mut Context<'_>) -> Poll<Option<Failure>> {
        match self.poll_interrupted(context) {
            Poll::Ready(failure) => Poll::Ready(Some(failure)),
            Poll::Pending => Poll::Ready(None),
        }
    }
}

/// Content that is small enough for one chunk.
async fn read_whole(content: &Body) -> Result<Vec<u8>, Failure> {
    let length = usize::try_from(content.len()).map_err(|_| too_short())?;
    let whole = content.chunk(0, length).await.map_err(|e| unreadable(&e))?;
    if whole.len() == length { Ok(whole) } else { Err(too_short()) }
}

fn unreadable(error: &io::Error) -> Failure {
    Failure::new(Cause::OwnResources, format!("reading the message: {error}"))
}

fn too_short() -> Failure {
    Failure::new(Cause::Internal, "the message is shorter than recorded")
}
