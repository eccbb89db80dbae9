//! The failure list names tests that exist, and comments cite rows that exist.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test says so by failing")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use super::sources::files;

/// The tests of each row by its number.
fn list(root: &Path) -> BTreeMap<u32, Vec<String>> {
    let page = fs::read_to_string(root.join("docs/failure-list.md")).unwrap();
    let rows = page.lines().filter_map(|line| {
        let cells: Vec<&str> = line.trim_matches('|').split(" | ").map(str::trim).collect();
        let [number, _, _, tests] = cells[..] else { return None };
        let tests = tests.split(", ").map(|name| name.trim_matches(['`', ' ']).to_owned()).collect();
        Some((number.parse().ok()?, tests))
    });
    rows.collect()
}

/// The names of functions that follow an attribute of a test.
fn tests(text: &str) -> Vec<String> {
    let after = |part: &str| part.split("fn ").nth(1)?.split('(').next().map(|name| name.trim().to_owned());
    let attributes = ["#[test]", "#[tokio::test"];
    attributes.iter().flat_map(|attribute| text.split(attribute).skip(1).filter_map(after)).collect()
}

/// The rows that comments cite: `Failure list 44 and 58: …`.
fn cited(text: &str) -> Vec<u32> {
    let numbers = |rest: &str| {
        let words = rest.split(':').next().unwrap_or_default().split([' ', ',']);
        words.filter_map(|word| word.parse().ok()).collect::<Vec<u32>>()
    };
    text.split("ailure list ").skip(1).flat_map(numbers).collect()
}

#[test]
fn every_row_of_the_failure_list_is_shown_by_tests_that_exist() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let list = list(root);
    assert_eq!(list.len(), 45, "{:?}", list.keys());
    let texts: Vec<String> = ["src", "tests/behaviour"]
        .iter()
        .flat_map(|folder| files(&root.join(folder)))
        .map(|path| fs::read_to_string(path).unwrap())
        .collect();
    let known: BTreeSet<String> = texts.iter().flat_map(|text| tests(text)).collect();
    for (row, tests) in &list {
        assert!(!tests.is_empty(), "row {row} is shown by no test");
        for test in tests {
            assert!(known.contains(test), "row {row} names a test that does not exist: {test}");
        }
    }
    for row in texts.iter().flat_map(|text| cited(text)) {
        assert!(list.contains_key(&row), "a comment cites row {row}, which is not in docs/failure-list.md");
    }
}
