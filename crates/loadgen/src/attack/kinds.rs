//! The kinds of attack, each a task that goes on until the attackers are stopped, and what each may get.

use std::net::Ipv4Addr;
use std::rc::Rc;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::task::spawn_local;
use tokio::time::{Instant, sleep, timeout};

use super::line::{Heard, Line, answer_to};
use super::{Attack, Tally, delay_of};
use crate::connect::{self, Narrow, Sources};
use crate::http;
use crate::view::slot_name;
use crate::wire::{self, opcode};

/// What each kind may get, besides what every kind may.
pub(super) const MAY_GET: &[(&str, &[&str])] = &[
    ("sockets that say nothing", &["let_in", "status_408"]),
    ("heads byte by byte", &["let_in", "status_408"]),
    ("foreign origins", &["status_403"]),
    ("subscribers to everything", &["let_in", "too_many_rooms"]),
    ("subscribers who read nothing", &["let_in"]),
    ("floods of selects", &["let_in", "ok", "rate_limited", "too_many_holds", "closed_1008"]),
    (
        "frames that are none",
        &["bad_request", "closed_1002", "closed_1003", "closed_1007", "closed_1008", "closed_1009"],
    ),
    ("floods of pings", &["let_in", "closed_1008"]),
    ("endless fragments", &["let_in", "closed_1008", "closed_1009"]),
    ("others' holds", &["not_owner", "slot_locked", "rate_limited", "store_unavailable"]),
    ("wicked requests", &["status_200", "status_400", "status_408", "status_413", "status_431"]),
    ("hoarding", &["status_200", "status_409"]),
];
/// `let_in` is a connection under the limits; these are none.
pub(super) const ALL_MAY_GET: [&str; 2] = ["closed", "status_429"];

/// Attackers behind one address.
const PER_ADDRESS: usize = 100;
/// More than one address may have open.
const GREEDY: usize = 280;
const ROOMS_OF_GREEDY: usize = 21;

pub(super) fn start_all(attack: &Rc<Attack>, tally: &Tally) {
    let mut first = 0;
    let mut crowd = |full: usize| {
        let numbers = first..first + attack.share(full);
        // Each kind has addresses of its own, so that one's limits are not in another's way.
        first = numbers.end.next_multiple_of(PER_ADDRESS);
        numbers
    };
    macro_rules! crowd {
        ($full:expr, $kind:ident) => {
            for number in crowd($full) {
                let (attack, tally) = (attack.clone(), tally.clone());
                _ = spawn_local(async move {
                    sleep(delay_of(number)).await;
                    $kind(&attack, &tally, number).await;
                });
            }
        };
    }
    crowd!(2000, silent);
    crowd!(100, dripping);
    crowd!(10, foreign);
    crowd!(20, selecting);
    crowd!(20, nonsense);
    crowd!(5, pinging);
    crowd!(5, fragmenting);
    crowd!(10, meddling);
    crowd!(10, wicked);
    crowd!(60, hoarding);
    crowd!(50, deaf);
    let greedy = Sources::Attackers.address(first, PER_ADDRESS);
    for number in 0..attack.share(GREEDY) {
        let (attack, tally) = (attack.clone(), tally.clone());
        _ = spawn_local(async move { greedily(&attack, &tally, number, greedy).await });
    }
}

fn address(number: usize) -> Ipv4Addr {
    Sources::Attackers.address(number, PER_ADDRESS)
}

/// Connects and says nothing, every ten seconds.
async fn silent(attack: &Attack, tally: &Tally, number: usize) {
    sleep(Duration::from_millis(number as u64 * 2)).await;
    loop {
        let began = Instant::now();
        if let Ok(mut stream) = connect::open(attack.target.addr, address(number), None).await {
            tally.note("sockets that say nothing", "let_in");
            let mut answer = [0; 16];
            let count = stream.read(&mut answer).await.unwrap_or(0);
            let answered = answer[..count].starts_with(b"HTTP/1.1 408");
            tally.note("sockets that say nothing", if answered { "status_408" } else { "closed" });
        }
        sleep(Duration::from_secs(10).saturating_sub(began.elapsed())).await;
    }
}

async fn dripping(attack: &Attack, tally: &Tally, number: usize) {
    loop {
        if let Ok(mut stream) = connect::open(attack.target.addr, address(number), None).await {
            let head =
                format!("GET /ws HTTP/1.1\r\nHost: {}\r\nX-Slow: {}", attack.target.host, "x".repeat(9000));
            tally.note("heads byte by byte", "let_in");
            let mut answer = [0; 16];
            let mut count = None;
            for byte in head.bytes() {
                let sent = stream.write_all(&[byte]).await.is_ok();
                count = timeout(Duration::from_millis(500), stream.read(&mut answer)).await.ok();
                if count.is_some() || !sent {
                    break;
                }
            }
            let count = count.and_then(Result::ok).unwrap_or(0);
            let answered = answer[..count].starts_with(b"HTTP/1.1 408");
            tally.note("heads byte by byte", if answered { "status_408" } else { "closed" });
        }
        sleep(Duration::from_millis(200)).await;
    }
}

async fn foreign(attack: &Attack, tally: &Tally, number: usize) {
    let origins = ["https://evil.example", "null", "http://127.0.0.1.evil.example", "http://"];
    for origin in origins.iter().cycle() {
        let headers = format!("Origin: {origin}\r\n");
        let got = Line::open(&attack.target, address(number), &headers, None).await.err();
        tally.note("foreign origins", &got.unwrap_or_else(|| "let_in".to_owned()));
        sleep(Duration::from_millis(200)).await;
    }
}

/// Subscribes to as many honest rooms as it may, with more connections than it may, and reads all.
async fn greedily(attack: &Attack, tally: &Tally, number: usize, source: Ipv4Addr) {
    const KIND: &str = "subscribers to everything";
    sleep(Duration::from_millis(number as u64 * 10)).await;
    loop {
        match Line::open(&attack.target, source, "", None).await {
            Ok(mut line) => {
                tally.note(KIND, "let_in");
                let mut open = true;
                for room in 0..ROOMS_OF_GREEDY {
                    open = open
                        && line.say(&room_frame(attack, "subscribe", number * ROOMS_OF_GREEDY + room)).await;
                    // Under the rate of frames: it wants to stay.
                    open = open
                        && line
                            .listen(Duration::from_millis(100), |heard| note_errors(tally, KIND, heard))
                            .await;
                }
                while open {
                    open =
                        line.listen(Duration::from_secs(60), |heard| note_errors(tally, KIND, heard)).await;
                }
            }
            Err(got) => tally.note(KIND, &got),
        }
        sleep(Duration::from_secs(2)).await;
    }
}

/// Subscribes and never reads a byte.
async fn deaf(attack: &Attack, tally: &Tally, number: usize) {
    let narrow = Some(Narrow { receive_buffer: 4096, segment: 1460 });
    loop {
        match Line::open(&attack.target, address(number), "", narrow).await {
            Ok(mut line) => {
                tally.note("subscribers who read nothing", "let_in");
                for room in 0..20 {
                    line.say(&room_frame(attack, "subscribe", number * 20 + room)).await;
                }
                sleep(Duration::from_secs(30)).await;
            }
            Err(got) => tally.note("subscribers who read nothing", &got),
        }
        sleep(Duration::from_secs(1)).await;
    }
}

async fn selecting(attack: &Attack, tally: &Tally, number: usize) {
    let hello = json!({"type": "hello", "client_id": format!("flood-{number}")});
    flood(attack, tally, "floods of selects", number, 50, Some(hello), |turn| {
        let mut frame = empty_room_frame(attack, "select", number);
        frame["time"] = slot_name(turn % 600).into();
        wire::encode(opcode::TEXT, frame.to_string().as_bytes())
    })
    .await;
}

async fn pinging(attack: &Attack, tally: &Tally, number: usize) {
    flood(attack, tally, "floods of pings", number, 200, None, |_| wire::encode(opcode::PING, &[b'x'; 100]))
        .await;
}

async fn fragmenting(attack: &Attack, tally: &Tally, number: usize) {
    flood(attack, tally, "endless fragments", number, 200, None, |turn| {
        let first = if turn == 0 { opcode::TEXT } else { opcode::CONTINUATION };
        vec![first, 0x80, 0, 0, 0, 0]
    })
    .await;
}

/// Sends so many frames a second until it is cut off, then anew.
async fn flood(
    attack: &Attack,
    tally: &Tally,
    kind: &str,
    number: usize,
    per_second: usize,
    hello: Option<Value>,
    frame: impl Fn(usize) -> Vec<u8>,
) {
    /// Frames leave in so many bundles a second.
    const BUNDLES: usize = 10;
    loop {
        match Line::open(&attack.target, address(number), "", None).await {
            Ok(mut line) => {
                tally.note(kind, "let_in");
                let mut open = match &hello {
                    Some(hello) => line.say(hello).await,
                    None => true,
                };
                let mut turn = 0;
                while open {
                    let bundle: Vec<u8> = (turn..turn + per_second / BUNDLES).flat_map(&frame).collect();
                    turn += per_second / BUNDLES;
                    let sent = line.send(&bundle).await;
                    let period = Duration::from_millis(1000 / BUNDLES as u64);
                    open = line.listen(period, |heard| note_answers(tally, kind, heard)).await && sent;
                }
            }
            Err(got) => tally.note(kind, &got),
        }
        sleep(Duration::from_millis(100)).await;
    }
}

/// Connects with a frame that is none, each time another.
async fn nonsense(attack: &Attack, tally: &Tally, number: usize) {
    let text = |payload: &[u8]| wire::encode(opcode::TEXT, payload);
    let mut bytes: Vec<Vec<u8>> = [&b"not json"[..], b"[1]", b"{\"type\":7}", b"\xff\xfe"]
        .iter()
        .map(|payload| text(payload).repeat(3))
        .collect();
    bytes.push(wire::encode(opcode::BINARY, b"x"));
    bytes.push(text(&[b'x'; 100_000]));
    bytes.push(text("[".repeat(8000).as_bytes()).repeat(3));
    let token = json!({"type": "hello", "token": "a".repeat(100_000)});
    bytes.push(text(token.to_string().as_bytes()));
    // Unmasked, reserved bits, a reserved opcode, a ping that is too long, a length without end.
    bytes.push(vec![0x81, 0x02, b'{', b'}']);
    bytes.push(vec![0xf1, 0x82, 0, 0, 0, 0, b'{', b'}']);
    bytes.push(vec![0x83, 0x80, 0, 0, 0, 0]);
    bytes.push(wire::encode(opcode::PING, &[0; 126]));
    bytes.push(vec![0x81, 0xff, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0]);
    for bytes in bytes.iter().cycle() {
        match Line::open(&attack.target, address(number), "", None).await {
            Ok(mut line) => {
                line.send(bytes).await;
                line.listen(Duration::from_secs(20), |heard| {
                    note_answers(tally, "frames that are none", heard)
                })
                .await;
            }
            Err(got) => tally.note("frames that are none", &got),
        }
        sleep(Duration::from_millis(400)).await;
    }
}

/// Tries to release, unlock and book what the victim holds.
async fn meddling(attack: &Attack, tally: &Tally, number: usize) {
    const KIND: &str = "others' holds";
    loop {
        match Line::open(&attack.target, address(number), "", None).await {
            Ok(mut line) => {
                let mut open =
                    line.say(&json!({"type": "hello", "client_id": format!("meddler-{number}")})).await;
                let kinds = ["select", "deselect", "lock", "unlock", "confirm"].iter().cycle();
                for (turn, kind) in kinds.enumerate() {
                    let mut frame = room_frame(attack, kind, 0);
                    frame["employee_id"] = attack.victims_room.into();
                    frame["time"] = VICTIMS_SLOTS[turn / 5 % VICTIMS_SLOTS.len()].into();
                    if *kind == "confirm" {
                        let key = format!("{number}-{turn}");
                        frame["idempotency_key"] = key.into();
                        frame["name"] = "'; DROP TABLE wp_options; --".into();
                        frame["email"] = "m@example.com".into();
                    }
                    open = open && line.say(&frame).await;
                    let pause = Duration::from_millis(150);
                    open = open && line.listen(pause, |heard| note_answers(tally, KIND, heard)).await;
                    if !open {
                        break;
                    }
                }
            }
            Err(got) => tally.note(KIND, &got),
        }
        sleep(Duration::from_millis(100)).await;
    }
}

/// Where the victim holds: the first is selected, the others are locked.
pub(crate) const VICTIMS_SLOTS: [&str; 3] = ["10:00", "11:00", "12:00"];

/// Requests with everything that stores and logs do not like, under forged addresses; heads and bodies without end.
async fn wicked(attack: &Attack, tally: &Tally, number: usize) {
    let host = &attack.target.host;
    let form = "application/x-www-form-urlencoded";
    let date = &attack.rooms.date;
    let wicked = "%27%3B+DROP+TABLE+wp_options%3B--%0D%0AFLUSHALL%0D%0A%7B%22event%22%3A1%7D*%5Ba-z%5D";
    let path = "/slotcast/heartbeat";
    let poll = |rest: &str| {
        let body = format!("action=heartbeat&data[appointease_poll][date]={date}{rest}&{wicked}={wicked}");
        let mut request = http::request("POST", host, path, form, &body);
        let forged = format!("X-Forwarded-For: 127.0.0.1, 10.0.0.{number}\r\nUser-Agent: {wicked}\r\n");
        request.splice(head_end(&request)..head_end(&request), forged.bytes());
        request
    };
    let requests = [
        poll(&format!("&data[appointease_poll][employee_id]={wicked}")),
        poll(&format!("&data[appointease_poll][employee_id]=1&data[appointease_poll][client_id]={wicked}")),
        poll(&"&a[b][c][d][e][f]=1".repeat(2000)),
        http::request(
            "POST",
            host,
            "/wp-json/appointease/v1/slots/select",
            "application/json",
            &"[".repeat(9000),
        ),
        http::request("POST", host, path, form, &"x".repeat(1 << 20)),
        format!("GET /ws HTTP/1.1\r\nHost: {host}\r\nX-Long: {}\r\n\r\n", "x".repeat(40_000)).into_bytes(),
    ];
    for request in requests.iter().cycle() {
        if let Ok(mut stream) = connect::open(attack.target.addr, address(number), None).await {
            let got = answer_to(&mut stream, request).await;
            let got = got.map_or_else(|end| end, |(status, _)| format!("status_{status}"));
            tally.note("wicked requests", &got);
        }
        sleep(Duration::from_millis(200)).await;
    }
}

fn head_end(request: &[u8]) -> usize {
    request.windows(4).position(|window| window == b"\r\n\r\n").map_or(0, |at| at + 2)
}

/// Many clients of one address, each with a slot of its own.
async fn hoarding(attack: &Attack, tally: &Tally, number: usize) {
    let mut fields = empty_room_frame(attack, "", 0);
    fields["client_id"] = format!("hoarder-{number}").into();
    fields["time"] = slot_name(number % 1440).into();
    let path = "/wp-json/appointease/v1/slots/select";
    let request = http::request("POST", &attack.target.host, path, "application/json", &fields.to_string());
    loop {
        if let Ok(mut stream) = connect::open(attack.target.addr, address(number), None).await
            && let Ok((status, _)) = answer_to(&mut stream, &request).await
        {
            tally.note("hoarding", &format!("status_{status}"));
        }
        sleep(Duration::from_secs(2)).await;
    }
}

fn room_frame(attack: &Attack, kind: &str, room: usize) -> Value {
    let employee = attack.rooms.first_employee + room % attack.room_count;
    json!({"type": kind, "date": attack.rooms.date, "employee_id": employee})
}

fn empty_room_frame(attack: &Attack, kind: &str, room: usize) -> Value {
    json!({"type": kind, "date": attack.rooms.date, "employee_id": attack.empty_rooms + room})
}

/// Notes the answers to requests, and the end.
fn note_answers(tally: &Tally, kind: &str, heard: Heard) {
    match heard {
        Heard::Frame(frame) if frame["type"] == "ok" => tally.note(kind, "ok"),
        heard => note_errors(tally, kind, heard),
    }
}

/// Notes refusals and the end.
fn note_errors(tally: &Tally, kind: &str, heard: Heard) {
    match heard {
        Heard::Frame(frame) if frame["type"] == "error" => {
            tally.note(kind, frame["code"].as_str().unwrap_or("no_code"));
        }
        Heard::Frame(_) => {}
        Heard::Closed(how) => tally.note(kind, &how),
    }
}
