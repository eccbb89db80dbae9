//! Whether a run of a Runbook could begin as far as rights go: those of its ServiceAccount, and of those who approved it.
//! The team learns it when the Runbook is applied, and not in the outage (docs/rules.md#preflight). Pure.

use jiff::{SignedDuration, Timestamp};

use crate::api::conditions::{ConditionType, Reason, find};
use crate::api::runbook::RunbookStatus;
use crate::cluster::conditions::{State, set};

/// Least and longest time between two questions. No watch tells about rights.
const LEAST: SignedDuration = SignedDuration::from_secs(15);
const LONGEST: SignedDuration = SignedDuration::from_mins(10);

/// The answer.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Permitted {
    /// Nothing is missing.
    Yes(String),
    /// The account lacks rights, in words.
    AccountLacks(String),
    /// Approvers may not use the account, in words.
    ApproversLack(String),
    /// It cannot be asked yet, and why.
    NotAsked(String),
}

/// An answer, and what it was about.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Asked {
    /// `metadata.generation` of the Runbook.
    pub generation: i64,
    /// UIDs of the approvals that counted.
    pub approvals: Vec<String>,
    /// When it was asked.
    pub time: Timestamp,
    /// The answer.
    pub answer: Permitted,
}

/// When the same is asked again: after as long as the answer has stood, at least 15 seconds and at most ten minutes. So a
/// right that is granted is seen soon after it was missed, and a Runbook that works costs a call in ten minutes.
pub fn again(status: &RunbookStatus, asked: &Asked) -> Timestamp {
    let since = find(&status.conditions, ConditionType::Permitted).map(|known| known.last_transition_time.0);
    let stood = since.map_or(LEAST, |since| asked.time.duration_since(since));
    asked.time.checked_add(stood.clamp(LEAST, LONGEST)).unwrap_or(Timestamp::MAX)
}

/// Whether an answer is about this content and these approvals, and not too old.
pub fn holds(
    status: &RunbookStatus,
    asked: &Asked,
    (generation, approvals): (i64, &[String]),
    now: Timestamp,
) -> bool {
    asked.generation == generation && asked.approvals == approvals && now < again(status, asked)
}

/// Puts the answer into a status.
pub fn note(status: &mut RunbookStatus, asked: &Asked, now: Timestamp) {
    let (state, reason, message) = match &asked.answer {
        Permitted::Yes(message) => (State::True, Reason::AccountSuffices, message),
        Permitted::AccountLacks(message) => (State::False, Reason::AccountLacksPermission, message),
        Permitted::ApproversLack(message) => (State::False, Reason::ApproverLacksAccount, message),
        Permitted::NotAsked(message) => (State::Unknown, Reason::NotAsked, message),
    };
    let kind = ConditionType::Permitted;
    set(&mut status.conditions, kind, state, reason, message.clone(), asked.generation, now);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_000_000 + second).unwrap()
    }

    fn asked(second: i64, answer: Permitted) -> Asked {
        Asked { generation: 3, approvals: vec!["a".into()], time: at(second), answer }
    }

    #[test]
    fn a_missing_right_is_asked_about_soon_and_then_less_often() {
        let mut status = RunbookStatus::default();
        let lacks = |second| asked(second, Permitted::AccountLacks("no".into()));
        let first = lacks(0);
        assert_eq!(again(&status, &first), at(15), "there is no condition yet");
        note(&mut status, &first, at(0));
        for (second, next) in [(0, 15), (15, 30), (60, 120), (3600, 4200)] {
            assert_eq!(again(&status, &lacks(second)), at(next), "{second}");
        }
        note(&mut status, &asked(4200, Permitted::Yes("yes".into())), at(4200));
        assert_eq!(again(&status, &asked(4200, Permitted::Yes("yes".into()))), at(4215), "it is new");
    }

    #[test]
    fn an_edit_or_another_approval_is_asked_about_at_once() {
        let (status, yes) = (RunbookStatus::default(), asked(0, Permitted::Yes("yes".into())));
        let approvals = ["a".to_owned()];
        assert!(holds(&status, &yes, (3, &approvals), at(1)));
        assert!(!holds(&status, &yes, (4, &approvals), at(1)));
        assert!(!holds(&status, &yes, (3, &[]), at(1)));
        assert!(!holds(&status, &yes, (3, &approvals), at(15)));
    }
}
