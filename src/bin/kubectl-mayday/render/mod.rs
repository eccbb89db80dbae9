//! Objects as text: their state, who must do what next, and with which command. Everything but [`terminal`]
//! is pure.

pub mod change;
pub mod incident;
pub mod lists;
pub mod output;
pub mod run;
pub mod runbook;
pub mod terminal;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use mayday::api::change_request::RequestState;
use mayday::api::incident_status::Next;
use mayday::api::{ChangeRequest, Incident, RunbookRun};
use mayday::command::{Command, Flag, Verb};

use crate::client::session::Session;

/// What a text needs to know besides the object.
pub struct Here<'a> {
    pub namespace: &'a str,
    /// Which cluster, as the person said, for the next command.
    pub flags: &'a str,
    pub zone: &'a TimeZone,
    pub now: Timestamp,
    /// Whether objects of every namespace are shown.
    pub all: bool,
    /// How many characters a line holds; `None` if that does not matter.
    pub width: Option<usize>,
}

impl<'a> Here<'a> {
    pub fn of(session: &'a Session) -> Here<'a> {
        let (namespace, flags) = (&session.namespace, &session.flags);
        let width = terminal::width();
        Here { namespace, flags, zone: &session.zone, now: session.now(), all: false, width }
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
    let incidents: Vec<&Incident> = incidents.iter().filter(|incident| incident.is_open()).collect();
    let requests: Vec<&ChangeRequest> = requests.iter().filter(|request| is_open_request(request)).collect();
    let runs: Vec<&RunbookRun> = runs.iter().filter(|run| is_open_run(run)).collect();
    let mut parts = vec![match (incidents.is_empty(), here.all) {
        (false, _) => lists::incidents(&incidents, here),
        (true, true) => "No incident is open in any namespace.".to_owned(),
        (true, false) => format!("No incident is open in namespace {}.", here.namespace),
    }];
    if !requests.is_empty() {
        parts.push(lists::requests(&requests, here));
    }
    if !runs.is_empty() {
        parts.push(lists::runs(&runs, here));
    }
    if incidents.is_empty() && parts.len() == 1 && !here.all {
        let elsewhere = Command::new(Verb::Show).connection(here.flags).switch(Flag::AllNamespaces);
        parts.push(format!("Every namespace: {elsewhere}"));
    }
    parts.join("\n\n")
}

/// Whether a request waits, or may be used.
pub fn is_open_request(request: &ChangeRequest) -> bool {
    let state = request.status.as_ref().and_then(|status| status.state);
    !request.spec.withdrawn && !state.is_some_and(RequestState::is_over)
}

/// Whether a run is not settled.
pub fn is_open_run(run: &RunbookRun) -> bool {
    !run.is_settled()
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

    impl<'a> Here<'a> {
        /// The shop at the minute of the tests' objects.
        pub fn in_the_shop(zone: &'a TimeZone) -> Here<'a> {
            let now = "2026-11-22T02:16:10Z".parse().unwrap();
            Here { namespace: "shop", flags: "", zone, now, all: false, width: None }
        }
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
        let text = open(&[open_one, closed], &[], &[], &Here::in_the_shop(&TimeZone::UTC));
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
        assert!(open(&[incident], &[], &[], &Here::in_the_shop(&TimeZone::UTC)).contains("checkout-x7k2p"));
        let nothing =
            "No incident is open in namespace shop.\n\nEvery namespace: kubectl mayday show --all-namespaces";
        assert_eq!(open(&[], &[], &[], &Here::in_the_shop(&TimeZone::UTC)), nothing);
    }

    #[test]
    fn the_next_command_goes_to_the_cluster_that_was_asked() {
        let said = Next {
            who: "emil".into(),
            what: "acknowledge".into(),
            command: Some("kubectl mayday ack".into()),
        };
        let zone = TimeZone::UTC;
        let here = Here { flags: " --context staging", ..Here::in_the_shop(&zone) };
        assert_eq!(
            next(Some(&said), false, &here),
            "Next: emil: acknowledge\n  kubectl mayday ack --context staging"
        );
    }
}
