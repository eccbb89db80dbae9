//! One object of those that can be shown, found by its address or by its name alone.

use mayday::api::{ChangeRequest, Incident, Runbook, RunbookRun};
use mayday::command::Verb;
use serde_json::Value;

use crate::client::address::{Address, Kind};
use crate::client::failure::Failure;
use crate::client::session::{Named, Session, name_of};
use crate::render;
use crate::render::Here;
use crate::render::output;

/// An object.
pub enum Found {
    Incident(Box<Incident>),
    Request(Box<ChangeRequest>),
    Runbook(Box<Runbook>),
    Run(Box<RunbookRun>),
}

impl Found {
    /// The object at that address.
    pub async fn get(session: &Session, address: &Address) -> Result<Found, Failure> {
        let name = &address.name;
        Ok(match address.kind {
            Kind::Incident => Found::Incident(Box::new(session.get(name).await?)),
            Kind::ChangeRequest => Found::Request(Box::new(session.get(name).await?)),
            Kind::Runbook => Found::Runbook(Box::new(session.get(name).await?)),
            Kind::RunbookRun => Found::Run(Box::new(session.get(name).await?)),
        })
    }

    /// The one object of that name.
    pub async fn named(session: &Session, name: &str) -> Result<Found, Failure> {
        let (incident, request, runbook, run) = futures::try_join!(
            session.find::<Incident>(name),
            session.find::<ChangeRequest>(name),
            session.find::<Runbook>(name),
            session.find::<RunbookRun>(name),
        )?;
        let found = [
            incident.map(Box::new).map(Found::Incident),
            request.map(Box::new).map(Found::Request),
            runbook.map(Box::new).map(Found::Runbook),
            run.map(Box::new).map(Found::Run),
        ];
        let mut found: Vec<Found> = found.into_iter().flatten().collect();
        match found.len() {
            1 => Ok(found.remove(0)),
            0 => Err(nothing(session, name).await?),
            _ => {
                let all: Vec<String> = found.iter().map(Found::address).collect();
                Err(Failure::usage(format!("{name} is several things here: {}.", all.join(", ")))
                    .then(session.command(Verb::Show).word(&all[0])))
            }
        }
    }

    fn address(&self) -> String {
        fn of<K: Named>(object: &K) -> String {
            format!("{}/{}", K::SHORT, name_of(object))
        }
        match self {
            Found::Incident(incident) => of(&**incident),
            Found::Request(request) => of(&**request),
            Found::Runbook(runbook) => of(&**runbook),
            Found::Run(run) => of(&**run),
        }
    }

    /// The object as JSON.
    pub fn value(&self) -> Value {
        match self {
            Found::Incident(incident) => output::value(incident),
            Found::Request(request) => output::value(request),
            Found::Runbook(runbook) => output::value(runbook),
            Found::Run(run) => output::value(run),
        }
    }

    /// The object in words.
    pub async fn text(&self, session: &Session) -> Result<String, Failure> {
        let here = Here::of(session);
        match self {
            Found::Incident(incident) => super::incident_text(session, incident).await,
            Found::Request(request) => Ok(render::change::describe(request, &here)),
            Found::Runbook(runbook) => Ok(render::runbook::describe(runbook, &here)),
            Found::Run(run) => Ok(render::run::describe(run, &here)),
        }
    }
}

/// What there is instead of that name.
async fn nothing(session: &Session, name: &str) -> Result<Failure, Failure> {
    fn names<K: Named>(objects: &[K]) -> Vec<String> {
        objects.iter().map(|object| format!("{}/{}", K::SHORT, name_of(object))).collect()
    }
    session.is_a_namespace().await?;
    let (incidents, requests, runbooks, runs) = futures::try_join!(
        session.list::<Incident>(),
        session.list::<ChangeRequest>(),
        session.list::<Runbook>(),
        session.list::<RunbookRun>(),
    )?;
    let mut all = names(&incidents);
    all.extend(names(&requests).into_iter().chain(names(&runbooks)).chain(names(&runs)));
    let there = if all.is_empty() { "nothing".to_owned() } else { all.join(", ") };
    Ok(Failure::new(format!(
        "There is no incident, request, runbook or run {name} in namespace {}. What there is: {there}.",
        session.namespace
    ))
    .then(session.command(Verb::Show)))
}
