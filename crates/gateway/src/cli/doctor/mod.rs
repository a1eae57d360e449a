//! `slotcast doctor`: looks at configuration, stores and public address, and says what to paste where
//! something is broken.
//! Called by `run`. Invariant: it leaves everything as it found it, no secret is printed, and nothing is
//! waited for without a deadline.

mod address;
mod clocks;
mod configuration;
mod mysql;
mod redis;
mod report;

use std::io::{self, Write};
use std::path::Path;
use std::time::Duration;

use clap::Args;

use self::address::Place;
use self::report::{Check, Verdict};
use crate::config::{ConfigError, Loaded};

/// What to look at, and how to say it.
#[derive(Debug, Args)]
#[command(
    after_help = "Exit codes: 0 all is well, warnings aside (with --strict: no warnings either); 1 something \
        FAILED; 2 bad arguments or configuration.\n\
                        It changes nothing: the keys and selections that it makes to try things out go again."
)]
pub(super) struct Doctor {
    /// Print the checks as a JSON array, when all are done.
    #[arg(long)]
    json: bool,
    /// Where browsers connect, as wss://www.example.com/ws; without it where the configured gateway listens,
    /// if it runs. The configured security.dashboard_key is shown to it, over TLS or on this machine.
    #[arg(long, value_parser = Place::parse)]
    url: Option<Place>,
    /// Do not wait to see whether an idle connection survives.
    #[arg(long)]
    quick: bool,
    /// End with 1 where there are warnings, too.
    #[arg(long)]
    strict: bool,
    /// How long the idle connection is idle.
    #[arg(long, hide = true, default_value_t = 70)]
    idle_secs: u64,
}

/// Why the exit code is not 0.
#[derive(Debug, thiserror::Error)]
pub(super) enum NotWell {
    #[error("{0}; what FAILED is to be mended first")]
    Failed(String),
    #[error("{0}")]
    Warned(String),
    #[error("standard output: {0}")]
    Output(#[from] io::Error),
}

impl Doctor {
    /// Examines all, prints what it finds as it comes.
    pub(super) async fn run(self, loaded: &Loaded, file: Option<&Path>) -> Result<(), NotWell> {
        let config = &loaded.config;
        let mut checks = configuration::checks(loaded);
        self.tell(&checks)?;
        let stores = async {
            let ((mut redis, redis_clock), (mysql, mysql_clock)) =
                futures::join!(redis::checks(config), mysql::checks(config));
            redis.extend(mysql);
            redis.extend(clocks::checks(redis_clock, mysql_clock));
            say_places(&mut redis, loaded, file);
            self.tell(&redis).map(|()| redis)
        };
        let idle = (!self.quick).then_some(Duration::from_secs(self.idle_secs));
        let address = address::checks(config, self.url.as_ref(), idle);
        let (stores, mut address) = futures::join!(Box::pin(stores), Box::pin(address));
        checks.extend(stores?);
        say_places(&mut address, loaded, file);
        self.tell(&address)?;
        checks.extend(address);
        if self.json {
            seen_enough(report::print_json(&checks, &mut io::stdout().lock()))?;
        }
        let summary = report::summary(&checks);
        match report::worst(&checks) {
            Verdict::Failed => Err(NotWell::Failed(summary)),
            Verdict::Warning if self.strict => Err(NotWell::Warned(summary)),
            Verdict::Warning | Verdict::Ok => {
                if !self.json {
                    seen_enough(writeln!(io::stdout(), "{summary}"))?;
                }
                Ok(())
            }
        }
    }

    /// What is wrong with the configuration, for programs; people read it elsewhere.
    pub(super) fn tell_of(&self, error: &ConfigError) {
        if self.json {
            let _ = report::print_json(&configuration::refused(error), &mut io::stdout().lock());
        }
    }

    fn tell(&self, checks: &[Check]) -> Result<(), NotWell> {
        if self.json {
            return Ok(());
        }
        Ok(seen_enough(report::print(checks, &mut io::stdout().lock()))?)
    }
}

fn say_places(checks: &mut [Check], loaded: &Loaded, file: Option<&Path>) {
    report::say_where(checks, |key| loaded.origin(key));
    if let Some(file) = file {
        report::say_config(checks, file);
    }
}

/// Whoever closed our output has read what they wanted, as `head` does.
fn seen_enough(printed: io::Result<()>) -> io::Result<()> {
    match printed {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        printed => printed,
    }
}
