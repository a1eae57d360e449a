//! A stream that waits until the far end takes what is written, but not for ever. `server` puts it around every
//! connection, `upgrade` takes it off. Invariant: where nothing is taken for `DEADLINE`, writing ends with `TimedOut`.

use std::future::Future;
use std::io::{self, ErrorKind, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Sleep, sleep};

/// The far end must take something within this.
const DEADLINE: Duration = Duration::from_secs(10);

/// A stream whose far end must take what is written.
pub(super) struct Taken<S> {
    stream: S,
    /// Since when nothing was taken. In a box: few streams ever have one.
    late: Option<Pin<Box<Sleep>>>,
}

impl<S> Taken<S> {
    pub(super) fn new(stream: S) -> Self {
        Self { stream, late: None }
    }

    pub(super) fn into_inner(self) -> S {
        self.stream
    }

    fn within<T>(&mut self, context: &mut Context<'_>, written: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.late = None;
            return written;
        }
        ready!(self.late.get_or_insert_with(|| Box::pin(sleep(DEADLINE))).as_mut().poll(context));
        Poll::Ready(Err(io::Error::new(ErrorKind::TimedOut, "the far end takes nothing")))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Taken<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Taken<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.within(context, written)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.stream).poll_flush(context);
        self.within(context, flushed)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let shut = Pin::new(&mut self.stream).poll_shutdown(context);
        self.within(context, shut)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(context, slices);
        self.within(context, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn who_takes_a_little_in_time_has_time_and_who_takes_nothing_has_none() {
        let (near, mut far) = duplex(8);
        let mut near = Taken::new(near);
        let mut writing = Box::pin(near.write_all(&[0; 64]));
        for _ in 0..4 {
            assert!((&mut writing).now_or_never().is_none());
            tokio::time::advance(DEADLINE - Duration::from_millis(1)).await;
            assert!((&mut writing).now_or_never().is_none(), "it is not late yet");
            far.read_exact(&mut [0; 8]).await.unwrap();
        }
        assert!((&mut writing).now_or_never().is_none());
        tokio::time::advance(DEADLINE + Duration::from_millis(1)).await;
        let late = writing.now_or_never().expect("an end").unwrap_err();
        assert_eq!(late.kind(), ErrorKind::TimedOut);
    }
}
