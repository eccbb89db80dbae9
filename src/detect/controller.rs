//! AlertSource: where it is posted to, and whether it receives.

use std::sync::Arc;

use jiff::Timestamp;
use kube::ResourceExt;
use kube::runtime::reflector::ObjectRef;
use tokio_util::sync::CancellationToken;

use super::intake;
use crate::api::alert_source::{AlertSourceSpec, AlertSourceStatus};
use crate::api::{AlertSource, Incident};
use crate::cluster::conditions::{self, NotReady, State};
use crate::cluster::controller::{self, Requeue};
use crate::cluster::stores::in_namespace;
use crate::cluster::{SharedContext, status, workloads};

/// Runs until `cancel`.
pub async fn run(context: SharedContext, cancel: CancellationToken) {
    let store = context.stores.sources.clone();
    let sources = store.clone();
    controller::run(
        "source",
        context,
        store,
        move |change, _| match change.kind {
            "Incident" => controller::same_namespace(&sources, change),
            _ => Vec::<ObjectRef<AlertSource>>::new(),
        },
        |source, context| Box::pin(reconcile(source, context)),
        cancel,
    )
    .await;
}

async fn reconcile(
    source: Arc<AlertSource>,
    context: SharedContext,
) -> Result<Requeue, crate::cluster::Error> {
    let namespace = source.namespace().unwrap_or_default();
    let incidents = in_namespace(&context.stores.incidents, &namespace);
    let status = decide(&source, &incidents, &context.config.intake.public_url, Timestamp::now());
    status::write(&context.client, &*source, status).await?;
    Ok(Requeue::Never)
}

/// Which member is set.
fn kind(spec: &AlertSourceSpec) -> &'static str {
    let members = [
        ("alertmanager", spec.alertmanager.is_some()),
        ("grafana", spec.grafana.is_some()),
        ("pagerDuty", spec.pager_duty.is_some()),
        ("cloudEvents", spec.cloud_events.is_some()),
        ("generic", spec.generic.is_some()),
        ("heartbeat", spec.heartbeat.is_some()),
        ("condition", spec.condition.is_some()),
        ("query", spec.query.is_some()),
    ];
    members.iter().find(|(_, is_set)| *is_set).map_or("none", |(name, _)| name)
}

/// The status. Pure.
fn decide(source: &AlertSource, incidents: &[Arc<Incident>], url: &str, now: Timestamp) -> AlertSourceStatus {
    let spec = &source.spec;
    let mut status = source.status.clone().unwrap_or_default();
    let generation = source.metadata.generation.unwrap_or_default();
    let kind = kind(spec);
    status.type_ = Some(kind.to_owned());
    let result = match kind {
        "alertmanager" => Ok("Posts are taken at status.address".to_owned()),
        "condition" => watched(spec),
        other => Err(NotReady::not_implemented(&[format!("spec.{other}")])),
    };
    let works = result.is_ok();
    conditions::ready(&mut status, generation, now, result);
    let namespace = source.namespace().unwrap_or_default();
    status.address = (works && kind == "alertmanager")
        .then(|| format!("{url}{}", intake::path(&namespace, &source.name_any())));
    let name = source.name_any();
    let mine = || {
        incidents
            .iter()
            .flat_map(|incident| {
                incident.status.iter().flat_map(|status| &status.signals).map(move |s| (incident, s))
            })
            .filter(|(_, signal)| signal.source_ref.name == name)
    };
    let open = mine().filter(|(incident, signal)| incident.is_open() && signal.end_time.is_none()).count();
    status.open = i32::try_from(open).unwrap_or(i32::MAX);
    let last = mine().map(|(_, signal)| signal.last_seen_time.clone()).max_by_key(|time| time.0);
    status.last_received_time = last.or(status.last_received_time);
    let (state, reason, message) = match (&status.last_received_time, works, kind) {
        (_, false, _) => {
            (State::False, "NotImplemented", "Nothing is received from it in this version".to_owned())
        }
        (_, true, "condition") => (State::True, "Watching", "The objects are watched".to_owned()),
        (Some(time), true, _) => (State::True, "Received", format!("Last signal at {}", time.0)),
        (None, true, _) => (
            State::Unknown,
            "NothingYet",
            "Nothing has been received yet: send a test alert to status.address".to_owned(),
        ),
    };
    conditions::set(&mut status.conditions, "Receiving", state, reason, message, generation, now);
    status
}

fn watched(spec: &AlertSourceSpec) -> Result<String, NotReady> {
    let Some(condition) = &spec.condition else { return Ok(String::new()) };
    let group = condition.api_version.split_once('/').map_or("", |(group, _)| group);
    if workloads::is_one(group, &condition.kind) {
        return Ok("The objects are watched".to_owned());
    }
    Err(NotReady::Stalled(
        "NotImplemented".to_owned(),
        format!(
            "spec.condition.kind: this version of Mayday watches {}, not {} {}",
            workloads::KINDS.join(", "),
            condition.api_version,
            condition.kind
        ),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::common::is_true;
    use serde_json::{Value, json};

    fn decided(spec: Value) -> AlertSourceStatus {
        let mut whole = json!({"severity": {"fixed": "SEV3"}});
        json_patch::merge(&mut whole, &spec);
        let mut source = AlertSource::new("am", serde_json::from_value(whole).unwrap());
        source.metadata.namespace = Some("shop".into());
        decide(&source, &[], "http://x", Timestamp::from_second(1).unwrap())
    }

    #[test]
    fn a_source_that_is_posted_to_says_where() {
        let status = decided(json!({"alertmanager": {}, "secretRef": {"name": "am"}}));
        assert!(is_true(&status.conditions, "Ready"));
        assert_eq!(status.address.as_deref(), Some("http://x/v1/alerts/shop/am"));
    }

    #[test]
    fn what_does_not_work_yet_is_named() {
        let status = decided(json!({"heartbeat": {"every": "1h"}}));
        assert!(!is_true(&status.conditions, "Ready"));
        let ready = status.conditions.iter().find(|condition| condition.type_ == "Ready").unwrap();
        assert_eq!(ready.reason, "NotImplemented");
        assert!(ready.message.contains("spec.heartbeat"));
        let pods =
            json!({"condition": {"apiVersion": "v1", "kind": "Pod", "type": "Ready", "status": "False"}});
        assert!(!is_true(&decided(pods).conditions, "Ready"));
    }
}
