//! Reconciles Incidents: gathers the facts, decides, and carries out the plan. Writes `Incident.status`, except for the
//! signals, which `detect` writes, and the part of the spec that an incident takes over from a duplicate.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use kube::api::{Patch, PatchParams};
use kube::runtime::reflector::{ObjectRef as StoreRef, Store};
use kube::{Api, ResourceExt};
use serde_json::{Value, json};

use super::decide::decide;
use super::facts::{IncidentFacts, key};
use super::looks::Looks;
use super::plan::Plan;
use crate::api::common::ObjectRef;
use crate::api::notification::SubjectKind;
use crate::api::{Incident, RunbookRun};
use crate::change::stamps;
use crate::cluster::caches::{Change, Kind, in_namespace};
use crate::cluster::controller::{Reconciler, Requeue};
use crate::cluster::{Context, Error, SharedContext, status, workloads};
use crate::notify::message::Subject;
use crate::notify::store;
use crate::runbook::run;

/// Reconciles Incidents.
pub struct IncidentReconciler {
    /// Since when this process observes the cluster.
    observed_since: Timestamp,
    /// What the checks have seen outside of the cluster's API.
    looks: Looks,
}

impl Default for IncidentReconciler {
    fn default() -> IncidentReconciler {
        IncidentReconciler { observed_since: Timestamp::now(), looks: Looks::default() }
    }
}

impl Reconciler for IncidentReconciler {
    const NAME: &'static str = "incident";
    type Kind = Incident;

    fn cache(context: &Context) -> &Store<Incident> {
        &context.caches.incidents
    }

    /// The open incidents of the namespace. Those that are over do not change any more.
    fn enqueue_for(&self, change: &Change, context: &Context) -> Vec<StoreRef<Incident>> {
        match change.kind {
            Kind::Namespace => return Vec::new(),
            Kind::Notification => return store::subject_of(context, change, SubjectKind::Incident),
            _ => {}
        }
        let concerned = |incident: &Incident| {
            let is_here = change.namespace.is_none() || incident.metadata.namespace == change.namespace;
            is_here && incident.is_open()
        };
        let found = context.caches.incidents.state_filter(concerned);
        found.iter().map(|incident| StoreRef::from_obj(&**incident)).collect()
    }

    /// Messages are sent and runs go on while the incident is looked at; it follows them a few times, and not at each step.
    fn patience(kind: Kind) -> Duration {
        match kind {
            Kind::Notification | Kind::RunbookRun => Duration::from_millis(200),
            _ => Duration::ZERO,
        }
    }

    async fn reconcile(&self, incident: Arc<Incident>, context: &SharedContext) -> Result<Requeue, Error> {
        if incident.metadata.deletion_timestamp.is_some() {
            return Ok(Requeue::Never);
        }
        let mut facts = gather(&incident, context, self.observed_since);
        self.looks.look(&incident, &mut facts, context, Timestamp::now());
        let Plan { status: next, takeover, messages, settle, start, stop, exhausted: _, events, wake } =
            decide(&incident, &facts, Timestamp::now());
        let taken = match takeover {
            Some(patch) => match take_over(&incident, patch, context).await {
                // The write triggers another reconcile.
                Ok(()) => return Ok(Requeue::Never),
                // Paging must not wait for the takeover to succeed.
                failure => failure,
            },
            None => Ok(()),
        };
        store::create(context, &Subject::from(&*incident), &messages).await?;
        status::write(context, &*incident, next).await?;
        start_runs(&incident, start, context).await?;
        stop_runs(&incident, stop, context).await?;
        let namespace = incident.namespace().unwrap_or_default();
        let settled = store::settle(context, &namespace, &settle).await;
        for (reason, note) in events {
            context.events.normal(&*incident, reason, &note).await;
        }
        settled.and(taken)?;
        Ok(wake.into())
    }
}

/// Writes what the incident takes over from its duplicates into its spec, with the resource version the decision is
/// based on.
async fn take_over(incident: &Incident, mut patch: Value, context: &Context) -> Result<(), Error> {
    patch["metadata"] = json!({"resourceVersion": incident.metadata.resource_version});
    let namespace = incident.namespace().unwrap_or_default();
    let incidents: Api<Incident> = Api::namespaced(context.client.clone(), &namespace);
    incidents.patch(&incident.name_any(), &PatchParams::default(), &Patch::Merge(&patch)).await?;
    Ok(())
}

/// Creates the runs that start without a person.
async fn start_runs(incident: &Incident, start: Vec<RunbookRun>, context: &Context) -> Result<(), Error> {
    for run in start {
        if run::start::create(context, &run).await? {
            context.events.normal(incident, "RunStarted", &format!("run/{}", run.name_any())).await;
        }
    }
    Ok(())
}

/// Tells runs to stop that another Runbook of the ladder follows.
async fn stop_runs(incident: &Incident, stop: Vec<String>, context: &Context) -> Result<(), Error> {
    let namespace = incident.namespace().unwrap_or_default();
    let runs: Api<RunbookRun> = Api::namespaced(context.client.clone(), &namespace);
    for run in stop {
        let cancel = json!({"spec": {"cancel": true}});
        runs.patch(&run, &PatchParams::default(), &Patch::Merge(&cancel)).await?;
        let note = format!("run/{run} has not begun in its time; the next runbook follows");
        context.events.normal(incident, "RunStopped", &note).await;
    }
    Ok(())
}

fn gather(incident: &Incident, context: &Context, observed_since: Timestamp) -> IncidentFacts {
    let namespace = incident.namespace().unwrap_or_default();
    let caches = &context.caches;
    IncidentFacts {
        operator_namespace: context.config.namespace.clone(),
        started: observed_since,
        observed_since,
        policies: caches.policies.state(),
        freezes: caches.freezes.state(),
        services: in_namespace(&caches.services, &namespace),
        sources: in_namespace(&caches.sources, &namespace),
        incidents: in_namespace(&caches.incidents, &namespace),
        rotations: in_namespace(&caches.rotations, &namespace),
        overrides: in_namespace(&caches.overrides, &namespace),
        channels: in_namespace(&caches.channels, &namespace),
        notifications: store::about(context, &Subject::from(incident)),
        runbooks: in_namespace(&caches.runbooks, &namespace),
        runs: in_namespace(&caches.runs, &namespace),
        requests: in_namespace(&caches.requests, &namespace),
        approvals: stamps::counting(&context.stamps, in_namespace(&caches.approvals, &namespace)),
        workloads: workloads_by_key(context, &namespace),
        looks: BTreeMap::new(),
    }
}

/// The workloads of a namespace by [`key`]. Those that cannot be read are missing, and a missing one is not healthy.
fn workloads_by_key(context: &Context, namespace: &str) -> BTreeMap<String, Value> {
    let of_kind = |kind: &'static str| {
        let found = workloads::all(&context.caches, namespace, kind).unwrap_or_default();
        found.into_iter().map(move |object| {
            let name =
                object.pointer("/metadata/name").and_then(Value::as_str).unwrap_or_default().to_owned();
            let api_version = format!("{}/v1", workloads::GROUP);
            (key(&ObjectRef { api_version, kind: kind.to_owned(), name }), object)
        })
    };
    workloads::KINDS.into_iter().flat_map(of_kind).collect()
}
