//! What a step does, one file an action. Pure: an action plans over a live object and proves from it what
//! happened; sending is the engine's.

pub mod check;
pub mod manual;
pub mod restart;
pub mod wait;

use crate::api::check::RolloutCheck;
use crate::api::common::ObjectRef;
use crate::api::runbook::{CheckStep, ManualStep, Step, TargetStep, WaitStep};
use crate::cluster::workloads;

/// What a step does: its one member.
#[derive(Clone, Copy, Debug)]
pub enum Action<'a> {
    /// Restarts a workload.
    Restart(&'a TargetStep),
    /// Waits until something is so.
    Check(&'a CheckStep),
    /// Waits.
    Wait(&'a WaitStep),
    /// Asks a person.
    Manual(&'a ManualStep),
    /// A member that this version does not act on, by its name.
    NotImplemented(&'static str),
}

impl<'a> Action<'a> {
    /// The members that are set; a valid step has exactly one.
    pub fn members(step: &'a Step) -> Vec<Action<'a>> {
        let acted_on = [
            step.restart.as_ref().map(Action::Restart),
            step.check.as_ref().map(Action::Check),
            step.wait.as_ref().map(Action::Wait),
            step.manual.as_ref().map(Action::Manual),
        ];
        let not_yet = [
            ("rollback", step.rollback.is_some()),
            ("scale", step.scale.is_some()),
            ("patch", step.patch.is_some()),
            ("deletePod", step.delete_pod.is_some()),
            ("cordon", step.cordon.is_some()),
            ("uncordon", step.uncordon.is_some()),
            ("drain", step.drain.is_some()),
            ("job", step.job.is_some()),
            ("http", step.http.is_some()),
            ("prometheus", step.prometheus.is_some()),
            ("approval", step.approval.is_some()),
        ];
        let not_yet =
            not_yet.into_iter().filter(|(_, set)| *set).map(|(name, _)| Action::NotImplemented(name));
        acted_on.into_iter().flatten().chain(not_yet).collect()
    }

    /// What the step does; `None` unless it does exactly one thing.
    pub fn of(step: &'a Step) -> Option<Action<'a>> {
        match Action::members(step).as_slice() {
            [action] => Some(*action),
            _ => None,
        }
    }

    /// The object it reads or changes.
    pub fn target(&self) -> Option<&'a ObjectRef> {
        match self {
            Action::Restart(step) => Some(&step.target),
            Action::Check(step) => match (&step.rollout, &step.condition) {
                (Some(RolloutCheck { target }), _) => Some(target),
                (None, Some(condition)) => Some(&condition.target),
                (None, None) => None,
            },
            Action::Wait(_) | Action::Manual(_) | Action::NotImplemented(_) => None,
        }
    }

    /// Whether it changes its target.
    pub fn is_mutating(&self) -> bool {
        matches!(self, Action::Restart(_))
    }

    /// What it does, in words: `restart deployment/checkout`.
    pub fn summary(&self) -> String {
        match self {
            Action::Restart(step) => format!("restart {}", step.target.display()),
            Action::Check(step) => check::summary(step),
            Action::Wait(step) => format!("wait {}", step.duration),
            Action::Manual(_) => "ask a person".to_owned(),
            Action::NotImplemented(name) => format!("{name}, which this version does not act on"),
        }
    }
}

/// The objects that steps read or change.
pub fn targets(steps: &[Step]) -> impl Iterator<Item = &ObjectRef> {
    steps.iter().filter_map(Action::of).filter_map(|action| action.target())
}

/// The objects that a Runbook's steps change.
pub fn changed_targets(steps: &[Step]) -> Vec<&ObjectRef> {
    let mut targets: Vec<&ObjectRef> = Vec::new();
    for action in steps.iter().filter_map(Action::of).filter(Action::is_mutating) {
        if let Some(target) = action.target()
            && !targets.iter().any(|known| known.same_object(target))
        {
            targets.push(target);
        }
    }
    targets
}

/// Whether it is a workload with a pod template that can be rolled out.
pub fn is_workload(target: &ObjectRef) -> bool {
    workloads::is_one(target.group(), &target.kind)
}
