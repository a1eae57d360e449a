//! Attackers, all at once, on a thread of their own: what each kind does is in `kinds`, what it got in the tally. Used by the
//! `hostile` scenario. They keep a pace: beside them, on the same cores, honest clients are measured.

mod kinds;
mod line;

use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use parking_lot::Mutex;
use rustix::process::setpriority_process;
use tokio::sync::oneshot;
use tokio::task::LocalSet;

use crate::LoadError;
use crate::connect::Target;
use crate::dialect::Rooms;

pub(crate) use kinds::VICTIMS_SLOTS;
pub(crate) use line::{Heard, Line};

/// The lowest priority there is.
const LAST: i32 = 19;

/// They have no clock in common: each begins at a moment of its own within this, whatever its kind's period.
const BEGIN_WITHIN: Duration = Duration::from_secs(2);
/// Its multiples, less their whole ones, lie evenly, however many there are.
const GOLDEN_RATIO: f64 = 1.618_033_988_75;

fn delay_of(number: usize) -> Duration {
    BEGIN_WITHIN.mul_f64((number as f64 * GOLDEN_RATIO).fract())
}

/// What each kind of attack got, and how often.
pub(crate) type Gains = BTreeMap<String, BTreeMap<String, u64>>;

/// What is attacked.
#[derive(Clone, Debug)]
pub(crate) struct Attack {
    pub(crate) target: Target,
    /// The honest clients' rooms.
    pub(crate) rooms: Rooms,
    pub(crate) room_count: usize,
    /// A room with holds of a client that is honest.
    pub(crate) victims_room: usize,
    /// The first of the employees that nobody honest looks at.
    pub(crate) empty_rooms: usize,
    /// How many attackers of each kind, in percent of a full attack.
    pub(crate) strength: usize,
}

impl Attack {
    /// So many of a full attack's, but one at least.
    pub(super) fn share(&self, full: usize) -> usize {
        (full * self.strength / 100).max(1)
    }
}

/// The attackers at work; they stop with the value.
pub(crate) struct Attackers {
    gains: Arc<Mutex<Gains>>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Attackers {
    /// Lets them loose.
    pub(crate) fn start(attack: Attack) -> Result<Self, LoadError> {
        let gains = Arc::<Mutex<Gains>>::default();
        let (stop, stopped) = oneshot::channel();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(LoadError::io("the attackers' runtime"))?;
        let tally = Tally(gains.clone());
        let thread = std::thread::Builder::new()
            .name("attackers".to_owned())
            .spawn(move || {
                // Elsewhere they have machines of their own: what they take of this one's processors is not the
                // server's doing. On Linux this is the thread's own; where it is refused they are as before.
                let _ = setpriority_process(None, LAST);
                let local = LocalSet::new();
                local.block_on(&runtime, async move {
                    kinds::start_all(&Rc::new(attack), &tally);
                    let _ = stopped.await;
                });
            })
            .map_err(LoadError::io("the attackers' thread"))?;
        Ok(Self { gains, stop: Some(stop), thread: Some(thread) })
    }

    /// Stops them, and says what they got.
    pub(crate) fn stop(mut self) -> Gains {
        self.end();
        std::mem::take(&mut *self.gains.lock())
    }

    fn end(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // A panic of theirs is said on stderr, and shows as attacks that got nothing.
            let _ = thread.join();
        }
    }
}

impl Drop for Attackers {
    fn drop(&mut self) {
        self.end();
    }
}

/// Where attackers write down what they got.
#[derive(Clone)]
pub(crate) struct Tally(Arc<Mutex<Gains>>);

impl Tally {
    pub(crate) fn note(&self, kind: &str, outcome: &str) {
        let mut gains = self.0.lock();
        match gains.get_mut(kind).and_then(|of_kind| of_kind.get_mut(outcome)) {
            Some(count) => *count += 1,
            None => _ = gains.entry(kind.to_owned()).or_default().insert(outcome.to_owned(), 1),
        }
    }
}

/// What was got that no attacker should get, and attacks that did not take place.
pub(crate) fn wrong_gains(gains: &Gains) -> Vec<String> {
    let mut wrong = Vec::new();
    for (kind, allowed) in kinds::MAY_GET {
        let Some(got) = gains.get(*kind) else {
            wrong.push(format!("the attack {kind:?} did not take place"));
            continue;
        };
        let too_much = got
            .iter()
            .filter(|(outcome, _)| ![allowed, &kinds::ALL_MAY_GET[..]].concat().contains(&outcome.as_str()));
        wrong.extend(
            too_much.map(|(outcome, count)| format!("the attack {kind:?} got {outcome} {count} times")),
        );
    }
    wrong
}
