//! Somebody who watches `/dashboard/events`: collects every event until the server ends the stream.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use hyper::Request;
use hyper::header::HOST;
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::{Gateway, PATIENCE, eventually};

/// An open stream of server-sent events.
#[derive(Debug)]
pub struct EventStream {
    seen: Arc<Mutex<Seen>>,
    task: JoinHandle<()>,
}

#[derive(Debug, Default)]
struct Seen {
    text: String,
    is_over: bool,
}

impl EventStream {
    /// Opens the dashboard's stream.
    pub async fn of(gateway: &Gateway) -> Self {
        Self::open(gateway, "/dashboard/events").await.unwrap_or_else(|status| panic!("refused: {status}"))
    }

    /// Opens the stream at this path; the error is the status of a refusal.
    pub async fn open(gateway: &Gateway, path: &str) -> Result<Self, u16> {
        let stream = TcpStream::connect(gateway.addr()).await.expect("the gateway accepts");
        let handshake = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await;
        let (mut sender, connection) = handshake.expect("a connection");
        let request = Request::get(path).header(HOST, gateway.addr().to_string()).body(Empty::<Bytes>::new());
        let connection = tokio::spawn(connection);
        let answer = timeout(PATIENCE, sender.send_request(request.expect("a request"))).await;
        let answer = answer.expect("an answer in time").expect("an answer");
        if answer.status() != 200 {
            return Err(answer.status().as_u16());
        }
        let seen = Arc::new(Mutex::new(Seen::default()));
        let theirs = Arc::clone(&seen);
        let task = tokio::spawn(async move {
            // Kept: without its sender the connection would end.
            let _sender = sender;
            let mut body = answer.into_body();
            while let Some(Ok(frame)) = body.frame().await {
                if let Some(data) = frame.data_ref() {
                    theirs.lock().expect("events").text.push_str(&String::from_utf8_lossy(data));
                }
            }
            connection.abort();
            theirs.lock().expect("events").is_over = true;
        });
        Ok(Self { seen, task })
    }

    /// Everything that came, as text.
    pub fn text(&self) -> String {
        self.seen.lock().expect("events").text.clone()
    }

    /// Every event so far: its name and data.
    pub fn events(&self) -> Vec<(String, Value)> {
        let text = self.text();
        let whole = text.rfind("\n\n").map_or("", |end| &text[..end]);
        whole
            .split("\n\n")
            .filter(|event| !event.is_empty())
            .map(|event| {
                let lines = event.strip_prefix("event: ").and_then(|rest| rest.split_once("\ndata: "));
                let (name, data) = lines.unwrap_or_else(|| panic!("no event: {event}"));
                (name.to_owned(), serde_json::from_str(data).unwrap_or_else(|_| panic!("no JSON: {data}")))
            })
            .collect()
    }

    /// The data of the events of this name.
    pub fn all(&self, name: &str) -> Vec<Value> {
        self.events().into_iter().filter(|(known, _)| known == name).map(|(_, data)| data).collect()
    }

    /// Waits for a look whose status is as wanted, and returns that look.
    pub async fn eventually_look(&self, what: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        eventually(what, PATIENCE, async || {
            self.all("look").into_iter().rev().find(|look| wanted(&look["status"]))
        })
        .await
    }

    /// Waits until the server ended it.
    pub async fn eventually_over(&self, deadline: Duration) {
        eventually("the stream is over", deadline, async || {
            self.seen.lock().expect("events").is_over.then_some(())
        })
        .await;
    }
}

impl Drop for EventStream {
    fn drop(&mut self) {
        self.task.abort();
    }
}
