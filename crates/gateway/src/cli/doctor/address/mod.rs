//! The address that browsers connect to: what a proxy in between makes of the push protocol.
//! Invariant: the dashboard key is shown only to what has spoken as slotcast does.

mod hops;
mod idle;
mod line;
mod place;
mod race;

use std::time::Duration;

use self::line::{Headers, Line, NotOpened, nobody};
pub(super) use self::place::Place;
use super::report::{Check, nginx, shell, slotcast_toml};
use crate::config::Config;

const UPGRADE: &str = "address.upgrade";
const ORIGIN: &str = "address.origin";
const FOREIGN: &str = "https://foreign.invalid";
/// All that a location for the push protocol needs.
const LOCATION: &str = "proxy_http_version 1.1;
proxy_set_header Upgrade $http_upgrade;
proxy_set_header Connection \"upgrade\";
proxy_set_header Host $http_host;
proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
proxy_read_timeout 120s;";

/// Its checks; `idle`: how long a connection is to be idle, if at all.
pub(super) async fn checks(config: &Config, url: Option<&Place>, idle: Option<Duration>) -> Vec<Check> {
    // Over TLS its certificate names the public address, not this machine's.
    let own = Place::of(&config.server.listen).filter(|_| config.server.tls_cert.is_none());
    let Some(place) = url.or(own.as_ref()) else {
        let says =
            format!("the gateway listens on {}: name the public address with --url", config.server.listen);
        return vec![Check::warning(UPGRADE, says)];
    };
    let mut line = match Line::open(place, Headers::default()).await {
        Ok(line) => line,
        // Before its first start nobody answers where it will listen.
        Err(NotOpened::Away(why)) if url.is_none() => {
            let says = format!(
                "no gateway answers at {place} ({why}): start it, or name the public address with --url, and \
                 ask again"
            );
            return vec![
                Check::warning(UPGRADE, says).paste(shell("slotcast doctor --url wss://www.example.com/ws")),
            ];
        }
        Err(error) => return vec![not_upgraded(place, &error)],
    };
    let hello = async { line.hello(config, &nobody()?).await };
    if let Err(why) = hello.await {
        if why.contains("unauthorized") {
            let says =
                format!("{place} does not take a token made with the configured security.token_keys: {why}");
            let keys = "[security]\ntoken_keys = [\"kid:secret\"]   # the gateway's own";
            return vec![Check::failed(UPGRADE, says).paste(slotcast_toml(keys))];
        }
        let says = format!("{place} is a WebSocket, but does not greet as slotcast does: {why}");
        return vec![
            Check::failed(UPGRADE, says).paste(nginx("proxy_pass http://127.0.0.1:8080;   # server.listen")),
        ];
    }
    let mut checks = vec![Check::ok(UPGRADE, format!("{place} upgrades and greets"))];
    let idle = async {
        match idle {
            Some(idle) => Some(idle::check(line, idle).await),
            None => {
                line.leave().await;
                None
            }
        }
    };
    let rest =
        async { futures::join!(origin(place), hops::check(config, place), race::check(config, place)) };
    let (idle, (origin, proxies, race)) = futures::join!(Box::pin(idle), Box::pin(rest));
    checks.extend([origin, proxies, race]);
    checks.extend(idle);
    checks
}

fn not_upgraded(place: &Place, error: &NotOpened) -> Check {
    let failed = |what: &str| Check::failed(UPGRADE, format!("{place} {what} ({error})"));
    match error {
        NotOpened::Away(_) => failed("cannot be reached: is the name right, and does the web server run?"),
        NotOpened::Tls(_) => {
            failed("has no TLS that this machine trusts: is the certificate valid for this name?")
        }
        NotOpened::Answered(502 | 504, _) => {
            failed("answers, but its proxy finds no gateway: is it running there?")
                .paste(nginx("proxy_pass http://127.0.0.1:8080;   # server.listen"))
        }
        NotOpened::Answered(429 | 503, _) => failed(
            "takes no more connections: see security.max_connections, or wait if it is being restarted",
        ),
        NotOpened::Answered(401 | 403, _) => failed(
            "is refused by something in between: does it want a password, or shut out what is no browser?",
        ),
        NotOpened::Answered(200 | 404 | 301 | 302 | 307 | 308, _) => failed("does not lead to the gateway")
            .paste(nginx("proxy_pass http://127.0.0.1:8080;   # server.listen")),
        NotOpened::Answered(..) => failed(
            "does not upgrade to a WebSocket: a proxy in between does not pass Upgrade and Connection on",
        )
        .paste(nginx(LOCATION)),
    }
}

/// Pages of the same host are let in, others are not.
async fn origin(place: &Place) -> Check {
    let own = place.origin();
    let (foreign, same) = futures::join!(let_in(place, FOREIGN), let_in(place, &own));
    match (foreign, same) {
        (Ok(true), _) => {
            let says = format!(
                "a page of {FOREIGN} may connect, and act with its visitors' sessions: does a proxy change \
                 Origin or Host?"
            );
            Check::failed(ORIGIN, says)
                .paste(nginx("proxy_set_header Origin $http_origin;\nproxy_set_header Host $http_host;"))
        }
        (_, Ok(false)) => {
            let says = format!("pages of {own} may not connect: does a proxy not pass Host on?");
            Check::failed(ORIGIN, says).paste(nginx("proxy_set_header Host $http_host;"))
        }
        (Ok(false), Ok(true)) => {
            Check::ok(ORIGIN, format!("pages of {own} may connect, and those of {FOREIGN} may not"))
        }
        (Err(error), _) | (_, Err(error)) => Check::failed(
            ORIGIN,
            format!("what a request with an Origin is answered is no decision: {error}"),
        ),
    }
}

/// Whether a page of this origin may connect.
async fn let_in(place: &Place, origin: &str) -> Result<bool, NotOpened> {
    match Line::open(place, Headers { origin: Some(origin), ..Headers::default() }).await {
        Ok(line) => {
            line.leave().await;
            Ok(true)
        }
        Err(NotOpened::Answered(403, _)) => Ok(false),
        Err(error) => Err(error),
    }
}
