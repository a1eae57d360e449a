//! Counts what a client sends over TLS that says nothing: by changes of keys and empty records, each of which
//! resets the library's limit on the other, it could keep the gateway busy for ever without a frame that counts.
//! Fed by `tls_socket` with every read. Invariant: frames of a size that pages send never count, however many.

use tokio::time::Instant;

/// More than a record of the largest size, whose bytes come before what they say.
const MOST: usize = 32 * 1024;
/// Changes of keys that anybody has a reason for are a few dozen bytes in hours.
const FORGIVEN_PER_SECOND: usize = 8 * 1024;
/// Every byte said pays for itself and two of its record's 22 or 29: a frame of fifteen pays for all.
const PAID_BY_A_BYTE: usize = 3;

/// What one connection's records brought beyond what they said.
pub(super) struct Overhead {
    bytes: usize,
    forgiven: Instant,
}

impl Overhead {
    pub(super) fn new() -> Self {
        Self { bytes: 0, forgiven: Instant::now() }
    }

    /// So many bytes arrived and said so many; whether this may go on.
    pub(super) fn allows(&mut self, arrived: usize, said: usize) -> bool {
        self.bytes = (self.bytes + arrived).saturating_sub(said * PAID_BY_A_BYTE);
        if self.bytes > MOST {
            let forgiven = self.forgiven.elapsed().as_secs_f64() * FORGIVEN_PER_SECOND as f64;
            self.bytes = self.bytes.saturating_sub(forgiven as usize);
            self.forgiven = Instant::now();
        }
        self.bytes <= MOST
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::advance;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_pages_frames_never_count_and_the_largest_records_may_come_piece_by_piece() {
        let mut overhead = Overhead::new();
        for _ in 0..100_000 {
            // {"type":"ping"}, masked, in a record of its own; then 16 KiB in pieces as they come off a line.
            assert!(overhead.allows(21 + 22, 21));
        }
        for _ in 0..100 {
            for _ in 0..12 {
                assert!(overhead.allows(1460, 0));
            }
            assert!(overhead.allows(22, 16 * 1024));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_says_nothing_may_come_slowly_and_not_fast() {
        let mut overhead = Overhead::new();
        for _ in 0..1000 {
            advance(Duration::from_secs(1)).await;
            assert!(overhead.allows(8 * 1024, 0));
        }
        let mut overhead = Overhead::new();
        let before = (0..1000).take_while(|_| overhead.allows(4096, 0)).count();
        assert_eq!(before, MOST / 4096);
        advance(Duration::from_secs(2)).await;
        assert!(overhead.allows(4096, 0), "time forgives");
        // As slow to come as it is little to say.
        let mut overhead = Overhead::new();
        assert!((0..100_000).any(|_| !overhead.allows(864 + 23, 1)));
    }
}
