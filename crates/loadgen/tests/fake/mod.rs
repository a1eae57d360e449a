//! A tiny slotcast: rooms, selects, snapshots, diffs and conflation, one task per connection on a thread of its own. It
//! can be told to break the contract in one way, so that the meter can be seen to notice.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::SocketAddr;
use std::sync::Arc;

use futures::{SinkExt, StreamExt};
use parking_lot::Mutex;
use serde_json::{Value, json};
use socket2::SockRef;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;

/// How the fake breaks the contract.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    None,
    /// The first subscriber never gets the diff of revision 3.
    SkipsOneDiff,
    /// The diff of revision 3 goes to nobody and has no revision.
    TellsNobody,
    /// The first subscriber's diff of revision 3 names another slot.
    TellsOneWrongly,
    /// Every fifth select is refused.
    Refuses,
}

/// What connections may buffer; little, so that a stalled one is soon behind.
const SEND_BUFFER: usize = 4096;

#[derive(Default)]
struct Room {
    rev: u64,
    held: HashMap<String, String>,
    diffs: BTreeMap<u64, String>,
}

impl Room {
    fn active(&self) -> BTreeSet<&String> {
        self.held.values().collect()
    }
}

struct Server {
    fault: Fault,
    rooms: Mutex<HashMap<u64, Room>>,
    changed: watch::Sender<u64>,
}

/// Starts a fake and returns where it listens. It ends with the test process.
pub(crate) fn start(fault: Fault) -> SocketAddr {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.set_nonblocking(true).expect("nonblocking");
    let addr = listener.local_addr().expect("an address");
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async move {
            let listener = TcpListener::from_std(listener).expect("a listener");
            let server = Arc::new(Server { fault, rooms: Mutex::default(), changed: watch::channel(0).0 });
            for number in 0.. {
                let (stream, _) = listener.accept().await.expect("a connection");
                SockRef::from(&stream).set_send_buffer_size(SEND_BUFFER).expect("a send buffer");
                tokio::spawn(serve(server.clone(), stream, number));
            }
        });
    });
    addr
}

async fn serve(server: Arc<Server>, stream: TcpStream, number: u64) {
    let Ok(mut socket) = tokio_tungstenite::accept_async(stream).await else { return };
    let mut changed = server.changed.subscribe();
    let mut client = format!("client-{number}");
    let mut followed: BTreeMap<u64, u64> = BTreeMap::new();
    loop {
        let frames = tokio::select! {
            frame = socket.next() => match frame {
                Some(Ok(Message::Text(text))) => {
                    let frame: Value = serde_json::from_str(&text).expect("JSON");
                    server.on_frame(&frame, &mut client, &mut followed)
                }
                Some(Ok(_)) => continue,
                _ => return,
            },
            _ = changed.changed() => server.behind(number, &mut followed),
        };
        if send_all(&mut socket, frames).await.is_err() {
            return;
        }
    }
}

async fn send_all(
    socket: &mut WebSocketStream<TcpStream>,
    frames: Vec<String>,
) -> Result<(), tokio_tungstenite::tungstenite::Error> {
    for frame in frames {
        socket.send(Message::text(frame)).await?;
    }
    Ok(())
}

impl Server {
    fn on_frame(&self, frame: &Value, client: &mut String, followed: &mut BTreeMap<u64, u64>) -> Vec<String> {
        let employee = frame["employee_id"].as_u64().unwrap_or(0);
        match frame["type"].as_str().expect("a type") {
            "hello" => {
                *client = frame["client_id"].as_str().expect("a client").to_owned();
                vec![json!({"type": "welcome", "client_id": client}).to_string()]
            }
            "subscribe" => {
                let snapshot = self.snapshot(employee, followed);
                vec![snapshot]
            }
            "select" => vec![self.select(frame, employee, client)],
            other => panic!("a frame of type {other}"),
        }
    }

    fn snapshot(&self, employee: u64, followed: &mut BTreeMap<u64, u64>) -> String {
        let mut rooms = self.rooms.lock();
        let room = rooms.entry(employee).or_default();
        followed.insert(employee, room.rev);
        json!({"type": "snapshot", "date": "d", "employee_id": employee, "epoch": "e", "rev": room.rev,
               "active": room.active(), "locked": [], "booked": [], "storage_mode": "memory"})
        .to_string()
    }

    fn select(&self, frame: &Value, employee: u64, client: &str) -> String {
        let id = frame["id"].as_u64().expect("an id");
        if self.fault == Fault::Refuses && id % 5 == 4 {
            return json!({"type": "error", "id": id, "code": "rate_limited", "message": "Slower."})
                .to_string();
        }
        let time = frame["time"].as_str().expect("a time").to_owned();
        let mut rooms = self.rooms.lock();
        let room = rooms.entry(employee).or_default();
        let before: Vec<String> = room.held.insert(client.to_owned(), time.clone()).into_iter().collect();
        if self.fault == Fault::TellsNobody && room.rev == 3 && !room.diffs.contains_key(&0) {
            room.diffs.insert(0, String::new());
        } else {
            room.rev += 1;
            let diff = json!({"type": "diff", "date": "d", "employee_id": employee, "epoch": "e", "rev": room.rev,
                              "active": {"add": [time], "remove": before}});
            room.diffs.insert(room.rev, diff.to_string());
            self.changed.send_modify(|changes| *changes += 1);
        }
        json!({"type": "ok", "id": id, "status": "selected", "storage": "memory", "ttl": 10}).to_string()
    }

    /// What a connection has not seen: the next diffs, or where there are many, a snapshot.
    fn behind(&self, number: u64, followed: &mut BTreeMap<u64, u64>) -> Vec<String> {
        let mut frames = Vec::new();
        for (employee, rev) in followed.clone() {
            let (last, mut diffs) = {
                let rooms = self.rooms.lock();
                let room = &rooms[&employee];
                (room.rev, (rev + 1..=room.rev).map(|rev| room.diffs[&rev].clone()).collect::<Vec<_>>())
            };
            if diffs.len() > 50 {
                diffs = vec![self.snapshot(employee, followed)];
            } else {
                followed.insert(employee, last);
            }
            if number == 0 && (rev + 1..=last).contains(&3) {
                let third = (2 - rev) as usize;
                match self.fault {
                    Fault::SkipsOneDiff => drop(diffs.remove(third)),
                    Fault::TellsOneWrongly => {
                        let mut diff: Value = serde_json::from_str(&diffs[third]).expect("JSON");
                        diff["active"]["add"] = json!(["23:59"]);
                        diffs[third] = diff.to_string();
                    }
                    _ => (),
                }
            }
            frames.append(&mut diffs);
        }
        frames
    }
}
