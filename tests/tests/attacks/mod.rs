//! Who may connect, how much of it, and what attackers get: each test says what they get, and that others notice nothing.
//! Attacks by frames are in `bad_frames`, slow readers in `slow_readers`, all at once in `tests/bench --only hostile`.

mod before_the_upgrade;
mod configured;
mod cross_origin;
mod crowds;
mod holds;
mod limits;
mod new_rooms;
mod others_holds;
mod plain_http;
mod strings;
mod tokens;
