//! `GET /ws`: from a handshake to a session on the bare socket. HTTP's own buffers go with the handshake, so an
//! idle browser costs its session alone.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::header::SEC_WEBSOCKET_VERSION;
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::timeout;
use tokio_rustls::server::TlsStream;
use tokio_tungstenite::tungstenite::error::{Error, ProtocolError};
use tokio_tungstenite::tungstenite::handshake::server::create_response_with_body;

use super::operators::peer;
use super::taken::Taken;
use crate::app::Services;
use crate::config::SecurityMode;
use crate::security::address::ClientAddress;
use crate::security::asker::Asker;
use crate::security::limits::ConnectionPermit;
use crate::security::origin::Page;
use crate::security::{operators, origin};
use crate::session::{self, Connection, Socket};

/// Between the server's 101 and the socket being ours.
const UPGRADE_DEADLINE: Duration = Duration::from_secs(10);
/// In token mode a connection says who it is within this.
const HELLO_DEADLINE: Duration = Duration::from_secs(5);
/// What the kernel may hold for a slow reader; beyond it diffs are conflated. The kernel doubles this.
const SEND_BUFFER: usize = 32 * 1024;

pub(super) async fn upgrade(State(services): State<Arc<Services>>, mut request: Request) -> Response {
    let refuse = |status: StatusCode, reason: &'static str, message: String| {
        services.metrics.count_refused(reason);
        (status, message + "\n").into_response()
    };
    if services.leaving.load(std::sync::atomic::Ordering::Relaxed) {
        return refuse(StatusCode::SERVICE_UNAVAILABLE, "draining", "shutting down; connect again".into());
    }
    let peer = peer(&request);
    let server = services.server.load();
    if origin::page(request.headers(), peer, &services.security.load(), &server) == Page::Foreign {
        let message = "this origin may not connect; name it in security.allowed_origins";
        return refuse(StatusCode::FORBIDDEN, "origin", message.into());
    }
    let mut response = match create_response_with_body(&request, Body::empty) {
        Ok(response) => response,
        Err(error) => {
            let status = match &error {
                Error::Protocol(ProtocolError::MissingSecWebSocketVersionHeader) => {
                    StatusCode::UPGRADE_REQUIRED
                }
                _ => StatusCode::BAD_REQUEST,
            };
            let message = format!("this path speaks WebSocket (version 13): {error}");
            let mut refused = refuse(status, "handshake", message);
            refused.headers_mut().insert(SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13"));
            return refused;
        }
    };
    let from = services.commands.limits.client_of(peer, request.headers(), &server.trusted_proxies);
    let permit = match services.commands.limits.admit(from) {
        Ok(permit) => permit,
        Err(refused) => return refuse(refused.status(), refused.kind(), refused.to_string()),
    };
    let Some(upgrading) = request.extensions_mut().remove::<OnUpgrade>() else {
        return refuse(StatusCode::BAD_REQUEST, "handshake", "this connection cannot be upgraded".into());
    };
    if operators::check(services.security.load().dashboard_key.as_ref(), &request).is_ok() {
        let peer = request.extensions().get::<SocketAddr>().copied();
        Asker::of(peer, request.headers(), &server.trusted_proxies).tell(response.headers_mut());
    }
    tokio::spawn(hand_over(services, upgrading, permit, from));
    response
}

/// Spawns the session in a task of its own: what the handshake needed is dropped with this one.
async fn hand_over(
    services: Arc<Services>,
    upgrading: OnUpgrade,
    permit: ConnectionPermit,
    from: ClientAddress,
) {
    let Ok(Ok(upgraded)) = timeout(UPGRADE_DEADLINE, upgrading).await else { return };
    let Some((socket, read_ahead)) = into_socket(upgraded) else {
        tracing::error!(event = "upgrade_failed", "the upgraded connection is no socket of a known kind");
        return;
    };
    socket.set_send_buffer(SEND_BUFFER);
    services.metrics.connections_opened.inc();
    let connection = Connection::new(services.connections.next_id(), socket, permit);
    if services.security.load().mode == SecurityMode::Token {
        connection.allow_for(HELLO_DEADLINE);
    }
    tokio::spawn(session::run(services, connection, read_ahead, from));
}

fn into_socket(upgraded: Upgraded) -> Option<(Socket, Bytes)> {
    let unknown = match socket_of::<TcpStream>(upgraded) {
        Ok(found) => return Some(found),
        Err(other) => other,
    };
    let unknown = match socket_of::<UnixStream>(unknown) {
        Ok(found) => return Some(found),
        Err(other) => other,
    };
    socket_of::<TlsStream<TcpStream>>(unknown).ok()
}

fn socket_of<S>(upgraded: Upgraded) -> Result<(Socket, Bytes), Upgraded>
where
    S: AsyncRead + AsyncWrite + Unpin + 'static,
    Socket: From<S>,
{
    let parts = upgraded.downcast::<TokioIo<Taken<S>>>()?;
    // A copy: the original would keep HTTP's whole read buffer alive.
    Ok((parts.io.into_inner().into_inner().into(), Bytes::copy_from_slice(&parts.read_buf)))
}
