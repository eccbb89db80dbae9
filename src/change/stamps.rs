//! What the guard's stamps cover, and which objects count without one. Pure but for the key.

use std::sync::Arc;

use jiff::Timestamp;
use kube::{Resource, ResourceExt};
use serde_json::{Value, json};

use super::diff::digest;
use crate::api::approval::Decision;
use crate::api::runbook::AUTHORS_ANNOTATION;
use crate::api::{Approval, ChangeRequest, Runbook, RunbookRun};
use crate::cluster::stamps::{ANNOTATION, Stamps};

/// An object that the guard stamps.
pub trait Stamped: Resource {
    /// What the stamp covers.
    fn content(&self) -> Value;

    /// Whether a stamp holds only for an object that is created with it.
    const IS_OF_CREATION: bool = true;
}

impl Stamped for Approval {
    fn content(&self) -> Value {
        json!({"kind": "Approval", "namespace": self.namespace(), "spec": self.spec})
    }
}

impl Stamped for ChangeRequest {
    fn content(&self) -> Value {
        json!({"kind": "ChangeRequest", "namespace": self.namespace(),
            "digest": digest::request("", &self.spec, &[]).ok()})
    }
}

impl Stamped for RunbookRun {
    fn content(&self) -> Value {
        let spec = &self.spec;
        json!({"kind": "RunbookRun", "namespace": self.namespace(), "runbook": spec.runbook_ref,
            "incident": spec.incident_ref, "parameters": spec.parameters, "dryRun": spec.dry_run, "drill": spec.drill,
            "startedBy": spec.started_by})
    }
}

impl Stamped for Runbook {
    fn content(&self) -> Value {
        json!({"kind": "Runbook", "namespace": self.namespace(), "authors": self.authors(),
            "digest": digest::runbook(&self.spec).ok()})
    }

    const IS_OF_CREATION: bool = false;
}

/// Whether the guard admitted the object as it is.
pub fn is_stamped<K: Stamped>(stamps: &Stamps, object: &K) -> bool {
    let created = object.meta().creation_timestamp.as_ref().map(|time| time.0);
    let created = created.filter(|_| K::IS_OF_CREATION);
    let stamp = object.annotations().get(ANNOTATION);
    stamps.verify(stamp.map(String::as_str), &object.content(), created)
}

/// The stamp of an object now; none as long as the keys are not known.
pub fn stamp<K: Stamped>(stamps: &Stamps, object: &K, now: Timestamp) -> Option<String> {
    stamps.make(&object.content(), now)
}

/// Whether a decision counts. One that says no counts without a stamp too: a lost key must not turn a no into a yes.
pub fn may_count(stamps: &Stamps, approval: &Approval) -> bool {
    let is_yes = matches!(approval.spec.decision, Decision::Approve | Decision::Confirm);
    !is_yes || is_stamped(stamps, approval)
}

/// The Runbook with its authors, if the guard admitted them; without a stamp they are unknown, and nobody can approve it.
pub fn with_known_authors(stamps: &Stamps, mut runbook: Runbook) -> Runbook {
    if !is_stamped(stamps, &runbook) {
        runbook.annotations_mut().remove(AUTHORS_ANNOTATION);
    }
    runbook
}

/// The decisions that may count.
pub fn counting(stamps: &Stamps, mut approvals: Vec<Arc<Approval>>) -> Vec<Arc<Approval>> {
    approvals.retain(|approval| may_count(stamps, approval));
    approvals
}

#[cfg(test)]
mod tests {
    use super::*;

    fn now() -> Timestamp {
        Timestamp::from_second(1_000_000).unwrap()
    }

    /// The kind: a field by which somebody could make a stamped object say something else.
    fn every_field_is_covered<K: Stamped + Clone + serde::Serialize + serde::de::DeserializeOwned>(
        whole: Value,
        edits: &[(&str, Value)],
    ) {
        let stamps = Stamps::with(&[7; 32]);
        let object: K = serde_json::from_value(whole.clone()).unwrap();
        let stamp = stamp(&stamps, &object, now()).unwrap();
        let stamped = |mut edited: Value| {
            edited["metadata"]["annotations"][ANNOTATION] = json!(stamp);
            is_stamped(&stamps, &serde_json::from_value::<K>(edited).unwrap())
        };
        assert!(stamped(whole.clone()));
        assert!(!is_stamped(&stamps, &object), "it carries none");
        for (pointer, value) in edits {
            let mut edited = whole.clone();
            let (parent, field) = pointer.rsplit_once('/').unwrap();
            edited.pointer_mut(parent).unwrap()[field.replace("~1", "/")] = value.clone();
            assert!(!stamped(edited), "{pointer}");
        }
    }

    fn metadata() -> Value {
        json!({"name": "x", "namespace": "shop", "creationTimestamp": now().to_string(), "annotations": {}})
    }

    #[test]
    fn a_decision_is_stamped_as_a_whole() {
        let approval = json!({"apiVersion": "mayday.dev/v1alpha1", "kind": "Approval", "metadata": metadata(), "spec": {
            "subjectRef": {"kind": "ChangeRequest", "name": "c", "uid": "cu"}, "digest": "d", "decision": "Approve",
            "comment": "ok", "incidentRefs": [], "by": {"user": "amir", "groups": ["approvers"]}}});
        every_field_is_covered::<Approval>(
            approval.clone(),
            &[
                ("/metadata/namespace", json!("till")),
                ("/metadata/creationTimestamp", json!("2026-11-22T03:00:00Z")),
                ("/spec/subjectRef/uid", json!("other")),
                ("/spec/digest", json!("e")),
                ("/spec/decision", json!("Confirm")),
                ("/spec/incidentRefs", json!([{"name": "i", "uid": "iu"}])),
                ("/spec/by/user", json!("bea")),
                ("/spec/by/groups", json!(["leads"])),
            ],
        );
        let stamps = Stamps::with(&[7; 32]);
        let decided = |decision: &str| {
            let mut approval = approval.clone();
            approval["spec"]["decision"] = json!(decision);
            may_count(&stamps, &serde_json::from_value(approval).unwrap())
        };
        assert_eq!(["Approve", "Confirm", "Reject", "Deny"].map(decided), [false, false, true, true]);
    }

    #[test]
    fn authors_without_a_stamp_are_unknown() {
        let stamps = Stamps::with(&[7; 32]);
        let whole = json!({"apiVersion": "mayday.dev/v1alpha1", "kind": "Runbook",
            "metadata": {"name": "r", "namespace": "shop", "annotations": {AUTHORS_ANNOTATION: "[\"emil\"]"}},
            "spec": {"summary": "s", "instructions": "a", "serviceAccountName": "sa", "steps": []}});
        every_field_is_covered::<Runbook>(
            whole.clone(),
            &[
                ("/metadata/namespace", json!("till")),
                ("/metadata/annotations/mayday.dev~1authors", json!("[\"lena\"]")),
                ("/spec/instructions", json!("b")),
            ],
        );
        let mut runbook: Runbook = serde_json::from_value(whole).unwrap();
        assert_eq!(with_known_authors(&stamps, runbook.clone()).authors(), None);
        let stamp = stamp(&stamps, &runbook, now()).unwrap();
        runbook.annotations_mut().insert(ANNOTATION.to_owned(), stamp);
        assert_eq!(with_known_authors(&stamps, runbook).authors(), Some(vec!["emil".to_owned()]));
    }

    #[test]
    fn a_request_and_a_run_are_stamped_with_their_person() {
        let request = json!({"apiVersion": "mayday.dev/v1alpha1", "kind": "ChangeRequest", "metadata": metadata(), "spec": {
            "reason": "r", "requester": {"user": "emil"}, "changes": []}});
        every_field_is_covered::<ChangeRequest>(
            request.clone(),
            &[
                ("/metadata/namespace", json!("till")),
                ("/spec/requester/user", json!("lena")),
                ("/spec/reason", json!("s")),
                ("/spec/maxUses", json!(9)),
                ("/spec/actors", json!([{"user": "bea"}])),
            ],
        );
        let run = json!({"apiVersion": "mayday.dev/v1alpha1", "kind": "RunbookRun", "metadata": metadata(), "spec": {
            "runbookRef": {"name": "restart"}, "startedBy": {"user": "emil"}}});
        every_field_is_covered::<RunbookRun>(
            run,
            &[
                ("/spec/startedBy/user", json!("lena")),
                ("/spec/runbookRef/name", json!("other")),
                ("/spec/dryRun", json!(true)),
                ("/spec/parameters", json!([{"name": "a", "value": "b"}])),
            ],
        );
        // Withdrawing and cancelling are edits that everybody may see.
        let stamps = Stamps::with(&[7; 32]);
        let mut withdrawn = request;
        let object: ChangeRequest = serde_json::from_value(withdrawn.clone()).unwrap();
        withdrawn["spec"]["withdrawn"] = json!(true);
        withdrawn["metadata"]["annotations"][ANNOTATION] = json!(stamp(&stamps, &object, now()));
        assert!(is_stamped(&stamps, &serde_json::from_value::<ChangeRequest>(withdrawn).unwrap()));
    }
}
