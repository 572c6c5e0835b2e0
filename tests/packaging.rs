//! The published packages are complete, contain no unnecessary files, have descriptions, and need no newer Rust version than declared.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

const CRATES: [(&str, &str); 4] =
    [("retraced", ""), ("retraced-actors", "actors"), ("retraced-cli", "cli"), ("retraced-jobs", "jobs")];

/// The standard output of cargo.
fn cargo(arguments: &[&str]) -> String {
    let root = env!("CARGO_MANIFEST_DIR");
    let output = Command::new(env!("CARGO")).current_dir(root).args(arguments).output().unwrap();
    assert!(output.status.success(), "cargo {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// Cargo's metadata of everything that is built on this platform, including all features and tests.
fn metadata() -> Value {
    let version = Command::new("rustc").arg("-vV").output().unwrap();
    let version = String::from_utf8(version.stdout).unwrap();
    let host = version.lines().find_map(|line| line.strip_prefix("host: ")).unwrap();
    let output = cargo(&["metadata", "--format-version=1", "--locked", "--all-features", "--filter-platform", host]);
    serde_json::from_str(&output).unwrap()
}

/// The files below a folder with this extension, as paths from `root`.
fn files(root: &Path, folder: &str, extension: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for entry in std::fs::read_dir(root.join(folder)).unwrap() {
        let entry = entry.unwrap();
        let path = format!("{folder}/{}", entry.file_name().to_str().unwrap());
        if entry.file_type().unwrap().is_dir() {
            found.extend(files(root, &path, extension));
        } else if path.ends_with(extension) {
            found.insert(path);
        }
    }
    found
}

#[test]
fn each_package_is_complete_and_has_no_unnecessary_files() {
    for (name, folder) in CRATES {
        let packed = cargo(&["package", "--list", "--allow-dirty", "--package", name]);
        let packed: BTreeSet<String> = packed.lines().map(str::to_owned).collect();
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
        for needed in ["LICENSE", "README.md"] {
            assert!(packed.contains(needed), "{name} lacks {needed}");
        }
        let sources = match name {
            "retraced" => &files(&root, "src", ".rs") | &files(&root, "examples", ".rs"),
            "retraced-cli" => &files(&root, "webhook", ".rs") | &files(&root, "bench", ".lua"),
            "retraced-jobs" => files(&root, "store", ""),
            _ => &files(&root, "supervision", ".rs") | &files(&root, "store_calls", ".rs"),
        };
        assert!(packed.is_superset(&sources), "{name} lacks {:?}", sources.difference(&packed).collect::<Vec<_>>());
        let unnecessary = |path: &&String| {
            let folder = path.split('/').next().unwrap();
            // Cargo adds `.cargo_vcs_info.json` itself.
            ["tests", "benches", "docs", "scripts", "target"].contains(&folder)
                || folder.starts_with('.') && folder != ".cargo_vcs_info.json"
        };
        assert_eq!(packed.iter().filter(unnecessary).collect::<Vec<_>>(), Vec::<&String>::new(), "{name}");
    }
}

#[test]
fn each_crate_has_a_description_and_metadata() {
    let metadata = metadata();
    let packages = metadata["packages"].as_array().unwrap();
    for (name, _) in CRATES {
        let package = packages.iter().find(|package| package["name"] == name).unwrap();
        for field in ["description", "license", "readme", "documentation", "rust_version"] {
            assert!(package[field].as_str().is_some_and(|text| !text.is_empty()), "{name} has no {field}");
        }
        for field in ["keywords", "categories", "authors"] {
            assert!(package[field].as_array().is_some_and(|list| !list.is_empty()), "{name} has no {field}");
        }
        assert_eq!(package["metadata"]["docs"]["rs"]["all-features"], true, "{name}");
    }
}

#[test]
fn no_dependency_needs_a_newer_rust_version_than_declared() {
    let metadata = metadata();
    let packages = metadata["packages"].as_array().unwrap();
    let required = |package: &Value| -> Option<Vec<u32>> {
        let numbers = package["rust_version"].as_str()?.split('.').map(|number| number.parse().unwrap());
        let mut numbers: Vec<u32> = numbers.collect();
        numbers.resize(3, 0);
        Some(numbers)
    };
    let ours = required(packages.iter().find(|package| package["name"] == "retraced").unwrap()).unwrap();
    let newer = packages.iter().filter(|package| required(package).is_some_and(|theirs| theirs > ours));
    let newer: Vec<String> = newer
        .map(|package| format!("{} {}: {}", package["name"], package["version"], package["rust_version"]))
        .collect();
    assert_eq!(
        newer,
        Vec::<String>::new(),
        "choose older versions with `cargo update --precise`, or raise rust-version"
    );
    assert!(
        packages.iter().filter(|package| required(package).is_some()).count() > 50,
        "no package declares its Rust version"
    );
}
