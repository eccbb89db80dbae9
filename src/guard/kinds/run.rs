//! Who may start a run, and with what. Pure.

use std::sync::Arc;

use crate::api::{Incident, Runbook, RunbookRun};
use crate::command::{Command, Flag, Verb};
use crate::runbook::validate;
use crate::webhook::caller::Caller;

use crate::guard::ruling::Ruling;

/// What is known when a run is started.
pub struct Facts<'a> {
    /// Who starts it.
    pub caller: &'a Caller,
    /// Whether the operator starts it, without a person.
    pub by_operator: bool,
    /// The Runbook, if there is one of that name.
    pub runbook: Option<Arc<Runbook>>,
    /// The incident, if one is named and there.
    pub incident: Option<Arc<Incident>>,
}

/// Whether the run may be created. Whether it may act now is decided by the run itself, and shown in it.
pub fn create(new: &RunbookRun, facts: &Facts<'_>) -> Ruling {
    let caller = facts.caller;
    let namespace = new.metadata.namespace.as_deref().unwrap_or_default();
    let command = || {
        let run = Command::new(Verb::Run).namespace(namespace).word(&new.spec.runbook_ref.name);
        match &new.spec.incident_ref {
            Some(incident) => run.flag(Flag::Incident, &incident.name),
            None => run,
        }
    };
    let started = new.spec.started_by.as_ref().is_some_and(|by| by.user == caller.user);
    if !started {
        return Ruling::Refuse(format!(
            "Refused: spec.startedBy must be you, {}; leave it out, it is stamped",
            caller.user
        ));
    }
    if caller.is_service_account() && !facts.by_operator {
        return Ruling::Refuse(format!(
            "Refused: what starts by itself is started by Mayday alone, and {} is a service account; set start: \
             Automatic on the Runbook, or start it as a person: {}",
            caller.user,
            command()
        ));
    }
    // A person who may impersonate others could be two people: the one who starts it and the one who approves it.
    if !caller.direct && !facts.by_operator {
        return Ruling::Refuse(format!(
            "Refused: a run is started only from a direct login, and this request is impersonated; log in as \
             yourself, without --as: {}",
            command()
        ));
    }
    let name = &new.spec.runbook_ref.name;
    let Some(runbook) = &facts.runbook else {
        return Ruling::Refuse(format!(
            "Refused: spec.runbookRef: there is no Runbook {name} in {namespace}; see which there are: kubectl get rb \
             -n {namespace}"
        ));
    };
    if let Some(named) = &new.spec.incident_ref {
        let open = facts.incident.as_ref().map(|incident| incident.is_open());
        if open != Some(true) {
            return Ruling::Refuse(format!(
                "Refused: spec.incidentRef: {} {}; see which are open: kubectl get inc -n {namespace}",
                if open.is_none() { "there is no incident" } else { "no longer open is incident" },
                named.name
            ));
        }
    }
    if new.spec.cancel {
        return Ruling::Refuse(
            "Refused: spec.cancel is true, so the run would never begin; leave it out".to_owned(),
        );
    }
    let problems = validate::run_problems(&runbook.spec, &new.spec.parameters);
    match problems.first() {
        None => Ruling::Allow,
        Some(problem) => Ruling::Refuse(format!(
            "Refused: {problem}. What rb/{name} takes: kubectl get rb {name} -n {namespace} -o \
             jsonpath='{{.spec.parameters}}'"
        )),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, from_value, json};

    use super::*;

    fn runbook() -> Runbook {
        let mut runbook = Runbook::new(
            "scale-checkout",
            from_value(json!({
                "summary": "s", "serviceAccountName": "checkout-runbooks",
                "parameters": [{"name": "replicas", "integer": {"default": 6, "minimum": 3, "maximum": 12}}],
                "steps": [{"name": "wait", "wait": {"duration": "1s"}}]
            }))
            .unwrap(),
        );
        runbook.metadata.namespace = Some("shop".into());
        runbook
    }

    fn incident(state: &str) -> Incident {
        from_value(json!({
            "apiVersion": "mayday.dev/v1alpha1", "kind": "Incident", "metadata": {"name": "i"},
            "spec": {"title": "t", "severity": "SEV2"}, "status": {"state": state}
        }))
        .unwrap()
    }

    fn run(user: &str, spec: Value) -> RunbookRun {
        let mut whole = json!({
            "apiVersion": "mayday.dev/v1alpha1", "kind": "RunbookRun", "metadata": {"namespace": "shop"},
            "spec": {"runbookRef": {"name": "scale-checkout"}, "startedBy": {"user": user}}
        });
        json_patch::merge(&mut whole, &json!({"spec": spec}));
        from_value(whole).unwrap()
    }

    fn by(user: &str, operator: bool, run: &RunbookRun, incident: Option<&Incident>) -> Ruling {
        let caller = Caller { user: user.into(), groups: Vec::new(), direct: true };
        let runbook = Some(Arc::new(runbook()));
        let incident = incident.cloned().map(Arc::new);
        create(run, &Facts { caller: &caller, by_operator: operator, runbook, incident })
    }

    fn refusal(ruling: Ruling) -> String {
        match ruling {
            Ruling::Refuse(message) => message,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_person_starts_a_run_in_their_own_name() {
        assert_eq!(by("emil", false, &run("emil", json!({})), None), Ruling::Allow);
        refusal(by("emil", false, &run("lena", json!({})), None));
        refusal(by("emil", false, &run("emil", json!({"cancel": true})), None));
    }

    #[test]
    fn a_run_under_impersonation_is_refused() {
        let borrowed = Caller { user: "emil".into(), groups: Vec::new(), direct: false };
        let facts = |by_operator| Facts {
            caller: &borrowed,
            by_operator,
            runbook: Some(Arc::new(runbook())),
            incident: None,
        };
        assert!(refusal(create(&run("emil", json!({})), &facts(false))).contains("direct login"));
        assert_eq!(create(&run("emil", json!({})), &facts(true)), Ruling::Allow);
    }

    #[test]
    fn the_operator_alone_starts_automatic_runs() {
        let operator = "system:serviceaccount:mayday-system:mayday";
        assert_eq!(by(operator, true, &run(operator, json!({})), None), Ruling::Allow);
        let bot = "system:serviceaccount:shop:bot";
        assert!(refusal(by(bot, false, &run(bot, json!({})), None)).contains("started by Mayday alone"));
    }

    #[test]
    fn a_run_names_a_runbook_that_exists() {
        let caller = Caller { user: "emil".into(), direct: true, ..Caller::default() };
        let facts = Facts { caller: &caller, by_operator: false, runbook: None, incident: None };
        let message = refusal(create(&run("emil", json!({})), &facts));
        assert!(
            message.contains("no Runbook scale-checkout in shop") && message.contains("kubectl get rb"),
            "{message}"
        );
    }

    #[test]
    fn a_run_names_an_incident_that_is_open() {
        let named = run("emil", json!({"incidentRef": {"name": "i"}}));
        assert_eq!(by("emil", false, &named, Some(&incident("Crisis"))), Ruling::Allow);
        assert!(refusal(by("emil", false, &named, None)).contains("there is no incident i"));
        assert!(refusal(by("emil", false, &named, Some(&incident("Closed")))).contains("no longer open"));
    }

    #[test]
    fn parameters_are_those_that_the_runbook_declares() {
        let with =
            |parameters: Value| by("emil", false, &run("emil", json!({"parameters": parameters})), None);
        assert_eq!(with(json!([{"name": "replicas", "integer": 8}])), Ruling::Allow);
        refusal(with(json!([{"name": "replicas", "integer": 80}])));
        refusal(with(json!([{"name": "repicas", "integer": 8}])));
    }
}
