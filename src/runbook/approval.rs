//! Who has approved a Runbook or a run, and who is missing. Pure.
//!
//! Eligibility follows the policies over the namespace: members of the required groups, logged in as people,
//! never who wrote what is approved, and users of one person count once. Empty lists mean nobody.

use std::collections::BTreeSet;
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::ResourceExt;

use super::ceiling::covers;
use super::permit::Approved;
use crate::api::approval::{By, CountedDecision, Decision, SubjectKind};
use crate::api::change_policy::{ApprovalRule, ChangePolicySpec, RequiredApproval};
use crate::api::{Approval, ChangePolicy, Incident};

/// How long an approval of a Runbook counts where it does not say.
const DEFAULT_VALIDITY: SignedDuration = SignedDuration::from_hours(180 * 24);

/// What is known when approvals are counted.
#[derive(Clone, Copy, Debug)]
pub struct Facts<'a> {
    /// Namespace of the subject.
    pub namespace: &'a str,
    /// UID of the subject.
    pub uid: &'a str,
    /// Digest that must be named.
    pub digest: &'a str,
    /// The Approvals of the namespace.
    pub approvals: &'a [Arc<Approval>],
    /// All policies; those over the namespace are picked here.
    pub policies: &'a [Arc<ChangePolicy>],
}

/// What the approvals come to.
#[derive(Clone, Debug, PartialEq)]
pub struct Count {
    /// Whether they are complete.
    pub approved: Approved,
    /// The decisions that count.
    pub decisions: Vec<CountedDecision>,
    /// When the first of them lapses.
    pub until: Option<Timestamp>,
}

impl Count {
    fn missing(message: impl Into<String>) -> Count {
        Count { approved: Approved::Missing(message.into()), decisions: Vec::new(), until: None }
    }
}

/// Users that are one person under a policy.
fn same_person(rule: &ApprovalRule, one: &str, other: &str) -> bool {
    let both =
        |users: &[String]| users.iter().any(|user| user == one) && users.iter().any(|user| user == other);
    one == other || rule.aliases.iter().any(|alias| both(&alias.users))
}

fn in_groups(by: &By, groups: &[String]) -> bool {
    by.groups.iter().any(|group| groups.contains(group))
}

/// Whether somebody may count for an entry at all.
fn eligible(by: &By, entry: &RequiredApproval, policy: &ChangePolicySpec) -> bool {
    let glass = policy.break_glass.as_ref().is_some_and(|glass| in_groups(by, &glass.groups));
    !by.user.starts_with("system:") && !glass && in_groups(by, &entry.groups)
}

fn lapses(approval: &Approval) -> Option<Timestamp> {
    let by_default = || approval.metadata.creation_timestamp.as_ref()?.0.checked_add(DEFAULT_VALIDITY).ok();
    approval.spec.not_after.as_ref().map(|time| time.0).or_else(by_default)
}

/// The decisions on exactly this subject and digest that stand now, oldest first.
fn standing<'a>(facts: &Facts<'a>, kind: SubjectKind, now: Timestamp) -> Vec<(&'a Approval, &'a By)> {
    let mut found: Vec<(&Approval, &By)> = facts
        .approvals
        .iter()
        .filter(|approval| {
            let subject = &approval.spec.subject_ref;
            subject.kind == kind
                && subject.uid == facts.uid
                && subject.step.is_none()
                && approval.spec.digest == facts.digest
                && approval.metadata.deletion_timestamp.is_none()
                && lapses(approval).is_some_and(|end| now < end)
        })
        .filter_map(|approval| Some((&**approval, approval.spec.by.as_ref()?)))
        .collect();
    found.sort_by_key(|(approval, _)| {
        (approval.metadata.creation_timestamp.as_ref().map(|time| time.0), approval.name_any())
    });
    found
}

fn counted(approval: &Approval, by: &By, role: &str) -> CountedDecision {
    CountedDecision {
        name: approval.name_any(),
        uid: approval.uid().unwrap_or_default(),
        by: by.user.clone(),
        decision: approval.spec.decision,
        role: role.to_owned(),
        time: approval.metadata.creation_timestamp.clone().unwrap_or(Time(Timestamp::UNIX_EPOCH)),
    }
}

/// Counts the approvals of a Runbook. `authors` changed what the digest covers since the last approved digest;
/// `None` means that nobody knows who did, so nobody can approve.
pub fn of_runbook(facts: &Facts<'_>, authors: Option<&[String]>, now: Timestamp) -> Count {
    let Some(authors) = authors else {
        return Count::missing("nobody knows who wrote it: apply it once more while Mayday is up");
    };
    let policies: Vec<&Arc<ChangePolicy>> =
        facts.policies.iter().filter(|policy| covers(policy, facts.namespace)).collect();
    if policies.is_empty() {
        return Count::missing(format!("no ChangePolicy covers {}, so nobody can approve", facts.namespace));
    }
    let decisions = standing(facts, SubjectKind::Runbook, now);
    let mut count = Count { approved: Approved::Yes, decisions: Vec::new(), until: None };
    let mut missing = Vec::new();
    for policy in policies {
        let rule = &policy.spec.approval;
        let refused = decisions.iter().find(|(approval, by)| {
            approval.spec.decision == Decision::Reject
                && rule.required.iter().any(|entry| eligible(by, entry, &policy.spec))
        });
        if let Some((approval, by)) = refused {
            return Count {
                approved: Approved::Rejected(by.user.clone()),
                decisions: vec![counted(approval, by, "reject")],
                until: None,
            };
        }
        if rule.required.is_empty() {
            missing.push(format!("cpol/{} requires nobody, so nobody can approve", policy.name_any()));
        }
        for entry in &rule.required {
            let wrote = |by: &By| authors.iter().any(|author| same_person(rule, author, &by.user));
            let mut people: Vec<&str> = Vec::new();
            for (approval, by) in &decisions {
                let again = people.iter().any(|person| same_person(rule, person, &by.user));
                if approval.spec.decision == Decision::Approve
                    && !again
                    && !wrote(by)
                    && eligible(by, entry, &policy.spec)
                {
                    people.push(&by.user);
                    count.until = [count.until, lapses(approval)].into_iter().flatten().min();
                    if !count.decisions.iter().any(|known| Some(&known.uid) == approval.uid().as_ref()) {
                        count.decisions.push(counted(approval, by, &entry.name));
                    }
                }
            }
            let wanted = usize::try_from(entry.count).unwrap_or(usize::MAX).max(1);
            if people.len() < wanted {
                missing.push(lacking(entry, wanted - people.len(), authors));
            }
        }
    }
    if !missing.is_empty() {
        count.approved = Approved::Missing(missing.join("; "));
    }
    count
}

fn lacking(entry: &RequiredApproval, number: usize, authors: &[String]) -> String {
    if entry.groups.is_empty() {
        return format!("{} names no groups, so nobody can approve", entry.name);
    }
    let but = if authors.is_empty() {
        String::new()
    } else {
        format!(", not {} (who wrote it)", authors.join(", "))
    };
    format!("{number} more of {}{but}", entry.groups.join(" or "))
}

/// Whether every approval a run rests on still stands, and nobody eligible has rejected the digest since.
/// `rested_on` was complete when the run began; an edit of the Runbook meanwhile changes nothing about it.
pub fn still_stands(facts: &Facts<'_>, rested_on: &[CountedDecision], now: Timestamp) -> Approved {
    let decisions = standing(facts, SubjectKind::Runbook, now);
    let rules = || facts.policies.iter().filter(|policy| covers(policy, facts.namespace));
    let refused = decisions.iter().find(|(approval, by)| {
        approval.spec.decision == Decision::Reject
            && rules().any(|policy| {
                policy.spec.approval.required.iter().any(|entry| eligible(by, entry, &policy.spec))
            })
    });
    if let Some((_, by)) = refused {
        return Approved::Rejected(by.user.clone());
    }
    let present: BTreeSet<String> = decisions.iter().filter_map(|(approval, _)| approval.uid()).collect();
    let gone = rested_on.iter().find(|decision| !present.contains(&decision.uid));
    match gone {
        _ if rested_on.is_empty() => Approved::Missing("nobody approved it".to_owned()),
        Some(decision) => Approved::Missing(format!("the approval of {} no longer counts", decision.by)),
        None => Approved::Yes,
    }
}

/// Counts the approval of one run: one eligible person other than who started it. While an incident binds, the
/// lead; one peer if the lead started it.
pub fn of_run(
    facts: &Facts<'_>,
    started_by: Option<&str>,
    incident: Option<&Incident>,
    now: Timestamp,
) -> Count {
    let policies: Vec<&Arc<ChangePolicy>> =
        facts.policies.iter().filter(|policy| covers(policy, facts.namespace)).collect();
    if policies.is_empty() {
        return Count::missing(format!("no ChangePolicy covers {}, so nobody can approve", facts.namespace));
    }
    let status = incident.and_then(|incident| incident.status.as_ref());
    let binds = status.is_some_and(|status| status.binds_since_time.is_some());
    let lead = status.and_then(|status| status.lead.as_ref()).map(|lead| lead.user.as_str());
    let same =
        |one: &str, other: &str| policies.iter().any(|policy| same_person(&policy.spec.approval, one, other));
    let lead_started = lead.zip(started_by).is_some_and(|(lead, starter)| same(lead, starter));
    let may = |by: &By| {
        let member = policies.iter().all(|policy| {
            let leads = policy.spec.incident.as_ref().is_some_and(|rule| in_groups(by, &rule.leads.groups));
            let leads = leads && lead == Some(by.user.as_str()) && !by.user.starts_with("system:");
            leads || policy.spec.approval.required.iter().any(|entry| eligible(by, entry, &policy.spec))
        });
        member && !started_by.is_some_and(|starter| same(starter, &by.user))
    };
    let decisions = standing(facts, SubjectKind::RunbookRun, now);
    if let Some((approval, by)) =
        decisions.iter().find(|(approval, by)| approval.spec.decision == Decision::Reject && may(by))
    {
        return Count {
            approved: Approved::Rejected(by.user.clone()),
            decisions: vec![counted(approval, by, "reject")],
            until: None,
        };
    }
    let counts = |by: &By| may(by) && (!binds || lead_started || lead == Some(by.user.as_str()));
    match decisions.iter().find(|(approval, by)| approval.spec.decision == Decision::Approve && counts(by)) {
        Some((approval, by)) => Count {
            approved: Approved::Yes,
            decisions: vec![counted(
                approval,
                by,
                if lead == Some(by.user.as_str()) { "lead" } else { "run" },
            )],
            until: lapses(approval),
        },
        None => Count::missing(match lead {
            _ if binds && lead.is_none() => "a lead, whom nobody has claimed to be yet".to_owned(),
            Some(lead) if binds && !lead_started => format!("{lead} (lead)"),
            _ => {
                let groups: BTreeSet<&str> = policies
                    .iter()
                    .flat_map(|policy| &policy.spec.approval.required)
                    .flat_map(|entry| entry.groups.iter().map(String::as_str))
                    .collect();
                let but = started_by
                    .map_or_else(String::new, |starter| format!(", not {starter} (who started it)"));
                format!("one of {}{but}", groups.into_iter().collect::<Vec<_>>().join(" or "))
            }
        }),
    }
}

#[cfg(test)]
#[path = "approval_tests.rs"]
mod tests;
