//! Bytes by hand: HTTP requests that no client would send, WebSocket frames that no browser would.
//! It answers no ping unless told to.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::{Instant, timeout, timeout_at};

use crate::PATIENCE;

const MASK: [u8; 4] = [0x17, 0x2a, 0x3c, 0x4d];
const CLOSE: u8 = 0x8;

/// A WebSocket connection whose frames are written byte by byte.
#[derive(Debug)]
pub struct RawSocket {
    stream: TcpStream,
    buffer: BytesMut,
}

/// A frame as it came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RawFrame {
    /// 1 text, 2 binary, 8 close, 9 ping, 10 pong.
    pub opcode: u8,
    /// The payload.
    pub payload: Vec<u8>,
}

/// The head of an HTTP answer; a status of 0 where the server closed without one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RawAnswer {
    /// The status.
    pub status: u16,
    /// Status line, headers and what came of the body.
    pub text: String,
}

/// Sends these bytes and returns what came back within `deadline`, or until the server closed.
pub async fn raw_http(addr: SocketAddr, request: &[u8], deadline: Duration) -> RawAnswer {
    exchange(TcpStream::connect(addr).await.expect("the gateway accepts"), request, deadline).await
}

async fn exchange(mut stream: TcpStream, request: &[u8], deadline: Duration) -> RawAnswer {
    // A server may refuse after the first bytes.
    drop(stream.write_all(request).await);
    let mut answer = BytesMut::new();
    let end = Instant::now() + deadline;
    while !answer.windows(4).any(|window| window == b"\r\n\r\n") {
        match timeout_at(end, stream.read_buf(&mut answer)).await {
            Ok(Ok(0) | Err(_)) => break,
            Ok(Ok(_)) => {}
            Err(_) => panic!("neither an answer nor a close within {deadline:?}"),
        }
    }
    let text = String::from_utf8_lossy(&answer).into_owned();
    let status = text.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0);
    RawAnswer { status, text }
}

/// The request that asks for an upgrade, with more header lines, each ending in CRLF.
fn upgrade_request(addr: SocketAddr, more: &str) -> String {
    format!(
        "GET /ws HTTP/1.1\r\nHost: {addr}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n{more}\r\n"
    )
}

/// A masked frame as a browser writes it. `first`: FIN, reserved bits and opcode.
pub fn masked_frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![first];
    match payload.len() {
        length @ 0..126 => frame.push(0x80 | u8::try_from(length).expect("below 126")),
        length @ 126..=0xffff => {
            frame.push(0x80 | 126);
            frame.extend(u16::try_from(length).expect("16 bits").to_be_bytes());
        }
        length => {
            frame.push(0x80 | 127);
            frame.extend(u64::try_from(length).expect("64 bits").to_be_bytes());
        }
    }
    frame.extend(MASK);
    frame.extend(payload.iter().zip(MASK.iter().cycle()).map(|(byte, mask)| byte ^ mask));
    frame
}

impl RawSocket {
    /// Connects and upgrades.
    pub async fn open(addr: SocketAddr) -> Self {
        Self::open_with(addr, "").await.0
    }

    /// Connects and upgrades with more header lines, each ending in CRLF; with the head of the answer.
    pub async fn open_with(addr: SocketAddr, more: &str) -> (Self, String) {
        let mut socket = Self::connect(addr).await;
        socket.send_bytes(upgrade_request(addr, more).as_bytes()).await;
        let head = socket.read_head().await;
        (socket, head)
    }

    /// Connects, and leaves it to the test to ask for the upgrade.
    pub async fn connect(addr: SocketAddr) -> Self {
        Self::over(TcpStream::connect(addr).await.expect("the gateway accepts"))
    }

    /// Connects with so small a receive buffer and upgrades: one that does not read is felt soon.
    pub async fn open_narrow(addr: SocketAddr, receive_buffer: u32) -> Self {
        let socket = TcpSocket::new_v4().expect("a socket");
        socket.set_recv_buffer_size(receive_buffer).expect("SO_RCVBUF");
        let mut socket = Self::over(socket.connect(addr).await.expect("the gateway accepts"));
        socket.send_bytes(upgrade_request(addr, "").as_bytes()).await;
        socket.read_head().await;
        socket
    }

    fn over(stream: TcpStream) -> Self {
        // Each write is a packet of its own.
        stream.set_nodelay(true).expect("TCP_NODELAY");
        Self { stream, buffer: BytesMut::new() }
    }

    /// The head of the answer to the upgrade, which must be granted.
    pub async fn read_head(&mut self) -> String {
        let head_end = loop {
            if let Some(at) = self.buffer.windows(4).position(|window| window == b"\r\n\r\n") {
                break at + 4;
            }
            let read = timeout(PATIENCE, self.stream.read_buf(&mut self.buffer)).await;
            assert_ne!(read.expect("an answer in time").expect("an answer"), 0, "closed during the upgrade");
        };
        let head = String::from_utf8_lossy(&self.buffer.split_to(head_end)).into_owned();
        assert!(head.starts_with("HTTP/1.1 101"), "{head}");
        head
    }

    /// The status with which an upgrade with these header lines is answered.
    pub async fn upgrade_status(addr: SocketAddr, more: &str) -> u16 {
        raw_http(addr, upgrade_request(addr, more).as_bytes(), PATIENCE).await.status
    }

    /// As [`RawSocket::upgrade_status`], but 0 where nobody listens any more.
    pub async fn upgrade_status_or_refusal(addr: SocketAddr, more: &str) -> u16 {
        match TcpStream::connect(addr).await {
            Ok(stream) => exchange(stream, upgrade_request(addr, more).as_bytes(), PATIENCE).await.status,
            Err(_) => 0,
        }
    }

    /// Sends a whole masked text frame.
    pub async fn send_text(&mut self, text: &str) {
        self.send(0x81, text.as_bytes()).await;
    }

    /// Sends a masked frame whose first byte (FIN, reserved bits, opcode) is this.
    pub async fn send(&mut self, first: u8, payload: &[u8]) {
        self.send_bytes(&masked_frame(first, payload)).await;
    }

    /// Sends these bytes as they are.
    pub async fn send_bytes(&mut self, bytes: &[u8]) {
        // A server that has closed already is what some tests are after.
        drop(self.stream.write_all(bytes).await);
    }

    /// Sends these bytes and says whether the other end still takes any; reads what comes meanwhile, for [`RawSocket::next_frame`].
    pub async fn flood(&mut self, bytes: &[u8]) -> bool {
        let (mut reading, mut writing) = self.stream.split();
        let writing = writing.write_all(bytes);
        tokio::pin!(writing);
        loop {
            tokio::select! {
                sent = &mut writing => return sent.is_ok(),
                read = reading.read_buf(&mut self.buffer) => {
                    if !matches!(read, Ok(1..)) {
                        return false;
                    }
                }
            }
        }
    }

    /// The next frame; `None` where the connection ends first.
    pub async fn next_frame(&mut self, deadline: Duration) -> Option<RawFrame> {
        let end = Instant::now() + deadline;
        loop {
            if let Some(frame) = self.take_frame() {
                return Some(frame);
            }
            let read = timeout_at(end, self.stream.read_buf(&mut self.buffer)).await;
            match read.unwrap_or_else(|_| panic!("neither a frame nor an end within {deadline:?}")) {
                Ok(0) | Err(_) => return None,
                Ok(_) => {}
            }
        }
    }

    /// Whether the server ends the connection in order, with nothing more to say: a reset may take with it what was said.
    pub async fn ends_in_order(&mut self, deadline: Duration) -> bool {
        let read = timeout(deadline, self.stream.read_buf(&mut self.buffer)).await;
        self.buffer.is_empty()
            && matches!(read.unwrap_or_else(|_| panic!("no end within {deadline:?}")), Ok(0))
    }

    /// Reads on until the server closes; the close code where it said one.
    pub async fn close_code(&mut self, deadline: Duration) -> Option<u16> {
        let end = Instant::now() + deadline;
        loop {
            let frame = self.next_frame(end.saturating_duration_since(Instant::now())).await?;
            if frame.opcode == CLOSE {
                return Some(u16::from_be_bytes([*frame.payload.first()?, *frame.payload.get(1)?]));
            }
        }
    }

    /// Takes a whole frame out of the buffer. A server's frame is whole, has no reserved bits, no mask, and its length in
    /// the shortest form.
    fn take_frame(&mut self) -> Option<RawFrame> {
        let [first, second, ..] = *self.buffer else { return None };
        assert_eq!(first & 0xf0, 0x80, "FIN alone, in {first:#04x}");
        assert_eq!(second & 0x80, 0, "a server's frame is not masked");
        let (head, length) = match second {
            126 => (4, usize::from(u16::from_be_bytes(self.buffer.get(2..4)?.try_into().expect("2 bytes")))),
            127 => panic!("no frame of the protocol is that large"),
            length => (2, usize::from(length)),
        };
        assert!(head == 2 || length > 125, "{length} in the longer form");
        if self.buffer.len() < head + length {
            return None;
        }
        self.buffer.advance(head);
        Some(RawFrame { opcode: first & 0x0f, payload: self.buffer.split_to(length).to_vec() })
    }
}
