//! Our own tables, made or completed while the gateway runs, as soon as the database can be reached and allows it.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::time::sleep;

use super::MySqlStore;
use super::link::Trouble;
use super::migrate::{ChangeOutcome, Migration, Warning, migrate};
use crate::store::StoreError;

/// Until the database can be reached.
const AGAIN_SOON: Duration = Duration::from_secs(1);
/// Until somebody may have given the right that was missing.
const AGAIN_LATER: Duration = Duration::from_secs(30);

impl MySqlStore {
    /// An error as long as our tables are not what they must be: without its unique key the table of locks would let
    /// two have one slot. The site is well otherwise, so that no other store need step in.
    pub(super) fn check_tables(&self) -> Result<(), Trouble> {
        match &*self.tables_lack.read() {
            None => Ok(()),
            Some(lack) => Err(Trouble::Store(StoreError::Strange(lack.clone()))),
        }
    }

    fn tables_are_seen(&self) {
        self.tables_seen.store(true, Ordering::Release);
        self.look.notify_one();
    }

    /// Sees to the tables until they are complete; says once what is in the way.
    pub(super) async fn keep_tables(self: Arc<Self>, migration: Migration) {
        let (mut said, mut warned): (bool, Vec<Warning>) = (false, Vec::new());
        loop {
            let (complaint, wait) = match migrate(&migration, false).await {
                Ok(report) => {
                    for change in report.changes.iter().filter(|change| change.outcome == ChangeOutcome::Made)
                    {
                        tracing::info!(event = "mysql_table_made", storage = "mysql", why = change.why);
                    }
                    for warning in report.warnings.iter().filter(|warning| !warned.contains(warning)) {
                        tracing::warn!(event = warning.event, storage = "mysql", "{}", warning.text);
                    }
                    warned.clone_from(&report.warnings);
                    if report.is_complete() {
                        *self.tables_lack.write() = None;
                        self.tables_are_seen();
                        return;
                    }
                    let refused = report.changes.iter().filter_map(|change| match &change.outcome {
                        ChangeOutcome::Refused(why) => Some(why.clone()),
                        _ => None,
                    });
                    let mut complaint: Vec<String> = report.blockers.iter().cloned().chain(refused).collect();
                    complaint.extend(report.grant.map(|grant| format!("give it the right: {grant}")));
                    let complaint = complaint.join("; ");
                    *self.tables_lack.write() = Some(complaint.clone());
                    self.tables_are_seen();
                    (Some(complaint), AGAIN_LATER)
                }
                Err(super::migrate::MigrateError::Away(_)) => (None, AGAIN_SOON),
                Err(error) => {
                    self.tables_seen.store(true, Ordering::Release);
                    (Some(error.to_string()), AGAIN_LATER)
                }
            };
            if let Some(complaint) = complaint.filter(|_| !said) {
                said = true;
                tracing::warn!(
                    event = "mysql_tables_incomplete",
                    storage = "mysql",
                    "{complaint}. Until then locks and bookings are refused, and MySQL may not step in; `slotcast migrate --dry-run` says more"
                );
            }
            sleep(wait).await;
        }
    }
}
