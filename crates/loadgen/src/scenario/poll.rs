//! Requests over kept HTTP connections. At a pace, it shows how long an answer takes; without one, how many answers a
//! second there are.

use std::borrow::Cow;
use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval_at};

use crate::LoadError;
use crate::cli::{PollArgs, tomorrow};
use crate::connect::{Sources, Target};
use crate::http::{self, KeptConnection};
use crate::report::PollReport;
use crate::stage::{cpu_secs, usage};
use crate::timing::{Clock, Timings};
use crate::view::{SLOTS, slot_name};

/// Connections behind one source address.
const PER_ADDRESS: usize = 50;
/// Over so many rooms the requests go that have a slot of their own.
const ROOMS: usize = 50;

struct Tally {
    timings: Timings,
    failed: u64,
    first_failure: Option<String>,
}

/// All connections' requests.
struct Requests {
    method: String,
    host: String,
    path: String,
    content_type: String,
    body: String,
    first_employee: usize,
    next: Cell<usize>,
}

impl Requests {
    /// The next one, with what is its own filled in.
    fn next(&self) -> Vec<u8> {
        let number = self.next.get();
        self.next.set(number + 1);
        let mut body = Cow::from(&self.body);
        if body.contains('{') {
            // Neighbours in time are in different rooms.
            let (room, slot) = (number % ROOMS + number / (ROOMS * SLOTS) * ROOMS, number / ROOMS % SLOTS);
            body = body
                .replace("{n}", &(self.first_employee + number).to_string())
                .replace("{employee_id}", &(self.first_employee + room).to_string())
                .replace("{time}", &slot_name(slot))
                .into();
        }
        http::request(&self.method, &self.host, &self.path, &self.content_type, &body)
    }
}

/// Runs the scenario. To be called within a `LocalSet`.
pub async fn poll(args: &PollArgs) -> Result<PollReport, LoadError> {
    let server = &args.server;
    if args.connections == 0 {
        return Err(LoadError::Usage("--connections must be above 0".to_owned()));
    }
    let target = Target::parse(&server.url)?;
    let date = tomorrow();
    let (path, body) = (target.path.replace("{date}", &date), args.body.replace("{date}", &date));
    let requests = Rc::new(Requests {
        method: args.method.clone(),
        host: target.host.clone(),
        path,
        content_type: args.content_type.clone(),
        body,
        first_employee: args.first_employee,
        next: Cell::new(0),
    });
    let tally = Rc::new(RefCell::new(Tally { timings: Timings::new(), failed: 0, first_failure: None }));
    let mut connections = Vec::with_capacity(args.connections);
    for index in 0..args.connections {
        let source = Sources::Pollers.address(index, PER_ADDRESS);
        connections.push(KeptConnection::open(&target, source).await?);
    }
    let (clock, start, before) = (Clock::start(), Instant::now(), usage(server)?);
    let until = start + Duration::from_secs_f64(args.seconds);
    let pace = (args.rate > 0.0).then(|| Duration::from_secs_f64(1.0 / args.rate));
    let mut tasks = JoinSet::new();
    for (index, connection) in connections.into_iter().enumerate() {
        let pace = pace.map(|pace| {
            let mut ticks = interval_at(start + pace * index as u32, pace * args.connections as u32);
            ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            ticks
        });
        tasks.spawn_local(ask(connection, requests.clone(), pace, until, clock, tally.clone()));
    }
    while tasks.join_next().await.is_some() {}
    let (elapsed, after) = (start.elapsed().as_secs_f64(), usage(server)?);
    let tally = tally.borrow();
    let latency = tally.timings.latency();
    let requests = latency.map_or(0, |latency| latency.count);
    Ok(PollReport {
        title: server.title.clone(),
        label: server.label.clone(),
        connections: args.connections,
        rate: args.rate,
        requests,
        requests_per_second: requests as f64 / elapsed,
        failed: tally.failed,
        first_failure: tally.first_failure.clone(),
        p50_us: latency.map_or(0, |latency| latency.p50_us),
        p99_us: latency.map_or(0, |latency| latency.p99_us),
        server_cpu_us_per_request: before
            .zip(after)
            .map(|(before, after)| cpu_secs(before, after) * 1e6 / requests.max(1) as f64),
    })
}

/// One connection's requests, each after the answer to the last. Ends with its connection.
async fn ask(
    mut connection: KeptConnection,
    requests: Rc<Requests>,
    mut pace: Option<tokio::time::Interval>,
    until: Instant,
    clock: Clock,
    tally: Rc<RefCell<Tally>>,
) {
    loop {
        if let Some(pace) = &mut pace {
            pace.tick().await;
        }
        if Instant::now() >= until {
            return;
        }
        let request = requests.next();
        let started_us = clock.now_us();
        let failure = match connection.exchange(&request).await {
            Ok((200, _)) => {
                tally.borrow_mut().timings.record(clock.now_us() - started_us);
                continue;
            }
            Ok((status, _)) => (format!("status {status}"), false),
            Err(error) => (error.to_string(), true),
        };
        let mut tally = tally.borrow_mut();
        tally.failed += 1;
        tally.first_failure.get_or_insert(failure.0);
        if failure.1 {
            return;
        }
    }
}
