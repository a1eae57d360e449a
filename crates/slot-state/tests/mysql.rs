//! MySQL as the store that decides, when it does not answer.

use std::time::Duration;

use slot_state::EndReason;
use support::{FaultProxy, MariaDb};

use crate::house::{House, LONG, slot};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_selection_ends_in_time_while_the_database_does_not_answer() {
    let maria = MariaDb::start().await;
    maria.wordpress_options().await;
    let proxy = FaultProxy::before(maria.addr()).await;
    let house = House::on_mysql(None, maria.url_through(proxy.addr()), LONG);
    house.ready().await;
    for time in ["10:00", "11:00"] {
        let ttl = Duration::from_secs(if time == "10:00" { 1 } else { 2 });
        house.select_for(slot(time), time, ttl).await.expect("granted");
    }
    proxy.black_hole();
    for time in ["10:00", "11:00"] {
        let ended = house.heard.ended(slot(time)).await;
        assert_eq!(ended.why, EndReason::Expired);
        // The database is given up on after two seconds.
        assert!(ended.late < Duration::from_secs(1), "{time}: {:?}", ended.late);
    }
}
