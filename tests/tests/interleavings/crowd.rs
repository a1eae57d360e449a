//! Clients on two gateways, watchers on both, and PHP beside them; each step is one thing that happens.

use std::collections::HashMap;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use redis::aio::MultiplexedConnection;
use support::{Gateway, Page, Php, RedisServer, Room, eventually, holds_in, view_in};
use tokio::time::Instant;

use crate::belief::{Request, Requests, selections_told};

const CLIENTS: usize = 6;
const ROOMS: u32 = 2;
const TIMES: [&str; 5] = ["09:00", "09:30", "10:00", "10:30", "11:00"];
const LOCK_TTL_SECS: u32 = 3;
const LONGEST_PHP_TTL_SECS: u32 = 4;
/// Every lifetime that nobody renews has ended, and everything was read anew once, on a busy machine.
const SETTLING: Duration = Duration::from_secs(60);
/// Longer than a round of renewals.
const REST: Duration = Duration::from_secs(5);

/// A client with its present connection.
struct Member {
    name: String,
    gateway: usize,
    page: Page,
    requests: Requests,
}

/// Everybody of one run.
pub(crate) struct Crowd {
    random: StdRng,
    gateways: [Gateway; 2],
    rooms: Vec<Room>,
    members: Vec<Member>,
    watchers: Vec<Page>,
    php: Php,
    connection: MultiplexedConnection,
    history: Vec<String>,
    redis: RedisServer,
}

impl Crowd {
    /// Starts Redis and the gateways, and connects everybody.
    pub(crate) async fn gather(seed: u64) -> Self {
        let redis = RedisServer::start().await;
        let builder = Gateway::builder().redis_at(&redis.url()).with("slots.lock_ttl_secs", LOCK_TTL_SECS);
        let gateways = [builder.clone().start().await, builder.start().await];
        let rooms: Vec<Room> = (1..=ROOMS).map(Room::tomorrow_of).collect();
        let mut watchers = Vec::new();
        for gateway in &gateways {
            gateway.eventually_ready().await;
            watchers.push(connect(gateway, "watcher", &rooms).await);
        }
        let mut members = Vec::new();
        for number in 0..CLIENTS {
            let (name, gateway) = (format!("client-{number}"), number % 2);
            let page = connect(&gateways[gateway], &name, &rooms).await;
            members.push(Member { name, gateway, page, requests: HashMap::new() });
        }
        let (php, connection) = (redis.php().await, redis.connection().await);
        let random = StdRng::seed_from_u64(seed);
        Self { random, gateways, rooms, members, watchers, php, connection, history: Vec::new(), redis }
    }

    /// Lets one thing happen.
    pub(crate) async fn step(&mut self) {
        let room = self.rooms.choose(&mut self.random).expect("rooms").clone();
        let time = *TIMES.choose(&mut self.random).expect("times");
        match self.random.random_range(0..100) {
            0..34 => self.ask("select", &room, time).await,
            34..46 => self.ask("deselect", &room, time).await,
            46..58 => self.ask("lock", &room, time).await,
            58..68 => self.ask("unlock", &room, time).await,
            68..76 => {
                // Everybody wants the same slot at once.
                for number in 0..self.members.len() {
                    self.send_from(number, "select", &room, time);
                }
            }
            76..84 => {
                let ttl = self.random.random_range(1..=LONGEST_PHP_TTL_SECS);
                self.note(format!("php sets {time} of {} for {ttl} s", room.employee_id));
                self.php.select_for(&room, time, "wp_client", ttl).await;
            }
            84..91 => {
                self.note(format!("php deletes {time} of {}", room.employee_id));
                self.php.delete(&room, time).await;
            }
            91..97 => self.move_a_client().await,
            97..99 => {
                let number = self.random.random_range(0..self.members.len());
                self.members[number].page.send(room.frame("sync"));
            }
            _ => {
                self.note("flush".into());
                self.redis.run::<()>(&["FLUSHDB"]).await;
            }
        }
    }

    /// Waits until all that ends by itself has ended; then compares everything, and that it stays so.
    pub(crate) async fn come_to_rest(&mut self) {
        for member in &self.members {
            member.page.settle().await;
        }
        self.settle_on_agreement().await;
        let Self { members, watchers, rooms, connection, .. } = self;
        let rested = Instant::now();
        while rested.elapsed() < REST {
            let found = differences(members, watchers, rooms, connection).await;
            assert!(
                found.is_empty(),
                "{:?} after all agreed at rest:\n{}",
                rested.elapsed(),
                found.join("\n")
            );
        }
    }

    async fn settle_on_agreement(&mut self) {
        let Self { members, watchers, rooms, connection, history, .. } = self;
        let end = Instant::now() + SETTLING;
        eventually("an answer to whether all agree", SETTLING * 2, async || {
            // In this order: what fades just after a comparison would still be on its way to the pages.
            let settled = nothing_fades(members, rooms, connection).await;
            let found = differences(members, watchers, rooms, connection).await;
            if settled && found.is_empty() {
                return Some(());
            }
            let last = &history[history.len().saturating_sub(60)..];
            assert!(
                Instant::now() < end,
                "at rest, after:\n{}\nthere is still:\n{}",
                last.join("\n"),
                found.join("\n")
            );
            None
        })
        .await;
    }

    /// A random client asks; half the time it waits for the answer.
    async fn ask(&mut self, command: &'static str, room: &Room, time: &str) {
        let number = self.random.random_range(0..self.members.len());
        let id = self.send_from(number, command, room, time);
        if self.random.random_bool(0.5) {
            let reply = self.members[number].page.reply(&id).await;
            self.note(format!("  answered {}", reply.0));
        }
    }

    fn send_from(&mut self, number: usize, command: &'static str, room: &Room, time: &str) -> String {
        let member = &mut self.members[number];
        let id = member.page.send(room.slot_frame(command, time));
        let request = Request { command, room: room.clone(), time: time.to_owned() };
        member.requests.insert(id.clone(), request);
        let note = format!("{} on {}: {command} {time} of {}", member.name, member.gateway, room.employee_id);
        self.note(note);
        id
    }

    /// A browser loses its connection and comes back, on the other gateway or the same.
    async fn move_a_client(&mut self) {
        let number = self.random.random_range(0..self.members.len());
        let gateway = self.random.random_range(0..2);
        let name = self.members[number].name.clone();
        self.note(format!("{name} moves to {gateway}"));
        let page = connect(&self.gateways[gateway], &name, &self.rooms).await;
        let member = Member { name, gateway, page, requests: HashMap::new() };
        let old = std::mem::replace(&mut self.members[number], member);
        if self.random.random_bool(0.5) { old.page.vanish().await } else { old.page.close().await }
    }

    fn note(&mut self, what: String) {
        self.history.push(what);
    }
}

async fn connect(gateway: &Gateway, name: &str, rooms: &[Room]) -> Page {
    let page = Page::of(gateway, name).await;
    for room in rooms {
        page.subscribe(room).await;
    }
    page
}

/// Whether all that is left is selections of members, which are renewed for as long as the run lasts.
async fn nothing_fades(members: &[Member], rooms: &[Room], connection: &mut MultiplexedConnection) -> bool {
    for room in rooms {
        let locks = holds_in(connection, "appointease_lock", room).await;
        let selections = holds_in(connection, "appointease_active", room).await;
        let of_a_member = |owner: &String| members.iter().any(|member| member.name == *owner);
        if !locks.is_empty() || !selections.values().all(of_a_member) {
            return false;
        }
    }
    true
}

/// Everything that is not as it should be, in words.
async fn differences(
    members: &[Member],
    watchers: &[Page],
    rooms: &[Room],
    connection: &mut MultiplexedConnection,
) -> Vec<String> {
    let mut found = Vec::new();
    for room in rooms {
        let truth = view_in(connection, room).await;
        let owners = holds_in(connection, "appointease_active", room).await;
        let pages = members.iter().map(|member| (member.name.as_str(), &member.page));
        let watching = watchers.iter().enumerate().map(|(at, page)| (["watcher 0", "watcher 1"][at], page));
        for (name, page) in pages.chain(watching) {
            let view = page.view(room);
            if view != truth {
                found.push(format!("{name} sees {view:?} of {}, Redis holds {truth:?}", room.employee_id));
            }
        }
        for member in members {
            let held: Vec<&String> =
                owners.iter().filter(|(_, owner)| **owner == member.name).map(|(time, _)| time).collect();
            if held.len() > 1 {
                found.push(format!("{} holds {held:?} of {}", member.name, room.employee_id));
            }
            let told = selections_told(&member.page, &member.requests);
            let Some(believed) = told.get(room) else { continue };
            if held != believed.iter().collect::<Vec<_>>() {
                let name = &member.name;
                found.push(format!(
                    "{name} was told {believed:?} of {}, Redis says {held:?}",
                    room.employee_id
                ));
            }
        }
    }
    found
}
