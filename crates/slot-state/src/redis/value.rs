//! What a script answers and what stands under a hold's key: text to types, forgiving towards foreign writers.

use std::time::Duration;

use redis::{FromRedisValue, Value};
use tokio::time::Instant;

use crate::hold::{AddressTag, Chosen, Lock, Selection, Writer};
use crate::slot::ClientId;
use crate::store::StoreError;

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

/// The JSON object under the key of a selection or lock. PHP writes a `client_id` and nothing else that matters;
/// what is a hold here must be one to `hold` in `prelude.lua`.
struct HoldValue(serde_json::Map<String, serde_json::Value>);

impl HoldValue {
    fn text(&self, field: &str) -> Option<&str> {
        self.0.get(field)?.as_str()
    }

    fn client(&self) -> ClientId {
        ClientId::foreign(self.text("client_id").unwrap_or_default())
    }

    fn fence(&self) -> u64 {
        let number = |value: &serde_json::Value| value.as_f64().or_else(|| value.as_str()?.parse().ok());
        self.0.get("fence").and_then(number).map_or(0, |fence| fence as u64)
    }
}

/// A key's value and remaining milliseconds, as `read.lua` answers them.
pub(super) struct KeyState {
    pub(super) raw: Vec<u8>,
    pub(super) pttl: i64,
}

/// Something stands under the key that is not a hold.
#[derive(Debug)]
pub(super) struct NotAHold;

impl KeyState {
    fn deadline(&self, now: Instant) -> Instant {
        match u64::try_from(self.pttl) {
            Ok(left) => now + Duration::from_millis(left).min(NO_TTL),
            Err(_) => now + NO_TTL,
        }
    }

    fn hold(&self) -> Result<Option<HoldValue>, NotAHold> {
        if self.raw.is_empty() {
            return Ok(None);
        }
        match serde_json::from_str(&String::from_utf8_lossy(&self.raw)) {
            Ok(serde_json::Value::Object(fields))
                if fields.get("client_id").is_some_and(|id| id.is_string()) =>
            {
                Ok(Some(HoldValue(fields)))
            }
            _ => Err(NotAHold),
        }
    }

    /// The selection here, with its deadline by our clock.
    pub(super) fn selection(&self, now: Instant) -> Result<Option<Selection>, NotAHold> {
        Ok(self.hold()?.map(|hold| Selection {
            client: hold.client(),
            deadline: self.deadline(now),
            writer: match hold.text("gateway") {
                None => Writer::Php,
                Some(_) => Writer::Gateway {
                    chosen: if hold.text("chosen") == Some(POLL) {
                        Chosen::ByPoll
                    } else {
                        Chosen::Explicitly
                    },
                    address: hold.text("address").and_then(parse_tag),
                },
            },
        }))
    }

    /// The lock here, with its deadline by our clock.
    pub(super) fn lock(&self, now: Instant) -> Result<Option<Lock>, NotAHold> {
        Ok(self.hold()?.map(|hold| Lock {
            client: hold.client(),
            deadline: self.deadline(now),
            fence: hold.fence(),
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

    fn state(raw: &str) -> KeyState {
        KeyState { raw: raw.into(), pttl: 5000 }
    }

    #[tokio::test]
    async fn what_php_writes_is_a_selection_without_a_gateway() {
        let now = Instant::now();
        let held = state(r#"{"client_id":"abc","timestamp":1736527845,"time":"10:00"}"#).selection(now);
        let held = held.expect("readable").expect("held");
        assert_eq!((held.client.as_str(), held.writer), ("abc", Writer::Php));
        assert_eq!(held.deadline, now + Duration::from_secs(5));
    }

    #[tokio::test]
    async fn what_is_not_a_hold_is_told_apart_from_nothing() {
        let now = Instant::now();
        assert!(state("").selection(now).expect("nothing").is_none());
        for raw in ["?", "a:1:{}", "[]", "{}", r#"{"client_id":7}"#, "null"] {
            assert!(state(raw).selection(now).is_err(), "{raw}");
        }
        assert!(KeyState { raw: vec![0xff, 0xfe], pttl: 5000 }.selection(now).is_err());
    }

    #[tokio::test]
    async fn other_fields_of_a_wrong_type_do_not_make_a_hold_unreadable() {
        let now = Instant::now();
        let raw =
            r#"{"client_id":"abc","gateway":null,"chosen":1,"address":[],"fence":"7","client_id":"abd"}"#;
        let held = state(raw).selection(now).expect("readable").expect("held");
        assert_eq!((held.client.as_str(), held.writer), ("abd", Writer::Php));
        assert_eq!(state(raw).lock(now).expect("readable").expect("held").fence, 7);
    }
}
