//! Prepares a run: takes a snapshot of the Runbook, the UID of the incident, and the digest that an approval of the run
//! must name. The snapshot follows the Runbook until the run begins, and never changes afterwards. Pure.

use jiff::Timestamp;
use kube::ResourceExt;

use super::journal::{self, Entry};
use super::{permit, rehearsal};
use crate::api::common::{ObjectRef, UidRef};
use crate::api::conditions::{ConditionType, Reason, find, is_true};
use crate::api::runbook::RunbookSpec;
use crate::api::runbook_run::{Resolved, RunState, RunbookRunStatus, Snapshot};
use crate::api::runbook_step::Step;
use crate::api::{Incident, Runbook, RunbookRun};
use crate::change;
use crate::runbook::limits::Obstacle;
use crate::runbook::steps::kind::StepKind;
use crate::runbook::targets::Read;
use crate::runbook::{digest, locks, steps, validate, values};

/// Whether a run can begin.
#[derive(Clone, Debug, PartialEq)]
pub enum Prepared {
    /// What the targets of each step stand for must be read first, as this ServiceAccount; then decide again.
    Resolve(Vec<Vec<Read>>, String),
    /// The run can begin from this status.
    Ready(Box<RunbookRunStatus>),
    /// It cannot: store this and wait for a change, or for that instant.
    Blocked(Box<RunbookRunStatus>, Option<Timestamp>),
}

/// What the targets of the steps stand for, in the order of the steps.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Resolution {
    /// The objects.
    pub targets: Vec<Vec<Resolved>>,
    /// What a change of the objects disturbs besides them.
    pub owners: Vec<Vec<ObjectRef>>,
}

/// Prepares a run that has not begun.
pub fn decide(
    run: &RunbookRun,
    status: &RunbookRunStatus,
    (runbook, incident): (Option<&Runbook>, Option<&Incident>),
    resolution: Option<&Result<Resolution, String>>,
    now: Timestamp,
) -> Prepared {
    let generation = run.metadata.generation.unwrap_or_default();
    let entry = || Entry::new(status, generation, now);
    let ended = |state: RunState, message: &str| {
        Prepared::Blocked(Box::new(entry().finishes(state, message).done()), None)
    };
    let blocked = |reason: Reason, message: String| match permit::waits(
        run,
        Obstacle { reason, message, until: None },
        now,
    ) {
        Err(why) => ended(RunState::Cancelled, &why),
        Ok(held) => Prepared::Blocked(Box::new(entry().blocked(reason, &held.message).done()), held.until),
    };
    let failed = |message: &str| ended(RunState::Failed, message);

    if let Some(message) = permit::incident_ended(run, status, incident) {
        return ended(RunState::Cancelled, &message);
    }
    let name = &run.spec.runbook_ref.name;
    let Some(runbook) = runbook else {
        return match &status.snapshot {
            // The Runbook was deleted after the snapshot was taken; the permit decides what follows.
            Some(_) => Prepared::Ready(Box::new(status.clone())),
            None => blocked(Reason::RunbookMissing, format!("rb/{name} does not exist")),
        };
    };
    let found = run.spec.incident_ref.as_ref().and(incident);
    let incident_ref = status.incident_ref.clone().or_else(|| {
        found.map(|incident| UidRef { name: incident.name_any(), uid: incident.uid().unwrap_or_default() })
    });
    let observed = runbook.status.as_ref().map(|status| status.observed_generation);
    let is_observed = observed == runbook.metadata.generation;
    if !is_observed && status.state == Some(RunState::WaitingForApproval) {
        // The Runbook was edited a moment ago. A run that has waited for long must not be cancelled because of that.
        return Prepared::Blocked(Box::new(status.clone()), None);
    }
    let ready = is_observed
        && runbook.status.as_ref().is_some_and(|status| is_true(&status.conditions, ConditionType::Ready));
    if !ready {
        let ready = runbook.status.as_ref().and_then(|status| find(&status.conditions, ConditionType::Ready));
        let why = ready.map_or("nobody has looked at it yet", |ready| ready.message.as_str());
        return blocked(Reason::RunbookNotReady, format!("rb/{name} is not ready: {why}"));
    }
    let drill = runbook.spec.drill.as_ref().filter(|_| run.spec.drill);
    if run.spec.drill && drill.is_none() {
        return ended(
            RunState::Cancelled,
            &format!("rb/{name} is not rehearsed any more: it has no spec.drill"),
        );
    }
    let place = status.drill.as_ref().map(|drill| drill.namespace.as_str());
    if place.is_some() && place != rehearsal::namespace_of(runbook) {
        return failed("spec.drill of the Runbook was changed meanwhile");
    }
    let given = drill.map_or(&run.spec.parameters, |drill| &drill.parameters);
    if let Some(problem) = validate::run_problems(&runbook.spec, given).first() {
        return failed(&problem.to_string());
    }
    let uid = run.uid().unwrap_or_default();
    let incident_uid = incident_ref.as_ref().map(|incident| incident.uid.as_str());
    let runbook_digest = match change::diff::digest::runbook(&runbook.spec) {
        Ok(digest) => digest,
        Err(error) => return failed(&format!("no digest can be made: {error}")),
    };
    if status.snapshot.as_ref().is_some_and(|snapshot| {
        snapshot.digest == runbook_digest && Some(&snapshot.uid) == runbook.uid().as_ref()
    }) {
        return Prepared::Ready(Box::new(status.clone()));
    }
    let values = match values::resolve(&runbook.spec, given, found) {
        Ok(values) => values,
        Err(problem) => return failed(&problem.to_string()),
    };
    let affected = drill.map(|drill| drill.affected.clone());
    let subjects = affected.or_else(|| found.map(Incident::subjects)).unwrap_or_default();
    let Resolution { targets, owners } = match resolution {
        None => {
            let reads = reads(run, &runbook.spec, &subjects);
            return Prepared::Resolve(reads, runbook.spec.service_account_name.clone());
        }
        // A drill finds out what is missing; it does not wait for it.
        Some(Err(why)) if run.spec.drill => return failed(why),
        Some(Err(why)) => return blocked(Reason::TargetsUnknown, why.clone()),
        Some(Ok(resolution)) => resolution,
    };
    let counted = runbook.spec.steps.iter().zip(targets).try_for_each(|(step, found)| {
        let Some((target, kind)) = steps::of(step).and_then(|kind| Some((kind.target()?, kind))) else {
            return Ok(());
        };
        if rehearsal::is_one(run) && !rehearsal::does(step) {
            return Ok(());
        }
        target.count(kind.implied(), found).map_err(|why| format!("step {}: {why}", step.name))
    });
    if let Err(why) = counted {
        return failed(&why);
    }
    let holds = locks::held(&runbook.spec, &subjects, targets, owners);
    if holds.len() > locks::MOST {
        let most = locks::MOST;
        return failed(&format!(
            "it would hold {} objects, more than {most}: use several Runbooks",
            holds.len()
        ));
    }
    let run_digest =
        match digest::run(&uid, &runbook_digest, incident_uid, (&values, targets), run.spec.dry_run) {
            Ok(digest) => digest,
            Err(error) => return failed(&format!("no digest can be made: {error}")),
        };
    let spec = match serde_json::to_value(&runbook.spec) {
        Ok(spec) => spec,
        Err(error) => return failed(&format!("rb/{name} cannot be kept: {error}")),
    };
    let mut next = status.clone();
    next.snapshot = Some(Snapshot {
        uid: runbook.uid().unwrap_or_default(),
        digest: runbook_digest,
        spec,
        approvals: Vec::new(),
    });
    next.incident_ref = incident_ref;
    next.digest = Some(run_digest);
    let known = runbook.status.as_ref().map(|status| status.healthy_templates.clone());
    next.healthy_templates = known.unwrap_or_default();
    next.values = values;
    next.subjects = subjects;
    next.holds = holds;
    next.steps = journal::steps(&runbook.spec, targets);
    if run.spec.dry_run {
        for (step, written) in next.steps.iter_mut().zip(&runbook.spec.steps) {
            step.effect = steps::of(written).map(StepKind::effect);
        }
    }
    Prepared::Ready(Box::new(next))
}

/// What must be read to know what the targets of each step stand for. A drill on copies reads nothing for what it leaves out.
fn reads(run: &RunbookRun, spec: &RunbookSpec, subjects: &[ObjectRef]) -> Vec<Vec<Read>> {
    let of_step = |step: &Step| {
        if rehearsal::is_one(run) && !rehearsal::does(step) {
            return Vec::new();
        }
        let target = steps::of(step).and_then(|kind| Some((kind.target()?, kind.implied())));
        target.map_or_else(Vec::new, |(target, implied)| target.reads(implied, subjects))
    };
    spec.steps.iter().map(of_step).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn runbook(change: Value) -> Runbook {
        let mut value = json!({"apiVersion": "mayday.dev/v1alpha1", "kind": "Runbook",
            "metadata": {"name": "rb", "namespace": "shop", "uid": "rb-uid", "generation": 1},
            "spec": {"summary": "s", "serviceAccountName": "sa", "steps": [{"name": "w", "wait": {"duration": "1s"}}]},
            "status": {"observedGeneration": 1, "conditions": [{"type": "Ready", "status": "True", "reason": "R", "message": "", "lastTransitionTime": "2026-01-01T00:00:00Z"}]}});
        json_patch::merge(&mut value, &change);
        serde_json::from_value(value).unwrap()
    }

    fn run(spec: Value) -> RunbookRun {
        serde_json::from_value(json!({"apiVersion": "mayday.dev/v1alpha1", "kind": "RunbookRun",
            "metadata": {"name": "run", "namespace": "shop", "uid": "run-uid", "generation": 1}, "spec": spec})).unwrap()
    }

    fn decided(runbook: Option<&Runbook>, spec: Value, status: &RunbookRunStatus) -> Prepared {
        decide(&run(spec), status, (runbook, None), Some(&Ok(Resolution::default())), Timestamp::UNIX_EPOCH)
    }

    fn plain() -> Value {
        json!({"runbookRef": {"name": "rb"}})
    }

    fn ready(prepared: Prepared) -> RunbookRunStatus {
        match prepared {
            Prepared::Ready(status) => *status,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_run_takes_a_snapshot_of_the_runbook() {
        let book = runbook(json!({}));
        let status = ready(decided(Some(&book), plain(), &RunbookRunStatus::default()));
        let snapshot = status.snapshot.unwrap();
        assert_eq!(snapshot.digest, change::diff::digest::runbook(&book.spec).unwrap());
        assert_eq!(
            serde_json::from_value::<crate::api::runbook::RunbookSpec>(snapshot.spec).unwrap(),
            book.spec
        );
        assert_eq!(status.steps[0].message.as_deref(), Some("will wait 1s"));
    }

    #[test]
    fn a_run_that_has_not_begun_follows_edits_and_needs_a_new_approval() {
        let first = ready(decided(Some(&runbook(json!({}))), plain(), &RunbookRunStatus::default()));
        let same = ready(decided(Some(&runbook(json!({"spec": {"summary": "t"}}))), plain(), &first));
        assert_eq!(same, first, "the summary is not part of it");
        let edited =
            ready(decided(Some(&runbook(json!({"spec": {"serviceAccountName": "other"}}))), plain(), &first));
        assert_ne!(edited.digest, first.digest);
    }

    #[test]
    fn a_missing_or_wrong_fact_is_named() {
        let reason = |prepared: Prepared| match prepared {
            Prepared::Blocked(status, _) => {
                status.conditions.iter().find(|c| c.type_ != "Ready").unwrap().reason.clone()
            }
            other => panic!("{other:?}"),
        };
        let none = RunbookRunStatus::default();
        assert_eq!(reason(decided(None, plain(), &none)), "RunbookMissing");
        let incident = json!({"runbookRef": {"name": "rb"}, "incidentRef": {"name": "i"}});
        assert_eq!(reason(decided(Some(&runbook(json!({}))), incident.clone(), &none)), "Cancelled");
        let edited = runbook(json!({"metadata": {"generation": 2}}));
        assert_eq!(
            reason(decided(Some(&edited), incident, &none)),
            "Cancelled",
            "what is over is waited for no more"
        );
        assert_eq!(
            reason(decided(Some(&runbook(json!({"status": null}))), plain(), &none)),
            "RunbookNotReady"
        );
        let edited = runbook(json!({"metadata": {"generation": 2}}));
        assert_eq!(reason(decided(Some(&edited), plain(), &none)), "RunbookNotReady");
        let unknown = json!({"runbookRef": {"name": "rb"}, "parameters": [{"name": "x", "integer": 1}]});
        assert_eq!(reason(decided(Some(&runbook(json!({}))), unknown, &none)), "Failed");
    }

    #[test]
    fn a_run_that_waits_too_long_for_its_runbook_is_cancelled() {
        let mut run = run(json!({"runbookRef": {"name": "rb"}, "startedBy": {"user": "emil"}}));
        let created = Timestamp::from_second(1_000_000).unwrap();
        run.metadata.creation_timestamp = Some(crate::api::common::stored_time(created));
        let book = runbook(json!({"metadata": {"generation": 2}}));
        let none = RunbookRunStatus::default();
        let later = |minutes: i64| {
            let now = created + jiff::SignedDuration::from_mins(minutes);
            match decide(&run, &none, (Some(&book), None), None, now) {
                Prepared::Blocked(status, until) => (status.state.unwrap(), until),
                other => panic!("{other:?}"),
            }
        };
        let end = created + jiff::SignedDuration::from_mins(15);
        assert_eq!(later(1), (RunState::Blocked, Some(end)));
        assert_eq!(later(15), (RunState::Cancelled, None));
        let asks = RunbookRunStatus { state: Some(RunState::WaitingForApproval), ..none.clone() };
        let edited =
            decide(&run, &asks, (Some(&book), None), None, created + jiff::SignedDuration::from_hours(1));
        assert_eq!(edited, Prepared::Blocked(Box::new(asks), None), "nobody has looked at the edit yet");
    }
}
