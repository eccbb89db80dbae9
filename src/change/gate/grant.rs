//! Whether a request lets an action pass, and what is counted for it (rules §7). Pure.

use jiff::{SignedDuration, Timestamp};
use kube::core::admission::Operation;
use serde_json::json;

use super::action::Action;
use crate::api::ChangeRequest;
use crate::api::change_request::{ChangeRequestSpec, DeleteChange, Delta, Partial, PlannedChange, Use};
use crate::api::common::is_true;
use crate::change::approval::quorum;
use crate::change::approval::quorum::Outcome;
use crate::change::diff;
use crate::change::diff::{describe, digest};
use crate::change::gate::object_version::Version;
use crate::cluster::conditions::seconds;
use crate::text::instant;

/// Window of a request that names none.
const DEFAULT_WINDOW: SignedDuration = SignedDuration::from_hours(1);

/// The API server asks again about one request while others write the object; it gives up sooner than this.
const API_SERVER_RETRIES: SignedDuration = SignedDuration::from_secs(10);

/// How a request lets an action pass.
#[derive(Clone, Debug, PartialEq)]
pub enum Grant {
    /// It was counted before: a retry, or one that was let through and not stored.
    Repeat,
    /// A new use, to be stored before the action passes.
    Use(Use),
    /// The use at this index of `status.used` is taken back.
    Restore(usize),
}

/// From and until when a request may be carried out.
pub fn window(spec: &ChangeRequestSpec, approved: Timestamp) -> (Timestamp, Timestamp) {
    let window = spec.window.clone().unwrap_or_default();
    let from = window.not_before.map_or(approved, |time| time.0.max(approved));
    let length = window.duration.map_or(DEFAULT_WINDOW, |duration| duration.get());
    let until = match window.not_after {
        Some(time) => time.0,
        None => from.checked_add(length).unwrap_or(Timestamp::MAX),
    };
    (from, until)
}

/// How long the window is at most, for a request that is asked at that time. Negative if it ends before it begins.
pub fn window_length(spec: &ChangeRequestSpec, asked: Timestamp) -> SignedDuration {
    let (from, until) = window(spec, asked);
    until.duration_since(from)
}

/// Whether a request stands: approved as it is, within its window.
///
/// # Errors
/// Why it does not, in words.
pub fn standing(request: &ChangeRequest, outcome: &Outcome, now: Timestamp) -> Result<(), String> {
    let status = request.status.clone().unwrap_or_default();
    if request.spec.withdrawn {
        return Err("it was withdrawn".to_owned());
    }
    if request.metadata.deletion_timestamp.is_some() {
        return Err("it is being deleted".to_owned());
    }
    if let Some(who) = &outcome.rejected_by {
        return Err(format!("{who} rejected it"));
    }
    // It was final when it was made, though who made it may not be eligible any more.
    if is_true(&status.conditions, "Rejected") {
        return Err("it was rejected".to_owned());
    }
    if crate::change::approval::digest_of(request).is_none() {
        return Err("it has no plan yet, or its plan is not the one its digest names".to_owned());
    }
    if !outcome.approved {
        return Err(quorum::must_approve(&outcome.missing_phrase()));
    }
    let complete = status.approved_time.as_ref().map(|time| time.0).or(outcome.complete_time);
    let (from, until) = window(&request.spec, complete.unwrap_or(now));
    if now < from {
        return Err(format!("its window begins at {}", instant(from)));
    }
    if now >= until || is_true(&status.conditions, "Expired") {
        return Err(format!("its window ended at {}", instant(until)));
    }
    Ok(())
}

/// Whether any entry of a request is about the object and verb of an action.
pub fn is_about(request: &ChangeRequest, action: &Action) -> bool {
    request.status.as_ref().is_some_and(|status| {
        status.plan.iter().any(|planned| {
            same_object(planned, action)
                && (planned.operation == operation(&action.operation)
                    || action.operation == Operation::Update)
        })
    })
}

/// Whether a request is about any value that an action changes; of what has no values, about the object.
pub fn shares_a_value(request: &ChangeRequest, action: &Action) -> bool {
    let touches = |planned: &Delta| {
        action.delta.iter().any(|delta| {
            diff::is_under(&delta.path, &planned.path) || diff::is_under(&planned.path, &delta.path)
        })
    };
    let plan = request.status.iter().flat_map(|status| &status.plan);
    plan.filter(|planned| same_object(planned, action)).any(|planned| {
        action.delta.is_empty() || planned.delta.is_empty() || planned.delta.iter().any(touches)
    })
}

fn same_object(planned: &PlannedChange, action: &Action) -> bool {
    let namespace = crate::change::policy::namespace_of(planned);
    planned.target.same_object(&action.target) && namespace == action.namespace
}

fn operation(operation: &Operation) -> &'static str {
    match operation {
        Operation::Create => "Create",
        Operation::Update => "Update",
        Operation::Delete => "Delete",
        Operation::Connect => "Connect",
    }
}

/// Which entry of a request that stands lets an action pass, and as what. Entries are judged one by one and
/// never mixed.
///
/// # Errors
/// Why none does, in words; the reason of the entry that comes nearest.
pub fn grant(request: &ChangeRequest, action: &Action, now: Timestamp) -> Result<Grant, String> {
    let granted = by_content(request, action, now)?;
    let spec = &request.spec;
    let requester = spec.requester.iter().map(|user| &user.user);
    let actors: Vec<&str> = match spec.actors.as_slice() {
        [] => requester.map(String::as_str).collect(),
        actors => actors.iter().map(|user| user.user.as_str()).collect(),
    };
    match actors.contains(&action.caller.user.as_str()) {
        true => Ok(granted),
        false => Err(format!("{} may carry it out, not {}", actors.join(" or "), action.caller.user)),
    }
}

/// As [`grant`], whoever acts.
fn by_content(request: &ChangeRequest, action: &Action, now: Timestamp) -> Result<Grant, String> {
    let spec = &request.spec;
    // Only the object itself and its scale: whatever else is done to it was never planned.
    if !matches!(action.subresource.as_str(), "" | "scale") {
        return Err(format!("it does not hold {}", action.subresource));
    }
    let status = request.status.clone().unwrap_or_default();
    let mut why = "it holds no change of this object".to_owned();
    for (index, planned) in status.plan.iter().enumerate().filter(|(_, planned)| same_object(planned, action))
    {
        match fits(spec, index, planned, action) {
            Ok(()) => match used(spec, &status.used, index, planned, action, now) {
                Ok(grant) => return Ok(grant),
                Err(reason) => why = reason,
            },
            Err(reason) => match restores(spec, &status.used, index, planned, action, now) {
                Some(Ok(grant)) => return Ok(grant),
                Some(Err(reason)) => why = reason,
                None => why = reason,
            },
        }
    }
    Err(why)
}

/// Whether an action is what an entry plans, or an allowed part of it.
fn fits(
    spec: &ChangeRequestSpec,
    index: usize,
    planned: &PlannedChange,
    action: &Action,
) -> Result<(), String> {
    if planned.operation != operation(&action.operation) {
        return Err(format!("it holds {}", planned.summary));
    }
    if action.operation != Operation::Create && planned.uid.as_deref() != Some(action.uid.as_str()) {
        return Err(format!(
            "{} was replaced by another of that name since it was asked for: ask again",
            planned.target.display()
        ));
    }
    match action.operation {
        Operation::Delete => {
            let orphans = spec
                .changes
                .get(index)
                .and_then(|change| change.delete.as_ref())
                .is_some_and(DeleteChange::orphans);
            return if orphans == action.orphans {
                Ok(())
            } else {
                Err(format!("it holds {}", planned.summary))
            };
        }
        Operation::Connect => return Err("it holds no such access".to_owned()),
        // All of a new object was approved, or nothing.
        Operation::Create => return all(diff::uncovered(&planned.delta, &action.delta, Partial::Forbidden)),
        Operation::Update => {}
    }
    if spec.changes.get(index).is_some_and(|change| change.restart.is_some()) {
        return if is_restart(&action.delta) { Ok(()) } else { Err("it holds a restart alone".to_owned()) };
    }
    if action.subresource.is_empty()
        && let Some(stale) = diff::stale(&planned.delta, &action.before)
    {
        return Err(format!("{} was changed meanwhile: ask again", stale.path));
    }
    all(diff::uncovered(&planned.delta, &action.delta, spec.partial))
}

fn all(uncovered: Vec<Delta>) -> Result<(), String> {
    match uncovered.first() {
        None => Ok(()),
        Some(first) => Err(format!("it does not hold this value of {}", first.path)),
    }
}

/// What `kubectl rollout restart` does, and nothing else.
fn is_restart(deltas: &[Delta]) -> bool {
    matches!(deltas, [delta] if delta.path == describe::RESTARTED_AT
        && delta.after.as_ref().and_then(|value| value.as_str())
            .is_some_and(|text| text.parse::<Timestamp>().is_ok()))
}

/// The digest that tells one use from another: entry, object and values.
fn use_digest(index: usize, planned: &PlannedChange, action: &Action) -> Result<String, String> {
    digest::of(&json!({"change": index, "target": planned.target.display(), "uid": planned.uid,
        "operation": planned.operation, "delta": action.delta}))
    .map_err(|error| error.to_string())
}

fn used(
    spec: &ChangeRequestSpec,
    used: &[Use],
    index: usize,
    planned: &PlannedChange,
    action: &Action,
    now: Timestamp,
) -> Result<Grant, String> {
    let digest = use_digest(index, planned, action)?;
    let of_this = |used: &&Use| usize::try_from(used.change).is_ok_and(|change| change == index);
    // What was taken back or overwritten and is done again is a new use, or one use would open a way to and fro.
    let is_repeat = |used: &Use| {
        used.digest == digest
            && used.restored_time.is_none()
            && is_not_stored(used, &used.by, used.time.0, action, now)
    };
    if used.iter().filter(of_this).any(is_repeat) {
        return Ok(Grant::Repeat);
    }
    let count = used.iter().filter(of_this).count();
    if i32::try_from(count).unwrap_or(i32::MAX) >= spec.max_uses {
        return Err(format!("it was used {count} of {} times: ask again", spec.max_uses));
    }
    Ok(Grant::Use(Use {
        change: i32::try_from(index).map_err(|error| error.to_string())?,
        digest,
        version: action.version().map(|version| version.to_string()),
        by: action.caller.user.clone(),
        time: seconds(now),
        delta: action.delta.clone(),
        restored_time: None,
        restored_by: None,
    }))
}

/// Whether what was let through `by` somebody at a time has not come to be: the object is as it was before.
fn is_not_stored(used: &Use, by: &str, time: Timestamp, action: &Action, now: Timestamp) -> bool {
    match action.operation {
        // Its UID says that it is the same object, and that it is still there.
        Operation::Delete => true,
        // An object that is not there may have been there meanwhile; so a creation that something else refused after
        // it was counted has cost a use.
        Operation::Create => false,
        _ => {
            let then = used.version.as_ref().and_then(|version| version.parse::<Version>().ok());
            let (Some(then), Some(later)) = (then, action.version()) else { return false };
            // Any write moves a resourceVersion, that of a status too, and the API server then asks again about the same
            // request.
            let is_asked_again = matches!((&then, &later), (Version::Resource(_), Version::Resource(_)))
                && by == action.caller.user
                && now.duration_since(time) <= API_SERVER_RETRIES;
            then.was_not_stored(&later) || is_asked_again
        }
    }
}

/// Whether an action takes back exactly what a use of this entry changed, and if so whether it may.
fn restores(
    spec: &ChangeRequestSpec,
    used: &[Use],
    index: usize,
    planned: &PlannedChange,
    action: &Action,
    now: Timestamp,
) -> Option<Result<Grant, String>> {
    let same = action.operation == Operation::Update
        && planned.operation == "Update"
        && planned.uid.as_deref() == Some(action.uid.as_str());
    let fits = |used: &Use| {
        same && usize::try_from(used.change).is_ok_and(|change| change == index)
            && !used.delta.is_empty()
            && diff::uncovered(&diff::inverse(&used.delta), &action.delta, Partial::Forbidden).is_empty()
    };
    if !used.iter().any(fits) {
        return None;
    }
    if !spec.allows_rollback() {
        return Some(Err("taking it back was not approved with it".to_owned()));
    }
    if let Some(open) = used.iter().position(|used| fits(used) && used.restored_time.is_none()) {
        return Some(Ok(Grant::Restore(open)));
    }
    // Counted, and yet the value is the used one: either the restore was not stored and the same person tries again,
    // or somebody made the change anew since then. Only the first is a repeat.
    let is_retry = |used: &Use| {
        let (Some(by), Some(time)) = (&used.restored_by, &used.restored_time) else { return false };
        *by == action.caller.user && is_not_stored(used, by, time.0, action, now)
    };
    Some(if used.iter().any(|used| fits(used) && is_retry(used)) {
        Ok(Grant::Repeat)
    } else {
        Err("it was taken back once already".to_owned())
    })
}

#[cfg(test)]
#[path = "grant_tests.rs"]
mod tests;
