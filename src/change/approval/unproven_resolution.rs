//! A request that ends an incident without proof of recovery (docs/rules.md#end-without-proof): the lead and one peer must
//! approve it. Pure.

use std::sync::Arc;

use crate::api::Incident;
use crate::api::change_request::PlannedChange;
use crate::change::diff::is_under;

/// Path of the resolution in an incident.
const RESOLUTION: &str = "/spec/resolution";

/// The incident that a plan ends without proof, if the plan does nothing else. A plan that does more needs the usual
/// approvals.
pub fn incident<'a>(plan: &[PlannedChange], incidents: &'a [Arc<Incident>]) -> Option<&'a Incident> {
    let [planned] = plan else { return None };
    let only = planned.operation == "Update"
        && planned.target.group() == crate::api::GROUP
        && planned.target.kind == "Incident"
        && planned.delta.iter().all(|delta| is_under(&delta.path, RESOLUTION));
    let unproved = planned.delta.iter().any(|delta| {
        delta.path == "/spec/resolution/outcome"
            && delta.after.as_ref().is_some_and(|after| after == "Unproved")
    });
    // A stored UID names one incident in the whole cluster.
    let uid = planned.uid.as_ref().filter(|_| only && unproved)?;
    incidents.iter().map(|incident| &**incident).find(|incident| incident.metadata.uid.as_ref() == Some(uid))
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
        let ends = |plan: &[PlannedChange]| super::incident(plan, &incidents).is_some();
        let (outcome, reason) =
            (("/spec/resolution/outcome", "Unproved"), ("/spec/resolution/reason", "no probe"));
        let end = planned("Incident", &[outcome, reason]);
        assert!(ends(std::slice::from_ref(&end)));
        assert!(
            !ends(&[end.clone(), planned("Deployment", &[("/spec/replicas", "0")])]),
            "something else comes with it"
        );
        assert!(!ends(&[planned("Incident", &[outcome, ("/spec/severity", "SEV5")])]));
        assert!(!ends(&[planned("Incident", &[outcome, ("/spec/resolutions", "x")])]));
        assert!(!ends(&[planned("Incident", &[("/spec/resolution/outcome", "FalseAlarm"), reason])]));
        assert!(!ends(&[planned("Deployment", &[outcome])]), "only incidents have an end");
        assert!(
            !ends(&[PlannedChange { uid: Some("other".into()), ..end }]),
            "another incident of that name"
        );
    }
}
