//! Who may decide on what. Pure.
//!
//! A decision that could never count is refused here with the reason, while its author still looks. Whether the
//! decisions suffice is computed in `change` each time it matters.

use crate::api::approval::{Decision, SubjectKind, SubjectRef};
use crate::api::change_policy::ChangePolicySpec;
use crate::api::common::UidRef;
use crate::api::{Approval, ChangePolicy};
use crate::change::approval::quorum;
use crate::command::{Command, Flag, Verb};
use crate::runbook::account_use;
use crate::webhook::caller::Caller;

use crate::guard::ruling::Ruling;

/// What is known when a decision is made.
pub struct Facts<'a> {
    /// The decision, stamped.
    pub approval: &'a Approval,
    /// Who makes it.
    pub caller: &'a Caller,
    /// The subject as it is stored now; none if there is none of that name.
    pub subject: Option<Subject>,
    /// The ServiceAccount of the Runbook that would be approved, if the caller may not use it.
    pub lacks_account: Option<String>,
    /// The policies over the subject.
    pub policies: Vec<&'a ChangePolicy>,
    /// Every group that may break a glass anywhere.
    pub break_glass: Vec<String>,
    /// Who leads an open incident of the namespace now.
    pub leads: Vec<String>,
    /// Who is on duty for what the subject is about.
    pub on_duty: Vec<String>,
    /// The groups whose members stand for the lead, as long as a freeze stops changes.
    pub lead_groups: Vec<String>,
}

/// What the rules look up, for each operation.
pub enum Written<'a> {
    /// A decision is made.
    Made(Box<Facts<'a>>),
    /// A decision is edited.
    Edited,
    /// A decision is deleted.
    Deleted {
        /// Who deletes it.
        caller: &'a Caller,
        /// Whether the operator deletes it.
        by_operator: bool,
        /// Whether its subject, with its UID, is gone.
        orphaned: bool,
    },
}

/// What deciding needs to know of a subject.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Subject {
    /// `metadata.uid`.
    pub uid: String,
    /// The digest that a decision must name; none while it is not computed, or nothing is asked.
    pub digest: Option<String>,
    /// Whether it asks a question, which is answered by Confirm or Deny.
    pub question: bool,
    /// Whether only those answer its question who may approve.
    pub by_approver: bool,
    /// Who does not count, and as what: the requester, an author, the person who started it.
    pub excluded: Vec<(String, &'static str)>,
    /// Every incident that binds, which an Approve must name.
    pub incidents: Vec<UidRef>,
    /// Why no decision is possible any more.
    pub over: Option<String>,
}

/// Whether the decision may be created.
pub fn create(facts: &Facts<'_>) -> Ruling {
    person(facts).and_then(|| subject(facts))
}

/// The caller: a person, by a login of their own.
fn person(facts: &Facts<'_>) -> Ruling {
    let caller = facts.caller;
    let stamped = facts.approval.spec.by.as_ref().is_some_and(|by| {
        by.user == caller.user && by.groups.iter().all(|group| caller.groups.contains(group))
    });
    Ruling::require(stamped, || {
        format!("Refused: spec.by must be you, {}; leave it out, it is stamped", caller.user)
    })
    .and_then(|| {
        Ruling::require(!caller.is_service_account(), || {
            let verb = match facts.approval.spec.decision {
                Decision::Approve => Verb::Approve,
                Decision::Reject => Verb::Reject,
                Decision::Confirm | Decision::Deny => Verb::Answer,
            };
            format!(
                "Refused: a service account decides nothing; a person does, with their own login: {}",
                decide(facts, verb)
            )
        })
    })
    .and_then(|| {
        Ruling::require(caller.direct, || {
            "Refused: a decision counts only from a direct login, and this request is impersonated; log in as \
             yourself, without --as, and decide again"
                .to_owned()
        })
    })
    .and_then(|| {
        Ruling::require(!caller.in_any(&facts.break_glass), || {
            "Refused: who broke the glass decides nothing; decide again without that group".to_owned()
        })
    })
}

fn subject(facts: &Facts<'_>) -> Ruling {
    let spec = &facts.approval.spec;
    let name = address(&spec.subject_ref);
    let Some(subject) = &facts.subject else {
        return Ruling::Refuse(format!(
            "Refused: there is no {name} in {}; see what waits: kubectl get chg,rb,run,inc -n {}",
            namespace(facts),
            namespace(facts)
        ));
    };
    let asks = matches!(spec.decision, Decision::Confirm | Decision::Deny);
    Ruling::require(subject.uid == spec.subject_ref.uid, || {
        format!(
            "Refused: {name} is another object now (uid {}); look at it, and decide on that: {}",
            subject.uid,
            show(facts)
        )
    })
    .and_then(|| {
        Ruling::require(asks == subject.question, || {
            if subject.question {
                format!("Refused: {name} asks a question, which is answered by Confirm or Deny: {}", decide(facts, Verb::Answer))
            } else {
                format!("Refused: {name} takes Approve or Reject; Confirm and Deny answer questions: {}", decide(facts, Verb::Approve))
            }
        })
    })
    .and_then(|| match &subject.over {
        Some(over) => Ruling::Refuse(format!("Refused: {name} {over}; nothing is to be decided there: {}", show(facts))),
        None => Ruling::Allow,
    })
    .and_then(|| match &subject.digest {
        None => Ruling::Refuse(format!("Refused: {name} has no digest yet, so nobody has seen what it does; wait until it shows one: {}", show(facts))),
        Some(digest) => Ruling::require(*digest == spec.digest, || {
            format!(
                "Refused: {name} is not what this decision was made on (its digest is {digest} now); look again: {}",
                show(facts)
            )
        }),
    })
    .and_then(|| excluded(facts, subject))
    .and_then(|| eligible(facts, subject))
    .and_then(|| account(facts))
    .and_then(|| incidents(facts, subject))
}

/// Whether the caller may let a Runbook act as its account (docs/rules.md#use-of-an-account).
fn account(facts: &Facts<'_>) -> Ruling {
    match &facts.lacks_account {
        None => Ruling::Allow,
        Some(account) => Ruling::Refuse(format!(
            "Refused: an approval of {} lets it act as its account, and {}",
            address(&facts.approval.spec.subject_ref),
            account_use::lacks(&facts.caller.user, namespace(facts), account)
        )),
    }
}

fn excluded(facts: &Facts<'_>, subject: &Subject) -> Ruling {
    // The requester, and everybody who could approve, may reject.
    if matches!(facts.approval.spec.decision, Decision::Reject | Decision::Deny) {
        return Ruling::Allow;
    }
    let policies: Vec<&ChangePolicySpec> = facts.policies.iter().map(|policy| &policy.spec).collect();
    let caller = quorum::person(&facts.caller.user, &policies);
    match subject.excluded.iter().find(|(user, _)| quorum::person(user, &policies) == caller) {
        Some((user, part)) => Ruling::Refuse(format!(
            "Refused: {user} is {part} of {} and does not decide on it; ask somebody else: {}",
            address(&facts.approval.spec.subject_ref),
            who(facts)
        )),
        None => Ruling::Allow,
    }
}

fn eligible(facts: &Facts<'_>, subject: &Subject) -> Ruling {
    let caller = facts.caller;
    if facts.leads.contains(&caller.user) {
        return Ruling::Allow;
    }
    let is_asked_on_duty = subject.question && !subject.by_approver;
    if !is_asked_on_duty && caller.in_any(&facts.lead_groups) {
        return Ruling::Allow;
    }
    let name = address(&facts.approval.spec.subject_ref);
    if is_asked_on_duty {
        return Ruling::require(facts.on_duty.contains(&caller.user), || {
            let who = if facts.on_duty.is_empty() { "nobody".to_owned() } else { facts.on_duty.join(", ") };
            format!(
                "Refused: {name} is answered by the lead or by whoever is on duty ({who}), and you are {}: {}",
                caller.user,
                self::who(facts)
            )
        });
    }
    if facts.policies.is_empty() {
        return Ruling::Refuse(format!(
            "Refused: no ChangePolicy covers {name}, so nobody can decide on it; whoever runs the cluster can write one: \
             kubectl explain cpol.spec"
        ));
    }
    let in_force = facts.policies.iter().flat_map(|policy| &policy.spec.approval.required);
    let groups: Vec<&String> = in_force.flat_map(|required| &required.groups).collect();
    Ruling::require(groups.iter().any(|group| caller.groups.contains(group)), || {
        let of = if groups.is_empty() {
            "nobody, as its policy names no group".to_owned()
        } else {
            groups.iter().map(|group| group.as_str()).collect::<Vec<_>>().join(", ")
        };
        format!(
            "Refused: {} may not decide on {name}; those who may: {of}. See who that is: {}",
            caller.user,
            who(facts)
        )
    })
}

/// An Approve names every incident that binds, so that its author knows of each.
fn incidents(facts: &Facts<'_>, subject: &Subject) -> Ruling {
    let spec = &facts.approval.spec;
    if spec.decision != Decision::Approve {
        return Ruling::Allow;
    }
    let missing: Vec<String> = subject
        .incidents
        .iter()
        .filter(|incident| !spec.incident_refs.contains(incident))
        .map(|incident| format!("inc/{}", incident.name))
        .collect();
    Ruling::require(missing.is_empty(), || {
        format!(
            "Refused: an approval of {} must name {} in incidentRefs, which {} open and binds it: {}",
            address(&spec.subject_ref),
            missing.join(" and "),
            if missing.len() == 1 { "is" } else { "are" },
            decide(facts, Verb::Approve)
        )
    })
}

/// Whether a decision may be changed: never.
pub fn update(old: &Approval, new: &Approval) -> Ruling {
    Ruling::require(old.spec == new.spec, || {
        format!(
            "Refused: a decision is never edited; decide again, or take your own approval back: kubectl delete -n {} \
             appr/{}",
            old.metadata.namespace.as_deref().unwrap_or_default(),
            old.metadata.name.as_deref().unwrap_or_default()
        )
    })
}

/// Whether a decision may be deleted. `orphaned`: its subject's UID is gone. `by_operator`: the operator asks.
pub fn delete(old: &Approval, caller: &Caller, by_operator: bool, orphaned: bool) -> Ruling {
    let name = address(&old.spec.subject_ref);
    if by_operator {
        return Ruling::require(orphaned, || {
            format!("Refused: {name} still exists, so its decisions stay; they are cleared once it is gone")
        });
    }
    let own = old.spec.by.as_ref().is_some_and(|by| by.user == caller.user);
    let namespace = old.metadata.namespace.as_deref().unwrap_or_default();
    match old.spec.decision {
        Decision::Approve if own => Ruling::Allow,
        Decision::Approve => Ruling::Refuse(format!(
            "Refused: this approval is by {}, who alone may take it back; to stop what it approves: {}",
            old.spec.by.as_ref().map_or("nobody known", |by| by.user.as_str()),
            on(Verb::Reject, namespace, &old.spec.subject_ref)
        )),
        other => Ruling::Refuse(format!(
            "Refused: {other:?} is final and stays; {}",
            instead(&old.spec.subject_ref, namespace)
        )),
    }
}

/// What a person can do instead about a decision that is final.
fn instead(subject: &SubjectRef, namespace: &str) -> String {
    let name = format!("{}/{}", subject.kind.short(), subject.name);
    match subject.kind {
        SubjectKind::ChangeRequest => {
            let help = Command::new(Verb::Ask).namespace(namespace).switch(Flag::Help);
            format!("if the change is still wanted, ask again: {help}")
        }
        SubjectKind::Runbook => {
            format!(
                "once the Runbook says something else, that is decided on: kubectl edit -n {namespace} {name}"
            )
        }
        SubjectKind::RunbookRun | SubjectKind::Incident => {
            format!("what comes of it: {}", on(Verb::Show, namespace, subject))
        }
    }
}

/// As people write a subject: `chg/checkout-v2`, `run/x step look`.
fn address(subject: &SubjectRef) -> String {
    let kind = subject.kind.short();
    let part = |word: &str, part: &Option<String>| {
        part.as_ref().map(|name| format!(" {word} {name}")).unwrap_or_default()
    };
    format!("{kind}/{}{}{}", subject.name, part("step", &subject.step), part("check", &subject.check))
}

fn namespace<'a>(facts: &Facts<'a>) -> &'a str {
    facts.approval.metadata.namespace.as_deref().unwrap_or_default()
}

fn who(facts: &Facts<'_>) -> Command {
    Command::new(Verb::Who).namespace(namespace(facts))
}

fn show(facts: &Facts<'_>) -> Command {
    decide(facts, Verb::Show)
}

fn decide(facts: &Facts<'_>, verb: Verb) -> Command {
    let subject = &facts.approval.spec.subject_ref;
    let command = on(verb, namespace(facts), subject);
    match subject.step.as_ref().or(subject.check.as_ref()) {
        Some(question) if verb == Verb::Answer => command.word(question).word("confirm"),
        _ => command,
    }
}

/// A command about the object that a subject belongs to.
fn on(verb: Verb, namespace: &str, subject: &SubjectRef) -> Command {
    Command::new(verb).namespace(namespace).on(subject.kind.short(), &subject.name)
}
