//! Bookings without a server between, one after the other on one connection: how many a second the database does then.

use std::time::Duration;

use tokio::time::Instant;

use crate::LoadError;
use crate::bare_booking::BareBooking;
use crate::cli::BareArgs;
use crate::report::PollReport;
use crate::timing::{Clock, Timings};

/// Runs the scenario.
pub async fn bare(args: &BareArgs) -> Result<PollReport, LoadError> {
    let mut booking = BareBooking::connect(&args.mysql).await?;
    let (clock, start, mut timings) = (Clock::start(), Instant::now(), Timings::new());
    let until = start + Duration::from_secs_f64(args.seconds);
    for number in 0.. {
        if Instant::now() >= until {
            break;
        }
        let started_us = clock.now_us();
        booking.call(number).await?;
        timings.record(clock.now_us() - started_us);
    }
    let elapsed = start.elapsed().as_secs_f64();
    let latency = timings.latency();
    let requests = latency.map_or(0, |latency| latency.count);
    Ok(PollReport {
        title: args.title.clone(),
        label: "yardstick".to_owned(),
        connections: 1,
        rate: 0.0,
        requests,
        requests_per_second: requests as f64 / elapsed,
        failed: 0,
        first_failure: None,
        p50_us: latency.map_or(0, |latency| latency.p50_us),
        p99_us: latency.map_or(0, |latency| latency.p99_us),
        server_cpu_us_per_request: None,
    })
}
