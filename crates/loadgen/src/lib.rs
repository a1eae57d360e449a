//! loadgen measures servers that push: it opens thousands of WebSocket subscribers over many loopback addresses,
//! publishes changes, and reports what the server spent and what each subscriber received, and when. One reader
//! thread holds all subscribers and is cheap enough that the server is what is measured.
//!
//! | module | job |
//! | --- | --- |
//! | `cli` | the command line; its structs are what the scenarios take |
//! | `scenario` | the runs: `fanout`, `conflate`, `hostile`, `hold`, `poll`, `bare` |
//! | `crowd` | all subscribers, on a thread of their own |
//! | `publisher`, `outlet`, `inserter` | those who make the changes, the pace they keep, and their connections |
//! | `meter`, `room_log`, `timing` | what arrived where and when, and what did not |
//! | `stalled` | the one subscriber that stops reading |
//! | `attack` | attackers of every kind, and what they got |
//! | `audit` | a fresh look at every room, to compare the subscribers' views with |
//! | `dialect`, `view` | what slotcast and other servers say, as values |
//! | `wire`, `connect`, `http` | WebSocket frames, sockets, kept HTTP connections |
//! | `yardstick`, `bare_script`, `bare_transaction`, `bare_booking` | the store alone, as the yardstick of selects and bookings |
//! | `process` | memory and CPU of a process, from /proc |
//! | `stage` | what scenarios with subscribers have in common |
//! | `report`, `measure`, `table` | results as JSON, as lines, and as one Markdown table |

mod attack;
mod audit;
mod bare_booking;
mod bare_script;
mod bare_transaction;
pub mod cli;
mod connect;
mod crowd;
mod dialect;
mod error;
mod http;
mod inserter;
mod measure;
mod meter;
mod outlet;
mod process;
mod publisher;
pub mod report;
mod room_log;
pub mod scenario;
mod stage;
mod stalled;
mod table;
mod timing;
mod view;
mod wire;
mod yardstick;

pub use error::LoadError;
