//! What the API server's audit log says of a story.

use std::path::Path;

use jiff::Timestamp;
use serde_json::Value;

use self::log::{actor, is_read, is_write};
use crate::failed::{Failed, Result};

#[path = "../../tests/behaviour/audit.rs"]
mod log;

/// The operator's own account.
const OPERATOR: &str = "system:serviceaccount:mayday-system:mayday";

/// The log so far, one entry for each request that was answered.
pub struct Audit {
    entries: Vec<Value>,
}

impl Audit {
    /// Reads it.
    pub fn read(dir: &Path) -> Result<Audit> {
        let entries = log::read(dir).map_err(|error| Failed::new("the audit log", error.to_string()))?;
        Ok(Audit { entries })
    }

    /// A place in the log.
    pub fn mark(&self) -> usize {
        self.entries.len()
    }

    /// Writes to the applications of a namespace since then that took effect, without those of the cluster's own
    /// controllers and nodes: `emil: patch deployments/checkout`.
    pub fn writes(&self, mark: usize, namespace: &str) -> Vec<String> {
        let ours = |entry: &&Value| {
            let object = &entry["objectRef"];
            let user = actor(entry);
            let people = !user.starts_with("system:")
                || user.starts_with(&format!("system:serviceaccount:{namespace}:"))
                || user.starts_with("system:serviceaccount:mayday-system:");
            is_write(entry)
                && object["namespace"] == namespace
                && object["apiGroup"] != "mayday.dev"
                && people
        };
        let line = |entry: &Value| {
            let object = &entry["objectRef"];
            let part = |field: &str| object[field].as_str().unwrap_or_default().to_owned();
            format!(
                "{}: {} {}/{}",
                actor(entry),
                entry["verb"].as_str().unwrap_or_default(),
                part("resource"),
                part("name")
            )
        };
        self.entries.iter().skip(mark).filter(ours).map(line).collect()
    }

    /// From the moment an alert was stored to the first write of a runbook's account: seconds, and the operator's
    /// API calls in between, reads and writes (its lease, its Events and its watches aside).
    pub fn alert_to_repair(&self, mark: usize, alert: &str, account: &str) -> Option<(f64, usize)> {
        let entries = || self.entries.iter().enumerate().skip(mark);
        let stores = |entry: &Value| {
            let signals = entry.pointer("/requestObject/status/signals").and_then(Value::as_array);
            actor(entry) == OPERATOR && signals.into_iter().flatten().any(|signal| signal["name"] == alert)
        };
        let (first, stored) = entries().find(|(_, entry)| stores(entry))?;
        let (last, repair) = entries().find(|(_, entry)| actor(entry) == account && !is_read(entry))?;
        let at = |entry: &Value| entry["requestReceivedTimestamp"].as_str()?.parse::<Timestamp>().ok();
        let seconds = at(repair)?.duration_since(at(stored)?).as_secs_f64();
        let calls = self.entries.get(first + 1..=last)?.iter();
        let calls = calls.filter(|entry| entry["user"]["username"] == OPERATOR).count();
        Some((seconds, calls))
    }
}
