//! A publisher's connection: how a change leaves it, as a frame, a POST or a row, and how its answer comes back.

use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};
use std::rc::Rc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::mpsc;
use tokio::task::spawn_local;
use tokio::time::timeout;

use crate::LoadError;
use crate::connect::{self, Sources, Target};
use crate::dialect::{Dialect, Reply};
use crate::http::{self, KeptConnection};
use crate::inserter::Inserter;
use crate::timing::{Clock, Timings};
use crate::wire::{self, Decoder, opcode};

/// Publishers behind one source address.
const PER_ADDRESS: usize = 8;
/// Room for an answer, so that it is read at once.
const ANSWER_BUFFER: usize = 512;
/// How long a `hello` may take.
const WELCOME_TIMEOUT: Duration = Duration::from_secs(10);

/// Where changes go.
#[derive(Clone, Debug)]
pub(crate) enum Outlet {
    /// As text frames over WebSocket.
    Frames(Target),
    /// As bodies of HTTP POSTs, `{room}` filled into the path.
    Posts(Target),
    /// As rows that a program inserts, past the server.
    Inserts(Rc<Inserter>),
}

/// What came back to the publishers.
#[derive(Debug)]
pub(crate) struct Answers {
    /// From a change's frame (or POST) to its answer.
    pub(crate) latency: Timings,
    pub(crate) accepted: u64,
    /// Refusals by code, and connections lost.
    pub(crate) refused: BTreeMap<String, u64>,
    /// When each change without an answer yet was sent.
    pending: HashMap<u64, u64>,
}

/// Answers as all publishers of the thread share them.
pub(crate) type SharedAnswers = Rc<RefCell<Answers>>;

impl Answers {
    pub(crate) fn new() -> SharedAnswers {
        Rc::new(RefCell::new(Answers {
            latency: Timings::new(),
            accepted: 0,
            refused: BTreeMap::new(),
            pending: HashMap::new(),
        }))
    }

    /// A change was sent that will be answered.
    pub(crate) fn expect(&mut self, id: u64, now_us: u64) {
        self.pending.insert(id, now_us);
    }

    /// Changes without an answer yet.
    pub(crate) fn unanswered(&self) -> usize {
        self.pending.len()
    }

    /// What came back since the last call. Changes still unanswered stay expected.
    pub(crate) fn take(&mut self) -> Answers {
        Answers {
            latency: std::mem::replace(&mut self.latency, Timings::new()),
            accepted: std::mem::take(&mut self.accepted),
            refused: std::mem::take(&mut self.refused),
            pending: HashMap::new(),
        }
    }

    pub(crate) fn on_answer(&mut self, id: Option<u64>, outcome: Result<(), String>, now_us: u64) {
        if let Some(sent_us) = id.and_then(|id| self.pending.remove(&id)) {
            self.latency.record(now_us.saturating_sub(sent_us));
        }
        match outcome {
            Ok(()) => self.accepted += 1,
            Err(code) => self.refuse(code),
        }
    }

    pub(crate) fn refuse(&mut self, code: impl Into<String>) {
        *self.refused.entry(code.into()).or_default() += 1;
    }
}

impl Outlet {
    /// Connects the publisher with this number. To be called within a `LocalSet`.
    pub(crate) async fn connect(
        &self,
        dialect: &Dialect,
        index: usize,
        room: usize,
        clock: Clock,
        answers: SharedAnswers,
    ) -> Result<Line, LoadError> {
        match self {
            Outlet::Frames(target) => frames(target, dialect, index, room, clock, answers).await,
            Outlet::Posts(target) => posts(target, index, room, clock, answers).await,
            Outlet::Inserts(inserter) => Ok(Line::Queue(inserter.queue(clock, answers).await?)),
        }
    }
}

/// Changes that wait for their turn, with their numbers.
pub(crate) type Queue = mpsc::UnboundedSender<(u64, String)>;

/// A publisher's end of its connection.
#[derive(Debug)]
pub(crate) enum Line {
    Frames(Rc<OwnedWriteHalf>),
    /// What goes out one after the other, each when the last was answered.
    Queue(Queue),
}

impl Line {
    /// Sends a change without waiting. False if the connection takes no more.
    pub(crate) fn send(&self, id: u64, text: String) -> bool {
        match self {
            Line::Frames(stream) => {
                let frame = wire::encode(opcode::TEXT, text.as_bytes());
                stream.try_write(&frame).is_ok_and(|written| written == frame.len())
            }
            Line::Queue(queue) => queue.send((id, text)).is_ok(),
        }
    }

    /// Whether the server answers each change: all but another server's frames.
    pub(crate) fn is_answered(&self, dialect: &Dialect) -> bool {
        dialect.is_slotcast() || matches!(self, Line::Queue(_))
    }
}

/// A publisher over WebSocket; slotcast is told its client first.
async fn frames(
    target: &Target,
    dialect: &Dialect,
    index: usize,
    room: usize,
    clock: Clock,
    answers: SharedAnswers,
) -> Result<Line, LoadError> {
    let mut stream =
        connect::open(target.addr, Sources::Publishers.address(index, PER_ADDRESS), None).await?;
    let rest = connect::upgrade(&mut stream, &target.host, &target.path_of(room)).await?;
    let decoder = Decoder::default();
    if dialect.is_slotcast() {
        let hello = format!(r#"{{"type":"hello","client_id":"loadgen-{}-{index}"}}"#, std::process::id());
        stream
            .write_all(&wire::encode(opcode::TEXT, hello.as_bytes()))
            .await
            .map_err(LoadError::io("hello"))?;
    }
    let (read, write) = stream.into_split();
    let write = Rc::new(write);
    let mut reader = Reader { read, write: write.clone(), decoder, bytes: rest, is_welcome: false };
    if dialect.is_slotcast() {
        timeout(WELCOME_TIMEOUT, reader.welcome(clock, &answers))
            .await
            .map_err(|_| LoadError::Late("welcome".to_owned()))?
            .map_err(LoadError::Refused)?;
    }
    spawn_local(async move {
        let why = reader.run(clock, &answers).await;
        answers.borrow_mut().refuse(why);
    });
    Ok(Line::Frames(write))
}

/// Reads a publisher's answers, and answers pings.
struct Reader {
    read: OwnedReadHalf,
    write: Rc<OwnedWriteHalf>,
    decoder: Decoder,
    bytes: Vec<u8>,
    is_welcome: bool,
}

impl Reader {
    async fn welcome(&mut self, clock: Clock, answers: &RefCell<Answers>) -> Result<(), String> {
        while !self.is_welcome {
            self.step(clock, answers).await?;
        }
        Ok(())
    }

    async fn run(mut self, clock: Clock, answers: &RefCell<Answers>) -> String {
        loop {
            if let Err(why) = self.step(clock, answers).await {
                return why;
            }
        }
    }

    async fn step(&mut self, clock: Clock, answers: &RefCell<Answers>) -> Result<(), String> {
        if self.bytes.is_empty() {
            self.bytes.reserve(ANSWER_BUFFER);
            let read = self.read.read_buf(&mut self.bytes).await.map_err(|error| error.to_string())?;
            if read == 0 {
                return Err("publisher_closed".to_owned());
            }
        }
        let now_us = clock.now_us();
        let mut pongs = Vec::new();
        let on_frame = |frame: wire::Frame<'_>| {
            if frame.opcode == opcode::PING {
                pongs.extend(wire::encode(opcode::PONG, frame.payload));
            }
            if frame.opcode != opcode::TEXT {
                return;
            }
            match serde_json::from_slice::<Reply>(frame.payload) {
                Ok(Reply::Welcome {}) => self.is_welcome = true,
                Ok(Reply::Ok { id }) => answers.borrow_mut().on_answer(id, Ok(()), now_us),
                Ok(Reply::Error { id, code }) => answers.borrow_mut().on_answer(id, Err(code), now_us),
                Ok(Reply::Released { reason }) => answers.borrow_mut().refuse(format!("released_{reason}")),
                Ok(Reply::Other) | Err(_) => (),
            }
        };
        self.decoder.feed(&self.bytes, on_frame).map_err(|error| error.to_string())?;
        self.bytes.clear();
        if !pongs.is_empty() {
            self.write.try_write(&pongs).map_err(|error| error.to_string())?;
        }
        Ok(())
    }
}

/// A publisher by POST over one kept connection.
async fn posts(
    target: &Target,
    index: usize,
    room: usize,
    clock: Clock,
    answers: SharedAnswers,
) -> Result<Line, LoadError> {
    let mut connection =
        KeptConnection::open(target, Sources::Publishers.address(index, PER_ADDRESS)).await?;
    let (queue, mut changes) = mpsc::unbounded_channel::<(u64, String)>();
    let (host, path) = (target.host.clone(), target.path_of(room));
    spawn_local(async move {
        while let Some((id, text)) = changes.recv().await {
            let request = http::request("POST", &host, &path, "application/json", &text);
            let outcome = match connection.exchange(&request).await {
                Ok((200..=299, _)) => Ok(()),
                Ok((status, _)) => Err(format!("status_{status}")),
                Err(error) => Err(error.to_string()),
            };
            answers.borrow_mut().on_answer(Some(id), outcome, clock.now_us());
        }
    });
    Ok(Line::Queue(queue))
}
