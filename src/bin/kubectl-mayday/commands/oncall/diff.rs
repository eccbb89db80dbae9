//! `oncall diff`: whose shifts move if the rotations in a file were applied.

use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;
use jiff::{SignedDuration, Timestamp};
use mayday::api::oncall_rotation::ObservedSchedule;
use mayday::api::{OnCallOverride, OnCallRotation};
use mayday::oncall::schedule::overrides;
use mayday::oncall::schedule::{Schedule, running_turn, validate};
use serde_json::Value;

use super::compare;
use crate::client::failure::Failure;
use crate::client::manifest;
use crate::client::session::{Session, name_of};
use crate::commands::ask::contents;
use crate::render::terminal::say;

/// How far ahead shifts are compared.
const AHEAD: SignedDuration = SignedDuration::from_hours(60 * 24);

#[derive(Debug, Args)]
pub struct DiffArgs {
    /// File with one or more rotations; - reads the standard input
    #[arg(short, long, value_name = "FILE")]
    pub file: PathBuf,
}

pub async fn run(session: &Session, args: DiffArgs) -> Result<(), Failure> {
    let file = args.file.display().to_string();
    let rotations: Vec<Value> = manifest::documents(&contents(&args.file)?, &file)?
        .into_iter()
        .filter(|document| document["kind"] == "OnCallRotation")
        .collect();
    if rotations.is_empty() {
        return Err(Failure::usage(format!("{file} holds no OnCallRotation.")));
    }
    let overrides: Vec<Arc<OnCallOverride>> =
        session.list::<OnCallOverride>().await?.into_iter().map(Arc::new).collect();
    let now = session.now();
    let mut parts = Vec::new();
    for document in rotations {
        let new: OnCallRotation = serde_json::from_value(document).map_err(|error| {
            Failure::usage(format!("{file} holds a rotation that cannot be read: {error}."))
        })?;
        let namespace = new.metadata.namespace.as_deref().unwrap_or(&session.namespace);
        if namespace != session.namespace {
            return Err(Failure::usage(format!(
                "oncall/{} is in namespace {namespace}: look there with -n {namespace}.",
                name_of(&new)
            )));
        }
        let live: Option<OnCallRotation> = session.find(name_of(&new)).await?;
        parts.push(compared(live.as_ref(), &new, &overrides, now)?);
    }
    say(&parts.join("\n\n"));
    Ok(())
}

/// What applying a rotation would change, in words.
fn compared(
    live: Option<&OnCallRotation>,
    new: &OnCallRotation,
    overrides: &[Arc<OnCallOverride>],
    now: Timestamp,
) -> Result<String, Failure> {
    let name = name_of(new);
    let problems = validate::problems(&new.spec);
    if !problems.is_empty() {
        return Err(Failure::usage(format!("oncall/{name}: {}.", mayday::problem::join(&problems))));
    }
    let Some(live) = live else {
        return Ok(format!("oncall/{name} is new: nobody's shifts move."));
    };
    let known = live.status.as_ref().and_then(|status| status.schedule.as_ref());
    let before = running_turn::observe(&live.spec, known, now);
    let after = running_turn::observe(&new.spec, Some(&before), now);
    let compiled = |rotation: &OnCallRotation, observed: &ObservedSchedule| {
        let people: Vec<String> = rotation.spec.people.iter().map(|person| person.name.clone()).collect();
        let own = overrides::of_rotation(overrides, name, &people);
        Schedule::of_known(&rotation.spec, observed, own)
            .map_err(|problems| Failure::new(format!("oncall/{name}: {}.", mayday::problem::join(&problems))))
    };
    let (was, will) = (compiled(live, &before)?, compiled(new, &after)?);
    let differences = compare::differences(&was, &will, now, now + AHEAD);
    if differences.is_empty() {
        return Ok(format!("oncall/{name}: the same people are on duty for the next 60 days."));
    }
    let moved = running_turn::moved(&before, &after, now);
    let moved = if moved.is_empty() { "nobody's next shift".to_owned() } else { moved.join("; ") };
    Ok(format!("oncall/{name}: next shifts that move: {moved}\n{}", compare::lines(&will, &differences)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn rotation(turns: &[&str]) -> OnCallRotation {
        let people: Vec<Value> = turns.iter().map(|name| json!({"name": name, "user": name})).collect();
        let turns: Vec<Value> = turns.iter().map(|name| json!({"people": [name]})).collect();
        let spec = json!({"timeZone": "Europe/Berlin", "people": people, "layers": [{"name": "weekly",
            "start": "2026-01-05T09:00", "shift": {"unit": "Weeks", "length": 1}, "turns": turns}]});
        OnCallRotation::new("payments", serde_json::from_value(spec).unwrap())
    }

    #[test]
    fn an_edit_shows_whose_shifts_move_and_keeps_who_is_on_duty() {
        let now = "2026-01-14T12:00:00Z".parse().unwrap();
        let told =
            |turns: &[&str]| compared(Some(&rotation(&["emil", "bea"])), &rotation(turns), &[], now).unwrap();
        assert_eq!(
            told(&["emil", "bea"]),
            "oncall/payments: the same people are on duty for the next 60 days."
        );
        let added = told(&["amir", "emil", "bea"]);
        assert!(
            added.starts_with(
                "oncall/payments: next shifts that move: amir: 2026-01-19 09:00 CET, new; bea: "
            ),
            "{added}"
        );
        let first = added.lines().nth(2).unwrap();
        assert!(first.starts_with("Mon 2026-01-19 09:00   Mon 2026-01-26 09:00   emil     amir"), "{added}");
        let wrong = compared(None, &rotation(&["emil", "emil"]), &[], now).unwrap_err();
        assert!(wrong.sentence.contains("spec.people[1].name"), "{}", wrong.sentence);
    }
}
