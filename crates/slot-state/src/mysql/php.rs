//! PHP's `serialize()` format, as far as plain values go: what WordPress keeps in its tables.
//! Strict: what PHP's own `serialize()` never writes is an error, and so are objects and references.
//! No input makes it panic or recurse deeply, and memory stays within a fixed multiple of the input's length.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

/// The longest text that is read, in bytes.
pub(crate) const MAX_LEN: usize = 1 << 20;
/// The most arrays inside each other that are read.
pub(crate) const MAX_DEPTH: usize = 8;
/// `i:0;N;`: an array cannot have more entries than this many bytes each allow.
const SHORTEST_ENTRY: usize = 6;

/// A plain PHP value.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Value {
    /// `null`.
    Null,
    /// A boolean.
    Bool(bool),
    /// An integer.
    Int(i64),
    /// A float; infinite and not-a-number too.
    Float(f64),
    /// A string, which need not be UTF-8.
    Bytes(Vec<u8>),
    /// An array in its order, each key once.
    Array(Vec<(Key, Value)>),
}

/// A key of an array, as PHP keeps it: see [`Key::new`].
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Key {
    /// An integer.
    Int(i64),
    /// Any other string.
    Bytes(Vec<u8>),
}

impl Key {
    /// The key that PHP makes of a string: `"10"` becomes the integer 10; `"010"`, `"-0"` and `"10:00"` stay.
    pub(crate) fn new(text: impl AsRef<[u8]>) -> Self {
        let text = text.as_ref();
        integer(text).map_or_else(|| Key::Bytes(text.to_vec()), Key::Int)
    }
}

/// Why a text is not a value, and where.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{problem}, at byte {at}")]
pub(crate) struct ParseError {
    /// What is wrong.
    pub(crate) problem: Problem,
    /// How many bytes stand before it.
    pub(crate) at: usize,
}

/// What is wrong with a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Problem {
    /// Longer than [`MAX_LEN`].
    #[error("longer than {MAX_LEN} bytes")]
    TooLong,
    /// More than [`MAX_DEPTH`] arrays inside each other.
    #[error("arrays nested deeper than {MAX_DEPTH}")]
    TooDeep,
    /// An object, an enum case, a reference or an escaped string.
    #[error("a value of type {:?}, which is not read", char::from(*.0))]
    Type(u8),
    /// Something else, or the end, stands where this should.
    #[error("expected {0}")]
    Expected(&'static str),
    /// A number with a plus sign, leading zeros or the like.
    #[error("a number not spelled as PHP spells it")]
    Spelling,
    /// A number that its type does not hold.
    #[error("a number out of range")]
    Range,
    /// A length or count that more bytes would have to follow.
    #[error("a length beyond the end")]
    Length,
}

/// Reads one value; nothing may follow it.
///
/// Of a key that comes twice the last value stays, in the first one's place, as PHP does it.
pub(crate) fn parse(bytes: &[u8]) -> Result<Value, ParseError> {
    if bytes.len() > MAX_LEN {
        return Err(ParseError { problem: Problem::TooLong, at: MAX_LEN });
    }
    let mut reader = Reader { bytes, at: 0 };
    let value = reader.value(0)?;
    if reader.at == bytes.len() { Ok(value) } else { Err(reader.expected("the end")) }
}

/// Writes a value byte for byte as PHP does with its default `serialize_precision` of -1.
///
/// A value nested deeper than [`MAX_DEPTH`] or longer than [`MAX_LEN`] cannot be read back.
pub(crate) fn encode(value: &Value) -> Vec<u8> {
    let mut out = Vec::new();
    write_value(value, &mut out);
    out
}

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

/// A key as it stands in the text, to find those that come twice without copying any.
#[derive(PartialEq, Eq, Hash)]
enum RawKey<'a> {
    Int(i64),
    Bytes(&'a [u8]),
}

impl<'a> Reader<'a> {
    fn rest(&self) -> &'a [u8] {
        self.bytes.get(self.at..).unwrap_or_default()
    }

    fn error(&self, problem: Problem) -> ParseError {
        ParseError { problem, at: self.at }
    }

    fn expected(&self, what: &'static str) -> ParseError {
        self.error(Problem::Expected(what))
    }

    fn expect(&mut self, text: &'static str) -> Result<(), ParseError> {
        if !self.rest().starts_with(text.as_bytes()) {
            return Err(self.expected(text));
        }
        self.at += text.len();
        Ok(())
    }

    fn value(&mut self, depth: usize) -> Result<Value, ParseError> {
        let value = match self.rest() {
            [b'N', ..] => {
                self.at += 1;
                Value::Null
            }
            [b'b', ..] => Value::Bool(self.bool()?),
            [b'i', ..] => Value::Int(self.int()?),
            [b'd', ..] => Value::Float(self.float()?),
            [b's', ..] => Value::Bytes(self.string()?.to_vec()),
            [b'a', ..] if depth == MAX_DEPTH => return Err(self.error(Problem::TooDeep)),
            [b'a', ..] => return self.array(depth).map(Value::Array),
            [kind @ (b'C' | b'E' | b'O' | b'R' | b'S' | b'r'), ..] => {
                return Err(self.error(Problem::Type(*kind)));
            }
            _ => return Err(self.expected("a value")),
        };
        self.expect(";")?;
        Ok(value)
    }

    fn bool(&mut self) -> Result<bool, ParseError> {
        self.expect("b:")?;
        let value = match self.rest() {
            [b'0', ..] => false,
            [b'1', ..] => true,
            _ => return Err(self.expected("0 or 1")),
        };
        self.at += 1;
        Ok(value)
    }

    fn int(&mut self) -> Result<i64, ParseError> {
        self.expect("i:")?;
        self.number(integer_spelling, integer)
    }

    fn float(&mut self) -> Result<f64, ParseError> {
        self.expect("d:")?;
        self.number(float_spelling, float)
    }

    fn length(&mut self) -> Result<usize, ParseError> {
        let unsigned = |text: &[u8]| integer_spelling(text) && !text.starts_with(b"-");
        self.number(unsigned, |text| usize::try_from(integer(text)?).ok())
    }

    /// A number up to the sign that ends it, which stays unread.
    fn number<T>(
        &mut self,
        spelled: impl Fn(&[u8]) -> bool,
        read: impl Fn(&[u8]) -> Option<T>,
    ) -> Result<T, ParseError> {
        let rest = self.rest();
        let len = rest.iter().take_while(|byte| !b":;".contains(byte)).count();
        let text = &rest[..len];
        if !spelled(text) {
            return Err(self.error(Problem::Spelling));
        }
        let number = read(text).ok_or_else(|| self.error(Problem::Range))?;
        self.at += len;
        Ok(number)
    }

    fn string(&mut self) -> Result<&'a [u8], ParseError> {
        self.expect("s:")?;
        let before = self.at;
        let len = self.length()?;
        self.expect(":\"")?;
        let Some(text) = self.rest().get(..len) else {
            return Err(ParseError { problem: Problem::Length, at: before });
        };
        self.at += len;
        self.expect("\"")?;
        Ok(text)
    }

    fn key(&mut self) -> Result<RawKey<'a>, ParseError> {
        let key = match self.rest() {
            [b'i', ..] => RawKey::Int(self.int()?),
            [b's', ..] => {
                let text = self.string()?;
                integer(text).map_or(RawKey::Bytes(text), RawKey::Int)
            }
            _ => return Err(self.expected("a key")),
        };
        self.expect(";")?;
        Ok(key)
    }

    fn array(&mut self, depth: usize) -> Result<Vec<(Key, Value)>, ParseError> {
        self.expect("a:")?;
        let before = self.at;
        let count = self.length()?;
        self.expect(":{")?;
        // A count is only a claim: nothing is reserved for it.
        if count > self.rest().len() / SHORTEST_ENTRY {
            return Err(ParseError { problem: Problem::Length, at: before });
        }
        let mut entries: Vec<(Key, Value)> = Vec::new();
        let mut places: HashMap<RawKey<'a>, usize> = HashMap::new();
        for _ in 0..count {
            let key = self.key()?;
            let value = self.value(depth + 1)?;
            let owned = match &key {
                RawKey::Int(number) => Key::Int(*number),
                RawKey::Bytes(text) => Key::Bytes(text.to_vec()),
            };
            match places.entry(key) {
                Entry::Occupied(place) => entries[*place.get()].1 = value,
                Entry::Vacant(place) => {
                    place.insert(entries.len());
                    entries.push((owned, value));
                }
            }
        }
        self.expect("}")?;
        Ok(entries)
    }
}

/// Whether this is an integer in its one spelling.
fn integer_spelling(text: &[u8]) -> bool {
    match text.strip_prefix(b"-").unwrap_or(text) {
        [b'0'] => text.len() == 1,
        [b'1'..=b'9', rest @ ..] => rest.iter().all(u8::is_ascii_digit),
        _ => false,
    }
}

/// The integer that this is the one spelling of.
fn integer(text: &[u8]) -> Option<i64> {
    integer_spelling(text).then(|| std::str::from_utf8(text).ok()?.parse().ok())?
}

/// Whether PHP might write a float like this, with whatever `serialize_precision`.
fn float_spelling(text: &[u8]) -> bool {
    fn digits(text: &[u8]) -> Option<&[u8]> {
        let len = text.iter().take_while(|byte| byte.is_ascii_digit()).count();
        (len > 0).then(|| &text[len..])
    }
    fn plain(text: &[u8]) -> Option<&[u8]> {
        let rest = digits(text.strip_prefix(b"-").unwrap_or(text))?;
        let rest = rest.strip_prefix(b".").map_or(Some(rest), digits)?;
        match rest {
            [b'E', b'+' | b'-', exponent @ ..] => digits(exponent),
            _ => Some(rest),
        }
    }
    matches!(text, b"INF" | b"-INF" | b"NAN") || plain(text).is_some_and(<[u8]>::is_empty)
}

fn float(text: &[u8]) -> Option<f64> {
    match text {
        b"INF" => Some(f64::INFINITY),
        b"-INF" => Some(f64::NEG_INFINITY),
        b"NAN" => Some(f64::NAN),
        _ => std::str::from_utf8(text).ok()?.parse().ok().filter(|number: &f64| number.is_finite()),
    }
}

/// The shortest digits that read back as the same float, in PHP's layout.
fn float_text(number: f64) -> String {
    if number.is_nan() {
        return "NAN".into();
    }
    if number.is_infinite() {
        return if number > 0.0 { "INF" } else { "-INF" }.into();
    }
    let scientific = format!("{number:e}");
    let (mantissa, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    match exponent.parse::<i32>() {
        Ok(-4..=16) | Err(_) => number.to_string(),
        Ok(exponent) => {
            let point = if mantissa.contains('.') { "" } else { ".0" };
            format!("{mantissa}{point}E{exponent:+}")
        }
    }
}

fn write_value(value: &Value, out: &mut Vec<u8>) {
    match value {
        Value::Null => out.extend(b"N;"),
        Value::Bool(value) => out.extend(format!("b:{};", u8::from(*value)).bytes()),
        Value::Int(number) => write_int(*number, out),
        Value::Float(number) => out.extend(format!("d:{};", float_text(*number)).bytes()),
        Value::Bytes(text) => write_string(text, out),
        Value::Array(entries) => {
            out.extend(format!("a:{}:{{", entries.len()).bytes());
            for (key, value) in entries {
                // A string that is an integer would be PHP's integer key after one reading.
                match key {
                    Key::Int(number) => write_int(*number, out),
                    Key::Bytes(text) => match integer(text) {
                        Some(number) => write_int(number, out),
                        None => write_string(text, out),
                    },
                }
                write_value(value, out);
            }
            out.push(b'}');
        }
    }
}

fn write_int(number: i64, out: &mut Vec<u8>) {
    out.extend(format!("i:{number};").bytes());
}

fn write_string(text: &[u8], out: &mut Vec<u8>) {
    out.extend(format!("s:{}:\"", text.len()).bytes());
    out.extend(text);
    out.extend(b"\";");
}

#[cfg(test)]
mod garbage;
#[cfg(test)]
mod tests;
