//! One WebSocket connection: its socket, what it has said, what it is to be told.

mod connection;
mod fragments;
mod io;
mod overhead;
mod registry;
mod socket;
mod state;
mod tls_socket;
#[cfg(test)]
mod tls_tests;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::{SinkExt, StreamExt};
use tokio::time::timeout;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::error::Error;
use tokio_tungstenite::tungstenite::protocol::{Message, Role, WebSocketConfig};

pub use connection::{CloseCode, Connection, Offered};
pub use registry::Registry;
pub use socket::Socket;
pub(crate) use state::Session;

use crate::app::Services;
use crate::observe::metrics::CodeLabel;
use crate::security::address::ClientAddress;
use connection::Pending;
use io::SocketIo;

/// What an idle connection keeps for reading: most frames are smaller.
const READ_BUFFER: usize = 512;
/// What tungstenite may have to write at a time: a pong or the answer to a close frame, 127 bytes at most.
const WRITE_BUFFER: usize = 512;
/// How long the last frame has to arrive after the server ended a connection.
const LINGER: Duration = Duration::from_secs(1);

/// Serves a connection from its upgrade to its end. `read_ahead`: what came with the handshake.
///
/// Waits for, all on this screen: a message of the client's, the socket taking bytes again, somebody's wake-up.
/// Whoever ended it: the last frame has a moment to arrive.
/// While bytes wait to be written nothing is read, so what a client can pile up is bounded.
pub(crate) async fn run(
    services: Arc<Services>,
    connection: Arc<Connection>,
    read_ahead: Bytes,
    from: ClientAddress,
) {
    let io = SocketIo::new(connection.clone(), &read_ahead);
    let partial = read_ahead.to_vec();
    drop(read_ahead);
    let config = config(services.security.load().max_frame_bytes as usize);
    let mut socket = WebSocketStream::from_partially_read(io, partial, Role::Server, Some(config)).await;
    services.connections.add(connection.clone());
    let mut session = Session::new(services.clone(), connection.clone(), from);
    loop {
        session.on_fragments(socket.get_mut().take_fragments());
        let pending = connection.pending();
        tokio::select! {
            message = socket.next(), if pending == Pending::Nothing => match message {
                Some(Ok(Message::Text(text))) => {
                    let request = session.on_text(&text);
                    drop(text);
                    if let Some(request) = request {
                        // In a box of its own: an idle connection does not carry room for the longest request,
                        // nor a hold for the rarer ones, which have theirs.
                        Box::pin(session.carry_out(request)).await;
                    }
                }
                Some(Ok(Message::Binary(_))) => connection.close(CloseCode::Binary),
                Some(Ok(Message::Close(_))) => {
                    connection.on_left();
                    // Has tungstenite write its answer; that it is the last is no error.
                    let _ = socket.flush().await;
                    break;
                }
                Some(Ok(control)) => session.on_control(control.len()),
                Some(Err(error)) => match close_code(&error) {
                    Some(code) => connection.close(code),
                    None => break,
                },
                None => break,
            },
            _ = connection.socket().writable(), if pending == Pending::Writable => {
                if let Some(room) = connection.flush() {
                    session.catch_up(room);
                }
            },
            () = connection.woken() => {}
            () = std::future::ready(()), if pending == Pending::Close => break,
        }
    }
    session.leave();
    if let Some(code) = connection.closing() {
        services.metrics.connections_closed.get_or_create(&CodeLabel { code: code as u16 }).inc();
    }
    linger(&connection).await;
    services.connections.remove(connection.id);
}

/// `largest`: of the messages that a client may send, in one frame or in pieces.
fn config(largest: usize) -> WebSocketConfig {
    WebSocketConfig::default()
        .read_buffer_size(READ_BUFFER)
        .write_buffer_size(0)
        .max_write_buffer_size(WRITE_BUFFER)
        .max_message_size(Some(largest))
        .max_frame_size(Some(largest))
}

/// What to tell a client whose bytes made no sense; nothing if it is gone.
fn close_code(error: &Error) -> Option<CloseCode> {
    use tokio_tungstenite::tungstenite::error::ProtocolError::ResetWithoutClosingHandshake;
    match error {
        Error::Capacity(_) => Some(CloseCode::TooBig),
        Error::Utf8(_) => Some(CloseCode::NotUtf8),
        Error::Protocol(ResetWithoutClosingHandshake) => None,
        Error::Protocol(_) => Some(CloseCode::Framing),
        _ => None,
    }
}

/// Lets what waits and the close frame arrive, if the client still reads: closing a socket with unread bytes in it
/// resets the connection.
async fn linger(connection: &Connection) {
    let _ = timeout(LINGER, Box::pin(say_the_last(connection))).await;
}

async fn say_the_last(connection: &Connection) {
    let socket = connection.socket();
    while !connection.is_flushed() && socket.writable().await.is_ok() {
        connection.flush();
    }
    socket.end_writing();
    while socket.filled().await.is_ok() {
        match socket.skip() {
            Ok(0) => return,
            Ok(_) => {}
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
            Err(_) => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Security;
    use crate::security::limits::Limits;
    use slot_state::ActorId;
    use tokio::io::{AsyncRead, AsyncReadExt};
    use tokio::net::{TcpListener, TcpStream, UnixStream};
    use tokio::time::Instant;

    /// A connection whose client has stopped reading, with something waiting for it.
    async fn blocked() -> (Arc<Connection>, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("binds");
        let client = TcpStream::connect(listener.local_addr().expect("bound")).await.expect("connects");
        let (stream, _) = listener.accept().await.expect("accepts");
        (filled(stream), client)
    }

    pub(super) fn connected(socket: impl Into<Socket>) -> Arc<Connection> {
        let permit = Limits::new(&Security::default()).admit(ClientAddress::None).expect("admits");
        Connection::new(ActorId(1), socket, permit)
    }

    pub(super) fn filled(socket: impl Into<Socket>) -> Arc<Connection> {
        let connection = connected(socket);
        while connection.pending() == Pending::Nothing {
            connection.send(&[0; 1024]);
        }
        assert_eq!(connection.pending(), Pending::Writable);
        connection
    }

    #[tokio::test]
    async fn a_client_that_reads_nothing_cannot_keep_its_connection_from_ending() {
        let (connection, _client) = blocked().await;
        connection.close(CloseCode::NoAnswer);
        assert_eq!(connection.pending(), Pending::Close);
        let began = Instant::now();
        linger(&connection).await;
        assert!(began.elapsed() < LINGER * 5, "{:?}", began.elapsed());
    }

    #[tokio::test]
    async fn what_waits_for_a_client_that_reads_nothing_is_bounded() {
        let (connection, _client) = blocked().await;
        for _ in 0..1000 {
            connection.send(&[0; 1024]);
        }
        assert_eq!(connection.closing(), Some(CloseCode::Internal), "cut off");
        assert!(connection.is_flushed(), "and nothing is kept for it");
    }

    /// What was too much for the socket arrives whole once its other end reads.
    async fn arrives_whole(connection: &Connection, mut client: impl AsyncRead + Unpin) {
        connection.send(b"the end");
        let mut received = Vec::new();
        while !received.ends_with(b"the end") {
            let mut bytes = [0; 4096];
            tokio::select! {
                count = client.read(&mut bytes) => received.extend_from_slice(&bytes[..count.expect("reads")]),
                _ = connection.socket().writable(), if connection.pending() == Pending::Writable => {
                    connection.flush();
                }
            }
        }
        assert!(received[..received.len() - 7].iter().all(|byte| *byte == 0), "nothing between");
        assert_eq!(received.len() % 1024, 7, "nothing missing");
        assert_eq!(connection.pending(), Pending::Nothing);
    }

    #[tokio::test]
    async fn a_socket_file_is_written_to_as_a_port_is() {
        let (connection, client) = blocked().await;
        arrives_whole(&connection, client).await;
        let (socket, client) = UnixStream::pair().expect("a pair");
        arrives_whole(&filled(socket), client).await;
    }
}
