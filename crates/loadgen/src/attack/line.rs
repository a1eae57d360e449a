//! An attacker's socket, and a victim's: bytes out as they are, what comes back as words.

use std::net::Ipv4Addr;
use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout, timeout_at};

use crate::connect::{self, Narrow, Target};
use crate::wire::{self, Decoder, opcode};

/// Longer than any honest answer takes.
const ANSWER: Duration = Duration::from_secs(15);

/// An upgraded connection.
pub(crate) struct Line {
    stream: TcpStream,
    decoder: Decoder,
    first: Vec<u8>,
}

/// What came in one frame: a JSON frame, or the end.
pub(crate) enum Heard {
    Frame(Value),
    Closed(String),
}

impl Line {
    /// Connects and upgrades, with more header lines; an error is what was got instead.
    pub(crate) async fn open(
        target: &Target,
        source: Ipv4Addr,
        headers: &str,
        narrow: Option<Narrow>,
    ) -> Result<Line, String> {
        let mut stream =
            connect::open(target.addr, source, narrow).await.map_err(|_| "not_connected".to_owned())?;
        let mut request = wire::upgrade_request(&target.host, &target.path_of(0));
        request.insert_str(request.len() - 2, headers);
        let status = answer_to(&mut stream, request.as_bytes()).await;
        match status {
            Ok((101, first)) => Ok(Line { stream, decoder: Decoder::default(), first }),
            Ok((status, _)) => Err(format!("status_{status}")),
            Err(end) => Err(end),
        }
    }

    /// False where the connection takes no more.
    pub(crate) async fn send(&mut self, bytes: &[u8]) -> bool {
        matches!(timeout(ANSWER, self.stream.write_all(bytes)).await, Ok(Ok(())))
    }

    pub(crate) async fn say(&mut self, frame: &Value) -> bool {
        self.send(&wire::encode(opcode::TEXT, frame.to_string().as_bytes())).await
    }

    /// Hands out what comes within this time. False where the connection has ended.
    pub(crate) async fn listen(&mut self, time: Duration, mut hear: impl FnMut(Heard)) -> bool {
        let end = Instant::now() + time;
        loop {
            let mut bytes = std::mem::take(&mut self.first);
            if bytes.is_empty() {
                bytes.reserve(4096);
                match timeout_at(end, self.stream.read_buf(&mut bytes)).await {
                    Err(_) => return true,
                    Ok(Ok(count)) if count > 0 => {}
                    Ok(_) => {
                        hear(Heard::Closed("closed".to_owned()));
                        return false;
                    }
                }
            }
            let (mut pongs, mut open) = (Vec::new(), true);
            let fed = self.decoder.feed(&bytes, |frame| match frame.opcode {
                opcode::PING => pongs.extend(wire::encode(opcode::PONG, frame.payload)),
                opcode::CLOSE => {
                    let code = frame.payload.first_chunk().map_or(1005, |code| u16::from_be_bytes(*code));
                    hear(Heard::Closed(format!("closed_{code}")));
                    open = false;
                }
                opcode::TEXT => hear(Heard::Frame(serde_json::from_slice(frame.payload).unwrap_or_default())),
                _ => {}
            });
            if fed.is_err() || !open || (!pongs.is_empty() && !self.send(&pongs).await) {
                return false;
            }
        }
    }

    /// The answer to a request with this `id`; `None` where the connection ends first.
    pub(crate) async fn ask(&mut self, mut frame: Value, id: u64) -> Option<Value> {
        frame["id"] = id.into();
        let mut answer = None;
        let mut open = self.say(&frame).await;
        let began = Instant::now();
        while open && answer.is_none() && began.elapsed() < ANSWER {
            open = self
                .listen(Duration::from_millis(1), |heard| {
                    if let Heard::Frame(frame) = heard
                        && frame["id"] == id
                    {
                        answer = Some(frame);
                    }
                })
                .await;
        }
        answer
    }
}

/// Status and rest of the answer to a request, or `closed`.
pub(super) async fn answer_to(stream: &mut TcpStream, request: &[u8]) -> Result<(u16, Vec<u8>), String> {
    // A server may refuse after the first bytes.
    let _ = timeout(ANSWER, stream.write_all(request)).await;
    match timeout(ANSWER, connect::read_header(stream, Vec::new())).await {
        Ok(Ok((header, rest))) => Ok((header.status, rest)),
        Ok(Err(_)) => Err("closed".to_owned()),
        Err(_) => Err("no_answer".to_owned()),
    }
}
