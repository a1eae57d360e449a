//! Asks the gateway of this configuration, on this machine, however it listens: on a socket file, over TCP, over TLS.
//! Called by `healthcheck` and `status`. Invariant: nobody is asked but who sits where the configuration listens.

use std::io;
use std::sync::Arc;

use axum::body::Body;
use axum::http::header::{AUTHORIZATION, HOST};
use axum::http::{Request, StatusCode};
use http_body_util::{BodyExt, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use tokio_rustls::rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use tokio_rustls::rustls::{ClientConfig, DEFAULT_VERSIONS, DigitallySignedStruct, Error, SignatureScheme};

use super::LONGEST_ANSWER;
use crate::config::{Listen, Server};

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum NoAnswer {
    #[error("leaves the port to the system: which one is meant?")]
    AnyPort,
    #[error("cannot be reached: {0}")]
    Away(#[from] io::Error),
    #[error("does not answer: {0}")]
    Silent(String),
}

impl From<hyper::Error> for NoAnswer {
    fn from(error: hyper::Error) -> Self {
        Self::Silent(error.to_string())
    }
}

/// Asks for `route`; with this key, if any. Waits as long as it takes.
pub(super) async fn get(
    server: &Server,
    route: &str,
    key: Option<&str>,
) -> Result<(StatusCode, String), NoAnswer> {
    let mut request = Request::get(route).header(HOST, "localhost");
    if let Some(key) = key {
        request = request.header(AUTHORIZATION, format!("Bearer {key}"));
    }
    let request = request.body(Body::empty()).map_err(|error| NoAnswer::Silent(error.to_string()))?;
    match &server.listen {
        Listen::Unix(path) => send(UnixStream::connect(path).await?, request).await,
        listen @ Listen::Tcp(_) => {
            let stream = TcpStream::connect(listen.reached_at().ok_or(NoAnswer::AnyPort)?).await?;
            if server.tls_cert.is_some() {
                send(encrypted(stream).await?, request).await
            } else {
                send(stream, request).await
            }
        }
    }
}

async fn send<S>(stream: S, request: Request<Body>) -> Result<(StatusCode, String), NoAnswer>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let connection = tokio::spawn(connection);
    let answer = sender.send_request(request).await?;
    let status = answer.status();
    let text = Limited::new(answer.into_body(), LONGEST_ANSWER).collect().await;
    connection.abort();
    let text = text.map_err(|error| NoAnswer::Silent(error.to_string()))?.to_bytes();
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

/// Takes any certificate: it is asked on this machine, by an address that no certificate names, and trusted as far as one
/// without TLS there; whether browsers like the certificate is not the question.
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
