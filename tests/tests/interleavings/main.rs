//! Random interleavings over two gateways: clients, PHP, expiries, flushes, browsers that change gateways.
//! At rest every view equals what Redis holds, and every client's belief is right. A failure prints its seed;
//! `SLOTCAST_TEST_SEED` plays it again, `SLOTCAST_TEST_RUNS` plays more of them.

mod belief;
mod crowd;

use std::time::{SystemTime, UNIX_EPOCH};

use crowd::Crowd;

const RUNS: u64 = 3;
const STEPS: usize = 250;

fn number_from_environment(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().unwrap_or_else(|_| panic!("{name} is not a number")))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn at_rest_everybody_sees_what_redis_holds_and_believes_what_is_so() {
    let fresh = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_micros();
    let first = number_from_environment("SLOTCAST_TEST_SEED");
    let runs =
        number_from_environment("SLOTCAST_TEST_RUNS").unwrap_or(if first.is_some() { 1 } else { RUNS });
    let first = first.unwrap_or(u64::try_from(fresh).expect("before the year 500000"));
    for seed in first..first + runs {
        // Captured, and so printed where the run fails.
        println!("SLOTCAST_TEST_SEED={seed}");
        let mut crowd = Crowd::gather(seed).await;
        for _ in 0..STEPS {
            crowd.step().await;
        }
        crowd.come_to_rest().await;
    }
}
