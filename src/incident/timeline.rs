//! Who did what, when. Pure.

use jiff::Timestamp;

use crate::api::Incident;
use crate::api::incident_status::{IncidentStatus, TimelineEntry};
use crate::cluster::conditions::seconds;
use crate::text::{cut, flat};

/// Most entries; the first and the newest are kept.
const KEPT: usize = 200;
/// So many of the first ones: how it began is never lost.
const FIRST: usize = 40;

/// What Mayday does by itself stands under this name.
pub const MAYDAY: &str = "mayday";
/// Who acts where several agreed, or where nobody leads.
pub const PEOPLE: &str = "people";

/// Adds an entry, in the order of time.
pub fn add(status: &mut IncidentStatus, time: Timestamp, who: &str, what: &str) {
    let entry = TimelineEntry { time: seconds(time), who: cut(who, 253), what: flat(what, 500) };
    let place = status.timeline.partition_point(|known| known.time.0 <= entry.time.0);
    status.timeline.insert(place, entry);
    if status.timeline.len() > KEPT {
        status.timeline.remove(FIRST);
        status.timeline_left_out = status.timeline_left_out.saturating_add(1);
    }
}

/// Adds the notes of people that are not there yet. The API server lets notes only be added, behind the others.
pub fn tell_notes(incident: &Incident, status: &mut IncidentStatus, now: Timestamp) {
    let told = usize::try_from(status.notes_told).unwrap_or(0);
    for note in incident.spec.notes.iter().skip(told) {
        let who = note.by.as_ref().map_or("somebody", |by| by.user.as_str());
        // What lies in the future has not been so: then it was written now.
        let time = note.time.as_ref().map_or(now, |time| time.0.min(now));
        add(status, time, who, &format!("noted: {}", note.text));
    }
    status.notes_told = i32::try_from(incident.spec.notes.len()).unwrap_or(i32::MAX);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_in_order_bounded_and_never_loses_the_beginning() {
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
    fn every_note_is_told_once_with_who_and_when() {
        let mut incident = Incident::new("i", Default::default());
        let mut status = IncidentStatus::default();
        let now = Timestamp::from_second(100).unwrap();
        let mut write = |notes: serde_json::Value| {
            incident.spec.notes = serde_json::from_value(notes).unwrap();
            tell_notes(&incident, &mut status, now);
            tell_notes(&incident, &mut status, now);
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
}
