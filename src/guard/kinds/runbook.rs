//! What a Runbook must be to be stored. Pure.

use crate::api::Runbook;
use crate::runbook::{account_use, validate};
use crate::webhook::caller::Caller;

use crate::guard::ruling::Ruling;

/// What is known when a Runbook is written.
pub struct Facts<'a> {
    /// Who writes it.
    pub caller: &'a Caller,
    /// Its namespace.
    pub namespace: &'a str,
    /// Mayday's own namespace.
    pub operator_namespace: &'a str,
    /// Whether the author may use its ServiceAccount; none if the write does not ask for that.
    pub may_use: Option<bool>,
}

/// Whether the Runbook may be stored so. A missing object that it needs, such as its ServiceAccount, leads to
/// a condition and no refusal: GitOps tools apply in any order.
pub fn write(new: &Runbook) -> Ruling {
    let problems: Vec<String> =
        validate::problems(&new.spec).iter().map(|problem| problem.to_string()).collect();
    Ruling::require(problems.is_empty(), || {
        format!(
            "Refused: {}. Mend that and apply again; what each field takes: kubectl explain rb.spec",
            problems.join("; ")
        )
    })
}

/// Whether the author may let steps act as the account (docs/rules.md#use-of-an-account).
pub fn author(new: &Runbook, facts: &Facts<'_>) -> Ruling {
    Ruling::require(facts.namespace != facts.operator_namespace, || {
        format!(
            "Refused: a Runbook changes nothing in {}, Mayday's own namespace: put it where the application is",
            facts.namespace
        )
    })
    .and_then(|| may_use(new, facts))
}

fn may_use(new: &Runbook, facts: &Facts<'_>) -> Ruling {
    Ruling::require(facts.may_use != Some(false), || {
        format!(
            "Refused: the author of a Runbook can do what its account may, and {}",
            account_use::lacks(&facts.caller.user, facts.namespace, &new.spec.service_account_name)
        )
    })
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, from_value, json};

    use super::*;

    fn ruling(patch: Value) -> Ruling {
        let mut spec = json!({
            "summary": "s", "serviceAccountName": "checkout-runbooks",
            "steps": [{"name": "wait", "wait": {"duration": "1s"}}]
        });
        json_patch::merge(&mut spec, &patch);
        write(&Runbook::new("r", from_value(spec).unwrap()))
    }

    #[test]
    fn a_runbook_is_refused_with_the_path_of_what_is_wrong() {
        assert_eq!(ruling(json!({})), Ruling::Allow);
        let target = json!({"apiVersion": "apps/v1", "kind": "Deployment", "name": "checkout"});
        for (patch, path) in [
            (json!({"serviceAccountName": ""}), "spec.serviceAccountName"),
            (
                json!({"preconditions": [{"target": target, "expression": "object.spec.(", "message": "m"}]}),
                "spec.preconditions[0].expression",
            ),
            (
                json!({"steps": [{"name": "a", "wait": {"duration": "1s"}}, {"name": "a", "wait": {"duration": "1s"}}]}),
                "spec.steps[1].name",
            ),
            (
                json!({"steps": [{"name": "a", "restart": {"target": {"name": "b"}}}]}),
                "spec.steps[0].restart.target",
            ),
            (json!({"drill": {"every": "59s"}}), "spec.drill.every"),
            (json!({"order": 1}), "spec.order"),
            (json!({"verify": {"window": "0s"}}), "spec.verify.window"),
            (json!({"verify": {"window": "25h"}}), "spec.verify.window"),
            (
                json!({"drill": {"every": "24h", "parameters": [{"name": "a", "integer": 1}]}}),
                "spec.drill.parameters[0].name",
            ),
            (
                json!({"drill": {"every": "24h"}, "parameters": [{"name": "a", "integer": {}}]}),
                "spec.drill.parameters: \"a\" has no default",
            ),
            (
                json!({"drill": {"every": "24h"}, "parameters": [{"name": "a", "integer": {}, "from": {"label": "a"}}]}),
                "spec.drill.parameters: \"a\" comes from the incident",
            ),
            (
                json!({"drill": {"every": "24h"}, "steps": [{"name": "a", "restart": {"target": {"fromIncident": {}}}}]}),
                "spec.drill.affected",
            ),
        ] {
            let Ruling::Refuse(message) = ruling(patch.clone()) else { panic!("{patch}") };
            assert!(message.starts_with(&format!("Refused: {path}")), "{message}");
        }
    }

    /// Failure list 33: the Runbook names an account that its author may not use.
    #[test]
    fn an_author_who_may_not_use_the_account_is_refused() {
        let caller = Caller { user: "emil".into(), ..Caller::default() };
        let ruled = |may_use: Option<bool>| {
            let spec = json!({"summary": "s", "serviceAccountName": "runbooks", "steps": []});
            let new = Runbook::new("r", from_value(spec).unwrap());
            author(
                &new,
                &Facts { caller: &caller, namespace: "shop", operator_namespace: "mayday-system", may_use },
            )
        };
        assert_eq!((ruled(None), ruled(Some(true))), (Ruling::Allow, Ruling::Allow));
        let new = Runbook::new(
            "r",
            from_value(json!({"summary": "s", "serviceAccountName": "a", "steps": []})).unwrap(),
        );
        let own = Facts { caller: &caller, namespace: "m", operator_namespace: "m", may_use: Some(true) };
        let Ruling::Refuse(message) = author(&new, &own) else { panic!() };
        assert!(message.contains("Mayday's own namespace"), "{message}");
        let Ruling::Refuse(message) = ruled(Some(false)) else { panic!() };
        assert!(message.contains("emil may not use serviceaccount/runbooks"), "{message}");
    }
}
