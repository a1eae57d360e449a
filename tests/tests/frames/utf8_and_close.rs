//! Cases 6 and 7: text that is UTF-8 and text that is not, whole and in pieces; close frames and what may
//! follow them.

use support::masked_frame;

use super::case::Heard::{Answer, Closed, ClosedWith, Malformed};
use super::case::{CLOSE, CONTINUATION, Case, FIN, PING, TEXT, ask, ask_with, in_pieces};

const FRAMING: Option<u16> = Some(1002);
const NOT_UTF8: Option<u16> = Some(1007);

/// The first and last of each length, what lies around the surrogates, and characters that nobody uses.
const UTF8: [&str; 14] = [
    "Hello-\u{b5}@\u{df}\u{f6}\u{e4}\u{fc}\u{e0}\u{e1}-UTF-8!!",
    "\u{3ba}\u{1f79}\u{3c3}\u{3bc}\u{3b5}",
    "\u{7f}",
    "\u{80}",
    "\u{7ff}",
    "\u{800}",
    "\u{d7ff}",
    "\u{e000}",
    "\u{fffd}",
    "\u{fffe}\u{ffff}",
    "\u{10000}",
    "\u{1fffe}\u{1ffff}\u{2fffe}",
    "\u{10fffe}\u{10ffff}",
    "\u{feff}\u{200b}\u{202e}",
];

/// Too long, surrogates, beyond the last character, without a beginning, without an end, and bytes that never
/// occur.
const NOT_UTF8_AT_ALL: [&[u8]; 40] = [
    b"\xc0\xaf",
    b"\xe0\x80\xaf",
    b"\xf0\x80\x80\xaf",
    b"\xf8\x80\x80\x80\xaf",
    b"\xfc\x80\x80\x80\x80\xaf",
    b"\xc1\xbf",
    b"\xe0\x9f\xbf",
    b"\xf0\x8f\xbf\xbf",
    b"\xf8\x87\xbf\xbf\xbf",
    b"\xfc\x83\xbf\xbf\xbf\xbf",
    b"\xc0\x80",
    b"\xe0\x80\x80",
    b"\xf0\x80\x80\x80",
    b"\xed\xa0\x80",
    b"\xed\xad\xbf",
    b"\xed\xae\x80",
    b"\xed\xaf\xbf",
    b"\xed\xb0\x80",
    b"\xed\xbe\x80",
    b"\xed\xbf\xbf",
    b"\xed\xa0\x80\xed\xb0\x80",
    b"\xed\xaf\xbf\xed\xbf\xbf",
    b"\xf4\x90\x80\x80",
    b"\xf7\xbf\xbf\xbf",
    b"\xf8\x88\x80\x80\x80",
    b"\xfb\xbf\xbf\xbf\xbf",
    b"\xfc\x84\x80\x80\x80\x80",
    b"\xfd\xbf\xbf\xbf\xbf\xbf",
    b"\x80",
    b"\xbf",
    b"\x80\xbf\x80\xbf\x80\xbf\x80",
    b"\xc3 \xc4 ",
    b"\xe2 \xe3 ",
    b"\xf0 \xf1 ",
    b"\xc3",
    b"\xe2\x82",
    b"\xf0\x9f\x98",
    b"\xfe",
    b"\xff",
    b"\xfe\xfe\xff\xff",
];

pub(crate) fn cases() -> Vec<Case> {
    [utf8(), not_utf8(), closes(), refused_closes(), after_close()].into_iter().flatten().collect()
}

fn answer() -> super::case::Heard {
    Answer("a".into())
}

fn text(payload: &[u8]) -> Vec<u8> {
    masked_frame(FIN | TEXT, payload)
}

fn close(payload: &[u8]) -> Vec<u8> {
    masked_frame(FIN | CLOSE, payload)
}

/// A close frame's payload.
fn reason(code: u16, text: &[u8]) -> Vec<u8> {
    [&code.to_be_bytes()[..], text].concat()
}

fn utf8() -> Vec<Case> {
    let mut cases = vec![Case::new("6.2 the first character of all", [text(b"\0")], [Malformed])];
    for valid in UTF8 {
        let whole = ask_with("a", valid.as_bytes());
        cases.push(Case::new(format!("6.2 {valid:?}"), [text(&whole)], [answer()]));
        let bytes = in_pieces(whole.chunks(1));
        cases.push(Case::new(format!("6.2 {valid:?}, byte by byte"), bytes, [answer()]));
        let start =
            whole.windows(valid.len()).position(|part| part == valid.as_bytes()).expect("it is in there");
        for at in start..=start + valid.len() {
            let pieces = in_pieces([&whole[..at], b"", &whole[at..]]);
            cases.push(Case::new(format!("6.2 {valid:?}, cut at {at}"), pieces, [answer()]));
        }
    }
    cases
}

/// Said at the end of the frame in which it is certain, which may be before the end of the message. What has
/// come of a frame is not judged before the whole of it is there: the strict cases' "fail fast" within a
/// frame is no promise.
fn not_utf8() -> Vec<Case> {
    let mut cases = Vec::new();
    for invalid in NOT_UTF8_AT_ALL {
        let name = format!("6.3 \"{}\"", invalid.escape_ascii());
        let whole = [b"\xce\xba\xe1\xbd\xb9", invalid].concat();
        cases.push(Case::new(name.clone(), [text(&whole)], [Closed(NOT_UTF8)]));
        let bytes = in_pieces(whole.chunks(1));
        cases.push(Case::new(format!("{name}, byte by byte"), bytes, [Closed(NOT_UTF8)]));
        for at in 5..=whole.len() {
            let pieces = in_pieces([&whole[..at], b"", &whole[at..]]);
            cases.push(Case::new(format!("{name}, cut at {at}"), pieces, [Closed(NOT_UTF8)]));
        }
    }
    let unfinished = [masked_frame(TEXT, b"\xce\xba"), masked_frame(CONTINUATION, b"\xf4\x90\x80\x80")];
    cases.push(Case::new("6.4 a message that cannot become one", unfinished, [Closed(NOT_UTF8)]));
    let cut = [
        masked_frame(TEXT, b"\xf0\x9f"),
        masked_frame(FIN | PING, b""),
        masked_frame(FIN | CONTINUATION, b""),
    ];
    let pong = super::case::Heard::Pong(Vec::new());
    cases.push(Case::new("6.4 half a character", cut, [pong, Closed(NOT_UTF8)]));
    cases
}

/// 7: the code and reason come back, then the server ends the connection.
fn closes() -> Vec<Case> {
    let mut cases = vec![Case::new("7.3.1 no payload", [close(b"")], [ClosedWith(Vec::new())])];
    for code in
        [1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 3000, 3999, 4000, 4408, 4999]
    {
        for text in [&b""[..], b"going away"] {
            let payload = reason(code, text);
            let name = format!("7.7 code {code} with {} bytes of reason", text.len());
            cases.push(Case::new(name, [ask("a"), close(&payload)], [answer(), ClosedWith(payload)]));
        }
    }
    let longest = reason(1000, &[b'x'; 123]);
    cases.push(Case::new("7.3.5 a reason of 123 bytes", [close(&longest)], [ClosedWith(longest.clone())]));
    let whole = reason(1000, "\u{3ba}\u{1f79}\u{3c3}".as_bytes());
    let byte_by_byte = Case::new("7.3 a reason in Greek", [close(&whole)], [ClosedWith(whole.clone())]);
    cases.push(byte_by_byte.in_writes_of(1));
    cases.extend(Case::new("7.3 a close", [close(&whole)], [ClosedWith(whole)]).cut_everywhere());
    let amid = [masked_frame(TEXT, b"{"), close(&reason(1000, b""))];
    cases.push(Case::new("7.1.5 amid a message", amid, [ClosedWith(reason(1000, b""))]));
    cases
}

/// Codes that must not be sent, and payloads that are none.
fn refused_closes() -> Vec<Case> {
    let mut cases = vec![Case::new("7.3.2 one byte", [close(b"\x03")], [Closed(FRAMING)])];
    for length in [124, 125, 1000] {
        let long = close(&reason(1000, &vec![b'x'; length]));
        cases.push(Case::new(format!("7.3.6 a reason of {length} bytes"), [long], [Closed(FRAMING)]));
    }
    for invalid in [&b"\xff"[..], b"\xce\xba\xe1\xbd\xb9\xcf\x83\xce\xbc\xce\xb5\xf4\x90\x80\x80edited"] {
        let name = format!("7.5.1 the reason \"{}\"", invalid.escape_ascii());
        cases.push(Case::new(name, [close(&reason(1000, invalid))], [Closed(NOT_UTF8)]));
    }
    // The server answers what is wrong with the code, in a close frame all the same.
    let violation = ClosedWith(reason(1002, b"Protocol violation"));
    for code in [0, 1, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65_535] {
        let frames = [ask("a"), close(&reason(code, b""))];
        cases.push(Case::new(format!("7.9 code {code}"), frames, [answer(), violation.clone()]));
    }
    cases
}

/// The first close frame counts; after the server's own nothing comes, whatever is sent.
fn after_close() -> Vec<Case> {
    let bye = reason(1000, b"bye");
    let after: [(&str, Vec<u8>); 7] = [
        ("7.1.2 a second close", close(&reason(1001, b""))),
        ("7.1.3 a ping", masked_frame(FIN | PING, b"late")),
        ("7.1.4 a text", ask("late")),
        ("7.1.5 a piece", masked_frame(FIN | CONTINUATION, b"}")),
        ("7.1.6 a large text", text(&[b'x'; 60_000])),
        ("7.1 a broken frame", vec![0xff; 20]),
        ("7.1 half a frame", vec![FIN | TEXT, 0x85, 1]),
    ];
    let mut cases = Vec::new();
    for (name, late) in after {
        let frames = || [close(&bye), late.clone()];
        cases.push(Case::new(format!("{name} after a close"), frames(), [ClosedWith(bye.clone())]));
        let cut = close(&bye).len();
        let apart = Case::new(format!("{name} a moment after a close"), frames(), [ClosedWith(bye.clone())]);
        cases.extend(apart.cut_everywhere().nth(cut - 1));
        let broken = [masked_frame(FIN | 3, b""), late];
        cases.push(Case::new(format!("{name} after the server's close"), broken, [Closed(FRAMING)]));
    }
    cases
}
