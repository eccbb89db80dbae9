//! Notices what was changed while nobody watched: at start everything protected is compared with what was known of
//! it, and a change by nobody known is announced.
//!
//! What is known is kept as digests in a ConfigMap for each namespace, and follows the changes while Mayday lives,
//! because then the gate has judged them: those of workloads at once, all others every few minutes.

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
use crate::change::drift::baseline::Known;
use crate::change::drift::scan::Kind;
use crate::change::gate::unauthorized;
use crate::cluster::caches::{Change, Missed, in_namespace};
use crate::cluster::{Context, Error, SharedContext, workloads};
use crate::text::cut;

/// So often what is known is brought up to date.
const EVERY: Duration = Duration::from_secs(120);
/// So many objects of a namespace are told one by one; more are told together.
const ONE_BY_ONE: usize = 5;
/// So many changes at most are looked at together.
const BURST: usize = 1024;

/// What is known, by namespace, as this process last read or wrote it.
type Memory = BTreeMap<String, Known>;

/// Compares once, then keeps what is known until `stop`.
pub async fn run(context: SharedContext, stop: CancellationToken) {
    // Listen first, then look: what changes in between is looked at again.
    let changes = context.stores.changes().ready_chunks(BURST);
    futures::pin_mut!(changes);
    let mut memory = Memory::new();
    let mut seen = protected(&context);
    // What was changed while nobody watched is announced by the first look that succeeds: until then nothing is learnt.
    let mut uncompared: BTreeSet<String> = seen.iter().cloned().collect();
    compare(&context, &mut memory, &mut uncompared).await;
    let mut ticks = tokio::time::interval(EVERY);
    ticks.reset();
    loop {
        let changes = tokio::select! {
            () = stop.cancelled() => return,
            _ = ticks.tick() => {
                // Read again what is known: somebody may have deleted it.
                memory.clear();
                compare(&context, &mut memory, &mut uncompared).await;
                let known: Vec<String> =
                    protected(&context).into_iter().filter(|name| !uncompared.contains(name)).collect();
                everywhere(&context, &mut memory, &known, false).await;
                continue;
            }
            changes = changes.next() => changes,
        };
        let Some(changes) = changes else { return };
        let touched = touched(&changes);
        if touched.policies {
            // What a new policy protects is known from its beginning.
            let now = protected(&context);
            let new: Vec<String> = now.iter().filter(|name| !seen.contains(name)).cloned().collect();
            everywhere(&context, &mut memory, &new, false).await;
            seen = now;
        }
        // Most changes touch no workload.
        if !touched.everywhere && touched.namespaces.is_empty() {
            continue;
        }
        for namespace in protected(&context) {
            let is_touched = touched.everywhere || touched.namespaces.contains(namespace.as_str());
            if is_touched && !uncompared.contains(&namespace) {
                let looked = look(&context, &mut memory, &namespace, &scan::of_workloads(), false).await;
                log(&namespace, &looked);
            }
        }
    }
}

/// Where something was changed that is followed at once.
#[derive(Debug, Default, Eq, PartialEq)]
struct Touched<'a> {
    /// Namespaces whose workloads were changed.
    namespaces: BTreeSet<&'a str>,
    /// Some changes were missed.
    everywhere: bool,
    /// What is protected may be something else now.
    policies: bool,
}

/// What a burst of changes touches. Pure.
fn touched(changes: &[Result<Change, Missed>]) -> Touched<'_> {
    let mut touched = Touched::default();
    for change in changes {
        match change {
            Ok(Change { kind, namespace, .. }) if workloads::KINDS.contains(kind) => {
                touched.namespaces.extend(namespace.as_deref());
            }
            Ok(Change { kind: "ChangePolicy" | "Namespace", .. }) => touched.policies = true,
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
    policy::protected_namespaces(&context.stores.policies.state(), &context.config.namespace)
}

/// Compares what was not compared yet since this process began to watch, and announces what differs.
async fn compare(context: &Context, memory: &mut Memory, uncompared: &mut BTreeSet<String>) {
    let namespaces: Vec<String> = uncompared.iter().cloned().collect();
    for done in everywhere(context, memory, &namespaces, true).await {
        uncompared.remove(&done);
    }
}

/// Looks at every kind in these namespaces; those of which it is known now what is there.
async fn everywhere(
    context: &Context,
    memory: &mut Memory,
    namespaces: &[String],
    announce: bool,
) -> Vec<String> {
    if namespaces.is_empty() {
        return Vec::new();
    }
    let kinds = match scan::kinds(&context.client).await {
        Ok(kinds) => kinds,
        Err(error) => {
            tracing::warn!(%error, "the kinds of the cluster are not known, so nothing was compared");
            return Vec::new();
        }
    };
    let mut done = Vec::new();
    for namespace in namespaces {
        let looked = look(context, memory, namespace, &kinds, announce).await;
        log(namespace, &looked);
        if looked.is_ok() {
            done.push(namespace.clone());
        }
    }
    done
}

fn log(namespace: &str, result: &Result<(), Error>) {
    if let Err(error) = result {
        tracing::warn!(namespace, %error, "what is known of protected objects was not compared");
    }
}

/// Compares these kinds in a namespace with what is known, announces differences if asked to, and keeps what is
/// there now.
async fn look(
    context: &Context,
    memory: &mut Memory,
    namespace: &str,
    kinds: &[ApiResource],
    announce: bool,
) -> Result<(), Error> {
    let found = scan::find(context, namespace, kinds, announce).await?;
    let name = format!("mayday-known-{namespace}");
    let api: Api<ConfigMap> = Api::namespaced(context.client.clone(), &context.config.namespace);
    // Taken out: after an error it is read again.
    let mut known = match memory.remove(namespace) {
        Some(known) => known,
        None => {
            let map = api.get_opt(&name).await?;
            map.map(|map| Known::read(&map.data.unwrap_or_default())).unwrap_or_default()
        }
    };
    if announce {
        let differences = differences(&known, &found);
        let unexplained =
            differences.into_iter().filter(|difference| !is_explained(context, namespace, difference));
        tell(context, namespace, unexplained.collect()).await?;
    }
    let digests = found.into_iter().map(|(key, kind)| {
        let objects = kind.objects.into_iter().map(|(name, found)| (name, found.digest)).collect();
        (key, objects)
    });
    // Uses are stored to the second, and one of this second must not look older than what is known.
    if !known.learn(digests.collect(), stored_time(Timestamp::now()).0) {
        memory.insert(namespace.to_owned(), known);
        return Ok(());
    }
    let (data, left_out) = known.written();
    if !left_out.is_empty() {
        tracing::warn!(
            namespace,
            kinds = left_out.join(", "),
            "too many objects to be known: they are not compared"
        );
    }
    let map = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": data});
    api.patch(&name, &PatchParams::apply("mayday-sentinel").force(), &Patch::Apply(map)).await?;
    memory.insert(namespace.to_owned(), known);
    Ok(())
}

/// What differs from what is known, kind by kind. Pure.
fn differences<'a>(known: &Known, found: &'a BTreeMap<String, Kind>) -> Vec<Difference<'a>> {
    let mut differences = Vec::new();
    for (key, kind) in found {
        let digests = kind.objects.iter().map(|(name, found)| (name.clone(), found.digest.clone())).collect();
        let since = known.0.get(key).and_then(|of_kind| of_kind.time).unwrap_or_default();
        for (name, how) in known.differences(key, &digests) {
            let found = kind.objects.get(&name);
            differences.push(Difference {
                target: ObjectRef {
                    api_version: kind.resource.api_version.clone(),
                    kind: kind.resource.kind.clone(),
                    name,
                },
                plural: &kind.resource.plural,
                how,
                since,
                last: found.and_then(|found| found.last.clone()),
                object: found.and_then(|found| found.content.as_ref()),
            });
        }
    }
    differences
}

fn is_explained(context: &Context, namespace: &str, difference: &Difference<'_>) -> bool {
    let policies = context.stores.policies.state();
    let mut recorded =
        policies.iter().filter_map(|policy| policy.status.as_ref()).flat_map(|status| &status.unauthorized);
    in_namespace(&context.stores.requests, namespace).iter().any(|request| difference.is_use(request))
        || in_namespace(&context.stores.runs, namespace).iter().any(|run| difference.is_act_of(run))
        || recorded.any(|change| change.namespace == namespace && difference.is_recorded(change))
}

/// Announces differences, each on its own unless there are many.
async fn tell(context: &Context, namespace: &str, differences: Vec<Difference<'_>>) -> Result<(), Error> {
    let policies = context.stores.policies.state();
    if differences.len() > ONE_BY_ONE {
        let over = policy::over(&policies, namespace, &context.config.namespace);
        let itself =
            ObjectRef { api_version: "v1".into(), kind: "Namespace".into(), name: namespace.to_owned() };
        return announce(context, namespace, itself, together(&differences, namespace), &over).await;
    }
    for difference in differences {
        let resource = Resource { group: difference.target.group(), plural: difference.plural, namespace };
        let over = policy::protecting(&policies, &resource, &context.config.namespace);
        let what = difference.text(namespace);
        announce(context, namespace, difference.target, what, &over).await?;
    }
    Ok(())
}

/// Many differences in one text.
fn together(differences: &[Difference<'_>], namespace: &str) -> String {
    let first: Vec<String> =
        differences.iter().take(ONE_BY_ONE).map(|difference| difference.target.display()).collect();
    format!(
        "{} objects were changed in {namespace} while Mayday did not run: {} and {} more",
        differences.len(),
        first.join(", "),
        differences.len() - first.len()
    )
}

async fn announce(
    context: &Context,
    namespace: &str,
    object: ObjectRef,
    what: String,
    over: &[&ChangePolicy],
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
    unauthorized::announce(context, over, &change, now).await;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_is_one_look_at_each_namespace() {
        let change = |kind, namespace: Option<&str>| {
            Ok(Change { kind, namespace: namespace.map(str::to_owned), name: "checkout".to_owned() })
        };
        let burst = [
            change("Deployment", Some("shop")),
            change("StatefulSet", Some("shop")),
            change("Incident", Some("till")),
            change("Deployment", Some("till")),
        ];
        let workloads = Touched { namespaces: BTreeSet::from(["shop", "till"]), ..Touched::default() };
        assert_eq!(touched(&burst), workloads);
        let policy = [change("ChangePolicy", None)];
        assert_eq!(touched(&policy), Touched { policies: true, ..Touched::default() });
        assert!(touched(&[Err(Missed)]).everywhere);
    }
}
