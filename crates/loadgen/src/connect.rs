//! Where to connect and from where: URLs, loopback source addresses, sockets, and the WebSocket upgrade.

use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::time::Duration;

use socket2::{Domain, Socket, Type};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::timeout;

use crate::{LoadError, wire};

/// A connection that is not up by then counts as failed.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(30);
/// Longest response header read.
const MAX_HEADER: usize = 16 << 10;
/// Last octets in use are 2 to 253.
const HOSTS_PER_NET: usize = 252;

/// Who a connection belongs to: each kind has source addresses of its own, so that one kind's traffic does not
/// use up another's per-address limits.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Sources {
    Subscribers = 0,
    Publishers = 1,
    Pollers = 2,
    Others = 3,
    Attackers = 4,
}

impl Sources {
    /// The source address of the connection with this number, `per_address` to each.
    pub(crate) fn address(self, index: usize, per_address: usize) -> Ipv4Addr {
        let host = index / per_address.max(1);
        let (net, last) = (host / HOSTS_PER_NET, 2 + host % HOSTS_PER_NET);
        Ipv4Addr::new(127, self as u8, (net % 256) as u8, last as u8)
    }
}

/// A server and a path on it. `{room}` in the path stands for the room's number.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    pub(crate) addr: SocketAddr,
    pub(crate) host: String,
    pub(crate) path: String,
}

impl Target {
    /// Parses `ws://IP:PORT/path` or `http://IP:PORT/path`; only loopback addresses are load-tested.
    pub(crate) fn parse(url: &str) -> Result<Target, LoadError> {
        let wrong =
            || LoadError::Usage(format!("{url}: want ws:// or http://, a loopback IP, a port and a path"));
        let rest = url.strip_prefix("ws://").or_else(|| url.strip_prefix("http://")).ok_or_else(wrong)?;
        let (host, path) = rest.find('/').map_or((rest, "/"), |slash| rest.split_at(slash));
        let addr: SocketAddr = host.replace("localhost", "127.0.0.1").parse().map_err(|_| wrong())?;
        if !addr.ip().is_loopback() {
            return Err(wrong());
        }
        Ok(Target { addr, host: host.to_owned(), path: path.to_owned() })
    }

    pub(crate) fn path_of(&self, room: usize) -> String {
        self.path.replace("{room}", &room.to_string())
    }
}

/// Settings that make a socket a poor reader: little is buffered by the kernels on its behalf.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Narrow {
    /// Receive buffer, bytes.
    pub(crate) receive_buffer: usize,
    /// Largest TCP segment; loopback's own 64 KiB would let the server's kernel buffer megabytes.
    pub(crate) segment: u32,
}

/// Connects to `addr` from `source`.
pub(crate) async fn open(
    addr: SocketAddr,
    source: Ipv4Addr,
    narrow: Option<Narrow>,
) -> Result<TcpStream, LoadError> {
    let socket = bound(addr, source, narrow).map_err(LoadError::io(format!("a socket from {source}")))?;
    let connecting = TcpSocket::from_std_stream(socket.into()).connect(addr);
    let stream = timeout(CONNECT_TIMEOUT, connecting)
        .await
        .map_err(|_| LoadError::Late(format!("connecting to {addr}")))?
        .map_err(LoadError::io(format!("connecting to {addr} from {source}")))?;
    stream.set_nodelay(true).map_err(LoadError::io("TCP_NODELAY"))?;
    Ok(stream)
}

fn bound(addr: SocketAddr, source: Ipv4Addr, narrow: Option<Narrow>) -> std::io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(addr), Type::STREAM, None)?;
    socket.set_nonblocking(true)?;
    if let Some(narrow) = narrow {
        socket.set_recv_buffer_size(narrow.receive_buffer)?;
        socket.set_tcp_mss(narrow.segment)?;
    }
    if addr.is_ipv4() {
        socket.bind(&SocketAddr::from(SocketAddrV4::new(source, 0)).into())?;
    }
    Ok(socket)
}

/// Upgrades the connection. Returns what the server sent behind its response header, which is frames already.
pub(crate) async fn upgrade(stream: &mut TcpStream, host: &str, path: &str) -> Result<Vec<u8>, LoadError> {
    let exchange = async {
        let request = wire::upgrade_request(host, path);
        stream.write_all(request.as_bytes()).await.map_err(LoadError::io("the upgrade request"))?;
        let (header, rest) = read_header(stream, Vec::new()).await?;
        if header.status == 101 {
            Ok(rest)
        } else {
            Err(LoadError::Refused(format!("upgrade answered with status {}", header.status)))
        }
    };
    timeout(CONNECT_TIMEOUT, exchange).await.map_err(|_| LoadError::Late("upgrade".to_owned()))?
}

/// What a response header says.
#[derive(Debug)]
pub(crate) struct Header {
    pub(crate) status: u16,
    pub(crate) content_length: Option<usize>,
}

/// Reads a response header that begins with `bytes`; returns it and the bytes behind it.
pub(crate) async fn read_header(
    stream: &mut TcpStream,
    mut bytes: Vec<u8>,
) -> Result<(Header, Vec<u8>), LoadError> {
    loop {
        if let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
            let header = parse_header(&String::from_utf8_lossy(&bytes[..end]))?;
            return Ok((header, bytes.split_off(end + 4)));
        }
        if bytes.len() > MAX_HEADER {
            return Err(LoadError::Refused("a response header without end".to_owned()));
        }
        let read = stream.read_buf(&mut bytes).await.map_err(LoadError::io("reading a response header"))?;
        if read == 0 {
            return Err(LoadError::Refused("closed instead of answering".to_owned()));
        }
    }
}

fn parse_header(text: &str) -> Result<Header, LoadError> {
    let status = text.split_whitespace().nth(1).and_then(|status| status.parse().ok());
    let status = status.ok_or_else(|| LoadError::Refused(format!("not HTTP: {:.40}", text)))?;
    let content_length = text.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse().ok())?
    });
    Ok(Header { status, content_length })
}

#[cfg(test)]
mod tests {
    use super::{Sources, Target, parse_header};

    #[test]
    fn fifteen_thousand_subscribers_have_addresses_with_two_hundred_each() {
        assert_eq!(Sources::Subscribers.address(0, 200).to_string(), "127.0.0.2");
        assert_eq!(Sources::Subscribers.address(14_999, 200).to_string(), "127.0.0.76");
        assert_eq!(Sources::Publishers.address(252, 1).to_string(), "127.1.1.2");
    }

    #[test]
    fn only_loopback_is_a_target() {
        assert!(Target::parse("ws://127.0.0.1:8080/ws").is_ok());
        assert!(Target::parse("ws://192.0.2.1:8080/ws").is_err());
        assert!(Target::parse("wss://127.0.0.1:8080/ws").is_err());
        let target = Target::parse("http://127.0.0.1:1/pub?id={room}").expect("target");
        assert_eq!(target.path_of(7), "/pub?id=7");
    }

    #[test]
    fn a_response_header_gives_status_and_length() {
        let header = parse_header("HTTP/1.1 201 Created\r\ncontent-Length: 12").expect("header");
        assert_eq!((header.status, header.content_length), (201, Some(12)));
    }
}
