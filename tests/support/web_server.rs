//! The web servers in front of a gateway, run with the configuration that is handed to site owners: nginx, Apache, Caddy.
//! Each in a temporary folder, on a port of its own, ended with the value.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Stdio;

use tempfile::TempDir;
use tokio::net::TcpStream;
use tokio::process::Command;

use crate::eventually::eventually;
use crate::family::Family;
use crate::{Certificate, PATIENCE, ReservedPort};

/// What stands for the gateway in what site owners get.
const GATEWAY: &str = "127.0.0.1:8080";
const NGINX: &str = include_str!("../../config/nginx/slotcast.conf");
const APACHE: &str = include_str!("../../config/apache/slotcast.conf");
const CADDY: &str = include_str!("../../config/caddy/Caddyfile");

/// Around nginx' snippet: a server block of its own.
const NGINX_AROUND: &str = "
daemon off; worker_processes 1; pid @DIR@/pid; error_log @DIR@/log warn; @USER@
events { worker_connections 1024; }
http {
    access_log off;
    include /etc/nginx/mime.types;
    client_body_temp_path @DIR@/body; proxy_temp_path @DIR@/proxy; fastcgi_temp_path @DIR@/fastcgi;
    uwsgi_temp_path @DIR@/uwsgi; scgi_temp_path @DIR@/scgi;
    server {
        listen 127.0.0.1:@PORT@ @TLS@;
        @SITE@
    }
}
";

/// Around Apache's: the modules that it names, and Apache's own default for what is silent.
const APACHE_AROUND: &str = "
ServerRoot @DIR@
ServerName 127.0.0.1
PidFile @DIR@/pid
ErrorLog @DIR@/log
DefaultRuntimeDir @DIR@
@USER@
LoadModule mpm_event_module /usr/lib/apache2/modules/mod_mpm_event.so
LoadModule authz_core_module /usr/lib/apache2/modules/mod_authz_core.so
LoadModule headers_module /usr/lib/apache2/modules/mod_headers.so
LoadModule proxy_module /usr/lib/apache2/modules/mod_proxy.so
LoadModule proxy_http_module /usr/lib/apache2/modules/mod_proxy_http.so
Timeout 60
Listen 127.0.0.1:@PORT@
<VirtualHost *:@PORT@>
    Include @DIR@/slotcast.conf
</VirtualHost>
";

/// A running web server.
#[derive(Debug)]
pub struct WebServer {
    // Dropped first: a live server writes into the folder while it is removed.
    _family: Family,
    port: ReservedPort,
    is_tls: bool,
    _folder: TempDir,
}

impl WebServer {
    /// nginx in front of the gateway at this address.
    pub async fn nginx(gateway: SocketAddr) -> Self {
        Self::nginx_with(ReservedPort::new(), gateway, "location / { return 404; }").await
    }

    /// nginx with more in its server block, on this port.
    pub(crate) async fn nginx_with(port: ReservedPort, gateway: SocketAddr, site: &str) -> Self {
        let around = NGINX_AROUND.replace("@TLS@", "");
        let around = around.replace("@SITE@", &format!("include @DIR@/slotcast.conf;\n{site}"));
        Self::start_nginx(port, &around, NGINX, gateway).await
    }

    /// nginx that passes everything on over TLS, by a location with these lines and no more.
    pub async fn nginx_over_tls(gateway: SocketAddr, lines: &str, certificate: &Certificate) -> Self {
        let (file, key) = (certificate.file(), certificate.key());
        let tls = format!("ssl; ssl_certificate {}; ssl_certificate_key {}", file.display(), key.display());
        let around = NGINX_AROUND.replace("@TLS@", &tls).replace("@SITE@", "include @DIR@/slotcast.conf;");
        let location = format!("location / {{ proxy_pass http://{GATEWAY};\n{lines}\n}}");
        let server = Self::start_nginx(ReservedPort::new(), &around, &location, gateway).await;
        Self { is_tls: true, ..server }
    }

    async fn start_nginx(port: ReservedPort, around: &str, snippet: &str, gateway: SocketAddr) -> Self {
        let user = if rustix::process::geteuid().is_root() { "user root;" } else { "" };
        let folder = laid_out(&port, around, user, snippet, gateway);
        let mut nginx = Command::new("/usr/sbin/nginx");
        nginx.arg("-p").arg(folder.path()).arg("-c").arg(folder.path().join("main.conf"));
        Self::start(nginx, port, folder).await
    }

    /// Apache in front of the gateway at this address.
    pub async fn apache(gateway: SocketAddr) -> Self {
        let port = ReservedPort::new();
        let folder = laid_out(&port, APACHE_AROUND, "User www-data\nGroup www-data", APACHE, gateway);
        let mut apache = Command::new("/usr/sbin/apache2");
        apache
            .arg("-d")
            .arg(folder.path())
            .arg("-f")
            .arg(folder.path().join("main.conf"))
            .arg("-DFOREGROUND");
        Self::start(apache, port, folder).await
    }

    /// Caddy in front of the gateway at this address: the whole file of the site owner, with another site.
    pub async fn caddy(gateway: SocketAddr) -> Self {
        let port = ReservedPort::new();
        let (snippet, _site) = CADDY.split_once("\nwww.example.com {").expect("the example's site");
        let around = "{\n admin off\n auto_https off\n}\nimport @DIR@/slotcast.conf\nhttp://127.0.0.1:@PORT@ {\n bind 127.0.0.1\n \
                      import slotcast\n respond 404\n}\n";
        let folder = laid_out(&port, around, "", snippet, gateway);
        let mut caddy = Command::new("caddy");
        caddy.args(["run", "--adapter", "caddyfile", "--config"]).arg(folder.path().join("main.conf"));
        for place in ["HOME", "XDG_DATA_HOME", "XDG_CONFIG_HOME"] {
            caddy.env(place, folder.path());
        }
        Self::start(caddy, port, folder).await
    }

    /// Where it listens.
    pub fn addr(&self) -> SocketAddr {
        self.port.addr()
    }

    /// `ws://…/ws`, or `wss://…/ws`.
    pub fn ws_url(&self) -> String {
        format!("{}://{}/ws", if self.is_tls { "wss" } else { "ws" }, self.addr())
    }

    async fn start(mut command: Command, port: ReservedPort, folder: TempDir) -> Self {
        let log = folder.path().join("output");
        let written = std::fs::File::create(&log).expect("a log file");
        command.stdin(Stdio::null()).stdout(written.try_clone().expect("a handle")).stderr(written);
        let mut family = Family::start(&mut command).expect("the web server is installed");
        eventually("the web server listens", PATIENCE, async || {
            if let Some(status) = family.try_wait().expect("our child") {
                let said = |name| std::fs::read_to_string(folder.path().join(name)).unwrap_or_default();
                panic!("the web server ended with {status}: {}{}", said("output"), said("log"));
            }
            TcpStream::connect(port.addr()).await.ok()
        })
        .await;
        Self { _family: family, port, is_tls: false, _folder: folder }
    }
}

/// The folder with `main.conf` and the snippet that it includes.
fn laid_out(port: &ReservedPort, around: &str, user: &str, snippet: &str, gateway: SocketAddr) -> TempDir {
    let folder = TempDir::with_prefix("slotcast-web-").expect("a temporary folder");
    assert!(snippet.contains(GATEWAY), "the snippet names no gateway");
    let place = folder.path().display().to_string();
    let main = around.replace("@DIR@", &place).replace("@USER@", user);
    let main = main.replace("@PORT@", &port.addr().port().to_string());
    let write = |file: &Path, text: &str| std::fs::write(file, text).expect("a temporary folder takes files");
    write(&folder.path().join("main.conf"), &main);
    write(&folder.path().join("slotcast.conf"), &snippet.replace(GATEWAY, &gateway.to_string()));
    folder
}
