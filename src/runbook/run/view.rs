//! Questions that other rooms have about a run. Pure.

use kube::ResourceExt;

use crate::api::RunbookRun;
use crate::api::approval::Decision;
use crate::api::conditions::{ConditionType, Reason, find};
use crate::api::incident_status::Next;
use crate::api::runbook::{OnFailure, RunbookSpec};
use crate::api::runbook_run::{RunState, StepState};

/// The Runbook as it was when the run began; `None` before that.
pub fn snapshot_spec(run: &RunbookRun) -> Option<RunbookSpec> {
    let snapshot = run.status.as_ref()?.snapshot.as_ref()?;
    serde_json::from_value(snapshot.spec.clone()).ok()
}

/// Who started a run, as whom it acts, and who approved it or its Runbook.
pub fn identities(run: &RunbookRun) -> String {
    let starter = run.spec.started_by.as_ref().map_or("nobody known", |starter| starter.user.as_str());
    let mut said = vec![format!("started by {starter}")];
    said.extend(
        snapshot_spec(run).map(|spec| format!("acts as serviceaccount/{}", spec.service_account_name)),
    );
    let approvers = approvers(run);
    if !approvers.is_empty() {
        said.push(format!("approved by {}", approvers.join(", ")));
    }
    said.join("; ")
}

/// The people whose approvals of the Runbook or of the run count, each once.
fn approvers(run: &RunbookRun) -> Vec<&str> {
    let Some(status) = &run.status else { return Vec::new() };
    let of_runbook = status.snapshot.iter().flat_map(|snapshot| &snapshot.approvals);
    let mut found: Vec<&str> = Vec::new();
    for decision in of_runbook.chain(&status.decisions) {
        if decision.decision == Decision::Approve && !found.contains(&decision.by.as_str()) {
            found.push(&decision.by);
        }
    }
    found.sort_unstable();
    found
}

/// Whether the run is at work. A dry run or a drill never is.
pub fn is_acting(run: &RunbookRun) -> bool {
    run.is_repair() && matches!(run.state(), RunState::Running | RunState::WaitingForPerson)
}

/// The person that the run waits for; `None` while it does not wait.
pub fn waits_for(run: &RunbookRun) -> Option<&Next> {
    let waiting =
        matches!(run.state(), RunState::WaitingForApproval | RunState::WaitingForPerson | RunState::Blocked);
    run.status.as_ref()?.next.as_ref().filter(|_| waiting)
}

/// Whether a freeze holds the run.
pub fn is_frozen(run: &RunbookRun) -> bool {
    let blocked = run.status.as_ref().and_then(|status| find(&status.conditions, ConditionType::Blocked));
    run.state() == RunState::Blocked
        && blocked.is_some_and(|blocked| blocked.reason == Reason::Frozen.as_str())
}

/// The text of a page to the lead's rotation: the run failed and its Runbook says `Escalate`, or the outcome of the run is
/// Unknown. `None` if no page is needed.
pub fn escalation(run: &RunbookRun) -> Option<String> {
    if !run.is_repair() {
        return None;
    }
    let escalates = match run.state() {
        RunState::Unknown => true,
        RunState::Failed | RunState::Degraded => {
            let escalates = |spec: RunbookSpec| spec.on_failure == Some(OnFailure::Escalate);
            let steps = run.status.iter().flat_map(|status| &status.steps);
            // What could not be taken back is as the run left it: a person must look.
            let is_left = steps
                .filter_map(|step| step.compensation.as_ref())
                .any(|back| back.state == StepState::Failed);
            is_left || snapshot_spec(run).is_some_and(escalates)
        }
        _ => false,
    };
    escalates.then(|| {
        let mut steps = run.status.iter().flat_map(|status| &status.steps);
        let failed = steps.rfind(|step| matches!(step.state, StepState::Failed | StepState::Unknown));
        let word =
            if run.state() == RunState::Unknown { "has an outcome that nobody can prove" } else { "failed" };
        let ended = run.status.as_ref().and_then(|status| find(&status.conditions, ConditionType::Succeeded));
        let why = failed.and_then(|step| Some((step, step.message.as_deref()?))).map_or_else(
            || ended.map_or_else(String::new, |ended| format!(": {}", ended.message)),
            |(step, message)| format!(" at {}: {message}", step.name),
        );
        format!("Runbook {} {word}{why} (run/{})", run.spec.runbook_ref.name, run.name_any())
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn run(state: &str, on_failure: &str, step: &str) -> RunbookRun {
        let spec = json!({"summary": "s", "serviceAccountName": "sa", "onFailure": on_failure, "steps": []});
        serde_json::from_value(json!({
            "apiVersion": "mayday.dev/v1alpha1", "kind": "RunbookRun",
            "metadata": {"name": "restart-abc", "namespace": "shop"},
            "spec": {"runbookRef": {"name": "restart"}},
            "status": {"state": state, "snapshot": {"uid": "u", "digest": "d", "spec": spec, "approvals": []},
                "steps": [{"name": "rolled-out", "state": step, "message": "2 of 3 replicas are updated",
                    "intent": {"operationId": "o", "target": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "c"},
                        "uid": "u", "resourceVersion": "1", "actor": "a", "delta": []}}]},
        }))
        .unwrap()
    }

    #[test]
    fn an_event_of_a_run_names_who_started_it_and_as_whom_it_acts() {
        let mut run = run("Failed", "Stop", "Failed");
        run.spec.started_by = serde_json::from_value(json!({"user": "emil"})).unwrap();
        assert_eq!(identities(&run), "started by emil; acts as serviceaccount/sa");
        let decided = |uid: &str, by: &str, decision: &str| {
            json!({"name": uid, "uid": uid, "by": by, "role": "peers",
            "decision": decision, "time": "2026-11-22T02:00:00Z"})
        };
        let status = run.status.as_mut().unwrap();
        status.snapshot.as_mut().unwrap().approvals =
            serde_json::from_value(json!([decided("a", "amir", "Approve"), decided("b", "bea", "Approve")]))
                .unwrap();
        status.decisions =
            serde_json::from_value(json!([decided("c", "bea", "Approve"), decided("d", "carl", "Deny")]))
                .unwrap();
        assert_eq!(identities(&run), "started by emil; acts as serviceaccount/sa; approved by amir, bea");
        run.status = None;
        assert_eq!(identities(&run), "started by emil");
    }

    #[test]
    fn a_failed_run_escalates_as_its_runbook_says_and_an_unknown_one_always() {
        let text = escalation(&run("Failed", "Escalate", "Failed")).unwrap();
        assert_eq!(
            text,
            "Runbook restart failed at rolled-out: 2 of 3 replicas are updated (run/restart-abc)"
        );
        assert_eq!(escalation(&run("Failed", "Stop", "Failed")), None);
        assert!(escalation(&run("Unknown", "Stop", "Unknown")).is_some());
        assert_eq!(escalation(&run("Succeeded", "Escalate", "Succeeded")), None);
    }
}
