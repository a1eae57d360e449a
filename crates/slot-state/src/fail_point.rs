//! Ends or stops this process between two steps of a booking, where a test of the whole program says so. Not in builds
//! for release: there it is nothing.
//!
//! `SLOTCAST_FAIL_POINT=confirm:inserted` aborts at that step. `confirm:inserted=/a/file` stops there once: the file
//! appears, and all goes on when it is gone.

/// This step is reached.
#[cfg(not(debug_assertions))]
#[allow(clippy::unused_async, reason = "waits in other builds")]
pub(crate) async fn fail_point(_step: &str) {}

/// This step is reached.
#[cfg(debug_assertions)]
pub(crate) async fn fail_point(step: &str) {
    use std::sync::LazyLock;
    use std::sync::atomic::{AtomicBool, Ordering};

    static WANTED: LazyLock<Option<String>> = LazyLock::new(|| std::env::var("SLOTCAST_FAIL_POINT").ok());
    static STOPPED: AtomicBool = AtomicBool::new(false);
    let Some(wanted) = WANTED.as_deref() else { return };
    match wanted.split_once('=') {
        None if wanted == step => std::process::abort(),
        Some((at, file)) if at == step && !STOPPED.swap(true, Ordering::Relaxed) => {
            let _ = tokio::fs::write(file, step).await;
            while tokio::fs::try_exists(file).await.unwrap_or(false) {
                tokio::time::sleep(std::time::Duration::from_millis(5)).await;
            }
        }
        _ => {}
    }
}
