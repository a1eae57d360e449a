//! Bookings on a real MariaDB, with and without a Redis: whoever else writes, whatever breaks.

mod commits;
mod crowd;
mod deadlines;
mod tables;

use std::time::Duration;

use crate::house::House;
use slot_state::{Migration, Slot, migrate};
use support::{MariaDb, RedisServer};

/// The table of appointments.
const APPOINTMENTS: &str = "wp_appointease_appointments";

/// A site's servers.
struct Site {
    redis: Option<RedisServer>,
    maria: MariaDb,
}

impl Site {
    async fn with_redis() -> Self {
        Site { redis: Some(RedisServer::start().await), ..Self::on_mysql().await }
    }

    async fn on_mysql() -> Self {
        let maria = MariaDb::start().await;
        maria.wordpress_options().await;
        maria.appointments().await;
        Site { redis: None, maria }
    }

    /// As `slotcast migrate` does.
    async fn guarded(self) -> Self {
        let migration = Migration {
            url: self.maria.url(),
            table_prefix: "wp_".to_owned(),
            appointments_table: None,
            guard_bookings: true,
        };
        let report = migrate(&migration, false).await.expect("the database can be migrated");
        assert!(report.is_complete(), "{report:?}");
        self
    }

    /// A gateway's store, ready.
    async fn house(&self, lock_ttl: Duration) -> House {
        let redis = self.redis.as_ref().map(RedisServer::url);
        let house = House::on_mysql(redis, self.maria.url(), lock_ttl);
        house.ready().await;
        house
    }

    /// The numbers of the live bookings of a slot.
    async fn live(&self, slot: Slot) -> Vec<u64> {
        let (room, time) = (slot.room, slot.time);
        let sql = format!(
            "SELECT id FROM {APPOINTMENTS} WHERE employee_id = {} AND appointment_date = '{} {time}:00' \
             AND status IN ('confirmed', 'created') ORDER BY id",
            room.employee_id, room.date
        );
        self.maria.query(&sql).await
    }
}
