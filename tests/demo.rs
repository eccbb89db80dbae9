//! The demo proves something only if it fails when something is left out, and right there. Each has a cluster of its
//! own.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test says so by failing")]

use std::path::PathBuf;
use std::process::{Command, Stdio};

struct Played {
    success: bool,
    out: String,
    err: String,
}

fn play(folder: &str, options: &[&str]) -> Played {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    let output = Command::new(root.join("dev/demo"))
        .args(options)
        .env("MAYDAY_DEMO_DIR", root.join("target/test").join(folder))
        .stdin(Stdio::null())
        .output()
        .unwrap();
    Played {
        success: output.status.success(),
        out: String::from_utf8_lossy(&output.stdout).into_owned(),
        err: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

/// The demo must stop where `what` is left out, because it expected this.
#[track_caller]
fn fails_without(what: &str, expected: &str) {
    let played = play(&format!("demo-without-{what}"), &["--leave-out", what, "--patience", "20"]);
    assert!(!played.success, "{}", played.out);
    let (_, after) = played.out.split_once("(Left out: ").unwrap();
    let failure = played.err.split_once("  expected: ").unwrap_or_else(|| panic!("{}", played.err)).1;
    let failure = failure.lines().next().unwrap();
    assert!(failure.contains(expected), "{failure}");
    assert!(!after.contains("== The second outage"), "{after}");
    assert!(played.err.contains("the operator's log: "), "it says where the logs are: {}", played.err);
}

#[test]
fn it_passes() {
    let played = play("demo", &[]);
    assert!(played.success, "{}\n{}", played.out, played.err);
}

#[test]
fn without_an_approval_the_runbook_is_not_approved() {
    fails_without("approval", "is Approved=True");
}

#[test]
fn without_an_acknowledgement_the_incident_is_not_acknowledged() {
    fails_without("acknowledgement", "is Acknowledged=True");
}

#[test]
fn without_the_webhook_the_policy_is_not_enforced() {
    fails_without("webhook", "changepolicy/production is Enforced=True");
}
