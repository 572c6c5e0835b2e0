//! What the bytes are, what is refused, and that nothing anybody sends brings a worker down.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use proptest::prelude::*;
use serde_json::{Value, json};

use super::scan::scan;
use super::*;

fn refused<T: std::fmt::Debug>(result: Result<T, CodecError>) -> String {
    result.unwrap_err().to_string()
}

fn nested(levels: usize, innermost: u8) -> Vec<u8> {
    let mut bytes = vec![0x91; levels];
    bytes.push(innermost);
    bytes
}

mod json {
    use super::*;

    #[test]
    fn sixty_four_bit_integers_stay_exact_in_both_directions() {
        for n in [0, 127, 128, i64::MAX as u64, i64::MAX as u64 + 1, u64::MAX] {
            let payload = to_payload(&n).unwrap();
            assert_eq!(to_json(&payload).unwrap(), json!(n));
            assert_eq!(from_json(&json!(n)).unwrap(), payload);
        }
        for n in [-1, -32, -33, i64::from(i32::MIN), i64::MIN] {
            let payload = to_payload(&n).unwrap();
            assert_eq!(to_json(&payload).unwrap(), json!(n));
            assert_eq!(from_json(&json!(n)).unwrap(), payload);
        }
    }

    #[test]
    fn a_text_of_json_reads_as_the_type_that_was_meant() {
        #[derive(Debug, PartialEq, serde::Serialize, serde::Deserialize)]
        struct Order {
            id: u64,
            price: f64,
            tags: Vec<String>,
            note: Option<String>,
            #[serde(with = "serde_bytes")]
            scan: Vec<u8>,
        }
        let json: Value = serde_json::from_str(
            r#"{"id":18446744073709551615,"price":1.5,"tags":["a","ü"],"note":null,"scan":{"$base64":"AP8="}}"#,
        )
        .unwrap();
        let order: Order = from_payload(&from_json(&json).unwrap()).unwrap();
        let tags = vec!["a".to_owned(), "ü".to_owned()];
        assert_eq!(order, Order { id: u64::MAX, price: 1.5, tags, note: None, scan: vec![0, 255] });
        assert_eq!(to_json(&to_payload(&order).unwrap()).unwrap(), json);
    }

    #[test]
    fn numbers_that_are_not_finite_are_refused() {
        for n in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
            let why = refused(to_json(&to_payload(&n).unwrap()));
            assert_eq!(why, format!("payload holds the number {n}, which JSON cannot express (at byte 0)"));
        }
        assert!(to_json(&to_payload(&f32::NAN).unwrap()).is_err());
    }

    #[test]
    fn a_map_key_that_is_no_text_is_refused() {
        let payload = to_payload(&std::collections::BTreeMap::from([(7, "seven")])).unwrap();
        assert_eq!(
            refused(to_json(&payload)),
            "payload has a map key that is no text, which JSON cannot express (at byte 1)"
        );
    }

    #[test]
    fn a_map_key_that_is_there_twice_is_refused_rather_than_lost() {
        let twice = [0x82, 0xa1, b'a', 1, 0xa1, b'a', 2];
        assert_eq!(
            refused(to_json(&twice)),
            "payload has the same map key twice, which JSON cannot express (at byte 4)"
        );
    }

    #[test]
    fn a_text_that_is_not_utf8_is_refused() {
        assert!(refused(to_json(&[0xa1, 0xff])).starts_with("payload has a text that is not UTF-8"));
    }

    #[test]
    fn an_extension_type_is_refused() {
        let timestamp = [0xd6, 0xff, 0, 0, 0, 0];
        let why = refused(to_json(&timestamp));
        assert!(why.contains("extension type"), "{why}");
        assert!(refused(from_payload::<serde::de::IgnoredAny>(&timestamp)).contains("extension type"));
    }

    #[test]
    fn bytes_after_the_end_and_missing_bytes_are_refused() {
        assert_eq!(refused(to_json(&[0xc0, 0xc0])), "payload has 1 bytes after its end");
        assert_eq!(refused(to_json(&[])), "payload ends too early: 1 bytes should follow, 0 do (at byte 0)");
        assert_eq!(refused(to_json(&[0xcd, 1])), "payload ends too early: 2 bytes should follow, 1 do (at byte 1)");
        assert_eq!(refused(to_json(&[0xc1])), "payload is not MessagePack: it has the byte 0xc1 (at byte 0)");
    }

    #[test]
    fn an_object_whose_only_key_is_base64_is_binary_or_an_error() {
        assert_eq!(from_json(&json!({"$base64": "AQI="})).unwrap(), [0xc4, 2, 1, 2]);
        // Not canonical: spare bits set, padding missing, the other alphabet.
        for text in ["not base64", "AQJ=", "AQI", "_w=="] {
            let why = refused(from_json(&json!([{"$base64": text}])));
            assert!(why.starts_with("payload has a \"$base64\" that is not base64"), "{why}");
        }
        assert!(refused(from_json(&json!({"$base64": 5}))).contains("no text in it"));
        // With company it is a key like any other.
        let payload = from_json(&json!({"$base64": 5, "a": 1})).unwrap();
        assert_eq!(to_json(&payload).unwrap(), json!({"$base64": 5, "a": 1}));
    }

    #[test]
    fn a_map_that_json_would_take_for_binary_is_refused() {
        let payload = to_payload(&std::collections::BTreeMap::from([("$base64", "AQI=")])).unwrap();
        assert!(refused(to_json(&payload)).contains("which in JSON means binary"));
    }

    #[test]
    fn nesting_is_bounded_in_both_directions() {
        let deepest = nested(DEPTH_MAX, 0xc0);
        let json = to_json(&deepest).unwrap();
        assert_eq!(from_json(&json).unwrap(), deepest);
        let deeper = format!("payload nests deeper than {DEPTH_MAX} levels");
        assert_eq!(refused(to_json(&nested(DEPTH_MAX + 1, 0xc0))), format!("{deeper} (at byte {DEPTH_MAX})"));
        assert_eq!(refused(from_json(&json!([json]))), deeper);
        // Empty arrays and maps are levels too.
        assert!(to_json(&nested(DEPTH_MAX, 0x90)).is_err());
        assert!(to_json(&nested(DEPTH_MAX, 0x80)).is_err());
        assert!(to_json(&nested(DEPTH_MAX - 1, 0x80)).is_ok());
        // Binary is a leaf, however JSON spells it.
        let binary = [nested(DEPTH_MAX - 1, 0x91), vec![0xc4, 0]].concat();
        assert_eq!(from_json(&to_json(&binary).unwrap()).unwrap(), binary);
    }
}

mod untrusted {
    use super::*;

    /// Each is refused by the scan, so before anything is built from it.
    fn bombs() -> Vec<Vec<u8>> {
        let declared = |marker: u8| vec![marker, 0xff, 0xff, 0xff, 0xff];
        vec![
            vec![0x91; 10_000],
            vec![0x81; 10_000],
            [nested(0, 0xdd), vec![0xff; 4], vec![0xc0; 1000]].concat(),
            declared(0xdf),
            declared(0xdd),
            declared(0xdb),
            declared(0xc6),
            declared(0xc9),
            vec![0xde, 0xff, 0xff],
            vec![0xdc, 0xff, 0xff],
            vec![0x8f, 0xc0],
            vec![0xa5, b'a'],
            // Half of the map's values would fit.
            vec![0x82, 0xc0, 0xc0],
        ]
    }

    #[test]
    fn a_bomb_is_refused_before_anything_is_built_from_it() {
        for bomb in bombs() {
            let shown = format!("{:02x?}…", &bomb[..bomb.len().min(6)]);
            assert!(scan("payload", &bomb).is_err(), "{shown}");
            assert!(to_json(&bomb).is_err(), "{shown}");
            assert!(from_payload::<Vec<u64>>(&bomb).is_err(), "{shown}");
            assert!(from_payload::<Value>(&bomb).is_err(), "{shown}");
            assert!(decode_attempt(&bomb).is_err(), "{shown}");
        }
    }

    #[test]
    fn a_type_that_nests_as_deep_as_its_data_is_safe() {
        #[derive(Debug, serde::Deserialize)]
        struct Deep(#[allow(dead_code, reason = "built to be nested")] Vec<Deep>);
        assert!(from_payload::<Deep>(&nested(DEPTH_MAX - 1, 0x90)).is_ok());
        assert!(from_payload::<Deep>(&nested(100_000, 0x90)).is_err());
    }

    #[test]
    fn a_producer_learns_what_no_worker_could_read() {
        let mut deep = Value::Null;
        for _ in 0..=DEPTH_MAX {
            deep = json!([deep]);
        }
        assert!(refused(to_payload(&deep)).starts_with("payload nests deeper than 64 levels"));
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
            let _ = to_json(&bytes);
            let _ = from_payload::<Value>(&bytes);
            let _ = decode_attempt(&bytes);
        }

        /// A decoder that could be fooled by a frame is never reached: what the scan accepts is one whole value.
        #[test]
        fn what_the_scan_accepts_is_one_value(bytes in proptest::collection::vec(any::<u8>(), 0..40), more in any::<u8>()) {
            if scan("payload", &bytes).is_ok() {
                prop_assert!(rmp_serde::from_slice::<serde::de::IgnoredAny>(&bytes).is_ok());
                prop_assert!(scan("payload", &[bytes.clone(), vec![more]].concat()).is_err());
                prop_assert!(scan("payload", &bytes[..bytes.len() - 1]).is_err());
            }
        }
    }
}

mod round_trips {
    use super::*;

    fn json_value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<u64>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            proptest::num::f64::NORMAL.prop_map(Value::from),
            ".{0,40}".prop_map(Value::from),
            proptest::collection::vec(any::<u8>(), 0..300)
                .prop_map(|bytes| to_json(&to_payload(&serde_bytes::ByteBuf::from(bytes)).unwrap()).unwrap()),
        ];
        leaf.prop_recursive(6, 64, 20, |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..20).prop_map(Value::from),
                proptest::collection::btree_map("[a-z$]{0,4}", inner, 0..20)
                    .prop_map(|map| Value::Object(map.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn json_to_a_payload_and_back_is_the_same(value in json_value()) {
            let payload = from_json(&value).unwrap();
            prop_assert_eq!(to_json(&payload).unwrap(), value.clone());
            prop_assert!(scan("payload", &payload).is_ok());
        }

        #[test]
        fn a_typed_value_reads_back(value in any::<(u64, i64, Option<String>, Vec<(i32, bool)>, char)>()) {
            let payload = to_payload(&value).unwrap();
            prop_assert_eq!(&from_payload::<(u64, i64, Option<String>, Vec<(i32, bool)>, char)>(&payload).unwrap(), &value);
            prop_assert_eq!(&from_json(&to_json(&payload).unwrap()).unwrap(), &payload);
        }
    }
}
