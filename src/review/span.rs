//! From when to when an outage was, by the stored instants. Pure.

use jiff::Timestamp;

use crate::api::Incident;

/// The outage in time. An end that is not stored is not known.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Span {
    /// When it began, as far as is known.
    pub start: Option<Timestamp>,
    /// When people could work again: since then every check passed. Without proof, when it was said to be over.
    pub end: Option<Timestamp>,
}

/// The span of an incident.
pub fn of(incident: &Incident) -> Span {
    let status = incident.status.as_ref();
    let start = status.and_then(|s| s.start_time.as_ref()).or(incident.spec.start_time.as_ref());
    let proved = status.filter(|s| s.restored_time.is_some()).and_then(|s| s.healthy_since_time.as_ref());
    let said = status.and_then(|s| s.resolved.as_ref()).map(|resolved| &resolved.time);
    Span { start: start.map(|t| t.0), end: proved.or(said).map(|t| t.0) }
}

/// A length of time: `22 min 2 s`, `1 h 5 min`. Never negative.
pub fn length(from: Timestamp, to: Timestamp) -> String {
    let total = (to.as_second() - from.as_second()).max(0);
    let (hours, minutes, seconds) = (total / 3600, total / 60 % 60, total % 60);
    let parts: Vec<String> = [(hours, "h"), (minutes, "min"), (seconds, "s")]
        .iter()
        .filter(|(count, _)| *count > 0)
        .map(|(count, unit)| format!("{count} {unit}"))
        .collect();
    if parts.is_empty() { "0 s".to_owned() } else { parts.join(" ") }
}

/// A day and time: `2026-11-22 02:04:10`, in UTC.
pub fn instant(at: Timestamp) -> String {
    at.strftime("%Y-%m-%d %H:%M:%S").to_string()
}

impl Span {
    /// `For 22 min 2 s, from 02:04:10 to 02:26:12 UTC`, or what of it is known.
    pub fn words(self) -> String {
        match (self.start, self.end) {
            (Some(from), Some(to)) => {
                format!("For {}, from {} to {} UTC", length(from, to), instant(from), instant(to))
            }
            (Some(from), None) => format!("Since {} UTC, and not over", instant(from)),
            (None, Some(to)) => format!("Until {} UTC, from a time that is not known", instant(to)),
            (None, None) => "At a time that is not known".to_owned(),
        }
    }
}
