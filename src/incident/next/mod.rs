//! Who must do what next, with the command that the person types (docs/rules.md#next). Pure.

mod waits;

use jiff::Timestamp;
use kube::ResourceExt;

use super::facts::IncidentFacts;
use super::recovery;
use crate::api::conditions::{ConditionType, is_true};
use crate::api::incident_status::{IncidentState, IncidentStatus, Next};
use crate::api::{Incident, RunbookRun};
use crate::change::approval::approvers;
use crate::change::policy;
use crate::command::{Command, Flag, TEXT, Verb};
use crate::incident::{duplicates, handoff};
use crate::oncall::escalation::responders;
use crate::runbook::run::view;
use crate::text::{cut, instant};

pub use waits::is_remediating;

/// Stands for people whose names no rotation lists.
const ON_DUTY: &str = "whoever is on duty";

/// What the next action is decided from.
pub struct Scene<'a> {
    /// The incident as it is stored.
    pub incident: &'a Incident,
    /// The objects of its namespace.
    pub facts: &'a IncidentFacts,
    /// The status as planned so far.
    pub status: &'a IncidentStatus,
    /// When the return to service is proved if every check goes on passing.
    pub proved_at: Option<Timestamp>,
    /// The passed time by which stakeholders were promised an update.
    pub overdue: Option<Timestamp>,
    /// The time of the decision.
    pub now: Timestamp,
}

/// The next action in a state; `None` once nothing is left to do.
pub fn decide(scene: &Scene<'_>, state: IncidentState) -> Option<Next> {
    let found = match state {
        IncidentState::Closed | IncidentState::FalseAlarm | IncidentState::Duplicate => return None,
        IncidentState::Resolved => scene.resolved(),
        _ if scene.original().is_some() => scene.duplicate_soon(),
        IncidentState::Open => scene.open(),
        IncidentState::Acknowledged => scene.acknowledged(),
        IncidentState::Remediating => scene.remediating(),
        IncidentState::Crisis => scene.crisis(),
        IncidentState::Monitoring => scene.monitoring(),
        IncidentState::Restored => scene.restored(),
    };
    let waits = state.is_open() && recovery::awaits_proof(scene.incident, scene.status);
    let what = if waits {
        format!("{}; it is resolved, as was said, once it is proved", found.what)
    } else {
        found.what
    };
    Some(Next { who: cut(&found.who, 253), what: cut(&what, 500), command: found.command })
}

/// `next` as text for the column: `amir|bea: approve chg/back-to-v1`.
pub fn waiting_on(next: &Next) -> String {
    let who = next.who.replace(" and ", "|").replace(" or ", "|").replace(", ", "|").replace("one of ", "");
    cut(&format!("{who}: {}", next.what), 253)
}

fn next(who: impl Into<String>, what: impl Into<String>, command: Command) -> Next {
    Next { who: who.into(), what: what.into(), command: Some(command.into()) }
}

impl Scene<'_> {
    fn namespace(&self) -> String {
        self.incident.namespace().unwrap_or_default()
    }

    fn bare(&self, verb: Verb) -> Command {
        Command::new(verb).namespace(self.namespace())
    }

    /// A command about the incident.
    fn on(&self, verb: Verb) -> Command {
        self.bare(verb).on("inc", &self.incident.name_any())
    }

    /// The older open incident about the same outage.
    fn original(&self) -> Option<String> {
        duplicates::original(self.incident, self.facts).map(|original| original.name_any())
    }

    /// An older incident is about to take this one over; nobody is paged for this one, and no runbook starts.
    fn duplicate_soon(&self) -> Next {
        let name = self.original().unwrap_or_default();
        let there = |verb| self.bare(verb).on("inc", &name);
        match &self.status.lead {
            Some(lead) => {
                next(&lead.user, format!("claim the lead of inc/{name}, the same outage"), there(Verb::Lead))
            }
            None => next("nobody", format!("it goes on as inc/{name}, the same outage"), there(Verb::Show)),
        }
    }

    fn open(&self) -> Next {
        let escalation = self.status.escalation.as_ref();
        let people = escalation.map(|escalation| escalation.people.join(", ")).unwrap_or_default();
        let is_nobody = escalation.is_some_and(|known| known.exhausted && known.people.is_empty());
        let delivery = self.status.page_delivery.clone().unwrap_or_default();
        if let Some(failure) = delivery.failure.filter(|_| delivery.reached.is_empty()) {
            let what = format!(
                "no page was delivered ({failure}): call {}, or acknowledge it yourself",
                self.callable(&people)
            );
            return next("anybody", what, self.on(Verb::Ack));
        }
        match (is_nobody, people.is_empty()) {
            (true, _) => {
                let called = self.callable("");
                let what =
                    format!("acknowledge; nobody can be paged, and the timeline says why: call {called}");
                next("anybody", what, self.on(Verb::Ack))
            }
            (false, true) => next(ON_DUTY, "acknowledge", self.on(Verb::Ack)),
            (false, false) => next(people, "acknowledge", self.on(Verb::Ack)),
        }
    }

    /// Whom a colleague can call by other means.
    fn callable(&self, people: &str) -> String {
        match people.is_empty() {
            true => self.on_duty().map_or_else(|| ON_DUTY.to_owned(), |users| users.join(" or ")),
            false => people.replace(", ", " or "),
        }
    }

    fn acknowledged(&self) -> Next {
        let on_it =
            self.status.acknowledgement.as_ref().map(|person| person.user.clone()).unwrap_or_default();
        self.question(None)
            .or_else(|| self.approved_request())
            .or_else(|| self.request_without_a_lead())
            .unwrap_or_else(|| self.on_the_way(&on_it))
    }

    /// What the person who answered does while nobody leads and nothing waits.
    fn on_the_way(&self, on_it: &str) -> Next {
        let leads = self.leads();
        let is_led = self.may_be_led();
        let or_else = match (is_led, leads.is_empty()) {
            (false, _) => "say that it is over".to_owned(),
            (true, true) => "call a lead".to_owned(),
            (true, false) if leads.iter().any(|lead| lead == on_it) => "claim the lead".to_owned(),
            (true, false) => format!("call a lead: {}", leads.join(" or ")),
        };
        if let Some(runbook) = self.runbook() {
            return next(on_it, format!("run runbook {runbook}, or {or_else}"), self.start(&runbook));
        }
        let command = match is_led {
            false => self.unproved(false),
            true if or_else == "claim the lead" => self.on(Verb::Lead),
            true => self.lead_rotation(),
        };
        let or_else = if is_led { or_else } else { format!("repair it, and {or_else}") };
        next(on_it, or_else, command)
    }

    fn remediating(&self) -> Next {
        let run = waits::acting_run(self.incident, self.facts, self.status);
        if let Some(frozen) = run.filter(|run| view::is_frozen(run)) {
            return self.frozen(frozen);
        }
        if let Some(waits) = run.and_then(|run| view::waits_for(run)) {
            return waits.clone();
        }
        let name = run.map(|run| run.name_any()).unwrap_or_default();
        next("nobody", format!("run/{name} is at work"), self.bare(Verb::Show).on("run", &name))
    }

    /// A freeze may last for days. Somebody decides whether the run waits for its end; meanwhile it holds its targets.
    fn frozen(&self, run: &RunbookRun) -> Next {
        let name = run.name_any();
        let on_it = self.status.acknowledgement.as_ref().map(|person| person.user.clone());
        let on_duty = || self.on_duty().map_or_else(|| ON_DUTY.to_owned(), |users| users.join(" or "));
        let why = view::waits_for(run).map_or("", |waits| waits.what.as_str());
        let what = format!(
            "decide: run/{name} goes on when the freeze ends, or cancel it and repair by hand; {why}"
        );
        next(on_it.unwrap_or_else(on_duty), what, self.bare(Verb::Cancel).on("run", &name))
    }

    fn crisis(&self) -> Next {
        let lead = self.status.lead.as_ref().map(|lead| lead.user.clone()).unwrap_or_default();
        if let Some((lead, named)) = handoff::pending(self.incident, self.status) {
            let unknown = match handoff::is_reachable(&named, self.facts) {
                true => String::new(),
                false => format!("; no rotation says how to page {named}: call them"),
            };
            return next(
                &named,
                format!("claim the lead, which {lead} hands over{unknown}"),
                self.on(Verb::Lead),
            );
        }
        self.approved_request()
            .or_else(|| self.waiting_request())
            .or_else(|| self.question(Some(&lead)))
            .or_else(|| {
                let what = "repair it; if service is back and the checks cannot see it, say so with one peer";
                waits::may_never_pass(self.status).then(|| next(&lead, what, self.unproved(true)))
            })
            .or_else(|| self.overdue_update(&lead))
            .unwrap_or_else(|| match self.runbook() {
                Some(runbook) => next(
                    &lead,
                    format!("decide: run runbook {runbook}, or ask for a change"),
                    self.start(&runbook),
                ),
                None => next(
                    &lead,
                    "decide: no runbook fits; look at the checks and the last changes, and ask for a change",
                    self.on(Verb::Show),
                ),
            })
    }

    fn overdue_update(&self, lead: &str) -> Option<Next> {
        let by = instant(self.overdue?);
        let speaks = self.incident.spec.roles.as_ref().and_then(|roles| roles.communications.as_ref());
        let what = format!("write to stakeholders, who were to hear by {by}");
        let speaks = speaks.map_or(lead, |speaks| &speaks.user);
        Some(next(speaks, what, self.on(Verb::Update).word(TEXT)))
    }

    fn monitoring(&self) -> Next {
        let until = self.proved_at.map_or_else(String::new, |at| format!(" until {}", instant(at)));
        next("nobody", format!("the checks must go on passing{until}"), self.on(Verb::Show))
    }

    fn restored(&self) -> Next {
        let is_flapping = is_true(&self.status.conditions, ConditionType::Flapping);
        match &self.status.lead {
            Some(lead) => next(&lead.user, "resolve", self.on(Verb::Resolve)),
            None => {
                let steady = if is_flapping { " once it is steady" } else { "" };
                next("nobody", format!("it resolves by itself{steady}"), self.on(Verb::Show))
            }
        }
    }

    fn resolved(&self) -> Next {
        let review = self.incident.spec.review.as_ref();
        let owner = review.and_then(|review| review.owner.as_ref()).map(|owner| owner.user.as_str());
        let led = self.status.lead.as_ref().or(self.status.acknowledgement.as_ref());
        let who = owner.or(led.map(|person| person.user.as_str())).unwrap_or("whoever owns the service");
        next(who, "read the report; a review (spec.review) is not acted on yet", self.on(Verb::Report))
    }

    /// The command that ends it although the checks cannot prove that; `ask`: by a request to a peer.
    fn unproved(&self, ask: bool) -> Command {
        let command = self.on(Verb::Resolve).flag(Flag::Outcome, "unproved").flag(Flag::Reason, TEXT);
        if ask { command.switch(Flag::Ask) } else { command }
    }

    /// The command that starts a runbook for the incident.
    fn start(&self, runbook: &str) -> Command {
        self.bare(Verb::Run).word(runbook).flag(Flag::Incident, self.incident.name_any())
    }

    /// Whether the policies over the namespace let anybody lead.
    fn may_be_led(&self) -> bool {
        let over = policy::covering(&self.facts.policies, &self.namespace(), &self.facts.operator_namespace);
        let mut rules = over.iter().filter_map(|policy| policy.spec.incident.as_ref()).peekable();
        rules.peek().is_some() && rules.all(|rule| !rule.leads.groups.is_empty())
    }

    /// Users who could lead, as far as a rotation lists them.
    fn leads(&self) -> Vec<String> {
        let own = self.facts.service(self.incident).map(|own| vec![own.clone()]);
        let services = own.unwrap_or_else(|| self.facts.services.clone());
        approvers::names(&services, &self.facts.rotations, &[]).leads
    }

    /// The command that says who is on duty as lead.
    fn lead_rotation(&self) -> Command {
        let service = self.status.service.as_ref();
        let named = service.and_then(|service| service.rotations.as_ref()?.lead.as_ref());
        match named {
            Some(rotation) => self.bare(Verb::Who).word(&rotation.name),
            None => self.bare(Verb::Who),
        }
    }

    /// Users who are on duty for the incident; `None` if nobody is.
    fn on_duty(&self) -> Option<Vec<String>> {
        let known = Incident { status: Some(self.status.clone()), ..self.incident.clone() };
        let facts = self.facts;
        let incidents = [std::sync::Arc::new(known)];
        let users =
            responders::on_duty(&incidents, &facts.services, &facts.rotations, &facts.overrides, self.now);
        (!users.is_empty()).then(|| users.into_iter().collect())
    }
}

#[cfg(test)]
mod next_tests;
