//! Requests that end an incident without proof of recovery, or as a false alarm although something speaks against that
//! (docs/rules.md#end-without-proof, #outcome-false-alarm): the lead and one peer must approve them. Pure.

use std::sync::Arc;

use crate::api::Incident;
use crate::api::change_request::{Delta, PlannedChange};
use crate::change::diff::is_under;

/// Path of the resolution in an incident.
const RESOLUTION: &str = "/spec/resolution";

/// The incidents that a plan ends without proof; the lead of each must approve it.
pub fn incidents<'a>(plan: &[PlannedChange], incidents: &'a [Arc<Incident>]) -> Vec<&'a Incident> {
    plan.iter().filter_map(|planned| ended(planned, incidents)).collect()
}

/// Whether a plan ends one incident without proof and does nothing else. Then one peer beside the lead is enough.
pub fn is_all(plan: &[PlannedChange], incidents: &[Arc<Incident>]) -> bool {
    let [planned] = plan else { return false };
    ended(planned, incidents).is_some() && planned.delta.iter().all(|delta| is_under(&delta.path, RESOLUTION))
}

/// The incident that a change ends without proof.
fn ended<'a>(planned: &PlannedChange, incidents: &'a [Arc<Incident>]) -> Option<&'a Incident> {
    let is_of_an_incident = planned.operation == "Update"
        && planned.target.group() == crate::api::GROUP
        && planned.target.kind == "Incident";
    // A stored UID names one incident in the whole cluster.
    let uid = planned.uid.as_ref().filter(|_| is_of_an_incident)?;
    let incident = incidents.iter().find(|incident| incident.metadata.uid.as_ref() == Some(uid))?;
    let ends_as = |outcome: &str| planned.delta.iter().any(|delta| outcome_of(delta) == Some(outcome));
    let is_unproven = ends_as("Unproved") || (ends_as("FalseAlarm") && !incident.contradictions().is_empty());
    is_unproven.then_some(&**incident)
}

/// The outcome that a value sets, whether alone or with the whole resolution.
fn outcome_of(delta: &Delta) -> Option<&str> {
    let after = delta.after.as_ref()?;
    match delta.path.as_str() {
        "/spec/resolution/outcome" => after.as_str(),
        RESOLUTION => after.get("outcome")?.as_str(),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn planned(kind: &str, deltas: &[(&str, &str)]) -> PlannedChange {
        let deltas: Vec<Value> =
            deltas.iter().map(|(path, after)| json!({"path": path, "after": after})).collect();
        serde_json::from_value(json!({"operation": "Update", "resource": "incidents", "namespace": "shop", "uid": "iu",
            "summary": "s", "target": {"apiVersion": "mayday.dev/v1alpha1", "kind": kind, "name": "i"}, "delta": deltas}))
        .unwrap()
    }

    #[test]
    fn an_unproven_resolution_ends_one_incident_and_does_nothing_else() {
        let mut incident = Incident::new("i", Default::default());
        incident.metadata.uid = Some("iu".into());
        let incidents = [Arc::new(incident)];
        let ends = |plan: &[PlannedChange]| is_all(plan, &incidents);
        let (outcome, reason) =
            (("/spec/resolution/outcome", "Unproved"), ("/spec/resolution/reason", "no probe"));
        let end = planned("Incident", &[outcome, reason]);
        assert!(ends(std::slice::from_ref(&end)));
        assert!(
            !ends(&[end.clone(), planned("Deployment", &[("/spec/replicas", "0")])]),
            "something else comes with it"
        );
        let more = planned("Incident", &[outcome, ("/spec/severity", "SEV5")]);
        assert!(!ends(std::slice::from_ref(&more)));
        assert_eq!(super::incidents(&[more], &incidents).len(), 1, "the lead must approve it all the same");
        assert!(!ends(&[planned("Incident", &[outcome, ("/spec/resolutions", "x")])]));
        assert!(!ends(&[planned("Incident", &[("/spec/resolution/outcome", "FalseAlarm"), reason])]));
        assert!(!ends(&[planned("Deployment", &[outcome])]), "only incidents have an end");
        assert!(
            !ends(&[PlannedChange { uid: Some("other".into()), ..end }]),
            "another incident of that name"
        );
    }

    #[test]
    fn a_false_alarm_takes_the_lead_while_something_speaks_against_it() {
        let ends = |check: &str| {
            let whole = json!({"apiVersion": "mayday.dev/v1alpha1", "kind": "Incident", "metadata": {"name": "i", "uid": "iu"},
                "spec": {"title": "t", "severity": "SEV2"}, "status": {"checks": [{"name": "c", "result": check,
                    "message": "m", "sinceTime": "2026-11-22T02:04:10Z"}]}});
            let incidents = [Arc::new(serde_json::from_value::<Incident>(whole).unwrap())];
            let alarm = planned("Incident", &[("/spec/resolution/outcome", "FalseAlarm")]);
            let mut whole = alarm.clone();
            whole.delta = serde_json::from_value(
                json!([{"path": "/spec/resolution", "after": {"outcome": "FalseAlarm", "reason": "r"}}]),
            )
            .unwrap();
            [is_all(&[alarm], &incidents), is_all(&[whole], &incidents)]
        };
        assert_eq!([ends("Failing"), ends("Passing")], [[true, true], [false, false]]);
    }
}
