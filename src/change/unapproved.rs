//! Changes that passed without an approval: stored in the policy's status, and everybody concerned is told.

use jiff::Timestamp;
use kube::api::PostParams;
use kube::{Api, ResourceExt};
use serde_json::json;

use super::attempt::Attempt;
use super::{digest, refusal};
use crate::api::ChangePolicy;
use crate::api::change_policy::{UnapprovedChange, UnapprovedKind};
use crate::cluster::conditions::seconds;
use crate::cluster::error::chain;
use crate::cluster::events::cut;
use crate::cluster::{Context, Error};

/// Most entries that are kept; the newest come first.
const KEPT: usize = 50;
const TRIES: usize = 5;

/// Records a change that passed. The record must not stop the change, so a failure is only logged; the
/// comparison at the next start finds what was missed.
pub async fn record(context: &Context, policy: &ChangePolicy, attempt: &Attempt, kind: UnapprovedKind) {
    let change = UnapprovedChange {
        id: identity(attempt),
        namespace: attempt.namespace.clone(),
        object: attempt.target.clone(),
        what: cut(&refusal::what(attempt), 500),
        by: Some(attempt.user.clone()),
        time: seconds(Timestamp::now()),
        kind,
    };
    if let Err(error) = store(context, &policy.name_any(), change).await {
        tracing::error!(policy = %policy.name_any(), error = %chain(&error), "an unapproved change was not recorded");
    }
}

/// The same change of the same state of an object is recorded once, also when the API server asks twice.
fn identity(attempt: &Attempt) -> String {
    let content = json!({"uid": attempt.uid, "object": attempt.target, "delta": attempt.delta,
        "version": attempt.before.pointer("/metadata/resourceVersion"), "by": attempt.user});
    digest::of(&content).unwrap_or_else(|_| attempt.target.display())
}

/// Adds a change to the policy's status, once.
///
/// # Errors
/// When the API server does not take it.
pub async fn store(context: &Context, policy: &str, change: UnapprovedChange) -> Result<(), Error> {
    let api: Api<ChangePolicy> = Api::all(context.client.clone());
    for _ in 0..TRIES {
        let Some(mut stored) = api.get_opt(policy).await? else { return Ok(()) };
        let mut status = stored.status.clone().unwrap_or_default();
        if status.unapproved.iter().any(|known| known.id == change.id) {
            return Ok(());
        }
        status.unapproved.insert(0, change.clone());
        status.unapproved.truncate(KEPT);
        stored.status = Some(status);
        match api.replace_status(policy, &PostParams::default(), &stored).await {
            Ok(_) => return Ok(()),
            Err(kube::Error::Api(answer)) if answer.is_conflict() => {}
            Err(error) => return Err(error.into()),
        }
    }
    Err(Error::Conflict(format!("cpol/{policy}")))
}
