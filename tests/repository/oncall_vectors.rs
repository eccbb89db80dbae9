//! Who is on duty, by test vectors restated from the test suites of other systems, which `data/oncall.yaml` names. All
//! that follow our rules are run, and the edits of a list of people.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test says so by failing")]

use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use serde::Deserialize;

use mayday::api::Duration;
use mayday::api::OnCallOverride;
use mayday::api::common::Empty;
use mayday::api::oncall_override::{OnCallOverrideSpec, OnePerson, Replace, ReplaceAll, Swap};
use mayday::api::oncall_rotation::{
    Advance, Layer, OnCallRotationSpec, Person, Restriction, Shift, ShiftUnit, Turn, Weekday,
};
use mayday::oncall::schedule::Schedule;
use mayday::oncall::schedule::overrides::{self, Override};
use mayday::oncall::schedule::{duty, running_turn};

const ROTATION: &str = "rotation";

#[derive(Deserialize)]
struct File {
    count: usize,
    vectors: Vec<Vector>,
    edit_vectors: Vec<Edit>,
}

#[derive(Deserialize)]
struct Edit {
    id: String,
    before: People,
    after: People,
    expect_on_call: Option<String>,
}

#[derive(Deserialize)]
struct People {
    participants: Vec<String>,
    on_call: Option<String>,
}

#[derive(Deserialize)]
struct Vector {
    id: String,
    matches_recommended: bool,
    timezone: String,
    effective_from: Option<String>,
    active_until: Option<String>,
    #[serde(flatten)]
    single: LayerFacts,
    #[serde(default)]
    layers: Vec<LayerFacts>,
    overrides: Vec<OverrideFacts>,
    #[serde(default)]
    policy: Policy,
    at: Timestamp,
    expect_on_call: Vec<String>,
    expect_shift_start: Option<Timestamp>,
    expect_shift_end: Option<Timestamp>,
}

#[derive(Deserialize)]
struct LayerFacts {
    start: Option<String>,
    shift: Option<ShiftFacts>,
    participants: Option<Vec<Option<Participant>>>,
    #[serde(default)]
    restrictions: Vec<RestrictionFacts>,
    #[serde(default)]
    priority: i32,
}

#[derive(Deserialize)]
struct ShiftFacts {
    unit: String,
    length: i32,
    duty_minutes: Option<u32>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Participant {
    One(String),
    Group(Vec<String>),
}

#[derive(Deserialize)]
struct RestrictionFacts {
    #[serde(default)]
    days: Vec<String>,
    from_day: Option<String>,
    from: String,
    to_day: Option<String>,
    to: String,
}

#[derive(Deserialize)]
struct OverrideFacts {
    mode: String,
    user: Option<String>,
    replaces: Option<String>,
    start: Timestamp,
    end: Timestamp,
    #[serde(default)]
    priority: i32,
    status: Option<String>,
}

#[derive(Default, Deserialize)]
struct Policy {
    advance: Option<String>,
}

fn unit(name: &str) -> ShiftUnit {
    match name {
        "hours" => ShiftUnit::Hours,
        "days" => ShiftUnit::Days,
        "weeks" => ShiftUnit::Weeks,
        "months" => ShiftUnit::Months,
        other => panic!("unit {other}"),
    }
}

fn weekday(name: &str) -> Weekday {
    match name {
        "mon" => Weekday::Mon,
        "tue" => Weekday::Tue,
        "wed" => Weekday::Wed,
        "thu" => Weekday::Thu,
        "fri" => Weekday::Fri,
        "sat" => Weekday::Sat,
        "sun" => Weekday::Sun,
        other => panic!("day {other}"),
    }
}

fn layer(index: usize, facts: &LayerFacts, advance: Advance) -> Layer {
    let shift = facts.shift.as_ref().unwrap();
    let turns = facts.participants.as_ref().unwrap().iter().map(|entry| Turn {
        people: match entry {
            None => Vec::new(),
            Some(Participant::One(name)) => vec![name.clone()],
            Some(Participant::Group(names)) => names.clone(),
        },
        ..Turn::default()
    });
    Layer {
        name: format!("layer-{index}"),
        priority: facts.priority,
        start: facts.start.clone().unwrap(),
        shift: Shift {
            unit: unit(&shift.unit),
            length: shift.length,
            duty: shift.duty_minutes.map(|m| Duration::from_secs(m * 60)),
        },
        turns: turns.collect(),
        restrictions: facts
            .restrictions
            .iter()
            .map(|r| Restriction {
                days: r.days.iter().chain(&r.from_day).map(|day| weekday(day)).collect(),
                from: r.from.clone(),
                to: r.to.clone(),
                to_day: r.to_day.as_deref().map(weekday),
            })
            .collect(),
        advance,
        ..Layer::default()
    }
}

fn schedule(vector: &Vector) -> Schedule {
    let advance = match vector.policy.advance.as_deref() {
        None => Advance::Calendar,
        Some("active") => Advance::Active,
        Some(other) => panic!("{}: advance {other}", vector.id),
    };
    let facts: Vec<&LayerFacts> =
        if vector.layers.is_empty() { vec![&vector.single] } else { vector.layers.iter().collect() };
    let layers = facts.iter().enumerate().map(|(index, facts)| Layer {
        effective_from: vector.effective_from.clone(),
        until: vector.active_until.clone(),
        ..layer(index, facts, advance)
    });
    let layers: Vec<Layer> = layers.collect();
    let mut names: Vec<String> =
        layers.iter().flat_map(|l| l.turns.iter().flat_map(|t| t.people.clone())).collect();
    names.extend(vector.overrides.iter().flat_map(|o| o.user.iter().chain(&o.replaces).cloned()));
    names.sort();
    names.dedup();
    let people =
        names.iter().map(|name| Person { name: name.clone(), user: name.clone(), ..Person::default() });
    let spec = OnCallRotationSpec {
        time_zone: vector.timezone.clone(),
        people: people.collect(),
        layers,
        ..OnCallRotationSpec::default()
    };

    let overrides = vector.overrides.iter().enumerate().map(|(index, facts)| {
        // The later one of a vector is the younger one.
        let mut stored = OnCallOverride::new(&format!("override-{index}"), override_spec(facts));
        let age = Timestamp::from_second(index.try_into().unwrap()).unwrap();
        stored.metadata.creation_timestamp = Some(Time(age));
        Arc::new(stored)
    });
    let overrides: Vec<Arc<OnCallOverride>> = overrides.collect();
    let known: Vec<Override> = overrides::of_rotation(&overrides, ROTATION, &names);
    Schedule::new(&spec, known).unwrap_or_else(|problems| panic!("{}: {problems:?}", vector.id))
}

fn override_spec(facts: &OverrideFacts) -> OnCallOverrideSpec {
    let mut spec = OnCallOverrideSpec::between(ROTATION, facts.start, facts.end);
    spec.priority = facts.priority;
    let user = facts.user.clone();
    match (facts.mode.as_str(), &facts.replaces) {
        ("replace", Some(person)) if facts.status.as_deref() == Some("open") => {
            spec.swap = Some(Swap { person: person.clone(), by: user.unwrap(), answer: None });
        }
        ("replace", Some(person)) => {
            spec.replace = Some(Replace { person: person.clone(), by: user.unwrap() });
        }
        ("replace", None) => spec.replace_all = Some(ReplaceAll { by: vec![user.unwrap()] }),
        ("add", _) => spec.add = Some(OnePerson { person: user.unwrap() }),
        ("remove", _) => {
            spec.remove = Some(OnePerson { person: facts.replaces.clone().or(user).unwrap() });
        }
        ("clear", _) => spec.clear = Some(Empty {}),
        (other, _) => panic!("mode {other}"),
    }
    spec
}

fn file() -> File {
    let file: File = serde_saphyr::from_str(include_str!("data/oncall.yaml")).unwrap();
    assert_eq!(file.vectors.len(), file.count);
    file
}

#[test]
fn every_vector_that_follows_our_rules_holds() {
    let file = file();
    let mut failures = Vec::new();
    let ours: Vec<&Vector> = file.vectors.iter().filter(|vector| vector.matches_recommended).collect();
    for vector in &ours {
        let schedule = schedule(vector);
        let mut people = duty::on_duty(&schedule, vector.at).people;
        people.sort();
        let mut expected = vector.expect_on_call.clone();
        expected.sort();
        let bounds = duty::shift(&schedule, vector.at);
        if people != expected || bounds != (vector.expect_shift_start, vector.expect_shift_end) {
            failures.push(format!(
                "{}: {people:?} {bounds:?}, expected {expected:?} {:?}",
                vector.id,
                (vector.expect_shift_start, vector.expect_shift_end)
            ));
        }
    }
    println!("{} of {} vectors follow our rules; {} fail", ours.len(), file.count, failures.len());
    assert!(failures.is_empty(), "{} of {}:\n{}", failures.len(), ours.len(), failures.join("\n"));
    assert_eq!(ours.len(), 211, "no vector is left out");
}

/// A weekly rotation of these people.
fn weekly(people: &[String]) -> OnCallRotationSpec {
    let mut turns: Vec<Turn> =
        people.iter().map(|name| Turn { people: vec![name.clone()], ..Turn::default() }).collect();
    if turns.is_empty() {
        turns.push(Turn::default());
    }
    OnCallRotationSpec {
        time_zone: "Europe/Berlin".to_owned(),
        people: people.iter().map(|name| Person { name: name.clone(), ..Person::default() }).collect(),
        layers: vec![Layer {
            name: "weekly".to_owned(),
            start: "2026-01-05T09:00".to_owned(),
            turns,
            ..Layer::default()
        }],
        ..OnCallRotationSpec::default()
    }
}

#[test]
fn every_edit_of_a_list_keeps_or_moves_the_duty_as_it_must() {
    let edits = file().edit_vectors;
    for edit in &edits {
        let (before, after) = (weekly(&edit.before.participants), weekly(&edit.after.participants));
        let start: Timestamp = "2026-01-05T08:00:00Z".parse().unwrap();
        let on_call = edit.before.on_call.as_ref().unwrap();
        let place = edit.before.participants.iter().position(|name| name == on_call).unwrap();
        // The middle of that person's turn, in the second time around.
        let turn = i64::try_from(place + edit.before.participants.len()).unwrap();
        let at = Timestamp::from_second(start.as_second() + turn * 604_800 + 302_400).unwrap();
        let seen = running_turn::observe(&before, None, start);
        let on_duty = |spec: &OnCallRotationSpec, seen| {
            duty::on_duty(&Schedule::of_known(spec, seen, Vec::new()).unwrap(), at).people
        };
        assert_eq!(on_duty(&before, &seen), std::slice::from_ref(on_call), "{}", edit.id);
        let edited = running_turn::observe(&after, Some(&seen), at);
        let expected: Vec<String> = edit.expect_on_call.iter().cloned().collect();
        assert_eq!(on_duty(&after, &edited), expected, "{}", edit.id);
    }
    println!("{} edits hold", edits.len());
    assert_eq!(edits.len(), 5, "no edit is left out");
}
