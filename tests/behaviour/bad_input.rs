//! Bad input of every kind: one clear sentence in the answer or in a condition, nothing lost, nothing half done.
//!
//! | what | shown by |
//! |---|---|
//! | alert bodies that are malformed; invalid times; unknown fields | `intake::what_is_no_message_is_refused_in_a_sentence_and_nothing_of_it_is_kept` |
//! | larger than 4 MiB, chunked, cut short; no token or a wrong one | `intake::who_has_no_token_learns_nothing_and_what_is_too_large_is_not_read`, `intake::who_sends_all_before_reading_hears_the_answer_too` |
//! | 200 labels; quotes, templates, newlines, 1 MB | `intake::hostile_labels_are_kept_short_and_harmless` |
//! | a Runbook without ServiceAccount, with two members in a step, an unknown parameter, CEL that does not compile | `bad_input::runbook` |
//! | an unknown time zone, an unknown person | `bad_input::rotation` |
//! | a request with no changes, a wildcard, a target elsewhere, a window beyond the limit, a null, the content of a Secret | `change::requests` |
//! | an Approval for a digest that does not exist, by the requester, a service account, under impersonation | `change::approvals::a_decision_that_cannot_count_is_refused_with_the_reason` |
//! | an Approval edited, or deleted afterwards | `change::approvals::a_decision_is_never_edited_and_only_its_author_takes_it_back` |
//! | a Reject deleted afterwards | `change::approvals::a_rejection_is_final` |
//! | somebody else's acknowledgement | `people::the_next_level_is_called_until_somebody_answers_and_only_the_entitled_lead`; with Mayday down `without_mayday::nobody_answers_leads_or_ends_for_somebody_else` |
//! | somebody else's lead; a hand-over without nomination | `bad_input::incident::the_lead_is_handed_over_by_the_lead_to_one_person` |
//! | an incident lowered, shrunk, its checks weakened, ended or deleted to escape | `bad_input::incident::an_incident_is_made_milder_by_nobody_alone`, and for others than the lead `people` |
//! | the same by the quorum, and by the lead | `bad_input::incident`, both tests |
//! | a policy that names a namespace that does not exist; loosened by whom it binds; an approved loosening | `bad_input::policy` |

mod incident;
mod policy;
mod rotation;
mod runbook;

use serde_json::{Value, json};

use crate::support::{Cluster, condition, eventually, fresh};

/// A namespace of one's own in the shared cluster.
fn namespace() -> String {
    let name = fresh("bad");
    Cluster::shared().admin().types(&format!("kubectl create namespace {name}")).passes();
    name
}

/// An object of ours, as it is written into a file.
fn stored(kind: &str, name: &str, spec: Value) -> Value {
    json!({"apiVersion": "mayday.dev/v1alpha1", "kind": kind, "metadata": {"name": name}, "spec": spec})
}

/// What a condition says, once it has that status.
#[track_caller]
fn told(what: &str, kind: &str, status: &str) -> String {
    eventually(&format!("{kind} of {what} is {status}"), || {
        let object = Cluster::shared().admin().reads(what);
        let seen = condition(&object, kind).filter(|seen| seen["status"] == status)?;
        let current = seen["observedGeneration"] == object["metadata"]["generation"];
        current.then(|| seen["message"].as_str().unwrap_or_default().to_owned())
    })
}

/// The API's answer is one line with those words.
#[track_caller]
fn is_one_sentence(said: &str, words: &str) {
    assert!(said.contains(words), "{words:?} is not in: {said}");
    assert_eq!(said.trim_end().lines().count(), 1, "{said}");
}
