//! Browsers with a selection each, that follow a goodbye: they come back when they were told to, and go on.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::json;
use support::{Gateway, LegacyPage, Page, PageBuilder, Room, View, eventually};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};

/// Browsers that look at one room.
const IN_A_ROOM: usize = 10;
/// A browser that is not let in tries again after this.
const AGAIN: Duration = Duration::from_millis(300);
/// A page without the new client asks this often.
const POLL_EVERY: Duration = Duration::from_millis(50);

/// Everybody.
pub(crate) struct Crowd {
    browsers: usize,
    told: Arc<Mutex<Told>>,
    stop: watch::Sender<bool>,
    tasks: JoinSet<()>,
}

/// What the browsers have to tell.
#[derive(Default)]
struct Told {
    here: usize,
    /// When each return was due.
    due: Vec<Instant>,
    returns: usize,
    wrong: Vec<String>,
    polls: usize,
}

struct Browser {
    name: String,
    room: Room,
    time: String,
    /// What everybody sees, from when all have selected.
    expected: View,
    door: PageBuilder,
    patience: Duration,
    told: Arc<Mutex<Told>>,
}

impl Crowd {
    /// Lets everybody connect and select, and returns when each sees what all have selected.
    pub(crate) async fn gather(addr: SocketAddr, browsers: usize, patience: Duration) -> Self {
        let told = Arc::new(Mutex::new(Told::default()));
        let (stop, stopped) = watch::channel(false);
        let mut tasks = JoinSet::new();
        let all_times: BTreeSet<String> = (0..IN_A_ROOM).map(time_of).collect();
        for number in 0..browsers {
            let room = Room::tomorrow_of(1 + u32::try_from(number / IN_A_ROOM).expect("few rooms"));
            let browser = Browser {
                name: format!("browser-{number}"),
                room: room.clone(),
                time: time_of(number % IN_A_ROOM),
                expected: View { active: all_times.clone(), ..View::default() },
                door: PageBuilder::at(addr),
                patience,
                told: told.clone(),
            };
            tasks.spawn(browser.run(stopped.clone()));
            if number % IN_A_ROOM == 0 && number < 10 * IN_A_ROOM {
                let (room, all, told) = (room, all_times.clone(), told.clone());
                tasks.spawn(poll(LegacyPage::at(addr), room, all, told, stopped.clone()));
            }
            // A crowd gathers; it does not storm.
            sleep(Duration::from_millis(2)).await;
        }
        let crowd = Self { browsers, told, stop, tasks };
        eventually("everybody is there", patience, async || crowd.all_are_here().then_some(())).await;
        crowd
    }

    /// How many connections a gateway has.
    pub(crate) async fn connected_to(&self, gateway: &Gateway) -> usize {
        let health = LegacyPage::of(gateway).get("/health").await;
        usize::try_from(health.json["connections"].as_u64().expect("a number")).expect("few connections")
    }

    /// How often somebody has come back.
    pub(crate) fn returns(&self) -> usize {
        self.told.lock().expect("no holder panics").returns
    }

    /// Whether all are connected and see everything; panics where somebody saw something wrong.
    pub(crate) fn all_are_here(&self) -> bool {
        let told = self.told.lock().expect("no holder panics");
        assert!(told.wrong.is_empty(), "{} wrong, first {:#?}", told.wrong.len(), &told.wrong[..1]);
        told.here == self.browsers
    }

    /// The same at the end, polls included.
    pub(crate) fn everybody_still_sees_everything(&self) {
        assert!(self.all_are_here());
        let polls = self.told.lock().expect("no holder panics").polls;
        println!("{polls} polls, all answered rightly");
        assert!(polls > 0, "nobody polled");
    }

    /// The most returns that were due within any one second.
    pub(crate) fn most_returns_in_a_second(&self) -> usize {
        let mut due = self.told.lock().expect("no holder panics").due.clone();
        due.sort_unstable();
        let within = |from: usize| due.partition_point(|at| *at < due[from] + Duration::from_secs(1)) - from;
        (0..due.len()).map(within).max().unwrap_or(0)
    }

    /// Lets everybody go, and fails where one of them failed.
    pub(crate) async fn end(mut self) {
        self.stop.send_replace(true);
        while let Some(ended) = self.tasks.join_next().await {
            ended.expect("a browser");
        }
        let told = self.told.lock().expect("no holder panics");
        assert!(told.wrong.is_empty(), "{:#?}", told.wrong);
    }
}

fn time_of(number: usize) -> String {
    format!("{:02}:{:02}", 9 + number / 2, number % 2 * 30)
}

impl Browser {
    async fn run(self, mut stop: watch::Receiver<bool>) {
        let page = self.enter().await;
        page.select(&self.room, &self.time).await.assert_ok("selected");
        let see = |view: &View| *view == self.expected;
        page.shows_within(self.patience, &self.room, "what all have selected", see).await;
        self.told().here += 1;
        let mut page = page;
        let mut diffs = page.live(&self.room).diffs;
        loop {
            let goodbye = tokio::select! {
                goodbye = page.goodbye_within(Duration::from_secs(3600)) => goodbye,
                _ = stop.changed() => return self.check(&page, diffs),
            };
            let wait =
                Duration::from_millis(goodbye["reconnect_in_ms"].as_u64().expect("a time to come back"));
            let due = Instant::now() + wait;
            let code = page.closed_within(self.patience).await;
            if code != Some(1001) {
                self.wrong(format!("the connection was closed with {code:?}"));
            }
            self.check(&page, diffs);
            {
                let mut told = self.told();
                told.here -= 1;
                told.due.push(due);
            }
            tokio::time::sleep_until(due).await;
            page = self.enter().await;
            // Nothing was lost meanwhile, and nothing will change: renewing shows nobody anything.
            diffs = page.live(&self.room).diffs;
            if page.view(&self.room) != self.expected {
                self.wrong(format!("came back to {:?}", page.view(&self.room)));
            }
            let mut told = self.told();
            told.here += 1;
            told.returns += 1;
        }
    }

    /// Connects, says who it is, and looks at its room.
    async fn enter(&self) -> Page {
        let entered = async {
            loop {
                match self.door.clone().try_open().await {
                    // The gateway may have begun to leave just now: then it ends what it has just let in.
                    Ok(page) if self.is_known_to(&page).await => return page,
                    _ => sleep(AGAIN).await,
                }
            }
        };
        timeout(self.patience, entered).await.expect("let in at last")
    }

    async fn is_known_to(&self, page: &Page) -> bool {
        let hello = page.send(json!({"type": "hello", "client_id": self.name}));
        let subscribe = page.send(self.room.frame("subscribe"));
        page.reply_or_end(&hello).await.is_some() && page.reply_or_end(&subscribe).await.is_some()
    }

    fn check(&self, page: &Page, diffs: usize) {
        let live = page.live(&self.room);
        if live.view != self.expected || live.diffs != diffs {
            self.wrong(format!("saw {} diffs, and at the end {:?}", live.diffs - diffs, live.view));
        }
        if !page.released().is_empty() {
            self.wrong(format!("lost its selection: {:?}", page.released()));
        }
    }

    fn wrong(&self, what: String) {
        self.told().wrong.push(format!("{}: {what}", self.name));
    }

    fn told(&self) -> std::sync::MutexGuard<'_, Told> {
        self.told.lock().expect("no holder panics")
    }
}

/// A page without the new client: every poll is answered, and shows what all have selected.
async fn poll(
    page: LegacyPage,
    room: Room,
    all: BTreeSet<String>,
    told: Arc<Mutex<Told>>,
    mut stop: watch::Receiver<bool>,
) {
    let path = format!(
        "/wp-json/appointease/v1/slots/poll?date={}&employee_id={}&client_id=old-page",
        room.date, room.employee_id
    );
    let mut gathered = false;
    loop {
        tokio::select! {
            () = sleep(POLL_EVERY) => {}
            _ = stop.changed() => return,
        }
        let answer = page.get(&path).await;
        let times = answer.json["active_selections"].as_array().into_iter().flatten();
        let shown: BTreeSet<String> = times.filter_map(|time| Some(time.as_str()?.to_owned())).collect();
        gathered |= shown == all;
        let mut told = told.lock().expect("no holder panics");
        told.polls += usize::from(gathered);
        if answer.status != 200 || (gathered && shown != all) {
            told.wrong.push(format!("a poll got {} {:?}", answer.status, answer.body));
        }
    }
}
