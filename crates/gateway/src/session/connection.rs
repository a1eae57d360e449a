//! One browser's socket, shared by its session and by everybody who has a frame for it. A frame goes to the kernel
//! from where it is made: no queue, no task wake-up. What does not fit waits here, and never more than is bounded.

use std::io::{self, ErrorKind};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use slot_state::{ActorId, Room};
use smallvec::SmallVec;
use tokio::sync::Notify;
use tokio::time::Instant;

use super::socket::Socket;
use crate::protocol::frame;
use crate::security::limits::ConnectionPermit;

/// Bytes that may wait for a slow reader. Diffs never wait (a snapshot replaces them), so this is replies alone;
/// a client that lets more pile up is cut off.
const MOST_WAITING: usize = 64 * 1024;

/// Why the server ends a connection: the WebSocket close codes of the protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u16)]
pub enum CloseCode {
    /// The server shuts down.
    Shutdown = 1001,
    /// The framing is broken.
    Framing = 1002,
    /// A binary frame.
    Binary = 1003,
    /// Text that is not UTF-8.
    NotUtf8 = 1007,
    /// Malformed frames again and again, or far too many.
    Policy = 1008,
    /// A frame over the limit.
    TooBig = 1009,
    /// A fault of the server.
    Internal = 1011,
    /// No token, or it has ended.
    Unauthorized = 4401,
    /// Pings went unanswered.
    NoAnswer = 4408,
}

impl CloseCode {
    /// All that a connection can be closed with.
    pub const ALL: [CloseCode; 9] = [
        CloseCode::Shutdown,
        CloseCode::Framing,
        CloseCode::Binary,
        CloseCode::NotUtf8,
        CloseCode::Policy,
        CloseCode::TooBig,
        CloseCode::Internal,
        CloseCode::Unauthorized,
        CloseCode::NoAnswer,
    ];
}

/// What became of a frame that may be left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Offered {
    /// On its way.
    Sent,
    /// Left out: the reader is slow. Its session will ask for what it missed.
    Behind,
}

/// One connection.
pub struct Connection {
    /// Names it in this process.
    pub id: ActorId,
    socket: Socket,
    outbox: Mutex<Outbox>,
    /// Wakes the session: something waits to be written, caught up or closed.
    wake: Notify,
    seen: AtomicU32,
    pinged: AtomicU32,
    /// The tick after which it is not authorized any more.
    allowed: AtomicU32,
    /// Its client has a selection: pinged more often, since the selection lives by the answers.
    pub holds_selection: AtomicBool,
    _permit: ConnectionPermit,
}

#[derive(Default)]
struct Outbox {
    waiting: Vec<u8>,
    behind: SmallVec<[Room; 0]>,
    closing: Option<CloseCode>,
    /// Its client has said goodbye, and was answered.
    left: bool,
    broken: bool,
}

impl Outbox {
    /// A close frame has been sent: after it comes nothing.
    fn is_over(&self) -> bool {
        self.left || self.closing.is_some()
    }
}

/// What a session has to wait for besides its client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Pending {
    /// Nothing.
    Nothing,
    /// The socket takes no more; something is to be written once it does.
    Writable,
    /// The connection is to be ended; what still waits has [`super::LINGER`] to leave.
    Close,
}

impl Connection {
    /// A connection over `socket`, counted by `permit`.
    pub fn new(id: ActorId, socket: impl Into<Socket>, permit: ConnectionPermit) -> Arc<Self> {
        Arc::new(Connection {
            id,
            socket: socket.into(),
            outbox: Mutex::default(),
            wake: Notify::new(),
            seen: AtomicU32::new(ticks()),
            pinged: AtomicU32::new(0),
            allowed: AtomicU32::new(u32::MAX),
            holds_selection: AtomicBool::new(false),
            _permit: permit,
        })
    }

    /// The socket, for reading and waiting.
    pub(crate) fn socket(&self) -> &Socket {
        &self.socket
    }

    /// Sends a frame, unless the reader is slow: then the room is marked as missed.
    pub fn offer(&self, frame: &Bytes, room: Room) -> Offered {
        let mut outbox = self.outbox.lock();
        if outbox.is_over() {
            return Offered::Behind;
        }
        if outbox.waiting.is_empty() && outbox.behind.is_empty() {
            match self.socket.try_write(frame) {
                Ok(written) if written == frame.len() => {
                    self.mind_debts();
                    return Offered::Sent;
                }
                Ok(written) => {
                    // Half a frame cannot be left out any more.
                    outbox.waiting.extend_from_slice(&frame[written..]);
                    self.wake.notify_one();
                    return Offered::Sent;
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(_) => self.fail(&mut outbox),
            }
        }
        self.mark_missed(&mut outbox, room);
        Offered::Behind
    }

    /// Has the session catch up with a room whose news are not for this connection as they are.
    pub fn miss(&self, room: Room) {
        self.mark_missed(&mut self.outbox.lock(), room);
    }

    fn mark_missed(&self, outbox: &mut Outbox, room: Room) {
        if !outbox.behind.contains(&room) {
            outbox.behind.push(room);
            self.wake.notify_one();
        }
    }

    /// Sends a frame that must arrive; it waits if it has to.
    pub fn send(&self, frame: &[u8]) {
        let mut outbox = self.outbox.lock();
        if !outbox.is_over() {
            self.write(&mut outbox, frame);
        }
    }

    /// Ends the connection with a close frame.
    pub fn close(&self, code: CloseCode) {
        let mut outbox = self.outbox.lock();
        if !outbox.is_over() {
            self.write(&mut outbox, &frame::close(code));
            outbox.closing = Some(code);
            self.wake.notify_one();
        }
    }

    /// The client has closed, and tungstenite's answer is the last frame it gets.
    pub(crate) fn on_left(&self) {
        self.outbox.lock().left = true;
    }

    /// With which code the end has been said, if it has.
    pub(crate) fn closing(&self) -> Option<CloseCode> {
        self.outbox.lock().closing
    }

    /// Whether everything has been handed to the kernel that it will ever take.
    pub(crate) fn is_flushed(&self) -> bool {
        let outbox = self.outbox.lock();
        outbox.broken || (outbox.waiting.is_empty() && !self.socket.owes())
    }

    /// Has the session hand on what the socket took but the kernel did not.
    pub(crate) fn mind_debts(&self) {
        if self.socket.owes() {
            self.wake.notify_one();
        }
    }

    fn write(&self, outbox: &mut Outbox, bytes: &[u8]) {
        let mut written = 0;
        if outbox.waiting.is_empty() {
            match self.socket.try_write(bytes) {
                Ok(count) => written = count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(_) => return self.fail(outbox),
            }
        }
        if written == bytes.len() {
            return self.mind_debts();
        }
        if outbox.waiting.len() + bytes.len() > MOST_WAITING {
            return self.fail(outbox);
        }
        outbox.waiting.extend_from_slice(&bytes[written..]);
        self.wake.notify_one();
    }

    fn fail(&self, outbox: &mut Outbox) {
        outbox.broken = true;
        outbox.closing.get_or_insert(CloseCode::Internal);
        outbox.waiting = Vec::new();
        self.wake.notify_one();
    }

    /// Takes what tungstenite writes: pongs and the answer to a close frame, whole frames each.
    pub(crate) fn take_written(&self, bytes: &[u8]) -> io::Result<usize> {
        let mut outbox = self.outbox.lock();
        if outbox.broken {
            return Err(ErrorKind::BrokenPipe.into());
        }
        self.write(&mut outbox, bytes);
        Ok(bytes.len())
    }

    /// Has the session look around.
    pub(crate) fn wake(&self) {
        self.wake.notify_one();
    }

    /// Waits until somebody left a chore.
    pub(crate) async fn woken(&self) {
        self.wake.notified().await;
    }

    /// What is left to do.
    pub(crate) fn pending(&self) -> Pending {
        let outbox = self.outbox.lock();
        if outbox.closing.is_some() {
            Pending::Close
        } else if !outbox.waiting.is_empty() || !outbox.behind.is_empty() || self.socket.owes() {
            Pending::Writable
        } else {
            Pending::Nothing
        }
    }

    /// Writes what waits, as far as the socket takes it. Once nothing waits, returns a room to catch up with: one at a
    /// time, since the snapshots of all may be more than may wait.
    pub(crate) fn flush(&self) -> Option<Room> {
        let mut outbox = self.outbox.lock();
        if self.socket.owes() && self.socket.settle().is_err() {
            self.fail(&mut outbox);
        }
        while !outbox.waiting.is_empty() {
            match self.socket.try_write(&outbox.waiting) {
                Ok(written) => _ = outbox.waiting.drain(..written),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return None,
                Err(_) => self.fail(&mut outbox),
            }
        }
        outbox.waiting = Vec::new();
        if self.socket.owes() { None } else { outbox.behind.pop() }
    }

    /// From now on it may be here for so long; new connections may for ever.
    pub fn allow_for(&self, time: Duration) {
        let more = u32::try_from(time.as_millis() / TICK.as_millis()).unwrap_or(u32::MAX);
        self.allowed.store(ticks().saturating_add(more), Ordering::Relaxed);
    }

    /// Whether it still may.
    pub fn is_allowed(&self) -> bool {
        ticks() <= self.allowed.load(Ordering::Relaxed)
    }

    /// The peer showed life.
    pub(crate) fn touch(&self) {
        self.seen.store(ticks(), Ordering::Relaxed);
    }

    /// How long ago the peer last showed life.
    pub fn silence(&self) -> Duration {
        TICK * ticks().saturating_sub(self.seen.load(Ordering::Relaxed))
    }

    /// Asks the peer for a sign of life.
    pub fn ping(&self) {
        if self.pinged.load(Ordering::Relaxed) <= self.seen.load(Ordering::Relaxed) {
            self.pinged.store(ticks().max(1), Ordering::Relaxed);
        }
        self.send(&frame::PING);
    }

    /// How long a ping has been without any answer.
    pub fn unanswered(&self) -> Option<Duration> {
        let (pinged, seen) = (self.pinged.load(Ordering::Relaxed), self.seen.load(Ordering::Relaxed));
        (pinged > seen).then(|| TICK * ticks().saturating_sub(pinged))
    }
}

/// Signs of life are kept in ticks since the process began: four bytes a connection.
const TICK: Duration = Duration::from_millis(100);

fn ticks() -> u32 {
    static BEGAN: LazyLock<Instant> = LazyLock::new(Instant::now);
    u32::try_from(BEGAN.elapsed().as_millis() / TICK.as_millis()).unwrap_or(u32::MAX)
}
