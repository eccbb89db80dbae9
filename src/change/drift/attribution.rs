//! Whether a difference is explained by something that was judged since it was last looked: a use of a request, an
//! act of a run, or a change that was recorded as unapproved when it happened. Pure.

use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

use crate::api::change_policy::{UnauthorizedChange, UnauthorizedKind};
use crate::api::change_request::Delta;
use crate::api::common::ObjectRef;
use crate::api::{ChangeRequest, RunbookRun};
use crate::change::diff;
use crate::change::drift::baseline::How;
use crate::change::drift::managed_fields::Written;
use crate::text::instant;

/// Between the verdict and the note of the API server lies no more than a request may take.
const SOON: SignedDuration = SignedDuration::from_secs(15);

/// A difference.
#[derive(Clone, Debug)]
pub struct Difference<'a> {
    /// The object.
    pub target: ObjectRef,
    /// Plural name of its kind, as policies name it.
    pub plural: &'a str,
    /// How it differs.
    pub how: How,
    /// When its kind was last found to differ: what was judged before is part of what was known.
    pub since: Timestamp,
    /// Who wrote last.
    pub last: Option<Written>,
    /// The object as it is, where a cache has it.
    pub object: Option<&'a Value>,
}

impl Difference<'_> {
    /// The difference as people read it. Only the name of a client is known here; who it was, the audit log knows.
    pub fn text(&self, namespace: &str) -> String {
        let how = match self.how {
            How::New => "was created",
            How::Changed => "was changed",
            How::Deleted => "was deleted",
        };
        let last = self.last.as_ref().map(|last| {
            let time = instant(last.time);
            format!(", last by the field manager {} at {time}", last.manager)
        });
        let last = last.unwrap_or_default();
        format!("{} {how} in {namespace} while Mayday did not run{last}", self.target.display())
    }

    /// Whether a use of a request explains it.
    pub fn is_use(&self, request: &ChangeRequest) -> bool {
        let Some(status) = &request.status else { return false };
        status.used.iter().any(|used| {
            let planned = usize::try_from(used.change).ok().and_then(|index| status.plan.get(index));
            let Some(planned) = planned.filter(|planned| planned.target.same_object(&self.target)) else {
                return false;
            };
            let (time, values) = match &used.restored_time {
                Some(time) => (time.0, diff::inverse(&used.delta)),
                None => (used.time.0, used.delta.clone()),
            };
            match (self.how, planned.operation.as_str()) {
                (How::Deleted, "Delete") => time >= self.since,
                (How::New, "Create") => self.is_act(time, &[]),
                (How::Changed, "Update") => self.is_act(time, &values),
                _ => false,
            }
        })
    }

    /// Whether an act of a run explains it.
    pub fn is_act_of(&self, run: &RunbookRun) -> bool {
        let steps = run.status.as_ref().map_or(&[][..], |status| &status.steps);
        let mut intents = steps.iter().filter_map(|step| step.intent.as_ref());
        self.how == How::Changed
            && intents.any(|intent| {
                let time = intent.time.as_ref().map(|time| time.0);
                intent.target.same_object(&self.target)
                    && time.is_some_and(|time| self.is_act(time, &intent.delta))
            })
    }

    /// Whether it was recorded when it happened, so that everybody has heard of it. What was only found later says
    /// nothing of what was written after it; nor does what was recorded in the second in which the object was last looked
    /// at, as it may be part of what is known: rather is it told twice.
    pub fn is_recorded(&self, change: &UnauthorizedChange) -> bool {
        let time = change.time.0;
        change.kind != UnauthorizedKind::FoundLater
            && change.object.same_object(&self.target)
            && time > self.since
            && (self.how == How::Deleted || self.is_act(time, &[]))
    }

    /// Whether something judged at that instant, which left these values, was the last that happened: the values are
    /// there where they can be seen, and otherwise nobody wrote later.
    fn is_act(&self, time: Timestamp, values: &[Delta]) -> bool {
        let is_last = match (self.object, values) {
            (Some(object), [_, ..]) => {
                values.iter().all(|delta| diff::value_at(object, &delta.path) == delta.after.as_ref())
            }
            _ => self.last.as_ref().is_some_and(|last| last.time.duration_since(time) <= SOON),
        };
        time >= self.since && is_last
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn at(text: &str) -> Timestamp {
        format!("2026-11-22T{text}Z").parse().unwrap()
    }

    fn request(operation: &str, used: Value) -> ChangeRequest {
        serde_json::from_value(json!({"apiVersion": "mayday.dev/v1alpha1", "kind": "ChangeRequest", "metadata": {"name": "c"},
            "spec": {"reason": "r", "changes": []},
            "status": {"plan": [{"operation": operation, "summary": "s", "target": {"apiVersion": "v1", "kind": "ConfigMap", "name": "limits"}}],
                "used": [used]}}))
        .unwrap()
    }

    fn used(time: &str) -> Value {
        json!({"change": 0, "digest": "d", "by": "emil", "time": format!("2026-11-22T{time}Z"),
            "delta": [{"path": "/data/a", "before": "1", "after": "2"}]})
    }

    fn difference(how: How, last: &str) -> Difference<'static> {
        let target = ObjectRef { api_version: "v1".into(), kind: "ConfigMap".into(), name: "limits".into() };
        let last = Some(Written { manager: "kubectl-edit".into(), time: at(last) });
        Difference { target, plural: "configmaps", how, since: at("03:00:00"), last, object: None }
    }

    #[test]
    fn a_use_since_then_explains_what_was_written_with_it_and_nothing_later() {
        let changed = |last: &str| difference(How::Changed, last);
        assert!(changed("03:04:06").is_use(&request("Update", used("03:04:05"))));
        assert!(!changed("03:09:00").is_use(&request("Update", used("03:04:05"))), "somebody wrote later");
        assert!(!changed("02:04:06").is_use(&request("Update", used("02:04:05"))), "known before");
        assert!(!changed("03:04:06").is_use(&request("Delete", used("03:04:05"))), "another verb");
        assert!(difference(How::Deleted, "01:00:00").is_use(&request("Delete", used("03:04:05"))));
        assert!(difference(How::New, "03:04:06").is_use(&request("Create", used("03:04:05"))));
    }

    #[test]
    fn a_recorded_change_explains_itself_and_a_found_one_nothing_that_came_after() {
        let recorded = |kind: &str, time: &str| -> UnauthorizedChange {
            let time = format!("2026-11-22T{time}Z");
            let target = json!({"apiVersion": "v1", "kind": "ConfigMap", "name": "limits"});
            serde_json::from_value(json!({"id": "i", "namespace": "shop", "object": target, "what": "w", "time": time, "kind": kind}))
                .unwrap()
        };
        let changed = difference(How::Changed, "03:04:06");
        assert!(changed.is_recorded(&recorded("BreakGlass", "03:04:05")));
        assert!(!changed.is_recorded(&recorded("FoundLater", "03:04:05")));
        assert!(!changed.is_recorded(&recorded("BreakGlass", "02:04:05")), "part of what was known");
        let looked_at = recorded("BreakGlass", &changed.since.strftime("%H:%M:%S").to_string());
        assert!(!changed.is_recorded(&looked_at), "it may be part of what is known");
    }

    #[test]
    fn it_says_what_is_known() {
        assert_eq!(
            difference(How::Changed, "03:04:05").text("shop"),
            "configmap/limits was changed in shop while Mayday did not run, last by the field manager kubectl-edit at 2026-11-22 03:04:05 UTC"
        );
        let gone = Difference { last: None, ..difference(How::Deleted, "03:04:05") };
        assert_eq!(gone.text("shop"), "configmap/limits was deleted in shop while Mayday did not run");
    }

    #[test]
    fn where_the_values_can_be_seen_they_decide() {
        let (two, three) = (json!({"data": {"a": "2"}}), json!({"data": {"a": "3"}}));
        let seen = |object| Difference { object: Some(object), ..difference(How::Changed, "03:09:00") };
        assert!(seen(&two).is_use(&request("Update", used("03:04:05"))));
        assert!(!seen(&three).is_use(&request("Update", used("03:04:05"))));
        let mut back = used("03:04:05");
        back["restoredTime"] = json!("2026-11-22T03:05:00Z");
        let one = json!({"data": {"a": "1"}});
        assert!(seen(&one).is_use(&request("Update", back.clone())), "taken back");
        assert!(!seen(&two).is_use(&request("Update", back)), "and done again by nobody known");
    }
}
