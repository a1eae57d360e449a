//! A whole site: WordPress with slotcast's must-use plugin, served by php-fpm and nginx with slotcast's snippet.
//! What its hooks and mails say is written down by a plugin of the test's own.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Stdio;

use serde_json::Value;
use tokio::process::Command;

use crate::eventually::eventually;
use crate::family::Family;
use crate::{Gateway, GatewayBuilder, KEY, MariaDb, PATIENCE, ReservedPort, SECRET, WebServer, WordPress};

const PLUGIN: &str = include_str!("../../config/wordpress/slotcast.php");
const WITNESS: &str = include_str!("../peers/witness.php");

/// An installed site; served once it has a gateway.
#[derive(Debug)]
pub struct Site {
    // Dropped first: both use the folder of WordPress.
    serving: Option<(Family, WebServer)>,
    wordpress: WordPress,
    address: SocketAddr,
    port: Option<ReservedPort>,
}

impl Site {
    /// Installs WordPress on the database, with AppointEase's table.
    pub async fn install(maria: &MariaDb) -> Self {
        let port = ReservedPort::new();
        let address = port.addr();
        let wordpress = WordPress::install(maria, "wp_", &address.to_string()).await;
        maria.appointments().await;
        Self { serving: None, wordpress, address, port: Some(port) }
    }

    /// Its WordPress, for what is asked of it without a browser.
    pub fn wordpress(&self) -> &WordPress {
        &self.wordpress
    }

    /// Host and port.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The address of a path.
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// `legacy.upstream` for it.
    pub fn admin_ajax(&self) -> String {
        self.url("/wp-admin/admin-ajax.php")
    }

    /// Serves it with a gateway beside it, which is on the same database and shares the tests' key.
    pub async fn serve(&mut self, maria: &MariaDb, builder: GatewayBuilder) -> Gateway {
        let key = format!("{KEY}:{SECRET}");
        let gateway = builder
            .with("mysql.url", maria.url())
            .with("legacy.upstream", self.admin_ajax())
            .with("security.token_keys", &key)
            .start()
            .await;
        gateway.eventually_well_with_mysql().await;
        self.wordpress.define("SLOTCAST_KEY", &key);
        self.wordpress.define("SLOTCAST_URL", &gateway.http_url());
        self.wordpress.must_use("slotcast.php", PLUGIN);
        self.wordpress.must_use("witness.php", WITNESS);
        let php = self.start_php().await;
        let folder = self.wordpress.folder().display();
        let site = format!(
            "root {folder}; index index.php;
            location / {{ try_files $uri $uri/ /index.php?$args; }}
            location ~ \\.php$ {{
                include /etc/nginx/fastcgi_params;
                fastcgi_param SCRIPT_FILENAME $document_root$fastcgi_script_name;
                fastcgi_pass unix:{folder}/php.sock;
            }}"
        );
        let port = self.port.take().expect("a site is served once");
        let web = WebServer::nginx_with(port, gateway.addr(), &site).await;
        self.serving = Some((php, web));
        gateway
    }

    /// What this kind of thing the site's hooks saw so far: `created`, `mail`.
    pub fn seen(&self, kind: &str) -> Vec<Value> {
        let lines = std::fs::read_to_string(self.wordpress.folder().join(format!("{kind}.log")));
        let parse = |line: &str| serde_json::from_str(line).expect("a line of JSON");
        lines.unwrap_or_default().lines().map(parse).collect()
    }

    /// Panics where PHP complained of anything while the site was served.
    pub fn assert_no_php_errors(&self) {
        let errors =
            std::fs::read_to_string(self.wordpress.folder().join("php-errors.log")).unwrap_or_default();
        assert!(errors.is_empty(), "{errors}");
    }

    /// As `run.php` of the command line does, each request is led past Debian's `wp-config.php` to ours.
    async fn start_php(&self) -> Family {
        let folder = self.wordpress.folder();
        let is_root = rustix::process::geteuid().is_root();
        let place = folder.display();
        let lead = format!("<?php define('ABSPATH', '{place}/');");
        let user = if is_root { "user = root\ngroup = root" } else { "" };
        let config = format!(
            "[global]\nerror_log = {place}/php-fpm.log\n[site]\n{user}\nlisten = {place}/php.sock\npm = static\n\
             pm.max_children = 6\nphp_admin_value[auto_prepend_file] = {place}/lead.php\n\
             php_admin_value[error_log] = {place}/php-errors.log\nphp_admin_flag[log_errors] = on\n\
             php_admin_flag[display_errors] = off\nphp_admin_value[error_reporting] = 32767\n"
        );
        for (name, text) in [("lead.php", &lead), ("php-fpm.conf", &config)] {
            std::fs::write(folder.join(name), text).expect("a folder takes files");
        }
        let mut php = Command::new(php_fpm());
        php.arg("--nodaemonize").arg("--fpm-config").arg(folder.join("php-fpm.conf"));
        if is_root {
            php.arg("--allow-to-run-as-root");
        }
        php.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let mut family = Family::start(&mut php).expect("php-fpm is installed");
        let socket = folder.join("php.sock");
        eventually("php-fpm listens", PATIENCE, async || {
            if let Some(status) = family.try_wait().expect("our child") {
                let log = std::fs::read_to_string(folder.join("php-fpm.log")).unwrap_or_default();
                panic!("php-fpm ended with {status}: {log}");
            }
            tokio::net::UnixStream::connect(&socket).await.ok()
        })
        .await;
        family
    }
}

/// Debian names it after PHP's version.
fn php_fpm() -> PathBuf {
    let files = std::fs::read_dir("/usr/sbin").expect("a folder");
    let mut found = files.filter_map(|file| file.ok().map(|file| file.path())).filter(|path| {
        path.file_name().and_then(|name| name.to_str()).is_some_and(|name| name.starts_with("php-fpm"))
    });
    found.next().expect("php-fpm is installed")
}
