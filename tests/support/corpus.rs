//! The inputs in `tests/corpus`: what readers of foreign text were fed when they were wrong, and what leads a
//! fuzzer to their corners. A folder a reader, a file an input.

use std::path::{Path, PathBuf};
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tokio::time::Instant;

/// How long damaged copies are tried. `tests/fuzz` takes more time, and looks which way it leads.
const SHORT: Duration = Duration::from_millis(400);
/// Longer inputs say nothing new.
const LONGEST: usize = 16 * 1024;
const TELLING: &[&[u8]] = &[
    b"\0",
    b"\xff",
    b"\"",
    b"\\",
    b"{",
    b"}",
    b"[",
    b"]",
    b":",
    b";",
    b"=",
    b"&",
    b"%",
    b"_",
    b"-1",
    b"0",
    b"1e999",
    b"null",
    b"9223372036854775808",
    b"a:1:{",
    b"\r\n",
    b"\\u0000",
    b"\xed\xa0\x80",
    b"%00",
    b"[]",
    b"\n",
];

/// The inputs of one reader, in the order of their names.
fn inputs(name: &str) -> Vec<(PathBuf, Vec<u8>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(name);
    let mut paths: Vec<_> = folder
        .read_dir()
        .unwrap_or_else(|error| panic!("{}: {error}", folder.display()))
        .map(|entry| entry.expect("an entry").path())
        .collect();
    paths.sort();
    paths.into_iter().map(|path| (path.clone(), std::fs::read(path).expect("an input"))).collect()
}

/// Feeds a reader every input in its folder, then damaged copies of them for a moment. What it panics at is
/// printed.
pub fn replay(name: &str, target: impl FnMut(&[u8])) -> u64 {
    replay_for(name, SHORT, target)
}

/// The same for so long; how many inputs there were in all.
pub fn replay_for(name: &str, time: Duration, mut target: impl FnMut(&[u8])) -> u64 {
    let inputs = inputs(name);
    assert!(!inputs.is_empty(), "no inputs for {name}");
    for (path, input) in &inputs {
        let _told = Told { from: path, input };
        target(input);
    }
    let (mut random, end) = (StdRng::from_os_rng(), Instant::now() + time);
    let mut tried = inputs.len() as u64;
    while Instant::now() < end {
        let (path, input) = &inputs[random.random_range(0..inputs.len())];
        let (_, other) = &inputs[random.random_range(0..inputs.len())];
        let input = &damaged(input, other, &mut random);
        let _told = Told { from: path, input };
        target(input);
        tried += 1;
    }
    tried
}

/// Says what was read when a reader panicked.
struct Told<'a> {
    from: &'a Path,
    input: &'a [u8],
}

impl Drop for Told<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("the input, from {}:\n{}", self.from.display(), self.input.escape_ascii());
        }
    }
}

fn damaged(input: &[u8], other: &[u8], random: &mut StdRng) -> Vec<u8> {
    let mut bytes = input.to_vec();
    for _ in 0..random.random_range(1..4) {
        let from = random.random_range(0..=bytes.len());
        let to = random.random_range(from..=bytes.len().min(from + 20));
        let instead = match random.random_range(0..6) {
            0 => Vec::new(),
            1 => vec![random.random()],
            2 => TELLING[random.random_range(0..TELLING.len())].to_vec(),
            3 => bytes[from..to].repeat(2),
            4 => bytes[..from].to_vec(),
            _ => other[random.random_range(0..=other.len())..].to_vec(),
        };
        bytes.splice(from..to, instead);
        bytes.truncate(LONGEST);
    }
    bytes
}
