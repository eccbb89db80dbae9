//! Shows whether an unapproved change is really refused: a change that is never allowed is tried as a dry run in every
//! protected namespace, and must be refused with the words of this build.
//!
//! The planner sends it. The planner may create objects, but only as a dry run, and its probe is the one plan
//! that the API server asks the gate about. So one turn reveals a deleted webhook, an edited selector or
//! failure policy, or an expired certificate. Kind and labels take turns, because a selector or condition may leave out
//! only some objects. What no probe sees is found by comparing the configuration whole.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use kube::api::{DynamicObject, PostParams};
use kube::core::GroupVersionKind;
use kube::discovery::ApiResource;
use kube::{Api, ResourceExt};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use crate::change::gate_state::{GateState, ProbeResult};
use crate::change::policy;
use crate::cluster::SharedContext;
use crate::cluster::caches::{get_cluster, in_namespace};
use crate::webhook::review::Request;
use crate::webhook::verdict::Verdict;

/// Name of the object that is never allowed in a protected namespace.
pub const NAME: &str = "mayday-probe";
/// Words of the refusal by which the probe knows that the gate answered.
const MARKER: &str = "this is the probe that shows that the change gate works";
/// What the API server puts before a refusal of the gate.
const GATE: &str = "change-gate.mayday.dev";
/// Interval between two probes.
const EVERY: Duration = Duration::from_secs(10);
/// Interval between two probes while they are not refused: a new policy takes about a second to act.
const SOON: Duration = Duration::from_secs(1);

/// The refusal of the probe; none for every other request.
pub fn refusal(request: &Request) -> Option<Verdict> {
    (name(request) == NAME).then(|| {
        Verdict::refuse(format!("Refused: {MARKER}, and nobody may create it; take another name than {NAME}"))
    })
}

fn name(request: &Request) -> &str {
    let object = request.object.as_ref().or(request.old_object.as_ref());
    object.and_then(|object| object.metadata.name.as_deref()).unwrap_or(&request.name)
}

/// Whether the answer to the probe proves that the gate works. Pure.
///
/// # Errors
/// What happened instead of the gate's refusal, and the next command.
pub fn proof(namespace: &str, answer: Result<(), &kube::Error>) -> Result<(), String> {
    const UPGRADE: &str = "helm upgrade mayday CHART -n mayday-system --reuse-values --force-conflicts";
    const LOOK: &str = "kubectl get validatingwebhookconfiguration mayday-change-gate -o yaml";
    match answer {
        Ok(()) => Err(format!(
            "An unapproved change in {namespace} was not refused: the webhook {GATE} was not asked. Mayday restores \
             its configuration; if it stays so: {UPGRADE}. Look: {LOOK}"
        )),
        Err(kube::Error::Api(status)) if status.message.contains(MARKER) && status.message.contains(GATE) => {
            Ok(())
        }
        Err(kube::Error::Api(status)) if status.message.contains("failed calling webhook") => Err(format!(
            "The API server cannot call Mayday ({}), so every change in {namespace} is refused, approved ones \
             too. Look at the service, the network and caBundle: {LOOK}",
            cut(&status.message)
        )),
        Err(kube::Error::Api(status)) if status.code == 404 => Err(format!(
            "Namespace {namespace} does not exist; nothing is protected in it: kubectl get ns {namespace}"
        )),
        Err(error) => Err(format!(
            "Whether an unapproved change in {namespace} is refused cannot be seen: {}. Look at the log of Mayday, \
             and: {LOOK}",
            cut(&crate::cluster::error::chain(error))
        )),
    }
}

fn cut(message: &str) -> String {
    crate::text::cut(message, 300)
}

/// Sends the probe into every protected namespace until `stop`; for the lease holder.
pub async fn run(context: SharedContext, state: Arc<GateState>, stop: CancellationToken) {
    let mut changed = state.watch();
    for number in (0..Shape::ALL.len()).cycle() {
        let refused = turn(&context, &state, Shape::ALL[number]).await;
        let is_open = state.opening().is_some();
        let pause = if refused && !is_open { EVERY } else { SOON };
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(pause) => {}
            // After an opening the gate is proved again at once.
            _ = changed.changed() => {}
        }
    }
}

/// One try in every namespace of every policy; whether it was refused everywhere.
async fn turn(context: &SharedContext, state: &GateState, shape: Shape) -> bool {
    let mut everywhere = true;
    for protecting in context.caches.policies.state() {
        let mut result = Ok(());
        let all = policy::namespaces(&protecting, &context.config.namespace);
        let exists = |namespace: &&str| get_cluster(&context.caches.namespaces, namespace).is_some();
        // The Ready condition reports a missing namespace. Its absence says nothing about the others.
        let existing: Vec<&str> = all.iter().copied().filter(exists).collect();
        for namespace in if existing.is_empty() { all } else { existing } {
            let sent = send(context, namespace, shape).await;
            result = result.and(proof(namespace, sent.as_ref().err().map_or(Ok(()), Err)));
        }
        everywhere &= result.is_ok();
        state.record(&protecting.name_any(), ProbeResult { time: Timestamp::now(), result });
    }
    everywhere
}

/// Kind and labels of a probe.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
struct Shape {
    kind: &'static str,
    with_labels: bool,
}

impl Shape {
    const ALL: [Shape; 4] = [
        Shape { kind: "ConfigMap", with_labels: false },
        Shape { kind: "Deployment", with_labels: true },
        Shape { kind: "ConfigMap", with_labels: true },
        Shape { kind: "Service", with_labels: false },
    ];

    /// The object, and its kind. Pure.
    fn object(self, labels: &BTreeMap<String, String>) -> (ApiResource, Value) {
        let group = if self.kind == "Deployment" { "apps" } else { "" };
        let resource = ApiResource::from_gvk(&GroupVersionKind::gvk(group, "v1", self.kind));
        let spec = match self.kind {
            "Deployment" => json!({"replicas": 0, "selector": {"matchLabels": {"app": NAME}}, "template": {
                "metadata": {"labels": {"app": NAME}}, "spec": {"containers": [{"name": NAME, "image": NAME}]}}}),
            "Service" => json!({"ports": [{"port": 80}]}),
            _ => Value::Null,
        };
        let labels = if self.with_labels { json!(labels) } else { Value::Null };
        let mut object = json!({"apiVersion": resource.api_version, "kind": self.kind,
            "metadata": {"name": NAME, "labels": labels}});
        if !spec.is_null() {
            object["spec"] = spec;
        }
        (resource, object)
    }
}

async fn send(context: &SharedContext, namespace: &str, shape: Shape) -> Result<(), kube::Error> {
    // The labels of what is protected here: a selector that leaves it out leaves out the probe too.
    let workload = in_namespace(&context.caches.deployments, namespace).into_iter().next();
    let labels = workload.and_then(|workload| workload.metadata.labels.clone());
    let (resource, object) =
        shape.object(&labels.unwrap_or_else(|| [("app".to_owned(), NAME.to_owned())].into()));
    let object: DynamicObject = serde_json::from_value(object).map_err(kube::Error::SerdeError)?;
    let dry_run = PostParams { dry_run: true, ..PostParams::default() };
    let api = Api::<DynamicObject>::namespaced_with(context.planner.clone(), namespace, &resource);
    api.create(&dry_run, &object).await.map(|_| ())
}

#[cfg(test)]
mod tests {
    use kube::core::Status;

    use super::*;

    fn api(code: u16, message: &str) -> kube::Error {
        kube::Error::Api(Box::new(Status::failure(message, "Forbidden").with_code(code)))
    }

    #[test]
    fn only_the_gates_own_refusal_proves_that_it_works() {
        let refused =
            api(403, &format!("admission webhook \"{GATE}\" denied the request: Refused: {MARKER}, and …"));
        assert_eq!(proof("shop", Err(&refused)), Ok(()));
        let elsewhere =
            api(403, &format!("admission webhook \"other.example\" denied the request: {MARKER}"));
        assert!(proof("shop", Err(&elsewhere)).is_err());
        assert!(proof("shop", Err(&api(403, "configmaps is forbidden"))).is_err());
    }

    #[test]
    fn probes_take_turns_in_kind_and_labels() {
        let labels = [("app".to_owned(), "checkout".to_owned())].into();
        let made = Shape::ALL.map(|shape| shape.object(&labels));
        let kinds = made.each_ref().map(|(resource, _)| resource.plural.as_str());
        assert_eq!(kinds, ["configmaps", "deployments", "configmaps", "services"]);
        assert!(made.iter().all(|(_, object)| object["metadata"]["name"] == NAME));
        assert!(made.iter().any(|(_, object)| object["metadata"]["labels"]["app"] == "checkout"));
        assert!(made.iter().any(|(_, object)| object["metadata"]["labels"].is_null()));
    }

    #[test]
    fn a_probe_that_passes_says_what_to_look_at() {
        let message = proof("shop", Ok(())).unwrap_err();
        assert!(
            message.contains("was not refused") && message.contains("kubectl get validatingwebhook"),
            "{message}"
        );
    }

    #[test]
    fn a_gate_that_cannot_be_called_is_told_from_one_that_is_not_asked() {
        let message = proof("shop", Err(&api(500, "failed calling webhook \"x\": x509: unknown authority")))
            .unwrap_err();
        assert!(message.contains("cannot call Mayday") && message.contains("x509"), "{message}");
        let message = proof("gone", Err(&api(404, "namespaces \"gone\" not found"))).unwrap_err();
        assert!(message.contains("does not exist"), "{message}");
    }
}
