//! Who answers a swap (docs/rules.md#swaps). Pure. Everything else about an override is for everybody whom RBAC lets.

use std::sync::Arc;

use jiff::Timestamp;
use kube::ResourceExt;

use crate::api::oncall_override::{Answer, Swap};
use crate::api::{OnCallOverride, OnCallRotation};
use crate::command::{Command, Verb};
use crate::webhook::caller::Caller;

use crate::guard::ruling::Ruling;

/// What the rule looks up.
pub struct Facts<'a> {
    /// Who writes it.
    pub caller: &'a Caller,
    /// The rotation of the swap, if it exists.
    pub rotation: Option<Arc<OnCallRotation>>,
    /// The time of the review.
    pub now: Timestamp,
}

/// Whether the override may be written so.
pub fn write(old: Option<&OnCallOverride>, new: &OnCallOverride, facts: &Facts<'_>) -> Ruling {
    let answer = |object: &OnCallOverride| object.spec.swap.as_ref().and_then(|swap| swap.answer);
    let (before, after) = (old.and_then(answer), answer(new));
    let Some(swap) = new.spec.swap.as_ref().filter(|_| before != after) else { return Ruling::Allow };
    let name = new.name_any();
    let rotation = &new.spec.rotation_ref.name;
    let user = |person: &str| {
        let people = facts.rotation.iter().flat_map(|rotation| &rotation.spec.people);
        people.filter(|known| known.name == person).map(|known| known.user.clone()).next()
    };
    let is = |person: &str| facts.caller.direct && user(person).is_some_and(|user| user == facts.caller.user);
    let Swap { person, by, .. } = swap;
    match after {
        Some(Answer::Taken) if !is(by) => Ruling::Refuse(format!(
            "Refused: only {by} takes override/{name}, logged in directly as {}; anybody may write an override instead: {}",
            user(by).map_or_else(
                || format!("the user that oncall/{rotation} names"),
                |user| format!("user {user}")
            ),
            Command::new(Verb::Oncall).namespace(new.namespace().unwrap_or_default()).word(rotation)
        )),
        Some(Answer::Taken) if new.spec.start_time.0 <= facts.now => Ruling::Refuse(format!(
            "Refused: the swap override/{name} has lapsed, since its time began at {} without an answer; ask again for \
             what is left of it",
            new.spec.start_time.0
        )),
        Some(Answer::Taken) => Ruling::Allow,
        Some(Answer::Declined) | None => Ruling::require(is(by) || is(person), || {
            format!(
                "Refused: only {by} and {person} change the answer to override/{name}, logged in directly"
            )
        }),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn swap(answer: Option<&str>) -> OnCallOverride {
        let mut swap = json!({"person": "emil", "by": "bea"});
        answer.inspect(|answer| swap["answer"] = Value::from(*answer));
        let spec = json!({"rotationRef": {"name": "payments"}, "startTime": "2026-11-24T13:00:00Z",
            "endTime": "2026-11-24T16:00:00Z", "swap": swap});
        OnCallOverride::new("concert", serde_json::from_value(spec).unwrap())
    }

    fn ruling(old: Option<Option<&str>>, new: Option<&str>, user: &str, now: &str) -> Ruling {
        let spec = json!({"timeZone": "UTC", "people": [{"name": "emil", "user": "emil@x"}, {"name": "bea", "user": "bea@x"}],
            "layers": []});
        let rotation = OnCallRotation::new("payments", serde_json::from_value(spec).unwrap());
        let caller = Caller { user: user.into(), groups: Vec::new(), direct: user != "impersonated" };
        let rotation = Some(Arc::new(rotation));
        let facts = Facts { caller: &caller, rotation, now: now.parse().unwrap() };
        write(old.map(swap).as_ref(), &swap(new), &facts)
    }

    const BEFORE: &str = "2026-11-24T12:00:00Z";

    #[test]
    fn a_swap_is_asked_for_by_anybody_and_taken_by_the_person_asked() {
        assert_eq!(ruling(None, None, "zoe", BEFORE), Ruling::Allow);
        assert_eq!(ruling(Some(None), Some("Taken"), "bea@x", BEFORE), Ruling::Allow);
        for user in ["emil@x", "zoe", "bea"] {
            let Ruling::Refuse(why) = ruling(Some(None), Some("Taken"), user, BEFORE) else {
                panic!("{user}")
            };
            assert!(
                why.starts_with("Refused: only bea takes override/concert, logged in directly as user bea@x"),
                "{why}"
            );
            assert!(matches!(ruling(None, Some("Taken"), user, BEFORE), Ruling::Refuse(_)), "{user} at once");
        }
        assert!(matches!(
            ruling(Some(None), Some("Taken"), "bea@x", "2026-11-24T13:00:00Z"),
            Ruling::Refuse(_)
        ));
    }

    #[test]
    fn either_of_both_declines_or_takes_an_answer_back() {
        for user in ["emil@x", "bea@x"] {
            assert_eq!(ruling(Some(None), Some("Declined"), user, BEFORE), Ruling::Allow);
            assert_eq!(ruling(Some(Some("Taken")), Some("Declined"), user, BEFORE), Ruling::Allow);
            assert_eq!(ruling(Some(Some("Taken")), None, user, BEFORE), Ruling::Allow);
        }
        assert!(matches!(ruling(Some(Some("Taken")), None, "zoe", BEFORE), Ruling::Refuse(_)));
        assert_eq!(ruling(Some(Some("Taken")), Some("Taken"), "zoe", BEFORE), Ruling::Allow, "another field");
    }
}
