//! The Job that a `job` step creates: what its template may say, and what is always set. Pure.
//!
//! A Job runs what its template says, as the Runbook's account. So the template may hold what a list allows and nothing
//! else, since lists of what is forbidden always lack something.

use serde_json::{Value, json};

use crate::api::GROUP;
use crate::api::runbook_run::RUN_LABEL;
use crate::api::runbook_step::EnvParameter;
use crate::runbook::steps::mutation::Scene;
use crate::runbook::steps::patching::OPERATION;

/// Label of a Job and its pod with the UID of the run.
pub const RUN: &str = RUN_LABEL;
/// Annotation of a Job with the digest of the spec that was sent.
pub const SPEC_DIGEST: &str = "mayday.dev/spec-digest";

/// Fields of the spec of a Job that are taken from the template, or that are set.
const SPEC: &[&str] = &[
    "template",
    "activeDeadlineSeconds",
    "backoffLimit",
    "completionMode",
    "completions",
    "parallelism",
    "podReplacementPolicy",
    "suspend",
    "ttlSecondsAfterFinished",
];
/// Fields of the spec of its pod.
const POD: &[&str] = &[
    "affinity",
    "automountServiceAccountToken",
    "containers",
    "dnsConfig",
    "dnsPolicy",
    "enableServiceLinks",
    "imagePullSecrets",
    "initContainers",
    "nodeSelector",
    "os",
    "preemptionPolicy",
    "priorityClassName",
    "resources",
    "restartPolicy",
    "runtimeClassName",
    "schedulerName",
    "securityContext",
    "serviceAccount",
    "serviceAccountName",
    "terminationGracePeriodSeconds",
    "tolerations",
    "volumes",
];
/// Fields of a container.
const CONTAINER: &[&str] = &[
    "args",
    "command",
    "env",
    "envFrom",
    "image",
    "imagePullPolicy",
    "name",
    "resources",
    "restartPolicy",
    "securityContext",
    "terminationMessagePath",
    "terminationMessagePolicy",
    "volumeMounts",
    "workingDir",
];
/// Fields of the security settings of a container. Whatever else there is gives it rights on its node.
const SECURITY: &[&str] = &[
    "allowPrivilegeEscalation",
    "capabilities",
    "privileged",
    "readOnlyRootFilesystem",
    "runAsGroup",
    "runAsNonRoot",
    "runAsUser",
    "seccompProfile",
];
/// Sources of volumes.
const VOLUME: &[&str] =
    &["name", "configMap", "downwardAPI", "emptyDir", "persistentVolumeClaim", "projected", "secret"];

/// What is wrong with the spec of a Job, each with its path below the spec.
pub fn problems(spec: &Value, account: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    only(spec, "", SPEC, &mut found);
    for field in ["completions", "parallelism"] {
        if spec.get(field).is_some_and(|count| *count != 1) {
            found.push((format!(".{field}"), "a step runs one pod".to_owned()));
        }
    }
    if spec.get("completionMode").is_some_and(|mode| *mode != "NonIndexed") {
        found.push((".completionMode".to_owned(), "a step runs one pod".to_owned()));
    }
    if spec["suspend"] == true {
        found.push((".suspend".to_owned(), "a suspended Job never ends".to_owned()));
    }
    let pod = &spec["template"]["spec"];
    if !pod.is_object() {
        found.push((".template.spec".to_owned(), "the pod of the Job is missing".to_owned()));
        return found;
    }
    let path = ".template.spec";
    only(pod, path, POD, &mut found);
    for field in ["serviceAccountName", "serviceAccount"] {
        if pod.get(field).is_some_and(|named| *named != account) {
            found.push((
                format!("{path}.{field}"),
                format!("the pod runs as the Runbook's own account {account}: leave it out"),
            ));
        }
    }
    if pod["containers"].as_array().is_none_or(Vec::is_empty) {
        found.push((format!("{path}.containers"), "a Job needs a container".to_owned()));
    }
    for list in ["initContainers", "containers"] {
        for (index, given) in pod[list].as_array().into_iter().flatten().enumerate() {
            container(given, &format!("{path}.{list}[{index}]"), &mut found);
        }
    }
    for (index, volume) in pod["volumes"].as_array().into_iter().flatten().enumerate() {
        only(volume, &format!("{path}.volumes[{index}]"), VOLUME, &mut found);
    }
    found
}

/// The problem of each field that is not in the list.
fn only(object: &Value, path: &str, fields: &[&str], found: &mut Vec<(String, String)>) {
    let Some(object) = object.as_object() else {
        found.push((path.to_owned(), "it is no object".to_owned()));
        return;
    };
    for field in object.keys().filter(|field| !fields.contains(&field.as_str())) {
        found.push((format!("{path}.{field}"), "the Job of a step may not set it".to_owned()));
    }
}

fn container(given: &Value, path: &str, found: &mut Vec<(String, String)>) {
    only(given, path, CONTAINER, found);
    let image = given["image"].as_str().unwrap_or_default();
    let digest = image.split_once("@sha256:").map_or("", |(_, digest)| digest);
    if digest.len() != 64 || !digest.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        found.push((
            format!("{path}.image"),
            format!("{image:?} names no digest: what was approved must be what runs (NAME@sha256:…)"),
        ));
    }
    if given.get("restartPolicy").is_some() {
        found.push((format!("{path}.restartPolicy"), "nothing is restarted".to_owned()));
    }
    let Some(security) = given.get("securityContext") else { return };
    let path = format!("{path}.securityContext");
    only(security, &path, SECURITY, found);
    for field in ["privileged", "allowPrivilegeEscalation"] {
        if security[field] == true {
            found.push((format!("{path}.{field}"), "the Job of a step may not set it".to_owned()));
        }
    }
    if security["capabilities"].get("add").is_some() {
        found.push((format!("{path}.capabilities.add"), "the Job of a step may not set it".to_owned()));
    }
}

/// The Job of a step over a valid spec. `digest` is that of the spec of the result.
///
/// # Errors
/// Which value is missing.
pub fn of(
    spec: &Value,
    env: &[EnvParameter],
    name: &str,
    scene: &Scene<'_>,
    digest: impl Fn(&Value) -> Result<String, serde_json::Error>,
) -> Result<Value, String> {
    let variables = env
        .iter()
        .map(|variable| {
            let value = scene
                .value(&variable.parameter)
                .ok_or_else(|| format!("the parameter {:?} has no value", variable.parameter))?;
            let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            Ok(json!({"name": variable.name, "value": text}))
        })
        .collect::<Result<Vec<Value>, String>>()?;
    let mut pod = spec["template"]["spec"].clone();
    for list in ["initContainers", "containers"] {
        for container in pod[list].as_array_mut().into_iter().flatten() {
            let mut all = container["env"].as_array().cloned().unwrap_or_default();
            all.retain(|known| !env.iter().any(|variable| known["name"] == variable.name.as_str()));
            all.extend(variables.iter().cloned());
            if !all.is_empty() {
                container["env"] = Value::Array(all);
            }
        }
    }
    let mounts = pod.get("automountServiceAccountToken") == Some(&Value::Bool(true));
    pod["automountServiceAccountToken"] = mounts.into();
    pod["restartPolicy"] = "Never".into();
    pod["serviceAccountName"] = scene.account.into();
    if let Some(pod) = pod.as_object_mut() {
        pod.remove("serviceAccount");
    }
    let most = active_seconds(scene);
    let given = spec["activeDeadlineSeconds"].as_i64().unwrap_or(most);
    let mut metadata = json!({"labels": {RUN: scene.run_uid}});
    if let Some(annotations) = spec.pointer("/template/metadata/annotations").filter(|some| some.is_object())
    {
        metadata["annotations"] = annotations.clone();
    }
    let spec = json!({
        "activeDeadlineSeconds": given.min(most),
        "backoffLimit": 0,
        "completions": 1,
        "parallelism": 1,
        "podReplacementPolicy": "Failed",
        "template": {"metadata": metadata, "spec": pod},
    });
    let digest = digest(&spec).map_err(|error| format!("no digest can be made: {error}"))?;
    let mut job = json!({
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {
            "name": name,
            "namespace": scene.namespace,
            "labels": {RUN: scene.run_uid},
            "annotations": {OPERATION: scene.operation_id, SPEC_DIGEST: digest},
        },
        "spec": spec,
    });
    // The garbage collector removes it with its run. An owner in another namespace would be none.
    if let Some(run) = scene.run_name {
        job["metadata"]["ownerReferences"] = json!([{
            "apiVersion": format!("{GROUP}/v1alpha1"), "kind": "RunbookRun", "name": run, "uid": scene.run_uid,
        }]);
    }
    Ok(job)
}

/// How long the pod may run: nine tenths of the timeout of the step, so that its end is seen in time.
fn active_seconds(scene: &Scene<'_>) -> i64 {
    (scene.timeout.as_secs() * 9 / 10).max(1)
}
