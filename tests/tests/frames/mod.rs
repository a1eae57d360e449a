//! What arrives on `/ws` byte by byte: a conformance run over the case families of the Autobahn suite,
//! attacks by frames, and what is no frame of the protocol. Each case: what is sent, what is heard, and
//! nobody else notices.

mod attacks;
pub(crate) mod case;
mod conformance;
mod framing;
mod handshake;
mod text;
mod utf8_and_close;
pub(crate) mod witness;
