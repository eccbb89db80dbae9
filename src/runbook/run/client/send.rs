//! Sends an announced act, as it is stored.

use jiff::SignedDuration;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, DeleteParams, DynamicObject, Patch, PatchParams, PostParams, Preconditions};
use kube::core::Status;
use kube::discovery::Scope;
use serde_json::{Value, json};

use super::{RunClient, is_final, unknown_kind};
use crate::api::common::ObjectRef;
use crate::api::runbook_run::{Act, ActVerb, PodToRemove};
use crate::change::diff;
use crate::cluster::{Error, busy, error};
use crate::runbook::run::state_machine::Sent;
use crate::runbook::steps::denied;
use crate::runbook::steps::patching;
use crate::runbook::steps::patching::FIELD_MANAGER;
use crate::runbook::targets;

impl RunClient {
    /// Sends an announced act. Its preconditions make the API server refuse it if the object has changed since it
    /// was read.
    ///
    /// # Errors
    /// When the outcome is not known: read the target before sending again.
    pub async fn send(&self, act: &Act, dry_run: bool) -> Result<Sent, Error> {
        let target = &act.target;
        match act.verb {
            ActVerb::Update | ActVerb::Create => {}
            ActVerb::Evict | ActVerb::Delete => return self.remove(act, dry_run).await,
            ActVerb::Send => return Ok(Sent::Refused("a request is not for the API server".to_owned())),
        }
        let Some((resource, scope)) = self.resource(target).await? else {
            return Ok(Sent::Refused(unknown_kind(target)));
        };
        // Whatever has announced it.
        if let Some(why) = denied::why(target).or_else(|| may_not_change(target, &scope)) {
            return Ok(Sent::Refused(why));
        }
        let api = self.api_of(&resource, &scope);
        // What a dry run would change is seen against the object as it is: its version is a precondition of the act.
        let before = match act.verb {
            ActVerb::Update if dry_run => self.read(target).await?.unwrap_or_default().unwrap_or_default(),
            _ => Value::Null,
        };
        let field_manager = Some(FIELD_MANAGER.to_owned());
        let (verb, answer) = match act.verb {
            ActVerb::Create => {
                let object: DynamicObject = serde_json::from_value(act.body.clone().unwrap_or_default())?;
                let params = PostParams { dry_run, field_manager };
                ("create", api.create(&params, &object).await)
            }
            _ => {
                let operations = Value::Array(patching::request(act));
                let patch = Patch::<Value>::Json(serde_json::from_value(operations)?);
                let params = PatchParams { dry_run, field_manager, ..PatchParams::default() };
                ("patch", api.patch(&target.name, &params, &patch).await)
            }
        };
        match answer {
            Ok(after) if dry_run => {
                let after = serde_json::to_value(after)?;
                Ok(Sent::Tried(match act.verb {
                    ActVerb::Create => diff::of_new(target.group(), &after),
                    _ if before.is_null() => Vec::new(),
                    _ => diff::diff(&before, &after),
                }))
            }
            Ok(_) => Ok(Sent::Applied(Vec::new())),
            Err(kube::Error::Api(status)) if status.is_conflict() => Ok(Sent::Conflict),
            // An API server that has too much to do says so before it looks at a request.
            Err(error) if error::code(&error) == Some(429) => {
                let asked = busy::retry_after(&error).and_then(|asked| SignedDuration::try_from(asked).ok());
                Ok(Sent::TurnedAway(format!("the API server is busy: {error}"), asked))
            }
            // A Job that might have been created would never be created again.
            Err(kube::Error::Api(status)) if act.verb == ActVerb::Create && is_turned_away(&status) => {
                Ok(Sent::Conflict)
            }
            Err(kube::Error::Api(status)) if is_final(&status) => {
                // A JSON Patch that no longer fits is refused before the version is compared.
                if act.verb == ActVerb::Update && status.code == 422 && self.has_changed(act).await? {
                    return Ok(Sent::Conflict);
                }
                Ok(Sent::Refused(self.refused(verb, target, &status)))
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Whether the object of an act is of another version than the act was planned over.
    async fn has_changed(&self, act: &Act) -> Result<bool, Error> {
        let found = self.read(&act.target).await?.unwrap_or_default().unwrap_or_default();
        let version = found.pointer("/metadata/resourceVersion").and_then(Value::as_str);
        Ok(version != Some(&act.resource_version))
    }

    /// Removes the pods of an act, each only if it is still the one with that UID.
    async fn remove(&self, act: &Act, dry_run: bool) -> Result<Sent, Error> {
        let (mut held, mut refused) = (Vec::new(), Vec::new());
        let mut asked = None;
        for pod in &act.pods {
            let api: Api<Pod> = Api::namespaced(self.client.clone(), &pod.namespace);
            let answer = match act.verb {
                ActVerb::Evict => {
                    let params = PostParams { dry_run, ..PostParams::default() };
                    let body = eviction(pod, dry_run);
                    api.create_subresource("eviction", &pod.name, &params, &body).await.map(|_: Value| ())
                }
                _ => {
                    let preconditions =
                        Some(Preconditions { uid: Some(pod.uid.clone()), resource_version: None });
                    let params = DeleteParams { dry_run, preconditions, ..DeleteParams::default() };
                    api.delete(&pod.name, &params).await.map(drop)
                }
            };
            let wait = answer.as_ref().err().and_then(busy::retry_after);
            match answer {
                Ok(()) => {}
                // It is gone, or another pod has its name.
                Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) => {}
                Err(kube::Error::Api(status)) => {
                    let why = format!("pod/{} of {}: {}", pod.name, pod.namespace, words(&status));
                    if is_final(&status) || has_several_budgets(&status) {
                        refused.push(why);
                    } else {
                        held.push(why);
                        asked = wait.and_then(|wait| SignedDuration::try_from(wait).ok());
                    }
                }
                Err(error) => return Err(error.into()),
            }
            // The others have their turn when the API server wants to be asked again.
            if asked.is_some() {
                break;
            }
        }
        // The other pods were removed all the same.
        if !refused.is_empty() {
            let why = refused.into_iter().chain(held).collect::<Vec<_>>().join("; ");
            return Ok(Sent::Refused(format!("{} could not remove {why}", self.user)));
        }
        if held.is_empty() {
            return Ok(Sent::Applied(Vec::new()));
        }
        Ok(Sent::Partly(held.join("; "), asked))
    }
}

/// The eviction of a pod, only if it is still the one with that UID. `kube` writes the options under a name that the API
/// server does not know, and so evicts whichever pod has the name by then.
fn eviction(pod: &PodToRemove, dry_run: bool) -> Value {
    let mut options = json!({"preconditions": {"uid": pod.uid}});
    if dry_run {
        options["dryRun"] = json!(["All"]);
    }
    json!({"apiVersion": "policy/v1", "kind": "Eviction",
        "metadata": {"name": pod.name, "namespace": pod.namespace}, "deleteOptions": options})
}

/// Why no run changes the target of an act: policies say who may change objects outside every namespace, and they can
/// only judge kinds that are known to be there.
fn may_not_change(target: &ObjectRef, scope: &Scope) -> Option<String> {
    let is_known = targets::is_cluster_scoped(&target.api_version, &target.kind);
    (*scope == Scope::Cluster && !is_known)
        .then(|| format!("{} is outside every namespace, and no run changes that kind", target.display()))
}

/// Whether the API server has turned a request away before it stored anything, so that it may be sent again later.
fn is_turned_away(status: &Status) -> bool {
    status.code == 429 || (status.code == 500 && status.message.contains("failed calling webhook"))
}

/// Whether no eviction of the pod can pass, since Kubernetes evicts no pod that several budgets cover. The API server
/// answers with an internal error (`pkg/registry/core/pod/storage/eviction.go`).
fn has_several_budgets(status: &Status) -> bool {
    status.code == 500 && status.message.contains("more than one PodDisruptionBudget")
}

/// The answer of the API server with its causes: for an eviction they name the budget.
fn words(status: &Status) -> String {
    let causes = status.details.iter().flat_map(|details| &details.causes);
    let causes: Vec<&str> = causes.map(|cause| cause.message.as_str()).collect();
    if causes.is_empty() {
        status.message.clone()
    } else {
        format!("{} {}", status.message, causes.join(" "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_eviction_names_the_pod_as_the_api_server_reads_it() {
        use k8s_openapi::api::policy::v1::Eviction;
        let pod = PodToRemove { name: "a".into(), namespace: "shop".into(), uid: "u".into() };
        let sent: Eviction = serde_json::from_value(eviction(&pod, true)).unwrap();
        let options = sent.delete_options.unwrap();
        assert_eq!(options.preconditions.unwrap().uid.as_deref(), Some("u"));
        assert_eq!(options.dry_run, Some(vec!["All".to_owned()]));
        let sent: Eviction = serde_json::from_value(eviction(&pod, false)).unwrap();
        assert_eq!(sent.delete_options.unwrap().dry_run, None);
    }

    #[test]
    fn an_answer_before_anything_is_stored_is_told_from_a_lost_one() {
        let with = |code: u16, message: &str| Status { code, message: message.into(), ..Status::default() };
        let budgets = "This pod has more than one PodDisruptionBudget, which the eviction subresource does not support.";
        assert!(is_turned_away(&with(429, "")));
        assert!(is_turned_away(&with(500, "Internal error occurred: failed calling webhook \"x\": refused")));
        assert!(!is_turned_away(&with(500, "etcdserver: request timed out")));
        assert!(has_several_budgets(&with(500, budgets)) && !has_several_budgets(&with(500, "etcdserver")));
    }
}
