//! `slotcast watch`: subscribes to a room as a browser would and prints what the gateway pushes.
//! Called by `run`. Invariant: one frame, one line; the end of the connection is an error, being told to stop is not.

use std::future::Future;
use std::io::{self, Write};
use std::time::Duration;

use axum::http::Uri;
use clap::Args;
use futures::{SinkExt, StreamExt};
use jiff::civil::Date;
use serde_json::{Value as Json, json};
use slot_state::{EmployeeId, parse_date};
use tokio::time::timeout;
use tokio_tungstenite::connect_async;
use tokio_tungstenite::tungstenite::{Error as WsError, Message};

const CONNECT_DEADLINE: Duration = Duration::from_secs(10);
/// A gateway pings every 25 s; silence beyond this means the link is dead.
const SILENCE: Duration = Duration::from_secs(60);
/// The `id` of our only request.
const ASKED: &str = "watch";

/// Which room of which gateway.
#[derive(Debug, Args)]
pub(super) struct Watch {
    /// The day, as 2026-11-02.
    #[arg(long, value_parser = parse_date)]
    date: Date,
    /// The employee's number.
    #[arg(long)]
    employee_id: EmployeeId,
    /// The gateway's WebSocket.
    #[arg(long, default_value = "ws://127.0.0.1:8080/ws", value_parser = parse_url)]
    url: Uri,
    /// A token, where the gateway wants one: as `slotcast token` prints it.
    #[arg(long)]
    token: Option<String>,
}

/// Why watching ended by itself.
#[derive(Debug, thiserror::Error)]
pub(super) enum WatchError {
    #[error("{0} cannot be reached: {1}")]
    Away(Uri, String),
    #[error("{0} refused the connection with HTTP status {1}")]
    Refused(Uri, u16),
    #[error("the gateway refused to show this room: {0}")]
    NotShown(String),
    #[error("the gateway closed the connection: {0}")]
    Closed(String),
    #[error("nothing was heard from the gateway for {} seconds", SILENCE.as_secs())]
    Silent,
    #[error("standard output: {0}")]
    Output(io::Error),
}

impl Watch {
    /// Prints to standard output until Ctrl-C or SIGTERM.
    pub(super) async fn run(&self) -> Result<(), WatchError> {
        self.print_until(stopped(), &mut io::stdout()).await
    }

    async fn print_until(
        &self,
        stop: impl Future<Output = ()>,
        out: &mut impl Write,
    ) -> Result<(), WatchError> {
        tokio::select! {
            () = stop => Ok(()),
            ended = Box::pin(self.print(out)) => match ended {
                // Whoever read our output has seen enough, as `head` does.
                Err(WatchError::Output(error)) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
                ended => ended,
            },
        }
    }

    async fn print(&self, out: &mut impl Write) -> Result<(), WatchError> {
        let away = |why: String| WatchError::Away(self.url.clone(), why);
        let (mut socket, _) = match timeout(CONNECT_DEADLINE, connect_async(&self.url)).await {
            Ok(Ok(connected)) => connected,
            Ok(Err(WsError::Http(reply))) => {
                return Err(WatchError::Refused(self.url.clone(), reply.status().as_u16()));
            }
            Ok(Err(error)) => return Err(away(error.to_string())),
            Err(_) => return Err(away(format!("no answer within {} seconds", CONNECT_DEADLINE.as_secs()))),
        };
        let hello = self.token.as_ref().map(|token| json!({ "type": "hello", "token": token }));
        let subscribe = json!({
            "type": "subscribe", "id": ASKED, "date": self.date.to_string(), "employee_id": self.employee_id.get(),
        });
        for frame in hello.into_iter().chain([subscribe]) {
            let sent = socket.send(Message::text(frame.to_string())).await;
            sent.map_err(|error| WatchError::Closed(error.to_string()))?;
        }
        loop {
            let closed = |why: &str| WatchError::Closed(why.to_owned());
            match timeout(SILENCE, socket.next()).await.map_err(|_| WatchError::Silent)? {
                Some(Ok(Message::Text(frame))) => {
                    print_line(frame.as_str(), out).map_err(WatchError::Output)?;
                    if let Some(reason) = refusal(frame.as_str()) {
                        return Err(WatchError::NotShown(reason));
                    }
                }
                Some(Ok(Message::Close(Some(close)))) => {
                    return Err(closed(format!("{} {}", u16::from(close.code), close.reason).trim_end()));
                }
                Some(Ok(Message::Close(None))) | None => return Err(closed("without a reason")),
                Some(Ok(_)) => {}
                Some(Err(error)) => return Err(closed(&error.to_string())),
            }
        }
    }
}

/// JSON has no bare control characters, but the other end need not be slotcast, and ours may be a terminal.
fn print_line(frame: &str, out: &mut impl Write) -> io::Result<()> {
    let line: String = frame.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    writeln!(out, "{line}")?;
    out.flush()
}

/// The message of an `error` frame that answers our subscription.
fn refusal(frame: &str) -> Option<String> {
    let frame: Json = serde_json::from_str(frame).ok()?;
    let refused = frame.get("type")? == "error" && frame.get("id").is_none_or(|id| id == ASKED);
    refused.then(|| frame.get("message").and_then(Json::as_str).unwrap_or("no reason given").to_owned())
}

fn parse_url(text: &str) -> Result<Uri, String> {
    let url: Uri = text.parse().map_err(|error| format!("{error}"))?;
    match (url.scheme_str(), url.host()) {
        (Some("ws"), Some(_)) => Ok(url),
        (Some("wss"), _) => {
            Err("this version cannot watch over TLS yet; use the gateway's own ws:// address".to_owned())
        }
        _ => Err("write it as ws://host:port/ws".to_owned()),
    }
}

/// Ends when somebody asks us to.
pub(super) async fn stopped() {
    let interrupted = async {
        if tokio::signal::ctrl_c().await.is_err() {
            // Without a handler the default one ends the process.
            std::future::pending::<()>().await;
        }
    };
    #[cfg(unix)]
    let terminated = async {
        match tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate()) {
            Ok(mut signal) => drop(signal.recv().await),
            Err(_) => std::future::pending().await,
        }
    };
    #[cfg(not(unix))]
    let terminated = std::future::pending::<()>();
    tokio::select! {
        () = interrupted => {}
        () = terminated => {}
    }
}

#[cfg(test)]
mod tests {
    use std::future::pending;

    use tokio::net::TcpListener;
    use tokio::sync::oneshot;
    use tokio_tungstenite::accept_async;
    use tokio_tungstenite::tungstenite::protocol::CloseFrame;

    use super::*;

    fn watch(port: u16) -> Watch {
        let date = parse_date("2026-11-02").unwrap();
        let url = parse_url(&format!("ws://127.0.0.1:{port}/ws")).unwrap();
        Watch { date, employee_id: EmployeeId::new(3).unwrap(), url, token: None }
    }

    /// A server that checks the subscription, pushes `frames`, then closes or stays.
    async fn server(frames: &'static [&'static str], closes: bool) -> (u16, oneshot::Receiver<()>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (pushed, all_pushed) = oneshot::channel();
        tokio::spawn(async move {
            let (stream, _) = listener.accept().await.unwrap();
            let mut socket = accept_async(stream).await.unwrap();
            let asked = socket.next().await.unwrap().unwrap().into_text().unwrap();
            let asked: Json = serde_json::from_str(&asked).unwrap();
            assert_eq!(asked, json!({"type":"subscribe","id":"watch","date":"2026-11-02","employee_id":3}));
            for frame in frames {
                socket.send(Message::text(*frame)).await.unwrap();
            }
            if closes {
                let close = CloseFrame { code: 1001.into(), reason: "shutdown".into() };
                socket.close(Some(close)).await.unwrap();
            }
            pushed.send(()).unwrap();
            while socket.next().await.is_some() {}
        });
        (port, all_pushed)
    }

    #[tokio::test]
    async fn frames_are_printed_one_a_line_and_a_close_is_an_error() {
        let (port, _pushed) = server(&["{\"type\":\"snapshot\"}", "{\"type\":\n\"diff\"}"], true).await;
        let mut out = Vec::new();
        let ended = watch(port).print_until(pending(), &mut out).await.unwrap_err();
        assert_eq!(String::from_utf8(out).unwrap(), "{\"type\":\"snapshot\"}\n{\"type\": \"diff\"}\n");
        assert_eq!(ended.to_string(), "the gateway closed the connection: 1001 shutdown");
    }

    #[tokio::test]
    async fn being_told_to_stop_is_a_clean_end() {
        let (port, pushed) = server(&[], false).await;
        let stop = async { pushed.await.unwrap() };
        watch(port).print_until(stop, &mut Vec::new()).await.unwrap();
    }

    #[tokio::test]
    async fn a_refused_subscription_ends_with_the_gateways_sentence() {
        let refusal =
            "{\"type\":\"error\",\"id\":\"watch\",\"code\":\"invalid_date\",\"message\":\"too far ahead\"}";
        let (port, _pushed) = server(Box::leak(Box::new([refusal])), false).await;
        let ended = watch(port).print_until(pending(), &mut Vec::new()).await.unwrap_err();
        assert_eq!(ended.to_string(), "the gateway refused to show this room: too far ahead");
    }

    #[tokio::test]
    async fn a_gateway_that_is_away_is_said_plainly() {
        let port = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().port();
        let ended = watch(port).print_until(pending(), &mut Vec::new()).await.unwrap_err().to_string();
        assert!(ended.starts_with(&format!("ws://127.0.0.1:{port}/ws cannot be reached: ")), "{ended}");
    }
}
