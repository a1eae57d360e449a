//! What must hold for any bytes that come from Redis: keys, answers, messages, and what others keep under our
//! keys.

#[cfg(test)]
mod in_redis;

use redis::Value;
use tokio::time::Instant;

use super::availability::kept_booked;
use super::events::Published;
use super::keys as names;
use super::value::{KeyState, Reply};
use crate::slot::{ClientId, Slot};

/// Keys and channels: a slot or room has one spelling.
pub(crate) fn keys(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    if let Some(slot) = names::parse_slot(text) {
        assert!([names::active(slot), names::lock(slot)].iter().any(|key| key == text), "{text}: {slot:?}");
        is_within_the_rules(slot);
    }
    if let Some(slot) = names::parse_suffix(text) {
        assert_eq!(names::suffix(slot), text);
    }
    if let Some(room) = names::room_of_channel(text) {
        assert_eq!(format!("appointease:slots:{}:{}", room.date, room.employee_id), text);
    }
    if let Some(key) = names::key_of_channel(text) {
        assert!(text.ends_with(key) && text.starts_with("__keyspace@"));
    }
}

/// Answers of scripts: a hold with a client of bounded length and a deadline, or something that is said to be
/// none.
pub(crate) fn answers(bytes: &[u8]) {
    let Ok(value) = redis::parse_redis_value(bytes) else { return };
    let now = Instant::now();
    if let Some(Ok(Some(selection))) = KeyState::parse(value.clone()).map(|state| state.selection(now)) {
        assert!(selection.client.as_str().len() <= ClientId::MAX_LEN && selection.deadline >= now);
    }
    if let Some(Ok(Some(lock))) = KeyState::parse(value.clone()).map(|state| state.lock(now)) {
        assert!(lock.client.as_str().len() <= ClientId::MAX_LEN && lock.deadline >= now);
    }
    if let Value::Array(values) = value
        && let Ok(mut reply) = Reply::parse(values)
    {
        // Each in its turn may find that there is nothing of the kind.
        let _ = reply.record();
        let _ = reply.newer_epoch();
        let _ = reply.next::<u64>();
        let _ = reply.remaining();
    }
}

/// What anybody publishes under our channel, and what WordPress' plugin keeps under the cache's keys.
pub(crate) fn messages(bytes: &[u8]) {
    if let Some(published) = Published::parse(bytes) {
        let (slots, look) = published.slots();
        slots.into_iter().chain(look).for_each(is_within_the_rules);
    }
    if let Some(booked) = kept_booked(bytes) {
        assert!(booked.iter().all(|time| time.to_string().len() == 5));
    }
}

fn is_within_the_rules(slot: Slot) {
    let employee = slot.room.employee_id.get();
    assert!((1..=crate::EmployeeId::MAX).contains(&employee) && slot.time.minutes() < 24 * 60, "{slot:?}");
}
