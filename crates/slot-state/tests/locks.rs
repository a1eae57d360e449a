//! Locks where MySQL has the row and Redis the copy: two gateways, one of them with a slow way to Redis, so that what the
//! other does falls between the two steps. Invariant: whoever was told of a lock has its row.

use std::time::Duration;

use slot_state::Refusal;
use support::{FaultProxy, MariaDb, RedisServer, eventually};

use crate::house::{House, LONG, SOON, lock_key, refusal, slot};

/// What is asked of Redis arrives so late, or twice as late behind something else; and so does the answer.
const LATE: Duration = Duration::from_millis(250);

struct Site {
    redis: RedisServer,
    maria: MariaDb,
}

impl Site {
    async fn start() -> Self {
        let (redis, maria) = (RedisServer::start().await, MariaDb::start().await);
        // All commands.
        redis.run::<String>(&["CONFIG", "SET", "slowlog-log-slower-than", "0"]).await;
        maria.wordpress_options().await;
        maria.appointments().await;
        Site { redis, maria }
    }

    async fn house(&self) -> House {
        let house = House::on_mysql(Some(self.redis.url()), self.maria.url(), LONG);
        house.ready().await;
        // From here on Redis knows the scripts.
        house.lock(slot("09:00"), "ann").await.expect("granted");
        house.unlock(slot("09:00"), "ann").await.expect("granted");
        house
    }

    /// One whose way to Redis is slow from now on.
    async fn slow_house(&self, late: Duration) -> (House, FaultProxy) {
        let proxy = FaultProxy::before(self.redis.addr()).await;
        let house = House::on_mysql(Some(format!("redis://{}/0", proxy.addr())), self.maria.url(), LONG);
        house.ready().await;
        proxy.delay(late);
        (house, proxy)
    }

    /// The fences of the locks in MySQL.
    async fn rows(&self) -> Vec<u64> {
        self.maria.query("SELECT fence FROM wp_appointease_slot_locks ORDER BY fence").await
    }

    /// Waits until there are so many locks in MySQL.
    async fn has_rows(&self, count: usize) {
        let what = format!("there are {count} rows");
        eventually(&what, SOON, async || (self.rows().await.len() == count).then_some(())).await;
    }

    /// Waits until Redis was asked for something in this client's name.
    async fn has_heard_of(&self, name: &str) {
        eventually("it was asked", SOON, async || {
            let asked: redis::Value = self.redis.run(&["SLOWLOG", "GET", "-1"]).await;
            format!("{asked:?}").contains(name).then_some(())
        })
        .await;
    }

    /// The lock of ten o'clock, as it is in Redis.
    async fn copy(&self) -> String {
        self.redis.run::<Option<String>>(&["GET", &lock_key(slot("10:00"))]).await.unwrap_or_default()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_row_whose_copy_is_refused_is_a_lock_for_nobody() {
    let (site, ten) = (Site::start().await, slot("10:00"));
    let house = site.house().await;
    let (slow, _proxy) = site.slow_house(LATE).await;
    house.select(ten, "ann").await.expect("granted");
    let others = async {
        site.has_rows(1).await;
        // Its row stands, and will be taken back.
        (house.lock(ten, "bob").await, house.confirm(ten, "bob").await)
    };
    let (first, (second, booked)) = tokio::join!(slow.lock(ten, "bob"), others);
    assert_eq!(refusal(second), Refusal::SlotLocked);
    assert_eq!(crate::house::book_refusal(booked), slot_state::BookRefusal::SlotLocked);
    assert_eq!(refusal(first), Refusal::SlotLocked);
    assert_eq!(site.rows().await, [0_u64; 0]);
    house.lock(ten, "ann").await.expect("granted");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lock_that_somebody_was_told_of_is_not_taken_back() {
    let (site, ten) = (Site::start().await, slot("10:00"));
    let house = site.house().await;
    let (slow, _proxy) = site.slow_house(LATE).await;
    house.select(ten, "ann").await.expect("granted");
    let others = async {
        site.has_heard_of("bob").await;
        // Refused by now, but who asked does not know.
        house.deselect(ten, "ann").await.expect("granted");
        house.lock(ten, "bob").await.expect("it is free")
    };
    let (first, second) = tokio::join!(slow.lock(ten, "bob"), others);
    if let Ok(first) = first {
        assert_eq!(first.fence, second.fence);
    }
    assert_eq!(site.rows().await, [second.fence]);
    assert!(site.copy().await.contains(&second.fence.to_string()));
    assert_eq!(house.lock(ten, "bob").await.expect("its own").fence, second.fence);
    assert_eq!(refusal(house.lock(ten, "ann").await), Refusal::SlotLocked);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copy_whose_row_was_taken_back_is_no_lock() {
    let (site, ten) = (Site::start().await, slot("10:00"));
    let house = site.house().await;
    let (slow, _proxy) = site.slow_house(LATE / 4).await;
    let (slower, _proxy) = site.slow_house(LATE).await;
    house.select(ten, "ann").await.expect("granted");
    let second = async {
        site.has_rows(1).await;
        slower.lock(ten, "bob").await
    };
    let gives_way = async {
        site.has_rows(1).await;
        site.has_rows(0).await;
        house.deselect(ten, "ann").await.expect("granted");
    };
    let (first, second, ()) = tokio::join!(slow.lock(ten, "bob"), second, gives_way);
    assert_eq!(refusal(first), Refusal::SlotLocked);
    // It found the row, or came too late for it; and perhaps the selection was there still.
    let expected: Vec<u64> = second.iter().map(|locked| locked.fence).collect();
    assert_eq!(site.rows().await, expected);
    match expected.first() {
        Some(fence) => assert!(site.copy().await.contains(&fence.to_string())),
        None => assert_eq!(site.copy().await, ""),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_unlock_that_is_late_leaves_the_next_lock_alone() {
    let (site, ten) = (Site::start().await, slot("10:00"));
    let house = site.house().await;
    let (slow, _proxy) = site.slow_house(LATE).await;
    let first = house.lock(ten, "ann").await.expect("granted");
    slow.shows_lock(ten, Some("ann")).await;
    let again = async {
        site.has_rows(0).await;
        let second = house.lock(ten, "ann").await.expect("granted");
        (second, site.copy().await)
    };
    let (unlocked, (second, copy)) = tokio::join!(slow.unlock(ten, "ann"), again);
    unlocked.expect("granted");
    assert!(second.fence > first.fence);
    assert_eq!(site.rows().await, [second.fence]);
    // It says when it was written: it was not put back, it was never gone.
    assert!(copy.contains(&second.fence.to_string()), "{copy}");
    assert_eq!(site.copy().await, copy);
    assert_eq!(house.locked_by(ten).as_deref(), Some("ann"));
    assert_eq!(refusal(house.select(ten, "bob").await), Refusal::SlotLocked);
}
