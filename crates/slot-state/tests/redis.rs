//! What is true of the Redis store alone: other writers, strange values, lost data, broken links, several stores.
//! Each test has a Redis of its own.

mod feeds;
mod forged;
mod losses;
mod other_writers;
mod strange_values;
mod trouble;
mod two_stores;
