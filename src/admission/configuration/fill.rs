//! Writes the fields that depend on policies and certificates into the webhook configurations, by server-side
//! apply. The operator owns only these fields and the chart all others, so an upgrade removes none of them.

use std::fmt::Debug;

use k8s_openapi::ByteString;
use k8s_openapi::api::admissionregistration::v1::{
    MutatingWebhookConfiguration, ValidatingWebhookConfiguration,
};
use kube::api::{Patch, PatchParams};
use kube::{Api, Client};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::rules::Filled;
use crate::cluster::Error;
use crate::cluster::error::chain;

/// Owner of what is filled in.
const MANAGER: &str = "mayday-webhooks";
/// Stamps our own kinds.
pub const STAMP: &str = "mayday-guard-stamp";
/// Judges our own kinds.
pub const GUARD: &str = "mayday-guard";
/// Judges protected objects.
pub const GATE: &str = "mayday-change-gate";
/// The one webhook of both guard configurations.
const GUARD_WEBHOOK: &str = "guard.mayday.dev";

/// The webhook configurations of one cluster.
#[derive(Clone)]
pub struct Webhooks {
    mutating: Api<MutatingWebhookConfiguration>,
    validating: Api<ValidatingWebhookConfiguration>,
}

impl Webhooks {
    /// As the operator.
    pub fn new(client: &Client) -> Webhooks {
        Webhooks { mutating: Api::all(client.clone()), validating: Api::all(client.clone()) }
    }

    /// Whether every installed webhook of Mayday trusts exactly this bundle.
    ///
    /// # Errors
    /// When the API server does not answer.
    pub async fn trust(&self, bundle: &str) -> Result<bool, Error> {
        let stamp = self.mutating.get_opt(STAMP).await?.and_then(|found| found.webhooks);
        let mut bundles: Vec<Option<ByteString>> =
            stamp.into_iter().flatten().map(|webhook| webhook.client_config.ca_bundle).collect();
        for name in [GUARD, GATE] {
            let webhooks = self.validating.get_opt(name).await?.and_then(|found| found.webhooks);
            bundles.extend(webhooks.into_iter().flatten().map(|webhook| webhook.client_config.ca_bundle));
        }
        Ok(bundles.iter().all(|held| held.as_ref().is_some_and(|held| held.0 == bundle.as_bytes())))
    }

    /// Fills in the bundle everywhere and the rules of the gate. Writing the same values again changes
    /// nothing. If one configuration fails, the others are still filled.
    ///
    /// # Errors
    /// The first failure: the API server refuses, or a configuration, which the chart installs, is missing.
    pub async fn fill(&self, bundle: &str, gate: &[Filled]) -> Result<(), Error> {
        let (stamping, validating) = ("MutatingWebhookConfiguration", "ValidatingWebhookConfiguration");
        let stamp = patch(&self.mutating, STAMP, &body(stamping, STAMP, bundle, &[])).await;
        let guard = patch(&self.validating, GUARD, &body(validating, GUARD, bundle, &[])).await;
        let gate = patch(&self.validating, GATE, &body(validating, GATE, bundle, gate)).await;
        stamp.and(guard).and(gate)
    }
}

/// Owns the filled-in fields of a configuration that the chart has created. The operator may not create one.
async fn patch<K>(api: &Api<K>, name: &str, body: &Value) -> Result<(), Error>
where
    K: Clone + Debug + DeserializeOwned,
{
    let filled = api.patch(name, &PatchParams::apply(MANAGER).force(), &Patch::Apply(body)).await;
    filled.map(|_| ()).map_err(|error| match crate::cluster::error::code(&error) {
        Some(403 | 404) => Error::Waiting(format!(
            "the webhook configuration {name} cannot be filled ({}): helm upgrade brings it back",
            chain(&error)
        )),
        _ => error.into(),
    })
}

/// What is applied to one configuration. A guard has one webhook, whose rules are the chart's.
fn body(kind: &str, name: &str, bundle: &str, gate: &[Filled]) -> Value {
    let client = json!({"caBundle": ByteString(bundle.as_bytes().to_vec())});
    let webhooks: Vec<Value> = if gate.is_empty() {
        vec![json!({"name": GUARD_WEBHOOK, "clientConfig": client})]
    } else {
        gate.iter()
            .map(|filled| {
                let conditions: Vec<Value> = filled
                    .conditions
                    .iter()
                    .map(|(name, expression)| json!({"name": name, "expression": expression}))
                    .collect();
                json!({
                    "name": filled.name,
                    "clientConfig": client,
                    "rules": filled.rules,
                    "namespaceSelector": filled.namespace_selector,
                    "matchConditions": conditions,
                })
            })
            .collect()
    };
    json!({
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": kind,
        "metadata": {"name": name},
        "webhooks": webhooks,
    })
}

#[cfg(test)]
mod tests {
    use super::super::rules;
    use super::*;

    #[test]
    fn only_the_bundle_of_a_guard_is_ours() {
        let body = body("ValidatingWebhookConfiguration", GUARD, "PEM", &[]);
        assert_eq!(
            body["webhooks"],
            json!([{"name": "guard.mayday.dev", "clientConfig": {"caBundle": "UEVN"}}])
        );
    }

    #[test]
    fn rules_that_end_are_taken_away_and_not_left_out() {
        let body = body("ValidatingWebhookConfiguration", GATE, "PEM", &rules::gate([], "mayday-system"));
        assert_eq!(body["webhooks"][0]["rules"], json!([]), "an apply without the field would keep them");
        assert_eq!(body["webhooks"][1]["name"], "break-glass.change-gate.mayday.dev");
    }
}
