//! Drift detection (docs/rules.md#drift-detection): at start the protected objects are compared with a stored baseline, and
//! changes that no request, run or record explains are announced.
//!
//! The baseline is one ConfigMap of digests for each namespace. While Mayday runs, the gate decides every change, so the
//! baseline follows the objects: workloads after two seconds, other kinds every two minutes. If somebody opens the gate
//! itself, changes are compared and announced until it is closed again.

mod attribution;
mod baseline;
mod managed_fields;
mod period;
mod scan;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{Api, Patch, PatchParams};
use kube::discovery::ApiResource;
use serde_json::json;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::policy::{self, Resource};
use crate::api::ChangePolicy;
use crate::api::change_policy::{UnauthorizedChange, UnauthorizedKind};
use crate::api::common::{ObjectRef, stored_time};
use crate::change::diff::digest;
use crate::change::drift::attribution::Difference;
use crate::change::drift::baseline::Baseline;
use crate::change::drift::period::{ONE_BY_ONE, Period};
use crate::change::drift::scan::Kind;
use crate::change::gate::unauthorized;
use crate::change::gate_state::{GateState, Opening};
use crate::cluster::caches::{self, Change, Missed, in_namespace};
use crate::cluster::{Context, Error, SharedContext};
use crate::text::cut;

/// Interval between scans of every kind.
const INTERVAL: Duration = Duration::from_secs(120);
/// How long a change of a workload is held back from the baseline: it may turn out that the gate was open.
const HOLD: Duration = Duration::from_secs(2);
/// Interval between reports while the gate is open.
const WHILE_OPEN: Duration = Duration::from_secs(3);
/// How long the API servers may take to heed a configuration that is right again.
const AFTER_CLOSING: SignedDuration = SignedDuration::from_secs(3);
/// Maximum number of watched changes handled together.
const BURST: usize = 1024;

/// Baselines by namespace, as this process last read or wrote them.
type Baselines = BTreeMap<String, Baseline>;

/// Compares once, then keeps the baselines up to date until `stop`. `gate` says when the gate is open.
pub async fn run(context: SharedContext, gate: Arc<GateState>, stop: CancellationToken) {
    // Watch first, then compare: a change in between is seen by the watch.
    let changes = context.caches.changes().ready_chunks(BURST);
    futures::pin_mut!(changes);
    let mut openings = gate.watch();
    let mut follower = Follower::new(context);
    follower.compare().await;
    let mut ticks = tokio::time::interval(INTERVAL);
    ticks.reset();
    loop {
        let due = follower.due(&gate);
        tokio::select! {
            () = stop.cancelled() => {
                // Otherwise the next start would take what is held back for a change that nobody judged.
                if gate.opening().is_none() {
                    follower.learn().await;
                }
                return;
            }
            _ = openings.changed() => {}
            _ = ticks.tick(), if gate.opening().is_none() => follower.rescan().await,
            () = tokio::time::sleep_until(due.unwrap_or_else(far)), if due.is_some() => match gate.opening() {
                Some(opening) => follower.report(&gate, &opening).await,
                None => follower.learn().await,
            },
            changes = changes.next() => match changes {
                Some(changes) => follower.note(&changes).await,
                None => return,
            },
        }
    }
}

/// A time that does not come, for a branch that is switched off.
fn far() -> Instant {
    Instant::now() + INTERVAL
}

/// Follows the protected objects.
struct Follower {
    context: SharedContext,
    baselines: Baselines,
    /// The protected namespaces, as last seen.
    seen: Vec<String>,
    /// The namespaces that were not compared yet since the start. The first comparison that succeeds announces drift. Until
    /// then the baseline of the namespace must not change.
    uncompared: BTreeSet<String>,
    /// Namespaces whose workloads were changed, and since when.
    touched: BTreeSet<String>,
    touched_since: Option<Instant>,
    /// When the last report during an opening was made.
    reported: Option<Instant>,
}

impl Follower {
    fn new(context: SharedContext) -> Follower {
        let seen = protected(&context);
        let uncompared = seen.iter().cloned().collect();
        let baselines = Baselines::new();
        Follower {
            context,
            baselines,
            seen,
            uncompared,
            touched: BTreeSet::new(),
            touched_since: None,
            reported: None,
        }
    }

    /// When something is due: while the gate is open, or was until a moment ago, the next report; else the time to learn
    /// what was changed.
    fn due(&self, gate: &GateState) -> Option<Instant> {
        match gate.opening() {
            Some(_) => Some(self.reported.map_or_else(Instant::now, |last| last + WHILE_OPEN)),
            None => self.touched_since.map(|since| since + HOLD),
        }
    }

    /// Compares the namespaces that were not compared yet since the start, and announces drift.
    async fn compare(&mut self) {
        let namespaces: Vec<String> = self.uncompared.iter().cloned().collect();
        let stopped = Period::Stopped;
        for done in scan_all(&self.context, &mut self.baselines, &namespaces, Some(&stopped)).await {
            self.uncompared.remove(&done);
        }
    }

    fn compared(&self) -> Vec<String> {
        protected(&self.context).into_iter().filter(|name| !self.uncompared.contains(name)).collect()
    }

    /// Scans every kind.
    async fn rescan(&mut self) {
        // Read the baselines again, as they may have been deleted.
        self.baselines.clear();
        self.compare().await;
        let compared = self.compared();
        scan_all(&self.context, &mut self.baselines, &compared, None).await;
    }

    /// Notes which objects were changed.
    async fn note(&mut self, changes: &[Result<Change, Missed>]) {
        let touched = touched(changes);
        if touched.policies {
            // Namespaces of a new policy get a baseline at once.
            let now = protected(&self.context);
            let new: Vec<String> = now.iter().filter(|name| !self.seen.contains(name)).cloned().collect();
            scan_all(&self.context, &mut self.baselines, &new, None).await;
            self.seen = now;
        }
        // Most changes touch no workload.
        let namespaces = protected(&self.context).into_iter();
        let before = self.touched.len();
        self.touched.extend(
            namespaces.filter(|name| touched.everywhere || touched.namespaces.contains(name.as_str())),
        );
        if self.touched.len() > before {
            self.touched_since.get_or_insert_with(Instant::now);
        }
    }

    /// Takes what was changed into the baselines: the gate has judged it.
    async fn learn(&mut self) {
        self.touched_since = None;
        for namespace in std::mem::take(&mut self.touched) {
            if !self.uncompared.contains(&namespace) {
                let kinds = scan::workload_kinds();
                let result = update(&self.context, &mut self.baselines, &namespace, &kinds, None).await;
                log(&namespace, &result);
            }
        }
    }

    /// Compares every kind and announces what was changed since the gate is open.
    async fn report(&mut self, gate: &GateState, opening: &Opening) {
        self.reported = Some(Instant::now());
        let started = Timestamp::now();
        let compared = self.compared();
        let open = Period::Open { since: opening.since };
        let done = scan_all(&self.context, &mut self.baselines, &compared, Some(&open)).await;
        let is_over = opening.closed.is_some_and(|closed| started.duration_since(closed) > AFTER_CLOSING);
        if is_over && done.len() == compared.len() {
            (self.touched_since, self.reported) = (None, None);
            self.touched.clear();
            gate.settle(opening);
        }
    }
}

/// Places of the changes that must be followed at once.
#[derive(Debug, Default, Eq, PartialEq)]
struct Touched<'a> {
    /// Namespaces whose workloads were changed.
    namespaces: BTreeSet<&'a str>,
    /// Whether changes were missed, so that every namespace may be touched.
    everywhere: bool,
    /// Whether other namespaces may be protected now.
    policies: bool,
}

/// The places that a burst of changes touches. Pure.
fn touched(changes: &[Result<Change, Missed>]) -> Touched<'_> {
    let mut touched = Touched::default();
    for change in changes {
        match change {
            Ok(Change { kind, namespace, .. }) if kind.is_workload() => {
                touched.namespaces.extend(namespace.as_deref());
            }
            Ok(Change { kind: caches::Kind::ChangePolicy | caches::Kind::Namespace, .. }) => {
                touched.policies = true
            }
            Ok(_) => {}
            Err(Missed) => {
                touched.everywhere = true;
                touched.policies = true;
            }
        }
    }
    touched
}

fn protected(context: &Context) -> Vec<String> {
    policy::protected_namespaces(&context.caches.policies.state(), &context.config.namespace)
}

/// Updates the baselines of these namespaces for every kind. Returns the namespaces for which that succeeded.
async fn scan_all(
    context: &Context,
    baselines: &mut Baselines,
    namespaces: &[String],
    announce: Option<&Period>,
) -> Vec<String> {
    if namespaces.is_empty() {
        return Vec::new();
    }
    let kinds = match scan::kinds(&context.client).await {
        Ok(kinds) => kinds,
        Err(error) => {
            tracing::warn!(%error, "the kinds of the cluster cannot be discovered, so drift was not detected");
            return Vec::new();
        }
    };
    let mut done = Vec::new();
    for namespace in namespaces {
        let result = update(context, baselines, namespace, &kinds, announce).await;
        let result = match result {
            Ok(()) => report_lost_kinds(context, baselines, namespace, &kinds).await,
            failed => failed,
        };
        log(namespace, &result);
        if result.is_ok() {
            done.push(namespace.clone());
        }
    }
    done
}

fn log(namespace: &str, result: &Result<(), Error>) {
    if let Err(error) = result {
        tracing::warn!(namespace, %error, "protected objects were not compared with their baseline");
    }
}

/// Compares these kinds in a namespace with the baseline, announces drift of a period in which the gate judged nothing, and
/// stores the new baseline.
async fn update(
    context: &Context,
    baselines: &mut Baselines,
    namespace: &str,
    kinds: &[ApiResource],
    announce: Option<&Period>,
) -> Result<(), Error> {
    let found = scan::find(context, namespace, kinds, announce.is_some()).await?;
    let name = baseline_name(namespace);
    let api: Api<ConfigMap> = Api::namespaced(context.client.clone(), &context.config.namespace);
    // Taken out, so that it is read again after an error.
    let mut baseline = match baselines.remove(namespace) {
        Some(baseline) => baseline,
        None => {
            let map = api.get_opt(&name).await?;
            map.map(|map| Baseline::read(&map.data.unwrap_or_default())).unwrap_or_default()
        }
    };
    if let Some(period) = announce {
        let differences = differences(&baseline, &found);
        let drift = differences.into_iter().filter(|difference| {
            period.may_hold(difference) && !is_attributed(context, namespace, difference)
        });
        announce_all(context, namespace, drift.collect(), period).await?;
    }
    let digests = found.into_iter().map(|(key, kind)| {
        let objects = kind.objects.into_iter().map(|(name, found)| (name, found.digest)).collect();
        (key, objects)
    });
    // Times of uses are stored in seconds: a use in this second must not look older than the baseline.
    if !baseline.learn(digests.collect(), stored_time(Timestamp::now()).0) {
        baselines.insert(namespace.to_owned(), baseline);
        return Ok(());
    }
    let (data, left_out) = baseline.written();
    if !left_out.is_empty() {
        tracing::warn!(
            namespace,
            kinds = left_out.join(", "),
            "too many objects for a baseline: these kinds are not compared"
        );
    }
    store_baseline(context, namespace, data).await?;
    baselines.insert(namespace.to_owned(), baseline);
    Ok(())
}

/// Announces the kinds whose definition was deleted, and with it all their objects in a namespace, which no admission review sees.
/// The baseline forgets them.
async fn report_lost_kinds(
    context: &Context,
    baselines: &mut Baselines,
    namespace: &str,
    kinds: &[ApiResource],
) -> Result<(), Error> {
    let Some(baseline) = baselines.get_mut(namespace) else { return Ok(()) };
    let lost = baseline.lose(&kinds.iter().map(scan::key).collect());
    if lost.is_empty() {
        return Ok(());
    }
    let (data, _) = baseline.written();
    let policies = context.caches.policies.state();
    for (key, count) in lost {
        let (plural, group) = key.split_once('.').unwrap_or((&key, ""));
        let protecting =
            policy::protecting(&policies, &Resource { group, plural, namespace }, &context.config.namespace);
        let object = ObjectRef {
            api_version: "apiextensions.k8s.io/v1".into(),
            kind: "CustomResourceDefinition".into(),
            name: key.clone(),
        };
        let what = format!(
            "customresourcedefinition/{key} was deleted in the cluster, and with it {count} objects in {namespace}"
        );
        announce(context, namespace, object, what, &protecting).await?;
    }
    store_baseline(context, namespace, data).await
}

async fn store_baseline(
    context: &Context,
    namespace: &str,
    data: BTreeMap<String, String>,
) -> Result<(), Error> {
    let name = baseline_name(namespace);
    let api: Api<ConfigMap> = Api::namespaced(context.client.clone(), &context.config.namespace);
    let map = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": data});
    api.patch(&name, &PatchParams::apply("mayday-drift").force(), &Patch::Apply(map)).await?;
    Ok(())
}

fn baseline_name(namespace: &str) -> String {
    format!("mayday-baseline-{namespace}")
}

/// The differences from the baseline, kind by kind. Pure.
fn differences<'a>(baseline: &Baseline, found: &'a BTreeMap<String, Kind>) -> Vec<Difference<'a>> {
    let mut differences = Vec::new();
    for (key, kind) in found {
        let digests = kind.objects.iter().map(|(name, found)| (name.clone(), found.digest.clone())).collect();
        let since = baseline.0.get(key).and_then(|of_kind| of_kind.time).unwrap_or_default();
        for (name, drift) in baseline.differences(key, &digests) {
            let found = kind.objects.get(&name);
            differences.push(Difference {
                target: ObjectRef {
                    api_version: kind.resource.api_version.clone(),
                    kind: kind.resource.kind.clone(),
                    name,
                },
                plural: &kind.resource.plural,
                drift,
                since,
                last: found.and_then(|found| found.last.clone()),
                object: found.and_then(|found| found.content.as_ref()),
            });
        }
    }
    differences
}

/// Whether a request, a run or a record explains a difference.
fn is_attributed(context: &Context, namespace: &str, difference: &Difference<'_>) -> bool {
    let policies = context.caches.policies.state();
    let mut recorded =
        policies.iter().filter_map(|policy| policy.status.as_ref()).flat_map(|status| &status.unauthorized);
    in_namespace(&context.caches.requests, namespace).iter().any(|request| difference.is_use_of(request))
        || in_namespace(&context.caches.runs, namespace).iter().any(|run| difference.is_step_of(run))
        || recorded.any(|change| change.namespace == namespace && difference.is_recorded(change))
}

/// Announces differences, each on its own unless there are many.
async fn announce_all(
    context: &Context,
    namespace: &str,
    differences: Vec<Difference<'_>>,
    period: &Period,
) -> Result<(), Error> {
    let policies = context.caches.policies.state();
    if differences.len() > ONE_BY_ONE {
        let policies = policy::covering(&policies, namespace, &context.config.namespace);
        let itself =
            ObjectRef { api_version: "v1".into(), kind: "Namespace".into(), name: namespace.to_owned() };
        return announce(context, namespace, itself, period.summary(&differences, namespace), &policies)
            .await;
    }
    for difference in differences {
        let resource = Resource { group: difference.target.group(), plural: difference.plural, namespace };
        let protecting = policy::protecting(&policies, &resource, &context.config.namespace);
        let what = difference.text(namespace, period.words());
        announce(context, namespace, difference.target, what, &protecting).await?;
    }
    Ok(())
}

/// Records one unauthorized change in these policies, with its messages.
async fn announce(
    context: &Context,
    namespace: &str,
    object: ObjectRef,
    what: String,
    policies: &[&ChangePolicy],
) -> Result<(), Error> {
    let now = Timestamp::now();
    let time = stored_time(now);
    let id = baseline::short(&digest::of(&json!({"what": what, "namespace": namespace, "time": time}))?);
    let change = UnauthorizedChange {
        id,
        namespace: namespace.to_owned(),
        object,
        what: cut(&what, 500),
        by: None,
        time,
        kind: UnauthorizedKind::FoundLater,
    };
    unauthorized::announce(context, policies, &change, now).await;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_of_changes_touches_each_namespace_once() {
        let change = |kind, namespace: Option<&str>| {
            Ok(Change { kind, namespace: namespace.map(str::to_owned), name: "checkout".to_owned() })
        };
        let burst = [
            change(caches::Kind::Deployment, Some("shop")),
            change(caches::Kind::StatefulSet, Some("shop")),
            change(caches::Kind::Incident, Some("till")),
            change(caches::Kind::Deployment, Some("till")),
        ];
        let workloads = Touched { namespaces: BTreeSet::from(["shop", "till"]), ..Touched::default() };
        assert_eq!(touched(&burst), workloads);
        let policy = [change(caches::Kind::ChangePolicy, None)];
        assert_eq!(touched(&policy), Touched { policies: true, ..Touched::default() });
        assert!(touched(&[Err(Missed)]).everywhere);
    }
}
