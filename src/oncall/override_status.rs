//! The status of an override. Pure.

use std::sync::Arc;

use jiff::Timestamp;
use kube::ResourceExt;

use crate::api::conditions::{ConditionType, Reason};
use crate::api::oncall_override::{Answer, OnCallOverrideSpec, OnCallOverrideStatus, Swap};
use crate::api::oncall_rotation::Away;
use crate::api::{OnCallOverride, OnCallRotation};
use crate::cluster::conditions::{self, NotReady};
use crate::command::{Command, Verb};
use crate::text::cut;

use super::schedule::Schedule;
use super::schedule::local_time::LocalClock;
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
    let (state, wake) = state(spec, now);
    status.who = Some(cut(&who(spec), MAX_WHO));
    status.state = Some(state.to_string());

    let ended = matches!(state, Reason::Over | Reason::Declined | Reason::Lapsed);
    let effect = evaluate(subject, facts, ended, now);
    let times = format!("from {} to {}", spec.start_time.0, spec.end_time.0);
    let (active, reason, message) = match (&effect, state) {
        (Err(_), _) => (false, Reason::NotReady, "the condition Ready says why".to_owned()),
        (Ok(Effect::Nothing), _) => (false, Reason::ChangesNothing, nothing(subject)),
        (Ok(_), Reason::Active) => (true, Reason::Active, "in force".to_owned()),
        (Ok(_), state) => (false, state, format!("{}{times}", of_swap(spec, state))),
    };
    conditions::set(&mut status.conditions, ConditionType::Active, active, reason, message, generation, now);
    let ready = effect.map(|effect| match effect {
        Effect::Some => match away(subject, facts) {
            Some(names) => format!("accepted; away for a part of that time: {names}"),
            None => "accepted".to_owned(),
        },
        Effect::Nothing => nothing(subject),
        Effect::Contested(by) => format!(
            "accepted; OnCallOverride {by} says something else for a part of that time, and counts there: it has a \
             higher priority or is younger"
        ),
    });
    conditions::ready(&mut status, generation, now, ready);
    (status, wake)
}

/// The state of an override, and when it changes by itself.
fn state(spec: &OnCallOverrideSpec, now: Timestamp) -> (Reason, Option<Timestamp>) {
    let (start, end) = (spec.start_time.0, spec.end_time.0);
    let answer = spec.swap.as_ref().map(|swap| swap.answer);
    match answer {
        Some(None) if now < start => (Reason::Asked, Some(start)),
        Some(None) => (Reason::Lapsed, None),
        Some(Some(Answer::Declined)) => (Reason::Declined, None),
        None | Some(Some(Answer::Taken)) if now < start => (Reason::Scheduled, Some(start)),
        None | Some(Some(Answer::Taken)) if now < end => (Reason::Active, Some(end)),
        None | Some(Some(Answer::Taken)) => (Reason::Over, None),
    }
}

/// Says what became of a swap that does not count.
fn of_swap(spec: &OnCallOverrideSpec, state: Reason) -> String {
    let Some(swap) = &spec.swap else { return String::new() };
    let Swap { person, by, .. } = swap;
    match state {
        Reason::Asked => format!("{by} is asked to take the shift of {person}; until then {person} has it: "),
        Reason::Declined => format!("{by} declined, and {person} has the shift: "),
        Reason::Lapsed => format!("{by} did not answer in time, and {person} has the shift: "),
        _ => String::new(),
    }
}

/// What an override changes.
enum Effect {
    /// Who is on duty at some instant.
    Some,
    /// The same, but another override counts instead for a part of the time.
    Contested(String),
    /// Nothing at any instant.
    Nothing,
}

/// What the override changes; of one that has ended it is not asked any more. A swap is looked at as if it were taken.
fn evaluate(
    subject: &OnCallOverride,
    facts: &OverrideFacts,
    ended: bool,
    now: Timestamp,
) -> Result<Effect, NotReady> {
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
    if ended {
        return Ok(Effect::Some);
    }
    let mut taken = subject.clone();
    if let Some(swap) = &mut taken.spec.swap {
        swap.answer = Some(Answer::Taken);
    }
    let taken = Arc::new(taken);
    let known = facts.overrides.iter().filter(|other| other.name_any() != own.name).cloned();
    let all: Vec<Arc<OnCallOverride>> = known.chain([taken]).collect();
    let all = overrides::of_rotation(&all, name, &people);
    let others: Vec<Override> = all.iter().filter(|other| other.name != own.name).cloned().collect();
    let stronger = all.iter().skip_while(|other| other.name != own.name).skip(1);
    let contested = stronger.filter(|other| own.competes(other)).map(|other| other.name.clone()).next();
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
    Ok(match contested {
        _ if !differs => Effect::Nothing,
        Some(by) => Effect::Contested(by),
        None => Effect::Some,
    })
}

/// The people whom the override puts on duty although they are away then: a person's word counts, and is worth a second
/// look.
fn away(subject: &OnCallOverride, facts: &OverrideFacts) -> Option<String> {
    let spec = &subject.spec;
    let rotation = facts.rotation.as_ref()?;
    let clock = LocalClock::named(&rotation.spec.time_zone)?;
    let replace = spec.replace.iter().map(|replace| &replace.by);
    let swap = spec.swap.iter().map(|swap| &swap.by);
    let add = spec.add.iter().map(|add| &add.person);
    let all = spec.replace_all.iter().flat_map(|all| &all.by);
    let wanted: Vec<&String> = replace.chain(swap).chain(add).chain(all).collect();
    let is_away = |away: &Away| {
        let times = clock.moment(&away.from).zip(clock.moment(&away.until));
        times.is_some_and(|(from, until)| from < spec.end_time.0 && spec.start_time.0 < until)
    };
    let people = rotation.spec.people.iter().filter(|person| wanted.contains(&&person.name));
    let names: Vec<&str> =
        people.filter(|person| person.away.iter().any(is_away)).map(|person| person.name.as_str()).collect();
    (!names.is_empty()).then(|| names.join(", "))
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
    } else if let Some(swap) = &spec.swap {
        format!("{} for {}", swap.by, swap.person)
    } else {
        "nobody".to_owned()
    }
}

fn nothing(subject: &OnCallOverride) -> String {
    let spec = &subject.spec;
    let (rotation, namespace) = (&spec.rotation_ref.name, subject.namespace().unwrap_or_default());
    let oncall = Command::new(Verb::Oncall).namespace(namespace).word(rotation);
    format!(
        "changes nothing in {rotation} between {} and {}: the same people are on duty then without it, or a stronger \
         override says something else; compare: {oncall}",
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
    fn a_swap_counts_once_it_is_taken() {
        let swap = |answer: Option<&str>| {
            let mut swap = serde_json::json!({"person": "emil", "by": "bea"});
            answer.inspect(|answer| swap["answer"] = (*answer).into());
            serde_json::json!({"swap": swap})
        };
        let active = |answer, now| condition(&decided(swap(answer), now).0, "Active");
        let (before, within) = ("2026-11-24T12:59:59Z", "2026-11-24T13:00:00Z");
        assert_eq!(active(None, before), "False Asked");
        assert_eq!(decided(swap(None), before).1, within.parse().ok(), "it lapses then");
        assert_eq!(active(None, within), "False Lapsed");
        assert_eq!(active(Some("Declined"), before), "False Declined");
        assert_eq!(active(Some("Taken"), before), "False Scheduled");
        assert_eq!(active(Some("Taken"), within), "True Active");
        let nobodys = serde_json::json!({"swap": {"person": "bea", "by": "emil"}});
        assert_eq!(condition(&decided(nobodys, before).0, "Active"), "False ChangesNothing");
    }

    #[test]
    fn an_override_counts_during_leave_and_says_so() {
        let mut on_leave = rotation();
        let leave = serde_json::json!([{"from": "2026-11-24T15:00", "until": "2026-11-26T00:00"}]);
        on_leave.spec.people[1].away = serde_json::from_value(leave).unwrap();
        let spec = serde_json::json!({"rotationRef": {"name": "payments"}, "startTime": "2026-11-24T13:00:00Z",
            "endTime": "2026-11-24T16:00:00Z", "replace": {"person": "emil", "by": "bea"}});
        let subject = Arc::new(OnCallOverride::new("dentist", serde_json::from_value(spec).unwrap()));
        let facts =
            OverrideFacts { rotation: Some(Arc::new(on_leave)), overrides: vec![Arc::clone(&subject)] };
        let (status, _) = decide(&subject, &facts, "2026-11-24T13:00:00Z".parse().unwrap());
        assert_eq!(condition(&status, "Active"), "True Active");
        let ready = status.conditions.iter().find(|c| c.type_ == "Ready").unwrap();
        assert_eq!(ready.message, "accepted; away for a part of that time: bea");
    }

    #[test]
    fn an_override_that_another_one_hides_in_part_names_it() {
        let over = |name: &str, end: &str, priority: i32, by: &str| {
            let spec = serde_json::json!({"rotationRef": {"name": "payments"}, "startTime": "2026-11-24T13:00:00Z",
                "endTime": end, "priority": priority, "replace": {"person": "emil", "by": by}});
            Arc::new(OnCallOverride::new(name, serde_json::from_value(spec).unwrap()))
        };
        let (long, strong) = (
            over("long", "2026-11-24T16:00:00Z", 0, "bea"),
            over("strong", "2026-11-24T14:00:00Z", 1, "emil"),
        );
        let facts = OverrideFacts {
            rotation: Some(Arc::new(rotation())),
            overrides: vec![Arc::clone(&strong), Arc::clone(&long)],
        };
        let message = |subject: &OnCallOverride| {
            let (status, _) = decide(subject, &facts, "2026-11-24T13:00:00Z".parse().unwrap());
            status.conditions.iter().find(|c| c.type_ == "Ready").unwrap().message.clone()
        };
        assert!(message(&long).contains("OnCallOverride strong says something else"), "{}", message(&long));
        assert_eq!(message(&strong), "accepted");
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
