//! The API server's audit log, the judge of every story, in the tests and in the demo. It holds all writes, and of reads
//! those of the operator.

use std::path::Path;

use serde_json::Value;

/// The log so far, one entry for each request that was answered.
pub fn read(dir: &Path) -> std::io::Result<Vec<Value>> {
    let text = std::fs::read_to_string(dir.join("audit.log"))?;
    // The last line may be half written.
    let entries = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
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
