//! Bad input of every kind: one clear sentence in the answer or in a condition, nothing lost, nothing half done.
//!
//! | what | shown by |
//! |---|---|
//! | an alert body that is malformed; invalid times; unknown fields, which are ignored | `intake::a_malformed_post_is_refused_in_a_sentence_and_leaves_nothing` |
//! | an alert body larger than 4 MiB, or unauthenticated | `intake::a_sender_without_token_learns_nothing_and_large_posts_are_not_read` |
//! | the same from senders that read only when all is sent; chunked; cut short | `intake::a_sender_that_reads_only_after_sending_gets_the_answer_too` |
//! | an alert message that was cut short | `intake::a_truncated_message_clears_only_the_alerts_that_it_lists` |
//! | an alert that the API server does not take | `intake::a_post_that_the_api_server_refuses_is_to_be_sent_again` |
//! | values of the chart that make no sense | `chart::values_that_make_no_sense_are_named` |
//! | 200 labels; quotes, templates, newlines, 1 MB | `intake::hostile_labels_are_kept_short_and_harmless` |
//! | a Runbook or a run with an unknown parameter; two members in a step; CEL that does not compile; no ServiceAccount named | `bad_input::runbook::a_runbook_that_could_not_act_is_refused_with_what_and_where` |
//! | a Runbook whose ServiceAccount is not there | `bad_input::runbook::a_runbook_whose_service_account_is_not_there_waits_for_it_and_says_how` |
//! | an unknown time zone | `bad_input::rotation::with_an_unknown_time_zone_the_person_whom_a_level_names_is_paged` |
//! | a freeze with equal or unreadable times, an unknown time zone, nothing or one thing twice to stop | `bad_input::freeze::a_freeze_whose_times_mean_nothing_is_refused_with_what_and_where` |
//! | a freeze of a policy that does not exist | `bad_input::freeze::a_freeze_of_a_policy_that_is_not_there_says_so` |
//! | an unknown person, in a turn or an override | `bad_input::rotation::an_unknown_person_is_named_and_the_lower_layer_stays_on_duty` |
//! | a request with no changes, a wildcard or foreign-namespace target, a window beyond the limit, a null in a patch, Secret data | `change::requests::an_invalid_request_is_refused_and_not_stored` |
//! | a request for a target that is not there, or belongs to no namespace; of more values or bytes than can be kept | `change::requests::a_request_whose_target_cannot_be_changed_from_here_is_never_approvable` |
//! | an Approval for a digest that does not exist, by the requester, by a service account, under impersonation | `change::approvals::a_decision_that_cannot_count_is_refused_with_the_reason` |
//! | an Approval edited or deleted afterwards | `change::approvals::a_decision_is_never_edited_and_only_its_author_withdraws_it` |
//! | a Reject deleted afterwards | `change::approvals::a_rejection_is_final` |
//! | decisions, with the guard taken away | `policies::decisions_and_runs_hold_though_the_guard_was_taken_away` |
//! | an acknowledgement in another person's name | `people::the_next_level_is_paged_until_a_person_answers_and_only_leads_lead` |
//! | the same while Mayday is down | `without_mayday::nobody_answers_leads_or_ends_for_somebody_else` |
//! | a claim of the lead in another person's name; a handoff without nomination; what the lead may | `bad_input::incident::the_lead_is_handed_over_by_the_lead_to_one_person` |
//! | an incident lowered, shrunk, proved by less, begun later or in the future, ended or deleted to escape; what a quorum may | `bad_input::incident::an_incident_is_made_milder_by_nobody_alone` |
//! | an incident with as many words as it may hold, and more | `bad_input::incident::an_incident_that_is_full_of_words_can_still_be_worked_on` |
//! | an unreadable instant, now and stored before | `bad_input::incident::an_unreadable_instant_is_refused_and_a_stored_one_stops_nothing_else` |
//! | a rollback, a compensation or a timeout that means nothing, two checks of one name | `kinds::a_field_without_meaning_or_with_two_meanings_is_refused` |
//! | a status that the API server does not take | `bad_input::incident::what_mayday_cannot_write_is_told_where_people_look` |
//! | an override that another one hides | `bad_input::rotation::an_override_has_effect_except_while_a_younger_one_hides_it` |
//! | a policy naming a namespace that does not exist | `bad_input::policy::a_namespace_that_does_not_exist_is_said_and_the_others_are_protected` |
//! | a policy loosened by whom it binds; an approved loosening | `bad_input::policy::whom_a_policy_binds_loosens_it_only_with_its_approvals` |

mod freeze;
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

/// An object of a Mayday kind, as it is written into a file.
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
