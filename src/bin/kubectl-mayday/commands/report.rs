//! `report`: the outage report, as the operator keeps it with the incident.

use clap::Args;
use mayday::api::Incident;
use mayday::command::Verb;
use serde_json::json;

use crate::client::address;
use crate::client::failure::Failure;
use crate::client::session::Session;
use crate::render;
use crate::render::output::{Format, print};
use crate::render::terminal::say_exactly;

#[derive(Debug, Args)]
pub struct ReportArgs {
    /// The incident
    #[arg(value_name = "inc/NAME", value_parser = address::incident)]
    pub incident: String,
    /// The one for the public: no person, object, image or digest
    #[arg(long)]
    pub external: bool,
    /// How to print it: json or yaml [default: the Markdown alone]
    #[arg(short, long, value_name = "FORMAT", value_parser = Format::without_names)]
    pub output: Option<Format>,
}

pub async fn run(session: &Session, args: ReportArgs) -> Result<(), Failure> {
    let incident: Incident = session.get(&args.incident).await?;
    let report = stored(&incident, args.external).ok_or_else(|| missing(session, &incident, &args))?;
    match args.output {
        Some(format) => {
            print(format, &json!({"incident": args.incident, "external": args.external, "report": report}))
        }
        None => say_exactly(report.trim_end()),
    }
    Ok(())
}

fn stored(incident: &Incident, external: bool) -> Option<&str> {
    let reports = incident.status.as_ref()?.reports.as_ref()?;
    let report = if external { &reports.external } else { &reports.internal };
    report.as_deref()
}

fn missing(session: &Session, incident: &Incident, args: &ReportArgs) -> Failure {
    let state = incident.status.as_ref().and_then(|status| status.state);
    let state = render::state(state);
    Failure::new(format!(
        "There is no report of inc/{} yet: it is {state}, and the report is written when the outage is over.",
        args.incident
    ))
    .then(session.command(Verb::Show).on("inc", &args.incident))
}
