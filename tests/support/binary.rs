//! Where the `slotcast` program is: `SLOTCAST_BIN`, or built once beside the running test.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};

use tokio::process::{Child, Command};
use tokio::sync::OnceCell;

use crate::Logs;

/// The program to test, built first where `SLOTCAST_BIN` does not name one.
pub async fn slotcast_binary() -> &'static Path {
    static BINARY: OnceCell<PathBuf> = OnceCell::const_new();
    BINARY.get_or_init(find_or_build).await
}

/// Runs `slotcast` with these arguments and nothing but this environment, to its end.
pub async fn run_slotcast(args: &[&str], env: &[(&str, &str)]) -> Output {
    let env = env.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    slotcast_command(&env, None).await.args(args).output().await.expect("slotcast runs")
}

/// Starts `slotcast` with these arguments; it ends with the child, and what it prints is collected.
pub async fn spawn_slotcast(args: &[&str]) -> (Child, Logs) {
    let mut command = slotcast_command(&BTreeMap::new(), None).await;
    command.args(args);
    spawn_with_logs(command)
}

/// Starts the command with both outputs collected.
pub(crate) fn spawn_with_logs(mut command: Command) -> (Child, Logs) {
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("slotcast starts");
    let logs = Logs::default();
    logs.collect_from(child.stdout.take().expect("stdout is piped"));
    logs.collect_from(child.stderr.take().expect("stderr is piped"));
    (child, logs)
}

/// A command with a clean environment: a `SLOTCAST_` variable of the test run itself would be an unknown key.
pub(crate) async fn slotcast_command(env: &BTreeMap<String, String>, open_files: Option<u32>) -> Command {
    let program = slotcast_binary().await;
    let mut command = match open_files {
        None => Command::new(program),
        Some(most) => {
            let mut shell = Command::new("sh");
            shell.arg("-c").arg(format!("ulimit -n {most} && exec \"$0\" \"$@\"")).arg(program);
            shell
        }
    };
    command.env_clear().envs(env).kill_on_drop(true);
    for kept in ["PATH", "HOME", "TMPDIR", "RUST_BACKTRACE"] {
        if let Some(value) = std::env::var_os(kept) {
            command.env(kept, value);
        }
    }
    command
}

async fn find_or_build() -> PathBuf {
    if let Some(path) = std::env::var_os("SLOTCAST_BIN") {
        return path.into();
    }
    // …/target/<profile>/deps/<this test>
    let test = std::env::current_exe().expect("the test's own path");
    let profile_folder = test.ancestors().nth(2).expect("a test lies in target/<profile>/deps");
    let target = profile_folder.parent().expect("a profile lies in the target folder");
    let mut build = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    build.args(["build", "--quiet", "--package", "slotcast-gateway", "--bin", "slotcast"]);
    build.arg("--target-dir").arg(target).current_dir(env!("CARGO_MANIFEST_DIR"));
    if profile_folder.ends_with("release") {
        build.arg("--release");
    }
    let status = build.status().await.expect("cargo runs");
    assert!(status.success(), "slotcast does not build");
    profile_folder.join("slotcast")
}
