//! Reads and writes as a Runbook's ServiceAccount, with the mark of the run. A run has no other way to an object: no
//! identity, no act, and never with the operator's own rights.

use std::time::Duration;

use k8s_openapi::api::core::v1::{ContainerStatus, Pod, Secret};
use kube::api::{
    Api, DeleteParams, DynamicObject, EvictParams, ListParams, LogParams, Patch, PatchParams, PostParams,
    Preconditions,
};
use kube::core::GroupVersionKind;
use kube::discovery::{ApiResource, Scope, pinned_kind};
use kube::{Client, core::Status};
use serde_json::{Value, json};

use crate::api::common::ObjectRef;
use crate::api::runbook_run::{Act, ActVerb, Resolved};
use crate::cluster::client::{Impersonator, service_account_user};
use crate::cluster::{Error, error};
use crate::runbook::preconditions;
use crate::runbook::run::prepare::Resolution;
use crate::runbook::run::state_machine::{Seen, Sent};
use crate::runbook::steps::patching::{self, FIELD_MANAGER};
use crate::runbook::targets::{self, LogRead, Read};

/// Most lines of a log that are read.
const LOG_LINES: i64 = 64;
/// How long the evaluation of a precondition may take; then it counts as false.
const JUDGE_WITHIN: Duration = Duration::from_secs(2);

/// What an expression says about live objects.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Verdict {
    /// It is true for each.
    True,
    /// It is false for one, in words.
    False(String),
    /// It cannot be told, and why.
    Unjudged(String),
}

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

    /// Reads objects live, and what `related` asks for besides the last.
    ///
    /// # Errors
    /// When the API server does not answer; a refusal is part of the result.
    pub async fn look(
        &self,
        objects: &[ObjectRef],
        related: impl Fn(Option<&Value>) -> Vec<Read>,
    ) -> Result<Seen, Error> {
        let refused = |why: String| Seen { objects: Err(why), related: Vec::new(), preconditions: Ok(()) };
        let mut found = Vec::new();
        for object in objects {
            match self.read(object).await? {
                Ok(object) => found.push(object),
                Err(why) => return Ok(refused(why)),
            }
        }
        let mut others = Vec::new();
        for read in related(found.last().and_then(Option::as_ref)) {
            match self.read_all(&read).await? {
                Ok(objects) => others.push(objects),
                Err(why) => return Ok(refused(why)),
            }
        }
        Ok(Seen { objects: Ok(found), related: others, preconditions: Ok(()) })
    }

    /// Which objects exactly the reads stand for. A named object that does not exist has no UID.
    ///
    /// # Errors
    /// When the API server does not answer; a refusal is part of the result.
    pub async fn resolve(&self, reads: &[Vec<Read>]) -> Result<Resolution, Error> {
        let mut steps = Vec::new();
        let mut known: Vec<(&Read, Vec<Resolved>)> = Vec::new();
        for step in reads {
            let mut targets = Vec::new();
            for read in step {
                let seen = known.iter().find(|(seen, _)| *seen == read).map(|(_, found)| found.clone());
                let found = match seen {
                    Some(found) => found,
                    None => match self.identities(read).await? {
                        Ok(found) => found,
                        Err(why) => return Ok(Err(why)),
                    },
                };
                known.push((read, found.clone()));
                targets.extend(found);
            }
            steps.push(targets);
        }
        Ok(Ok(steps))
    }

    async fn identities(&self, read: &Read) -> Result<Result<Vec<Resolved>, String>, Error> {
        let text = |object: &Value, pointer: &str| {
            object.pointer(pointer).and_then(Value::as_str).map(str::to_owned)
        };
        let uid = |object: &Value| text(object, "/metadata/uid");
        Ok(match read {
            Read::Object(object) => self
                .read(object)
                .await?
                .map(|found| vec![Resolved { uid: found.as_ref().and_then(uid), object: object.clone() }]),
            Read::Log(_) => Ok(Vec::new()),
            Read::List(list) => self.read_all(read).await?.map(|found| {
                let resolved = |object: &Value| Resolved {
                    object: ObjectRef {
                        api_version: list.api_version.clone(),
                        kind: list.kind.clone(),
                        name: text(object, "/metadata/name").unwrap_or_default(),
                    },
                    uid: uid(object),
                };
                found.iter().map(resolved).collect()
            }),
        })
    }

    /// Judges an expression over the live objects that the reads give; it must be true for each. `known` are objects that
    /// were just read.
    ///
    /// # Errors
    /// When the API server does not answer; everything else is a verdict.
    pub async fn judge(
        &self,
        reads: &[Read],
        expression: &str,
        known: &[(&ObjectRef, Option<&Value>)],
    ) -> Result<Verdict, Error> {
        let mut any = false;
        for read in reads {
            let seen = known
                .iter()
                .find(|(known, _)| matches!(read, Read::Object(object) if object.same_object(known)));
            let found = match seen {
                Some((_, object)) => Ok(object.iter().map(|object| (*object).clone()).collect()),
                None => self.read_all(read).await?,
            };
            let objects: Vec<Value> = match found {
                Ok(objects) => objects,
                Err(why) => return Ok(Verdict::Unjudged(why)),
            };
            if let (Read::Object(object), []) = (read, objects.as_slice()) {
                return Ok(Verdict::Unjudged(format!("{} does not exist", object.display())));
            }
            for object in objects {
                any = true;
                let name = name_of(read, &object);
                match evaluate(expression.to_owned(), object).await {
                    Ok(true) => {}
                    Ok(false) => {
                        let why = preconditions::is_false(expression);
                        return Ok(Verdict::False(format!("{name}: {why}")));
                    }
                    Err(why) => return Ok(Verdict::Unjudged(format!("{name}: {why}"))),
                }
            }
        }
        Ok(if any { Verdict::True } else { Verdict::Unjudged("there is no object to judge".to_owned()) })
    }

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
        if let Some(why) = may_not_change(target, &scope) {
            return Ok(Sent::Refused(why));
        }
        let api = self.api_of(&resource, &scope);
        let field_manager = Some(FIELD_MANAGER.to_owned());
        let (verb, answer) = match act.verb {
            ActVerb::Create => {
                let object: DynamicObject = serde_json::from_value(act.body.clone().unwrap_or_default())?;
                let params = PostParams { dry_run, field_manager };
                ("create", api.create(&params, &object).await.map(drop))
            }
            _ => {
                let operations = Value::Array(patching::request(act));
                let patch = Patch::<Value>::Json(serde_json::from_value(operations)?);
                let params = PatchParams { dry_run, field_manager, ..PatchParams::default() };
                ("patch", api.patch(&target.name, &params, &patch).await.map(drop))
            }
        };
        match answer {
            Ok(()) => Ok(Sent::Applied(Vec::new())),
            Err(kube::Error::Api(status)) if status.is_conflict() => Ok(Sent::Conflict),
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
        for pod in &act.pods {
            let api: Api<Pod> = Api::namespaced(self.client.clone(), &pod.namespace);
            let preconditions = Some(Preconditions { uid: Some(pod.uid.clone()), resource_version: None });
            let params = DeleteParams { dry_run, preconditions, ..DeleteParams::default() };
            let answer = match act.verb {
                ActVerb::Evict => {
                    let post_options = PostParams { dry_run, ..PostParams::default() };
                    let params = EvictParams { delete_options: Some(params), post_options };
                    api.evict(&pod.name, &params).await.map(drop)
                }
                _ => api.delete(&pod.name, &params).await.map(drop),
            };
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
                    }
                }
                Err(error) => return Err(error.into()),
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
        Ok(Sent::Partly(held.join("; ")))
    }

    /// Namespace of the run.
    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    /// The text under a key of a Secret, without white space around it; or why it cannot be had.
    ///
    /// # Errors
    /// When the API server does not answer.
    pub async fn secret(&self, name: &str, key: &str) -> Result<Result<String, String>, Error> {
        let secrets: Api<Secret> = Api::namespaced(self.client.clone(), &self.namespace);
        let secret = match secrets.get(name).await {
            Ok(secret) => secret,
            Err(kube::Error::Api(status)) if is_final(&status) => {
                return Ok(Err(format!("{} could not get secret/{name}: {}", self.user, status.message)));
            }
            Err(error) => return Err(error.into()),
        };
        let bytes = secret.data.and_then(|mut data| data.remove(key));
        let text = bytes.and_then(|bytes| String::from_utf8(bytes.0).ok());
        let text = text.map(|text| text.trim().to_owned()).filter(|text| !text.is_empty());
        Ok(text.ok_or_else(|| format!("secret/{name} has no text under the key {key}")))
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

    async fn read_all(&self, read: &Read) -> Result<Result<Vec<Value>, String>, Error> {
        let list = match read {
            Read::Object(object) => {
                return Ok(self.read(object).await?.map(|found| found.into_iter().collect()));
            }
            Read::List(list) => list,
            Read::Log(log) => return Ok(Ok(vec![self.log(log).await])),
        };
        let kind = ObjectRef {
            api_version: list.api_version.clone(),
            kind: list.kind.clone(),
            name: "of that kind".to_owned(),
        };
        let Some((resource, scope)) = self.resource(&kind).await? else {
            return Ok(Err(unknown_kind(&kind)));
        };
        let api = self.api_of(&resource, if list.everywhere { &Scope::Cluster } else { &scope });
        let params = ListParams {
            label_selector: Some(list.labels.clone()).filter(|labels| !labels.is_empty()),
            field_selector: Some(list.fields.clone()).filter(|fields| !fields.is_empty()),
            ..ListParams::default()
        };
        match api.list(&params).await {
            Ok(found) => {
                let mut objects: Vec<Value> =
                    found.items.into_iter().map(serde_json::to_value).collect::<Result<_, _>>()?;
                let name = |object: &Value| object["metadata"]["name"].as_str().map(str::to_owned);
                objects.sort_by_key(name);
                Ok(Ok(objects))
            }
            Err(kube::Error::Api(status)) if is_final(&status) => Ok(Err(format!(
                "{} could not list {} of {}: {}",
                self.user, list.kind, list.api_version, status.message
            ))),
            Err(error) => Err(error.into()),
        }
    }

    /// The end of a log. A log that cannot be read is no error: its pod may be gone, or its node.
    async fn log(&self, log: &LogRead) -> Value {
        match self.read_log(log).await {
            Ok(text) => json!({"text": text}),
            Err(kube::Error::Api(status)) => json!({"missing": status.message}),
            Err(error) => json!({"missing": error.to_string()}),
        }
    }

    async fn read_log(&self, log: &LogRead) -> Result<String, kube::Error> {
        let pods: Api<Pod> = Api::namespaced(self.client.clone(), &self.namespace);
        let found = pods.list(&ListParams::default().labels(&log.labels)).await?;
        let Some(pod) = found.items.first() else { return Ok(String::new()) };
        let bytes = i64::try_from(log.bytes).unwrap_or(i64::MAX);
        let params = LogParams {
            container: container_of(pod),
            tail_lines: Some(LOG_LINES),
            limit_bytes: Some(bytes.saturating_mul(LOG_LINES)),
            ..LogParams::default()
        };
        pods.logs(&pod.metadata.name.clone().unwrap_or_default(), &params).await
    }

    /// Where the objects of a kind are; `None` if there is no such kind.
    async fn api(&self, target: &ObjectRef) -> Result<Option<Api<DynamicObject>>, Error> {
        Ok(self.resource(target).await?.map(|(resource, scope)| self.api_of(&resource, &scope)))
    }

    fn api_of(&self, resource: &ApiResource, scope: &Scope) -> Api<DynamicObject> {
        match scope {
            Scope::Namespaced => Api::namespaced_with(self.client.clone(), &self.namespace, resource),
            Scope::Cluster => Api::all_with(self.client.clone(), resource),
        }
    }

    async fn resource(&self, target: &ObjectRef) -> Result<Option<(ApiResource, Scope)>, Error> {
        // What is known need not be asked for at each step: that would cost a call.
        if KNOWN.contains(&(target.group(), &target.kind)) {
            return Ok(Some(plain(target)));
        }
        let version = target.api_version.rsplit('/').next().unwrap_or_default();
        let kind = GroupVersionKind::gvk(target.group(), version, &target.kind);
        match pinned_kind(&self.client, &kind).await {
            Ok((resource, capabilities)) => Ok(Some((resource, capabilities.scope))),
            Err(kube::Error::Discovery(_)) => Ok(None),
            Err(failure) if error::code(&failure) == Some(404) => Ok(None),
            Err(failure) => Err(failure.into()),
        }
    }

    fn refused(&self, verb: &str, target: &ObjectRef, status: &Status) -> String {
        format!("{} could not {verb} {}: {}", self.user, target.display(), status.message)
    }
}

/// The container whose log is wanted: the first that failed, else the first.
fn container_of(pod: &Pod) -> Option<String> {
    let statuses = pod.status.iter().flat_map(|status| {
        let init = status.init_container_statuses.iter().flatten();
        init.chain(status.container_statuses.iter().flatten())
    });
    let failed = |status: &&ContainerStatus| {
        let ended = status.state.as_ref().and_then(|state| state.terminated.as_ref());
        ended.is_some_and(|ended| ended.exit_code != 0)
    };
    let failed = statuses.into_iter().find(failed).map(|status| status.name.clone());
    failed.or_else(|| Some(pod.spec.as_ref()?.containers.first()?.name.clone()))
}

/// Built-in kinds whose plural and scope are known, with their group.
const KNOWN: &[(&str, &str)] = &[
    ("apps", "Deployment"),
    ("apps", "StatefulSet"),
    ("apps", "DaemonSet"),
    ("apps", "ReplicaSet"),
    ("apps", "ControllerRevision"),
    ("", "Pod"),
    ("", "Node"),
    ("batch", "Job"),
    ("batch", "CronJob"),
    ("autoscaling", "HorizontalPodAutoscaler"),
    ("policy", "PodDisruptionBudget"),
];

/// The resource of a kind whose plural is regular.
fn plain(target: &ObjectRef) -> (ApiResource, Scope) {
    let version = target.api_version.rsplit('/').next().unwrap_or_default();
    let kind = GroupVersionKind::gvk(target.group(), version, &target.kind);
    let is_node = target.group().is_empty() && target.kind == "Node";
    let scope = if is_node { Scope::Cluster } else { Scope::Namespaced };
    (ApiResource::from_gvk(&kind), scope)
}

/// Why no run changes the target of an act: policies say who may change objects outside every namespace, and they can
/// only judge kinds that are known to be there.
fn may_not_change(target: &ObjectRef, scope: &Scope) -> Option<String> {
    let is_known = targets::is_cluster_scoped(&target.api_version, &target.kind);
    (*scope == Scope::Cluster && !is_known)
        .then(|| format!("{} is outside every namespace, and no run changes that kind", target.display()))
}

fn name_of(read: &Read, object: &Value) -> String {
    match read {
        Read::Object(target) => target.display(),
        Read::Log(_) => "the log".to_owned(),
        Read::List(list) => {
            let name = object["metadata"]["name"].as_str().unwrap_or_default();
            format!("{}/{name}", list.kind.to_lowercase())
        }
    }
}

/// Evaluates an expression on a blocking thread, within its time.
async fn evaluate(expression: String, mut object: Value) -> Result<bool, String> {
    // managedFields is larger than the rest of the object, and no precondition needs it.
    if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.remove("managedFields");
    }
    within(JUDGE_WITHIN, move || preconditions::evaluate(&expression, &object)).await
}

/// The verdict of a precondition, if it comes in time. A slower evaluation runs on unobserved.
async fn within<T: Send + 'static>(
    time: Duration,
    judge: impl FnOnce() -> Result<T, String> + Send + 'static,
) -> Result<T, String> {
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

fn unknown_kind(target: &ObjectRef) -> String {
    format!("there is no kind {} in {}", target.kind, target.api_version)
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
    fn an_answer_before_anything_is_stored_is_told_from_a_lost_one() {
        let with = |code: u16, message: &str| Status { code, message: message.into(), ..Status::default() };
        let budgets = "This pod has more than one PodDisruptionBudget, which the eviction subresource does not support.";
        assert!(is_turned_away(&with(429, "")));
        assert!(is_turned_away(&with(500, "Internal error occurred: failed calling webhook \"x\": refused")));
        assert!(!is_turned_away(&with(500, "etcdserver: request timed out")));
        assert!(has_several_budgets(&with(500, budgets)) && !has_several_budgets(&with(500, "etcdserver")));
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
