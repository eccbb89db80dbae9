//! Many objects: what is open, or all of a kind; in one namespace or in all.

use mayday::api::{ChangeRequest, Incident, Runbook, RunbookRun};
use serde_json::Value;

use super::{View, frozen};
use crate::client::address::Kind;
use crate::client::failure::Failure;
use crate::client::session::{Named, Session};
use crate::render::output::{self, value};
use crate::render::{self, Here, lists};

/// What is open.
pub async fn open(session: &Session, view: &View) -> Result<String, Failure> {
    let all = view.all_namespaces;
    let (incidents, requests, runs) = futures::try_join!(
        session.list_in::<Incident>(all),
        session.list_in::<ChangeRequest>(all),
        session.list_in::<RunbookRun>(all),
    )?;
    if !all && incidents.is_empty() && requests.is_empty() && runs.is_empty() {
        session.is_a_namespace().await?;
    }
    let Some(format) = view.output else {
        let open = render::open(&incidents, &requests, &runs, &Here { all, ..Here::of(session) });
        return Ok(match frozen::text(session, all).await {
            Some(frozen) => format!("{frozen}\n\n{open}"),
            None => open,
        });
    };
    let mut items: Vec<Value> =
        incidents.iter().filter(|incident| incident.is_open()).map(value::<Incident>).collect();
    items.extend(
        requests.iter().filter(|request| render::is_open_request(request)).map(value::<ChangeRequest>),
    );
    items.extend(runs.iter().filter(|run| render::is_open_run(run)).map(value::<RunbookRun>));
    Ok(output::text(format, &output::list(items)))
}

/// All objects of a kind.
pub async fn all(session: &Session, view: &View, kind: Kind) -> Result<String, Failure> {
    match kind {
        Kind::Incident => listed::<Incident>(session, view, lists::incidents).await,
        Kind::ChangeRequest => listed::<ChangeRequest>(session, view, lists::requests).await,
        Kind::Runbook => listed::<Runbook>(session, view, lists::runbooks).await,
        Kind::RunbookRun => listed::<RunbookRun>(session, view, lists::runs).await,
    }
}

async fn listed<K: Named>(
    session: &Session,
    view: &View,
    table: impl Fn(&[&K], &Here<'_>) -> String,
) -> Result<String, Failure> {
    let objects = session.list_in::<K>(view.all_namespaces).await?;
    if objects.is_empty() && !view.all_namespaces {
        session.is_a_namespace().await?;
    }
    match view.output {
        Some(format) => Ok(output::text(format, &output::list(objects.iter().map(value::<K>).collect()))),
        None if objects.is_empty() => {
            let place = match view.all_namespaces {
                true => String::new(),
                false => format!(" in namespace {}", session.namespace),
            };
            Ok(format!("There is no {}{place}.", K::WORD))
        }
        None => Ok(table(
            &objects.iter().collect::<Vec<_>>(),
            &Here { all: view.all_namespaces, ..Here::of(session) },
        )),
    }
}
