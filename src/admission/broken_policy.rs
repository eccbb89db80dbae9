//! A policy that its break-glass group loosens or deletes is an alarm like every broken glass: recorded, and told to the
//! people of every namespace under it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use jiff::Timestamp;
use kube::ResourceExt;
use kube::core::admission::Operation;

use crate::api::ChangePolicy;
use crate::api::change_policy::{UnauthorizedChange, UnauthorizedKind};
use crate::api::common::{ObjectRef, stored_time};
use crate::change::diff::{describe, digest};
use crate::change::gate::unauthorized;
use crate::change::policy;
use crate::cluster::SharedContext;
use crate::cluster::caches::get_cluster;
use crate::text::cut;
use crate::webhook::review::Request;
use crate::webhook::verdict::Verdict;

/// How long a write may take from its review until the caches show it.
const WRITTEN: Duration = Duration::from_secs(30);

/// Lets the write pass, with the user in the audit log, and reports it once it is stored.
pub async fn report(context: &SharedContext, request: &Request, looser: &str) -> Verdict {
    let user = request.user_info.username.clone().unwrap_or_default();
    let told = format!("cpol/{} is loosened by its break-glass, by {user} ({looser})", request.name);
    let policy = get_cluster(&context.caches.policies, &request.name).filter(|_| !request.dry_run);
    if let Some(policy) = policy {
        tracing::warn!(policy = request.name, user, "a policy in force is loosened by its break-glass");
        context.events.warning(&*policy, "BreakGlass", &told).await;
        let is_deleted = request.operation == Operation::Delete;
        let change = change(&policy, &user, looser, is_deleted, Timestamp::now());
        // Writing the policy's status during a write to the policy would make the API server retry that write without end.
        tokio::spawn(record(Arc::clone(context), policy, change));
    }
    let audit = BTreeMap::from([("break-glass".to_owned(), format!("cpol/{}", request.name))]);
    Verdict::Allow { warnings: vec![told], audit }
}

/// What is recorded. Pure.
fn change(
    policy: &ChangePolicy,
    user: &str,
    looser: &str,
    is_deleted: bool,
    now: Timestamp,
) -> UnauthorizedChange {
    let name = policy.name_any();
    let what = match is_deleted {
        true => format!("{}changepolicy/{name}", describe::DELETION),
        false => format!("changepolicy/{name} was loosened: {looser}"),
    };
    let identity = serde_json::json!({"what": what, "by": user, "version": policy.resource_version()});
    UnauthorizedChange {
        id: digest::of(&identity)
            .map(|hex| cut(hex.rsplit(':').next().unwrap_or_default(), 16))
            .unwrap_or_default(),
        namespace: String::new(),
        object: ObjectRef {
            api_version: format!("{}/v1alpha1", crate::api::GROUP),
            kind: "ChangePolicy".to_owned(),
            name,
        },
        what: cut(&what, 500),
        by: Some(user.to_owned()),
        time: stored_time(now),
        kind: UnauthorizedKind::BreakGlass,
    }
}

/// Waits until the write is stored, then records it and tells everybody concerned. A write that is not stored, because
/// something else refused it, loosened nothing.
async fn record(context: SharedContext, before: Arc<ChangePolicy>, change: UnauthorizedChange) {
    let changes = context.caches.changes();
    futures::pin_mut!(changes);
    let is_stored = || {
        let now = get_cluster(&context.caches.policies, &before.name_any());
        now.is_none_or(|now| {
            now.uid() != before.uid() || now.metadata.generation != before.metadata.generation
        })
    };
    let stored = async { while !is_stored() && changes.next().await.is_some() {} };
    if tokio::time::timeout(WRITTEN, stored).await.is_err() {
        tracing::warn!(policy = before.name_any(), "the write by break-glass was not stored");
        return;
    }
    // The write concerns the namespaces that the policy protected before it.
    let namespaces = policy::namespaces(&before, &context.config.namespace);
    unauthorized::alarm(&context, &before, &namespaces, &change, Timestamp::now()).await;
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_loosening_and_a_deletion_are_described() {
        let policy = json!({"apiVersion": "mayday.dev/v1alpha1", "kind": "ChangePolicy",
            "metadata": {"name": "production", "resourceVersion": "7"},
            "spec": {"scope": {"namespaces": {"names": ["shop"]}}, "approval": {}}});
        let policy: ChangePolicy = serde_json::from_value(policy).unwrap();
        let made =
            |is_deleted| change(&policy, "emil", "spec.enforcement", is_deleted, Timestamp::UNIX_EPOCH);
        assert_eq!(made(false).what, "changepolicy/production was loosened: spec.enforcement");
        assert_eq!(made(true).what, "deletion of changepolicy/production");
        assert_eq!(made(true).by.as_deref(), Some("emil"));
        assert_ne!(made(true).id, made(false).id);
    }
}
