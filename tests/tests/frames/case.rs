//! One case of the conformance table: bytes to send, how they are cut into writes, and every frame that is
//! heard.

use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

use serde_json::{Value, json};
use support::{PATIENCE, RawFrame, RawSocket, masked_frame};
use tokio::time::sleep;

pub(crate) const MAX_TEXT: usize = 8 * 1024;

pub(crate) const FIN: u8 = 0x80;
pub(crate) const CONTINUATION: u8 = 0;
pub(crate) const TEXT: u8 = 1;
pub(crate) const BINARY: u8 = 2;
pub(crate) const CLOSE: u8 = 8;
pub(crate) const PING: u8 = 9;
pub(crate) const PONG: u8 = 10;

/// Long enough for the server to have read a write before the next one, mostly; no case depends on it.
const BETWEEN_WRITES: Duration = Duration::from_millis(1);
/// With more writes there is no pause between them.
const FEW_WRITES: usize = 400;

pub(crate) struct Case {
    name: String,
    bytes: Vec<u8>,
    writes: Writes,
    heard: Vec<Heard>,
}

/// How the bytes are cut into writes.
enum Writes {
    AtOnce,
    Of(usize),
    CutAt(usize),
}

/// A frame of the server's.
#[derive(Clone, PartialEq, Eq)]
pub(crate) enum Heard {
    Pong(Vec<u8>),
    /// The answer to `ask` with this id.
    Answer(String),
    /// A typed error that says the text was no frame of the protocol.
    Malformed,
    /// A close frame with this code, and whatever reason; `None` without a payload. Then the connection ends.
    Closed(Option<u16>),
    /// A close frame with exactly this payload. Then the connection ends.
    ClosedWith(Vec<u8>),
    /// Anything else; what it says is for people.
    Strange(String),
}

impl fmt::Debug for Heard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pong(payload) => write!(f, "pong \"{}\"", payload.escape_ascii()),
            Self::Answer(id) => write!(f, "answer {id}"),
            Self::Malformed => f.write_str("bad_request"),
            Self::Closed(code) => write!(f, "close {code:?}"),
            Self::ClosedWith(payload) => write!(f, "close \"{}\"", payload.escape_ascii()),
            Self::Strange(what) => f.write_str(what),
        }
    }
}

impl Heard {
    fn is_close(&self) -> bool {
        matches!(self, Self::Closed(_) | Self::ClosedWith(_))
    }

    /// Whether this frame is what was wanted.
    fn fits(&self, wanted: &Self) -> bool {
        match (self, wanted) {
            (Self::ClosedWith(payload), Self::Closed(code)) => close_code(payload) == *code,
            _ => self == wanted,
        }
    }
}

fn close_code(payload: &[u8]) -> Option<u16> {
    Some(u16::from_be_bytes([*payload.first()?, *payload.get(1)?]))
}

impl From<RawFrame> for Heard {
    fn from(frame: RawFrame) -> Self {
        match frame.opcode {
            TEXT => heard_text(&frame.payload),
            CLOSE => Self::ClosedWith(frame.payload),
            PONG => Self::Pong(frame.payload),
            other => Self::Strange(format!("opcode {other}: \"{}\"", frame.payload.escape_ascii())),
        }
    }
}

fn heard_text(payload: &[u8]) -> Heard {
    let frame: Value = serde_json::from_slice(payload).unwrap_or_default();
    match (frame["type"].as_str(), frame["id"].as_str(), frame["code"].as_str()) {
        (Some("pong"), Some(id), None) => Heard::Answer(id.to_owned()),
        (Some("error"), None, Some("bad_request")) => Heard::Malformed,
        _ => Heard::Strange(payload.escape_ascii().to_string()),
    }
}

/// The text of a request that is answered with its id, of exactly this many bytes.
pub(crate) fn ask_of(id: &str, length: usize) -> Vec<u8> {
    let empty = json!({"type": "ping", "id": id, "pad": ""}).to_string().len();
    ask_with(id, &vec![b'x'; length.checked_sub(empty).expect("room for the request")])
}

/// The same with this in it.
pub(crate) fn ask_with(id: &str, pad: &[u8]) -> Vec<u8> {
    let text = json!({"type": "ping", "id": id, "pad": "PAD"}).to_string();
    let (before, after) = text.split_once("PAD").expect("a place for it");
    [before.as_bytes(), pad, after.as_bytes()].concat()
}

/// A whole text frame that is answered with this id.
pub(crate) fn ask(id: &str) -> Vec<u8> {
    masked_frame(FIN | TEXT, &ask_with(id, b""))
}

/// A text in frames of these parts, the last one final.
pub(crate) fn in_pieces<'a>(parts: impl IntoIterator<Item = &'a [u8]>) -> Vec<Vec<u8>> {
    let mut parts = parts.into_iter().peekable();
    let mut first = TEXT;
    let mut frames = Vec::new();
    while let Some(part) = parts.next() {
        let last = if parts.peek().is_none() { FIN } else { 0 };
        frames.push(masked_frame(last | first, part));
        first = CONTINUATION;
    }
    frames
}

impl Case {
    pub(crate) fn new(
        name: impl Into<String>,
        frames: impl IntoIterator<Item = Vec<u8>>,
        heard: impl IntoIterator<Item = Heard>,
    ) -> Self {
        let bytes = frames.into_iter().flatten().collect();
        Self { name: name.into(), bytes, writes: Writes::AtOnce, heard: heard.into_iter().collect() }
    }

    /// The same, so many bytes a write.
    pub(crate) fn in_writes_of(mut self, size: usize) -> Self {
        self.name = format!("{}, {size} bytes a write", self.name);
        self.writes = Writes::Of(size);
        self
    }

    /// The same once for each place where the bytes can be cut in two.
    pub(crate) fn cut_everywhere(self) -> impl Iterator<Item = Self> {
        (1..self.bytes.len()).map(move |at| Self {
            name: format!("{}, cut at byte {at}", self.name),
            bytes: self.bytes.clone(),
            writes: Writes::CutAt(at),
            heard: self.heard.clone(),
        })
    }

    /// The close codes that the server says of its own, for its metrics: an echo is none.
    pub(crate) fn closed_with(&self) -> Option<u16> {
        self.heard.iter().find_map(|heard| if let Heard::Closed(code) = heard { *code } else { None })
    }

    /// Plays it on a connection of its own; what went otherwise, if anything.
    pub(crate) async fn play(self, addr: SocketAddr) -> Option<String> {
        let mut socket = RawSocket::open(addr).await;
        match self.writes {
            Writes::AtOnce => socket.send_bytes(&self.bytes).await,
            Writes::Of(size) => write(&mut socket, self.bytes.chunks(size)).await,
            Writes::CutAt(at) => write(&mut socket, [&self.bytes[..at], &self.bytes[at..]].into_iter()).await,
        }
        let mut wanted = self.heard;
        let is_closed = wanted.last().is_some_and(Heard::is_close);
        if !is_closed {
            // Whoever answers this had nothing else to say.
            socket.send_bytes(&ask("still there")).await;
            wanted.push(Heard::Answer("still there".into()));
        }
        let mut heard = Vec::new();
        while heard.len() < wanted.len() {
            let Some(frame) = next(&mut socket).await else { break };
            heard.push(frame);
        }
        if is_closed && heard.len() == wanted.len() && !socket.ends_in_order(PATIENCE).await {
            heard.push(Heard::Strange("more, or a reset".into()));
        }
        let fits = heard.len() == wanted.len()
            && heard.iter().zip(&wanted).all(|(heard, wanted)| heard.fits(wanted));
        (!fits).then(|| format!("{}\n    wanted {wanted:?}\n    heard  {heard:?}", self.name))
    }
}

async fn write(socket: &mut RawSocket, writes: impl ExactSizeIterator<Item = &[u8]>) {
    let few = writes.len() <= FEW_WRITES;
    for bytes in writes {
        socket.send_bytes(bytes).await;
        if few {
            sleep(BETWEEN_WRITES).await;
        }
    }
}

/// The next frame but for the server's own pings, which come when they come; `None` at the end.
async fn next(socket: &mut RawSocket) -> Option<Heard> {
    loop {
        let frame = socket.next_frame(PATIENCE).await?;
        if frame != (RawFrame { opcode: PING, payload: Vec::new() }) {
            return Some(frame.into());
        }
    }
}
