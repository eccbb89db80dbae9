//! An outage that is known already when a person reports it: the report is added to the open incident.

use mayday::api::common::{NameRef, Severity};
use mayday::api::{BusinessService, Incident};
use mayday::command::{TEXT, Verb};
use mayday::incident::duplicates;
use mayday::incident::facts::IncidentFacts;
use mayday::service::incident_name;
use serde_json::{Value, json};
use std::sync::Arc;

use super::DeclareArgs;
use crate::client::append::append;
use crate::client::clock::whole_seconds;
use crate::client::failure::Failure;
use crate::client::session::{Me, Session, name_of, uid_of};
use crate::commands::show;
use crate::render::terminal::{confirm, say};

/// What is known of the outage already.
#[derive(Debug, PartialEq)]
pub enum Known {
    /// It is open.
    Open(Box<Incident>),
    /// Nothing; the name that the next outage of the service gets.
    Nothing(String),
}

/// The open incident of the service, under any name, or else the first name that no earlier outage of it
/// has: the operator counts episodes up when a source reports, a person may be earlier.
pub fn outage(service: &BusinessService, incidents: Vec<Incident>) -> Known {
    let facts = IncidentFacts { services: vec![Arc::new(service.clone())], ..IncidentFacts::default() };
    let of_service = |incident: &Incident| {
        let copied = incident.status.as_ref().and_then(|status| status.service.as_ref());
        match copied {
            Some(copy) => copy.r#ref.name == name_of(service),
            None => facts.service(incident).is_some(),
        }
    };
    let is_taken = |name: &str| incidents.iter().any(|incident| name_of(incident) == name);
    let first = service.status.as_ref().map_or(0, |status| status.episode);
    let mut names = (first..).map(|episode| incident_name(name_of(service), uid_of(service), episode));
    let name = names.find(|name| !is_taken(name)).unwrap_or_default();
    let mut open: Vec<Incident> =
        incidents.into_iter().filter(|incident| incident.is_open() && of_service(incident)).collect();
    // Of several the oldest goes on.
    open.sort_by(|one, other| one.metadata.creation_timestamp.cmp(&other.metadata.creation_timestamp));
    match open.into_iter().next() {
        Some(open) => Known::Open(Box::new(open)),
        None => Known::Nothing(name),
    }
}

/// Name of the older open incident that a new one is a duplicate of, if there is one.
pub async fn original(session: &Session, created: &Incident) -> Option<String> {
    let stored = session.get::<Incident>(name_of(created)).await.ok()?;
    if let Some(NameRef { name }) = stored.status.as_ref().and_then(|status| status.duplicate_of.clone()) {
        return Some(name);
    }
    let facts = IncidentFacts {
        services: session.list().await.ok()?.into_iter().map(Arc::new).collect(),
        incidents: session.list().await.ok()?.into_iter().map(Arc::new).collect(),
        ..IncidentFacts::default()
    };
    duplicates::original(&stored, &facts).map(|original| name_of(&**original).to_owned())
}

/// Adds the report to the incident, and shows the incident.
pub async fn add_report(
    session: &Session,
    known: &Incident,
    args: &DeclareArgs,
    me: &Me,
) -> Result<(), Failure> {
    let address = format!("inc/{}", name_of(known));
    let reporter = args.reported_by.as_deref().unwrap_or(&me.user);
    confirm(
        session.connection.yes,
        &format!(
            "This outage is known already as {address} ({}, {}). You add to it that it was reported again, by \
             {reporter}: {}",
            known.spec.severity, known.spec.title, args.title
        ),
    )?;
    let entry = entry(args, me, reporter, whole_seconds(session.now()));
    append(session, name_of(known), "notes", entry, &format!("add a report to {address}")).await?;
    say(&format!("Noted: {address} has {} reports.\n", count(known) + 1));
    show::print_incident(session, known).await?;
    say(&format!("\nAdd what you know: {}", session.command(Verb::Note).word(&address).word(TEXT)));
    if let Some(raise) = raise(known, args.severity, &session.namespace) {
        let raise = format!("{raise}{}", session.flags);
        say(&format!("It stands as {}. If it is {}: {raise}", known.spec.severity, args.severity));
    }
    Ok(())
}

fn entry(args: &DeclareArgs, me: &Me, reporter: &str, time: String) -> Value {
    json!({"text": args.title, "time": time, "by": {"user": me.user}, "reporter": reporter})
}

/// How many people's reports the incident holds.
fn count(known: &Incident) -> usize {
    let by_a_source = known.spec.detection.as_ref().is_some_and(|found| found.method.is_by_a_source());
    let further = known.spec.notes.iter().filter(|note| note.reporter.is_some()).count();
    further + usize::from(!by_a_source)
}

/// The command that raises the severity, if the person reports a worse one than the incident has.
fn raise(known: &Incident, severity: Severity, namespace: &str) -> Option<String> {
    let patch = format!(r#"{{"spec":{{"severity":"{severity}"}}}}"#);
    severity
        .worse_than(known.spec.severity)
        .then(|| format!("kubectl patch -n {namespace} inc/{} --type merge -p '{patch}'", name_of(known)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use mayday::api::business_service::{BusinessServiceSpec, BusinessServiceStatus};
    use mayday::api::incident::IncidentSpec;
    use mayday::api::incident_status::IncidentState;

    fn service() -> BusinessService {
        let mut service = BusinessService::new("checkout", BusinessServiceSpec::default());
        service.metadata.uid = Some("6f1c".into());
        service.status = Some(BusinessServiceStatus { episode: 3, ..Default::default() });
        service
    }

    fn incident(name: &str, service: &str, state: IncidentState) -> Incident {
        let spec =
            IncidentSpec { service_refs: vec![NameRef { name: service.into() }], ..IncidentSpec::default() };
        let mut incident = Incident::new(name, spec);
        incident.status.get_or_insert_default().state = Some(state);
        incident
    }

    #[test]
    fn the_next_outage_has_the_first_name_that_none_before_has() {
        let name = |episode| incident_name("checkout", "6f1c", episode);
        let next = |incidents| outage(&service(), incidents);
        assert_eq!(next(Vec::new()), Known::Nothing(name(3)));
        let over = |episode| incident(&name(episode), "checkout", IncidentState::Closed);
        assert_eq!(next(vec![over(3)]), Known::Nothing(name(4)));
        assert_eq!(next(vec![over(4), over(3)]), Known::Nothing(name(5)));
        assert_eq!(
            next(vec![incident("till", "till", IncidentState::Open)]),
            Known::Nothing(name(3)),
            "another service's"
        );
        let open = incident("by-hand", "checkout", IncidentState::Crisis);
        assert_eq!(next(vec![over(3), open.clone()]), Known::Open(Box::new(open)));
    }

    #[test]
    fn an_open_incident_about_an_object_of_the_service_is_known() {
        let mut service = service();
        let object = json!([{"apiVersion": "apps/v1", "kind": "Deployment", "name": "checkout"}]);
        service.spec.objects = serde_json::from_value(object.clone()).unwrap();
        let mut by_hand = incident("by-hand", "checkout", IncidentState::Open);
        (by_hand.spec.service_refs, by_hand.spec.affected) =
            (Vec::new(), serde_json::from_value(object).unwrap());
        assert_eq!(outage(&service, vec![by_hand.clone()]), Known::Open(Box::new(by_hand)));
    }

    #[test]
    fn a_further_report_says_who_and_when_and_is_counted() {
        let args = DeclareArgs {
            title: "No order arrives".into(),
            service: "checkout".into(),
            severity: Severity::Sev2,
            since: None,
            since_source: None,
            reported_by: Some("ticket 4712".into()),
            found_by: None,
            impact: None,
        };
        let me = Me { user: "carl".into(), groups: Vec::new() };
        let entry = entry(&args, &me, "ticket 4712", "2026-11-22T02:04:10Z".to_owned());
        assert_eq!(
            entry,
            json!({"text": "No order arrives", "time": "2026-11-22T02:04:10Z", "by": {"user": "carl"},
                "reporter": "ticket 4712"})
        );
        let mut known = incident("a", "checkout", IncidentState::Open);
        assert_eq!(count(&known), 1);
        known.spec.notes = serde_json::from_value(json!([entry, {"text": "a note"}])).unwrap();
        assert_eq!(count(&known), 2);
    }

    #[test]
    fn a_report_of_a_worse_known_outage_shows_how_to_raise_it() {
        let mut known = incident("checkout-a", "checkout", IncidentState::Open);
        known.spec.severity = Severity::Sev3;
        let command =
            r#"kubectl patch -n shop inc/checkout-a --type merge -p '{"spec":{"severity":"SEV1"}}'"#;
        assert_eq!(raise(&known, Severity::Sev1, "shop").as_deref(), Some(command));
        assert_eq!(raise(&known, Severity::Sev3, "shop"), None);
        assert_eq!(raise(&known, Severity::Sev4, "shop"), None);
    }
}
