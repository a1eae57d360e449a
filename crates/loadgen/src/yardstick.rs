//! What a select or a booking is compared with: what slotcast asks of its store, called by this process without a gateway between, as often
//! as they are made and between them.

use std::time::Duration;

use tokio::time::{Instant, MissedTickBehavior, interval_at};

use crate::LoadError;
use crate::bare_booking::BareBooking;
use crate::bare_script::BareScript;
use crate::bare_transaction::BareTransaction;
use crate::cli::FanoutArgs;
use crate::timing::{Clock, Timings};
use crate::view::SLOTS;

/// The store, called bare.
pub(crate) enum Yardstick {
    Redis(BareScript),
    Mysql(BareTransaction),
    Booking(BareBooking),
}

impl Yardstick {
    /// Connects to the store that was named; `None` where none was.
    pub(crate) async fn connect(args: &FanoutArgs) -> Result<Option<Yardstick>, LoadError> {
        Ok(match (&args.bare_redis, &args.bare_mysql) {
            (Some(url), _) => Some(Yardstick::Redis(BareScript::connect(url).await?)),
            (None, Some(url)) if args.load.confirm => {
                Some(Yardstick::Booking(BareBooking::connect(url).await?))
            }
            (None, Some(url)) => Some(Yardstick::Mysql(BareTransaction::connect(url).await?)),
            (None, None) => None,
        })
    }

    /// Calls the store `rate` times a second until `until`.
    pub(crate) async fn run(mut self, rate: f64, until: Instant, clock: Clock) -> Result<Timings, LoadError> {
        let mut timings = Timings::new();
        let period = Duration::from_secs_f64(1.0 / rate);
        // Half a period off, so that the calls fall between the selects they are compared with.
        let mut ticks = interval_at(Instant::now() + period / 2, period);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
        for call in 0.. {
            ticks.tick().await;
            if Instant::now() >= until {
                break;
            }
            let started_us = clock.now_us();
            match &mut self {
                Yardstick::Redis(script) => script.call(call % SLOTS).await?,
                Yardstick::Mysql(transaction) => transaction.call(call % SLOTS).await?,
                Yardstick::Booking(booking) => booking.call(call).await?,
            }
            timings.record(clock.now_us() - started_us);
        }
        Ok(timings)
    }
}
