//! A certificate for 127.0.0.1 that signs itself, with its key, as files.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use tempfile::TempDir;
use tokio::process::Command;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::{ClientConfig, RootCertStore, ServerConfig};

/// Two files in a temporary folder.
#[derive(Debug)]
pub struct Certificate {
    folder: TempDir,
}

impl Certificate {
    /// Makes one that is good for two days.
    pub async fn new() -> Self {
        let certificate = Self { folder: TempDir::with_prefix("slotcast-tls-").expect("a temporary folder") };
        let made = Command::new("openssl")
            .args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"])
            .args(["-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1"])
            .args(["-addext", "basicConstraints=critical,CA:FALSE", "-days", "2", "-keyout"])
            .arg(certificate.key())
            .arg("-out")
            .arg(certificate.file())
            .output()
            .await
            .expect("openssl is installed");
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        certificate
    }

    /// The certificate.
    pub fn file(&self) -> PathBuf {
        self.folder.path().join("certificate.pem")
    }

    /// Its key.
    pub fn key(&self) -> PathBuf {
        self.folder.path().join("key.pem")
    }

    /// Puts another's files in the place of these, as a renewal does: each as a whole.
    pub fn become_as(&self, other: &Self) {
        let put = |from: &Path, to: &Path| {
            let unready = to.with_extension("new");
            std::fs::copy(from, &unready).expect("a copy");
            std::fs::rename(&unready, to).expect("a new name");
        };
        put(&other.file(), &self.file());
        put(&other.key(), &self.key());
    }

    /// What a server with this certificate is configured as.
    pub fn server(&self) -> Arc<ServerConfig> {
        let key = PrivateKeyDer::from_pem_file(self.key()).expect("a key");
        let config = ServerConfig::builder().with_no_client_auth().with_single_cert(vec![self.der()], key);
        Arc::new(config.expect("they fit"))
    }

    /// What a client that trusts this certificate alone is configured as.
    pub fn client(&self) -> Arc<ClientConfig> {
        let mut roots = RootCertStore::empty();
        roots.add(self.der()).expect("a certificate that can be trusted");
        Arc::new(ClientConfig::builder().with_root_certificates(roots).with_no_client_auth())
    }

    /// The certificate's bytes.
    pub fn der(&self) -> CertificateDer<'static> {
        CertificateDer::from_pem_file(self.file()).expect("a certificate")
    }
}
