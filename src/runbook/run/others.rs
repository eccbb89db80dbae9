//! The other runs: those that may be in the way of a run, and those that a run may have been in the way of.

use std::sync::Arc;

use kube::ResourceExt;
use kube::api::Api;
use kube::runtime::reflector::{ObjectRef as Reference, Store};

use crate::api::RunbookRun;
use crate::api::conditions::{ConditionType, Reason, find};
use crate::api::runbook_run::RunState;
use crate::cluster::caches::{Change, list_in_other_states, version};
use crate::cluster::{Context, Error};

/// Why a run waits for others.
const WAITS: [Reason; 4] = [
    Reason::EarlierAtWork,
    Reason::TargetBusy,
    Reason::ConcurrencyReached,
    Reason::ClusterConcurrencyReached,
];

/// The runs that this process has begun and its cache may not show yet.
#[derive(Debug, Default)]
pub struct Begun(Vec<Arc<RunbookRun>>);

impl Begun {
    /// A run has begun, and this is how it is stored.
    pub fn add(&mut self, run: &RunbookRun) {
        self.0.push(Arc::new(run.clone()));
    }

    /// The runs that are not settled, as far as this process knows.
    pub fn others(&mut self, cache: &Store<RunbookRun>) -> Vec<Arc<RunbookRun>> {
        let is_news = |run: &Arc<RunbookRun>| {
            let known = cache.get(&Reference::from_obj(&**run));
            known.is_some_and(|known| known.uid() == run.uid() && version(&*known) < version(&**run))
        };
        self.0.retain(is_news);
        let mut found = cache.state_filter(|run| !run.is_settled());
        found.retain(|run| self.0.iter().all(|begun| begun.uid() != run.uid()));
        found.extend(self.0.iter().cloned());
        found
    }
}

/// The runs that are not settled, in every namespace, as they are stored now.
///
/// # Errors
/// When the API server does not answer.
pub async fn live(context: &Context) -> Result<Vec<Arc<RunbookRun>>, Error> {
    list_in_other_states(Api::all(context.client.clone()), &context.caches.runs, RunState::SETTLED).await
}

/// Whether a run is blocked for one of these reasons.
pub fn waits_for(run: &RunbookRun, reasons: &[Reason]) -> bool {
    let Some(status) = run.status.as_ref().filter(|_| run.state() == RunState::Blocked) else { return false };
    let blocked = find(&status.conditions, ConditionType::Blocked);
    blocked.is_some_and(|blocked| reasons.iter().any(|reason| blocked.reason == reason.as_str()))
}

/// The runs that wait for others, after a change of one: it may have let something go. A run that works only holds on.
pub fn waiting(change: &Change, cache: &Store<RunbookRun>) -> Vec<Reference<RunbookRun>> {
    let named = Reference::new(&change.name).within(change.namespace.as_deref().unwrap_or_default());
    let holds_on = |run: &RunbookRun| !run.is_settled() && run.state() != RunState::Blocked;
    if cache.get(&named).is_some_and(|run| holds_on(&run)) {
        return Vec::new();
    }
    let found = cache.state_filter(|run| waits_for(run, &WAITS) && Reference::from_obj(run) != named);
    found.iter().map(|run| Reference::from_obj(&**run)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use kube::runtime::reflector::store::Writer;
    use kube::runtime::watcher::Event;
    use serde_json::{Value, json};

    use crate::cluster::caches::Kind;

    fn run(namespace: &str, name: &str, version: &str, status: Value) -> RunbookRun {
        serde_json::from_value(json!({"apiVersion": "mayday.dev/v1alpha1", "kind": "RunbookRun",
            "metadata": {"name": name, "namespace": namespace, "uid": name, "resourceVersion": version},
            "spec": {"runbookRef": {"name": "rb"}}, "status": status}))
        .unwrap()
    }

    fn busy() -> Value {
        json!({"state": "Blocked", "conditions": [{"type": "Blocked", "status": "True", "reason": "TargetBusy",
            "message": "", "lastTransitionTime": "2026-01-01T00:00:00Z"}]})
    }

    fn cache(runs: impl IntoIterator<Item = RunbookRun>) -> Writer<RunbookRun> {
        let mut writer = Writer::default();
        runs.into_iter().for_each(|run| writer.apply_watcher_event(&Event::Apply(run)));
        writer
    }

    #[test]
    fn a_run_that_this_process_began_counts_before_its_cache_shows_it() {
        let mut writer =
            cache([run("shop", "a", "1", json!({})), run("shop", "done", "2", json!({"state": "Failed"}))]);
        let mut begun = Begun::default();
        begun.add(&run("shop", "a", "9", json!({"state": "Running", "startTime": "2026-01-01T00:00:00Z"})));
        let starts = |begun: &mut Begun, writer: &Writer<RunbookRun>| -> Vec<bool> {
            let found = begun.others(&writer.as_reader());
            found.iter().map(|run| run.status.as_ref().unwrap().start_time.is_some()).collect()
        };
        assert_eq!(starts(&mut begun, &writer), [true]);
        writer.apply_watcher_event(&Event::Apply(run("shop", "a", "10", json!({"state": "Blocked"}))));
        assert_eq!(starts(&mut begun, &writer), [false], "the cache knows more");
        writer.apply_watcher_event(&Event::Delete(run("shop", "a", "10", json!({}))));
        assert_eq!(starts(&mut begun, &writer), Vec::<bool>::new());
    }

    #[test]
    fn a_run_that_lets_go_wakes_those_that_wait_in_any_namespace() {
        let wakes = |status: Value| {
            let writer = cache([
                run("shop", "changed", "1", status),
                run("depot", "waits", "2", busy()),
                run("shop", "works", "3", json!({"state": "Running"})),
            ]);
            let change =
                Change { kind: Kind::RunbookRun, namespace: Some("shop".into()), name: "changed".into() };
            waiting(&change, &writer.as_reader()).len()
        };
        assert_eq!(wakes(json!({"state": "Succeeded"})), 1);
        assert_eq!(wakes(json!({"state": "Blocked"})), 1, "it may have let go before it acted");
        assert_eq!(wakes(json!({"state": "Running"})), 0, "it only takes");
    }
}
