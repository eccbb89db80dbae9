//! Hands each review to the module that decides it.

use std::collections::BTreeMap;

use futures::FutureExt;
use futures::future::BoxFuture;
use json_patch::Patch;

use crate::admission::probe;
use crate::change::gate;
use crate::cluster::SharedContext;
use crate::cluster::caches::get_cluster;
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
        match guard::rule(&self.context, request).await {
            Ok(Ruling::Allow) => Verdict::allow(),
            Ok(Ruling::BreakGlass) => broken(&self.context, request).await,
            Ok(Ruling::Refuse(message)) => Verdict::refuse(message),
            Ok(Ruling::Quorum(message)) => {
                by_quorum(gate::review_by_quorum(&self.context, request, &message).await)
            }
            Err(verdict) => verdict,
        }
    }
}

/// Reports a policy loosened by its break-glass: in an Event, and in the audit log with the user. The policy's status
/// cannot hold it: writing the status during a write to the policy makes the API server retry that write without end.
async fn broken(context: &SharedContext, request: &Request) -> Verdict {
    let user = request.user_info.username.as_deref().unwrap_or_default();
    let told = format!("cpol/{} is loosened by its break-glass, by {user}", request.name);
    if let Some(policy) = get_cluster(&context.caches.policies, &request.name).filter(|_| !request.dry_run) {
        tracing::warn!(policy = request.name, user, "a policy in force is loosened by its break-glass");
        context.events.warning(&*policy, "BreakGlass", &told).await;
    }
    let audit = BTreeMap::from([("break-glass".to_owned(), format!("cpol/{}", request.name))]);
    Verdict::Allow { warnings: vec![told], audit }
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
