//! Answers a heartbeat, whether it came as a frame, a form or JSON, by the same commands and the same picture as
//! everybody else's requests.

mod booking;
mod elsewhere;

use std::time::Duration;

use serde_json::{Map, Value, json};
use slot_state::{InvalidValue, Storage};

use crate::app::Services;
use crate::commands::Origin;
use crate::protocol::error::RequestError;
use crate::protocol::legacy::{self, HoldForm, Poll, Sender};
pub(crate) use booking::BOOKED;
pub(crate) use elsewhere::{Answer, Beat, Elsewhere, passed_on};

/// What has a handle of its own here; `data` under any other is not for us.
const HANDLES: [&str; 4] = ["appointease_poll", "appointease_select", "appointease_deselect", BOOKING];
const BOOKING: &str = "appointease_booking";
/// Intervals WordPress' heartbeat can be told, in seconds.
const INTERVALS: [u64; 5] = [5, 15, 30, 60, 120];
/// A slower page's selection outlives its interval by this.
const SLACK: Duration = Duration::from_secs(5);
/// However slow the page, its selection lives no longer.
const LONGEST: Duration = Duration::from_secs(20);

/// Answers a whole heartbeat, but for what others answer: then `passed_on` holds it. Nearly every one is a poll: what else
/// there may be has a box of its own, so that a poll's future is small.
pub(crate) async fn answer(
    services: &Services,
    fields: &Map<String, Value>,
    origin: Origin,
    passed_on: Option<&Beat>,
) -> Map<String, Value> {
    let data = legacy::data(fields);
    let mut reply = Map::new();
    let sender = match services.sender(fields) {
        Ok(sender) => sender,
        Err(error) => {
            insert_refusal(&mut reply, &error);
            insert_status(&mut reply, services.commands.storage());
            return reply;
        }
    };
    if let Some(grant) = &sender.grant {
        reply.insert("client_id".into(), grant.client.as_str().into());
    }
    if let Some(form) = legacy::handle(data, "appointease_select") {
        let outcome = Box::pin(select(services, &form, origin, &sender)).await;
        reply.insert("appointease_select".into(), outcome_of(outcome, services));
    }
    if let Some(form) = legacy::handle(data, "appointease_deselect") {
        let outcome = Box::pin(deselect(services, &form, origin, &sender)).await;
        reply.insert("appointease_deselect".into(), outcome_of(outcome, services));
    }
    if let Some(form) = legacy::handle(data, BOOKING)
        && (passed_on.is_none() || booking::is_ours(&form))
    {
        reply.insert(
            BOOKING.into(),
            Box::pin(booking::answer(services, form.into_owned(), origin, &sender)).await,
        );
    }
    let interval = fields.get("interval").and_then(legacy::whole_number);
    if let Some(form) = legacy::handle(data, "appointease_poll") {
        match legacy::poll(&form, &sender) {
            Ok(Some(poll)) => {
                if let Err(error) = answer_poll(services, &poll, interval, origin, &mut reply).await {
                    insert_refusal(&mut reply, &error);
                }
            }
            Ok(None) => {}
            Err(error) => insert_refusal(&mut reply, &error),
        }
    }
    let usual = services.heartbeat_interval.as_secs();
    if legacy::is_true(fields, "has_focus") && interval.is_some_and(|interval| interval > usual) {
        let allowed = INTERVALS.into_iter().find(|allowed| *allowed >= usual).unwrap_or(usual);
        reply.insert("heartbeat_interval".into(), allowed.into());
    }
    insert_status(&mut reply, services.commands.storage());
    reply
}

fn insert_refusal(reply: &mut Map<String, Value>, error: &RequestError) {
    reply.insert("error".into(), error.to_string().into());
    reply.insert("status".into(), error.code().into());
}

fn insert_status(reply: &mut Map<String, Value>, storage: Storage) {
    reply.insert("redis_status".into(), storage.redis_status().into());
    reply.insert("storage_mode".into(), storage.mode.as_str().into());
    reply.insert("server_time".into(), jiff::Timestamp::now().as_second().into());
    if storage.stale() {
        reply.insert("stale".into(), true.into());
    }
}

async fn answer_poll(
    services: &Services,
    poll: &Poll,
    interval: Option<u64>,
    origin: Origin,
    reply: &mut Map<String, Value>,
) -> Result<(), RequestError> {
    let commands = &services.commands;
    let view = commands.poll(origin, poll, lifetime(commands.selection_ttl, interval)).await?;
    let own = poll.client.as_ref().map(|client| commands.own_locks(client, poll.room)).unwrap_or_default();
    let locked: Vec<_> = view.locked.iter().filter(|time| !own.contains(time)).collect();
    let user_selection =
        poll.client.as_ref().and_then(|client| commands.own_selections(client, poll.room).first().copied());
    let storage = commands.storage();
    reply.insert(
        "redis_ops".into(),
        json!({ "locks": view.locked.len(), "selections": view.active.len(), "user_selection": user_selection }),
    );
    reply.insert("appointease_active_selections".into(), json!(view.active));
    reply.insert("appointease_booked_slots".into(), json!(view.booked));
    reply.insert("appointease_locked_slots".into(), json!(locked));
    reply.insert(
        "cache_info".into(),
        json!({
            "redis_enabled": storage.redis_status() == "available",
            "storage_mode": storage.mode,
            "timestamp": jiff::Timestamp::now().as_second(),
        }),
    );
    Ok(())
}

/// How long a selection lives by the polls of a page that polls every `interval` seconds.
fn lifetime(usual: Duration, interval: Option<u64>) -> Duration {
    // Anybody may say any interval.
    match interval.map(|seconds| Duration::from_secs(seconds).saturating_add(SLACK)) {
        Some(lifetime) if lifetime > usual => lifetime.min(LONGEST.max(usual)),
        _ => usual,
    }
}

async fn select(
    services: &Services,
    form: &Map<String, Value>,
    origin: Origin,
    sender: &Sender,
) -> Result<&'static str, RequestError> {
    let HoldForm { client, slot } = legacy::hold(form, sender)?;
    let client = client.ok_or(InvalidValue::Client)?;
    services.commands.select(origin, &client, slot).await.outcome()?;
    Ok("selected")
}

async fn deselect(
    services: &Services,
    form: &Map<String, Value>,
    origin: Origin,
    sender: &Sender,
) -> Result<&'static str, RequestError> {
    let HoldForm { client, slot } = legacy::hold(form, sender)?;
    services.commands.deselect(origin, client.as_ref(), slot).await.outcome()?;
    Ok("deselected")
}

fn outcome_of(outcome: Result<&'static str, RequestError>, services: &Services) -> Value {
    match outcome {
        Ok(status) => {
            json!({ "success": true, "status": status, "storage": services.commands.storage().mode })
        }
        Err(error) => refusal(&error),
    }
}

fn refusal(error: &RequestError) -> Value {
    json!({ "error": error.to_string(), "status": error.code() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slow_pages_selection_outlives_its_interval_but_not_by_much() {
        let usual = Duration::from_secs(10);
        for (interval, seconds) in
            [(None, 10), (Some(5), 10), (Some(15), 20), (Some(120), 20), (Some(0), 10), (Some(u64::MAX), 20)]
        {
            assert_eq!(lifetime(usual, interval), Duration::from_secs(seconds), "{interval:?}");
        }
    }
}
