//! The connections that make changes, and the pace they keep. Changes are sent when they are due whether or not
//! earlier ones were answered, so a slow server cannot slow the load down and look fast.

use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};
use std::rc::Rc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::mpsc;
use tokio::task::spawn_local;
use tokio::time::{Instant, sleep_until, timeout};

use crate::LoadError;
use crate::connect::{self, Sources, Target};
use crate::dialect::{Dialect, Reply};
use crate::http::{self, KeptConnection};
use crate::meter::{Clock, Stamps, Timings};
use crate::view::SLOTS;
use crate::wire::{self, Decoder, opcode};

/// Publishers behind one source address.
const PER_ADDRESS: usize = 8;
/// How long a `hello` may take.
const WELCOME_TIMEOUT: Duration = Duration::from_secs(10);

/// Where changes go.
#[derive(Clone, Debug)]
pub(crate) enum Outlet {
    /// As text frames over WebSocket.
    Frames(Target),
    /// As bodies of HTTP POSTs, `{room}` filled into the path.
    Posts(Target),
}

/// What came back to the publishers.
#[derive(Debug)]
pub(crate) struct Answers {
    /// From a change's frame (or POST) to its answer.
    pub(crate) latency: Timings,
    pub(crate) accepted: u64,
    /// Refusals by code, and connections lost.
    pub(crate) refused: BTreeMap<String, u64>,
    pending: HashMap<u64, u64>,
}

impl Answers {
    fn new() -> Rc<RefCell<Answers>> {
        Rc::new(RefCell::new(Answers {
            latency: Timings::new(),
            accepted: 0,
            refused: BTreeMap::new(),
            pending: HashMap::new(),
        }))
    }

    fn on_answer(&mut self, id: Option<u64>, outcome: Result<(), String>, now_us: u64) {
        if let Some(sent_us) = id.and_then(|id| self.pending.remove(&id)) {
            self.latency.record(now_us.saturating_sub(sent_us));
        }
        match outcome {
            Ok(()) => self.accepted += 1,
            Err(code) => self.refuse(code),
        }
    }

    fn refuse(&mut self, code: impl Into<String>) {
        *self.refused.entry(code.into()).or_default() += 1;
    }
}

/// All publishers. Each stays in one room, where it moves from slot to slot; no two of a room share a slot.
pub(crate) struct Publishers {
    dialect: Dialect,
    clock: Clock,
    stamps: std::sync::Arc<Stamps>,
    answers: Rc<RefCell<Answers>>,
    members: Vec<Publisher>,
    /// Next number of each room.
    seqs: Vec<u64>,
    sent: u64,
}

struct Publisher {
    room: usize,
    wire: Wire,
    slots: SlotCycle,
}

enum Wire {
    Frames(Rc<OwnedWriteHalf>),
    Posts(mpsc::UnboundedSender<(u64, String)>),
}

/// The slots of one publisher: every `step`-th from `next` on, round and round.
struct SlotCycle {
    next: usize,
    first: usize,
    step: usize,
}

impl SlotCycle {
    fn take(&mut self) -> usize {
        let slot = self.next;
        self.next = if slot + self.step < SLOTS { slot + self.step } else { self.first };
        slot
    }
}

impl Publishers {
    /// Connects `count` publishers, spread evenly over `rooms`. To be called within a `LocalSet`.
    pub(crate) async fn connect(
        outlet: &Outlet,
        dialect: &Dialect,
        count: usize,
        rooms: usize,
        clock: Clock,
        stamps: std::sync::Arc<Stamps>,
    ) -> Result<Publishers, LoadError> {
        let answers = Answers::new();
        let mut members = Vec::with_capacity(count);
        let per_room = count.div_ceil(rooms);
        if per_room > SLOTS / 2 {
            return Err(LoadError::Usage(format!("{per_room} publishers in a room of {SLOTS} slots")));
        }
        for index in 0..count {
            let (room, first) = (index % rooms, index / rooms);
            let wire = match outlet {
                Outlet::Frames(target) => {
                    frames(target, dialect, index, room, clock, answers.clone()).await?
                }
                Outlet::Posts(target) => posts(target, index, room, clock, answers.clone()).await?,
            };
            members.push(Publisher { room, wire, slots: SlotCycle { next: first, first, step: per_room } });
        }
        let seqs = vec![0; rooms];
        Ok(Publishers { dialect: dialect.clone(), clock, stamps, answers, members, seqs, sent: 0 })
    }

    /// Makes `changes` changes, `rate` a second, each by the next publisher in turn. Returns how far behind its time
    /// the latest one was sent.
    pub(crate) async fn publish(&mut self, changes: u64, rate: f64) -> Duration {
        let start = Instant::now();
        let mut behind = Duration::ZERO;
        for change in 0..changes {
            let due = start + Duration::from_secs_f64(change as f64 / rate);
            sleep_until(due).await;
            behind = behind.max(due.elapsed());
            self.publish_one();
        }
        behind
    }

    fn publish_one(&mut self) {
        let turn = (self.sent % self.members.len() as u64) as usize;
        let publisher = &mut self.members[turn];
        let (room, slot, id) = (publisher.room, publisher.slots.take(), self.sent);
        let seq = self.seqs[room];
        let text = self.dialect.change(room, slot, id, seq);
        self.seqs[room] += 1;
        self.sent += 1;
        let now_us = self.clock.now_us();
        self.stamps.set(room, self.dialect.stamp(slot, seq), now_us);
        // Another server's frames are not answered.
        if self.dialect.is_slotcast() || matches!(publisher.wire, Wire::Posts(_)) {
            self.answers.borrow_mut().pending.insert(id, now_us);
        }
        let is_sent = match &publisher.wire {
            Wire::Frames(stream) => {
                let frame = wire::encode(opcode::TEXT, text.as_bytes());
                stream.try_write(&frame).is_ok_and(|written| written == frame.len())
            }
            Wire::Posts(queue) => queue.send((id, text)).is_ok(),
        };
        if !is_sent {
            self.answers.borrow_mut().refuse("could_not_send");
        }
    }

    /// Changes sent per room so far.
    pub(crate) fn sent_per_room(&self) -> &[u64] {
        &self.seqs
    }

    /// Changes without an answer yet.
    pub(crate) fn unanswered(&self) -> usize {
        self.answers.borrow().pending.len()
    }

    /// Takes what came back since the last call.
    pub(crate) fn take_answers(&mut self) -> Answers {
        let mut answers = self.answers.borrow_mut();
        Answers {
            latency: std::mem::replace(&mut answers.latency, Timings::new()),
            accepted: std::mem::take(&mut answers.accepted),
            refused: std::mem::take(&mut answers.refused),
            pending: std::mem::take(&mut answers.pending),
        }
    }
}

/// A publisher over WebSocket; slotcast is told its client first.
async fn frames(
    target: &Target,
    dialect: &Dialect,
    index: usize,
    room: usize,
    clock: Clock,
    answers: Rc<RefCell<Answers>>,
) -> Result<Wire, LoadError> {
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
    Ok(Wire::Frames(write))
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
    answers: Rc<RefCell<Answers>>,
) -> Result<Wire, LoadError> {
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
    Ok(Wire::Posts(queue))
}
