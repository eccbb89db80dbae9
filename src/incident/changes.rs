//! The last changes to the affected objects, from requests, runs and drift. Pure.

use kube::ResourceExt;

use super::facts::IncidentFacts;
use crate::api::common::ObjectRef;
use crate::api::incident_status::{IncidentStatus, KnownChange};
use crate::api::runbook_run::Outcome;
use crate::api::{ChangeRequest, Incident, RunbookRun};
use crate::change::diff::describe;
use crate::text::cut;

/// Maximum number of changes in the status.
const MAX_CHANGES: usize = 10;

/// The last changes to the affected objects, newest first.
pub fn known(incident: &Incident, facts: &IncidentFacts, status: &IncidentStatus) -> Vec<KnownChange> {
    let mut changes = all(incident, facts, status);
    // The last change before the outage is a likely cause, so it stays even if many follow.
    let before =
        status.start_time.as_ref().and_then(|start| changes.iter().position(|c| c.time.0 <= start.0));
    if let Some(before) = before.filter(|at| *at >= MAX_CHANGES) {
        changes.swap(MAX_CHANGES - 1, before);
    }
    changes.truncate(MAX_CHANGES);
    changes
}

/// All known changes to the affected objects, newest first.
pub fn all(incident: &Incident, facts: &IncidentFacts, status: &IncidentStatus) -> Vec<KnownChange> {
    let objects = affected(incident, status);
    // An approved end of an incident changes nothing that runs.
    let touches = |target: &ObjectRef| {
        target.group() != crate::api::GROUP
            && (objects.is_empty() || objects.iter().any(|object| object.same_object(target)))
    };
    let mut changes: Vec<KnownChange> = facts
        .requests
        .iter()
        .flat_map(|request| of_request(request, &touches))
        .chain(facts.runs.iter().flat_map(|run| of_run(run, &touches)))
        .chain(facts.policies.iter().flat_map(|policy| {
            let unauthorized = policy.status.iter().flat_map(|status| &status.unauthorized);
            let here = incident.namespace().unwrap_or_default();
            unauthorized
                .filter(move |change| change.namespace == here)
                .filter(|change| touches(&change.object))
                .map(|change| KnownChange {
                    subject: None,
                    what: change.what.clone(),
                    by: change.by.clone().unwrap_or_else(|| "nobody known".to_owned()),
                    time: change.time.clone(),
                })
        }))
        .collect();
    changes.sort_by(|a, b| (b.time.0, &b.what).cmp(&(a.time.0, &a.what)));
    changes.dedup();
    changes
}

/// The affected objects: those of the spec, or else those of the service.
pub fn affected(incident: &Incident, status: &IncidentStatus) -> Vec<ObjectRef> {
    incident.affected_objects(Some(status))
}

fn of_request<'a>(
    request: &'a ChangeRequest,
    touches: &'a impl Fn(&ObjectRef) -> bool,
) -> impl Iterator<Item = KnownChange> + 'a {
    let status = request.status.iter();
    status.flat_map(move |status| {
        status.used.iter().flat_map(move |used| {
            let planned = usize::try_from(used.change).ok().and_then(|index| status.plan.get(index));
            let planned = planned.filter(|planned| touches(&planned.target));
            let subject = Some(format!("chg/{}", request.name_any()));
            let change = |what: String, by: &str, time| KnownChange {
                subject: subject.clone(),
                what,
                by: by.to_owned(),
                time,
            };
            let done = planned.map(|planned| {
                let what = if used.delta.is_empty() {
                    planned.summary.clone()
                } else {
                    describe::update(
                        &planned.target,
                        planned.namespace.as_deref().unwrap_or_default(),
                        &used.delta,
                    )
                };
                let mark = if used.impersonated { " (the user was impersonated)" } else { "" };
                change(cut(&format!("{what}{mark}"), 500), &used.by, used.time.clone())
            });
            let undone = planned.and(used.restored_time.clone()).map(|time| {
                change(
                    format!("taken back: chg/{}", request.name_any()),
                    used.restored_by.as_deref().unwrap_or_default(),
                    time,
                )
            });
            done.into_iter().chain(undone)
        })
    })
}

/// What a run has changed of certain objects. A dry run changes nothing, and a drill only copies.
pub fn of_run<'a>(
    run: &'a RunbookRun,
    touches: &'a impl Fn(&ObjectRef) -> bool,
) -> impl Iterator<Item = KnownChange> + 'a {
    let steps = run.status.iter().filter(|_| run.is_repair()).flat_map(|status| &status.steps);
    let acts = steps.flat_map(|step| {
        let back =
            step.compensation.iter().flat_map(|back| back.acts.iter().map(|act| ("rollback of ", act)));
        let acts = step.acts.iter().map(|act| ("", act)).chain(back);
        acts.map(move |(what, act)| (step, what, act))
    });
    acts.filter(|(.., act)| act.outcome.is_some_and(Outcome::had_effect) && touches(&act.target)).filter_map(
        move |(step, what, act)| {
            Some(KnownChange {
                subject: Some(format!("run/{}", run.name_any())),
                what: cut(
                    &format!(
                        "{what}{} of {} by {}",
                        step.name,
                        act.target.display(),
                        run.spec.runbook_ref.name
                    ),
                    500,
                ),
                by: act.actor.clone(),
                time: act.time.clone().or_else(|| step.start_time.clone())?,
            })
        },
    )
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::api::ChangePolicy;
    use serde_json::{Value, json};

    #[test]
    fn the_last_change_before_the_outage_is_kept_however_many_follow() {
        let change = |minute: usize| {
            json!({"id": "x", "kind": "FoundLater", "what": format!("change {minute}"), "time": format!("2026-11-22T02:{minute:02}:00Z"), "namespace": "shop",
                "object": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "checkout"}})
        };
        let unauthorized: Vec<Value> = (0..30).map(change).collect();
        let mut policy = ChangePolicy::new("p", Default::default());
        policy.status = Some(serde_json::from_value(json!({"unauthorized": unauthorized})).unwrap());
        let facts = IncidentFacts { policies: vec![Arc::new(policy)], ..IncidentFacts::default() };
        let mut incident = Incident::new("i", Default::default());
        incident.metadata.namespace = Some("shop".into());
        let status: IncidentStatus =
            serde_json::from_value(json!({"startTime": "2026-11-22T02:05:30Z"})).unwrap();
        let kept = known(&incident, &facts, &status);
        assert_eq!(kept.len(), MAX_CHANGES);
        assert_eq!((kept[0].what.as_str(), kept[MAX_CHANGES - 1].what.as_str()), ("change 29", "change 5"));
    }

    #[test]
    fn what_a_dry_run_or_a_drill_did_is_no_change() {
        let run = |spec: Value| -> RunbookRun {
            let act = json!({"operationId": "o", "target": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "checkout"},
                "uid": "u", "resourceVersion": "1", "actor": "sa", "outcome": "Done", "time": "2026-11-22T02:05:00Z"});
            let mut run = json!({"apiVersion": "mayday.dev/v1alpha1", "kind": "RunbookRun", "metadata": {"name": "r"},
                "spec": {"runbookRef": {"name": "restart"}}, "status": {"steps": [{"name": "restart", "state": "Succeeded", "acts": [act]}]}});
            json_patch::merge(&mut run, &json!({"spec": spec}));
            serde_json::from_value(run).unwrap()
        };
        let changes =
            |spec: Value| of_run(&run(spec), &|_| true).map(|change| change.what).collect::<Vec<_>>();
        assert_eq!(changes(json!({})), ["restart of deployment/checkout by restart"]);
        assert_eq!(changes(json!({"dryRun": true})), Vec::<String>::new());
        assert_eq!(changes(json!({"drill": true})), Vec::<String>::new());
    }

    #[test]
    fn an_approved_end_of_an_incident_is_no_change() {
        let request = |api: &str, kind: &str| {
            let target = json!({"apiVersion": api, "kind": kind, "name": "checkout"});
            let plan = json!([{"operation": "Update", "resource": "r", "namespace": "shop", "summary": kind, "target": target}]);
            let used = json!([{"change": 0, "by": "emil", "time": "2026-11-22T02:05:00Z", "uid": "u", "digest": "d"}]);
            let whole = json!({"apiVersion": "mayday.dev/v1alpha1", "kind": "ChangeRequest", "metadata": {"name": "c"},
                "spec": {"reason": "r", "changes": []}, "status": {"plan": plan, "used": used}});
            Arc::new(serde_json::from_value(whole).unwrap())
        };
        let facts = IncidentFacts {
            requests: vec![request("mayday.dev/v1alpha1", "Incident"), request("apps/v1", "Deployment")],
            ..IncidentFacts::default()
        };
        let found = all(&Incident::new("i", Default::default()), &facts, &IncidentStatus::default());
        let found: Vec<&str> = found.iter().map(|change| change.what.as_str()).collect();
        assert_eq!(found, ["Deployment"]);
    }
}
