//! A rotation as a calendar file (RFC 5545) that calendar programs subscribe to. Pure.
//!
//! Each shift is one event with its times in UTC and no rule of repetition, since the RFC contradicts itself where clocks
//! change. Its UID is made of the layer, the number of the turn and the day on which it opens, so that a moved end or another
//! person updates the event. What an override takes away stays as a cancelled event.

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};

use super::schedule::on_duty_set::{OnDutySet, Source};
use super::schedule::{Schedule, timeline};

/// How far back and ahead events go.
const BACK: SignedDuration = SignedDuration::from_hours(15 * 24);
const AHEAD: SignedDuration = SignedDuration::from_hours(180 * 24);
/// Maximum number of edges to follow a shift beyond that.
const MAX_EDGES: usize = 2_000;
/// Longest line in bytes, without its end.
const MAX_LINE: usize = 75;

/// What a calendar file is about.
#[derive(Clone, Copy, Debug)]
pub struct Feed<'a> {
    /// The rotation as people type it: `shop/payments`.
    pub name: &'a str,
    /// UID of the rotation.
    pub uid: &'a str,
    /// Its schedule.
    pub schedule: &'a Schedule,
    /// Only the shifts of this person.
    pub person: Option<&'a str>,
    /// The time of the request.
    pub now: Timestamp,
}

/// One shift.
#[derive(Clone, Debug, Eq, PartialEq)]
struct Event {
    uid: String,
    start: Timestamp,
    end: Timestamp,
    people: Vec<String>,
    by: String,
}

impl Feed<'_> {
    /// The file.
    pub fn text(&self) -> String {
        let mut lines = vec![
            "BEGIN:VCALENDAR".to_owned(),
            "VERSION:2.0".to_owned(),
            "PRODID:-//mayday.dev//on call//EN".to_owned(),
            "CALSCALE:GREGORIAN".to_owned(),
            "METHOD:PUBLISH".to_owned(),
            format!("X-WR-CALNAME:{}", escaped(&format!("on call: {}", self.name))),
            "REFRESH-INTERVAL;VALUE=DURATION:PT1H".to_owned(),
        ];
        let events = self.events(self.schedule);
        let known: BTreeSet<&str> = events.iter().map(|event| event.uid.as_str()).collect();
        let layers = self.events(&self.schedule.with_overrides(Vec::new()));
        for event in &events {
            lines.extend(self.lines(event, "CONFIRMED"));
        }
        for event in layers.iter().filter(|event| !known.contains(event.uid.as_str())) {
            lines.extend(self.lines(event, "CANCELLED"));
        }
        lines.push("END:VCALENDAR".to_owned());
        lines.iter().map(|line| folded(line)).collect()
    }

    /// The shifts of each layer and override.
    fn events(&self, schedule: &Schedule) -> Vec<Event> {
        // From a whole day on, so that what is counted within a day is the same whenever it is asked for.
        let day =
            Timestamp::from_second(self.now.as_second().div_euclid(86_400) * 86_400).unwrap_or(self.now);
        let from = day.checked_sub(BACK).unwrap_or(Timestamp::MIN);
        let to = day.checked_add(AHEAD).unwrap_or(Timestamp::MAX);
        let mut running: BTreeMap<Source, (Timestamp, Timestamp, BTreeSet<usize>)> = BTreeMap::new();
        let mut pieces = Vec::new();
        for shift in timeline::shifts(schedule, from, to) {
            let now = by_source(&shift.on_duty);
            let ended: Vec<Source> = running
                .iter()
                .filter(|(source, (_, _, people))| now.get(source) != Some(people))
                .map(|(s, _)| *s)
                .collect();
            pieces.extend(ended.iter().filter_map(|source| Some((*source, running.remove(source)?))));
            for (source, people) in now {
                running.entry(source).or_insert((shift.start, shift.end, people)).1 = shift.end;
            }
        }
        pieces.extend(running);
        pieces.sort_by_key(|(source, (start, _, _))| (*start, *source));
        let mut counted: BTreeMap<String, usize> = BTreeMap::new();
        let mut events = Vec::new();
        for (source, (start, end, people)) in pieces {
            let start = if start <= from { begin(schedule, source, &people, start) } else { start };
            let end = if end >= to { finish(schedule, source, &people, end) } else { end };
            let date = start.to_zoned(schedule.clock.zone().clone()).strftime("%Y%m%d").to_string();
            let uid = format!("{}-{}-{date}", self.uid, schedule.key(&source));
            let count = counted.entry(uid.clone()).and_modify(|count| *count += 1).or_insert(1);
            // A shift that an override interrupts opens twice on one day.
            let uid = if *count > 1 { format!("{uid}-{count}") } else { uid };
            let people: Vec<String> =
                people.iter().filter_map(|place| schedule.people.get(*place).cloned()).collect();
            if self.person.is_none_or(|person| people.iter().any(|name| name == person)) {
                events.push(Event { uid, start, end, people, by: schedule.words(&source) });
            }
        }
        events
    }

    fn lines(&self, event: &Event, status: &str) -> Vec<String> {
        let instant = |at: Timestamp| at.strftime("%Y%m%dT%H%M%SZ").to_string();
        let summary = format!("{}: {}", self.name, event.people.join(", "));
        vec![
            "BEGIN:VEVENT".to_owned(),
            format!("UID:{}@mayday.dev", escaped(&event.uid)),
            format!("DTSTAMP:{}", instant(self.now)),
            format!("LAST-MODIFIED:{}", instant(self.now)),
            // It only has to grow.
            format!("SEQUENCE:{}", self.now.as_second() / 60),
            format!("DTSTART:{}", instant(event.start)),
            format!("DTEND:{}", instant(event.end)),
            format!("SUMMARY:{}", escaped(&summary)),
            format!("DESCRIPTION:{}", escaped(&event.by)),
            format!("STATUS:{status}"),
            "TRANSP:TRANSPARENT".to_owned(),
            "END:VEVENT".to_owned(),
        ]
    }
}

/// Who is on duty by each source.
fn by_source(on_duty: &OnDutySet) -> BTreeMap<Source, BTreeSet<usize>> {
    let mut found: BTreeMap<Source, BTreeSet<usize>> = BTreeMap::new();
    for (person, sources) in on_duty {
        for source in sources {
            found.entry(*source).or_default().insert(*person);
        }
    }
    found
}

/// When a shift that runs at an instant began.
fn begin(schedule: &Schedule, source: Source, people: &BTreeSet<usize>, at: Timestamp) -> Timestamp {
    let before = |edge: Timestamp| Timestamp::from_second(edge.as_second().saturating_sub(1)).ok();
    let edges =
        std::iter::successors(schedule.previous_edge(at), |edge| schedule.previous_edge(before(*edge)?));
    let mut edges = edges.take(MAX_EDGES);
    let is_first = |edge: &Timestamp| {
        before(*edge).is_none_or(|before| by_source(&schedule.at(before)).get(&source) != Some(people))
    };
    edges.find(is_first).unwrap_or(at)
}

/// When a shift that runs until an instant or longer ends.
fn finish(schedule: &Schedule, source: Source, people: &BTreeSet<usize>, at: Timestamp) -> Timestamp {
    let edges = std::iter::successors(Some(at), |edge| schedule.next_edge(*edge));
    let mut edges = edges.take(MAX_EDGES);
    edges.find(|edge| by_source(&schedule.at(*edge)).get(&source) != Some(people)).unwrap_or(at)
}

/// A text value: what separates values and lines is marked, and control characters are left out.
fn escaped(text: &str) -> String {
    let mut escaped = String::new();
    for character in text.chars() {
        match character {
            '\\' | ';' | ',' => escaped.extend(['\\', character]),
            '\n' => escaped.push_str("\\n"),
            other if other.is_control() => {}
            other => escaped.push(other),
        }
    }
    escaped
}

/// A line with its end, broken so that no part is too long.
fn folded(line: &str) -> String {
    let mut folded = String::new();
    let mut used = 0;
    for character in line.chars() {
        if used + character.len_utf8() > MAX_LINE {
            folded.push_str("\r\n ");
            used = 1;
        }
        folded.push(character);
        used += character.len_utf8();
    }
    folded + "\r\n"
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::oncall_rotation::OnCallRotationSpec;
    use crate::oncall::schedule::overrides::Override;
    use serde_json::json;

    fn schedule(overrides: &[(&str, &str, &str, serde_json::Value)]) -> Schedule {
        let spec: OnCallRotationSpec = serde_json::from_value(json!({"timeZone": "Europe/Berlin",
            "people": [{"name": "emil", "user": "emil"}, {"name": "bea", "user": "bea"}],
            "layers": [{"name": "weekly", "start": "2026-01-05T09:00", "shift": {"unit": "Weeks", "length": 1},
                "turns": [{"people": ["emil"]}, {"people": ["bea"]}]}]}))
        .unwrap();
        let people = ["emil".to_owned(), "bea".to_owned()];
        let compiled = overrides.iter().map(|(name, start, end, act)| {
            let mut spec = json!({"rotationRef": {"name": "payments"}, "startTime": start, "endTime": end});
            json_patch::merge(&mut spec, act);
            Override::new(name, &serde_json::from_value(spec).unwrap(), &people).unwrap()
        });
        Schedule::new(&spec, compiled.collect()).unwrap()
    }

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    fn feed<'a>(schedule: &'a Schedule, now: &str, person: Option<&'a str>) -> Feed<'a> {
        Feed { name: "shop/payments", uid: "u1", schedule, person, now: at(now) }
    }

    /// The events as `UID status start people`.
    fn events(text: &str) -> Vec<String> {
        let text = text.replace("\r\n ", "");
        let value = |event: &str, name: &str| {
            event
                .lines()
                .find_map(|line| line.strip_prefix(&format!("{name}:")))
                .unwrap_or_default()
                .to_owned()
        };
        text.split("BEGIN:VEVENT")
            .skip(1)
            .map(|event| ["UID", "STATUS", "DTSTART", "SUMMARY"].map(|name| value(event, name)).join(" "))
            .collect()
    }

    #[test]
    fn each_shift_is_an_event_whose_uid_stays_when_it_is_asked_for_later() {
        let schedule = schedule(&[]);
        let first = feed(&schedule, "2026-03-04T12:00:00Z", None).text();
        let line = "u1-weekly-7-20260223@mayday.dev CONFIRMED 20260223T080000Z shop/payments: bea";
        assert!(events(&first).iter().any(|event| event == line), "{:#?}", events(&first));
        assert!(
            first.starts_with("BEGIN:VCALENDAR\r\nVERSION:2.0\r\n") && first.ends_with("END:VCALENDAR\r\n")
        );
        let later = feed(&schedule, "2026-03-05T18:30:00Z", None).text();
        assert_eq!(events(&first)[..20], events(&later)[..20]);
        let mine = events(&feed(&schedule, "2026-03-04T12:00:00Z", Some("emil")).text());
        assert!(mine.len() > 12 && mine.iter().all(|event| event.ends_with(": emil")), "{mine:?}");
    }

    #[test]
    fn what_an_override_takes_away_is_cancelled_and_the_rest_keeps_its_uid() {
        let replace = json!({"replace": {"person": "bea", "by": "emil"}});
        let dentist = schedule(&[("dentist", "2026-02-24T13:00:00Z", "2026-02-24T16:00:00Z", replace)]);
        let told = events(&feed(&dentist, "2026-03-04T12:00:00Z", None).text());
        for expected in [
            "u1-weekly-7-20260223@mayday.dev CONFIRMED 20260223T080000Z shop/payments: bea",
            "u1-dentist-20260224@mayday.dev CONFIRMED 20260224T130000Z shop/payments: emil",
            "u1-weekly-7-20260224@mayday.dev CONFIRMED 20260224T160000Z shop/payments: bea",
        ] {
            assert!(told.iter().any(|event| event == expected), "{expected} in {told:#?}");
        }
        let clear = json!({"clear": {}});
        let off = schedule(&[("off", "2026-02-23T08:00:00Z", "2026-03-02T08:00:00Z", clear)]);
        let told = events(&feed(&off, "2026-03-04T12:00:00Z", None).text());
        let gone = "u1-weekly-7-20260223@mayday.dev CANCELLED 20260223T080000Z shop/payments: bea";
        assert!(told.iter().any(|event| event == gone), "{told:#?}");
    }

    #[test]
    fn names_cannot_add_lines_and_long_lines_are_folded() {
        assert_eq!(escaped("a;b,c\\d\r\nEND:VCALENDAR\u{7}"), "a\\;b\\,c\\\\d\\nEND:VCALENDAR");
        let long = folded(&format!("SUMMARY:{}", "ä".repeat(100)));
        assert!(long.split("\r\n").all(|line| line.len() <= 75), "{long}");
        assert_eq!(long.replace("\r\n ", "").trim_end(), format!("SUMMARY:{}", "ä".repeat(100)));
    }
}
