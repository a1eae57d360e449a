//! The bookings that WordPress is still to be told of: rows written in their bookings' own transactions. Any gateway of
//! the site may take one for a while; whoever told WordPress removes it. A row that nobody removed is taken again.

use std::sync::Arc;
use std::time::Duration;

use mysql_async::Row;

use super::MySqlStore;
use super::link::{Trouble, take};
use crate::store::StoreError;

/// The site's outbox, the same for all its gateways.
#[derive(Clone)]
pub struct Outbox {
    mysql: Arc<MySqlStore>,
}

/// A booking that WordPress has not been told of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Untold {
    /// The row's own number.
    pub id: u64,
    /// The booking's row in the appointments table.
    pub appointment_id: u64,
    /// When it was booked, in seconds since 1970 by the database's clock.
    pub booked_at: u64,
    /// What else there is to tell, as a JSON object.
    pub payload: String,
    /// How often it was taken, this time included.
    pub attempts: u32,
}

/// How much there is to tell.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Backlog {
    /// Bookings that WordPress has not been told of.
    pub waiting: u64,
    /// How long the oldest of them has waited.
    pub oldest: Option<Duration>,
}

impl Outbox {
    pub(crate) fn of(mysql: Arc<MySqlStore>) -> Self {
        Outbox { mysql }
    }

    /// Takes up to `most` bookings whose time has come; for so long no other gateway takes them. After an error some
    /// may be taken by nobody for that time.
    pub async fn claim(&self, most: usize, lease: Duration) -> Result<Vec<Untold>, StoreError> {
        match self.try_to_claim(most, lease).await {
            // Another gateway is at it; or no table was made yet, so there is no booking either.
            Err(Trouble::Conflict | Trouble::NoTable { .. }) => Ok(Vec::new()),
            claimed => claimed.map_err(|trouble| self.mysql.failed(trouble)),
        }
    }

    async fn try_to_claim(&self, most: usize, lease: Duration) -> Result<Vec<Untold>, Trouble> {
        let MySqlStore { link, queries, .. } = &*self.mysql;
        let until = link.until();
        let due = link.read(&format!("{} LIMIT {most}", queries.due_outbox), until).await?;
        let mut claimed = Vec::with_capacity(due.len());
        if due.is_empty() {
            return Ok(claimed);
        }
        let mut work = link.begin(until).await?;
        for row in due {
            let mut untold = untold(row)?;
            // Whoever was faster has counted an attempt.
            let seen = (lease.as_millis() as u64, untold.id, untold.attempts);
            if work.run(&queries.claim_outbox, seen).await? > 0 {
                untold.attempts += 1;
                claimed.push(untold);
            }
        }
        work.commit().await?;
        Ok(claimed)
    }

    /// WordPress knows of this one.
    pub async fn done(&self, untold: &Untold) -> Result<(), StoreError> {
        self.change(&self.mysql.queries.delete_outbox, (untold.id,)).await.map(drop)
    }

    /// It does not: to be taken again after `wait` at the earliest, unless another gateway has it by now.
    pub async fn later(&self, untold: &Untold, wait: Duration) -> Result<(), StoreError> {
        let wait = wait.as_millis() as u64;
        self.change(&self.mysql.queries.delay_outbox, (wait, untold.id, untold.attempts)).await.map(drop)
    }

    /// Drops some of those that have waited longer than this, oldest first; says how many.
    pub async fn forget(&self, age: Duration) -> Result<u64, StoreError> {
        self.change(&self.mysql.queries.forget_outbox, (age.as_millis() as u64,)).await
    }

    /// Says how many rows it was.
    async fn change(
        &self,
        statement: &str,
        params: impl Into<mysql_async::Params>,
    ) -> Result<u64, StoreError> {
        let changed = async {
            let mut work = self.mysql.link.begin(self.mysql.link.until()).await?;
            let rows = work.run(statement, params).await?;
            work.commit().await?;
            Ok(rows)
        };
        changed.await.map_err(|trouble| self.mysql.failed(trouble))
    }

    /// How much there is to tell, by whichever gateway.
    pub async fn backlog(&self) -> Result<Backlog, StoreError> {
        let MySqlStore { link, queries, .. } = &*self.mysql;
        let counted = async {
            let mut rows = link.read(&queries.count_outbox, link.until()).await?;
            let Some(mut row) = rows.pop() else { return Ok(Backlog::default()) };
            let (waiting, oldest): (u64, Option<u64>) = (take(&mut row, 0)?, take(&mut row, 1)?);
            Ok(Backlog { waiting, oldest: oldest.map(Duration::from_millis) })
        };
        match counted.await {
            Err(Trouble::NoTable { .. }) => Ok(Backlog::default()),
            counted => counted.map_err(|trouble| self.mysql.failed(trouble)),
        }
    }

    /// Ends when a booking was made here since this ended last.
    pub async fn grown(&self) {
        self.mysql.outbox_grew.notified().await;
    }
}

fn untold(mut row: Row) -> Result<Untold, Trouble> {
    Ok(Untold {
        id: take(&mut row, 0)?,
        appointment_id: take(&mut row, 1)?,
        booked_at: take::<u64>(&mut row, 2)? / 1000,
        payload: take(&mut row, 3)?,
        attempts: take(&mut row, 4)?,
    })
}
