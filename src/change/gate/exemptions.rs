//! Exemptions: a table of the writes that pass without a request. The first exemption that holds lets the action pass.
//!
//! Cheap checks come first. An exemption is first checked against the review alone; only if it applies is its proof read,
//! always live.

use std::sync::Arc;

use futures::future::BoxFuture;

use super::action::Action;
use super::{lookup, system_controllers, unauthorized};
use crate::api::change_policy::{
    ChangePolicySpec, Evictions, ExemptRule, Interactive, Operation as Verb, UnauthorizedKind,
};
use crate::api::{ChangePolicy, Freeze, Incident};
use crate::change::approval::binding;
use crate::cluster::{Context, Error, SharedContext};

/// Facts from which exemptions are decided.
#[derive(Clone, Copy, Debug)]
pub struct Scope<'a> {
    /// The attempted write.
    pub action: &'a Action,
    /// The policies in force over the object, at least one. An exception must be granted by all of them.
    pub policies: &'a [&'a ChangePolicy],
    /// The incidents.
    pub incidents: &'a [Arc<Incident>],
    /// The freezes.
    pub freezes: &'a [Arc<Freeze>],
}

impl Scope<'_> {
    fn every_policy(&self, grants: impl Fn(&ChangePolicySpec) -> bool) -> bool {
        self.policies.iter().all(|policy| grants(&policy.spec))
    }
}

/// Reads whether an action is exempt. An error means that it cannot be decided now.
type Proof = for<'a> fn(&'a Context, &'a Action) -> BoxFuture<'a, Result<bool, Error>>;

/// One reason to let a write to a protected object pass without a request.
#[derive(Clone, Copy, Debug)]
pub struct Exemption {
    /// Name, as in the audit annotation `reason`.
    pub name: &'static str,
    /// Whether it applies, from the review alone.
    applies: fn(&Scope<'_>) -> bool,
    /// What must hold besides and has to be read; none if nothing has to.
    proof: Option<Proof>,
    /// Kind under which the write is recorded in the policies, if it is.
    record: fn(&Scope<'_>) -> Option<UnauthorizedKind>,
}

impl Exemption {
    /// An exemption that needs no reads and leaves no record.
    const fn new(name: &'static str, applies: fn(&Scope<'_>) -> bool) -> Exemption {
        Exemption { name, applies, proof: None, record: |_| None }
    }

    const fn proved_by(self, proof: Proof) -> Exemption {
        Exemption { proof: Some(proof), ..self }
    }

    const fn recorded_as(self, record: fn(&Scope<'_>) -> Option<UnauthorizedKind>) -> Exemption {
        Exemption { record, ..self }
    }
}

/// Every exemption, in the order in which they are tried.
const EXEMPTIONS: &[Exemption] = &[
    NO_OP,
    CREDENTIAL,
    FINALIZERS,
    NODE_CLEANUP,
    CONTROLLER,
    BREAK_GLASS,
    RUN_STEP,
    EXEMPT_ACTOR,
    EVICTION,
    INTERACTIVE,
];

/// An update that changes no value.
const NO_OP: Exemption = Exemption::new("nothing changes", |scope| scope.action.changes_nothing());

/// A Secret of Mayday's own type: the credentials of sources and channels.
const CREDENTIAL: Exemption = Exemption::new("a credential of Mayday, which no policy covers", |scope| {
    scope.action.is_about_a_credential()
});

/// Finalizers are removed from an object whose deletion was decided before.
const FINALIZERS: Exemption = Exemption::new("finalizers of an object that is being deleted", |scope| {
    scope.action.only_removes_finalizers()
});

/// A kubelet deletes a pod of its own node after the containers have stopped.
const NODE_CLEANUP: Exemption = Exemption::new("a node removes its stopped pod", |scope| {
    system_controllers::is_node_cleaning_up(scope.action)
});

/// A controller of Kubernetes does its own work: proved by identity, verb, kind, live owner and fields
/// (docs/rules.md#system-controllers).
const CONTROLLER: Exemption =
    Exemption::new("a proved controller", |scope| !system_controllers::rows(scope.action).is_empty())
        .proved_by(lookup::is_proved_controller);

/// A member of a break-glass group of every policy (docs/rules.md#break-glass). Recorded.
const BREAK_GLASS: Exemption = Exemption::new("break-glass", |scope| {
    scope.every_policy(|policy| {
        policy.break_glass.as_ref().is_some_and(|glass| scope.action.caller.in_any(&glass.groups))
    })
})
.recorded_as(|_| Some(UnauthorizedKind::BreakGlass));

/// A run carries out the step that it stored before (docs/rules.md#run-step). Only the operator can set the mark of a run.
const RUN_STEP: Exemption = Exemption::new("the stored step of a run", |scope| scope.action.run.is_some())
    .proved_by(lookup::is_run_step);

/// An account that every policy exempts for this. The right to impersonate it is not enough.
const EXEMPT_ACTOR: Exemption = Exemption::new("an exempt actor", |scope| {
    scope.action.caller.direct && is_exempt_by_all(scope.policies, scope.action)
});

/// An eviction that the PodDisruptionBudgets allow, where every policy lets those pass (docs/rules.md#evictions).
const EVICTION: Exemption = Exemption::new("an eviction within its budget", |scope| {
    scope.action.is_eviction() && scope.every_policy(|policy| policy.evictions == Evictions::WithinBudget)
})
.proved_by(lookup::is_within_budget);

/// `exec`, `attach`, `port-forward` and the like, where every policy allows them. Recorded if one policy asks for it.
const INTERACTIVE: Exemption = Exemption::new("interactive access that the policy allows", |scope| {
    scope.action.is_interactive()
        && scope.every_policy(|policy| interactive(policy, scope) != Interactive::Approve)
})
.recorded_as(|scope| {
    let mut rules = scope.policies.iter().map(|policy| interactive(&policy.spec, scope));
    rules.any(|rule| rule == Interactive::Record).then_some(UnauthorizedKind::NotEnforced)
});

/// The first exemption that holds, after it was recorded if it has to be. A dry run is never recorded.
///
/// # Errors
/// When a proof cannot be read.
pub async fn find(context: &SharedContext, scope: &Scope<'_>) -> Result<Option<&'static Exemption>, Error> {
    for exemption in EXEMPTIONS.iter().filter(|exemption| (exemption.applies)(scope)) {
        if let Some(proof) = exemption.proof
            && !proof(context, scope.action).await?
        {
            continue;
        }
        if let Some(kind) = (exemption.record)(scope).filter(|_| !scope.action.dry_run) {
            unauthorized::record(context, scope.policies, scope.action, kind).await;
        }
        return Ok(Some(exemption));
    }
    Ok(None)
}

/// The rule of a policy for access to pods, now.
fn interactive(policy: &ChangePolicySpec, scope: &Scope<'_>) -> Interactive {
    let bindings = binding::bindings(scope.incidents, &[policy], &scope.action.namespace);
    match bindings.is_empty() {
        true => policy.interactive.normally,
        false => policy.interactive.during_incident,
    }
}

/// Whether every policy exempts the caller for this action.
pub fn is_exempt_by_all(policies: &[&ChangePolicy], action: &Action) -> bool {
    policies.iter().all(|policy| is_exempt(&policy.spec, action))
}

fn is_exempt(policy: &ChangePolicySpec, action: &Action) -> bool {
    let resource = match action.subresource.as_str() {
        "" => action.plural.clone(),
        sub => format!("{}/{sub}", action.plural),
    };
    let verb = match action.operation {
        kube::core::admission::Operation::Create => Verb::Create,
        kube::core::admission::Operation::Update => Verb::Update,
        kube::core::admission::Operation::Delete => Verb::Delete,
        kube::core::admission::Operation::Connect => Verb::Connect,
    };
    let covers = |rule: &ExemptRule| {
        rule.api_groups.iter().any(|group| group == action.target.group())
            && rule.resources.contains(&resource)
            && rule.operations.contains(&verb)
    };
    policy
        .exempt_actors
        .iter()
        .any(|actor| actor.user == action.caller.user && actor.rules.iter().any(covers))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::change::gate::action::tests::action;

    fn policy(edit: Value) -> ChangePolicy {
        let mut whole = json!({"apiVersion": "mayday.dev/v1alpha1", "kind": "ChangePolicy", "metadata": {"name": "p"},
            "spec": {"scope": {"namespaces": {"names": ["shop"]}}, "approval": {}}});
        json_patch::merge(&mut whole["spec"], &edit);
        serde_json::from_value(whole).unwrap()
    }

    fn incident() -> Arc<Incident> {
        let whole = json!({"apiVersion": "mayday.dev/v1alpha1", "kind": "Incident",
            "metadata": {"name": "i", "namespace": "shop", "uid": "iu"}, "spec": {"title": "t", "severity": "SEV2"}});
        Arc::new(serde_json::from_value(whole).unwrap())
    }

    fn applies_under(
        exemption: Exemption,
        action: &Action,
        policies: &[Value],
        incidents: &[Arc<Incident>],
    ) -> (bool, Option<UnauthorizedKind>) {
        let policies: Vec<ChangePolicy> = policies.iter().cloned().map(policy).collect();
        let policies: Vec<&ChangePolicy> = policies.iter().collect();
        let scope = Scope { action, policies: &policies, incidents, freezes: &[] };
        ((exemption.applies)(&scope), (exemption.record)(&scope))
    }

    /// Whether an exemption applies under a policy that grants nothing.
    fn applies(exemption: Exemption, edit: Value) -> bool {
        applies_under(exemption, &action(edit), &[json!({})], &[]).0
    }

    #[test]
    fn the_table_holds_each_exemption_once_and_the_cheap_ones_first() {
        let names: Vec<&str> = EXEMPTIONS.iter().map(|exemption| exemption.name).collect();
        let expected = [
            "nothing changes",
            "a credential of Mayday, which no policy covers",
            "finalizers of an object that is being deleted",
            "a node removes its stopped pod",
            "a proved controller",
            "break-glass",
            "the stored step of a run",
            "an exempt actor",
            "an eviction within its budget",
            "interactive access that the policy allows",
        ];
        assert_eq!(names, expected);
        let with_proof = EXEMPTIONS.iter().filter(|exemption| exemption.proof.is_some());
        let with_proof: Vec<&str> = with_proof.map(|exemption| exemption.name).collect();
        assert_eq!(
            with_proof,
            ["a proved controller", "the stored step of a run", "an eviction within its budget"]
        );
    }

    #[test]
    fn an_ordinary_change_is_not_exempt() {
        let change = action(json!({}));
        for exemption in EXEMPTIONS {
            assert!(!applies_under(*exemption, &change, &[json!({})], &[]).0, "{}", exemption.name);
        }
    }

    #[test]
    fn a_no_op_changes_no_value() {
        let same = json!({"object": {"metadata": {"resourceVersion": "9"},
            "spec": {"template": {"spec": {"containers": [{"name": "app", "image": "shop/checkout:v1"}]}}}}});
        assert!(applies(NO_OP, same));
        assert!(!applies(NO_OP, json!({"operation": "DELETE", "object": null})));
    }

    #[test]
    fn a_credential_is_a_secret_of_maydays_own_type() {
        let secret = |kind: &str| {
            let secret = json!({"apiVersion": "v1", "kind": "Secret", "type": kind, "metadata": {"name": "s", "namespace": "shop"}});
            json!({"resource": {"group": "", "resource": "secrets"}, "kind": {"group": "", "kind": "Secret"},
                "operation": "CREATE", "oldObject": null, "object": secret})
        };
        assert!(applies(CREDENTIAL, secret("mayday.dev/credential")));
        assert!(!applies(CREDENTIAL, secret("Opaque")));
    }

    #[test]
    fn finalizers_go_only_from_an_object_that_is_being_deleted() {
        let with = |finalizers: Value, time: Value| json!({"metadata": {"finalizers": finalizers, "deletionTimestamp": time}, "spec": null});
        let goes = |time: Value| json!({"oldObject": with(json!(["a"]), time.clone()), "object": with(json!([]), time)});
        assert!(applies(FINALIZERS, goes(json!("2026-01-01T00:00:00Z"))));
        assert!(!applies(FINALIZERS, goes(json!(null))));
    }

    #[test]
    fn a_node_cleans_up_only_pods_that_have_stopped() {
        let removes = |time: Value| {
            json!({"userInfo": {"username": "system:node:kwok-0"}, "operation": "DELETE", "object": null,
                "resource": {"group": "", "resource": "pods"}, "kind": {"group": "", "kind": "Pod"},
                "oldObject": {"metadata": {"deletionTimestamp": time}, "spec": {"nodeName": "kwok-0"}}})
        };
        assert!(applies(NODE_CLEANUP, removes(json!("2026-01-01T00:00:00Z"))));
        assert!(!applies(NODE_CLEANUP, removes(json!(null))));
    }

    #[test]
    fn a_controller_needs_a_proof_and_other_accounts_get_none() {
        let deletes = |user: &str| {
            json!({"userInfo": {"username": user}, "operation": "DELETE", "object": null,
                "resource": {"group": "", "resource": "pods"}, "kind": {"group": "", "kind": "Pod"}})
        };
        assert!(applies(CONTROLLER, deletes("system:serviceaccount:kube-system:replicaset-controller")));
        assert!(!applies(CONTROLLER, deletes("system:serviceaccount:shop:replicaset-controller")));
    }

    #[test]
    fn break_glass_needs_a_group_of_every_policy_and_is_recorded() {
        let glass = |group: &str| json!({"breakGlass": {"groups": [group]}});
        let change = action(json!({"userInfo": {"username": "gil", "groups": ["shop-break-glass"]}}));
        let under = |policies: &[Value]| applies_under(BREAK_GLASS, &change, policies, &[]);
        assert_eq!(under(&[glass("shop-break-glass")]), (true, Some(UnauthorizedKind::BreakGlass)));
        assert!(!under(&[glass("shop-break-glass"), glass("other")]).0);
        assert!(!under(&[glass("shop-break-glass"), json!({})]).0);
    }

    #[test]
    fn a_run_step_carries_the_mark_of_its_run() {
        let marked = |extra: Value| json!({"userInfo": {"username": "system:serviceaccount:shop:runbooks", "extra": extra}});
        assert!(applies(RUN_STEP, marked(json!({crate::cluster::client::RUN_EXTRA: ["ru"]}))));
        assert!(!applies(RUN_STEP, marked(json!({}))));
    }

    #[test]
    fn an_exempt_actor_logs_in_itself_and_does_what_every_policy_lists() {
        let exempts = |operations: Value| {
            json!({"exemptActors": [{"user": "flux", "rules": [
                {"apiGroups": ["apps"], "resources": ["deployments"], "operations": operations}]}]})
        };
        let login = json!({"authentication.kubernetes.io/credential-id": ["c"]});
        let by = |extra: &Value, operation: &str| {
            let action =
                action(json!({"userInfo": {"username": "flux", "extra": extra}, "operation": operation}));
            move |policies: &[Value]| applies_under(EXEMPT_ACTOR, &action, policies, &[]).0
        };
        let update = by(&login, "UPDATE");
        assert!(update(&[exempts(json!(["Update"]))]));
        assert!(!update(&[exempts(json!(["Create"]))]), "another verb");
        assert!(!update(&[exempts(json!(["Update"])), json!({})]), "one policy does not exempt it");
        assert!(!by(&json!({}), "UPDATE")(&[exempts(json!(["Update"]))]), "under impersonation");
    }

    #[test]
    fn an_eviction_needs_a_budget_and_every_policy_to_let_it_pass() {
        let eviction = action(json!({"operation": "CREATE", "subResource": "eviction", "oldObject": null,
            "resource": {"group": "", "resource": "pods"}, "kind": {"group": "policy", "kind": "Eviction"},
            "object": {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": "checkout-1"}}}));
        let under = |policies: &[&str]| {
            let policies: Vec<Value> = policies.iter().map(|rule| json!({"evictions": rule})).collect();
            applies_under(EVICTION, &eviction, &policies, &[]).0
        };
        assert!(under(&["WithinBudget"]));
        assert!(!under(&["WithinBudget", "Approve"]));
    }

    #[test]
    fn interactive_access_follows_every_policy_and_the_incident() {
        let exec = action(json!({"operation": "CONNECT", "subResource": "exec", "oldObject": null,
            "resource": {"group": "", "resource": "pods"}, "kind": {"group": "", "kind": "PodExecOptions"},
            "object": {"apiVersion": "v1", "kind": "PodExecOptions"}}));
        let rule = |normally: &str, during: &str| {
            json!({"interactive": {"normally": normally, "duringIncident": during},
                "incident": {"severities": ["SEV2"], "bindsFrom": "Detected"}})
        };
        let calm = |policies: &[Value]| applies_under(INTERACTIVE, &exec, policies, &[]);
        let crisis = |policies: &[Value]| applies_under(INTERACTIVE, &exec, policies, &[incident()]);
        assert_eq!(calm(&[rule("Allow", "Approve")]), (true, None));
        assert!(!crisis(&[rule("Allow", "Approve")]).0);
        assert_eq!(calm(&[rule("Record", "Approve")]), (true, Some(UnauthorizedKind::NotEnforced)));
        assert_eq!(crisis(&[rule("Approve", "Allow")]), (true, None));
        assert!(
            !calm(&[rule("Allow", "Approve"), rule("Approve", "Approve")]).0,
            "one policy wants approval"
        );
    }
}
