//! `withdraw`: ends a request for good, so that it lets no change through any more.

use clap::Args;
use mayday::api::ChangeRequest;
use mayday::api::change_request::RequestState;
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

pub async fn run(session: &Session, args: WithdrawArgs) -> Result<(), Failure> {
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
        &format!("You withdraw chg/{name} ({}), for good.", mayday::text::flat(&request.spec.reason, 500)),
    )?;
    let what = format!("withdraw chg/{name}");
    let _: ChangeRequest = session.patch(name, &json!({"spec": {"withdrawn": true}}), &what).await?;
    say(&format!("chg/{name} is withdrawn: it no longer lets anything through."));
    Ok(())
}
