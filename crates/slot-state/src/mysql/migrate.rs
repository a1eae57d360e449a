//! Creates or completes slotcast's tables beside a site's own: reads what is there, plans, carries out.
//! Called by `serve` at its start and by `slotcast migrate`. Invariant: several gateways may do this at one
//! moment, and doing it again changes nothing.

use std::collections::BTreeSet;
use std::time::Duration;

use mysql_async::Opts;
use thiserror::Error;

use super::appointments::possible_names;
use super::catalogue::{Database, is_denial};
use super::schema::{self, Plan, Step, Wanted, quoted};

pub use super::schema::Warning;

/// The longest a change may take: a key on many rows takes a while.
const CHANGE: Duration = Duration::from_secs(60);
/// What another gateway changed meanwhile is seen on the next look.
const LOOKS: usize = 4;
/// All that slotcast does with its tables.
const RIGHTS: &str = "SELECT, INSERT, UPDATE, DELETE, CREATE, ALTER";

/// Which tables of which database.
#[derive(Debug, Clone)]
pub struct Migration {
    /// `mysql://user:password@host:port/database`.
    pub url: String,
    /// What the site's tables begin with.
    pub table_prefix: String,
    /// Where bookings are; if not named, where AppointEase has them.
    pub appointments_table: Option<String>,
    /// Whether that table is to be guarded against two live bookings of one slot, whoever makes them.
    pub guard_bookings: bool,
}

/// What was missing, and what became of it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MigrationReport {
    /// In order.
    pub changes: Vec<TableChange>,
    /// What has to be mended by hand before locks and bookings are safe, a sentence each.
    pub blockers: Vec<String>,
    /// What is probably not meant.
    pub warnings: Vec<Warning>,
    /// The statement that gives us the rights that were missing.
    pub grant: Option<String>,
}

impl MigrationReport {
    /// Whether everything is there, or would be after the planned changes.
    pub fn is_complete(&self) -> bool {
        let refused = |change: &TableChange| matches!(change.outcome, ChangeOutcome::Refused(_));
        self.blockers.is_empty() && !self.changes.iter().any(refused)
    }
}

/// One thing that was missing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TableChange {
    /// What was the matter, in one line.
    pub why: String,
    /// The SQL that mends it.
    pub statement: String,
    /// What became of it.
    pub outcome: ChangeOutcome,
}

/// What became of a change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ChangeOutcome {
    /// It was a dry run.
    Planned,
    /// Made.
    Made,
    /// Somebody else made it at the same moment.
    MadeByAnother,
    /// The database's own words.
    Refused(String),
}

/// Why nothing can be said about the tables, or how far it went.
#[derive(Debug, Error)]
pub enum MigrateError {
    /// The address is wrong.
    #[error("mysql.url cannot be used: {0}")]
    Url(String),
    /// The database does not answer.
    #[error("the database cannot be reached: {0}")]
    Away(String),
    /// It refuses the login or a question.
    #[error("the database refuses: {0}")]
    Refused(String),
    /// The account may not look at the tables.
    #[error("the database refuses: {why}; slotcast needs GRANT {RIGHTS} ON {database}.* TO that account")]
    NoRight {
        /// Its words, which name the account.
        why: String,
        /// Its name, quoted.
        database: String,
    },
}

/// Completes the tables, or in a dry run only tells what is missing. On an error some changes may have been
/// made; calling it again makes the rest.
pub async fn migrate(migration: &Migration, dry_run: bool) -> Result<MigrationReport, MigrateError> {
    let opts = Opts::from_url(&migration.url).map_err(|error| MigrateError::Url(error.to_string()))?;
    let mut database = Database::connect(opts).await?;
    let wanted = Wanted {
        prefix: migration.table_prefix.clone(),
        appointments: possible_names(&migration.table_prefix, migration.appointments_table.as_deref()),
        guard_bookings: migration.guard_bookings,
    };
    let plan = schema::plan(&wanted, &database.existing(&wanted).await?);
    let report = if dry_run { planned(plan) } else { database.carry_out(&wanted, plan).await? };
    database.leave().await;
    Ok(report)
}

fn planned(plan: Plan) -> MigrationReport {
    let changes = plan.steps.into_iter().map(|step| change(step, ChangeOutcome::Planned)).collect();
    MigrationReport { changes, blockers: plan.blockers, warnings: plan.warnings, grant: None }
}

fn change(step: Step, outcome: ChangeOutcome) -> TableChange {
    TableChange { why: step.why, statement: step.statement, outcome }
}

impl Database {
    /// Carries out plans until there is nothing left that could be done.
    async fn carry_out(&mut self, wanted: &Wanted, mut plan: Plan) -> Result<MigrationReport, MigrateError> {
        let mut changes: Vec<TableChange> = Vec::new();
        let (mut rights, mut closed) = (BTreeSet::new(), BTreeSet::new());
        for look in 1..=LOOKS {
            let mut tried = false;
            for step in &plan.steps {
                // What was tried stays as it is; a table that could not be made needs no rows.
                if closed.contains(&step.table) || changes.iter().any(|made| made.statement == step.statement)
                {
                    continue;
                }
                tried = true;
                let outcome = match self.carry_out_step(step).await? {
                    Ok(outcome) => outcome,
                    Err(Hindrance::Passing(_)) if look < LOOKS => break,
                    Err(hindrance) => {
                        closed.insert(step.table.clone());
                        if let Hindrance::NoRight(_) = hindrance {
                            rights.extend(step.rights);
                        }
                        ChangeOutcome::Refused(hindrance.words())
                    }
                };
                changes.push(change(step.clone(), outcome));
            }
            if !tried {
                break;
            }
            plan = schema::plan(wanted, &self.existing(wanted).await?);
        }
        for change in &mut changes {
            let still_missing = plan.steps.iter().any(|step| step.statement == change.statement);
            if still_missing && !matches!(change.outcome, ChangeOutcome::Refused(_)) {
                change.outcome =
                    ChangeOutcome::Refused("it is made, but this account does not see it".to_owned());
            }
        }
        let grant = if rights.is_empty() { None } else { Some(self.grant(&rights).await?) };
        Ok(MigrationReport { changes, blockers: plan.blockers, warnings: plan.warnings, grant })
    }

    async fn carry_out_step(
        &mut self,
        step: &Step,
    ) -> Result<Result<ChangeOutcome, Hindrance>, MigrateError> {
        let refusal = match self.change(&step.statement, CHANGE).await? {
            Ok(()) => return Ok(Ok(ChangeOutcome::Made)),
            Err(refusal) => refusal,
        };
        let why = refusal.message;
        Ok(match refusal.code {
            // Table, column or key is there already.
            1050 | 1060 | 1061 => Ok(ChangeOutcome::MadeByAnother),
            // Waited too long, deadlock, the table is being changed by another.
            1205 | 1213 | 1412 | 1684 => Err(Hindrance::Passing(why)),
            code if is_denial(code) => Err(Hindrance::NoRight(why)),
            _ => Err(Hindrance::Lasting(why)),
        })
    }

    async fn grant(&mut self, rights: &BTreeSet<&str>) -> Result<String, MigrateError> {
        let account: Vec<String> = self.ask("SELECT CURRENT_USER()", ()).await?;
        let account = account.first().map(String::as_str).unwrap_or_default();
        let (user, host) = account.rsplit_once('@').unwrap_or((account, "%"));
        let rights: Vec<_> = rights.iter().copied().collect();
        Ok(format!("GRANT {} ON {}.* TO '{user}'@'{host}'", rights.join(", "), quoted(self.name())))
    }
}

/// Why a change was not made, in the database's words.
enum Hindrance {
    /// Worth another try.
    Passing(String),
    NoRight(String),
    Lasting(String),
}

impl Hindrance {
    fn words(self) -> String {
        match self {
            Hindrance::Passing(words) | Hindrance::NoRight(words) | Hindrance::Lasting(words) => words,
        }
    }
}
