//! A browser's socket, of whichever kind: what `connection`, `io` and the session ask of it.
//! Invariant: nothing here waits but `writable` and `filled`; a full or empty socket says `WouldBlock`. Every
//! readiness is charged to its task's budget: no loop around one keeps a thread, whatever the other end does.

use std::future::poll_fn;
use std::io;
use std::net::Shutdown;
use std::task::{Context, Poll, ready};

use socket2::SockRef;
use tokio::net::{TcpStream, UnixStream};
use tokio::task::coop;
use tokio_rustls::server::TlsStream;

use super::tls_socket::TlsSocket;

/// A connected socket.
pub enum Socket {
    /// A browser's, or a proxy's.
    Tcp(TcpStream),
    /// A proxy's on this machine.
    Unix(UnixStream),
    /// A browser's, where no proxy stands in front. In a box: the others need a few bytes alone.
    Tls(Box<TlsSocket>),
}

impl From<TcpStream> for Socket {
    fn from(stream: TcpStream) -> Self {
        Self::Tcp(stream)
    }
}

impl From<UnixStream> for Socket {
    fn from(stream: UnixStream) -> Self {
        Self::Unix(stream)
    }
}

impl From<TlsStream<TcpStream>> for Socket {
    fn from(stream: TlsStream<TcpStream>) -> Self {
        Self::Tls(Box::new(stream.into()))
    }
}

impl Socket {
    /// Writes what the kernel takes at once; or TLS, which may then owe it to the kernel.
    pub(crate) fn try_write(&self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => stream.try_write(bytes),
            Self::Unix(stream) => stream.try_write(bytes),
            Self::Tls(socket) => socket.try_write(bytes),
        }
    }

    /// Reads what is there.
    pub(crate) fn try_read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => stream.try_read(buffer),
            Self::Unix(stream) => stream.try_read(buffer),
            Self::Tls(socket) => socket.try_read(buffer),
        }
    }

    /// Whether something written waits for the kernel: `settle` once the socket is writable.
    pub(crate) fn owes(&self) -> bool {
        matches!(self, Self::Tls(socket) if socket.owes())
    }

    /// Hands on what is owed, as far as the kernel takes it.
    pub(crate) fn settle(&self) -> io::Result<()> {
        match self {
            Self::Tcp(_) | Self::Unix(_) => Ok(()),
            Self::Tls(socket) => socket.settle(),
        }
    }

    /// Ready once there may be something to read.
    pub(crate) fn poll_read_ready(&self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            // The kernel does not know of that.
            Self::Tls(socket) if socket.has_unread() => {
                ready!(coop::poll_proceed(context)).made_progress();
                Poll::Ready(Ok(()))
            }
            _ => self.poll_filled(context),
        }
    }

    fn poll_filled(&self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Tcp(stream) => stream.poll_read_ready(context),
            Self::Unix(stream) => stream.poll_read_ready(context),
            Self::Tls(socket) => socket.stream().poll_read_ready(context),
        }
    }

    /// Waits until the kernel may have something to `skip`.
    pub(crate) async fn filled(&self) -> io::Result<()> {
        poll_fn(|context| self.poll_filled(context)).await
    }

    /// Takes what the kernel has, and forgets it without so much as decrypting it.
    pub(crate) fn skip(&self) -> io::Result<usize> {
        let mut scrap = [0; 4096];
        match self {
            Self::Tcp(stream) => stream.try_read(&mut scrap),
            Self::Unix(stream) => stream.try_read(&mut scrap),
            Self::Tls(socket) => socket.stream().try_read(&mut scrap),
        }
    }

    /// Waits until the kernel may take something.
    pub(crate) async fn writable(&self) -> io::Result<()> {
        // The streams' own `writable` costs no budget.
        poll_fn(|context| match self {
            Self::Tcp(stream) => stream.poll_write_ready(context),
            Self::Unix(stream) => stream.poll_write_ready(context),
            Self::Tls(socket) => socket.stream().poll_write_ready(context),
        })
        .await
    }

    /// Says that nothing more will be written.
    pub(crate) fn end_writing(&self) {
        if let Self::Tls(socket) = self {
            socket.say_end();
        }
        // A peer that is gone already needs no word.
        let _ = self.bare().shutdown(Shutdown::Write);
    }

    /// How much the kernel may hold for a slow reader; it doubles this.
    pub(crate) fn set_send_buffer(&self, bytes: usize) {
        // The kernel's own size does too.
        let _ = self.bare().set_send_buffer_size(bytes);
    }

    fn bare(&self) -> SockRef<'_> {
        match self {
            Self::Tcp(stream) => SockRef::from(stream),
            Self::Unix(stream) => SockRef::from(stream),
            Self::Tls(socket) => SockRef::from(socket.stream()),
        }
    }
}
