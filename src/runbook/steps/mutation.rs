//! What a step that changes something says about its change. Pure; the run announces it, sends it and proves it.
//!
//! The protocol is the same for every such step (docs/decisions/0005-intent-before-act.md): read the target live,
//! [`Mutation::plan`], store the intent, send what [`Mutation::write`] makes of it, store the outcome. After a crash
//! or a lost answer [`Mutation::probe`] proves from the live object whether the act happened.

use serde_json::Value;

use crate::api::change_request::Delta;
use crate::api::runbook_run::Intent;

/// A step that changes its target.
pub trait Mutation {
    /// Plans the change over the target as it was just read, `None` if it does not exist. `operation_id` identifies
    /// the act; the change must carry it to where [`Mutation::probe`] finds it again.
    fn plan(&self, object: Option<&Value>, operation_id: &str) -> Plan;

    /// The request that carries out a stored intent. It depends on the intent alone, so that only what was announced
    /// is sent. The API server must refuse it if the object is not the one, or not in the version, of the intent.
    fn write(&self, intent: &Intent) -> Write;

    /// Proves from the live object, `None` if it does not exist, whether the act of an intent happened.
    ///
    /// `refused` says that the API server has refused the only request that was ever sent for this intent.
    fn probe(&self, intent: &Intent, object: Option<&Value>, refused: bool) -> Proof;

    /// The change in words, for the messages of the step.
    fn phrase(&self) -> Phrase;
}

/// What a step would do to its target.
#[derive(Clone, Debug, PartialEq)]
pub enum Plan {
    /// This, and nothing else.
    Change(Change),
    /// Nothing: it has been done already.
    Nothing,
    /// It cannot be done, and why.
    Refuse(String),
}

/// Exactly what changes, on exactly which object.
#[derive(Clone, Debug, PartialEq)]
pub struct Change {
    /// UID of the object.
    pub uid: String,
    /// `metadata.resourceVersion` of the object that was planned over.
    pub resource_version: String,
    /// `metadata.generation` of the object that was planned over.
    pub generation: Option<i64>,
    /// The values before and after, by JSON pointer.
    pub delta: Vec<Delta>,
}

/// A request to the API server about the target of an intent.
#[derive(Clone, Debug, PartialEq)]
pub enum Write {
    /// A JSON merge patch.
    Patch(Value),
}

/// What the live object proves about an announced act.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Proof {
    /// It happened.
    Done,
    /// It did not happen.
    NotDone,
    /// Neither can be proved, and why.
    Unprovable(String),
}

/// A change in words.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Phrase {
    /// What is changed: `deployment/checkout`.
    pub object: String,
    /// What is done with it, as it follows "was": `restarted`.
    pub participle: String,
}

impl Phrase {
    /// That it happened: `deployment/checkout was restarted`.
    pub fn done(&self) -> String {
        format!("{} was {}", self.object, self.participle)
    }
}
