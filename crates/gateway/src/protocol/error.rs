//! Every refusal a request can meet, in one table: wire code, HTTP status, sentence.

use slot_state::{BookRefusal, HoldError, InvalidValue, Refusal, SlotTime, StoreError};

use super::booking::WrongFields;

/// Why a request was not carried out.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RequestError {
    /// Not a request at all; counts as malformed.
    #[error("{0}")]
    Malformed(&'static str),
    /// A request with a part that does not fit.
    #[error("{0}")]
    BadRequest(&'static str),
    /// No such `type`; counts as malformed.
    #[error("unknown type; see PROTOCOL.md for those there are")]
    UnknownType,
    /// A known request that this version does not serve.
    #[error("this server cannot do that yet")]
    Unsupported,
    /// A value is not acceptable.
    #[error(transparent)]
    Invalid(#[from] InvalidValue),
    /// The rules say no.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The site is closed then.
    #[error("The site is closed at this time")]
    SlotClosed,
    /// A booking that was refused, and free times instead of one that is taken.
    #[error("{0}")]
    NotBooked(BookRefusal, Vec<SlotTime>),
    /// `sync` or `unsubscribe` of a room that is not subscribed.
    #[error("this room is not subscribed; subscribe first")]
    NotSubscribed,
    /// More rooms than one connection may watch.
    #[error("too many rooms on this connection; unsubscribe from one first")]
    TooManyRooms,
    /// The address holds all that it may.
    #[error("too many slots are held from this network address; give one up first, or wait until one ends")]
    AddressHoldsFull,
    /// Without a token that allows it.
    #[error("not authorized; say hello with a token that allows this")]
    Unauthorized,
    /// Faster than allowed.
    #[error("too many requests; wait a moment")]
    RateLimited,
    /// The store cannot say.
    #[error("the store is away; try again in a moment")]
    StoreUnavailable,
    /// A fault of this program.
    #[error("something went wrong on the server")]
    Internal,
}

impl RequestError {
    /// The code on the wire, and the HTTP status.
    fn row(&self) -> (&'static str, u16) {
        match self {
            Self::Malformed(_) | Self::BadRequest(_) => ("bad_request", 400),
            Self::UnknownType => ("unknown_type", 400),
            Self::Unsupported => ("unknown_type", 501),
            Self::Invalid(InvalidValue::Date) => ("invalid_date", 400),
            Self::Invalid(InvalidValue::Employee) => ("invalid_employee", 400),
            Self::Invalid(InvalidValue::Time) => ("invalid_time", 400),
            Self::Invalid(InvalidValue::Client) => ("invalid_client", 400),
            Self::Refused(Refusal::SlotLocked) => ("slot_locked", 409),
            Self::Refused(Refusal::SlotBooked) => ("slot_booked", 409),
            Self::Refused(Refusal::NotOwner) => ("not_owner", 403),
            Self::Refused(Refusal::LockLost) => ("lock_lost", 409),
            Self::Refused(Refusal::TooManyHolds) => ("too_many_holds", 409),
            Self::SlotClosed => ("slot_closed", 409),
            Self::NotBooked(BookRefusal::SlotLocked, _) => ("slot_locked", 409),
            Self::NotBooked(BookRefusal::SlotBooked, _) => ("slot_booked", 409),
            Self::NotBooked(BookRefusal::LockLost, _) => ("lock_lost", 409),
            Self::NotBooked(BookRefusal::OtherData, _) => ("idempotency_mismatch", 409),
            Self::NotBooked(BookRefusal::Invalid(_), _) => ("booking_invalid", 400),
            Self::NotBooked(BookRefusal::NoDatabase, _) => ("store_unavailable", 503),
            Self::NotSubscribed => ("not_subscribed", 409),
            Self::TooManyRooms => ("too_many_rooms", 409),
            Self::AddressHoldsFull => ("too_many_holds", 409),
            Self::Unauthorized => ("unauthorized", 401),
            Self::RateLimited => ("rate_limited", 429),
            Self::StoreUnavailable => ("store_unavailable", 503),
            Self::Internal => ("internal", 500),
        }
    }

    /// The code on the wire.
    pub fn code(&self) -> &'static str {
        self.row().0
    }

    /// The HTTP status.
    pub fn status(&self) -> u16 {
        self.row().1
    }

    /// Free times instead of the one that is taken, where a booking was refused for that.
    pub fn suggested(&self) -> Option<&[SlotTime]> {
        match self {
            Self::NotBooked(BookRefusal::SlotLocked | BookRefusal::SlotBooked, suggested) => Some(suggested),
            _ => None,
        }
    }

    /// What is wrong with the fields of a booking.
    pub fn fields(&self) -> Option<&WrongFields> {
        match self {
            Self::NotBooked(BookRefusal::Invalid(fields), _) => Some(fields),
            _ => None,
        }
    }

    /// Whether it counts towards closing the connection: a refusal does not.
    pub fn is_malformed(&self) -> bool {
        matches!(self, Self::Malformed(_) | Self::UnknownType)
    }
}

impl From<WrongFields> for RequestError {
    fn from(fields: WrongFields) -> Self {
        Self::NotBooked(BookRefusal::Invalid(fields), Vec::new())
    }
}

impl From<StoreError> for RequestError {
    fn from(_: StoreError) -> Self {
        Self::StoreUnavailable
    }
}

impl From<HoldError> for RequestError {
    fn from(error: HoldError) -> Self {
        match error {
            HoldError::Refused(refusal) => Self::Refused(refusal),
            HoldError::Store(_) => Self::StoreUnavailable,
        }
    }
}
