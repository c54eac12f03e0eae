//! What an operator says, read ahead while he waits for something: only behind it can be seen that he is gone.

use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncBufRead, AsyncBufReadExt, AsyncRead, BufReader, ReadBuf};

/// Octets that are kept unread.
const MOST: usize = 1 << 20;

pub(super) struct Inbound<R> {
    reader: BufReader<R>,
    /// Comes before what the reader has.
    ahead: VecDeque<u8>,
}

impl<R: AsyncRead + Unpin> Inbound<R> {
    pub fn new(reader: R) -> Inbound<R> {
        Inbound { reader: BufReader::new(reader), ahead: VecDeque::new() }
    }

    /// Waits until nothing more will come, or more has come than is kept. Nothing is lost, nor when it is called off.
    pub async fn is_over(&mut self) {
        while let Ok(more) = self.reader.fill_buf().await
            && !more.is_empty()
            && self.ahead.len() < MOST
        {
            let octets = more.len();
            self.ahead.extend(more);
            self.reader.consume(octets);
        }
    }
}

impl<R: AsyncRead + Unpin> AsyncBufRead for Inbound<R> {
    fn poll_fill_buf(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<&[u8]>> {
        let this = self.get_mut();
        if this.ahead.is_empty() {
            return Pin::new(&mut this.reader).poll_fill_buf(cx);
        }
        Poll::Ready(Ok(this.ahead.as_slices().0))
    }

    fn consume(self: Pin<&mut Self>, octets: usize) {
        let this = self.get_mut();
        if this.ahead.is_empty() {
            return Pin::new(&mut this.reader).consume(octets);
        }
        this.ahead.drain(..octets.min(this.ahead.len()));
        if this.ahead.is_empty() {
            this.ahead = VecDeque::new(); // gives its memory back
        }
    }
}

impl<R: AsyncRead + Unpin> AsyncRead for Inbound<R> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let available = std::task::ready!(self.as_mut().poll_fill_buf(cx))?;
        let octets = available.len().min(buffer.remaining());
        buffer.put_slice(available.get(..octets).unwrap_or_default());
        self.consume(octets);
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

    const SHORTLY: Duration = Duration::from_millis(20);

    #[tokio::test]
    async fn the_end_is_seen_behind_what_is_unread_and_nothing_is_lost() {
        let (mut operator, ours) = duplex(64);
        let mut inbound = Inbound::new(ours);
        let said: Vec<u8> = (0..50_000u32).map(|i| (i % 251) as u8).collect();
        let mut heard = vec![0; 10];
        operator.write_all(&said[..20]).await.unwrap();
        inbound.read_exact(&mut heard).await.unwrap();
        let rest = said[20..].to_vec();
        let speaks = tokio::spawn(async move {
            operator.write_all(&rest).await.unwrap();
            operator
        });
        // He has said it all and is still there.
        assert!(tokio::time::timeout(SHORTLY, inbound.is_over()).await.is_err());
        let ends = tokio::spawn(async move {
            let operator = speaks.await.unwrap();
            tokio::time::sleep(SHORTLY).await;
            drop(operator);
        });
        inbound.is_over().await;
        ends.await.unwrap();
        inbound.read_to_end(&mut heard).await.unwrap();
        assert!(heard == said);
    }

    #[tokio::test]
    async fn what_is_kept_is_bounded() {
        let mut inbound = Inbound::new(tokio::io::repeat(b'x'));
        inbound.is_over().await;
        assert!((MOST..2 * MOST).contains(&inbound.ahead.len()));
    }
}
