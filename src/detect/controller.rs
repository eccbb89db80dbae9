//! AlertSource: where it is posted to, and whether it receives.

use std::collections::BTreeSet;
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use kube::ResourceExt;
use kube::runtime::reflector::{ObjectRef, Store};

use super::intake;
use crate::api::alert_source::{AlertSourceSpec, AlertSourceStatus};
use crate::api::{AlertSource, Incident};
use crate::cluster::caches::{Change, get, in_namespace};
use crate::cluster::conditions::{self, NotReady, State};
use crate::cluster::controller::{self, Reconciler, Requeue};
use crate::cluster::{Context, Error, SharedContext, status, workloads};
use crate::notify::credential::{Credential, CredentialError, TYPE};

/// Secrets are not watched: an unusable one is looked at again so often.
const SECRET_RETRY: SignedDuration = SignedDuration::from_secs(15);

/// Reconciles AlertSources.
pub struct AlertSourceReconciler;

impl Reconciler for AlertSourceReconciler {
    const NAME: &'static str = "alertsource";
    type Kind = AlertSource;

    fn cache(context: &Context) -> &Store<AlertSource> {
        &context.stores.sources
    }

    /// A change of an incident concerns the sources that have signals in it, or all if the incident is gone.
    fn enqueue_for(&self, change: &Change, context: &Context) -> Vec<ObjectRef<AlertSource>> {
        if change.kind != "Incident" {
            return Vec::new();
        }
        let namespace = change.namespace.as_deref().unwrap_or_default();
        let Some(incident) = get(&context.stores.incidents, namespace, &change.name) else {
            return controller::same_namespace(&context.stores.sources, change);
        };
        let signals = incident.status.iter().flat_map(|status| &status.signals);
        let names: BTreeSet<&str> = signals.map(|signal| signal.source_ref.name.as_str()).collect();
        names.into_iter().map(|name| ObjectRef::new(name).within(namespace)).collect()
    }

    async fn reconcile(&self, source: Arc<AlertSource>, context: &SharedContext) -> Result<Requeue, Error> {
        let namespace = source.namespace().unwrap_or_default();
        let incidents = in_namespace(&context.stores.incidents, &namespace);
        let secret = secret(&source, context).await?;
        let retry = secret.is_err();
        let now = Timestamp::now();
        let status = decide(&source, &incidents, secret, &context.config.intake.public_url, now);
        status::write(&context.client, &*source, status).await?;
        Ok(if retry { now.checked_add(SECRET_RETRY).ok().into() } else { Requeue::Never })
    }
}

/// Whether posts could be told from those of others; the sentence says what to do.
async fn secret(source: &AlertSource, context: &Context) -> Result<Result<(), String>, Error> {
    let Some(reference) = source.spec.secret_ref.as_ref().filter(|_| source.spec.alertmanager.is_some())
    else {
        return Ok(Ok(()));
    };
    let (name, namespace) = (&reference.name, source.namespace().unwrap_or_default());
    let read = Credential::read(&context.client, &namespace, name).await;
    match read.and_then(|credential| credential.text("token").map(drop)) {
        Ok(()) => Ok(Ok(())),
        Err(CredentialError::Unreadable(_, error)) => Err(Error::Api(error)),
        Err(error) => Ok(Err(format!(
            "{error}. Every post is refused: kubectl create secret generic {name} -n {namespace} --type {TYPE} \
             --from-literal token=…"
        ))),
    }
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
fn decide(
    source: &AlertSource,
    incidents: &[Arc<Incident>],
    secret: Result<(), String>,
    url: &str,
    now: Timestamp,
) -> AlertSourceStatus {
    let spec = &source.spec;
    let mut status = source.status.clone().unwrap_or_default();
    let generation = source.metadata.generation.unwrap_or_default();
    let kind = kind(spec);
    status.type_ = Some(kind.to_owned());
    let result = match kind {
        "alertmanager" => secret
            .map(|()| "Posts are taken at status.address".to_owned())
            .map_err(|why| NotReady::Waiting("CredentialUnusable".to_owned(), why)),
        "condition" => watched(spec),
        other => Err(NotReady::not_implemented(&[format!("spec.{other}")])),
    };
    let works = result.is_ok();
    conditions::ready(&mut status, generation, now, result);
    let namespace = source.namespace().unwrap_or_default();
    status.address =
        (kind == "alertmanager").then(|| format!("{url}{}", intake::path(&namespace, &source.name_any())));
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
        (_, false, "alertmanager") => {
            (State::False, "CredentialUnusable", "Every post is refused; Ready says why".to_owned())
        }
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
        decide(&source, &[], Ok(()), "http://x", Timestamp::from_second(1).unwrap())
    }

    #[test]
    fn a_source_whose_posts_are_all_refused_is_not_ready() {
        let spec = json!({"alertmanager": {}, "secretRef": {"name": "am"}, "severity": {"fixed": "SEV3"}});
        let source = AlertSource::new("am", serde_json::from_value(spec).unwrap());
        let secret = Err("Secret am does not exist".to_owned());
        let status = decide(&source, &[], secret, "http://x", Timestamp::from_second(1).unwrap());
        let reason = |kind: &str| {
            let found = status.conditions.iter().find(|condition| condition.type_ == kind).unwrap();
            (found.status.clone(), found.reason.clone())
        };
        let unusable = ("False".to_owned(), "CredentialUnusable".to_owned());
        assert_eq!((reason("Ready"), reason("Receiving")), (unusable.clone(), unusable));
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
