//! Who has approved a Runbook or a run, and who is missing. Pure.
//!
//! [`crate::change::approval::quorum`] says who is eligible and how many are needed. A Runbook adds to it: its authors
//! never count, an approval lapses, and a run that has begun relies on the approvals with which it began.

use std::collections::BTreeSet;
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use kube::ResourceExt;

use crate::api::approval::{CountedDecision, Decision, SubjectKind};
use crate::api::change_policy::ChangePolicySpec;
use crate::api::change_request::PlannedChange;
use crate::api::common::ObjectRef;
use crate::api::freeze::Stops;
use crate::api::runbook::RunbookSpec;
use crate::api::{Approval, BusinessService, ChangePolicy, Freeze, Incident, OnCallRotation};
use crate::change::approval::approvers;
use crate::change::approval::binding::bindings;
use crate::change::approval::quorum::{
    Names, Outcome, Rules, Subject, evaluate, is_impossible, must_approve, person,
};
use crate::change::freeze::in_force;
use crate::runbook::automation_limits::covers;
use crate::runbook::run::permit::Approved;
use crate::runbook::steps;

/// Maximum number of decisions in a status, as in the schema.
const MAX_DECISIONS: usize = 32;
/// How long an approval of a Runbook counts if it does not say.
const DEFAULT_VALIDITY: SignedDuration = SignedDuration::from_hours(180 * 24);

/// What approvals are counted from.
#[derive(Clone, Copy, Debug)]
pub struct ApprovalFacts<'a> {
    /// Namespace of the subject.
    pub namespace: &'a str,
    /// Name of the subject.
    pub name: &'a str,
    /// UID of the subject.
    pub uid: &'a str,
    /// The digest that an Approval must name.
    pub digest: &'a str,
    /// The user who rejected this digest of a Runbook earlier, as its status remembers.
    pub rejected_by: Option<&'a str>,
    /// The Approvals of the namespace.
    pub approvals: &'a [Arc<Approval>],
    /// All policies; only those that cover the namespace count.
    pub policies: &'a [Arc<ChangePolicy>],
    /// People by name, for texts about missing approvals.
    pub names: &'a Names,
}

impl<'a> ApprovalFacts<'a> {
    fn rules(&self) -> Vec<&'a ChangePolicySpec> {
        self.policies
            .iter()
            .filter(|policy| covers(policy, self.namespace))
            .map(|policy| &policy.spec)
            .collect()
    }

    /// The user who rejected the digest, now or earlier: a rejection is final.
    fn rejection(&self, outcome: &Outcome) -> Option<String> {
        outcome.rejected_by.clone().or_else(|| self.rejected_by.map(str::to_owned))
    }

    /// Whether a decision is by one of a policy's approvers.
    fn is_approver(&self, decision: &CountedDecision, policy: &ChangePolicySpec) -> bool {
        self.is_in(decision, policy.approval.required.iter().flat_map(|entry| &entry.groups))
    }

    /// Whether a decision is by a member of one of the groups.
    fn is_in<'g>(&self, decision: &CountedDecision, mut groups: impl Iterator<Item = &'g String>) -> bool {
        let approval = self.approvals.iter().find(|approval| approval.uid().as_ref() == Some(&decision.uid));
        let by = approval.and_then(|approval| approval.spec.by.as_ref());
        by.is_some_and(|by| groups.any(|group| by.groups.contains(group)))
    }

    /// Those of the policies over the namespace whose changes a freeze stops.
    fn frozen(&self, freezes: &[Arc<Freeze>], now: Timestamp) -> Vec<&'a ChangePolicySpec> {
        let is_frozen = |policy: &&Arc<ChangePolicy>| {
            covers(policy, self.namespace)
                && !in_force::over(freezes, [&***policy], Stops::Changes, now).is_empty()
        };
        self.policies.iter().filter(is_frozen).map(|policy| &policy.spec).collect()
    }

    fn subject(&self, kind: SubjectKind, excluded: BTreeSet<String>) -> Subject<'a> {
        Subject { kind, name: self.name, uid: self.uid, digest: self.digest, excluded }
    }
}

/// The result of counting approvals.
#[derive(Clone, Debug, PartialEq)]
pub struct Count {
    /// Whether they are complete.
    pub approved: Approved,
    /// The decisions that count.
    pub decisions: Vec<CountedDecision>,
    /// When the first of these decisions lapses.
    pub until: Option<Timestamp>,
}

/// When an approval of a Runbook lapses.
fn lapses(approval: &Approval) -> Option<Timestamp> {
    let by_default = || approval.metadata.creation_timestamp.as_ref()?.0.checked_add(DEFAULT_VALIDITY).ok();
    approval.spec.not_after.as_ref().map(|time| time.0).or_else(by_default)
}

/// The approvals that have not lapsed. A Reject never lapses; an approval without a known end counts as lapsed.
fn unlapsed(approvals: &[Arc<Approval>], now: Timestamp) -> Vec<Arc<Approval>> {
    let stands = |approval: &&Arc<Approval>| {
        approval.spec.decision == Decision::Reject || lapses(approval).is_some_and(|end| now < end)
    };
    approvals.iter().filter(stands).cloned().collect()
}

/// Counts the approvals of a Runbook. Incidents do not change the rule: an incident must not void the
/// approval of the Runbook that answers it. `authors` changed what the digest covers since the last approved
/// digest; `None` means that they are unknown, so no person can approve.
pub fn of_runbook(facts: &ApprovalFacts<'_>, authors: Option<&[String]>, now: Timestamp) -> Count {
    let Some(authors) = authors else {
        let message = "nobody knows who wrote it: apply it once more while Mayday is up".to_owned();
        return Count { approved: Approved::Missing(message), decisions: Vec::new(), until: None };
    };
    let policies = facts.rules();
    let rules =
        Rules { policies: &policies, bindings: &[], names: facts.names, one_peer: false, frozen: &[] };
    let subject = facts.subject(SubjectKind::Runbook, authors.iter().cloned().collect());
    let outcome = evaluate(&subject, &rules, &unlapsed(facts.approvals, now), now);
    let decisions = one_each(outcome.counted.clone());
    let counted =
        |approval: &&Arc<Approval>| decisions.iter().any(|known| Some(&known.uid) == approval.uid().as_ref());
    let until = facts.approvals.iter().filter(counted).filter_map(|approval| lapses(approval)).min();
    let approved = match facts.rejection(&outcome) {
        Some(by) => Approved::Rejected(by),
        None if outcome.approved => Approved::Yes,
        None => Approved::Missing(missing(&outcome.missing_phrase(), authors)),
    };
    Count { approved, decisions, until }
}

/// Who must approve a Runbook, as a sentence without its full stop.
fn missing(phrase: &str, authors: &[String]) -> String {
    let must = must_approve(phrase);
    match authors {
        // Where nobody can approve, it does not matter who wrote it.
        _ if is_impossible(phrase) => must,
        [] => must,
        [author] => format!("{must}, and not {author}, who wrote it"),
        authors => format!("{must}, and none of {}, who wrote it", authors.join(", ")),
    }
}

/// The newest decision of each person, rejections first, as many as fit in a status.
fn one_each(mut counted: Vec<CountedDecision>) -> Vec<CountedDecision> {
    let rank = |decision: &CountedDecision| (decision.decision == Decision::Reject, decision.time.0);
    counted.sort_by_key(|decision| std::cmp::Reverse(rank(decision)));
    let mut seen = BTreeSet::new();
    counted.retain(|decision| seen.insert(decision.by.clone()));
    counted.truncate(MAX_DECISIONS);
    counted.sort_by(|a, b| (&a.time, &a.name).cmp(&(&b.time, &b.name)));
    counted
}

/// Whether every approval that a run relies on still counts, and no eligible person has rejected the digest since.
/// `relied_on` was complete when the run began; later edits of the Runbook do not matter.
pub fn still_counts(facts: &ApprovalFacts<'_>, relied_on: &[CountedDecision], now: Timestamp) -> Approved {
    let policies = facts.rules();
    let rules =
        Rules { policies: &policies, bindings: &[], names: facts.names, one_peer: false, frozen: &[] };
    let subject = facts.subject(SubjectKind::Runbook, BTreeSet::new());
    let outcome = evaluate(&subject, &rules, &unlapsed(facts.approvals, now), now);
    if let Some(by) = facts.rejection(&outcome) {
        return Approved::Rejected(by);
    }
    if relied_on.is_empty() {
        return Approved::Missing("nobody approved it".to_owned());
    }
    let gone =
        relied_on.iter().find(|decision| !outcome.counted.iter().any(|present| present.uid == decision.uid));
    gone.map_or(Approved::Yes, |decision| {
        Approved::Missing(format!("the approval of {} no longer counts", decision.by))
    })
}

/// Counts the approvals of one run. It needs one eligible person other than the one who started it; while an incident
/// binds, its lead, or one peer if the lead started the run; while a freeze stops changes, any lead of its policy.
pub fn of_run(
    facts: &ApprovalFacts<'_>,
    started_by: Option<&str>,
    (incidents, freezes): (&[Arc<Incident>], &[Arc<Freeze>]),
    now: Timestamp,
) -> Count {
    let policies = facts.rules();
    let bindings = bindings(incidents, &policies, facts.namespace);
    let frozen = facts.frozen(freezes, now);
    let rules = Rules {
        policies: &policies,
        bindings: &bindings,
        names: facts.names,
        one_peer: false,
        frozen: &frozen,
    };
    let subject =
        facts.subject(SubjectKind::RunbookRun, started_by.iter().map(|user| (*user).to_owned()).collect());
    // One approval is enough: the Runbook itself has had the quorum that the policies require of a change.
    let outcome = evaluate(&subject, &rules, facts.approvals, now);
    if let Some(by) = outcome.rejected_by {
        return Count { approved: Approved::Rejected(by), decisions: one_each(outcome.counted), until: None };
    }
    let yes = |user: &str| outcome.counted.iter().any(|decision| decision.by == user);
    let same = |one: &str, two: &str| person(one, &policies) == person(two, &policies);
    let mut missing = Vec::new();
    for binding in &bindings {
        match binding.lead.as_deref() {
            None => missing.push(format!("a lead, who must claim it first: {}", binding.claim())),
            Some(lead) if yes(lead) || started_by.is_some_and(|user| same(user, lead)) => {}
            Some(lead) => missing.push(format!("{lead} (lead)")),
        }
    }
    let leads_agree = !bindings.is_empty() && bindings.iter().all(|b| b.lead.as_deref().is_some_and(yes));
    if missing.is_empty() && !leads_agree {
        // Each policy needs one of its own approvers; one whose changes are frozen needs one of its leads.
        let is_frozen = |policy: &ChangePolicySpec| {
            bindings.is_empty() && frozen.iter().any(|frozen| std::ptr::eq(*frozen, policy))
        };
        for policy in policies.iter().filter(|policy| is_frozen(policy)) {
            let leads = policy.incident.as_ref().map_or(&[][..], |rule| &rule.leads.groups);
            if !outcome.counted.iter().any(|decision| facts.is_in(decision, leads.iter())) {
                missing.push(a_lead(leads, facts.names, started_by));
            }
        }
        let lacks = |policy: &&ChangePolicySpec| {
            !is_frozen(policy) && !outcome.counted.iter().any(|decision| facts.is_approver(decision, policy))
        };
        let lacking: Vec<&ChangePolicySpec> = policies.iter().copied().filter(lacks).collect();
        if !lacking.is_empty() || (outcome.counted.is_empty() && missing.is_empty()) {
            missing.push(one_of(&lacking, facts.names, started_by));
        }
    }
    let approved = if missing.is_empty() { Approved::Yes } else { Approved::Missing(missing.join(" and ")) };
    Count { approved, decisions: one_each(outcome.counted), until: None }
}

/// The leads who may approve a run while changes are frozen, in words: by name if a rotation knows them, else by group.
fn a_lead(groups: &[String], names: &Names, started_by: Option<&str>) -> String {
    let could: Vec<&str> =
        names.leads.iter().map(String::as_str).filter(|user| Some(*user) != started_by).collect();
    match (could.as_slice(), groups) {
        ([one], _) => format!("{one} (lead)"),
        ([], []) => "a lead, and the policy names no group of leads".to_owned(),
        ([], groups) => format!("one of {} (lead)", groups.join(" or ")),
        (several, _) => format!("one of {} (leads)", several.join(", ")),
    }
}

/// The people who may approve a run, in words: by name if a rotation knows them, else by group.
fn one_of(policies: &[&ChangePolicySpec], names: &Names, started_by: Option<&str>) -> String {
    let others: Vec<&str> =
        names.approvers.iter().map(String::as_str).filter(|user| Some(*user) != started_by).collect();
    if !others.is_empty() {
        return if others.len() == 1 { others.concat() } else { format!("one of {}", others.join(", ")) };
    }
    let groups: BTreeSet<&str> = policies
        .iter()
        .flat_map(|policy| &policy.approval.required)
        .flat_map(|entry| entry.groups.iter().map(String::as_str))
        .collect();
    let but = started_by.map_or_else(String::new, |starter| format!(", not {starter} (who started it)"));
    format!("one of {}{but}", groups.into_iter().collect::<Vec<_>>().join(" or "))
}

/// Whether the answer of this person counts as that of an approver: each policy over the namespace names a group of theirs,
/// as approvers or as leads, and they did not start the run. Deny counts from the starter, too.
pub fn may_answer(
    approval: &Approval,
    policies: &[Arc<ChangePolicy>],
    namespace: &str,
    started_by: Option<&str>,
) -> bool {
    let Some(by) = &approval.spec.by else { return false };
    let mut covering = policies.iter().filter(|policy| covers(policy, namespace)).peekable();
    let specs: Vec<&ChangePolicySpec> = policies.iter().map(|policy| &policy.spec).collect();
    let is_starter = started_by.is_some_and(|user| person(user, &specs) == person(&by.user, &specs));
    covering.peek().is_some()
        && (!is_starter || approval.spec.decision == Decision::Deny)
        && covering.all(|policy| {
            let required = policy.spec.approval.required.iter().flat_map(|entry| &entry.groups);
            let leads = policy.spec.incident.iter().flat_map(|rule| &rule.leads.groups);
            let mut groups = required.chain(leads);
            groups.any(|group| by.groups.contains(group))
        })
}

/// The people who could approve or lead, by name, for the objects that the steps change.
pub fn names(
    services: &[Arc<BusinessService>],
    rotations: &[Arc<OnCallRotation>],
    spec: &RunbookSpec,
) -> Names {
    let target = |target: ObjectRef| PlannedChange { target, ..PlannedChange::default() };
    let plan: Vec<PlannedChange> = steps::known_changes(&spec.steps, &[]).into_iter().map(target).collect();
    approvers::names(services, rotations, &plan)
}

#[cfg(test)]
#[path = "approval_tests.rs"]
mod tests;
