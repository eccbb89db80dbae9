//! The outbox: sends the Notifications that are due, records what became of each, and deletes them in the end.
//!
//! At least once: a crash between the send and the record repeats a message with the same id, by which receivers drop
//! it. Only the holder of the lease sends.

use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::NamespaceResourceScope;
use kube::api::{DeleteParams, PostParams, Preconditions};
use kube::runtime::reflector::{ObjectRef, Store};
use kube::{Api, Resource, ResourceExt};
use serde::de::DeserializeOwned;
use tokio_util::sync::CancellationToken;

use super::delivery;
use super::retention::{self, Standing};
use super::schedule::{self, Outcome};
use super::slots::Slots;
use crate::api::Notification;
use crate::api::change_request::RequestState;
use crate::api::notification::{Purpose, SubjectKind};
use crate::cluster::caches::{Change, get};
use crate::cluster::controller::{Reconciler, Requeue};
use crate::cluster::{Context, Error, SharedContext, failpoints};

/// Maximum number of messages that are under way at once, over all channels.
const AT_ONCE: u16 = 4096;
/// How long a message waits for another try if its channel had no room.
const NO_ROOM: SignedDuration = SignedDuration::from_millis(500);
/// How long a stopping process waits for messages under way; the next process sends them again, with the same
/// id.
const LAST: Duration = Duration::from_secs(3);
/// Maximum number of attempts to record an outcome over a newer version.
const RECORD_ATTEMPTS: usize = 20;

/// Sends Notifications; for the holder of the lease.
pub struct Outbox {
    /// Set when this process must stop or has lost the lease: no new message is begun.
    stop: CancellationToken,
    slots: Slots,
}

impl Outbox {
    /// Sends until `stop`, the token that also stops its controller.
    pub fn new(stop: CancellationToken) -> Outbox {
        Outbox { stop, slots: Slots::default() }
    }
}

impl Reconciler for Outbox {
    const NAME: &'static str = "notification";
    const CONCURRENCY: u16 = AT_ONCE;
    type Kind = Notification;

    fn cache(context: &Context) -> &Store<Notification> {
        &context.caches.notifications
    }

    /// The controller of a subject settles the Notifications about it.
    fn enqueue_for(&self, _: &Change, _: &Context) -> Vec<ObjectRef<Notification>> {
        Vec::new()
    }

    async fn reconcile(&self, cached: Arc<Notification>, context: &SharedContext) -> Result<Requeue, Error> {
        let now = Timestamp::now();
        let Some(due) = schedule::due(&cached) else { return clear_away(&cached, context, now).await };
        let api: Api<Notification> = Api::namespaced(context.client.clone(), &namespace(&cached));
        if due > now {
            return wait(&api, &cached, due, now).await;
        }
        // Without the lease, what is due is another process's to send.
        if self.stop.is_cancelled() {
            return Ok(Requeue::Never);
        }
        let spec = &cached.spec;
        let is_page = spec.purpose == Purpose::Page;
        let Some(slot) = self.slots.take(&namespace(&cached), &spec.channel_ref.name, is_page) else {
            return Ok(now.checked_add(NO_ROOM).ok().into());
        };
        // The cache may be stale: what was sent or superseded a moment ago is seen only in the stored object. One that
        // this process has just stored is as it stored it, since only the holder of the lease changes messages.
        let stored = match context.written.is_this(&*cached) {
            true => Some((*cached).clone()),
            false => api.get_opt(&cached.name_any()).await?.filter(|stored| stored.uid() == cached.uid()),
        };
        let Some(stored) = stored else { return Ok(Requeue::Never) };
        if schedule::due(&stored).is_none_or(|due| due > now) {
            return Ok(schedule::due(&stored).into());
        }
        let too_late = async {
            self.stop.cancelled().await;
            tokio::time::sleep(LAST).await;
        };
        let outcome = tokio::select! {
            outcome = attempt(context, &stored, now) => outcome?,
            () = too_late => return Ok(Requeue::Never),
        };
        drop(slot);
        tell(context, &stored, &outcome);
        record(&api, &stored, &outcome).await
    }
}

/// Says of a message whose time comes later that it waits.
async fn wait(
    api: &Api<Notification>,
    cached: &Notification,
    due: Timestamp,
    now: Timestamp,
) -> Result<Requeue, Error> {
    let mut waiting = cached.clone();
    schedule::tell(&mut waiting, now);
    if waiting != *cached {
        api.replace_status(&cached.name_any(), &PostParams::default(), &waiting).await?;
    }
    Ok(Requeue::At(due))
}

async fn attempt(context: &Context, notification: &Notification, now: Timestamp) -> Result<Outcome, Error> {
    if schedule::is_expired(notification, now) {
        return Ok(Outcome::Expired);
    }
    if !is_there(context, notification).await? {
        return Ok(Outcome::Superseded);
    }
    if notification.spec.purpose == Purpose::Page {
        failpoints::point(&context.config, "before-page");
    }
    Ok(delivery::deliver(context, notification, now).await)
}

/// Whether the subject of a message is still there.
async fn is_there(context: &Context, notification: &Notification) -> Result<bool, Error> {
    let caches = &context.caches;
    match notification.spec.subject_ref.kind {
        SubjectKind::Incident => is_stored(context, &caches.incidents, notification).await,
        SubjectKind::ChangeRequest => is_stored(context, &caches.requests, notification).await,
        SubjectKind::Runbook => is_stored(context, &caches.runbooks, notification).await,
        SubjectKind::RunbookRun => is_stored(context, &caches.runs, notification).await,
        SubjectKind::OnCallRotation => is_stored(context, &caches.rotations, notification).await,
        // An event under a policy is reported even if the policy is gone: then it matters the more.
        SubjectKind::ChangePolicy => Ok(true),
    }
}

/// Whether the subject, of the kind of that cache, is stored.
async fn is_stored<K>(context: &Context, store: &Store<K>, notification: &Notification) -> Result<bool, Error>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
        + Clone
        + Debug
        + DeserializeOwned
        + 'static,
{
    let (subject, namespace) = (&notification.spec.subject_ref, namespace(notification));
    let is_it = |uid: Option<String>| uid.as_ref() == Some(&subject.uid);
    if get(store, &namespace, &subject.name).is_some_and(|found| is_it(found.uid())) {
        return Ok(true);
    }
    // The cache may not hold yet what is stored.
    let api: Api<K> = Api::namespaced(context.client.clone(), &namespace);
    Ok(api.get_metadata_opt(&subject.name).await?.is_some_and(|found| is_it(found.uid())))
}

/// Writes an outcome into the status of a Notification, even if the Notification has changed meanwhile.
async fn record(api: &Api<Notification>, sent: &Notification, outcome: &Outcome) -> Result<Requeue, Error> {
    let name = sent.name_any();
    let mut stored = sent.clone();
    for _ in 0..RECORD_ATTEMPTS {
        if !schedule::record(&mut stored, outcome, Timestamp::now()) {
            break;
        }
        match api.replace_status(&name, &PostParams::default(), &stored).await.map_err(Error::from) {
            Ok(recorded) => return Ok(schedule::due(&recorded).into()),
            Err(Error::Conflict(_)) => match api.get_opt(&name).await? {
                Some(newer) if newer.uid() == sent.uid() => stored = newer,
                _ => break,
            },
            Err(error) => return Err(error),
        }
    }
    Ok(Requeue::Never)
}

/// Deletes a Notification that is settled, once its retention is over.
async fn clear_away(
    notification: &Notification,
    context: &Context,
    now: Timestamp,
) -> Result<Requeue, Error> {
    let kept = context.config.retention.notifications.get();
    let Some(end) = retention::end(notification, standing(context, notification), kept) else {
        return Ok(Requeue::Never);
    };
    if now < end {
        return Ok(Requeue::At(end));
    }
    let only_this =
        Preconditions { uid: notification.uid(), resource_version: notification.resource_version() };
    let params = DeleteParams { preconditions: Some(only_this), ..DeleteParams::default() };
    let api: Api<Notification> = Api::namespaced(context.client.clone(), &namespace(notification));
    match api.delete(&notification.name_any(), &params).await {
        Err(kube::Error::Api(answer)) if answer.is_not_found() => Ok(Requeue::Never),
        deleted => deleted.map(|_| Requeue::Never).map_err(Error::from),
    }
}

/// What is known of the subject of a Notification.
fn standing(context: &Context, notification: &Notification) -> Standing {
    let (subject, namespace) = (&notification.spec.subject_ref, namespace(notification));
    let is_it = |uid: Option<String>| uid.as_ref() == Some(&subject.uid);
    let incident = |name: &str| get(&context.caches.incidents, &namespace, name);
    let is_open = |name: &str| incident(name).is_some_and(|incident| incident.is_open());
    match subject.kind {
        SubjectKind::Incident => match incident(&subject.name).filter(|found| is_it(found.uid())) {
            Some(incident) if incident.is_open() => Standing::Open,
            Some(incident) => {
                let end = incident.status.as_ref().and_then(|status| status.resolved.as_ref());
                end.map_or(Standing::Gone, |end| Standing::Over(end.time.0))
            }
            None => Standing::Gone,
        },
        SubjectKind::ChangeRequest => {
            let found = get(&context.caches.requests, &namespace, &subject.name);
            let status = found.filter(|found| is_it(found.uid())).and_then(|found| found.status.clone());
            let is_kept = status.is_some_and(|status| {
                !status.state.is_some_and(RequestState::is_over)
                    || status.incidents.iter().any(|bound| is_open(&bound.name))
            });
            if is_kept { Standing::Open } else { Standing::Gone }
        }
        SubjectKind::RunbookRun => {
            let found = get(&context.caches.runs, &namespace, &subject.name);
            let is_kept = found.filter(|found| is_it(found.uid())).is_some_and(|run| {
                !run.is_settled() || run.spec.incident_ref.as_ref().is_some_and(|named| is_open(&named.name))
            });
            if is_kept { Standing::Open } else { Standing::Gone }
        }
        SubjectKind::Runbook | SubjectKind::ChangePolicy | SubjectKind::OnCallRotation => Standing::Gone,
    }
}

fn namespace(notification: &Notification) -> String {
    notification.namespace().unwrap_or_default()
}

fn tell(context: &Context, notification: &Notification, outcome: &Outcome) {
    let spec = &notification.spec;
    let (about, key, purpose) = (&spec.about, &spec.key, spec.purpose.as_str());
    let (result, error) = match outcome {
        Outcome::Sent => ("sent", None),
        Outcome::Retry { error, .. } => ("retry", Some(error.as_str())),
        Outcome::Failed { error } => ("failed", Some(error.as_str())),
        Outcome::Expired => ("expired", Some("its time was over before any channel took it")),
        Outcome::Superseded => ("superseded", Some("its subject is gone")),
    };
    context.metrics.messaged(purpose, result);
    match error {
        None => tracing::info!(about, key, purpose, "message sent"),
        Some(error) => tracing::warn!(about, key, purpose, result, error, "message not sent"),
    }
}
