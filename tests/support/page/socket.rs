//! The task behind a page: the only one that touches its WebSocket.

use std::net::SocketAddr;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex};

use futures::{SinkExt, StreamExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::http::{HeaderName, HeaderValue};
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::{self, Message};
use tokio_tungstenite::{WebSocketStream, client_async};

use super::{Page, Seen};
use crate::PATIENCE;

/// What a page asks of its socket.
#[derive(Debug)]
pub(super) enum Order {
    Send(Message),
    Reading(bool),
    Close,
}

/// How a page connects.
#[derive(Clone, Debug)]
pub struct PageBuilder {
    addr: SocketAddr,
    headers: Vec<(HeaderName, HeaderValue)>,
    receive_buffer: Option<u32>,
}

impl PageBuilder {
    /// To whatever leads to a gateway from here.
    pub fn at(addr: SocketAddr) -> Self {
        Self { addr, headers: Vec::new(), receive_buffer: None }
    }

    /// Adds a header to the upgrade request.
    pub fn header(mut self, name: &str, value: &str) -> Self {
        let name = HeaderName::try_from(name).expect("a header name");
        self.headers.push((name, HeaderValue::try_from(value).expect("a header value")));
        self
    }

    /// Comes from this address, as a trusted proxy says.
    pub fn from_address(self, address: &str) -> Self {
        self.header("x-forwarded-for", address)
    }

    /// Sets the kernel's receive buffer, so that a page that stops reading is felt soon.
    pub fn receive_buffer(mut self, bytes: u32) -> Self {
        self.receive_buffer = Some(bytes);
        self
    }

    /// Connects.
    pub async fn open(self) -> Page {
        self.try_open().await.expect("the gateway upgrades")
    }

    /// Connects, or says with which HTTP status the upgrade was refused.
    pub async fn try_open(self) -> Result<Page, u16> {
        let mut request = format!("ws://{}/ws", self.addr).into_client_request().expect("a request");
        request.headers_mut().extend(self.headers);
        let tcp = TcpSocket::new_v4().expect("a socket");
        if let Some(bytes) = self.receive_buffer {
            tcp.set_recv_buffer_size(bytes).expect("SO_RCVBUF");
        }
        let stream = tcp.connect(self.addr).await.expect("the gateway accepts");
        stream.set_nodelay(true).expect("TCP_NODELAY");
        let upgraded =
            timeout(PATIENCE, client_async(request, stream)).await.expect("an answer to the upgrade");
        match upgraded {
            Ok((socket, _)) => Ok(page_over(socket)),
            Err(tungstenite::Error::Http(answer)) => Err(answer.status().as_u16()),
            Err(error) => panic!("the upgrade failed: {error}"),
        }
    }
}

fn page_over(socket: WebSocketStream<TcpStream>) -> Page {
    let (orders, received) = mpsc::unbounded_channel();
    let (tell, changed) = watch::channel(0);
    let seen = Arc::new(Mutex::new(Seen::default()));
    let socket = tokio::spawn(run(socket, received, Arc::clone(&seen), tell));
    Page { seen, changed, orders, next_id: AtomicU64::new(1), socket }
}

/// Carries out orders and takes frames in until either side ends; pings are answered by reading on.
async fn run(
    mut socket: WebSocketStream<TcpStream>,
    mut orders: mpsc::UnboundedReceiver<Order>,
    seen: Arc<Mutex<Seen>>,
    tell: watch::Sender<u64>,
) {
    let mut reading = true;
    let mut close_code = None;
    loop {
        tokio::select! {
            order = orders.recv() => match order {
                Some(Order::Send(message)) => {
                    // Where the server has closed, the reading side finds out why.
                    drop(socket.send(message).await);
                }
                Some(Order::Reading(wanted)) => reading = wanted,
                Some(Order::Close) => {
                    let going = CloseFrame { code: CloseCode::Away, reason: "".into() };
                    drop(socket.close(Some(going)).await);
                }
                None => break,
            },
            frame = socket.next(), if reading => match frame {
                Some(Ok(Message::Text(text))) => seen.lock().expect("what the page saw").on_text(&text),
                Some(Ok(Message::Close(frame))) => close_code = frame.map(|frame| u16::from(frame.code)),
                Some(Ok(_)) => {}
                Some(Err(_)) | None => break,
            },
        }
        tell.send_modify(|count| *count += 1);
    }
    seen.lock().expect("what the page saw").closed = Some(close_code);
    tell.send_modify(|count| *count += 1);
}
