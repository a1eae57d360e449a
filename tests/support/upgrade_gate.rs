//! A proxy as some companies have one: it passes HTTP, and refuses WebSockets until it is told to let them through.
//! Invariant: what it passes is passed byte for byte, so a page sees one host whatever it asks for.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use crate::{Gateway, ReservedPort};

const REFUSAL: &[u8] = b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";

/// A listening proxy in front of one gateway.
#[derive(Debug)]
pub struct UpgradeGate {
    port: ReservedPort,
    open: Arc<AtomicBool>,
    refused: Arc<AtomicU32>,
    _tasks: JoinSet<()>,
}

impl UpgradeGate {
    /// Stands in front of the gateway and refuses every upgrade.
    pub fn closed_before(gateway: &Gateway) -> Self {
        let port = ReservedPort::new();
        let (open, refused) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU32::new(0)));
        let mut tasks = JoinSet::new();
        let listener = port.listen();
        let (upstream, is_open, count) = (gateway.addr(), open.clone(), refused.clone());
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                connections.spawn(pass(stream, upstream, is_open.clone(), count.clone()));
            }
        });
        Self { port, open, refused, _tasks: tasks }
    }

    /// Lets upgrades through from now on.
    pub fn let_through(&self) {
        self.open.store(true, Ordering::SeqCst);
    }

    /// How many upgrades it refused.
    pub fn refused(&self) -> u32 {
        self.refused.load(Ordering::SeqCst)
    }

    /// `http://…` without a slash at the end.
    pub fn http_url(&self) -> String {
        format!("http://{}", self.port.addr())
    }
}

/// Passes one connection on. A browser makes a new one for each WebSocket, so its first request tells.
async fn pass(mut stream: TcpStream, upstream: SocketAddr, open: Arc<AtomicBool>, refused: Arc<AtomicU32>) {
    let mut head = Vec::new();
    while !head.windows(4).any(|end| end == b"\r\n\r\n") {
        if stream.read_buf(&mut head).await.unwrap_or(0) == 0 {
            return;
        }
    }
    let is_upgrade = String::from_utf8_lossy(&head).to_lowercase().contains("\r\nupgrade: websocket");
    if is_upgrade && !open.load(Ordering::SeqCst) {
        refused.fetch_add(1, Ordering::SeqCst);
        drop(stream.write_all(REFUSAL).await);
        return;
    }
    let Ok(mut server) = TcpStream::connect(upstream).await else { return };
    if server.write_all(&head).await.is_ok() {
        drop(copy_bidirectional(&mut stream, &mut server).await);
    }
}
