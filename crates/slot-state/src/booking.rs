//! Bookings: what may be asked of a store, and what it answers.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use sha2::{Digest, Sha256};

use crate::hold::ActorId;
use crate::slot::{ClientId, Slot};
use crate::store::StoreError;

/// Asks to book a slot for good.
#[derive(Debug, Clone)]
pub struct NewBooking {
    /// What.
    pub slot: Slot,
    /// For whom; the owner of the lock, if there is one.
    pub client: ClientId,
    /// The same for every try of one booking.
    pub key: IdempotencyKey,
    /// The fence of the lock that the client believes to have.
    pub fence: Option<u64>,
    /// Who comes.
    pub customer: Customer,
    /// What for, if the site has services.
    pub service_id: Option<u32>,
    /// On which connection.
    pub actor: Option<ActorId>,
}

/// Who comes. Never leaves the store again.
#[derive(Clone, PartialEq, Eq)]
pub struct Customer {
    /// 1 to 100 characters.
    pub name: String,
    /// 3 to 100 characters.
    pub email: String,
    /// Up to 20 characters.
    pub phone: Option<String>,
    /// Up to 2,000 bytes.
    pub notes: Option<String>,
}

/// Says nothing: personal data must not reach a log.
impl fmt::Debug for Customer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Customer(…)")
    }
}

/// Names one booking among those of its client, over all tries: 1 to 128 printable ASCII characters.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct IdempotencyKey {
    text: String,
    of_form: bool,
}

impl IdempotencyKey {
    /// The text.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The key stands for what a form says, since its page sends none: the same form is another try as long as what it
    /// booked stands, and a new wish where that was cancelled or moved.
    pub fn of_form(self) -> Self {
        IdempotencyKey { of_form: true, ..self }
    }

    /// See [`IdempotencyKey::of_form`].
    pub(crate) fn is_of_form(&self) -> bool {
        self.of_form
    }
}

/// It is not 1 to 128 printable ASCII characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("must be 1 to 128 printable ASCII characters")]
pub struct InvalidKey;

impl FromStr for IdempotencyKey {
    type Err = InvalidKey;

    fn from_str(text: &str) -> Result<Self, InvalidKey> {
        let fits = (1..=128).contains(&text.len()) && text.bytes().all(|byte| (0x20..0x7f).contains(&byte));
        if fits { Ok(IdempotencyKey { text: text.to_owned(), of_form: false }) } else { Err(InvalidKey) }
    }
}

impl NewBooking {
    /// The same for two requests that ask for the same booking. Lock and connection may change between two tries.
    pub(crate) fn fingerprint(&self) -> [u8; 32] {
        let Customer { name, email, phone, notes } = &self.customer;
        let service = self.service_id.map(|id| id.to_string());
        let slot = format!("{} {} {}", self.slot.room.date, self.slot.room.employee_id, self.slot.time);
        let parts = [Some(&slot), Some(name), Some(email), phone.as_ref(), notes.as_ref(), service.as_ref()];
        let mut hash = Sha256::new();
        for part in parts {
            // With their lengths, so that no two lists of parts look alike.
            hash.update(part.map_or(u64::MAX, |part| part.len() as u64).to_be_bytes());
            hash.update(part.map(String::as_bytes).unwrap_or_default());
        }
        hash.finalize().into()
    }
}

/// A booking that stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Booking {
    /// The row's number.
    pub appointment_id: u64,
    /// What the customer is told: `APT-YYYY-NNNNNN`.
    pub strong_id: String,
}

impl Booking {
    /// The booking of a row made in this year.
    pub(crate) fn new(appointment_id: u64, year: i16) -> Self {
        Booking { appointment_id, strong_id: format!("APT-{year}-{appointment_id:06}") }
    }
}

/// Why a booking was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BookRefusal {
    /// Somebody else has it selected or locked.
    #[error("Slot is already locked")]
    SlotLocked,
    /// It is booked.
    #[error("Slot already booked")]
    SlotBooked,
    /// The client's lock is another one than it believes.
    #[error("The lock on this slot has ended")]
    LockLost,
    /// The same key came with other data before.
    #[error("This idempotency_key was used for another booking; use a new one")]
    OtherData,
    /// Fields that the appointments table cannot hold, each with a sentence.
    #[error("Some fields are not acceptable")]
    Invalid(BTreeMap<&'static str, String>),
    /// There is no database to keep it in.
    #[error("This server takes no bookings: it has no mysql.url")]
    NoDatabase,
}

/// A booking that was not made, or of which nobody knows.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BookError {
    /// The rules say no.
    #[error(transparent)]
    Refused(#[from] BookRefusal),
    /// The store could not say. Asking again with the same key tells.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// An appointment as another page names it, to leave its slot out of the booked ones.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AppointmentRef {
    /// By the row's number.
    Number(u64),
    /// By what the customer was told.
    StrongId(String),
}

impl FromStr for AppointmentRef {
    type Err = ();

    /// `APT-YYYY-NNNNNN`, `AE…` or a number.
    fn from_str(text: &str) -> Result<Self, ()> {
        if let Ok(number) = text.parse() {
            return Ok(AppointmentRef::Number(number));
        }
        let named = text.starts_with("APT-") || text.starts_with("AE");
        let fits = text.len() <= 64 && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
        if named && fits { Ok(AppointmentRef::StrongId(text.to_owned())) } else { Err(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn booking(name: &str, phone: Option<&str>, notes: Option<&str>) -> NewBooking {
        let room = crate::slot::Room {
            date: "2031-03-09".parse().expect("a date"),
            employee_id: "7".parse().expect("an employee"),
        };
        NewBooking {
            slot: room.slot("10:00".parse().expect("a time")),
            client: "ann".parse().expect("a client"),
            key: "k".parse().expect("a key"),
            fence: None,
            customer: Customer {
                name: name.to_owned(),
                email: "a@b.example".to_owned(),
                phone: phone.map(str::to_owned),
                notes: notes.map(str::to_owned),
            },
            service_id: None,
            actor: None,
        }
    }

    #[test]
    fn a_fingerprint_is_of_what_is_booked_and_of_nothing_else() {
        let one = booking("Ann", None, Some("12"));
        assert_eq!(one.fingerprint(), NewBooking { fence: Some(7), ..one.clone() }.fingerprint());
        for other in [
            booking("Ann", Some("12"), None),
            booking("Ann", None, None),
            booking("Ann", Some(""), Some("12")),
            booking("An", None, Some("n12")),
            NewBooking { service_id: Some(1), ..one.clone() },
        ] {
            assert_ne!(one.fingerprint(), other.fingerprint(), "{other:?}");
        }
    }

    #[test]
    fn a_customer_never_reaches_a_log() {
        assert!(!format!("{:?}", booking("Ann", None, None)).contains("Ann"));
    }

    #[test]
    fn keys_and_appointments_are_checked() {
        assert!("a key, even with spaces".parse::<IdempotencyKey>().is_ok());
        for wrong in ["", "ü", "a\n", &"x".repeat(129)] {
            assert!(wrong.parse::<IdempotencyKey>().is_err(), "{wrong:?}");
        }
        assert_eq!("17".parse(), Ok(AppointmentRef::Number(17)));
        assert_eq!("APT-2026-000017".parse(), Ok(AppointmentRef::StrongId("APT-2026-000017".to_owned())));
        assert_eq!("AE17X".parse(), Ok(AppointmentRef::StrongId("AE17X".to_owned())));
        for wrong in ["", "X17", "APT-'", "-1"] {
            assert!(wrong.parse::<AppointmentRef>().is_err(), "{wrong:?}");
        }
    }
}
