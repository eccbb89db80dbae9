//! Whether a changed freeze stops at least what it stopped before (docs/rules.md#write-freeze). Pure.

use jiff::Timestamp;

use super::period::Weekly;
use crate::api::freeze::{FreezeSchedule, FreezeSpec};

/// Whether `new` stops at least what `old` stops, at least as long. What cannot be compared stops less.
pub fn extends(old: &FreezeSpec, new: &FreezeSpec) -> bool {
    old.policy_ref == new.policy_ref
        && old.stops.iter().all(|stop| new.stops.contains(stop))
        && match (&old.schedule, &new.schedule) {
            (None, None) => holds_once(old, new),
            (Some(old), Some(new)) => holds_weekly(old, new),
            // A weekly freeze has no end, and one of once has gaps that a week does not have.
            _ => false,
        }
}

fn holds_once(old: &FreezeSpec, new: &FreezeSpec) -> bool {
    let start = |spec: &FreezeSpec| spec.start_time.as_ref().map(|time| time.0);
    let end = |spec: &FreezeSpec| spec.end_time.as_ref().map(|time| time.0);
    let ends_no_earlier = end(old).zip(end(new)).is_some_and(|(old, new)| new >= old);
    // No start means at once, which is the earliest.
    ends_no_earlier && start(new) <= start(old)
}

/// Times in two time zones cannot be compared for good: the distance between the zones may change.
fn holds_weekly(old: &FreezeSchedule, new: &FreezeSchedule) -> bool {
    let same_times = old.from == new.from && old.until == new.until;
    match (Weekly::new(old), Weekly::new(new)) {
        (Ok(before), Ok(after)) => old.time_zone == new.time_zone && after.holds(&before),
        // A mistyped time zone may be corrected, or nothing would ever end the freeze but its approvers.
        (Err(_), Ok(_)) => same_times,
        _ => old == new,
    }
}

/// Whether a freeze of once is over, so that it stops nothing any more.
pub fn is_over(spec: &FreezeSpec, now: Timestamp) -> bool {
    spec.schedule.is_none() && spec.end_time.as_ref().is_some_and(|end| end.0 <= now)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, from_value, json};

    use super::*;

    fn weekly(edit: Value) -> FreezeSpec {
        let mut spec = json!({"policyRef": {"name": "production"}, "stops": ["Changes", "Automation"], "reason": "weekend",
            "schedule": {"timeZone": "Europe/Berlin", "from": {"day": "Fri", "time": "16:00"}, "until": {"day": "Mon", "time": "08:00"}}});
        json_patch::merge(&mut spec, &edit);
        from_value(spec).unwrap()
    }

    fn schedule(edit: Value) -> Value {
        json!({"schedule": edit})
    }

    #[test]
    fn a_schedule_that_stops_more_extends_it() {
        for more in [
            json!({"reason": "weekend and audit"}),
            schedule(json!({"from": {"day": "Fri", "time": "15:59"}})),
            schedule(json!({"from": {"day": "Thu", "time": "23:00"}})),
            schedule(json!({"until": {"day": "Mon", "time": "08:01"}})),
            schedule(json!({"until": {"day": "Fri", "time": "15:00"}})),
            schedule(
                json!({"from": {"day": "Mon", "time": "09:00"}, "until": {"day": "Mon", "time": "08:00"}}),
            ),
        ] {
            assert!(extends(&weekly(json!({})), &weekly(more.clone())), "{more}");
        }
    }

    #[test]
    fn a_schedule_that_stops_less_or_something_else_lifts_it() {
        for less in [
            schedule(json!({"from": {"day": "Fri", "time": "16:01"}})),
            schedule(json!({"from": {"day": "Sat", "time": "16:00"}})),
            schedule(json!({"until": {"day": "Mon", "time": "07:59"}})),
            schedule(json!({"until": {"day": "Sun", "time": "08:00"}})),
            schedule(
                json!({"from": {"day": "Mon", "time": "08:00"}, "until": {"day": "Fri", "time": "16:00"}}),
            ),
            schedule(json!({"timeZone": "Europe/Paris"})),
            schedule(json!({"timeZone": "Europe/Atlantis"})),
            json!({"stops": ["Changes"]}),
            json!({"policyRef": {"name": "lab"}}),
            json!({"schedule": null, "endTime": "2099-01-01T00:00:00Z"}),
            json!({"schedule": null}),
        ] {
            assert!(!extends(&weekly(json!({})), &weekly(less.clone())), "{less}");
        }
        let once = weekly(json!({"schedule": null, "endTime": "2026-12-01T00:00:00Z"}));
        assert!(!extends(&once, &weekly(json!({}))), "it would have gaps");
    }

    #[test]
    fn an_unknown_time_zone_is_corrected_by_those_who_may_write_it() {
        let mistyped = weekly(schedule(json!({"timeZone": "Europe/Berln"})));
        assert!(extends(&mistyped, &weekly(json!({}))));
        let also_later = weekly(schedule(json!({"from": {"day": "Sat", "time": "16:00"}})));
        assert!(!extends(&mistyped, &also_later));
        assert!(!extends(&mistyped, &weekly(schedule(json!({"timeZone": "Europe/Bern"})))));
    }

    #[test]
    fn only_a_freeze_of_once_is_ever_over() {
        let end = weekly(json!({"schedule": null, "endTime": "2026-12-01T00:00:00Z"}));
        let at = |time: &str| time.parse().unwrap();
        assert!(!is_over(&end, at("2026-11-30T23:59:59Z")) && is_over(&end, at("2026-12-01T00:00:00Z")));
        assert!(!is_over(&weekly(json!({})), at("2099-12-01T00:00:00Z")));
    }
}
