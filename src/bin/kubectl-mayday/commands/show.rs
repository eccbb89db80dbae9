//! `show`: where something stands, who must do what next, and with which command.

use clap::Args;
use mayday::api::{ChangeRequest, Incident, Runbook, RunbookRun};

use crate::client::address::{Address, Kind};
use crate::client::failure::Failure;
use crate::client::session::{Session, name_of, uid_of};
use crate::render;
use crate::render::Here;
use crate::render::terminal::say;

#[derive(Debug, Args)]
pub struct ShowArgs {
    /// What to show: inc/NAME, chg/NAME, rb/NAME or run/NAME [default: what is open in the namespace]
    #[arg(value_name = "KIND/NAME")]
    pub address: Option<Address>,
}

pub async fn run(session: &Session, args: ShowArgs) -> Result<(), Failure> {
    let Some(address) = args.address else {
        return overview(session).await;
    };
    let name = address.name.as_str();
    match address.kind {
        Kind::Incident => print_incident(session, &session.get::<Incident>(name).await?).await?,
        Kind::ChangeRequest => {
            let request: ChangeRequest = session.get(name).await?;
            say(&render::change::describe(&request, &Here::of(session)));
        }
        Kind::Runbook => {
            let runbook: Runbook = session.get(name).await?;
            say(&render::runbook::describe(&runbook, &Here::of(session)));
        }
        Kind::RunbookRun => {
            let run: RunbookRun = session.get(name).await?;
            say(&render::run::describe(&run, &Here::of(session)));
        }
    }
    Ok(())
}

async fn overview(session: &Session) -> Result<(), Failure> {
    let incidents: Vec<Incident> = session.list().await?;
    let requests: Vec<ChangeRequest> = session.list().await?;
    let runs: Vec<RunbookRun> = session.list().await?;
    say(&render::open(&incidents, &requests, &runs, &Here::of(session)));
    Ok(())
}

/// Reads what belongs to the incident, and prints it.
pub async fn print_incident(session: &Session, incident: &Incident) -> Result<(), Failure> {
    let status = incident.status.clone().unwrap_or_default();
    let mut runbooks = Vec::new();
    for matching in &status.runbooks {
        // One that was deleted meanwhile is still named, only its instructions are gone.
        runbooks.extend(session.find::<Runbook>(&matching.name).await?);
    }
    let mut runs: Vec<RunbookRun> = session.list().await?;
    runs.retain(|run| belongs_to(run, incident));
    runs.sort_by(|a, b| a.metadata.creation_timestamp.cmp(&b.metadata.creation_timestamp));
    say(&render::incident::describe(incident, &runbooks, &runs, &Here::of(session)));
    Ok(())
}

fn belongs_to(run: &RunbookRun, incident: &Incident) -> bool {
    let listed =
        incident.status.as_ref().is_some_and(|status| status.runs.iter().any(|r| r.name == name_of(run)));
    let exact = run.status.as_ref().and_then(|status| status.incident_ref.as_ref());
    match exact {
        Some(exact) => exact.uid == uid_of(incident),
        None => listed || run.spec.incident_ref.as_ref().is_some_and(|named| named.name == name_of(incident)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_of_an_older_incident_of_the_same_name_does_not_belong() {
        let mut incident = Incident::new("checkout-x7k2p", Default::default());
        incident.metadata.uid = Some("new".into());
        let mut run = RunbookRun::new("r", mayday::api::runbook_run::RunbookRunSpec::default());
        run.spec.incident_ref = Some(mayday::api::common::NameRef { name: "checkout-x7k2p".into() });
        assert!(belongs_to(&run, &incident));
        let old = mayday::api::common::UidRef { name: "checkout-x7k2p".into(), uid: "old".into() };
        run.status = Some(mayday::api::runbook_run::RunbookRunStatus {
            incident_ref: Some(old),
            ..Default::default()
        });
        assert!(!belongs_to(&run, &incident));
    }
}
