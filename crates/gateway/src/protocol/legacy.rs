//! What an AppointEase page without the new client sends in a heartbeat: data to types. Everything may be a
//! string, and an empty string means absent.

use std::borrow::Cow;

use serde_json::{Map, Value};
use slot_state::{AppointmentRef, ClientId, DateWindow, Room, Slot, SlotTime};

use super::client_frame::{appointment, optional_client, room, time};
use super::error::RequestError;
use crate::security::token::Grant;

/// Where the new client's polls show their token, beside `data` or among a REST call's fields. Old pages have none.
pub const TOKEN: &str = "slotcast_token";

/// What forms are read by.
pub struct Sender {
    /// The days served.
    pub window: DateWindow,
    /// What its token grants, if it showed one: who that names it is, whatever else a form says.
    pub grant: Option<Grant>,
}

impl Sender {
    fn client(&self, form: &Map<String, Value>) -> Result<Option<ClientId>, RequestError> {
        match &self.grant {
            Some(grant) => Ok(Some(grant.client.clone())),
            None => Ok(optional_client(form)?),
        }
    }

    fn room(&self, form: &Map<String, Value>) -> Result<Room, RequestError> {
        let room = room(form, self.window)?;
        let within = self.grant.as_ref().is_none_or(|grant| grant.scope.has(room));
        if within { Ok(room) } else { Err(RequestError::Unauthorized) }
    }
}

/// `appointease_poll`.
#[derive(Debug)]
pub struct Poll {
    /// Who polls, if it says so.
    pub client: Option<ClientId>,
    /// The room it looks at.
    pub room: Room,
    /// The time its page has selected.
    pub time: Option<SlotTime>,
    /// The appointment its page is about to move: that one's slot is not booked to it.
    pub exclude: Option<AppointmentRef>,
}

/// `appointease_select` and `appointease_deselect`.
#[derive(Debug)]
pub struct HoldForm {
    /// Whose selection; only a deselect may leave it out.
    pub client: Option<ClientId>,
    /// Which slot.
    pub slot: Slot,
}

/// Whether an object is a heartbeat rather than a frame of the push protocol.
pub fn is_legacy(fields: &Map<String, Value>) -> bool {
    fields.get("action").is_some_and(|action| action == "heartbeat")
        || fields.get("data").is_some_and(Value::is_object)
        || fields.keys().any(|key| key.starts_with("appointease_"))
}

/// What the page's plugins sent along: under `data`, or, in a frame, beside each other.
pub fn data(fields: &Map<String, Value>) -> &Map<String, Value> {
    match fields.get("data") {
        Some(Value::Object(data)) => data,
        _ => fields,
    }
}

/// One handle's object without what is empty; `None` if it was not sent.
pub fn handle<'a>(data: &'a Map<String, Value>, name: &str) -> Option<Cow<'a, Map<String, Value>>> {
    let form = data.get(name)?.as_object()?;
    let is_whole = form.values().all(is_there);
    Some(if is_whole { Cow::Borrowed(form) } else { Cow::Owned(without_empty(form.clone())) })
}

/// The fields that are there: an empty string is PHP's way of sending nothing.
pub fn without_empty(mut form: Map<String, Value>) -> Map<String, Value> {
    form.retain(|_, value| is_there(value));
    form
}

fn is_there(value: &Value) -> bool {
    !value.is_null() && value != ""
}

/// Reads a poll. `None`: it names no date or no employee, and gets the status alone.
pub fn poll(form: &Map<String, Value>, sender: &Sender) -> Result<Option<Poll>, RequestError> {
    if !form.contains_key("date") || !form.contains_key("employee_id") {
        return Ok(None);
    }
    let named = ["selected_time", "time"].into_iter().find(|name| form.contains_key(*name));
    Ok(Some(Poll {
        client: sender.client(form)?,
        room: sender.room(form)?,
        time: named.map(|name| time(form, name)).transpose()?,
        // A page that names none rightly still wants to see the room.
        exclude: appointment(form).unwrap_or_default(),
    }))
}

/// Reads a select or deselect.
pub fn hold(form: &Map<String, Value>, sender: &Sender) -> Result<HoldForm, RequestError> {
    let room = sender.room(form)?;
    Ok(HoldForm { client: sender.client(form)?, slot: room.slot(time(form, "time")?) })
}

/// A whole number, as a number or as digits.
pub fn whole_number(value: &Value) -> Option<u64> {
    match value {
        Value::Number(number) => number.as_u64(),
        Value::String(text) => text.parse().ok(),
        _ => None,
    }
}

/// `true`, however it was written.
pub fn is_true(fields: &Map<String, Value>, name: &str) -> bool {
    fields.get(name).is_some_and(|value| *value == Value::Bool(true) || value == "true" || value == "1")
}
