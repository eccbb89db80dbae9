//! The status of an override. Pure.

use std::sync::Arc;

use jiff::Timestamp;
use kube::ResourceExt;

use crate::api::conditions::{ConditionType, Reason};
use crate::api::oncall_override::{OnCallOverrideSpec, OnCallOverrideStatus};
use crate::api::{OnCallOverride, OnCallRotation};
use crate::cluster::conditions::{self, NotReady};
use crate::command::{Command, Verb};
use crate::text::cut;

use super::schedule::Schedule;
use crate::oncall::schedule::overrides;
use crate::oncall::schedule::overrides::Override;

/// Maximum number of edges within an override that are compared.
const MAX_EDGES: usize = 2_000;
/// Maximum length of `status.who` in bytes, as the schema allows.
const MAX_WHO: usize = 253;

/// The objects of the override's namespace that its status depends on.
#[derive(Clone, Debug, Default)]
pub struct OverrideFacts {
    /// The rotation it is for; `None` if it does not exist.
    pub rotation: Option<Arc<OnCallRotation>>,
    /// The overrides, this one included.
    pub overrides: Vec<Arc<OnCallOverride>>,
}

/// The status of an override, and when it changes by itself.
pub fn decide(
    subject: &OnCallOverride,
    facts: &OverrideFacts,
    now: Timestamp,
) -> (OnCallOverrideStatus, Option<Timestamp>) {
    let mut status = subject.status.clone().unwrap_or_default();
    let generation = subject.metadata.generation.unwrap_or_default();
    let spec = &subject.spec;
    let (state, wake) = if now < spec.start_time.0 {
        (Reason::Scheduled, Some(spec.start_time.0))
    } else if now < spec.end_time.0 {
        (Reason::Active, Some(spec.end_time.0))
    } else {
        (Reason::Over, None)
    };
    status.who = Some(cut(&who(spec), MAX_WHO));
    status.state = Some(state.to_string());

    let changes = evaluate(subject, facts, state == Reason::Over, now);
    let (active, reason, message) = match (&changes, state) {
        (Ok(true), Reason::Active) => (true, Reason::Active, "in force".to_owned()),
        (Ok(true), state) => (false, state, format!("from {} to {}", spec.start_time.0, spec.end_time.0)),
        (Ok(false), _) => (false, Reason::ChangesNothing, nothing(subject)),
        (Err(_), _) => (false, Reason::NotReady, "the condition Ready says why".to_owned()),
    };
    conditions::set(&mut status.conditions, ConditionType::Active, active, reason, message, generation, now);
    let ready = changes.map(|changes| if changes { "accepted".to_owned() } else { nothing(subject) });
    conditions::ready(&mut status, generation, now, ready);
    (status, wake)
}

/// Whether the override changes who is on duty at any instant; one that is over counts as a change.
fn evaluate(
    subject: &OnCallOverride,
    facts: &OverrideFacts,
    is_over: bool,
    now: Timestamp,
) -> Result<bool, NotReady> {
    let name = &subject.spec.rotation_ref.name;
    let waiting = NotReady::Waiting;
    let Some(rotation) = &facts.rotation else {
        return Err(waiting(Reason::RotationNotFound, format!("OnCallRotation {name} does not exist here")));
    };
    let people: Vec<String> = rotation.spec.people.iter().map(|person| person.name.clone()).collect();
    let own = Override::new(&subject.name_any(), &subject.spec, &people).map_err(|person| {
        let known = people.join(", ");
        NotReady::Stalled(
            Reason::UnknownPerson,
            format!("{person:?} is not in the people of OnCallRotation {name} (known: {known})"),
        )
    })?;
    if is_over {
        return Ok(true);
    }
    let all = overrides::of_rotation(&facts.overrides, name, &people);
    let others = all.iter().filter(|other| other.name != own.name).cloned().collect();
    let Ok(with) = Schedule::of_rotation(rotation, all, now) else {
        return Err(waiting(
            Reason::RotationNotReady,
            format!("OnCallRotation {name} is not Ready; mend it first"),
        ));
    };
    let without = with.with_overrides(others);
    let differs = std::iter::successors(Some(own.start), |at| with.next_edge(*at))
        .take_while(|at| *at < own.end)
        .take(MAX_EDGES)
        .any(|at| !with.at(at).keys().eq(without.at(at).keys()));
    Ok(differs)
}

/// The change in a few words: `bea for emil`.
fn who(spec: &OnCallOverrideSpec) -> String {
    if let Some(replace) = &spec.replace {
        format!("{} for {}", replace.by, replace.person)
    } else if let Some(all) = &spec.replace_all {
        format!("{} for everybody", all.by.join(", "))
    } else if let Some(add) = &spec.add {
        format!("{} too", add.person)
    } else if let Some(remove) = &spec.remove {
        format!("not {}", remove.person)
    } else {
        "nobody".to_owned()
    }
}

fn nothing(subject: &OnCallOverride) -> String {
    let spec = &subject.spec;
    let (rotation, namespace) = (&spec.rotation_ref.name, subject.namespace().unwrap_or_default());
    let who = Command::new(Verb::Who).namespace(namespace).word(rotation);
    format!(
        "changes nothing in {rotation} between {} and {}: whoever it names is on duty then anyway, or a younger \
         override says something else; compare: {who}",
        spec.start_time.0, spec.end_time.0
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rotation() -> OnCallRotation {
        serde_json::from_value(serde_json::json!({
            "apiVersion": "mayday.dev/v1alpha1", "kind": "OnCallRotation", "metadata": {"name": "payments"},
            "spec": {"timeZone": "Europe/Berlin",
                "people": [{"name": "emil", "user": "emil"}, {"name": "bea", "user": "bea"}],
                "layers": [{"name": "l", "start": "2026-01-05T09:00", "shift": {"unit": "Weeks", "length": 1},
                    "turns": [{"people": ["emil"]}]}]}
        }))
        .unwrap()
    }

    fn decided(act: serde_json::Value, now: &str) -> (OnCallOverrideStatus, Option<Timestamp>) {
        let mut spec = serde_json::json!({"rotationRef": {"name": "payments"},
            "startTime": "2026-11-24T13:00:00Z", "endTime": "2026-11-24T16:00:00Z"});
        spec.as_object_mut().unwrap().extend(act.as_object().unwrap().clone());
        let subject = Arc::new(OnCallOverride::new("dentist", serde_json::from_value(spec).unwrap()));
        let facts =
            OverrideFacts { rotation: Some(Arc::new(rotation())), overrides: vec![Arc::clone(&subject)] };
        decide(&subject, &facts, now.parse().unwrap())
    }

    fn condition(status: &OnCallOverrideStatus, kind: &str) -> String {
        let condition = status.conditions.iter().find(|c| c.type_ == kind).unwrap();
        format!("{} {}", condition.status, condition.reason)
    }

    #[test]
    fn an_override_goes_from_scheduled_over_active_to_over() {
        let act = serde_json::json!({"replace": {"person": "emil", "by": "bea"}});
        let (status, wake) = decided(act.clone(), "2026-11-24T12:59:59Z");
        assert_eq!(status.who.as_deref(), Some("bea for emil"));
        assert_eq!(condition(&status, "Active"), "False Scheduled");
        assert_eq!(wake, "2026-11-24T13:00:00Z".parse().ok());
        let (status, wake) = decided(act.clone(), "2026-11-24T13:00:00Z");
        assert_eq!(condition(&status, "Active"), "True Active");
        assert_eq!(wake, "2026-11-24T16:00:00Z".parse().ok());
        let (status, wake) = decided(act, "2026-11-24T16:00:00Z");
        assert_eq!((condition(&status, "Active").as_str(), wake), ("False Over", None));
    }

    #[test]
    fn an_override_that_changes_nothing_or_names_a_stranger_says_so() {
        let (status, _) = decided(serde_json::json!({"remove": {"person": "bea"}}), "2026-11-24T13:00:00Z");
        assert_eq!(condition(&status, "Active"), "False ChangesNothing");
        let (status, _) = decided(serde_json::json!({"add": {"person": "zoe"}}), "2026-11-24T13:00:00Z");
        assert_eq!(condition(&status, "Ready"), "False UnknownPerson");
    }

    #[test]
    fn a_missing_rotation_is_waited_for() {
        let spec = serde_json::json!({"rotationRef": {"name": "payments"}, "clear": {},
            "startTime": "2026-11-24T13:00:00Z", "endTime": "2026-11-24T16:00:00Z"});
        let subject = OnCallOverride::new("off", serde_json::from_value(spec).unwrap());
        let (status, _) =
            decide(&subject, &OverrideFacts::default(), "2026-11-24T13:00:00Z".parse().unwrap());
        assert_eq!(condition(&status, "Ready"), "False RotationNotFound");
    }
}
