//! Who may change or delete a ChangePolicy. Pure.
//!
//! Everybody with the RBAC right may tighten a policy. Loosening one is itself a protected change under the policy as
//! it is stored, once an approval has counted under it: until then a mistake in a new policy can be undone.

pub mod strictness;

use crate::api::ChangePolicy;
use crate::change::policy::is_refused_scope;
use crate::command::{Command, Flag, TEXT, Verb};
use crate::webhook::caller::Caller;

use crate::guard::kinds::policy::strictness::loosened;
use crate::guard::ruling::Ruling;

/// What the rules look up before a ChangePolicy is changed.
pub struct Facts<'a> {
    /// Who changes it.
    pub caller: &'a Caller,
    /// Where a change of the policy is asked for.
    pub operator_namespace: &'a str,
}

/// Whether the policy may become `new`, or be deleted where there is no new one.
pub fn change(
    old: &ChangePolicy,
    new: Option<&ChangePolicy>,
    caller: &Caller,
    operator_namespace: &str,
) -> Ruling {
    let name = old.metadata.name.as_deref().unwrap_or_default();
    let own = new
        .and_then(|new| new.spec.scope.namespaces.names.as_ref())
        .and_then(|names| names.iter().find(|namespace| is_refused_scope(namespace, operator_namespace)));
    if let Some(own) = own {
        return Ruling::Refuse(format!(
            "Refused: a policy cannot protect {own}, or nothing could be mended there; leave it out of \
             spec.scope.namespaces.names and apply again"
        ));
    }
    let looser = match new {
        Some(new) => loosened(&old.spec, &new.spec),
        None => vec!["all of it".to_owned()],
    };
    let in_force = old.status.as_ref().is_some_and(|status| status.in_force_since_time.is_some());
    let breaks_glass = old.spec.break_glass.as_ref().is_some_and(|glass| caller.in_any(&glass.groups));
    if looser.is_empty() || !in_force {
        return Ruling::Allow;
    }
    if breaks_glass {
        return Ruling::BreakGlass(looser.join(", "));
    }
    let ask = Command::new(Verb::Ask).namespace(operator_namespace);
    let ask = match new {
        Some(_) => ask.flag(Flag::File, "FILE"),
        None => ask.on("cpol", name).switch(Flag::Delete),
    };
    Ruling::Quorum(format!(
        "Refused: this loosens cpol/{name} ({}), which is in force, so it takes the approvals that a change under \
         it takes. Ask: {}",
        looser.join(", "),
        ask.flag(Flag::Why, TEXT)
    ))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, from_value, json};

    use super::*;

    fn policy(patch: Value) -> ChangePolicy {
        let mut whole = json!({
            "apiVersion": "mayday.dev/v1alpha1", "kind": "ChangePolicy", "metadata": {"name": "production"},
            "spec": {
                "scope": {"namespaces": {"names": ["shop"]}}, "approval": {},
                "breakGlass": {"groups": ["shop-break-glass"]}
            },
            "status": {"inForceSinceTime": "2026-11-22T14:00:00Z"}
        });
        json_patch::merge(&mut whole, &patch);
        from_value(whole).unwrap()
    }

    fn by(group: &str, old: Value, new: Option<Value>) -> Ruling {
        let caller = Caller { user: "emil".into(), groups: vec![group.into()], direct: true };
        change(&policy(old), new.map(policy).as_ref(), &caller, "mayday-system")
    }

    fn warn() -> Option<Value> {
        Some(json!({"spec": {"enforcement": "Warn"}}))
    }

    #[test]
    fn loosening_a_policy_in_force_takes_its_quorum() {
        let Ruling::Quorum(message) = by("x", json!({}), warn()) else { panic!() };
        assert!(message.contains("cpol/production (spec.enforcement)"), "{message}");
        let Ruling::Quorum(message) = by("x", json!({}), None) else { panic!() };
        assert!(
            message.contains("kubectl mayday ask -n mayday-system cpol/production --delete"),
            "{message}"
        );
    }

    #[test]
    fn before_an_approval_counted_a_slip_of_the_pen_locks_nobody_out() {
        assert_eq!(by("x", json!({"status": null}), warn()), Ruling::Allow);
        assert_eq!(by("x", json!({"status": {"inForceSinceTime": null}}), None), Ruling::Allow);
    }

    #[test]
    fn tightening_is_free() {
        let more = Some(json!({"spec": {"scope": {"namespaces": {"names": ["shop", "till"]}}}}));
        assert_eq!(by("x", json!({}), more), Ruling::Allow);
    }

    #[test]
    fn its_break_glass_may_always_and_only_the_stored_one() {
        assert_eq!(by("shop-break-glass", json!({}), warn()), Ruling::BreakGlass("spec.enforcement".into()));
        let own = Some(json!({"spec": {"enforcement": "Warn", "breakGlass": {"groups": ["x"]}}}));
        assert!(matches!(by("x", json!({}), own), Ruling::Quorum(_)));
    }

    #[test]
    fn no_policy_protects_what_mends_the_cluster() {
        for namespace in ["kube-system", "mayday-system"] {
            let own = Some(json!({"spec": {"scope": {"namespaces": {"names": ["shop", namespace]}}}}));
            assert!(matches!(by("x", json!({"status": null}), own), Ruling::Refuse(_)));
        }
    }
}
