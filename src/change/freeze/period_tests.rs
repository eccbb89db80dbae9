use proptest::prelude::*;
use serde_json::{Value, from_value, json};

use super::*;

fn spec(times: Value) -> FreezeSpec {
    let mut spec = json!({"policyRef": {"name": "production"}, "stops": ["Changes"], "reason": "r"});
    json_patch::merge(&mut spec, &times);
    from_value(spec).unwrap()
}

fn weekly(zone: &str, from: (&str, &str), until: (&str, &str)) -> FreezeSpec {
    let at = |(day, time): (&str, &str)| json!({"day": day, "time": time});
    spec(json!({"schedule": {"timeZone": zone, "from": at(from), "until": at(until)}}))
}

fn at(time: &str) -> Timestamp {
    time.parse().unwrap()
}

/// `start..end` of the current period, and of the next one.
fn seen(spec: &FreezeSpec, now: &str) -> (Option<String>, Option<String>) {
    let times = times(spec, at(now)).unwrap();
    let text = |period: Period| {
        let start = period.start.map_or_else(|| "creation".to_owned(), |start| start.to_string());
        format!("{start}..{}", period.end)
    };
    (times.current.map(text), times.next.map(text))
}

fn period(text: &str) -> Option<String> {
    Some(text.to_owned())
}

#[test]
fn a_freeze_of_once_holds_from_its_start_to_its_end() {
    let year_end = spec(json!({"startTime": "2026-12-20T00:00:00Z", "endTime": "2027-01-02T00:00:00Z"}));
    let whole = period("2026-12-20T00:00:00Z..2027-01-02T00:00:00Z");
    assert_eq!(seen(&year_end, "2026-12-19T23:59:59Z"), (None, whole.clone()));
    assert_eq!(seen(&year_end, "2026-12-20T00:00:00Z"), (whole.clone(), None));
    assert_eq!(seen(&year_end, "2027-01-01T23:59:59Z"), (whole, None));
    assert_eq!(seen(&year_end, "2027-01-02T00:00:00Z"), (None, None));
    let at_once = spec(json!({"endTime": "2027-01-02T00:00:00Z"}));
    assert_eq!(seen(&at_once, "2000-01-01T00:00:00Z"), (period("creation..2027-01-02T00:00:00Z"), None));
}

// Berlin is at UTC+1 in winter. 2026-11-27 is a Friday.
#[test]
fn a_weekly_freeze_holds_across_the_end_of_the_week() {
    let weekend = weekly("Europe/Berlin", ("Fri", "16:00"), ("Mon", "08:00"));
    let this = period("2026-11-27T15:00:00Z..2026-11-30T07:00:00Z");
    let next = period("2026-12-04T15:00:00Z..2026-12-07T07:00:00Z");
    assert_eq!(seen(&weekend, "2026-11-27T14:59:59Z"), (None, this.clone()));
    for during in ["2026-11-27T15:00:00Z", "2026-11-29T23:30:00Z", "2026-11-30T06:59:59Z"] {
        assert_eq!(seen(&weekend, during), (this.clone(), next.clone()), "{during}");
    }
    assert_eq!(seen(&weekend, "2026-11-30T07:00:00Z"), (None, next));
}

#[test]
fn a_weekly_freeze_lasts_some_hours_or_almost_a_week() {
    let night = weekly("UTC", ("Wed", "22:00"), ("Thu", "04:00"));
    assert_eq!(seen(&night, "2026-11-26T03:00:00Z").0, period("2026-11-25T22:00:00Z..2026-11-26T04:00:00Z"));
    let lunch = weekly("UTC", ("Wed", "12:00"), ("Wed", "13:00"));
    assert_eq!(seen(&lunch, "2026-11-25T12:30:00Z").0, period("2026-11-25T12:00:00Z..2026-11-25T13:00:00Z"));
    let all_but_lunch = weekly("UTC", ("Wed", "13:00"), ("Wed", "12:00"));
    assert_eq!(
        seen(&all_but_lunch, "2026-11-25T13:00:00Z").0,
        period("2026-11-25T13:00:00Z..2026-12-02T12:00:00Z")
    );
    assert_eq!(seen(&all_but_lunch, "2026-11-25T12:30:00Z").0, None);
}

// On 2026-10-25 at 03:00 summer time (01:00 UTC) Berlin sets its clocks back to 02:00.
#[test]
fn an_end_that_comes_twice_is_the_second_and_a_start_the_first() {
    let ends = weekly("Europe/Berlin", ("Fri", "16:00"), ("Sun", "02:30"));
    assert_eq!(seen(&ends, "2026-10-25T00:45:00Z").0, period("2026-10-23T14:00:00Z..2026-10-25T01:30:00Z"));
    let begins = weekly("Europe/Berlin", ("Sun", "02:30"), ("Mon", "08:00"));
    assert_eq!(seen(&begins, "2026-10-25T00:30:00Z").0, period("2026-10-25T00:30:00Z..2026-10-26T07:00:00Z"));
    assert_eq!(seen(&begins, "2026-10-25T00:29:59Z").0, None);
}

// On 2026-03-29 at 02:00 winter time (01:00 UTC) Berlin sets its clocks forward to 03:00.
#[test]
fn a_time_that_is_skipped_is_the_instant_of_the_skip() {
    let ends = weekly("Europe/Berlin", ("Fri", "16:00"), ("Sun", "02:30"));
    assert_eq!(seen(&ends, "2026-03-29T00:59:59Z").0, period("2026-03-27T15:00:00Z..2026-03-29T01:00:00Z"));
    let begins = weekly("Europe/Berlin", ("Sun", "02:30"), ("Mon", "08:00"));
    assert_eq!(seen(&begins, "2026-03-29T01:00:00Z").0, period("2026-03-29T01:00:00Z..2026-03-30T06:00:00Z"));
    let skipped = weekly("Europe/Berlin", ("Sun", "02:15"), ("Sun", "02:45"));
    let next = period("2026-04-05T00:15:00Z..2026-04-05T00:45:00Z");
    assert_eq!(seen(&skipped, "2026-03-29T01:00:00Z"), (None, next), "it is not there that week");
}

#[test]
fn periods_that_touch_where_the_clocks_change_are_one() {
    // The half hour in which it does not hold is skipped.
    let almost = weekly("Europe/Berlin", ("Sun", "02:45"), ("Sun", "02:15"));
    assert_eq!(seen(&almost, "2026-03-29T01:00:00Z").0, period("2026-03-22T01:45:00Z..2026-04-05T00:15:00Z"));
}

#[test]
fn times_that_cannot_be_read_are_named() {
    let problem = |spec: &FreezeSpec| times(spec, at("2026-11-25T12:30:00Z")).unwrap_err();
    let of = |zone: &str, from: (&str, &str), until: (&str, &str)| problem(&weekly(zone, from, until));
    assert!(
        of("Europe/Atlantis", ("Fri", "16:00"), ("Mon", "08:00")).starts_with("spec.schedule.timeZone: ")
    );
    assert!(of("UTC", ("Fri", "25:00"), ("Mon", "08:00")).starts_with("spec.schedule.from.time: \"25:00\""));
    assert!(of("UTC", ("Fri", "16:00"), ("Mon", "8")).starts_with("spec.schedule.until.time: "));
    assert!(of("UTC", ("Fri", "16:00"), ("Fri", "16:00")).starts_with("spec.schedule.until: it is the same"));
    assert!(problem(&spec(json!({}))).starts_with("spec: "));
}

const DAYS: [&str; 7] = ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"];
const ZONES: [&str; 5] =
    ["UTC", "Europe/Berlin", "America/Santiago", "Australia/Lord_Howe", "Africa/Casablanca"];

proptest! {
    /// What the clock shows decides, apart from the hours around a change of the clocks: a plain second opinion.
    #[test]
    fn a_weekly_freeze_holds_between_its_times_on_the_clock(
        zone in 0..ZONES.len(), from in 0_i64..10_080, length in 1_i64..10_080, now in 1_700_000_000_i64..1_900_000_000
    ) {
        let time = |minute: i64| {
            let (day, minute) = (usize::try_from(minute / 1440).unwrap(), minute % 1440);
            (DAYS[day % 7], format!("{:02}:{:02}", minute / 60, minute % 60))
        };
        let (begin, end) = (time(from), time((from + length) % 10_080));
        let freeze = weekly(ZONES[zone], (begin.0, &begin.1), (end.0, &end.1));
        let now = Timestamp::from_second(now).unwrap();
        let clock = LocalClock::named(ZONES[zone]).unwrap();
        let on_clock = |at: Timestamp| at.to_zoned(clock.zone().clone());
        let zoned = on_clock(now);
        let away = |hours: i64| on_clock(now.checked_add(jiff::SignedDuration::from_hours(hours)).unwrap());
        prop_assume!([-2, 2].into_iter().all(|hours| away(hours).offset() == zoned.offset()));
        let minute = i64::from(zoned.weekday().to_monday_zero_offset()) * 1440
            + i64::from(zoned.hour()) * 60 + i64::from(zoned.minute());
        let holds = (minute - from).rem_euclid(10_080) < length;
        let times = times(&freeze, now).unwrap();
        prop_assert_eq!(times.current.is_some(), holds);
        let next = times.next.unwrap();
        prop_assert!(next.start.unwrap() > now && next.end > next.start.unwrap());
        if let Some(current) = times.current {
            prop_assert!(current.start.unwrap() <= now && now < current.end && current.end < next.start.unwrap());
        }
    }
}
