//! `who`: who is on duty.

use clap::Args;
use jiff::tz::TimeZone;
use mayday::api::business_service::ServiceRotations;
use mayday::api::{BusinessService, OnCallRotation};
use mayday::command::{Command, Verb};

use crate::client::failure::Failure;
use crate::client::session::{Session, name_of};
use crate::render::output::{self, Format};
use crate::render::terminal::say;
use crate::text::{instant, table};

#[derive(Debug, Args)]
pub struct WhoArgs {
    /// A rotation or a service [default: all rotations of the namespace]
    #[arg(value_name = "ROTATION|SERVICE")]
    pub name: Option<String>,
    /// How to print it: json, yaml or name [default: for people]
    #[arg(short, long, value_name = "FORMAT", value_parser = Format::any)]
    pub output: Option<Format>,
    /// In every namespace
    #[arg(short = 'A', long, conflicts_with = "name")]
    pub all_namespaces: bool,
}

pub async fn run(session: &Session, args: WhoArgs) -> Result<(), Failure> {
    let Some(name) = args.name.clone() else {
        let rotations: Vec<OnCallRotation> = session.list_in(args.all_namespaces).await?;
        if rotations.is_empty() {
            session.is_a_namespace().await?;
            return Err(Failure::new(format!("There is no rotation in namespace {}.", session.namespace))
                .then(Command::new(Verb::Who).namespace("NAMESPACE").connection(&session.flags)));
        }
        show(&rotations.iter().map(|rotation| ("", rotation)).collect::<Vec<_>>(), &args, session);
        return Ok(());
    };
    if let Some(rotation) = session.find::<OnCallRotation>(&name).await? {
        show(&[("", &rotation)], &args, session);
        return Ok(());
    }
    let Some(service) = session.find::<BusinessService>(&name).await? else {
        return Err(neither(session, &name).await?);
    };
    let roles = roles(&service.spec.rotations.unwrap_or_default());
    if roles.is_empty() {
        return Err(Failure::new(format!("Nobody answers for bsvc/{name}: it names no rotation."))
            .then(session.kubectl(&format!("edit -n {} bsvc/{name}", session.namespace))));
    }
    let mut rotations = Vec::new();
    for (role, rotation) in roles {
        rotations.push((role, session.get::<OnCallRotation>(&rotation).await?));
    }
    show(&rotations.iter().map(|(role, rotation)| (*role, rotation)).collect::<Vec<_>>(), &args, session);
    Ok(())
}

fn show(rotations: &[(&str, &OnCallRotation)], args: &WhoArgs, session: &Session) {
    match args.output {
        Some(format) => {
            let items = rotations.iter().map(|(_, rotation)| output::value(*rotation)).collect();
            output::print(format, &output::list(items));
        }
        None => say(&duty(rotations, &session.zone, args.all_namespaces)),
    }
}

/// The rotations of a service with what each is for.
fn roles(rotations: &ServiceRotations) -> Vec<(&'static str, String)> {
    [("on call", &rotations.on_call), ("lead", &rotations.lead), ("approval", &rotations.approval)]
        .into_iter()
        .filter_map(|(role, rotation)| Some((role, rotation.as_ref()?.name.clone())))
        .collect()
}

fn duty(rotations: &[(&str, &OnCallRotation)], zone: &TimeZone, all: bool) -> String {
    let row = |(role, rotation): &(&str, &OnCallRotation)| {
        let namespace = rotation.metadata.namespace.clone().unwrap_or_default();
        all.then_some(namespace).into_iter().chain(row(role, rotation, zone)).collect()
    };
    let rows: Vec<Vec<String>> = rotations.iter().map(row).collect();
    let header = ["FOR", "ROTATION", "ON-DUTY", "UNTIL", "NEXT"];
    table(&all.then_some("NAMESPACE").into_iter().chain(header).collect::<Vec<_>>(), &rows)
}

fn row(role: &str, rotation: &OnCallRotation, zone: &TimeZone) -> Vec<String> {
    let status = rotation.status.as_ref();
    let on_duty = status.map_or_else(
        // An unknown answer is not an empty one.
        || "unknown: the operator has not looked at it yet".to_owned(),
        |status| status.on_duty_names.clone().unwrap_or_else(|| "nobody".to_owned()),
    );
    let until = status.and_then(|status| status.until_time.as_ref());
    let next = status.and_then(|status| status.next_names.clone());
    vec![
        if role.is_empty() { "-".to_owned() } else { role.to_owned() },
        name_of(rotation).to_owned(),
        on_duty,
        until.map_or_else(|| "-".to_owned(), |until| instant(until.0, zone)),
        next.unwrap_or_else(|| "-".to_owned()),
    ]
}

async fn neither(session: &Session, name: &str) -> Result<Failure, Failure> {
    let rotations: Vec<OnCallRotation> = session.list().await?;
    let services: Vec<BusinessService> = session.list().await?;
    let names = rotations.iter().map(name_of).chain(services.iter().map(name_of));
    let there = crate::text::names(names, "nothing");
    Ok(Failure::new(format!(
        "There is neither a rotation nor a service {name} in namespace {}. What there is: {there}.",
        session.namespace
    ))
    .then(session.command(Verb::Who)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use mayday::api::oncall_rotation::{OnCallRotationSpec, OnCallRotationStatus};

    #[test]
    fn unknown_is_not_nobody() {
        let mut rotation = OnCallRotation::new("payments", OnCallRotationSpec::default());
        assert!(row("", &rotation, &TimeZone::UTC)[2].starts_with("unknown"));
        rotation.status =
            Some(OnCallRotationStatus { on_duty_names: Some("emil".into()), ..Default::default() });
        assert_eq!(row("lead", &rotation, &TimeZone::UTC), ["lead", "payments", "emil", "-", "-"]);
    }
}
