//! Removes the objects that must go before the release is uninstalled. First the webhooks, which would refuse
//! requests once no operator answers, and the binding that holds the kinds; then the finalizers of runs, which would
//! block the deletion of their namespaces. An operator that still runs is told first to leave it so.

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::admissionregistration::v1::{
    MutatingWebhookConfiguration, ValidatingAdmissionPolicyBinding, ValidatingWebhookConfiguration,
};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams};
use kube::{Client, Resource, ResourceExt};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::admission::configuration::emergency;
use crate::api::RunbookRun;
use crate::api::runbook_run::RUN_FINALIZER;
use crate::cluster::Error;

/// The chart's mutating webhook configuration.
const MUTATING: &str = "mayday-guard-stamp";
/// The chart's validating webhook configurations. The gate comes first because it blocks the most.
const VALIDATING: [&str; 2] = ["mayday-change-gate", "mayday-guard"];
/// The binding that keeps the CustomResourceDefinitions from being deleted.
const BINDING: &str = "mayday-definitions";
/// How long an operator that still runs restores nothing. It ends with the release, long before.
const LEFT: SignedDuration = SignedDuration::from_mins(10);
/// Maximum number of attempts to release a run. Attempts can fail because the operator may write the run at
/// the same time.
const ATTEMPTS: usize = 10;

/// Removes the webhooks, cancels the runs and releases them. Objects that are already gone are skipped, so
/// this may run again. Returns one line per action.
///
/// # Errors
/// When the API server refuses or does not answer. Actions before that stay in effect.
pub async fn run(client: &Client, namespace: &str) -> Result<Vec<String>, Error> {
    switch_off(client, namespace).await?;
    let mut done = Vec::new();
    for name in VALIDATING {
        done.extend(remove::<ValidatingWebhookConfiguration>(client, name).await?);
    }
    done.extend(remove::<MutatingWebhookConfiguration>(client, MUTATING).await?);
    done.extend(remove::<ValidatingAdmissionPolicyBinding>(client, BINDING).await?);
    for run in Api::<RunbookRun>::all(client.clone()).list(&ListParams::default()).await? {
        done.extend(let_go(client, run).await?);
    }
    Ok(done)
}

/// Tells an operator that still runs to restore nothing for a while.
async fn switch_off(client: &Client, namespace: &str) -> Result<(), Error> {
    let now = Timestamp::now();
    let until = now.checked_add(LEFT).unwrap_or(now).to_string();
    let map = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": emergency::CONFIG_MAP},
        "data": {emergency::KEY: until}});
    let api: Api<ConfigMap> = Api::namespaced(client.clone(), namespace);
    api.patch(emergency::CONFIG_MAP, &PatchParams::apply("mayday-uninstall").force(), &Patch::Apply(map))
        .await?;
    Ok(())
}

async fn remove<K>(client: &Client, name: &str) -> Result<Option<String>, Error>
where
    K: Resource<DynamicType = (), Scope = kube::core::ClusterResourceScope>
        + Clone
        + DeserializeOwned
        + std::fmt::Debug,
{
    match Api::<K>::all(client.clone()).delete(name, &DeleteParams::default()).await {
        Ok(_) => Ok(Some(format!("removed {}/{name}", K::kind(&()).to_lowercase()))),
        Err(kube::Error::Api(status)) if status.is_not_found() => Ok(None),
        Err(error) => Err(error.into()),
    }
}

async fn let_go(client: &Client, mut run: RunbookRun) -> Result<Option<String>, Error> {
    let (namespace, name) = (run.namespace().unwrap_or_default(), run.name_any());
    let runs: Api<RunbookRun> = Api::namespaced(client.clone(), &namespace);
    for _ in 0..ATTEMPTS {
        let Some(patch) = release(&run) else { return Ok(None) };
        match runs.patch(&name, &PatchParams::default(), &Patch::Merge(patch)).await {
            Ok(_) => return Ok(Some(format!("cancelled run {name} in {namespace} and let it go"))),
            Err(kube::Error::Api(status)) if status.is_not_found() => return Ok(None),
            Err(kube::Error::Api(status)) if status.is_conflict() => match runs.get_opt(&name).await? {
                Some(current) => run = current,
                None => return Ok(None),
            },
            Err(error) => return Err(error.into()),
        }
    }
    Err(Error::Conflict(format!("run {name} in {namespace}")))
}

/// The patch that cancels an unsettled run and removes its finalizer in one write. `None` if the run has no
/// finalizer.
fn release(run: &RunbookRun) -> Option<Value> {
    if !run.finalizers().iter().any(|finalizer| finalizer == RUN_FINALIZER) {
        return None;
    }
    let others: Vec<_> = run.finalizers().iter().filter(|finalizer| *finalizer != RUN_FINALIZER).collect();
    Some(json!({
        "metadata": {"resourceVersion": run.resource_version(), "finalizers": others},
        "spec": {"cancel": run.spec.cancel || !run.is_settled()},
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::runbook_run::{RunState, RunbookRunSpec, RunbookRunStatus};

    fn held(state: RunState) -> RunbookRun {
        let mut run = RunbookRun::new("r", RunbookRunSpec::default());
        run.metadata.resource_version = Some("7".to_owned());
        run.metadata.finalizers = Some(vec!["example.com/other".to_owned(), RUN_FINALIZER.to_owned()]);
        run.status = Some(RunbookRunStatus { state: Some(state), ..Default::default() });
        run
    }

    #[test]
    fn a_run_that_acts_is_cancelled_and_let_go_as_it_was_read() {
        let patch = release(&held(RunState::Running)).unwrap();
        assert_eq!(
            patch,
            json!({
                "metadata": {"resourceVersion": "7", "finalizers": ["example.com/other"]},
                "spec": {"cancel": true},
            })
        );
    }

    #[test]
    fn a_settled_run_is_only_let_go() {
        assert_eq!(release(&held(RunState::Succeeded)).unwrap()["spec"]["cancel"], json!(false));
    }

    #[test]
    fn a_run_that_is_not_held_is_left_alone() {
        let mut run = held(RunState::Running);
        run.metadata.finalizers = None;
        assert_eq!(release(&run), None);
    }
}
