//! Looks at the sources that are watched, on the lease holder: at every change, and when a source asks for it. What
//! a look shows is stored in the same way as a posted alert. The alerts of all sources whose end was contradicted, and
//! not confirmed since, count as firing in the end; this is seen here, too.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use jiff::Timestamp;
use kube::ResourceExt;
use tokio_util::sync::CancellationToken;

use super::observation::Observation;
use super::record::Recorder;
use super::sources;
use crate::api::incident_status::Signal;
use crate::api::{AlertSource, Incident};
use crate::cluster::SharedContext;
use crate::cluster::caches::{Change, Kind, get, in_namespace};
use crate::cluster::error::chain;
use crate::incident::episodes::contradicted_until;
use crate::incident::signals;

/// Interval between two looks if nothing changes.
const EVERY: Duration = Duration::from_secs(60);
/// Maximum number of changes that are answered by one look.
const BURST: usize = 1024;
/// How long after a failure to store the next look is.
const RETRY: Duration = Duration::from_secs(2);

/// Runs until `stop`.
pub async fn run(context: SharedContext, stop: CancellationToken) {
    let caches = &context.caches;
    let changes = caches.changes().filter_map(|change| async move {
        let Ok(change) = change else { return Some(()) };
        // What still fires when an incident is over is an outage, see docs/rules.md#end-is-said-once.
        let is_over = |change: &Change| {
            let namespace = change.namespace.as_deref().unwrap_or_default();
            get(&caches.incidents, namespace, &change.name).is_none_or(|incident| !incident.is_open())
        };
        let is_due = match change.kind {
            Kind::AlertSource => true,
            Kind::Incident => is_over(&change),
            kind => kind.is_workload(),
        };
        is_due.then_some(())
    });
    let changes = changes.ready_chunks(BURST);
    futures::pin_mut!(changes);
    let recorder = Recorder::default();
    let mut reported = Reported::new();
    loop {
        let pause = look(&context, &recorder, &mut reported).await;
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
async fn look(context: &SharedContext, recorder: &Recorder, reported: &mut Reported) -> Duration {
    let now = Timestamp::now();
    let mut wake = EVERY;
    let mut wake_at =
        |at: Timestamp| wake = wake.min(Duration::try_from(at.duration_since(now)).unwrap_or(RETRY));
    let mut last = std::mem::take(reported);
    for source in context.caches.sources.state() {
        let namespace = source.namespace().unwrap_or_default();
        let incidents = in_namespace(&context.caches.incidents, &namespace);
        let (mut seen, due) = contradicted(&incidents, &source, now);
        due.into_iter().for_each(&mut wake_at);
        let key = (namespace, source.name_any());
        let before = last.remove(&key).unwrap_or_default();
        let (_, kind) = sources::of(&source.spec);
        if let Some(watch) = kind.watch().filter(|_| kind.accept().is_ok()) {
            let firing = firing(&incidents, &source);
            let mut look = watch.look(context, &source, &firing, now).await;
            let left_out = left_out(&incidents);
            let has_no_place =
                |seen: &Observation| left_out.contains(signals::key(&source.name_any(), &seen.id).as_str());
            look.observations.retain(|seen| is_news(seen, &firing, &before) || has_no_place(seen));
            look.wake.into_iter().for_each(&mut wake_at);
            seen.extend(look.observations);
        }
        if seen.is_empty() {
            continue;
        }
        let fires = seen.iter().filter(|seen| seen.end.is_none());
        let mut fires: BTreeSet<String> = fires.map(|seen| seen.id.clone()).collect();
        if let Err(error) = recorder.record(context, &source, seen).await {
            fires.extend(before);
            tracing::warn!(source = %source.name_any(), error = %chain(&*error), "what was seen was not stored; trying again");
            wake_at(now.saturating_add(RETRY).unwrap_or(now));
        }
        reported.insert(key, fires);
    }
    wake
}

/// The signals of a source whose end was contradicted for so long that they count as firing, and when the next one does
/// (docs/decisions/0049-what-an-alert-says-now.md). Pure.
fn contradicted(
    incidents: &[Arc<Incident>],
    source: &AlertSource,
    now: Timestamp,
) -> (Vec<Observation>, Option<Timestamp>) {
    let name = source.name_any();
    let all =
        || incidents.iter().flat_map(|incident| incident.status.iter().flat_map(|status| &status.signals));
    let of_source = || all().filter(|signal| signal.source_ref.name == name);
    let mut due = None;
    let mut seen = Vec::new();
    for signal in of_source() {
        let Some(until) = contradicted_until(signal) else { continue };
        let Some(since) = signal.contradicted_time.as_ref().map(|time| time.0) else { continue };
        // Another incident may have heard of it since.
        if of_source().any(|other| other.id == signal.id && other.last_seen_time.0 > since) {
            continue;
        }
        if now < until {
            due = [due, Some(until)].into_iter().flatten().min();
            continue;
        }
        seen.push(Observation {
            id: signal.id.clone(),
            name: signal.name.clone(),
            summary: signal.summary.clone(),
            severity: signal.severity,
            start: since,
            end: None,
            labels: signal.labels.clone(),
            object: signal.object.clone(),
            group: signal.group.clone(),
        });
    }
    (seen, due)
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
        let fires = down.signal("workloads", &BTreeSet::new(), at(30));
        let reported = BTreeSet::from([down.id.clone()]);
        assert!(is_news(&down, &[], &BTreeSet::new()));
        assert!(!is_news(&up, &[], &BTreeSet::new()));
        assert!(is_news(&up, &[fires], &BTreeSet::new()));
        assert!(is_news(&up, &[], &reported), "before the cache has it");
    }

    /// The kind: the last thing that a source said is dropped. Nothing else may come for hours.
    #[test]
    fn a_contradicted_end_that_is_not_confirmed_counts_as_firing() {
        let at = |second| Timestamp::from_second(second).unwrap();
        let spec = json!({"alertmanager": {}, "severity": {"fixed": "SEV2"}});
        let source = AlertSource::new("am", serde_json::from_value(spec).unwrap());
        let incident = |end: Option<i64>, seen: i64, contradicted: Option<i64>| {
            let signal = json!({"sourceRef": {"name": "am"}, "id": "f", "name": "Down", "severity": "SEV2", "group": "g",
                "labels": {"deployment": "checkout"}, "startTime": at(10).to_string(), "endTime": end.map(|end| at(end).to_string()),
                "lastSeenTime": at(seen).to_string(), "contradictedTime": contradicted.map(|time| at(time).to_string())});
            let whole = json!({"apiVersion": "mayday.dev/v1alpha1", "kind": "Incident", "metadata": {"name": "i"},
                "spec": {"title": "t", "severity": "SEV2"}, "status": {"state": "Closed", "signals": [signal]}});
            Arc::new(serde_json::from_value::<Incident>(whole).unwrap())
        };
        let doubted = incident(Some(100), 100, Some(110));
        assert_eq!(contradicted(&[Arc::clone(&doubted)], &source, at(469)), (vec![], Some(at(470))));
        let (seen, due) = contradicted(&[Arc::clone(&doubted)], &source, at(470));
        assert_eq!((seen.len(), seen[0].start, seen[0].end, due), (1, at(110), None, None));
        assert_eq!(seen[0].labels["deployment"], "checkout");
        let fires_elsewhere = incident(None, 200, None);
        assert_eq!(contradicted(&[doubted, fires_elsewhere], &source, at(470)), (vec![], None));
        assert_eq!(contradicted(&[incident(Some(100), 100, None)], &source, at(470)), (vec![], None));
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
