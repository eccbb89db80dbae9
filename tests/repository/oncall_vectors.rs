//! Who is on duty, by test vectors restated from the test suites of other systems, which `data/oncall.yaml` names.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test says so by failing")]

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use serde::Deserialize;

use mayday::api::common::Empty;
use mayday::api::oncall_override::{OnCallOverrideSpec, OnePerson, Replace, ReplaceAll};
use mayday::api::oncall_rotation::{
    Advance, Layer, OnCallRotationSpec, Person, Restriction, Shift, ShiftUnit, Turn, Weekday,
};
use mayday::oncall::schedule::Schedule;
use mayday::oncall::schedule::duty;
use mayday::oncall::schedule::overrides::Override;

#[derive(Deserialize)]
struct File {
    count: usize,
    vectors: Vec<Vector>,
}

#[derive(Deserialize)]
struct Vector {
    id: String,
    timezone: String,
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
    from: String,
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
    });
    Layer {
        name: format!("layer-{index}"),
        priority: facts.priority,
        start: facts.start.clone().unwrap(),
        shift: Shift { unit: unit(&shift.unit), length: shift.length },
        turns: turns.collect(),
        restrictions: facts
            .restrictions
            .iter()
            .map(|r| Restriction {
                days: r.days.iter().map(|day| weekday(day)).collect(),
                from: r.from.clone(),
                to: r.to.clone(),
            })
            .collect(),
        advance,
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
    let layers: Vec<Layer> = facts.iter().enumerate().map(|(i, facts)| layer(i, facts, advance)).collect();
    let mut names: Vec<String> =
        layers.iter().flat_map(|l| l.turns.iter().flat_map(|t| t.people.clone())).collect();
    names.extend(vector.overrides.iter().flat_map(|o| o.user.iter().chain(&o.replaces).cloned()));
    names.sort();
    names.dedup();
    let people = names.iter().map(|name| Person { name: name.clone(), user: name.clone(), contacts: vec![] });
    let spec = OnCallRotationSpec {
        time_zone: vector.timezone.clone(),
        people: people.collect(),
        layers,
        escalation: None,
    };

    // The priority of a vector becomes the age of an override: the younger one takes precedence.
    let mut overrides: Vec<_> = vector.overrides.iter().collect();
    overrides.sort_by_key(|o| o.priority);
    let overrides = overrides.iter().enumerate().map(|(index, facts)| {
        Override::new(&format!("override-{index}"), &override_spec(facts), &names).unwrap()
    });
    Schedule::new(&spec, overrides.collect()).unwrap_or_else(|problems| panic!("{}: {problems:?}", vector.id))
}

fn override_spec(facts: &OverrideFacts) -> OnCallOverrideSpec {
    let mut spec = OnCallOverrideSpec {
        rotation_ref: Default::default(),
        start_time: Time(facts.start),
        end_time: Time(facts.end),
        replace: None,
        replace_all: None,
        add: None,
        remove: None,
        clear: None,
        reason: None,
    };
    let user = facts.user.clone();
    match (facts.mode.as_str(), &facts.replaces) {
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

#[test]
fn every_vector_holds() {
    let text = include_str!("data/oncall.yaml");
    let file: File = serde_saphyr::from_str(text).unwrap();
    assert_eq!(file.vectors.len(), file.count);
    let mut failures = Vec::new();
    for vector in &file.vectors {
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
    assert!(failures.is_empty(), "{} of {}:\n{}", failures.len(), file.count, failures.join("\n"));
}
