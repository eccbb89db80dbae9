//! Flapping: checks that pass and fail in turn (docs/rules.md#flapping). Pure.

use jiff::{SignedDuration, Timestamp};

use crate::api::common::stored_time;
use crate::api::conditions::{ConditionType, is_true};
use crate::api::incident_status::IncidentStatus;

/// How long a check transition counts.
const WINDOW: SignedDuration = SignedDuration::from_mins(30);
/// Number of transitions within the window that start flapping: three failures and three recoveries.
const STARTS_WITH: usize = 6;
/// Flapping ends with fewer transitions than this. The gap to [`STARTS_WITH`] keeps the condition itself from flapping.
const ENDS_BELOW: usize = 3;
/// Maximum number of transitions that are kept, as the schema allows.
const MAX_TRANSITIONS: usize = 20;

/// Records that the checks turned from failing to passing or back.
pub fn record_transition(status: &mut IncidentStatus, now: Timestamp) {
    status.check_transition_times.push(stored_time(now));
    let surplus = status.check_transition_times.len().saturating_sub(MAX_TRANSITIONS);
    status.check_transition_times.drain(..surplus);
}

/// When flapping ends if there is no further transition; `None` if the incident does not flap.
pub fn ends_at(status: &IncidentStatus, now: Timestamp) -> Option<Timestamp> {
    let leaves_window: Vec<Timestamp> = status
        .check_transition_times
        .iter()
        .filter_map(|time| time.0.checked_add(WINDOW).ok())
        .filter(|end| *end > now)
        .collect();
    let enough = if is_true(&status.conditions, ConditionType::Flapping) { ENDS_BELOW } else { STARTS_WITH };
    if leaves_window.len() < enough {
        return None;
    }
    leaves_window.iter().rev().nth(ENDS_BELOW - 1).copied()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::conditions::Reason;
    use crate::cluster::conditions::set;

    fn at(minute: i64) -> Timestamp {
        Timestamp::from_second(minute * 60).unwrap()
    }

    #[test]
    fn three_failures_and_recoveries_are_flapping_until_the_checks_hold() {
        let mut status = IncidentStatus::default();
        for minute in 1..=5 {
            record_transition(&mut status, at(minute));
            assert_eq!(ends_at(&status, at(minute)), None, "minute {minute}");
        }
        record_transition(&mut status, at(6));
        assert_eq!(ends_at(&status, at(6)), Some(at(34)), "the third newest leaves the window then");
        set(&mut status.conditions, ConditionType::Flapping, true, Reason::Unsteady, "", 1, at(6));
        assert_eq!(ends_at(&status, at(33)), Some(at(34)), "two have left the window, and it still flaps");
        assert_eq!(ends_at(&status, at(34)), None);
        for minute in 100..200 {
            record_transition(&mut status, at(minute));
        }
        assert_eq!(status.check_transition_times.len(), MAX_TRANSITIONS);
    }
}
