//! The codec against what PHP does: known cases, and the real PHP.

use std::io::Write;
use std::process::{Command, Stdio};

use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;

use super::garbage::{any_damage, any_value, damaged};
use super::*;
use crate::mysql::fuzz::shown;

/// What PHP makes of each value that it reads: itself, in its own spelling. `-` where it reads none.
const READ_AND_WRITE: &str = r#"
    foreach (file('php://stdin') as $line) {
        $text = hex2bin(trim($line));
        $value = @unserialize($text, ['allowed_classes' => false]);
        echo $value === false && $text !== 'b:0;' ? '-' : bin2hex(serialize($value)), "\n";
    }
"#;

/// Odd values, as PHP writes them.
const ODD_VALUES: &str = r#"
    $values = [
        null, true, false, 0, -1, PHP_INT_MAX, PHP_INT_MIN, '', "\0\xff\";}a:1:{", 'Zoë 時間 🕙', '10', 'true',
        0.1, 0.1 + 0.2, -0.0, 0.0, 1.0, 1e15, 1e16, 1e17, 1e25, -1.5e25, 1e-4, 1e-5, 1.25e-7, 5e-324,
        PHP_FLOAT_MAX, PHP_FLOAT_MIN, 123456789.125, 123456789012345678.0, INF, -INF, NAN, -NAN,
        5.684341886080802e-14, 2.0 ** 89, [], [[]], [1, 2, 3], [5 => 'five', 'next'],
        ['10' => 1, '010' => 2, '10:00' => 3, '-5' => 4, '-0' => 5],
        ['9223372036854775807' => 1, '9223372036854775808' => 2, '-9223372036854775808' => 3, '1e3' => 4],
        ['' => 1, ' 5' => 2, '+5' => 3, '5.0' => 4, true => 5, null => 6, "a\0b" => 7, "\xff" => 8, '時' => 9],
        [[[[[[[['deep']]]]]]]],
        ['10:00' => ['timestamp' => '1', 'client_id' => 'x', 'user_id' => 0, 'seen' => 1.5, 'x' => [null]]],
    ];
    foreach ($values as $value) { echo bin2hex(serialize($value)), "\n"; }
"#;

/// Runs a PHP script over these lines, each in hexadecimal as its answers are.
fn php(script: &str, lines: &[Vec<u8>]) -> Vec<Option<Vec<u8>>> {
    let mut php = Command::new("php")
        .args(["-n", "-d", "serialize_precision=-1", "-d", "display_errors=stderr", "-r", script])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("no php here: install php-cli");
    let mut stdin = php.stdin.take().expect("piped");
    for line in lines {
        writeln!(stdin, "{}", hex(line)).expect("php reads");
    }
    drop(stdin);
    let output = php.wait_with_output().expect("php ends");
    assert!(output.status.success(), "php failed");
    String::from_utf8(output.stdout).expect("hexadecimal").lines().map(from_hex).collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn from_hex(line: &str) -> Option<Vec<u8>> {
    let byte = |at| u8::from_str_radix(&line[at..at + 2], 16).expect("hexadecimal");
    (line != "-").then(|| (0..line.len()).step_by(2).map(byte).collect())
}

/// The same values at every run.
fn samples<T>(count: usize, strategy: impl Strategy<Value = T>) -> Vec<T> {
    let mut runner = TestRunner::deterministic();
    (0..count).map(|_| strategy.new_tree(&mut runner).expect("a value").current()).collect()
}

#[test]
fn php_reads_what_is_written_and_writes_the_same() {
    let texts: Vec<_> = samples(1500, any_value()).iter().map(encode).collect();
    let answers = php(READ_AND_WRITE, &texts);
    assert_eq!(answers.len(), texts.len());
    for (text, answer) in texts.iter().zip(answers) {
        assert_eq!(answer.as_deref().map(shown), Some(shown(text)));
    }
}

#[test]
fn what_php_writes_is_read_and_written_the_same() {
    let texts = php(ODD_VALUES, &[]);
    assert!(texts.len() > 40, "php printed {} values", texts.len());
    for text in texts.into_iter().flatten() {
        let value = parse(&text).unwrap_or_else(|error| panic!("{}: {error}", shown(&text)));
        assert_eq!(shown(&encode(&value)), shown(&text));
    }
}

#[test]
fn php_reads_the_same_from_whatever_is_read_here() {
    let damages = samples(6000, (any_value(), any_damage()));
    let mut texts: Vec<_> = damages.iter().map(|(value, damage)| damaged(encode(value), damage)).collect();
    texts.extend([
        b"a:3:{i:0;i:1;i:5;i:9;i:0;i:2;}".to_vec(),
        b"a:2:{s:1:\"5\";i:1;i:5;i:2;}".to_vec(),
        b"a:4:{s:2:\"10\";N;s:3:\"010\";N;s:2:\"-0\";N;s:5:\"10:00\";N;}".to_vec(),
        b"d:0.10000000000000001;".to_vec(),
        b"d:1.0;".to_vec(),
        b"d:-1.0E+3;".to_vec(),
    ]);
    texts.retain(|text| parse(text).is_ok());
    assert!(texts.len() > 100, "only {} of the damaged values can be read", texts.len());
    for (text, answer) in texts.iter().zip(php(READ_AND_WRITE, &texts)) {
        let ours = encode(&parse(text).expect("read before"));
        assert_eq!(answer.as_deref().map(shown), Some(shown(&ours)), "of {}", shown(text));
    }
}

#[test]
fn of_a_key_that_comes_twice_the_last_value_stays_in_the_first_place() {
    let twice = parse(b"a:3:{i:0;i:1;i:5;i:9;s:1:\"0\";i:2;}");
    let once = Value::Array(vec![(Key::Int(0), Value::Int(2)), (Key::Int(5), Value::Int(9))]);
    assert_eq!(twice, Ok(once));
}

#[test]
fn a_string_key_that_is_an_integer_is_written_as_one() {
    let by_hand = Value::Array(vec![(Key::Bytes(b"10".to_vec()), Value::Null)]);
    assert_eq!(shown(&encode(&by_hand)), "a:1:{i:10;N;}");
}

#[test]
fn what_php_never_writes_is_an_error_that_says_where() {
    for (text, said) in [
        ("", "expected a value, at byte 0"),
        ("i:1;i:2;", "expected the end, at byte 4"),
        ("i:1; ", "expected the end, at byte 4"),
        (" i:1;", "expected a value, at byte 0"),
        ("N:", "expected ;, at byte 1"),
        ("b:2;", "expected 0 or 1, at byte 2"),
        ("i:+1;", "a number not spelled as PHP spells it, at byte 2"),
        ("i:01;", "a number not spelled as PHP spells it, at byte 2"),
        ("i:-0;", "a number not spelled as PHP spells it, at byte 2"),
        ("i:;", "a number not spelled as PHP spells it, at byte 2"),
        ("i:1", "expected ;, at byte 3"),
        ("i:9223372036854775808;", "a number out of range, at byte 2"),
        ("d:inf;", "a number not spelled as PHP spells it, at byte 2"),
        ("d:.5;", "a number not spelled as PHP spells it, at byte 2"),
        ("d:1E5;", "a number not spelled as PHP spells it, at byte 2"),
        ("d:1.0E+400;", "a number out of range, at byte 2"),
        ("s:03:\"abc\";", "a number not spelled as PHP spells it, at byte 2"),
        ("s:+3:\"abc\";", "a number not spelled as PHP spells it, at byte 2"),
        ("s:-3:\"abc\";", "a number not spelled as PHP spells it, at byte 2"),
        ("s:2:\"abc\";", "expected \", at byte 7"),
        ("s:9:\"abc\";", "a length beyond the end, at byte 2"),
        ("s:99999999999999999999:\"\";", "a number out of range, at byte 2"),
        ("a:00:{}", "a number not spelled as PHP spells it, at byte 2"),
        ("a:1:{}", "a length beyond the end, at byte 2"),
        ("a:1:{b:1;i:1;}", "expected a key, at byte 5"),
        ("a:2:{i:0;i:1;}_____", "expected a key, at byte 13"),
        ("a:0:{};", "expected the end, at byte 6"),
        ("a:1:{i:0;O:8:\"stdClass\":0:{}}", "a value of type 'O', which is not read, at byte 9"),
        ("a:2:{i:0;i:1;i:1;R:2;}", "a value of type 'R', which is not read, at byte 17"),
        ("C:1:\"A\":0:{}", "a value of type 'C', which is not read, at byte 0"),
        ("E:3:\"A:B\";", "a value of type 'E', which is not read, at byte 0"),
        ("r:1;", "a value of type 'r', which is not read, at byte 0"),
        ("S:1:\"\\61\";", "a value of type 'S', which is not read, at byte 0"),
    ] {
        assert_eq!(parse(text.as_bytes()).expect_err(text).to_string(), said, "{text}");
    }
}

#[test]
fn an_array_may_be_as_long_as_its_bytes_allow() {
    let shortest = (0..10).map(|key| (Key::Int(key), Value::Null)).collect();
    assert_eq!(
        parse(b"a:10:{i:0;N;i:1;N;i:2;N;i:3;N;i:4;N;i:5;N;i:6;N;i:7;N;i:8;N;i:9;N;}"),
        Ok(Value::Array(shortest))
    );
}

#[test]
fn length_and_depth_have_limits() {
    let nested = |depth: usize| ["a:1:{i:0;".repeat(depth), "N;".into(), "}".repeat(depth)].concat();
    assert!(parse(nested(MAX_DEPTH).as_bytes()).is_ok());
    for depth in [MAX_DEPTH + 1, 100_000] {
        let error = parse(nested(depth).as_bytes()).expect_err("too deep");
        assert_eq!((error.problem, error.at), (Problem::TooDeep, MAX_DEPTH * "a:1:{i:0;".len()));
    }
    let of_length = |len: usize| encode(&Value::Bytes(vec![b'x'; len - "s:1048576:\"\";".len()]));
    assert!(parse(&of_length(MAX_LEN)).is_ok());
    assert_eq!(parse(&of_length(MAX_LEN + 1)).expect_err("too long").problem, Problem::TooLong);
}
