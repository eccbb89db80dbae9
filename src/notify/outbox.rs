//! The outbox: sends the stored messages that are due and records what became of each.
//!
//! At least once: a crash between the send and the record repeats a message with the same id, which receivers drop
//! by. Only the entry of that id is written, over the version just read.

use std::fmt::Debug;
use std::sync::Arc;

use futures::{StreamExt, stream};
use jiff::Timestamp;
use kube::api::PostParams;
use kube::runtime::reflector::Store;
use kube::{Api, Client, Resource, ResourceExt};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio_util::sync::CancellationToken;

use crate::api::message::{Message, Purpose};
use crate::api::{ChangePolicy, ChangeRequest, Incident};
use crate::cluster::controller::{self, Requeue};
use crate::cluster::{Error, SharedContext};

use super::delivery::{self, About};
use super::schedule::{self, Outcome};

/// At most so many messages of one object at once.
const CONCURRENCY: usize = 8;
/// How often a record is tried anew over a newer version.
const RECORD_ATTEMPTS: usize = 20;

/// An object whose status holds messages.
trait Subject:
    Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Serialize + Send + Sync + 'static
{
    fn api(&self, client: Client) -> Api<Self>;
    fn messages(&self) -> &[Message];
    fn messages_mut(&mut self) -> &mut [Message];
    fn about(&self) -> About;
}

macro_rules! subject {
    ($kind:ty, $short:literal, $api:expr, $severity:expr) => {
        impl Subject for $kind {
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

subject!(Incident, "inc", namespaced, |incident: &Incident| Some(incident.spec.severity.as_str()));
subject!(ChangeRequest, "chg", namespaced, |_| None);
subject!(ChangePolicy, "cpol", |_, client| Api::all(client), |_| None);

/// Sends messages until `cancel`; for the holder of the lease.
pub async fn run(context: SharedContext, cancel: CancellationToken) {
    let stores = &context.stores;
    tokio::join!(
        watch("outbox-incidents", &context, stores.incidents.clone(), &cancel),
        watch("outbox-requests", &context, stores.requests.clone(), &cancel),
        watch("outbox-policies", &context, stores.policies.clone(), &cancel),
    );
}

async fn watch<K: Subject>(
    name: &'static str,
    context: &SharedContext,
    store: Store<K>,
    cancel: &CancellationToken,
) {
    controller::run(
        name,
        Arc::clone(context),
        store,
        |_, _| Vec::new(),
        |object, context| Box::pin(reconcile(object, context)),
        cancel.clone(),
    )
    .await;
}

async fn reconcile<K: Subject>(object: Arc<K>, context: SharedContext) -> Result<Requeue, Error> {
    match schedule::next(object.messages()) {
        None => return Ok(Requeue::Never),
        Some(next) if next > Timestamp::now() => return Ok(Requeue::At(next)),
        Some(_) => {}
    }
    // The cache may lie behind: what was sent a moment ago, or answered, is seen only in the stored object.
    let api = object.api(context.client.clone());
    let Some(stored) = api.get_opt(&object.name_any()).await? else { return Ok(Requeue::Never) };
    let now = Timestamp::now();
    let mut due: Vec<Message> = stored
        .messages()
        .iter()
        .filter(|message| schedule::due(message).is_some_and(|due| due <= now))
        .cloned()
        .collect();
    due.sort_by_key(|message| message.purpose != Purpose::Page);

    let about = stored.about();
    let mut attempts = stream::iter(due)
        .map(|message| attempt(Arc::clone(&context), about.clone(), message))
        .buffer_unordered(CONCURRENCY);
    // A record that fails must not cut short the sends under way, or they would be repeated too.
    let mut failure = None;
    while let Some((message, outcome)) = attempts.next().await {
        tell(&context, &about, &message, &outcome);
        match record(&api, &stored.name_any(), &message.id, &outcome).await {
            Ok(()) => {}
            Err(error) => failure = Some(error),
        }
    }
    match failure {
        Some(error) => Err(error),
        // Every record wakes the object once more; this is for what is due only later.
        None => Ok(schedule::next(stored.messages()).filter(|next| *next > now).into()),
    }
}

async fn attempt(context: SharedContext, about: About, message: Message) -> (Message, Outcome) {
    let now = Timestamp::now();
    let outcome = if schedule::expired(&message, now) {
        Outcome::Failed { error: "its time was over before any channel took it".to_owned() }
    } else {
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
