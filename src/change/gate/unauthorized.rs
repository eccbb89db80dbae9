//! Unauthorized changes: they passed without an approval. They are recorded in the policies over the object and announced
//! to the people concerned.

use jiff::Timestamp;
use kube::ResourceExt;
use kube::api::Api;

use super::action::Action;
use super::audience::Audience;
use super::refusal;
use crate::api::ChangePolicy;
use crate::api::change_policy::{ChangePolicyStatus, UnauthorizedChange, UnauthorizedKind};
use crate::api::change_request::PlannedChange;
use crate::api::common::stored_time;
use crate::change::diff::{describe, digest};
use crate::cluster::caches::in_namespace;
use crate::cluster::{Context, Error, SharedContext, status};
use crate::notify::message::{LIFETIME, Message, Subject};
use crate::notify::store as notify;
use crate::text::{cut, instant};

/// Maximum number of changes kept in a policy, newest first.
const CHANGES: usize = 50;
/// Maximum number of attempts to store a change while others write the policy.
const ATTEMPTS: usize = 5;

/// Records an action in these policies. A failure is logged: it must not keep the change from passing.
pub async fn record(
    context: &SharedContext,
    policies: &[&ChangePolicy],
    action: &Action,
    kind: UnauthorizedKind,
) {
    let now = Timestamp::now();
    let Some(change) = change(action, kind, now) else { return };
    announce(context, policies, &change, now).await;
}

/// Stores the messages about a change, and the change in these policies.
pub async fn announce(
    context: &Context,
    policies: &[&ChangePolicy],
    change: &UnauthorizedChange,
    now: Timestamp,
) {
    let messages = messages(change, &concerned(context, change), now);
    for policy in policies {
        if let Err(error) = store(context, policy, change, &messages, now).await {
            tracing::error!(policy = policy.name_any(), what = change.what, by = change.by, %error,
                "an unauthorized change was not recorded");
        }
    }
}

/// Stores a change of the gate or of a policy itself, and tells the people of every namespace under the policy. It is recorded
/// once, and in each of these namespaces, where the channels are, each person hears of it once.
pub async fn alarm(
    context: &Context,
    policy: &ChangePolicy,
    namespaces: &[&str],
    change: &UnauthorizedChange,
    now: Timestamp,
) {
    let mut told = Ok(());
    for namespace in namespaces {
        // Everybody there is concerned: no service owns the object.
        let local = UnauthorizedChange { namespace: (*namespace).to_owned(), ..change.clone() };
        let messages = messages(change, &concerned(context, &local), now);
        told = told.and(notify::create(context, &Subject::policy(policy, namespace), &messages).await);
    }
    let stored = store(context, policy, change, &[], now).await;
    if let Err(error) = told.and(stored) {
        tracing::error!(policy = policy.name_any(), what = change.what, by = change.by, %error,
            "an unauthorized change was not recorded");
    }
}

fn change(action: &Action, kind: UnauthorizedKind, now: Timestamp) -> Option<UnauthorizedChange> {
    let what = cut(&refusal::what(action), 500);
    let time = stored_time(now);
    let identity = serde_json::json!({"what": what, "uid": action.uid, "by": action.caller.user,
        "delta": action.delta, "second": time});
    let id = digest::of(&identity).ok()?.rsplit(':').next().map(|hex| cut(hex, 16))?;
    Some(UnauthorizedChange {
        id,
        namespace: action.namespace.clone(),
        object: action.target.clone(),
        what,
        by: Some(action.caller.user.clone()),
        time,
        kind,
    })
}

async fn store(
    context: &Context,
    policy: &ChangePolicy,
    change: &UnauthorizedChange,
    messages: &[Message],
    now: Timestamp,
) -> Result<(), Error> {
    let is_known =
        |status: &ChangePolicyStatus| status.unauthorized.iter().any(|known| known.id == change.id);
    if policy.status.as_ref().is_some_and(is_known) {
        return Ok(());
    }
    // Policies over the same object have the same messages, so people hear of it once. The record does not depend on
    // them: it is made even if they cannot be stored.
    let recent = now.duration_since(change.time.0) < LIFETIME;
    let messages = if recent { messages } else { &[] };
    let told = notify::create(context, &Subject::policy(policy, &change.namespace), messages).await;
    let (name, api) = (policy.name_any(), Api::all(context.client.clone()));
    for _ in 0..ATTEMPTS {
        // A policy that was deleted has no status any more; its people were told.
        let Some(policy): Option<ChangePolicy> = api.get_opt(&name).await? else { return told };
        let mut next = policy.status.clone().unwrap_or_default();
        if is_known(&next) {
            return told;
        }
        next.unauthorized.insert(0, change.clone());
        next.unauthorized.truncate(CHANGES);
        match status::replace(context, &api, &policy, next).await {
            Err(Error::Conflict(_)) => continue,
            result => return result.and(told),
        }
    }
    Err(Error::Conflict(format!("policy {name}")))
}

/// The messages about a change. A change under a policy that does not enforce sends none.
pub fn messages(change: &UnauthorizedChange, audience: &Audience, now: Timestamp) -> Vec<Message> {
    match change.kind {
        UnauthorizedKind::NotEnforced => Vec::new(),
        _ => audience.alarm(&format!("unauthorized-{}", change.id), &text(change), now),
    }
}

fn text(change: &UnauthorizedChange) -> String {
    let time = instant(change.time.0);
    let typed = describe::typed(&change.object);
    let place = match change.object.kind.as_str() {
        "Namespace" => String::new(),
        _ if change.namespace.is_empty() => String::new(),
        _ => format!("-n {} ", change.namespace),
    };
    let look = if change.what.starts_with(describe::DELETION) || change.what.contains(" was deleted in ") {
        // A deleted object cannot be shown, but the others of its kind can.
        format!("See what is left: kubectl get {place}{}", typed.split('/').next().unwrap_or_default())
    } else {
        format!("Look: kubectl get {place}{typed} -o yaml --show-managed-fields")
    };
    match (change.kind, &change.by) {
        (UnauthorizedKind::BreakGlass, Some(by)) => format!(
            "{by} broke the glass at {time}: {}. Nobody approved it; two people must sign it off. {look}",
            change.what
        ),
        (UnauthorizedKind::GateChanged, _) => format!(
            "The gate itself was changed, seen at {time}: {}. Meanwhile changes of protected objects could pass without an \
             approval; those that are found follow. Who it was is in the audit log of the API server. Look: kubectl get \
             {typed} -o yaml --show-managed-fields",
            change.what
        ),
        _ => {
            format!(
                "Found at {time}: {}. Nobody known did it; who it was is in the audit log of the API server. {look}",
                change.what
            )
        }
    }
}

/// The people and channels of the services that own the object.
fn concerned(context: &Context, change: &UnauthorizedChange) -> Audience {
    let services = in_namespace(&context.caches.services, &change.namespace);
    let rotations = in_namespace(&context.caches.rotations, &change.namespace);
    let plan = [PlannedChange { target: change.object.clone(), ..PlannedChange::default() }];
    Audience::concerned(&services, &rotations, &plan)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_deleted_object_is_looked_for_among_its_kind() {
        let told = |what: &str| {
            let change = json!({"id": "i", "namespace": "shop", "what": what, "by": "emil", "kind": "BreakGlass",
                "time": "2026-11-22T02:04:10Z",
                "object": {"apiVersion": "serving.knative.dev/v1", "kind": "Service", "name": "web"}});
            text(&serde_json::from_value(change).unwrap())
        };
        let look = "Look: kubectl get -n shop service.serving.knative.dev/web -o yaml --show-managed-fields";
        assert!(told("/spec/a of service/web in shop, 1 → 2").ends_with(look));
        let left = "See what is left: kubectl get -n shop service.serving.knative.dev";
        for gone in
            ["deletion of service/web in shop", "service/web was deleted in shop while Mayday did not run"]
        {
            assert!(told(gone).ends_with(left), "{}", told(gone));
        }
    }
}
