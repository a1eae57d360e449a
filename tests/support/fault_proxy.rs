//! A piece of network between two programs that a test can break: silence, delay, resets, refusal, a narrow pipe.
//! Bytes that were swallowed are gone: such a connection stays half-open until it is reset, as after a lost route.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::sleep;

use crate::ReservedPort;

/// How much of what a connection's client said is remembered, to tell connections apart.
const REMEMBERED: usize = 4096;

/// A direction of travel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Towards {
    /// From the client.
    Server,
    /// From the server.
    Client,
}

/// What becomes of a connection's bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Fate {
    swallow_to_server: bool,
    swallow_to_client: bool,
    reset: bool,
}

/// Properties of the whole line.
#[derive(Clone, Copy, Debug, Default)]
struct Line {
    delay: Duration,
    bytes_per_second: Option<u32>,
}

#[derive(Debug)]
struct Connection {
    fate: watch::Sender<Fate>,
    said: Arc<Mutex<Vec<u8>>>,
}

#[derive(Debug)]
struct Shared {
    upstream: SocketAddr,
    line: Mutex<Line>,
    new_fate: Mutex<Fate>,
    connections: Mutex<Vec<Connection>>,
}

/// A listening proxy in front of one server.
#[derive(Debug)]
pub struct FaultProxy {
    port: ReservedPort,
    shared: Arc<Shared>,
    accepting: Mutex<Option<JoinHandle<()>>>,
}

impl FaultProxy {
    /// Stands in front of the server at `upstream`, and passes everything.
    pub async fn before(upstream: SocketAddr) -> Self {
        let proxy = Self {
            port: ReservedPort::new(),
            shared: Arc::new(Shared {
                upstream,
                line: Mutex::default(),
                new_fate: Mutex::default(),
                connections: Mutex::default(),
            }),
            accepting: Mutex::default(),
        };
        proxy.accept_again();
        proxy
    }

    /// Where it listens.
    pub fn addr(&self) -> SocketAddr {
        self.port.addr()
    }

    /// Passes new connections again, quickly and in full; those that lost bytes stay half-open.
    pub fn heal(&self) {
        *locked(&self.shared.line) = Line::default();
        *locked(&self.shared.new_fate) = Fate::default();
        self.accept_again();
    }

    /// Swallows everything in both directions; new connections are accepted and get no answer either.
    pub fn black_hole(&self) {
        let silent = Fate { swallow_to_server: true, swallow_to_client: true, reset: false };
        *locked(&self.shared.new_fate) = silent;
        self.decide(|_| true, silent);
    }

    /// Swallows everything on the connections there are; new ones work.
    pub fn black_hole_existing(&self) {
        self.decide(|_| true, Fate { swallow_to_server: true, swallow_to_client: true, reset: false });
    }

    /// Swallows one direction of the connections there are; new ones work.
    pub fn swallow_existing(&self, towards: Towards) {
        let swallow_to_server = towards == Towards::Server;
        let fate = Fate { swallow_to_server, swallow_to_client: !swallow_to_server, reset: false };
        self.decide(|_| true, fate);
    }

    /// Swallows everything on those connections whose client once said this (whatever its case); returns how many.
    pub fn black_hole_those_that_said(&self, words: &str) -> usize {
        let words = words.to_ascii_uppercase();
        let said = |text: &[u8]| String::from_utf8_lossy(text).to_ascii_uppercase().contains(&words);
        self.decide(said, Fate { swallow_to_server: true, swallow_to_client: true, reset: false })
    }

    /// Resets every connection there is; new ones work.
    pub fn reset_all(&self) {
        self.decide(|_| true, Fate { reset: true, ..Fate::default() });
    }

    /// Resets every connection and refuses new ones until [`FaultProxy::heal`].
    pub async fn refuse(&self) {
        let accepting = locked(&self.accepting).take();
        if let Some(accepting) = accepting {
            accepting.abort();
            // The listener is closed once the task is over.
            drop(accepting.await);
        }
        self.reset_all();
    }

    /// Holds every piece of data back for so long.
    pub fn delay(&self, delay: Duration) {
        locked(&self.shared.line).delay = delay;
    }

    /// Lets through so many bytes a second on each connection and direction.
    pub fn limit(&self, bytes_per_second: u32) {
        locked(&self.shared.line).bytes_per_second = Some(bytes_per_second);
    }

    /// How many connections are open.
    pub fn connections(&self) -> usize {
        let mut connections = locked(&self.shared.connections);
        connections.retain(|connection| !connection.fate.is_closed());
        connections.len()
    }

    fn decide(&self, concerns: impl Fn(&[u8]) -> bool, fate: Fate) -> usize {
        let connections = locked(&self.shared.connections);
        let open = connections.iter().filter(|connection| !connection.fate.is_closed());
        let concerned: Vec<_> = open.filter(|connection| concerns(&locked(&connection.said))).collect();
        for connection in &concerned {
            connection.fate.send_replace(fate);
        }
        concerned.len()
    }

    fn accept_again(&self) {
        let mut accepting = locked(&self.accepting);
        if accepting.is_none() {
            *accepting = Some(tokio::spawn(accept(self.port.listen(), Arc::clone(&self.shared))));
        }
    }
}

impl Drop for FaultProxy {
    fn drop(&mut self) {
        if let Some(accepting) = locked(&self.accepting).take() {
            accepting.abort();
        }
        self.reset_all();
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().expect("no holder of this lock panics")
}

/// Accepts until aborted. Connections outlive the listener: they end by their fate.
async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    loop {
        let Ok((client, _)) = listener.accept().await else { continue };
        let (fate, decided) = watch::channel(*locked(&shared.new_fate));
        let said = Arc::new(Mutex::new(Vec::new()));
        locked(&shared.connections).push(Connection { fate, said: Arc::clone(&said) });
        tokio::spawn(carry(client, Arc::clone(&shared), decided, said));
    }
}

/// One connection, both ways, until both ends have closed or it is reset.
async fn carry(
    client: TcpStream,
    shared: Arc<Shared>,
    mut fate: watch::Receiver<Fate>,
    said: Arc<Mutex<Vec<u8>>>,
) {
    let Ok(server) = TcpStream::connect(shared.upstream).await else { return };
    for stream in [&client, &server] {
        stream.set_nodelay(true).expect("TCP_NODELAY");
    }
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_server, mut to_server) = server.into_split();
    let up = pump(&mut from_client, &mut to_server, Towards::Server, &shared, fate.clone(), &said);
    let unheard = Mutex::default();
    let down = pump(&mut from_server, &mut to_client, Towards::Client, &shared, fate.clone(), &unheard);
    let reset = tokio::select! {
        _ = async { tokio::join!(up, down) } => false,
        _ = fate.wait_for(|fate| fate.reset) => true,
    };
    if reset {
        for half in [to_client, to_server] {
            // Fails where the connection is gone already, which then needs no reset.
            drop(half.as_ref().set_zero_linger());
            // Dropping the half would say goodbye in good order first.
            half.forget();
        }
    }
}

/// One direction of one connection.
async fn pump(
    from: &mut OwnedReadHalf,
    to: &mut OwnedWriteHalf,
    towards: Towards,
    shared: &Shared,
    mut fate: watch::Receiver<Fate>,
    said: &Mutex<Vec<u8>>,
) {
    let swallowed = move |fate: &Fate| match towards {
        Towards::Server => fate.swallow_to_server,
        Towards::Client => fate.swallow_to_client,
    };
    let mut buffer = vec![0; 16 * 1024];
    loop {
        let read = match from.read(&mut buffer).await {
            Ok(0) | Err(_) if swallowed(&fate.borrow()) => {
                // Not even the end arrives at the other side.
                return std::future::pending().await;
            }
            Ok(0) | Err(_) => {
                drop(to.shutdown().await);
                return;
            }
            Ok(read) => read,
        };
        {
            let mut said = locked(said);
            let room = REMEMBERED.saturating_sub(said.len());
            said.extend(&buffer[..read.min(room)]);
        }
        let line = *locked(&shared.line);
        sleep(line.delay).await;
        if swallowed(&fate.borrow_and_update()) {
            continue;
        }
        if to.write_all(&buffer[..read]).await.is_err() {
            return;
        }
        if let Some(bytes_per_second) = line.bytes_per_second {
            sleep(Duration::from_secs_f64(read as f64 / f64::from(bytes_per_second))).await;
        }
    }
}
