//! Asks whether the run may go on, before it begins and again right before each act.

use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use kube::ResourceExt;

use super::super::others::{self};
use super::super::permit::Permit;
use super::super::state_machine::Sent;
use super::super::{account, ask, gather, journal, parts, permit, rehearsal};
use super::RunPass;
use crate::api::conditions::Reason;
use crate::api::runbook::RunbookSpec;
use crate::api::runbook_run::ActVerb;
use crate::cluster::caches::get;
use crate::cluster::{Error, status, workloads};
use crate::command::{Command, Flag, Verb};
use crate::runbook::concurrency::Bounds;
use crate::runbook::siblings::{self, Share};
use crate::runbook::{account_use, automation_limits, locks, permissions, targets};

/// How long a permit counts: from the reads that it is based on to the act. It covers the store of the intent in between,
/// and the next act of the same pass.
const PERMIT_LASTS: Duration = Duration::from_secs(1);

impl RunPass<'_> {
    /// Asks whether the run may go on, from what is stored now.
    pub(super) async fn ask_permit(&mut self, spec: &RunbookSpec) -> Result<(), Error> {
        if self.permitted.is_some_and(|since| since.elapsed() < PERMIT_LASTS) {
            let permit = self.look_at_others().await?;
            self.pass.permit = Some(permit);
            return Ok(());
        }
        let Some(snapshot) = self.status.snapshot.clone() else {
            return Err(Error::Terminal("the run has no snapshot of its Runbook".to_owned()));
        };
        let asked_at = Instant::now();
        if self.status.start_time.is_none() {
            self.admission = Some(Arc::clone(&self.reconciler.admission).lock_owned().await);
        }
        let looks = self.looks_at_others();
        let others = match &mut self.admission {
            Some(begun) => begun.others(&self.context.caches.runs),
            None if looks => others::live(&self.context).await?,
            None => Vec::new(),
        };
        let siblings = self.siblings(spec).await?;
        let mut stored =
            gather::stored(&self.context, &self.run, &self.status, spec, others, siblings).await?;
        let now = Timestamp::now();
        let mut asked = ask::permit(&self.run, &self.status, (&snapshot, spec), &stored, now);
        while asked.begins {
            let users =
                account::approvers_without_use(&self.context, &self.run, spec, &stored, &asked).await?;
            if users.is_empty() {
                break;
            }
            stored.forget_approvals_of(&users);
            let why = account_use::none_may(&users, &self.namespace, &spec.service_account_name);
            asked = ask::permit(&self.run, &self.status, (&snapshot, spec), &stored, now)
                .noting(&why, permit::look_again(&self.status, now));
        }
        // A drill on copies acts as another account, and finds out by acting.
        if asked.begins && !rehearsal::is_one(&self.run) {
            let needs = permissions::needs(spec, Some((&self.status.steps, &self.status.subjects)));
            let lacking = self.run_client(spec)?.lacking(needs).await?;
            if self.run.spec.dry_run {
                // Told with the next store, each with its step.
                let lacks = permissions::of_steps(&lacking, self.status.steps.len());
                for (step, lacks) in self.status.steps.iter_mut().zip(lacks) {
                    step.lacks = lacks;
                }
            } else if !lacking.is_empty() {
                let message = permissions::lacks(&lacking, spec, &self.namespace);
                let again = permit::look_again(&self.status, now);
                asked = asked.withheld(&self.run, Reason::AccountLacksPermission, message, (again, now));
            }
        }
        // Remembered before it begins: a run that is remembered and never begins uses up one of the limit, but a run
        // that begins and is not remembered would exceed the limit.
        if let Some((runbook, next)) = ask::remembered(&self.run, &stored, &asked, now) {
            status::write(&self.context, runbook, next).await?;
        }
        // The decisions that the run relies on are stored with the next store.
        if let Some(snapshot) = self.status.snapshot.as_mut().filter(|_| asked.begins) {
            snapshot.approvals = asked.relied_on;
        }
        self.status.decisions = asked.decisions;
        self.permitted = (asked.permit == Permit::Go).then_some(asked_at);
        self.pass.permit = Some(asked.permit);
        Ok(())
    }

    /// How many of the others are healthy, if a policy asks before a run begins by itself.
    async fn siblings(&self, spec: &RunbookSpec) -> Result<Vec<Result<Share, String>>, Error> {
        let caches = &self.context.caches;
        let is_asked = || {
            automation_limits::in_namespace(&caches.policies.state(), &self.namespace).min_healthy.is_some()
        };
        let begins = self.status.start_time.is_none() && !self.run.spec.dry_run;
        if !begins || permit::started_by_person(&self.run) || !is_asked() {
            return Ok(Vec::new());
        }
        let holds = &self.status.holds;
        let mut found = Vec::new();
        if holds.iter().any(|held| !targets::is_cluster_scoped(&held.api_version, &held.kind)) {
            found.push(Ok(siblings::pods(&workloads::named(caches, &self.namespace)?, holds)));
        }
        if holds.iter().any(|held| held.group().is_empty() && held.kind == "Node") {
            let nodes = self.run_client(spec)?.nodes().await?;
            found.push(nodes.map(|nodes| siblings::nodes(&nodes, holds)));
        }
        Ok(found)
    }

    /// For an automatic run: when its outage began, and how a person would start the run.
    pub(super) fn alone(&self) -> Option<(Timestamp, String)> {
        let named = self.run.spec.incident_ref.as_ref().filter(|_| !permit::started_by_person(&self.run))?;
        let incident = get(&self.context.caches.incidents, &self.namespace, &named.name);
        let status = incident.as_ref().and_then(|incident| incident.status.as_ref());
        // An outage that has come back began again.
        let began = status.and_then(|status| status.returned_time.as_ref().or(status.start_time.as_ref()));
        let since = began.map(|time| time.0).or_else(|| self.run.creation_timestamp().map(|time| time.0))?;
        let by_hand =
            Command::new(Verb::Run).namespace(&*self.namespace).word(&*self.run.spec.runbook_ref.name);
        Some((since, by_hand.flag(Flag::Incident, &*named.name).to_string()))
    }

    /// Whether another run can be in the way of the next act.
    fn looks_at_others(&self) -> bool {
        let needs_room = !self.bounds().is_none() || !self.status.holds.is_empty();
        needs_room && self.run.is_repair() && !locks::is_sure(&self.status)
    }

    /// How many runs may work at once where this one does.
    fn bounds(&self) -> Bounds {
        let policies = self.context.caches.policies.state();
        let namespace = automation_limits::in_namespace(&policies, &self.namespace).concurrency;
        Bounds { namespace, cluster: self.context.config.runs.most() }
    }

    /// Looks at the other runs once more, after the start is stored. It comes right before the first act.
    async fn look_at_others(&self) -> Result<Permit, Error> {
        if self.admission.is_some() || !self.looks_at_others() {
            return Ok(Permit::Go);
        }
        let others = others::live(&self.context).await?;
        Ok(permit::among(&self.run, &self.status, &self.bounds(), &others, Timestamp::now()))
    }

    /// Withdraws an announced creation or request that was not sent, since no later pass could prove that.
    pub(super) async fn hold_back(&mut self) -> Result<(), Error> {
        let Some(place) = parts::announced(&self.status).filter(|_| self.pass.sent == Sent::NotYet) else {
            return Ok(());
        };
        let open = parts::part(&self.status, place).open();
        if open.is_none_or(|act| !matches!(act.verb, ActVerb::Create | ActVerb::Send)) {
            return Ok(());
        }
        let generation = self.run.metadata.generation.unwrap_or_default();
        let entry = journal::Entry::new(&self.status, generation, Timestamp::now());
        self.advance(entry.never_sent(place).done());
        self.save().await
    }
}
