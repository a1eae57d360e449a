//! `slotcast status`: asks a running gateway how it is, and prints what its dashboard shows.
//! Called by `run`. Invariant: 0 means ready; whatever else it is, the last line says what to do next.

mod text;

use std::fmt;
use std::io::{self, IsTerminal, Write};
use std::time::Duration;

use axum::http::Uri;
use axum::http::uri::Authority;
use bytes::Bytes;
use clap::Args;
use http_body_util::{BodyExt, Full, Limited};
use hyper::header::{AUTHORIZATION, HOST};
use hyper::{Request, StatusCode};
use hyper_rustls::HttpsConnectorBuilder;
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use tokio::time::{sleep, timeout};

use super::LONGEST_ANSWER;
use super::here::{self, NoAnswer};
use super::watch::stopped;
use crate::config::{Listen, Loaded, Server};
use crate::dashboard::status::Status as Look;

const DEADLINE: Duration = Duration::from_secs(10);
/// Between two looks with `--watch`.
const LOOK_EVERY: Duration = Duration::from_secs(1);
const ROUTE: &str = "/dashboard/status";
const KEY: &str = "security.dashboard_key";
const CLEAR_SCREEN: &str = "\x1b[H\x1b[2J";

/// Which gateway, and how to print it.
#[derive(Debug, Args)]
pub(super) struct Status {
    /// The gateway; without it the one that the configuration sets up on this machine.
    #[arg(long, value_parser = parse_url)]
    url: Option<Uri>,
    /// Its security.dashboard_key; without it the configured one, for the configured gateway. Others see
    /// arguments: better SLOTCAST_SECURITY_DASHBOARD_KEY, which goes to any --url.
    #[arg(long)]
    key: Option<String>,
    /// Look again every second until Ctrl-C.
    #[arg(long)]
    watch: bool,
    /// Print the JSON of /dashboard/status, a line a look.
    #[arg(long)]
    json: bool,
}

/// Why there is nothing good to say.
#[derive(Debug, thiserror::Error)]
pub(super) enum StatusError {
    #[error("{0} cannot be reached: {1}; is the gateway running, and is this its address (--url)?")]
    Away(String, String),
    #[error(
        "{0} refused: {1} Give the key as --key, as SLOTCAST_SECURITY_DASHBOARD_KEY, or name the gateway's \
         own --config."
    )]
    Refused(String, String),
    #[error("{0} answered {1} and no status: is it a slotcast, of this version, without a proxy in between?")]
    Strange(String, StatusCode),
    #[error("not ready: {0}")]
    NotReady(String),
    #[error("server.listen is {0}, which leaves the port to the system: name the gateway's with --url")]
    AnyPort(Listen),
    #[error("standard output: {0}")]
    Output(#[from] io::Error),
}

/// Who is asked.
enum Place {
    Named(Uri),
    Here(Box<Server>),
}

impl fmt::Display for Place {
    /// `http://host:port/below` without a slash at the end, or `unix:/path`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Named(url) => f.write_str(url.to_string().trim_end_matches('/')),
            Self::Here(server) => match server.listen.reached_at() {
                Some(address) if server.tls_cert.is_some() => write!(f, "https://{address}"),
                Some(address) => write!(f, "http://{address}"),
                None => server.listen.fmt(f),
            },
        }
    }
}

impl Status {
    /// Prints to standard output: once, or until Ctrl-C or SIGTERM.
    pub(super) async fn run(self, loaded: Loaded) -> Result<(), StatusError> {
        let (place, key) = (self.place(&loaded), self.key(&loaded));
        let mut out = io::stdout();
        if self.watch {
            return tokio::select! {
                () = stopped() => Ok(()),
                ended = self.keep_printing(&place, key.as_deref(), &mut out) => seen_enough(ended),
            };
        }
        let look = ask(&place, key.as_deref()).await?;
        seen_enough(self.print(&place, &look, &mut out))?;
        if look.0.ready { Ok(()) } else { Err(StatusError::NotReady(look.0.headline.into_owned())) }
    }

    async fn keep_printing(
        &self,
        place: &Place,
        key: Option<&str>,
        out: &mut impl Write,
    ) -> Result<(), StatusError> {
        let is_screen = io::stdout().is_terminal() && !self.json;
        loop {
            let look = ask(place, key).await;
            if is_screen {
                write!(out, "{CLEAR_SCREEN}")?;
            }
            match look {
                Ok(look) => self.print(place, &look, out)?,
                // A gateway that is restarted comes back; a key that is wrong does not become right.
                Err(error @ (StatusError::Away(..) | StatusError::Strange(..))) => {
                    writeln!(io::stderr(), "slotcast: {error}")?;
                }
                Err(error) => return Err(error),
            }
            if !is_screen && !self.json {
                writeln!(out)?;
            }
            sleep(LOOK_EVERY).await;
        }
    }

    fn print(
        &self,
        place: &Place,
        (look, json): &(Look, String),
        out: &mut impl Write,
    ) -> Result<(), StatusError> {
        if self.json {
            writeln!(out, "{}", json.trim_end())?;
        } else {
            for line in text::lines(look, &place.to_string()) {
                // What a store said stands there too, and our output may be a terminal.
                let line: String = line.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
                writeln!(out, "{}", line.trim_end())?;
            }
        }
        Ok(out.flush()?)
    }

    fn place(&self, loaded: &Loaded) -> Place {
        match &self.url {
            Some(url) => Place::Named(url.clone()),
            None => Place::Here(Box::new(loaded.config.server.clone())),
        }
    }

    /// The configured key goes nowhere but to the configured gateway, unless somebody set it for this very
    /// command.
    fn key(&self, loaded: &Loaded) -> Option<String> {
        if self.key.is_some() {
            return self.key.clone();
        }
        let own = loaded.config.server.listen.reached_at();
        let is_own = |url: &Uri| url.authority().map(Authority::as_str) == own.as_deref();
        let is_own = self.url.as_ref().is_none_or(is_own);
        let is_for_this = loaded.origin(KEY).is_some_and(|origin| origin.starts_with("SLOTCAST_"));
        let key = loaded.config.security.dashboard_key.as_ref().filter(|_| is_own || is_for_this);
        key.map(|key| key.expose().to_owned())
    }
}

/// Whoever closed our output has read what they wanted, as `head` does.
fn seen_enough(printed: Result<(), StatusError>) -> Result<(), StatusError> {
    match printed {
        Err(StatusError::Output(error)) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        printed => printed,
    }
}

fn parse_url(text: &str) -> Result<Uri, String> {
    let url: Uri = text.parse().map_err(|error| format!("{error}"))?;
    match (url.scheme_str(), url.authority(), url.query()) {
        (Some("http" | "https"), Some(authority), None) if !authority.as_str().contains('@') => Ok(url),
        _ => Err("write it as http://host:port, the key apart as --key".to_owned()),
    }
}

/// One look, and as it came.
async fn ask(place: &Place, key: Option<&str>) -> Result<(Look, String), StatusError> {
    let away = |why: String| StatusError::Away(place.to_string(), why);
    let answer = async {
        match place {
            Place::Named(url) => get(&format!("{place}{ROUTE}"), url, key).await.map_err(away),
            Place::Here(server) => Box::pin(here::get(server, ROUTE, key)).await.map_err(|why| match why {
                NoAnswer::AnyPort => StatusError::AnyPort(server.listen.clone()),
                NoAnswer::Away(error) => away(error.to_string()),
                NoAnswer::Silent(why) => away(why),
            }),
        }
    };
    let late = |_| Err(away(format!("no answer within {} seconds", DEADLINE.as_secs())));
    let (status, body) = timeout(DEADLINE, answer).await.unwrap_or_else(late)?;
    if [StatusCode::UNAUTHORIZED, StatusCode::FORBIDDEN].contains(&status) {
        let why = body.lines().next().unwrap_or_default();
        return Err(StatusError::Refused(
            place.to_string(),
            why.chars().filter(|c| !c.is_control()).collect(),
        ));
    }
    match serde_json::from_str(&body) {
        Ok(look) if status == StatusCode::OK => Ok((look, body)),
        _ => Err(StatusError::Strange(place.to_string(), status)),
    }
}

async fn get(route: &str, url: &Uri, key: Option<&str>) -> Result<(StatusCode, String), String> {
    let mut request = Request::get(route);
    if let Some(authority) = url.authority() {
        request = request.header(HOST, authority.as_str());
    }
    if let Some(key) = key {
        request = request.header(AUTHORIZATION, format!("Bearer {key}"));
    }
    let request = request.body(Full::<Bytes>::default()).map_err(|error| error.to_string())?;
    let client = Client::builder(TokioExecutor::new());
    let answer = if url.scheme_str() == Some("https") {
        let tls = HttpsConnectorBuilder::new().with_native_roots();
        let tls =
            tls.map_err(|error| format!("this machine trusts nobody, so https is of no use: {error}"))?;
        client.build(tls.https_only().enable_http1().build()).request(request).await
    } else {
        client.build_http().request(request).await
    };
    let answer = answer.map_err(|error| innermost(&error))?;
    let status = answer.status();
    let body = Limited::new(answer.into_body(), LONGEST_ANSWER).collect().await;
    let body = body.map_err(|error| error.to_string())?.to_bytes();
    Ok((status, String::from_utf8_lossy(&body).into_owned()))
}

/// hyper's own texts say little; what caused them says what happened.
fn innermost(error: &dyn std::error::Error) -> String {
    let mut cause = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    cause.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Sources, load};

    const CONFIGURED: &str = "0123456789abcdef";

    fn status(url: Option<&str>, key: Option<&str>) -> Status {
        let url = url.map(|url| parse_url(url).unwrap());
        Status { url, key: key.map(str::to_owned), watch: false, json: false }
    }

    fn loaded(listen: &str, key_in: &str) -> Loaded {
        let folder = tempfile::TempDir::new().unwrap();
        let file = folder.path().join("slotcast.toml");
        let mut environment = vec![("SLOTCAST_SERVER_LISTEN".into(), listen.into())];
        if key_in == "file" {
            std::fs::write(&file, format!("[security]\ndashboard_key = \"{CONFIGURED}\"\n")).unwrap();
        } else {
            std::fs::write(&file, "").unwrap();
            environment.push(("SLOTCAST_SECURITY_DASHBOARD_KEY".into(), CONFIGURED.into()));
        }
        load(&Sources { file: Some(file), environment, ..Sources::default() }).unwrap()
    }

    #[test]
    fn without_an_address_it_asks_the_configured_gateway_on_this_machine() {
        for (listen, url) in [
            ("127.0.0.1:8080", "http://127.0.0.1:8080"),
            ("0.0.0.0:9000", "http://127.0.0.1:9000"),
            ("[::]:9000", "http://[::1]:9000"),
            ("unix:/run/slotcast.sock", "unix:/run/slotcast.sock"),
        ] {
            assert_eq!(status(None, None).place(&loaded(listen, "file")).to_string(), url);
        }
    }

    #[test]
    fn a_key_from_a_file_goes_to_no_other_gateway() {
        let configured = loaded("0.0.0.0:8080", "file");
        let key = |url, key| status(url, key).key(&configured);
        assert_eq!(key(None, None).as_deref(), Some(CONFIGURED));
        assert_eq!(key(Some("http://127.0.0.1:8080"), None).as_deref(), Some(CONFIGURED));
        assert_eq!(key(Some("http://elsewhere.example:8080"), None), None);
        assert_eq!(key(Some("http://elsewhere.example"), Some("mine")).as_deref(), Some("mine"));
        let environment = loaded("0.0.0.0:8080", "environment");
        let key = status(Some("https://elsewhere.example"), None).key(&environment);
        assert_eq!(key.as_deref(), Some(CONFIGURED));
    }

    #[test]
    fn an_address_is_http_without_key_or_user() {
        for url in ["127.0.0.1:8080", "ws://a", "http://", "http://me:pw@a", "http://a/?key=b"] {
            assert!(parse_url(url).is_err(), "{url}");
        }
        let below = Place::Named(parse_url("https://a.example/slots/").unwrap());
        assert_eq!(below.to_string(), "https://a.example/slots");
    }
}
