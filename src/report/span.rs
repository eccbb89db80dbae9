//! Start and end of an outage, from the stored times. Pure.

use jiff::Timestamp;

use crate::api::Incident;
use crate::api::incident_status::IncidentStatus;
use crate::text::instant;

/// One period without service. An end that is not stored is not known.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Outage {
    /// When it began, if known.
    pub start: Option<Timestamp>,
    /// When people could work again: every check passed from then on. Without such proof, when a person
    /// resolved the incident.
    pub end: Option<Timestamp>,
}

/// The periods of an outage: those before each relapse, and the last one.
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

/// The period since the last relapse, or since the outage began if there was no relapse.
pub fn last(incident: &Incident, status: &IncidentStatus) -> Outage {
    let start = status.out_since().or(incident.spec.start_time.as_ref());
    // Checks that never noticed the outage cannot prove its end.
    let proves = status.restored_time.is_some() && incident.checks_see_the_end(status);
    let proved = status.healthy_since_time.as_ref().filter(|_| proves);
    let said = status.resolved.as_ref().map(|resolved| &resolved.time);
    Outage { start: start.map(|time| time.0), end: proved.or(said).map(|time| time.0) }
}

impl Span {
    /// When the first period began, if known.
    pub fn start(&self) -> Option<Timestamp> {
        self.past.first().unwrap_or(&self.last).start
    }

    /// When the last period ended, if known.
    pub fn end(&self) -> Option<Timestamp> {
        self.last.end
    }

    /// The total time without service, if every start and end is known.
    pub fn length(&self) -> Option<String> {
        let outages = self.past.iter().chain([&self.last]);
        let all: Option<Vec<i64>> = outages.map(|outage| Some(seconds(outage.start?, outage.end?))).collect();
        Some(in_words(all?.into_iter().sum()))
    }

    /// `For 22 min 2 s, from 02:04:10 to 02:26:12 UTC`, as far as known, followed by the relapses.
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
