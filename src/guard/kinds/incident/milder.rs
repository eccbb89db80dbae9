//! An incident made milder: a lower severity, fewer services or objects, weaker checks, a later start. Pure.

use crate::api::check::{NamedCheck, ReturnToService};
use crate::command::{Command, Flag, TEXT, Verb};
use crate::guard::ruling::Ruling;
use crate::incident::{changes, checks};
use crate::text::instant;

use super::Change;
use super::words::{address, by_quorum, leads, show};

/// Only the lead makes it milder, or the quorum.
pub fn rule(change: &Change<'_>) -> Ruling {
    let (old, new) = (&change.old.spec, &change.new.spec);
    let mut what = Vec::new();
    if old.severity.worse_than(new.severity) {
        what.push(format!("lowering {} to {}", old.severity, new.severity));
    }
    if !old.service_refs.iter().all(|service| new.service_refs.contains(service)) {
        what.push("taking services away".to_owned());
    }
    let known = change.old.status.clone().unwrap_or_default();
    let (before, after) = (changes::affected(change.old, &known), changes::affected(change.new, &known));
    if !before.iter().all(|object| after.iter().any(|kept| kept.same_object(object))) {
        what.push("taking affected objects away".to_owned());
    }
    if weaker(&checks::of(change.old, &known), &checks::of(change.new, &known)) {
        what.push("weakening the checks that prove the return to service".to_owned());
    }
    if is_later(change) {
        what.push("letting it begin later".to_owned());
    }
    if let Some(found) = begins_after_it_was_found(change) {
        return Ruling::Refuse(found);
    }
    if what.is_empty() || leads(change) {
        return Ruling::Allow;
    }
    Ruling::Quorum(format!(
        "{}. Ask: {} (FILE: the incident as it is to be)",
        by_quorum(change, &what.join(" and ")),
        Command::new(Verb::Ask)
            .namespace(address(change.old).1)
            .flag(Flag::File, "FILE")
            .flag(Flag::Why, TEXT)
    ))
}

/// Whether the outage would have begun later than was known: it would become shorter. Without a start of its own an
/// incident began with its first signal, whenever that was.
fn is_later(change: &Change<'_>) -> bool {
    let known = change.old.status.as_ref().and_then(|status| status.start_time.as_ref());
    let known = known.or(change.old.metadata.creation_timestamp.as_ref());
    match (change.old.spec.start_time.as_ref().or(known), &change.new.spec.start_time) {
        (Some(before), Some(after)) => after.0 > before.0,
        (None, _) => false,
        (Some(_), None) => change.old.spec.start_time.is_some(),
    }
}

/// The refusal of a start that would not count: an outage began at the latest when it was found.
fn begins_after_it_was_found(change: &Change<'_>) -> Option<String> {
    let said = change.new.spec.start_time.as_ref()?;
    let found = change.old.status.as_ref()?.detected_time.as_ref()?;
    let is_new = change.old.spec.start_time.as_ref() != Some(said);
    (is_new && said.0 > found.0).then(|| {
        format!(
            "Refused: spec.startTime: {} was found at {}, so it began at that time or earlier: {}",
            address(change.old).0,
            instant(found.0),
            show(change)
        )
    })
}

/// Whether less would be looked at, or for a shorter time. What a check is called does not matter.
fn weaker(old: &ReturnToService, new: &ReturnToService) -> bool {
    let looks = |check: &NamedCheck| NamedCheck { name: String::new(), ..check.clone() };
    let kept: Vec<NamedCheck> = new.checks.iter().map(looks).collect();
    checks::stable_for(new) < checks::stable_for(old)
        || !old.checks.iter().all(|check| kept.contains(&looks(check)))
}
