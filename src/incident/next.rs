//! Who must do what next, with the command (docs/rules.md#next). Pure.

use std::sync::Arc;

use jiff::Timestamp;
use kube::ResourceExt;

use super::facts::IncidentFacts;
use super::recovery;
use crate::api::Incident;
use crate::api::change_request::RequestState;
use crate::api::conditions::{ConditionType, is_true};
use crate::api::incident_status::{CheckResult, CheckStatus, IncidentState, IncidentStatus, Next};
use crate::change::approval::approvers;
use crate::command::{Command, Flag, TEXT, Verb};
use crate::incident::handoff;
use crate::runbook::run::view;
use crate::text::{cut, instant};

/// The next action; `None` once nothing is left to do. `overdue`: the passed time by which stakeholders were promised an
/// update.
pub fn decide(
    incident: &Incident,
    facts: &IncidentFacts,
    status: &IncidentStatus,
    state: IncidentState,
    proved_at: Option<Timestamp>,
    overdue: Option<Timestamp>,
) -> Option<Next> {
    let namespace = incident.namespace().unwrap_or_default();
    let name = incident.name_any();
    let command = |verb| Some(Command::new(verb).namespace(&namespace).on("inc", &name).into());
    let next = |who: &str, what: String, command: Option<String>| {
        Some(Next { who: cut(who, 253), what: cut(&what, 500), command })
    };
    let on_it = status.acknowledgement.as_ref().map(|person| person.user.clone()).unwrap_or_default();
    let found = match state {
        IncidentState::Open if nobody_is_paged(status) => next(
            "anybody",
            "acknowledge; nobody can be paged, and the timeline says why".to_owned(),
            command(Verb::Ack),
        ),
        IncidentState::Open => next(&paged(status), "acknowledge".to_owned(), command(Verb::Ack)),
        IncidentState::Acknowledged => waiting_question(status, &on_it, &namespace, &name).or_else(|| {
            match facts.is_governed(&namespace) {
                true => {
                    let leads = leads(incident, facts).map(|leads| format!(": {leads}")).unwrap_or_default();
                    next(&on_it, format!("run a runbook, or call a lead{leads}"), command(Verb::Show))
                }
                false => {
                    next(&on_it, "run a runbook, or say that it is over".to_owned(), command(Verb::Show))
                }
            }
        }),
        IncidentState::Remediating => {
            acting_run(incident, facts).and_then(|run| view::waits_for(run).cloned()).or_else(|| {
                let run = acting_run(incident, facts).map(|run| run.name_any()).unwrap_or_default();
                next(
                    "nobody",
                    format!("run/{run} is at work"),
                    Some(Command::new(Verb::Show).namespace(&namespace).on("run", &run).into()),
                )
            })
        }
        IncidentState::Crisis => {
            let lead = status.lead.as_ref().map(|lead| lead.user.clone()).unwrap_or_default();
            if let Some((lead, named)) = handoff::pending(incident, status) {
                return next(named, format!("claim the lead, which {lead} hands over"), command(Verb::Lead));
            }
            waiting_request(incident, facts, &namespace)
                .or_else(|| waiting_question(status, &lead, &namespace, &name))
                .or_else(|| may_never_pass(status).then(|| end_without_proof(&lead, &namespace, &name)))
                .or_else(|| {
                    let by = instant(overdue?);
                    let speaks = incident.spec.roles.as_ref().and_then(|roles| roles.communications.as_ref());
                    let speaks = speaks.map_or(&lead, |speaks| &speaks.user);
                    let what = format!("write to stakeholders, who were to hear by {by}");
                    let update = Command::new(Verb::Update).namespace(&namespace).on("inc", &name).word(TEXT);
                    next(speaks, what, Some(update.into()))
                })
                .or_else(|| {
                    next(
                        &lead,
                        "decide: start a runbook, or approve a change".to_owned(),
                        command(Verb::Show),
                    )
                })
        }
        IncidentState::Monitoring => {
            let until = proved_at.map_or_else(String::new, |at| format!(" until {}", instant(at)));
            next("nobody", format!("the checks must go on passing{until}"), command(Verb::Show))
        }
        IncidentState::Restored => match &status.lead {
            Some(lead) => next(&lead.user, "resolve".to_owned(), command(Verb::Resolve)),
            None if incident.is_noticed(status) => {
                let steady = if is_true(&status.conditions, ConditionType::Flapping) {
                    " once it is steady"
                } else {
                    ""
                };
                next("nobody", format!("it resolves by itself{steady}"), None)
            }
            None => {
                let (who, what, verb) = match facts.is_governed(&namespace) {
                    true => (
                        leads(incident, facts).unwrap_or_else(|| "whoever may lead".to_owned()),
                        "no check has noticed the outage: is it over? A lead says so",
                        Verb::Lead,
                    ),
                    false => (
                        if on_it.is_empty() { paged(status) } else { on_it },
                        "no check has noticed the outage: say when it is over",
                        Verb::Resolve,
                    ),
                };
                next(&who, what.to_owned(), command(verb))
            }
        },
        IncidentState::Resolved => {
            let owner = incident
                .spec
                .review
                .as_ref()
                .and_then(|review| review.owner.as_ref())
                .map(|owner| owner.user.clone());
            let who = owner.or_else(|| status.lead.as_ref().map(|lead| lead.user.clone())).unwrap_or(on_it);
            let who = if who.is_empty() { "whoever owns the service".to_owned() } else { who };
            next(
                &who,
                "read the report; a review (spec.review) is not acted on yet".to_owned(),
                command(Verb::Report),
            )
        }
        IncidentState::Closed | IncidentState::FalseAlarm | IncidentState::Duplicate => None,
    };
    found.map(|mut found| {
        if state.is_open() && recovery::awaits_proof(incident, status) {
            found.what = cut(&format!("{}; it is resolved, as was said, once it is proved", found.what), 500);
        }
        found
    })
}

/// Whether the escalation is exhausted and reached no person.
fn nobody_is_paged(status: &IncidentStatus) -> bool {
    status.escalation.as_ref().is_some_and(|escalation| escalation.exhausted && escalation.people.is_empty())
}

/// Names of the people who are paged.
fn paged(status: &IncidentStatus) -> String {
    let people = status.escalation.as_ref().map(|escalation| escalation.people.join(", "));
    people.filter(|people| !people.is_empty()).unwrap_or_else(|| "whoever is on duty".to_owned())
}

/// Names of the people who could lead, if a rotation lists them.
fn leads(incident: &Incident, facts: &IncidentFacts) -> Option<String> {
    let services =
        facts.service(incident).map_or_else(|| facts.services.clone(), |own| vec![Arc::clone(own)]);
    let leads = approvers::names(&services, &facts.rotations, &[]).leads;
    (!leads.is_empty()).then(|| leads.join(" or "))
}

/// `next` as text for the column: `amir|bea: approve chg/back-to-v1`.
pub fn waiting_on(next: &Next) -> String {
    let who = next.who.replace(" and ", "|").replace(" or ", "|").replace(", ", "|").replace("one of ", "");
    cut(&format!("{who}: {}", next.what), 253)
}

fn acting_run<'a>(incident: &Incident, facts: &'a IncidentFacts) -> Option<&'a Arc<crate::api::RunbookRun>> {
    let name = incident.name_any();
    facts.runs.iter().find(|run| {
        run.is_for(&name) && (view::is_acting(run) || view::waits_for(run).is_some()) && !run.spec.dry_run
    })
}

/// Whether a run for the incident is acting, or waits for a person.
pub fn is_remediating(incident: &Incident, facts: &IncidentFacts) -> bool {
    acting_run(incident, facts).is_some()
}

fn waiting_request(incident: &Incident, facts: &IncidentFacts, namespace: &str) -> Option<Next> {
    let uid = incident.uid()?;
    let request = facts.requests.iter().find(|request| {
        request.status.as_ref().is_some_and(|status| {
            status.state == Some(RequestState::Waiting)
                && status.incidents.iter().any(|bound| bound.uid == uid)
        })
    })?;
    let name = request.name_any();
    let who = request.status.as_ref().and_then(|status| status.missing.clone()).unwrap_or_default();
    Some(Next {
        who: cut(&who, 253),
        what: format!("approve chg/{name}"),
        command: Some(Command::new(Verb::Approve).namespace(namespace).on("chg", &name).into()),
    })
}

/// Whether the checks may never pass although none sees a failure: one cannot be evaluated and has no question to answer,
/// or a person answered no.
fn may_never_pass(status: &IncidentStatus) -> bool {
    let is_denied = |check: &CheckStatus| check.result == CheckResult::Failing && check.answered.is_some();
    let sees_nothing = |check: &CheckStatus| check.result == CheckResult::Unknown && check.digest.is_none();
    let mut checks = status.checks.iter();
    checks.clone().all(|check| check.result != CheckResult::Failing || is_denied(check))
        && checks.any(|check| is_denied(check) || sees_nothing(check))
}

fn end_without_proof(lead: &str, namespace: &str, name: &str) -> Next {
    Next {
        who: cut(lead, 253),
        what: "repair it; if service is back and the checks cannot see it, say so with one peer".to_owned(),
        command: Some(
            Command::new(Verb::Resolve)
                .namespace(namespace)
                .on("inc", name)
                .flag(Flag::Outcome, "unproved")
                .flag(Flag::Reason, TEXT)
                .switch(Flag::Ask)
                .to_string(),
        ),
    }
}

/// The first question that waits for its answer.
fn waiting_question(status: &IncidentStatus, who: &str, namespace: &str, name: &str) -> Option<Next> {
    let check = status.checks.iter().find(|check| check.digest.is_some() && check.answered.is_none())?;
    Some(Next {
        who: cut(who, 253),
        what: cut(&format!("answer: {}", check.message), 500),
        command: Some(
            Command::new(Verb::Answer)
                .namespace(namespace)
                .on("inc", name)
                .word(&check.name)
                .word("confirm")
                .to_string(),
        ),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn crisis(checks: &[(&str, Option<&str>)]) -> Next {
        let checks: Vec<Value> = checks
            .iter()
            .map(|(result, digest)| {
                json!({"name": "c", "result": result, "message": "m", "sinceTime": "2026-11-22T02:04:10Z", "digest": digest})
            })
            .collect();
        let status: IncidentStatus = serde_json::from_value(json!({"checks": checks,
            "lead": {"user": "lena", "time": "2026-11-22T02:04:10Z"}}))
        .unwrap();
        let mut incident = Incident::new("i", Default::default());
        incident.metadata.namespace = Some("shop".into());
        decide(&incident, &IncidentFacts::default(), &status, IncidentState::Crisis, None, None).unwrap()
    }

    #[test]
    fn a_handoff_waits_for_the_nominee_and_an_update_for_communications() {
        let status: IncidentStatus =
            serde_json::from_value(json!({"lead": {"user": "lena", "time": "2026-11-22T02:04:10Z"}}))
                .unwrap();
        let overdue = "2026-11-22T02:40:00Z".parse().ok();
        let said = |roles: Value| {
            let spec = json!({"title": "t", "severity": "SEV2", "roles": roles});
            let mut incident = Incident::new("i", serde_json::from_value(spec).unwrap());
            incident.metadata.namespace = Some("shop".into());
            let next =
                decide(&incident, &IncidentFacts::default(), &status, IncidentState::Crisis, None, overdue)
                    .unwrap();
            (waiting_on(&next), next.command.unwrap())
        };
        let (who, command) = said(json!({"nominatedLead": {"user": "bea"}}));
        assert_eq!(who, "bea: claim the lead, which lena hands over");
        assert_eq!(command, "kubectl mayday lead -n shop inc/i");
        let (who, command) =
            said(json!({"nominatedLead": {"user": "lena"}, "communications": {"user": "carl"}}));
        assert_eq!(who, "carl: write to stakeholders, who were to hear by 2026-11-22 02:40:00 UTC");
        assert_eq!(command, "kubectl mayday update -n shop inc/i \"…\"");
        assert!(said(json!({})).0.starts_with("lena: write"), "nobody else speaks");
    }

    #[test]
    fn an_exhausted_escalation_waits_for_no_one_by_name() {
        let who = |escalation: Value| {
            let status: IncidentStatus = serde_json::from_value(json!({"escalation": escalation})).unwrap();
            let incident = Incident::new("i", Default::default());
            decide(&incident, &IncidentFacts::default(), &status, IncidentState::Open, None, None)
                .unwrap()
                .who
        };
        assert_eq!(who(json!({"level": -1, "round": 0, "exhausted": true})), "anybody");
        assert_eq!(who(json!({"level": 1, "round": 1, "exhausted": true, "people": ["emil"]})), "emil");
        assert_eq!(who(json!(null)), "whoever is on duty");
    }

    #[test]
    fn a_denied_check_offers_the_end_without_proof_and_an_early_end_waits() {
        let mut status: IncidentStatus =
            serde_json::from_value(json!({"checks": [{"name": "c", "result": "Failing",
            "message": "m", "sinceTime": "2026-11-22T02:04:10Z", "digest": "v1:sha256:00",
            "answered": {"user": "emil", "time": "2026-11-22T02:04:10Z"}}],
            "lead": {"user": "lena", "time": "2026-11-22T02:04:10Z"}}))
            .unwrap();
        let mut incident = Incident::new("i", Default::default());
        let what = |incident: &Incident, status: &IncidentStatus| {
            decide(incident, &IncidentFacts::default(), status, IncidentState::Crisis, None, None)
                .unwrap()
                .what
        };
        assert!(what(&incident, &status).starts_with("repair it; if service is back"));
        incident.spec.resolution = serde_json::from_value(json!({"outcome": "Restored"})).unwrap();
        let early = "; it is resolved, as was said, once it is proved";
        assert!(what(&incident, &status).ends_with(early));
        status.restored_time = status.lead.as_ref().map(|lead| lead.time.clone());
        assert!(!what(&incident, &status).ends_with(early));
    }

    #[test]
    fn an_outage_that_no_check_can_see_is_ended_by_lead_and_peer() {
        let next = crisis(&[("Passing", None), ("Unknown", None)]);
        let command = "kubectl mayday resolve -n shop inc/i --outcome unproved --reason \"…\" --ask";
        assert_eq!((next.who.as_str(), next.command.as_deref()), ("lena", Some(command)));
        assert!(
            crisis(&[("Failing", None), ("Unknown", None)]).what.starts_with("decide"),
            "it is still out"
        );
        assert!(
            crisis(&[("Unknown", Some("v1:sha256:00"))]).what.starts_with("answer"),
            "a person can see it"
        );
    }
}
