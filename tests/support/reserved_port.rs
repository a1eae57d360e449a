//! A loopback port that stays ours while servers on it come and go.
//! A bound socket that never listens holds it: connections are refused, and nobody else is given the port.

use std::net::SocketAddr;

use tokio::net::{TcpListener, TcpSocket};

/// Keeps a port of 127.0.0.1 for as long as it lives.
#[derive(Debug)]
pub struct ReservedPort {
    addr: SocketAddr,
    _guard: TcpSocket,
}

impl ReservedPort {
    /// Takes a port the system picks.
    pub fn new() -> Self {
        let guard = reusable_socket(SocketAddr::from(([127, 0, 0, 1], 0)));
        let addr = guard.local_addr().expect("a bound socket has an address");
        Self { addr, _guard: guard }
    }

    /// The address that is kept.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Listens on the port; dropping the listener makes the port refuse again.
    pub fn listen(&self) -> TcpListener {
        reusable_socket(self.addr).listen(1024).expect("a reserved port can be listened on")
    }
}

impl Default for ReservedPort {
    fn default() -> Self {
        Self::new()
    }
}

fn reusable_socket(addr: SocketAddr) -> TcpSocket {
    let socket = TcpSocket::new_v4().expect("a TCP socket");
    socket.set_reuseaddr(true).expect("SO_REUSEADDR");
    socket.bind(addr).expect("a loopback port");
    socket
}
