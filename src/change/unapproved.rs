//! Changes that nobody approved and that passed all the same: recorded in the policy, and told to everybody
//! concerned.

use std::sync::Arc;

use jiff::Timestamp;
use kube::ResourceExt;
use kube::api::Api;

use super::action::Action;
use super::{digest, people, refusal};
use crate::api::ChangePolicy;
use crate::api::change_policy::{ChangePolicyStatus, UnapprovedChange, UnapprovedKind};
use crate::api::change_request::PlannedChange;
use crate::api::message::{Message, MessageState, Purpose};
use crate::api::oncall_rotation::Person;
use crate::cluster::events::cut;
use crate::cluster::stores::in_namespace;
use crate::cluster::{Context, Error, SharedContext, conditions, status};

/// So many are kept, newest first.
const KEPT: usize = 50;
/// So many messages are kept.
const MESSAGES: usize = 100;
/// So often storing is tried while others write the policy.
const TRIES: usize = 5;

/// Records it in every policy over the object. A failure is logged: it must not keep the change from passing.
pub async fn record(context: &SharedContext, over: &[&ChangePolicy], action: &Action, kind: UnapprovedKind) {
    let now = Timestamp::now();
    let Some(change) = change(action, kind, now) else { return };
    announce(context, over, &change, now).await;
}

/// Stores a change in every policy over the object, with the messages about it.
pub async fn announce(context: &Context, over: &[&ChangePolicy], change: &UnapprovedChange, now: Timestamp) {
    let people = concerned(context, change);
    for policy in over {
        if let Err(error) = store(context, &policy.name_any(), change, &people, now).await {
            tracing::error!(policy = policy.name_any(), what = change.what, by = change.by, %error,
                "a change that nobody approved was not recorded");
        }
    }
}

fn change(action: &Action, kind: UnapprovedKind, now: Timestamp) -> Option<UnapprovedChange> {
    let what = cut(&refusal::what(action), 500);
    let time = conditions::seconds(now);
    let identity = serde_json::json!({"what": what, "uid": action.uid, "by": action.caller.user,
        "delta": action.delta, "second": time});
    let id = digest::of(&identity).ok()?.rsplit(':').next().map(|hex| cut(hex, 16))?;
    Some(UnapprovedChange {
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
    change: &UnapprovedChange,
    people: &[Person],
    now: Timestamp,
) -> Result<(), Error> {
    let api: Api<ChangePolicy> = Api::all(context.client.clone());
    for _ in 0..TRIES {
        let policy = api.get(name).await?;
        let mut next = policy.status.clone().unwrap_or_default();
        add(&mut next, change, people, now);
        match status::replace(&api, &policy, next).await {
            Err(Error::Conflict(_)) => continue,
            result => return result.map(|_| ()),
        }
    }
    Err(Error::Conflict(format!("policy {name}")))
}

/// Adds a change and the messages about it. What nobody enforces wakes nobody.
pub fn add(status: &mut ChangePolicyStatus, change: &UnapprovedChange, people: &[Person], now: Timestamp) {
    if status.unapproved.iter().any(|known| known.id == change.id) {
        return;
    }
    status.unapproved.insert(0, change.clone());
    status.unapproved.truncate(KEPT);
    if change.kind == UnapprovedKind::NotEnforced {
        return;
    }
    for person in people {
        for (index, contact) in person.contacts.iter().enumerate() {
            status.messages.push(Message {
                id: format!("unapproved-{}-{}-{index}", change.id, person.user),
                purpose: Purpose::Alarm,
                person: Some(person.name.clone()),
                user: Some(person.user.clone()),
                channel_ref: contact.channel_ref.clone(),
                namespace: Some(change.namespace.clone()),
                address: contact.address.clone(),
                text: text(change),
                created_time: conditions::seconds(now),
                send_time: None,
                deadline: None,
                state: MessageState::Queued,
                attempts: 0,
                next_attempt_time: None,
                sent_time: None,
                error: None,
            });
        }
    }
    // The oldest go first, and never one that still waits to be sent.
    while status.messages.len() > MESSAGES {
        let done = |message: &Message| message.state != MessageState::Queued;
        match status.messages.iter().position(done) {
            Some(oldest) => status.messages.remove(oldest),
            None => status.messages.remove(0),
        };
    }
}

fn text(change: &UnapprovedChange) -> String {
    let time = change.time.0.strftime("%H:%M:%S UTC");
    let look = format!("Look: kubectl mayday show -n {} {}", change.namespace, change.object.display());
    match (change.kind, &change.by) {
        (UnapprovedKind::BreakGlass, Some(by)) => format!(
            "{by} broke the glass at {time}: {}. Nobody approved it; two people must sign it off. {look}",
            change.what
        ),
        _ => {
            format!("Found at {time}: {}. Nobody known did it; the audit log knows who. {look}", change.what)
        }
    }
}

/// Whoever answers for, approves or leads what the object belongs to.
fn concerned(context: &Context, change: &UnapprovedChange) -> Vec<Person> {
    let services = in_namespace(&context.stores.services, &change.namespace);
    let rotations: Vec<Arc<_>> = in_namespace(&context.stores.rotations, &change.namespace);
    let plan = [PlannedChange { target: change.object.clone(), ..PlannedChange::default() }];
    let mut concerned: Vec<Person> = Vec::new();
    for pick in [people::lead, people::approval, people::on_call] {
        for person in people::people(&services, &rotations, &plan, pick) {
            if !concerned.iter().any(|known| known.user == person.user) {
                concerned.push(person.clone());
            }
        }
    }
    concerned
}
