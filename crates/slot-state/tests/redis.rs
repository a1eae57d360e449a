//! What is true of the Redis store alone: other writers, strange values, lost data, broken links, several stores.
//! Each test has a Redis of its own.

mod house;

#[path = "redis/feeds.rs"]
mod feeds;
#[path = "redis/forged.rs"]
mod forged;
#[path = "redis/losses.rs"]
mod losses;
#[path = "redis/other_writers.rs"]
mod other_writers;
#[path = "redis/strange_values.rs"]
mod strange_values;
#[path = "redis/trouble.rs"]
mod trouble;
#[path = "redis/two_stores.rs"]
mod two_stores;
