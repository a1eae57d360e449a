//! Everybody at once: clients spread over both gateways and the rooms, and the writer that has them ask.

use std::time::Duration;

use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use support::{Gateway, Page, PageBuilder, Room};
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, timeout};

use crate::history::{History, letter};
use crate::member::{Lock, Member, Selection, client_name};

/// Half-hours of a working day.
const TIMES: [&str; 16] = [
    "09:00", "09:30", "10:00", "10:30", "11:00", "11:30", "12:00", "12:30", "13:00", "13:30", "14:00",
    "14:30", "15:00", "15:30", "16:00", "16:30",
];
/// How often all clients read what they were sent.
const READING: Duration = Duration::from_millis(50);
/// A browser comes back within this.
const RETURN_MS: u64 = 500;
const CONNECTING: Duration = Duration::from_secs(10);

/// How many there are, and how much they ask.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Size {
    pub(crate) clients: usize,
    pub(crate) rooms: u32,
    pub(crate) writes_per_second: u64,
}

/// All clients, and all that happened to them.
pub(crate) struct Crowd {
    pub(crate) members: Vec<Member>,
    pub(crate) history: History,
    pub(crate) rooms: Vec<Room>,
    /// Gateways that were killed: nobody wonders that their connections end.
    pub(crate) dead: [bool; 2],
    doors: [PageBuilder; 2],
    random: StdRng,
    pause: Duration,
    returning: JoinSet<(usize, usize, Option<Page>)>,
    last_read: Instant,
}

impl Crowd {
    /// Connects everybody and subscribes each to its room.
    pub(crate) async fn gather(size: Size, gateways: [&Gateway; 2], seed: u64) -> Self {
        let rooms: Vec<Room> = (1..=size.rooms).map(Room::tomorrow_of).collect();
        let doors = gateways.map(Page::builder);
        let mut members = Vec::with_capacity(size.clients);
        for number in 0..size.clients {
            // Neighbours in a room sit on different gateways.
            let room = rooms[number % rooms.len()].clone();
            let gateway = (number / rooms.len() + number) % 2;
            let page = enter(&doors[gateway], number, &room).await;
            members.push(Member::new(number, gateway, room, page));
        }
        Self {
            members,
            history: History::new(),
            rooms,
            dead: [false; 2],
            doors,
            random: StdRng::seed_from_u64(seed),
            pause: Duration::from_micros(1_000_000 / size.writes_per_second),
            returning: JoinSet::new(),
            last_read: Instant::now(),
        }
    }

    /// Lets clients ask at the wanted rate until `other` is over, and returns what that said.
    pub(crate) async fn write_while<T>(&mut self, other: impl Future<Output = T>) -> T {
        let mut other = std::pin::pin!(other);
        let mut ticks = interval(self.pause);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                said = &mut other => {
                    self.catch_up();
                    return said;
                }
                _ = ticks.tick() => self.tick(),
            }
        }
    }

    /// The same until something is so; whether it was within `limit`.
    pub(crate) async fn write_until(&mut self, limit: Duration, so: impl Fn(&Self) -> bool) -> bool {
        let end = Instant::now() + limit;
        while !so(self) {
            if Instant::now() > end {
                return false;
            }
            self.write_while(sleep(READING)).await;
        }
        true
    }

    /// Waits until every request is answered, without new ones; whether that was within `limit`.
    pub(crate) async fn fall_silent(&mut self, limit: Duration) -> bool {
        let end = Instant::now() + limit;
        loop {
            self.take_back().await;
            self.catch_up();
            if self.returning.is_empty() && self.members.iter().all(Member::is_free) {
                return true;
            }
            if Instant::now() > end {
                return false;
            }
            sleep(READING).await;
        }
    }

    /// One client asks one thing and gets its answer, while all others keep silent.
    pub(crate) async fn ask(&mut self, number: usize, command: &'static str, time: &str) -> usize {
        let request = self.history.requests.len();
        self.members[number].send(&mut self.history, command, time);
        self.fall_silent(CONNECTING).await;
        request
    }

    /// Lets everybody read; those whose connection ended come back, to the other gateway where theirs is
    /// dead.
    pub(crate) fn catch_up(&mut self) {
        self.last_read = Instant::now();
        for member in &mut self.members {
            let connected = member.page.is_some();
            member.catch_up(&mut self.history);
            if connected && member.page.is_none() {
                let gateway = if self.dead[member.gateway] { 1 - member.gateway } else { member.gateway };
                let (door, number, room) = (self.doors[gateway].clone(), member.number, member.room.clone());
                let wait = Duration::from_millis(self.random.random_range(0..RETURN_MS));
                self.returning.spawn(async move {
                    sleep(wait).await;
                    let page = timeout(CONNECTING, enter(&door, number, &room)).await;
                    (number, gateway, page.ok())
                });
            }
        }
    }

    /// The storage modes that clients were last told: one where all agree.
    pub(crate) fn modes(&self) -> Vec<&str> {
        let connected = self.members.iter().filter(|member| member.page.is_some());
        let mut modes: Vec<&str> = connected.map(|member| member.mode.as_str()).collect();
        modes.sort_unstable();
        modes.dedup();
        modes
    }

    fn tick(&mut self) {
        while let Some(returned) = self.returning.try_join_next() {
            self.on_returned(returned);
        }
        if self.last_read.elapsed() >= READING {
            self.catch_up();
        }
        let now = Instant::now();
        let due = |member: &&mut Member| {
            member.is_free() && matches!(member.lock, Lock::At { due, .. } if due <= now)
        };
        if let Some(member) = self.members.iter_mut().find(due) {
            let Lock::At { time, .. } = member.lock.clone() else { return };
            member.send(&mut self.history, "unlock", &time);
            return;
        }
        // Where nobody is free all wait for answers, and so does the writer.
        for _ in 0..8 {
            let number = self.random.random_range(0..self.members.len());
            if self.members[number].is_free() {
                self.act(number);
                return;
            }
        }
    }

    fn act(&mut self, number: usize) {
        let Self { members, history, random, .. } = self;
        let member = &mut members[number];
        if let Lock::InDoubt { time } = member.lock.clone() {
            // Whatever became of it: it is not wanted any more.
            return member.send(history, "unlock", &time);
        }
        let own = match &member.selection {
            Selection::At { time, .. } => Some(time.clone()),
            _ => None,
        };
        let roll = random.random_range(0..100);
        if let Some(own) = own.as_ref().filter(|_| roll < 12) {
            return member.send(history, "deselect", own);
        }
        if (12..26).contains(&roll) && member.lock == Lock::Nothing {
            let time = own.filter(|_| random.random_bool(0.6)).unwrap_or_else(|| wanted(member, random));
            return member.send(history, "lock", &time);
        }
        if let Some(own) = own.as_ref().filter(|_| roll > 90) {
            return member.send(history, "select", own);
        }
        let time = wanted(member, random);
        member.send(history, "select", &time);
    }

    /// Takes back those who have connected again.
    async fn take_back(&mut self) {
        while !self.returning.is_empty() {
            let Ok(Some(returned)) = timeout(READING, self.returning.join_next()).await else { return };
            self.on_returned(returned);
        }
    }

    fn on_returned(&mut self, returned: Result<(usize, usize, Option<Page>), tokio::task::JoinError>) {
        let Ok((number, gateway, Some(page))) = returned else {
            self.history.breaches.push(format!("a client could not come back: {returned:?}"));
            return;
        };
        let member = &mut self.members[number];
        member.on_connected(gateway, page);
        let text = format!("{} is back, on {}", member.name(), letter(gateway));
        self.history.note_of(Instant::now(), &member.room, "", text);
        // A page that shows a selection says so again.
        if let Selection::At { time, .. } = member.selection.clone() {
            member.send(&mut self.history, "select", &time);
        }
    }
}

/// A slot the client has not, mostly one that it sees free.
fn wanted(member: &Member, random: &mut StdRng) -> String {
    let locked = match &member.lock {
        Lock::At { time, .. } => time.as_str(),
        _ => "",
    };
    let view = member.page.as_ref().and_then(|page| page.shown(&member.room)).unwrap_or_default();
    let taken = |time: &str| view.active.contains(time) || view.locked.contains(time);
    let any_will_do = random.random_bool(0.15);
    let liked: Vec<&str> =
        TIMES.into_iter().filter(|time| *time != locked && (any_will_do || !taken(time))).collect();
    let unlocked: Vec<&str> = TIMES.into_iter().filter(|time| *time != locked).collect();
    (*liked.choose(random).or_else(|| unlocked.choose(random)).expect("more times than one")).to_owned()
}

async fn enter(door: &PageBuilder, number: usize, room: &Room) -> Page {
    let page = door.clone().open().await;
    page.hello(&client_name(number)).await;
    page.subscribe(room).await;
    page
}
