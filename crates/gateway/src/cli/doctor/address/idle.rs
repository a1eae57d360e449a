//! Whether a connection survives on which nobody says anything but for the gateway's pings.

use std::time::Duration;

use serde_json::json;
use tokio::time::{Instant, timeout_at};

use super::line::{Line, is_farewell};
use crate::cli::doctor::report::{Check, nginx};

const NAME: &str = "address.idle";
/// Longer than the gateway's pings are apart.
const TIMEOUTS: &str = "proxy_read_timeout 120s;\nproxy_send_timeout 120s;";

/// Waits on a connection that has said hello.
pub(super) async fn check(mut line: Line, idle: Duration) -> Check {
    let begun = Instant::now();
    let until = begun + idle;
    loop {
        match timeout_at(until, line.next()).await {
            // What the gateway says to everybody, as a change of the store.
            Ok(Ok(_)) => {}
            Ok(Err(why)) if is_farewell(&why) => return stopped(),
            Ok(Err(why)) => {
                let says = format!(
                    "an idle connection was ended after {} s ({why}): pages lose what they selected, and \
                     connect again and again",
                    begun.elapsed().as_secs()
                );
                return Check::failed(NAME, says).paste(nginx(TIMEOUTS));
            }
            Err(_) => break,
        }
    }
    match line.ask(json!({"type": "ping"})).await {
        Ok(_) => {
            line.leave().await;
            Check::ok(NAME, format!("a connection that was idle for {} s still answers", idle.as_secs()))
        }
        Err(why) if is_farewell(&why) => stopped(),
        Err(why) => {
            let says = format!(
                "a connection that was idle for {} s is dead, and nobody says so: {why}",
                idle.as_secs()
            );
            Check::failed(NAME, says).paste(nginx(TIMEOUTS))
        }
    }
}

fn stopped() -> Check {
    Check::warning(NAME, "the gateway stopped meanwhile: nothing is known of an idle connection; ask again")
}
