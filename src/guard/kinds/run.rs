//! Who may start a run, and with what. Pure.

use std::sync::Arc;

use crate::api::conditions::{ConditionType, Reason, find};
use crate::api::drill::DrillMode;
use crate::api::{Incident, Runbook, RunbookRun};
use crate::command::{Command, Flag, Verb};
use crate::problem;
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
    /// Whether a policy covers the namespace. Without one nobody can approve a Runbook there.
    pub is_governed: bool,
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
    if let Some(refusal) = incident_refusal(new, facts, namespace) {
        return Ruling::Refuse(refusal);
    }
    if new.spec.cancel {
        return Ruling::Refuse(
            "Refused: spec.cancel is true, so the run would never begin; leave it out".to_owned(),
        );
    }
    if let Some(why) = drill_refusal(new, runbook) {
        let show = Command::new(Verb::Show).namespace(namespace).on("rb", name);
        return Ruling::Refuse(format!("Refused: {why}: {show}"));
    }
    let drill = runbook.spec.drill.as_ref().filter(|_| new.spec.drill);
    let given = drill.map_or(&new.spec.parameters, |drill| &drill.parameters);
    let problems = validate::run_problems(&runbook.spec, given);
    match problems.as_slice() {
        [] => Ruling::require(never_runs(runbook, facts.is_governed).is_none(), || {
            let why = never_runs(runbook, facts.is_governed).unwrap_or_default();
            let show = Command::new(Verb::Show).namespace(namespace).on("rb", name);
            format!("Refused: rb/{name} cannot run: {}: {show}", why.trim_end_matches('.'))
        }),
        problems => Ruling::Refuse(format!(
            "Refused: {}. What rb/{name} takes: kubectl get rb {name} -n {namespace} -o \
             jsonpath='{{.spec.parameters}}'",
            problem::join(problems)
        )),
    }
}

/// Why a run is no drill of its Runbook: what a drill does is written there, so that a drill by hand proves as much as one that
/// begins by itself.
fn drill_refusal(new: &RunbookRun, runbook: &Runbook) -> Option<String> {
    if !new.spec.drill {
        return None;
    }
    let name = &new.spec.runbook_ref.name;
    let Some(drill) = &runbook.spec.drill else {
        return Some(format!("spec.drill: rb/{name} has no spec.drill, which says how it is rehearsed"));
    };
    if new.spec.incident_ref.is_some() {
        return Some("spec.incidentRef: a drill is for no incident; leave it out".to_owned());
    }
    if !new.spec.parameters.is_empty() {
        return Some(format!(
            "spec.parameters: a drill takes the values of rb/{name}, spec.drill.parameters; leave them out"
        ));
    }
    if drill.mode == DrillMode::Namespace {
        return new.spec.dry_run.then(|| {
            format!("spec.dryRun: a drill of rb/{name} acts in a namespace of its own: leave it out")
        });
    }
    (!new.spec.dry_run).then(|| format!("spec.dryRun: a drill of rb/{name} is a dry run: set it to true"))
}

/// Why the named incident cannot have a run: it is not there, or not open any more.
fn incident_refusal(new: &RunbookRun, facts: &Facts<'_>, namespace: &str) -> Option<String> {
    let named = &new.spec.incident_ref.as_ref()?.name;
    let which = format!("see which are open: kubectl get inc -n {namespace}");
    let Some(incident) = &facts.incident else {
        return Some(format!("Refused: spec.incidentRef: there is no incident {named}; {which}"));
    };
    if incident.is_open() {
        return None;
    }
    Some(match incident.goes_on_as() {
        Some(other) => {
            let run = Command::new(Verb::Run).namespace(namespace).word(&new.spec.runbook_ref.name);
            format!(
                "Refused: spec.incidentRef: inc/{named} is about the same outage as inc/{other}, which goes on; start it \
                 for that one: {}",
                run.flag(Flag::Incident, other)
            )
        }
        None => format!("Refused: spec.incidentRef: incident {named} is no longer open; {which}"),
    })
}

/// Why no run of the Runbook as it is now can ever begin; `None` while one may, if only later.
fn never_runs(runbook: &Runbook, is_governed: bool) -> Option<String> {
    let status = runbook.status.as_ref()?;
    // What was changed a moment ago has not been looked at yet.
    if Some(status.observed_generation) != runbook.metadata.generation {
        return None;
    }
    // What only waits, such as for its ServiceAccount, becomes Ready without an edit.
    if let Some(stalled) =
        find(&status.conditions, ConditionType::Stalled).filter(|stalled| stalled.status == "True")
    {
        return Some(format!("it is not Ready: {}", stalled.message));
    }
    let approved =
        find(&status.conditions, ConditionType::Approved).filter(|approved| approved.status == "False")?;
    let is_rejected = approved.reason == Reason::Rejected.to_string();
    (is_rejected || !is_governed).then(|| format!("it is not Approved: {}", approved.message))
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
        create(run, &Facts { caller: &caller, by_operator: operator, runbook, incident, is_governed: true })
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
            is_governed: true,
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
        let facts =
            Facts { caller: &caller, by_operator: false, runbook: None, incident: None, is_governed: true };
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
    fn a_drill_is_what_its_runbook_says() {
        let rehearsed = || {
            let mut runbook = runbook();
            runbook.spec.drill = from_value(json!({"every": "720h"})).unwrap();
            runbook
        };
        let said = |runbook: Runbook, spec: Value| {
            let caller = Caller { user: "emil".into(), groups: Vec::new(), direct: true };
            let runbook = Some(Arc::new(runbook));
            let incident = Some(Arc::new(incident("Open")));
            let facts = Facts { caller: &caller, by_operator: false, runbook, incident, is_governed: true };
            create(&run("emil", spec), &facts)
        };
        assert_eq!(said(rehearsed(), json!({"drill": true, "dryRun": true})), Ruling::Allow);
        for (runbook, spec, path) in [
            (
                runbook(),
                json!({"drill": true, "dryRun": true}),
                "spec.drill: rb/scale-checkout has no spec.drill",
            ),
            (rehearsed(), json!({"drill": true}), "spec.dryRun"),
            (
                rehearsed(),
                json!({"drill": true, "dryRun": true, "incidentRef": {"name": "i"}}),
                "spec.incidentRef",
            ),
            (
                rehearsed(),
                json!({"drill": true, "dryRun": true, "parameters": [{"name": "replicas", "integer": 8}]}),
                "spec.parameters",
            ),
        ] {
            let message = refusal(said(runbook, spec.clone()));
            assert!(message.starts_with(&format!("Refused: {path}")), "{spec}: {message}");
        }
    }

    #[test]
    fn parameters_are_those_that_the_runbook_declares() {
        let with =
            |parameters: Value| by("emil", false, &run("emil", json!({"parameters": parameters})), None);
        assert_eq!(with(json!([{"name": "replicas", "integer": 8}])), Ruling::Allow);
        refusal(with(json!([{"name": "replicas", "integer": 80}])));
        refusal(with(json!([{"name": "repicas", "integer": 8}])));
    }

    /// An act is accepted and counts nowhere: a run that can never begin, or for an incident that goes on elsewhere.
    #[test]
    fn a_run_of_a_runbook_that_can_never_run_is_refused() {
        let said = |kind: &str, reason: &str, generation: i64, is_governed: bool| {
            let mut runbook = runbook();
            runbook.metadata.generation = Some(generation);
            let status = if kind == "Stalled" { "True" } else { "False" };
            let condition = json!({"type": kind, "status": status, "reason": reason, "message": "why.",
                "lastTransitionTime": "2026-11-22T14:00:00Z"});
            runbook.status = from_value(json!({"observedGeneration": 1, "conditions": [condition]})).unwrap();
            let caller = Caller { user: "emil".into(), direct: true, ..Caller::default() };
            let runbook = Some(Arc::new(runbook));
            let facts = Facts { caller: &caller, by_operator: false, runbook, incident: None, is_governed };
            create(&run("emil", json!({})), &facts)
        };
        let message = refusal(said("Stalled", "NotImplemented", 1, true));
        let show = "kubectl mayday show -n shop rb/scale-checkout";
        assert_eq!(message, format!("Refused: rb/scale-checkout cannot run: it is not Ready: why: {show}"));
        assert_eq!(said("Stalled", "NotImplemented", 2, true), Ruling::Allow, "it was changed since");
        let waits = said("Ready", "ServiceAccountMissing", 1, true);
        assert_eq!(waits, Ruling::Allow, "the account may come");
        assert_eq!(said("Approved", "ApprovalMissing", 1, true), Ruling::Allow, "it waits");
        refusal(said("Approved", "ApprovalMissing", 1, false));
        refusal(said("Approved", "Rejected", 1, true));
    }

    #[test]
    fn a_run_for_a_duplicate_is_refused_with_the_other_incident() {
        let named = run("emil", json!({"incidentRef": {"name": "i"}}));
        let mut duplicate = incident("Duplicate");
        duplicate.status.as_mut().unwrap().duplicate_of = from_value(json!({"name": "older"})).unwrap();
        let message = refusal(by("emil", false, &named, Some(&duplicate)));
        let run = "kubectl mayday run -n shop scale-checkout --incident older";
        assert!(message.contains("same outage as inc/older") && message.ends_with(run), "{message}");
    }
}
