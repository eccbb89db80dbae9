//! The demo proves something only if it fails right where something is left out. Each test has a cluster of
//! its own and leaves nothing running.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test says so by failing")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

struct Played {
    success: bool,
    out: String,
    err: String,
}

fn play(folder: &str, options: &[&str]) -> Played {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    let folder = root.join("target/test").join(folder);
    let output = Command::new(root.join("dev/demo"))
        .args(options)
        .env("MAYDAY_DEMO_DIR", &folder)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    assert_eq!(running(&folder), Vec::<String>::new(), "processes are left");
    Played {
        success: output.status.success(),
        out: String::from_utf8_lossy(&output.stdout).into_owned(),
        err: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

/// The command lines of processes that work with a folder. A process that ended and is not reaped yet has
/// none.
fn running(folder: &Path) -> Vec<String> {
    let folder = format!("{}/", folder.display());
    let lines = fs::read_dir("/proc").unwrap().flatten().filter_map(|entry| {
        let line = fs::read(entry.path().join("cmdline")).ok()?;
        Some(String::from_utf8_lossy(&line).replace('\0', " "))
    });
    lines.filter(|line| line.contains(&folder)).collect()
}

/// The demo must stop where `what` is left out, because it expected this.
#[track_caller]
fn fails_without(what: &str, expected: &str, next: &str) {
    let played = play(&format!("demo-without-{what}"), &["--leave-out", what]);
    assert!(!played.success, "{}", played.out);
    let (_, after) = played.out.split_once("(Left out: ").unwrap_or_else(|| panic!("{}", played.err));
    let failure = played.err.split_once("  expected: ").unwrap_or_else(|| panic!("{}", played.err)).1;
    let failure = failure.lines().next().unwrap();
    assert!(failure.contains(expected), "{failure}");
    assert!(!after.contains(next), "{after}");
    assert!(played.err.contains("the operator's log: "), "it says where the logs are: {}", played.err);
}

#[test]
fn it_passes() {
    let played = play("demo", &[]);
    assert!(played.success, "{}\n{}", played.out, played.err);
    let headings: Vec<&str> = played.out.lines().filter(|line| line.starts_with("== ")).collect();
    let scenes = [
        "== Before anything happens ==",
        "== The first outage repairs itself ==",
        "== The second outage needs people ==",
        "== Mayday itself is stopped ==",
    ];
    assert_eq!(headings, scenes);
    assert!(
        played.out.lines().last().unwrap().starts_with("Both outages are over, after "),
        "{}",
        played.out
    );

    let repaired = "  From the stored alert to the first write of the repair: ";
    let cost = played.out.lines().find_map(|line| line.strip_prefix(repaired)).unwrap();
    let (seconds, calls) = cost.split_once(" s, ").unwrap();
    assert!(seconds.parse::<f64>().unwrap() >= 0.0, "{cost}");
    assert!(calls.strip_suffix(" API calls.").unwrap().parse::<u32>().unwrap() > 0, "{cost}");

    // Every act of the demo is a command that a person types; a file keeps all of them.
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let story = fs::read_to_string(root.join("target/test/demo/story.txt")).unwrap();
    let is_name = |name: &&str| !name.is_empty() && name.chars().all(|c| c.is_ascii_lowercase());
    let typed_by = |line: &str| line.split('$').next().filter(is_name).map(str::to_owned);
    let commands: Vec<String> =
        story.lines().filter(|line| line.contains("$ ")).filter_map(typed_by).collect();
    let (told, all) = (played.out.lines().count(), story.lines().count());
    assert!(told * 4 < all, "the terminal shows the story and not everything: {told} of {all} lines");
    assert!(commands.len() >= 50, "{}: {commands:?}", commands.len());
    for name in ["admin", "amir", "bea", "emil", "lena", "monitoring", "node"] {
        assert!(commands.iter().any(|typed| typed == name), "{name} types nothing: {commands:?}");
    }
}

#[test]
#[ignore = "slow, and rarely fails: make test-all"]
fn without_an_approval_the_runbook_is_not_approved() {
    fails_without("approval", "is Approved=True", "== The first outage");
}

#[test]
#[ignore = "slow, and rarely fails: make test-all"]
fn without_an_acknowledgement_the_incident_is_not_acknowledged() {
    fails_without("acknowledgement", "is Acknowledged=True", "== The second outage");
}

#[test]
#[ignore = "slow, and rarely fails: make test-all"]
fn without_the_webhook_the_policy_is_not_enforced() {
    fails_without("webhook", "changepolicy/production is Enforced=True", "== The first outage");
}

#[test]
#[ignore = "slow, and rarely fails: make test-all"]
fn without_the_lead_no_change_is_approved() {
    fails_without("lead", "is Approved=True", "The exact command passes");
}
