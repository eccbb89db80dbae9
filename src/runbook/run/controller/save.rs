//! Stores the journal, tells what was reached, and releases a run that is settled.

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use kube::ResourceExt;
use kube::api::{Api, Patch, PatchParams};
use serde_json::json;

use super::super::news::{self, News};
use super::super::page::{self, Told};
use super::super::state_machine::{self, Pass, Sent};
use super::super::{parts, view};
use super::RunPass;
use crate::api::runbook_run::{RUN_FINALIZER, RunbookRunStatus};
use crate::api::{Notification, RunbookRun};
use crate::cluster::caches::{get_cluster, in_namespace};
use crate::cluster::controller::Requeue;
use crate::cluster::{Error, failpoints, status};
use crate::notify::message::Subject;
use crate::notify::store;
use crate::text::cut;

/// Interval between two attempts to find a person to page for a run that has ended.
const LOOK_AGAIN: SignedDuration = SignedDuration::from_mins(1);
/// Most bytes of an Event before it says who acts: the API server takes 1024 in all.
const MAX_NOTE: usize = 700;

impl RunPass<'_> {
    /// Goes on from a status; it is stored later.
    pub(super) fn advance(&mut self, status: RunbookRunStatus) {
        self.news.extend(news::of(&self.status, &status, self.run.spec.dry_run));
        self.unsaved |= self.run.status.as_ref() != Some(&status);
        self.status = status;
        self.pass = Pass::default();
    }

    /// Stores the journal if the next move relies on it: an announced act, the end, and what cannot be proved later.
    pub(super) async fn save_if_needed(&mut self) -> Result<(), Error> {
        if state_machine::relies_on_store(&self.status) || std::mem::take(&mut self.must_store) {
            self.save().await?;
        }
        if parts::announced(&self.status).is_some() {
            self.pass.sent = Sent::NotYet;
        }
        Ok(())
    }

    /// Stores the journal over the version it was decided from.
    pub(super) async fn save(&mut self) -> Result<(), Error> {
        if !std::mem::take(&mut self.unsaved) {
            return Ok(());
        }
        let mut status = self.status.clone();
        let told = self.told(&mut status);
        if parts::has_act(&status) {
            self.retain().await?;
        }
        store::create(&self.context, &Subject::from(&self.run), &told.messages).await?;
        let announced = parts::announced(&status).is_some();
        if let Some(stored) = status::write(&self.context, &self.run, status.clone()).await? {
            self.wrote(stored);
        }
        self.status = status;
        if let Some(mut begun) = self.admission.take().filter(|_| self.status.start_time.is_some()) {
            begun.add(&self.run);
        }
        if announced {
            failpoints::point(&self.context.config, "after-intent");
        }
        self.report();
        // An act does not wait for it: what fails here is settled with the next store, at the latest at the end.
        if let Err(error) = store::settle(&self.context, &self.namespace, &told.settle).await {
            tracing::warn!(run = %self.run.name_any(), namespace = %self.namespace, %error, "messages are not settled yet");
        }
        Ok(())
    }

    /// Goes on with the run as it was just stored.
    fn wrote(&mut self, stored: RunbookRun) {
        match stored.status.as_ref().is_some_and(|status| parts::announced(status).is_some()) {
            true => self.context.written.announce(&stored),
            false => self.context.written.forget(&stored),
        }
        self.run = stored;
    }

    /// The messages that the status calls for, and those that it ends.
    fn told(&self, status: &mut RunbookRunStatus) -> Told {
        let run = RunbookRun { status: Some(status.clone()), ..self.run.clone() };
        let caches = &self.context.caches;
        let facts = page::Facts {
            run: &run,
            services: &in_namespace(&caches.services, &self.namespace),
            rotations: &in_namespace(&caches.rotations, &self.namespace),
            overrides: &in_namespace(&caches.overrides, &self.namespace),
            channels: &in_namespace(&caches.channels, &self.namespace),
            notifications: &self.notifications(),
        };
        page::decide(&facts, status, Timestamp::now())
    }

    /// The Notifications about the run.
    fn notifications(&self) -> Vec<Arc<Notification>> {
        store::about(&self.context, &Subject::from(&self.run))
    }

    /// Releases a settled run, once all its pages are sent.
    pub(super) async fn end(&mut self) -> Result<Requeue, Error> {
        let now = Timestamp::now();
        let namespace = get_cluster(&self.context.caches.namespaces, &self.namespace);
        let ends = namespace.is_some_and(|namespace| namespace.metadata.deletion_timestamp.is_some());
        let mut status = self.status.clone();
        let told = self.told(&mut status);
        if ends || !page::is_due(&self.run, &self.notifications(), now) {
            if self.run.finalizers().iter().any(|name| name == RUN_FINALIZER) {
                self.clear().await?;
            }
            store::settle(&self.context, &self.namespace, &told.settle).await?;
            self.release().await?;
            return Ok(Requeue::Never);
        }
        // Its pages are about it: it stays until they are sent.
        if status.paged_time.is_some() {
            self.retain().await?;
        }
        store::create(&self.context, &Subject::from(&self.run), &told.messages).await?;
        if let Some(stored) = status::write(&self.context, &self.run, status).await? {
            self.wrote(stored);
        }
        store::settle(&self.context, &self.namespace, &told.settle).await?;
        Ok(now.checked_add(LOOK_AGAIN).ok().into())
    }

    /// Writes an Event for each of the news, beside the next moves.
    fn report(&mut self) {
        let news = std::mem::take(&mut self.news);
        if news.is_empty() {
            return;
        }
        let (context, run) = (Arc::clone(&self.context), self.run.clone());
        tokio::spawn(async move {
            let who = view::identities(&run);
            for News { reason, note, is_warning } in news {
                let note = format!("{} ({who})", cut(&note, MAX_NOTE));
                match is_warning {
                    true => context.events.warning(&run, &reason, &note).await,
                    false => context.events.normal(&run, &reason, &note).await,
                }
            }
        });
    }

    /// Sets the finalizer: if the run vanished now, its act could never be settled.
    pub(super) async fn retain(&mut self) -> Result<(), Error> {
        let mut finalizers = self.run.finalizers().to_vec();
        if finalizers.iter().any(|name| name == RUN_FINALIZER) {
            return Ok(());
        }
        finalizers.push(RUN_FINALIZER.to_owned());
        self.set_finalizers(finalizers).await
    }

    async fn release(&mut self) -> Result<(), Error> {
        let mut finalizers = self.run.finalizers().to_vec();
        if finalizers.iter().any(|name| name == RUN_FINALIZER) {
            finalizers.retain(|name| name != RUN_FINALIZER);
            self.set_finalizers(finalizers).await?;
        }
        Ok(())
    }

    async fn set_finalizers(&mut self, finalizers: Vec<String>) -> Result<(), Error> {
        let runs: Api<RunbookRun> = Api::namespaced(self.client().clone(), &self.namespace);
        let patch =
            json!({"metadata": {"finalizers": finalizers, "resourceVersion": self.run.resource_version()}});
        let stored = runs.patch(&self.run.name_any(), &PatchParams::default(), &Patch::Merge(patch)).await?;
        self.wrote(stored);
        Ok(())
    }
}
