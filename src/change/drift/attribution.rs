//! Attributes differences to decisions of the gate since the baseline: the use of a request, the step of a run, or a change
//! that was recorded as unauthorized when it happened. Pure.

use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

use crate::api::change_policy::{UnauthorizedChange, UnauthorizedKind};
use crate::api::change_request::Delta;
use crate::api::common::ObjectRef;
use crate::api::runbook_run::{ActVerb, RunbookRunStatus};
use crate::api::{ChangeRequest, RunbookRun};
use crate::change::diff;
use crate::change::drift::baseline::Drift;
use crate::change::drift::managed_fields::LastWrite;
use crate::text::instant;

/// Longest time between the verdict of the gate and the time that the API server stores in `managedFields`.
const WRITE_DELAY: SignedDuration = SignedDuration::from_secs(15);

/// A difference between an object and the baseline.
#[derive(Clone, Debug)]
pub struct Difference<'a> {
    /// The object.
    pub target: ObjectRef,
    /// Plural name of its kind, as policies name it.
    pub plural: &'a str,
    /// How it differs.
    pub drift: Drift,
    /// Time of the baseline of its kind: earlier decisions are part of the baseline.
    pub since: Timestamp,
    /// The last write, if known.
    pub last: Option<LastWrite>,
    /// The current object, if a cache holds it.
    pub object: Option<&'a Value>,
}

impl Difference<'_> {
    /// The difference as people read it. It names only the client: the user is in the audit log.
    pub fn text(&self, namespace: &str, period: &str) -> String {
        let how = match self.drift {
            Drift::Created => "was created",
            Drift::Changed => "was changed",
            Drift::Deleted => "was deleted",
        };
        let last = self.last.as_ref().map(|last| {
            let time = instant(last.time);
            format!(", last by the field manager {} at {time}", last.manager)
        });
        let last = last.unwrap_or_default();
        format!("{} {how} in {namespace} {period}{last}", self.target.display())
    }

    /// Whether it is a use of this request.
    pub fn is_use_of(&self, request: &ChangeRequest) -> bool {
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
            match (self.drift, planned.operation.as_str()) {
                (Drift::Deleted, "Delete") => time >= self.since,
                (Drift::Created, "Create") => self.is_last_write(time, &[]),
                (Drift::Changed, "Update") => self.is_last_write(time, &values),
                _ => false,
            }
        })
    }

    /// Whether it is a step of this run.
    pub fn is_step_of(&self, run: &RunbookRun) -> bool {
        run.status.iter().flat_map(RunbookRunStatus::acts).any(|act| {
            let time = act.time.as_ref().map(|time| time.0);
            let is_pod = || {
                self.target.group().is_empty()
                    && self.target.kind == "Pod"
                    && act.pods.iter().any(|pod| pod.name == self.target.name)
            };
            match (self.drift, act.verb) {
                (Drift::Changed, ActVerb::Update) => {
                    act.target.same_object(&self.target)
                        && time.is_some_and(|time| self.is_last_write(time, &act.delta))
                }
                (Drift::Created, ActVerb::Create) => {
                    act.target.same_object(&self.target)
                        && time.is_some_and(|time| self.is_last_write(time, &[]))
                }
                (Drift::Deleted, ActVerb::Evict | ActVerb::Delete) => {
                    is_pod() && time.is_some_and(|time| time >= self.since)
                }
                _ => false,
            }
        })
    }

    /// Whether it was recorded when it happened, so that it was announced then. A record of an earlier detection does not
    /// count, as later writes are not in it. A record in the second of the baseline does not count either, as it may be part
    /// of the baseline: rather an announcement twice than none.
    pub fn is_recorded(&self, change: &UnauthorizedChange) -> bool {
        let time = change.time.0;
        change.kind != UnauthorizedKind::FoundLater
            && change.object.same_object(&self.target)
            && time > self.since
            && (self.drift == Drift::Deleted || self.is_last_write(time, &[]))
    }

    /// Whether a write that was decided at `time`, with these values, is the last one. If the object is cached, it must hold
    /// the values; otherwise its last write must have followed at once.
    fn is_last_write(&self, time: Timestamp, values: &[Delta]) -> bool {
        let is_last = match (self.object, values) {
            (Some(object), [_, ..]) => values.iter().all(|delta| diff::holds(delta, object)),
            _ => self.last.as_ref().is_some_and(|last| last.time.duration_since(time) <= WRITE_DELAY),
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

    fn difference(drift: Drift, last: &str) -> Difference<'static> {
        let target = ObjectRef { api_version: "v1".into(), kind: "ConfigMap".into(), name: "limits".into() };
        let last = Some(LastWrite { manager: "kubectl-edit".into(), time: at(last) });
        Difference { target, plural: "configmaps", drift, since: at("03:00:00"), last, object: None }
    }

    #[test]
    fn a_use_explains_its_own_write_and_no_later_one() {
        let changed = |last: &str| difference(Drift::Changed, last);
        assert!(changed("03:04:06").is_use_of(&request("Update", used("03:04:05"))));
        assert!(!changed("03:09:00").is_use_of(&request("Update", used("03:04:05"))), "somebody wrote later");
        assert!(!changed("02:04:06").is_use_of(&request("Update", used("02:04:05"))), "part of the baseline");
        assert!(!changed("03:04:06").is_use_of(&request("Delete", used("03:04:05"))), "another verb");
        assert!(difference(Drift::Deleted, "01:00:00").is_use_of(&request("Delete", used("03:04:05"))));
        assert!(difference(Drift::Created, "03:04:06").is_use_of(&request("Create", used("03:04:05"))));
    }

    #[test]
    fn a_recorded_change_explains_itself_and_a_detected_one_does_not() {
        let recorded = |kind: &str, time: &str| -> UnauthorizedChange {
            let time = format!("2026-11-22T{time}Z");
            let target = json!({"apiVersion": "v1", "kind": "ConfigMap", "name": "limits"});
            serde_json::from_value(json!({"id": "i", "namespace": "shop", "object": target, "what": "w", "time": time, "kind": kind}))
                .unwrap()
        };
        let changed = difference(Drift::Changed, "03:04:06");
        assert!(changed.is_recorded(&recorded("BreakGlass", "03:04:05")));
        assert!(!changed.is_recorded(&recorded("FoundLater", "03:04:05")));
        assert!(!changed.is_recorded(&recorded("BreakGlass", "02:04:05")), "part of the baseline");
        let in_the_same_second = recorded("BreakGlass", &changed.since.strftime("%H:%M:%S").to_string());
        assert!(!changed.is_recorded(&in_the_same_second), "it may be part of the baseline");
    }

    #[test]
    fn a_difference_names_the_object_and_the_last_field_manager() {
        assert_eq!(
            difference(Drift::Changed, "03:04:05").text("shop", "while Mayday did not run"),
            "configmap/limits was changed in shop while Mayday did not run, last by the field manager kubectl-edit at 2026-11-22 03:04:05 UTC"
        );
        let gone = Difference { last: None, ..difference(Drift::Deleted, "03:04:05") };
        assert_eq!(
            gone.text("shop", "while Mayday did not run"),
            "configmap/limits was deleted in shop while Mayday did not run"
        );
    }

    #[test]
    fn cached_values_decide_whether_a_use_explains_the_object() {
        let (two, three) = (json!({"data": {"a": "2"}}), json!({"data": {"a": "3"}}));
        let seen = |object| Difference { object: Some(object), ..difference(Drift::Changed, "03:09:00") };
        assert!(seen(&two).is_use_of(&request("Update", used("03:04:05"))));
        assert!(!seen(&three).is_use_of(&request("Update", used("03:04:05"))));
        let mut back = used("03:04:05");
        back["restoredTime"] = json!("2026-11-22T03:05:00Z");
        let one = json!({"data": {"a": "1"}});
        assert!(seen(&one).is_use_of(&request("Update", back.clone())), "taken back");
        assert!(!seen(&two).is_use_of(&request("Update", back)), "and done again by an unknown user");
    }
}
