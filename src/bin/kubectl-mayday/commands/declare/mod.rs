//! `declare`: a person reports an outage. It uses the name that monitoring would use, so one outage
//! is one object, whether a person or monitoring is first.

use clap::{Args, ValueEnum};
use jiff::Zoned;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::api::ObjectMeta;
use mayday::api::common::{NameRef, Severity, stored_time};
use mayday::api::incident::{Detection, DetectionMethod, IncidentSpec};
use mayday::api::{BusinessService, Incident};
use mayday::command::Verb;

use crate::client::clock;
use crate::client::failure::{Failure, Reason, role};
use crate::client::session::{Me, Session, name_of};
use crate::client::wait::{PATIENCE, Waited, until};
use crate::render::terminal::{confirm, say};
use crate::text;
use known::Known;

mod known;
mod paged;

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
    /// When it began, as exactly as you know: HH:MM or HH:MM:SS, the last time your clock showed it, how long ago such as 30m, or RFC 3339
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
    let name = match known::outage(&service, session.list().await?) {
        Known::Open(known) => return known::add_report(session, &known, &args, &me).await,
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
            let waited = until::<Incident>(session, name_of(&created), Some(PATIENCE), paged::is_known).await;
            if let Some(original) = known::original(session, &created).await {
                say(&format!(
                    "It is about the same outage as inc/{original}, which is older and goes on: {address} becomes its \
                     duplicate, and nobody is paged for it.\nNext: {}",
                    session.command(Verb::Ack).on("inc", &original)
                ));
                return Ok(());
            }
            let who = session.command(Verb::Who).word(&args.service).to_string();
            let seen = match &waited {
                Ok(Waited::Done(seen)) => Some(seen),
                Ok(Waited::TimeOver(seen)) => seen.as_ref(),
                Err(_) => None,
            };
            let paged = paged::words(seen, &who);
            say(&format!("{paged}\nNext: {}", session.command(Verb::Ack).word(&address)));
            Ok(())
        }
        // Monitoring or a colleague was faster in this very moment: the same outage.
        Err(failure) if failure.reason == Reason::AlreadyExists => {
            let name = incident.metadata.name.unwrap_or_default();
            known::add_report(session, &session.get(&name).await?, &args, &me).await
        }
        Err(failure) => Err(failure),
    }
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
