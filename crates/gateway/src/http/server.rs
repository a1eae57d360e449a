//! Accepts connections and serves HTTP/1 on them with limits on headers, time and open files. Started by `app`.
//! Invariant: who says nothing, or says it slowly, costs a place among the handshakes, and nothing else; who has
//! spoken is counted until the connection ends or is upgraded, and must take the answers.

use std::convert::Infallible;
use std::error::Error;
use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::Request;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use parking_lot::Mutex;
use rustix::process::{Resource, getrlimit};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::watch;

use super::listener::{Accepted, Listener};
use super::router;
use super::taken::Taken;
use super::tls::Tls;
use crate::app::Services;
use crate::security::Every;
use crate::security::address::{ClientAddress, Peer};
use crate::security::handshakes::{Handshake, Turn};
use crate::security::limits::{ConnectionPermit, Limits, Refused};

/// After a failed accept, which usually means too many open files.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// Open files that browsers do not get, where so many are allowed: the stores must be able to connect again.
const FILES_FOR_OTHERS: u64 = 32;
/// When to come again for whom there is no place, in seconds.
const RETRY_AFTER: &str = "5";
/// How often the log says that there are no more.
const WARN_EVERY: Duration = Duration::from_secs(60);

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
    let house = Arc::new(House {
        router: router::router(services.clone()),
        services,
        // For connections: one that comes in last must hear of the end too, which this loop knows already.
        stop: stop.clone(),
        warn: Every::new(WARN_EVERY),
    });
    let most_files = getrlimit(Resource::Nofile).current.map(|most| most - FILES_FOR_OTHERS.min(most / 8));
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
            // Files get the lowest number that is free: one so high says that all below are in use.
            Ok((stream, _)) if most_files.is_some_and(|most| stream.number() >= most) => {
                house.count_refused("open_files");
                house.warn_of_files("too many files are open: nobody else is let in");
                stream.refuse(house.services.tls.is_some());
            }
            Ok((stream, peer)) => house.clone().let_in(stream, peer),
            Err(error) => {
                house.warn_of_files(&error.to_string());
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
    /// Whose connection it is before there are headers. A trusted proxy's are those of everybody behind it.
    counted: ClientAddress,
}

/// What a connection has: a turn among the handshakes until its first head is whole, then a place among those of its
/// peer, where that is counted; a WebSocket's is its session's.
#[expect(dead_code, reason = "both are kept, and given up by being dropped")]
enum Seat {
    Handshake(Turn),
    Open(Option<ConnectionPermit>),
}

impl Seat {
    fn is_handshake(&self) -> bool {
        matches!(self, Self::Handshake(_))
    }

    fn on_head(&mut self, limits: &Limits, from: ClientAddress) -> Result<(), Refused> {
        if self.is_handshake() {
            *self = Self::Open(None);
            *self = Self::Open(limits.admit_http(from)?);
        }
        Ok(())
    }
}

/// What every connection is served with.
struct House {
    router: axum::Router,
    services: Arc<Services>,
    stop: watch::Receiver<()>,
    warn: Every,
}

impl House {
    fn let_in(self: Arc<Self>, stream: Accepted, peer: Peer) {
        let counted = self.counted(peer);
        let handshake = self.services.commands.limits.begin_handshake(counted);
        match stream {
            Accepted::Tcp(stream) => {
                let from = From { peer, socket: stream.peer_addr().ok(), counted };
                match self.services.tls.clone() {
                    None => _ = tokio::spawn(self.serve(stream, from, handshake)),
                    Some(tls) => _ = tokio::spawn(self.encrypt(stream, from, tls, handshake)),
                }
            }
            Accepted::Unix(stream) => {
                let from = From { peer, socket: None, counted };
                _ = tokio::spawn(self.serve(stream, from, handshake));
            }
        }
    }

    fn counted(&self, peer: Peer) -> ClientAddress {
        match peer {
            Peer::Tcp(address) if !self.services.server.load().trusted_proxies.trusts(peer) => {
                ClientAddress::Known(address)
            }
            _ => ClientAddress::None,
        }
    }

    /// When a head must be complete, and how large it may be; a larger one is answered with 431.
    fn head_limits(&self) -> (Duration, usize) {
        let security = self.services.security.load();
        (security.head_timeout(), security.max_head_bytes as usize)
    }

    fn count_refused(&self, kind: &'static str) {
        self.services.metrics.count_refused(kind);
    }

    fn warn_of_files(&self, error: &str) {
        if self.warn.is_due() {
            tracing::warn!(
                event = "accept_failed",
                error,
                "raise LimitNOFILE or ulimit -n, or set max_connections"
            );
        }
    }

    /// Whoever does not get through the handshake has cost a place among the handshakes, and nothing else.
    async fn encrypt(
        self: Arc<Self>,
        stream: TcpStream,
        from: From,
        tls: Arc<Tls>,
        mut handshake: Handshake,
    ) {
        let mut stop = self.stop.clone();
        let deadline = self.services.security.load().head_timeout();
        let accepted = tokio::select! {
            accepted = tls.accept(stream, deadline) => accepted,
            () = handshake.ended.wait() => return self.count_refused("handshakes"),
            _ = stop.changed() => return,
        };
        match accepted {
            // In a box: the handshake's own state need not outlive it within this future.
            Ok(stream) => Box::pin(self.serve(stream, from, handshake)).await,
            Err(error) => {
                if error.kind() == ErrorKind::TimedOut {
                    self.count_refused("head_too_late");
                }
                tracing::debug!(event = "tls_handshake_failed", error = %error);
            }
        }
    }

    async fn serve<S>(self: Arc<Self>, stream: S, from: From, handshake: Handshake)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let Handshake { turn, mut ended } = handshake;
        let seat = Arc::new(Mutex::new(Seat::Handshake(turn)));
        let (house, own, mut stop) = (self.clone(), seat.clone(), self.stop.clone());
        let (deadline, largest) = self.head_limits();
        let service = service_fn(move |request| house.clone().answer(request, from, own.clone()));
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(deadline)
            .max_buf_size(largest)
            .serve_connection(TokioIo::new(Taken::new(stream)), service)
            .with_upgrades();
        let mut connection = pin!(connection);
        let must_go = async {
            ended.wait().await;
            // Its head has arrived at last.
            if !seat.lock().is_handshake() {
                std::future::pending::<()>().await;
            }
        };
        let served = tokio::select! {
            biased;
            served = connection.as_mut() => served,
            () = must_go => return self.count_refused("handshakes"),
            _ = stop.changed() => {
                connection.as_mut().graceful_shutdown();
                connection.await
            }
        };
        if let Err(error) = served {
            if error.is_parse_too_large() {
                self.count_refused("head_too_large");
            } else if error.is_timeout() && seat.lock().is_handshake() {
                self.count_refused("head_too_late");
            } else if is_not_taken(&error) {
                self.count_refused("response_not_taken");
            }
            tracing::debug!(event = "http_connection_failed", error = %error);
        }
    }

    async fn answer(
        self: Arc<Self>,
        mut request: Request<Incoming>,
        from: From,
        seat: Arc<Mutex<Seat>>,
    ) -> Result<Response, Infallible> {
        let seated = seat.lock().on_head(&self.services.commands.limits, from.counted);
        if let Err(refused) = seated {
            self.count_refused(refused.kind());
            let headers = [(header::RETRY_AFTER, RETRY_AFTER), (header::CONNECTION, "close")];
            return Ok((refused.status(), headers, format!("{refused}\n")).into_response());
        }
        request.extensions_mut().insert(from.peer);
        if let Some(socket) = from.socket {
            request.extensions_mut().insert(socket);
        }
        let response = router::answer(self.router.clone(), &self.services, request).await;
        if response.status() == StatusCode::SWITCHING_PROTOCOLS {
            // Before the answer goes out: who has it may connect again at once.
            *seat.lock() = Seat::Open(None);
        }
        Ok(response)
    }
}

fn is_not_taken(error: &hyper::Error) -> bool {
    let cause = error.source().and_then(|cause| cause.downcast_ref::<io::Error>());
    cause.is_some_and(|cause| cause.kind() == ErrorKind::TimedOut)
}
