//! The certificate that `server.tls_cert` and `tls_key` name: read, checked, and how long it is good for.
//! Used by `config`, which refuses files that are of no use, and by `http`'s TLS, which serves with them.

use std::path::Path;
use std::time::Duration;

use jiff::Timestamp;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::{Error as PemError, PemObject};
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, UnixTime};
use tokio_rustls::rustls::sign::CertifiedKey;
use tokio_rustls::rustls::{Error as TlsError, InconsistentKeys};
use webpki::{ALL_VERIFICATION_ALGS, EndEntityCert, Error as Flaw, KeyUsage};

/// Renewals usually come a month ahead: one that is still missing now has failed.
const SOON: Duration = Duration::from_secs(14 * 24 * 3600);
/// 9999-12-31T23:59:59Z, which certificates write that never end.
const END_OF_TIME: Duration = Duration::from_secs(253_402_300_799);

/// Why two files do not serve.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{key}: {advice}")]
pub struct CertificateProblem {
    /// The configuration's key that names the wrong file.
    pub key: &'static str,
    /// What is wrong with it.
    pub advice: String,
}

/// The server's certificate with its chain and key.
pub fn load(certificate: &Path, key: &Path) -> Result<CertifiedKey, CertificateProblem> {
    let of_certificate = |advice: String| CertificateProblem { key: "server.tls_cert", advice };
    let of_key = |advice: String| CertificateProblem { key: "server.tls_key", advice };
    let chain: Vec<_> = CertificateDer::pem_file_iter(certificate)
        .and_then(Iterator::collect)
        .map_err(|error| of_certificate(unreadable(&error)))?;
    let Some(own) = chain.first() else {
        let advice = "holds no certificate; write the server's own in PEM form, then those of its issuers";
        return Err(of_certificate(advice.to_owned()));
    };
    if let Err(flaw) = EndEntityCert::try_from(own) {
        return Err(of_certificate(format!("its first certificate cannot be used: {flaw}")));
    }
    let key = PrivateKeyDer::from_pem_file(key).map_err(|error| {
        of_key(match error {
            PemError::NoItemsFound => "holds no private key in PEM form without a passphrase".to_owned(),
            error => unreadable(&error),
        })
    })?;
    CertifiedKey::from_der(chain, key, &ring::default_provider()).map_err(|error| match error {
        TlsError::InconsistentKeys(InconsistentKeys::KeyMismatch) => {
            of_key("is not the key of server.tls_cert's first certificate".to_owned())
        }
        error => of_key(format!("cannot be used: {error}")),
    })
}

fn unreadable(error: &PemError) -> String {
    match error {
        PemError::Io(error) => format!("cannot be read: {error}"),
        error => format!("is not in PEM form: {error}"),
    }
}

/// What is wrong with a certificate at this time, or soon will be; as a sentence.
pub fn warning(served: &CertifiedKey, now: Timestamp) -> Option<String> {
    let until = not_after(served);
    if let Some(until) = until.filter(|until| *until < now) {
        return Some(format!("server.tls_cert has expired at {until}: browsers refuse it"));
    }
    if let Some(Flaw::CertNotValidYet { not_before, .. }) = flaw_at(served, unix_time(now)) {
        let from = timestamp(not_before)?;
        return Some(format!("server.tls_cert is not valid before {from}: browsers refuse it"));
    }
    let soon = now.checked_add(SOON).ok()?;
    let until = until.filter(|until| *until < soon)?;
    Some(format!("server.tls_cert expires at {until}: has its renewal failed?"))
}

/// When a certificate ends; `None` = never.
pub fn not_after(served: &CertifiedKey) -> Option<Timestamp> {
    match flaw_at(served, UnixTime::since_unix_epoch(END_OF_TIME))? {
        Flaw::CertExpired { not_after, .. } => timestamp(not_after),
        _ => None,
    }
}

/// What speaks against the certificate, whoever issued it: its dates are looked at before its issuers, of whom nobody is
/// trusted here.
fn flaw_at(served: &CertifiedKey, time: UnixTime) -> Option<Flaw> {
    let certificate = EndEntityCert::try_from(served.cert.first()?).ok()?;
    let usage = KeyUsage::server_auth();
    certificate.verify_for_usage(ALL_VERIFICATION_ALGS, &[], &[], time, usage, None, None).err()
}

fn unix_time(at: Timestamp) -> UnixTime {
    UnixTime::since_unix_epoch(Duration::from_secs(at.as_second().try_into().unwrap_or(0)))
}

fn timestamp(time: UnixTime) -> Option<Timestamp> {
    Timestamp::from_second(time.as_secs().try_into().ok()?).ok()
}

#[cfg(test)]
#[path = "certificate_tests.rs"]
pub(crate) mod testing;
