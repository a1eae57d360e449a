//! What the stores do, on real servers, in one test program. What loads the machine is a program of its own.

mod binlog;
mod booked;
mod bookings;
mod conformance;
mod house;
mod locks;
mod migrate;
mod mysql;
mod redis;
