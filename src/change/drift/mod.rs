//! Drift detection (docs/rules.md#drift-detection): at start the protected objects are compared with a stored baseline, and
//! changes that no request, run or record explains are announced.
//!
//! The baseline is one ConfigMap of digests for each namespace. While Mayday runs, the gate decides every change, so the
//! baseline follows the objects: workloads at once, other kinds every two minutes.

mod attribution;
mod baseline;
mod managed_fields;
mod scan;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use futures::StreamExt;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{Api, Patch, PatchParams};
use kube::discovery::ApiResource;
use serde_json::json;
use tokio_util::sync::CancellationToken;

use super::policy::{self, Resource};
use crate::api::ChangePolicy;
use crate::api::change_policy::{UnauthorizedChange, UnauthorizedKind};
use crate::api::common::{ObjectRef, stored_time};
use crate::change::diff::digest;
use crate::change::drift::attribution::Difference;
use crate::change::drift::baseline::Baseline;
use crate::change::drift::scan::Kind;
use crate::change::gate::unauthorized;
use crate::cluster::caches::{self, Change, Missed, in_namespace};
use crate::cluster::{Context, Error, SharedContext};
use crate::text::cut;

/// Interval between scans of every kind.
const INTERVAL: Duration = Duration::from_secs(120);
/// Maximum number of differences in a namespace that are announced one by one; more are announced together.
const ONE_BY_ONE: usize = 5;
/// Maximum number of watched changes handled together.
const BURST: usize = 1024;

/// Baselines by namespace, as this process last read or wrote them.
type Baselines = BTreeMap<String, Baseline>;

/// Compares once, then keeps the baselines up to date until `stop`.
pub async fn run(context: SharedContext, stop: CancellationToken) {
    // Watch first, then compare: a change in between is seen by the watch.
    let changes = context.caches.changes().ready_chunks(BURST);
    futures::pin_mut!(changes);
    let mut baselines = Baselines::new();
    let mut seen = protected(&context);
    // The first comparison that succeeds announces drift. Until then the baseline of the namespace must not change.
    let mut uncompared: BTreeSet<String> = seen.iter().cloned().collect();
    compare(&context, &mut baselines, &mut uncompared).await;
    let mut ticks = tokio::time::interval(INTERVAL);
    ticks.reset();
    loop {
        let changes = tokio::select! {
            () = stop.cancelled() => return,
            _ = ticks.tick() => {
                // Read the baselines again, as they may have been deleted.
                baselines.clear();
                compare(&context, &mut baselines, &mut uncompared).await;
                let compared: Vec<String> =
                    protected(&context).into_iter().filter(|name| !uncompared.contains(name)).collect();
                scan_all(&context, &mut baselines, &compared, false).await;
                continue;
            }
            changes = changes.next() => changes,
        };
        let Some(changes) = changes else { return };
        let touched = touched(&changes);
        if touched.policies {
            // Namespaces of a new policy get a baseline at once.
            let now = protected(&context);
            let new: Vec<String> = now.iter().filter(|name| !seen.contains(name)).cloned().collect();
            scan_all(&context, &mut baselines, &new, false).await;
            seen = now;
        }
        // Most changes touch no workload.
        if !touched.everywhere && touched.namespaces.is_empty() {
            continue;
        }
        for namespace in protected(&context) {
            let is_touched = touched.everywhere || touched.namespaces.contains(namespace.as_str());
            if is_touched && !uncompared.contains(&namespace) {
                let result =
                    update(&context, &mut baselines, &namespace, &scan::workload_kinds(), false).await;
                log(&namespace, &result);
            }
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

/// Compares the namespaces that were not compared yet since the start, and announces drift.
async fn compare(context: &Context, baselines: &mut Baselines, uncompared: &mut BTreeSet<String>) {
    let namespaces: Vec<String> = uncompared.iter().cloned().collect();
    for done in scan_all(context, baselines, &namespaces, true).await {
        uncompared.remove(&done);
    }
}

/// Updates the baselines of these namespaces for every kind. Returns the namespaces for which that succeeded.
async fn scan_all(
    context: &Context,
    baselines: &mut Baselines,
    namespaces: &[String],
    announce: bool,
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

/// Compares these kinds in a namespace with the baseline, announces drift if `announce` is set, and stores the new
/// baseline.
async fn update(
    context: &Context,
    baselines: &mut Baselines,
    namespace: &str,
    kinds: &[ApiResource],
    announce: bool,
) -> Result<(), Error> {
    let found = scan::find(context, namespace, kinds, announce).await?;
    let name = format!("mayday-baseline-{namespace}");
    let api: Api<ConfigMap> = Api::namespaced(context.client.clone(), &context.config.namespace);
    // Taken out, so that it is read again after an error.
    let mut baseline = match baselines.remove(namespace) {
        Some(baseline) => baseline,
        None => {
            let map = api.get_opt(&name).await?;
            map.map(|map| Baseline::read(&map.data.unwrap_or_default())).unwrap_or_default()
        }
    };
    if announce {
        let differences = differences(&baseline, &found);
        let drift =
            differences.into_iter().filter(|difference| !is_attributed(context, namespace, difference));
        announce_all(context, namespace, drift.collect()).await?;
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
    let map = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": data});
    api.patch(&name, &PatchParams::apply("mayday-drift").force(), &Patch::Apply(map)).await?;
    baselines.insert(namespace.to_owned(), baseline);
    Ok(())
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
) -> Result<(), Error> {
    let policies = context.caches.policies.state();
    if differences.len() > ONE_BY_ONE {
        let policies = policy::covering(&policies, namespace, &context.config.namespace);
        let itself =
            ObjectRef { api_version: "v1".into(), kind: "Namespace".into(), name: namespace.to_owned() };
        return announce(context, namespace, itself, summary(&differences, namespace), &policies).await;
    }
    for difference in differences {
        let resource = Resource { group: difference.target.group(), plural: difference.plural, namespace };
        let protecting = policy::protecting(&policies, &resource, &context.config.namespace);
        let what = difference.text(namespace);
        announce(context, namespace, difference.target, what, &protecting).await?;
    }
    Ok(())
}

/// Many differences in one text.
fn summary(differences: &[Difference<'_>], namespace: &str) -> String {
    let first: Vec<String> =
        differences.iter().take(ONE_BY_ONE).map(|difference| difference.target.display()).collect();
    format!(
        "{} objects were changed in {namespace} while Mayday did not run: {} and {} more",
        differences.len(),
        first.join(", "),
        differences.len() - first.len()
    )
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
