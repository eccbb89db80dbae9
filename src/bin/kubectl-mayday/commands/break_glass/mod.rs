//! `break-glass`: one kubectl command past change control, by impersonating oneself under the policy's
//! break-glass group. The API server lets it pass even when Mayday is down; everybody concerned hears of it.

mod command;
mod groups;

use std::process;

use clap::Args;
use k8s_openapi::api::authorization::v1::{
    ResourceAttributes, SelfSubjectAccessReview, SelfSubjectAccessReviewSpec, SelfSubjectRulesReview,
    SelfSubjectRulesReviewSpec,
};
use k8s_openapi::api::core::v1::{Event, ObjectReference};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::Api;
use kube::api::{ListParams, ObjectMeta, PostParams};
use mayday::api::{ChangePolicy, Incident};
use mayday::command::{Command, Flag, TEXT, Verb};
use mayday::text::shell_word;

use crate::client::failure::{Failure, explain, role};
use crate::client::session::{Me, Session, name_of};
use crate::commands::note;
use crate::render::terminal::{complain, confirm, say};
use crate::text::names;

#[derive(Debug, Args)]
pub struct BreakGlassArgs {
    /// Why it cannot wait; it is recorded
    #[arg(long, value_name = "TEXT")]
    pub why: String,
    /// The break-glass group; may be repeated [default: by the policies, one that you may take]
    #[arg(long, value_name = "NAME")]
    pub group: Vec<String>,
    /// The kubectl command: -- set image deploy/checkout app=shop/checkout:v1
    #[arg(last = true, required = true, num_args = 1..)]
    pub command: Vec<String>,
}

pub async fn run(session: &Session, args: BreakGlassArgs) -> Result<(), Failure> {
    let me = session.me().await?;
    let command = command::bare(&args.command)?;
    let namespace = command::namespace_in(command).unwrap_or(&session.namespace).to_owned();
    let glass = match args.group.as_slice() {
        [] => find_groups(session, &me, &namespace).await?,
        given => given.to_vec(),
    };
    let own: Vec<String> = command::own_groups(&me, &glass).cloned().collect();
    let kept = may_take(session, &own).await?;
    let left_out = names(own.iter().filter(|group| !kept.contains(group)).map(String::as_str), "");
    let left_out = match left_out.as_str() {
        "" => String::new(),
        names => {
            format!("\nWithout your groups {names}, which you may not impersonate, and what they allow.")
        }
    };
    let groups = [glass, kept].concat();
    let words = command::impersonating(&session.connection, &me.user, &groups, command);
    let line = format!("kubectl {}", words.iter().map(|word| shell_word(word)).collect::<Vec<_>>().join(" "));
    confirm(
        session.connection.yes,
        &format!(
            "You break the glass: this passes change control without an approval, and everybody concerned hears of \
             it.\nWhy: {}\n  {line}{left_out}",
            args.why
        ),
    )?;
    let status = process::Command::new("kubectl")
        .args(&words)
        .status()
        .map_err(|error| Failure::new(format!("Nothing was done: kubectl cannot be started: {error}.")))?;
    let ending = if status.success() { "it succeeded".to_owned() } else { format!("it failed ({status})") };
    // A command that failed may have changed something all the same.
    let told = command::told(command);
    let text = format!("{} broke the glass ({ending}): {told} in {namespace}. Why: {}", me.user, args.why);
    record(session, &namespace, &text).await;
    if status.success() {
        return Ok(());
    }
    Err(Failure::new(format!(
        "The command passed change control, but {ending}; what it had changed by then stays."
    )))
}

/// Those of the groups that the person may take for one command.
async fn may_take(session: &Session, groups: &[String]) -> Result<Vec<String>, Failure> {
    let reviews: Api<SelfSubjectAccessReview> = Api::all(session.client.clone());
    let mut allowed = Vec::new();
    for group in groups {
        let attributes = ResourceAttributes {
            verb: Some("impersonate".to_owned()),
            resource: Some("groups".to_owned()),
            name: Some(group.clone()),
            ..ResourceAttributes::default()
        };
        let spec = SelfSubjectAccessReviewSpec {
            resource_attributes: Some(attributes),
            ..SelfSubjectAccessReviewSpec::default()
        };
        let review = SelfSubjectAccessReview { spec, ..SelfSubjectAccessReview::default() };
        let asked = reviews.create(&PostParams::default(), &review).await;
        let asked =
            asked.map_err(|error| explain(&error, &session.attempt("ask what you may do", role::VIEWER)))?;
        if asked.status.is_some_and(|status| status.allowed) {
            allowed.push(group.clone());
        }
    }
    Ok(allowed)
}

/// The groups to take, by the policies; where they cannot be read, by what the person may impersonate.
async fn find_groups(session: &Session, me: &Me, namespace: &str) -> Result<Vec<String>, Failure> {
    let policies: Api<ChangePolicy> = Api::all(session.client.clone());
    if let Ok(policies) = policies.list(&ListParams::default()).await {
        let granted = groups::granted(&policies.items, namespace, &session.flags)?;
        let mut all = granted.concat();
        all.sort();
        all.dedup();
        let may = may_take(session, &all).await?;
        return groups::choose(&granted, &may).ok_or_else(|| {
            Failure::new(format!(
                "The glass is broken under {}, and you may take {}. Whoever administers the cluster can let you \
                 impersonate one; if you know that you may, name it.",
                all.join(" or "),
                names(may.iter().map(String::as_str), "none of them")
            ))
            .then(with_group(session, namespace))
        });
    }
    let spec = SelfSubjectRulesReviewSpec { namespace: Some(namespace.to_owned()) };
    let review = SelfSubjectRulesReview { spec, ..SelfSubjectRulesReview::default() };
    let reviews: Api<SelfSubjectRulesReview> = Api::all(session.client.clone());
    let asked = reviews.create(&PostParams::default(), &review).await;
    let asked =
        asked.map_err(|error| explain(&error, &session.attempt("ask what you may do", role::VIEWER)))?;
    let rules = asked.status.map(|status| status.resource_rules).unwrap_or_default();
    match groups::takeable(&rules, me).as_slice() {
        [one] => Ok(vec![one.clone()]),
        several => Err(Failure::new(format!(
            "The policies cannot be read, so their break-glass group is not known. Groups that you may take: {}.",
            names(several.iter().map(String::as_str), "none")
        ))
        .then(with_group(session, namespace))),
    }
}

fn with_group(session: &Session, namespace: &str) -> Command {
    session
        .command(Verb::BreakGlass)
        .namespace(namespace)
        .flag(Flag::Group, "NAME")
        .flag(Flag::Why, TEXT)
        .then_command()
}

/// Writes down why: as a note of every open incident there, else as an Event of the namespace. Best effort: the
/// audit log knows who did what in any case.
async fn record(session: &Session, namespace: &str, text: &str) {
    let there = Session {
        client: session.client.clone(),
        namespace: namespace.to_owned(),
        zone: session.zone.clone(),
        connection: session.connection.clone(),
        flags: session.flags.clone(),
    };
    let incidents: Vec<Incident> = there.list().await.unwrap_or_default();
    let open = incidents.iter().filter(|incident| incident.is_open());
    let mut recorded = false;
    for incident in open {
        match note::add(&there, name_of(incident), text).await {
            Ok(()) => {
                say(&format!("Noted in inc/{}.", name_of(incident)));
                recorded = true;
            }
            Err(failure) => complain(&format!("inc/{}: {}", name_of(incident), failure.sentence)),
        }
    }
    if recorded {
        return;
    }
    let events: Api<Event> = Api::namespaced(there.client.clone(), namespace);
    match events.create(&PostParams::default(), &event(namespace, text, there.now())).await {
        Ok(_) => say(&format!("Recorded as an Event in {namespace}.")),
        Err(_) => {
            complain(&format!("Why it was done could not be recorded in {namespace}: tell your colleagues."))
        }
    }
}

fn event(namespace: &str, text: &str, now: jiff::Timestamp) -> Event {
    Event {
        metadata: ObjectMeta {
            generate_name: Some("break-glass-".to_owned()),
            namespace: Some(namespace.to_owned()),
            ..ObjectMeta::default()
        },
        involved_object: ObjectReference {
            api_version: Some("v1".to_owned()),
            kind: Some("Namespace".to_owned()),
            name: Some(namespace.to_owned()),
            // The API server takes an Event only in the namespace that its object names.
            namespace: Some(namespace.to_owned()),
            ..ObjectReference::default()
        },
        type_: Some("Warning".to_owned()),
        reason: Some("BreakGlass".to_owned()),
        // The API server refuses longer ones.
        message: Some(text.chars().take(1000).collect()),
        first_timestamp: Some(Time(now)),
        last_timestamp: Some(Time(now)),
        count: Some(1),
        ..Event::default()
    }
}
