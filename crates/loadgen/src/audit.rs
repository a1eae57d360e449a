//! A fresh look at every room once all is quiet: what a new subscriber is told must be what the old ones arrived at.
//! This is how a change that nobody was told of is found.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::LoadError;
use crate::connect::{self, Sources, Target};
use crate::dialect::{Dialect, Incoming, Snapshot};
use crate::wire::{self, Decoder, opcode};

/// Rooms asked for over one connection; slotcast's default limit.
const ROOMS_PER_CONNECTION: usize = 20;
/// Connections behind one source address.
const PER_ADDRESS: usize = 50;
/// How long the snapshots of one connection may take.
const SNAPSHOT_TIMEOUT: Duration = Duration::from_secs(10);

/// A snapshot of each room, in order.
pub(crate) async fn snapshots(
    target: &Target,
    dialect: &Dialect,
    rooms: usize,
) -> Result<Vec<Snapshot>, LoadError> {
    let mut all = Vec::with_capacity(rooms);
    for first in (0..rooms).step_by(ROOMS_PER_CONNECTION) {
        let some = first..rooms.min(first + ROOMS_PER_CONNECTION);
        let source = Sources::Others.address(first / ROOMS_PER_CONNECTION, PER_ADDRESS);
        let mut stream = connect::open(target.addr, source, None).await?;
        let rest = connect::upgrade(&mut stream, &target.host, &target.path).await?;
        for room in some.clone() {
            let text = dialect.subscribe(room).unwrap_or_default();
            let frame = wire::encode(opcode::TEXT, text.as_bytes());
            stream.write_all(&frame).await.map_err(LoadError::io("subscribing"))?;
        }
        let mut found = timeout(SNAPSHOT_TIMEOUT, read_snapshots(stream, rest, dialect, some.len()))
            .await
            .map_err(|_| LoadError::Late("snapshots of all rooms".to_owned()))??;
        found.sort_by_key(|snapshot| snapshot.employee_id);
        all.append(&mut found);
    }
    Ok(all)
}

async fn read_snapshots(
    mut stream: TcpStream,
    mut bytes: Vec<u8>,
    dialect: &Dialect,
    wanted: usize,
) -> Result<Vec<Snapshot>, LoadError> {
    let mut decoder = Decoder::default();
    let (mut found, mut refused) = (Vec::with_capacity(wanted), None);
    loop {
        let on_frame = |frame: wire::Frame<'_>| match dialect.read(frame.payload) {
            Incoming::Snapshot(snapshot) => found.push(snapshot),
            Incoming::Refused(code) => refused = Some(code),
            _ => (),
        };
        decoder.feed(&bytes, on_frame).map_err(|error| LoadError::Refused(error.to_string()))?;
        bytes.clear();
        if let Some(code) = refused {
            return Err(LoadError::Refused(format!("subscribing was answered {code}")));
        }
        if found.len() >= wanted {
            return Ok(found);
        }
        if stream.read_buf(&mut bytes).await.map_err(LoadError::io("reading snapshots"))? == 0 {
            return Err(LoadError::Refused("closed before all snapshots".to_owned()));
        }
    }
}
