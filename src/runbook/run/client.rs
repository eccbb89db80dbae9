//! Reads and writes as a Runbook's ServiceAccount, with the mark of the run. A run has no other way to an object: no
//! identity, no act, and never with the operator's own rights.

use std::time::Duration;

use kube::api::{Api, DynamicObject, Patch, PatchParams};
use kube::core::GroupVersionKind;
use kube::discovery::{ApiResource, Scope, pinned_kind};
use kube::{Client, core::Status};
use serde_json::Value;

use crate::api::common::ObjectRef;
use crate::api::runbook::Precondition;
use crate::cluster::client::{Impersonator, service_account_user};
use crate::cluster::{Error, error};
use crate::runbook::preconditions;
use crate::runbook::run::state_machine::{Seen, Sent};
use crate::runbook::steps::mutation::Write;

/// How long the evaluation of a precondition may take; then it counts as false.
const JUDGE_WITHIN: Duration = Duration::from_secs(2);
/// Field manager of what runs write.
const FIELD_MANAGER: &str = "mayday-run";

/// A client that acts as a Runbook's ServiceAccount.
pub struct RunClient {
    client: Client,
    namespace: String,
    user: String,
}

impl RunClient {
    /// A client for the run with this UID, as `service_account` of `namespace`.
    ///
    /// # Errors
    /// When a name contains a character that an HTTP header cannot carry.
    pub fn new(
        impersonator: &Impersonator,
        namespace: &str,
        service_account: &str,
        run_uid: &str,
    ) -> Result<RunClient, Error> {
        Ok(RunClient {
            client: impersonator.run(namespace, service_account, run_uid)?,
            namespace: namespace.to_owned(),
            user: service_account_user(namespace, service_account),
        })
    }

    /// Reads the target live, and judges the preconditions over live objects if asked to.
    ///
    /// # Errors
    /// When the API server does not answer; a refusal is part of the result.
    pub async fn look(&self, target: &ObjectRef, preconditions: &[Precondition]) -> Result<Seen, Error> {
        let object = self.read(target).await?;
        for given in preconditions {
            let read = if given.target.same_object(target) {
                object.clone()
            } else {
                self.read(&given.target).await?
            };
            let verdict = match read {
                Err(message) => Err(message),
                Ok(None) => Err(format!("{} does not exist", given.target.display())),
                Ok(Some(value)) => judge(given.expression.clone(), value).await,
            };
            if let Err(why) = verdict {
                let message = format!("{} ({}: {why})", given.message, given.target.display());
                return Ok(Seen { target: object, preconditions: Err(message) });
            }
        }
        Ok(Seen { target: object, preconditions: Ok(()) })
    }

    /// Sends an announced write. Its preconditions make the API server refuse it if the object has changed since it
    /// was read.
    ///
    /// # Errors
    /// When the outcome is not known: read the target before sending again.
    pub async fn send(&self, target: &ObjectRef, write: &Write, dry_run: bool) -> Result<Sent, Error> {
        let Some(api) = self.api(target).await? else { return Ok(Sent::Refused(unknown_kind(target))) };
        let field_manager = Some(FIELD_MANAGER.to_owned());
        let (verb, answer) = match write {
            Write::Patch(patch) => {
                let params = PatchParams { dry_run, field_manager, ..PatchParams::default() };
                ("patch", api.patch(&target.name, &params, &Patch::Merge(patch)).await.map(drop))
            }
        };
        match answer {
            Ok(()) => Ok(Sent::Applied),
            Err(kube::Error::Api(status)) if status.is_conflict() => Ok(Sent::Conflict),
            Err(kube::Error::Api(status)) if is_final(&status) => {
                Ok(Sent::Refused(self.refused(verb, target, &status)))
            }
            Err(error) => Err(error.into()),
        }
    }

    async fn read(&self, target: &ObjectRef) -> Result<Result<Option<Value>, String>, Error> {
        let Some(api) = self.api(target).await? else { return Ok(Err(unknown_kind(target))) };
        match api.get(&target.name).await {
            Ok(object) => Ok(Ok(Some(serde_json::to_value(object)?))),
            Err(kube::Error::Api(status)) if status.is_not_found() => Ok(Ok(None)),
            Err(kube::Error::Api(status)) if is_final(&status) => {
                Ok(Err(self.refused("get", target, &status)))
            }
            Err(error) => Err(error.into()),
        }
    }

    /// The resource of a kind in the run's namespace; `None` if there is no such namespaced kind.
    async fn api(&self, target: &ObjectRef) -> Result<Option<Api<DynamicObject>>, Error> {
        let version = target.api_version.rsplit('/').next().unwrap_or_default();
        let kind = GroupVersionKind::gvk(target.group(), version, &target.kind);
        // The plural of a workload kind is known; asking for it at each step would cost a call.
        let resource = if crate::runbook::steps::is_workload(target) {
            ApiResource::from_gvk(&kind)
        } else {
            match pinned_kind(&self.client, &kind).await {
                Ok((resource, capabilities)) if capabilities.scope == Scope::Namespaced => resource,
                Ok(_) | Err(kube::Error::Discovery(_)) => return Ok(None),
                Err(failure) if error::code(&failure) == Some(404) => return Ok(None),
                Err(failure) => return Err(failure.into()),
            }
        };
        Ok(Some(Api::namespaced_with(self.client.clone(), &self.namespace, &resource)))
    }

    fn refused(&self, verb: &str, target: &ObjectRef, status: &Status) -> String {
        format!("{} could not {verb} {}: {}", self.user, target.display(), status.message)
    }
}

/// Evaluates a precondition on a blocking thread, within its time.
async fn judge(expression: String, mut object: Value) -> Result<(), String> {
    // managedFields is larger than the rest of the object, and no precondition needs it.
    if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.remove("managedFields");
    }
    within(JUDGE_WITHIN, move || preconditions::judge(&expression, &object)).await
}

/// The verdict of a precondition, if it comes in time. A slower evaluation runs on unobserved.
async fn within(
    time: Duration,
    judge: impl FnOnce() -> Result<(), String> + Send + 'static,
) -> Result<(), String> {
    match tokio::time::timeout(time, tokio::task::spawn_blocking(judge)).await {
        Ok(Ok(judged)) => judged,
        Ok(Err(_)) => Err("the precondition could not be judged".to_owned()),
        Err(_) => Err(format!(
            "the precondition was not judged within {} s, which counts as false: write it simpler",
            time.as_secs_f32()
        )),
    }
}

/// Whether an error is final: the same request would get the same answer.
fn is_final(status: &Status) -> bool {
    (400..500).contains(&status.code) && !matches!(status.code, 408 | 409 | 429)
}

fn unknown_kind(target: &ObjectRef) -> String {
    format!("there is no namespaced kind {} in {}", target.kind, target.api_version)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_precondition_that_never_ends_counts_as_false() {
        let (end, ended) = std::sync::mpsc::channel::<()>();
        let judged = within(Duration::from_millis(1), move || {
            let _ = ended.recv();
            Ok(())
        });
        assert!(judged.await.unwrap_err().contains("counts as false"));
        drop(end);
        assert_eq!(within(JUDGE_WITHIN, || Ok(())).await, Ok(()));
    }

    #[test]
    fn only_a_decision_of_the_api_server_is_final() {
        let with = |code: u16| Status { code, ..Status::default() };
        for code in [400, 403, 404, 413, 422] {
            assert!(is_final(&with(code)), "{code}");
        }
        for code in [408, 409, 429, 500, 503, 504] {
            assert!(!is_final(&with(code)), "{code}");
        }
    }
}
