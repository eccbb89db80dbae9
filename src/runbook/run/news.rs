//! What Events tell of a run: each state that it reaches, and of a step when it begins to act and how it ended. Pure.

use super::parts::{self, Place};
use crate::api::runbook_run::{RunState, RunbookRunStatus, StepState};

/// Something that is told once it is stored.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct News {
    /// Reason of the Event: the state, or `Step` and what became of the step.
    pub reason: String,
    /// What happened.
    pub note: String,
    /// Whether a person should look.
    pub is_warning: bool,
}

/// What is new in a status. The steps of a dry run do nothing, so only its states are told.
pub fn of(before: &RunbookRunStatus, status: &RunbookRunStatus, is_dry_run: bool) -> Vec<News> {
    let places = parts::places(status).filter(|_| !is_dry_run);
    places.filter_map(|place| of_part(before, status, place)).chain(of_state(before, status)).collect()
}

fn of_state(before: &RunbookRunStatus, status: &RunbookRunStatus) -> Option<News> {
    let state = status.state.filter(|state| before.state != Some(*state))?;
    let said = status
        .conditions
        .iter()
        .find(|condition| matches!(condition.type_.as_str(), "Blocked" | "Succeeded"));
    let waits = status.next.as_ref().map_or("the run is at work", |next| next.what.as_str());
    Some(News {
        reason: format!("{state:?}"),
        note: said.map_or(waits, |condition| condition.message.as_str()).to_owned(),
        is_warning: matches!(state, RunState::Failed | RunState::Unknown),
    })
}

/// A step that looks or waits is told only if it did not succeed: it changes nothing.
fn of_part(before: &RunbookRunStatus, status: &RunbookRunStatus, place: Place) -> Option<News> {
    let step = status.steps.get(place.index)?;
    let (was, is) = (parts::part(before, place), parts::part(status, place));
    let retries = |status: &RunbookRunStatus| status.steps.get(place.index).map_or(0, |step| step.retries);
    let begins = is.state == StepState::IntentRecorded && was.acts.is_empty();
    let has_ended = parts::is_terminal(is.state) && !parts::is_terminal(was.state);
    let is_told = !is.acts.is_empty() || step.answered.is_some() || is.state != StepState::Succeeded;
    let word = match is.state {
        _ if begins => "Acts",
        // The run ended before the step began.
        StepState::Skipped if has_ended && status.is_settled() => return None,
        state if has_ended && is_told => match state {
            StepState::Succeeded => "Succeeded",
            StepState::Skipped => "Skipped",
            StepState::Unknown => "Unknown",
            _ => "Failed",
        },
        _ if !place.back && retries(status) > retries(before) => "TriedAgain",
        _ => return None,
    };
    let (kind, back) = if place.back { ("Rollback", "rollback of ") } else { ("Step", "") };
    let message = match (&step.compensation, place.back) {
        (Some(compensation), true) => compensation.message.as_deref(),
        _ => step.message.as_deref(),
    };
    Some(News {
        reason: format!("{kind}{word}"),
        note: format!("{back}{}: {}", step.name, message.unwrap_or("no more is known")),
        is_warning: matches!(word, "Failed" | "Unknown" | "TriedAgain"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn status(state: &str, steps: Value) -> RunbookRunStatus {
        serde_json::from_value(json!({"state": state, "steps": steps})).unwrap()
    }

    fn act(outcome: Option<&str>) -> Value {
        json!({"operationId": "o", "target": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "a"}, "uid": "u",
            "resourceVersion": "1", "actor": "a", "outcome": outcome})
    }

    /// Reasons and notes, with a mark for warnings.
    fn told(before: &RunbookRunStatus, after: &RunbookRunStatus) -> Vec<String> {
        let line =
            |news: News| format!("{}{} {}", if news.is_warning { "! " } else { "" }, news.reason, news.note);
        of(before, after, false).into_iter().map(line).collect()
    }

    #[test]
    fn a_step_is_told_when_it_begins_to_act_and_when_it_has_ended() {
        let step = |state: &str, message: &str, acts: Value| json!({"name": "restart", "state": state, "message": message, "acts": acts});
        let waits = status("Running", json!([step("Pending", "will restart a", json!([]))]));
        let acts =
            status("Running", json!([step("IntentRecorded", "about to restart a", json!([act(None)]))]));
        let again = status(
            "Running",
            json!([step("IntentRecorded", "about to restart b", json!([act(Some("Done")), act(None)]))]),
        );
        let done =
            status("Running", json!([step("Succeeded", "a was restarted", json!([act(Some("Done"))]))]));
        let failed = status("Failed", json!([step("Failed", "a is gone", json!([act(Some("Failed"))]))]));
        assert_eq!(told(&waits, &acts), ["StepActs restart: about to restart a"]);
        assert_eq!(told(&acts, &again), Vec::<String>::new(), "one Event for all its acts");
        assert_eq!(told(&again, &done), ["StepSucceeded restart: a was restarted"]);
        assert_eq!(told(&done, &done), Vec::<String>::new());
        assert_eq!(told(&acts, &failed), ["! StepFailed restart: a is gone", "! Failed the run is at work"]);
        assert_eq!(of(&waits, &acts, true), [], "a dry run acts nowhere");
    }

    #[test]
    fn a_step_that_changes_nothing_is_told_only_if_it_did_not_succeed() {
        let step = |state: &str| json!({"name": "up", "state": state, "message": "m"});
        let waits = status("Running", json!([step("Settling")]));
        assert_eq!(told(&waits, &status("Running", json!([step("Succeeded")]))), Vec::<String>::new());
        assert_eq!(told(&waits, &status("Running", json!([step("Skipped")]))), ["StepSkipped up: m"]);
        assert_eq!(told(&waits, &status("Running", json!([step("Failed")]))), ["! StepFailed up: m"]);
        let mut later = step("Pending");
        later["retries"] = 1.into();
        assert_eq!(told(&waits, &status("Running", json!([later]))), ["! StepTriedAgain up: m"]);
        let mut answered = step("Succeeded");
        answered["answered"] = json!({"user": "emil", "time": "2026-11-22T02:00:00Z"});
        assert_eq!(told(&waits, &status("Running", json!([answered]))), ["StepSucceeded up: m"]);
        let over = status("Cancelled", json!([step("Skipped")]));
        assert_eq!(told(&waits, &over), ["Cancelled the run is at work"], "the run ended before it");
    }

    #[test]
    fn a_rollback_is_told_as_that_of_its_step() {
        let step = |state: &str, message: &str, acts: Value| {
            json!([{"name": "scale", "state": "Succeeded", "message": "scaled",
                "compensation": {"state": state, "message": message, "acts": acts}}])
        };
        let before = status("RollingBack", step("Pending", "", json!([])));
        let acts = status("RollingBack", step("IntentRecorded", "about to scale back", json!([act(None)])));
        let done = status("RollingBack", step("Succeeded", "scaled back", json!([act(Some("Done"))])));
        assert_eq!(told(&before, &acts), ["RollbackActs rollback of scale: about to scale back"]);
        assert_eq!(told(&acts, &done), ["RollbackSucceeded rollback of scale: scaled back"]);
    }
}
