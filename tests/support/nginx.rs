//! A real nginx in front of a gateway: on a reserved port, in a temporary folder, ended with the value.

use std::net::SocketAddr;
use std::process::Stdio;

use tempfile::TempDir;
use tokio::net::TcpStream;
use tokio::process::{Child, Command};

use crate::eventually::eventually;
use crate::{Certificate, PATIENCE, ReservedPort};

/// Debian keeps it where only root's PATH looks.
const PROGRAM: &str = "/usr/sbin/nginx";

/// A running nginx that passes everything to one gateway.
#[derive(Debug)]
pub struct Nginx {
    child: Child,
    port: ReservedPort,
    folder: TempDir,
    is_tls: bool,
}

impl Nginx {
    /// Starts one with these lines in its location, over TLS where there is a certificate.
    pub async fn before(gateway: SocketAddr, location: &str, certificate: Option<&Certificate>) -> Self {
        let (port, folder) =
            (ReservedPort::new(), TempDir::with_prefix("slotcast-nginx-").expect("a folder"));
        let tls = certificate.map(|certificate| {
            let (file, key) = (certificate.file(), certificate.key());
            format!("ssl_certificate {};\nssl_certificate_key {};", file.display(), key.display())
        });
        let user = if rustix::process::geteuid().is_root() { "user root;" } else { "" };
        let place = folder.path().display();
        let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
            .map(|kind| format!("{kind}_temp_path {place}/{kind};\n"))
            .concat();
        let configuration = format!(
            "{user} daemon off; master_process off; pid {place}/pid; error_log {place}/error.log;\n\
             events {{ worker_connections 256; }}\n\
             http {{ access_log off; {temporary} server {{ listen {}{}; {}\n\
             location / {{ proxy_pass http://{gateway};\n{location}\n}} }} }}\n",
            port.addr(),
            if tls.is_some() { " ssl" } else { "" },
            tls.as_deref().unwrap_or_default(),
        );
        let file = folder.path().join("nginx.conf");
        std::fs::write(&file, configuration).expect("a configuration file");
        let child = Command::new(PROGRAM)
            .arg("-p")
            .arg(folder.path())
            .arg("-c")
            .arg(&file)
            .args(["-e", "error.log"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .expect("nginx is installed");
        let mut nginx = Self { child, port, folder, is_tls: tls.is_some() };
        nginx.eventually_listens().await;
        nginx
    }

    /// `ws://…/ws`, or `wss://…/ws`.
    pub fn ws_url(&self) -> String {
        format!("{}://{}/ws", if self.is_tls { "wss" } else { "ws" }, self.port.addr())
    }

    async fn eventually_listens(&mut self) {
        let log = self.folder.path().join("error.log");
        eventually("nginx listens", PATIENCE, async || {
            if let Some(status) = self.child.try_wait().expect("nginx is our child") {
                panic!("nginx ended with {status}: {}", std::fs::read_to_string(&log).unwrap_or_default());
            }
            TcpStream::connect(self.port.addr()).await.ok()
        })
        .await;
    }
}
