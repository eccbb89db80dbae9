//! The step `job`: runs a Job and waits for its end. The name of the Job follows from the operation id, so it is created at
//! most once while it exists. A Job that is gone may have run: that is Unknown, and it is not created again. Pure.

use jiff::{SignedDuration, Timestamp};
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use super::job_spec::{self, SPEC_DIGEST};
use super::kind::{Progress, StepKind, Work, Written};
use super::mutation::{Change, Mutation, Plan, Proof, Scene};
use super::needs::Need;
use super::patching::{self, OPERATION, text};
use crate::api::common::ObjectRef;
use crate::api::runbook_run::{Act, ActVerb, Effect, Output};
use crate::api::runbook_step::JobStep;
use crate::change::diff::{self, digest};
use crate::problem::Problem;
use crate::runbook::targets::{ListRead, LogRead, Read};

/// Interval between two looks at a Job; Jobs are not watched.
const LOOK_AGAIN: SignedDuration = SignedDuration::from_secs(2);
/// Most bytes of an output.
const MAX_OUTPUT: usize = 4096;
/// Most values of a delta, as in the schema.
const MAX_VALUES: usize = 64;

impl StepKind for JobStep {
    fn summary(&self) -> String {
        match &self.cron_job {
            Some(template) => format!("run the Job of cronjob/{}", template.name),
            None => "run a Job".to_owned(),
        }
    }

    fn problems(&self, written: &Written<'_>) -> Vec<Problem> {
        let mut found = Vec::new();
        if let Some(spec) = &self.spec {
            let account = &written.runbook.service_account_name;
            let inner = job_spec::problems(spec, account).into_iter();
            found.extend(inner.map(|(path, message)| written.problem(&format!("job.spec{path}"), message)));
        }
        for (index, variable) in self.env.iter().enumerate() {
            found.extend(written.no_parameter(&format!("job.env[{index}].parameter"), &variable.parameter));
            if self.env.iter().take(index).any(|earlier| earlier.name == variable.name) {
                found.push(written.problem(&format!("job.env[{index}].name"), "it is set twice"));
            }
        }
        found
    }

    fn work(&self) -> Work<'_> {
        Work::Mutation(self)
    }

    fn effect(&self) -> Effect {
        Effect::Undetermined
    }
}

impl Mutation for JobStep {
    fn reads(&self, target: &ObjectRef, object: Option<&Value>) -> Vec<Read> {
        if target.kind != "Job" {
            let template = self.cron_job.as_ref();
            return template
                .map(|template| Read::Object(of_batch("CronJob", &template.name)))
                .into_iter()
                .collect();
        }
        let Some((job, _)) = object.and_then(|job| Some((job, ended(job)?))) else { return Vec::new() };
        let uid = text(job, "/metadata/uid").unwrap_or_default();
        let labels = format!("batch.kubernetes.io/controller-uid={uid}");
        let pods = ListRead {
            api_version: "v1".to_owned(),
            kind: "Pod".to_owned(),
            labels: labels.clone(),
            ..ListRead::default()
        };
        vec![Read::List(pods), Read::Log(LogRead { labels, bytes: MAX_OUTPUT })]
    }

    fn may_read(&self, target: &ObjectRef) -> Vec<Read> {
        let pods = ListRead { api_version: "v1".to_owned(), kind: "Pod".to_owned(), ..ListRead::default() };
        let own = [Read::Object(of_batch("Job", "")), Read::List(pods)];
        self.reads(target, None).into_iter().chain(own).collect()
    }

    fn verb(&self) -> ActVerb {
        ActVerb::Create
    }

    fn needs(&self, _target: &ObjectRef) -> Vec<Need> {
        Need::of_act(self.verb(), &of_batch("Job", "")).into_iter().collect()
    }

    fn reads_target(&self) -> bool {
        false
    }

    fn plan(&self, scene: &Scene<'_>) -> Plan {
        let spec = self.template(scene)?;
        if let Some((path, message)) = job_spec::problems(&spec, scene.account).first() {
            return Err(format!("the template{path}: {message}"));
        }
        let name = name_of(scene.operation_id);
        let body = job_spec::of(&spec, &self.env, &name, scene, digest::of)?;
        if body.to_string().len() > patching::MAX_BODY {
            return Err(format!("the Job is larger than {} bytes", patching::MAX_BODY));
        }
        let mut delta = diff::of_new("batch", &body);
        if delta.len() > MAX_VALUES {
            delta = ["metadata", "spec"]
                .map(|field| crate::api::change_request::Delta {
                    path: format!("/{field}"),
                    before: None,
                    after: Some(body[field].clone()),
                })
                .to_vec();
        }
        Ok(Some(Change {
            verb: self.verb(),
            object: Some(of_batch("Job", &name)),
            delta,
            body: Some(body),
            ..Change::default()
        }))
    }

    fn probe(&self, act: &Act, scene: &Scene<'_>, refused: bool) -> Proof {
        let name = act.target.display();
        let digest = act.body.as_ref().and_then(|body| annotation(body, SPEC_DIGEST));
        match scene.object {
            Some(job)
                if annotation(job, OPERATION) == Some(&act.operation_id)
                    && annotation(job, SPEC_DIGEST) == digest =>
            {
                Proof::Done
            }
            Some(_) => Proof::Unprovable(format!("{name} is there, and is not the Job of this run")),
            None if refused => Proof::NotDone,
            None => Proof::Unprovable(format!(
                "{name} is not there. It may have run and been removed, so it is not created again"
            )),
        }
    }

    fn settles(&self, _several: bool) -> bool {
        true
    }

    fn settle(&self, act: &Act, scene: &Scene<'_>, now: Timestamp) -> Progress {
        let name = act.target.display();
        let Some(job) = scene.object.filter(|job| annotation(job, OPERATION) == Some(&act.operation_id))
        else {
            return Progress::Unknown(format!(
                "{name} was removed before its end was seen, so it is not known how it ended"
            ));
        };
        let Some((succeeded, why)) = ended(job) else {
            let state =
                if job["status"]["active"].as_i64() > Some(0) { "is running" } else { "has not started" };
            let until = now.checked_add(LOOK_AGAIN).ok();
            return Progress::NotYet { message: format!("{name} {state}"), until };
        };
        let pods = scene.found(0).len();
        if pods > 1 {
            return Progress::Unknown(format!(
                "{name} started {pods} pods, so what it does was done more than once"
            ));
        }
        match succeeded {
            true => Progress::Done(format!("{name} completed")),
            false => Progress::Failed(format!("{name} failed: {why}{}", exit_of(scene))),
        }
    }

    fn outputs(&self, _act: &Act, scene: &Scene<'_>) -> Vec<Output> {
        let mut found = Vec::new();
        if let Some(code) = exit_code(scene) {
            found.push(Output { name: "exitCode".to_owned(), value: code.to_string() });
        }
        let log = scene.found(1).first();
        let said = |field: &str| log.and_then(|log| log[field].as_str());
        let value = match (said("text"), said("missing")) {
            (Some(text), _) => tail(text),
            (None, Some(why)) => tail(&format!("there is no log: {why}")),
            (None, None) => "there is no log".to_owned(),
        };
        found.push(Output { name: "log".to_owned(), value });
        found
    }

    fn participle(&self) -> &'static str {
        "run"
    }
}

impl JobStep {
    /// The spec that the Job is made of.
    fn template(&self, scene: &Scene<'_>) -> Result<Value, String> {
        let Some(template) = &self.cron_job else {
            return self.spec.clone().ok_or_else(|| "the step names no Job".to_owned());
        };
        let name = &template.name;
        let cron_job = scene.found(0).first().ok_or_else(|| format!("cronjob/{name} does not exist"))?;
        let mut spec = cron_job.pointer("/spec/jobTemplate/spec").cloned().unwrap_or_default();
        let digest = digest::of(&spec).map_err(|error| format!("no digest can be made: {error}"))?;
        if digest != template.digest {
            return Err(format!(
                "cronjob/{name} is not what was approved: the digest of its spec.jobTemplate.spec is {digest}, not {}",
                template.digest
            ));
        }
        // What the API server shows of a template that says nothing.
        if let Some(metadata) = spec.pointer_mut("/template/metadata").and_then(Value::as_object_mut) {
            metadata.remove("creationTimestamp");
        }
        Ok(spec)
    }
}

fn of_batch(kind: &str, name: &str) -> ObjectRef {
    ObjectRef { api_version: "batch/v1".to_owned(), kind: kind.to_owned(), name: name.to_owned() }
}

/// The name of the Job of an operation.
fn name_of(operation_id: &str) -> String {
    let hash = Sha256::digest(operation_id.as_bytes());
    let hex: String = hash.iter().take(10).map(|byte| format!("{byte:02x}")).collect();
    format!("mayday-{hex}")
}

fn annotation<'a>(object: &'a Value, name: &str) -> Option<&'a str> {
    object.get("metadata")?.get("annotations")?.get(name)?.as_str()
}

/// Whether a Job has succeeded, and why; `None` while it has not ended.
fn ended(job: &Value) -> Option<(bool, String)> {
    let conditions = job.pointer("/status/conditions").and_then(Value::as_array)?;
    let with = |kind: &str| {
        conditions.iter().find(|condition| condition["type"] == kind && condition["status"] == "True")
    };
    let why = |condition: &Value| {
        let of = |field: &str| condition[field].as_str().unwrap_or_default().to_owned();
        format!("{} ({})", of("message"), of("reason"))
    };
    with("Failed")
        .map(|failed| (false, why(failed)))
        .or_else(|| with("Complete").map(|done| (true, why(done))))
}

/// Exit code of the container that failed, else of the first.
fn exit_code(scene: &Scene<'_>) -> Option<i64> {
    let pod = scene.found(0).first()?;
    let of =
        |list: &str| pod.pointer(&format!("/status/{list}")).and_then(Value::as_array).into_iter().flatten();
    let codes: Vec<i64> = of("initContainerStatuses")
        .chain(of("containerStatuses"))
        .filter_map(|status| status.pointer("/state/terminated/exitCode").and_then(Value::as_i64))
        .collect();
    codes.iter().find(|code| **code != 0).or(codes.last()).copied()
}

fn exit_of(scene: &Scene<'_>) -> String {
    exit_code(scene).map_or_else(String::new, |code| format!("; exit code {code}"))
}

/// The end of a text, without characters that would change a terminal.
fn tail(text: &str) -> String {
    let clean: String = text.chars().filter(|one| matches!(one, '\n' | '\t') || !one.is_control()).collect();
    let mut start = clean.len().saturating_sub(MAX_OUTPUT);
    while !clean.is_char_boundary(start) {
        start += 1;
    }
    clean.get(start..).unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::api::runbook::RunbookSpec;
    use crate::runbook::steps::job_spec::RUN;
    use crate::runbook::steps::stage::{act_of, scene};

    const IMAGE: &str = "shop/flush@sha256:0000000000000000000000000000000000000000000000000000000000000000";

    fn step(change: Value) -> JobStep {
        let mut step =
            json!({"spec": {"template": {"spec": {"containers": [{"name": "flush", "image": IMAGE}]}}}});
        json_patch::merge(&mut step, &change);
        serde_json::from_value(step).unwrap()
    }

    fn container(change: Value) -> Value {
        let mut container = json!({"name": "flush", "image": IMAGE});
        json_patch::merge(&mut container, &change);
        json!({"spec": {"template": {"spec": {"containers": [container]}}}})
    }

    fn none() -> ObjectRef {
        ObjectRef::default()
    }

    fn act(step: &JobStep) -> Act {
        let target = none();
        act_of(&target, step.plan(&scene(&target, None)))
    }

    fn job(status: Value) -> Value {
        let mut job = act(&step(json!({}))).body.unwrap();
        job["status"] = status;
        job
    }

    fn failed() -> Value {
        json!({"conditions": [{"type": "Failed", "status": "True", "reason": "BackoffLimitExceeded", "message": "too often"}]})
    }

    fn complete() -> Value {
        json!({"conditions": [{"type": "Complete", "status": "True"}]})
    }

    fn pod(code: i64) -> Value {
        json!({"status": {"containerStatuses": [{"state": {"terminated": {"exitCode": code}}}]}})
    }

    fn problems(step: Value) -> Vec<String> {
        let runbook: RunbookSpec = serde_json::from_value(
            json!({"summary": "s", "serviceAccountName": "sa", "steps": [{"name": "j", "job": step}]}),
        )
        .unwrap();
        crate::runbook::validate::problems(&runbook).iter().map(ToString::to_string).collect()
    }

    fn settle(job: Option<&Value>, pods: Vec<Value>, log: Vec<Value>) -> (Progress, Vec<Output>) {
        let (step, target, related) = (step(json!({})), of_batch("Job", "j"), [pods, log]);
        let scene = Scene { related: &related, ..scene(&target, job) };
        let act = act(&step);
        (step.settle(&act, &scene, Timestamp::UNIX_EPOCH), step.outputs(&act, &scene))
    }

    #[test]
    fn a_job_has_one_name_an_operation_and_says_whose_it_is() {
        let act = act(&step(json!({})));
        let body = act.body.clone().unwrap();
        assert_eq!(act.target.name, name_of("run/step/0"));
        assert_ne!(name_of("run/step/0"), name_of("run/step/1"));
        assert!(act.target.name.len() <= 63 && act.uid.is_empty());
        assert_eq!(body["metadata"]["name"], act.target.name);
        assert_eq!(body["metadata"]["labels"][RUN], "run");
        assert_eq!(annotation(&body, OPERATION), Some("run/step/0"));
        assert_eq!(annotation(&body, SPEC_DIGEST), Some(&*digest::of(&body["spec"]).unwrap()));
        assert!(!act.delta.is_empty() && act.delta.len() <= MAX_VALUES);
    }

    #[test]
    fn a_job_runs_one_pod_once_as_the_account_of_the_runbook() {
        let eager = json!({"spec": {"backoffLimit": 6, "activeDeadlineSeconds": 100_000, "ttlSecondsAfterFinished": 1,
            "template": {"spec": {"restartPolicy": "OnFailure"}}}});
        let body = act(&step(eager)).body.unwrap();
        let spec = &body["spec"];
        for (field, value) in [
            ("backoffLimit", json!(0)),
            ("completions", json!(1)),
            ("parallelism", json!(1)),
            ("podReplacementPolicy", json!("Failed")),
            ("activeDeadlineSeconds", json!(540)),
            ("ttlSecondsAfterFinished", Value::Null),
        ] {
            assert_eq!(spec[field], value, "{field}");
        }
        let pod = &spec["template"]["spec"];
        assert_eq!((&pod["restartPolicy"], &pod["serviceAccountName"]), (&json!("Never"), &json!("sa")));
        assert_eq!(pod["automountServiceAccountToken"], false);
        let declared = json!({"spec": {"template": {"spec": {"automountServiceAccountToken": true}}}});
        let body = act(&step(declared)).body.unwrap();
        assert_eq!(body["spec"]["template"]["spec"]["automountServiceAccountToken"], true);
    }

    #[test]
    fn a_job_that_could_leave_its_pod_is_refused_with_path_and_reason() {
        let pod = |change: Value| json!({"spec": {"template": {"spec": change}}});
        for (change, path) in [
            (pod(json!({"hostNetwork": true})), ".template.spec.hostNetwork"),
            (pod(json!({"hostPID": true})), ".template.spec.hostPID"),
            (pod(json!({"nodeName": "w1"})), ".template.spec.nodeName"),
            (pod(json!({"volumes": [{"name": "h", "hostPath": {"path": "/"}}]})), ".volumes[0].hostPath"),
            (pod(json!({"serviceAccountName": "admin"})), ".template.spec.serviceAccountName"),
            (pod(json!({"containers": []})), ".template.spec.containers"),
            (container(json!({"securityContext": {"privileged": true}})), ".securityContext.privileged"),
            (
                container(json!({"securityContext": {"capabilities": {"add": ["SYS_ADMIN"]}}})),
                ".capabilities.add",
            ),
            (container(json!({"securityContext": {"procMount": "Unmasked"}})), ".securityContext.procMount"),
            (container(json!({"image": "shop/flush:v1"})), ".containers[0].image"),
            (container(json!({"ports": [{"hostPort": 1, "containerPort": 1}]})), ".containers[0].ports"),
            (json!({"spec": {"completions": 3}}), ".completions"),
            (json!({"spec": {"suspend": true}}), ".suspend"),
            (json!({"spec": {"selector": {}}}), ".selector"),
        ] {
            let mut written = serde_json::to_value(step(json!({}))).unwrap();
            json_patch::merge(&mut written, &change);
            let found = problems(written);
            let prefix = "spec.steps[0].job.spec";
            assert!(
                found.iter().any(|one| one.starts_with(prefix) && one.contains(path)),
                "{path}: {found:?}"
            );
        }
        assert_eq!(problems(serde_json::to_value(step(json!({}))).unwrap()), [""; 0]);
        let env = step(json!({"env": [{"name": "SHARD", "parameter": "shard"}]}));
        assert!(problems(serde_json::to_value(env).unwrap())[0].contains("no parameter is named"));
    }

    #[test]
    fn parameters_reach_a_job_as_whole_variables() {
        let step = step(json!({"env": [{"name": "SHARD", "parameter": "shard"}]}));
        let values =
            serde_json::from_value::<Vec<_>>(json!([{"name": "shard", "string": "$(id); rm"}])).unwrap();
        let target = none();
        let act = act_of(&target, step.plan(&Scene { values: &values, ..scene(&target, None) }));
        let env = &act.body.unwrap()["spec"]["template"]["spec"]["containers"][0]["env"];
        assert_eq!(*env, json!([{"name": "SHARD", "value": "$(id); rm"}]));
        assert!(step.plan(&scene(&target, None)).unwrap_err().contains("\"shard\" has no value"));
    }

    #[test]
    fn a_cron_job_is_used_only_with_the_digest_that_was_approved() {
        let template = json!({"template": {"metadata": {"creationTimestamp": null}, "spec": {"containers": [{"name": "flush", "image": IMAGE}],
            "restartPolicy": "OnFailure", "dnsPolicy": "ClusterFirst"}}});
        let live = json!({"spec": {"jobTemplate": {"spec": template}}});
        let step = |digest: &str| -> JobStep {
            serde_json::from_value(json!({"cronJob": {"name": "flush", "digest": digest}})).unwrap()
        };
        let target = none();
        let [Read::Object(read)] = &step("d").reads(&target, None)[..] else { panic!() };
        assert_eq!((read.kind.as_str(), read.name.as_str()), ("CronJob", "flush"));
        let plan = |digest: &str, found: Vec<Value>| {
            let related = [found];
            step(digest).plan(&Scene { related: &related, ..scene(&target, None) })
        };
        let right = digest::of(&template).unwrap();
        assert!(plan("d", vec![live.clone()]).unwrap_err().contains(&right));
        assert!(plan(&right, Vec::new()).unwrap_err().contains("cronjob/flush does not exist"));
        let act = act_of(&target, plan(&right, vec![live]));
        assert_eq!(act.body.unwrap()["spec"]["template"]["spec"]["restartPolicy"], "Never");
    }

    #[test]
    fn a_job_that_is_gone_may_have_run_and_is_not_created_again() {
        let (step, target) = (step(json!({})), of_batch("Job", "j"));
        let act = act(&step);
        let probe =
            |object: Option<&Value>, refused: bool| step.probe(&act, &scene(&target, object), refused);
        assert_eq!(probe(act.body.as_ref(), false), Proof::Done);
        assert_eq!(probe(None, true), Proof::NotDone);
        assert!(matches!(probe(None, false), Proof::Unprovable(_)));
        let mut other = act.body.clone().unwrap();
        other["metadata"]["annotations"][OPERATION] = "another".into();
        assert!(matches!(probe(Some(&other), true), Proof::Unprovable(_)));
        let (gone, _) = settle(None, Vec::new(), Vec::new());
        assert!(matches!(gone, Progress::Unknown(_)), "{gone:?}");
    }

    #[test]
    fn the_step_ends_as_the_job_ends_and_keeps_exit_code_and_log() {
        let (waits, _) = settle(Some(&job(json!({"active": 1}))), Vec::new(), Vec::new());
        assert!(matches!(waits, Progress::NotYet { message, .. } if message.ends_with("is running")));
        let (done, outputs) =
            settle(Some(&job(complete())), vec![pod(0)], vec![json!({"text": "a\u{1b}[2Jb\n"})]);
        assert!(matches!(done, Progress::Done(message) if message.ends_with("completed")));
        let values: Vec<_> = outputs.iter().map(|output| (&*output.name, &*output.value)).collect();
        assert_eq!(values, [("exitCode", "0"), ("log", "a[2Jb\n")]);
        let (failed, outputs) =
            settle(Some(&job(failed())), vec![pod(3)], vec![json!({"missing": "no node"})]);
        let Progress::Failed(message) = failed else { panic!() };
        assert!(message.contains("too often (BackoffLimitExceeded); exit code 3"), "{message}");
        assert_eq!(outputs[1].value, "there is no log: no node");
        let (long, outputs) =
            settle(Some(&job(complete())), vec![pod(0)], vec![json!({"text": "ä".repeat(5000)})]);
        assert!(matches!(long, Progress::Done(_)) && outputs[1].value.len() <= MAX_OUTPUT);
    }

    #[test]
    fn a_body_that_was_started_twice_is_unknown() {
        let (twice, _) = settle(Some(&job(complete())), vec![pod(0), pod(1)], Vec::new());
        assert!(matches!(twice, Progress::Unknown(message) if message.contains("2 pods")));
    }
}
