//! What a fault may cost, by the rules: which refusals and which losses are no violation. Everything else
//! is one.

use std::time::Duration;

use tokio::time::Instant;

use crate::fault::{Marks, Span};
use crate::history::{Loss, Request};
use crate::servers::Stores;

/// Within this after healing all must be well again.
pub(crate) const RECOVERY: Duration = Duration::from_secs(5);
/// A switch of stores may cost a selection taken this shortly before or after it: a second by the rules,
/// and a busy machine.
const YOUNG: Duration = Duration::from_secs(2);
/// Unrenewed for so long, a selection may have ended: ten seconds less the two between renewals, less some.
const UNRENEWED: Duration = Duration::from_secs(7);

/// The excuses that one fault gives.
#[derive(Clone, Debug)]
pub(crate) struct Excuses {
    pub(crate) stores: Stores,
    pub(crate) marks: Marks,
    /// When clients heard of another storage mode.
    pub(crate) switches: Vec<Instant>,
}

impl Excuses {
    /// Whether this request may have been answered with this error, which is not one of the rules'.
    pub(crate) fn failure(&self, request: &Request, code: &str) -> bool {
        let answered = request.answered.as_ref().map_or(request.sent, |(at, _)| *at);
        let within = |span: Option<Span>| {
            span.is_some_and(|(from, to)| request.sent <= to + RECOVERY && answered >= from)
        };
        let gateway = request.gateway;
        let locks = ["lock", "unlock"].contains(&request.command);
        let all = Some((self.marks.struck, self.marks.healed));
        code == "store_unavailable"
            && match self.stores {
                Stores::Redis => within(self.marks.redis_away[gateway]),
                Stores::Both => {
                    (self.marks.divided && within(all))
                        || (locks && within(self.marks.mysql_away[gateway]))
                        || within(self.nothing_in_reach(gateway))
                }
            }
    }

    /// Whether a selection may have ended like this. `other` says that another client was told it has the
    /// slot since the fault struck, `locked` that another had it locked when this was selected.
    pub(crate) fn loss(&self, loss: &Loss, other: bool, locked: bool) -> bool {
        let turns = self.switches.iter().chain([&self.marks.struck]);
        let just_after = |turn: &Instant| loss.at >= *turn && loss.at <= *turn + YOUNG;
        let near = |turn: &Instant| loss.since + YOUNG >= *turn && loss.since <= *turn + YOUNG;
        let long =
            |span: Option<Span>| span.is_some_and(|(from, to)| to - from > UNRENEWED && loss.at >= from);
        let emptied = self.marks.redis_emptied && self.marks.redis_away.iter().all(Option::is_none);
        let mysql_away = self.marks.mysql_away[loss.gateway]
            .is_some_and(|(from, to)| loss.since >= from && loss.since <= to + RECOVERY);
        let forgotten = emptied || (self.stores == Stores::Redis && self.marks.redis_emptied);
        turns.into_iter().any(near)
            || long(self.nothing_in_reach(loss.gateway))
            || long(self.marks.stopped[loss.gateway])
            || (self.marks.divided && loss.at >= self.marks.struck)
            // Before its gateway followed, another client had it on the one that switched.
            || (other && self.switches.iter().any(just_after))
            || (forgotten && other)
            // Redis came back empty, and MySQL alone remembered the lock.
            || (locked && self.marks.redis_emptied && mysql_away)
    }

    /// Whether a lock may have been lost.
    pub(crate) fn lost_lock(&self, loss: &Loss) -> bool {
        self.stores == Stores::Redis && self.marks.redis_emptied && loss.since <= self.marks.healed + RECOVERY
    }

    /// When this gateway could reach no store.
    fn nothing_in_reach(&self, gateway: usize) -> Option<Span> {
        let redis = self.marks.redis_away[gateway];
        match self.stores {
            Stores::Redis => redis,
            Stores::Both => {
                let ((from, to), (since, till)) = (redis?, self.marks.mysql_away[gateway]?);
                Some((from.max(since), to.min(till))).filter(|(from, to)| from < to)
            }
        }
    }
}
