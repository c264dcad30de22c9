//! What spoils valid input, for the tests of every parser that takes bytes from outside. Other crates'
//! tests include this file by path.
//!
//! Purely random bytes seldom get past the first check. So each test begins with something valid and
//! changes a few places: bits, pieces, and in JSON members, items and values.
//!
//! These are property tests and no targets of `cargo fuzz`, which needs a nightly compiler; they run with
//! all other tests instead.
//!
//! The same cases come in every run. `PROPTEST_RNG_SEED` begins elsewhere, `PROPTEST_CASES` makes more of
//! them; a failure prints the smallest input that it could find.

#![allow(dead_code, unreachable_pub, missing_docs, reason = "each test file uses a part")]

use std::fmt::Debug;

use proptest::{
    collection::vec,
    prelude::*,
    sample::{Index, select},
    test_runner::{Config, RngSeed, TestRunner},
};
use serde_json::{Value, json};

/// A word that stands in valid input where health data would. No error may hold it (S1).
pub const PLANTED: &str = "Zyxwplanted";

/// Holds `check` against `cases` inputs.
#[track_caller]
pub fn fuzz<S>(cases: u32, inputs: S, check: impl Fn(S::Value) -> Result<(), TestCaseError>)
where
    S: Strategy,
    S::Value: Debug,
{
    let mut config =
        Config { failure_persistence: None, max_shrink_iters: 500, ..Config::default() };
    if config.rng_seed == RngSeed::Random {
        config.rng_seed = RngSeed::Fixed(2026);
    }
    if std::env::var_os("PROPTEST_CASES").is_none() {
        config.cases = cases;
    }
    if let Err(failure) = TestRunner::new(config).run(&inputs, check) {
        panic!("{failure}");
    }
}

/// Pieces on which parsers stumble.
const PIECES: &[&str] = &[
    "\0",
    "\u{feff}",
    "\u{202e}",
    "é",
    "💉",
    "\"",
    "\\",
    "\\u0000",
    "\\ud800",
    "{",
    "}",
    "[",
    "]",
    "[[[[[[[[",
    ",",
    ":",
    "null",
    "-0",
    "1e999",
    "-1e-999",
    "0.10",
    "18446744073709551616",
    "-9223372036854775809",
    "\r\n\r\n",
    "%",
    "%ff",
    "%00",
    "&",
    "=",
    "|",
    "$",
    "..",
    "../",
    "'",
    ";--",
    "${x}",
    "\u{1}",
];

type ByteEdit = (u8, Index, Index, u8);

/// One of these, with a few places changed; sometimes as it is.
pub fn bytes(samples: Vec<Vec<u8>>) -> impl Strategy<Value = Vec<u8>> {
    let edits = vec((0_u8..8, any::<Index>(), any::<Index>(), any::<u8>()), 0..6);
    (select(samples), edits).prop_map(|(mut bytes, edits)| {
        for edit in edits {
            change(&mut bytes, edit);
        }
        bytes
    })
}

fn change(bytes: &mut Vec<u8>, (kind, one, other, byte): ByteEdit) {
    let (one, other) = (one.index(bytes.len() + 1), other.index(bytes.len() + 1));
    let (from, to) = (one.min(other), one.max(other));
    let piece = PIECES[usize::from(byte) % PIECES.len()].as_bytes();
    // Long pieces are taken out or doubled seldom, or little of the input would be left.
    let near = to.min(from + 16);
    match kind {
        0 if from < bytes.len() => bytes[from] ^= 1 << (byte % 8),
        1 if from < bytes.len() => bytes[from] = byte,
        2 => drop(bytes.splice(from..near, [])),
        3 => {
            let copy = bytes[from..near].to_vec();
            drop(bytes.splice(to..to, copy));
        }
        4 if byte < 32 => bytes.truncate(from),
        5 if byte < 8 => drop(bytes.splice(from..from, b"[{\"a\":".repeat(300))),
        _ => drop(bytes.splice(from..near, piece.iter().copied())),
    }
}

/// The same for text.
pub fn text(samples: &[&str]) -> impl Strategy<Value = String> + use<> {
    let samples = samples.iter().map(|sample| sample.as_bytes().to_vec()).collect();
    bytes(samples).prop_map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
}

/// Values that stand where others are expected.
fn odd(which: usize) -> Value {
    let nested = |depth: usize| (0..depth).fold(json!(PLANTED), |value, _| json!([value]));
    let all = [
        Value::Null,
        json!(true),
        json!(0),
        json!(-1),
        json!(u64::MAX),
        json!(i64::MIN),
        json!(1.5e300),
        json!(""),
        json!(" "),
        json!(PLANTED),
        json!(PLANTED.repeat(300)),
        json!("Patient/../../metadata"),
        json!("#"),
        json!("2026-02-30T25:61:61Z"),
        json!("\u{1}\u{202e}é"),
        json!("0x"),
        json!("0xffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff"),
        json!([]),
        json!([null]),
        json!({}),
        json!({ "reference": PLANTED }),
        json!({ "": [[]] }),
        nested(30),
        nested(120),
    ];
    all[which % all.len()].clone()
}

type JsonEdit = (u8, Index, Index);

/// One of these, with a few members, items or values changed; sometimes as it is.
pub fn json_of(samples: Vec<Value>) -> impl Strategy<Value = Value> {
    let edits = vec((0_u8..6, any::<Index>(), any::<Index>()), 0..4);
    (select(samples), edits).prop_map(|(mut value, edits)| {
        for (kind, place, what) in edits {
            change_json(&mut value, (kind, place, what));
        }
        value
    })
}

fn change_json(value: &mut Value, (kind, place, what): JsonEdit) {
    let mut places = Vec::new();
    walk(value, &mut String::new(), &mut places);
    let place = &places[place.index(places.len())];
    let what = what.index(1_000);
    let Some((holder, name)) = place.rsplit_once('/') else {
        *value = odd(what);
        return;
    };
    let name = name.replace("~1", "/").replace("~0", "~");
    let holder = value.pointer_mut(holder).expect("it was walked through");
    match (kind, holder) {
        (0, Value::Object(members)) => drop(members.remove(&name)),
        (0, Value::Array(items)) => drop(items.remove(name.parse::<usize>().unwrap_or_default())),
        (1, Value::Object(members)) => {
            let moved = members.remove(&name).unwrap_or_default();
            members.insert(format!("{name}x"), moved);
        }
        (1, Value::Array(items)) => {
            let copies = vec![items[0].clone(); 40];
            items.extend(copies);
        }
        (2, Value::Object(members)) => {
            let wrapped = members.remove(&name).unwrap_or_default();
            members.insert(name, json!([wrapped]));
        }
        (_, Value::Object(members)) => drop(members.insert(name, odd(what))),
        (_, Value::Array(items)) => items[name.parse::<usize>().unwrap_or_default()] = odd(what),
        _ => unreachable!("only these hold others"),
    }
}

/// The JSON pointers to everything in a value.
fn walk(value: &Value, at: &mut String, places: &mut Vec<String>) {
    places.push(at.clone());
    let length = at.len();
    let mut step = |name: &str, inner: &Value| {
        at.push('/');
        at.push_str(&name.replace('~', "~0").replace('/', "~1"));
        walk(inner, at, places);
        at.truncate(length);
    };
    match value {
        Value::Array(items) => {
            for (place, inner) in items.iter().enumerate() {
                step(&place.to_string(), inner);
            }
        }
        Value::Object(members) => {
            for (name, inner) in members {
                step(name, inner);
            }
        }
        _ => {}
    }
}
