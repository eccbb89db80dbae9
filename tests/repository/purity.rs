//! Decisions are pure: what is true and what time it is are arguments. Only the files named here may reach a client,
//! a clock, randomness, the disk or the log; a reader of any other file of these rooms reads a plain function.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test says so by failing")]

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use super::sources::files;

/// Rooms in which everything is pure, but their ends.
const ROOMS: &[&str] = &[
    "api", "change", "detect", "guard", "incident", "notify", "oncall", "outbound", "report", "runbook",
    "service",
];

/// The files that gather or act.
const ENDS: &[&str] = &[
    "change/approval/facts.rs",
    "change/controllers/approval.rs",
    "change/controllers/freeze.rs",
    "change/controllers/policy.rs",
    "change/controllers/request.rs",
    "change/drift/mod.rs",
    "change/drift/scan.rs",
    "change/freeze/live.rs",
    "change/gate/enforcement.rs",
    "change/gate/exemptions.rs",
    "change/gate/lookup.rs",
    "change/gate/mod.rs",
    "change/gate/protection.rs",
    "change/gate/unauthorized.rs",
    "change/gate/usage.rs",
    "change/gate_state.rs",
    "change/request/plan.rs",
    "detect/answered.rs",
    "detect/batches.rs",
    "detect/body.rs",
    "detect/concurrency.rs",
    "detect/controller.rs",
    "detect/intake.rs",
    "detect/live.rs",
    "detect/outage.rs",
    "detect/record.rs",
    "detect/refusals.rs",
    "detect/sources/condition.rs",
    "detect/sources/mod.rs",
    "detect/watch.rs",
    "guard/gather.rs",
    "guard/kind.rs",
    "guard/lookup.rs",
    "guard/mod.rs",
    "incident/controller.rs",
    "incident/looks.rs",
    "notify/channel_controller.rs",
    "notify/channels/webhook.rs",
    "notify/credential.rs",
    "notify/delivery.rs",
    "notify/outbox.rs",
    "notify/store.rs",
    "notify/tokens.rs",
    "oncall/feed_endpoint.rs",
    "oncall/override_controller.rs",
    "oncall/rotation_controller.rs",
    "outbound/client.rs",
    "outbound/look.rs",
    "runbook/clear.rs",
    "runbook/controller.rs",
    "runbook/identity.rs",
    "runbook/run/account.rs",
    "runbook/run/client/copies.rs",
    "runbook/run/client/judge.rs",
    "runbook/run/client/look.rs",
    "runbook/run/client/mod.rs",
    "runbook/run/client/send.rs",
    "runbook/run/controller/mod.rs",
    "runbook/run/controller/moves.rs",
    "runbook/run/controller/permission.rs",
    "runbook/run/controller/save.rs",
    "runbook/run/controller/stage.rs",
    "runbook/run/gather.rs",
    "runbook/run/others.rs",
    "runbook/run/outside.rs",
    "runbook/run/preflight.rs",
    "runbook/run/rehearsal/stage.rs",
    "runbook/run/start.rs",
    "service/controller.rs",
];

/// Words that a pure file does not contain.
const IMPURE: &[&str] = &[
    "&'a Context",
    "&Context",
    ".await",
    "Api::",
    "Client",
    "Instant::now",
    "SharedContext",
    "SystemTime",
    "Timestamp::now",
    "Zoned::now",
    "async fn",
    "getrandom",
    "rand::",
    "reqwest",
    "std::env",
    "std::fs",
    "std::net",
    "tokio::",
    "tracing::",
];

#[test]
fn decisions_have_no_client_no_clock_and_no_randomness() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut found = BTreeSet::new();
    let mut problems = Vec::new();
    for file in ROOMS.iter().flat_map(|room| files(&src.join(room))) {
        let name = file.strip_prefix(&src).unwrap().to_str().unwrap().to_owned();
        if name.ends_with("_tests.rs") {
            continue;
        }
        let text = fs::read_to_string(&file).unwrap();
        let impure = impure_lines(&text);
        if ENDS.contains(&name.as_str()) {
            assert!(!impure.is_empty(), "{name} is pure: take it off the list of ends");
            found.insert(name);
        } else {
            problems.extend(impure.into_iter().map(|line| format!("{name}: {line}")));
        }
    }
    assert!(problems.is_empty(), "these decide and act at once:\n{}", problems.join("\n"));
    assert_eq!(found.len(), ENDS.len(), "an end that is gone: {ENDS:?} against {found:?}");
}

#[test]
fn an_impure_line_is_seen() {
    for line in
        ["let now = Timestamp::now();", "    store.get(name).await?", "fn act(client: &kube::Client) {"]
    {
        assert_eq!(impure_lines(line), [line.trim()]);
    }
    assert!(impure_lines("/// A controller calls this with Timestamp::now().").is_empty());
}

/// The lines of a file that reach out; comments may speak of it, and tests at its end may do it.
fn impure_lines(text: &str) -> Vec<&str> {
    let code = text.split_once("#[cfg(test)]\nmod tests {").map_or(text, |(code, _)| code);
    code.lines()
        .map(str::trim)
        .filter(|line| !line.starts_with("//") && IMPURE.iter().any(|word| line.contains(word)))
        .collect()
}
