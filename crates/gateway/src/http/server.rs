//! Accepts connections and serves HTTP/1 on them with limits on headers and time.

use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tower::Service;

use super::listener::{Accepted, Listener};
use super::router;
use super::tls::Tls;
use crate::app::Services;
use crate::observe::metrics::KindLabel;
use crate::security::address::{ClientAddress, Peer};

/// A request's head must be complete within this.
const HEADER_DEADLINE: Duration = Duration::from_secs(10);
/// And no larger than this; 431 otherwise.
const MAX_HEADER: usize = 16 * 1024;
/// After a failed accept, which usually means too many open files.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// A server at work. Its tasks each hold a receiver: the sender is closed when the last of them is done.
pub(crate) struct Server(watch::Sender<()>);

impl Server {
    /// Starts accepting.
    pub(crate) fn start(listener: Listener, services: Arc<Services>) -> Self {
        let (stop, stopped) = watch::channel(());
        tokio::spawn(accept(listener, services, stopped));
        Server(stop)
    }

    /// Stops accepting, and waits for the requests under way.
    pub(crate) async fn stop(self) {
        self.0.send_replace(());
        self.0.closed().await;
    }
}

async fn accept(listener: Listener, services: Arc<Services>, mut stop: watch::Receiver<()>) {
    let router = router::router(services.clone());
    // For connections: one that comes in last must hear of the end too, which this loop knows already.
    let ending = stop.clone();
    let mut leaving = false;
    loop {
        // Who waits in the kernel is let in before the end: a listener that closes resets those connections.
        let accepted = tokio::select! {
            biased;
            accepted = listener.accept() => accepted,
            _ = stop.changed(), if !leaving => {
                leaving = true;
                continue;
            }
            () = std::future::ready(()), if leaving => return,
        };
        match accepted {
            Ok((Accepted::Tcp(stream), peer)) => {
                let from = From { peer, socket: stream.peer_addr().ok() };
                match &services.tls {
                    None => _ = tokio::spawn(serve(stream, from, router.clone(), ending.clone())),
                    Some(tls) => {
                        let (tls, services) = (tls.clone(), services.clone());
                        _ = tokio::spawn(encrypt(
                            stream,
                            from,
                            tls,
                            services,
                            router.clone(),
                            ending.clone(),
                        ));
                    }
                }
            }
            Ok((Accepted::Unix(stream), peer)) => {
                let from = From { peer, socket: None };
                _ = tokio::spawn(serve(stream, from, router.clone(), ending.clone()))
            }
            Err(error) => {
                tracing::warn!(event = "accept_failed", error = %error);
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// The far end of a connection.
#[derive(Clone, Copy)]
struct From {
    peer: Peer,
    /// With its port, by which `slotcast doctor` finds that nothing stands in between; `None` for a socket file.
    socket: Option<SocketAddr>,
}

/// Whoever does not get through the handshake has cost a place among the handshakes, and nothing else.
async fn encrypt(
    stream: TcpStream,
    from: From,
    tls: Arc<Tls>,
    services: Arc<Services>,
    router: axum::Router,
    mut stop: watch::Receiver<()>,
) {
    let address = match from.peer {
        // A proxy's handshakes are those of everybody behind it.
        Peer::Tcp(address) if !services.server.load().trusted_proxies.trusts(from.peer) => {
            ClientAddress::Known(address)
        }
        _ => ClientAddress::None,
    };
    let Ok(permit) = services.commands.limits.begin_handshake(address) else {
        services.metrics.connections_refused.get_or_create(&KindLabel { kind: "tls_handshakes" }).inc();
        return;
    };
    let accepted = tokio::select! {
        accepted = tls.accept(stream) => accepted,
        _ = stop.changed() => None,
    };
    drop(permit);
    if let Some(stream) = accepted {
        // In a box: the handshake's own state need not outlive it within this future.
        Box::pin(serve(stream, from, router, stop)).await;
    }
}

async fn serve<S>(stream: S, from: From, router: axum::Router, mut stop: watch::Receiver<()>)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let service = service_fn(move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(from.peer);
        if let Some(socket) = from.socket {
            request.extensions_mut().insert(socket);
        }
        router.clone().call(request)
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_DEADLINE)
        .max_buf_size(MAX_HEADER)
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades();
    let mut connection = pin!(connection);
    let served = tokio::select! {
        served = connection.as_mut() => served,
        _ = stop.changed() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = served {
        tracing::debug!(event = "http_connection_failed", error = %error);
    }
}
