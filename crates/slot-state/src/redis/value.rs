//! What a script answers and what it says stands under a hold's key: text to types.

use std::time::Duration;

use redis::{FromRedisValue, Value};
use tokio::time::Instant;

use crate::failover::{Record, Store};
use crate::hold::{AddressTag, Chosen, Lock, Selection, Writer};
use crate::slot::ClientId;
use crate::store::{StorageMode, StoreError};

/// A key that never expires is looked at again after this.
const NO_TTL: Duration = Duration::from_secs(365 * 24 * 3600);

/// What every script answers: a word, then as of when, of which storage record, and what else it has to say.
pub(super) struct Reply {
    pub(super) word: String,
    pub(super) seq: u64,
    pub(super) born: String,
    rest: std::vec::IntoIter<Value>,
}

impl Reply {
    pub(super) fn parse(values: Vec<Value>) -> Result<Self, StoreError> {
        let mut rest = values.into_iter();
        let word = take(&mut rest)?;
        let seq: String = take(&mut rest)?;
        let seq = seq.parse().map_err(|_| strange("a sequence number"))?;
        Ok(Reply { word, seq, born: take(&mut rest)?, rest })
    }

    pub(super) fn next<T: FromRedisValue>(&mut self) -> Result<T, StoreError> {
        take(&mut self.rest)
    }

    /// Of a refusal for the sake of the storage record: the epoch under which Redis decides by it, if it does.
    pub(super) fn newer_epoch(&mut self) -> Result<u64, StoreError> {
        let mode: String = self.next()?;
        if mode == StorageMode::Mysql.as_str() { Err(StoreError::Elsewhere) } else { Ok(self.seq) }
    }

    /// A storage record: its epoch, then its mode.
    pub(super) fn record(&mut self) -> Result<Record, StoreError> {
        let epoch: String = self.next()?;
        let mode: String = self.next()?;
        let mode = if mode == StorageMode::Mysql.as_str() { Store::Mysql } else { Store::Redis };
        Ok(Record { epoch: epoch.parse().map_err(|_| strange("an epoch"))?, mode })
    }

    pub(super) fn remaining(self) -> Result<Vec<String>, StoreError> {
        self.rest.map(|value| String::from_redis_value(value).map_err(|_| strange("text"))).collect()
    }
}

fn take<T: FromRedisValue>(values: &mut std::vec::IntoIter<Value>) -> Result<T, StoreError> {
    let value = values.next().ok_or_else(|| strange("more values"))?;
    T::from_redis_value(value).map_err(|error| StoreError::Strange(error.to_string()))
}

fn strange(expected: &str) -> StoreError {
    StoreError::Strange(format!("expected {expected}"))
}

/// What stands under a hold's key, as `read.lua` judges it.
#[derive(Debug)]
pub(super) enum KeyState {
    Nothing,
    /// Something that is not a hold.
    Strange,
    Hold(HoldValue),
}

/// A hold of either kind.
#[derive(Debug)]
pub(super) struct HoldValue {
    client: ClientId,
    /// Remaining milliseconds; negative where it does not expire.
    pttl: i64,
    fence: u64,
    writer: Writer,
}

/// Something stands under the key that is not a hold.
#[derive(Debug)]
pub(super) struct NotAHold;

impl HoldValue {
    fn deadline(&self, now: Instant) -> Instant {
        match u64::try_from(self.pttl) {
            Ok(left) => now + Duration::from_millis(left).min(NO_TTL),
            Err(_) => now + NO_TTL,
        }
    }
}

impl KeyState {
    /// One answer of `read.lua`; `None` if it is not of that shape.
    pub(super) fn parse(answer: Value) -> Option<Self> {
        let fields = match answer {
            Value::Nil => return Some(KeyState::Nothing),
            Value::Array(fields) => fields,
            _ => return Some(KeyState::Strange),
        };
        let [client, pttl, fence, chosen, address] = fields.try_into().ok()?;
        // Foreign text need not be UTF-8.
        let text = |value| Vec::<u8>::from_redis_value(value).ok();
        let address = text(address)?;
        let gateway = |chosen| Writer::Gateway {
            chosen,
            address: std::str::from_utf8(&address).ok().and_then(parse_tag),
        };
        Some(KeyState::Hold(HoldValue {
            client: ClientId::foreign(&String::from_utf8_lossy(&text(client)?)),
            pttl: i64::from_redis_value(pttl).ok()?,
            fence: u64::from_redis_value(fence).ok()?,
            writer: match text(chosen)?.as_slice() {
                b"" => Writer::Php,
                chosen if chosen == POLL.as_bytes() => gateway(Chosen::ByPoll),
                _ => gateway(Chosen::Explicitly),
            },
        }))
    }

    fn hold(self) -> Result<Option<HoldValue>, NotAHold> {
        match self {
            KeyState::Nothing => Ok(None),
            KeyState::Strange => Err(NotAHold),
            KeyState::Hold(hold) => Ok(Some(hold)),
        }
    }

    /// The selection here, with its deadline by our clock.
    pub(super) fn selection(self, now: Instant) -> Result<Option<Selection>, NotAHold> {
        Ok(self.hold()?.map(|hold| Selection {
            deadline: hold.deadline(now),
            client: hold.client,
            writer: hold.writer,
        }))
    }

    /// The lock here, with its deadline by our clock.
    pub(super) fn lock(self, now: Instant) -> Result<Option<Lock>, NotAHold> {
        Ok(self.hold()?.map(|hold| Lock {
            deadline: hold.deadline(now),
            client: hold.client,
            fence: hold.fence,
        }))
    }
}

const POLL: &str = "poll";

/// How a selection's way of being chosen is written down.
pub(super) fn chosen_word(chosen: Chosen) -> &'static str {
    match chosen {
        Chosen::Explicitly => "select",
        Chosen::ByPoll => POLL,
    }
}

/// The tag that [`AddressTag`] prints; `None` from anything else, the empty text of an unknown address included.
pub(super) fn parse_tag(text: &str) -> Option<AddressTag> {
    u64::from_str_radix(text, 16).ok().map(AddressTag)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state(client: &[u8], chosen: &str, address: &str) -> KeyState {
        let text = |text: &[u8]| Value::BulkString(text.to_vec());
        let (pttl, fence) = (Value::Int(5000), text(b"7"));
        let fields = vec![text(client), pttl, fence, text(chosen.as_bytes()), text(address.as_bytes())];
        KeyState::parse(Value::Array(fields)).expect("an answer")
    }

    #[tokio::test]
    async fn what_php_writes_is_a_selection_without_a_gateway() {
        let now = Instant::now();
        let held = state(b"abc", "", "").selection(now).expect("readable").expect("held");
        assert_eq!((held.client.as_str(), held.writer), ("abc", Writer::Php));
        assert_eq!(held.deadline, now + Duration::from_secs(5));
        assert_eq!(state(b"abc", "", "").lock(now).expect("readable").expect("held").fence, 7);
    }

    #[tokio::test]
    async fn what_is_not_a_hold_is_told_apart_from_nothing() {
        let now = Instant::now();
        assert!(KeyState::parse(Value::Nil).expect("an answer").selection(now).expect("nothing").is_none());
        let strange = KeyState::parse(Value::BulkString(b"?".to_vec())).expect("an answer");
        assert!(strange.selection(now).is_err());
        assert!(KeyState::parse(Value::Array(vec![Value::Int(1)])).is_none());
    }

    #[tokio::test]
    async fn foreign_text_need_not_be_what_we_would_write() {
        let held =
            state(&[0xff, b'a'], POLL, "x").selection(Instant::now()).expect("readable").expect("held");
        assert_eq!(held.client.as_str(), "\u{fffd}a");
        assert_eq!(held.writer, Writer::Gateway { chosen: Chosen::ByPoll, address: None });
        let held = state(b"a", "select", "0f").selection(Instant::now()).expect("readable").expect("held");
        let address = Some(AddressTag(15));
        assert_eq!(held.writer, Writer::Gateway { chosen: Chosen::Explicitly, address });
    }
}
