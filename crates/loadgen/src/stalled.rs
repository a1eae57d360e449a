//! The subscriber that stops reading: it watches every room, lets its receive buffer fill while it goes on showing life
//! with pongs, and later reads on. Its views are then compared with those of the subscribers that never stopped.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep_until, timeout, timeout_at};

use crate::LoadError;
use crate::connect::{self, Narrow, Sources, Target};
use crate::dialect::{Dialect, Incoming};
use crate::meter::SharedMeter;
use crate::view::View;
use crate::wire::{self, Decoder, opcode};

/// A phone's worth of buffering, where loopback's defaults would take megabytes.
const NARROW: Narrow = Narrow { receive_buffer: 4096, segment: 1400 };
/// A pong that nobody asked for, this often, while not reading.
const LIFE_SIGN: Duration = Duration::from_secs(3);
/// How long a subscription may take.
const SUBSCRIBE_TIMEOUT: Duration = Duration::from_secs(10);
/// Bytes taken per read.
const READ: usize = 64 << 10;

/// One subscriber of all rooms.
pub(crate) struct StalledReader {
    stream: TcpStream,
    decoder: Decoder,
    dialect: Dialect,
    rooms: Vec<Option<Followed>>,
    counts: Counts,
    why_closed: Option<String>,
}

/// A room as this subscriber knows it.
#[derive(Debug, Default)]
struct Followed {
    rev: u64,
    view: View,
    /// The room's revision when reading began again: a snapshot below it was in a buffer all along.
    resumed_at: u64,
    snapshots: u64,
    fresh_snapshots: u64,
}

#[derive(Clone, Copy, Debug, Default)]
struct Counts {
    diffs: u64,
    gaps: u64,
    bytes: u64,
}

/// What happened when it read again.
#[derive(Clone, Debug)]
pub(crate) struct Recovery {
    pub(crate) diffs: u64,
    pub(crate) gaps: u64,
    pub(crate) bytes: u64,
    /// Of the room that got the most: all of them, those from buffers included.
    pub(crate) snapshots_per_room: u64,
    /// Of the room that got the most: those made when it read again.
    pub(crate) fresh_snapshots_per_room: u64,
    /// Rooms whose view differs from the other subscribers', or never caught up.
    pub(crate) wrong_rooms: usize,
    pub(crate) took: Duration,
    /// Why the connection ended, if it did.
    pub(crate) why_closed: Option<String>,
}

impl StalledReader {
    /// Subscribes to all rooms and reads their snapshots.
    pub(crate) async fn join(
        target: &Target,
        dialect: &Dialect,
        rooms: usize,
    ) -> Result<StalledReader, LoadError> {
        let source = Sources::Others.address(0, 1);
        let mut stream = connect::open(target.addr, source, Some(NARROW)).await?;
        let rest = connect::upgrade(&mut stream, &target.host, &target.path).await?;
        for room in 0..rooms {
            let frame = wire::encode(opcode::TEXT, dialect.subscribe(room).unwrap_or_default().as_bytes());
            stream.write_all(&frame).await.map_err(LoadError::io("subscribing"))?;
        }
        let mut reader = StalledReader {
            stream,
            decoder: Decoder::default(),
            dialect: dialect.clone(),
            rooms: (0..rooms).map(|_| None).collect(),
            counts: Counts::default(),
            why_closed: None,
        };
        reader.on_bytes(&rest);
        let everything = async {
            while reader.rooms.iter().any(Option::is_none) && reader.why_closed.is_none() {
                reader.read().await;
            }
        };
        timeout(SUBSCRIBE_TIMEOUT, everything)
            .await
            .map_err(|_| LoadError::Late("the stalled reader's subscriptions".to_owned()))?;
        match reader.why_closed.take() {
            Some(why) => Err(LoadError::Refused(why)),
            None => Ok(reader),
        }
    }

    /// Reads nothing, for ever. To be dropped when it is time to read again.
    pub(crate) async fn stall(&mut self) {
        loop {
            sleep_until(Instant::now() + LIFE_SIGN).await;
            // A full send buffer or a closed socket shows when reading begins again.
            let _ = self.stream.try_write(&wire::encode(opcode::PONG, b""));
        }
    }

    /// Reads until every room is where the other subscribers are, or the patience ends; then compares the views.
    pub(crate) async fn recover(mut self, meter: &SharedMeter, patience: Duration) -> Recovery {
        let start = Instant::now();
        self.counts = Counts::default();
        for (room, followed) in self.rooms.iter_mut().enumerate() {
            let Some(followed) = followed else { continue };
            followed.resumed_at = meter.lock().log(room).last_rev();
            (followed.snapshots, followed.fresh_snapshots) = (0, 0);
        }
        while !self.has_caught_up(meter) && self.why_closed.is_none() {
            if timeout_at(start + patience, self.read()).await.is_err() {
                break;
            }
        }
        let took = start.elapsed();
        // Whatever comes behind the last change counts too: a second snapshot would be one too many.
        let _ = timeout(Duration::from_millis(500), async {
            while self.why_closed.is_none() {
                self.read().await;
            }
        })
        .await;
        let meter = meter.lock();
        let is_wrong = |(room, followed): (usize, &Option<Followed>)| {
            let Some(followed) = followed else { return true };
            let log = meter.log(room);
            followed.rev != log.last_rev() || log.view_at(followed.rev).as_ref() != Some(&followed.view)
        };
        let followed = || self.rooms.iter().flatten();
        Recovery {
            diffs: self.counts.diffs,
            gaps: self.counts.gaps,
            bytes: self.counts.bytes,
            snapshots_per_room: followed().map(|room| room.snapshots).max().unwrap_or(0),
            fresh_snapshots_per_room: followed().map(|room| room.fresh_snapshots).max().unwrap_or(0),
            wrong_rooms: self.rooms.iter().enumerate().filter(|room| is_wrong(*room)).count(),
            took,
            why_closed: self.why_closed,
        }
    }

    fn has_caught_up(&self, meter: &SharedMeter) -> bool {
        let meter = meter.lock();
        let followed = self.rooms.iter().enumerate();
        followed
            .into_iter()
            .all(|(room, at)| at.as_ref().is_some_and(|at| at.rev >= meter.log(room).last_rev()))
    }

    async fn read(&mut self) {
        let mut bytes = Vec::with_capacity(READ);
        match self.stream.read_buf(&mut bytes).await {
            Ok(0) => self.why_closed = Some("the server closed the connection".to_owned()),
            Ok(_) => self.on_bytes(&bytes),
            Err(error) => self.why_closed = Some(error.to_string()),
        }
    }

    fn on_bytes(&mut self, bytes: &[u8]) {
        let StalledReader { decoder, dialect, rooms, counts, stream, why_closed } = self;
        counts.bytes += bytes.len() as u64;
        let on_frame = |frame: wire::Frame<'_>| match frame.opcode {
            opcode::TEXT => on_text(rooms, counts, dialect, frame.payload),
            opcode::PING => {
                let _ = stream.try_write(&wire::encode(opcode::PONG, frame.payload));
            }
            opcode::CLOSE => *why_closed = Some(format!("closed: {:?}", close_code(frame.payload))),
            _ => (),
        };
        if let Err(error) = decoder.feed(bytes, on_frame) {
            self.why_closed = Some(error.to_string());
        }
    }
}

fn on_text(rooms: &mut [Option<Followed>], counts: &mut Counts, dialect: &Dialect, frame: &[u8]) {
    match dialect.read(frame) {
        Incoming::Snapshot(snapshot) => {
            let room = dialect.rooms().room(snapshot.employee_id);
            let Some(place) = room.and_then(|room| rooms.get_mut(room)) else { return };
            let followed = place.get_or_insert_default();
            followed.snapshots += 1;
            followed.fresh_snapshots += u64::from(snapshot.rev >= followed.resumed_at);
            (followed.rev, followed.view) = (snapshot.rev, snapshot.view);
        }
        Incoming::Diff(diff) => {
            let room = dialect.rooms().room(diff.employee_id);
            let Some(Some(followed)) = room.and_then(|room| rooms.get_mut(room)) else { return };
            counts.diffs += 1;
            counts.gaps += u64::from(diff.rev != followed.rev + 1);
            followed.rev = diff.rev;
            followed.view.apply(&diff.diff);
        }
        _ => (),
    }
}

fn close_code(payload: &[u8]) -> Option<u16> {
    payload.first_chunk().map(|code| u16::from_be_bytes(*code))
}
