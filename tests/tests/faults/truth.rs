//! What the deciding store holds, and everything in which the clients' views and beliefs differ from it.

use std::collections::BTreeMap;

use support::{Room, StoredHolds, View, holds_in, stored_holds};

use crate::crowd::Crowd;
use crate::history::slot_name;
use crate::member::{Lock, Member, Selection, client_name};
use crate::servers::Servers;

/// A difference, with the slot and the client it is about where there is one.
pub(crate) type Difference = (String, Option<usize>, String);

/// Everything that is not as it should be in a quiet moment.
pub(crate) async fn differences(crowd: &Crowd, servers: &Servers) -> Vec<Difference> {
    let modes = crowd.modes();
    let [mode] = modes[..] else { return vec![everywhere(format!("clients were told of {modes:?}"))] };
    let remembered = match &servers.maria {
        Some(maria) => {
            let mut connection = maria.connection().await;
            let read = stored_holds(&mut connection).await;
            drop(connection.disconnect().await);
            match read {
                Ok(held) => Some(held),
                Err(error) => return vec![everywhere(format!("MySQL cannot be read: {error}"))],
            }
        }
        None => None,
    };
    let mut found = Vec::new();
    let held = match (&remembered, mode) {
        (Some(held), "mysql") => held.clone(),
        (_, "redis") => in_redis(servers, &crowd.rooms).await,
        _ => return vec![everywhere(format!("the storage mode is {mode:?}"))],
    };
    if let Some(remembered) = remembered.filter(|remembered| remembered.locked != held.locked) {
        found.extend(unlike("locks in Redis", &held.locked, "in MySQL", &remembered.locked));
    }
    compare_views(crowd, &held, mode, &mut found);
    compare_beliefs(crowd, &held, mode, &mut found);
    found
}

fn everywhere(text: String) -> Difference {
    (String::new(), None, text)
}

async fn in_redis(servers: &Servers, rooms: &[Room]) -> StoredHolds {
    let mut connection = servers.redis.connection().await;
    let mut held = StoredHolds::default();
    for room in rooms {
        let of_room = |(time, owner): (String, String)| ((room.clone(), time), owner);
        let locked = holds_in(&mut connection, "appointease_lock", room).await;
        held.locked.extend(locked.into_iter().map(of_room));
        let active = holds_in(&mut connection, "appointease_active", room).await;
        held.active.extend(active.into_iter().map(of_room));
    }
    held
}

type Owners = BTreeMap<(Room, String), String>;

fn unlike(one: &str, ones: &Owners, other: &str, others: &Owners) -> Vec<Difference> {
    let keys = ones.keys().chain(others.keys());
    let unequal = keys.filter(|key| ones.get(*key) != others.get(*key));
    unequal
        .map(|key| {
            let slot = slot_name(&key.0, &key.1);
            let text = format!("{slot}: {one} {:?}, {other} {:?}", ones.get(key), others.get(key));
            (slot, None, text)
        })
        .collect()
}

fn compare_views(crowd: &Crowd, held: &StoredHolds, mode: &str, found: &mut Vec<Difference>) {
    for room in &crowd.rooms {
        let times = |owners: &Owners| {
            owners.keys().filter(|(of, _)| of == room).map(|(_, time)| time.clone()).collect()
        };
        let mut truth = View { active: times(&held.active), locked: times(&held.locked), ..View::default() };
        truth.active.retain(|time| !truth.locked.contains(time));
        for member in crowd.members.iter().filter(|member| member.room == *room) {
            let Some(page) = &member.page else { continue };
            let view = page.shown(room).unwrap_or_default();
            let (active, locked) = (&view.active ^ &truth.active, &view.locked ^ &truth.locked);
            if let Some(time) = active.first().or(locked.first()).or(view.booked.first()) {
                let text = format!(
                    "{} on {} sees in room {} {:?}, locked {:?}; {mode} holds {:?}, locked {:?}",
                    member.name(),
                    crate::history::letter(member.gateway),
                    room.employee_id,
                    view.active,
                    view.locked,
                    truth.active,
                    truth.locked
                );
                found.push((slot_name(room, time), Some(member.number), text));
            }
        }
    }
}

fn compare_beliefs(crowd: &Crowd, held: &StoredHolds, mode: &str, found: &mut Vec<Difference>) {
    for member in &crowd.members {
        let name = member.name();
        let mut compare = |what: &str, time: &str, owners: &Owners| {
            let owner = owners.get(&(member.room.clone(), time.to_owned()));
            if owner != Some(&name) {
                let slot = slot_name(&member.room, time);
                let text = format!("{name} was told it has {what} {slot}, {mode} says {owner:?}");
                found.push((slot, Some(member.number), text));
            }
        };
        if let Selection::At { time, .. } = &member.selection {
            compare("selected", time, &held.active);
        }
        if let Lock::At { time, .. } = &member.lock {
            compare("locked", time, &held.locked);
        }
    }
    let selected = |member: &Member, time: &str| match &member.selection {
        Selection::Nothing => false,
        Selection::At { time: told, .. } => told == time,
        Selection::InDoubt => true,
    };
    let locked = |member: &Member, time: &str| match &member.lock {
        Lock::Nothing => false,
        Lock::At { time: told, .. } => told == time,
        Lock::InDoubt { .. } => true,
    };
    let mut ghosts = |what: &str, owners: &Owners, knows: &dyn Fn(&Member, &str) -> bool| {
        for ((room, time), owner) in owners {
            let member = crowd.members.iter().find(|member| client_name(member.number) == *owner);
            if !member.is_some_and(|member| member.room == *room && knows(member, time)) {
                let slot = slot_name(room, time);
                let text = format!("{slot} is {what} by {owner} in {mode}, who was not told so");
                found.push((slot, member.map(|member| member.number), text));
            }
        }
    };
    ghosts("selected", &held.active, &selected);
    ghosts("locked", &held.locked, &locked);
}
