//! Objects as text: their state, who must do what next, and with which command. Everything but [`terminal`]
//! is pure.

pub mod change;
pub mod incident;
pub mod run;
pub mod runbook;
pub mod terminal;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use mayday::api::change_request::RequestState;
use mayday::api::incident_status::Next;
use mayday::api::{ChangeRequest, Incident, RunbookRun};
use mayday::command::{Command, Verb};

use crate::client::session::{Session, name_of};
use crate::text::{span, table};

/// What a text needs to know besides the object.
pub struct Here<'a> {
    pub namespace: &'a str,
    /// Which cluster, as the person said, for the next command.
    pub flags: &'a str,
    pub zone: &'a TimeZone,
    pub now: Timestamp,
}

impl<'a> Here<'a> {
    pub fn of(session: &'a Session) -> Here<'a> {
        let (namespace, flags) = (&session.namespace, &session.flags);
        Here { namespace, flags, zone: &session.zone, now: session.now() }
    }

    /// A command of the plugin in this namespace.
    pub fn command(&self, verb: Verb) -> Command {
        Command::new(verb).namespace(self.namespace).connection(self.flags)
    }

    /// An instant for people.
    pub fn instant(&self, time: Timestamp) -> String {
        crate::text::instant(time, self.zone)
    }
}

/// What is open: incidents, requests that wait or may be used, runs that are not settled.
pub fn open(incidents: &[Incident], requests: &[ChangeRequest], runs: &[RunbookRun], here: &Here) -> String {
    let mut parts = Vec::new();
    let mut nothing = false;
    let rows: Vec<_> =
        incidents.iter().filter(|incident| incident.is_open()).map(|i| incident_row(i, here)).collect();
    if rows.is_empty() {
        parts.push(format!("No incident is open in namespace {}.", here.namespace));
        nothing = true;
    } else {
        parts.push(table(&["NAME", "SEV", "STATE", "WAITING-ON", "LEAD", "SINCE", "TITLE"], &rows));
    }
    let rows: Vec<_> = requests.iter().filter_map(request_row).collect();
    if !rows.is_empty() {
        parts.push(table(&["REQUEST", "STATE", "MISSING", "REQUESTER", "USES", "REASON"], &rows));
    }
    let rows: Vec<_> = runs.iter().filter_map(run_row).collect();
    if !rows.is_empty() {
        parts.push(table(&["RUN", "RUNBOOK", "STATE", "STEP", "INCIDENT"], &rows));
    }
    if nothing && parts.len() == 1 {
        let elsewhere = Command::new(Verb::Show).namespace("NAMESPACE").connection(here.flags);
        parts.push(format!("Another namespace: {elsewhere}"));
    }
    parts.join("\n\n")
}

fn incident_row(incident: &Incident, here: &Here) -> Vec<String> {
    let status = incident.status.clone().unwrap_or_default();
    let since = status.start_time.or(incident.spec.start_time.clone());
    vec![
        name_of(incident).to_owned(),
        incident.spec.severity.to_string(),
        status.state.map_or_else(|| "-".to_owned(), |state| state.to_string()),
        status.waiting_on.unwrap_or_else(|| "-".to_owned()),
        status.lead.map_or_else(|| "-".to_owned(), |lead| lead.user),
        since.map_or_else(|| "-".to_owned(), |since| span(here.now.duration_since(since.0))),
        incident.spec.title.clone(),
    ]
}

fn request_row(request: &ChangeRequest) -> Option<Vec<String>> {
    let status = request.status.clone().unwrap_or_default();
    let state = status.state.unwrap_or(RequestState::Planning);
    if request.spec.withdrawn || state.is_over() {
        return None;
    }
    let requester = request.spec.requester.as_ref().map_or("-", |requester| requester.user.as_str());
    Some(vec![
        format!("chg/{}", name_of(request)),
        state.to_string(),
        status.missing.unwrap_or_else(|| "-".to_owned()),
        requester.to_owned(),
        status.uses.unwrap_or_else(|| "-".to_owned()),
        mayday::text::flat(&request.spec.reason, 500),
    ])
}

fn run_row(run: &RunbookRun) -> Option<Vec<String>> {
    let status = run.status.clone().unwrap_or_default();
    let state = status.state.unwrap_or_default();
    if state.is_settled() {
        return None;
    }
    Some(vec![
        format!("run/{}", name_of(run)),
        run.spec.runbook_ref.name.clone(),
        format!("{state:?}"),
        status.step.unwrap_or_else(|| "-".to_owned()),
        run.spec.incident_ref.as_ref().map_or_else(|| "-".to_owned(), |incident| incident.name.clone()),
    ])
}

/// The state that the operator gives an object.
pub fn state<S: ToString>(state: Option<S>) -> String {
    state.map_or_else(|| "not looked at by the operator yet".to_owned(), |state| state.to_string())
}

/// Who must do what next, with the command; nothing of what is over.
pub fn next(next: Option<&Next>, is_over: bool, here: &Here) -> String {
    match next {
        None if is_over => "Next: nothing; it is over.".to_owned(),
        None => "Next: not known yet; the operator has not looked at it.".to_owned(),
        Some(next) => {
            let command = next.command.as_ref().map(|command| format!("\n  {command}{}", here.flags));
            let command = command.unwrap_or_default();
            format!("Next: {}: {}{command}", next.who, next.what)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
    use mayday::api::common::Severity;
    use mayday::api::incident::IncidentSpec;
    use mayday::api::incident_status::{IncidentState, IncidentStatus, Stamped};

    fn here(zone: &TimeZone) -> Here<'_> {
        Here { namespace: "shop", flags: "", zone, now: "2026-11-22T02:16:10Z".parse().unwrap() }
    }

    #[test]
    fn open_incidents_are_a_table_and_closed_ones_are_left_out() {
        let time = |text: &str| Time(text.parse().unwrap());
        let spec =
            IncidentSpec { title: "checkout is down".into(), severity: Severity::Sev2, ..Default::default() };
        let mut open_one = Incident::new("checkout-x7k2p", spec.clone());
        open_one.status = Some(IncidentStatus {
            state: Some(IncidentState::Crisis),
            waiting_on: Some("amir|bea: approve chg/back-to-v1".into()),
            lead: Some(Stamped { user: "lena".into(), time: time("2026-11-22T02:06:00Z") }),
            start_time: Some(time("2026-11-22T02:04:10Z")),
            ..Default::default()
        });
        let mut closed = Incident::new("checkout-aaaaa", spec);
        closed.status = Some(IncidentStatus { state: Some(IncidentState::Closed), ..Default::default() });
        let text = open(&[open_one, closed], &[], &[], &here(&TimeZone::UTC));
        assert_eq!(text.lines().count(), 2, "{text}");
        let row: Vec<&str> = text.lines().nth(1).unwrap().split("   ").map(str::trim).collect();
        let expected = [
            "checkout-x7k2p",
            "SEV2",
            "Crisis",
            "amir|bea: approve chg/back-to-v1",
            "lena",
            "12m",
            "checkout is down",
        ];
        assert_eq!(row, expected);
    }

    #[test]
    fn an_incident_nobody_has_looked_at_is_open() {
        let incident = Incident::new("checkout-x7k2p", IncidentSpec::default());
        assert!(open(&[incident], &[], &[], &here(&TimeZone::UTC)).contains("checkout-x7k2p"));
        let nothing =
            "No incident is open in namespace shop.\n\nAnother namespace: kubectl mayday show -n NAMESPACE";
        assert_eq!(open(&[], &[], &[], &here(&TimeZone::UTC)), nothing);
    }

    #[test]
    fn the_next_command_goes_to_the_cluster_that_was_asked() {
        let said = Next {
            who: "emil".into(),
            what: "acknowledge".into(),
            command: Some("kubectl mayday ack".into()),
        };
        let zone = TimeZone::UTC;
        let here = Here { flags: " --context staging", ..here(&zone) };
        assert_eq!(
            next(Some(&said), false, &here),
            "Next: emil: acknowledge\n  kubectl mayday ack --context staging"
        );
    }
}
