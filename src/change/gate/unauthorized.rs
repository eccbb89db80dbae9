//! Changes that nobody approved and that passed all the same: recorded in the policy, and told to everybody
//! concerned.

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
use crate::oncall::escalation::recipients;
use crate::text::{cut, instant};

/// So many are kept, newest first.
const KEPT: usize = 50;
/// So many messages are kept.
const MESSAGES: usize = 100;
/// So often storing is tried while others write the policy.
const TRIES: usize = 5;

/// Records it in every policy over the object. A failure is logged: it must not keep the change from passing.
pub async fn record(
    context: &SharedContext,
    over: &[&ChangePolicy],
    action: &Action,
    kind: UnauthorizedKind,
) {
    let now = Timestamp::now();
    let Some(change) = change(action, kind, now) else { return };
    announce(context, over, &change, now).await;
}

/// Stores a change in every policy over the object, with the messages about it.
pub async fn announce(
    context: &Context,
    over: &[&ChangePolicy],
    change: &UnauthorizedChange,
    now: Timestamp,
) {
    let audience = concerned(context, change);
    for policy in over {
        if let Err(error) = store(context, &policy.name_any(), change, &audience, now).await {
            tracing::error!(policy = policy.name_any(), what = change.what, by = change.by, %error,
                "a change that nobody approved was not recorded");
        }
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
    name: &str,
    change: &UnauthorizedChange,
    audience: &Audience,
    now: Timestamp,
) -> Result<(), Error> {
    let api: Api<ChangePolicy> = Api::all(context.client.clone());
    for _ in 0..TRIES {
        let policy = api.get(name).await?;
        let mut next = policy.status.clone().unwrap_or_default();
        add(&mut next, change, audience, now);
        match status::replace(&api, &policy, next).await {
            Err(Error::Conflict(_)) => continue,
            result => return result.map(|_| ()),
        }
    }
    Err(Error::Conflict(format!("policy {name}")))
}

/// Adds a change and the messages about it. What nobody enforces wakes nobody.
pub fn add(
    status: &mut ChangePolicyStatus,
    change: &UnauthorizedChange,
    audience: &Audience,
    now: Timestamp,
) {
    if status.unauthorized.iter().any(|known| known.id == change.id) {
        return;
    }
    status.unauthorized.insert(0, change.clone());
    status.unauthorized.truncate(KEPT);
    if change.kind == UnauthorizedKind::NotEnforced {
        return;
    }
    let key = format!("unauthorized-{}", change.id);
    let messages = audience.alarm(&key, &text(change), Some(&change.namespace), now);
    recipients::append(&mut status.messages, messages, MESSAGES);
}

fn text(change: &UnauthorizedChange) -> String {
    let time = instant(change.time.0);
    let typed = describe::typed(&change.object);
    let place = match change.object.kind.as_str() {
        "Namespace" => String::new(),
        _ => format!("-n {} ", change.namespace),
    };
    let look = if change.what.starts_with(describe::DELETION) || change.what.contains(" was deleted in ") {
        // What is gone cannot be looked at; what is left of its kind can.
        format!("See what is left: kubectl get {place}{}", typed.split('/').next().unwrap_or_default())
    } else {
        format!("Look: kubectl get {place}{typed} -o yaml --show-managed-fields")
    };
    match (change.kind, &change.by) {
        (UnauthorizedKind::BreakGlass, Some(by)) => format!(
            "{by} broke the glass at {time}: {}. Nobody approved it; two people must sign it off. {look}",
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

/// Everybody whom the object concerns.
fn concerned(context: &Context, change: &UnauthorizedChange) -> Audience {
    let services = in_namespace(&context.stores.services, &change.namespace);
    let rotations = in_namespace(&context.stores.rotations, &change.namespace);
    let plan = [PlannedChange { target: change.object.clone(), ..PlannedChange::default() }];
    Audience::concerned(&services, &rotations, &plan)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_is_gone_is_not_looked_at() {
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
