//! What the API server's audit log says of a story.

use std::path::Path;

use jiff::Timestamp;
use serde_json::Value;

use self::log::{actor, is_read};
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
        let entries = log::read(dir, 0).map_err(|error| Failed::new("the audit log", error.to_string()))?;
        Ok(Audit { entries })
    }

    /// A place in the log.
    pub fn mark(&self) -> usize {
        self.entries.len()
    }

    /// The verdict: what was changed in a namespace since then: `emil: patch deployments/checkout`.
    pub fn changes(&self, mark: usize, namespace: &str) -> Vec<String> {
        let since = self.entries.get(mark..).unwrap_or_default();
        log::changes(since, namespace).iter().map(ToString::to_string).collect()
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
