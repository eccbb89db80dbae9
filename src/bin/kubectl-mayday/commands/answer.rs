//! `answer`: a person on duty, or the lead, answers a question of an incident's checks or of a run's step.

use clap::{Args, ValueEnum};
use mayday::api::approval::{ApprovalSpec, Decision, SubjectRef};
use mayday::api::{Incident, RunbookRun};
use mayday::command::Verb;

use crate::client::address::{Address, Kind};
use crate::client::failure::{Failure, role};
use crate::client::session::{Session, uid_of};
use crate::commands::decision::{store, tell_if_counted};
use crate::render::terminal::confirm;
use crate::text::names;

#[derive(Debug, Args)]
pub struct AnswerArgs {
    /// Who asks: inc/NAME or run/NAME
    #[arg(value_name = "inc/NAME|run/NAME")]
    pub subject: Address,
    /// The check of the incident, or the step of the run
    #[arg(value_name = "CHECK|STEP")]
    pub question: String,
    /// The answer
    #[arg(value_enum, ignore_case = true)]
    pub answer: Said,
    /// What you saw
    #[arg(long, value_name = "TEXT")]
    pub why: Option<String>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum Said {
    #[value(alias = "yes")]
    Confirm,
    #[value(alias = "no")]
    Deny,
}

/// A question as its subject's status holds it.
#[derive(Debug, PartialEq)]
struct Question {
    text: String,
    digest: String,
}

pub async fn run(session: &Session, args: AnswerArgs) -> Result<(), Failure> {
    let name = args.subject.name.as_str();
    let (uid, kind, step, check, question) = match args.subject.kind {
        Kind::Incident => {
            let incident: Incident = session.get(name).await?;
            let question = of_incident(&incident, &args.question);
            (uid_of(&incident).to_owned(), Kind::Incident, None, Some(args.question.clone()), question)
        }
        Kind::RunbookRun => {
            let run: RunbookRun = session.get(name).await?;
            let question = of_run(&run, &args.question);
            (uid_of(&run).to_owned(), Kind::RunbookRun, Some(args.question.clone()), None, question)
        }
        Kind::ChangeRequest | Kind::Runbook => {
            return Err(Failure::usage(format!(
                "{} asks nothing; it is approved or rejected.",
                args.subject
            ))
            .then(session.command(Verb::Approve).word(args.subject.to_string())));
        }
    };
    let question = question.map_err(|why| {
        Failure::new(format!("{} {why}", args.subject))
            .then(session.command(Verb::Show).word(args.subject.to_string()))
    })?;
    let decision = match args.answer {
        Said::Confirm => Decision::Confirm,
        Said::Deny => Decision::Deny,
    };
    confirm(session.connection.yes, &about_to(&args.subject, &question.text, decision))?;
    let spec = ApprovalSpec {
        subject_ref: SubjectRef { kind, name: name.to_owned(), uid, step, check },
        digest: question.digest,
        incident_refs: Vec::new(),
        decision,
        comment: args.why,
        not_after: None,
        by: None,
    };
    let approval = store(session, &args.subject, spec, "answer", role::RESPONDER).await?;
    tell_if_counted(session, &approval, &args.subject).await
}

fn about_to(subject: &Address, question: &str, decision: Decision) -> String {
    let counts = match subject.kind {
        Kind::Incident => " It counts until service breaks again.",
        _ => "",
    };
    format!("{subject} asks: {question}\nYou answer: {decision:?}.{counts}")
}

fn of_incident(incident: &Incident, check: &str) -> Result<Question, String> {
    let status = incident.status.clone().unwrap_or_default();
    let asked = || status.checks.iter().filter(|check| check.digest.is_some());
    let Some(found) = asked().find(|candidate| candidate.name == check) else {
        let there = names(asked().map(|check| check.name.as_str()), "nothing");
        return Err(format!("has no question {check}. What it asks: {there}."));
    };
    Ok(Question { text: found.message.clone(), digest: found.digest.clone().unwrap_or_default() })
}

fn of_run(run: &RunbookRun, step: &str) -> Result<Question, String> {
    let status = run.status.clone().unwrap_or_default();
    let asked = || status.steps.iter().filter(|step| step.digest.is_some());
    let Some(found) = asked().find(|candidate| candidate.name == step) else {
        let there = names(asked().map(|step| step.name.as_str()), "nothing");
        return Err(format!("has no question {step}. What it asks: {there}."));
    };
    let text = found.message.clone().unwrap_or_else(|| step.to_owned());
    Ok(Question { text, digest: found.digest.clone().unwrap_or_default() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use mayday::api::common::NameRef;
    use mayday::api::runbook_run::{RunbookRunSpec, RunbookRunStatus, StepStatus};

    #[test]
    fn an_unknown_step_lists_what_is_asked() {
        let spec = RunbookRunSpec { runbook_ref: NameRef { name: "rb".into() }, ..Default::default() };
        let mut run = RunbookRun::new("r", spec);
        let look = StepStatus {
            name: "look".into(),
            message: Some("Does it shrink?".into()),
            digest: Some("v1:sha256:00".into()),
            ..Default::default()
        };
        let scale = StepStatus { name: "scale".into(), ..Default::default() };
        run.status = Some(RunbookRunStatus { steps: vec![scale, look], ..Default::default() });
        assert_eq!(of_run(&run, "scale"), Err("has no question scale. What it asks: look.".into()));
        let question = Question { text: "Does it shrink?".into(), digest: "v1:sha256:00".into() };
        assert_eq!(of_run(&run, "look"), Ok(question));
    }
}
