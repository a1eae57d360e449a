//! The connection as tungstenite wants it: reads from the socket, writes through the outbox, so that its pongs and
//! everybody's frames never mix.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::connection::{CloseCode, Connection};
use super::fragments::Fragments;

/// A connection's byte streams, for its session alone.
pub(crate) struct SocketIo {
    connection: Arc<Connection>,
    fragments: Fragments,
}

impl SocketIo {
    pub(crate) fn new(connection: Arc<Connection>, read_ahead: &[u8]) -> Self {
        let mut fragments = Fragments::default();
        fragments.read(read_ahead);
        Self { connection, fragments }
    }

    /// How many pieces of unfinished messages came since the last time. Nothing more is read until somebody asks.
    pub(crate) fn take_fragments(&mut self) -> u32 {
        self.fragments.take()
    }
}

impl AsyncRead for SocketIo {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let Self { connection, fragments } = self.get_mut();
        if fragments.waiting() {
            connection.wake();
            return Poll::Pending;
        }
        let before = buffer.filled().len();
        loop {
            ready!(connection.socket().poll_read_ready(context))?;
            let read = connection.socket().try_read(buffer.initialize_unfilled());
            connection.mind_debts();
            match read {
                Ok(count) => {
                    buffer.advance(count);
                    fragments.read(&buffer.filled()[before..]);
                    connection.touch();
                    return Poll::Ready(Ok(()));
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) if error.kind() == io::ErrorKind::QuotaExceeded => {
                    // Wakes the session, which reads no more.
                    connection.close(CloseCode::Policy);
                    return Poll::Pending;
                }
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
    }
}

impl AsyncWrite for SocketIo {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Poll::Ready(self.connection.take_written(bytes))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
