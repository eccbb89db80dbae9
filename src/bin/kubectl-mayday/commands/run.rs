//! `run`: a person starts a prepared runbook.

use std::time::Duration;

use clap::Args;
use mayday::api::common::{NameRef, ParameterValue};
use mayday::api::conditions::{ConditionType, find};
use mayday::api::drill::DrillMode;
use mayday::api::runbook::Parameter;
use mayday::api::runbook_run::{RunState, RunbookRunSpec, StepState};
use mayday::api::{Incident, Runbook, RunbookRun};
use mayday::command::{Flag, Verb};

use crate::client::address;
use crate::client::failure::{Failure, role};
use crate::client::session::{Session, generated, name_of};
use crate::client::wait::{PATIENCE, Waited, until};
use crate::render;
use crate::render::Here;
use crate::render::output::{Format, print, value};
use crate::render::terminal::{confirm, say};
use crate::text::{indent, names, yaml};

/// How long the command waits for the state of a new run; the operator looks within a moment.
const SOON: Duration = Duration::from_secs(3);

#[derive(Debug, Args)]
pub struct RunArgs {
    /// The runbook; without one, those that there are are listed
    #[arg(value_name = "RUNBOOK", value_parser = address::runbook)]
    pub runbook: Option<String>,
    /// The incident it is for
    #[arg(long, value_name = "inc/NAME", value_parser = address::incident)]
    pub incident: Option<String>,
    /// Only say what would happen
    #[arg(long)]
    pub dry_run: bool,
    /// Rehearse it now, as its spec.drill says
    #[arg(long, conflicts_with_all = ["dry_run", "incident", "param"])]
    pub drill: bool,
    /// How to print the result of a dry run: json, yaml or name; nothing else is printed
    #[arg(short, long, value_name = "FORMAT", value_parser = Format::any, requires = "dry_run")]
    pub output: Option<Format>,
    /// A value for one of the runbook's parameters; may be repeated
    #[arg(long, value_name = "NAME=VALUE")]
    pub param: Vec<String>,
}

pub async fn run(session: &Session, args: RunArgs) -> Result<(), Failure> {
    let incident = match &args.incident {
        Some(incident) => Some(session.get::<Incident>(incident).await?),
        None => None,
    };
    let Some(name) = &args.runbook else {
        return Err(which(session, incident.as_ref()).await?);
    };
    let runbook: Runbook = session.get(name).await?;
    let parameters = parameters(&args.param, &runbook.spec.parameters)?;
    let run = build(&args, &runbook, parameters, &session.namespace);
    match args.output {
        None => confirm(session.connection.yes, &about_to(&args, &runbook, &run))?,
        Some(_) if session.connection.yes => {}
        Some(_) => {
            return Err(Failure::usage(
                "With -o only the result is printed, so nothing is asked: add --yes.",
            ));
        }
    }
    let run = session.create(&run, &format!("start rb/{name}"), role::RESPONDER).await?;
    let address = format!("run/{}", name_of(&run));
    let next = session.command(Verb::Show).word(&address);
    if args.output.is_none() {
        say(&format!("Stored as {address}."));
    }
    if run.spec.dry_run {
        return match until(session, name_of(&run), Some(PATIENCE), RunbookRun::is_settled).await {
            Ok(Waited::Done(run)) => {
                match args.output {
                    Some(format) => print(format, &value(&run)),
                    None => say(&render::run::describe(&run, &Here::of(session))),
                }
                failed(&run)
                    .or_else(|| not_as_rehearsed(&run))
                    .map_or(Ok(()), |why| Err(Failure::new(format!("{address} {why}"))))
            }
            _ if args.output.is_some() => {
                Err(Failure::new(format!("{address} has not said yet what would happen.")).then(next))
            }
            _ => {
                say(&format!("It has not said yet what would happen.\nNext: {next}"));
                Ok(())
            }
        };
    }
    let is_seen = |run: &RunbookRun| state(run).is_some_and(|state| state != RunState::Pending);
    match until::<RunbookRun>(session, name_of(&run), Some(SOON), is_seen).await {
        Ok(Waited::Done(run)) => match failed(&run) {
            Some(why) => return Err(Failure::new(format!("{address} {why}")).then(next)),
            None => say(&format!("Now {}.\nNext: {next}", begun(&run))),
        },
        Ok(Waited::TimeOver(_)) => say(&format!("It begins once the operator has seen it.\nNext: {next}")),
        // The run is stored, so failing to follow it is no failure of the command.
        Err(_) => say(&format!("Next: {next}")),
    }
    Ok(())
}

/// The runbooks that there are, those that fit an open incident first: which one is to be started must be said.
async fn which(session: &Session, incident: Option<&Incident>) -> Result<Failure, Failure> {
    let mut runbooks: Vec<Runbook> = session.list().await?;
    if runbooks.is_empty() {
        session.is_a_namespace().await?;
        return Ok(Failure::usage(format!("There is no runbook in namespace {}.", session.namespace))
            .then(session.command(Verb::Show)));
    }
    let incidents = match incident {
        Some(incident) => vec![incident.clone()],
        None => session.list().await?,
    };
    let fitting = fitting(&incidents);
    let place = |runbook: &Runbook| fitting.iter().position(|(fits, _)| fits == name_of(runbook));
    runbooks.sort_by_key(|runbook| (place(runbook).unwrap_or(usize::MAX), name_of(runbook).to_owned()));
    let rows: Vec<&Runbook> = runbooks.iter().collect();
    let mut text = format!("Which runbook?\n\n{}", render::lists::runbooks(&rows, &Here::of(session)));
    let run = |runbook: &str| session.command(Verb::Run).word(runbook);
    for (runbook, incident) in &fitting {
        text.push_str(&format!("\nFits inc/{incident}: {}", run(runbook).flag(Flag::Incident, incident)));
    }
    Ok(Failure::usage(text).then(run(name_of(&runbooks[0]))))
}

/// Each runbook that fits an open incident, with the incident.
fn fitting(incidents: &[Incident]) -> Vec<(String, String)> {
    let open = incidents.iter().filter(|incident| incident.is_open());
    open.flat_map(|incident| {
        let fits = incident.status.iter().flat_map(|status| &status.runbooks);
        fits.map(|runbook| (runbook.name.clone(), name_of(incident).to_owned())).collect::<Vec<_>>()
    })
    .collect()
}

fn state(run: &RunbookRun) -> Option<RunState> {
    run.status.as_ref().and_then(|status| status.state)
}

/// What a condition of a run says, without the full stop.
fn said(run: &RunbookRun, kind: ConditionType) -> String {
    let conditions = run.status.as_ref().map_or(&[][..], |status| &status.conditions);
    let condition = find(conditions, kind);
    condition.map(|condition| condition.message.trim_end_matches('.').to_owned()).unwrap_or_default()
}

/// Why a run came to nothing; none otherwise.
fn failed(run: &RunbookRun) -> Option<String> {
    let what = match state(run)? {
        RunState::Cancelled => "came to nothing",
        RunState::Failed => "has failed",
        RunState::Unknown => "has an outcome that nobody can prove",
        _ => return None,
    };
    Some(format!("{what}: {}.", said(run, ConditionType::Succeeded)))
}

/// Why a drill failed although it came to its end; none otherwise.
fn not_as_rehearsed(run: &RunbookRun) -> Option<String> {
    let mut steps = run.status.iter().filter(|_| run.spec.drill).flat_map(|status| &status.steps);
    let failed = steps.find(|step| step.state == StepState::Failed)?;
    let why = failed.message.as_deref().unwrap_or("it failed").trim_end_matches('.');
    Some(format!("shows that the runbook would fail at {}: {why}.", failed.name))
}

/// Whether a run has begun, or what it waits for.
fn begun(run: &RunbookRun) -> String {
    match state(run) {
        Some(RunState::Blocked) => format!("it waits: {}", said(run, ConditionType::Blocked)),
        Some(RunState::WaitingForApproval) => {
            let next = run.status.as_ref().and_then(|status| status.next.as_ref());
            format!("it waits for {} to approve it", next.map_or("somebody", |next| next.who.as_str()))
        }
        Some(RunState::Succeeded) => "it has succeeded".to_owned(),
        _ => "it is at work".to_owned(),
    }
}

fn build(args: &RunArgs, runbook: &Runbook, parameters: Vec<ParameterValue>, namespace: &str) -> RunbookRun {
    let on_copies = runbook.spec.drill.as_ref().is_some_and(|drill| drill.mode == DrillMode::Namespace);
    let runbook = name_of(runbook);
    let spec = RunbookRunSpec {
        runbook_ref: NameRef { name: runbook.to_owned() },
        incident_ref: args.incident.clone().map(|name| NameRef { name }),
        parameters,
        dry_run: args.dry_run || (args.drill && !on_copies),
        drill: args.drill,
        ..RunbookRunSpec::default()
    };
    RunbookRun { metadata: generated(runbook, namespace), spec, status: None }
}

/// Typed values in the order they were given; bounds are the operator's matter.
fn parameters(given: &[String], declared: &[Parameter]) -> Result<Vec<ParameterValue>, Failure> {
    let mut values: Vec<ParameterValue> = Vec::new();
    for text in given {
        let Some((name, value)) = text.split_once('=') else {
            return Err(Failure::usage(format!("--param {text:?} has no value: write --param NAME=VALUE.")));
        };
        let Some(parameter) = declared.iter().find(|parameter| parameter.name == name) else {
            let there = names(declared.iter().map(|parameter| parameter.name.as_str()), "none");
            return Err(Failure::usage(format!(
                "The runbook has no parameter {name}. What it has: {there}."
            )));
        };
        if values.iter().any(|value| value.name == name) {
            return Err(Failure::usage(format!("--param {name} is given twice.")));
        }
        let mut typed = ParameterValue { name: name.to_owned(), ..ParameterValue::default() };
        if parameter.integer.is_some() {
            let number = value.parse();
            typed.integer =
                Some(number.map_err(|_| {
                    Failure::usage(format!("--param {name} is a whole number, not {value:?}."))
                })?);
        } else {
            typed.string = Some(value.to_owned());
        }
        values.push(typed);
    }
    Ok(values)
}

fn about_to(args: &RunArgs, runbook: &Runbook, run: &RunbookRun) -> String {
    let spec = &runbook.spec;
    let incident = args.incident.as_ref().map(|name| format!(" for inc/{name}")).unwrap_or_default();
    let (verb, tail) = match (args.drill, args.dry_run) {
        (true, _) if run.spec.dry_run => ("start a drill of", ", as a dry run; nothing is done"),
        (true, _) => ("start a drill of", ", on copies in a namespace of its own"),
        (_, true) => ("ask what would happen if", " ran; nothing is done"),
        _ => ("start", ""),
    };
    let mut text = format!(
        "You {verb} rb/{}{incident}{tail}. {}.\nIt acts as ServiceAccount {}, step by step:\n{}",
        name_of(runbook),
        spec.summary.trim_end_matches('.'),
        spec.service_account_name,
        indent(&yaml(&spec.steps), 2)
    );
    let breaker =
        runbook.status.as_ref().and_then(|status| find(&status.conditions, ConditionType::BreakerOpen));
    if let Some(breaker) = breaker.filter(|breaker| breaker.status == "True" && !args.dry_run) {
        let why = breaker.message.split("; by hand").next().unwrap_or_default();
        text.push_str(&format!(
            "\nWARNING: it does not start by itself now, since {why}. Look at its last runs first."
        ));
    }
    if !run.spec.parameters.is_empty() {
        text.push_str(&format!("\nWith:\n{}", indent(&yaml(&run.spec.parameters), 2)));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use mayday::api::runbook::{IntegerParameter, StringParameter};
    use serde_json::json;

    fn declared() -> Vec<Parameter> {
        vec![
            Parameter {
                name: "replicas".into(),
                integer: Some(IntegerParameter::default()),
                ..Parameter::default()
            },
            Parameter {
                name: "zone".into(),
                string: Some(StringParameter::default()),
                ..Parameter::default()
            },
        ]
    }

    fn given(text: &[&str]) -> Result<Vec<ParameterValue>, Failure> {
        parameters(&text.iter().map(|&text| text.to_owned()).collect::<Vec<_>>(), &declared())
    }

    #[test]
    fn values_get_the_type_that_the_runbook_declares() {
        let values = given(&["replicas=8", "zone=a=b"]).unwrap();
        assert_eq!(
            serde_json::to_value(values).unwrap(),
            json!([{"name": "replicas", "integer": 8}, {"name": "zone", "string": "a=b"}])
        );
    }

    #[test]
    fn bad_parameters_are_wrong_usage() {
        for (text, says) in [
            (vec!["replica=8"], "What it has: replicas, zone."),
            (vec!["replicas=many"], "whole number"),
            (vec!["replicas"], "NAME=VALUE"),
            (vec!["zone=a", "zone=b"], "twice"),
        ] {
            let failure = given(&text).unwrap_err();
            assert_eq!(failure.code, 2);
            assert!(failure.sentence.contains(says), "{failure}");
        }
    }

    #[test]
    fn a_run_that_comes_to_nothing_is_a_failure() {
        let in_state = |state: &str| {
            let mut run = RunbookRun::new("r", RunbookRunSpec::default());
            let condition = json!({"type": "Succeeded", "status": "False", "reason": "R", "message": "a precondition is false.",
                "lastTransitionTime": "2026-11-22T02:04:10Z"});
            run.status = serde_json::from_value(json!({"state": state, "conditions": [condition]})).unwrap();
            run
        };
        assert_eq!(failed(&in_state("Failed")).as_deref(), Some("has failed: a precondition is false."));
        assert!(failed(&in_state("Cancelled")).is_some() && failed(&in_state("Unknown")).is_some());
        for state in ["Running", "Succeeded", "Blocked", "DryRunComplete"] {
            assert_eq!(failed(&in_state(state)), None, "{state}");
        }
        assert_eq!(begun(&in_state("Running")), "it is at work");
    }

    #[test]
    fn the_runbooks_that_fit_an_open_incident_are_named_with_it() {
        let incident = |name: &str, state: &str| -> Incident {
            let runbook = json!({"name": "restart", "summary": "s", "automatic": false});
            serde_json::from_value(json!({"apiVersion": "mayday.dev/v1alpha1", "kind": "Incident", "metadata": {"name": name},
                "spec": {"title": "t", "severity": "SEV2"}, "status": {"state": state, "runbooks": [runbook]}}))
            .unwrap()
        };
        let found = fitting(&[incident("over", "Closed"), incident("open", "Crisis")]);
        assert_eq!(found, [("restart".to_owned(), "open".to_owned())]);
    }

    #[test]
    fn an_open_breaker_is_a_warning_to_the_person_who_starts_it_by_hand() {
        let condition = json!({"type": "BreakerOpen", "status": "True", "reason": "BreakerOpen",
            "message": "its breaker is open: 3 runs failed; by hand: kubectl mayday run restart", "lastTransitionTime": "2026-11-22T02:04:10Z"});
        let runbook: Runbook = serde_json::from_value(json!({"apiVersion": "mayday.dev/v1alpha1", "kind": "Runbook", "metadata": {"name": "restart"},
            "spec": {"summary": "s", "serviceAccountName": "sa", "steps": []}, "status": {"conditions": [condition]}}))
        .unwrap();
        let args = |dry_run| RunArgs {
            runbook: Some("restart".into()),
            incident: None,
            dry_run,
            drill: false,
            output: None,
            param: Vec::new(),
        };
        let said = |dry_run| {
            let args = args(dry_run);
            about_to(&args, &runbook, &build(&args, &runbook, Vec::new(), "shop"))
        };
        let warning = "WARNING: it does not start by itself now, since its breaker is open: 3 runs failed. Look at its last runs first.";
        assert!(said(false).contains(warning), "{}", said(false));
        assert!(!said(true).contains("WARNING"), "a dry run changes nothing");
    }

    #[test]
    fn a_run_is_what_the_example_shows() {
        let args = RunArgs {
            runbook: Some("rollback-checkout".into()),
            incident: Some("cannot-pay".into()),
            dry_run: true,
            drill: false,
            output: None,
            param: Vec::new(),
        };
        let run = build(&args, &Runbook::new("rollback-checkout", Default::default()), Vec::new(), "shop");
        assert_eq!(run.metadata.generate_name.as_deref(), Some("rollback-checkout-"));
        assert_eq!(
            serde_json::to_value(&run.spec).unwrap(),
            json!({
                "runbookRef": {"name": "rollback-checkout"},
                "incidentRef": {"name": "cannot-pay"},
                "dryRun": true,
                "drill": false,
                "cancel": false
            })
        );
    }
}
