//! WordPress' own code, from Debian's package, run by the command line PHP on a test's MariaDB.
//! Each call is a request of its own: nothing is kept from one to the next. A warning of PHP fails the test.

use std::path::Path;
use std::process::{Output, Stdio};
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;
use tokio::io::AsyncWriteExt;
use tokio::process::Command;
use tokio::time::timeout;

use crate::MariaDb;

/// Where Debian puts it.
const PACKAGE: &str = "/usr/share/wordpress";

/// The longest a request may take. Without its database WordPress tries again for a long time.
const REQUEST: Duration = Duration::from_secs(60);

/// Runs the code on standard input inside WordPress. `ABSPATH` leads past Debian's `wp-config.php` to ours.
const RUN: &str = r"<?php
define('ABSPATH', __DIR__ . '/');
$_SERVER += ['HTTP_HOST' => getenv('SITE'), 'SERVER_PROTOCOL' => 'HTTP/1.1', 'REQUEST_METHOD' => 'GET'];
if (getenv('INSTALLING')) {
    define('WP_INSTALLING', true);
    function wp_new_blog_notification() {}
}
require_once '/usr/share/wordpress/wp-load.php';
$args = array_slice($argv, 1);
eval(stream_get_contents(STDIN));
";

/// The test of pretty addresses, which asks the site's own web server, is spared by having some already.
const INSTALL: &str = r"
require_once ABSPATH . 'wp-admin/includes/upgrade.php';
add_filter('pre_option_permalink_structure', fn() => '/%postname%/');
wp_install('A site', 'admin', 'admin@example.com', false, '', 'secret');
";

/// Where a site is that nobody serves.
const NOWHERE: &str = "127.0.0.1:9";

/// An installed WordPress.
#[derive(Debug)]
pub struct WordPress {
    folder: TempDir,
    address: String,
}

impl WordPress {
    /// Installs it with the table prefix `wp_`.
    pub async fn on(maria: &MariaDb) -> Self {
        Self::with_prefix(maria, "wp_").await
    }

    /// Installs it with another table prefix.
    pub async fn with_prefix(maria: &MariaDb, prefix: &str) -> Self {
        Self::install(maria, prefix, NOWHERE).await
    }

    /// Installs it for a site at this host and port.
    pub(crate) async fn install(maria: &MariaDb, prefix: &str, address: &str) -> Self {
        let folder = TempDir::with_prefix("slotcast-wordpress-").expect("a temporary folder");
        let wordpress = Self { folder, address: address.to_owned() };
        wordpress.lay_out(maria, prefix).expect("a temporary folder takes files");
        let output = wordpress.php(INSTALL, &[], true).await;
        said(&output).unwrap_or_else(|error| panic!("WordPress is not installed: {error}"));
        wordpress
    }

    /// What this code prints; `$args` holds the arguments.
    pub async fn eval(&self, code: &str, args: &[&str]) -> String {
        self.try_eval(code, args).await.unwrap_or_else(|error| panic!("{code}: {error}"))
    }

    /// The same for code that may fail; the error is what PHP complained of.
    pub async fn try_eval(&self, code: &str, args: &[&str]) -> Result<String, String> {
        said(&self.php(code, args, false).await)
    }

    /// `get_transient(name)`, as JSON; `false` where there is none.
    pub async fn get_transient(&self, name: &str) -> Value {
        let json = self.eval("echo json_encode(get_transient($args[0]));", &[name]).await;
        serde_json::from_str(&json).unwrap_or_else(|error| panic!("{json}: {error}"))
    }

    /// `set_transient(name, value, ttl)`, with objects as PHP arrays; no where nothing changed.
    pub async fn set_transient(&self, name: &str, value: &Value, ttl: u64) -> bool {
        let code = "echo json_encode(set_transient($args[0], json_decode($args[1], true), (int) $args[2]));";
        self.eval(code, &[name, &value.to_string(), &ttl.to_string()]).await == "true"
    }

    /// `delete_transient(name)`; whether there was one.
    pub async fn delete_transient(&self, name: &str) -> bool {
        self.eval("echo json_encode(delete_transient($args[0]));", &[name]).await == "true"
    }

    /// Its folder, which a web server may serve.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Defines a constant in wp-config.php.
    pub fn define(&self, name: &str, value: &str) {
        let file = self.folder().join("constants.php");
        let known = std::fs::read_to_string(&file).unwrap_or_else(|_| "<?php\n".to_owned());
        std::fs::write(file, format!("{known}define('{name}', '{value}');\n")).expect("a folder takes files");
    }

    /// Puts a plugin where it is always on.
    pub fn must_use(&self, name: &str, code: &str) {
        let file = self.folder().join("wp-content/mu-plugins").join(name);
        std::fs::write(file, code).expect("a folder takes files");
    }

    fn lay_out(&self, maria: &MariaDb, prefix: &str) -> std::io::Result<()> {
        let folder = self.folder.path();
        let address = &self.address;
        let config = format!(
            "<?php
            if (is_file(ABSPATH . 'constants.php')) require ABSPATH . 'constants.php';
            define('DB_NAME', 'site');
            define('DB_USER', 'app');
            define('DB_PASSWORD', 'app');
            define('DB_HOST', '{}');
            define('DB_CHARSET', 'utf8mb4');
            define('DB_COLLATE', '');
            define('WP_SITEURL', 'http://{address}');
            define('WP_HOME', 'http://{address}');
            define('DISABLE_WP_CRON', true);
            define('WP_HTTP_BLOCK_EXTERNAL', true);
            define('AUTOMATIC_UPDATER_DISABLED', true);
            $table_prefix = '{prefix}';
            require_once ABSPATH . 'wp-settings.php';",
            maria.addr()
        );
        std::fs::write(folder.join("wp-config.php"), config)?;
        std::fs::write(folder.join("run.php"), RUN)?;
        std::fs::create_dir_all(folder.join("wp-content/mu-plugins"))?;
        for name in
            ["index.php", "wp-admin", "wp-blog-header.php", "wp-includes", "wp-login.php", "wp-settings.php"]
        {
            std::os::unix::fs::symlink(Path::new(PACKAGE).join(name), folder.join(name))?;
        }
        Ok(())
    }

    async fn php(&self, code: &str, args: &[&str], installing: bool) -> Output {
        let mut php = Command::new("php");
        php.args(["-d", "display_errors=stderr", "-d", "error_log="]).arg(self.folder.path().join("run.php"));
        php.args(args).env("SITE", &self.address).kill_on_drop(true);
        if installing {
            php.env("INSTALLING", "1");
        }
        php.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut php = php.spawn().expect("php is installed");
        let mut input = php.stdin.take().expect("stdin is piped");
        // A PHP that ended early has read nothing; its own words say why.
        drop(input.write_all(code.as_bytes()).await);
        drop(input);
        timeout(REQUEST, php.wait_with_output()).await.expect("php ends in time").expect("php runs")
    }
}

fn said(output: &Output) -> Result<String, String> {
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    if output.status.success() && output.stderr.is_empty() {
        Ok(text)
    } else {
        Err(format!("{}: {text}\n{}", output.status, String::from_utf8_lossy(&output.stderr)))
    }
}
