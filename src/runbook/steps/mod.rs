//! The kinds of steps, one file each. Pure: a kind plans over a live object and proves from it what happened; the
//! run reads and sends.
//!
//! A new kind takes its file here, its line in `MEMBERS`, and its struct in `api/runbook_step.rs`.

pub mod approval;
pub mod check;
pub mod cordon;
pub mod delete_pod;
pub mod denied;
pub mod drain;
pub mod gitops;
pub mod http;
pub mod job;
pub mod job_spec;
pub mod kind;
pub mod manual;
pub mod mutation;
pub mod needs;
pub mod patch;
pub mod patching;
pub mod restart;
pub mod restore;
pub mod rollback;
pub mod scale;
#[cfg(test)]
pub mod stage;
pub mod wait;

use serde_json::Value;

use crate::api::common::ObjectRef;
use crate::api::runbook_run::RunbookRunStatus;
use crate::api::runbook_step::{self, Compensation, STEP_MEMBERS, Step};
use crate::cluster::rollout::{self, Rollout};
use crate::cluster::workloads;
use kind::{Answerer, Progress, StepKind, Work};
use mutation::Mutation;

/// Finds the kind of a step if its member is set.
type Member = for<'a> fn(&'a Step) -> Option<&'a dyn StepKind>;

/// The members of a step that say what it does, in the order of their schema rule.
const MEMBERS: [Member; 16] = [
    |step| set(&step.restart),
    |step| set(&step.rollback),
    |step| set(&step.scale),
    |step| set(&step.patch),
    |step| set(&step.delete_pod),
    |step| set(&step.cordon),
    |step| set(&step.uncordon),
    |step| set(&step.drain),
    |step| set(&step.job),
    |step| set(&step.http),
    |step| set(&step.wait),
    |step| set(&step.check),
    |step| set(&step.manual),
    |step| set(&step.approval),
    |step| set(&step.suspend_git_ops),
    |step| set(&step.resume_git_ops),
];

/// Finds what a compensation does if its member is set.
type CompensationMember = for<'a> fn(&'a Compensation) -> Option<&'a dyn StepKind>;

/// The members of a compensation, in the order of their schema rule.
const COMPENSATION_MEMBERS: [CompensationMember; 6] = [
    |compensation| set(&compensation.restore_previous),
    |compensation| set(&compensation.uncordon),
    |compensation| set(&compensation.resume_git_ops),
    |compensation| set(&compensation.restart),
    |compensation| set(&compensation.scale),
    |compensation| set(&compensation.patch),
];

fn set<K: StepKind>(member: &Option<K>) -> Option<&dyn StepKind> {
    member.as_ref().map(|kind| kind as &dyn StepKind)
}

/// The kinds of the members that are set; a valid step has exactly one.
pub fn members(step: &Step) -> Vec<&dyn StepKind> {
    MEMBERS.iter().filter_map(|member| member(step)).collect()
}

/// What a step does; `None` unless it does exactly one thing.
pub fn of(step: &Step) -> Option<&dyn StepKind> {
    match members(step).as_slice() {
        [kind] => Some(*kind),
        _ => None,
    }
}

/// The member of a step that says what it does, as it is written; empty if there is none.
pub fn member_of(step: &Step) -> &'static str {
    let set = MEMBERS.iter().position(|member| member(step).is_some());
    set.and_then(|index| STEP_MEMBERS.get(index)).copied().unwrap_or_default()
}

/// The member of a compensation, as it is written; empty if there is none.
pub fn compensation_member_of(compensation: &Compensation) -> &'static str {
    let set = COMPENSATION_MEMBERS.iter().position(|member| member(compensation).is_some());
    set.and_then(|index| runbook_step::COMPENSATION_MEMBERS.get(index)).copied().unwrap_or_default()
}

/// The members of a compensation that are set; a valid one has exactly one.
pub fn compensation_members(compensation: &Compensation) -> Vec<&dyn StepKind> {
    COMPENSATION_MEMBERS.iter().filter_map(|member| member(compensation)).collect()
}

/// How a step is rolled back; `None` if it is not, or not in exactly one way.
pub fn compensation_of(step: &Step) -> Option<&dyn StepKind> {
    match compensation_members(step.compensation.as_ref()?).as_slice() {
        [kind] => Some(*kind),
        _ => None,
    }
}

/// The objects that the steps of a run read or change, as they were resolved.
pub fn objects(status: &RunbookRunStatus) -> impl Iterator<Item = &ObjectRef> {
    status.steps.iter().flat_map(|step| &step.targets).map(|target| &target.object)
}

/// The objects that steps change, as far as they are known without a look: named, or among what the incident is about.
pub fn known_changes(steps: &[Step], subjects: &[ObjectRef]) -> Vec<ObjectRef> {
    let mutations = steps.iter().filter_map(of).filter(|kind| matches!(kind.work(), Work::Mutation(_)));
    let targets = mutations.filter_map(|kind| Some(kind.target()?.known(kind.implied(), subjects)));
    targets.flatten().map(|target| target.object).collect()
}

/// The objects that steps read or change, as far as they are named.
pub fn named(steps: &[Step]) -> Vec<ObjectRef> {
    steps.iter().filter_map(of).filter_map(|kind| kind.target()?.named(kind.implied())).collect()
}

/// Whether steps change anything.
pub fn change_something(steps: &[Step]) -> bool {
    steps.iter().filter_map(of).any(|kind| matches!(kind.work(), Work::Mutation(_)))
}

/// The workloads that `rollback` steps name.
pub fn rollback_targets(steps: &[Step]) -> impl Iterator<Item = ObjectRef> {
    steps.iter().filter_map(|step| step.rollback.as_ref()?.target.named(None))
}

/// Who answers the question of the step with this name; `None` if it asks none.
pub fn answerer(steps: &[Step], name: &str) -> Option<Answerer> {
    match of(steps.iter().find(|step| step.name == name)?)?.work() {
        Work::Question(_, answerer) => Some(answerer),
        _ => None,
    }
}

/// Whether an object is a workload with a pod template that can be rolled out.
pub fn is_workload(target: &ObjectRef) -> bool {
    workloads::is_one(target.group(), &target.kind)
}

/// Whether a workload is rolled out.
pub fn rolled_out(target: &ObjectRef, object: Option<&Value>) -> Progress {
    let name = target.display();
    let Some(object) = object else { return Progress::not_yet(format!("{name} does not exist")) };
    match rollout::status(&target.kind, object, &name) {
        Rollout::Complete(message) => Progress::Done(message),
        Rollout::Unobserved(message) | Rollout::Underway(message) => Progress::not_yet(message),
        Rollout::Failed(message) => Progress::Failed(message),
    }
}

/// Whether a step waits while its workload is being rolled out. A rollback ends a rollout, so it does not.
pub fn waits_for_rollout(step: &Step) -> bool {
    step.restart.is_some() || step.scale.is_some() || step.patch.is_some()
}

/// The mutation of a step, or of its compensation if `back`.
pub fn mutation_of(step: &Step, back: bool) -> Option<&dyn Mutation> {
    let kind = if back { compensation_of(step) } else { of(step) };
    match kind?.work() {
        Work::Mutation(mutation) => Some(mutation),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    /// What a member may need, whichever it is.
    fn content() -> Value {
        let target = json!({"apiVersion": "apps/v1", "kind": "Deployment", "name": "checkout"});
        json!({"target": target, "name": "n", "to": "Previous", "merge": {}, "allowPaths": ["/spec"], "spec": {},
            "url": "http://x", "duration": "1s", "method": "GET", "idempotency": "None", "instructions": "i", "question": "q"})
    }

    /// A step with one member, by the name that people write.
    fn step(member: &str) -> Step {
        serde_json::from_value(json!({"name": "s", member: content()})).unwrap()
    }

    #[test]
    fn the_table_has_every_member_of_the_schema_rule_in_its_order() {
        assert_eq!(STEP_MEMBERS.len(), MEMBERS.len());
        for (index, name) in STEP_MEMBERS.iter().enumerate() {
            let step = step(name);
            let found: Vec<usize> =
                (0..MEMBERS.len()).filter(|index| MEMBERS[*index](&step).is_some()).collect();
            assert_eq!(found, [index], "{name}");
        }
        let empty: Step = serde_json::from_value(json!({"name": "s"})).unwrap();
        assert!(of(&empty).is_none());
    }

    #[test]
    fn the_compensations_are_those_of_the_schema_rule_in_its_order() {
        assert_eq!(runbook_step::COMPENSATION_MEMBERS.len(), COMPENSATION_MEMBERS.len());
        for (index, name) in runbook_step::COMPENSATION_MEMBERS.iter().enumerate() {
            let compensation: Compensation = serde_json::from_value(json!({*name: content()})).unwrap();
            let found: Vec<usize> = (0..COMPENSATION_MEMBERS.len())
                .filter(|index| COMPENSATION_MEMBERS[*index](&compensation).is_some())
                .collect();
            assert_eq!(found, [index], "{name}");
        }
    }
}
