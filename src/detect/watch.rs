//! Looks at the sources that are watched, on the lease holder: at every change, and when a source asks for it. What
//! a look shows is stored in the same way as a posted alert.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use jiff::Timestamp;
use kube::ResourceExt;
use tokio_util::sync::CancellationToken;

use super::observation::Observation;
use super::{record, sources};
use crate::api::incident_status::Signal;
use crate::api::{AlertSource, Incident};
use crate::cluster::caches::{Kind, in_namespace};
use crate::cluster::error::chain;
use crate::cluster::{Context, SharedContext};
use crate::incident::signals;

/// Interval between two looks if nothing changes.
const EVERY: Duration = Duration::from_secs(60);
/// Maximum number of changes that are answered by one look.
const BURST: usize = 1024;
/// How long after a failure to store the next look is.
const RETRY: Duration = Duration::from_secs(2);

/// Runs until `stop`.
pub async fn run(context: SharedContext, stop: CancellationToken) {
    let changes = context.caches.changes().filter_map(|change| async move {
        match change {
            Ok(change) => (change.kind == Kind::AlertSource || change.kind.is_workload()).then_some(()),
            Err(_) => Some(()),
        }
    });
    let changes = changes.ready_chunks(BURST);
    futures::pin_mut!(changes);
    let mut reported = Reported::new();
    loop {
        let pause = look(&context, &mut reported).await;
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(pause) => {}
            _ = changes.next() => {}
        }
    }
}

/// The ids that each source last reported as firing, by namespace and name. The cache may not have them yet.
type Reported = BTreeMap<(String, String), BTreeSet<String>>;

/// Looks at every source once. Returns how long until one must be looked at again.
async fn look(context: &Context, reported: &mut Reported) -> Duration {
    let now = Timestamp::now();
    let mut wake = EVERY;
    let mut last = std::mem::take(reported);
    for source in context.caches.sources.state() {
        let (_, kind) = sources::of(&source.spec);
        let Some(watch) = kind.watch().filter(|_| kind.accept().is_ok()) else { continue };
        let namespace = source.namespace().unwrap_or_default();
        let incidents = in_namespace(&context.caches.incidents, &namespace);
        let firing = firing(&incidents, &source);
        let mut look = watch.look(context, &source, &firing, now).await;
        let key = (namespace, source.name_any());
        let before = last.remove(&key).unwrap_or_default();
        let left_out = left_out(&incidents);
        let has_no_place =
            |seen: &Observation| left_out.contains(signals::key(&source.name_any(), &seen.id).as_str());
        look.observations.retain(|seen| is_news(seen, &firing, &before) || has_no_place(seen));
        if let Some(next) = look.wake {
            wake = wake.min(Duration::try_from(next.duration_since(now)).unwrap_or(RETRY));
        }
        if look.observations.is_empty() {
            continue;
        }
        let fires = look.observations.iter().filter(|seen| seen.end.is_none());
        let mut fires: BTreeSet<String> = fires.map(|seen| seen.id.clone()).collect();
        if let Err(error) = record::record(context, &source, look.observations).await {
            fires.extend(before);
            tracing::warn!(source = %source.name_any(), error = %chain(&error), "what was seen was not stored; trying again");
            wake = wake.min(RETRY);
        }
        reported.insert(key, fires);
    }
    wake
}

/// Whether an observation could change anything: the end of something that did not fire changes nothing. Pure.
fn is_news(seen: &Observation, firing: &[Signal], reported: &BTreeSet<String>) -> bool {
    seen.end.is_none() || reported.contains(&seen.id) || firing.iter().any(|signal| signal.id == seen.id)
}

/// The short hashes of signals that fire without a place in the list of an open incident. Pure.
fn left_out(incidents: &[Arc<Incident>]) -> BTreeSet<&str> {
    let open = incidents.iter().filter(|incident| incident.is_open());
    let status = open.filter_map(|incident| incident.status.as_ref());
    status.flat_map(|status| &status.left_out_signals).map(String::as_str).collect()
}

/// The signals of a source that fire in open incidents. Pure.
fn firing(incidents: &[Arc<Incident>], source: &AlertSource) -> Vec<Signal> {
    let signals = incidents.iter().filter(|incident| incident.is_open()).filter_map(|incident| {
        let signals = &incident.status.as_ref()?.signals;
        Some(signals.iter().filter(|signal| signal.end_time.is_none()))
    });
    signals.flatten().filter(|signal| signal.source_ref.name == source.name_any()).cloned().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::common::Severity;
    use serde_json::json;

    #[test]
    fn the_end_is_news_only_if_it_was_known_to_fire() {
        let at = |second| Timestamp::from_second(second).unwrap();
        let down = Observation {
            id: "du/Available".into(),
            name: "Deployment Available is False".into(),
            summary: None,
            severity: Severity::Sev2,
            start: at(0),
            end: None,
            labels: BTreeMap::new(),
            object: None,
            group: "du".into(),
        };
        let up = Observation { start: at(40), end: Some(at(40)), ..down.clone() };
        let fires = down.signal("workloads", at(30));
        let reported = BTreeSet::from([down.id.clone()]);
        assert!(is_news(&down, &[], &BTreeSet::new()));
        assert!(!is_news(&up, &[], &BTreeSet::new()));
        assert!(is_news(&up, &[fires], &BTreeSet::new()));
        assert!(is_news(&up, &[], &reported), "before the cache has it");
    }

    #[test]
    fn a_signal_without_a_place_is_known_by_its_hash() {
        let known = signals::key("workloads", "du/Available");
        let incident = |state: &str| {
            let whole = json!({"apiVersion": "mayday.dev/v1alpha1", "kind": "Incident", "metadata": {"name": "i"},
                "spec": {"title": "t", "severity": "SEV2"}, "status": {"state": state, "leftOutSignals": [known]}});
            [Arc::new(serde_json::from_value::<Incident>(whole).unwrap())]
        };
        assert!(left_out(&incident("Open")).contains(known.as_str()));
        assert!(left_out(&incident("Closed")).is_empty());
    }
}
