//! All subscribers, on one thread of their own: each is a small task that shares one read buffer with all others, so
//! that 10,000 of them cost the machine little beside the server. Dropping the crowd closes every connection.

use std::cell::RefCell;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::ready;
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWriteExt, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};
use tokio::task::LocalSet;
use tokio::time::{Instant, sleep};

use crate::LoadError;
use crate::connect::{self, Sources, Target};
use crate::dialect::Dialect;
use crate::meter::{Meter, SharedMeter};
use crate::timing::Clock;
use crate::wire::{self, Decoder, opcode};

/// Read buffer shared by all subscribers.
const READ_BUFFER: usize = 64 << 10;
/// How often the scenario looks whether everybody is there.
const READY_POLL: Duration = Duration::from_millis(20);

/// How subscribers connect.
#[derive(Clone, Debug)]
pub(crate) struct CrowdPlan {
    pub(crate) target: Target,
    pub(crate) dialect: Dialect,
    pub(crate) subscribers: usize,
    pub(crate) per_address: usize,
    /// Connections being made at one time.
    pub(crate) connecting: usize,
}

/// The subscribers' thread.
#[derive(Debug)]
pub(crate) struct Crowd {
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
    meter: SharedMeter,
    subscribers: usize,
}

impl Crowd {
    /// Begins to connect.
    pub(crate) fn start(plan: CrowdPlan, meter: SharedMeter, clock: Clock) -> Result<Crowd, LoadError> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(LoadError::io("the reader's runtime"))?;
        let (stop, stopped) = oneshot::channel::<()>();
        let (subscribers, shared) = (plan.subscribers, meter.clone());
        let read_all = move || {
            let desk =
                Rc::new(Desk { plan, meter: shared, clock, buffer: RefCell::new(vec![0; READ_BUFFER]) });
            let everybody = LocalSet::new();
            everybody.spawn_local(admit(desk));
            runtime.block_on(everybody.run_until(async {
                // An error means the crowd was dropped, which is the sign to stop.
                let _ = stopped.await;
            }));
        };
        let thread = std::thread::Builder::new()
            .name("subscribers".to_owned())
            .spawn(read_all)
            .map_err(LoadError::io("the reader thread"))?;
        Ok(Crowd { stop: Some(stop), thread: Some(thread), meter, subscribers })
    }

    /// Waits until every subscriber is subscribed or lost, or the patience is over; returns how long that took.
    pub(crate) async fn arrival(&self, patience: Duration) -> Duration {
        let start = Instant::now();
        loop {
            let (ready, gone) = self.meter.lock().presence();
            if ready + gone >= self.subscribers || start.elapsed() > patience {
                return start.elapsed();
            }
            sleep(READY_POLL).await;
        }
    }
}

impl Drop for Crowd {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // A panic of the reader has been printed already; the seats it left are missed deliveries.
            let _ = thread.join();
        }
    }
}

/// What all subscriber tasks share.
struct Desk {
    plan: CrowdPlan,
    meter: SharedMeter,
    clock: Clock,
    buffer: RefCell<Vec<u8>>,
}

/// Spawns one task per seat, so many at a time.
async fn admit(desk: Rc<Desk>) {
    let gate = Arc::new(Semaphore::new(desk.plan.connecting.max(1)));
    for seat in 0..desk.plan.subscribers {
        let Ok(permit) = gate.clone().acquire_owned().await else { return };
        let desk = desk.clone();
        tokio::task::spawn_local(async move {
            let why = match Subscriber::join(&desk, seat).await {
                Ok(mut subscriber) => subscriber.listen(permit).await,
                Err(error) => error.to_string(),
            };
            desk.meter.lock().set_gone(seat, why);
        });
    }
}

struct Subscriber<'a> {
    desk: &'a Desk,
    seat: usize,
    stream: TcpStream,
    decoder: Decoder,
}

impl<'a> Subscriber<'a> {
    async fn join(desk: &'a Desk, seat: usize) -> Result<Subscriber<'a>, LoadError> {
        let CrowdPlan { target, dialect, per_address, .. } = &desk.plan;
        let room = desk.meter.lock().room_of(seat);
        let source = Sources::Subscribers.address(seat, *per_address);
        let mut stream = connect::open(target.addr, source, None).await?;
        let rest = connect::upgrade(&mut stream, &target.host, &target.path_of(room)).await?;
        if dialect.is_ready_at_once() {
            desk.meter.lock().set_ready(seat);
        }
        if let Some(text) = dialect.subscribe(room) {
            let frame = wire::encode(opcode::TEXT, text.as_bytes());
            stream.write_all(&frame).await.map_err(LoadError::io("subscribing"))?;
        }
        let mut subscriber = Subscriber { desk, seat, stream, decoder: Decoder::default() };
        subscriber.on_bytes(&rest).map_err(|why| LoadError::Refused(why.to_owned()))?;
        Ok(subscriber)
    }

    /// Reads until the connection ends, and says why it did. Lets the next one in once the subscription stands.
    async fn listen(&mut self, permit: OwnedSemaphorePermit) -> String {
        let mut permit = Some(permit);
        loop {
            if permit.is_some() && self.desk.meter.lock().is_ready(self.seat) {
                permit = None;
            }
            match poll_fn(|context| self.poll_chunk(context)).await {
                Ok(Chunk::Frames) => (),
                Ok(Chunk::Closed(why)) => return why,
                Err(error) => return error.to_string(),
            }
        }
    }

    /// One read into the shared buffer. `poll_read`, unlike `try_read`, spares the second system call that would
    /// only say that nothing more is there.
    fn poll_chunk(&mut self, context: &mut std::task::Context<'_>) -> std::task::Poll<io::Result<Chunk>> {
        let desk = self.desk;
        let mut buffer = desk.buffer.borrow_mut();
        let mut read = ReadBuf::new(&mut buffer);
        ready!(Pin::new(&mut self.stream).poll_read(context, &mut read))?;
        let bytes = read.filled();
        std::task::Poll::Ready(Ok(if bytes.is_empty() {
            Chunk::Closed("the server closed the connection".to_owned())
        } else {
            self.on_bytes(bytes).map_or_else(|why| Chunk::Closed(why.to_owned()), |()| Chunk::Frames)
        }))
    }

    fn on_bytes(&mut self, bytes: &[u8]) -> Result<(), &'static str> {
        if bytes.is_empty() {
            return Ok(());
        }
        let now_us = self.desk.clock.now_us();
        let mut meter = self.desk.meter.lock();
        let (mut pongs, mut closed) = (Vec::new(), false);
        let on_frame = |frame: wire::Frame<'_>| match frame.opcode {
            opcode::TEXT | opcode::BINARY => Meter::on_text(&mut meter, self.seat, frame.payload, now_us),
            opcode::PING => pongs.extend(wire::encode(opcode::PONG, frame.payload)),
            opcode::CLOSE => closed = true,
            _ => (),
        };
        self.decoder.feed(bytes, on_frame).map_err(|_| "the server sent no WebSocket frame")?;
        if closed {
            return Err("the server sent a close frame");
        }
        if !pongs.is_empty() && self.stream.try_write(&pongs).is_err() {
            return Err("a pong could not be sent");
        }
        Ok(())
    }
}

enum Chunk {
    Frames,
    Closed(String),
}
