//! `appointease_booking`: an old page books, or asks what is free.

use serde_json::{Map, Value, json};
use slot_state::{Booking, SlotTime};

use super::refusal;
use crate::app::Services;
use crate::commands::Origin;
use crate::protocol::booking::{self, BookingForm, WrongFields};
use crate::protocol::error::RequestError;
use crate::protocol::legacy::{self, HoldForm, Poll, Sender};

/// What a customer is told of a booking.
pub(crate) const BOOKED: &str = "Your appointment is booked";

const CONFIRM: &str = "confirm_booking";
const CHECK: &str = "check_availability";

/// Whether the action is answered here.
pub(super) fn is_ours(form: &Map<String, Value>) -> bool {
    form.get("action").is_some_and(|action| action == CONFIRM || action == CHECK)
}

/// Answers one booking action.
pub(super) async fn answer(
    services: &Services,
    form: Map<String, Value>,
    origin: Origin,
    sender: &Sender,
) -> Value {
    let form = booking::as_ours(form);
    match form.get("action").and_then(Value::as_str) {
        Some(CONFIRM) => match confirm(services, form, origin, sender).await {
            Ok(Booking { strong_id, .. }) => {
                json!({ "booking_confirmed": true, "appointment_id": strong_id, "message": BOOKED })
            }
            Err(error) => not_booked(&error),
        },
        Some(CHECK) => match check(services, &form, origin, sender).await {
            Ok(answer) => answer,
            Err(error) => refusal(&error),
        },
        _ => json!({ "error": "This server cannot do that", "status": "unsupported" }),
    }
}

/// The page sends no key, and the same form with every beat until it is answered: the form is the key.
async fn confirm(
    services: &Services,
    mut form: Map<String, Value>,
    origin: Origin,
    sender: &Sender,
) -> Result<Booking, RequestError> {
    let HoldForm { client, slot } = legacy::hold(&form, sender)?;
    let (client, key) = booking::sender_of_form(client, slot, &form);
    form.insert("idempotency_key".into(), key.into());
    let form = booking::read(&form).map(|form| BookingForm { key: form.key.of_form(), ..form });
    services.commands.confirm(origin, &client, slot, form).await.outcome()
}

fn not_booked(error: &RequestError) -> Value {
    if let Some(wrong) = error.fields() {
        return json!({ "validation_errors": under_the_plugins_names(wrong), "is_valid": false });
    }
    let mut answer = refusal(error);
    if let Some(suggested) = error.suggested() {
        answer["suggested_slots"] = json!(suggested);
    }
    answer
}

fn under_the_plugins_names(wrong: &WrongFields) -> Map<String, Value> {
    let name = |ours: &str| if ours == "name" { "firstName".to_owned() } else { ours.to_owned() };
    wrong.iter().map(|(field, sentence)| (name(field), sentence.clone().into())).collect()
}

/// The times of the room's grid, without those that a select would refuse; what the client holds itself is free to it.
async fn check(
    services: &Services,
    form: &Map<String, Value>,
    origin: Origin,
    sender: &Sender,
) -> Result<Value, RequestError> {
    let poll = legacy::poll(form, sender)?;
    let Poll { client, room, exclude, .. } =
        poll.ok_or(RequestError::BadRequest("date and employee_id are needed"))?;
    let commands = &services.commands;
    commands.availability(origin, room).await?;
    let view = commands.view(origin, room, exclude.as_ref()).await?;
    let own = |client| [commands.own_locks(&client, room), commands.own_selections(&client, room)].concat();
    let own = client.map(own).unwrap_or_default();
    let held = view.locked.iter().chain(&view.active).filter(|time| !own.contains(time));
    let taken: Vec<SlotTime> = view.booked.iter().chain(held).copied().collect();
    let calendar = commands.bookings.calendar();
    let is_free = |time: &SlotTime| !taken.contains(time) && !calendar.is_past(room.slot(*time));
    let free: Vec<SlotTime> = calendar.times(room).filter(is_free).collect();
    Ok(json!({ "available_slots": free, "booked_slots": view.booked }))
}
