//! Whether enough of the right people approve (docs/rules.md#quorum, #lead-rule). Pure.
//!
//! Normally every required entry of every policy must reach its count; the requester never counts. While an incident
//! binds, the current lead must approve as well, and at least one person who is neither lead nor requester: approvals are
//! never weaker during an incident. Under a freeze of changes without an incident, any one lead of the policy stands for
//! the lead. An empty list allows no approver.

use std::collections::BTreeSet;
use std::sync::Arc;

use jiff::Timestamp;
use kube::ResourceExt;

use super::binding::Binding;
use super::missing::missing;
use crate::api::Approval;
use crate::api::approval::{By, CountedDecision, Decision, SubjectKind};
use crate::api::change_policy::ChangePolicySpec;
use crate::api::common::stored_time;

/// The object of a decision.
#[derive(Clone, Debug)]
pub struct Subject<'a> {
    /// Its kind.
    pub kind: SubjectKind,
    /// Its name.
    pub name: &'a str,
    /// Its UID.
    pub uid: &'a str,
    /// Its current digest.
    pub digest: &'a str,
    /// Users who never count: the requester, or the authors.
    pub excluded: BTreeSet<String>,
}

/// People by name, from rotations. Kubernetes cannot list the members of a group.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Names {
    /// Users of the approval rotation.
    pub approvers: Vec<String>,
    /// Users of the lead rotation.
    pub leads: Vec<String>,
}

/// Beginning of the phrase for an approval that is impossible.
pub(super) const NOBODY: &str = "nobody can approve";

/// Whether an approval is impossible as things are, by what is missing.
pub fn is_impossible(missing: &str) -> bool {
    missing.starts_with(NOBODY)
}

/// The missing approvers within a sentence: `amir and bea must approve`, or why an approval is impossible.
pub fn must_approve(missing: &str) -> String {
    if is_impossible(missing) { missing.to_owned() } else { format!("{missing} must approve") }
}

/// As [`must_approve`], as a sentence without its full stop; `to` comes before the names of people.
pub fn sentence(to: &str, missing: &str) -> String {
    let beginning = if is_impossible(missing) { "As things are, " } else { to };
    format!("{beginning}{}", must_approve(missing))
}

/// Result of evaluating the approvals of a subject.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Outcome {
    /// Enough people approve, and none rejects.
    pub approved: bool,
    /// The eligible person who rejected it, for good.
    pub rejected_by: Option<String>,
    /// The decisions that count.
    pub counted: Vec<CountedDecision>,
    /// The missing approvals, in words; empty once approved.
    pub missing: Vec<String>,
    /// Time of the last approval that counts.
    pub complete_time: Option<Timestamp>,
    /// Earliest time at which an approval that counts lapses.
    pub lapses_time: Option<Timestamp>,
}

impl Outcome {
    /// The missing approvers in one phrase: `lena (lead) and one of amir, bea`.
    pub fn missing_phrase(&self) -> String {
        self.missing.join(" and ")
    }
}

/// Why an approval does not count.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum NotCounted {
    /// It names another subject, or an earlier state of it.
    OtherContent,
    /// Its author is unknown.
    Unstamped,
    /// A ServiceAccount never approves.
    ServiceAccount,
    /// Its author is in a break-glass group.
    BreakGlass,
    /// Its author is the requester or an author of the subject.
    Excluded,
    /// Its author is in none of the groups and not the lead.
    NotEligible,
    /// No policy covers the subject.
    NoPolicy,
    /// It does not name every incident that binds.
    OtherIncidents,
    /// It has lapsed.
    Lapsed,
    /// It is being deleted.
    Withdrawn,
    /// It answers a question, and none is asked.
    Answer,
}

impl NotCounted {
    /// The reason in words, with the next step.
    pub fn message(self) -> &'static str {
        match self {
            NotCounted::OtherContent => {
                "it names another digest or UID: look at the subject and approve it as it is now"
            }
            NotCounted::Unstamped => "Mayday did not admit it, so nobody knows who made it: decide again",
            NotCounted::ServiceAccount => "service accounts never approve: a person must",
            NotCounted::BreakGlass => "whoever broke the glass cannot approve: another person must",
            NotCounted::Excluded => {
                "it is by the requester or an author, who never count: somebody else must approve"
            }
            NotCounted::NotEligible => "its author is in none of the groups that approve, and does not lead",
            NotCounted::NoPolicy => {
                "no ChangePolicy is over its subject: without one nobody can approve here"
            }
            NotCounted::OtherIncidents => "it does not name every incident that binds now: approve again",
            NotCounted::Lapsed => "its time is over: approve again",
            NotCounted::Withdrawn => "it is being deleted",
            NotCounted::Answer => "Confirm and Deny answer questions; here Approve or Reject is asked for",
        }
    }
}

/// Rules under which approvals are evaluated.
#[derive(Clone, Debug)]
pub struct Rules<'a> {
    /// The policies over the subject; all must be satisfied.
    pub policies: &'a [&'a ChangePolicySpec],
    /// The incidents that bind.
    pub bindings: &'a [Binding],
    /// People by name.
    pub names: &'a Names,
    /// Whether one peer beside the lead is enough even if one of them asks: only for an end without proof.
    pub one_peer: bool,
    /// Those of the policies whose changes a freeze stops (docs/rules.md#freeze-without-incident).
    pub frozen: &'a [&'a ChangePolicySpec],
}

impl Rules<'_> {
    /// The policies under which any lead of theirs stands for the lead: none while an incident binds, which has its own.
    pub(super) fn led_by_any(&self) -> &[&ChangePolicySpec] {
        if self.bindings.is_empty() { self.frozen } else { &[] }
    }

    pub(super) fn is_led_by_any(&self, policy: &ChangePolicySpec) -> bool {
        self.led_by_any().iter().any(|frozen| std::ptr::eq(*frozen, policy))
    }

    /// Whether a person may stand for the lead under any of the policies.
    fn stands_for_lead(&self, by: &By) -> bool {
        self.led_by_any().iter().any(|policy| may_lead(by, policy))
    }
}

/// Whether a person is in a group that leads under a policy.
pub(super) fn may_lead(by: &By, policy: &ChangePolicySpec) -> bool {
    leads(policy).iter().any(|group| by.groups.contains(group))
}

/// The groups that lead under a policy.
pub(super) fn leads(policy: &ChangePolicySpec) -> &[String] {
    policy.incident.as_ref().map_or(&[], |rule| &rule.leads.groups)
}

/// Evaluates every approval of a subject.
pub fn evaluate(
    subject: &Subject<'_>,
    rules: &Rules<'_>,
    approvals: &[Arc<Approval>],
    now: Timestamp,
) -> Outcome {
    let mut outcome = Outcome::default();
    let mut yes: Vec<&By> = Vec::new();
    for approval in approvals {
        let Ok(by) = counts(approval, subject, rules, now) else { continue };
        let time = approval.metadata.creation_timestamp.as_ref().map_or(now, |time| time.0);
        outcome.counted.push(CountedDecision {
            name: approval.name_any(),
            uid: approval.uid().unwrap_or_default(),
            by: by.user.clone(),
            decision: approval.spec.decision,
            role: role(by, rules),
            time: stored_time(time),
        });
        if approval.spec.decision == Decision::Reject {
            outcome.rejected_by.get_or_insert_with(|| by.user.clone());
        } else {
            yes.push(by);
            outcome.complete_time = outcome.complete_time.max(Some(time));
            let lapses = approval.spec.not_after.as_ref().map(|time| time.0);
            outcome.lapses_time = [outcome.lapses_time, lapses].into_iter().flatten().min();
        }
    }
    outcome.counted.sort_by(|a, b| (&a.time, &a.name).cmp(&(&b.time, &b.name)));
    outcome.missing = missing(subject, rules, &yes);
    outcome.approved = outcome.missing.is_empty() && outcome.rejected_by.is_none();
    outcome
}

/// Whether an approval counts, and whose it is.
///
/// # Errors
/// Why it does not.
pub fn counts<'a>(
    approval: &'a Approval,
    subject: &Subject<'_>,
    rules: &Rules<'_>,
    now: Timestamp,
) -> Result<&'a By, NotCounted> {
    let spec = &approval.spec;
    let reference = &spec.subject_ref;
    if reference.kind != subject.kind
        || reference.name != subject.name
        || reference.uid != subject.uid
        || reference.step.is_some()
        || spec.digest != subject.digest
    {
        return Err(NotCounted::OtherContent);
    }
    if matches!(spec.decision, Decision::Confirm | Decision::Deny) {
        return Err(NotCounted::Answer);
    }
    if approval.metadata.deletion_timestamp.is_some() {
        return Err(NotCounted::Withdrawn);
    }
    let by = spec.by.as_ref().ok_or(NotCounted::Unstamped)?;
    eligible(by, rules)?;
    // A rejection counts from every eligible person, even the requester, and needs nothing else.
    if spec.decision == Decision::Reject {
        return Ok(by);
    }
    if is_excluded(&by.user, subject, rules.policies) {
        return Err(NotCounted::Excluded);
    }
    if spec.not_after.as_ref().is_some_and(|time| time.0 <= now) {
        return Err(NotCounted::Lapsed);
    }
    let named = |binding: &Binding| spec.incident_refs.contains(&binding.incident);
    if subject.kind == SubjectKind::ChangeRequest && !rules.bindings.iter().all(named) {
        return Err(NotCounted::OtherIncidents);
    }
    Ok(by)
}

/// Whether a person may decide under these rules: in a group of a required entry, or the lead.
///
/// # Errors
/// Why the person may not.
pub fn eligible(by: &By, rules: &Rules<'_>) -> Result<(), NotCounted> {
    if by.user.starts_with("system:serviceaccount:") {
        return Err(NotCounted::ServiceAccount);
    }
    let in_any = |groups: &[String]| by.groups.iter().any(|group| groups.contains(group));
    let broke =
        |policy: &&ChangePolicySpec| policy.break_glass.as_ref().is_some_and(|glass| in_any(&glass.groups));
    if rules.policies.iter().any(broke) {
        return Err(NotCounted::BreakGlass);
    }
    let member = rules
        .policies
        .iter()
        .any(|policy| policy.approval.required.iter().any(|entry| in_any(&entry.groups)));
    let leads = rules.bindings.iter().any(|binding| binding.lead.as_deref() == Some(&by.user))
        || rules.stands_for_lead(by);
    match (member || leads, rules.policies.is_empty()) {
        (true, _) => Ok(()),
        (false, true) => Err(NotCounted::NoPolicy),
        (false, false) => Err(NotCounted::NotEligible),
    }
}

/// The name that identifies a person with several user names (docs/rules.md#aliases): the first in alphabetical order.
/// Lists of aliases that share a name are about one person, even in different policies.
pub fn person<'a>(user: &'a str, policies: &[&'a ChangePolicySpec]) -> &'a str {
    let mut names = BTreeSet::from([user]);
    loop {
        let known = names.len();
        for alias in policies.iter().flat_map(|policy| &policy.approval.aliases) {
            if alias.users.iter().any(|name| names.contains(name.as_str())) {
                names.extend(alias.users.iter().map(String::as_str));
            }
        }
        if names.len() == known {
            return names.first().copied().unwrap_or(user);
        }
    }
}

/// Whether a user is one of those who never count, under any of their names.
pub(super) fn is_excluded(user: &str, subject: &Subject<'_>, policies: &[&ChangePolicySpec]) -> bool {
    subject.excluded.iter().any(|excluded| person(excluded, policies) == person(user, policies))
}

fn role(by: &By, rules: &Rules<'_>) -> String {
    if rules.bindings.iter().any(|binding| binding.lead.as_deref() == Some(&by.user))
        || rules.stands_for_lead(by)
    {
        return "lead".to_owned();
    }
    rules
        .policies
        .iter()
        .flat_map(|policy| &policy.approval.required)
        .find(|entry| by.groups.iter().any(|group| entry.groups.contains(group)))
        .map_or_else(String::new, |entry| entry.name.clone())
}

#[cfg(test)]
#[path = "quorum_tests.rs"]
mod tests;
