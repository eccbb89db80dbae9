//! `cancel`: a run stops before its next act, for good.

use clap::Args;
use mayday::api::RunbookRun;
use mayday::command::Verb;
use serde_json::json;

use crate::client::address;
use crate::client::failure::Failure;
use crate::client::session::Session;
use crate::render::terminal::{confirm, say};

#[derive(Debug, Args)]
pub struct CancelArgs {
    /// The run
    #[arg(value_name = "run/NAME", value_parser = address::run)]
    pub run: String,
}

pub async fn run(session: &Session, args: CancelArgs) -> Result<(), Failure> {
    let name = &args.run;
    let run: RunbookRun = session.get(name).await?;
    if run.is_settled() {
        say(&format!("run/{name} is over already ({:?}); nothing was written.", run.state()));
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
