//! `withdraw` and `cancel`: what was asked for or started no longer stands. Both are one way.

use clap::Args;
use mayday::api::change_request::RequestState;
use mayday::api::runbook_run::RunState;
use mayday::api::{ChangeRequest, RunbookRun};
use mayday::command::Verb;
use serde_json::json;

use crate::client::address;
use crate::client::failure::Failure;
use crate::client::session::Session;
use crate::render::terminal::{confirm, say};

#[derive(Debug, Args)]
pub struct WithdrawArgs {
    /// The request
    #[arg(value_name = "chg/NAME", value_parser = address::change_request)]
    pub request: String,
}

#[derive(Debug, Args)]
pub struct CancelArgs {
    /// The run
    #[arg(value_name = "run/NAME", value_parser = address::run)]
    pub run: String,
}

pub async fn withdraw(session: &Session, args: WithdrawArgs) -> Result<(), Failure> {
    let name = &args.request;
    let request: ChangeRequest = session.get(name).await?;
    let state = request.status.as_ref().and_then(|status| status.state);
    // The others may still let a rollback through.
    let lets_nothing_through = |state: &RequestState| {
        matches!(state, RequestState::Rejected | RequestState::Withdrawn | RequestState::Invalid)
    };
    if let Some(state) = state.filter(lets_nothing_through) {
        say(&format!("chg/{name} is {state} already and lets nothing through; nothing was written."));
        return Ok(());
    }
    confirm(
        session.connection.yes,
        &format!("You withdraw chg/{name} ({}), for good.", request.spec.reason),
    )?;
    let what = format!("withdraw chg/{name}");
    let _: ChangeRequest = session.patch(name, &json!({"spec": {"withdrawn": true}}), &what).await?;
    say(&format!("chg/{name} is withdrawn: it no longer lets anything through."));
    Ok(())
}

pub async fn cancel(session: &Session, args: CancelArgs) -> Result<(), Failure> {
    let name = &args.run;
    let run: RunbookRun = session.get(name).await?;
    if let Some(state) =
        run.status.as_ref().and_then(|status| status.state).filter(|s| RunState::is_settled(*s))
    {
        say(&format!("run/{name} is over already ({state:?}); nothing was written."));
        return Ok(());
    }
    let runbook = &run.spec.runbook_ref.name;
    confirm(
        session.connection.yes,
        &format!("You cancel run/{name} of rb/{runbook}, for good: it stops before its next act."),
    )?;
    let what = format!("cancel run/{name}");
    let _: RunbookRun = session.patch(name, &json!({"spec": {"cancel": true}}), &what).await?;
    say(&format!("run/{name} is to stop.\nNext: {}", session.command(Verb::Show).on("run", name)));
    Ok(())
}
