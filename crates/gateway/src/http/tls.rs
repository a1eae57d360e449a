//! TLS where no proxy stands in front: handshakes with the certificate of the moment, and the moment's change.
//! Opened by `app`, used by `server`, told of a new configuration by `reload`. Invariant: files that are of no use
//! never take the place of those in use.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use jiff::Timestamp;
use parking_lot::Mutex;
use prometheus_client::metrics::gauge::Gauge;
use tokio::net::TcpStream;
use tokio::time::{MissedTickBehavior, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::server::{ClientHello, ResolvesServerCert};
use tokio_rustls::rustls::sign::CertifiedKey;
use tokio_rustls::rustls::{self, DEFAULT_VERSIONS, ServerConfig};
use tokio_rustls::server::TlsStream;

use crate::config::Server;
use crate::security::certificate::{self, CertificateProblem};

/// How often the files are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(2);
/// WebSocket by HTTP/1.1 is all that is spoken.
const PROTOCOL: &[u8] = b"http/1.1";

/// Why there is no TLS.
#[derive(Debug, thiserror::Error)]
pub enum TlsFailure {
    /// The files are of no use.
    #[error(transparent)]
    Certificate(#[from] CertificateProblem),
    /// The library refuses.
    #[error("TLS cannot be set up: {0}")]
    Library(#[from] rustls::Error),
}

/// The two files.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Files {
    certificate: PathBuf,
    key: PathBuf,
}

/// What tells a file from its successor: where it lies, how long it is, when it was written.
type Looks = [Option<(u64, u64, i64, i64)>; 2];

impl Files {
    fn of(server: &Server) -> Option<Self> {
        let (certificate, key) = server.tls_cert.clone().zip(server.tls_key.clone())?;
        Some(Self { certificate, key })
    }

    fn looks(&self) -> Looks {
        [&self.certificate, &self.key].map(|path| {
            let file = fs::metadata(path).ok()?;
            Some((file.ino(), file.size(), file.mtime(), file.mtime_nsec()))
        })
    }

    fn load(&self) -> Result<CertifiedKey, CertificateProblem> {
        certificate::load(&self.certificate, &self.key)
    }
}

/// Encrypts connections.
pub(crate) struct Tls {
    acceptor: TlsAcceptor,
    served: Arc<Served>,
    files: Mutex<(Files, Looks)>,
    expiry: Gauge,
}

/// The certificate that the next handshake is made with.
#[derive(Debug)]
struct Served(ArcSwap<CertifiedKey>);

impl ResolvesServerCert for Served {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.0.load_full())
    }
}

impl Tls {
    /// With the files that the configuration names; `None` where it names none. `expiry` is told when the certificate ends.
    pub(crate) fn open(server: &Server, expiry: Gauge) -> Result<Option<Arc<Self>>, TlsFailure> {
        let Some(files) = Files::of(server) else { return Ok(None) };
        let looks = files.looks();
        let served = Arc::new(Served(ArcSwap::from_pointee(files.load()?)));
        let provider = Arc::new(ring::default_provider());
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(DEFAULT_VERSIONS)?
            .with_no_client_auth()
            .with_cert_resolver(served.clone());
        config.alpn_protocols = vec![PROTOCOL.to_vec()];
        // Browsers that come back bring their session along: cheaper for both, and nothing is kept here for it.
        config.ticketer = ring::Ticketer::new()?;
        config.send_tls13_tickets = 1;
        let tls = Self {
            acceptor: TlsAcceptor::from(Arc::new(config)),
            served,
            files: Mutex::new((files, looks)),
            expiry,
        };
        tls.tell_expiry();
        Ok(Some(Arc::new(tls)))
    }

    /// Makes the handshake; `TimedOut` where the other end is not ready in time.
    pub(super) async fn accept(
        &self,
        stream: TcpStream,
        deadline: Duration,
    ) -> io::Result<TlsStream<TcpStream>> {
        timeout(deadline, self.acceptor.accept(stream)).await?
    }

    /// Looks after the files for ever. New ones are read once they have stayed the same between two looks: a renewal
    /// writes two files, one after the other.
    pub(crate) async fn run(self: Arc<Self>) {
        let mut looks = tokio::time::interval(LOOK_EVERY);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut before = self.files.lock().1;
        loop {
            looks.tick().await;
            let (now, read) = {
                let files = self.files.lock();
                (files.0.looks(), files.1)
            };
            if now != read && now == before {
                self.read_anew();
            }
            before = now;
        }
    }

    /// Reads the files that the new configuration names, changed or not.
    pub(crate) fn change(&self, server: &Server) {
        if let Some(files) = Files::of(server) {
            self.files.lock().0 = files;
        }
        self.read_anew();
    }

    fn read_anew(&self) {
        let mut files = self.files.lock();
        files.1 = files.0.looks();
        match files.0.load() {
            Ok(key) => {
                self.served.0.store(Arc::new(key));
                self.tell_expiry();
                tracing::info!(event = "certificate_reloaded", file = %files.0.certificate.display());
            }
            Err(problem) => tracing::error!(
                event = "certificate_refused", error = %problem,
                "the certificate in use stays; put the files right, and they are read again"
            ),
        }
    }

    fn tell_expiry(&self) {
        let served = self.served.0.load();
        self.expiry.set(certificate::not_after(&served).map_or(i64::MAX, Timestamp::as_second));
        if let Some(warning) = certificate::warning(&served, Timestamp::now()) {
            tracing::warn!(event = "config_warning", "{warning}");
        }
    }
}
