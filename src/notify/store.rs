//! Storing messages, and recording what becomes of them through the people they were for.
//!
//! The order is: create the Notifications that a decision lists, write the status that the decision leads to, settle
//! the Notifications that it ends. After a crash in between, the next decision lists the same messages again; their
//! names are the same, so that none is lost and none is stored twice.

use std::sync::Arc;

use futures::future::join_all;
use jiff::Timestamp;
use kube::api::PostParams;
use kube::runtime::reflector::ObjectRef;
use kube::{Api, Resource, ResourceExt};

use super::message::{Message, Subject};
use super::schedule::{self, Settlement};
use crate::api::Notification;
use crate::api::notification::SubjectKind;
use crate::cluster::caches::{Change, get, get_cluster, in_namespace};
use crate::cluster::{Context, Error};

/// Stores the messages that are not stored yet.
///
/// # Errors
/// When the API server does not take one for now. One whose content it refuses is logged and left out: it must not
/// keep the others and the status back.
pub async fn create(context: &Context, subject: &Subject, messages: &[Message]) -> Result<(), Error> {
    let namespace = subject.namespace();
    let api: Api<Notification> = Api::namespaced(context.client.clone(), namespace);
    let is_new =
        |message: &&Message| get(&context.caches.notifications, namespace, &message.name()).is_none();
    let notifications: Vec<Notification> =
        messages.iter().filter(is_new).map(|message| message.about(subject)).collect();
    let params = PostParams::default();
    let creations = notifications.iter().map(|notification| api.create(&params, notification));
    let mut result = Ok(());
    for (created, notification) in join_all(creations).await.into_iter().zip(&notifications) {
        let error = match created {
            Ok(stored) => {
                context.written.note(&stored);
                continue;
            }
            Err(error) => error,
        };
        // Another replica, or an earlier attempt: it is the same message.
        if matches!(&error, kube::Error::Api(answer) if answer.is_already_exists()) {
            continue;
        }
        let error = Error::from(error);
        if error.is_about_the_content() || is_ending(context, namespace) {
            let (name, about) = (notification.name_any(), &notification.spec.about);
            tracing::error!(namespace, name, about, %error, "a message cannot be stored");
        } else {
            result = Err(error);
        }
    }
    result
}

/// Whether nothing can be created in the namespace any more.
fn is_ending(context: &Context, namespace: &str) -> bool {
    get_cluster(&context.caches.namespaces, namespace)
        .is_none_or(|namespace| namespace.metadata.deletion_timestamp.is_some())
}

/// Records that messages are no longer needed, or were acknowledged: the name of each Notification, and what became of
/// it. One that has changed in a way that rules it out stays as it is.
///
/// # Errors
/// When the API server does not answer, or the outbox wrote first; the next decision lists them again.
pub async fn settle(
    context: &Context,
    namespace: &str,
    settled: &[(String, Settlement)],
) -> Result<(), Error> {
    let api: Api<Notification> = Api::namespaced(context.client.clone(), namespace);
    let results =
        join_all(settled.iter().map(|(name, settlement)| settle_one(context, &api, name, settlement))).await;
    results.into_iter().collect()
}

async fn settle_one(
    context: &Context,
    api: &Api<Notification>,
    name: &str,
    settlement: &Settlement,
) -> Result<(), Error> {
    // The cache may be stale: what has been sent meanwhile is not superseded.
    let Some(mut stored) = api.get_opt(name).await? else { return Ok(()) };
    if schedule::settle(&mut stored, settlement, Timestamp::now()) {
        let stored = api.replace_status(name, &PostParams::default(), &stored).await?;
        context.written.note(&stored);
    }
    Ok(())
}

/// The Notifications about a subject, as the cache has them.
pub fn about(context: &Context, subject: &Subject) -> Vec<Arc<Notification>> {
    let mut found = in_namespace(&context.caches.notifications, subject.namespace());
    found.retain(|notification| notification.is_about(subject.kind(), subject.uid()));
    found
}

/// The object that a Notification which has changed is about, if it is of that kind. Its controller looks at it again:
/// it may have decided while the cache did not hold the Notification yet.
pub fn subject_of<K: Resource<DynamicType = ()>>(
    context: &Context,
    change: &Change,
    kind: SubjectKind,
) -> Vec<ObjectRef<K>> {
    let namespace = change.namespace.as_deref().unwrap_or_default();
    let notification = get(&context.caches.notifications, namespace, &change.name);
    let subject = notification.filter(|found| found.spec.subject_ref.kind == kind);
    let subject = subject.map(|found| ObjectRef::new(&found.spec.subject_ref.name).within(namespace));
    subject.into_iter().collect()
}
