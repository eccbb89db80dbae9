//! Whose approvals are missing, in words. Pure.

use std::collections::BTreeSet;

use super::binding::Binding;
use super::quorum::{NOBODY, Rules, Subject, is_excluded, leads, may_lead, person};
use crate::api::approval::By;
use crate::api::change_policy::{ChangePolicySpec, RequiredApproval};

/// The missing approvals, in words; empty if enough people approve.
pub fn missing(subject: &Subject<'_>, rules: &Rules<'_>, yes: &[&By]) -> Vec<String> {
    if let Some(why) = impossible(rules) {
        return vec![why];
    }
    let mut missing: Vec<String> =
        rules.bindings.iter().filter_map(|binding| missing_lead(subject, rules, yes, binding)).collect();
    // If two incidents bind, neither lead counts as a peer.
    let leads: BTreeSet<&str> = rules
        .bindings
        .iter()
        .filter_map(|binding| binding.lead.as_deref())
        .map(|lead| person(lead, rules.policies))
        .collect();
    for policy in rules.policies {
        if rules.is_led_by_any(policy) {
            missing.extend(missing_under_freeze(subject, rules, yes, policy));
            continue;
        }
        for entry in &policy.approval.required {
            let peers = |count: i32| missing_peers(subject, rules, yes, entry, count, &leads);
            if rules.bindings.is_empty() {
                missing.extend(peers(entry.count).map(|lacking| lacking.phrase));
            }
            for binding in rules.bindings {
                let own =
                    binding.lead.as_deref().is_some_and(|lead| is_excluded(lead, subject, rules.policies));
                // The lead counts as one, except in the lead's own request.
                let count = match (rules.one_peer, own) {
                    (true, _) => 1,
                    (false, true) => entry.count,
                    (false, false) => (entry.count - 1).max(1),
                };
                missing.extend(peers(count).map(|lacking| lacking.phrase));
            }
        }
    }
    let mut said = BTreeSet::new();
    missing.retain(|phrase| said.insert(phrase.clone()));
    missing
}

/// Why an approval is impossible: an empty list allows no approver.
fn impossible(rules: &Rules<'_>) -> Option<String> {
    let required = || rules.policies.iter().map(|policy| &policy.approval.required);
    let why = if rules.policies.is_empty() {
        "here: no ChangePolicy is over this namespace"
    } else if required().any(Vec::is_empty) {
        "here: spec.approval.required of the policy is empty"
    } else if required().flatten().any(|entry| entry.count > 0 && entry.groups.is_empty()) {
        "here: an entry of spec.approval.required of the policy names no group"
    } else if rules.led_by_any().iter().any(|policy| leads(policy).is_empty()) {
        "here while changes are frozen: spec.incident.leads of the policy names no group"
    } else {
        return None;
    };
    Some(format!("{NOBODY} {why}"))
}

fn missing_lead(subject: &Subject<'_>, rules: &Rules<'_>, yes: &[&By], binding: &Binding) -> Option<String> {
    let Some(lead) = binding.lead.as_deref() else {
        let who = if rules.names.leads.is_empty() {
            "somebody entitled".to_owned()
        } else {
            rules.names.leads.join(" or ")
        };
        return Some(format!("a lead ({who} must claim it: {})", binding.claim()));
    };
    let agreed = yes.iter().any(|by| by.user == lead);
    let own = is_excluded(lead, subject, rules.policies);
    (!agreed && !own).then(|| format!("{lead} (lead)"))
}

/// The missing people under a policy whose changes are frozen: one of its leads, and the peers of the lead rule. Of
/// several leads who approve, the one counts as the lead who leaves the fewest missing; the others are peers.
fn missing_under_freeze(
    subject: &Subject<'_>,
    rules: &Rules<'_>,
    yes: &[&By],
    policy: &ChangePolicySpec,
) -> Vec<String> {
    let peers = |lead: Option<&str>| -> Vec<Lacking> {
        let lead: BTreeSet<&str> = lead.into_iter().collect();
        let entries = policy.approval.required.iter();
        entries
            .filter_map(|entry| missing_peers(subject, rules, yes, entry, (entry.count - 1).max(1), &lead))
            .collect()
    };
    let agreed = yes.iter().filter(|by| may_lead(by, policy)).map(|by| person(&by.user, rules.policies));
    let all = |lacking: &Vec<Lacking>| lacking.iter().map(|entry| entry.people).sum::<usize>();
    let phrases = |lacking: Vec<Lacking>| lacking.into_iter().map(|entry| entry.phrase);
    if let Some(best) = agreed.map(|lead| peers(Some(lead))).min_by_key(all) {
        return phrases(best).collect();
    }
    let mut could: Vec<&str> = rules.names.leads.iter().map(String::as_str).collect();
    could.retain(|user| !is_excluded(user, subject, rules.policies));
    let who = phrase(1, &could, leads(policy));
    let role = if could.len() > 1 { "leads" } else { "lead" };
    std::iter::once(format!("{who} ({role})")).chain(phrases(peers(None))).collect()
}

/// People whom an entry lacks.
struct Lacking {
    /// How many.
    people: usize,
    /// Who they could be: `one of amir, bea`.
    phrase: String,
}

/// The missing people of an entry, in words; none if enough approve. `leads` count as no peers.
fn missing_peers(
    subject: &Subject<'_>,
    rules: &Rules<'_>,
    yes: &[&By],
    entry: &RequiredApproval,
    count: i32,
    leads: &BTreeSet<&str>,
) -> Option<Lacking> {
    let peers: BTreeSet<&str> = yes
        .iter()
        .filter(|by| by.groups.iter().any(|group| entry.groups.contains(group)))
        .map(|by| person(&by.user, rules.policies))
        .filter(|user| !leads.contains(user))
        .collect();
    let lacking = usize::try_from(count).unwrap_or(0).saturating_sub(peers.len());
    if lacking == 0 {
        return None;
    }
    let could: Vec<&str> = rules
        .names
        .approvers
        .iter()
        .map(String::as_str)
        .filter(|user| !peers.contains(person(user, rules.policies)))
        .filter(|user| {
            !leads.contains(person(user, rules.policies)) && !is_excluded(user, subject, rules.policies)
        })
        .collect();
    Some(Lacking { people: lacking, phrase: phrase(lacking, &could, &entry.groups) })
}

fn phrase(lacking: usize, could: &[&str], groups: &[String]) -> String {
    let number = ["no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"]
        .get(lacking)
        .copied()
        .unwrap_or("more");
    if could.is_empty() {
        return match groups {
            [group] => format!("{number} of group {group}"),
            groups => format!("{number} of groups {}", groups.join(", ")),
        };
    }
    if could.len() == lacking { could.join(" and ") } else { format!("{number} of {}", could.join(", ")) }
}
