//! What a step that changes something says about its change. Pure; the run announces it, sends it and proves it.
//!
//! The protocol is the same for every such step (docs/decisions/0005-intent-before-act.md): read the target live,
//! [`Mutation::plan`], store the act, send it, store the outcome. After a crash or a lost answer [`Mutation::probe`]
//! proves from the live object whether the act happened. What is sent depends on the stored act alone.

use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

use super::kind::Progress;
use super::needs::Need;
use super::patching;
use crate::api::change_request::Delta;
use crate::api::common::{ObjectRef, ParameterValue};
use crate::api::runbook::HealthyTemplate;
use crate::api::runbook_run::{Act, ActVerb, Output, PodToRemove};
use crate::runbook::targets::Read;

/// What a step knows when it plans, proves or waits: the target and what belongs to it, as just read.
#[derive(Clone, Copy, Debug)]
pub struct Scene<'a> {
    /// Identity of the act. The change must carry it to where [`Mutation::probe`] finds it again.
    pub operation_id: &'a str,
    /// Name of the run, if its objects are in its namespace.
    pub run_name: Option<&'a str>,
    /// UID of the run.
    pub run_uid: &'a str,
    /// Namespace of the run.
    pub namespace: &'a str,
    /// ServiceAccount of the Runbook.
    pub account: &'a str,
    /// How long the step may take.
    pub timeout: SignedDuration,
    /// The target.
    pub target: &'a ObjectRef,
    /// The target as it was just read, `None` if it does not exist.
    pub object: Option<&'a Value>,
    /// What [`Mutation::reads`] asked for, in that order.
    pub related: &'a [Vec<Value>],
    /// Values of the parameters.
    pub values: &'a [ParameterValue],
    /// Templates of workloads that were seen healthy.
    pub healthy: &'a [HealthyTemplate],
    /// Whether the step has several targets, so that each batch must take effect before the next begins.
    pub several: bool,
    /// The act that is announced again because it did not happen, or not completely.
    pub again: Option<&'a Act>,
    /// For a compensation: the act that it takes back.
    pub undoes: Option<&'a Act>,
}

impl<'a> Scene<'a> {
    /// The target as people write it: `deployment/checkout`.
    pub fn name(&self) -> String {
        self.target.display()
    }

    /// The live target.
    ///
    /// # Errors
    /// That it does not exist.
    pub fn live(&self) -> Result<&'a Value, String> {
        self.object.ok_or_else(|| format!("{} does not exist", self.name()))
    }

    /// The results of the read at `index`.
    pub fn found(&self, index: usize) -> &'a [Value] {
        self.related.get(index).map_or(&[], Vec::as_slice)
    }

    /// The value of an integer parameter.
    pub fn integer(&self, name: &str) -> Option<i64> {
        self.values.iter().find(|value| value.name == name)?.integer
    }

    /// The value of a parameter as JSON.
    pub fn value(&self, name: &str) -> Option<Value> {
        let value = self.values.iter().find(|value| value.name == name)?;
        value.integer.map(Value::from).or_else(|| value.string.clone().map(Value::from))
    }
}

/// A step that changes its targets, one after the other.
pub trait Mutation: Sync {
    /// What else must be read to plan, prove or wait: for example the ReplicaSets of a Deployment.
    fn reads(&self, _target: &ObjectRef, _object: Option<&Value>) -> Vec<Read> {
        Vec::new()
    }

    /// What it may read besides a target of any form: the kinds of [`Mutation::reads`].
    fn may_read(&self, target: &ObjectRef) -> Vec<Read> {
        self.reads(target, None)
    }

    /// What it does to a target, or to what belongs to it.
    fn verb(&self) -> ActVerb {
        ActVerb::Update
    }

    /// The rights that the account needs for its requests.
    fn needs(&self, target: &ObjectRef) -> Vec<Need> {
        Need::of_act(self.verb(), target).into_iter().collect()
    }

    /// Plans the change over what was just read.
    ///
    /// # Errors
    /// Why it cannot be done, in words.
    fn plan(&self, scene: &Scene<'_>) -> Plan;

    /// Proves from what was just read whether an act happened.
    ///
    /// `refused` says that the API server has refused the only request that was ever sent for this act.
    fn probe(&self, act: &Act, scene: &Scene<'_>, refused: bool) -> Proof {
        patching::probe(act, scene, refused, self.participle())
    }

    /// Whether the step waits until an act has taken effect, and does not end with the act. `several` says that the
    /// step has several targets.
    fn settles(&self, _several: bool) -> bool {
        false
    }

    /// Whether an act has taken effect. Called only if [`Mutation::settles`].
    fn settle(&self, _act: &Act, _scene: &Scene<'_>, _now: Timestamp) -> Progress {
        Progress::Done(String::new())
    }

    /// Results of an act that has taken effect.
    fn outputs(&self, _act: &Act, _scene: &Scene<'_>) -> Vec<Output> {
        Vec::new()
    }

    /// Whether the target is an object that is read before each act. Otherwise the act creates it, or sends something.
    fn reads_target(&self) -> bool {
        true
    }

    /// Whether nothing is left to do once the target is gone, or another object has its name.
    fn is_done_without_target(&self) -> bool {
        false
    }

    /// What is done with the target, as it follows "was": `restarted`.
    fn participle(&self) -> &'static str;
}

/// What a step would do to its target: this and nothing else; or nothing, since it is so already; or why it cannot be
/// done.
pub type Plan = Result<Option<Change>, String>;

/// Exactly what changes, on exactly which object.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Change {
    /// What is done.
    pub verb: ActVerb,
    /// The object, if it is another than the target: a Job that is created.
    pub object: Option<ObjectRef>,
    /// UID of the object; empty for a creation.
    pub uid: String,
    /// `metadata.resourceVersion` of the object that was planned over.
    pub resource_version: String,
    /// `metadata.generation` of the object that was planned over.
    pub generation: Option<i64>,
    /// The values before and after, by path.
    pub delta: Vec<Delta>,
    /// Content of the request: for an update the operations of a JSON Patch, for a creation the object.
    pub body: Option<Value>,
    /// Pods to remove.
    pub pods: Vec<PodToRemove>,
}

/// What the live object proves about an announced act.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Proof {
    /// It happened.
    Done,
    /// It did not happen, or not completely.
    NotDone,
    /// Neither can be proved, and the same may be sent again without a further effect.
    Repeatable,
    /// Neither can be proved, and why.
    Unprovable(String),
}

/// That something was done with an object: `deployment/checkout was restarted`.
pub fn done(target: &ObjectRef, participle: &str) -> String {
    format!("{} was {participle}", target.display())
}
