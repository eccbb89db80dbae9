//! The kinds of steps, one file each. Pure: a kind plans over a live object and proves from it what happened; the
//! run reads and sends.
//!
//! A new kind takes its file here, its line in `MEMBERS`, and its struct in `api/runbook.rs`.

pub mod check;
pub mod kind;
pub mod manual;
pub mod mutation;
pub mod restart;
pub mod scale;
pub mod wait;

use crate::api::common::ObjectRef;
use crate::api::runbook::Step;
use crate::cluster::workloads;
use crate::problem::Problem;
use kind::{NotImplemented, StepKind, Work};

/// Finds the kind of a step if its member is set.
type Member = for<'a> fn(&'a Step) -> Option<&'a dyn StepKind>;

/// The members of a step that say what it does, in the order of their schema rule.
const MEMBERS: [Member; 15] = [
    |step| set(&step.restart),
    |step| not_yet(&step.rollback, &NotImplemented("rollback")),
    |step| set(&step.scale),
    |step| not_yet(&step.patch, &NotImplemented("patch")),
    |step| not_yet(&step.delete_pod, &NotImplemented("deletePod")),
    |step| not_yet(&step.cordon, &NotImplemented("cordon")),
    |step| not_yet(&step.uncordon, &NotImplemented("uncordon")),
    |step| not_yet(&step.drain, &NotImplemented("drain")),
    |step| not_yet(&step.job, &NotImplemented("job")),
    |step| not_yet(&step.http, &NotImplemented("http")),
    |step| not_yet(&step.prometheus, &NotImplemented("prometheus")),
    |step| set(&step.wait),
    |step| set(&step.check),
    |step| set(&step.manual),
    |step| not_yet(&step.approval, &NotImplemented("approval")),
];

fn set<K: StepKind>(member: &Option<K>) -> Option<&dyn StepKind> {
    member.as_ref().map(|kind| kind as &dyn StepKind)
}

fn not_yet<'a, T>(member: &'a Option<T>, kind: &'static NotImplemented) -> Option<&'a dyn StepKind> {
    member.as_ref().map(|_| kind as &dyn StepKind)
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

/// The objects that steps read or change.
pub fn targets(steps: &[Step]) -> impl Iterator<Item = &ObjectRef> {
    steps.iter().filter_map(of).filter_map(StepKind::target)
}

/// The objects that steps change, each once.
pub fn changed_targets(steps: &[Step]) -> Vec<&ObjectRef> {
    let mut targets: Vec<&ObjectRef> = Vec::new();
    for kind in steps.iter().filter_map(of).filter(|kind| matches!(kind.work(), Work::Mutation(_))) {
        if let Some(target) = kind.target()
            && !targets.iter().any(|known| known.same_object(target))
        {
            targets.push(target);
        }
    }
    targets
}

/// Whether an object is a workload with a pod template that can be rolled out.
pub fn is_workload(target: &ObjectRef) -> bool {
    workloads::is_one(target.group(), &target.kind)
}

/// The problem of a path that names an object which runs must not read. The status of a run shows what it
/// reads, and many people may read that status.
pub fn unreadable(target: &ObjectRef, path: &str) -> Option<Problem> {
    (target.group().is_empty() && target.kind == "Secret").then(|| Problem {
        path: path.to_owned(),
        message: "a Secret is not looked at: what is seen would be told in the run".to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::runbook::STEP_MEMBERS;
    use serde_json::json;

    /// A step with one member, by the name that people write.
    fn step(member: &str) -> Step {
        let target = json!({"apiVersion": "apps/v1", "kind": "Deployment", "name": "checkout"});
        let value = json!({"target": target, "name": "n", "to": "Previous", "patch": {}, "spec": {},
            "url": "http://x", "promQL": "up", "above": "1", "duration": "1s", "instructions": "i"});
        serde_json::from_value(json!({"name": "s", member: value})).unwrap()
    }

    #[test]
    fn the_table_has_every_member_of_the_schema_rule_in_its_order() {
        assert_eq!(STEP_MEMBERS.len(), MEMBERS.len());
        for (index, name) in STEP_MEMBERS.iter().enumerate() {
            let step = step(name);
            let found: Vec<usize> =
                (0..MEMBERS.len()).filter(|index| MEMBERS[*index](&step).is_some()).collect();
            assert_eq!(found, [index], "{name}");
            if let Some(Work::NotImplemented(said)) = of(&step).map(StepKind::work) {
                assert_eq!(said, *name);
            }
        }
        let empty: Step = serde_json::from_value(json!({"name": "s"})).unwrap();
        assert!(of(&empty).is_none());
    }
}
