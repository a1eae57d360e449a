//! The runs. Each takes its arguments and gives a report; `run` prints it and says whether all was well.

mod bare;
mod conflate;
mod fanout;
mod hold;
mod hostile;
mod phase;
mod poll;

use std::fs;
use std::path::PathBuf;

use tokio::task::LocalSet;

pub use bare::bare;
pub use conflate::conflate;
pub use fanout::fanout;
pub use hold::hold;
pub use hostile::hostile;
pub use poll::poll;

use crate::cli::Scenario;
use crate::report::Report;
use crate::{LoadError, table};

/// Carries a scenario out, prints its report, saves it where asked. False if something was missed or broke.
pub fn run(scenario: &Scenario) -> Result<bool, LoadError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(LoadError::io("the runtime"))?;
    let local = LocalSet::new();
    match scenario {
        Scenario::Fanout(args) => {
            finish(args.server.json.as_ref(), local.block_on(&runtime, fanout(args)).map(Report::Fanout)?)
        }
        Scenario::Conflate(args) => {
            finish(args.server.json.as_ref(), local.block_on(&runtime, conflate(args)).map(Report::Conflate)?)
        }
        Scenario::Hostile(args) => {
            finish(args.server.json.as_ref(), local.block_on(&runtime, hostile(args)).map(Report::Hostile)?)
        }
        Scenario::Hold(args) => {
            finish(args.server.json.as_ref(), local.block_on(&runtime, hold(args)).map(Report::Hold)?)
        }
        Scenario::Poll(args) => {
            finish(args.server.json.as_ref(), local.block_on(&runtime, poll(args)).map(Report::Poll)?)
        }
        Scenario::Bare(args) => {
            finish(args.json.as_ref(), local.block_on(&runtime, bare(args)).map(Report::Poll)?)
        }
        Scenario::Table(args) => {
            let reports: Vec<Report> = args.files.iter().map(read).collect::<Result<_, _>>()?;
            print!("{}", table::markdown(&reports));
            Ok(reports.iter().all(|report| report.faults().is_empty()))
        }
    }
}

fn finish(json: Option<&PathBuf>, report: Report) -> Result<bool, LoadError> {
    print!("{report}");
    if let Some(path) = json {
        let json = serde_json::to_string(&report).map_err(|error| LoadError::Usage(error.to_string()))?;
        fs::write(path, json).map_err(LoadError::io(path.display().to_string()))?;
    }
    Ok(report.faults().is_empty())
}

fn read(path: &PathBuf) -> Result<Report, LoadError> {
    let text = fs::read_to_string(path).map_err(LoadError::io(path.display().to_string()))?;
    serde_json::from_str(&text).map_err(|error| LoadError::Usage(format!("{}: {error}", path.display())))
}
