//! `slotcast migrate`: creates or completes slotcast's tables in WordPress' database, or shows the SQL.
//! Called by `run`. Invariant: a clean end means that the tables are complete, or would be after that SQL.

use std::io::{self, Write};

use clap::Args;
use slot_state::{ChangeOutcome, MigrateError, Migration, MigrationReport};

use crate::config::Config;

/// What to do about missing tables.
#[derive(Debug, Args)]
pub(super) struct Migrate {
    /// Change nothing: show as SQL what is missing.
    #[arg(long)]
    dry_run: bool,
}

/// Why the tables are not complete.
#[derive(Debug, thiserror::Error)]
pub(super) enum MigrateFailure {
    #[error(transparent)]
    Database(#[from] MigrateError),
    #[error("the tables are not complete:\n{}", .0.join("\n"))]
    Incomplete(Vec<String>),
    #[error("standard output: {0}")]
    Output(#[from] io::Error),
}

impl Migrate {
    /// The database of this configuration; `None` = it names none.
    pub(super) fn migration(config: &Config) -> Option<Migration> {
        let url = config.mysql.url.as_ref()?.expose().to_owned();
        let table_prefix = config.mysql.table_prefix.clone();
        Some(Migration {
            url,
            table_prefix,
            appointments_table: config.mysql.appointments_table().map(str::to_owned),
            guard_bookings: true,
        })
    }

    /// Does it and prints what was missing.
    pub(super) async fn run(&self, migration: &Migration) -> Result<(), MigrateFailure> {
        let report = slot_state::migrate(migration, self.dry_run).await?;
        match print(&report, self.dry_run, &mut io::stdout().lock()) {
            // Whoever read our output has seen enough, as `head` does.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {}
            printed => printed?,
        }
        if report.is_complete() { Ok(()) } else { Err(MigrateFailure::Incomplete(problems(report))) }
    }
}

/// A dry run prints a script for the database: whatever is not SQL stands in comments.
fn print(report: &MigrationReport, dry_run: bool, out: &mut impl Write) -> io::Result<()> {
    let comment = if dry_run { "-- " } else { "" };
    for change in &report.changes {
        match &change.outcome {
            ChangeOutcome::Planned => writeln!(out, "-- {}\n{};", change.why, change.statement)?,
            ChangeOutcome::Made => writeln!(out, "{}: made", change.why)?,
            ChangeOutcome::MadeByAnother => writeln!(out, "{}: made by another gateway", change.why)?,
            ChangeOutcome::Refused(_) => writeln!(out, "{}: not made", change.why)?,
        }
    }
    if report.changes.is_empty() && report.is_complete() {
        writeln!(out, "{comment}nothing is missing")?;
    }
    for warning in &report.warnings {
        writeln!(out, "{comment}warning: {}", warning.text)?;
    }
    out.flush()
}

fn problems(report: MigrationReport) -> Vec<String> {
    let refused = report.changes.into_iter().filter_map(|change| match change.outcome {
        ChangeOutcome::Refused(reason) => Some(format!("{}: {reason}", change.why)),
        _ => None,
    });
    let grant = report.grant.map(|grant| format!("what is needed: {grant};"));
    refused.chain(report.blockers).chain(grant).collect()
}

#[cfg(test)]
mod tests {
    use slot_state::{TableChange, Warning};

    use super::*;

    fn report(outcome: ChangeOutcome) -> MigrationReport {
        let (why, statement) = ("t: table is missing".to_owned(), "CREATE TABLE t (\n  id INT\n)".to_owned());
        let changes = vec![TableChange { why, statement, outcome }];
        let warnings = vec![Warning { event: "mysql_table_warning", text: "strange".to_owned() }];
        MigrationReport { changes, warnings, ..MigrationReport::default() }
    }

    fn printed(report: &MigrationReport, dry_run: bool) -> String {
        let mut out = Vec::new();
        print(report, dry_run, &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_dry_run_prints_a_script() {
        let script = printed(&report(ChangeOutcome::Planned), true);
        assert_eq!(script, "-- t: table is missing\nCREATE TABLE t (\n  id INT\n);\n-- warning: strange\n");
        assert_eq!(printed(&MigrationReport::default(), true), "-- nothing is missing\n");
    }

    #[test]
    fn a_real_run_says_what_became_of_each() {
        let text = printed(&report(ChangeOutcome::Made), false);
        assert_eq!(text, "t: table is missing: made\nwarning: strange\n");
        assert_eq!(printed(&MigrationReport::default(), false), "nothing is missing\n");
    }

    #[test]
    fn what_is_left_undone_comes_with_the_reason_and_the_remedy() {
        let mut refused = report(ChangeOutcome::Refused("CREATE command denied".to_owned()));
        refused.grant = Some("GRANT CREATE ON `site`.* TO 'wp'@'%'".to_owned());
        refused.blockers.push("u holds several locks".to_owned());
        let text = MigrateFailure::Incomplete(problems(refused)).to_string();
        let expected = "the tables are not complete:\nt: table is missing: CREATE command denied\n\
                        u holds several locks\nwhat is needed: GRANT CREATE ON `site`.* TO 'wp'@'%';";
        assert_eq!(text, expected);
    }
}
