//! Somebody honest beside the attackers: chooses slots in one tab and watches the room from another browser
//! all the time.

use serde_json::Value;
use support::{Gateway, Page, Room};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

/// Two browsers at work until they are asked.
pub(crate) struct Witness {
    stop: oneshot::Sender<()>,
    work: JoinHandle<u32>,
}

impl Witness {
    pub(crate) async fn of(gateway: &Gateway) -> Self {
        let room = Room::tomorrow_of(77);
        let chooser = Page::of(gateway, "honest-chooser").await;
        let watcher = Page::watching(gateway, "honest-watcher", &room).await;
        let (stop, mut stopped) = oneshot::channel();
        let work = tokio::spawn(async move {
            let mut turns = 0;
            // Within the rate of writes that a site owner gets.
            let mut beat = tokio::time::interval(std::time::Duration::from_millis(250));
            while stopped.try_recv().is_err() {
                beat.tick().await;
                let time = format!("{:02}:{:02}", 8 + turns / 60 % 12, turns % 60);
                chooser.select(&room, &time).await.assert_ok("selected");
                watcher.eventually_active(&room, &[&time]).await;
                turns += 1;
            }
            chooser.assert_open();
            watcher.assert_open();
            let frames: Vec<Value> = watcher
                .frames()
                .iter()
                .map(|(_, text)| serde_json::from_str(text).expect("JSON"))
                .filter(|frame: &Value| frame["type"] == "snapshot" || frame["type"] == "diff")
                .collect();
            // The page itself checks that each diff follows the one before.
            assert_eq!(frames[0]["type"], "snapshot");
            assert!(frames[1..].iter().all(|frame| frame["type"] == "diff"), "the watcher was left behind");
            assert_eq!(frames.len() - 1, turns as usize, "one diff for each choice");
            turns
        });
        Self { stop, work }
    }

    /// Panics where they noticed anything: a refusal, a view that was late or made anew, a closed connection.
    pub(crate) async fn noticed_nothing(self) {
        // It ends by itself only by a panic, which is told next.
        let _ = self.stop.send(());
        let turns = self.work.await.expect("the honest notice nothing");
        assert!(turns > 0);
    }
}
