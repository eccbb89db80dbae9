//! Makes posts that were refused for good visible on their source, since their senders do not send them again
//! (docs/rules.md#refused-posts).

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use axum::http::StatusCode;
use jiff::Timestamp;
use kube::{Api, ResourceExt};

use crate::api::AlertSource;
use crate::api::alert_source::{AlertSourceStatus, RefusedPost};
use crate::api::common::stored_time;
use crate::api::conditions::Reason;
use crate::cluster::error::chain;
use crate::cluster::{Error, SharedContext, status};
use crate::text::cut;

/// Minimum interval between two notes of one kind on one source, so that a sender without a token cannot make much work.
const INTERVAL: Duration = Duration::from_secs(30);
/// Maximum number of remembered notes; beyond it all are written again.
const MOST: usize = 4096;
/// Maximum number of attempts to write a status that others write at the same time.
const TRIES: usize = 8;
/// Reason of the Event about an alert that names another namespace.
const ELSEWHERE: &str = "OtherNamespace";

/// What was noted on which source, and when.
#[derive(Debug, Default)]
pub struct Refusals {
    noted: Mutex<HashMap<(String, String, String), Instant>>,
    /// Held by the one that writes; the others wait in their order, so that the last post is the last note.
    writing: Arc<tokio::sync::Mutex<()>>,
}

impl Refusals {
    /// Notes a post that was refused for good: in the status, and as an Event. It returns at once.
    pub fn refused(&self, context: &SharedContext, source: &Arc<AlertSource>, code: StatusCode, text: &str) {
        let was_taken_since =
            source.status.as_ref().and_then(|status| status.refused.as_ref()).is_some_and(|r| r.taken_since);
        if !self.is_due(source, code.as_str(), was_taken_since) {
            return;
        }
        let refused = RefusedPost {
            time: stored_time(Timestamp::now()),
            code: i32::from(code.as_u16()),
            message: cut(text, 500),
            taken_since: false,
        };
        let (context, source, writing) = (Arc::clone(context), Arc::clone(source), Arc::clone(&self.writing));
        tokio::spawn(async move {
            let _writing = writing.lock().await;
            let note = format!(
                "A post was refused with {}, and is not sent again: {}",
                refused.code, refused.message
            );
            let is_newer = |known: &RefusedPost| known.time > refused.time;
            let refuse = |status: &mut AlertSourceStatus| {
                if !status.refused.as_ref().is_some_and(is_newer) {
                    status.refused = Some(refused.clone());
                }
            };
            write(&context, &source, refuse).await;
            context.events.warning(&*source, Reason::PostRefused.as_str(), &note).await;
        });
    }

    /// Notes that a post was taken after one that was refused. It returns at once.
    pub fn taken(&self, context: &SharedContext, source: &Arc<AlertSource>) {
        let refused = source.status.as_ref().and_then(|status| status.refused.as_ref());
        let Some(refused) = refused.filter(|refused| !refused.taken_since) else { return };
        if !self.is_due(source, &format!("taken since {}", refused.time.0), false) {
            return;
        }
        let (time, writing) = (refused.time.clone(), Arc::clone(&self.writing));
        let (context, source) = (Arc::clone(context), Arc::clone(source));
        tokio::spawn(async move {
            let _writing = writing.lock().await;
            let take = |status: &mut AlertSourceStatus| {
                for refused in status.refused.iter_mut().filter(|refused| refused.time == time) {
                    refused.taken_since = true;
                }
            };
            write(&context, &source, take).await;
        });
    }

    /// Tells of alerts that name another namespace, and are left out. It returns at once.
    pub fn elsewhere(
        &self,
        context: &SharedContext,
        source: &Arc<AlertSource>,
        namespace: &str,
        sentence: String,
    ) {
        if !self.is_due(source, &format!("about {namespace}"), false) {
            return;
        }
        let (context, source) = (Arc::clone(context), Arc::clone(source));
        tokio::spawn(async move { context.events.normal(&*source, ELSEWHERE, &sentence).await });
    }

    /// Whether a note of this kind is due on a source.
    fn is_due(&self, source: &AlertSource, kind: &str, is_new: bool) -> bool {
        let key = (source.namespace().unwrap_or_default(), source.name_any(), kind.to_owned());
        let mut noted = self.noted.lock().unwrap_or_else(PoisonError::into_inner);
        if !is_new && noted.get(&key).is_some_and(|at| at.elapsed() < INTERVAL) {
            return false;
        }
        if noted.len() >= MOST {
            noted.clear();
        }
        noted.insert(key, Instant::now());
        true
    }
}

/// Changes the status of a source, whoever else writes it. A failure is only logged: the sender has its answer.
async fn write(context: &SharedContext, source: &AlertSource, change: impl Fn(&mut AlertSourceStatus)) {
    let (namespace, name) = (source.namespace().unwrap_or_default(), source.name_any());
    let sources: Api<AlertSource> = Api::namespaced(context.client.clone(), &namespace);
    for _ in 0..TRIES {
        let written = async {
            let Some(live) = sources.get_opt(&name).await? else { return Ok(()) };
            let mut next = live.status.clone().unwrap_or_default();
            change(&mut next);
            status::write(context, &live, next).await.map(drop)
        };
        match written.await {
            Ok(()) => return,
            Err(Error::Conflict(_)) => {}
            Err(error) => {
                tracing::warn!(%namespace, source = %name, error = %chain(&error), "a refused post was not noted");
                return;
            }
        }
    }
    tracing::warn!(%namespace, source = %name, "a refused post was not noted: others write the status");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_note_is_written_once_in_a_while() {
        let refusals = Refusals::default();
        let source = AlertSource::new("am", Default::default());
        assert!(refusals.is_due(&source, "401", false));
        assert!(!refusals.is_due(&source, "401", false), "however often it comes");
        assert!(refusals.is_due(&source, "413", false), "another kind");
        assert!(refusals.is_due(&source, "413", true), "a post was taken in between");
        assert!(refusals.is_due(&AlertSource::new("other", Default::default()), "401", false));
    }
}
