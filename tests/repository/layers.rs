//! The rooms are stacked: a room uses those below it and none above, so that there is no circle between rooms.
//! Commands that texts print come from one builder.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test says so by failing")]

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use super::sources::files;

/// The rooms of the library, the lowest first.
const ROOMS: &[&str] = &[
    "text",
    "command",
    "problem",
    "api",
    "report",
    "config",
    "telemetry",
    "outbound",
    "cluster",
    "webhook",
    "notify",
    "oncall",
    "change",
    "runbook",
    "incident",
    "service",
    "detect",
    "guard",
    "admission",
    "health",
    "uninstall",
    "process",
];

/// The rooms of the plugin, the lowest first.
const PLUGIN_ROOMS: &[&str] = &["text", "client", "render", "commands"];

/// The roots, which only list the rooms.
const ROOTS: &[&str] = &["lib.rs", "main.rs"];

#[test]
fn no_room_uses_a_room_above_it() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let problems: Vec<String> = [(src.clone(), ROOMS), (src.join("bin/kubectl-mayday"), PLUGIN_ROOMS)]
        .iter()
        .flat_map(|(root, rooms)| upward(root, rooms))
        .collect();
    assert!(problems.is_empty(), "these arrows run up:\n{}", problems.join("\n"));
}

#[test]
fn printed_commands_come_from_the_builder() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let is_builder = |file: &Path| file == src.join("command.rs");
    let is_test = |file: &Path| file.to_str().unwrap().ends_with("_tests.rs");
    for file in files(&src).into_iter().filter(|file| !is_builder(file) && !is_test(file)) {
        let code = code(&fs::read_to_string(&file).unwrap());
        // A literal may go on in the next line.
        let code = code.split("\\\n").map(str::trim_start).collect::<String>();
        assert!(!code.contains("kubectl mayday"), "{} writes a command by hand", file.display());
    }
}

#[test]
fn an_arrow_that_runs_up_is_seen() {
    let code = "use crate::{Context, change::policy::{self, Policy}, api};\nlet a = crate::text::cut(b);\n// crate::guard";
    assert_eq!(rooms_used(code), ["Context", "api", "change", "text"].map(str::to_owned).into());
    let tests = "fn f() {}\n#[cfg(test)]\nmod tests {\n    use crate::change::gate;\n}";
    assert_eq!(rooms_used(tests), BTreeSet::new(), "a test may look further");
}

/// `room -> room above it`, with the file, for every such arrow under a root.
fn upward(root: &Path, rooms: &[&str]) -> Vec<String> {
    let floor = |room: &str| rooms.iter().position(|known| *known == room);
    let mut problems = Vec::new();
    for file in files(root) {
        let name = file.strip_prefix(root).unwrap().to_str().unwrap().to_owned();
        if ROOTS.contains(&name.as_str()) || name.starts_with("bin/") || name.ends_with("_tests.rs") {
            continue;
        }
        let room = name.split('/').next().unwrap().trim_end_matches(".rs");
        let Some(own) = floor(room) else {
            problems.push(format!("{name}: the room {room} has no floor"));
            continue;
        };
        let used = rooms_used(&fs::read_to_string(&file).unwrap());
        let above = used.iter().filter(|used| floor(used).is_some_and(|floor| floor > own));
        problems.extend(above.map(|above| format!("{name}: {room} -> {above}")));
    }
    problems
}

/// The first segment of every path from the root of the crate, also of grouped ones; comments and tests left out.
fn rooms_used(text: &str) -> BTreeSet<String> {
    let code = code(text);
    let mut used = BTreeSet::new();
    for (at, _) in code.match_indices("crate::") {
        if code[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_') {
            continue;
        }
        let path = &code[at + "crate::".len()..];
        match path.strip_prefix('{') {
            Some(group) => used.extend(group_heads(group)),
            None => used.extend(identifier(path)),
        }
    }
    used
}

/// The text of a file without comments and tests.
fn code(text: &str) -> String {
    let code = text.split_once("#[cfg(test)]\nmod tests {").map_or(text, |(code, _)| code);
    let lines: Vec<&str> = code.lines().filter(|line| !line.trim_start().starts_with("//")).collect();
    lines.join("\n")
}

/// The first segment of each member of a group whose opening brace is gone.
fn group_heads(group: &str) -> Vec<String> {
    let (mut depth, mut start, mut heads) = (0_usize, 0, Vec::new());
    for (at, character) in group.char_indices() {
        match character {
            '{' => depth += 1,
            '}' if depth > 0 => depth -= 1,
            ',' | '}' if depth == 0 => {
                heads.extend(identifier(group[start..at].trim_start()));
                start = at + 1;
                if character == '}' {
                    break;
                }
            }
            _ => {}
        }
    }
    heads
}

fn identifier(path: &str) -> Option<String> {
    let end = path.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(path.len());
    (end > 0).then(|| path[..end].to_owned())
}
