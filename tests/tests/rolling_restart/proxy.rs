//! nginx in front of two gateways, as a site runs it.

use std::net::SocketAddr;
use std::process::Stdio;

use support::{PATIENCE, ReservedPort, eventually};
use tempfile::TempDir;
use tokio::net::TcpStream;
use tokio::process::{Child, Command};

/// A running nginx; ended with the value.
pub(crate) struct Nginx {
    port: ReservedPort,
    _folder: TempDir,
    _child: Child,
}

impl Nginx {
    /// Starts it before these two.
    pub(crate) async fn before(gateways: [SocketAddr; 2]) -> Self {
        let folder = TempDir::with_prefix("slotcast-nginx-").expect("a temporary folder");
        let port = ReservedPort::new();
        let [one, other] = gateways;
        let path = folder.path().display();
        let configuration = format!(
            "daemon off; master_process off; pid {path}/pid; error_log stderr warn;\n\
             worker_rlimit_nofile 16384; events {{ worker_connections 8192; }}\n\
             http {{\n\
               access_log off;\n\
               client_body_temp_path {path}/body; proxy_temp_path {path}/proxy; fastcgi_temp_path {path}/fastcgi;\n\
               uwsgi_temp_path {path}/uwsgi; scgi_temp_path {path}/scgi;\n\
               map $http_upgrade $connection_upgrade {{ default upgrade; '' close; }}\n\
               upstream slotcast {{ server {one} max_fails=0; server {other} max_fails=0; }}\n\
               server {{\n\
                 listen {listen};\n\
                 location / {{\n\
                   proxy_pass http://slotcast;\n\
                   proxy_http_version 1.1;\n\
                   proxy_set_header Host $http_host;\n\
                   proxy_set_header Upgrade $http_upgrade;\n\
                   proxy_set_header Connection $connection_upgrade;\n\
                   proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;\n\
                   proxy_read_timeout 90s;\n\
                   # A gateway that is leaving says 503, one that is gone refuses: the other one is asked.\n\
                   proxy_next_upstream error timeout http_503;\n\
                 }}\n\
               }}\n\
             }}\n",
            listen = port.addr()
        );
        let file = folder.path().join("nginx.conf");
        std::fs::write(&file, configuration).expect("a file");
        let program =
            if std::path::Path::new("/usr/sbin/nginx").exists() { "/usr/sbin/nginx" } else { "nginx" };
        let child = Command::new(program)
            .args(["-e", "stderr", "-p"])
            .arg(folder.path())
            .arg("-c")
            .arg(&file)
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .expect("nginx is installed");
        eventually("nginx listens", PATIENCE, async || TcpStream::connect(port.addr()).await.ok()).await;
        Self { port, _folder: folder, _child: child }
    }

    /// Where browsers connect.
    pub(crate) fn addr(&self) -> SocketAddr {
        self.port.addr()
    }
}
