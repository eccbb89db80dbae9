//! Hands each review to the module that decides it.

use futures::FutureExt;
use futures::future::BoxFuture;
use json_patch::Patch;

use crate::admission::{broken_policy, probe};
use crate::change::gate;
use crate::cluster::SharedContext;
use crate::guard;
use crate::guard::ruling::Ruling;
use crate::webhook::review::Request;
use crate::webhook::server::ReviewHandler;
use crate::webhook::verdict::Verdict;

/// The handlers behind the webhook server.
pub struct Handlers {
    context: SharedContext,
}

impl Handlers {
    /// With what every part of the process shares.
    pub fn new(context: SharedContext) -> Handlers {
        Handlers { context }
    }

    async fn decide(&self, request: &Request) -> Verdict {
        let judged = match guard::rule(&self.context, request).await {
            Ok(judged) => judged,
            Err(verdict) => return verdict,
        };
        match judged.ruling {
            Ruling::Allow => Verdict::Allow { warnings: judged.warnings, audit: Default::default() },
            Ruling::BreakGlass(looser) => broken_policy::report(&self.context, request, &looser).await,
            Ruling::Refuse(message) => Verdict::refuse(message),
            Ruling::Quorum(message) => {
                by_quorum(gate::review_by_quorum(&self.context, request, &message).await)
            }
        }
    }
}

/// The audit log records that the change took a quorum.
fn by_quorum(mut verdict: Verdict) -> Verdict {
    if let Verdict::Allow { audit, .. } = &mut verdict {
        audit.insert("quorum".to_owned(), "approved".to_owned());
    }
    verdict
}

impl ReviewHandler for Handlers {
    fn stamp<'a>(&'a self, request: &'a Request) -> BoxFuture<'a, Result<Patch, Verdict>> {
        async { guard::stamp(&self.context, request) }.boxed()
    }

    fn guard<'a>(&'a self, request: &'a Request) -> BoxFuture<'a, Verdict> {
        self.decide(request).boxed()
    }

    fn gate<'a>(&'a self, request: &'a Request) -> BoxFuture<'a, Verdict> {
        match probe::refusal(request) {
            Some(refusal) => std::future::ready(refusal).boxed(),
            None => gate::review(&self.context, request).boxed(),
        }
    }

    fn break_glass<'a>(&'a self, request: &'a Request) -> BoxFuture<'a, Verdict> {
        gate::record_break_glass(&self.context, request).boxed()
    }

    fn is_probe(&self, request: &Request) -> bool {
        probe::refusal(request).is_some()
    }

    fn count(&self, webhook: &'static str, verdict: &Verdict) {
        self.context.metrics.reviewed(webhook, verdict.word());
    }
}
