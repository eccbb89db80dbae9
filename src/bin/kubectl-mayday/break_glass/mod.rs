//! `break-glass`: one kubectl command past change control, by impersonating oneself under the policy's
//! break-glass group. The API server lets it pass even when Mayday is down; everybody concerned hears of it.

mod command;
mod groups;

use std::process::Command;

use clap::Args;
use k8s_openapi::api::authorization::v1::{SelfSubjectRulesReview, SelfSubjectRulesReviewSpec};
use k8s_openapi::api::core::v1::{Event, ObjectReference};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::Api;
use kube::api::{ListParams, ObjectMeta, PostParams};
use mayday::api::{ChangePolicy, Incident};

use crate::cluster::{Me, Session, name_of};
use crate::failure::{Failure, explain, role};
use crate::note;
use crate::output::{complain, confirm, say};
use crate::text::{names, shell_word};

#[derive(Debug, Args)]
pub struct BreakGlassArgs {
    /// Why it cannot wait; it is recorded
    #[arg(long, value_name = "TEXT")]
    pub why: String,
    /// The break-glass group, if the policies cannot be read
    #[arg(long, value_name = "NAME")]
    pub group: Option<String>,
    /// The kubectl command: -- set image deploy/checkout app=shop/checkout:v1
    #[arg(last = true, required = true, num_args = 1..)]
    pub command: Vec<String>,
}

pub async fn run(session: &Session, args: BreakGlassArgs) -> Result<(), Failure> {
    let me = session.me().await?;
    let command = command::bare(&args.command)?;
    let namespace = command::namespace_in(command).unwrap_or(&session.namespace).to_owned();
    let groups = match &args.group {
        Some(group) => vec![group.clone()],
        None => find_groups(session, &me, &namespace).await?,
    };
    let words = command::impersonating(&session.connection, &me, &groups, command);
    let line = format!("kubectl {}", words.iter().map(|word| shell_word(word)).collect::<Vec<_>>().join(" "));
    confirm(
        session.connection.yes,
        &format!(
            "You break the glass: this passes change control without an approval, and everybody concerned hears of \
             it.\nWhy: {}\n  {line}",
            args.why
        ),
    )?;
    let outcome = Command::new("kubectl").args(&words).status();
    let (done, ending) = match &outcome {
        Ok(status) if status.success() => (true, "it succeeded".to_owned()),
        Ok(status) => (false, format!("it failed ({status})")),
        Err(error) => (false, format!("kubectl could not be started: {error}")),
    };
    // A command that failed may have changed something all the same.
    if outcome.is_ok() {
        record(
            session,
            &namespace,
            &format!("{} broke the glass ({ending}): {line}. Why: {}", me.user, args.why),
        )
        .await;
    }
    if done {
        Ok(())
    } else {
        Err(Failure::new(format!("The command was started past change control, but {ending}.")))
    }
}

/// The groups to take, by the policies; where they cannot be read, by what the person may impersonate.
async fn find_groups(session: &Session, me: &Me, namespace: &str) -> Result<Vec<String>, Failure> {
    let policies: Api<ChangePolicy> = Api::all(session.client.clone());
    if let Ok(policies) = policies.list(&ListParams::default()).await {
        return groups::of_policies(&policies.items, namespace);
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
        .then(format!("kubectl mayday break-glass -n {namespace} --group NAME --why \"…\" -- COMMAND"))),
    }
}

/// Writes down why: as a note of every open incident there, else as an Event of the namespace. Best effort: the
/// audit log knows who did what in any case.
async fn record(session: &Session, namespace: &str, text: &str) {
    let there = Session {
        client: session.client.clone(),
        namespace: namespace.to_owned(),
        zone: session.zone.clone(),
        connection: session.connection.clone(),
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
