//! How it is, in words for somebody who was woken by it: one word, one sentence, and what to do about each
//! trouble. Called by `gather`; the page and the terminal show the same words.

use std::path::Path;

use serde_json::Value;
use slot_state::{Storage, StorageMode};

use super::status::{OutboxStatus, State, StoreStatus};
use crate::config::command_line;

pub(super) struct Words {
    pub(super) state: State,
    pub(super) headline: &'static str,
    pub(super) troubles: Vec<String>,
}

/// What is not there in a database that answers.
#[derive(Default)]
pub(crate) struct Lacking {
    /// What slotcast's own tables lack, in the words of `/health`.
    pub(crate) tables: Option<String>,
    /// There is no table of appointments.
    pub(crate) appointments: bool,
}

impl Lacking {
    /// From what `/health` says of MySQL, if anything.
    pub(crate) fn of(mysql: &Value) -> Self {
        Self {
            tables: mysql["tables_lack"].as_str().map(str::to_owned),
            appointments: mysql["bookings"]["has_table"] == false,
        }
    }

    fn troubles(&self, file: Option<&Path>) -> impl Iterator<Item = String> {
        let doctor = command_line("doctor", file);
        let tables = self.tables.as_deref().map(|lack| {
            format!(
                "Locks and bookings are refused, as slotcast's own tables in MySQL are not complete ({}); \
                 selections go on. Let {doctor} say what is missing, and run {} with an account that may CREATE \
                 and ALTER.",
                lack.trim_end_matches('.'),
                command_line("migrate", file)
            )
        });
        let appointments = self.appointments.then(|| {
            format!(
                "Bookings are refused, as MySQL has no table of appointments; selections and locks go on. It \
                 comes with AppointEase, or mysql.appointments_table names it: {doctor} says which one is \
                 looked for."
            )
        });
        tables.into_iter().chain(appointments)
    }
}

pub(super) fn of(
    not_ready: Option<&'static str>,
    storage: Storage,
    stores: &[StoreStatus],
    lacking: &Lacking,
    outbox: Option<&OutboxStatus>,
    file: Option<&Path>,
) -> Words {
    let mut troubles = Vec::new();
    if storage.writable && !storage.flowing {
        troubles.push(
            "Changes by others do not arrive from the deciding store: what PHP or another gateway writes \
             shows late or not at all. /health names the part; the log says events_lost and why."
                .to_owned(),
        );
    }
    troubles.extend(stores.iter().filter_map(|store| of_store(store, storage, stores.len() > 1, file)));
    troubles.extend(lacking.troubles(file));
    troubles.extend(outbox.and_then(of_outbox));
    let (state, headline) = match not_ready {
        Some("draining") => (State::Stopping, "This gateway is stopping; pages are told to come back"),
        Some(_) if !storage.writable => {
            (State::NotReady, "No store takes writes: pages show what was last known, nothing can be held")
        }
        Some(_) => (State::NotReady, "Changes by others do not arrive"),
        None if storage.mode == StorageMode::Mysql && has(stores, "redis") => {
            (State::Degraded, "MySQL has stepped in for Redis; all goes on")
        }
        None if troubles.is_empty() => (State::Ok, "Everything works"),
        None => (State::Degraded, "It works, with trouble"),
    };
    Words { state, headline, troubles }
}

fn has(stores: &[StoreStatus], name: &str) -> bool {
    stores.iter().any(|store| store.name == name)
}

fn of_store(
    store: &StoreStatus,
    storage: Storage,
    is_one_of_two: bool,
    file: Option<&Path>,
) -> Option<String> {
    let look;
    let what_it_means = match (&*store.name, &*store.status) {
        (_, "ok") => return None,
        ("redis", "standby") => {
            return Some(
                "Redis answers and stands by. slotcast goes back to it by itself once every gateway has \
                 found it healthy for 5 s, 30 s after the failover at the earliest."
                    .to_owned(),
            );
        }
        ("redis", _) if !is_one_of_two => {
            "Nothing can be selected, locked or released until it is back; slotcast reconnects by \
             itself. Is Redis running, and is redis.url right?"
        }
        ("redis", _) if storage.writable => {
            "Selections and locks go on in MySQL, and come back by themselves. Is Redis running, not \
             full, and not a read-only replica?"
        }
        ("mysql", _) if !is_one_of_two => {
            "Nothing can be held or booked until it is back; slotcast reconnects by itself. Is MySQL \
             running, and is mysql.url right?"
        }
        ("mysql", _) if storage.writable => {
            look = format!(
                "Selections go on; locks and bookings are refused until it is back. Is MySQL running, is \
                 mysql.url right, and are slotcast's tables there ({})?",
                command_line("migrate --dry-run", file)
            );
            &look
        }
        _ => "slotcast reconnects by itself; one of the two stores is enough.",
    };
    let name = if store.name == "mysql" { "MySQL" } else { "Redis" };
    let error = store.error.as_deref().map(|error| error.trim_start_matches("the store cannot be reached: "));
    let said = error.map(|error| format!(" ({})", error.trim_end_matches('.'))).unwrap_or_default();
    Some(format!("{name} is away{said}. {what_it_means}"))
}

fn of_outbox(outbox: &OutboxStatus) -> Option<String> {
    let waiting = outbox.waiting.filter(|waiting| *waiting > 0)?;
    // Off is a choice, not a trouble.
    if outbox.status != "failing" {
        return None;
    }
    let why = outbox.error.as_deref().map(|error| format!(": {error}")).unwrap_or_default();
    let bookings = if waiting == 1 { "1 booking".to_owned() } else { format!("{waiting} bookings") };
    Some(format!("WordPress does not know of {bookings}, so its e-mails have not gone out{why}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn store(name: &'static str, status: &'static str) -> StoreStatus {
        let error = (status == "away").then(|| "connection refused".to_owned());
        StoreStatus { name: name.into(), status: status.into(), since: 0, follows: None, error }
    }

    fn storage(mode: StorageMode, writable: bool) -> Storage {
        Storage { mode, writable, flowing: writable }
    }

    #[test]
    fn the_worst_is_said_first_and_each_trouble_has_advice() {
        let both_away = [store("redis", "away"), store("mysql", "away")];
        let words = of(
            Some("the store takes no writes"),
            storage(StorageMode::Redis, false),
            &both_away,
            &Lacking::default(),
            None,
            None,
        );
        assert_eq!((words.state, words.troubles.len()), (State::NotReady, 2));
        assert!(
            words.troubles[0].starts_with("Redis is away (connection refused). "),
            "{:?}",
            words.troubles
        );

        let stepped_in = [store("redis", "away"), store("mysql", "ok")];
        let words = of(None, storage(StorageMode::Mysql, true), &stepped_in, &Lacking::default(), None, None);
        assert_eq!(words.state, State::Degraded);
        assert!(words.headline.contains("MySQL has stepped in"), "{}", words.headline);

        let well = [store("redis", "ok")];
        let words =
            of(Some("draining"), storage(StorageMode::Redis, true), &well, &Lacking::default(), None, None);
        assert_eq!(words.state, State::Stopping);
    }

    #[test]
    fn commands_are_told_with_the_file_that_the_gateway_reads() {
        let stores = [store("redis", "ok"), store("mysql", "away")];
        let lacking = Lacking { tables: Some("no right".to_owned()), appointments: true };
        let file = Some(Path::new("/etc/slotcast.toml"));
        let words = of(None, storage(StorageMode::Redis, true), &stores, &lacking, None, file);
        let told = words.troubles.join("\n");
        for (command, times) in [("migrate --dry-run", 1), ("migrate", 1), ("doctor", 2)] {
            let line = format!("slotcast {command} --config /etc/slotcast.toml");
            assert_eq!(told.matches(&line).count(), times, "{command}: {told}");
        }
        assert_eq!(told.matches("slotcast migrate").count() + told.matches("slotcast doctor").count(), 4);
    }

    #[test]
    fn what_is_well_needs_no_words() {
        for (mode, name) in [(StorageMode::Redis, "redis"), (StorageMode::Memory, "memory")] {
            let words = of(None, storage(mode, true), &[store(name, "ok")], &Lacking::default(), None, None);
            assert_eq!((words.state, words.troubles.len()), (State::Ok, 0));
        }
    }

    #[test]
    fn bookings_that_wordpress_does_not_know_are_trouble_only_when_telling_fails() {
        let outbox = |status: &'static str, waiting| OutboxStatus {
            status: status.into(),
            waiting: Some(waiting),
            error: None,
        };
        for (outbox, state) in [
            (outbox("ok", 3), State::Ok),
            (outbox("off", 3), State::Ok),
            (outbox("failing", 0), State::Ok),
            (outbox("failing", 3), State::Degraded),
        ] {
            let (well, lacking) = ([store("redis", "ok")], Lacking::default());
            let words = of(None, storage(StorageMode::Redis, true), &well, &lacking, Some(&outbox), None);
            assert_eq!(words.state, state, "{outbox:?}");
        }
    }
}
