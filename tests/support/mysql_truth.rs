//! What MySQL itself holds of every room, read row by row by eyes of the tests' own: they look for the few
//! words they need in PHP's serialized form, and know nothing of the code under test. WordPress need not be
//! installed.

use std::collections::BTreeMap;

use mysql_async::Conn;
use mysql_async::prelude::Queryable;

use crate::Room;
use crate::live_view::is_time;

const ACTIVE: &str = "_transient_appointease_active_";

/// Owners by room and time, of what has not expired by the database's clock.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StoredHolds {
    /// Selections.
    pub active: BTreeMap<(Room, String), String>,
    /// Locks.
    pub locked: BTreeMap<(Room, String), String>,
}

/// Everything held, in tables with the prefix `wp_`.
pub async fn stored_holds(connection: &mut Conn) -> Result<StoredHolds, mysql_async::Error> {
    let now = "SELECT CAST(UNIX_TIMESTAMP(SYSDATE(3)) * 1000 AS SIGNED)";
    let now: i64 = connection.query_first(now).await?.expect("a time");
    let rows = "SELECT option_name, option_value FROM wp_options \
                WHERE option_name LIKE '\\_transient\\_appointease\\_active%'";
    let rows: Vec<(String, Vec<u8>)> = connection.query(rows).await?;
    let mut held = StoredHolds::default();
    for (name, value) in rows {
        let Some(room) = room_of(&name) else { continue };
        for (time, owner, expires_at) in entries(&String::from_utf8_lossy(&value)) {
            if expires_at > now {
                held.active.insert((room.clone(), time), owner);
            }
        }
    }
    let locks = "SELECT DATE_FORMAT(`date`, '%Y-%m-%d'), employee_id, TIME_FORMAT(`time`, '%H:%i'), \
                 client_id FROM wp_appointease_slot_locks \
                 WHERE COALESCE(deadline_ms, UNIX_TIMESTAMP(expires_at) * 1000) > ?";
    let locks: Vec<(String, u32, String, String)> = connection.exec(locks, (now,)).await?;
    for (date, employee_id, time, owner) in locks {
        held.locked.insert((Room { date, employee_id }, time), owner);
    }
    Ok(held)
}

fn room_of(option_name: &str) -> Option<Room> {
    let (date, employee_id) = option_name.strip_prefix(ACTIVE)?.split_once('_')?;
    Some(Room { date: date.to_owned(), employee_id: employee_id.parse().ok()? })
}

/// Time, owner and deadline in milliseconds of each entry. One without a deadline is PHP's: it has all the
/// time there is.
fn entries(serialized: &str) -> Vec<(String, String, i64)> {
    const KEY: &str = "s:5:\"";
    let mut found: Vec<(usize, String)> = Vec::new();
    for (at, _) in serialized.match_indices(KEY) {
        let rest = &serialized[at + KEY.len()..];
        // Only a key has an array behind it.
        if let Some(time) = rest.get(..5).filter(|time| is_time(time) && rest[5..].starts_with("\";a:")) {
            found.push((at, time.to_owned()));
        }
    }
    let ends = found.iter().skip(1).map(|(at, _)| *at).chain([serialized.len()]);
    let one = |((at, time), end): (&(usize, String), usize)| {
        let entry = &serialized[*at..end];
        let owner = after(entry, "\"client_id\";s:")?.split_once(":\"")?.1.split_once("\";")?.0.to_owned();
        let digits = |text: &str| -> String { text.chars().take_while(char::is_ascii_digit).collect() };
        let number = |text: &str| digits(text.trim_start_matches(['i', 'd', ':', '"'])).parse().ok();
        let expires_at = match after(entry, "\"expires_at\";") {
            // A number that PHP rewrote as a string.
            Some(text) if text.starts_with("s:") => number(text.split_once(":\"")?.1)?,
            Some(text) => number(text)?,
            None => i64::MAX,
        };
        Some((time.clone(), owner, expires_at))
    };
    found.iter().zip(ends).filter_map(one).collect()
}

fn after<'a>(text: &'a str, words: &str) -> Option<&'a str> {
    text.split_once(words).map(|(_, rest)| rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn owners_and_deadlines_are_found_in_what_php_writes() {
        let text = "a:3:{s:5:\"10:00\";a:3:{s:9:\"timestamp\";i:5;s:9:\"client_id\";s:5:\"alice\";\
                    s:10:\"expires_at\";i:1700;}s:5:\"11:30\";a:2:{s:4:\"time\";s:5:\"11:30\";\
                    s:9:\"client_id\";s:3:\"bob\";}\
                    s:5:\"12:00\";a:2:{s:10:\"expires_at\";s:4:\"1800\";s:9:\"client_id\";s:2:\"u1\";}}";
        let wanted = [("10:00", "alice", 1700), ("11:30", "bob", i64::MAX), ("12:00", "u1", 1800)];
        let wanted = wanted.map(|(time, owner, at)| (time.to_owned(), owner.to_owned(), at));
        assert_eq!(entries(text), wanted);
        assert_eq!(entries("a:0:{}"), []);
    }
}
