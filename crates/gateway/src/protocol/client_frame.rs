//! What a client says on `/ws`: text to a checked request, or to why not. Legacy frames come out as such.

use serde_json::{Map, Value};
use slot_state::{AppointmentRef, ClientId, DateWindow, EmployeeId, InvalidValue, Room, Slot, SlotTime};

use super::error::RequestError;
use super::legacy;
use crate::security::{PHP_CLIENTS, TOKEN_CLIENTS};

/// The longest `id` that is a string.
const MAX_ID: usize = 64;

/// A frame that makes sense, and the number it wants to be answered under.
#[derive(Debug)]
pub struct ClientFrame {
    /// Echoed in the answer.
    pub id: Option<Value>,
    /// What is asked.
    pub request: Request,
}

/// What a client can ask for.
#[derive(Debug)]
pub enum Request {
    /// Says who it is, and may prove it.
    Hello(Option<ClientId>, Option<String>),
    /// Wants a room's view and its changes, without the slot of an appointment that is about to be moved.
    Subscribe(Room, Option<AppointmentRef>),
    /// Wants them no more.
    Unsubscribe(Room),
    /// Wants a subscribed room's view again.
    Sync(Room),
    /// Wants something done about a slot.
    Hold(HoldVerb, Slot),
    /// Wants to book a slot, and says more about it in these fields.
    Confirm(Slot, Map<String, Value>),
    /// Wants to know what can be booked.
    Availability(Room),
    /// Wants to hear something.
    Ping,
    /// Speaks as an old page does.
    Legacy(Map<String, Value>),
}

impl Request {
    /// The room it is about; `None` where it is about none, or only its legacy fields say.
    pub fn room(&self) -> Option<Room> {
        match self {
            Self::Subscribe(room, _)
            | Self::Unsubscribe(room)
            | Self::Sync(room)
            | Self::Availability(room) => Some(*room),
            Self::Hold(_, slot) | Self::Confirm(slot, _) => Some(slot.room),
            Self::Hello(..) | Self::Ping | Self::Legacy(_) => None,
        }
    }
}

/// What can be done about a slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum HoldVerb {
    Select,
    Deselect,
    Lock,
    Unlock,
}

/// A frame that is refused, still with its `id` if it had a usable one.
#[derive(Debug)]
pub struct BadFrame {
    /// Echoed in the error.
    pub id: Option<Value>,
    /// Why.
    pub error: RequestError,
}

impl ClientFrame {
    /// Parses a text frame.
    pub fn parse(text: &str, window: DateWindow) -> Result<Self, BadFrame> {
        let fail = |id: Option<Value>| move |error| BadFrame { id, error };
        let Ok(Value::Object(mut fields)) = serde_json::from_str(text) else {
            return Err(fail(None)(RequestError::Malformed("a frame is one JSON object")));
        };
        let id = take_id(&mut fields).map_err(fail(None))?;
        let request = request(fields, window).map_err(fail(id.clone()))?;
        Ok(ClientFrame { id, request })
    }
}

fn take_id(fields: &mut Map<String, Value>) -> Result<Option<Value>, RequestError> {
    match fields.remove("id") {
        None | Some(Value::Null) => Ok(None),
        Some(id @ Value::Number(_)) => Ok(Some(id)),
        Some(Value::String(id)) if id.chars().count() <= MAX_ID => Ok(Some(Value::String(id))),
        Some(_) => Err(RequestError::BadRequest("id must be a number, or a string of up to 64 characters")),
    }
}

fn request(fields: Map<String, Value>, window: DateWindow) -> Result<Request, RequestError> {
    if fields.get("type").is_some_and(|kind| kind == "hello") {
        return hello(fields);
    }
    let room = || room(&fields, window);
    let slot = || Ok::<_, RequestError>(Slot { room: room()?, time: time(&fields, "time")? });
    let hold = |verb| Ok(Request::Hold(verb, slot()?));
    match fields.get("type") {
        Some(Value::String(kind)) => match kind.as_str() {
            "subscribe" => Ok(Request::Subscribe(room()?, appointment(&fields)?)),
            "unsubscribe" => Ok(Request::Unsubscribe(room()?)),
            "sync" => Ok(Request::Sync(room()?)),
            "select" => hold(HoldVerb::Select),
            "deselect" => hold(HoldVerb::Deselect),
            "lock" => hold(HoldVerb::Lock),
            "unlock" => hold(HoldVerb::Unlock),
            "confirm" => Ok(Request::Confirm(slot()?, fields)),
            "availability" => Ok(Request::Availability(room()?)),
            "ping" => Ok(Request::Ping),
            _ => Err(RequestError::UnknownType),
        },
        None if legacy::is_legacy(&fields) => Ok(Request::Legacy(fields)),
        None => Err(RequestError::Malformed("a frame needs a type")),
        Some(_) => Err(RequestError::Malformed("type must be a string")),
    }
}

/// With a token it may use a name that needs one: whether that is the token's is for the session to see.
fn hello(mut fields: Map<String, Value>) -> Result<Request, RequestError> {
    match fields.remove("token") {
        None | Some(Value::Null) => Ok(Request::Hello(optional_client(&fields)?, None)),
        Some(Value::String(token)) => Ok(Request::Hello(any_client(&fields)?, Some(token))),
        Some(_) => Err(RequestError::BadRequest("token must be a string")),
    }
}

/// The room that `date` and `employee_id` name.
pub fn room(fields: &Map<String, Value>, window: DateWindow) -> Result<Room, RequestError> {
    let date = fields.get("date").and_then(Value::as_str).ok_or(InvalidValue::Date)?;
    Ok(Room { date: window.parse(date)?, employee_id: employee(fields)? })
}

fn employee(fields: &Map<String, Value>) -> Result<EmployeeId, InvalidValue> {
    match fields.get("employee_id") {
        Some(Value::Number(number)) => EmployeeId::new(number.as_u64().ok_or(InvalidValue::Employee)?),
        Some(Value::String(text)) => text.parse(),
        _ => Err(InvalidValue::Employee),
    }
}

/// The time under `name`.
pub(super) fn time(fields: &Map<String, Value>, name: &str) -> Result<SlotTime, InvalidValue> {
    fields.get(name).and_then(Value::as_str).ok_or(InvalidValue::Time)?.parse()
}

/// The appointment that `exclude_appointment_id` names.
pub(super) fn appointment(fields: &Map<String, Value>) -> Result<Option<AppointmentRef>, RequestError> {
    let named = match fields.get("exclude_appointment_id") {
        None | Some(Value::Null) => return Ok(None),
        Some(Value::Number(number)) => number.as_u64().map(AppointmentRef::Number),
        Some(Value::String(text)) => text.parse().ok(),
        Some(_) => None,
    };
    let rule = "exclude_appointment_id must be APT-YYYY-NNNNNN, AE… or a whole number";
    named.map(Some).ok_or(RequestError::BadRequest(rule))
}

/// The client that may be named; nobody calls itself by a name that needs a token, or that is PHP's.
pub(super) fn optional_client(fields: &Map<String, Value>) -> Result<Option<ClientId>, InvalidValue> {
    let is_free = |client: &ClientId| {
        ![TOKEN_CLIENTS, PHP_CLIENTS].iter().any(|reserved| client.as_str().starts_with(reserved))
    };
    match any_client(fields)? {
        Some(client) if !is_free(&client) => Err(InvalidValue::Client),
        client => Ok(client),
    }
}

fn any_client(fields: &Map<String, Value>) -> Result<Option<ClientId>, InvalidValue> {
    match fields.get("client_id") {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => text.parse().map(Some),
        Some(_) => Err(InvalidValue::Client),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<ClientFrame, BadFrame> {
        ClientFrame::parse(text, DateWindow { horizon_days: 400 })
    }

    fn today() -> String {
        jiff::Timestamp::now().to_string()[..10].to_owned()
    }

    fn code(text: &str) -> (&'static str, bool) {
        let error = parse(text).expect_err(text).error;
        (error.code(), error.is_malformed())
    }

    #[test]
    fn a_hold_frame_names_its_slot_and_keeps_its_id() {
        let text =
            format!(r#"{{"type":"lock","id":"a1","date":"{}","employee_id":7,"time":"10:00:00"}}"#, today());
        let frame = parse(&text).expect("parses");
        assert_eq!(frame.id, Some(Value::from("a1")));
        let Request::Hold(HoldVerb::Lock, slot) = frame.request else { panic!("a lock") };
        assert_eq!(slot.time.to_string(), "10:00");
    }

    #[test]
    fn what_is_no_request_counts_as_malformed_and_a_bad_value_does_not() {
        for text in ["", "[]", "7", "{", r#"{"id":1}"#, r#"{"type":7}"#, &"[".repeat(100)] {
            assert_eq!(code(text), ("bad_request", true), "{text}");
        }
        assert_eq!(code(r#"{"type":"selekt"}"#), ("unknown_type", true));
        assert_eq!(code(r#"{"type":"hello","id":{}}"#), ("bad_request", false));
        assert_eq!(code(r#"{"type":"hello","client_id":"u_1"}"#), ("invalid_client", false));
        assert_eq!(code(r#"{"type":"hello","client_id":"u 1","token":"x"}"#), ("invalid_client", false));
        assert_eq!(code(r#"{"type":"hello","token":7}"#), ("bad_request", false));
        assert_eq!(code(r#"{"type":"subscribe"}"#), ("invalid_date", false));
        let with = |rest: &str| format!(r#"{{"type":"select","date":"{}",{rest}}}"#, today());
        assert_eq!(code(&with(r#""employee_id":0,"time":"10:00""#)), ("invalid_employee", false));
        assert_eq!(code(&with(r#""employee_id":1.5,"time":"10:00""#)), ("invalid_employee", false));
        assert_eq!(code(&with(r#""employee_id":1,"time":1000"#)), ("invalid_time", false));
    }
}
