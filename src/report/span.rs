//! From when to when an outage was, by the stored instants. Pure.

use jiff::Timestamp;

use crate::api::Incident;
use crate::api::incident_status::IncidentStatus;
use crate::text::instant;

/// Service was out from then to then. An end that is not stored is not known.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Outage {
    /// When it began, as far as is known.
    pub start: Option<Timestamp>,
    /// When people could work again: since then every check passed. Without proof, when it was said to be over.
    pub end: Option<Timestamp>,
}

/// The outage in time: first how it was before it came back, if it did, and last how it was then.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Span {
    past: Vec<Outage>,
    last: Outage,
}

/// The span of an incident.
pub fn of(incident: &Incident) -> Span {
    let status = incident.status.clone().unwrap_or_default();
    let past = status.past_outages.iter();
    let past = past.map(|past| Outage {
        start: past.start_time.as_ref().map(|time| time.0),
        end: Some(past.end_time.0),
    });
    Span { past: past.collect(), last: last(incident, &status) }
}

/// The outage since it came back last, or since it began.
pub fn last(incident: &Incident, status: &IncidentStatus) -> Outage {
    let start = status.out_since().or(incident.spec.start_time.as_ref());
    // Checks that never noticed the outage do not know its end.
    let proves = status.restored_time.is_some() && incident.is_noticed(status);
    let proved = status.healthy_since_time.as_ref().filter(|_| proves);
    let said = status.resolved.as_ref().map(|resolved| &resolved.time);
    Outage { start: start.map(|time| time.0), end: proved.or(said).map(|time| time.0) }
}

impl Span {
    /// When it began first, as far as is known.
    pub fn start(&self) -> Option<Timestamp> {
        self.past.first().unwrap_or(&self.last).start
    }

    /// When it ended last, as far as is known.
    pub fn end(&self) -> Option<Timestamp> {
        self.last.end
    }

    /// How long service was out in all, if all of it is known.
    pub fn length(&self) -> Option<String> {
        let outages = self.past.iter().chain([&self.last]);
        let all: Option<Vec<i64>> = outages.map(|outage| Some(seconds(outage.start?, outage.end?))).collect();
        Some(in_words(all?.into_iter().sum()))
    }

    /// `For 22 min 2 s, from 02:04:10 to 02:26:12 UTC`, or what of it is known; and how it came back.
    pub fn words(&self) -> String {
        let (first, again) = match self.past.split_first() {
            None => (&self.last, &[] as &[Outage]),
            Some((first, between)) => (first, between),
        };
        let mut text = match (first.start, first.end, self.length()) {
            (Some(from), Some(to), Some(length)) => {
                let all = if self.past.is_empty() { "" } else { " in all" };
                format!("For {length}{all}, from {} to {}", second(from), instant(to))
            }
            (Some(from), Some(to), None) => format!("From {} to {}", second(from), instant(to)),
            (Some(from), None, _) => format!("Since {}, and not over", instant(from)),
            (None, Some(to), _) => format!("Until {}, from a time that is not known", instant(to)),
            (None, None, _) => "At a time that is not known".to_owned(),
        };
        if self.past.is_empty() {
            return text;
        }
        let relapses: Vec<String> = again.iter().chain([&self.last]).map(|outage| outage.relapse()).collect();
        let noun = if relapses.len() == 1 { "a relapse" } else { "relapses" };
        text.push_str(&format!(", with {noun} {}", relapses.join(" and ")));
        text
    }
}

impl Outage {
    /// `from 03:04:10 to 03:06:12 UTC`
    fn relapse(&self) -> String {
        let from = self.start.map_or("a time that is not known".to_owned(), second);
        match self.end {
            Some(to) => format!("from {from} to {}", instant(to)),
            None => format!("since {from} UTC"),
        }
    }
}

/// A length of time: `22 min 2 s`, `1 h 5 min`. Never negative.
pub fn length(from: Timestamp, to: Timestamp) -> String {
    in_words(seconds(from, to))
}

fn seconds(from: Timestamp, to: Timestamp) -> i64 {
    (to.as_second() - from.as_second()).max(0)
}

fn in_words(total: i64) -> String {
    let (hours, minutes, seconds) = (total / 3600, total / 60 % 60, total % 60);
    let parts: Vec<String> = [(hours, "h"), (minutes, "min"), (seconds, "s")]
        .iter()
        .filter(|(count, _)| *count > 0)
        .map(|(count, unit)| format!("{count} {unit}"))
        .collect();
    if parts.is_empty() { "0 s".to_owned() } else { parts.join(" ") }
}

/// A day and time where `UTC` follows later: `2026-11-22 02:04:10`.
pub fn second(at: Timestamp) -> String {
    instant(at).trim_end_matches(" UTC").to_owned()
}
