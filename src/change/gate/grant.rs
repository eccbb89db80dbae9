//! Whether the plan of a request covers an action, and what is counted for it (docs/rules.md#uses, #partial, #rollback,
//! #not-counted). Pure.

use std::fmt;

use jiff::{SignedDuration, Timestamp};
use kube::core::admission::Operation;
use serde_json::json;

use super::action::Action;
use crate::api::ChangeRequest;
use crate::api::change_request::{ChangeRequestSpec, DeleteChange, Delta, Partial, PlannedChange, Use};
use crate::api::common::{ObjectRef, stored_time};
use crate::change::diff;
use crate::change::diff::{describe, digest};
use crate::change::gate::object_version::Version;
use crate::change::gate::uses;

/// How long the API server may send the same request again while others write the object.
const API_SERVER_RETRIES: SignedDuration = SignedDuration::from_secs(10);

/// How a request lets an action pass.
#[derive(Clone, Debug, PartialEq)]
pub enum Grant {
    /// Counted already: a retry, or an action that was let through and never stored.
    Repeat,
    /// A new use, to be stored before the action passes.
    Use(Use),
    /// Rolls back the use at this index of `status.used`.
    Restore(usize),
}

/// Why a request does not cover an action.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Mismatch {
    /// No request covers this subresource.
    Subresource(String),
    /// No entry is about the object.
    OtherObject,
    /// The entry about the object holds something else; its summary.
    OtherChange(String),
    /// The object was deleted and created again since the plan.
    Replaced(ObjectRef),
    /// Requests cover no access to pods yet.
    Access,
    /// The entry holds a restart, and the action does more or something else.
    OnlyRestart,
    /// The value at this path is no longer the planned one.
    Outdated(String),
    /// The entry does not hold the new value at this path.
    OtherValue(String),
    /// The entry is used as a whole, and the value at this path does not change with the others.
    Part(String),
    /// Every use is spent.
    Spent {
        /// Number of uses so far.
        used: usize,
        /// Number of uses that were approved.
        max: i32,
    },
    /// The action rolls a use back, and the request does not allow it.
    NoRollback,
    /// The action rolls back a use that was rolled back before.
    RolledBack,
    /// Other people may carry the request out.
    OtherActor {
        /// Users who may.
        actors: Vec<String>,
        /// User of the action.
        user: String,
    },
    /// The use cannot be written down.
    Unwritable(String),
}

impl fmt::Display for Mismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Mismatch::Subresource(subresource) => write!(f, "it does not hold {subresource}"),
            Mismatch::OtherObject => f.write_str("it holds no change of this object"),
            Mismatch::OtherChange(summary) => write!(f, "it holds {summary}"),
            Mismatch::Replaced(target) => write!(
                f,
                "{} was replaced by another of that name since it was asked for: ask again",
                target.display()
            ),
            Mismatch::Access => f.write_str("it holds no such access"),
            Mismatch::OnlyRestart => f.write_str("it holds a restart alone"),
            Mismatch::Outdated(path) => write!(f, "{path} was changed meanwhile: ask again"),
            Mismatch::OtherValue(path) => write!(f, "it does not hold this value of {path}"),
            Mismatch::Part(path) => {
                write!(f, "it is used as a whole, and {path} does not change with the rest")
            }
            Mismatch::Spent { used, max } => write!(f, "it was used {used} of {max} times: ask again"),
            Mismatch::NoRollback => f.write_str("taking it back was not approved with it"),
            Mismatch::RolledBack => f.write_str("it was taken back once already"),
            Mismatch::OtherActor { actors, user } => {
                write!(f, "{} may carry it out, not {user}", actors.join(" or "))
            }
            Mismatch::Unwritable(error) => f.write_str(error),
        }
    }
}

/// Whether any entry of a request is about the object and verb of an action. A rollback is always an update.
pub fn is_about(request: &ChangeRequest, action: &Action) -> bool {
    request.status.as_ref().is_some_and(|status| {
        status.plan.iter().any(|planned| {
            same_object(planned, action)
                && (planned.operation == operation(&action.operation)
                    || action.operation == Operation::Update)
        })
    })
}

/// Whether a request is about any value that an action changes; without values, whether it is about the object.
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

/// Matches a request against an action by one of the people who may carry it out. Entries are matched one by one and
/// never combined. Approvals and the window are not looked at: see [`super::standing`].
///
/// # Errors
/// Why no entry covers the action: the reason of the last one about the object.
pub fn grant(request: &ChangeRequest, action: &Action, now: Timestamp) -> Result<Grant, Mismatch> {
    let granted = by_content(request, action, now)?;
    let spec = &request.spec;
    let requester = spec.requester.iter().map(|user| &user.user);
    let actors: Vec<&String> = match spec.actors.as_slice() {
        [] => requester.collect(),
        actors => actors.iter().map(|user| &user.user).collect(),
    };
    match actors.contains(&&action.caller.user) {
        true => Ok(granted),
        false => Err(Mismatch::OtherActor {
            actors: actors.into_iter().cloned().collect(),
            user: action.caller.user.clone(),
        }),
    }
}

/// As [`grant`], by any user.
fn by_content(request: &ChangeRequest, action: &Action, now: Timestamp) -> Result<Grant, Mismatch> {
    // A plan covers only the object itself and its scale, never another subresource.
    if !matches!(action.subresource.as_str(), "" | "scale") {
        return Err(Mismatch::Subresource(action.subresource.clone()));
    }
    let Some(status) = &request.status else { return Err(Mismatch::OtherObject) };
    let about = status.plan.iter().enumerate().filter(|(_, planned)| same_object(planned, action));
    let mut why = Mismatch::OtherObject;
    for (index, planned) in about {
        let entry = Entry { spec: &request.spec, used: &status.used, index, planned };
        let granted = match entry.covers(action) {
            Ok(()) => entry.grant_use(action, now),
            Err(reason) => entry.grant_restore(action, now).unwrap_or(Err(reason)),
        };
        match granted {
            Ok(grant) => return Ok(grant),
            Err(reason) => why = reason,
        }
    }
    Err(why)
}

/// One planned change of a request, with the uses counted so far.
struct Entry<'a> {
    spec: &'a ChangeRequestSpec,
    /// The uses of all entries.
    used: &'a [Use],
    /// Position of the change in the request.
    index: usize,
    planned: &'a PlannedChange,
}

impl Entry<'_> {
    /// Whether an action is what the entry plans, or an allowed part of it.
    fn covers(&self, action: &Action) -> Result<(), Mismatch> {
        let planned = self.planned;
        let change = self.spec.changes.get(self.index);
        let other_change = || Mismatch::OtherChange(planned.summary.clone());
        if planned.operation != operation(&action.operation) {
            return Err(other_change());
        }
        if action.operation != Operation::Create && planned.uid.as_deref() != Some(action.uid.as_str()) {
            return Err(Mismatch::Replaced(planned.target.clone()));
        }
        match action.operation {
            Operation::Delete => {
                let delete = change.and_then(|change| change.delete.as_ref());
                let orphans = delete.is_some_and(DeleteChange::orphans);
                return if orphans == action.orphans { Ok(()) } else { Err(other_change()) };
            }
            Operation::Connect => return Err(Mismatch::Access),
            // A new object is approved as a whole.
            Operation::Create => {
                let difference = diff::difference(&planned.delta, &action.delta);
                return self.holds_all(&difference.unplanned, &difference.left_out);
            }
            Operation::Update => {}
        }
        if change.is_some_and(|change| change.restart.is_some()) {
            return if is_restart(&action.delta) { Ok(()) } else { Err(Mismatch::OnlyRestart) };
        }
        if action.subresource.is_empty()
            && let Some(stale) = diff::stale(&planned.delta, &action.before)
        {
            return Err(Mismatch::Outdated(stale.path.clone()));
        }
        let difference = diff::difference(&planned.delta, &action.delta);
        // A value that the object has already is not left out.
        let is_missing = |delta: &Delta| !diff::holds(delta, &action.before);
        let left_out: Vec<Delta> = match self.spec.partial {
            Partial::Allowed => Vec::new(),
            Partial::Forbidden => difference.left_out.into_iter().filter(is_missing).collect(),
        };
        self.holds_all(&difference.unplanned, &left_out)
    }

    /// Whether nothing differs from the plan.
    fn holds_all(&self, unplanned: &[Delta], left_out: &[Delta]) -> Result<(), Mismatch> {
        match (unplanned, left_out) {
            ([], []) => Ok(()),
            // Another value at the same path is both.
            ([other, ..], _) => Err(Mismatch::OtherValue(other.path.clone())),
            ([], [missing, ..]) => Err(Mismatch::Part(missing.path.clone())),
        }
    }

    /// The uses of this entry.
    fn uses(&self) -> impl Iterator<Item = &Use> {
        uses::of_entry(self.used, self.index)
    }

    /// Grants an action that the entry covers: as a repeat, or as a new use while one is left.
    fn grant_use(&self, action: &Action, now: Timestamp) -> Result<Grant, Mismatch> {
        let digest = self.use_digest(action)?;
        // A change that was rolled back or overwritten needs a new use: otherwise one use could go back and forth for ever.
        let is_repeat = |used: &Use| {
            used.digest == digest
                && used.restored_time.is_none()
                && is_not_stored(used, &used.by, used.time.0, action, now)
        };
        if self.uses().any(is_repeat) {
            return Ok(Grant::Repeat);
        }
        let used = uses::so_far(self.spec, self.used, self.index, &self.planned.delta, &action.delta);
        let max = self.spec.max_uses;
        if i32::try_from(used).unwrap_or(i32::MAX) >= max {
            return Err(Mismatch::Spent { used, max });
        }
        Ok(Grant::Use(Use {
            change: i32::try_from(self.index).map_err(|error| Mismatch::Unwritable(error.to_string()))?,
            digest,
            version: action.version().map(|version| version.to_string()),
            by: action.caller.user.clone(),
            // A token of a ServiceAccount may carry another mark than the logins of people.
            impersonated: !action.caller.direct && !action.caller.is_service_account(),
            time: stored_time(now),
            delta: action.delta.clone(),
            restored_time: None,
            restored_by: None,
        }))
    }

    /// Digest of entry, object and values: equal for two uses that do the same.
    fn use_digest(&self, action: &Action) -> Result<String, Mismatch> {
        let planned = self.planned;
        digest::of(&json!({"change": self.index, "target": planned.target.display(), "uid": planned.uid,
            "operation": planned.operation, "delta": action.delta}))
        .map_err(|error| Mismatch::Unwritable(error.to_string()))
    }

    /// Whether an action rolls back exactly a use of this entry, and whether it may; none if it does not.
    fn grant_restore(&self, action: &Action, now: Timestamp) -> Option<Result<Grant, Mismatch>> {
        let same = action.operation == Operation::Update
            && self.planned.operation == "Update"
            && self.planned.uid.as_deref() == Some(action.uid.as_str());
        let rolls_back = |used: &Use| {
            same && usize::try_from(used.change) == Ok(self.index)
                && !used.delta.is_empty()
                && diff::difference_from_inverse(&used.delta, &action.delta).is_none()
        };
        if !self.used.iter().any(rolls_back) {
            return None;
        }
        if !self.spec.allows_rollback() {
            return Some(Err(Mismatch::NoRollback));
        }
        let is_open = |used: &Use| rolls_back(used) && used.restored_time.is_none();
        if let Some(open) = self.used.iter().position(is_open) {
            return Some(Ok(Grant::Restore(open)));
        }
        // The rollback was counted, and the value is still the changed one. Either the rollback was never stored and the
        // same person tries again, which is a repeat, or the change was made a second time, which is not.
        let is_retry = |used: &Use| {
            let (Some(by), Some(time)) = (&used.restored_by, &used.restored_time) else { return false };
            *by == action.caller.user && is_not_stored(used, by, time.0, action, now)
        };
        Some(match self.used.iter().any(|used| rolls_back(used) && is_retry(used)) {
            true => Ok(Grant::Repeat),
            false => Err(Mismatch::RolledBack),
        })
    }
}

/// Whether the values are those of `kubectl rollout restart`, and no others.
fn is_restart(deltas: &[Delta]) -> bool {
    matches!(deltas, [delta] if delta.path == describe::RESTARTED_AT
        && delta.after.as_ref().and_then(|value| value.as_str())
            .is_some_and(|text| text.parse::<Timestamp>().is_ok()))
}

/// Whether an action that was let through for `by` at `time` was never stored: the object is as it was before.
fn is_not_stored(used: &Use, by: &str, time: Timestamp, action: &Action, now: Timestamp) -> bool {
    match action.operation {
        // The object has the same UID and still exists.
        Operation::Delete => true,
        // An object that does not exist may have existed meanwhile. So a creation that something else refused after it was
        // counted has spent a use.
        Operation::Create => false,
        _ => {
            let then = used.version.as_ref().and_then(|version| version.parse::<Version>().ok());
            let (Some(then), Some(later)) = (then, action.version()) else { return false };
            // Any write raises a resourceVersion, even one of the status; the API server then sends the same request
            // again.
            let is_sent_again = matches!((&then, &later), (Version::Resource(_), Version::Resource(_)))
                && by == action.caller.user
                && now.duration_since(time) <= API_SERVER_RETRIES;
            then.was_not_stored(&later) || is_sent_again
        }
    }
}

#[cfg(test)]
#[path = "grant_tests.rs"]
pub(crate) mod tests;
