//! Counts the pieces of messages that are not whole yet, of which tungstenite tells nobody: by them alone a
//! client could keep the session busy for ever without a frame that counts. Fed by `io` with every byte read,
//! in order.

use std::io::Cursor;

use smallvec::SmallVec;
use tokio_tungstenite::tungstenite::protocol::frame::FrameHeader;
use tokio_tungstenite::tungstenite::protocol::frame::coding::OpCode;

/// Follows the frames of one connection.
#[derive(Default)]
pub(super) struct Fragments {
    /// Of a header that has not arrived whole: at most 14 bytes.
    head: SmallVec<[u8; 16]>,
    /// Bytes left of the payload under way.
    left: u64,
    counted: u32,
    /// What follows a broken header are no frames; tungstenite ends the connection at it.
    broken: bool,
}

impl Fragments {
    /// Goes on with the next bytes.
    pub(super) fn read(&mut self, mut bytes: &[u8]) {
        while !self.broken {
            let skipped = bytes.len().min(usize::try_from(self.left).unwrap_or(usize::MAX));
            self.left -= skipped as u64;
            bytes = &bytes[skipped..];
            let Some((next, rest)) = bytes.split_first() else { return };
            bytes = rest;
            self.head.push(*next);
            match FrameHeader::parse(&mut Cursor::new(&self.head)) {
                Ok(Some((header, length))) => {
                    let is_piece = !header.is_final && matches!(header.opcode, OpCode::Data(_));
                    self.counted = self.counted.saturating_add(u32::from(is_piece));
                    self.left = length;
                    self.head.clear();
                }
                Ok(None) => {}
                Err(_) => self.broken = true,
            }
        }
    }

    /// Whether some wait to be counted.
    pub(super) fn waiting(&self) -> bool {
        self.counted > 0
    }

    /// How many there were since the last time.
    pub(super) fn take(&mut self) -> u32 {
        std::mem::take(&mut self.counted)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A text in three pieces with a ping between them, a long one among them, then a whole text.
    fn stream() -> Vec<u8> {
        let mut bytes = vec![0x01, 0x81, 1, 2, 3, 4, b'a'];
        bytes.extend([0x89, 0x80, 1, 2, 3, 4]);
        bytes.extend([0x00, 0xfe, 0x01, 0x00, 1, 2, 3, 4]);
        bytes.extend([0x01; 256]);
        bytes.extend([0x80, 0x80, 1, 2, 3, 4]);
        bytes.extend([0x81, 0xff, 0, 0, 0, 0, 0, 0, 0, 2, 1, 2, 3, 4, 0x01, 0x01]);
        bytes
    }

    #[test]
    fn only_pieces_of_unfinished_messages_count_however_the_bytes_arrive() {
        for size in [1, 2, 3, 5, 7, 64, 1000] {
            let mut fragments = Fragments::default();
            stream().chunks(size).for_each(|bytes| fragments.read(bytes));
            assert_eq!(fragments.take(), 2, "in reads of {size}");
            assert!(!fragments.waiting() && fragments.head.is_empty() && fragments.left == 0);
        }
    }

    #[test]
    fn a_length_beyond_all_memory_and_an_unknown_opcode_are_no_harm() {
        let mut fragments = Fragments::default();
        fragments.read(&[0x01, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1, 2, 3, 4]);
        fragments.read(&[0; 1000]);
        assert_eq!((fragments.take(), fragments.left), (1, u64::MAX - 1000));
        let mut fragments = Fragments::default();
        fragments.read(&[0x03, 0x80, 1, 2, 3, 4]);
        fragments.read(&[0x01; 1000]);
        assert_eq!((fragments.take(), fragments.head.len()), (0, 6));
    }
}
