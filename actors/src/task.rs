//! Work that always ends in a message, panics included.

use std::any::Any;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::{Pin, pin};
use std::task::{Context, Poll};

/// Runs `work` on the runtime's pool. `closing` is called with its result, or with the text of the panic that ended it, exactly once.
pub fn spawn_reporting<T, W, C>(runtime: &tokio::runtime::Handle, work: W, closing: C)
where
    T: Send + 'static,
    W: Future<Output = T> + Send + 'static,
    C: FnOnce(Result<T, String>) + Send + 'static,
{
    runtime.spawn(async move {
        closing(caught(work).await);
    });
}

/// The future's value, or the text of its panic.
pub async fn caught<T>(work: impl Future<Output = T>) -> Result<T, String> {
    let mut work = pin!(work);
    Caught(work.as_mut()).await
}

struct Caught<'a, W>(Pin<&'a mut W>);

impl<W: Future> Future for Caught<'_, W> {
    type Output = Result<W::Output, String>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match catch_unwind(AssertUnwindSafe(|| self.0.as_mut().poll(cx))) {
            Ok(Poll::Pending) => Poll::Pending,
            Ok(Poll::Ready(value)) => Poll::Ready(Ok(value)),
            Err(panic) => Poll::Ready(Err(panic_text(&*panic))),
        }
    }
}

/// What a panic said.
pub fn panic_text(panic: &(dyn Any + Send)) -> String {
    if let Some(text) = panic.downcast_ref::<&str>() {
        (*text).to_string()
    } else if let Some(text) = panic.downcast_ref::<String>() {
        text.clone()
    } else {
        "panic without text".to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_panic_is_reported_like_an_end() {
        let (sender, mut receiver) = tokio::sync::mpsc::unbounded_channel();
        let runtime = tokio::runtime::Handle::current();
        let other = sender.clone();
        spawn_reporting(&runtime, async { 7 }, move |end| drop(sender.send(end)));
        assert_eq!(receiver.recv().await, Some(Ok(7)));
        let failing = async {
            tokio::task::yield_now().await;
            panic!("broken on purpose")
        };
        spawn_reporting::<i32, _, _>(&runtime, failing, move |end| drop(other.send(end)));
        assert_eq!(receiver.recv().await, Some(Err("broken on purpose".to_string())));
    }
}
