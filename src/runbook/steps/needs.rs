//! What the ServiceAccount of a Runbook must be allowed for a step: derived from what the step reads and does, so that a
//! run does not die half way of a missing right (docs/rules.md#preflight). Pure.

use super::kind::{StepKind, Work};
use super::mutation::Mutation;
use super::{compensation_of, of};
use crate::api::common::ObjectRef;
use crate::api::runbook::{Precondition, RunbookSpec};
use crate::api::runbook_run::{ActVerb, Resolved};
use crate::api::runbook_step::{Step, Target};
use crate::runbook::targets::{Implied, Read};

/// A right that a step needs.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Need {
    /// Verb of RBAC.
    pub verb: &'static str,
    /// API version and kind; the name says less than [`Need::names`].
    pub object: ObjectRef,
    /// Subresource; empty if there is none.
    pub subresource: &'static str,
    /// Which objects of the kind.
    pub names: Names,
    /// Whether it is needed in every namespace. A kind outside every namespace needs no such mark.
    pub everywhere: bool,
}

/// Which objects a right is about.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Names {
    /// All, as for a list or a creation.
    All,
    /// This one.
    One(String),
    /// One that is known only when a run begins.
    Some,
}

impl Need {
    /// A right on one object, or on one whose name is not known yet.
    pub fn on(verb: &'static str, object: &ObjectRef) -> Need {
        let names = match object.name.as_str() {
            "" => Names::Some,
            name => Names::One(name.to_owned()),
        };
        Need { verb, object: object.clone(), subresource: "", names, everywhere: false }
    }

    /// A right on all objects of a kind.
    pub fn on_all(verb: &'static str, api_version: &str, kind: &str) -> Need {
        let object = of_kind(api_version, kind);
        Need { verb, object, subresource: "", names: Names::All, everywhere: false }
    }

    /// The same right on a subresource.
    pub fn of(self, subresource: &'static str) -> Need {
        Need { subresource, ..self }
    }

    /// What a read needs.
    fn of_read(read: &Read) -> Vec<Need> {
        match read {
            Read::Object(object) => vec![Need::on("get", object)],
            Read::List(list) => {
                let need = Need::on_all("list", &list.api_version, &list.kind);
                vec![Need { everywhere: list.everywhere, ..need }]
            }
            // A log that may not be read fails nothing, and is said to be missing.
            Read::Log(_) => Vec::new(),
        }
    }

    /// What the request of an act needs.
    pub fn of_act(verb: ActVerb, object: &ObjectRef) -> Option<Need> {
        Some(match verb {
            ActVerb::Update => Need::on("patch", object),
            ActVerb::Create => Need { names: Names::All, ..Need::on("create", object) },
            ActVerb::Evict => Need::on("create", object).of("eviction"),
            ActVerb::Delete => Need::on("delete", object),
            ActVerb::Send => return None,
        })
    }
}

/// A kind, without a name.
pub fn of_kind(api_version: &str, kind: &str) -> ObjectRef {
    ObjectRef { api_version: api_version.to_owned(), kind: kind.to_owned(), name: String::new() }
}

/// What the step at that index needs, with its condition, its preconditions and its compensation. `targets` are the objects
/// of the step, once they are known; `subjects` those of the incident. The first step needs what the Runbook's own
/// preconditions read.
pub fn of_step(
    spec: &RunbookSpec,
    index: usize,
    (targets, subjects): (Option<&[Resolved]>, &[ObjectRef]),
) -> Vec<Need> {
    let Some(step) = spec.steps.get(index) else { return Vec::new() };
    let mut found = Vec::new();
    if index == 0 {
        found.extend(spec.preconditions.iter().flat_map(|given| of_look(&given.target, subjects)));
    }
    found.extend(step.when.iter().flat_map(|when| of_look(&when.target, subjects)));
    let given = |given: &Precondition| of_look(&given.target, subjects);
    found.extend(step.preconditions.iter().flat_map(given));
    let own: Vec<ObjectRef> = match targets {
        Some(targets) => targets.iter().map(|target| target.object.clone()).collect(),
        None => of(step)
            .and_then(|kind| Some(known(kind.target()?, kind.implied(), subjects)))
            .unwrap_or_default(),
    };
    if let Some(kind) = of(step) {
        found.extend(of_kind_of_step(kind, &own, subjects));
    }
    if let Some(back) = compensation_of(step) {
        found.extend(of_compensation(step, back, &own, subjects));
    }
    let mut unique: Vec<Need> = Vec::new();
    for need in found {
        if !unique.contains(&need) {
            unique.push(need);
        }
    }
    unique
}

fn of_kind_of_step(kind: &dyn StepKind, targets: &[ObjectRef], subjects: &[ObjectRef]) -> Vec<Need> {
    let mut found: Vec<Need> =
        kind.target().map(|target| of_target(target, kind.implied(), subjects)).unwrap_or_default();
    let secret = |name: String| Need::on("get", &ObjectRef { name, ..of_kind("v1", "Secret") });
    found.extend(kind.secrets().into_iter().map(secret));
    match kind.work() {
        Work::Mutation(mutation) => found.extend(of_mutation(mutation, targets)),
        Work::Poll(_) => found.extend(targets.iter().map(|target| Need::on("get", target))),
        Work::Question(..) => {}
    }
    found
}

fn of_mutation(mutation: &dyn Mutation, targets: &[ObjectRef]) -> Vec<Need> {
    // A Job or a request is about nothing that exists before.
    let nothing = [ObjectRef::default()];
    let targets = if mutation.reads_target() { targets } else { &nothing };
    let mut found = Vec::new();
    for target in targets {
        if mutation.reads_target() {
            found.push(Need::on("get", target));
        }
        found.extend(mutation.may_read(target).iter().flat_map(Need::of_read));
        found.extend(mutation.needs(target));
    }
    found
}

/// A compensation acts on a target of its own, or on what its step has changed.
fn of_compensation(step: &Step, back: &dyn StepKind, own: &[ObjectRef], subjects: &[ObjectRef]) -> Vec<Need> {
    let Work::Mutation(mutation) = back.work() else { return Vec::new() };
    match back.target() {
        Some(target) => of_mutation(mutation, &known(target, back.implied(), subjects)),
        None if step.scale.is_some() || !own.is_empty() => of_mutation(mutation, own),
        None => Vec::new(),
    }
}

/// What must be allowed to find out which objects a target stands for.
fn of_target(target: &Target, implied: Implied, subjects: &[ObjectRef]) -> Vec<Need> {
    target.reads(implied, subjects).iter().flat_map(Need::of_read).collect()
}

/// What a condition or a precondition reads.
fn of_look(target: &Target, subjects: &[ObjectRef]) -> Vec<Need> {
    of_target(target, None, subjects)
}

/// The objects of a target as far as they are known without a look; one without a name for those that are found by labels.
fn known(target: &Target, implied: Implied, subjects: &[ObjectRef]) -> Vec<ObjectRef> {
    let reads = target.reads(implied, subjects).into_iter();
    let object = |read: Read| match read {
        Read::Object(object) => Some(object),
        Read::List(list) => Some(of_kind(&list.api_version, &list.kind)),
        Read::Log(_) => None,
    };
    reads.filter_map(object).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::runbook_step::STEP_MEMBERS;
    use serde_json::{Value, json};

    fn spec(step: Value) -> RunbookSpec {
        let mut named = json!({"name": "s"});
        json_patch::merge(&mut named, &step);
        serde_json::from_value(json!({"summary": "s", "serviceAccountName": "sa", "steps": [named]})).unwrap()
    }

    /// The rights in words, as `kubectl auth can-i` takes them.
    fn words(spec: &RunbookSpec) -> Vec<String> {
        let word = |need: Need| {
            let name = match &need.names {
                Names::All => String::new(),
                Names::One(name) => format!("/{name}"),
                Names::Some => "/?".to_owned(),
            };
            let sub =
                if need.subresource.is_empty() { String::new() } else { format!(".{}", need.subresource) };
            let place = if need.everywhere { " everywhere" } else { "" };
            format!("{} {}{sub}{name}{place}", need.verb, need.object.kind)
        };
        of_step(spec, 0, (None, &[])).into_iter().map(word).collect()
    }

    /// Failure list 35: each kind of step says what it needs.
    #[test]
    fn every_kind_of_step_says_which_rights_it_needs() {
        let target = json!({"apiVersion": "apps/v1", "kind": "Deployment", "name": "c"});
        let config = json!({"apiVersion": "v1", "kind": "ConfigMap", "name": "l"});
        let flux =
            json!({"apiVersion": "kustomize.toolkit.fluxcd.io/v1", "kind": "Kustomization", "name": "k"});
        let named: [(&str, Value, &[&str]); 16] = [
            ("restart", json!({"target": target}), &["get Deployment/c", "patch Deployment/c"]),
            (
                "rollback",
                json!({"target": target, "to": "Previous"}),
                &["get Deployment/c", "list ReplicaSet", "patch Deployment/c"],
            ),
            (
                "scale",
                json!({"target": target, "replicas": 3}),
                &["get Deployment/c", "list HorizontalPodAutoscaler", "patch Deployment/c"],
            ),
            (
                "patch",
                json!({"target": config, "merge": {}, "allowPaths": ["/data"]}),
                &["get ConfigMap/l", "patch ConfigMap/l"],
            ),
            (
                "deletePod",
                json!({"target": {"selector": {"matchLabels": {"a": "b"}}}}),
                &["list Pod", "get Pod/?", "create Pod.eviction/?"],
            ),
            ("cordon", json!({"target": {"name": "w1"}}), &["get Node/w1", "patch Node/w1"]),
            ("uncordon", json!({"target": {"name": "w1"}}), &["get Node/w1", "patch Node/w1"]),
            (
                "drain",
                json!({"target": {"name": "w1"}}),
                &["get Node/w1", "list Pod everywhere", "create Pod.eviction everywhere"],
            ),
            (
                "job",
                json!({"cronJob": {"name": "clear", "digest": "d"}}),
                &["get CronJob/clear", "get Job/?", "list Pod", "create Job"],
            ),
            (
                "http",
                json!({"url": "http://x", "method": "GET", "idempotency": "SafeMethod",
                    "headers": [{"name": "A", "secretRef": {"name": "token", "key": "k"}}]}),
                &["get Secret/token"],
            ),
            ("wait", json!({"duration": "1s"}), &[]),
            ("check", json!({"rollout": {"target": target}}), &["get Deployment/c"]),
            ("manual", json!({"instructions": "i"}), &[]),
            ("approval", json!({"question": "q"}), &[]),
            ("suspendGitOps", json!({"target": flux}), &["get Kustomization/k", "patch Kustomization/k"]),
            ("resumeGitOps", json!({"target": flux}), &["get Kustomization/k", "patch Kustomization/k"]),
        ];
        assert_eq!(named.each_ref().map(|(name, ..)| *name).as_slice(), STEP_MEMBERS);
        for (name, step, needs) in named {
            assert_eq!(words(&spec(json!({name: step}))), needs, "{name}");
        }
    }

    #[test]
    fn conditions_and_the_way_back_need_rights_as_well() {
        let target = json!({"apiVersion": "apps/v1", "kind": "Deployment", "name": "c"});
        let look = json!({"apiVersion": "v1", "kind": "Service", "name": "s"});
        let found = words(&spec(json!({"restart": {"target": target},
            "when": {"target": look, "expression": "true"},
            "preconditions": [{"target": {"apiVersion": "v1", "kind": "Pod", "selector": {"matchLabels": {"a": "b"}}},
                "expression": "true", "message": "m"}],
            "compensation": {"uncordon": {"target": {"name": "w1"}}}})));
        assert_eq!(
            found,
            [
                "get Service/s",
                "list Pod",
                "get Deployment/c",
                "patch Deployment/c",
                "get Node/w1",
                "patch Node/w1"
            ]
        );
        let back = words(&spec(
            json!({"cordon": {"target": {"name": "w1"}}, "compensation": {"restorePrevious": {}}}),
        ));
        assert_eq!(back, ["get Node/w1", "patch Node/w1"]);
    }

    #[test]
    fn the_objects_of_a_run_are_asked_about_by_name() {
        let spec = spec(json!({"restart": {"target": {"fromIncident": {}}}}));
        assert_eq!(of_step(&spec, 0, (None, &[])), []);
        let object =
            ObjectRef { api_version: "apps/v1".into(), kind: "Deployment".into(), name: "till".into() };
        let targets = [Resolved { object: object.clone(), uid: None }];
        let needs = of_step(&spec, 0, (Some(&targets), std::slice::from_ref(&object)));
        assert_eq!(needs, [Need::on("get", &object), Need::on("patch", &object)]);
    }
}
