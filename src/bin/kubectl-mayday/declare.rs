//! `declare`: a person reports an outage. The name is the one that monitoring would use, so one outage is one
//! object, whoever is first.

use clap::{Args, ValueEnum};
use jiff::{Timestamp, Zoned};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::api::ObjectMeta;
use mayday::api::common::{NameRef, Severity};
use mayday::api::incident::{Detection, DetectionMethod, IncidentSpec};
use mayday::api::{BusinessService, Incident};

use crate::clock;
use crate::cluster::{Me, Session, uid_of};
use crate::failure::{Failure, Reason, role};
use crate::output::{confirm, say};
use crate::show;
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
    /// When it began, as exactly as you know: HH:MM or HH:MM:SS of today in your time zone, or RFC 3339
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
    let incident = build(&args, &service, &session.namespace, &me, &now)?;
    if let Some(known) = known_outage(session, &service).await? {
        return tell_known(session, &known).await;
    }
    let about_to = format!(
        "This declares an outage in {}:\n{}",
        session.namespace,
        text::indent(&text::yaml(&incident), 2)
    );
    confirm(session.connection.yes, &about_to)?;
    match session.create(&incident, "declare an incident", role::RESPONDER).await {
        Ok(created) => {
            let address = format!("inc/{}", created.metadata.name.as_deref().unwrap_or_default());
            say(&format!(
                "Declared {address}. Mayday pages whoever is on duty.\nNext: {}",
                session.command("ack", &address)
            ));
            Ok(())
        }
        // Monitoring or a colleague was faster in this very moment: the same outage.
        Err(failure) if failure.reason == Reason::AlreadyExists => {
            let name = incident.metadata.name.unwrap_or_default();
            tell_known(session, &session.get(&name).await?).await
        }
        Err(failure) => Err(failure),
    }
}

/// The incident that holds the name this outage would get, or that is open for the service under another.
async fn known_outage(session: &Session, service: &BusinessService) -> Result<Option<Incident>, Failure> {
    if let Some(named) = session.find::<Incident>(&name(service)).await? {
        return Ok(Some(named));
    }
    let open = service.status.as_ref().and_then(|status| status.incident_ref.as_ref());
    match open {
        Some(open) => Ok(session.find::<Incident>(&open.name).await?.filter(is_open)),
        None => Ok(None),
    }
}

async fn tell_known(session: &Session, known: &Incident) -> Result<(), Failure> {
    let address = format!("inc/{}", known.metadata.name.as_deref().unwrap_or_default());
    if is_open(known) {
        say(&format!("This outage is known already as {address}; nothing new was written.\n"));
        show::incident::print(session, known).await?;
        say(&format!("\nAdd what you know: {} \"…\"", session.command("note", &address)));
        Ok(())
    } else {
        let state = known.status.as_ref().and_then(|status| status.state);
        let state = state.map_or_else(|| "over".to_owned(), |state| state.to_string());
        Err(Failure::new(format!(
            "{address} of the same service is {state}, and the next outage has no name yet: the operator counts it \
             up when it takes notice. Nothing was written; look at it, and declare again in a moment."
        ))
        .then(session.command("show", &address)))
    }
}

fn is_open(incident: &Incident) -> bool {
    incident.status.as_ref().and_then(|status| status.state).is_none_or(|state| state.is_open())
}

fn name(service: &BusinessService) -> String {
    let episode = service.status.as_ref().map_or(0, |status| status.episode);
    mayday::service::incident_name(crate::cluster::name_of(service), uid_of(service), episode)
}

/// The Incident that a report becomes.
fn build(
    args: &DeclareArgs,
    service: &BusinessService,
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
            time: Some(Time(whole_second(now.timestamp()))),
        }),
        ..IncidentSpec::default()
    };
    let metadata = ObjectMeta {
        name: Some(name(service)),
        namespace: Some(namespace.to_owned()),
        ..ObjectMeta::default()
    };
    Ok(Incident { metadata, spec, status: None })
}

fn whole_second(time: Timestamp) -> Timestamp {
    Timestamp::from_second(time.as_second()).unwrap_or(time)
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

    #[test]
    fn a_report_becomes_the_incident_that_the_example_shows() {
        let me = Me { user: "emil".into(), groups: Vec::new() };
        let incident = build(&args(), &service(), "shop", &me, &now()).unwrap();
        assert_eq!(incident.metadata.name, Some(mayday::service::incident_name("checkout", "6f1c", 3)));
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
    fn without_a_reporter_it_is_the_person_who_types() {
        let me = Me { user: "emil".into(), groups: Vec::new() };
        let incident =
            build(&DeclareArgs { reported_by: None, ..args() }, &service(), "shop", &me, &now()).unwrap();
        let detection = incident.spec.detection.unwrap();
        assert_eq!(detection.method, DetectionMethod::Staff);
        assert_eq!(detection.reporter.as_deref(), Some("emil"));
    }
}
