//! Reads which policies protect the object of an action, and the incidents and freezes that bind under them.

use std::sync::Arc;

use jiff::Timestamp;
use kube::api::Api;

use super::action::Action;
use crate::api::change_policy::{Activation, Interactive};
use crate::api::freeze::Stops;
use crate::api::{ChangePolicy, Freeze, Incident};
use crate::change::approval::binding;
use crate::change::freeze::{in_force, live};
use crate::change::policy;
use crate::cluster::caches::list_live;
use crate::cluster::{Context, Error};

/// The policies, incidents and freezes of one review.
#[derive(Clone, Debug, Default)]
pub struct Protection {
    policies: Vec<Arc<ChangePolicy>>,
    /// The incidents, read live where their absence lets more pass.
    pub incidents: Vec<Arc<Incident>>,
    /// The freezes, read live where their absence lets more pass.
    pub freezes: Vec<Arc<Freeze>>,
}

impl Protection {
    /// Reads the policies, incidents and freezes for an action.
    ///
    /// # Errors
    /// When the API server does not answer.
    pub async fn read(context: &Context, action: &Action) -> Result<Protection, Error> {
        let policies = policies(context, action).await?;
        let incidents = incidents(context, action, &policies).await?;
        let freezes = freezes(context, action, &policies).await?;
        Ok(Protection { policies, incidents, freezes })
    }

    /// The policies that protect the object and are active now. A freeze of changes makes its policy active.
    pub fn in_force(&self, action: &Action, operator_namespace: &str, now: Timestamp) -> Vec<&ChangePolicy> {
        let is_active = |policy: &&ChangePolicy| match policy.spec.activation {
            Activation::Always => true,
            Activation::DuringIncident => {
                !binding::bindings(&self.incidents, &[&policy.spec], &action.namespace).is_empty()
                    || !in_force::over(&self.freezes, [*policy], Stops::Changes, now).is_empty()
            }
        };
        let mut policies = policy::protecting(&self.policies, &action.resource(), operator_namespace);
        policies.retain(is_active);
        policies
    }
}

/// Every policy. The API server asks only about protected namespaces: if no cached policy covers this one, the cache is
/// stale.
async fn policies(context: &Context, action: &Action) -> Result<Vec<Arc<ChangePolicy>>, Error> {
    let cached = context.caches.policies.state();
    if !policy::covering(&cached, &action.namespace, &context.config.namespace).is_empty() {
        return Ok(cached);
    }
    list_live(Api::all(context.client.clone()), &context.caches.policies).await
}

/// The incidents: as stored if more passes without one, else as cached.
async fn incidents(
    context: &Context,
    action: &Action,
    policies: &[Arc<ChangePolicy>],
) -> Result<Vec<Arc<Incident>>, Error> {
    let covering = policy::covering(policies, &action.namespace, &context.config.namespace);
    let is_looser_without = |policy: &&ChangePolicy| {
        policy.spec.activation == Activation::DuringIncident
            || (action.is_interactive() && policy.spec.interactive.normally != Interactive::Approve)
    };
    if !covering.iter().any(is_looser_without) {
        return Ok(context.caches.incidents.state());
    }
    let incidents = Api::namespaced(context.client.clone(), &action.namespace);
    list_live(incidents, &context.caches.incidents).await
}

/// The freezes: as stored if more passes without one, else as cached.
async fn freezes(
    context: &Context,
    action: &Action,
    policies: &[Arc<ChangePolicy>],
) -> Result<Vec<Arc<Freeze>>, Error> {
    let covering = policy::covering(policies, &action.namespace, &context.config.namespace);
    match covering.iter().any(|policy| policy.spec.activation == Activation::DuringIncident) {
        true => live::list(&context.client).await,
        false => Ok(context.caches.freezes.state()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{from_value, json};

    use super::*;
    use crate::change::gate::action::tests::action;

    #[test]
    fn a_freeze_of_changes_makes_a_policy_active_that_waits_for_incidents() {
        let policy = json!({"scope": {"namespaces": {"names": ["shop"]}}, "approval": {}, "activation": "DuringIncident"});
        let policies = vec![Arc::new(ChangePolicy::new("production", from_value(policy).unwrap()))];
        let in_force = |stops: &str, now: &str| {
            let freeze = json!({"policyRef": {"name": "production"}, "stops": [stops], "reason": "r",
                "endTime": "2027-01-02T00:00:00Z"});
            let freezes = vec![Arc::new(Freeze::new("year-end", from_value(freeze).unwrap()))];
            let protection = Protection { policies: policies.clone(), incidents: Vec::new(), freezes };
            protection.in_force(&action(json!({})), "mayday-system", now.parse().unwrap()).len()
        };
        assert_eq!(in_force("Changes", "2026-12-24T00:00:00Z"), 1);
        assert_eq!(in_force("Changes", "2027-01-02T00:00:00Z"), 0, "it is over");
        assert_eq!(in_force("Automation", "2026-12-24T00:00:00Z"), 0);
    }
}
