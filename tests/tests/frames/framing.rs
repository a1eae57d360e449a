//! Cases 1 to 5, 9 and 10: sizes and the three forms of the length, pings and pongs, reserved bits, opcodes,
//! masks, fragments, and messages as large as may be.

use support::masked_frame;

use super::case::Heard::{Answer, Closed, Malformed, Pong};
use super::case::{
    BINARY, CLOSE, CONTINUATION, Case, FIN, MAX_TEXT, PING, PONG, TEXT, ask, ask_of, ask_with, in_pieces,
};

const FRAMING: Option<u16> = Some(1002);
const UNSUPPORTED: Option<u16> = Some(1003);
const TOO_BIG: Option<u16> = Some(1009);

pub(crate) fn cases() -> Vec<Case> {
    let families =
        [sizes(), pings(), reserved_bits(), opcodes(), masks(), fragments(), broken_fragments(), limits()];
    families.into_iter().flatten().collect()
}

fn answer(id: &str) -> super::case::Heard {
    Answer(id.into())
}

fn text(payload: &[u8]) -> Vec<u8> {
    masked_frame(FIN | TEXT, payload)
}

fn ping(payload: &[u8]) -> Vec<u8> {
    masked_frame(FIN | PING, payload)
}

/// 1: every border of the length's forms, and of what this server takes.
fn sizes() -> Vec<Case> {
    let mut cases = vec![Case::new("1.1.1 an empty text", [text(b"")], [Malformed])];
    for length in [64, 124, 125, 126, 127, 128, 254, 256, 4095, MAX_TEXT - 1, MAX_TEXT] {
        cases.push(Case::new(
            format!("1.1 a text of {length} bytes"),
            [text(&ask_of("a", length))],
            [answer("a")],
        ));
    }
    for length in [MAX_TEXT + 1, 65_534, 65_535, 65_536, 65_537] {
        cases.push(Case::new(
            format!("1.1 a text of {length} bytes"),
            [text(&vec![b' '; length])],
            [Closed(TOO_BIG)],
        ));
    }
    for length in [0, 1, 125, 126, 127, 128, MAX_TEXT] {
        let binary = masked_frame(FIN | BINARY, &vec![0xfe; length]);
        cases.push(Case::new(format!("1.2 {length} binary bytes"), [binary], [Closed(UNSUPPORTED)]));
    }
    for length in [65_535, 65_536] {
        let binary = masked_frame(FIN | BINARY, &vec![0xfe; length]);
        cases.push(Case::new(format!("1.2 {length} binary bytes"), [binary], [Closed(TOO_BIG)]));
    }
    let pieces = [masked_frame(BINARY, b"ab"), masked_frame(FIN | CONTINUATION, b"cd")];
    cases.push(Case::new("1.2 binary in pieces", pieces, [Closed(UNSUPPORTED)]));
    for size in [1, 2, 7, 997] {
        let whole = || {
            Case::new("1.1.8 a whole text", [text(&ask_of("a", 300)), ask("b")], [answer("a"), answer("b")])
        };
        cases.push(whole().in_writes_of(size));
        let largest = Case::new("1.1.8 the largest text", [text(&ask_of("a", MAX_TEXT))], [answer("a")]);
        cases.push(largest.in_writes_of(size));
    }
    // The header's four parts, the mask, and the payload's first and last byte.
    for length in [60, 126] {
        let whole = Case::new(format!("1.1 {length} bytes"), [text(&ask_of("a", length))], [answer("a")]);
        cases.extend(whole.cut_everywhere().take(24));
    }
    // Asked for by the RFC in the shortest form; a receiver may take the longer ones.
    let long_forms: [(&str, &[u8]); 2] = [("16", &[0xfe, 0, 50]), ("64", &[0xff, 0, 0, 0, 0, 0, 0, 0, 50])];
    for (bits, length) in long_forms {
        let frame = [&[FIN | TEXT], length, &[0; 4], &ask_of("a", 50)].concat();
        cases.push(Case::new(format!("1.3 50 bytes with a length of {bits} bits"), [frame], [answer("a")]));
    }
    let beyond = [FIN | TEXT, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1, 2, 3, 4];
    cases.push(Case::new("1.3 a length above 63 bits", [beyond.to_vec()], [Closed(TOO_BIG)]));
    cases
}

/// 2: pings come back with what is in them, in order; pongs nobody asked for are taken.
fn pings() -> Vec<Case> {
    let echoed = |name: &str, payload: &[u8]| {
        Case::new(format!("2 a ping with {name}"), [ping(payload)], [Pong(payload.to_vec())])
    };
    let mut cases = vec![
        echoed("nothing", b""),
        echoed("a text", b"Hello, world!"),
        echoed("bytes that are no text", &[0x00, 0xff, 0xfe, 0xfd, 0xfc, 0xfb, 0x00, 0xff]),
        echoed("125 bytes", &[0xfe; 125]),
        echoed("125 bytes", &[0xfe; 125]).in_writes_of(1),
        Case::new("2.7 a pong that nobody asked for", [masked_frame(FIN | PONG, b"")], []),
        Case::new("2.8 the same with something in it", [masked_frame(FIN | PONG, b"unsolicited")], []),
        Case::new(
            "2.9 such a pong, then a ping",
            [masked_frame(FIN | PONG, b"unsolicited"), ping(b"ping")],
            [Pong(b"ping".to_vec())],
        ),
    ];
    for length in [126, 127, 200, 1000] {
        for (name, opcode) in [("ping", PING), ("pong", PONG)] {
            let long = masked_frame(FIN | opcode, &vec![0xfe; length]);
            cases.push(Case::new(format!("2.5 a {name} of {length} bytes"), [long], [Closed(FRAMING)]));
        }
    }
    let many = |count: usize| {
        let payloads: Vec<Vec<u8>> =
            (0..count).map(|number| format!("payload-{number}").into_bytes()).collect();
        let pings: Vec<_> = payloads.iter().map(|payload| ping(payload)).collect();
        Case::new(format!("2.10 {count} pings"), pings, payloads.into_iter().map(Pong))
    };
    cases.extend([many(10), many(10).in_writes_of(1), many(500)]);
    let between = [ask("a"), ping(b"x"), ask("b"), ping(b"y")];
    let heard = || [answer("a"), Pong(b"x".to_vec()), answer("b"), Pong(b"y".to_vec())];
    cases.push(Case::new("2.10 pings between texts", between, heard()));
    cases
}

/// 3: no extension was agreed on, so nothing may use the reserved bits.
fn reserved_bits() -> Vec<Case> {
    let mut cases = Vec::new();
    for bits in 1..8_u8 {
        let rsv = bits << 4;
        for (name, first, payload) in [
            ("text", FIN | TEXT, &b"{\"type\":\"ping\"}"[..]),
            ("empty text", FIN | TEXT, b""),
            ("first piece", TEXT, b"{"),
            ("binary frame", FIN | BINARY, b"x"),
            ("ping", FIN | PING, b"x"),
            ("pong", FIN | PONG, b"x"),
            ("close", FIN | CLOSE, &[0x03, 0xe8]),
        ] {
            let bytes = [ask("a"), masked_frame(rsv | first, payload), ping(b"late")];
            let name = format!("3 reserved bits {bits:03b} in a {name}");
            cases.push(Case::new(name, bytes, [answer("a"), Closed(FRAMING)]));
        }
        let later = [masked_frame(TEXT, b"{"), masked_frame(rsv | FIN | CONTINUATION, b"}")];
        cases.push(Case::new(
            format!("3 reserved bits {bits:03b} in a later piece"),
            later,
            [Closed(FRAMING)],
        ));
    }
    let byte_by_byte = [ask("a"), masked_frame(0x40 | FIN | TEXT, b"{}")];
    cases.push(Case::new("3.4 a reserved bit", byte_by_byte, [answer("a"), Closed(FRAMING)]).in_writes_of(1));
    cases
}

/// 4: opcodes that mean nothing.
fn opcodes() -> Vec<Case> {
    let mut cases = Vec::new();
    for opcode in [3, 4, 5, 6, 7, 11, 12, 13, 14, 15_u8] {
        for payload in [&b""[..], b"reserved"] {
            let bytes = [ask("a"), masked_frame(FIN | opcode, payload), ping(b"late")];
            let name = format!("4 opcode {opcode} with {} bytes", payload.len());
            cases.push(Case::new(name, bytes, [answer("a"), Closed(FRAMING)]));
        }
        let first = masked_frame(opcode, b"x");
        cases.push(Case::new(format!("4 opcode {opcode}, not final"), [first], [Closed(FRAMING)]));
        let inside = [masked_frame(TEXT, b"{"), masked_frame(FIN | opcode, b"x")];
        cases.push(Case::new(format!("4 opcode {opcode} amid a message"), inside, [Closed(FRAMING)]));
    }
    cases
}

/// Every frame of a client's is masked; with what is its own affair.
fn masks() -> Vec<Case> {
    let mut cases = Vec::new();
    for (name, first) in [
        ("text", FIN | TEXT),
        ("first piece", TEXT),
        ("binary frame", FIN | BINARY),
        ("ping", FIN | PING),
        ("pong", FIN | PONG),
        ("close", FIN | CLOSE),
        ("continuation", FIN | CONTINUATION),
    ] {
        for length in [0, 2_u8] {
            let payload = &[0x03, 0xe8][..usize::from(length)];
            let frame = [&[first, length], payload].concat();
            let name = format!("no mask on a {name} of {length} bytes");
            cases.push(Case::new(name, [ask("a"), frame], [answer("a"), Closed(FRAMING)]));
        }
    }
    let long = [&[FIN | TEXT, 126, 0, 200][..], &[b' '; 200]].concat();
    cases.push(Case::new("no mask on a text of 200 bytes", [long], [Closed(FRAMING)]));
    let later = [masked_frame(TEXT, b"{"), vec![FIN | CONTINUATION, 1, b'}']];
    cases.push(Case::new("no mask on the second piece", later, [Closed(FRAMING)]));
    for mask in [[0; 4], [0xff; 4], [0, 0, 0, 1], [b'{', b'"', 0x80, 0xff]] {
        let payload = ask_of("a", 61);
        let masked = payload.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask);
        let frame = [FIN | TEXT, 0x80 | 61].into_iter().chain(mask).chain(masked).collect();
        cases.push(Case::new(format!("the mask {mask:02x?}"), [frame], [answer("a")]));
    }
    cases
}

/// 5: messages in pieces, with control frames between them.
fn fragments() -> Vec<Case> {
    let whole = ask_with("a", "ordinary and ünusual".as_bytes());
    let pieces = |size: usize| in_pieces(whole.chunks(size));
    let mut cases = Vec::new();
    for size in [1, 2, 3, 10, whole.len() - 1, whole.len()] {
        cases.push(Case::new(format!("5.3 in pieces of {size}"), pieces(size), [answer("a")]));
        cases
            .push(Case::new(format!("5.5 in pieces of {size}"), pieces(size), [answer("a")]).in_writes_of(1));
        let with_pings: Vec<_> = pieces(size).into_iter().flat_map(|piece| [ping(b"p"), piece]).collect();
        let pongs = (0..pieces(size).len()).map(|_| Pong(b"p".to_vec()));
        let name = format!("5.19 in pieces of {size} with a ping before each");
        cases.push(Case::new(name, with_pings, pongs.chain([answer("a")])));
    }
    for at in 0..=whole.len() {
        let name = format!("5.3 in two pieces, cut at byte {at}");
        cases.push(Case::new(name, in_pieces([&whole[..at], &whole[at..]]), [answer("a")]));
    }
    let two = || in_pieces([&whole[..20], &whole[20..]]);
    cases.extend(Case::new("5.4 in two pieces", two(), [answer("a")]).cut_everywhere());
    let with_empty = in_pieces([b"", &whole[..20], b"", b"", &whole[20..], b""]);
    cases.push(Case::new("5 with empty pieces", with_empty, [answer("a")]));
    cases.push(Case::new("5 nothing but empty pieces", in_pieces([&b""[..]; 6]), [Malformed]));
    let [first, second] = two().try_into().expect("two");
    for (name, between, pong) in [
        ("a ping", ping(b"in between"), Some(Pong(b"in between".to_vec()))),
        ("a pong", masked_frame(FIN | PONG, b"in between"), None),
    ] {
        let frames = || [first.clone(), between.clone(), second.clone(), ask("b")];
        let heard = || pong.clone().into_iter().chain([answer("a"), answer("b")]);
        cases.push(Case::new(format!("5.6 with {name} in between"), frames(), heard()));
        cases.push(Case::new(format!("5.8 with {name} in between"), frames(), heard()).in_writes_of(1));
    }
    let largest = ask_of("a", MAX_TEXT);
    cases.push(Case::new("5 the largest text byte by byte", in_pieces(largest.chunks(1)), [answer("a")]));
    cases
}

/// 5: what is no message in pieces.
fn broken_fragments() -> Vec<Case> {
    let mut cases = Vec::new();
    for (name, opcode) in [("ping", PING), ("pong", PONG), ("close", CLOSE)] {
        let frames = [ask("a"), masked_frame(opcode, b""), masked_frame(FIN | CONTINUATION, b"")];
        cases.push(Case::new(format!("5.1 a {name} in pieces"), frames, [answer("a"), Closed(FRAMING)]));
        let inside =
            [masked_frame(TEXT, b"{"), masked_frame(opcode, b""), masked_frame(FIN | CONTINUATION, b"}")];
        cases.push(Case::new(format!("5.1 a {name} in pieces amid a message"), inside, [Closed(FRAMING)]));
    }
    for (name, fin) in [("5.9 the last", FIN), ("5.10 not the last", 0)] {
        for payload in [&b""[..], b"{}"] {
            let frames = || [masked_frame(fin | CONTINUATION, payload), ask("a")];
            let name = format!("{name} piece of nothing, {} bytes", payload.len());
            cases.push(Case::new(name.clone(), frames(), [Closed(FRAMING)]));
            cases.push(Case::new(name, frames(), [Closed(FRAMING)]).in_writes_of(1));
        }
    }
    let after = in_pieces([&ask_with("a", b"")[..9], &ask_with("a", b"")[9..]])
        .into_iter()
        .chain([masked_frame(FIN | CONTINUATION, b"{}")]);
    cases.push(Case::new("5.15 a piece after the last one", after, [answer("a"), Closed(FRAMING)]));
    for (name, second) in [
        ("text", masked_frame(FIN | TEXT, b"{}")),
        ("text in pieces", masked_frame(TEXT, b"{")),
        ("binary frame", masked_frame(FIN | BINARY, b"x")),
    ] {
        let frames = [masked_frame(TEXT, b"{"), second, ask("a")];
        cases.push(Case::new(format!("5.18 a new {name} amid a message"), frames, [Closed(FRAMING)]));
    }
    cases
}

/// 9 and 10: as large as may be, and larger, however it comes.
fn limits() -> Vec<Case> {
    let largest = ask_of("a", MAX_TEXT);
    let too_big = [&largest[..], b" "].concat();
    let mut cases = Vec::new();
    for size in [64, 256, 1000, 4096, MAX_TEXT - 1] {
        let pieces = |text: &[u8]| in_pieces(text.chunks(size));
        cases.push(Case::new(
            format!("9.3 {MAX_TEXT} bytes in pieces of {size}"),
            pieces(&largest),
            [answer("a")],
        ));
        let name = format!("9.4 one byte more in pieces of {size}");
        cases.push(Case::new(name, pieces(&too_big), [Closed(TOO_BIG)]));
        let name = format!("9.5 {MAX_TEXT} bytes in writes of {size}");
        cases.push(Case::new(name, [text(&largest)], [answer("a")]).in_writes_of(size));
    }
    // Refused by what its header promises; the payload need not come.
    for length in [
        [0, 0, 0, 0, 0, 0, 0x20, 0x01],
        [0, 0, 0, 1, 0, 0, 0, 0],
        [0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff],
    ] {
        let header = [&[FIN | TEXT, 0xff], &length[..], &[1, 2, 3, 4]].concat();
        cases.push(Case::new(format!("9 a length of {length:02x?}"), [header], [Closed(TOO_BIG)]));
    }
    let many: Vec<_> = (0..100).map(|number| text(&ask_of(&format!("n{number}"), 4096))).collect();
    let answers = (0..100).map(|number| Answer(format!("n{number}")));
    cases.push(Case::new("9.7 a hundred texts of 4096 bytes", many, answers));
    cases
}
