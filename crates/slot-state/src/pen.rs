//! A store's hand on the picture: what it writes counts only while that store decides.

use std::ops::Deref;
use std::sync::Arc;

use tokio::time::Instant;

use crate::event::Change;
use crate::picture::Picture;
use crate::slot::{ClientId, Slot};
use crate::store::{Storage, StorageMode};

/// Writes to the picture in the name of one store, and reads all of it.
#[derive(Clone)]
pub(crate) struct Pen {
    picture: Arc<Picture>,
    store: StorageMode,
    is_alone: bool,
}

impl Pen {
    /// `is_alone`: no other store is composed with this one, which would tell how they are together.
    pub(crate) fn new(picture: Arc<Picture>, store: StorageMode, is_alone: bool) -> Self {
        Pen { picture, store, is_alone }
    }

    /// See [`Picture::apply`].
    pub(crate) fn apply(&self, change: Change) -> usize {
        self.picture.apply(self.store, change)
    }

    /// See [`Picture::expire`].
    pub(crate) fn expire(&self, slots: &[Slot]) {
        self.picture.expire(self.store, slots);
    }

    /// See [`Picture::prolong`].
    pub(crate) fn prolong(&self, slot: Slot, client: &ClientId, deadline: Instant, seq: u64) -> bool {
        self.picture.prolong(self.store, slot, client, deadline, seq)
    }

    /// See [`Picture::forget_sequence`].
    pub(crate) fn forget_sequence(&self) {
        if self.picture.is_decided_by(self.store) {
            self.picture.forget_sequence();
        }
    }

    /// Tells whoever watches how the store is.
    pub(crate) fn storage_changed(&self, storage: Storage) {
        if self.is_alone {
            self.picture.storage_changed(storage);
        }
    }

    /// Tells whoever watches that everything was read anew.
    pub(crate) fn read_anew(&self) {
        if self.picture.is_decided_by(self.store)
            && let Some(watcher) = self.picture.watcher()
        {
            watcher.read_anew();
        }
    }
}

impl Deref for Pen {
    type Target = Picture;

    fn deref(&self) -> &Picture {
        &self.picture
    }
}
