//! What waits for a person: questions, requests, runbooks, runs. Pure.

use std::sync::Arc;

use kube::ResourceExt;

use super::{Scene, next};
use crate::api::change_request::RequestState;
use crate::api::incident_status::{CheckResult, CheckStatus, IncidentStatus, Next};
use crate::api::{ChangeRequest, Incident, RunbookRun};
use crate::command::Verb;
use crate::incident::facts::IncidentFacts;
use crate::incident::{chronicle, runbooks};
use crate::runbook::run::view;
use crate::text::instant;

/// The run that is acting for the incident, or waits for a person.
pub fn acting_run<'a>(
    incident: &Incident,
    facts: &'a IncidentFacts,
    status: &IncidentStatus,
) -> Option<&'a Arc<RunbookRun>> {
    facts.runs.iter().find(|run| {
        let is_at_work = view::is_acting(run) || view::waits_for(run).is_some();
        is_at_work && run.is_repair() && runbooks::is_of(run, incident, facts, status)
    })
}

/// Whether a run for the incident is acting, or waits for a person.
pub fn is_remediating(incident: &Incident, facts: &IncidentFacts, status: &IncidentStatus) -> bool {
    acting_run(incident, facts, status).is_some()
}

/// Whether the checks may never pass although none sees a failure: one cannot be evaluated and has no question to answer,
/// or a person answered no.
pub fn may_never_pass(status: &IncidentStatus) -> bool {
    let is_denied = |check: &CheckStatus| check.result == CheckResult::Failing && check.answered.is_some();
    let sees_nothing = |check: &CheckStatus| check.result == CheckResult::Unknown && check.digest.is_none();
    let mut checks = status.checks.iter();
    checks.clone().all(|check| check.result != CheckResult::Failing || is_denied(check))
        && checks.any(|check| is_denied(check) || sees_nothing(check))
}

impl Scene<'_> {
    /// The first question that waits for its answer. The lead may answer, else somebody on duty. Where nobody may answer,
    /// somebody must claim the lead first; where nobody may lead either, it is ended in so many words.
    pub(super) fn question(&self, lead: Option<&str>) -> Option<Next> {
        let mut checks = self.status.checks.iter();
        let check = checks.find(|check| check.digest.is_some() && check.answered.is_none())?;
        let what = format!("answer: {}", check.message);
        let answer = self.on(Verb::Answer).word(&check.name).word("confirm");
        let on_it = self.status.acknowledgement.as_ref().map(|by| by.user.clone()).unwrap_or_default();
        Some(match (lead, self.on_duty()) {
            (Some(lead), _) => next(lead, what, answer),
            (None, Some(users)) if users.contains(&on_it) => next(on_it, what, answer),
            (None, Some(users)) => next(users.join(" or "), what, answer),
            (None, None) if self.may_be_led() => {
                let leads = self.leads();
                let who = if leads.is_empty() { "whoever may lead".to_owned() } else { leads.join(" or ") };
                next(who, format!("claim the lead, then {what}"), self.on(Verb::Lead))
            }
            (None, None) => {
                next(on_it, format!("say when it is over; {}", check.message), self.unproved(false))
            }
        })
    }

    /// The first request that the incident binds and that waits for approvals.
    pub(super) fn waiting_request(&self) -> Option<Next> {
        let request = self.request_in(RequestState::Waiting)?;
        let name = request.name_any();
        let who = request.status.as_ref().and_then(|status| status.missing.clone()).unwrap_or_default();
        Some(next(who, format!("approve chg/{name}"), self.bare(Verb::Approve).on("chg", &name)))
    }

    /// The same while nobody leads: the lead must be claimed first.
    pub(super) fn request_without_a_lead(&self) -> Option<Next> {
        let request = self.request_in(RequestState::Waiting)?;
        let missing =
            request.status.as_ref().and_then(|status| status.missing.as_deref()).unwrap_or_default();
        if !missing.starts_with("a lead (") {
            return self.waiting_request();
        }
        let leads = self.leads();
        let who = if leads.is_empty() { "whoever may lead".to_owned() } else { leads.join(" or ") };
        Some(next(
            who,
            format!("claim the lead: chg/{} waits for it", request.name_any()),
            self.on(Verb::Lead),
        ))
    }

    /// The first request for this outage that is approved and not carried out yet.
    pub(super) fn approved_request(&self) -> Option<Next> {
        let request = self.request_in(RequestState::Approved)?;
        let name = request.name_any();
        let spec = &request.spec;
        let actors: Vec<&str> = spec.actors.iter().map(|actor| actor.user.as_str()).collect();
        let who = match (actors.is_empty(), &spec.requester) {
            (false, _) => actors.join(" or "),
            (true, Some(requester)) => requester.user.clone(),
            (true, None) => "whoever asked for it".to_owned(),
        };
        let from = spec.window.as_ref().and_then(|window| window.not_before.as_ref());
        let from = from.filter(|from| from.0 > self.now).map(|from| format!(" from {}", instant(from.0)));
        let what = format!("apply chg/{name}{}", from.unwrap_or_default());
        Some(next(who, what, self.bare(Verb::Apply).on("chg", &name)))
    }

    fn request_in(&self, state: RequestState) -> Option<&Arc<ChangeRequest>> {
        self.facts.requests.iter().find(|request| {
            request.status.as_ref().and_then(|status| status.state) == Some(state)
                && chronicle::is_of(request, self.incident, self.status)
        })
    }

    /// The first runbook that fits, can be started by hand, and has not run for this outage yet.
    pub(super) fn runbook(&self) -> Option<String> {
        let since = self.status.out_since().map(|since| since.0);
        let has_run = |name: &str| {
            self.facts.runs.iter().any(|run| {
                let ended = run.status.as_ref().and_then(|status| status.end_time.as_ref());
                let is_this_time = ended.is_some_and(|ended| since.is_none_or(|since| ended.0 >= since));
                run.spec.runbook_ref.name == name
                    && run.is_repair()
                    && run.is_for(&self.incident.name_any())
                    && is_this_time
            })
        };
        let by_hand = |why: &str| why.contains(&self.bare(Verb::Run).to_string());
        let fits = |blocked: Option<&String>| blocked.is_none_or(|why| by_hand(why));
        let runbooks = self.status.runbooks.iter().filter(|runbook| !has_run(&runbook.name));
        let mut free = runbooks.filter(|runbook| fits(runbook.blocked.as_ref()));
        free.next().map(|runbook| runbook.name.clone())
    }
}
