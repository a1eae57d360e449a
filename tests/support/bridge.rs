//! Stands between a test's clients, which speak plain TCP, and a gateway on a socket file or behind TLS, as a proxy would.
//! Bytes pass as they are; one side's end becomes the other's.

use std::future::Future;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use tokio::io::{AsyncRead, AsyncWrite, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream, UnixStream};
use tokio::task::JoinHandle;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::ClientConfig;
use tokio_rustls::rustls::pki_types::ServerName;

/// A port of 127.0.0.1 that leads to somewhere else; ended with the value.
#[derive(Debug)]
pub struct Bridge {
    addr: SocketAddr,
    accepting: JoinHandle<()>,
}

impl Bridge {
    /// To a socket file.
    pub async fn to_file(path: PathBuf) -> Self {
        Self::start(move || UnixStream::connect(path.clone())).await
    }

    /// To a TLS server on this address.
    pub async fn to_tls(addr: SocketAddr, trust: Arc<ClientConfig>) -> Self {
        let connector = TlsConnector::from(trust);
        Self::start(move || {
            let connector = connector.clone();
            async move {
                let stream = TcpStream::connect(addr).await?;
                stream.set_nodelay(true)?;
                connector.connect(ServerName::from(addr.ip()), stream).await
            }
        })
        .await
    }

    async fn start<S, C>(connect: impl Fn() -> C + Send + 'static) -> Self
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
        C: Future<Output = std::io::Result<S>> + Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let addr = listener.local_addr().expect("a bound socket has an address");
        let accepting = tokio::spawn(async move {
            loop {
                let Ok((mut here, _)) = listener.accept().await else { continue };
                let connecting = connect();
                tokio::spawn(async move {
                    here.set_nodelay(true).expect("TCP_NODELAY");
                    // Where nobody is, the client finds its connection closed.
                    let Ok(mut there) = connecting.await else { return };
                    drop(copy_bidirectional(&mut here, &mut there).await);
                });
            }
        });
        Self { addr, accepting }
    }

    /// Where clients connect.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }
}

impl Drop for Bridge {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}
