//! Keeps certificates and the admission objects of the chart as they must be, on the lease holder.
//!
//! The order at the start keeps a cluster writable: this process serves, then the API servers learn whom to
//! trust and what to ask about, then the probe shows whether it works.
//!
//! At rest nothing is read and nothing is written: the objects are watched, and written only where they differ from
//! what they should be.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::{Stream, StreamExt};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::Api;
use kube::api::DynamicObject;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use crate::admission::alarm::{self, Alarm};
use crate::admission::configuration::definition::{self, Definition, Id};
use crate::admission::configuration::judge::{self, Judgement, judge};
use crate::admission::configuration::stored::{self, Stored};
use crate::admission::configuration::{compare, emergency, restore, rules};
use crate::change::gate_state::GateState;
use crate::cluster::backoff::Backoff;
use crate::cluster::caches::{Kind, version};
use crate::cluster::error::chain;
use crate::cluster::{Error, SharedContext};
use crate::webhook::certificates::store::CertificateStore;

/// Interval between two turns without a change, and between two looks at the certificates.
const EVERY: Duration = Duration::from_secs(30);
/// Interval until the next turn after a failed one.
const RETRY: Duration = Duration::from_secs(2);
/// Interval between two attempts to reach the own server at the start.
const KNOCK: Duration = Duration::from_millis(50);
/// How long an object that this process has never seen may be missing: an installation may still be creating it.
const INSTALLING: Duration = Duration::from_secs(15);
/// Shortest and longest pause before an object that somebody keeps changing is restored again.
const AGAIN: [Duration; 2] = [Duration::from_millis(100), Duration::from_secs(30)];
/// How long an object must stay right until it is restored at once again.
const CALM: Duration = Duration::from_secs(60);
/// Interval between looks at the emergency switch while it leaves a change: it may be taken away.
const LEFT: Duration = Duration::from_secs(5);
/// The same change within this many seconds is reported once: two controllers that write in turns must not page without
/// end.
const ONCE: i64 = 600;
/// How long the watch may take to deliver a write of this process.
const DELIVERY: Duration = Duration::from_secs(2);

/// Works until `stop`: when the policies or an admission object change, and every half minute.
pub async fn run(context: SharedContext, state: Arc<GateState>, stop: CancellationToken) {
    let policies = context.caches.changes().filter_map(|change| {
        let is_of_policy = change.map_or(true, |change| change.kind == Kind::ChangePolicy);
        std::future::ready(is_of_policy.then_some(()))
    });
    let (stored, objects) = Stored::watch(&context.client);
    let wakes = futures::stream::select(policies, objects);
    futures::pin_mut!(wakes);
    let ready = async {
        tokio::join!(serving(&context), stored.synced());
    };
    tokio::select! {
        () = stop.cancelled() => return,
        () = ready => {}
        // The stores fill only while the stream is polled.
        () = exhaust(&mut wakes) => return,
    }
    let mut keeper = Keeper::new(Arc::clone(&context), state, stored);
    loop {
        let pause = match keeper.turn().await {
            Ok(next) => next.map_or(EVERY, |next| next.min(EVERY)),
            Err(Error::Conflict(_)) => Duration::ZERO,
            Err(error) => {
                tracing::warn!(error = %chain(&error), "the webhooks are not up to date; trying again");
                RETRY
            }
        };
        let rest = tokio::time::sleep(pause);
        tokio::pin!(rest);
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                () = &mut rest => break,
                woken = wakes.next() => match woken {
                    None => return,
                    // A write to the status of a policy, or by this process itself, changes nothing.
                    Some(()) if keeper.is_at_rest() => {}
                    Some(()) => break,
                },
            }
        }
    }
}

/// Polls a stream until it ends.
async fn exhaust(mut stream: impl Stream<Item = ()> + Unpin) {
    while stream.next().await.is_some() {}
}

/// Returns once this process's own server answers: the API servers must not call it before.
async fn serving(context: &SharedContext) {
    while tokio::net::TcpStream::connect(context.config.admission.address).await.is_err() {
        tokio::time::sleep(KNOCK).await;
    }
}

/// What the lease holder knows of the admission objects.
struct Keeper {
    context: SharedContext,
    state: Arc<GateState>,
    stored: Stored,
    certificates: CertificateStore,
    maps: Api<ConfigMap>,
    /// What API servers must trust, and when the certificates are looked at again.
    bundle: Option<(String, Instant)>,
    definition: Option<Definition>,
    /// What each object should have been when it was last seen right.
    settled: Definition,
    /// Objects as this process wrote them, and when, until the watch has them.
    written: BTreeMap<Id, (DynamicObject, Instant)>,
    /// Since when an object is missing that was never seen.
    missing: BTreeMap<Id, Instant>,
    /// When an object may be restored, and when it was last restored.
    restored: BTreeMap<Id, (Instant, Instant)>,
    backoff: Backoff<Id>,
    /// When every object was last seen right.
    right: Option<Timestamp>,
    /// What was reported since then.
    told: BTreeMap<Id, Option<String>>,
}

/// An object that is not as it should be, and how: none if it was deleted.
type Tampered = (Id, Option<String>);

impl Keeper {
    fn new(context: SharedContext, state: Arc<GateState>, stored: Stored) -> Keeper {
        let client = context.client.clone();
        let (namespace, names) = (&context.config.namespace, &context.config.admission.names);
        Keeper {
            certificates: CertificateStore::new(client.clone(), namespace, names),
            maps: Api::namespaced(client, namespace),
            context,
            state,
            stored,
            bundle: None,
            definition: None,
            settled: Definition::new(),
            written: BTreeMap::new(),
            missing: BTreeMap::new(),
            restored: BTreeMap::new(),
            backoff: Backoff::between(AGAIN[0], AGAIN[1]),
            right: None,
            told: BTreeMap::new(),
        }
    }

    /// What the objects should be now; none as long as that is not known.
    fn wanted(&self) -> Option<Definition> {
        let (definition, (bundle, _)) = (self.definition.as_ref()?, self.bundle.as_ref()?);
        let policies = self.context.caches.policies.state();
        let gate = rules::gate(policies.iter().map(|policy| &**policy), &self.context.config.namespace);
        Some(definition::fill(definition, bundle, &gate))
    }

    /// The object as far as this process knows: as it wrote it, until the watch has something newer.
    fn get(&self, id: &Id) -> Option<DynamicObject> {
        let watched = self.stored.get(id);
        let written =
            self.written.get(id).filter(|(_, at)| at.elapsed() < DELIVERY).map(|(object, _)| object);
        let is_newer = |written: &&DynamicObject| {
            watched.as_ref().is_none_or(|watched| version(*written) > version(&**watched))
        };
        written.filter(is_newer).cloned().or_else(|| watched.map(|watched| (*watched).clone()))
    }

    /// Whether every object is as it should be, so that there is nothing to do.
    fn is_at_rest(&self) -> bool {
        let is_right = |(id, wanted): (&Id, &Value)| self.judge(id, wanted) == Judgement::Right;
        self.state.opening().is_none_or(|opening| opening.closed.is_some())
            && self.wanted().is_some_and(|wanted| wanted.iter().all(is_right))
    }

    fn judge(&self, id: &Id, wanted: &Value) -> Judgement {
        let stored = self.get(id).and_then(|object| serde_json::to_value(object).ok());
        judge(stored.as_ref(), wanted, self.settled.get(id))
    }

    /// Brings everything up to date. Returns when the next turn is due; none if nothing is.
    async fn turn(&mut self) -> Result<Option<Duration>, Error> {
        self.look_at_certificates().await?;
        if self.definition.is_none() {
            self.read_definition().await?;
        }
        let (mut tampered, mut next) = self.settle_and_fill().await?;
        if !tampered.is_empty() {
            // An upgrade says first what will be right.
            self.read_definition().await?;
            (tampered, next) = self.settle_and_fill().await?;
            tampered = self.confirmed(tampered).await?;
        }
        if !tampered.is_empty() {
            return self.answer(&tampered).await;
        }
        if self.missing.is_empty() {
            let now = Timestamp::now();
            self.right = Some(now);
            self.told.clear();
            self.state.close(now);
        }
        // The watch must deliver the own writes before it can tell of others.
        self.written.retain(|_, (_, at)| at.elapsed() < DELIVERY);
        let delivery = (!self.written.is_empty()).then_some(DELIVERY);
        Ok(next.into_iter().chain(delivery).min())
    }

    /// Those that are changed live as well. A late watch still shows the state before a write of this process, which is
    /// no change by somebody else.
    async fn confirmed(&mut self, tampered: Vec<Tampered>) -> Result<Vec<Tampered>, Error> {
        let wanted = self.wanted().unwrap_or_default();
        let mut confirmed = Vec::new();
        for (id, _) in tampered {
            let Some(wanted) = wanted.get(&id) else { continue };
            let live = stored::live(&self.context.client, &id).await?;
            let value = live.as_ref().and_then(|object| serde_json::to_value(object).ok());
            match (judge(value.as_ref(), wanted, self.settled.get(&id)), live) {
                (Judgement::Changed(found), _) => confirmed.push((id, Some(compare::text(&found)))),
                (Judgement::Missing, _) => confirmed.push((id, None)),
                (Judgement::Right | Judgement::Due, Some(live)) => {
                    self.written.insert(id, (live, Instant::now()));
                }
                (Judgement::Right | Judgement::Due, None) => {}
            }
        }
        Ok(confirmed)
    }

    async fn read_definition(&mut self) -> Result<(), Error> {
        let map = self.maps.get_opt(definition::CONFIG_MAP).await?;
        // Without a readable definition the last one stays in force.
        match (definition::read(map.as_ref()), &self.definition) {
            (Ok(read), _) => self.definition = Some(read),
            (Err(what), None) => return Err(Error::Waiting(what)),
            (Err(what), Some(_)) => tracing::error!(what, "what the gate should be cannot be read"),
        }
        Ok(())
    }

    /// Looks at the certificates, if that is due.
    async fn look_at_certificates(&mut self) -> Result<(), Error> {
        if self.bundle.as_ref().is_some_and(|(_, due)| *due > Instant::now()) {
            return Ok(());
        }
        let now = Timestamp::now();
        let held = self.certificates.obtain(now).await?;
        let certificates = self.certificates.turn(now, self.trust(&held.bundle())).await?;
        self.bundle = Some((certificates.bundle(), Instant::now() + EVERY));
        Ok(())
    }

    /// Whether every webhook of Mayday trusts exactly this bundle.
    fn trust(&self, bundle: &str) -> bool {
        let wanted = json!(k8s_openapi::ByteString(bundle.as_bytes().to_vec()));
        let objects = self.definition.iter().flat_map(|definition| definition.keys()).map(|id| self.get(id));
        let mut webhooks = objects
            .flatten()
            .flat_map(|object| object.data["webhooks"].as_array().cloned().unwrap_or_default());
        self.definition.is_some() && webhooks.all(|webhook| webhook["clientConfig"]["caBundle"] == wanted)
    }

    /// Notes what is right, writes what is due, and returns what somebody else changed, with the time until a missing
    /// object is looked for again.
    async fn settle_and_fill(&mut self) -> Result<(Vec<Tampered>, Option<Duration>), Error> {
        let (mut tampered, mut next, mut failed) = (Vec::new(), None, Ok(()));
        for (id, wanted) in self.wanted().unwrap_or_default() {
            let judgement = self.judge(&id, &wanted);
            if judgement != Judgement::Missing {
                self.missing.remove(&id);
            }
            match judgement {
                Judgement::Right => {
                    let is_calm = |(_, at): &(Instant, Instant)| at.elapsed() > CALM;
                    if self.restored.get(&id).is_some_and(is_calm) {
                        self.restored.remove(&id);
                        self.backoff.succeeded(&id);
                    }
                    self.settled.insert(id, wanted);
                }
                // If one fails, the others are still written.
                Judgement::Due => failed = failed.and(self.write(&id, &wanted).await),
                Judgement::Changed(found) => tampered.push((id, Some(compare::text(&found)))),
                Judgement::Missing if self.settled.contains_key(&id) => tampered.push((id, None)),
                Judgement::Missing => {
                    let since = *self.missing.entry(id.clone()).or_insert_with(Instant::now);
                    match INSTALLING.checked_sub(since.elapsed()) {
                        Some(left) => next = Some(next.map_or(left, |next: Duration| next.min(left))),
                        None => tampered.push((id, None)),
                    }
                }
            }
        }
        failed.map(|()| (tampered, next))
    }

    async fn write(&mut self, id: &Id, wanted: &Value) -> Result<(), Error> {
        let stored = self.get(id);
        let defined = self.definition.as_ref().and_then(|definition| definition.get(id)).unwrap_or(wanted);
        let written = restore::restore(&self.context.client, id, stored.as_ref(), wanted, defined).await?;
        tracing::info!(object = %id, "brought up to date");
        self.settled.insert(id.clone(), wanted.clone());
        self.missing.remove(id);
        self.written.insert(id.clone(), (written, Instant::now()));
        Ok(())
    }

    /// Restores what somebody else changed, unless the emergency switch leaves it, and reports it. Returns when the next
    /// turn is due.
    async fn answer(&mut self, tampered: &[Tampered]) -> Result<Option<Duration>, Error> {
        let now = Timestamp::now();
        let map = self.maps.get_opt(emergency::CONFIG_MAP).await?;
        let left = emergency::until(map.as_ref(), now);
        let outcome = match left {
            Some(until) => emergency::text(until, &self.context.config.namespace),
            None => "Mayday restores it".to_owned(),
        };
        let mut alarms = Vec::new();
        for (id, differences) in tampered {
            let object = self.get(id);
            let last =
                object.and_then(|object| judge::last_write(object.metadata.managed_fields.as_deref()?));
            let what = judge::what(&id.to_string(), differences.as_deref(), last.as_ref());
            let what = format!("{what}; {outcome}");
            let since = last.map_or(now, |(_, time)| time).max(self.right.unwrap_or_default());
            self.state.open(since, &what);
            if self.told.insert(id.clone(), differences.clone()).as_ref() != Some(differences) {
                alarms.push(Alarm {
                    id: id.clone(),
                    identity: json!([differences, since.as_second() / ONCE]),
                    what,
                });
            }
        }
        let context = Arc::clone(&self.context);
        let alarms = async {
            for alarm in &alarms {
                alarm::raise(&context, alarm, now).await;
            }
        };
        let (restored, ()) = tokio::join!(self.restore(tampered, left.is_some()), alarms);
        let next = restored?;
        let until_then = left.and_then(|until| Duration::try_from(until.duration_since(now)).ok());
        Ok(next.into_iter().chain(until_then).chain(left.map(|_| LEFT)).min())
    }

    /// Restores these objects. Returns when those are due that somebody keeps changing.
    async fn restore(&mut self, tampered: &[Tampered], is_left: bool) -> Result<Option<Duration>, Error> {
        if is_left {
            return Ok(None);
        }
        let wanted = self.wanted().unwrap_or_default();
        let (mut next, mut failed) = (Some(Duration::ZERO), Ok(()));
        for (id, _) in tampered {
            let Some(wanted) = wanted.get(id) else { continue };
            let now = Instant::now();
            if let Some((due, _)) = self.restored.get(id).filter(|(due, _)| *due > now) {
                next = Some(due.duration_since(now));
                continue;
            }
            self.restored.insert(id.clone(), (now + self.backoff.failed(id.clone()), now));
            failed = failed.and(self.write(id, wanted).await);
        }
        failed.map(|()| next)
    }
}
