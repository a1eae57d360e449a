//! What a client can send over TLS 1.3 without saying anything: changes of keys, each followed by an empty record,
//! so that a limit on either in a row is never reached. No library sends that: it is encrypted here by hand.

use std::sync::OnceLock;

use tokio_rustls::rustls::crypto::cipher::{AeadKey, Iv, OutboundChunks, OutboundPlainMessage};
use tokio_rustls::rustls::crypto::ring::cipher_suite::TLS13_AES_256_GCM_SHA384;
use tokio_rustls::rustls::crypto::tls13::OkmBlock;
use tokio_rustls::rustls::{ContentType, KeyLog, ProtocolVersion, Tls13CipherSuite};

/// "We change our keys; you need not."
const KEY_UPDATE: [u8; 5] = [24, 0, 0, 1, 0];

/// A client's `key_log`, of one connection: remembers what it encrypts with.
#[derive(Debug, Default)]
pub struct ClientKeys(OnceLock<Vec<u8>>);

impl KeyLog for ClientKeys {
    fn log(&self, label: &str, _client_random: &[u8], secret: &[u8]) {
        if label == "CLIENT_TRAFFIC_SECRET_0" {
            self.0.set(secret.to_vec()).expect("one connection");
        }
    }
}

impl ClientKeys {
    /// Changes of keys with an empty record after each, 49 bytes both, for a client that has sent so many records
    /// since the handshake. It can send nothing of its own after them.
    pub fn flood(&self, records_sent: u64, changes: usize) -> Vec<u8> {
        let suite = TLS13_AES_256_GCM_SHA384.tls13().expect("of TLS 1.3");
        let mut secret = self.0.get().expect("a handshake, of TLS 1.3").clone();
        assert_eq!(secret.len(), 48, "the client's first choice is the suite above");
        let mut sealed = Vec::new();
        let mut sent = records_sent;
        for _ in 0..changes {
            sealed.extend(seal(suite, &secret, sent, ContentType::Handshake, &KEY_UPDATE));
            secret = derive::<48>(suite, &secret, b"tls13 traffic upd").to_vec();
            sealed.extend(seal(suite, &secret, 0, ContentType::ApplicationData, &[]));
            sent = 1;
        }
        sealed
    }
}

fn seal(suite: &Tls13CipherSuite, secret: &[u8], number: u64, typ: ContentType, plain: &[u8]) -> Vec<u8> {
    let key = AeadKey::from(derive::<32>(suite, secret, b"tls13 key"));
    let iv = Iv::from(derive::<12>(suite, secret, b"tls13 iv"));
    let payload = OutboundChunks::Single(plain);
    let message = OutboundPlainMessage { typ, version: ProtocolVersion::TLSv1_3, payload };
    suite.aead_alg.encrypter(key, iv).encrypt(message, number).expect("encrypts").encode()
}

/// HKDF-Expand-Label of RFC 8446 without a context.
fn derive<const N: usize>(suite: &Tls13CipherSuite, secret: &[u8], label: &[u8]) -> [u8; N] {
    let lengths = [u8::try_from(N).expect("short"), u8::try_from(label.len()).expect("short")];
    let mut derived = [0; N];
    let expander = suite.hkdf_provider.expander_for_okm(&OkmBlock::new(secret));
    expander.expand_slice(&[&[0], &lengths, label, &[0]], &mut derived).expect("short");
    derived
}
