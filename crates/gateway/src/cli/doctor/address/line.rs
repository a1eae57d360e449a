//! A connection to a gateway as a browser makes it, or as a browser never would: with other headers.
//! Invariant: connecting, asking and closing have a deadline each.

use std::net::SocketAddr;
use std::time::Duration;

use axum::http::header::{AUTHORIZATION, ORIGIN};
use axum::http::{HeaderName, HeaderValue};
use futures::{SinkExt, StreamExt};
use hyper_rustls::{HttpsConnectorBuilder, MaybeHttpsStream};
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioIo;
use serde_json::{Value as Json, json};
use slot_state::ClientId;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout, timeout_at};
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::{Error as WsError, Message};
use tokio_tungstenite::{WebSocketStream, client_async};
use tower::Service;

use super::place::Place;
use crate::config::{Config, SecurityMode};
use crate::security::asker::Asker;
use crate::security::token::Tokens;

/// For connecting, and for each answer.
pub(super) const PATIENCE: Duration = Duration::from_secs(10);
/// Longer than a doctor stays.
const TOKEN_COUNTS: Duration = Duration::from_secs(600);
/// For a farewell that nobody needs.
const FAREWELL: Duration = Duration::from_secs(1);
const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
/// Of an answer that is no upgrade, so much is shown.
const SHOWN: usize = 160;

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// What is sent with the upgrade beside what must be.
#[derive(Debug, Clone, Default)]
pub(super) struct Headers<'a> {
    pub(super) origin: Option<&'a str>,
    pub(super) forwarded_for: Option<&'a str>,
    pub(super) key: Option<&'a str>,
}

/// Why there is no connection.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum NotOpened {
    /// Nobody accepts, or not in time.
    #[error("{0}")]
    Away(String),
    /// The certificate, or what there is instead of TLS.
    #[error("{0}")]
    Tls(String),
    /// An answer that is no upgrade: status, and how its text begins.
    #[error("HTTP status {0}: {1}")]
    Answered(u16, String),
}

/// An open connection.
pub(super) struct Line {
    socket: WebSocketStream<Box<dyn Stream>>,
    /// Our end.
    pub(super) local: Option<SocketAddr>,
    /// How the gateway sees us, if it tells.
    pub(super) asker: Option<Asker>,
    asked: u32,
}

impl Line {
    /// Connects and upgrades.
    pub(super) async fn open(place: &Place, headers: Headers<'_>) -> Result<Self, NotOpened> {
        let late = |_| NotOpened::Away(format!("no answer within {} s", PATIENCE.as_secs()));
        let mut request =
            place.uri().into_client_request().map_err(|error| NotOpened::Away(error.to_string()))?;
        let bearer = headers.key.map(|key| format!("Bearer {key}"));
        for (name, value) in [
            (ORIGIN, headers.origin),
            (FORWARDED_FOR, headers.forwarded_for),
            (AUTHORIZATION, bearer.as_deref()),
        ] {
            if let Some(value) = value.and_then(|value| HeaderValue::try_from(value).ok()) {
                request.headers_mut().insert(name, value);
            }
        }
        let (stream, local) = timeout(PATIENCE, connect(place)).await.map_err(late)??;
        match timeout(PATIENCE, client_async(request, stream)).await.map_err(late)? {
            Ok((socket, answer)) => {
                let asker = Asker::told(answer.headers());
                Ok(Line { socket, local, asker, asked: 0 })
            }
            Err(WsError::Http(answer)) => {
                let body = answer.body().as_deref().unwrap_or_default();
                Err(NotOpened::Answered(answer.status().as_u16(), beginning(&String::from_utf8_lossy(body))))
            }
            Err(error) => Err(NotOpened::Away(error.to_string())),
        }
    }

    /// Connects and says who it is; an error is a sentence.
    pub(super) async fn of_client(place: &Place, config: &Config, client: &ClientId) -> Result<Self, String> {
        let mut line = Self::open(place, Headers::default()).await.map_err(|error| error.to_string())?;
        line.hello(config, client).await?;
        Ok(line)
    }

    /// Says who it is, and proves it where that is asked for.
    pub(super) async fn hello(&mut self, config: &Config, client: &ClientId) -> Result<(), String> {
        let mut hello = json!({"type": "hello", "client_id": client.as_str()});
        if config.security.mode == SecurityMode::Token {
            hello["token"] = json!(Tokens::new(&config.security.token_keys).mint(client, TOKEN_COUNTS));
        }
        let answer = self.ask(hello).await?;
        match answer["type"].as_str() {
            Some("welcome") => Ok(()),
            Some("error") => Err(sentence(&answer)),
            _ => Err("what answers is no slotcast".to_owned()),
        }
    }

    /// Sends a request and waits for the frame that answers it.
    pub(super) async fn ask(&mut self, mut request: Json) -> Result<Json, String> {
        self.asked += 1;
        let id = format!("doctor-{}", self.asked);
        request["id"] = json!(id);
        let until = Instant::now() + PATIENCE;
        let sent = timeout_at(until, self.socket.send(Message::text(request.to_string()))).await;
        sent.map_err(|_| late())?.map_err(|error| format!("the connection is closed: {error}"))?;
        loop {
            let frame = timeout_at(until, self.next()).await.map_err(|_| late())??;
            if frame["id"] == id {
                return Ok(frame);
            }
        }
    }

    /// The next frame of JSON; pings are answered on the way. An error says how the connection ended.
    pub(super) async fn next(&mut self) -> Result<Json, String> {
        loop {
            match self.socket.next().await {
                Some(Ok(Message::Text(text))) => {
                    return serde_json::from_str(text.as_str()).map_err(|_| "a frame is no JSON".to_owned());
                }
                Some(Ok(Message::Close(Some(close)))) => {
                    return Err(format!("closed with {} {}", u16::from(close.code), close.reason));
                }
                Some(Ok(Message::Close(None))) | None => return Err("closed without a reason".to_owned()),
                Some(Ok(_)) => {}
                Some(Err(error)) => return Err(error.to_string()),
            }
        }
    }

    /// Says goodbye.
    pub(super) async fn leave(mut self) {
        let _ = timeout(FAREWELL, self.socket.close(None)).await;
    }
}

/// How an answer begins, if it is more than the head of a page.
fn beginning(text: &str) -> String {
    let text = text.trim();
    if text.starts_with('<') { "a page".to_owned() } else { text.chars().take(SHOWN).collect() }
}

fn late() -> String {
    format!("no answer within {} s", PATIENCE.as_secs())
}

/// A client that nobody else is.
pub(super) fn nobody() -> Result<ClientId, String> {
    let name = format!("doctor-{:016x}", rand::random::<u64>());
    name.parse().map_err(|error| format!("{name}: {error}"))
}

/// Whether a connection ended, by what [`Line::next`] says, since the gateway stops: proxies only cut it.
pub(super) fn is_farewell(why: &str) -> bool {
    why.starts_with("closed with 1001 ")
}

/// What a refusal says.
pub(super) fn sentence(error: &Json) -> String {
    let text = |field: &str| error[field].as_str().unwrap_or_default().to_owned();
    format!("{} ({})", text("message"), text("code"))
}

async fn connect(place: &Place) -> Result<(Box<dyn Stream>, Option<SocketAddr>), NotOpened> {
    if !place.is_tls() {
        let stream = TcpStream::connect((place.host(), place.port())).await;
        let stream = stream.map_err(|error| NotOpened::Away(error.to_string()))?;
        let local = stream.local_addr().ok();
        return Ok((Box::new(stream), local));
    }
    let roots = HttpsConnectorBuilder::new().with_native_roots();
    let roots =
        roots.map_err(|error| NotOpened::Tls(format!("this machine trusts no certificate: {error}")))?;
    let mut tcp = HttpConnector::new();
    tcp.enforce_http(false);
    let mut connector = roots.https_only().enable_http1().wrap_connector(tcp);
    let uri = format!(
        "https://{}",
        place.uri().authority().map(|authority| authority.as_str()).unwrap_or_default()
    );
    let uri = uri.parse().map_err(|error| NotOpened::Away(format!("{error}")))?;
    match connector.call(uri).await {
        Ok(MaybeHttpsStream::Https(tls)) => {
            let local = tls.inner().get_ref().0.inner().inner().local_addr().ok();
            Ok((Box::new(TokioIo::new(MaybeHttpsStream::Https(tls))), local))
        }
        Ok(MaybeHttpsStream::Http(_)) => Err(NotOpened::Tls("there is no TLS".to_owned())),
        Err(error) => Err(innermost(&*error)),
    }
}

/// The layers above only say that it went wrong.
fn innermost(error: &(dyn std::error::Error + 'static)) -> NotOpened {
    let mut cause = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    let is_of_tcp = cause.downcast_ref::<std::io::Error>().is_some_and(|io| io.raw_os_error().is_some());
    if is_of_tcp { NotOpened::Away(cause.to_string()) } else { NotOpened::Tls(cause.to_string()) }
}
