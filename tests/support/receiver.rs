//! What stands where WordPress would: takes messages about bookings and heartbeats, or does not.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use hmac::{Hmac, Mac};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::header::{CONTENT_TYPE, LOCATION, SET_COOKIE};
use hyper::service::service_fn;
use hyper::{HeaderMap, Request, Response};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use sha2::Sha256;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio::time::sleep;
use tokio_rustls::TlsAcceptor;

use crate::{Certificate, PATIENCE, ReservedPort, eventually};

/// What becomes of a message.
#[derive(Clone, Copy, Debug)]
pub enum Fate {
    /// Taken, after so long.
    Taken(Duration),
    /// Answered with this body of JSON, and two cookies.
    Says(&'static str),
    /// This status, as the plugin would say it.
    Refused(u16),
    /// A page of the site, with 200.
    Page,
    /// Sent elsewhere.
    Redirected,
    /// Taken, but the answer has no end.
    Endless,
    /// Never answered.
    Hangs,
    /// The connection is closed without an answer.
    Closed,
}

/// One message as it came.
#[derive(Clone, Debug)]
pub struct Message {
    /// Path and query.
    pub path: String,
    /// The headers.
    pub headers: HeaderMap,
    /// The body.
    pub text: String,
    /// The body as JSON; `null` where it is none.
    pub body: Value,
}

impl Message {
    /// A header that must be there.
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).unwrap_or_else(|| panic!("no {name}: {self:?}")).to_str().expect("text")
    }

    /// The number of a message about a booking.
    pub fn id(&self) -> u64 {
        self.body["id"].as_u64().unwrap_or_else(|| panic!("no id: {}", self.text))
    }

    /// Panics unless it is signed with this key, now.
    pub fn assert_signed(&self, kid: &str, secret: &str) {
        assert_eq!(self.header("x-slotcast-key"), kid);
        let timestamp = self.header("x-slotcast-timestamp");
        let sent: i64 = timestamp.parse().expect("seconds");
        let age = jiff::Timestamp::now().as_second() - sent;
        assert!((-1..300).contains(&age), "sent {age} s ago");
        let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).expect("any key will do");
        mac.update(format!("{timestamp}.{}", self.text).as_bytes());
        let signature: String =
            mac.finalize().into_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(self.header("x-slotcast-signature"), signature, "{}", self.text);
    }
}

/// A web server on a port of its own.
#[derive(Debug)]
pub struct Receiver {
    port: ReservedPort,
    inbox: Arc<Inbox>,
    accepting: Option<JoinHandle<()>>,
    certificate: Option<Certificate>,
}

#[derive(Debug)]
struct Inbox {
    messages: Mutex<Vec<Message>>,
    fates: Mutex<VecDeque<Fate>>,
    otherwise: Mutex<Fate>,
}

impl Receiver {
    /// One that is not there yet.
    pub fn away() -> Self {
        let inbox = Inbox {
            messages: Mutex::default(),
            fates: Mutex::default(),
            otherwise: Mutex::new(Fate::Taken(Duration::ZERO)),
        };
        Self { port: ReservedPort::new(), inbox: Arc::new(inbox), accepting: None, certificate: None }
    }

    /// One that takes every message.
    pub fn there() -> Self {
        let mut receiver = Self::away();
        receiver.come();
        receiver
    }

    /// One that takes every message over TLS.
    pub async fn there_over_tls() -> Self {
        let mut receiver = Self::away();
        receiver.certificate = Some(Certificate::new().await);
        receiver.come();
        receiver
    }

    /// What to trust, to trust this one.
    pub fn certificate(&self) -> PathBuf {
        self.certificate.as_ref().expect("it speaks TLS").file()
    }

    /// Begins to listen.
    pub fn come(&mut self) {
        let accepting = accept(
            self.port.listen(),
            self.certificate.as_ref().map(|certificate| TlsAcceptor::from(certificate.server())),
            self.inbox.clone(),
        );
        self.accepting = Some(tokio::spawn(accepting));
    }

    /// What becomes of the next messages, one each; later ones are taken.
    pub fn plan(&self, fates: &[Fate]) {
        self.inbox.fates.lock().expect("no holder panics").extend(fates);
    }

    /// What becomes of all messages for which nothing is planned.
    pub fn otherwise(&self, fate: Fate) {
        *self.inbox.otherwise.lock().expect("no holder panics") = fate;
    }

    /// `legacy.upstream` for it.
    pub fn admin_ajax(&self) -> String {
        let scheme = if self.certificate.is_some() { "https" } else { "http" };
        format!("{scheme}://{}/blog/wp-admin/admin-ajax.php", self.port.addr())
    }

    /// Everything that came so far.
    pub fn messages(&self) -> Vec<Message> {
        self.inbox.messages.lock().expect("no holder panics").clone()
    }

    /// Waits until so many messages have come.
    pub async fn eventually(&self, messages: usize) -> Vec<Message> {
        self.within(PATIENCE, messages).await
    }

    /// The same with more patience.
    pub async fn within(&self, patience: Duration, messages: usize) -> Vec<Message> {
        eventually(&format!("{messages} messages have come"), patience, async || {
            Some(self.messages()).filter(|there| there.len() >= messages)
        })
        .await
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        if let Some(accepting) = &self.accepting {
            accepting.abort();
        }
    }
}

async fn accept(listener: TcpListener, tls: Option<TlsAcceptor>, inbox: Arc<Inbox>) {
    loop {
        let Ok((stream, _)) = listener.accept().await else { continue };
        let (tls, inbox) = (tls.clone(), inbox.clone());
        tokio::spawn(async move {
            match tls {
                None => serve(stream, inbox).await,
                Some(tls) => {
                    // Whoever does not trust it goes.
                    let Ok(stream) = tls.accept(stream).await else { return };
                    serve(stream, inbox).await;
                }
            }
        });
    }
}

async fn serve(stream: impl AsyncRead + AsyncWrite + Unpin, inbox: Arc<Inbox>) {
    let answer = service_fn(move |request| take(request, inbox.clone()));
    // An error is what the test asked for: the connection is closed.
    let _ = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), answer).await;
}

async fn take(
    request: Request<Incoming>,
    inbox: Arc<Inbox>,
) -> Result<Response<Body>, Box<dyn std::error::Error + Send + Sync>> {
    let (head, body) = request.into_parts();
    let text = String::from_utf8(body.collect().await?.to_bytes().to_vec())?;
    let body = serde_json::from_str(&text).unwrap_or(Value::Null);
    let message = Message { path: head.uri.to_string(), headers: head.headers, text, body };
    inbox.messages.lock().expect("no holder panics").push(message);
    let planned = inbox.fates.lock().expect("no holder panics").pop_front();
    let fate = planned.unwrap_or(*inbox.otherwise.lock().expect("no holder panics"));
    let json = Response::builder().header(CONTENT_TYPE, "application/json; charset=UTF-8");
    Ok(match fate {
        Fate::Taken(after) => {
            sleep(after).await;
            json.body(whole("{\"success\":true}"))?
        }
        Fate::Says(text) => json
            .header(SET_COOKIE, "first=1; Path=/; HttpOnly")
            .header(SET_COOKIE, "second=2")
            .body(whole(text))?,
        Fate::Refused(status) => json.status(status).body(whole("{\"code\":\"refused\"}"))?,
        Fate::Page => Response::builder()
            .header(CONTENT_TYPE, "text/html; charset=UTF-8")
            .body(whole("<html>A site</html>"))?,
        Fate::Redirected => Response::builder()
            .status(301)
            .header(LOCATION, "/elsewhere/wp-admin/admin-ajax.php")
            .body(whole(""))?,
        Fate::Endless => json.body(endless())?,
        Fate::Hangs => std::future::pending().await,
        Fate::Closed => return Err("closed, as the test asked".into()),
    })
}

type Body = http_body_util::combinators::BoxBody<Bytes, Infallible>;

fn whole(text: &'static str) -> Body {
    Full::from(text).boxed()
}

fn endless() -> Body {
    let pieces = futures::stream::unfold((), async |()| {
        sleep(Duration::from_millis(1)).await;
        Some((Ok(hyper::body::Frame::data(Bytes::from_static(&[b' '; 1024]))), ()))
    });
    BodyExt::boxed(http_body_util::StreamBody::new(Box::pin(pieces)))
}
