//! The outbox: sends the stored messages that are due and records what became of each.
//!
//! At least once: a crash between the send and the record repeats a message with the same id, which receivers drop
//! by. Only the entry of that id is written, over the version just read.

use std::collections::BTreeSet;
use std::fmt::Debug;
use std::marker::PhantomData;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use jiff::Timestamp;
use kube::api::PostParams;
use kube::runtime::reflector::{ObjectRef, Store};
use kube::{Api, Client, Resource, ResourceExt};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio_util::sync::CancellationToken;

use crate::api::message::{Message, Purpose};
use crate::api::{ChangePolicy, ChangeRequest, Incident, RunbookRun};
use crate::cluster::caches::{Caches, Change};
use crate::cluster::controller::{Reconciler, Requeue};
use crate::cluster::{Context, Error, SharedContext, failpoints};

use super::delivery::{self, About};
use super::schedule::{self, Outcome};

/// At most so many objects of a kind at once: those whose receivers hang must not hold up the pages of other teams.
const OBJECTS_AT_ONCE: u16 = 256;
/// At most so many messages of one object at once.
const AT_ONCE: usize = 64;
/// While messages of an object are under way, so often it is looked whether others came due: none waits for a receiver
/// that hangs.
const LOOK: Duration = Duration::from_millis(500);
/// So long a process that stops waits for what is under way; the next one sends it again, with the same id.
const LAST: Duration = Duration::from_secs(3);
/// How often a record is tried anew over a newer version.
const RECORD_ATTEMPTS: usize = 20;

/// An object whose status holds messages.
pub trait Subject:
    Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Serialize + Send + Sync + 'static
{
    /// Name of its outbox: the value of the metric label `controller`.
    const OUTBOX: &'static str;
    /// Its cache.
    fn cache(caches: &Caches) -> &Store<Self>;
    /// Where it is read and written.
    fn api(&self, client: Client) -> Api<Self>;
    /// Its messages.
    fn messages(&self) -> &[Message];
    /// Its messages, to record what became of them.
    fn messages_mut(&mut self) -> &mut [Message];
    /// What every message says of it.
    fn about(&self) -> About;
    /// The object as the cache has it now.
    fn known(&self, caches: &Caches) -> Option<Arc<Self>> {
        Self::cache(caches).get(&ObjectRef::from_obj(self))
    }
}

macro_rules! subject {
    ($kind:ty, $outbox:literal, $short:literal, $store:ident, $api:expr, $severity:expr) => {
        impl Subject for $kind {
            const OUTBOX: &'static str = $outbox;
            fn cache(caches: &Caches) -> &Store<Self> {
                &caches.$store
            }
            fn api(&self, client: Client) -> Api<Self> {
                $api(self, client)
            }
            fn messages(&self) -> &[Message] {
                self.status.as_ref().map_or(&[], |status| &status.messages)
            }
            fn messages_mut(&mut self) -> &mut [Message] {
                self.status.as_mut().map_or(&mut [], |status| &mut status.messages)
            }
            fn about(&self) -> About {
                About {
                    subject: format!(concat!($short, "/{}"), self.name_any()),
                    namespace: self.namespace(),
                    severity: $severity(self),
                }
            }
        }
    };
}

fn namespaced<K>(object: &K, client: Client) -> Api<K>
where
    K: Resource<DynamicType = (), Scope = k8s_openapi::NamespaceResourceScope>,
{
    Api::namespaced(client, object.namespace().unwrap_or_default().as_str())
}

subject!(Incident, "outbox-incident", "inc", incidents, namespaced, |incident: &Incident| Some(
    incident.spec.severity.as_str()
));
subject!(ChangeRequest, "outbox-changerequest", "chg", requests, namespaced, |_| None);
subject!(RunbookRun, "outbox-runbookrun", "run", runs, namespaced, |_| None);
subject!(ChangePolicy, "outbox-changepolicy", "cpol", policies, |_, client| Api::all(client), |_| None);

/// Sends the messages of the objects of one kind; for the holder of the lease.
pub struct Outbox<K> {
    /// Set when this process must stop or has lost the lease: no new message is begun.
    stop: CancellationToken,
    kind: PhantomData<fn() -> K>,
}

impl<K> Outbox<K> {
    /// Sends until `stop`, the token that also stops its controller.
    pub fn new(stop: CancellationToken) -> Outbox<K> {
        Outbox { stop, kind: PhantomData }
    }
}

impl<K: Subject> Reconciler for Outbox<K> {
    const NAME: &'static str = K::OUTBOX;
    const CONCURRENCY: u16 = OBJECTS_AT_ONCE;
    type Kind = K;

    fn cache(context: &Context) -> &Store<K> {
        K::cache(&context.caches)
    }

    /// Only an object's own changes bring new messages.
    fn enqueue_for(&self, _: &Change, _: &Context) -> Vec<ObjectRef<K>> {
        Vec::new()
    }

    async fn reconcile(&self, object: Arc<K>, context: &SharedContext) -> Result<Requeue, Error> {
        match schedule::next(object.messages()) {
            None => return Ok(Requeue::Never),
            Some(next) if next > Timestamp::now() => return Ok(Requeue::At(next)),
            Some(_) => {}
        }
        // The cache may lie behind: what was sent a moment ago, or answered, is seen only in the stored object.
        let api = object.api(context.client.clone());
        let Some(stored) = api.get_opt(&object.name_any()).await? else { return Ok(Requeue::Never) };
        let begun = Timestamp::now();
        let about = stored.about();
        let mut under_way = BTreeSet::new();
        let mut attempts = FuturesUnordered::new();
        for message in due(&stored, &under_way, AT_ONCE) {
            under_way.insert(message.id.clone());
            attempts.push(attempt(Arc::clone(context), about.clone(), message));
        }
        // A record that fails must not cut short the sends under way, or they would be repeated too.
        let mut failure = None;
        let mut look = tokio::time::interval(LOOK);
        let too_late = async {
            self.stop.cancelled().await;
            tokio::time::sleep(LAST).await;
        };
        tokio::pin!(too_late);
        loop {
            tokio::select! {
                Some((message, outcome)) = attempts.next() => {
                    tell(context, &about, &message, &outcome);
                    match record(&api, &stored.name_any(), &message.id, &outcome).await {
                        Ok(()) => { under_way.remove(&message.id); }
                        // It stays under way, as far as this batch knows, so that it is not repeated at once.
                        Err(error) => failure = Some(error),
                    }
                }
                () = &mut too_late, if !attempts.is_empty() => break,
                // Without the lease, what comes due is somebody else's to send.
                _ = look.tick(), if !attempts.is_empty() && !self.stop.is_cancelled() => {
                    let room = AT_ONCE.saturating_sub(attempts.len());
                    let is_more = |known: Arc<K>| !due(&*known, &under_way, room).is_empty();
                    if !object.known(&context.caches).is_some_and(is_more) {
                        continue;
                    }
                    let newer = match api.get_opt(&stored.name_any()).await {
                        Ok(Some(newer)) => newer,
                        Ok(None) => continue,
                        Err(error) => { failure = Some(error.into()); continue }
                    };
                    for message in due(&newer, &under_way, room) {
                        under_way.insert(message.id.clone());
                        attempts.push(attempt(Arc::clone(context), about.clone(), message));
                    }
                }
                else => break,
            }
        }
        match failure {
            Some(error) => Err(error),
            // Every record wakes the object once more; this is for what is due only later.
            None => Ok(schedule::next(stored.messages()).filter(|next| *next > begun).into()),
        }
    }
}

/// The messages of an object that are due now and not under way, pages first.
fn due<K: Subject>(object: &K, under_way: &BTreeSet<String>, most: usize) -> Vec<Message> {
    let now = Timestamp::now();
    let is_due = |message: &&Message| schedule::due(message).is_some_and(|due| due <= now);
    let mut due: Vec<&Message> = object.messages().iter().filter(is_due).collect();
    due.retain(|message| !under_way.contains(&message.id));
    due.sort_by_key(|message| message.purpose != Purpose::Page);
    due.into_iter().take(most).cloned().collect()
}

async fn attempt(context: SharedContext, about: About, message: Message) -> (Message, Outcome) {
    let now = Timestamp::now();
    let outcome = if schedule::expired(&message, now) {
        Outcome::Failed { error: "its time was over before any channel took it".to_owned() }
    } else {
        if message.purpose == Purpose::Page {
            failpoints::point(&context.config, "before-page");
        }
        delivery::deliver(&context, &about, &message, now).await
    };
    (message, outcome)
}

/// Writes an outcome into the message of that id, whatever else was written meanwhile.
async fn record<K: Subject>(api: &Api<K>, name: &str, id: &str, outcome: &Outcome) -> Result<(), Error> {
    let mut attempt = 0;
    loop {
        let Some(mut stored) = api.get_opt(name).await? else { return Ok(()) };
        let Some(message) = stored.messages_mut().iter_mut().find(|message| message.id == id) else {
            return Ok(());
        };
        let before = message.clone();
        schedule::record(message, outcome, Timestamp::now());
        if *message == before {
            return Ok(());
        }
        match api.replace_status(name, &PostParams::default(), &stored).await.map_err(Error::from) {
            Ok(_) => return Ok(()),
            Err(Error::Conflict(_)) if attempt < RECORD_ATTEMPTS => attempt += 1,
            Err(error) => return Err(error),
        }
    }
}

fn tell(context: &SharedContext, about: &About, message: &Message, outcome: &Outcome) {
    let purpose = delivery::purpose(message.purpose);
    let (result, error) = match outcome {
        Outcome::Sent => ("sent", None),
        Outcome::Retry { error, .. } => ("retry", Some(error)),
        Outcome::Failed { error } => ("failed", Some(error)),
    };
    context.metrics.messaged(purpose, result);
    match error {
        None => tracing::info!(subject = %about.subject, id = %message.id, purpose, "message sent"),
        Some(error) => {
            tracing::warn!(subject = %about.subject, id = %message.id, purpose, result, %error, "message not sent")
        }
    }
}
