//! What is stamped on an object when it is written: who asks, decides, starts and writes, as the API server
//! authenticated them. Pure. What a client wrote there may only repeat it.

use std::collections::BTreeSet;

use jiff::Timestamp;
use json_patch::{AddOperation, Patch, PatchOperation, jsonptr::PointerBuf};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::api::runbook::AUTHORS_ANNOTATION;
use crate::api::{Approval, Runbook, change_request::ChangeRequestSpec};
use crate::change::stamps::{self, Stamped};
use crate::cluster::stamps::{ANNOTATION, Stamps};
use crate::webhook::caller::Caller;
use crate::webhook::verdict::Verdict;

/// Maximum number of groups that are stored with a decision.
const MAX_GROUPS: usize = 64;

/// `spec.requester` or `spec.startedBy`: the caller. A client may write only the caller there.
///
/// # Errors
/// The refusal when another person is named.
pub fn user(field: &str, written: Option<&str>, caller: &Caller) -> Result<Patch, String> {
    match written {
        Some(user) if user == caller.user => Ok(Patch(Vec::new())),
        Some(user) => Err(not_you(field, user, caller)),
        None => Ok(Patch(vec![add(&["spec", field], json!({"user": caller.user}))])),
    }
}

/// `spec.by` of a decision: the caller with the groups that say what it may decide. Beyond `MAX_GROUPS` the groups
/// that policies name are kept first.
///
/// # Errors
/// The refusal when another person is named.
pub fn by(approval: &Approval, caller: &Caller, named: &BTreeSet<String>) -> Result<Patch, String> {
    if let Some(by) = approval.spec.by.as_ref().filter(|by| by.user != caller.user) {
        return Err(not_you("by", &by.user, caller));
    }
    let mut groups = caller.groups.clone();
    if groups.len() > MAX_GROUPS {
        groups.sort_by_key(|group| !named.contains(group));
        groups.truncate(MAX_GROUPS);
    }
    Ok(Patch(vec![add(&["spec", "by"], json!({"user": caller.user, "groups": groups}))]))
}

fn not_you(field: &str, user: &str, caller: &Caller) -> String {
    format!("Refused: spec.{field} names {user}, but you are {}; leave it out, it is stamped", caller.user)
}

/// The annotation with everybody who changed what the digest covers since the last approved digest. It replaces what
/// the client wrote there.
///
/// `digest` gives the digest of a Runbook.
pub fn authors(
    new: &Runbook,
    old: Option<&Runbook>,
    caller: &Caller,
    digest: impl Fn(&Runbook) -> Option<String>,
) -> Patch {
    let authors = match old {
        None => BTreeSet::from([caller.user.clone()]),
        Some(old) => {
            let before = digest(old);
            let stored: BTreeSet<String> = old.authors().unwrap_or_default().into_iter().collect();
            let approved = old.status.as_ref().and_then(|status| status.approved_digest.clone());
            if before.is_some() && before == digest(new) {
                stored
            } else if before.is_some() && before == approved {
                BTreeSet::from([caller.user.clone()])
            } else {
                stored.into_iter().chain([caller.user.clone()]).collect()
            }
        }
    };
    // A set of texts is always JSON.
    let value = json!(authors).to_string();
    let held = new.metadata.annotations.as_ref();
    if held.and_then(|held| held.get(AUTHORS_ANNOTATION)) == Some(&value) {
        return Patch(Vec::new());
    }
    let mut operations = Vec::new();
    if held.is_none() {
        operations.push(add(&["metadata", "annotations"], json!({})));
    }
    operations.push(add(&["metadata", "annotations", AUTHORS_ANNOTATION], json!(value)));
    Patch(operations)
}

/// The changes of a patch, and the stamp of the object that they make.
///
/// # Errors
/// The refusal as long as the keys are not known, or if the patched object cannot be read.
pub fn sealed<K>(
    object: &K,
    patch: Patch,
    namespace: &str,
    stamps: &Stamps,
    now: Timestamp,
) -> Result<Patch, Verdict>
where
    K: Stamped + Serialize + DeserializeOwned,
{
    let unreadable = |error: &dyn std::fmt::Display| Verdict::unavailable(format!("Refused: {error}"));
    let mut whole = serde_json::to_value(object).map_err(|error| unreadable(&error))?;
    json_patch::patch(&mut whole, &patch).map_err(|error| unreadable(&error))?;
    whole["metadata"]["namespace"] = json!(namespace);
    let mut made: K = serde_json::from_value(whole).map_err(|error| unreadable(&error))?;
    // A stamp that holds stays: an edit that it does not cover needs no other.
    if !K::IS_OF_CREATION && stamps::is_stamped(stamps, &made) {
        return Ok(patch);
    }
    let stamp = stamps::stamp(stamps, &made, now).ok_or_else(|| {
        Verdict::unavailable("Refused: Mayday does not know its keys yet; do the same again in a moment")
    })?;
    let mut operations = patch.0;
    if made.meta_mut().annotations.is_none() {
        operations.push(add(&["metadata", "annotations"], json!({})));
    }
    operations.push(add(&["metadata", "annotations", ANNOTATION], json!(stamp)));
    Ok(Patch(operations))
}

/// Who is stored as requester, if anybody.
pub fn requester(spec: &ChangeRequestSpec) -> Option<&str> {
    spec.requester.as_ref().map(|requester| requester.user.as_str())
}

fn add(path: &[&str], value: Value) -> PatchOperation {
    PatchOperation::Add(AddOperation { path: PointerBuf::from_tokens(path.iter().copied()), value })
}

#[cfg(test)]
mod tests {
    use serde_json::from_value;

    use super::*;

    /// The kind: an object that carries a stamp of something else.
    #[test]
    fn the_stamp_covers_what_the_guard_wrote() {
        let (stamps, now) = (Stamps::with(&[7; 32]), Timestamp::from_second(1_000_000).unwrap());
        for annotations in [json!(null), json!({"a": "b"}), json!({ANNOTATION: "v1:1:00"})] {
            let mut made = approval();
            made.metadata.annotations = from_value(annotations.clone()).unwrap();
            let patch = by(&made, &emil(), &BTreeSet::new()).unwrap();
            let patch = sealed(&made, patch, "shop", &stamps, now).unwrap();
            let mut stored = applied(&patch, serde_json::to_value(&made).unwrap());
            stored["metadata"]["namespace"] = json!("shop");
            stored["metadata"]["creationTimestamp"] = json!(now.to_string());
            assert!(
                stamps::is_stamped(&stamps, &from_value::<Approval>(stored.clone()).unwrap()),
                "{annotations}"
            );
            stored["spec"]["by"]["user"] = json!("lena");
            assert!(!stamps::is_stamped(&stamps, &from_value::<Approval>(stored).unwrap()));
        }
        assert!(sealed(&approval(), Patch(Vec::new()), "shop", &Stamps::default(), now).is_err(), "no keys");
        let written = runbook("a", Some("[\"emil\"]"), None);
        let patch = sealed(&written, Patch(Vec::new()), "shop", &stamps, now).unwrap();
        let mut sealed_once: Runbook =
            from_value(applied(&patch, serde_json::to_value(&written).unwrap())).unwrap();
        sealed_once.spec.summary = "another".into();
        assert_eq!(sealed(&sealed_once, Patch(Vec::new()), "shop", &stamps, now).unwrap(), Patch(Vec::new()));
        sealed_once.spec.instructions = Some("b".into());
        assert_ne!(sealed(&sealed_once, Patch(Vec::new()), "shop", &stamps, now).unwrap(), Patch(Vec::new()));
    }

    fn emil() -> Caller {
        Caller { user: "emil".into(), groups: vec!["shop-engineers".into()], direct: true }
    }

    fn applied(patch: &Patch, mut value: Value) -> Value {
        json_patch::patch(&mut value, patch).unwrap();
        value
    }

    #[test]
    fn the_requester_is_stamped_from_the_login() {
        let patch = user("requester", None, &emil()).unwrap();
        assert_eq!(applied(&patch, json!({"spec": {}})), json!({"spec": {"requester": {"user": "emil"}}}));
        assert_eq!(user("requester", Some("emil"), &emil()).unwrap(), Patch(Vec::new()));
    }

    #[test]
    fn another_name_in_a_stamped_field_is_refused() {
        let message = user("startedBy", Some("lena"), &emil()).unwrap_err();
        assert_eq!(
            message,
            "Refused: spec.startedBy names lena, but you are emil; leave it out, it is stamped"
        );
        let mut approval = approval();
        approval.spec.by = from_value(json!({"user": "lena"})).unwrap();
        assert!(by(&approval, &emil(), &BTreeSet::new()).is_err());
    }

    fn approval() -> Approval {
        from_value(json!({
            "apiVersion": "mayday.dev/v1alpha1", "kind": "Approval", "metadata": {},
            "spec": {"subjectRef": {"kind": "Runbook", "name": "r", "uid": "u"}, "digest": "d", "decision": "Approve"}
        }))
        .unwrap()
    }

    #[test]
    fn groups_are_the_logins_own_whatever_was_written() {
        let mut approval = approval();
        approval.spec.by = from_value(json!({"user": "emil", "groups": ["shop-leads"]})).unwrap();
        let patch = by(&approval, &emil(), &BTreeSet::new()).unwrap();
        let stamped = applied(&patch, serde_json::to_value(&approval).unwrap());
        assert_eq!(stamped["spec"]["by"], json!({"user": "emil", "groups": ["shop-engineers"]}));
    }

    #[test]
    fn the_groups_that_decide_are_kept_where_there_are_too_many() {
        let mut caller = emil();
        caller.groups =
            (0..100).map(|number| format!("g{number}")).chain(["shop-leads".to_owned()]).collect();
        let patch = by(&approval(), &caller, &BTreeSet::from(["shop-leads".to_owned()])).unwrap();
        let stamped = applied(&patch, serde_json::to_value(approval()).unwrap());
        let groups = stamped["spec"]["by"]["groups"].as_array().unwrap();
        assert_eq!(groups.len(), 64);
        assert_eq!(groups[0], "shop-leads");
    }

    fn runbook(instructions: &str, authors: Option<&str>, approved: Option<&str>) -> Runbook {
        from_value(json!({
            "apiVersion": "mayday.dev/v1alpha1", "kind": "Runbook",
            "metadata": {"annotations": authors.map(|authors| json!({AUTHORS_ANNOTATION: authors}))},
            "spec": {"summary": "s", "instructions": instructions, "serviceAccountName": "a", "steps": []},
            "status": {"approvedDigest": approved}
        }))
        .unwrap()
    }

    fn authors_of(new: &Runbook, old: Option<&Runbook>) -> Vec<String> {
        let digest = |runbook: &Runbook| runbook.spec.instructions.clone();
        let patch = authors(new, old, &emil(), digest);
        let stamped: Runbook = from_value(applied(&patch, serde_json::to_value(new).unwrap())).unwrap();
        stamped.authors().unwrap()
    }

    #[test]
    fn a_new_runbook_has_one_author_whatever_was_written() {
        assert_eq!(authors_of(&runbook("a", None, None), None), ["emil"]);
        assert_eq!(authors_of(&runbook("a", Some("[]"), None), None), ["emil"]);
    }

    #[test]
    fn an_edit_that_the_digest_does_not_cover_has_no_author() {
        let old = runbook("a", Some("[\"lena\"]"), None);
        assert_eq!(authors_of(&runbook("a", Some("[]"), None), Some(&old)), ["lena"]);
    }

    #[test]
    fn edits_of_an_unapproved_runbook_add_authors() {
        let old = runbook("a", Some("[\"lena\"]"), Some("older"));
        assert_eq!(authors_of(&runbook("b", Some("[]"), None), Some(&old)), ["emil", "lena"]);
    }

    #[test]
    fn an_edit_of_an_approved_runbook_begins_a_new_list() {
        let old = runbook("a", Some("[\"lena\"]"), Some("a"));
        assert_eq!(authors_of(&runbook("b", Some("[\"lena\"]"), None), Some(&old)), ["emil"]);
    }
}
