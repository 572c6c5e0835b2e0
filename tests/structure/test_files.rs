//! Every test file must be part of a test: cargo and the compiler say nothing about a file to which no `mod` line leads, and its tests never run.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use walkdir::WalkDir;

/// The test files below this folder, by their path from there.
pub fn read(root: &Path, folders: &[&str]) -> BTreeMap<PathBuf, String> {
    let tests = folders.iter().map(|folder| root.join(folder).join("tests"));
    let files = tests.flat_map(|tests| WalkDir::new(tests).into_iter().filter_map(Result::ok));
    files
        .filter(|entry| entry.path().extension().is_some_and(|extension| extension == "rs"))
        .map(|entry| {
            let name = entry.path().strip_prefix(root).expect("the file was found below the root").to_owned();
            (name, std::fs::read_to_string(entry.path()).expect("sources are text"))
        })
        .collect()
}

/// The files that no `mod` line or `#[path]` attribute names. Cargo itself finds the files directly in `tests/`, and the `main.rs` of each folder there. A
/// `tests/main.rs` is the only root of its crate: such a crate has `autotests = false`.
pub fn undeclared(files: &BTreeMap<PathBuf, String>) -> Vec<&Path> {
    let is_root = |file: &Path| {
        let Some(folder) = file.parent() else { return false };
        let is_main = file.ends_with("main.rs");
        if folder.ends_with("tests") {
            is_main || !files.contains_key(&folder.join("main.rs"))
        } else {
            is_main && folder.parent().is_some_and(|above| above.ends_with("tests"))
        }
    };
    files.keys().map(PathBuf::as_path).filter(|file| !is_root(file) && !is_declared(file, files)).collect()
}

fn is_declared(file: &Path, files: &BTreeMap<PathBuf, String>) -> bool {
    let (Some(folder), Some(stem)) = (file.parent(), file.file_stem().and_then(|stem| stem.to_str())) else {
        return false;
    };
    let (folder, name) = if stem == "mod" {
        (folder.parent().unwrap_or(folder), folder.file_name().and_then(|name| name.to_str()).unwrap_or_default())
    } else {
        (folder, stem)
    };
    let declaration = format!("mod {name};");
    let by_mod = |(parent, text): (&PathBuf, &String)| {
        let is_parent = parent.parent() == Some(folder) || parent.with_extension("") == folder;
        is_parent && text.lines().any(|line| line == declaration || line.ends_with(&format!(" {declaration}")))
    };
    let tail = file.iter().rev().take(2).collect::<Vec<_>>().into_iter().rev().collect::<PathBuf>();
    let by_path =
        |text: &String| text.lines().any(|line| line.starts_with("#[path") && line.contains(&*tail.to_string_lossy()));
    files.iter().any(by_mod) || files.values().any(by_path)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn undeclared_of(files: &[(&str, &str)]) -> Vec<String> {
        let files = files.iter().map(|(file, text)| (PathBuf::from(file), (*text).to_owned())).collect();
        undeclared(&files).into_iter().map(|file| file.display().to_string()).collect()
    }

    #[test]
    fn a_test_file_must_be_named_by_a_mod_line() {
        let main = ("actors/tests/main.rs", "mod kills;\nmod support;");
        let support = ("actors/tests/support/mod.rs", "pub mod work;");
        let files = [main, support, ("actors/tests/kills.rs", ""), ("actors/tests/support/work.rs", "")];
        assert_eq!(undeclared_of(&files), [""; 0]);
        let left = [main, support, ("actors/tests/left.rs", ""), ("actors/tests/support/left.rs", "")];
        assert_eq!(undeclared_of(&left), ["actors/tests/left.rs", "actors/tests/support/left.rs"]);
    }

    #[test]
    fn a_file_directly_in_tests_is_a_test_of_its_own() {
        assert_eq!(undeclared_of(&[("cli/tests/cli.rs", "")]), [""; 0]);
        let shared = ("cli/tests/support/hook.rs", "");
        assert_eq!(undeclared_of(&[("cli/tests/cli.rs", ""), shared]), ["cli/tests/support/hook.rs"]);
        let user = ("cli/tests/cli.rs", "#[path = \"support/hook.rs\"]\nmod hook;");
        assert_eq!(undeclared_of(&[user, shared]), [""; 0]);
    }
}
