//! `who`: who is on duty.

use clap::Args;
use jiff::tz::TimeZone;
use mayday::api::business_service::ServiceRotations;
use mayday::api::{BusinessService, OnCallRotation};
use mayday::command::{Command, Verb};

use crate::client::failure::Failure;
use crate::client::session::{Session, name_of};
use crate::render::terminal::say;
use crate::text::{instant, table};

#[derive(Debug, Args)]
pub struct WhoArgs {
    /// A rotation or a service [default: all rotations of the namespace]
    #[arg(value_name = "ROTATION|SERVICE")]
    pub name: Option<String>,
}

pub async fn run(session: &Session, args: WhoArgs) -> Result<(), Failure> {
    let Some(name) = args.name else {
        let rotations: Vec<OnCallRotation> = session.list().await?;
        if rotations.is_empty() {
            return Err(Failure::new(format!("There is no rotation in namespace {}.", session.namespace))
                .then(Command::new(Verb::Who).namespace("NAMESPACE").connection(&session.flags)));
        }
        say(&duty(rotations.iter().map(|rotation| ("", rotation)), &session.zone));
        return Ok(());
    };
    if let Some(rotation) = session.find::<OnCallRotation>(&name).await? {
        say(&duty([("", &rotation)], &session.zone));
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
    say(&duty(rotations.iter().map(|(role, rotation)| (*role, rotation)), &session.zone));
    Ok(())
}

/// The rotations of a service with what each is for.
fn roles(rotations: &ServiceRotations) -> Vec<(&'static str, String)> {
    [("on call", &rotations.on_call), ("lead", &rotations.lead), ("approval", &rotations.approval)]
        .into_iter()
        .filter_map(|(role, rotation)| Some((role, rotation.as_ref()?.name.clone())))
        .collect()
}

fn duty<'a>(rotations: impl IntoIterator<Item = (&'a str, &'a OnCallRotation)>, zone: &TimeZone) -> String {
    let rows: Vec<Vec<String>> =
        rotations.into_iter().map(|(role, rotation)| row(role, rotation, zone)).collect();
    table(&["FOR", "ROTATION", "ON-DUTY", "UNTIL", "NEXT"], &rows)
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
