//! The way to WordPress' web server: one client, for messages about bookings (`outbox`) and for what old pages say to
//! other plugins (`heartbeat`). Redirects are not followed; deadlines are the caller's.

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::{Request, Response, Uri};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};

use crate::config::Upstream;

/// A connection must be there within this, so that there is time for other addresses of the same name.
const CONNECT: Duration = Duration::from_secs(4);
/// Shorter than a web server keeps a connection that nobody uses.
const IDLE: Duration = Duration::from_secs(4);
/// Connections that nobody uses; each is one of the web server's.
const IDLE_CONNECTIONS: usize = 16;

/// WordPress, as `legacy.upstream` names it.
pub struct WordPress {
    upstream: Upstream,
    way: Way,
}

/// Certificates are only looked for where they are needed: a machine may have none.
enum Way {
    Http(Client<HttpConnector, Full<Bytes>>),
    Https(Client<HttpsConnector<HttpConnector>, Full<Bytes>>),
}

impl WordPress {
    /// An error says why there is no way there.
    pub fn new(upstream: &Upstream) -> Result<Arc<Self>, String> {
        let mut tcp = HttpConnector::new();
        tcp.set_connect_timeout(Some(CONNECT));
        tcp.set_nodelay(true);
        let mut client = Client::builder(TokioExecutor::new());
        client.pool_timer(TokioTimer::new()).pool_idle_timeout(IDLE).pool_max_idle_per_host(IDLE_CONNECTIONS);
        let way = if upstream.is_https() {
            tcp.enforce_http(false);
            let tls = HttpsConnectorBuilder::new().with_native_roots();
            let tls =
                tls.map_err(|error| format!("this machine trusts nobody, so https is of no use: {error}"))?;
            Way::Https(client.build(tls.https_only().enable_http1().wrap_connector(tcp)))
        } else {
            Way::Http(client.build(tcp))
        };
        Ok(Arc::new(WordPress { upstream: upstream.clone(), way }))
    }

    /// The address of a REST route, as `/plugin/v1/things`.
    pub fn rest_route(&self, route: &str) -> Uri {
        self.upstream.rest_route(route)
    }

    /// The address of its admin-ajax.php.
    pub fn ajax(&self) -> Uri {
        self.upstream.ajax()
    }

    /// Host and port, for people.
    pub fn host(&self) -> &str {
        self.upstream.host()
    }

    /// The head of the answer; an error says why there is none.
    pub async fn send(&self, request: Request<Full<Bytes>>) -> Result<Response<Incoming>, String> {
        let answer = match &self.way {
            Way::Http(client) => client.request(request).await,
            Way::Https(client) => client.request(request).await,
        };
        answer.map_err(|error| format!("cannot reach {}: {}", self.host(), innermost(&error)))
    }
}

/// What is at the bottom of an error: the layers above say "client error".
fn innermost(error: &dyn Error) -> String {
    let mut error = error;
    while let Some(source) = error.source() {
        error = source;
    }
    error.to_string()
}
