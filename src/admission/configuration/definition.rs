//! What the admission objects should be: as the chart defines them, with the fields that the operator fills in. Pure.
//!
//! The chart renders the objects a second time, into the ConfigMap with the settings. So an upgrade tells the operator
//! what is right before it changes the objects themselves.

use std::collections::BTreeMap;

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::ConfigMap;
use serde_json::{Value, json};

use super::rules::Filled;

/// Name of the ConfigMap, in the operator's namespace.
pub const CONFIG_MAP: &str = "mayday-config";
/// Its key with the admission objects, a list.
const KEY: &str = "admission.json";
/// Judges protected objects.
pub const GATE: &str = "mayday-change-gate";
/// Webhooks that must refuse when they cannot be called.
const CLOSED: [&str; 2] = ["change-gate.mayday.dev", "guard.mayday.dev"];

/// The kinds of the admission objects.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Kind {
    /// Webhooks that stamp.
    MutatingWebhookConfiguration,
    /// Webhooks that judge.
    ValidatingWebhookConfiguration,
    /// Rules that need no look-up.
    ValidatingAdmissionPolicy,
    /// What puts such a rule in force.
    ValidatingAdmissionPolicyBinding,
}

impl Kind {
    /// Every kind.
    pub const ALL: [Kind; 4] = [
        Kind::MutatingWebhookConfiguration,
        Kind::ValidatingWebhookConfiguration,
        Kind::ValidatingAdmissionPolicy,
        Kind::ValidatingAdmissionPolicyBinding,
    ];

    /// As manifests write it.
    pub fn as_str(self) -> &'static str {
        match self {
            Kind::MutatingWebhookConfiguration => "MutatingWebhookConfiguration",
            Kind::ValidatingWebhookConfiguration => "ValidatingWebhookConfiguration",
            Kind::ValidatingAdmissionPolicy => "ValidatingAdmissionPolicy",
            Kind::ValidatingAdmissionPolicyBinding => "ValidatingAdmissionPolicyBinding",
        }
    }

    /// As `kubectl get` takes it.
    pub fn lower(self) -> String {
        self.as_str().to_lowercase()
    }
}

/// Identity of an admission object.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Id {
    /// Its kind.
    pub kind: Kind,
    /// Its name.
    pub name: String,
}

impl std::fmt::Display for Id {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.kind.lower(), self.name)
    }
}

/// Admission objects as they should be.
pub type Definition = BTreeMap<Id, Value>;

/// Reads the chart's part.
///
/// # Errors
/// What is wrong with the ConfigMap, and how it is mended.
pub fn read(map: Option<&ConfigMap>) -> Result<Definition, String> {
    let mend = |what: &str| {
        format!(
            "configmap/{CONFIG_MAP} {what}, so it is not known what the gate should be; bring it back: {}",
            upgrade(None)
        )
    };
    let text = map.and_then(|map| map.data.as_ref()).and_then(|data| data.get(KEY));
    let text = text.ok_or_else(|| mend(&format!("has no {KEY}")))?;
    let objects: Vec<Value> =
        serde_json::from_str(text).map_err(|error| mend(&format!("has an unreadable {KEY} ({error})")))?;
    let mut definition = Definition::new();
    for object in objects {
        let id = id(&object).ok_or_else(|| mend(&format!("has an unknown kind in {KEY}")))?;
        definition.insert(id, object);
    }
    match weakness(&definition) {
        Some(what) => Err(mend(&format!("describes a gate that is open ({what})"))),
        None => Ok(definition),
    }
}

fn id(object: &Value) -> Option<Id> {
    let kind = Kind::ALL.into_iter().find(|kind| object["kind"] == kind.as_str())?;
    Some(Id { kind, name: object.pointer("/metadata/name")?.as_str()?.to_owned() })
}

/// Why a definition protects nothing. It does not take the place of the chart; it keeps an edit of the ConfigMap from
/// opening the gate by itself.
fn weakness(definition: &Definition) -> Option<String> {
    let mut closed = Vec::new();
    for (id, object) in definition {
        if id.kind == Kind::ValidatingAdmissionPolicyBinding {
            let actions = object.pointer("/spec/validationActions");
            if actions != Some(&json!(["Deny"])) {
                return Some(format!("{id} does not refuse"));
            }
        }
        for webhook in object["webhooks"].as_array().into_iter().flatten() {
            let name = webhook["name"].as_str().unwrap_or_default();
            if !CLOSED.contains(&name) {
                continue;
            }
            closed.push((id.kind, name));
            if webhook["failurePolicy"] != "Fail" || !webhook["objectSelector"].is_null() {
                return Some(format!("{name} in {id} does not refuse everything"));
            }
        }
    }
    let needed = [
        (Kind::MutatingWebhookConfiguration, "guard.mayday.dev"),
        (Kind::ValidatingWebhookConfiguration, "change-gate.mayday.dev"),
        (Kind::ValidatingWebhookConfiguration, "guard.mayday.dev"),
    ];
    needed.iter().find(|needed| !closed.contains(needed)).map(|(_, name)| format!("{name} is missing"))
}

/// The objects with the fields that depend on certificates and policies.
pub fn fill(definition: &Definition, bundle: &str, gate: &[Filled]) -> Definition {
    let bundle = json!(ByteString(bundle.as_bytes().to_vec()));
    let mut filled = definition.clone();
    for (id, object) in &mut filled {
        for webhook in object["webhooks"].as_array_mut().into_iter().flatten() {
            webhook["clientConfig"]["caBundle"] = bundle.clone();
            let of_policies = gate.iter().find(|filled| webhook["name"] == filled.name);
            let Some(of_policies) = of_policies.filter(|_| id.name == GATE) else { continue };
            webhook["rules"] = of_policies.rules.clone();
            webhook["namespaceSelector"] = of_policies.namespace_selector.clone();
            let conditions =
                of_policies.conditions.iter().map(|(name, cel)| json!({"name": name, "expression": cel}));
            match &mut webhook["matchConditions"] {
                Value::Array(held) => held.extend(conditions),
                other => *other = conditions.collect(),
            }
        }
    }
    filled
}

/// The object without the fields that the operator fills in: what the chart alone decides.
pub fn without_filled(object: &Value) -> Value {
    let mut rest = object.clone();
    let is_gate = object.pointer("/metadata/name").is_some_and(|name| name == GATE);
    for webhook in rest["webhooks"].as_array_mut().into_iter().flatten() {
        if let Some(client) = webhook["clientConfig"].as_object_mut() {
            client.remove("caBundle");
        }
        let Some(webhook) = webhook.as_object_mut().filter(|_| is_gate) else { continue };
        webhook.remove("rules");
        webhook.remove("namespaceSelector");
        let is_filled = |condition: &Value| {
            condition["name"].as_str().is_some_and(|name| name.starts_with(super::rules::CONDITION))
        };
        if let Some(conditions) = webhook.get_mut("matchConditions").and_then(Value::as_array_mut) {
            conditions.retain(|condition| !is_filled(condition));
        }
    }
    rest
}

/// The command that brings the chart's objects back, for a release of which one object is known.
pub fn upgrade(object: Option<&Value>) -> String {
    let label = |pointer: &str| object.and_then(|object| object.pointer(pointer)).and_then(Value::as_str);
    let release = label("/metadata/annotations/meta.helm.sh~1release-name").unwrap_or("mayday");
    let namespace = label("/metadata/annotations/meta.helm.sh~1release-namespace").unwrap_or("mayday-system");
    format!("helm upgrade {release} CHART -n {namespace} --reuse-values --force-conflicts")
}

#[cfg(test)]
mod tests {
    use super::super::{compare, rules};
    use super::*;

    /// The three webhook configurations and a binding, as the chart defines them.
    pub fn objects() -> Value {
        let webhook = |name: &str| {
            json!({"name": name, "failurePolicy": "Fail", "clientConfig": {"url": "https://m"},
            "matchConditions": [{"name": "not-mayday", "expression": "true"}]})
        };
        json!([
            {"kind": "MutatingWebhookConfiguration", "metadata": {"name": "mayday-guard-stamp"}, "webhooks": [webhook("guard.mayday.dev")]},
            {"kind": "ValidatingWebhookConfiguration", "metadata": {"name": "mayday-guard"}, "webhooks": [webhook("guard.mayday.dev")]},
            {"kind": "ValidatingWebhookConfiguration", "metadata": {"name": GATE}, "webhooks": [webhook("change-gate.mayday.dev")]},
            {"kind": "ValidatingAdmissionPolicyBinding", "metadata": {"name": "mayday-runs"},
                "spec": {"policyName": "mayday-runs", "validationActions": ["Deny"]}},
        ])
    }

    fn map(objects: &Value) -> ConfigMap {
        serde_json::from_value(json!({"data": {KEY: objects.to_string()}})).unwrap()
    }

    #[test]
    fn a_definition_is_filled_and_emptied_again() {
        let definition = read(Some(&map(&objects()))).unwrap();
        let glass: crate::api::ChangePolicy = serde_json::from_value(json!({"apiVersion": "mayday.dev/v1alpha1",
            "kind": "ChangePolicy", "metadata": {"name": "p"}, "spec": {"scope": {"namespaces": {"names": ["shop"]}}, "approval": {},
                "breakGlass": {"groups": ["g"]}}}))
        .unwrap();
        let filled = fill(&definition, "PEM", &rules::gate([&glass], "mayday-system"));
        let gate = Id { kind: Kind::ValidatingWebhookConfiguration, name: GATE.to_owned() };
        let webhook = &filled[&gate]["webhooks"][0];
        assert_eq!(webhook["clientConfig"]["caBundle"], "UEVN");
        assert_eq!(webhook["rules"][0]["scope"], "Namespaced");
        assert_eq!(webhook["matchConditions"].as_array().map(Vec::len), Some(2));
        for (id, object) in &filled {
            assert!(compare::is_same(&without_filled(object), &definition[id]), "{id}");
        }
        let empty = fill(&definition, "PEM", &rules::gate([], "mayday-system"));
        assert_eq!(empty[&gate]["webhooks"][0]["rules"], json!([]), "rules that end are taken away");
    }

    /// The kind: an edit of the ConfigMap that would make the operator itself open the gate.
    #[test]
    fn a_definition_that_protects_nothing_is_refused_with_the_command() {
        let mut cases = vec![json!([]), json!([{"kind": "Pod", "metadata": {"name": "x"}}])];
        for (pointer, value) in [
            ("/2/webhooks/0/failurePolicy", json!("Ignore")),
            ("/1/webhooks/0/failurePolicy", json!("Ignore")),
            ("/0/webhooks/0/failurePolicy", json!("Ignore")),
            ("/2/webhooks/0/name", json!("x.mayday.dev")),
            ("/3/spec/validationActions", json!(["Warn"])),
        ] {
            let mut changed = objects();
            *changed.pointer_mut(pointer).unwrap() = value;
            cases.push(changed);
        }
        let mut selected = objects();
        selected[2]["webhooks"][0]["objectSelector"] = json!({"matchLabels": {"a": "b"}});
        cases.push(selected);
        for case in cases {
            let said = read(Some(&map(&case))).unwrap_err();
            assert!(said.contains("helm upgrade mayday CHART -n mayday-system"), "{case}: {said}");
        }
        assert!(read(None).unwrap_err().contains("has no admission.json"));
        assert!(read(Some(&map(&json!({"a": 1})))).unwrap_err().contains("unreadable"));
    }

    #[test]
    fn the_command_names_the_release() {
        let object = json!({"metadata": {"annotations": {"meta.helm.sh/release-name": "md", "meta.helm.sh/release-namespace": "ops"}}});
        assert_eq!(upgrade(Some(&object)), "helm upgrade md CHART -n ops --reuse-values --force-conflicts");
    }
}
