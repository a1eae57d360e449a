//! Whatever is killed between two steps of a booking, the gateway or the database: the same key again ends in one booking,
//! and whoever was ever told of one was told of that one.

use std::path::{Path, PathBuf};

use futures::future::join_all;
use support::{
    Gateway, GatewayBuilder, MariaDb, PATIENCE, Page, RedisServer, Reply, Room, eventually, run_slotcast,
};
use tempfile::TempDir;

const SLOT: &str = "10:00";
const KEY: &str = "the same for every try";
/// Every step of a booking that another program could see; the last where Redis keeps what goes with a booking.
const STEPS: [&str; 10] =
    ["begun", "keyed", "held", "inserted", "named", "released", "told", "answered", "committed", "cleared"];
/// From this one on, it is booked.
const COMMITTED: [&str; 2] = ["committed", "cleared"];
const TRIES: usize = 10;

struct Site {
    maria: MariaDb,
    redis: Option<RedisServer>,
}

impl Site {
    async fn on_mysql() -> Self {
        let maria = MariaDb::start().await;
        maria.wordpress_options().await;
        maria.appointments().await;
        Self { maria, redis: None }
    }

    /// With the guard that `migrate` adds.
    async fn on_both() -> Self {
        let (site, redis) = (Self::on_mysql().await, RedisServer::start().await);
        let stores = [("SLOTCAST_MYSQL_URL", &*site.maria.url()), ("SLOTCAST_REDIS_URL", &redis.url())];
        let migrated = run_slotcast(&["migrate"], &stores).await;
        assert!(migrated.status.success(), "{migrated:?}");
        Self { redis: Some(redis), ..site }
    }

    fn steps(&self) -> &'static [&'static str] {
        if self.redis.is_some() { &STEPS } else { &STEPS[..STEPS.len() - 1] }
    }

    fn gateway(&self) -> GatewayBuilder {
        let builder = Gateway::builder().with("mysql.url", self.maria.url());
        match &self.redis {
            Some(redis) => builder.redis_at(&redis.url()),
            None => builder,
        }
    }

    /// Numbers and names of the live bookings in a room.
    async fn live(&self, room: &Room) -> Vec<(u64, String)> {
        let sql = format!(
            "SELECT id, strong_id FROM wp_appointease_appointments WHERE DATE(appointment_date) = '{}' \
             AND employee_id = {} AND status IN ('confirmed', 'created')",
            room.date, room.employee_id
        );
        self.maria.query(&sql).await
    }

    async fn count(&self, table: &str) -> u64 {
        self.maria.query(&format!("SELECT COUNT(*) FROM wp_appointease_{table}")).await[0]
    }
}

/// Starts it, and waits until MySQL, too, is ready for bookings.
async fn start(builder: GatewayBuilder) -> Gateway {
    let gateway = builder.start().await;
    gateway.eventually_well_with_mysql().await;
    gateway
}

/// A client whose booking stands still at a step.
struct Attempt {
    step: &'static str,
    room: Room,
    gateway: Gateway,
    page: Page,
    request: String,
    stopped: PathBuf,
    told: Vec<Reply>,
}

impl Attempt {
    /// Has a booking begin in a gateway of its own.
    async fn begin(site: &Site, folder: &Path, number: usize, step: &'static str) -> Self {
        let stopped = folder.join(step);
        let gateway = start(site.gateway().stopping_at(step, &stopped)).await;
        let room = Room::tomorrow_of(1 + number as u32);
        let page = Page::of(&gateway, step).await;
        match number % 3 {
            0 => {}
            1 => drop(page.select(&room, SLOT).await.assert_ok("selected")),
            _ => drop(page.lock(&room, SLOT).await.assert_ok("locked")),
        }
        Self { step, room, gateway, page, request: String::new(), stopped, told: Vec::new() }
    }

    /// Goes as far as its step.
    async fn advance(&mut self) {
        self.request = self.page.send(self.room.confirm_frame(SLOT, KEY));
        let what = format!("it stands still at {}", self.step);
        eventually(&what, PATIENCE, async || self.stopped.exists().then_some(())).await;
    }

    /// Takes in an answer: a booking, or that nobody knows; never a refusal.
    fn hear(&mut self, reply: Reply) {
        if reply.is_ok("confirmed") {
            self.told.push(reply);
        } else {
            reply.assert_error("store_unavailable");
        }
    }

    /// Asks again and again: in its own gateway, and first in another.
    async fn try_again(&mut self, other: &Gateway) {
        for number in 0..TRIES {
            let gateway = if number % 2 == 0 { other } else { &self.gateway };
            let page = Page::of(gateway, self.step).await;
            let reply = page.confirm(&self.room, SLOT, KEY).await;
            self.hear(reply);
            page.vanish().await;
        }
    }

    /// There is one booking, and nobody was told of another.
    async fn check(&self, site: &Site) {
        let live = site.live(&self.room).await;
        let [(id, name)] = &live[..] else { panic!("{}: {live:?}", self.step) };
        assert!(!self.told.is_empty(), "{}: ten tries and no answer", self.step);
        for reply in &self.told {
            let told = (reply.number("appointment_id"), reply.text("strong_id"));
            assert_eq!(told, (*id, name.as_str()), "{}", self.step);
        }
    }
}

/// Bookings that stand still, one at each step, all at this moment.
async fn stand_still(site: &Site, folder: &Path) -> Vec<Attempt> {
    let steps = site.steps().iter().enumerate();
    let mut attempts = join_all(steps.map(|(number, step)| Attempt::begin(site, folder, number, step))).await;
    join_all(attempts.iter_mut().map(Attempt::advance)).await;
    attempts
}

/// What is left in the end, and what everybody sees.
async fn check(site: &Site, attempts: &[Attempt], other: &Gateway) {
    for attempt in attempts {
        attempt.check(site).await;
        let watcher = Page::watching(other, "watcher", &attempt.room).await;
        watcher.eventually_booked(&attempt.room, &[SLOT]).await;
        let view = watcher.view(&attempt.room);
        assert!(view.active.is_empty() && view.locked.is_empty(), "{}: {view:?}", attempt.step);
    }
    let bookings = attempts.len() as u64;
    assert_eq!(site.count("outbox").await, bookings);
    assert_eq!(site.count("idempotency").await, bookings);
    assert_eq!(site.count("slot_locks").await, 0);
}

async fn kill_the_gateways(site: Site) {
    let folder = TempDir::with_prefix("slotcast-killed-").expect("a temporary folder");
    // The client's next try may go elsewhere before its gateway is back.
    let other = start(site.gateway()).await;
    let mut attempts = stand_still(&site, folder.path()).await;
    join_all(attempts.iter_mut().map(|attempt| attempt.gateway.kill())).await;
    let play = async |attempt: &mut Attempt| {
        let told = attempt.page.reply_or_end(&attempt.request).await;
        assert_eq!(told, None, "{}: it had not answered yet", attempt.step);
        let is_booked = COMMITTED.contains(&attempt.step);
        assert_eq!(site.live(&attempt.room).await.len(), usize::from(is_booked), "{}", attempt.step);
        attempt.gateway = start(site.gateway()).await;
        attempt.try_again(&other).await;
        assert_eq!(attempt.told.len(), TRIES, "{}: every try was answered", attempt.step);
    };
    for some in attempts.chunks_mut(3) {
        join_all(some.iter_mut().map(&play)).await;
    }
    check(&site, &attempts, &other).await;
}

async fn kill_the_database(mut site: Site) {
    let folder = TempDir::with_prefix("slotcast-killed-").expect("a temporary folder");
    let other = start(site.gateway()).await;
    let mut attempts = stand_still(&site, folder.path()).await;
    site.maria.kill().await;
    for attempt in &attempts {
        std::fs::remove_file(&attempt.stopped).expect("it stands still");
    }
    site.maria.restart().await;
    for attempt in &mut attempts {
        let reply = attempt.page.reply_or_end(&attempt.request).await.expect("the gateway lives on");
        let must_know = COMMITTED.contains(&attempt.step);
        assert!(!must_know || reply.is_ok("confirmed"), "{}: {reply:?}", attempt.step);
        attempt.hear(reply);
    }
    join_all(attempts.iter_mut().map(|attempt| attempt.try_again(&other))).await;
    check(&site, &attempts, &other).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gateway_killed_at_any_step_on_both_stores() {
    kill_the_gateways(Site::on_both().await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gateway_killed_at_any_step_on_mysql_alone() {
    kill_the_gateways(Site::on_mysql().await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_killed_at_any_step_on_both_stores() {
    kill_the_database(Site::on_both().await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_killed_at_any_step_on_mysql_alone() {
    kill_the_database(Site::on_mysql().await).await;
}
