//! JSONTestSuite (Nicolas Seriot, MIT licence): what JSON must be taken and what must be refused. Its files are not part of the repository; they lie beside it, in
//! `../shared/data/JSONTestSuite`. Without them the test says so and checks nothing; with `RETRACED_JSON_SUITE=required`, as in CI, it fails.
#![allow(clippy::unwrap_used)]

use std::path::Path;

use retraced_jobs::codec::{from_json_text, to_json_text};

/// What the suite leaves to the parser and this library takes: numbers of any size are kept as their text.
const TAKEN: &[&str] = &[
    "i_number_double_huge_neg_exp.json",
    "i_number_huge_exp.json",
    "i_number_neg_int_huge_exp.json",
    "i_number_pos_double_huge_exp.json",
    "i_number_real_neg_overflow.json",
    "i_number_real_pos_overflow.json",
    "i_number_real_underflow.json",
    "i_number_too_big_neg_int.json",
    "i_number_too_big_pos_int.json",
    "i_number_very_big_negative_int.json",
];

/// Each file of the suite by its name, or an error for a file that is not UTF-8. None if the suite is missing.
fn files() -> Vec<(String, Result<String, String>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/data/JSONTestSuite");
    let entries = match std::fs::read_dir(&folder) {
        Ok(entries) => entries,
        Err(error) => {
            let required = std::env::var_os("RETRACED_JSON_SUITE").is_some_and(|value| value == "required");
            assert!(!required, "JSONTestSuite should lie in {}: {error}", folder.display());
            eprintln!("not checked: there is no JSONTestSuite in {}", folder.display());
            return Vec::new();
        }
    };
    let paths = entries.map(|entry| entry.unwrap().path()).filter(|path| path.extension().is_some_and(|e| e == "json"));
    let mut files: Vec<_> = paths
        .map(|path| {
            let text = String::from_utf8(std::fs::read(&path).unwrap()).map_err(|error| error.to_string());
            (path.file_name().unwrap().to_string_lossy().into_owned(), text)
        })
        .collect();
    files.sort();
    assert_eq!(files.len(), 318, "files in {}", folder.display());
    files
}

/// The same JSON without spaces between its parts and with the shortest escapes. Numbers, keys and their order stay as they are.
fn compact(json: &str) -> String {
    let (mut compact, mut rest) = (String::new(), json);
    while let Some(first) = rest.chars().next() {
        let mut taken = first.len_utf8();
        if first == '"' {
            let mut escaped = false;
            let closes = |c: char| {
                let closes = c == '"' && !escaped;
                escaped = c == '\\' && !escaped;
                closes
            };
            taken = 1 + rest[1..].find(closes).unwrap() + 1;
            let text: String = serde_json::from_str(&rest[..taken]).unwrap();
            compact.push_str(&serde_json::to_string(&text).unwrap());
        } else if !first.is_whitespace() {
            compact.push(first);
        }
        rest = &rest[taken..];
    }
    compact
}

#[test]
fn accepted_json_is_never_changed_and_broken_json_is_never_taken() {
    for (name, text) in files() {
        let payload =
            text.as_ref().map_err(Clone::clone).and_then(|text| from_json_text(text).map_err(|e| e.to_string()));
        match &payload {
            Ok(payload) => {
                assert!(name.starts_with("y_") || TAKEN.contains(&name.as_str()), "{name} was taken");
                assert_eq!(to_json_text(payload).unwrap().as_str(), compact(text.as_ref().unwrap()), "{name}");
            }
            Err(why) => {
                assert!(!name.starts_with("y_") && !TAKEN.contains(&name.as_str()), "{name} was refused: {why}");
                assert!(text.is_err() || why.starts_with("payload "), "{name}: {why}");
                assert!(!why.contains("expected ident") && why.len() < 200, "{name}: {why}");
            }
        }
    }
}
