//! The API server's audit log, the judge of every story, in the tests and in the demo. It holds all writes, and of reads
//! those of the operator.

use std::path::Path;

use serde_json::Value;

/// The cluster's own controllers and its node. Their writes follow from objects that people made, so they
/// count as no change. A story must expect the writes of every other account, also of one of the system.
const CONTROLLERS: &[&str] = &[
    "system:serviceaccount:kube-system:deployment-controller",
    "system:serviceaccount:kube-system:replicaset-controller",
    "system:serviceaccount:kube-system:endpoint-controller",
    "system:serviceaccount:kube-system:endpointslice-controller",
    "system:serviceaccount:kube-system:generic-garbage-collector",
    "system:serviceaccount:kube-system:root-ca-cert-publisher",
    "system:serviceaccount:kube-system:service-account-controller",
    "system:kube-scheduler",
    "system:node:kwok-0",
];

/// A write to production, as a story lists it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Change {
    /// Who made it.
    pub user: String,
    /// What was done: `patch deployments/checkout`.
    pub act: String,
}

impl std::fmt::Display for Change {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.user, self.act)
    }
}

/// The verdict: every write in a namespace and of the Namespace itself that took effect, of any verb and
/// kind, except those of the controllers and those of Mayday's own kinds.
pub fn changes(entries: &[Value], namespace: &str) -> Vec<Change> {
    let is_there = |entry: &&Value| {
        let object = &entry["objectRef"];
        object["namespace"] == namespace
            || (object["resource"] == "namespaces" && object["name"] == namespace)
    };
    let writes = entries.iter().filter(|entry| is_write(entry)).filter(is_there);
    let concerned = writes.filter(|entry| {
        entry["objectRef"]["apiGroup"] != "mayday.dev" && !CONTROLLERS.contains(&actor(entry))
    });
    concerned
        .map(|entry| {
            let part = |name: &str| entry["objectRef"][name].as_str().unwrap_or_default();
            let verb = entry["verb"].as_str().unwrap_or_default();
            let mut act = format!("{verb} {}/{}", part("resource"), part("name"));
            if !part("subresource").is_empty() {
                act = format!("{act}/{}", part("subresource"));
            }
            Change { user: actor(entry).to_owned(), act }
        })
        .collect()
}

#[allow(dead_code, reason = "the demo reads it once, from the beginning")]
/// Where the log ends now, in bytes. A half-written last line is not counted.
pub fn end(dir: &Path) -> std::io::Result<usize> {
    let log = std::fs::read(dir.join("audit.log"))?;
    Ok(log.iter().rposition(|byte| *byte == b'\n').map_or(0, |last| last + 1))
}

/// The log from an earlier end on, one entry for each answered request. The part before is long, so it is not
/// parsed.
pub fn read(dir: &Path, from: usize) -> std::io::Result<Vec<Value>> {
    let log = std::fs::read(dir.join("audit.log"))?;
    let lines = log.get(from..).unwrap_or_default().split(|byte| *byte == b'\n');
    // The last line may be half written.
    let entries = lines.filter_map(|line| serde_json::from_slice::<Value>(line).ok());
    Ok(entries.filter(|entry| entry["stage"] == "ResponseComplete").collect())
}

/// Whether nothing can have changed by it.
pub fn is_read(entry: &Value) -> bool {
    matches!(entry["verb"].as_str(), Some("get" | "list" | "watch"))
}

/// Whether it is a write that took effect.
pub fn is_write(entry: &Value) -> bool {
    !is_read(entry)
        && entry["responseStatus"]["code"].as_i64().is_some_and(|code| (200..300).contains(&code))
        && !entry["requestURI"].as_str().unwrap_or_default().contains("dryRun=All")
}

/// Who acted, through an impersonation too.
pub fn actor(entry: &Value) -> &str {
    let user = entry["impersonatedUser"]["username"].as_str().or(entry["user"]["username"].as_str());
    user.unwrap_or_default()
}
