//! A web server in front of gateways, configured well or badly: it drops or changes headers of requests,
//! connects from another address, hangs up on who is idle, and sends each connection to the next of its
//! gateways.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::BytesMut;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::task::JoinHandle;
use tokio::time::timeout;

/// How it is configured. A header without a value is removed.
#[derive(Clone, Debug)]
pub struct WebProxyBuilder {
    gateways: Vec<SocketAddr>,
    sets: Vec<(&'static str, String)>,
    appends_client: bool,
    connects_from: IpAddr,
    idle: Duration,
}

impl WebProxyBuilder {
    /// Sets a header of each request, whatever the client sent.
    pub fn setting(mut self, name: &'static str, value: &str) -> Self {
        self.sets.push((name, value.to_owned()));
        self
    }

    /// Removes a header of each request.
    pub fn dropping(self, name: &'static str) -> Self {
        self.setting(name, "")
    }

    /// Does not say for whom it asks, and leaves what the client said.
    pub fn silent(mut self) -> Self {
        self.appends_client = false;
        self
    }

    /// Connects to its gateways from this address of the machine.
    pub fn from(mut self, address: [u8; 4]) -> Self {
        self.connects_from = Ipv4Addr::from(address).into();
        self
    }

    /// Hangs up on connections on which nothing is said for so long.
    pub fn closing_idle_after(mut self, idle: Duration) -> Self {
        self.idle = idle;
        self
    }

    /// Listens on a port the system picks.
    pub async fn start(self) -> WebProxy {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a loopback port");
        let addr = listener.local_addr().expect("a bound socket has an address");
        WebProxy { addr, accepting: tokio::spawn(accept(listener, Arc::new(self))) }
    }
}

/// A running proxy; ended with the value.
#[derive(Debug)]
pub struct WebProxy {
    addr: SocketAddr,
    accepting: JoinHandle<()>,
}

impl WebProxy {
    /// One that does all right: it passes everything on and appends the client's address to
    /// `X-Forwarded-For`.
    pub fn before(gateways: &[SocketAddr]) -> WebProxyBuilder {
        WebProxyBuilder {
            gateways: gateways.to_vec(),
            sets: Vec::new(),
            appends_client: true,
            connects_from: Ipv4Addr::LOCALHOST.into(),
            idle: Duration::from_secs(3600),
        }
    }

    /// `ws://…/ws`.
    pub fn ws_url(&self) -> String {
        format!("ws://{}/ws", self.addr)
    }
}

impl Drop for WebProxy {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn accept(listener: TcpListener, proxy: Arc<WebProxyBuilder>) {
    let turn = AtomicUsize::new(0);
    loop {
        let Ok((client, peer)) = listener.accept().await else { continue };
        let gateway = proxy.gateways[turn.fetch_add(1, Ordering::Relaxed) % proxy.gateways.len()];
        tokio::spawn(carry(client, peer.ip(), gateway, Arc::clone(&proxy)));
    }
}

/// One connection with one request; `None` where an end is gone.
async fn carry(
    mut client: TcpStream,
    peer: IpAddr,
    gateway: SocketAddr,
    proxy: Arc<WebProxyBuilder>,
) -> Option<()> {
    let mut read = BytesMut::new();
    let head_ends = loop {
        if let Some(at) = read.windows(4).position(|window| window == b"\r\n\r\n") {
            break at + 4;
        }
        if client.read_buf(&mut read).await.ok()? == 0 {
            return None;
        }
    };
    let head = proxy.changed(&String::from_utf8_lossy(&read.split_to(head_ends)), peer);
    let socket = TcpSocket::new_v4().ok()?;
    socket.bind(SocketAddr::new(proxy.connects_from, 0)).ok()?;
    let mut server = socket.connect(gateway).await.ok()?;
    server.write_all(head.as_bytes()).await.ok()?;
    server.write_all(&read).await.ok()?;
    let (mut of_client, mut of_server) = (BytesMut::new(), BytesMut::new());
    loop {
        let either = async {
            tokio::select! {
                said = client.read_buf(&mut of_client) => said,
                said = server.read_buf(&mut of_server) => said,
            }
        };
        if timeout(proxy.idle, either).await.ok()?.ok()? == 0 {
            return None;
        }
        server.write_all(&of_client.split()).await.ok()?;
        client.write_all(&of_server.split()).await.ok()?;
    }
}

impl WebProxyBuilder {
    /// The head of a request as it goes on.
    fn changed(&self, head: &str, peer: IpAddr) -> String {
        let mut lines: Vec<String> = head.trim_end().split("\r\n").map(str::to_owned).collect();
        if self.appends_client {
            let said = lines.iter().find_map(|line| header(line, "x-forwarded-for")).map(str::to_owned);
            let chain = said.map_or_else(|| peer.to_string(), |said| format!("{said}, {peer}"));
            set(&mut lines, "x-forwarded-for", &chain);
        }
        self.sets.iter().for_each(|(name, value)| set(&mut lines, name, value));
        lines.join("\r\n") + "\r\n\r\n"
    }
}

fn header<'a>(line: &'a str, wanted: &str) -> Option<&'a str> {
    let (name, value) = line.split_once(':')?;
    name.eq_ignore_ascii_case(wanted).then(|| value.trim())
}

fn set(lines: &mut Vec<String>, name: &str, value: &str) {
    lines.retain(|line| header(line, name).is_none());
    if !value.is_empty() {
        lines.push(format!("{name}: {value}"));
    }
}
