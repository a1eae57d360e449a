//! `slotcast healthcheck`: asks the gateway of this configuration, on this machine, whether it is ready.
//! Called by `run`; for containers, which have no other client. Ends with 0 for ready, 1 otherwise.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::http::header::HOST;
use axum::http::{Request, StatusCode};
use http_body_util::{BodyExt, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use tokio_rustls::rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use tokio_rustls::rustls::{ClientConfig, DEFAULT_VERSIONS, DigitallySignedStruct, Error, SignatureScheme};

use crate::config::{Listen, Server};

/// Docker and others wait longer than this.
const DEADLINE: Duration = Duration::from_secs(4);
/// A reason is a short line.
const LONGEST_ANSWER: usize = 4 * 1024;

/// Why it is not ready.
#[derive(Debug, thiserror::Error)]
pub(super) enum NotReady {
    #[error("server.listen leaves the port to the system: which one is meant?")]
    AnyPort,
    #[error("{0} cannot be reached: {1}")]
    Away(Listen, io::Error),
    #[error("{0} does not answer: {1}")]
    NoAnswer(Listen, String),
    #[error("{0}")]
    Says(String),
}

/// Asks once.
pub(super) async fn ask(server: &Server) -> Result<(), NotReady> {
    let silent =
        |_| NotReady::NoAnswer(server.listen.clone(), format!("not within {} s", DEADLINE.as_secs()));
    timeout(DEADLINE, Box::pin(ask_at(server))).await.map_err(silent)?
}

async fn ask_at(server: &Server) -> Result<(), NotReady> {
    let away = |error| NotReady::Away(server.listen.clone(), error);
    let answer = match &server.listen {
        Listen::Unix(path) => readyz(UnixStream::connect(path).await.map_err(away)?).await,
        listen @ Listen::Tcp(_) => {
            let address = listen.reached_at().ok_or(NotReady::AnyPort)?;
            let stream = TcpStream::connect(&address).await.map_err(away)?;
            if server.tls_cert.is_some() {
                readyz(encrypted(stream).await.map_err(away)?).await
            } else {
                readyz(stream).await
            }
        }
    };
    let (status, text) = answer.map_err(|error| NotReady::NoAnswer(server.listen.clone(), error))?;
    if status == StatusCode::OK { Ok(()) } else { Err(NotReady::Says(text.trim().to_owned())) }
}

async fn readyz<S>(stream: S) -> Result<(StatusCode, String), String>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (mut sender, connection) =
        http1::handshake(TokioIo::new(stream)).await.map_err(|error| error.to_string())?;
    let connection = tokio::spawn(connection);
    let request = Request::get("/readyz").header(HOST, "localhost").body(Body::empty());
    let request = request.map_err(|error| error.to_string())?;
    let answer = sender.send_request(request).await.map_err(|error| error.to_string())?;
    let status = answer.status();
    let text = Limited::new(answer.into_body(), LONGEST_ANSWER).collect().await;
    connection.abort();
    let text = text.map(|text| text.to_bytes()).unwrap_or_default();
    Ok((status, String::from_utf8_lossy(&text).into_owned()))
}

async fn encrypted(stream: TcpStream) -> io::Result<impl AsyncRead + AsyncWrite + Unpin + Send + 'static> {
    let name = ServerName::from(stream.peer_addr()?.ip());
    let provider = Arc::new(ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider.clone())
        .with_protocol_versions(DEFAULT_VERSIONS)
        .map_err(io::Error::other)?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Anybody(provider)))
        .with_no_client_auth();
    TlsConnector::from(Arc::new(config)).connect(name, stream).await
}

/// Takes any certificate: it is asked on this machine, by an address that no certificate names, for nothing secret; and
/// whether browsers like the certificate is not the question.
#[derive(Debug)]
struct Anybody(Arc<CryptoProvider>);

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signature, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signature, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
