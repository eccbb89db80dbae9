//! `resolve`: the lead says that an outage is over, and how.

use clap::Args;
use jiff::Timestamp;
use kube::api::ObjectMeta;
use mayday::api::change_request::{Change, ChangeRequestSpec, PatchType, UpdateChange};
use mayday::api::common::{NameRef, ObjectRef};
use mayday::api::conditions::{ConditionType, is_true};
use mayday::api::incident::{Outcome, Resolution};
use mayday::api::incident_status::CheckResult;
use mayday::api::{ChangeRequest, GROUP, Incident, VERSION};
use mayday::command::{Command, Flag, Verb};
use serde_json::{Value, json};

use crate::client::address;
use crate::client::clock::whole_seconds;
use crate::client::failure::Failure;
use crate::client::session::Session;
use crate::commands::ack::{elsewhere, over};
use crate::commands::ask;
use crate::render::terminal::{confirm, say};

#[derive(Debug, Args)]
pub struct ResolveArgs {
    /// The incident
    #[arg(value_name = "inc/NAME", value_parser = address::incident)]
    pub incident: String,
    /// How it ended: restored (the checks prove it), unproved (service has returned and the checks cannot prove it; the
    /// lead and one peer say so), false-alarm (there was no outage), duplicate (another incident is about it)
    #[arg(long, value_name = "OUTCOME", value_parser = outcome, default_value = "restored")]
    pub outcome: Outcome,
    /// Why; needed for everything but restored
    #[arg(long, value_name = "TEXT")]
    pub reason: Option<String>,
    /// The incident that this one repeats; needed for duplicate
    #[arg(long, value_name = "inc/NAME", value_parser = address::incident)]
    pub duplicate_of: Option<String>,
    /// Ask for it by a change request, where the approval of others is needed
    #[arg(long)]
    pub ask: bool,
}

/// The ends of an outage, as they are typed.
const OUTCOMES: [(&str, Outcome); 4] = [
    ("restored", Outcome::Restored),
    ("unproved", Outcome::Unproved),
    ("false-alarm", Outcome::FalseAlarm),
    ("duplicate", Outcome::Duplicate),
];

fn outcome(text: &str) -> Result<Outcome, String> {
    let typed = text.to_ascii_lowercase();
    // `FalseAlarm` is what the incident itself calls it.
    let typed = if typed == "falsealarm" { "false-alarm" } else { &typed };
    let found = OUTCOMES.iter().find(|(word, _)| *word == typed);
    found
        .map(|(_, outcome)| *outcome)
        .ok_or_else(|| "write restored, unproved, false-alarm or duplicate".to_owned())
}

fn typed(outcome: Outcome) -> &'static str {
    OUTCOMES.iter().find(|(_, known)| *known == outcome).map_or("restored", |(word, _)| word)
}

pub async fn run(session: &Session, args: ResolveArgs) -> Result<(), Failure> {
    let resolution = resolution(&args, session.now())?;
    let incident: Incident = session.get(&args.incident).await?;
    let address = format!("inc/{}", args.incident);
    if let Some(elsewhere) =
        elsewhere(&incident, "resolve", |there| session.command(Verb::Resolve).word(there))
    {
        return Err(elsewhere);
    }
    if let Some(over) = over(&incident) {
        return Err(Failure::new(format!("{address} is {over} already, and an end is said once."))
            .then(session.command(Verb::Show).word(&address)));
    }
    if args.ask {
        say(&about_to(&incident, &args));
        let request = request(&args, resolution, incident.spec.resolution.as_ref(), &session.namespace);
        let name = ask::submit(session, request, false).await?;
        say(&format!("\nOnce approved: {}", session.command(Verb::Apply).on("chg", &name)));
        return Ok(());
    }
    confirm(session.connection.yes, &about_to(&incident, &args))?;
    let what = format!("resolve {address}");
    let patch = json!({"spec": {"resolution": alone(resolution)}});
    let resolved: Result<Incident, Failure> = session.patch(&args.incident, &patch, &what).await;
    let other = "--outcome unproved";
    let is_for_this =
        |said: &str| said.contains("--ask") && (args.outcome == Outcome::Unproved || !said.contains(other));
    resolved.map_err(|failure| match is_for_this(&failure.sentence) {
        // This command knows the words that the refusal leaves out.
        true => failure.then(asking(session.command(Verb::Resolve), &args)),
        false => failure,
    })?;
    say(&format!(
        "{address} is said to be over: {:?}.\nNext: {}\n  then: {}",
        args.outcome,
        session.command(Verb::Show).word(&address),
        session.command(Verb::Report).word(&address)
    ));
    Ok(())
}

/// The resolution to write. Its time tells it from the resolution before a relapse.
fn resolution(args: &ResolveArgs, now: Timestamp) -> Result<Value, Failure> {
    if args.outcome != Outcome::Restored && args.reason.is_none() {
        return Err(Failure::usage(format!("--outcome {} needs --reason: why?", typed(args.outcome))));
    }
    if (args.outcome == Outcome::Duplicate) != args.duplicate_of.is_some() {
        return Err(Failure::usage("--outcome duplicate and --duplicate-of inc/NAME belong together."));
    }
    let mut resolution = json!({"outcome": args.outcome, "time": whole_seconds(now)});
    if let Some(reason) = &args.reason {
        resolution["reason"] = json!(reason);
    }
    if let Some(original) = &args.duplicate_of {
        resolution["duplicateOf"] = json!({"name": original});
    }
    Ok(resolution)
}

/// The resolution with null for each absent field, so that the merge keeps nothing of an earlier resolution.
fn alone(mut resolution: Value) -> Value {
    for field in ["reason", "duplicateOf"] {
        if resolution.get(field).is_none() {
            resolution[field] = Value::Null;
        }
    }
    resolution
}

/// The command that asks for the same resolution by a request.
fn asking(resolve: Command, args: &ResolveArgs) -> Command {
    let mut command = resolve.on("inc", &args.incident).flag(Flag::Outcome, typed(args.outcome));
    if let Some(reason) = &args.reason {
        command = command.flag(Flag::Reason, reason);
    }
    if let Some(original) = &args.duplicate_of {
        command = command.flag(Flag::DuplicateOf, format!("inc/{original}"));
    }
    command.switch(Flag::Ask)
}

/// The request to the people whose agreement the resolution needs. It removes the fields that only an earlier
/// resolution has.
fn request(
    args: &ResolveArgs,
    resolution: Value,
    earlier: Option<&Resolution>,
    namespace: &str,
) -> ChangeRequest {
    let reason = earlier.is_some_and(|earlier| earlier.reason.is_some()).then_some("reason");
    let duplicate = earlier.is_some_and(|earlier| earlier.duplicate_of.is_some()).then_some("duplicateOf");
    let stays = |field: &&str| resolution.get(*field).is_some();
    let goes = reason.into_iter().chain(duplicate).filter(|field| !stays(field));
    let remove = goes.map(|field| format!("/spec/resolution/{field}")).collect();
    let target = ObjectRef {
        api_version: format!("{GROUP}/{VERSION}"),
        kind: "Incident".to_owned(),
        name: args.incident.clone(),
    };
    let update = UpdateChange {
        patch_type: PatchType::Merge,
        patch: Some(json!({"spec": {"resolution": resolution}})),
        remove,
        ..UpdateChange::default()
    };
    let outcome = format!("{:?}", args.outcome);
    let why = args.reason.clone().unwrap_or_else(|| format!("inc/{} is over: {outcome}", args.incident));
    let spec = ChangeRequestSpec {
        reason: why.chars().take(500).collect(),
        incident_ref: Some(NameRef { name: args.incident.clone() }),
        changes: vec![Change { target: Some(target), update: Some(update), ..Change::default() }],
        max_uses: 1,
        ..ChangeRequestSpec::default()
    };
    let metadata = ObjectMeta {
        name: Some(format!("{}-{}", args.incident, outcome.to_ascii_lowercase())),
        namespace: Some(namespace.to_owned()),
        ..ObjectMeta::default()
    };
    ChangeRequest { metadata, spec, status: None }
}

fn about_to(incident: &Incident, args: &ResolveArgs) -> String {
    let mut lines = vec![format!(
        "You say that inc/{} ({}, {}) is over: {:?}.",
        args.incident, incident.spec.severity, incident.spec.title, args.outcome
    )];
    lines.extend(args.reason.as_ref().map(|reason| format!("Reason: {reason}")));
    let status = incident.status.as_ref();
    let proved = status.is_some_and(|status| is_true(&status.conditions, ConditionType::Restored));
    if args.outcome == Outcome::Restored && !proved {
        lines.push("The return to service is not proved yet.".to_owned());
        let checks = status.map(|status| status.checks.as_slice()).unwrap_or_default();
        let open = checks.iter().filter(|check| check.result != CheckResult::Passing);
        lines.extend(open.map(|check| format!("  {}: {}", check.name, check.message)));
    }
    let against = if args.outcome == Outcome::FalseAlarm { incident.contradictions() } else { Vec::new() };
    if !against.is_empty() {
        lines.push("It takes the lead and one peer, since this speaks for an outage:".to_owned());
        lines.extend(against.iter().map(|what| format!("  {what}")));
    }
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args(outcome: Outcome) -> ResolveArgs {
        ResolveArgs { incident: "x".into(), outcome, reason: None, duplicate_of: None, ask: false }
    }

    fn said(args: &ResolveArgs) -> Result<Value, Failure> {
        resolution(args, "2026-11-22T02:04:10.5Z".parse().unwrap())
    }

    #[test]
    fn everything_but_restored_needs_a_reason() {
        let time = "2026-11-22T02:04:10Z";
        assert_eq!(said(&args(Outcome::Restored)).unwrap(), json!({"outcome": "Restored", "time": time}));
        assert_eq!(said(&args(Outcome::Unproved)).unwrap_err().code, 2);
        let alarm = ResolveArgs { reason: Some("test alert".into()), ..args(Outcome::FalseAlarm) };
        let expected = json!({"outcome": "FalseAlarm", "reason": "test alert", "time": time});
        assert_eq!(said(&alarm).unwrap(), expected);
    }

    #[test]
    fn a_duplicate_names_the_other() {
        let alone = ResolveArgs { reason: Some("same".into()), ..args(Outcome::Duplicate) };
        assert_eq!(said(&alone).unwrap_err().code, 2);
        let named = ResolveArgs { duplicate_of: Some("y".into()), ..alone };
        assert_eq!(said(&named).unwrap().pointer("/duplicateOf/name"), Some(&json!("y")));
    }

    #[test]
    fn a_resolution_that_needs_others_is_a_patch_of_the_incident() {
        let args = ResolveArgs { reason: Some("no probe for it".into()), ..args(Outcome::Unproved) };
        let again = asking(Command::new(Verb::Resolve).namespace("shop"), &args).to_string();
        assert_eq!(
            again,
            "kubectl mayday resolve -n shop inc/x --outcome unproved --reason 'no probe for it' --ask"
        );
        let resolution = said(&args).unwrap();
        let asked = |earlier: Option<&Resolution>| {
            serde_json::to_value(request(&args, resolution.clone(), earlier, "shop")).unwrap()
        };
        let request = asked(None);
        assert_eq!(request.pointer("/metadata/name"), Some(&json!("x-unproved")));
        assert_eq!(request.pointer("/spec/reason"), Some(&json!("no probe for it")));
        let update = |request: &Value| request.pointer("/spec/changes/0/update").unwrap().clone();
        assert_eq!(update(&request).pointer("/patch/spec/resolution"), Some(&resolution));
        assert_eq!(update(&request).get("remove"), None);
        let earlier = json!({"outcome": "Duplicate", "reason": "same", "duplicateOf": {"name": "y"}});
        let request = asked(Some(&serde_json::from_value(earlier).unwrap()));
        assert_eq!(update(&request).get("remove"), Some(&json!(["/spec/resolution/duplicateOf"])));
    }

    #[test]
    fn nothing_of_an_earlier_resolution_stays() {
        let mut incident = json!({"outcome": "Duplicate", "reason": "same", "duplicateOf": {"name": "y"}});
        let resolution = said(&args(Outcome::Restored)).unwrap();
        json_patch::merge(&mut incident, &alone(resolution.clone()));
        assert_eq!(incident, resolution);
    }

    #[test]
    fn outcomes_are_read_as_people_and_incidents_write_them() {
        for (word, meant) in OUTCOMES {
            assert_eq!(outcome(word), Ok(meant));
            assert_eq!(outcome(&format!("{meant:?}")), Ok(meant));
            assert_eq!(typed(meant), word);
        }
        assert!(outcome("over").unwrap_err().contains("write restored"));
    }

    #[test]
    fn an_unproved_return_is_said_before_asking() {
        let incident = Incident::new("x", mayday::api::incident::IncidentSpec::default());
        assert!(about_to(&incident, &args(Outcome::Restored)).contains("not proved yet"));
    }
}
