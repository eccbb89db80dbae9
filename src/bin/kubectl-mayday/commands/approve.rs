//! `approve` and `reject`: shows the exact content, asks, and writes one Approval of exactly what was shown.

use clap::Args;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use mayday::api::approval::{ApprovalSpec, Decision, SubjectRef};
use mayday::api::change_request::RequestState;
use mayday::api::runbook_run::RunbookRunStatus;
use mayday::api::{ChangeRequest, Runbook, RunbookRun};
use mayday::command::Verb;
use mayday::{change, runbook};

use crate::client::address::{Address, Kind};
use crate::client::clock;
use crate::client::failure::{Failure, role};
use crate::client::session::{Session, uid_of};
use crate::client::wait::{PATIENCE, Waited, until};
use crate::commands::decision::{store, tell_if_counted};
use crate::render;
use crate::render::Here;
use crate::render::terminal::confirm;

#[derive(Debug, Args)]
pub struct DecideArgs {
    /// What is decided on: chg/NAME, rb/NAME or run/NAME
    #[arg(value_name = "KIND/NAME")]
    pub subject: Address,
    /// Why, for whoever reads it later
    #[arg(long, value_name = "TEXT")]
    pub why: Option<String>,
    /// Until when the approval of a runbook counts: a length of time such as 90d, HH:MM, or RFC 3339 [default: 180 days]
    #[arg(long, value_name = "TIME")]
    pub until: Option<String>,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Verdict {
    Approve,
    Reject,
}

/// The subject as the person saw it. The Approval binds to it.
struct Shown {
    text: String,
    with_rollback: bool,
    spec: ApprovalSpec,
}

pub async fn run(session: &Session, args: DecideArgs, verdict: Verdict) -> Result<(), Failure> {
    let shown = read(session, &args, verdict).await?;
    let effect = match verdict {
        Verdict::Approve if shown.with_rollback => {
            "You approve exactly this, and with it the rollback from it."
        }
        Verdict::Approve => "You approve exactly this.",
        Verdict::Reject => "You reject this, for good.",
    };
    confirm(session.connection.yes, &format!("{}\n\n{effect}", shown.text))?;
    let word = if verdict == Verdict::Approve { "approve" } else { "reject" };
    let approval = store(session, &args.subject, shown.spec, word, role::APPROVER).await?;
    tell_if_counted(session, &approval, &args.subject).await
}

async fn read(session: &Session, args: &DecideArgs, verdict: Verdict) -> Result<Shown, Failure> {
    let name = args.subject.name.as_str();
    let here = Here::of(session);
    if args.until.is_some() && args.subject.kind != Kind::Runbook {
        return Err(Failure::usage("--until belongs to the approval of a runbook."));
    }
    let now = session.now().to_zoned(session.zone.clone());
    let until = args.until.as_deref().map(|until| clock::next("--until", until, &now)).transpose()?;
    let mut incidents = Vec::new();
    let mut with_rollback = false;
    // The digest of what is shown, and the one that the operator keeps.
    let (uid, digest, kept, text) = match args.subject.kind {
        Kind::ChangeRequest => {
            let request: ChangeRequest = planned(session, name).await?;
            let status = request.status.clone().unwrap_or_default();
            refuse_if_over(session, name, status.state)?;
            incidents = status.incidents;
            with_rollback = request.spec.allows_rollback();
            let uid = uid_of(&request).to_owned();
            let digest = change::diff::digest::request(&uid, &request.spec, &status.plan);
            (uid, digest, status.digest, render::change::describe(&request, &here))
        }
        Kind::Runbook => {
            let runbook = seen(session, name).await?;
            let kept = runbook.status.as_ref().and_then(|status| status.digest.clone());
            let digest = change::diff::digest::runbook(&runbook.spec);
            (uid_of(&runbook).to_owned(), digest, kept, render::runbook::describe(&runbook, &here))
        }
        Kind::RunbookRun => {
            let run: RunbookRun = session.get(name).await?;
            let status = run.status.clone().unwrap_or_default();
            let snapshot = status.snapshot.as_ref().map(|snapshot| &snapshot.spec);
            let digest = of_run(&run, &status);
            let steps = snapshot.map(crate::text::yaml).unwrap_or_default();
            let text =
                format!("{}\n\n{}", render::run::describe(&run, &here), crate::text::indent(&steps, 2));
            (uid_of(&run).to_owned(), digest, status.digest, text)
        }
        Kind::Incident => {
            return Err(Failure::usage("An incident is not approved; the questions it asks are answered.")
                .then(session.command(Verb::Show).word(args.subject.to_string())));
        }
    };
    let digest = bound(digest.ok(), kept).map_err(|why| {
        Failure::new(format!("{} {why}", args.subject))
            .then(session.command(Verb::Show).word(args.subject.to_string()))
    })?;
    let decision = if verdict == Verdict::Approve { Decision::Approve } else { Decision::Reject };
    let spec = ApprovalSpec {
        subject_ref: SubjectRef {
            kind: args.subject.kind,
            name: name.to_owned(),
            uid,
            step: None,
            check: None,
        },
        digest,
        incident_refs: incidents,
        decision,
        comment: args.why.clone(),
        not_after: until.map(Time),
        by: None,
    };
    Ok(Shown { text, with_rollback, spec })
}

/// The content that an Approval binds to: the shown one, if the operator keeps the same.
fn bound(shown: Option<String>, kept: Option<String>) -> Result<String, String> {
    match (shown, kept) {
        (_, None) => {
            Err("has no digest yet, so there is nothing that a decision could bind to: the operator has not \
                          looked at it."
                .to_owned())
        }
        (Some(shown), Some(kept)) if shown == kept => Ok(kept),
        (_, Some(kept)) => Err(format!(
            "cannot be decided on from here: what is read of it is not what the operator keeps as {kept}. Either it has \
             changed this moment, then do the same again, or this plugin is of another version than Mayday."
        )),
    }
}

/// The digest of a run, if the run shows its parts: its copy of the Runbook, and its own values.
fn of_run(run: &RunbookRun, status: &RunbookRunStatus) -> Result<String, change::diff::digest::DigestError> {
    let snapshot = status.snapshot.clone().unwrap_or_default();
    let runbook = change::diff::digest::runbook(&serde_json::from_value(snapshot.spec)?)?;
    let incident = status.incident_ref.as_ref().map(|incident| incident.uid.as_str());
    let targets: Vec<_> = status.steps.iter().map(|step| step.targets.clone()).collect();
    runbook::digest::run(uid_of(run), &runbook, incident, (&status.values, &targets), run.spec.dry_run)
}

/// The Runbook once the operator has read its latest version, which it does within a moment of an edit.
async fn seen(session: &Session, name: &str) -> Result<Runbook, Failure> {
    let runbook: Runbook = session.get(name).await?;
    let is_seen = |runbook: &Runbook| {
        let seen = runbook.status.as_ref().map(|status| status.observed_generation);
        seen == runbook.metadata.generation
    };
    if is_seen(&runbook) {
        return Ok(runbook);
    }
    match until::<Runbook>(session, name, Some(PATIENCE), is_seen).await? {
        Waited::Done(runbook) => Ok(runbook),
        Waited::TimeOver(last) => Ok(last.unwrap_or(runbook)),
    }
}

/// The request with its plan and the missing approvers, which the operator adds within a moment of its
/// creation.
pub async fn planned(session: &Session, name: &str) -> Result<ChangeRequest, Failure> {
    let request: ChangeRequest = session.get(name).await?;
    let is_planned = |request: &ChangeRequest| {
        let state = request.status.as_ref().and_then(|status| status.state);
        state.is_some_and(|state| state != RequestState::Planning)
    };
    if is_planned(&request) {
        return Ok(request);
    }
    match until::<ChangeRequest>(session, name, Some(PATIENCE), is_planned).await? {
        Waited::Done(request) => Ok(request),
        Waited::TimeOver(last) => Ok(last.unwrap_or(request)),
    }
}

fn refuse_if_over(session: &Session, name: &str, state: Option<RequestState>) -> Result<(), Failure> {
    match state.filter(|state| state.is_over()) {
        Some(over) => Err(Failure::new(format!(
            "chg/{name} is {over}: nothing can be decided any more. Ask again instead."
        ))
        .then(session.command(Verb::Show).on("chg", name))),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_but_what_was_shown_is_decided_on() {
        let digest = |text: &str| Some(text.to_owned());
        assert_eq!(bound(digest("a"), digest("a")), Ok("a".to_owned()));
        assert!(bound(digest("a"), None).unwrap_err().contains("no digest yet"));
        assert!(bound(digest("edited"), digest("a")).unwrap_err().contains("another version"));
        assert!(bound(None, digest("a")).is_err());
    }
}
