//! Validates Runbooks and the values of runs, for the guard webhook and for the controllers. Pure.

use std::collections::BTreeSet;

use jiff::SignedDuration;

pub use crate::problem::Problem;

use crate::api::common::{ObjectRef, ParameterValue};
use crate::api::drill::DrillMode;
use crate::api::duration::Duration;
use crate::api::runbook::{Parameter, Precondition, RunbookSpec, Start};
use crate::api::runbook_step::Step;
use crate::runbook::run::rehearsal;
use crate::runbook::steps::denied;
use crate::runbook::steps::kind::{Work, Written};
use crate::runbook::{drill, preconditions, steps, values};

/// Most bytes of a Runbook: each run keeps a copy in its status.
const MAX_BYTES: usize = 64 * 1024;

fn problem(path: impl Into<String>, message: impl Into<String>) -> Problem {
    Problem { path: path.into(), message: message.into() }
}

/// Everything that is wrong with a Runbook, in any version; such a Runbook is refused.
pub fn problems(spec: &RunbookSpec) -> Vec<Problem> {
    let mut found = Vec::new();
    if spec.service_account_name.is_empty() {
        found.push(problem(
            "spec.serviceAccountName",
            "name the ServiceAccount that the steps act as; there is no default and no fallback",
        ));
    }
    parameters(&spec.parameters, &mut found);
    for (index, given) in spec.preconditions.iter().enumerate() {
        found.extend(precondition(given, &format!("spec.preconditions[{index}]")));
    }
    found.extend(drill(spec));
    found.extend(ladder(spec));
    if serde_json::to_string(spec).is_ok_and(|text| text.len() > MAX_BYTES) {
        found.push(problem("spec", format!("it has more than {MAX_BYTES} bytes: a run keeps a copy of it")));
    }
    found.extend(limits(spec));
    if spec.steps.is_empty() {
        found.push(problem("spec.steps", "a Runbook needs at least one step"));
    }
    let mut names = BTreeSet::new();
    for (index, given) in spec.steps.iter().enumerate() {
        let path = format!("spec.steps[{index}]");
        if !names.insert(given.name.as_str()) {
            found.push(problem(
                format!("{path}.name"),
                format!("another step is named {:?} already", given.name),
            ));
        }
        found.extend(step(spec, given, &path));
    }
    found
}

/// What is wrong with the limits: a time of nothing limits nothing.
fn limits(spec: &RunbookSpec) -> Vec<Problem> {
    let Some(limits) = &spec.limits else { return Vec::new() };
    let breaker = limits.breaker.as_ref();
    let times = [
        ("runs.per", limits.runs.as_ref().map(|runs| &runs.per)),
        ("breaker.runs.per", breaker.and_then(|breaker| Some(&breaker.runs.as_ref()?.per))),
        ("breaker.within", breaker.and_then(|breaker| breaker.within.as_ref())),
        ("breaker.openFor", breaker.and_then(|breaker| breaker.open_for.as_ref())),
    ];
    let is_nothing = |time: &Option<&Duration>| time.is_some_and(|time| time.get().as_secs() == 0);
    let nothing = times.into_iter().filter(|(_, time)| is_nothing(time));
    let mut found: Vec<Problem> = nothing
        .map(|(field, _)| problem(format!("spec.limits.{field}"), "less than a second limits nothing"))
        .collect();
    if breaker.is_some_and(|breaker| {
        breaker.failures.is_none() && breaker.runs.is_none() && breaker.flaps.is_none()
    }) {
        found.push(problem("spec.limits.breaker", "a breaker needs at least one of failures, runs, flaps"));
    }
    found
}

fn parameters(parameters: &[Parameter], found: &mut Vec<Problem>) {
    let mut names = BTreeSet::new();
    for (index, parameter) in parameters.iter().enumerate() {
        let path = format!("spec.parameters[{index}]");
        if !names.insert(parameter.name.as_str()) {
            let message = format!("another parameter is named {:?} already", parameter.name);
            found.push(problem(format!("{path}.name"), message));
        }
        match (&parameter.integer, &parameter.string) {
            (Some(integer), None) => {
                if let (Some(minimum), Some(maximum)) = (integer.minimum, integer.maximum)
                    && minimum > maximum
                {
                    let message = format!("minimum {minimum} is above maximum {maximum}: no value fits");
                    found.push(problem(format!("{path}.integer"), message));
                }
            }
            (None, Some(_)) => {}
            _ => found.push(problem(path.clone(), "set exactly one of integer, string")),
        }
        if let Some(message) = values::default(parameter).and_then(|default| misfit(parameter, &default)) {
            found.push(problem(format!("{path}.default"), message));
        }
    }
}

/// What is wrong with the place in a ladder, and with the proof that a run has helped.
fn ladder(spec: &RunbookSpec) -> Vec<Problem> {
    let mut found = Vec::new();
    if spec.order.is_some() && spec.start == Start::Manual {
        let message = "only a Runbook that starts by itself has a place in a ladder: set start: Automatic, or leave it out";
        found.push(problem("spec.order", message));
    }
    let (least, most) = (SignedDuration::from_secs(1), SignedDuration::from_hours(24));
    if let Some(verify) = &spec.verify
        && !(least..=most).contains(&verify.window.get())
    {
        let message = format!("{} is not from a second to a day", verify.window);
        found.push(problem("spec.verify.window", message));
    }
    found
}

/// What is wrong with the drill: it would fail each time.
fn drill(spec: &RunbookSpec) -> Vec<Problem> {
    let Some(drill) = &spec.drill else { return Vec::new() };
    let mut found = Vec::new();
    if drill.every.get() < drill::SHORTEST {
        found.push(problem("spec.drill.every", format!("{} is shorter than a minute", drill.every)));
    }
    let within = |given: Problem| Problem { path: given.path.replacen("spec.", "spec.drill.", 1), ..given };
    found.extend(run_problems(spec, &drill.parameters).into_iter().map(within));
    let is_given = |parameter: &Parameter| drill.parameters.iter().any(|given| given.name == parameter.name);
    // What has no source at all is named above.
    let missing = spec.parameters.iter().filter(|parameter| {
        parameter.from.is_some() && values::default(parameter).is_none() && !is_given(parameter)
    });
    found.extend(missing.map(|parameter| {
        let message =
            format!("{:?} comes from the incident, and a drill has none: give it a value", parameter.name);
        problem("spec.drill.parameters", message)
    }));
    if (drill.mode == DrillMode::Namespace) != drill.namespace.is_some() {
        let message = "mode Namespace needs a namespace, and mode DryRun takes none";
        found.push(problem("spec.drill.namespace", message));
    }
    let has_target = |step: &Step| steps::of(step).is_some_and(|kind| kind.target().is_some());
    if drill.mode == DrillMode::Namespace && !rehearsal::done(spec).any(has_target) {
        let message = "no step acts on what can be copied, so only mode DryRun can rehearse it";
        found.push(problem("spec.drill.mode", message));
    }
    let targets = spec.steps.iter().filter_map(|step| steps::of(step)?.target());
    if drill.affected.is_empty() && targets.into_iter().any(|target| target.from_incident.is_some()) {
        let message = "a step has the target fromIncident, and a drill has no incident: name the objects that it stands for";
        found.push(problem("spec.drill.affected", message));
    }
    found
}

fn precondition(given: &Precondition, path: &str) -> Vec<Problem> {
    let mut found = given.target.problems(&format!("{path}.target"), None);
    if let Err(message) = preconditions::compile(&given.expression) {
        found.push(problem(format!("{path}.expression"), message));
    }
    found
}

fn step(runbook: &RunbookSpec, step: &Step, path: &str) -> Vec<Problem> {
    let mut found = Vec::new();
    for (index, given) in step.preconditions.iter().enumerate() {
        found.extend(precondition(given, &format!("{path}.preconditions[{index}]")));
    }
    if let Some(when) = &step.when {
        found.extend(when.target.problems(&format!("{path}.when.target"), None));
        if let Err(message) = preconditions::compile(&when.expression) {
            found.push(problem(format!("{path}.when.expression"), message));
        }
    }
    if step.allow_during_rollout && !steps::waits_for_rollout(step) {
        let message = "only restart, scale and patch wait for a rollout, so it has no effect here";
        found.push(problem(format!("{path}.allowDuringRollout"), message));
    }
    found.extend(compensation(runbook, step, path));
    found.extend(does_one_thing(runbook, step, path));
    found
}

/// What is wrong with the way back of a step.
fn compensation(runbook: &RunbookSpec, step: &Step, path: &str) -> Vec<Problem> {
    let Some(compensation) = &step.compensation else { return Vec::new() };
    let inner = format!("{path}.compensation");
    let [kind] = steps::compensation_members(compensation)[..] else {
        return vec![problem(inner, "a compensation does exactly one thing")];
    };
    let mut found = kind.problems(&Written { runbook, step, path: &inner });
    if !steps::of(step).is_some_and(|kind| matches!(kind.work(), Work::Mutation(_))) {
        found.push(problem(inner.clone(), "the step changes nothing, so there is nothing to roll back"));
    }
    if let Some(target) = kind.target() {
        found.extend(target.problems(
            &format!("{inner}.{}.target", steps::compensation_member_of(compensation)),
            kind.implied(),
        ));
        if target.selector.is_some() {
            found.push(problem(
                format!("{inner}.{}.target.selector", steps::compensation_member_of(compensation)),
                "what a compensation acts on must be certain: use name or fromIncident",
            ));
        }
    }
    found
}

fn does_one_thing(runbook: &RunbookSpec, step: &Step, path: &str) -> Vec<Problem> {
    match steps::members(step).as_slice() {
        [kind] => {
            let mut found = kind.problems(&Written { runbook, step, path });
            if let (Some(target), Work::Mutation(_)) = (kind.target(), kind.work())
                && let Some((api_version, kind)) = target.kind_of(kind.implied())
            {
                let object = ObjectRef {
                    api_version: api_version.to_owned(),
                    kind: kind.to_owned(),
                    ..ObjectRef::default()
                };
                let field = format!("{path}.{}.target.kind", steps::member_of(step));
                found.extend(denied::why(&object).map(|why| problem(field, why)));
            }
            if let Some(target) = kind.target() {
                found.extend(target.problems(
                    &format!("{path}.{}.{}", steps::member_of(step), kind.target_field()),
                    kind.implied(),
                ));
            }
            found
        }
        members => {
            let message = if members.is_empty() { "it does nothing" } else { "it does more than one thing" };
            vec![problem(path, format!("a step does exactly one thing: {message}"))]
        }
    }
}

/// What is wrong with the values that a run is given.
pub fn run_problems(spec: &RunbookSpec, values: &[ParameterValue]) -> Vec<Problem> {
    let mut found = Vec::new();
    let mut names = BTreeSet::new();
    for (index, value) in values.iter().enumerate() {
        let path = format!("spec.parameters[{index}]");
        if !names.insert(value.name.as_str()) {
            found.push(problem(format!("{path}.name"), format!("{:?} is given twice", value.name)));
        }
        match spec.parameters.iter().find(|parameter| parameter.name == value.name) {
            None => {
                let known: Vec<&str> =
                    spec.parameters.iter().map(|parameter| parameter.name.as_str()).collect();
                let known = if known.is_empty() {
                    "it has none".to_owned()
                } else {
                    format!("it has {}", known.join(", "))
                };
                found.push(problem(
                    format!("{path}.name"),
                    format!("the Runbook has no parameter {:?}: {known}", value.name),
                ));
            }
            Some(parameter) => {
                found.extend(misfit(parameter, value).map(|message| problem(path, message)));
            }
        }
    }
    for parameter in &spec.parameters {
        let has_other = values::default(parameter).is_some() || parameter.from.is_some();
        if !has_other && !names.contains(parameter.name.as_str()) {
            found.push(problem(
                "spec.parameters",
                format!("{:?} has no default, so the run must give it", parameter.name),
            ));
        }
    }
    found
}

/// Why a value does not fit its parameter.
pub fn misfit(parameter: &Parameter, value: &ParameterValue) -> Option<String> {
    let name = &parameter.name;
    match (&parameter.integer, &parameter.string, value.integer, &value.string) {
        (Some(bounds), _, Some(value), None) => {
            let low = bounds.minimum.filter(|minimum| value < *minimum).map(|m| format!("at least {m}"));
            let high = bounds.maximum.filter(|maximum| value > *maximum).map(|m| format!("at most {m}"));
            low.or(high).map(|bound| format!("{name} must be {bound}, not {value}"))
        }
        (None, Some(shape), None, Some(value)) => {
            let allowed = shape.allowed.is_empty() || shape.allowed.contains(value);
            (!allowed).then(|| format!("{name} must be one of {}, not {value:?}", shape.allowed.join(", ")))
        }
        (Some(_), ..) => Some(format!("{name} is a whole number: give `integer`")),
        _ => Some(format!("{name} is a text: give `string`")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn spec(value: serde_json::Value) -> RunbookSpec {
        let mut base = json!({
            "summary": "s", "serviceAccountName": "sa",
            "steps": [{"name": "restart", "restart": {"target": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "checkout"}}}],
        });
        json_patch::merge(&mut base, &value);
        serde_json::from_value(base).unwrap()
    }

    fn paths(spec: &RunbookSpec) -> Vec<String> {
        problems(spec).into_iter().map(|problem| problem.path).collect()
    }

    #[test]
    fn the_example_restart_checkout_is_valid() {
        let spec = spec(json!({
            "preconditions": [{"target": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "checkout"},
                        "expression": "object.spec.replicas > 1", "message": "m"}],
            "limits": {"runs": {"max": 3, "per": "1h"}, "cooldown": "1m"}, "onFailure": "Escalate",
        }));
        assert_eq!(problems(&spec), []);
    }

    #[test]
    fn a_runbook_without_service_account_is_refused() {
        assert_eq!(paths(&spec(json!({"serviceAccountName": ""}))), ["spec.serviceAccountName"]);
    }

    #[test]
    fn two_members_in_a_step_and_two_steps_of_one_name_are_refused() {
        let wait = json!({"name": "w", "wait": {"duration": "1s"}});
        assert_eq!(paths(&spec(json!({"steps": [wait, wait]}))), ["spec.steps[1].name"]);
        let both = json!({"name": "w", "wait": {"duration": "1s"}, "manual": {"instructions": "i"}});
        assert_eq!(paths(&spec(json!({"steps": [both]}))), ["spec.steps[0]"]);
        assert_eq!(paths(&spec(json!({"steps": [{"name": "empty"}]}))), ["spec.steps[0]"]);
    }

    #[test]
    fn a_secret_is_not_looked_at() {
        let secret = json!({"apiVersion": "v1", "kind": "Secret", "name": "db"});
        let precondition = json!({"target": secret, "expression": "object.data.size() > 1", "message": "m"});
        assert_eq!(paths(&spec(json!({"preconditions": [precondition]}))), ["spec.preconditions[0].target"]);
        let check = json!({"name": "c", "check": {"condition": {"target": secret, "type": "Ready", "status": "True"}}});
        assert_eq!(paths(&spec(json!({"steps": [check]}))), ["spec.steps[0].check.condition.target"]);
        let own = json!({"apiVersion": "vault.example/v1", "kind": "Secret", "name": "db"});
        let precondition = json!({"target": own, "expression": "object.spec.size() > 1", "message": "m"});
        assert_eq!(problems(&spec(json!({"preconditions": [precondition]}))), []);
    }

    #[test]
    fn a_precondition_that_does_not_compile_is_refused() {
        let precondition = json!({"target": {"apiVersion": "v1", "kind": "Pod", "name": "p"}, "expression": "object.", "message": "m"});
        let found = problems(&spec(json!({"preconditions": [precondition]})));
        assert_eq!(found[0].path, "spec.preconditions[0].expression");
        assert!(found[0].message.contains("does not compile"));
    }

    #[test]
    fn a_wait_longer_than_its_timeout_is_refused() {
        let wait = json!({"name": "w", "wait": {"duration": "5m"}, "timeout": "1m"});
        assert_eq!(paths(&spec(json!({"steps": [wait]}))), ["spec.steps[0].timeout"]);
    }

    #[test]
    fn values_of_a_run_must_fit_the_parameters() {
        let spec = spec(json!({"parameters": [
            {"name": "replicas", "integer": {"minimum": 3, "maximum": 12}}, {"name": "zone", "string": {"default": "a", "enum": ["a", "b"]}}]}));
        let run = |value: serde_json::Value| -> Vec<String> {
            let values: Vec<ParameterValue> = serde_json::from_value(value).unwrap();
            run_problems(&spec, &values).into_iter().map(|problem| problem.message).collect()
        };
        assert!(run(json!([{"name": "replicas", "integer": 6}])).is_empty());
        assert!(run(json!([]))[0].contains("no default"));
        assert!(run(json!([{"name": "replicas", "integer": 13}]))[0].contains("at most 12"));
        assert!(run(json!([{"name": "replicas", "string": "6"}]))[0].contains("whole number"));
        assert!(
            run(json!([{"name": "replicas", "integer": 6}, {"name": "zone", "string": "c"}]))[0]
                .contains("one of a, b")
        );
        assert!(
            run(json!([{"name": "replicas", "integer": 6}, {"name": "nodes", "integer": 1}]))[0]
                .contains("no parameter")
        );
    }

    #[test]
    fn a_default_outside_its_own_bounds_is_refused() {
        let found = spec(json!({"parameters": [{"name": "n", "integer": {"default": 1, "minimum": 3}}]}));
        assert_eq!(paths(&found), ["spec.parameters[0].default"]);
    }
}
