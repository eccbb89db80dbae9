//! `declare`: a person reports an outage. It uses the name that monitoring would use, so one outage
//! is one object, whether a person or monitoring is first.

use clap::{Args, ValueEnum};
use jiff::Zoned;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::api::ObjectMeta;
use mayday::api::common::{NameRef, Severity, stored_time};
use mayday::api::incident::{Detection, DetectionMethod, IncidentSpec};
use mayday::api::{BusinessService, Incident};
use mayday::command::{TEXT, Verb};
use mayday::service::incident_name;

use crate::client::clock;
use crate::client::failure::{Failure, Reason, role};
use crate::client::session::{Me, Session, name_of, uid_of};
use crate::client::wait::{PATIENCE, Waited, until};
use crate::commands::show;
use crate::render::terminal::{confirm, say};
use crate::text;

#[derive(Debug, Args)]
pub struct DeclareArgs {
    /// What is wrong, in a few words
    pub title: String,
    /// The service that is out
    #[arg(long, value_name = "NAME")]
    pub service: String,
    /// How bad it is: SEV1 nobody can do what the service is for, or data is at risk; SEV2 some cannot; SEV3 a
    /// nuisance with a way round; SEV4 small; SEV5 worth knowing
    #[arg(long, value_name = "SEV1..SEV5", value_parser = severity)]
    pub severity: Severity,
    /// When it began, as exactly as you know: HH:MM or HH:MM:SS, the last time your clock showed it, or RFC 3339
    #[arg(long, value_name = "TIME")]
    pub since: Option<String>,
    /// How you know when it began: "first failed payment in the gateway log"
    #[arg(long, value_name = "TEXT")]
    pub since_source: Option<String>,
    /// Who told you: "support ticket 4711"
    #[arg(long, value_name = "TEXT")]
    pub reported_by: Option<String>,
    /// Who found it [default: customer with --reported-by, else staff]
    #[arg(long, value_enum)]
    pub found_by: Option<FoundBy>,
    /// Whom it hurts and how [default: as the service says]
    #[arg(long, value_name = "TEXT")]
    pub impact: Option<String>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum FoundBy {
    Customer,
    Stakeholder,
    Staff,
}

pub async fn run(session: &Session, args: DeclareArgs) -> Result<(), Failure> {
    let service: BusinessService = session.get(&args.service).await?;
    let me = session.me().await?;
    let now = session.now().to_zoned(session.zone.clone());
    let name = match known_outage(&service, session.list().await?) {
        Known::Open(known) => return tell_known(session, &known, args.severity).await,
        Known::Nothing(name) => name,
    };
    let incident = build(&args, name, &session.namespace, &me, &now)?;
    let about_to = format!(
        "This declares an outage in {}:\n{}",
        session.namespace,
        text::indent(&text::yaml(&incident), 2)
    );
    confirm(session.connection.yes, &about_to)?;
    match session.create(&incident, "declare an incident", role::RESPONDER).await {
        Ok(created) => {
            let address = format!("inc/{}", name_of(&created));
            say(&format!("Declared {address}."));
            // Mayday may be down. The incident is stored, so failing to follow it is no failure of the
            // command.
            let waited = until::<Incident>(session, name_of(&created), Some(PATIENCE), is_seen).await;
            let who = session.command(Verb::Who).word(&args.service).to_string();
            let paged = match &waited {
                Ok(Waited::Done(seen)) => paged(seen, &who),
                _ => format!("Mayday has not looked at it: nobody is paged yet. Call somebody: {who}"),
            };
            say(&format!("{paged}\nNext: {}", session.command(Verb::Ack).word(&address)));
            Ok(())
        }
        // Monitoring or a colleague was faster in this very moment: the same outage.
        Err(failure) if failure.reason == Reason::AlreadyExists => {
            let name = incident.metadata.name.unwrap_or_default();
            tell_known(session, &session.get(&name).await?, args.severity).await
        }
        Err(failure) => Err(failure),
    }
}

fn is_seen(incident: &Incident) -> bool {
    incident.status.as_ref().is_some_and(|status| status.state.is_some())
}

/// The people who are paged for it, or that there are none.
fn paged(incident: &Incident, who: &str) -> String {
    let status = incident.status.clone().unwrap_or_default();
    let people = status.escalation.map(|escalation| escalation.people).unwrap_or_default();
    match people.as_slice() {
        _ if status.acknowledgement.is_some() => "Somebody has answered already.".to_owned(),
        [] => format!("Mayday can page nobody for it. Call somebody: {who}"),
        people => format!("Mayday pages {}.", people.join(", ")),
    }
}

/// What is known of the outage already.
#[derive(Debug, PartialEq)]
enum Known {
    /// It is open.
    Open(Box<Incident>),
    /// Nothing; the name that the next outage of the service gets.
    Nothing(String),
}

/// The open incident of the service, under any name, or else the first name that no earlier outage of it
/// has: the operator counts episodes up when a source reports, a person may be earlier.
fn known_outage(service: &BusinessService, incidents: Vec<Incident>) -> Known {
    let of_service = |incident: &Incident| {
        incident.spec.service_refs.iter().any(|reference| reference.name == name_of(service))
    };
    let is_taken = |name: &str| incidents.iter().any(|incident| name_of(incident) == name);
    let first = service.status.as_ref().map_or(0, |status| status.episode);
    let mut names = (first..).map(|episode| incident_name(name_of(service), uid_of(service), episode));
    let name = names.find(|name| !is_taken(name)).unwrap_or_default();
    match incidents.into_iter().find(|incident| incident.is_open() && of_service(incident)) {
        Some(open) => Known::Open(Box::new(open)),
        None => Known::Nothing(name),
    }
}

async fn tell_known(session: &Session, known: &Incident, severity: Severity) -> Result<(), Failure> {
    let address = format!("inc/{}", name_of(known));
    say(&format!("This outage is known already as {address}; nothing new was written.\n"));
    show::print_incident(session, known).await?;
    say(&format!("\nAdd what you know: {}", session.command(Verb::Note).word(&address).word(TEXT)));
    if let Some(raise) = raise(known, severity, &session.namespace) {
        let raise = format!("{raise}{}", session.flags);
        say(&format!("It stands as {}. If it is {severity}: {raise}", known.spec.severity));
    }
    Ok(())
}

/// The command that raises the severity, if the person reports a worse one than the incident has.
fn raise(known: &Incident, severity: Severity, namespace: &str) -> Option<String> {
    let patch = format!(r#"{{"spec":{{"severity":"{severity}"}}}}"#);
    severity
        .worse_than(known.spec.severity)
        .then(|| format!("kubectl patch -n {namespace} inc/{} --type merge -p '{patch}'", name_of(known)))
}

/// The Incident for a person's report.
fn build(
    args: &DeclareArgs,
    name: String,
    namespace: &str,
    me: &Me,
    now: &Zoned,
) -> Result<Incident, Failure> {
    let method = match (args.found_by, &args.reported_by) {
        (Some(FoundBy::Customer), _) | (None, Some(_)) => DetectionMethod::Customer,
        (Some(FoundBy::Stakeholder), _) => DetectionMethod::Stakeholder,
        (Some(FoundBy::Staff), _) | (None, None) => DetectionMethod::Staff,
    };
    let start_time = args.since.as_deref().map(|since| clock::last("--since", since, now)).transpose()?;
    let spec = IncidentSpec {
        title: args.title.clone(),
        severity: args.severity,
        service_refs: vec![NameRef { name: args.service.clone() }],
        impact: args.impact.clone(),
        start_time: start_time.map(Time),
        start_time_source: args.since_source.clone(),
        detection: Some(Detection {
            method,
            reporter: Some(args.reported_by.clone().unwrap_or_else(|| me.user.clone())),
            time: Some(stored_time(now.timestamp())),
        }),
        ..IncidentSpec::default()
    };
    let metadata =
        ObjectMeta { name: Some(name), namespace: Some(namespace.to_owned()), ..ObjectMeta::default() };
    Ok(Incident { metadata, spec, status: None })
}

fn severity(text: &str) -> Result<Severity, String> {
    match text.to_ascii_uppercase().as_str() {
        "SEV1" => Ok(Severity::Sev1),
        "SEV2" => Ok(Severity::Sev2),
        "SEV3" => Ok(Severity::Sev3),
        "SEV4" => Ok(Severity::Sev4),
        "SEV5" => Ok(Severity::Sev5),
        _ => Err("write SEV1 (worst), SEV2, SEV3, SEV4 or SEV5".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mayday::api::business_service::{BusinessServiceSpec, BusinessServiceStatus};
    use mayday::api::incident_status::IncidentState;
    use serde_json::json;

    fn now() -> Zoned {
        "2026-11-22T14:09:00.5+00:00[UTC]".parse().unwrap()
    }

    fn args() -> DeclareArgs {
        DeclareArgs {
            title: "Customers cannot pay".into(),
            service: "checkout".into(),
            severity: Severity::Sev1,
            since: Some("14:03:10".into()),
            since_source: None,
            reported_by: Some("support ticket 4711".into()),
            found_by: None,
            impact: None,
        }
    }

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
        let next = |incidents| known_outage(&service(), incidents);
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
    fn the_text_names_who_is_paged() {
        let mut declared = incident("a", "checkout", IncidentState::Open);
        let said = |incident: &Incident| paged(incident, "kubectl mayday who -n shop checkout");
        let nobody = "Mayday can page nobody for it. Call somebody: kubectl mayday who -n shop checkout";
        assert_eq!(said(&declared), nobody);
        let escalation = json!({"level": 0, "round": 0, "people": ["emil", "bea"]});
        declared.status.as_mut().unwrap().escalation = serde_json::from_value(escalation).unwrap();
        assert_eq!(said(&declared), "Mayday pages emil, bea.");
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

    #[test]
    fn a_report_becomes_the_incident_that_the_example_shows() {
        let me = Me { user: "emil".into(), groups: Vec::new() };
        let incident = build(&args(), "checkout-x7k2p".into(), "shop", &me, &now()).unwrap();
        assert_eq!(incident.metadata.name.as_deref(), Some("checkout-x7k2p"));
        assert_eq!(
            serde_json::to_value(&incident.spec).unwrap(),
            json!({
                "title": "Customers cannot pay",
                "severity": "SEV1",
                "serviceRefs": [{"name": "checkout"}],
                "startTime": "2026-11-22T14:03:10Z",
                "detection": {
                    "method": "Customer",
                    "reporter": "support ticket 4711",
                    "time": "2026-11-22T14:09:00Z"
                }
            })
        );
    }

    #[test]
    fn the_reporter_is_the_person_who_types_by_default() {
        let me = Me { user: "emil".into(), groups: Vec::new() };
        let incident =
            build(&DeclareArgs { reported_by: None, ..args() }, "i".into(), "shop", &me, &now()).unwrap();
        let detection = incident.spec.detection.unwrap();
        assert_eq!(detection.method, DetectionMethod::Staff);
        assert_eq!(detection.reporter.as_deref(), Some("emil"));
    }
}
