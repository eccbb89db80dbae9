//! A run in words: where it stands, what each step did.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use mayday::api::RunbookRun;
use mayday::api::change_request::Delta;
use mayday::api::conditions::ConditionType;
use mayday::api::runbook_run::{ActVerb, Outcome, RunbookRunStatus, StepState, StepStatus};

use super::incident::answers;
use super::{Here, next};
use crate::client::session::name_of;
use crate::text::{indent, yaml};
use mayday::command::Verb;

/// The run in words.
pub fn describe(run: &RunbookRun, here: &Here) -> String {
    let none = RunbookRunStatus::default();
    let status = run.status.as_ref().unwrap_or(&none);
    let starter = run.spec.started_by.as_ref().map_or("somebody", |starter| starter.user.as_str());
    let incident = run.spec.incident_ref.as_ref();
    let incident = incident.map(|incident| format!(" for inc/{}", incident.name)).unwrap_or_default();
    let dry = match (run.spec.drill, run.spec.dry_run) {
        (true, _) => ", a drill",
        (_, true) => ", only says what would happen",
        _ => "",
    };
    let mut head = vec![
        format!("run/{} in {} of rb/{}{incident}", name_of(run), here.namespace, run.spec.runbook_ref.name),
        format!("  {:?}, started by {starter}{dry}", status.state.unwrap_or_default()),
    ];
    head.extend(status.start_time.as_ref().map(|time| format!("  Began: {}", here.instant(time.0))));
    head.extend(status.end_time.as_ref().map(|time| format!("  Ended: {}", here.instant(time.0))));
    let said = status.conditions.iter().filter(|condition| {
        condition.type_ != ConditionType::Ready.as_str() && !condition.message.is_empty()
    });
    head.extend(
        said.map(|condition| format!("  {}={}: {}", condition.type_, condition.status, condition.message)),
    );
    head.extend(status.digest.as_ref().map(|digest| format!("  Digest: {digest}")));
    let settled = status.is_settled();
    let mut parts = vec![head.join("\n")];
    if !run.spec.parameters.is_empty() {
        parts.push(format!("Parameters\n{}", indent(&yaml(&run.spec.parameters), 2)));
    }
    if !status.steps.is_empty() {
        let steps: Vec<String> =
            status.steps.iter().map(|step| self::step(step, name_of(run), settled, here)).collect();
        parts.push(format!("Steps\n{}", indent(&steps.join("\n"), 2)));
    }
    // A run that works without an answer, and one that is over, waits for no person.
    if status.next.is_some() || status.state.is_none() {
        parts.push(next(status.next.as_ref(), settled, here));
    } else if !settled {
        parts.push(format!(
            "Next: nobody; to stop it: {}",
            here.command(Verb::Cancel).on("run", name_of(run))
        ));
    }
    parts.join("\n\n")
}

/// What the run has done, in the order in which it happened, a line each. Lines are only ever added at the end.
pub fn log(run: &RunbookRun, here: &Here) -> Vec<String> {
    let Some(status) = &run.status else { return Vec::new() };
    let mut lines = Vec::new();
    let mut tell = |time: Option<&Time>, text: String| lines.extend(time.map(|time| (time.0, text)));
    tell(status.start_time.as_ref(), format!("run/{} began", name_of(run)));
    for step in &status.steps {
        tell(step.start_time.as_ref(), format!("{} began", step.name));
        let back = step.compensation.as_ref();
        tell(back.and_then(|back| back.start_time.as_ref()), format!("{} is being rolled back", step.name));
        for act in step.acts_and_back() {
            let what = match act.verb {
                ActVerb::Update => "change",
                ActVerb::Create => "create",
                ActVerb::Evict => "evict from",
                ActVerb::Delete => "delete",
                ActVerb::Send => "send to",
            };
            let text = format!(
                "{} announced: {what} {} as {} ({})",
                step.name,
                act.target.display(),
                act.actor,
                act.operation_id
            );
            tell(act.time.as_ref().filter(|_| act.outcome != Some(Outcome::Unneeded)), text);
        }
        if let Some(answered) = &step.answered {
            tell(Some(&answered.time), format!("{} was answered by {}", step.name, answered.user));
        }
        let ended = |state: StepState, message: Option<&String>| {
            let message = message.map(|message| format!(": {message}")).unwrap_or_default();
            format!("{state:?}{message}")
        };
        let end =
            step.end_time.as_ref().filter(|_| step.state != StepState::Skipped || step.start_time.is_some());
        tell(end, format!("{} {}", step.name, ended(step.state, step.message.as_ref())));
        for output in &step.outputs {
            tell(end, format!("{} {}:\n{}", step.name, output.name, indent(output.value.trim_end(), 4)));
        }
        if let Some(back) = back {
            let text = format!("{} rolled back: {}", step.name, ended(back.state, back.message.as_ref()));
            tell(back.end_time.as_ref(), text);
        }
    }
    let state = status.state.unwrap_or_default();
    tell(status.end_time.as_ref(), format!("run/{} ended: {state:?}", name_of(run)));
    lines.sort_by_key(|(time, _)| *time);
    lines.into_iter().map(|(time, text)| format!("{} {text}", here.instant(time))).collect()
}

/// The run in one line.
pub fn line(run: &RunbookRun) -> String {
    let status = run.status.clone().unwrap_or_default();
    let step = status.step.map(|step| format!(" at step {step}")).unwrap_or_default();
    let dry = if run.spec.dry_run { " (dry run)" } else { "" };
    let state = status.state.unwrap_or_default();
    format!("run/{} of rb/{}: {state:?}{step}{dry}", name_of(run), run.spec.runbook_ref.name)
}

fn step(step: &StepStatus, run: &str, settled: bool, here: &Here) -> String {
    let message = step.message.as_ref().map(|message| format!(": {message}")).unwrap_or_default();
    // A step of a dry run is not done: what matters is whether it would change something.
    let state = match (step.effect, step.state) {
        (Some(effect), StepState::Skipped) => format!("{effect:?}"),
        (Some(effect), state) => format!("{effect:?}, {state:?}"),
        (None, state) => format!("{state:?}"),
    };
    let mut text = format!("{}: {state}{message}", step.name);
    if step.effect.is_some() {
        for act in &step.acts {
            let object = act.target.display();
            let value = |value: &Option<serde_json::Value>| {
                value.as_ref().map_or_else(|| "nothing".to_owned(), serde_json::Value::to_string)
            };
            let line = |delta: &Delta| {
                format!("\n  {object} {}: {} -> {}", delta.path, value(&delta.before), value(&delta.after))
            };
            text.extend(act.delta.iter().map(line));
            let pods = act.pods.iter().map(|pod| format!("\n  pod/{} of {}", pod.name, pod.namespace));
            text.extend(pods);
        }
    }
    if let Some(answered) = &step.answered {
        text.push_str(&format!(" (answered by {})", answered.user));
    } else if step.state == StepState::WaitingForPerson && !settled {
        text.push_str(&format!("\n{}", answers(&format!("run/{run}"), &step.name, here)));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use jiff::tz::TimeZone;
    use mayday::api::common::NameRef;
    use mayday::api::runbook_run::{RunState, RunbookRunSpec};

    #[test]
    fn a_waiting_step_shows_how_to_answer() {
        let zone = TimeZone::UTC;
        let here = Here::in_the_shop(&zone);
        let spec =
            RunbookRunSpec { runbook_ref: NameRef { name: "scale-checkout".into() }, ..Default::default() };
        let mut run = RunbookRun::new("scale-checkout-abcde", spec);
        let look =
            StepStatus { name: "look".into(), state: StepState::WaitingForPerson, ..Default::default() };
        run.status = Some(RunbookRunStatus {
            state: Some(RunState::WaitingForPerson),
            steps: vec![look],
            ..Default::default()
        });
        let text = describe(&run, &here);
        for word in ["confirm", "deny"] {
            let command = format!("  kubectl mayday answer -n shop run/scale-checkout-abcde look {word}\n");
            assert!(text.contains(&command), "{text}");
        }
    }

    #[test]
    fn a_log_tells_what_happened_in_its_order() {
        let zone = TimeZone::UTC;
        let here = Here::in_the_shop(&zone);
        let act = |second: u32, outcome: &str, id: &str| {
            serde_json::json!({"operationId": id, "target": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "checkout"},
                "uid": "u", "resourceVersion": "1", "actor": "sa", "time": format!("2026-11-22T02:00:{second:02}Z"), "outcome": outcome})
        };
        let at = |second: u32| format!("2026-11-22T02:00:{second:02}Z");
        let run: RunbookRun = serde_json::from_value(serde_json::json!({
            "apiVersion": "mayday.dev/v1alpha1", "kind": "RunbookRun", "metadata": {"name": "r"},
            "spec": {"runbookRef": {"name": "rb"}},
            "status": {"state": "Failed", "startTime": at(1), "endTime": at(9), "steps": [
                {"name": "scale", "state": "Succeeded", "message": "done", "startTime": at(2), "endTime": at(4), "acts": [act(3, "Done", "u/scale/0")],
                    "compensation": {"state": "Succeeded", "startTime": at(7), "endTime": at(8), "acts": [act(7, "Done", "u/scale/back/0")]}},
                {"name": "look", "state": "Failed", "message": "emil denied", "startTime": at(5), "endTime": at(6)},
                {"name": "never", "state": "Skipped", "endTime": at(9)}]}}))
        .unwrap();
        let told: Vec<String> = log(&run, &here)
            .iter()
            .map(|line| line.split_once("UTC ").map_or(line.as_str(), |(_, rest)| rest).to_owned())
            .collect();
        assert_eq!(
            told,
            [
                "run/r began",
                "scale began",
                "scale announced: change deployment/checkout as sa (u/scale/0)",
                "scale Succeeded: done",
                "look began",
                "look Failed: emil denied",
                "scale is being rolled back",
                "scale announced: change deployment/checkout as sa (u/scale/back/0)",
                "scale rolled back: Succeeded",
                "run/r ended: Failed",
            ],
            "{:#?}",
            log(&run, &here)
        );
    }

    #[test]
    fn the_values_that_an_approval_of_it_binds_are_shown() {
        let zone = TimeZone::UTC;
        let here = Here::in_the_shop(&zone);
        let spec = RunbookRunSpec {
            runbook_ref: NameRef { name: "scale-checkout".into() },
            parameters: vec![
                serde_json::from_value(serde_json::json!({"name": "replicas", "integer": 12})).unwrap(),
            ],
            ..Default::default()
        };
        let text = describe(&RunbookRun::new("r", spec), &here);
        assert!(text.contains("Parameters\n  - name: replicas\n    integer: 12"), "{text}");
    }
}
