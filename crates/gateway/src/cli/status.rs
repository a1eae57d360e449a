//! `slotcast status`: asks a running gateway how it is, and prints what its dashboard shows.
//! Called by `run`. Invariant: 0 means ready; whatever else it is, the last line says what to do next.

mod text;

use std::io::{self, IsTerminal, Write};
use std::time::Duration;

use axum::http::Uri;
use bytes::Bytes;
use clap::Args;
use http_body_util::{BodyExt, Full, Limited};
use hyper::header::{AUTHORIZATION, HOST};
use hyper::{Request, StatusCode};
use hyper_rustls::HttpsConnectorBuilder;
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use tokio::time::{sleep, timeout};

use super::watch::stopped;
use crate::config::{Listen, Loaded};
use crate::dashboard::status::Status as Look;

const DEADLINE: Duration = Duration::from_secs(10);
const LONGEST_ANSWER: usize = 1024 * 1024;
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
    Away(Uri, String),
    #[error(
        "{0} refused: {1} Give the key as --key, as SLOTCAST_SECURITY_DASHBOARD_KEY, or name the gateway's \
         own --config."
    )]
    Refused(Uri, String),
    #[error("{0} answered {1} and no status: is it a slotcast, of this version, without a proxy in between?")]
    Strange(Uri, StatusCode),
    #[error("not ready: {0}")]
    NotReady(String),
    #[error("the gateway listens on {0}: name an address that leads there with --url")]
    NoAddress(Listen),
    #[error("standard output: {0}")]
    Output(#[from] io::Error),
}

impl Status {
    /// Prints to standard output: once, or until Ctrl-C or SIGTERM.
    pub(super) async fn run(self, loaded: Loaded) -> Result<(), StatusError> {
        let (url, key) = (self.url(&loaded)?, self.key(&loaded));
        let mut out = io::stdout();
        if self.watch {
            return tokio::select! {
                () = stopped() => Ok(()),
                ended = self.keep_printing(&url, key.as_deref(), &mut out) => seen_enough(ended),
            };
        }
        let look = ask(&url, key.as_deref()).await?;
        seen_enough(self.print(&url, &look, &mut out))?;
        if look.0.ready { Ok(()) } else { Err(StatusError::NotReady(look.0.headline.into_owned())) }
    }

    async fn keep_printing(
        &self,
        url: &Uri,
        key: Option<&str>,
        out: &mut impl Write,
    ) -> Result<(), StatusError> {
        let is_screen = io::stdout().is_terminal() && !self.json;
        loop {
            let look = ask(url, key).await;
            if is_screen {
                write!(out, "{CLEAR_SCREEN}")?;
            }
            match look {
                Ok(look) => self.print(url, &look, out)?,
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
        url: &Uri,
        (look, json): &(Look, String),
        out: &mut impl Write,
    ) -> Result<(), StatusError> {
        if self.json {
            writeln!(out, "{}", json.trim_end())?;
        } else {
            for line in text::lines(look, &place(url)) {
                // What a store said stands there too, and our output may be a terminal.
                let line: String = line.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
                writeln!(out, "{}", line.trim_end())?;
            }
        }
        Ok(out.flush()?)
    }

    fn url(&self, loaded: &Loaded) -> Result<Uri, StatusError> {
        match &self.url {
            Some(url) => Ok(url.clone()),
            // Over TLS its certificate names the public address, not this machine's.
            None => own_url(&loaded.config.server.listen)
                .filter(|_| loaded.config.server.tls_cert.is_none())
                .ok_or_else(|| StatusError::NoAddress(loaded.config.server.listen.clone())),
        }
    }

    /// The configured key goes nowhere but to the configured gateway, unless somebody set it for this very
    /// command.
    fn key(&self, loaded: &Loaded) -> Option<String> {
        if self.key.is_some() {
            return self.key.clone();
        }
        let own = own_url(&loaded.config.server.listen);
        let is_own =
            self.url.as_ref().is_none_or(|url| own.is_some_and(|own| own.authority() == url.authority()));
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

/// Where this machine reaches a gateway that listens there.
fn own_url(listen: &Listen) -> Option<Uri> {
    format!("http://{}", listen.reached_at()?).parse().ok()
}

/// `http://host:port/below` without a slash at the end.
fn place(url: &Uri) -> String {
    url.to_string().trim_end_matches('/').to_owned()
}

fn parse_url(text: &str) -> Result<Uri, String> {
    let url: Uri = text.parse().map_err(|error| format!("{error}"))?;
    match (url.scheme_str(), url.authority(), url.query()) {
        (Some("http" | "https"), Some(authority), None) if !authority.as_str().contains('@') => Ok(url),
        _ => Err("write it as http://host:port, the key apart as --key".to_owned()),
    }
}

/// One look, and as it came.
async fn ask(url: &Uri, key: Option<&str>) -> Result<(Look, String), StatusError> {
    let away = |why: String| StatusError::Away(url.clone(), why);
    let (status, body) = match timeout(DEADLINE, get(url, key)).await {
        Ok(answer) => answer.map_err(away)?,
        Err(_) => return Err(away(format!("no answer within {} seconds", DEADLINE.as_secs()))),
    };
    if [StatusCode::UNAUTHORIZED, StatusCode::FORBIDDEN].contains(&status) {
        let why = body.lines().next().unwrap_or_default();
        return Err(StatusError::Refused(url.clone(), why.chars().filter(|c| !c.is_control()).collect()));
    }
    match serde_json::from_str(&body) {
        Ok(look) if status == StatusCode::OK => Ok((look, body)),
        _ => Err(StatusError::Strange(url.clone(), status)),
    }
}

async fn get(url: &Uri, key: Option<&str>) -> Result<(StatusCode, String), String> {
    let mut request = Request::get(format!("{}{ROUTE}", place(url)));
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
        ] {
            assert_eq!(place(&status(None, None).url(&loaded(listen, "file")).unwrap()), url);
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
        assert_eq!(place(&parse_url("https://a.example/slots/").unwrap()), "https://a.example/slots");
    }
}
