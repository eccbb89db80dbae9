//! Prepares the copies of a drill in its own namespace, and removes them.

use jiff::Timestamp;
use kube::ResourceExt;

use super::super::rehearsal::stage::Staged;
use super::super::{gather, journal, rehearsal};
use super::RunPass;
use crate::api::Runbook;
use crate::api::conditions::Reason;
use crate::api::runbook::{RunbookSpec, RunbookStatus};
use crate::api::runbook_run::{RunState, RunbookRunStatus};
use crate::api::runbook_step::Target;
use crate::cluster::Error;
use crate::cluster::controller::Requeue;
use crate::runbook::drill;

impl RunPass<'_> {
    /// Makes the copies of a drill. Only an approved Runbook is rehearsed, as every run is.
    pub(super) async fn stage(&mut self, runbook: Option<&Runbook>) -> Result<Requeue, Error> {
        let now = Timestamp::now();
        let generation = self.run.metadata.generation.unwrap_or_default();
        let entry = journal::Entry::new(&self.status, generation, now);
        let name = &self.run.spec.runbook_ref.name;
        let place = self.status.drill.as_ref().map(|drill| drill.namespace.clone());
        let place = place.or_else(|| runbook.and_then(rehearsal::namespace_of).map(str::to_owned));
        let (Some(runbook), Some(place)) = (runbook, place) else {
            let message = format!("rb/{name} is not rehearsed in a namespace of its own any more");
            return self.staged(entry.finishes(RunState::Cancelled, &message), Requeue::At(now)).await;
        };
        let is_observed =
            |status: &&RunbookStatus| Some(status.observed_generation) == runbook.metadata.generation;
        if !runbook.status.as_ref().filter(is_observed).is_some_and(drill::may_begin) {
            let message = format!("rb/{name} is not Ready or not approved");
            return self.staged(entry.blocked(Reason::NotApproved, &message), Requeue::Never).await;
        }
        let known = self.status.drill.as_ref();
        let stage =
            rehearsal::stage::Stage { context: &self.context, run: &self.run, runbook, place: &place, known };
        match stage.advance(now).await? {
            Staged::Store(drill) => {
                // Whatever is made from now on must be removed again.
                self.retain().await?;
                self.advance(RunbookRunStatus { drill: Some(drill), ..self.status.clone() });
                self.save().await?;
                Ok(Requeue::At(now))
            }
            Staged::Waits(message, until) => {
                self.staged(entry.blocked(Reason::CopiesNotReady, &message), Requeue::At(until)).await
            }
            Staged::Fails(message) => {
                self.staged(entry.finishes(RunState::Failed, &message), Requeue::At(now)).await
            }
        }
    }

    async fn staged(&mut self, entry: journal::Entry, next: Requeue) -> Result<Requeue, Error> {
        self.advance(entry.done());
        self.save().await?;
        Ok(next)
    }

    /// Whether a drill on copies leaves out an expression over this target: only what is copied is there.
    pub(super) fn leaves_out(&self, target: &Target) -> bool {
        let named = target.named(None);
        let copies = self.status.drill.as_ref().map(|drill| &drill.copies);
        copies.is_some_and(|copies| {
            !named.is_some_and(|named| copies.iter().any(|copy| copy.same_object(&named)))
        })
    }

    /// Removes the copies of a drill. What may not be removed is told, and left.
    pub(super) async fn clear(&self) -> Result<(), Error> {
        let Some(drill) = &self.status.drill else { return Ok(()) };
        let spec = match &self.status.snapshot {
            Some(snapshot) => serde_json::from_value::<RunbookSpec>(snapshot.spec.clone()).ok(),
            None => gather::runbook(&self.context, &self.run).await?.map(|runbook| runbook.spec),
        };
        let Some(spec) = spec else { return Ok(()) };
        let uid = self.run.uid().unwrap_or_default();
        let client = self.client_of(&spec.service_account_name)?;
        let left = rehearsal::stage::clear(&client, &uid, drill).await?;
        if !left.is_empty() {
            let note = format!("copies are left in {}: {}", drill.namespace, left.join("; "));
            self.context.events.warning(&self.run, "CopiesLeft", &note).await;
        }
        Ok(())
    }
}
