//! Objects as tables, as kubectl prints them: one row each, with the namespace where objects of several are shown.

use mayday::api::change_request::RequestState;
use mayday::api::conditions::{ConditionType, find};
use mayday::api::{ChangeRequest, Incident, Runbook, RunbookRun};

use super::Here;
use crate::client::session::{Named, name_of};
use crate::text::{ago, span, table};

/// Incidents.
pub fn incidents(incidents: &[&Incident], here: &Here) -> String {
    let header = ["NAME", "SEV", "STATE", "WAITING-ON", "LEAD", "SINCE", "TITLE"];
    list(&header, incidents, here, |incident| {
        let status = incident.status.clone().unwrap_or_default();
        let since = status.start_time.or(incident.spec.start_time.clone());
        vec![
            name_of(incident).to_owned(),
            incident.spec.severity.to_string(),
            status.state.map_or_else(none, |state| state.to_string()),
            status.waiting_on.unwrap_or_else(none),
            status.lead.map_or_else(none, |lead| lead.user),
            since.map_or_else(none, |since| span(here.now.duration_since(since.0))),
            mayday::text::flat(&incident.spec.title, 500),
        ]
    })
}

/// Requests.
pub fn requests(requests: &[&ChangeRequest], here: &Here) -> String {
    let header = ["REQUEST", "STATE", "MISSING", "REQUESTER", "USES", "REASON"];
    list(&header, requests, here, |request| {
        let status = request.status.clone().unwrap_or_default();
        let state = status.state.unwrap_or(RequestState::Planning);
        let requester = request.spec.requester.as_ref().map_or("-", |requester| requester.user.as_str());
        vec![
            format!("chg/{}", name_of(request)),
            state.to_string(),
            status.missing.unwrap_or_else(none),
            requester.to_owned(),
            status.uses.unwrap_or_else(none),
            mayday::text::flat(&request.spec.reason, 500),
        ]
    })
}

/// Runbooks.
pub fn runbooks(runbooks: &[&Runbook], here: &Here) -> String {
    let header = ["RUNBOOK", "START", "APPROVED", "READY", "LAST-RUN", "SUMMARY"];
    list(&header, runbooks, here, |runbook| {
        let status = runbook.status.clone().unwrap_or_default();
        let condition = |kind| find(&status.conditions, kind).map_or_else(none, |found| found.status.clone());
        vec![
            format!("rb/{}", name_of(runbook)),
            format!("{:?}", runbook.spec.start),
            condition(ConditionType::Approved),
            condition(ConditionType::Ready),
            status.last_run_time.as_ref().map_or_else(none, |last| ago(last.0, here.now)),
            runbook.spec.summary.clone(),
        ]
    })
}

/// Runs.
pub fn runs(runs: &[&RunbookRun], here: &Here) -> String {
    list(&["RUN", "RUNBOOK", "STATE", "STEP", "INCIDENT"], runs, here, |run| {
        let status = run.status.clone().unwrap_or_default();
        vec![
            format!("run/{}", name_of(run)),
            run.spec.runbook_ref.name.clone(),
            format!("{:?}", status.state.unwrap_or_default()),
            status.step.unwrap_or_else(none),
            run.spec.incident_ref.as_ref().map_or_else(none, |incident| incident.name.clone()),
        ]
    })
}

fn none() -> String {
    "-".to_owned()
}

/// A table of objects. One that is wider than the terminal becomes a block for each object: its first cells in one line,
/// what is longer below.
fn list<K: Named>(header: &[&str], objects: &[&K], here: &Here, row: impl Fn(&K) -> Vec<String>) -> String {
    let namespace = |object: &K| object.meta().namespace.clone().unwrap_or_default();
    let rows: Vec<Vec<String>> = objects
        .iter()
        .map(|object| here.all.then(|| namespace(object)).into_iter().chain(row(object)).collect())
        .collect();
    let header: Vec<&str> =
        here.all.then_some("NAMESPACE").into_iter().chain(header.iter().copied()).collect();
    let whole = table(&header, &rows);
    let is_wider = |width: usize| whole.lines().any(|line| line.chars().count() > width);
    if !here.width.is_some_and(is_wider) {
        return whole;
    }
    let block = |row: &Vec<String>| {
        let cells: Vec<(&&str, &String)> = header.iter().zip(row).filter(|(_, cell)| *cell != "-").collect();
        let (short, long): (Vec<_>, Vec<_>) = cells.into_iter().partition(|(name, _)| !LONG.contains(name));
        let first: Vec<&str> = short.iter().map(|(_, cell)| cell.as_str()).collect();
        let mut lines = vec![first.join(" ")];
        lines.extend(long.iter().map(|(name, cell)| format!("  {name}: {cell}")));
        lines.join("\n")
    };
    rows.iter().map(block).collect::<Vec<_>>().join("\n")
}

/// Columns that hold sentences.
const LONG: &[&str] = &["WAITING-ON", "TITLE", "MISSING", "REASON", "SUMMARY"];

#[cfg(test)]
mod tests {
    use super::*;
    use jiff::tz::TimeZone;
    use serde_json::json;

    #[test]
    fn a_narrow_terminal_gets_a_block_for_each_object() {
        let zone = TimeZone::UTC;
        let here = Here { all: true, width: Some(44), ..Here::in_the_shop(&zone) };
        let incident: Incident = serde_json::from_value(json!({"apiVersion": "mayday.dev/v1alpha1", "kind": "Incident",
            "metadata": {"name": "checkout-x7k2p", "namespace": "shop"}, "spec": {"title": "checkout is down", "severity": "SEV2"},
            "status": {"state": "Open", "waitingOn": "emil: acknowledge", "startTime": "2026-11-22T02:04:10Z"}}))
        .unwrap();
        assert_eq!(
            incidents(&[&incident], &here),
            "shop checkout-x7k2p SEV2 Open 12m\n  WAITING-ON: emil: acknowledge\n  TITLE: checkout is down"
        );
        let wide = incidents(&[&incident], &Here { width: None, ..here });
        assert!(wide.starts_with("NAMESPACE   NAME             SEV"), "{wide}");
    }
}
