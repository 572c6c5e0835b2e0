//! A table of types, each sent through both doors: as a Rust value and as JSON. Both must meet in one shape.
#![allow(clippy::unwrap_used)]

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::fmt::Debug;
use std::hash::{Hash, Hasher};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::num::{NonZeroU8, Wrapping};
use std::ops::{Bound, Range};
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use chrono::{DateTime, NaiveDate, Utc};
use retraced_jobs::codec::{from_json_text, from_payload, to_json_text, to_payload};
use retraced_jobs::job::{InstanceId, JobId, Kind};
use rust_decimal::Decimal;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use uuid::Uuid;

/// The value comes back through both doors, and both make the JSON that `serde_json` makes of it.
#[track_caller]
fn same<T: Serialize + DeserializeOwned + PartialEq + Debug>(value: T) {
    let json = serde_json::to_string(&value).unwrap();
    same_as(value, &json);
}

/// As [`same`], for a value whose JSON is not that of `serde_json`.
#[track_caller]
fn same_as<T: Serialize + DeserializeOwned + PartialEq + Debug>(value: T, json: &str) {
    let typed = to_payload(&value).unwrap();
    assert_eq!(from_payload::<T>(&typed).unwrap(), value, "from Rust to Rust");
    assert_eq!(to_json_text(&typed).unwrap().as_str(), json, "from Rust to JSON");
    let written = from_json_text(json).unwrap();
    assert_eq!(from_payload::<T>(&written).unwrap(), value, "from JSON to Rust");
    assert_eq!(to_json_text(&written).unwrap().as_str(), json, "from JSON to JSON");
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Unit;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Empty {}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
struct Meters(u32);

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Pair(u8, String);

/// What differs between compact and readable formats, so that each tagging meets it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Inner {
    id: Uuid,
    from: Ipv4Addr,
    at: DateTime<Utc>,
}

fn inner() -> Inner {
    Inner { id: Uuid::from_u128(7), from: Ipv4Addr::LOCALHOST, at: DateTime::from_timestamp(1_700_000_000, 5).unwrap() }
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
enum External {
    Unit,
    New(Inner),
    Tuple(u8, Uuid),
    Struct { inner: Inner },
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type")]
enum Internal {
    Unit,
    New(Inner),
    Struct { id: Uuid, n: Option<u64> },
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "t", content = "c")]
enum Adjacent {
    Unit,
    New(Inner),
    Tuple(u8, Uuid),
    Struct { inner: Inner },
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
enum Untagged {
    New(Inner),
    Tuple(u8, Uuid),
    Struct { other: Uuid },
    Text(String),
    Nothing,
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Flat {
    name: String,
    #[serde(flatten)]
    inner: Inner,
    #[serde(flatten)]
    rest: BTreeMap<String, u64>,
}

#[derive(Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
enum Colour {
    Red,
    Green,
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Skipping {
    #[serde(skip_serializing_if = "Option::is_none", default)]
    note: Option<String>,
    #[serde(rename = "ID")]
    id: Uuid,
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Bytes {
    #[serde(with = "serde_bytes")]
    scan: Vec<u8>,
    shared: bytes::Bytes,
}

#[test]
fn numbers() {
    same(i8::MIN);
    same(i16::MIN);
    same(i32::MIN);
    same(i64::MIN);
    same(i128::MIN);
    same(u8::MAX);
    same(u16::MAX);
    same(u32::MAX);
    same(u64::MAX);
    same(u128::MAX);
    same(0_u128);
    same(-1_i128);
    same(i128::from(i64::MIN) - 1);
    same(usize::MAX);
    same(isize::MIN);
    same(0.1_f32);
    same(f32::MAX);
    same(0.1_f64);
    same(f64::MIN_POSITIVE);
    same(-0.0_f64);
    same(1e300);
    same(117.633_311_394_000_17_f64);
    same(9_007_199_254_740_991.0_f64);
    same(NonZeroU8::MAX);
    same(Wrapping(7_u64));
    same(true);
}

#[test]
fn texts_and_binary_data() {
    same('ß');
    same(String::from("\u{1f600}\u{7f}\0\"\\\n"));
    same(Cow::Borrowed("cow"));
    same(Box::<str>::from("b"));
    same(PathBuf::from("/tmp/a b"));
    same([1_u8, 2, 3]);
    same(vec![0_u8, 255]);
    same_as(serde_bytes::ByteBuf::from(vec![0, 255]), r#"{"$base64":"AP8="}"#);
    same_as(bytes::Bytes::from_static(b""), r#"{"$base64":""}"#);
    let bytes = Bytes { scan: vec![0, 255], shared: bytes::Bytes::from_static(b"ab") };
    same_as(bytes, r#"{"scan":{"$base64":"AP8="},"shared":{"$base64":"YWI="}}"#);
    // An array of numbers, as `serde_json` writes bytes, is read as well.
    let array = from_json_text(r#"{"scan":[0,255],"shared":[]}"#).unwrap();
    assert_eq!(from_payload::<Bytes>(&array).unwrap().scan, [0, 255]);
}

#[test]
fn times() {
    same(Duration::new(3, 5));
    same(SystemTime::UNIX_EPOCH + Duration::from_millis(1_500));
    same(DateTime::from_timestamp(1_700_000_000, 5).unwrap());
    same(NaiveDate::from_ymd_opt(2024, 2, 29).unwrap());
    same("2024-02-29T12:00:00.5Z".parse::<jiff::Timestamp>().unwrap());
    same(jiff::civil::date(2024, 2, 29).at(23, 59, 59, 7));
    same(jiff::SignedDuration::new(-3, -5));
}

#[test]
fn ids_addresses_and_decimals() {
    same(Uuid::from_u128(0x0190_163d));
    same(Some(Uuid::nil()));
    same(vec![Uuid::max()]);
    same(IpAddr::V4(Ipv4Addr::LOCALHOST));
    same(Ipv6Addr::LOCALHOST);
    same(SocketAddr::from(([127, 0, 0, 1], 80)));
    same(Decimal::MAX);
    same("-0.10".parse::<Decimal>().unwrap());
    same(InstanceId::from(Uuid::from_u128(9)));
    same(JobId::parse("welcome-42").unwrap());
    same(Kind::new("email.send").unwrap());
}

#[test]
fn containers() {
    same(Some(5));
    same(None::<u8>);
    same(vec![None, Some(1)]);
    same(Ok::<u8, String>(5));
    same(Err::<u8, _>(Unit));
    same(());
    same((1, "two".to_owned(), 3.5));
    same([(1, 2); 3]);
    same(VecDeque::from([1, 2]));
    same(BTreeSet::from(["b".to_owned(), "a".to_owned()]));
    same(Box::new(5));
    same(vec![vec![0_u64; 20]; 20]);
    same(Range { start: 1, end: 9 });
    same(Bound::Included(5));
    same(std::cmp::Reverse(5));
    same(std::cell::Cell::new(5));
    same(BTreeMap::<String, u8>::new());
    same(serde_json::json!({"a": [1, -1, 1.5, null, true, "x", {"b": {}}]}));
}

#[test]
fn structs() {
    same(Unit);
    same(vec![Unit]);
    same(Empty {});
    same(Meters(5));
    same(Pair(5, "x".into()));
    same(inner());
    same(Skipping { note: None, id: Uuid::nil() });
    same(Skipping { note: Some("n".into()), id: Uuid::nil() });
    same(Flat { name: "n".into(), inner: inner(), rest: BTreeMap::from([("more".into(), 5)]) });
}

#[test]
fn enums_of_all_four_taggings() {
    same(External::Unit);
    same(External::New(inner()));
    same(External::Struct { inner: inner() });
    same(External::Tuple(5, Uuid::nil()));
    same(Internal::Unit);
    same(Internal::New(inner()));
    same(Internal::Struct { id: Uuid::nil(), n: Some(u64::MAX) });
    same(Internal::Struct { id: Uuid::nil(), n: None });
    same(Adjacent::Unit);
    same(Adjacent::New(inner()));
    same(Adjacent::Struct { inner: inner() });
    same(Adjacent::Tuple(5, Uuid::nil()));
    same(Untagged::New(inner()));
    same(Untagged::Tuple(5, Uuid::nil()));
    same(Untagged::Struct { other: Uuid::nil() });
    same(Untagged::Text("t".into()));
    same(Untagged::Nothing);
}

#[test]
fn maps_with_keys_that_json_has_only_as_text() {
    same(BTreeMap::from([(7_u8, "a".to_owned())]));
    same(BTreeMap::from([(i64::MIN, 1), (5, 2)]));
    same(BTreeMap::from([(u128::MAX, 1)]));
    same(BTreeMap::from([(i128::MIN, 1)]));
    same(BTreeMap::from([(true, 1)]));
    same(BTreeMap::from([('c', 1)]));
    same(BTreeMap::from([(Colour::Red, 1), (Colour::Green, 2)]));
    same(BTreeMap::from([(Uuid::nil(), 1)]));
    same(BTreeMap::from([(Meters(5), 1)]));
    same(BTreeMap::from([(Ipv4Addr::LOCALHOST, 1)]));
    same(HashMap::from([(7_u64, BTreeMap::from([(1_i8, 2)]))]));
    same(BTreeMap::from([("7".to_owned(), 1)]));
    let words = refused::<BTreeMap<u8, u8>>(r#"{"seven":1}"#);
    assert!(words.contains("invalid type: string \"seven\", expected u8"), "{words}");
}

#[test]
fn json_that_is_kept_as_text_comes_back_exactly() {
    #[derive(Serialize, Deserialize)]
    struct Kept {
        raw: Box<RawValue>,
    }
    let json = r#"{"raw":{"b":1.50,"a":-0,"a":1e400,"n":100000000000000000000}}"#;
    let kept: Kept = serde_json::from_str(json).unwrap();
    for payload in [to_payload(&kept).unwrap(), from_json_text(json).unwrap()] {
        assert_eq!(to_json_text(&payload).unwrap().as_str(), json);
        let back: Kept = from_payload(&payload).unwrap();
        assert_eq!(serde_json::to_string(&back).unwrap(), json);
    }
}

#[test]
fn numbers_that_have_no_exact_form_fit_every_type_that_can_hold_them() {
    let read = |json: &str| from_json_text(json).unwrap();
    assert_eq!(from_payload::<u128>(&read("100000000000000000000")).unwrap(), 100_000_000_000_000_000_000);
    assert_eq!(from_payload::<f64>(&read("100000000000000000000")).unwrap(), 1e20);
    assert_eq!(from_payload::<f64>(&read("1.50")).unwrap(), 1.5);
    assert_eq!(from_payload::<f64>(&read("1E2")).unwrap(), 100.0);
    assert_eq!(from_payload::<i64>(&read("-0")).unwrap(), 0);
    assert!(from_payload::<f64>(&read("-0")).unwrap().is_sign_negative());
    assert_eq!(from_payload::<Decimal>(&read("1.50")).unwrap().to_string(), "1.5");
    assert_eq!(from_payload::<serde_json::Value>(&read("1.50")).unwrap(), 1.5);
    assert_eq!(from_payload::<Option<f64>>(&read("1.50")).unwrap(), Some(1.5));
}

#[derive(Debug, PartialEq, Deserialize)]
struct FloatKey(f64);

impl Eq for FloatKey {}

impl Hash for FloatKey {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.to_bits().hash(state);
    }
}

#[test]
fn a_key_that_is_a_large_integer_fits_a_float() {
    let large = HashMap::from([(100_000_000_000_000_000_000_u128, 1)]);
    let from_json = from_json_text(r#"{"100000000000000000000":1}"#).unwrap();
    for payload in [to_payload(&large).unwrap(), from_json] {
        assert_eq!(from_payload::<HashMap<FloatKey, u8>>(&payload).unwrap(), HashMap::from([(FloatKey(1e20), 1)]));
    }
}

fn refused<T: DeserializeOwned + Debug>(json: &str) -> String {
    from_payload::<T>(&from_json_text(json).unwrap()).unwrap_err().to_string()
}

#[test]
fn what_cannot_be_expressed_is_refused_with_a_sentence() {
    for n in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
        let payload = to_payload(&n).unwrap();
        assert_eq!(from_payload::<f64>(&payload).unwrap().to_bits(), n.to_bits());
        let why = to_json_text(&payload).unwrap_err().to_string();
        assert_eq!(why, format!("payload holds the number {n}, which JSON cannot express (at byte 0)"));
    }
    let tuple_keys = BTreeMap::from([((1, 2), 3)]);
    let payload = to_payload(&tuple_keys).unwrap();
    assert_eq!(from_payload::<BTreeMap<(u8, u8), u8>>(&payload).unwrap(), BTreeMap::from([((1, 2), 3)]));
    let why = to_json_text(&payload).unwrap_err().to_string();
    assert_eq!(why, "payload has a map key that is not text or a number, which JSON cannot express (at byte 1)");

    for n in ["1e400", "-1e400"] {
        assert_eq!(refused::<f64>(n), format!("payload cannot be read: the number {n} is out of the range of floats"));
    }
    for (why, expected) in [
        (
            refused::<u64>("100000000000000000000"),
            "invalid type: integer `100000000000000000000` as u128, expected u64",
        ),
        (refused::<u128>("1e2"), "invalid type: floating point `100.0`, expected u128"),
        (refused::<Uuid>("5"), "invalid type: integer `5`"),
        (refused::<Uuid>("\"x\""), "UUID parsing failed"),
        (refused::<Inner>("{}"), "missing field `id`"),
        (refused::<BTreeMap<String, u8>>("[]"), "expected a map"),
        (refused::<(u8, u8)>("[1,2,3]"), "invalid length 3, expected 2 elements"),
        (refused::<(u8, u8)>("[1]"), "invalid length 1"),
        (refused::<External>("5"), "where an enum should be"),
        (refused::<External>(r#""Other""#), "unknown variant `Other`"),
        (refused::<External>(r#"{"Unit":5}"#), "expected unit"),
        (refused::<External>(r#""New""#), "expected newtype variant"),
        (refused::<Flat>(r#"{"name":"n","name":"m"}"#), "duplicate field `name`"),
    ] {
        assert!(why.starts_with("payload ") && why.contains(expected), "{why}");
    }
}

#[test]
fn payloads_of_earlier_builds_are_still_read() {
    // A UUID as bytes and a struct without fields as an empty array.
    let mut old = vec![0xc4, 16];
    old.extend([7; 16]);
    assert_eq!(from_payload::<Uuid>(&old).unwrap(), Uuid::from_bytes([7; 16]));
    assert_eq!(from_payload::<Unit>(&[0x90]).unwrap(), Unit);
}
