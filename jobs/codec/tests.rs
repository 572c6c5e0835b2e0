//! The exact bytes that are stored, what is refused, and that no input makes a worker panic.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use bytes::Bytes;
use proptest::prelude::*;
use serde_json::{Value, json};
use uuid::Uuid;

use super::scan::scan;
use super::*;
use crate::failure::{Class, Code};
use crate::job::{InstanceId, Kind};
use crate::limits::OUTPUT_BYTES_MAX;
use crate::retry::{self, Retry, RetryOverrides};
use crate::trace::{AttemptLog, Ended, ExecutorId, LogLine, Progress, Released};

fn refused<T: std::fmt::Debug>(result: Result<T, CodecError>) -> String {
    result.unwrap_err().to_string()
}

fn nested(levels: usize, innermost: u8) -> Vec<u8> {
    let mut bytes = vec![0x91; levels];
    bytes.push(innermost);
    bytes
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Bytes written in hex, with spaces between the parts and comments after `#`.
fn from_hex(text: &str) -> Vec<u8> {
    let digits: String = text.lines().flat_map(|line| line.split('#').next()).flat_map(str::split_whitespace).collect();
    (0..digits.len()).step_by(2).map(|at| u8::from_str_radix(&digits[at..at + 2], 16).unwrap()).collect()
}

fn an_envelope() -> Envelope {
    let retry = RetryOverrides::all_of(&Retry::three_tier().max_attempts(9));
    Envelope { kind: Kind::new("email.send").unwrap(), payload: vec![0xc0; 5].into(), retry, timeout_ms: Some(90_000) }
}

fn a_completion() -> AttemptLog {
    AttemptLog {
        instance: InstanceId::from(Uuid::from_u128(0x0011_2233_4455_6677_8899_aabb_ccdd_eeff)),
        executor: ExecutorId { slot: 3, generation: 1 },
        started_ms: 1_760_000_000_000,
        ran_ms: 250,
        ended: Ended::Completed { output: None },
        lines: Vec::new(),
        lines_dropped: 0,
        progress: None,
    }
}

#[test]
fn an_output_is_kept_up_to_its_bound_and_left_out_beyond_it() {
    let kept = |bytes: usize| {
        let output = Some(vec![b'x'; bytes].into());
        let log = AttemptLog { ended: Ended::Completed { output }, ..a_completion() };
        match decode_attempt(&encode_attempt(&log)).unwrap().ended {
            Ended::Completed { output } => output.map(|output| output.len()),
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(kept(0), Some(0));
    assert_eq!(kept(OUTPUT_BYTES_MAX), Some(OUTPUT_BYTES_MAX));
    assert_eq!(kept(OUTPUT_BYTES_MAX + 1), None);
    let refused = to_output(&"x".repeat(OUTPUT_BYTES_MAX)).unwrap_err();
    assert!(refused.to_string().contains("store large results elsewhere"), "{refused}");
}

fn a_failure() -> AttemptLog {
    let retry = Retry::exponential();
    let ended = Ended::Failed {
        code: Code::Panic,
        message: "boom".into(),
        chain: vec!["why".into()],
        location: Some("a.rs:1:2".into()),
        backtrace: Some("f".into()),
        decision: Some(Box::new(retry::decide(&retry, 2, Class::Temporary, None, -500))),
    };
    let lines = vec![LogLine { after_ms: 7, text: "hi".into() }];
    AttemptLog {
        ended,
        lines,
        lines_dropped: 1,
        progress: Some(Progress { percent: 50, note: "half".into() }),
        ..a_completion()
    }
}

/// The exact bytes that are stored: they must be readable for ever. A change to one of them needs a new version, and the old version keeps its test.
mod golden {
    use super::*;

    #[track_caller]
    fn envelope_is(envelope: &Envelope, bytes: &str) {
        assert_eq!(hex(&seal(envelope).unwrap()), hex(&from_hex(bytes)));
        assert_eq!(&open(&Bytes::from(from_hex(bytes))).unwrap(), envelope);
    }

    #[track_caller]
    fn log_is(log: &AttemptLog, bytes: &str) {
        assert_eq!(hex(&encode_attempt(log)), hex(&from_hex(bytes)));
        assert_eq!(&decode_attempt(&from_hex(bytes)).unwrap(), log);
    }

    #[test]
    fn a_minimal_envelope() {
        let kind = Kind::new("email.send").unwrap();
        let payload = from_json(&json!({"to": "ada"})).unwrap();
        envelope_is(
            &Envelope { kind, payload: payload.into(), retry: RetryOverrides::default(), timeout_ms: None },
            "01                          # version
             82                          # map of 2
             a1 6b                       # \"k\": the kind
             aa 656d61696c2e73656e64     # \"email.send\"
             a1 70                       # \"p\": the payload
             c4 08                       # 8 bytes
             81 a2 746f a3 616461        # {\"to\": \"ada\"}",
        );
    }

    #[test]
    fn an_envelope_with_all_retry_overrides_and_a_timeout() {
        envelope_is(
            &an_envelope(),
            "01
             84
             a1 6b aa 656d61696c2e73656e64
             a1 70 c4 05 c0c0c0c0c0
             a1 72 87                          # \"r\": its own retry settings
                a1 73 aa 74687265652d74696572  # \"s\": strategy \"three-tier\"
                a1 6e 09                       # \"n\": max attempts 9
                a1 62 cd 1388                  # \"b\": base 5000 ms
                a1 66 02                       # \"f\": factor 2
                a1 6d ce 000493e0              # \"m\": max delay 300000 ms
                a1 6a 14                       # \"j\": jitter 20 %
                a1 69 03                       # \"i\": immediate tries 3
             a1 74 ce 00015f90                 # \"t\": timeout 90000 ms",
        );
    }

    #[test]
    fn an_envelope_with_one_retry_override() {
        let retry = RetryOverrides { max_attempts: Some(1), ..RetryOverrides::default() };
        envelope_is(
            &Envelope { kind: Kind::new("a").unwrap(), payload: Bytes::new(), retry, timeout_ms: None },
            "01 83 a1 6b a1 61 a1 70 c4 00 a1 72 81 a1 6e 01",
        );
    }

    #[test]
    fn an_envelope_with_a_timeout() {
        let timeout_ms = Some(1);
        let retry = RetryOverrides::default();
        envelope_is(
            &Envelope { kind: Kind::new("a").unwrap(), payload: Bytes::new(), retry, timeout_ms },
            "01 83 a1 6b a1 61 a1 70 c4 00 a1 74 01",
        );
    }

    #[test]
    fn the_log_of_a_completed_attempt() {
        log_is(
            &a_completion(),
            "01                                          # completed
             95                                          # array of 5
             c4 10 00112233 44556677 8899aabb ccddeeff   # instance
             03                                          # executor's slot
             01                                          # and generation
             cf 00000199c82cc000                         # started, in ms since the Unix epoch
             cc fa                                       # ran for 250 ms",
        );
    }

    #[test]
    fn the_log_of_a_failed_attempt() {
        log_is(
            &a_failure(),
            "03                                          # named
             88
             a1 69 c4 10 00112233 44556677 8899aabb ccddeeff   # \"i\": instance
             a1 65 82 a1 78 03 a1 67 01                  # \"e\": executor, slot \"x\", generation \"g\"
             a1 73 cf 00000199c82cc000                   # \"s\": started
             a1 64 cc fa                                 # \"d\": ran
             a1 6f 81 a3 657272 86                       # \"o\": {\"err\": …}
                a1 63 a5 50414e4943                      # \"c\": \"PANIC\"
                a1 6d a4 626f6f6d                        # \"m\": \"boom\"
                a2 6368 91 a3 776879                     # \"ch\": [\"why\"]
                a2 6174 a8 612e72733a313a32              # \"at\": \"a.rs:1:2\"
                a2 6274 a1 66                            # \"bt\": \"f\"
                a3 646563 8c                             # \"dec\": the decision
                   a1 6f a5 7265747279                   # outcome
                   a1 79 a8 7374726174656779             # why
                   a1 73 ab 6578706f6e656e7469616c       # strategy
                   a1 6e 02                              # failures, this one included
                   a1 61 05                              # max attempts
                   a1 6c 03                              # attempts left
                   a1 62 cd 1388                         # base, in ms
                   a1 66 02                              # factor
                   a1 6d ce 000493e0                     # longest delay, in ms
                   a1 6a 14                              # jitter, in percent
                   a1 64 d1 fe0c                         # jitter drawn
                   a1 77 cd 2328                         # delay, in ms
             a1 6c 91 82 a1 74 07 a1 6d a2 6869          # \"l\": log lines
             a2 6c64 01                                  # \"ld\": lines dropped
             a1 70 82 a1 70 32 a1 6d a4 68616c66         # \"p\": progress",
        );
    }

    #[test]
    fn the_log_of_a_failed_attempt_with_the_long_names_of_its_decision() {
        let bytes = from_hex(
            "02                                          # named, with a long decision
             88
             a1 69 c4 10 00112233 44556677 8899aabb ccddeeff   # \"i\": instance
             a1 65 82 a1 78 03 a1 67 01                  # \"e\": executor, slot \"x\", generation \"g\"
             a1 73 cf 00000199c82cc000                   # \"s\": started
             a1 64 cc fa                                 # \"d\": ran
             a1 6f 81 a3 657272 86                       # \"o\": {\"err\": …}
                a1 63 a5 50414e4943                      # \"c\": \"PANIC\"
                a1 6d a4 626f6f6d                        # \"m\": \"boom\"
                a2 6368 91 a3 776879                     # \"ch\": [\"why\"]
                a2 6174 a8 612e72733a313a32              # \"at\": \"a.rs:1:2\"
                a2 6274 a1 66                            # \"bt\": \"f\"
                a3 646563 8c                             # \"dec\": the decision
                   a7 6f7574636f6d65 a5 7265747279
                   a3 776879 a8 7374726174656779
                   a8 7374726174656779 ab 6578706f6e656e7469616c
                   a1 6e 02
                   ac 6d61785f617474656d707473 05
                   ad 617474656d7074735f6c656674 03
                   a7 626173655f6d73 cd 1388
                   a6 666163746f72 02
                   a6 6d61785f6d73 ce 000493e0
                   ae 6a69747465725f70657263656e74 14
                   ac 6a69747465725f647261776e d1 fe0c
                   a8 64656c61795f6d73 cd 2328
             a1 6c 91 82 a1 74 07 a1 6d a2 6869          # \"l\": log lines
             a2 6c64 01                                  # \"ld\": lines dropped
             a1 70 82 a1 70 32 a1 6d a4 68616c66         # \"p\": progress",
        );
        assert_eq!(decode_attempt(&bytes).unwrap(), a_failure());
    }

    #[test]
    fn the_log_of_a_released_attempt() {
        let ended = Ended::Released { reason: Released::Snoozed, delay_ms: 60_000 };
        log_is(
            &AttemptLog { ended, ..a_completion() },
            "03 85
             a1 69 c4 10 00112233 44556677 8899aabb ccddeeff
             a1 65 82 a1 78 03 a1 67 01
             a1 73 cf 00000199c82cc000
             a1 64 cc fa
             a1 6f 81 a3 72656c 82
                a3 776879 a7 736e6f6f7a6564              # \"why\": \"snoozed\"
                a1 77 cd ea60                            # \"w\": delayed by 60000 ms",
        );
    }
}

mod envelope {
    use super::*;

    #[test]
    fn opening_copies_no_payload() {
        let sealed = seal(&an_envelope()).unwrap();
        let opened = open(&sealed).unwrap();
        assert!(sealed.as_ptr_range().contains(&opened.payload.as_ptr()));
    }

    #[test]
    fn names_a_newer_producer_added_are_ignored() {
        let newer = "01 84 a1 6b a1 61 a1 70 c4 00 a1 72 82 a1 6e 01 a1 7a 05 a1 7a 92 01 02";
        let opened = open(&Bytes::from(from_hex(newer))).unwrap();
        assert_eq!(opened.retry, RetryOverrides { max_attempts: Some(1), ..RetryOverrides::default() });
    }

    #[test]
    fn garbage_is_distinguished_from_an_envelope_of_a_newer_version() {
        let newer = open(&Bytes::from_static(&[2, 0x80])).unwrap_err();
        assert!(newer.is_newer_version(), "{newer}");
        for bytes in [&b""[..], b"\0", b"{\"kind\":1}", b"\xff", b"\x01", b"\x01\x80", b"\x01\xc0", b"\x01\x80\x80"] {
            let error = open(&Bytes::from_static(bytes)).unwrap_err();
            assert!(!error.is_newer_version() && error.to_string().starts_with("envelope "), "{error}");
        }
        let text = "01 82 a1 6b a3 612062 a1 70 c4 00";
        let why = refused(open(&Bytes::from(from_hex(text))));
        assert!(why.contains("invalid kind \"a b\""), "{why}");
    }

    #[test]
    fn what_is_too_large_is_not_sealed() {
        let mut envelope = an_envelope();
        envelope.payload = vec![0; PAYLOAD_BYTES_CEILING + 1].into();
        assert!(refused(seal(&envelope)).starts_with("payload has 67108865 bytes, no job may have more than 67108864"));
    }

    #[test]
    fn everything_but_the_payload_fits_the_overhead() {
        let retry =
            Retry::three_tier().max_attempts(u32::MAX).factor(u32::MAX).immediate_tries(u32::MAX).jitter(u8::MAX);
        let retry = retry.base(std::time::Duration::MAX).max_delay(std::time::Duration::MAX);
        let kind = Kind::new("k".repeat(crate::job::NAME_LENGTH_MAX)).unwrap();
        let retry = RetryOverrides::all_of(&retry);
        let largest = Envelope { kind, payload: Bytes::new(), retry, timeout_ms: Some(u64::MAX) };
        assert!(seal(&largest).unwrap().len() <= ENVELOPE_OVERHEAD_MAX);
    }
}

mod attempt_log {
    use super::*;

    #[test]
    fn a_completion_takes_at_most_48_bytes() {
        assert_eq!(encode_attempt(&a_completion()).len(), 33);
        let executor = ExecutorId { slot: u32::MAX, generation: u32::MAX };
        let largest = AttemptLog { executor, started_ms: u64::MAX, ran_ms: u64::MAX, ..a_completion() };
        assert_eq!(encode_attempt(&largest).len(), 48);
        assert_eq!(decode_attempt(&encode_attempt(&largest)), Ok(largest));
    }

    #[test]
    fn an_unknown_shape_was_written_by_a_newer_version() {
        let error = decode_attempt(&[7, 0xc0]).unwrap_err();
        assert_eq!(error.to_string(), "attempt log has shape 7, this build reads 1 to 3; a newer version wrote it");
        assert!(error.is_newer_version());
        assert_eq!(refused(decode_attempt(&[])), "attempt log is empty");
    }

    #[test]
    fn names_a_newer_worker_added_are_ignored() {
        let mut bytes = encode_attempt(&AttemptLog { lines_dropped: 1, ..a_completion() }).to_vec();
        bytes[1] += 1; // one more pair
        bytes.extend([0xa3, b'n', b'e', b'w', 0x91, 0x01]);
        assert_eq!(decode_attempt(&bytes).unwrap().lines_dropped, 1);
    }
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
    fn json_that_a_person_wrote_reads_as_its_type() {
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
    fn a_map_key_that_json_has_no_text_for_is_refused() {
        let numbers = to_payload(&std::collections::BTreeMap::from([(7, "seven")])).unwrap();
        assert_eq!(to_json(&numbers).unwrap(), json!({"7": "seven"}));
        let payload = to_payload(&std::collections::BTreeMap::from([((7, 7), "seven")])).unwrap();
        assert_eq!(
            refused(to_json(&payload)),
            "payload has a map key that is not text or a number, which JSON cannot express (at byte 1)"
        );
    }

    #[test]
    fn a_map_key_that_occurs_twice_is_refused_rather_than_lost() {
        let twice = [0x82, 0xa1, b'a', 1, 0xa1, b'a', 2];
        assert_eq!(
            refused(to_json(&twice)),
            "payload has the same map key twice, which a `serde_json::Value` cannot hold; use `to_json_text` (at byte 4)"
        );
    }

    #[test]
    fn what_a_person_wrote_comes_back_or_is_refused_with_the_reason() {
        for json in [
            r#"{"a":117.63331139400017,"b":9007199254740991.0,"c":100000000000000000000}"#,
            r#"{"z":1,"a":2,"m":{"2":0,"1":0}}"#,
            r#"{"a":1,"a":2}"#,
            r#"{"$base64":1,"$base64":2}"#,
            "[-0,-0.0,0.0,1.0,1.50,1E2,1e+2,0e1,18446744073709551616,-9223372036854775809,1e400]",
        ] {
            assert_eq!(to_json_text(&from_json_text(json).unwrap()).unwrap().as_str(), json);
        }
        for (json, why) in [
            ("\u{feff}{}", "payload begins with a byte order mark"),
            ("", "payload is empty"),
            ("[1", "payload is not JSON: it ends too early"),
            ("nul", "payload is not JSON: it ends too early"),
            ("[nope]", "payload is not JSON: a word that is not true, false or null at line 1 column 3"),
            ("{} {}", "payload is not JSON: trailing characters at line 1 column 4"),
            (r#"["\ud800"]"#, "payload has a text with half of a surrogate pair"),
            (r#"{"\udc00":1}"#, "payload has a text with half of a surrogate pair"),
            (r#"["\ud800\u0041"]"#, "payload has a text with half of a surrogate pair"),
        ] {
            let refused = refused(from_json_text(json));
            assert!(refused.starts_with(why), "{json}: {refused}");
        }
    }

    #[test]
    fn a_number_as_text_that_is_none_is_refused() {
        // Extension type 1 with "1.50", "1,5" and " 1".
        assert_eq!(to_json_text(&[0xd6, 1, b'1', b'.', b'5', b'0']).unwrap().as_str(), "1.50");
        for bytes in [&[0xc7, 3, 1, b'1', b',', b'5'][..], &[0xd5, 1, b' ', b'1'], &[0xc7, 0, 1]] {
            assert_eq!(refused(to_json_text(bytes)), "payload holds a number whose text is not a number (at byte 0)");
            assert!(from_payload::<f64>(bytes).is_err());
        }
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
        // In this order: no base64 at all, spare bits set, padding missing, the URL-safe alphabet.
        for text in ["not base64", "AQJ=", "AQI", "_w=="] {
            let why = refused(from_json(&json!([{"$base64": text}])));
            assert!(why.starts_with("payload has a \"$base64\" that is not base64"), "{why}");
        }
        assert!(refused(from_json(&json!({"$base64": 5}))).contains("whose value is not text"));
        // Next to another key it is an ordinary key.
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

    /// Bytes that declare more values than they hold, or more levels than are allowed.
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
            // Two pairs need four values, and two follow.
            vec![0x82, 0xc0, 0xc0],
        ]
    }

    #[test]
    fn a_length_or_depth_made_to_exhaust_memory_is_refused() {
        for bomb in bombs() {
            let shown = format!("{:02x?}…", &bomb[..bomb.len().min(6)]);
            assert!(scan("payload", &bomb).is_err(), "{shown}");
            assert!(to_json(&bomb).is_err(), "{shown}");
            assert!(to_json_text(&bomb).is_err(), "{shown}");
            assert!(from_payload::<Vec<u64>>(&bomb).is_err(), "{shown}");
            assert!(from_payload::<Value>(&bomb).is_err(), "{shown}");
            assert!(decode_attempt(&bomb).is_err(), "{shown}");
        }
    }

    #[test]
    fn a_length_beyond_the_input_is_refused_where_it_is_declared() {
        let declared = |marker, bytes: usize| [vec![marker, 0xff, 0xff, 0xff, 0xff], vec![0xc0; bytes]].concat();
        for (bytes, why) in [
            (declared(0xdd, 1_000), "4294967295 elements should follow, 1000 bytes do (at byte 5)"),
            (declared(0xdf, 1_000), "4294967295 elements should follow, 1000 bytes do (at byte 5)"),
            (declared(0xc6, 1_000), "4294967295 bytes should follow, 1000 do (at byte 5)"),
            (declared(0xdb, 1_000), "4294967295 bytes should follow, 1000 do (at byte 5)"),
            // A pair takes two bytes at least.
            ([vec![0xde, 0, 200], vec![0xc0; 399]].concat(), "200 elements should follow, 399 bytes do (at byte 3)"),
            (
                [vec![0xdf, 0, 0, 0, 200], vec![0xc0; 399]].concat(),
                "200 elements should follow, 399 bytes do (at byte 5)",
            ),
        ] {
            assert_eq!(refused(scan("payload", &bytes)), format!("payload ends too early: {why}"));
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
    fn a_producer_refuses_what_no_worker_could_read() {
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
            let _ = to_json_text(&bytes);
            let _ = from_payload::<Value>(&bytes);
            let _ = decode_attempt(&bytes);
            let _ = open(&Bytes::from(bytes.clone()));
            // The same with a first byte that is valid.
            let _ = open(&Bytes::from([vec![ENVELOPE_VERSION], bytes.clone()].concat()));
            let _ = decode_attempt(&[vec![1], bytes.clone()].concat());
            let _ = decode_attempt(&[vec![2], bytes.clone()].concat());
            let _ = decode_attempt(&[vec![3], bytes].concat());
        }

        #[test]
        fn a_damaged_envelope_or_log_never_panics(at in any::<prop::sample::Index>(), byte in any::<u8>(), cut in any::<prop::sample::Index>()) {
            for whole in [seal(&an_envelope()).unwrap(), encode_attempt(&a_failure())] {
                let mut bytes = whole.to_vec();
                let at = at.index(bytes.len());
                bytes[at] = byte;
                bytes.truncate(cut.index(bytes.len()) + 1);
                let _ = open(&Bytes::from(bytes.clone()));
                let _ = decode_attempt(&bytes);
            }
        }

        /// What the scan accepts is one whole value, neither more nor less.
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
    use proptest::option;

    fn some_envelope() -> impl Strategy<Value = Envelope> {
        let strategy = option::of(prop::sample::select(retry::Strategy::ALL.to_vec()));
        let numbers = (option::of(any::<u32>()), option::of(any::<u64>()), option::of(any::<u32>()));
        let more = (option::of(any::<u64>()), option::of(any::<u8>()), option::of(any::<u32>()));
        let retry = (strategy, numbers, more).prop_map(
            |(strategy, (max_attempts, base_ms, factor), (max_ms, jitter, immediate_tries))| RetryOverrides {
                strategy,
                max_attempts,
                base_ms,
                factor,
                max_ms,
                jitter,
                immediate_tries,
            },
        );
        let payload = proptest::collection::vec(any::<u8>(), 0..300);
        ("[A-Za-z0-9._-]{1,128}", payload, retry, option::of(any::<u64>())).prop_map(
            |(kind, payload, retry, timeout_ms)| Envelope {
                kind: Kind::new(kind).unwrap(),
                payload: payload.into(),
                retry,
                timeout_ms,
            },
        )
    }

    fn some_log() -> impl Strategy<Value = AttemptLog> {
        let decision = (any::<(u32, u64, i16)>(), option::of(any::<u64>())).prop_map(|((n, after, jitter), base)| {
            let retry = Retry::exponential().base(std::time::Duration::from_millis(base.unwrap_or(1)));
            let after = base.map(|_| std::time::Duration::from_millis(after));
            Box::new(retry::decide(&retry, n, Class::Temporary, after, jitter))
        });
        let reasons = vec![
            Released::Interrupted,
            Released::Unstarted,
            Released::UnknownKind,
            Released::Undecodable,
            Released::OutOfResources,
            Released::Snoozed,
        ];
        let failed = (
            prop::sample::select(Code::ALL.to_vec()),
            ".{0,50}",
            proptest::collection::vec(".{0,20}", 0..9),
            option::of(".{0,20}"),
            option::of(".{0,20}"),
            option::of(decision),
        );
        let ended = prop_oneof![
            2 => Just(Ended::Completed { output: None }),
            1 => proptest::collection::vec(any::<u8>(), 0..40).prop_map(|bytes| Ended::Completed { output: Some(bytes.into()) }),
            1 => (prop::sample::select(reasons), any::<u64>()).prop_map(|(reason, delay_ms)| Ended::Released { reason, delay_ms }),
            2 => failed.prop_map(|(code, message, chain, location, backtrace, decision)| {
                Ended::Failed { code, message, chain, location, backtrace, decision }
            }),
        ];
        let line = (any::<u64>(), ".{0,20}").prop_map(|(after_ms, text)| LogLine { after_ms, text });
        let notes = prop_oneof![
            Just((Vec::new(), 0, None)),
            (
                proptest::collection::vec(line, 0..4),
                any::<u32>(),
                option::of((any::<u8>(), ".{0,9}").prop_map(|(percent, note)| Progress { percent, note })),
            ),
        ];
        (any::<u128>(), any::<(u32, u32, u64, u64)>(), ended, notes).prop_map(
            |(instance, (slot, generation, started_ms, ran_ms), ended, (lines, lines_dropped, progress))| AttemptLog {
                instance: InstanceId::from(Uuid::from_u128(instance)),
                executor: ExecutorId { slot, generation },
                started_ms,
                ran_ms,
                ended,
                lines,
                lines_dropped,
                progress,
            },
        )
    }

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
        fn an_envelope_reads_back(envelope in some_envelope()) {
            prop_assert_eq!(open(&seal(&envelope).unwrap()).unwrap(), envelope);
        }

        #[test]
        fn an_attempt_log_reads_back(log in some_log()) {
            prop_assert_eq!(decode_attempt(&encode_attempt(&log)).unwrap(), log);
        }

        /// What is written is what `rmp-serde` writes, where that has the same shape.
        #[test]
        fn a_payload_is_ordinary_messagepack(value in any::<(u64, i64, Option<String>, Vec<(i32, bool)>, (char, f32, f64))>()) {
            let mut expected = Vec::new();
            let mut serializer = rmp_serde::Serializer::new(&mut expected).with_struct_map().with_human_readable();
            serde::Serialize::serialize(&value, &mut serializer).unwrap();
            prop_assert_eq!(to_payload(&value).unwrap(), expected);
        }

        #[test]
        fn a_typed_value_reads_back(value in any::<(u64, i64, Option<String>, Vec<(i32, bool)>, char)>()) {
            let payload = to_payload(&value).unwrap();
            prop_assert_eq!(&from_payload::<(u64, i64, Option<String>, Vec<(i32, bool)>, char)>(&payload).unwrap(), &value);
            prop_assert_eq!(&from_json(&to_json(&payload).unwrap()).unwrap(), &payload);
        }
    }
}
