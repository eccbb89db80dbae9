//! The timeline: who did what, and when. Pure.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use crate::api::Incident;
use crate::api::common::{same_second, stored_time};
use crate::api::incident_status::{IncidentStatus, MAYDAY, PEOPLE, TimelineEntry};
use crate::text::{cut, flat, instant};

/// Maximum number of entries; a full timeline drops from the middle.
const MAX_ENTRIES: usize = 200;
/// Number of first entries that are never dropped: how the outage began.
const FIRST: usize = 40;

/// Adds an entry in order of time.
pub fn add(status: &mut IncidentStatus, time: Timestamp, who: &str, what: &str) {
    let entry = TimelineEntry { time: stored_time(time), who: cut(who, 253), what: flat(what, 500) };
    let place = status.timeline.partition_point(|known| known.time.0 <= entry.time.0);
    status.timeline.insert(place, entry);
    if status.timeline.len() > MAX_ENTRIES {
        status.timeline.remove(FIRST);
        status.timeline_left_out = status.timeline_left_out.saturating_add(1);
    }
}

/// Adds new notes of people. The API server only lets people append notes.
pub fn add_notes(incident: &Incident, status: &mut IncidentStatus, now: Timestamp) {
    let told = usize::try_from(status.notes_announced).unwrap_or(0);
    for note in incident.spec.notes.iter().skip(told) {
        let who = note.by.as_ref().map_or("somebody", |by| by.user.as_str());
        // A time in the future is a mistake; the note counts from now.
        let time = note.time.as_ref().map_or(now, |time| time.0.min(now));
        let what = match &note.reporter {
            Some(reporter) => format!("reported again ({reporter}): {}", note.text),
            None => format!("noted: {}", note.text),
        };
        add(status, time, who, &what);
    }
    let is_by_a_source = incident.spec.detection.as_ref().is_some_and(|found| found.method.is_by_a_source());
    let reports = incident.spec.notes.iter().filter(|note| note.reporter.is_some()).count();
    status.report_count = i32::try_from(reports + usize::from(!is_by_a_source)).unwrap_or(i32::MAX);
    status.notes_announced = i32::try_from(incident.spec.notes.len()).unwrap_or(i32::MAX);
}

/// Adds an entry when the severity changes. Who raised it is unknown here; only the lead or a quorum can lower it.
pub fn add_severity(incident: &Incident, status: &mut IncidentStatus, now: Timestamp) {
    let severity = incident.spec.severity;
    if let Some(before) = status.announced_severity.filter(|before| *before != severity) {
        let lead = status.lead.as_ref().map_or(PEOPLE, |lead| &lead.user).to_owned();
        let who = if before.worse_than(severity) { &lead } else { MAYDAY };
        add(status, now, who, &format!("it is {severity} now, it was {before}"));
    }
    status.announced_severity = Some(severity);
}

/// Adds an entry when a person sets another start after the incident opened; `before` is the start known until then.
pub fn add_start(incident: &Incident, status: &mut IncidentStatus, before: Option<&Time>, now: Timestamp) {
    let said = incident.spec.start_time.as_ref();
    let Some(start) = said.filter(|_| before.is_some() && !same_second(said, before)) else { return };
    // A start after the detection does not count.
    if same_second(said, status.start_time.as_ref()) {
        let source = incident.spec.start_time_source.as_deref();
        let source = source.map_or_else(String::new, |source| format!(" ({source})"));
        add(status, now, MAYDAY, &format!("it began at {}{source}", instant(start.0)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::common::Severity;
    use crate::api::incident_status::Stamped;

    #[test]
    fn the_timeline_is_in_order_bounded_and_never_loses_the_beginning() {
        let mut status = IncidentStatus::default();
        for second in 0..300 {
            add(
                &mut status,
                Timestamp::from_second(second).unwrap(),
                "emil",
                &format!("entry {second}\nwith a line"),
            );
        }
        add(&mut status, Timestamp::from_second(5).unwrap(), "amir", "told later");
        assert_eq!((status.timeline.len(), status.timeline_left_out), (200, 101));
        assert_eq!(status.timeline[0].what, "entry 0 with a line");
        assert_eq!(status.timeline[6].what, "told later");
        assert_eq!(status.timeline[199].what, "entry 299 with a line");
    }

    #[test]
    fn every_note_is_added_once_with_author_and_time() {
        let mut incident = Incident::new("i", Default::default());
        let mut status = IncidentStatus::default();
        let now = Timestamp::from_second(100).unwrap();
        let mut write = |notes: serde_json::Value| {
            incident.spec.notes = serde_json::from_value(notes).unwrap();
            add_notes(&incident, &mut status, now);
            add_notes(&incident, &mut status, now);
            let told = status
                .timeline
                .iter()
                .map(|entry| (entry.time.0.as_second(), entry.who.as_str(), entry.what.as_str()));
            told.map(|(time, who, what)| format!("{time} {who} {what}")).collect::<Vec<_>>()
        };
        let first = serde_json::json!({"text": "the gateway\nanswers 503", "by": {"user": "emil"}, "time": "1970-01-01T00:01:00Z"});
        assert_eq!(write(serde_json::json!([first])), ["60 emil noted: the gateway answers 503"]);
        let second = serde_json::json!({"text": "x".repeat(2000), "time": "2999-01-01T00:00:00Z"});
        let told = write(serde_json::json!([first, second]));
        assert_eq!(told.len(), 2);
        assert!(told[1].starts_with("100 somebody noted: xxx") && told[1].len() < 540, "{}", told[1]);
    }

    #[test]
    fn a_changed_severity_or_start_is_added_once() {
        let mut incident = Incident::new("i", Default::default());
        let mut status = IncidentStatus::default();
        let now = Timestamp::from_second(1_800_000_000).unwrap();
        let mut becomes = |severity: Severity, start: i64, lead: Option<&str>| {
            (incident.spec.severity, incident.spec.start_time_source) = (severity, Some("log".to_owned()));
            status.lead = lead.map(|user| Stamped { user: user.to_owned(), time: stored_time(now) });
            incident.spec.start_time = Some(stored_time(Timestamp::from_second(start).unwrap()));
            let before = std::mem::replace(&mut status.start_time, incident.spec.start_time.clone());
            add_severity(&incident, &mut status, now);
            add_start(&incident, &mut status, before.as_ref(), now);
            let told = status.timeline.drain(..).map(|entry| format!("{}: {}", entry.who, entry.what));
            told.collect::<Vec<_>>()
        };
        assert!(becomes(Severity::Sev3, 1_700_000_000, None).is_empty(), "so it opened");
        assert_eq!(
            becomes(Severity::Sev1, 1_700_000_000, Some("lena")),
            ["mayday: it is SEV1 now, it was SEV3"]
        );
        assert_eq!(
            becomes(Severity::Sev2, 1_700_000_000, Some("lena")),
            ["lena: it is SEV2 now, it was SEV1"]
        );
        assert_eq!(
            becomes(Severity::Sev3, 1_600_000_000, None),
            ["people: it is SEV3 now, it was SEV2", "mayday: it began at 2020-09-13 12:26:40 UTC (log)"]
        );
    }
}
