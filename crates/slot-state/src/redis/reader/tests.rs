//! On a real Redis: what a reading says while a command of this gateway is under way.

use support::{PATIENCE, RedisServer, eventually};

use crate::event::Absence;
use crate::redis::keys;
use crate::redis::rig::{Rig, slot};

#[tokio::test]
async fn what_a_command_under_way_may_have_changed_is_left_to_its_answer() {
    let redis = RedisServer::start().await;
    let rig = Rig::on(&redis).await;
    let slot = slot("10:00");
    rig.select(slot, "ann").await.expect("granted");
    let under_way = rig.store.reader.command(slot.room);
    redis.run::<i64>(&["DEL", &keys::active(slot)]).await;
    rig.store.reader.look_all(&[slot], Absence::Unknown).await.expect("readable");
    assert!(rig.picture.selection(slot).is_some(), "nobody knows yet whether its holder moved on");
    drop(under_way);
    eventually("it is looked at again", PATIENCE, async || {
        rig.picture.selection(slot).is_none().then_some(())
    })
    .await;
}
