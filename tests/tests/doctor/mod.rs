//! `slotcast doctor` on set-ups that are broken, each in one way: it names exactly what is broken, and what
//! to paste.

mod address;
mod examined;
mod mysql;
mod redis;
mod whole;
