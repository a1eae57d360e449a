//! WebSocket frames (RFC 6455) as a client reads and writes them, and the upgrade request. Hand-made because a general
//! library's buffers and copies, times 10,000 connections, would cost as much as the server that is to be measured.

/// Opcodes this client meets.
pub(crate) mod opcode {
    pub(crate) const CONTINUATION: u8 = 0;
    pub(crate) const TEXT: u8 = 1;
    pub(crate) const BINARY: u8 = 2;
    pub(crate) const CLOSE: u8 = 8;
    pub(crate) const PING: u8 = 9;
    pub(crate) const PONG: u8 = 10;
}

/// Longest message accepted from a server; more is a fault of the server or of this parser.
const MAX_PAYLOAD: usize = 16 << 20;
const FIN: u8 = 0x80;
const MASKED: u8 = 0x80;
const LENGTH: u8 = 0x7f;
const LENGTH_16: u8 = 126;
const LENGTH_64: u8 = 127;

/// One frame from a server.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Frame<'a> {
    pub(crate) opcode: u8,
    pub(crate) payload: &'a [u8],
}

/// A server that does not speak WebSocket.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub(crate) enum WireError {
    #[error("a fragmented message")]
    Fragmented,
    #[error("a masked frame from a server")]
    Masked,
    #[error("a frame of {0} bytes")]
    TooLong(usize),
}

/// Cuts a byte stream into frames. Holds bytes only while a frame is incomplete, so an idle connection has no buffer.
#[derive(Debug, Default)]
pub(crate) struct Decoder {
    rest: Vec<u8>,
}

impl Decoder {
    /// Takes the next bytes of the stream and hands every frame they complete to `on_frame`.
    pub(crate) fn feed(
        &mut self,
        bytes: &[u8],
        mut on_frame: impl FnMut(Frame<'_>),
    ) -> Result<(), WireError> {
        if self.rest.is_empty() {
            let used = drain(bytes, &mut on_frame)?;
            self.rest.extend_from_slice(&bytes[used..]);
        } else {
            self.rest.extend_from_slice(bytes);
            let used = drain(&self.rest, &mut on_frame)?;
            self.rest.drain(..used);
        }
        if self.rest.is_empty() {
            self.rest = Vec::new();
        }
        Ok(())
    }
}

/// Hands out the complete frames at the head of `bytes` and says how many bytes they took.
fn drain(bytes: &[u8], on_frame: &mut impl FnMut(Frame<'_>)) -> Result<usize, WireError> {
    let mut used = 0;
    while let Some((header, length, opcode)) = head(&bytes[used..])? {
        let start = used + header;
        let Some(payload) = bytes.get(start..start + length) else { break };
        on_frame(Frame { opcode, payload });
        used = start + length;
    }
    Ok(used)
}

/// Header length, payload length and opcode; `None` while the header is incomplete.
fn head(bytes: &[u8]) -> Result<Option<(usize, usize, u8)>, WireError> {
    let [first, second, tail @ ..] = bytes else { return Ok(None) };
    let opcode = first & 0x0f;
    if first & FIN == 0 || opcode == opcode::CONTINUATION {
        return Err(WireError::Fragmented);
    }
    if second & MASKED != 0 {
        return Err(WireError::Masked);
    }
    let (header, length) = match second & LENGTH {
        LENGTH_16 => match tail {
            [a, b, ..] => (4, usize::from(u16::from_be_bytes([*a, *b]))),
            _ => return Ok(None),
        },
        LENGTH_64 => match tail.first_chunk::<8>() {
            Some(length) => (10, usize::try_from(u64::from_be_bytes(*length)).unwrap_or(usize::MAX)),
            None => return Ok(None),
        },
        short => (2, usize::from(short)),
    };
    if length > MAX_PAYLOAD {
        return Err(WireError::TooLong(length));
    }
    Ok(Some((header, length, opcode)))
}

/// A client frame. Its masking key is zero: allowed on the wire, read by every server the same way, and free to apply.
pub(crate) fn encode(opcode: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = Vec::with_capacity(payload.len() + 14);
    frame.push(FIN | opcode);
    match payload.len() {
        short @ 0..=125 => frame.push(MASKED | short as u8),
        middle @ 126..=0xffff => {
            frame.push(MASKED | LENGTH_16);
            frame.extend_from_slice(&(middle as u16).to_be_bytes());
        }
        long => {
            frame.push(MASKED | LENGTH_64);
            frame.extend_from_slice(&(long as u64).to_be_bytes());
        }
    }
    frame.extend_from_slice(&[0; 4]);
    frame.extend_from_slice(payload);
    frame
}

/// The upgrade request of a browser-like client without an Origin.
pub(crate) fn upgrade_request(host: &str, path: &str) -> String {
    format!(
        "GET {path} HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         User-Agent: slotcast-loadgen\r\nSec-WebSocket-Key: c2xvdGNhc3QtbG9hZGdlbg==\r\nSec-WebSocket-Version: 13\r\n\r\n"
    )
}

#[cfg(test)]
mod tests {
    use super::{Decoder, WireError, encode, opcode};

    fn collect(decoder: &mut Decoder, bytes: &[u8]) -> Vec<(u8, Vec<u8>)> {
        let mut frames = Vec::new();
        decoder.feed(bytes, |frame| frames.push((frame.opcode, frame.payload.to_vec()))).expect("frames");
        frames
    }

    fn server_frame(payload: &[u8]) -> Vec<u8> {
        let mut frame = encode(opcode::TEXT, payload);
        let mask_at = frame.len() - payload.len() - 4;
        frame.drain(mask_at..mask_at + 4);
        frame[1] &= 0x7f;
        frame
    }

    #[test]
    fn frames_of_every_length_form_survive_any_cut() {
        for length in [0, 5, 125, 126, 300, 0xffff, 0x1_0000] {
            let payload = vec![b'x'; length];
            let stream = [server_frame(&payload), server_frame(b"end")].concat();
            for cut in [0, 1, 2, 3, 4, 9, 10, 11, length / 2, stream.len() - 1] {
                let mut decoder = Decoder::default();
                let mut frames = collect(&mut decoder, &stream[..cut.min(stream.len())]);
                frames.extend(collect(&mut decoder, &stream[cut.min(stream.len())..]));
                assert_eq!(frames.len(), 2, "length {length} cut {cut}");
                assert_eq!(frames[0].1, payload);
                assert!(decoder.rest.is_empty());
            }
        }
    }

    #[test]
    fn a_server_that_masks_or_fragments_is_refused() {
        let mut decoder = Decoder::default();
        assert_eq!(decoder.feed(&encode(opcode::TEXT, b"x"), |_| ()), Err(WireError::Masked));
        assert_eq!(Decoder::default().feed(&[0x01, 0x00], |_| ()), Err(WireError::Fragmented));
    }
}
