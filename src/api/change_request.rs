//! ChangeRequest: one precise change that a person wants to make to production.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::approval::CountedDecision;
use super::common::{Empty, NameRef, ObjectRef, UidRef, UserRef};
use super::duration::Duration;
use super::incident_status::Next;
use super::one_of::{SET_ONE, exactly_one};

/// One precise change somebody wants to make to production. All of it is fixed when it is created; to change
/// it, withdraw it and ask again.
#[serde_with::skip_serializing_none]
#[derive(Clone, CustomResource, Debug, Default, Deserialize, KubeSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
#[kube(
    group = "mayday.dev",
    version = "v1alpha1",
    kind = "ChangeRequest",
    plural = "changerequests",
    shortname = "chg",
    category = "mayday",
    namespaced,
    status = "ChangeRequestStatus",
    derive = "Default",
    derive = "PartialEq",
    printcolumn(name = "State", type_ = "string", json_path = ".status.state"),
    printcolumn(name = "Missing", type_ = "string", json_path = ".status.missing"),
    printcolumn(name = "Requester", type_ = "string", json_path = ".spec.requester.user"),
    printcolumn(name = "Uses", type_ = "string", json_path = ".status.uses"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[x_kube(validation = (
    "self.reason == oldSelf.reason && has(self.requester) == has(oldSelf.requester) && (!has(self.requester) || self.requester == oldSelf.requester) && has(self.actors) == has(oldSelf.actors) && (!has(self.actors) || self.actors == oldSelf.actors) && has(self.incidentRef) == has(oldSelf.incidentRef) && (!has(self.incidentRef) || self.incidentRef == oldSelf.incidentRef) && self.changes.size() == oldSelf.changes.size() && self.partial == oldSelf.partial && has(self.window) == has(oldSelf.window) && (!has(self.window) || self.window == oldSelf.window) && self.maxUses == oldSelf.maxUses && has(self.rollback) == has(oldSelf.rollback)",
    "a request is fixed when it is created: withdraw it (spec.withdrawn: true) and ask again"
))]
#[x_kube(validation = ("!oldSelf.withdrawn || self.withdrawn", "a withdrawn request stays withdrawn: ask again"))]
pub struct ChangeRequestSpec {
    /// Why.
    #[schemars(length(min = 1, max = 500))]
    pub reason: String,
    /// Who asks; stamped from the authenticated user.
    pub requester: Option<UserRef>,
    /// Who may carry it out; default: the requester.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    pub actors: Vec<UserRef>,
    /// The incident that explains it. Which incidents must agree is computed.
    pub incident_ref: Option<NameRef>,
    /// The changes; each may be used on its own, in any order.
    #[schemars(length(min = 1, max = 32))]
    pub changes: Vec<Change>,
    /// Whether a part of an update may be applied. Default Allowed.
    #[serde(default)]
    pub partial: Partial,
    /// When it may be carried out. Default: for one hour from the last approval.
    pub window: Option<Window>,
    /// How often each change may be used. Default 1.
    #[serde(default = "one")]
    #[schemars(range(min = 1, max = 100))]
    pub max_uses: i32,
    /// Approved with it: taking back what was used.
    pub rollback: Option<Rollback>,
    /// The request no longer stands; one way.
    #[serde(default)]
    pub withdrawn: bool,
}

impl ChangeRequestSpec {
    /// Whether each use may be rolled back once without another approval.
    pub fn allows_rollback(&self) -> bool {
        self.rollback.as_ref().is_some_and(|rollback| rollback.restore_previous.is_some())
    }
}

fn one() -> i32 {
    1
}

/// Whether a part of an update may be applied.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
pub enum Partial {
    /// A part may be applied.
    #[default]
    Allowed,
    /// All of it at once, or nothing.
    Forbidden,
}

/// YAML names of the members that select what a change does.
pub const CHANGE_MEMBERS: &[&str] =
    &["update", "scale", "restart", "create", "delete", "exec", "attach", "debug", "portForward", "evict"];

/// One change: exactly one member besides the target, which everything but `create` needs.
#[serde_with::skip_serializing_none]
#[derive(Clone, Debug, Default, Deserialize, KubeSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = exactly_one(SET_ONE, CHANGE_MEMBERS))]
#[x_kube(validation = (
    "has(self.create) != has(self.target)",
    "set target, and only for create leave it out: the manifest names the object"
))]
pub struct Change {
    /// The object; for exec and the like a pod, or a workload whose pods are meant.
    pub target: Option<ObjectRef>,
    /// A patch.
    pub update: Option<UpdateChange>,
    /// Another number of replicas.
    pub scale: Option<ScaleChange>,
    /// What `kubectl rollout restart` does: only its annotation.
    pub restart: Option<Empty>,
    /// A new object.
    pub create: Option<CreateChange>,
    /// The object goes.
    pub delete: Option<DeleteChange>,
    /// A command in a pod.
    pub exec: Option<ExecChange>,
    /// Attaching to a pod.
    pub attach: Option<ContainerChange>,
    /// A debug container in a pod.
    pub debug: Option<ContainerChange>,
    /// Forwarding ports of a pod.
    pub port_forward: Option<PortForwardChange>,
    /// Evicting a pod beyond its budget.
    pub evict: Option<Empty>,
}

/// The object goes.
#[serde_with::skip_serializing_none]
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct DeleteChange {
    /// What becomes of the objects that it owns. Default: they go too.
    pub propagation_policy: Option<PropagationPolicy>,
}

impl DeleteChange {
    /// Whether the objects that the deleted object owns are kept.
    pub fn orphans(&self) -> bool {
        self.propagation_policy == Some(PropagationPolicy::Orphan)
    }
}

/// What becomes of the objects that a deleted one owns, as `kubectl delete --cascade` has it.
#[derive(Clone, Copy, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
pub enum PropagationPolicy {
    /// They go afterwards.
    Background,
    /// They go first.
    Foreground,
    /// They stay, without an owner.
    Orphan,
}

/// A patch, what is to go, or both. (That one of them is set is checked by the guard: CEL cannot see a field
/// that may be of any type.)
#[serde_with::skip_serializing_none]
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct UpdateChange {
    /// How the patch is meant. Default Strategic.
    #[serde(default)]
    pub patch_type: PatchType,
    /// The patch, without nulls: what is to go stands in `remove`.
    #[serde(default)]
    #[schemars(schema_with = "super::common::free_value")]
    pub patch: Option<Value>,
    /// JSON pointers of what is to go.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    pub remove: Vec<String>,
    /// For Secrets instead of content: keyed digests of it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    pub content_digests: Vec<ContentDigest>,
}

/// Keyed digest of one value of a Secret.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
pub struct ContentDigest {
    /// Key in the Secret.
    #[schemars(length(min = 1, max = 253))]
    pub key: String,
    /// The keyed digest.
    #[schemars(length(min = 1, max = 128))]
    pub hmac: String,
}

/// How a patch is meant.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
pub enum PatchType {
    /// Strategic merge patch.
    #[default]
    Strategic,
    /// JSON merge patch (RFC 7386).
    Merge,
    /// JSON patch (RFC 6902).
    #[serde(rename = "JSON")]
    Json,
}

/// Another number of replicas.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
pub struct ScaleChange {
    /// How many.
    #[schemars(range(min = 0, max = 100_000))]
    pub replicas: i32,
}

/// A new object.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
pub struct CreateChange {
    /// The object as it would be applied.
    #[schemars(schema_with = "super::common::free_object")]
    pub manifest: Value,
}

/// A command in a pod.
#[serde_with::skip_serializing_none]
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
pub struct ExecChange {
    /// The container; default: the pod's only one.
    #[schemars(length(max = 63))]
    pub container: Option<String>,
    /// The command, word by word.
    #[schemars(length(min = 1, max = 32))]
    pub command: Vec<String>,
}

/// A container of a pod.
#[serde_with::skip_serializing_none]
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
pub struct ContainerChange {
    /// The container.
    #[schemars(length(max = 63))]
    pub container: Option<String>,
    /// The image of a debug container.
    #[schemars(length(max = 512))]
    pub image: Option<String>,
}

/// Ports of a pod.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
pub struct PortForwardChange {
    /// The ports.
    #[schemars(length(min = 1, max = 16))]
    pub ports: Vec<i32>,
}

/// When a request may be carried out: a length from the last approval or from `notBefore`, whichever is later; or until
/// an instant.
#[serde_with::skip_serializing_none]
#[derive(Clone, Debug, Default, Deserialize, KubeSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = (
    "has(self.duration) != has(self.notAfter)",
    "set duration or notAfter, one of them (and notBefore, if it does not begin at once)"
))]
pub struct Window {
    /// So long from the last approval, or from `notBefore` if that is later.
    pub duration: Option<Duration>,
    /// Not before then.
    pub not_before: Option<Time>,
    /// Not after then.
    pub not_after: Option<Time>,
}

/// Taking back what was used.
#[serde_with::skip_serializing_none]
#[derive(Clone, Debug, Default, Deserialize, KubeSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = ("has(self.restorePrevious)", "set restorePrevious, or leave rollback out"))]
pub struct Rollback {
    /// Once for each use, while the window lasts.
    pub restore_previous: Option<Empty>,
}

/// What the operator knows of a request.
#[serde_with::skip_serializing_none]
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ChangeRequestStatus {
    /// The `metadata.generation` that the conditions speak of.
    #[serde(default)]
    pub observed_generation: i64,
    /// What is true: Ready, Approved, Rejected, Expired, Stale, Spent.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "super::common::conditions")]
    pub conditions: Vec<Condition>,
    /// Where it stands; for people and columns.
    pub state: Option<RequestState>,
    /// Whose approval is missing, for the column.
    #[schemars(length(max = 253))]
    pub missing: Option<String>,
    /// Uses of all changes, for the column: `1/2`.
    #[schemars(length(max = 32))]
    pub uses: Option<String>,
    /// Who must do what next.
    pub next: Option<Next>,
    /// What each change does, computed once and never again.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    pub plan: Vec<PlannedChange>,
    /// Digest of the spec and the plan; what an Approval must name.
    #[schemars(length(max = 80))]
    pub digest: Option<String>,
    /// Every incident that binds now; what an Approval must name.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    pub incidents: Vec<UidRef>,
    /// The decisions that count.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    pub decisions: Vec<CountedDecision>,
    /// When the approvals were complete.
    pub approved_time: Option<Time>,
    /// Until when it may be carried out.
    pub expires_time: Option<Time>,
    /// What was used, stored before it was let through.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 200))]
    pub used: Vec<Use>,
}

crate::conditioned!(ChangeRequestStatus);

/// Where a request stands.
#[derive(Clone, Copy, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
pub enum RequestState {
    /// What it does has not been computed yet.
    Planning,
    /// Approvals are missing.
    Waiting,
    /// It may be carried out.
    Approved,
    /// Somebody said no, for good.
    Rejected,
    /// Whoever asked wants it no more.
    Withdrawn,
    /// Its time is over.
    Expired,
    /// Its target has changed since it was asked for.
    Stale,
    /// Everything was used as often as was asked for.
    Spent,
    /// It can never be planned.
    Invalid,
}

impl RequestState {
    /// Whether the request is final: nothing can be decided or applied any more.
    pub fn is_over(self) -> bool {
        !matches!(self, RequestState::Planning | RequestState::Waiting | RequestState::Approved)
    }
}

impl std::fmt::Display for RequestState {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{self:?}")
    }
}

/// What one change does.
#[serde_with::skip_serializing_none]
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PlannedChange {
    /// What is done, as admission names it: Create, Update, Delete, Connect.
    #[schemars(length(max = 16))]
    pub operation: String,
    /// The object.
    pub target: ObjectRef,
    /// Plural name of its kind, as policies name it: `deployments`.
    #[serde(default)]
    #[schemars(length(max = 253))]
    pub resource: String,
    /// Namespace of the object; absent for cluster-scoped objects.
    #[schemars(length(max = 63))]
    pub namespace: Option<String>,
    /// UID of the object; absent for create.
    #[schemars(length(max = 64))]
    pub uid: Option<String>,
    /// What changes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 256))]
    pub delta: Vec<Delta>,
    /// The change in words: `image of deployment/checkout in shop: shop/checkout:v1 → shop/checkout:v2`.
    #[schemars(length(max = 1000))]
    pub summary: String,
}

/// One value that changes. A list element with a known key is named by it: `/spec/containers/[name=app]/image`.
#[serde_with::skip_serializing_none]
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
pub struct Delta {
    /// Where.
    #[schemars(length(max = 1024))]
    pub path: String,
    /// The value before; absent: there was none.
    #[serde(default)]
    #[schemars(schema_with = "super::common::free_value")]
    pub before: Option<Value>,
    /// The value after; absent: it goes.
    #[serde(default)]
    #[schemars(schema_with = "super::common::free_value")]
    pub after: Option<Value>,
}

/// One use of one change.
#[serde_with::skip_serializing_none]
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Use {
    /// Index in `changes`.
    pub change: i32,
    /// Digest of what was really let through: object and delta. A repeat of it is not counted again.
    #[schemars(length(max = 80))]
    pub digest: String,
    /// Version of the object right before it was let through, or taken back: its generation, where it has one, else
    /// its resourceVersion. While the object is still that version, what was let through was not stored, and only then
    /// the same again is a repeat; a resourceVersion, which any write moves, is taken for the same for ten seconds.
    #[schemars(length(max = 64))]
    pub version: Option<String>,
    /// Who used it.
    #[schemars(length(max = 253))]
    pub by: String,
    /// When.
    pub time: Time,
    /// What was let through, with the values before, which is what a restore brings back.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 256))]
    pub delta: Vec<Delta>,
    /// When it was taken back.
    pub restored_time: Option<Time>,
    /// Who took it back.
    #[schemars(length(max = 253))]
    pub restored_by: Option<String>,
}
