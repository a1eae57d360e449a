//! WebSocket framing of what the server sends: unmasked, so one encoding serves every connection.

use bytes::Bytes;
use tokio_tungstenite::tungstenite::protocol::frame::{
    FrameHeader,
    coding::{Control, Data, OpCode},
};

use crate::session::CloseCode;

/// A ping without a payload.
pub(crate) const PING: [u8; 2] = [0x89, 0x00];

/// A whole text message.
pub(crate) fn text(payload: &[u8]) -> Bytes {
    encode(OpCode::Data(Data::Text), payload)
}

/// A close frame.
pub(crate) fn close(code: CloseCode) -> Bytes {
    encode(OpCode::Control(Control::Close), &(code as u16).to_be_bytes())
}

fn encode(opcode: OpCode, payload: &[u8]) -> Bytes {
    let header = FrameHeader { opcode, ..FrameHeader::default() };
    let length = payload.len() as u64;
    let mut bytes = Vec::with_capacity(header.len(length) + payload.len());
    // Writing to a Vec does not fail.
    let _ = header.format(length, &mut bytes);
    bytes.extend_from_slice(payload);
    bytes.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_final_unmasked_and_carry_their_length() {
        assert_eq!(&text(b"hi")[..], b"\x81\x02hi");
        assert_eq!(&text(&[b'x'; 200])[..4], [0x81, 126, 0, 200]);
        assert_eq!(&close(CloseCode::Shutdown)[..], [0x88, 2, 0x03, 0xE9]);
        assert_eq!(&encode(OpCode::Control(Control::Ping), b"")[..], PING);
    }
}
