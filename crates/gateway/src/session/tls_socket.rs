//! A browser's socket behind TLS, written to as a bare one is: from where a frame is made, without waiting.
//! Used by `socket`. Invariant: nothing is encrypted while earlier bytes still wait for the kernel, so a slow reader looks
//! slow here too, and what waits is one write.

use std::io::{self, ErrorKind, IoSlice, Read, Write};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use parking_lot::Mutex;
use tokio::net::TcpStream;
use tokio_rustls::rustls::ServerConnection;
use tokio_rustls::server::TlsStream;

use super::overhead::Overhead;

/// A connected socket whose handshake is over.
pub struct TlsSocket {
    stream: TcpStream,
    session: Mutex<ServerConnection>,
    overhead: Mutex<Overhead>,
    /// Encrypted bytes wait for the kernel.
    owes: AtomicBool,
    /// Decrypted bytes that wait to be read.
    unread: AtomicUsize,
}

impl From<TlsStream<TcpStream>> for TlsSocket {
    fn from(stream: TlsStream<TcpStream>) -> Self {
        let (stream, mut session) = stream.into_inner();
        // A broken session says so at the first read.
        let unread = session.process_new_packets().map_or(0, |state| state.plaintext_bytes_to_read());
        let owes = AtomicBool::new(session.wants_write());
        let (session, overhead) = (Mutex::new(session), Mutex::new(Overhead::new()));
        Self { stream, session, overhead, owes, unread: AtomicUsize::new(unread) }
    }
}

impl TlsSocket {
    pub(super) fn stream(&self) -> &TcpStream {
        &self.stream
    }

    /// Takes all of `bytes`, or as much as TLS buffers, and hands to the kernel what that takes: see `owes`.
    pub(super) fn try_write(&self, bytes: &[u8]) -> io::Result<usize> {
        let mut session = self.session.lock();
        if !self.push(&mut session)? {
            return Err(ErrorKind::WouldBlock.into());
        }
        let taken = session.writer().write(bytes)?;
        self.push(&mut session)?;
        Ok(taken)
    }

    /// Whether bytes wait for the kernel that nobody else keeps.
    pub(super) fn owes(&self) -> bool {
        self.owes.load(Ordering::Relaxed)
    }

    /// Hands on what waits, as far as the kernel takes it.
    pub(super) fn settle(&self) -> io::Result<()> {
        self.push(&mut self.session.lock()).map(|_| ())
    }

    fn push(&self, session: &mut ServerConnection) -> io::Result<bool> {
        let pushed = self.push_all(session);
        // A broken line is owed nothing: it takes nothing any more, and who waited for that would wait for ever.
        self.owes.store(matches!(pushed, Ok(false)), Ordering::Relaxed);
        pushed
    }

    /// `false`: the kernel takes no more.
    fn push_all(&self, session: &mut ServerConnection) -> io::Result<bool> {
        while session.wants_write() {
            match session.write_tls(&mut Wire(&self.stream)) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
                Err(error) => return Err(error),
            }
        }
        Ok(true)
    }

    /// Whether there is something to read without the kernel having more.
    pub(super) fn has_unread(&self) -> bool {
        self.unread.load(Ordering::Relaxed) > 0
    }

    /// Reads what is there, but asks the kernel once at most, and says `WouldBlock` where that said nothing: who
    /// has something to write waits meanwhile, with locks of others in hand. `QuotaExceeded`: see `Overhead`.
    pub(super) fn try_read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut session = self.session.lock();
        match self.take_unread(&mut session, buffer) {
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            taken => return taken,
        }
        let arrived = session.read_tls(&mut Wire(&self.stream))?;
        let said = match session.process_new_packets() {
            Ok(state) => state.plaintext_bytes_to_read(),
            Err(error) => {
                // The alert tells the other end why; it matters no more than that.
                let _ = self.push(&mut session);
                return Err(io::Error::new(ErrorKind::InvalidData, error));
            }
        };
        self.unread.store(said, Ordering::Relaxed);
        // Its keys may have been changed, which wants an answer.
        self.push(&mut session)?;
        if !self.overhead.lock().allows(arrived, said) {
            return Err(ErrorKind::QuotaExceeded.into());
        }
        self.take_unread(&mut session, buffer)
    }

    fn take_unread(&self, session: &mut ServerConnection, buffer: &mut [u8]) -> io::Result<usize> {
        let count = session.reader().read(buffer)?;
        let left = self.unread.load(Ordering::Relaxed).saturating_sub(count);
        self.unread.store(left, Ordering::Relaxed);
        Ok(count)
    }

    /// Says that this is the end, so that it cannot be taken for a cut line.
    pub(super) fn say_end(&self) {
        let mut session = self.session.lock();
        session.send_close_notify();
        // A peer that is gone already needs no word.
        let _ = self.push(&mut session);
    }
}

/// The bare socket as rustls wants it.
struct Wire<'a>(&'a TcpStream);

impl Read for Wire<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.try_read(buffer)
    }
}

impl Write for Wire<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.try_write(bytes)
    }

    fn write_vectored(&mut self, parts: &[IoSlice<'_>]) -> io::Result<usize> {
        self.0.try_write_vectored(parts)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
