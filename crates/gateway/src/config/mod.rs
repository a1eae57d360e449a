//! The whole configuration: one typed section per part of the program, built-in defaults, file, environment.
//! `cli` loads it once; every part gets its own section. Invariant: a `Config` out of `load` is valid, and what this
//! version cannot do yet is refused instead of ignored.

mod change;
mod command_line;
mod load;
mod problem;
mod secret;
mod sections;
mod upstream;
mod validate;
mod values;

pub use change::Changes;
pub use command_line::command_line;
#[cfg(any(test, fuzzing))]
pub(crate) use load::load_text;
pub use load::{Entry, Loaded, Sources, load};
pub use problem::{ConfigError, Problem};
pub use secret::{Secret, SecretUrl, TokenKey};
pub use sections::{Config, Legacy, Log, Mysql, Redis, Security, Server, Slots};
pub use upstream::Upstream;
pub use values::{Listen, LogFormat, LogLevels, SecurityMode, StorageChoice};
