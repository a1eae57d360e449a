//! Node with npm's packages of `tests/browser`, kept beside the build's other products so that later runs need no
//! registry. Invariant: they are installed once for all processes that share a target folder, whole or not at all.

use std::fs::File;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::time::Duration;

use rustix::fs::{FlockOperation, flock};
use tempfile::TempDir;
use tokio::process::Command;
use tokio::time::timeout;

/// Registries may be far away.
const INSTALL: Duration = Duration::from_secs(240);
/// The longest a script may take.
const RUN: Duration = Duration::from_secs(120);

/// A folder of the test's own in which scripts find npm's packages.
#[derive(Debug)]
pub struct NodeFolder {
    packages: PathBuf,
    own: TempDir,
}

impl NodeFolder {
    /// A folder with these files of the repository, given by their paths in it; folders are copied whole.
    pub async fn with(paths: &[&str]) -> Self {
        let packages = packages().await;
        let own = TempDir::with_prefix_in("run-", &packages).expect("a temporary folder");
        let folder = NodeFolder { packages, own };
        for path in paths {
            let from = repository().join(path);
            let name = from.file_name().expect("a file has a name");
            copy(&from, &folder.path().join(name));
        }
        folder
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        self.own.path()
    }

    /// Puts a file into it.
    pub fn write(&self, name: &str, text: &str) {
        std::fs::write(self.path().join(name), text).expect("a temporary file");
    }

    /// A file of npm's packages, as `react18/cjs/react.development.js`.
    pub fn package_file(&self, path: &str) -> String {
        let path = self.packages.join("node_modules").join(path);
        std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
    }

    /// Runs node in it; panics with what it printed where it fails.
    pub async fn run(&self, args: &[&str], env: &[(&str, &str)]) -> String {
        let mut node = Command::new("node");
        node.args(args).envs(env.iter().copied()).current_dir(self.path());
        let output = finished(node, RUN).await;
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success(), "{said}\n{}", String::from_utf8_lossy(&output.stderr));
        said
    }
}

/// Where npm's packages are, installed first where they are not; other wishes make another folder.
async fn packages() -> PathBuf {
    let wishes = repository().join("tests/browser");
    let lock = std::fs::read(wishes.join("package-lock.json")).expect("a lock file");
    let mut hasher = DefaultHasher::new();
    lock.hash(&mut hasher);
    let test = std::env::current_exe().expect("the test's own path");
    let beside = test.parent().expect("a program lies in a folder");
    let packages = beside.join(format!("node-{:016x}", hasher.finish()));
    if packages.exists() {
        return packages;
    }
    let guard = File::create(beside.join("node.lock")).expect("the target folder is writable");
    let guard =
        tokio::task::spawn_blocking(move || flock(&guard, FlockOperation::LockExclusive).map(|()| guard));
    let _guard = guard.await.expect("no panic").expect("a file can be locked");
    if !packages.exists() {
        let unfinished = TempDir::with_prefix_in("node-", beside).expect("a temporary folder");
        for file in ["package.json", "package-lock.json", ".npmrc"] {
            copy(&wishes.join(file), &unfinished.path().join(file));
        }
        let mut npm = Command::new("npm");
        npm.args(["ci", "--no-audit", "--no-fund"]).current_dir(unfinished.path());
        let output = finished(npm, INSTALL).await;
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "npm cannot install what the browser tests need: {said}");
        std::fs::rename(unfinished.keep(), &packages).expect("the folder takes its name");
    }
    packages
}

async fn finished(mut command: Command, deadline: Duration) -> Output {
    let output = command.stdin(Stdio::null()).kill_on_drop(true).output();
    let output = timeout(deadline, output).await.expect("it ends in time");
    output.expect("nodejs and npm are installed")
}

fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the tests lie in the repository")
}

fn copy(from: &Path, to: &Path) {
    if from.is_dir() {
        std::fs::create_dir(to).expect("a temporary folder");
        for entry in std::fs::read_dir(from).expect("a folder can be read") {
            let entry = entry.expect("a folder can be read");
            copy(&entry.path(), &to.join(entry.file_name()));
        }
    } else {
        std::fs::copy(from, to).unwrap_or_else(|error| panic!("{}: {error}", from.display()));
    }
}
