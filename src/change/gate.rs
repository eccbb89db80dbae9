//! Which approved request, or which step of a run, covers an attempt. Pure.

use jiff::Timestamp;
use kube::ResourceExt;
use kube::core::admission::Operation;
use serde_json::json;

use super::attempt::Attempt;
use super::delta;
use super::digest::{self, DigestError};
use super::words::RESTART_PATH;
use crate::api::change_policy::{ExemptActor, Operation as PolicyOperation};
use crate::api::change_request::{Change, ChangeRequestStatus, Delta, Partial, PlannedChange, Use};
use crate::api::runbook_run::StepState;
use crate::api::{ChangeRequest, RunbookRun};

/// How a request covers an attempt.
#[derive(Clone, Debug, PartialEq)]
pub enum Coverage {
    /// One more use of a change.
    Use(Use),
    /// The same change of the same object again: counted before.
    Repeat,
    /// A use is taken back: its index in `status.used`.
    Restore(usize),
}

/// Whether a request covers an attempt, whatever its approvals say; and how.
///
/// # Errors
/// When no digest can be made of the delta.
pub fn coverage(
    request: &ChangeRequest,
    status: &ChangeRequestStatus,
    attempt: &Attempt,
    now: Timestamp,
) -> Result<Option<Coverage>, DigestError> {
    if request.spec.withdrawn || !may_act(request, &attempt.user) || !in_window(request, status, now) {
        return Ok(None);
    }
    for (index, (change, planned)) in request.spec.changes.iter().zip(&status.plan).enumerate() {
        if !fits(request.spec.partial, change, planned, attempt) {
            continue;
        }
        let change = i32::try_from(index).unwrap_or(i32::MAX);
        let digest = use_digest(attempt)?;
        let uses = status.used.iter().filter(|used| used.change == change);
        if uses.clone().any(|used| used.digest == digest && used.restored_time.is_none()) {
            return Ok(Some(Coverage::Repeat));
        }
        if i32::try_from(uses.count()).unwrap_or(i32::MAX) < request.spec.max_uses {
            let time = crate::cluster::conditions::seconds(now);
            return Ok(Some(Coverage::Use(Use {
                change,
                digest,
                by: attempt.user.clone(),
                time,
                delta: attempt.delta.clone(),
                restored_time: None,
                restored_by: None,
            })));
        }
    }
    Ok(restores(request, status, attempt).map(Coverage::Restore))
}

/// Whether a request asks for this attempt, once it is approved and whoever carries it out.
pub fn would_cover(request: &ChangeRequest, status: &ChangeRequestStatus, attempt: &Attempt) -> bool {
    let pairs = request.spec.changes.iter().zip(&status.plan);
    !request.spec.withdrawn
        && pairs.into_iter().any(|(change, planned)| fits(request.spec.partial, change, planned, attempt))
}

fn may_act(request: &ChangeRequest, user: &str) -> bool {
    let spec = &request.spec;
    if spec.actors.is_empty() {
        return spec.requester.as_ref().is_some_and(|requester| requester.user == user);
    }
    spec.actors.iter().any(|actor| actor.user == user)
}

fn in_window(request: &ChangeRequest, status: &ChangeRequestStatus, now: Timestamp) -> bool {
    let begun = request
        .spec
        .window
        .as_ref()
        .and_then(|window| window.not_before.as_ref())
        .is_none_or(|time| time.0 <= now);
    begun && status.expires_time.as_ref().is_some_and(|time| now < time.0)
}

/// Whether a planned change covers every part of an attempt.
fn fits(partial: Partial, change: &Change, planned: &PlannedChange, attempt: &Attempt) -> bool {
    let same_object = planned.target.same_object(&attempt.target)
        && planned.namespace.as_deref() == attempt.place()
        && planned.uid == attempt.uid;
    let operation = match attempt.operation {
        Operation::Create => "Create",
        Operation::Update => "Update",
        Operation::Delete => "Delete",
        Operation::Connect => "Connect",
    };
    let plain = attempt.subresource.is_empty() || attempt.subresource == "scale";
    if !same_object || !plain || planned.operation != operation {
        return false;
    }
    match attempt.operation {
        Operation::Delete => true,
        // A new object is wholly what was planned.
        Operation::Create => delta::uncovered(&planned.delta, &attempt.delta, Partial::Forbidden).is_empty(),
        Operation::Update if change.restart.is_some() => is_restart(planned, attempt),
        Operation::Update => {
            !attempt.delta.is_empty() && delta::uncovered(&planned.delta, &attempt.delta, partial).is_empty()
        }
        Operation::Connect => false,
    }
}

/// Only kubectl's annotation, from the planned value to any time.
fn is_restart(planned: &PlannedChange, attempt: &Attempt) -> bool {
    let [Delta { path, before, after: Some(after) }] = attempt.delta.as_slice() else { return false };
    let planned_before = planned.delta.first().and_then(|delta| delta.before.as_ref());
    path == RESTART_PATH
        && before.as_ref() == planned_before
        && after.as_str().is_some_and(|time| time.parse::<Timestamp>().is_ok())
}

fn use_digest(attempt: &Attempt) -> Result<String, DigestError> {
    digest::of(
        &json!({"uid": attempt.uid, "name": attempt.target.name, "kind": attempt.target.kind, "delta": attempt.delta}),
    )
}

/// The use that an attempt takes back exactly, if it may still be taken back.
fn restores(request: &ChangeRequest, status: &ChangeRequestStatus, attempt: &Attempt) -> Option<usize> {
    request.spec.rollback.as_ref()?.restore_previous.as_ref()?;
    if attempt.operation != Operation::Update {
        return None;
    }
    status.used.iter().position(|used| {
        let planned = usize::try_from(used.change).ok().and_then(|index| status.plan.get(index));
        let same_object = planned.is_some_and(|planned| {
            planned.operation == "Update"
                && planned.target.same_object(&attempt.target)
                && planned.uid == attempt.uid
                && planned.namespace.as_deref() == attempt.place()
        });
        let inverse: Vec<Delta> = used
            .delta
            .iter()
            .map(|delta| Delta {
                path: delta.path.clone(),
                before: delta.after.clone(),
                after: delta.before.clone(),
            })
            .collect();
        used.restored_time.is_none() && same_object && !inverse.is_empty() && inverse == attempt.delta
    })
}

/// Whether a stored, unsettled intent of a run covers an attempt: same user, same object, same delta.
pub fn is_step(run: &RunbookRun, attempt: &Attempt) -> bool {
    let Some(status) = &run.status else { return false };
    let marked = attempt.run.is_some() && run.uid() == attempt.run;
    // A run that only says what would happen may do nothing else.
    let dry = !run.spec.dry_run || attempt.dry_run;
    marked
        && dry
        && run.namespace().as_deref() == attempt.place()
        && status.steps.iter().any(|step| {
            step.state == StepState::IntentRecorded
                && step.intent.as_ref().is_some_and(|intent| {
                    intent.actor == attempt.user
                        && Some(&intent.uid) == attempt.uid.as_ref()
                        && intent.target.same_object(&attempt.target)
                        && !attempt.delta.is_empty()
                        && intent.delta == attempt.delta
                })
        })
}

/// Whether a policy lets this actor do this without a request.
pub fn is_exempt(actors: &[ExemptActor], attempt: &Attempt) -> bool {
    let resource = match attempt.subresource.as_str() {
        "" => attempt.plural.clone(),
        subresource => format!("{}/{subresource}", attempt.plural),
    };
    let operation = match attempt.operation {
        Operation::Create => PolicyOperation::Create,
        Operation::Update => PolicyOperation::Update,
        Operation::Delete => PolicyOperation::Delete,
        Operation::Connect => PolicyOperation::Connect,
    };
    actors.iter().filter(|actor| actor.user == attempt.user).flat_map(|actor| &actor.rules).any(|rule| {
        rule.api_groups.iter().any(|group| group == attempt.target.group())
            && rule.resources.contains(&resource)
            && rule.operations.contains(&operation)
    })
}

/// Whether nothing is changed that anybody must agree to: a semantic no-op, or the end of an object that is
/// already being deleted.
pub fn is_no_change(attempt: &Attempt) -> bool {
    if attempt.operation != Operation::Update
        || !matches!(attempt.subresource.as_str(), "" | "scale" | "status" | "finalize")
    {
        return false;
    }
    let only_finalizers = attempt.delta.iter().all(|delta| delta.path == "/metadata/finalizers");
    let finalizers = |object: &serde_json::Value| -> Vec<serde_json::Value> {
        object.pointer("/metadata/finalizers").and_then(|value| value.as_array()).cloned().unwrap_or_default()
    };
    let before = finalizers(&attempt.before);
    let shrink = finalizers(&attempt.after).iter().all(|finalizer| before.contains(finalizer));
    attempt.delta.is_empty() || (attempt.is_terminating() && only_finalizers && shrink)
}

#[cfg(test)]
#[path = "gate_tests.rs"]
mod tests;
