//! Reconciles AlertSources: reads their Secrets and writes their statuses.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use kube::ResourceExt;
use kube::runtime::reflector::{ObjectRef, Store};

use super::decide::{SourceFacts, decide};
use super::sources;
use crate::api::AlertSource;
use crate::cluster::caches::{Change, Kind, get, in_namespace};
use crate::cluster::controller::{self, Reconciler, Requeue};
use crate::cluster::recently::Recently;
use crate::cluster::{Context, Error, SharedContext, status};
use crate::notify::credential::{Credential, CredentialError, TYPE};

/// When a Secret that was unusable, or was not read again, is looked at; Secrets are not watched.
const SECRET_AGAIN: SignedDuration = SignedDuration::from_secs(15);

/// How long a usable Secret is not read again: each change of an incident leads here.
const SECRET_LASTS: Duration = Duration::from_secs(15);

/// Reconciles AlertSources.
pub struct AlertSourceReconciler {
    /// The sources, by UID and generation, whose Secret was usable a while ago.
    usable: Recently<(Option<String>, Option<i64>)>,
}

impl Default for AlertSourceReconciler {
    fn default() -> AlertSourceReconciler {
        AlertSourceReconciler { usable: Recently::new(SECRET_LASTS) }
    }
}

impl Reconciler for AlertSourceReconciler {
    const NAME: &'static str = "alertsource";
    type Kind = AlertSource;

    fn cache(context: &Context) -> &Store<AlertSource> {
        &context.caches.sources
    }

    /// A change of an incident concerns the sources that have signals in it, or all if the incident is gone; a change of
    /// a workload those that watch its kind.
    fn enqueue_for(&self, change: &Change, context: &Context) -> Vec<ObjectRef<AlertSource>> {
        let namespace = change.namespace.as_deref().unwrap_or_default();
        if change.kind.is_workload() {
            let watches = |source: &AlertSource| {
                let watched = source.spec.condition.as_ref().map(|condition| condition.kind.as_str());
                source.metadata.namespace == change.namespace && watched == Some(change.kind.as_str())
            };
            let found = context.caches.sources.state_filter(watches);
            return found.iter().map(|source| ObjectRef::from_obj(&**source)).collect();
        }
        if change.kind != Kind::Incident {
            return Vec::new();
        }
        let Some(incident) = get(&context.caches.incidents, namespace, &change.name) else {
            return controller::same_namespace(&context.caches.sources, change);
        };
        let signals = incident.status.iter().flat_map(|status| &status.signals);
        let names: BTreeSet<&str> = signals.map(|signal| signal.source_ref.name.as_str()).collect();
        names.into_iter().map(|name| ObjectRef::new(name).within(namespace)).collect()
    }

    /// What it tells of incidents is for people.
    fn patience(kind: Kind) -> Duration {
        if kind == Kind::Incident { Duration::from_secs(1) } else { Duration::ZERO }
    }

    async fn reconcile(&self, source: Arc<AlertSource>, context: &SharedContext) -> Result<Requeue, Error> {
        let namespace = source.namespace().unwrap_or_default();
        let (secret, is_known) = self.secret(&source, context).await?;
        let facts = SourceFacts {
            source: &source,
            incidents: &in_namespace(&context.caches.incidents, &namespace),
            secret,
            sight: sources::of(&source.spec).1.watch().map(|watch| watch.sight(context, &namespace)),
            public_url: &context.config.intake.public_url,
        };
        let now = Timestamp::now();
        status::write(context, &*source, decide(&facts, now)).await?;
        // What is only remembered is read when it is no longer.
        let again = facts.secret.is_err() || is_known;
        Ok(if again { now.checked_add(SECRET_AGAIN).ok().into() } else { Requeue::Never })
    }
}

impl AlertSourceReconciler {
    /// Whether the Secret of a source can be used, and whether that is only remembered.
    async fn secret(
        &self,
        source: &AlertSource,
        context: &Context,
    ) -> Result<(Result<(), String>, bool), Error> {
        let key = (source.uid(), source.metadata.generation);
        if self.usable.contains(&key) {
            return Ok((Ok(()), true));
        }
        let read = secret(source, context).await?;
        if read.is_ok() {
            self.usable.note(key);
        }
        Ok((read, false))
    }
}

/// Whether the Secret that senders must know the token of can be used; the error says what to do.
async fn secret(source: &AlertSource, context: &Context) -> Result<Result<(), String>, Error> {
    let (_, kind) = sources::of(&source.spec);
    let Some(reference) = source.spec.secret_ref.as_ref().filter(|_| kind.intake().is_some()) else {
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
