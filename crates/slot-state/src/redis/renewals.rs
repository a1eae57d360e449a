//! Renewing selections. What is gone because the database was emptied is not lost: whoever renews it may
//! put it back, but must hear of it first.

use std::time::Duration;

use smallvec::SmallVec;
use tokio::time::Instant;

use super::value::parse_tag;
use super::{RedisStore, keys, millis};
use crate::event::{Absence, SlotFact};
use crate::hold::{Chosen, Renewal, Renewed, Selection, Writer};
use crate::slot::Slot;
use crate::store::{HoldStore, StoreError};

impl RedisStore {
    /// An outcome for each, in the same order.
    pub(super) async fn renew_all(
        &self,
        renewals: &[Renewal],
        ttl: Duration,
    ) -> Result<Vec<Renewed>, StoreError> {
        let began = self.scripts.replaced.dealt_with_so_far();
        let keys: Vec<String> = renewals
            .iter()
            .flat_map(|ask| {
                [keys::active(ask.slot), keys::lock(ask.slot), keys::user(&ask.client, ask.slot.room)]
            })
            .collect();
        let texts: Vec<(String, String, String)> = renewals
            .iter()
            .map(|ask| (ask.slot.time.to_string(), keys::room_suffix(ask.slot.room), self.tag(ask.address)))
            .collect();
        let ttl_ms = millis(ttl);
        let mut args = vec![ttl_ms.as_str(), keys::ACTIVE];
        for (ask, (time, room, address)) in renewals.iter().zip(&texts) {
            args.extend([ask.client.as_str(), time, room, if ask.put_back { "1" } else { "" }, address]);
        }
        let slots: Vec<Slot> = renewals.iter().map(|ask| ask.slot).collect();
        let answered = async {
            let mut reply = self.scripts.call(&self.scripts.sources.renew, &keys, &args).await?;
            Ok((reply.seq, reply.next::<Vec<String>>()?))
        };
        let (seq, words) = answered.await.inspect_err(|_: &StoreError| self.look(&slots))?;
        let went_with_store = self.scripts.replaced.count() != began;
        let deadline = Instant::now() + ttl;
        let mut renewed = Vec::with_capacity(renewals.len());
        let (mut superseded, mut doubtful) = (Vec::new(), Vec::new());
        for ((ask, word), (_, _, address)) in renewals.iter().zip(words).zip(&texts) {
            let slot = ask.slot;
            renewed.push(match word.as_str() {
                "kept" => {
                    if !self.picture.prolong(slot, &ask.client, deadline, seq) {
                        doubtful.push(slot);
                    }
                    Renewed::Kept
                }
                // PHP's: it lives as long as PHP said.
                "left" => {
                    if self.picture.selection(slot).is_none_or(|held| held.client != ask.client) {
                        doubtful.push(slot);
                    }
                    Renewed::Kept
                }
                "put_back" => {
                    let writer = Writer::Gateway { chosen: Chosen::Explicitly, address: parse_tag(address) };
                    let selection = Some(Selection { client: ask.client.clone(), deadline, writer });
                    let fact = SlotFact { time: slot.time, selection, lock: None, absence: Absence::Unknown };
                    self.tell(seq, SmallVec::from_iter([fact]), slot, None);
                    Renewed::PutBack
                }
                "superseded" => {
                    superseded.push(slot);
                    Renewed::Superseded
                }
                // Whoever asked did not know of that yet. Everything is read anew, and then it may be put back.
                _ if went_with_store && !ask.put_back => Renewed::Unknown,
                _ => {
                    doubtful.push(slot);
                    Renewed::Lost
                }
            });
        }
        self.reader.look_all(&superseded, Absence::ByHolder).await?;
        self.reader.look_all(&doubtful, Absence::Unknown).await?;
        Ok(renewed)
    }
}
