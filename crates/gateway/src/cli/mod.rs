//! The command line: what an operator types, and the exit code that answers.
//! Called by `main` alone. Invariant: 0 is a clean end, 2 bad arguments or configuration, 1 anything else.

mod check_config;
mod doctor;
mod healthcheck;
mod here;
mod migrate;
mod status;
mod token;
mod watch;

use std::ffi::OsString;
use std::fmt::Display;
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::error::ErrorKind;
use clap::{Args, CommandFactory, FromArgMatches, Parser, Subcommand};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::runtime;

use crate::config::{ConfigError, Loaded, Sources, load};
use crate::observe::logging;
use crate::reload::Reload;

const BAD_USE: u8 = 2;
/// Name look-ups that hang on their own threads do not keep a stopped gateway alive longer than this.
const LEFTOVERS: Duration = Duration::from_secs(1);
/// What a gateway says of itself is shorter.
const LONGEST_ANSWER: usize = 1024 * 1024;

/// Pushes the state of booking slots to browsers, and answers AppointEase's polls.
#[derive(Debug, Parser)]
#[command(name = "slotcast", version)]
struct Cli {
    #[command(flatten)]
    options: Options,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Args)]
struct Options {
    /// TOML file to read; without it the built-in values hold. SLOTCAST_<SECTION>_<KEY> variables override it.
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Address and port to listen on, above what file and environment say.
    #[arg(long, global = true, value_name = "ADDRESS")]
    listen: Option<String>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the gateway (what slotcast does without a command).
    Serve,
    /// Show the configuration that would be used and what is wrong with it.
    CheckConfig,
    /// Ask the gateway of this configuration, on this machine, whether it is ready; ends with 0 if it is.
    Healthcheck,
    /// Create or complete slotcast's tables in WordPress' database; drops and narrows nothing.
    Migrate(migrate::Migrate),
    /// Print how a running gateway is; the exit code is 0 where it is ready.
    Status(status::Status),
    /// Look at configuration, stores and public address; say what works, and what to paste where it does not.
    Doctor(doctor::Doctor),
    /// Subscribe to a room of a running gateway and print its frames, one a line.
    Watch(watch::Watch),
    /// Print a token that proves to a gateway with these keys who a client is.
    Token(token::Token),
}

/// Options of all commands that one has no use for, and why: its help is silent about them, and it refuses them.
const USELESS: [(&str, &str, &str); 4] = [
    ("watch", "config", WATCHES),
    ("watch", "listen", WATCHES),
    ("migrate", "listen", "it speaks to the database alone"),
    ("token", "listen", "it only signs"),
];
const WATCHES: &str = "it asks a running gateway, which --url names";

impl Cli {
    fn parsed(arguments: impl IntoIterator<Item = OsString>) -> Result<Self, clap::Error> {
        let mut told = Self::commands();
        let matches = told.try_get_matches_from_mut(arguments)?;
        for (command, option, why) in USELESS {
            if matches.subcommand_name() == Some(command) && matches.contains_id(option) {
                let text = format!("{command} takes no --{option}: {why}");
                return Err(told.error(ErrorKind::ArgumentConflict, text));
            }
        }
        Self::from_arg_matches(&matches).map_err(|error| error.format(&mut told))
    }

    fn commands() -> clap::Command {
        USELESS.into_iter().fold(Self::command(), |all, (command, option, _)| {
            let known = all.get_arguments().find(|known| known.get_id() == option).cloned();
            all.mut_subcommand(command, |own| own.args(known.map(|known| known.hide(true))))
        })
    }
}

/// Runs what the arguments ask for.
pub fn run() -> ExitCode {
    let cli = match Cli::parsed(std::env::args_os()) {
        Ok(cli) => cli,
        Err(error) => return refuse_arguments(&error),
    };
    match cli.command.unwrap_or(Command::Serve) {
        Command::Serve => with_configuration(cli.options, serve),
        Command::CheckConfig => with_configuration(cli.options, |loaded, _| {
            finish(check_config::print(&loaded, &mut std::io::stdout().lock()))
        }),
        Command::Healthcheck => with_configuration(cli.options, |loaded, _| {
            on_this_thread(healthcheck::ask(&loaded.config.server))
        }),
        Command::Watch(watch) => on_this_thread(watch.run()),
        Command::Status(status) => {
            with_configuration(cli.options, |loaded, _| on_this_thread(Box::pin(status.run(loaded))))
        }
        Command::Token(token) => {
            with_configuration(cli.options, |loaded, _| match token.made(&loaded.config) {
                Some(token) => finish(writeln!(std::io::stdout(), "{token}")),
                None => {
                    let _ = writeln!(
                        std::io::stderr(),
                        "slotcast: no security.token_keys are set: what is to sign?"
                    );
                    ExitCode::from(BAD_USE)
                }
            })
        }
        Command::Doctor(doctor) => examine(&cli.options, doctor),
        Command::Migrate(migrate) => with_configuration(cli.options, |loaded, _| complete(&loaded, &migrate)),
    }
}

fn examine(options: &Options, doctor: doctor::Doctor) -> ExitCode {
    match load(&sources(options)) {
        Ok(loaded) => on_this_thread(doctor.run(&loaded, options.config.as_deref())),
        Err(error) => {
            doctor.tell_of(&error);
            refuse_configuration(&error)
        }
    }
}

fn complete(loaded: &Loaded, migrate: &migrate::Migrate) -> ExitCode {
    let Some(migration) = migrate::Migrate::migration(&loaded.config) else {
        let _ = writeln!(std::io::stderr(), "slotcast: no mysql.url is set: which database is meant?");
        return ExitCode::from(BAD_USE);
    };
    on_this_thread(migrate.run(&migration))
}

fn on_this_thread<E: Display>(work: impl Future<Output = Result<(), E>>) -> ExitCode {
    match runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => {
            let ended = runtime.block_on(work);
            runtime.shutdown_timeout(LEFTOVERS);
            finish(ended)
        }
        Err(error) => finish(Err(error)),
    }
}

/// clap's own text and code: help and version are no errors.
fn refuse_arguments(error: &clap::Error) -> ExitCode {
    let _ = error.print();
    u8::try_from(error.exit_code()).map_or(ExitCode::FAILURE, ExitCode::from)
}

fn with_configuration(options: Options, act: impl FnOnce(Loaded, Sources) -> ExitCode) -> ExitCode {
    let sources = sources(&options);
    match load(&sources) {
        Ok(loaded) => act(loaded, sources),
        Err(error) => refuse_configuration(&error),
    }
}

fn sources(options: &Options) -> Sources {
    let (file, listen) = (options.config.clone(), options.listen.clone());
    Sources { file, listen, environment: std::env::vars_os().collect() }
}

fn refuse_configuration(error: &ConfigError) -> ExitCode {
    let _ = writeln!(std::io::stderr(), "slotcast: the configuration is not usable:\n{error}");
    ExitCode::from(BAD_USE)
}

fn serve(loaded: Loaded, sources: Sources) -> ExitCode {
    let (log, levels) = match logging::init(&loaded.config.log) {
        Ok(log) => log,
        Err(error) => return finish(Err(error)),
    };
    raise_open_files();
    for warning in loaded.warnings() {
        tracing::warn!(event = "config_warning", "{warning}");
    }
    let ended = match runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => {
            let ended = runtime
                .block_on(Box::pin(crate::app::serve(loaded.config, Reload { sources, levels })))
                .map_err(|error| error.to_string());
            runtime.shutdown_timeout(LEFTOVERS);
            ended
        }
        Err(error) => Err(error.to_string()),
    };
    if let Err(error) = &ended {
        tracing::error!(event = "failed", error, "The gateway ends");
    }
    #[cfg(feature = "otel")]
    crate::observe::traces::end();
    drop(log);
    finish(ended)
}

/// A browser is an open file: as many as the system allows, not as few as a shell hands on.
fn raise_open_files() {
    let limits = getrlimit(Resource::Nofile);
    let wanted = Rlimit { current: limits.maximum, ..limits };
    if let Err(error) = setrlimit(Resource::Nofile, wanted) {
        let most = limits.current;
        tracing::warn!(event = "open_files_not_raised", most, error = %error, "more browsers cannot connect");
    }
}

fn finish(ended: Result<(), impl Display>) -> ExitCode {
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "slotcast: {error}");
            ExitCode::FAILURE
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(arguments: &[&str]) -> Result<Cli, clap::Error> {
        Cli::parsed(["slotcast"].iter().chain(arguments).map(OsString::from))
    }

    #[test]
    fn without_a_command_it_serves_and_options_stand_anywhere() {
        Cli::commands().debug_assert();
        assert!(parse(&[]).unwrap().command.is_none());
        for arguments in
            [&["--listen", "a:1", "serve"][..], &["serve", "--listen", "a:1"], &["--listen", "a:1"]]
        {
            assert_eq!(parse(arguments).unwrap().options.listen.as_deref(), Some("a:1"), "{arguments:?}");
        }
    }

    #[test]
    fn each_command_lists_the_options_that_it_takes_and_refuses_the_others() {
        const WATCH: &[&str] = &["watch", "--date", "2026-11-02", "--employee-id", "1"];
        const TOKEN: &[&str] = &["token", "--client-id", "a"];
        for (command, config, listen) in [
            (&["serve"][..], true, true),
            (&["check-config"], true, true),
            (&["healthcheck"], true, true),
            (&["status"], true, true),
            (&["doctor"], true, true),
            (&["migrate"], true, false),
            (TOKEN, true, false),
            (WATCH, false, false),
        ] {
            let help = parse(&[&command[..1], &["--help"]].concat()).unwrap_err().to_string();
            for (option, takes) in [("--config", config), ("--listen", listen)] {
                assert_eq!(help.contains(option), takes, "{help}");
                let value = [option, "a:1"];
                for arguments in [[command, &value].concat(), [&value, command].concat()] {
                    let code = parse(&arguments).map_err(|error| error.exit_code());
                    assert_eq!(code.err(), (!takes).then_some(2), "{arguments:?}");
                }
            }
        }
    }

    #[test]
    fn wrong_arguments_are_refused_with_two_and_help_is_not() {
        for arguments in [
            &["sevre"][..],
            &["--colour"],
            &["watch", "--date", "2026-02-30", "--employee-id", "1"],
            &["watch", "--date", "2026-11-02", "--employee-id", "0"],
            &["watch", "--date", "2026-11-02"],
            &["token"],
            &["token", "--client-id", "a b"],
            &["token", "--client-id", "reschedule_7"],
            &["token", "--client-id", "a", "--ttl-secs", "0"],
            &["doctor", "--url", "ftp://a"],
            &["doctor", "--url", "wss://user@a/ws"],
            &["watch", "--date", "2026-11-02", "--employee-id", "1", "--url", "http://a"],
            &["watch", "--date", "2026-11-02", "--employee-id", "1", "--url", "wss://a/ws"],
            &["status", "--url", "127.0.0.1:8080"],
        ] {
            assert_eq!(parse(arguments).unwrap_err().exit_code(), 2, "{arguments:?}");
        }
        assert_eq!(parse(&["--help"]).unwrap_err().exit_code(), 0);
        assert!(parse(&["watch", "--date", "2026-11-02", "--employee-id", "7"]).is_ok());
        assert!(parse(&["token", "--client-id", "u_5", "--ttl-secs", "60"]).is_ok());
        assert!(parse(&["doctor", "--json", "--quick", "--url", "https://a.example"]).is_ok());
        assert!(parse(&["migrate", "--dry-run", "--config", "a.toml"]).is_ok());
        assert!(parse(&["status", "--url", "http://127.0.0.1:8080", "--watch", "--json"]).is_ok());
    }
}
