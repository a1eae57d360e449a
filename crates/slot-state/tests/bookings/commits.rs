//! Whatever ends in the middle of a booking, a connection, this program or the database: the same key again tells what
//! became of it, and there is one booking at most.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use mysql_async::prelude::Queryable;
use slot_state::{BookError, Booking, Slot};
use support::{FaultProxy, MariaDb, Towards, eventually};
use tempfile::TempDir;
use tokio::process::{Child, Command};

use super::Site;
use crate::house::{House, LONG, SOON, book_refusal, new_booking, slot};

/// Every step of a booking that another program could see.
const STEPS: [&str; 9] =
    ["begun", "keyed", "held", "inserted", "named", "released", "told", "answered", "committed"];

/// The same request again and again, over two gateways at once.
async fn ten_tries(site: &Site, key: &str) -> Booking {
    let houses = [site.house(LONG).await, site.house(LONG).await];
    let tries = (0..10).map(|number| {
        let house = &houses[number % 2];
        house.store.confirm(new_booking(slot("10:00"), "ann", key))
    });
    let outcomes = join_all(tries).await;
    let first = outcomes[0].as_ref().expect("booked").clone();
    assert!(outcomes.iter().all(|outcome| outcome.as_ref() == Ok(&first)), "{outcomes:?}");
    assert_eq!(site.live(slot("10:00")).await, [first.appointment_id]);
    first
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_tries_with_one_key_are_one_booking() {
    ten_tries(&Site::with_redis().await, "k").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_key_of_a_form_books_anew_what_was_cancelled_and_another_key_does_not() {
    let site = Site::with_redis().await;
    let house = site.house(LONG).await;
    let (ten, eleven) = (slot("10:00"), slot("11:00"));
    let form = |slot| {
        let ask = new_booking(slot, "ann", &format!("form of {}", slot.time));
        slot_state::NewBooking { key: ask.key.clone().of_form(), ..ask }
    };
    let first = house.store.confirm(form(ten)).await.expect("booked");
    assert_eq!(house.store.confirm(form(ten)).await.as_ref(), Ok(&first), "it stands");
    let keyed = house.store.confirm(new_booking(eleven, "ann", "k")).await.expect("booked");
    site.maria.run("UPDATE wp_appointease_appointments SET status = 'cancelled'").await;
    let second = house.store.confirm(form(ten)).await.expect("booked anew");
    assert_eq!(site.live(ten).await, [second.appointment_id]);
    assert_eq!(house.store.confirm(form(ten)).await.as_ref(), Ok(&second), "and again it stands");
    assert_eq!(house.store.confirm(new_booking(eleven, "ann", "k")).await, Ok(keyed));
    assert_eq!(site.live(eleven).await, [0_u64; 0]);
    // Filled in otherwise: while it stands, that is other data; once it was cancelled, a new wish.
    let mut corrected = form(ten);
    corrected.customer.phone = Some("555 0100".to_owned());
    let refused = book_refusal(house.store.confirm(corrected.clone()).await);
    assert_eq!(refused, slot_state::BookRefusal::OtherData);
    site.maria.run("UPDATE wp_appointease_appointments SET status = 'cancelled'").await;
    let third = house.store.confirm(corrected.clone()).await.expect("booked anew");
    assert_eq!(house.store.confirm(corrected).await.as_ref(), Ok(&third));
    assert_eq!(site.live(ten).await, [third.appointment_id]);
    // Cancelled, and the slot is somebody else's by now.
    site.maria.run("UPDATE wp_appointease_appointments SET status = 'cancelled'").await;
    house.store.confirm(new_booking(ten, "bob", "k")).await.expect("booked");
    assert_eq!(book_refusal(house.store.confirm(form(ten)).await), slot_state::BookRefusal::SlotBooked);
}

/// Whether a booking comes to stand before its commit, which is held up. Other commits are too, but of less: one that has
/// the rows a booking needs keeps it from coming so far.
async fn commits(maria: &MariaDb) -> bool {
    let sql = "SELECT COUNT(*) FROM information_schema.processlist p \
               JOIN information_schema.innodb_trx t ON t.trx_mysql_thread_id = p.id \
               WHERE p.state LIKE 'Waiting for backup lock%' AND t.trx_rows_modified >= 4";
    for _ in 0..20 {
        // What is read within 100 ms of another reading is the same.
        tokio::time::sleep(Duration::from_millis(150)).await;
        if maria.query::<u64>(sql).await != [0] {
            return true;
        }
    }
    false
}

/// Books one slot after the other, until the line breaks while a commit is under way. Returns what was booked then.
async fn book_while_the_line_breaks(site: &Site, house: &Arc<House>, proxy: &FaultProxy) -> (Slot, Booking) {
    for hour in 8..11 {
        let slot = slot(&format!("{hour:02}:00"));
        house.lock(slot, "ann").await.expect("granted");
        // Commits wait from here on.
        let mut blocker = site.maria.root_connection().await;
        for stage in ["START", "FLUSH", "BLOCK_DDL", "BLOCK_COMMIT"] {
            blocker.query_drop(format!("BACKUP STAGE {stage}")).await.expect("commits are held up");
        }
        let confirming = tokio::spawn({
            let house = house.clone();
            async move { house.confirm(slot, "ann").await }
        });
        let is_committing = commits(&site.maria).await;
        if is_committing {
            proxy.reset_all();
        }
        blocker.query_drop("BACKUP STAGE END").await.expect("commits go on");
        let booked = confirming.await.expect("no panic");
        if is_committing {
            return (slot, booked.expect("read back"));
        }
    }
    panic!("no booking came so far as to commit");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_commit_whose_answer_is_lost_is_read_back() {
    for site in [Site::with_redis().await, Site::on_mysql().await] {
        let proxy = FaultProxy::before(site.maria.addr()).await;
        let redis = site.redis.as_ref().map(support::RedisServer::url);
        let house = House::on_mysql(redis, site.maria.url_through(proxy.addr()), LONG);
        house.ready().await;
        let house = Arc::new(house);
        let (slot, booking) = book_while_the_line_breaks(&site, &house, &proxy).await;
        assert_eq!(site.live(slot).await, [booking.appointment_id]);
        let view = house.view(slot.room);
        assert!(view.booked.contains(&slot.time) && !view.locked.contains(&slot.time), "{view:?}");
        assert_eq!(house.confirm(slot, "ann").await, Ok(booking));
        let other = house.store.confirm(new_booking(slot, "ann", "other")).await;
        assert_eq!(book_refusal(other), slot_state::BookRefusal::SlotBooked);
    }
}

/// A process of its own that locks a slot and books it, with something happening at one of its steps.
struct Gateway {
    folder: TempDir,
    child: Child,
}

impl Gateway {
    fn start(site: &Site, url: &str, fail_point: impl FnOnce(&Path) -> String) -> Self {
        let folder = TempDir::with_prefix("slotcast-booking-").expect("a temporary folder");
        let own = std::env::current_exe().expect("this test's own program");
        let child = Command::new(own)
            .args(["--exact", "bookings::commits::books_in_a_process_of_its_own", "--ignored", "--nocapture"])
            .env("SLOTCAST_FAIL_POINT", fail_point(&folder.path().join("stopped")))
            .env("BOOK_MYSQL", url)
            .env("BOOK_REDIS", site.redis.as_ref().map(support::RedisServer::url).unwrap_or_default())
            .env("BOOK_OUTCOME", folder.path().join("outcome"))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .expect("this test's own program runs");
        Gateway { folder, child }
    }

    fn stopped(&self) -> PathBuf {
        self.folder.path().join("stopped")
    }

    /// Waits until it stands still at its step.
    async fn stops(&self) {
        eventually("it stops", SOON, async || self.stopped().exists().then_some(())).await;
    }

    fn goes_on(&self) {
        std::fs::remove_file(self.stopped()).expect("it stands still");
    }

    /// Waits for its end. What it booked, if it could say so.
    async fn outcome(mut self) -> Option<Result<u64, String>> {
        self.child.wait().await.expect("our child ends");
        let outcome = std::fs::read_to_string(self.folder.path().join("outcome")).ok()?;
        Some(outcome.parse().map_err(|_| outcome))
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "started by other tests"]
async fn books_in_a_process_of_its_own() {
    let variable = |name: &str| std::env::var(name).unwrap_or_default();
    if variable("BOOK_MYSQL").is_empty() {
        return;
    }
    let redis = Some(variable("BOOK_REDIS")).filter(|url| !url.is_empty());
    let house = House::on_mysql(redis, variable("BOOK_MYSQL"), Duration::from_secs(2));
    house.ready().await;
    house.lock(slot("10:00"), "ann").await.expect("granted");
    let outcome = match house.confirm(slot("10:00"), "ann").await {
        Ok(booking) => booking.appointment_id.to_string(),
        Err(error) => error.to_string(),
    };
    std::fs::write(variable("BOOK_OUTCOME"), outcome).expect("a file");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gateway_that_ends_between_any_two_steps_leaves_one_booking_for_its_key() {
    let steps = STEPS.into_iter().chain(["cleared"]);
    for step in steps {
        let site = Site::with_redis().await;
        let gateway = Gateway::start(&site, &site.maria.url(), |_| format!("confirm:{step}"));
        assert_eq!(gateway.outcome().await, None, "it was to end at {step}");
        let stands = site.live(slot("10:00")).await;
        assert_eq!(stands.len(), usize::from(["committed", "cleared"].contains(&step)), "{step}");
        let booking = ten_tries(&site, "k").await;
        assert!(stands.is_empty() || stands == [booking.appointment_id], "{step}: {stands:?}");
        assert_eq!(
            site.maria.query::<u64>("SELECT COUNT(*) FROM wp_appointease_outbox").await,
            [1],
            "{step}"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_that_ends_between_any_two_steps_keeps_one_booking_for_the_key() {
    for step in STEPS {
        let mut site = Site::with_redis().await;
        let stop = |file: &Path| format!("confirm:{step}={}", file.display());
        let gateway = Gateway::start(&site, &site.maria.url(), stop);
        gateway.stops().await;
        site.maria.kill().await;
        gateway.goes_on();
        site.maria.restart().await;
        let told = gateway.outcome().await.expect("it lives on");
        let booking = ten_tries(&site, "k").await;
        match told {
            Ok(told) => assert_eq!(told, booking.appointment_id, "{step}"),
            Err(error) => assert!(!error.contains("refused") && step != "committed", "{step}: {error}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_commit_that_never_arrived_is_found_out_and_made_again() {
    for lose in [
        FaultProxy::reset_all,
        |proxy: &FaultProxy| proxy.swallow_existing(Towards::Server),
        FaultProxy::black_hole_existing,
    ] {
        let site = Site::on_mysql().await;
        let proxy = FaultProxy::before(site.maria.addr()).await;
        let stop = |file: &Path| format!("confirm:answered={}", file.display());
        let gateway = Gateway::start(&site, &site.maria.url_through(proxy.addr()), stop);
        gateway.stops().await;
        lose(&proxy);
        gateway.goes_on();
        let told = gateway.outcome().await.expect("it lives on");
        let booking = ten_tries(&site, "k").await;
        match told {
            Ok(told) => assert_eq!(told, booking.appointment_id),
            // Its other connections were as dead, and it does not know.
            Err(error) => assert_eq!(error, "the store did not answer in time"),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_the_database_there_is_no_answer_but_that() {
    let mut site = Site::with_redis().await;
    let house = site.house(LONG).await;
    house.select(slot("10:00"), "ann").await.expect("granted");
    site.maria.kill().await;
    let outcome = house.confirm(slot("10:00"), "ann").await;
    assert!(matches!(outcome, Err(BookError::Store(_))), "{outcome:?}");
    assert_eq!(house.view(slot("10:00").room).booked, []);
    site.maria.restart().await;
    eventually("it is booked", SOON, async || house.confirm(slot("10:00"), "ann").await.ok()).await;
}
