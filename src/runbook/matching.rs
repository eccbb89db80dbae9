//! Which Runbooks answer an incident, which of them starts, and why the others do not. Pure.

use std::sync::Arc;

use jiff::Timestamp;
use kube::ResourceExt;
use sha2::{Digest, Sha256};

use super::ladder::{self, Next, Ran, Rung};
use super::limits;
use super::locks::{self, Claim};
use crate::api::common::NameRef;
use crate::api::conditions::{ConditionType, find, is_true};
use crate::api::freeze::Stops;
use crate::api::incident_status::{IncidentStatus, MatchingRunbook, Signal};
use crate::api::runbook::{Start, Symptom};
use crate::api::runbook_run::{RUN_FINALIZER, RunbookRunSpec};
use crate::api::{ChangePolicy, Freeze, Incident, Runbook, RunbookRun};
use crate::change::freeze::in_force;
use crate::command::{Command, Flag, Verb};
use crate::runbook::automation_limits;
use crate::runbook::steps;
use crate::text::cut;

/// What Runbooks are matched from.
#[derive(Clone, Copy, Debug)]
pub struct MatchFacts<'a> {
    /// The incident, with its newest status.
    pub incident: &'a Incident,
    /// The incidents of its namespace.
    pub incidents: &'a [Arc<Incident>],
    /// The Runbooks of its namespace.
    pub runbooks: &'a [Arc<Runbook>],
    /// The runs of its namespace.
    pub runs: &'a [Arc<RunbookRun>],
    /// All policies; only those that cover the namespace count.
    pub policies: &'a [Arc<ChangePolicy>],
    /// All freezes.
    pub freezes: &'a [Arc<Freeze>],
}

/// The result of matching.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Matching {
    /// Runs to create. The name is the lock: if the run exists already, that is no error.
    pub start: Vec<RunbookRun>,
    /// Every Runbook that matches, the most specific first.
    pub runbooks: Vec<MatchingRunbook>,
    /// When an obstacle ends by itself.
    pub wake: Option<Timestamp>,
    /// Runs that are told to stop, by name: they have not begun in their time, and another Runbook of the ladder may.
    pub stop: Vec<String>,
    /// What became of each Runbook of a ladder, if all have run and the service is not back.
    pub exhausted: Option<String>,
}

/// Maximum number of Runbooks in an incident's status.
const MAX_LISTED: usize = 20;
/// Maximum length of the reason why a Runbook does not start, in bytes.
const MAX_MESSAGE: usize = 500;

/// Matches Runbooks with an incident. Those with an order are a ladder (docs/rules.md#ladder). Of the others at most one
/// starts by itself in an episode: the most specific one without an obstacle.
pub fn decide(facts: &MatchFacts<'_>, now: Timestamp) -> Matching {
    let mut matching: Vec<(u32, &Arc<Runbook>)> = facts
        .runbooks
        .iter()
        .filter(|runbook| runbook.metadata.deletion_timestamp.is_none())
        .filter_map(|runbook| Some((specificity(runbook, facts.incident)?, runbook)))
        .collect();
    matching.sort_by_key(|(specificity, runbook)| {
        (!is_rung(runbook), runbook.spec.order, std::cmp::Reverse(*specificity), runbook.name_any())
    });
    let judged: Vec<_> =
        matching.into_iter().map(|(_, runbook)| (runbook, can_start(facts, runbook, now))).collect();

    let mut decided = Matching::default();
    let mut chosen = earlier_run(facts);
    let (rungs, next) = climb(facts, &judged, now);
    match &next {
        Next::Wait(until) => decided.wake = *until,
        Next::Stop(index) => {
            decided.stop.extend(judged.get(*index).map(|(book, _)| episode_name(facts.incident, book)))
        }
        Next::Exhausted => decided.exhausted = Some(ladder::account(&rungs)),
        Next::Nothing | Next::Start(_) | Next::Held(_) => {}
    }
    for (place, (runbook, can_start)) in judged.into_iter().enumerate() {
        let name = runbook.name_any();
        let automatic = runbook.spec.start == Start::Automatic;
        let rung = rungs.get(place);
        let blocked = match can_start {
            Err(blocked) => {
                let wake = blocked.until.filter(|_| automatic);
                decided.wake = [decided.wake, wake].into_iter().flatten().min();
                Some(cut(&blocked.message, MAX_MESSAGE))
            }
            Ok(()) if !automatic => None,
            Ok(()) if rung.is_some_and(|rung| rung.ran != Ran::No) => None,
            Ok(()) if rung.is_some() && next != Next::Start(place) => {
                Some(behind(facts, &rungs, &next, chosen.as_deref(), &name))
            }
            Ok(()) if rung.is_some() => {
                decided.start.push(run(facts.incident, runbook));
                chosen = Some(name.clone());
                None
            }
            Ok(()) => match &chosen {
                Some(chosen) if *chosen == name => None,
                Some(chosen) => Some(format!(
                    "{chosen} answers this incident; if that does not help: {}",
                    by_hand(facts.incident, &name)
                )),
                None => {
                    decided.start.push(run(facts.incident, runbook));
                    chosen = Some(name.clone());
                    None
                }
            },
        };
        decided.runbooks.push(MatchingRunbook {
            name,
            summary: runbook.spec.summary.clone(),
            automatic,
            blocked,
        });
    }
    decided.runbooks.truncate(MAX_LISTED);
    decided
}

fn is_rung(runbook: &Runbook) -> bool {
    runbook.spec.order.is_some() && runbook.spec.start == Start::Automatic
}

/// The ladder of the incident, and what follows. The rungs stand in front of all other Runbooks that match.
fn climb(
    facts: &MatchFacts<'_>,
    judged: &[(&Arc<Runbook>, Result<(), Blocked>)],
    now: Timestamp,
) -> (Vec<Rung>, Next) {
    let rungs: Vec<Rung> = judged
        .iter()
        .take_while(|(runbook, _)| is_rung(runbook))
        .map(|(runbook, can_start)| {
            let name = episode_name(facts.incident, runbook);
            let found = facts.runs.iter().find(|run| run.name_any() == name).map(|run| &**run);
            let ran = has_run(facts, runbook);
            ladder::rung(runbook, ran, found, !ran && can_start.is_ok())
        })
        .collect();
    let of_a_rung = |runbook: &str| rungs.iter().any(|rung| rung.name == runbook);
    // One that no longer matches may still be at work.
    let is_at_work = facts.runs.iter().any(|run| {
        is_of_episode(facts, run) && !of_a_rung(&run.spec.runbook_ref.name) && !run.state().is_settled()
    });
    let answered = facts.runbooks.iter().any(|runbook| !is_rung(runbook) && has_run(facts, runbook));
    let is_back = facts
        .incident
        .status
        .as_ref()
        .is_some_and(|status| is_true(&status.conditions, ConditionType::Mitigated));
    let next = match (rungs.is_empty() || answered, is_at_work) {
        (true, _) => Next::Nothing,
        (false, true) => Next::Wait(None),
        (false, false) => ladder::decide(&rungs, is_back, now),
    };
    (rungs, next)
}

/// Why a rung that might start does not.
fn behind(facts: &MatchFacts<'_>, rungs: &[Rung], next: &Next, chosen: Option<&str>, name: &str) -> String {
    let by_hand = by_hand(facts.incident, name);
    match (next, chosen) {
        (Next::Held(index), _) => {
            let held = rungs.get(*index).map_or("an earlier one", |rung| rung.name.as_str());
            format!("{held} was stopped, or nobody can prove what it did, so a person decides: {by_hand}")
        }
        (Next::Nothing, Some(chosen)) => {
            format!("{chosen} answers this incident; if that does not help: {by_hand}")
        }
        _ => {
            let others = || rungs.iter().filter(|rung| rung.name != name);
            let first = others().rfind(|rung| rung.ran != Ran::No).or(others().next());
            let first = first.map_or("another run", |rung| rung.name.as_str());
            format!("{first} comes first, and this begins if that does not help; by hand: {by_hand}")
        }
    }
}

/// The Runbook that has started by itself in this episode, even if it no longer matches or exists: an incident that
/// becomes worse must not start a second one.
fn earlier_run(facts: &MatchFacts<'_>) -> Option<String> {
    let by_runbook = facts.runbooks.iter().find(|runbook| has_run(facts, runbook));
    let by_run = || {
        facts.runs.iter().find(|run| is_of_episode(facts, run)).map(|run| run.spec.runbook_ref.name.clone())
    };
    by_runbook.map(|runbook| runbook.name_any()).or_else(by_run)
}

/// Whether a run started by itself in this episode.
fn is_of_episode(facts: &MatchFacts<'_>, run: &RunbookRun) -> bool {
    let uid = run.status.as_ref().and_then(|status| Some(status.snapshot.as_ref()?.uid.as_str()));
    uid.is_some_and(|uid| run.name_any() == named(facts.incident, &run.spec.runbook_ref.name, uid))
}

fn episode_name(incident: &Incident, runbook: &Runbook) -> String {
    named(incident, &runbook.name_any(), runbook.uid().unwrap_or_default().as_str())
}

fn named(incident: &Incident, runbook: &str, runbook_uid: &str) -> String {
    let relapses = incident.status.as_ref().map_or(0, |status| status.relapses);
    run_name(runbook, runbook_uid, incident.uid().unwrap_or_default().as_str(), relapses)
}

/// Whether the Runbook has run in this episode. A run counts while the incident lists it, even if it was deleted.
fn has_run(facts: &MatchFacts<'_>, runbook: &Runbook) -> bool {
    let name = episode_name(facts.incident, runbook);
    let remembered = facts.incident.status.iter().flat_map(|status| &status.runs).any(|run| run.name == name);
    remembered || facts.runs.iter().any(|run| run.name_any() == name)
}

/// Name of the one run that a Runbook starts by itself in an episode. The digest is deliberately not part of it, so that
/// a new approval cannot cause a second run.
pub fn run_name(runbook: &str, runbook_uid: &str, incident_uid: &str, relapses: i32) -> String {
    const ALPHABET: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";
    let hash = Sha256::digest(format!("{incident_uid}/{runbook_uid}/{relapses}"));
    let suffix: String =
        hash.iter().take(8).map(|byte| char::from(ALPHABET[usize::from(byte % 32)])).collect();
    // Names have at most 253 characters; Kubernetes names are ASCII.
    let stem: String = runbook.chars().take(253 - 9).collect();
    format!("{stem}-{suffix}")
}

fn run(incident: &Incident, runbook: &Runbook) -> RunbookRun {
    let mut run = RunbookRun::new(
        &episode_name(incident, runbook),
        RunbookRunSpec {
            runbook_ref: NameRef { name: runbook.name_any() },
            incident_ref: Some(NameRef { name: incident.name_any() }),
            ..RunbookRunSpec::default()
        },
    );
    run.metadata.namespace = incident.namespace();
    // From the start, so that no further write is needed before its first act.
    run.metadata.finalizers = Some(vec![RUN_FINALIZER.to_owned()]);
    run
}

fn by_hand(incident: &Incident, runbook: &str) -> Command {
    let namespace = incident.namespace().unwrap_or_default();
    Command::new(Verb::Run).namespace(namespace).word(runbook).flag(Flag::Incident, incident.name_any())
}

struct Blocked {
    message: String,
    until: Option<Timestamp>,
}

impl From<String> for Blocked {
    fn from(message: String) -> Blocked {
        Blocked { message, until: None }
    }
}

/// Whether a matching Runbook can start. An error is the first obstacle; lasting ones come before passing ones.
fn can_start(facts: &MatchFacts<'_>, runbook: &Runbook, now: Timestamp) -> Result<(), Blocked> {
    let incident = facts.incident;
    let namespace = incident.namespace().unwrap_or_default();
    let name = runbook.name_any();
    let empty = IncidentStatus::default();
    let status = incident.status.as_ref().unwrap_or(&empty);
    if has_run(facts, runbook) {
        let run_name = episode_name(incident, runbook);
        let state = facts.runs.iter().find(|run| run.name_any() == run_name).map(|run| run.state());
        return match state {
            Some(state) if !state.is_settled() => Ok(()),
            state => {
                let how = state.map_or_else(String::new, |state| format!(", {state:?}"));
                Err(format!("it has run for this (run/{run_name}{how}); again: {}", by_hand(incident, &name))
                    .into())
            }
        };
    }
    if status.state.is_some_and(|state| !state.is_open()) {
        return Err("the incident is over".to_owned().into());
    }
    if runbook.spec.suspend {
        return Err(format!("it is suspended: kubectl -n {namespace} patch rb/{name} --type merge -p '{{\"spec\":{{\"suspend\":false}}}}'").into());
    }
    usable(runbook, &namespace).map_err(Blocked::from)?;
    if let Some(message) =
        automation_limits::in_namespace(facts.policies, &namespace).refuses(runbook.spec.start, &namespace)
    {
        return Err(format!("{message}: {}", by_hand(incident, &name)).into());
    }
    if runbook.spec.start == Start::Automatic && is_true(&status.conditions, ConditionType::Mitigated) {
        return Err("every check passes already".to_owned().into());
    }
    // What a person starts goes on under a freeze of automation.
    if runbook.spec.start == Start::Automatic
        && let Some(freeze) =
            in_force::in_namespace(facts.freezes, facts.policies, &namespace, Stops::Automation, now)
    {
        let message = format!("{}; by hand: {}", freeze.text(), by_hand(incident, &name));
        return Err(Blocked { message, until: freeze.until });
    }
    // What a person starts is not held back by the breaker.
    if runbook.spec.start == Start::Automatic
        && let Some(obstacle) = limits::broken(runbook, &as_they_are(facts), None, now)
    {
        return Err(Blocked { message: obstacle.message, until: obstacle.until });
    }
    let changed = steps::known_changes(&runbook.spec.steps, &facts.incident.subjects());
    let obstacle = limits::reached(runbook, None, now).or_else(|| {
        locks::busy(&Claim { namespace: &namespace, objects: &changed, uid: "", start: None }, facts.runs)
    });
    obstacle.map_or(Ok(()), |obstacle| Err(Blocked { message: obstacle.message, until: obstacle.until }))
}

/// The incidents, this one with its newest status.
fn as_they_are(facts: &MatchFacts<'_>) -> Vec<Arc<Incident>> {
    let uid = facts.incident.uid();
    let others = facts.incidents.iter().filter(|incident| incident.uid() != uid).cloned();
    others.chain([Arc::new(facts.incident.clone())]).collect()
}

/// Whether the present content of a Runbook is accepted and approved.
fn usable(runbook: &Runbook, namespace: &str) -> Result<(), String> {
    let name = runbook.name_any();
    let Some(status) = runbook
        .status
        .as_ref()
        .filter(|status| Some(status.observed_generation) == runbook.metadata.generation)
    else {
        return Err("it was changed a moment ago, and its approval is being looked at".to_owned());
    };
    for kind in [ConditionType::Ready, ConditionType::Approved] {
        if !is_true(&status.conditions, kind) {
            let why = find(&status.conditions, kind)
                .map_or("nobody has looked at it yet", |condition| condition.message.as_str());
            return Err(format!("not {kind}: {why}"));
        }
    }
    if status.digest.is_none() || status.approved_digest != status.digest {
        let approve = Command::new(Verb::Approve).namespace(namespace).on("rb", &name);
        return Err(format!("not Approved: {approve}"));
    }
    Ok(())
}

/// Whether a Runbook is for an incident.
pub fn answers(runbook: &Runbook, incident: &Incident) -> bool {
    specificity(runbook, incident).is_some()
}

/// How specific a Runbook is for an incident: the weight of its best matching entry. `None` if no entry matches.
fn specificity(runbook: &Runbook, incident: &Incident) -> Option<u32> {
    runbook.spec.matches.iter().filter(|symptom| fits(symptom, incident)).map(weight).max()
}

fn weight(symptom: &Symptom) -> u32 {
    let named = [symptom.alert_name.is_some(), symptom.source_ref.is_some(), symptom.service_ref.is_some()];
    let named = named.into_iter().filter(|set| *set).count() + symptom.labels.len();
    // A severity is less specific than a name.
    u32::try_from(named).unwrap_or(u32::MAX / 2).saturating_mul(2) + u32::from(!symptom.severities.is_empty())
}

fn fits(symptom: &Symptom, incident: &Incident) -> bool {
    let severity = symptom.severities.is_empty() || symptom.severities.contains(&incident.spec.severity);
    let service =
        symptom.service_ref.as_ref().is_none_or(|service| incident.spec.service_refs.contains(service));
    let asks_signal =
        symptom.alert_name.is_some() || symptom.source_ref.is_some() || !symptom.labels.is_empty();
    let mut firing =
        incident.status.iter().flat_map(|status| &status.signals).filter(|signal| signal.end_time.is_none());
    severity && service && (!asks_signal || firing.any(|signal| speaks_of(signal, symptom)))
}

fn speaks_of(signal: &Signal, symptom: &Symptom) -> bool {
    symptom.alert_name.as_ref().is_none_or(|name| signal.name == *name)
        && symptom.source_ref.as_ref().is_none_or(|source| signal.source_ref == *source)
        && symptom.labels.iter().all(|(key, value)| signal.labels.get(key) == Some(value))
}

#[cfg(test)]
#[path = "matching_tests.rs"]
mod tests;
