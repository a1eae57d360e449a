//! Anybody may look at any room, and of a room that nobody looked at lately the database is asked: an address sees so
//! many of them a second, by whatever way it asks. Neither its neighbours notice, nor who looks where others do.

use std::cell::Cell;

use serde_json::{Value, json};
use support::{Gateway, LegacyPage, MariaDb, Page, Room};

const HOSTILE: &str = "203.0.113.7";
/// Far more than the rate and its burst allow while so many are asked for, one after the other.
const MANY: u32 = 300;

async fn site() -> MariaDb {
    let maria = MariaDb::start().await;
    maria.wordpress_options().await;
    maria.appointments().await;
    maria
}

fn refused(answer: &Value) -> bool {
    answer["status"] == "rate_limited" && answer["error"].is_string()
}

/// Rooms of which nobody has heard.
struct NewRooms(Cell<u32>);

impl NewRooms {
    fn next(&self) -> Room {
        self.0.set(self.0.get() + 1);
        Room::tomorrow_of(self.0.get())
    }

    /// Asks for new rooms until one is refused.
    async fn until_refused<A>(&self, ask: impl AsyncFn(Room) -> A, refused: impl Fn(&A) -> bool) -> A {
        for _ in 0..MANY {
            let answer = ask(self.next()).await;
            if refused(&answer) {
                return answer;
            }
        }
        panic!("{MANY} new rooms in a row, and none was refused");
    }
}

#[tokio::test]
async fn one_address_looks_at_so_many_new_rooms_a_second_by_whatever_way_it_asks() {
    let maria = site().await;
    let builder = Gateway::builder().with("mysql.url", maria.url());
    let gateway = builder.with("security.new_rooms_per_second_per_address", 1).start().await;
    gateway.eventually_ready().await;
    let (rooms, known) = (NewRooms(Cell::new(1_000)), Room::tomorrow_of(7));
    let neighbour = Page::builder(&gateway).from_address("203.0.113.8").open().await;
    neighbour.subscribe(&known).await;
    let page = LegacyPage::of(&gateway).from_address(HOSTILE);
    let socket = Page::builder(&gateway).from_address(HOSTILE).open().await;

    let poll = rooms.until_refused(async |room| page.poll(&room, &[]).await, refused).await;
    for field in ["redis_status", "storage_mode", "server_time"] {
        assert!(!poll[field].is_null(), "{field} is always there: {poll}");
    }
    assert!(poll.get("appointease_booked_slots").is_none(), "not said to be free: {poll}");
    let frame = |room: Room| json!({"appointease_poll": room.fields(&[])});
    let poll =
        rooms.until_refused(async |room| socket.ask(frame(room)).await, |reply| refused(&reply.0)).await;
    assert!(poll.0["storage_mode"].is_string(), "{}", poll.0);
    let check = |room: Room| json!({"appointease_booking": check_of(&room)});
    let checked = async |room| page.heartbeat_json(check(room)).await.json["appointease_booking"].take();
    rooms.until_refused(checked, refused).await;
    let post = async |room: Room| page.rest_post("/availability", room.fields(&[])).await;
    rooms.until_refused(post, |answer| answer.status != 200).await.assert_rest_error(429, "rate_limited");
    for path in ["/slots/poll", "/selections"] {
        let get = async |room: Room| {
            let employee = room.employee_id.to_string();
            page.rest_get(path, &[("date", &room.date), ("employee_id", &employee)]).await
        };
        rooms.until_refused(get, |answer| answer.status != 200).await.assert_rest_error(429, "rate_limited");
    }
    for kind in ["availability", "subscribe"] {
        let ask = async |room: Room| socket.ask(room.frame(kind)).await;
        rooms.until_refused(ask, |reply| reply.kind() == "error").await.assert_error("rate_limited");
    }
    for request in ["poll", "availability", "subscribe"] {
        let sample = format!("slotcast_requests_total{{request=\"{request}\",outcome=\"rate_limited\"}}");
        assert!(gateway.metric(&sample).await >= 1.0, "{sample}");
    }

    // What others look at costs nothing, and a change is not a look.
    for _ in 0..20 {
        assert!(!refused(&page.poll(&known, &[]).await));
    }
    let changed = rooms.next();
    socket.select(&changed, "10:00").await.assert_ok("selected");
    assert_eq!(page.poll(&changed, &[]).await["appointease_active_selections"], json!(["10:00"]));
    neighbour.subscribe(&rooms.next()).await;
    neighbour.select(&known, "10:00").await.assert_ok("selected");
    neighbour.eventually_active(&known, &["10:00"]).await;
}

fn check_of(room: &Room) -> Value {
    room.fields(&[("action", "check_availability")])
}

#[tokio::test]
async fn who_walks_through_a_month_of_five_employees_at_once_is_answered() {
    let maria = site().await;
    let gateway = Gateway::builder().with_limits().with("mysql.url", maria.url()).start().await;
    gateway.eventually_ready().await;
    let page = LegacyPage::of(&gateway).from_address(HOSTILE);
    let month = (0..150).map(|number| Room::in_days_of(1 + number / 5, 1 + number as u32 % 5));
    let looks = month.map(async |room| page.poll(&room, &[]).await);
    for poll in futures::future::join_all(looks).await {
        assert_eq!(poll["appointease_booked_slots"], json!([]), "{poll}");
    }
}
