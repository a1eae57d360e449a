//! A prepared MariaDB data folder that each `MariaDb` starts from a copy of: preparing one takes seconds.
//! Invariant: it is made once for all processes that share a target folder, and appears whole or not at all.

use std::fs::File;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::SystemTime;

use rustix::fs::{FlockOperation, flock};
use tempfile::TempDir;

/// Debian keeps it where only root's PATH looks.
const SERVER: &str = "/usr/sbin/mariadbd";

/// How the data files are laid out: small, so that a copy is cheap. The server must be started with the same.
pub(crate) const LAYOUT: [&str; 3] = [
    "--innodb-log-file-size=16M",
    "--innodb-data-file-path=ibdata1:4M:autoextend",
    "--innodb-autoextend-increment=1",
];

/// The database and its user; an anonymous account would be taken for it on connections from this machine.
const CONTENTS: &str = "FLUSH PRIVILEGES;
    DROP USER IF EXISTS ''@'localhost';
    CREATE DATABASE site CHARACTER SET utf8mb4 COLLATE utf8mb4_unicode_520_ci;
    CREATE USER 'app'@'%' IDENTIFIED BY 'app';
    GRANT ALL PRIVILEGES ON `site`.* TO 'app'@'%';
";

/// The server program.
pub(crate) fn server_program() -> &'static Path {
    let path = Path::new(SERVER);
    if path.exists() { path } else { Path::new("mariadbd") }
}

/// Nobody else may run as root unasked.
pub(crate) fn user_option() -> Option<&'static str> {
    rustix::process::geteuid().is_root().then_some("--user=root")
}

/// Fills `data`, which must not exist, with a fresh copy; blocks for seconds where there is no template yet.
pub(crate) fn copy_to(data: &Path) {
    copy_folder(&template(), data).expect("a data folder can be copied");
}

/// The template's folder, made by the first who asks while the others wait.
fn template() -> PathBuf {
    let test = std::env::current_exe().expect("the test's own path");
    let beside = test.parent().expect("a program lies in a folder");
    let template = beside.join(format!("mariadb-data-{:016x}", fingerprint()));
    if template.exists() {
        return template;
    }
    // The lock goes with the file, whatever ends us.
    let lock = File::create(beside.join("mariadb-data.lock")).expect("the target folder is writable");
    flock(&lock, FlockOperation::LockExclusive).expect("a file can be locked");
    if !template.exists() {
        let unfinished = TempDir::with_prefix_in("mariadb-data-", beside).expect("a temporary folder");
        let data = unfinished.path().join("data");
        install(&data, unfinished.path());
        std::fs::rename(&data, &template).expect("the template takes its name");
    }
    template
}

/// Another server or other contents make another template.
fn fingerprint() -> u64 {
    let server = std::fs::metadata(server_program()).and_then(|file| file.modified());
    let mut hasher = DefaultHasher::new();
    (LAYOUT, CONTENTS, server.unwrap_or(SystemTime::UNIX_EPOCH)).hash(&mut hasher);
    hasher.finish()
}

fn install(data: &Path, folder: &Path) {
    let contents = folder.join("contents.sql");
    std::fs::write(&contents, CONTENTS).expect("a temporary file");
    let output = Command::new("mariadb-install-db")
        .args(["--no-defaults", "--auth-root-authentication-method=normal", "--skip-test-db"])
        .args(["--skip-name-resolve", "--skip-log-bin"])
        .args(LAYOUT)
        .args(user_option())
        .arg(format!("--datadir={}", data.display()))
        // A server that starts removes what looks like temporary tables, whosever it is.
        .arg(format!("--tmpdir={}", folder.display()))
        .arg(format!("--extra-file={}", contents.display()))
        .output()
        .expect("mariadb-install-db is installed");
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "no data folder: {said}{}", String::from_utf8_lossy(&output.stderr));
}

fn copy_folder(from: &Path, to: &Path) -> io::Result<()> {
    std::fs::create_dir(to)?;
    for entry in std::fs::read_dir(from)? {
        let entry = entry?;
        let copy = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy_folder(&entry.path(), &copy)?;
        } else {
            std::fs::copy(entry.path(), copy)?;
        }
    }
    Ok(())
}
