//! ChangeRequest: one precise change that a person wants to make to production
//! (docs/rules.md#what-a-request-asks-for).

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

/// One precise change somebody wants to make to production. A request is fixed when it is created; to change
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
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    printcolumn(
        name = "Ready",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Ready\")].status",
        priority = 1
    )
)]
#[x_kube(validation = (
    "self.reason == oldSelf.reason && has(self.requester) == has(oldSelf.requester) && (!has(self.requester) || self.requester == oldSelf.requester) && has(self.actors) == has(oldSelf.actors) && (!has(self.actors) || self.actors == oldSelf.actors) && has(self.incidentRef) == has(oldSelf.incidentRef) && (!has(self.incidentRef) || self.incidentRef == oldSelf.incidentRef) && self.changes.size() == oldSelf.changes.size() && self.partial == oldSelf.partial && has(self.window) == has(oldSelf.window) && (!has(self.window) || self.window == oldSelf.window) && self.maxUses == oldSelf.maxUses && has(self.rollback) == has(oldSelf.rollback)",
    "a request is fixed when it is created: withdraw it (spec.withdrawn: true) and ask again"
))]
#[x_kube(validation = ("!oldSelf.withdrawn || self.withdrawn", "a withdrawn request stays withdrawn: ask again"))]
pub struct ChangeRequestSpec {
    /// Reason for the change.
    #[schemars(length(min = 1, max = 500))]
    pub reason: String,
    /// Who asks. Mayday stamps the authenticated user.
    pub requester: Option<UserRef>,
    /// Users who may carry out the request. Default: the requester.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    pub actors: Vec<UserRef>,
    /// Incident that explains the request. It decides nothing: Mayday computes which incidents must agree.
    pub incident_ref: Option<NameRef>,
    /// The changes. Each may be used on its own, in any order.
    #[schemars(length(min = 1, max = 32))]
    pub changes: Vec<Change>,
    /// Whether each value of an update may be applied on its own. Default Forbidden.
    #[serde(default)]
    pub partial: Partial,
    /// When the request may be carried out. Default: for one hour from the last approval.
    pub window: Option<Window>,
    /// Maximum number of uses of each change. Default 1.
    #[serde(default = "one")]
    #[schemars(range(min = 1, max = 100))]
    pub max_uses: i32,
    /// Rollback that is approved together with the request.
    pub rollback: Option<Rollback>,
    /// Whether the request is withdrawn. A withdrawn request stays withdrawn.
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

/// Whether a part of an update may be applied (docs/rules.md#partial).
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
pub enum Partial {
    /// The update is applied as a whole, or not at all.
    #[default]
    Forbidden,
    /// Each value may be applied on its own, as often as the whole.
    Allowed,
}

/// YAML names of the members that select what a change does.
pub const CHANGE_MEMBERS: &[&str] =
    &["update", "scale", "restart", "create", "delete", "exec", "attach", "debug", "portForward", "evict"];

/// One change. Exactly one member is set besides `target`, which every change but `create` needs.
#[serde_with::skip_serializing_none]
#[derive(Clone, Debug, Default, Deserialize, KubeSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = exactly_one(SET_ONE, CHANGE_MEMBERS))]
#[x_kube(validation = (
    "has(self.create) != has(self.target)",
    "set target, and only for create leave it out: the manifest names the object"
))]
pub struct Change {
    /// Object to change. For access to pods, such as `exec`: a pod, or a workload, which stands for its pods.
    pub target: Option<ObjectRef>,
    /// Patches the object, removes values, or both.
    pub update: Option<UpdateChange>,
    /// Sets the number of replicas.
    pub scale: Option<ScaleChange>,
    /// Restarts a workload, as `kubectl rollout restart` does: only its annotation changes.
    pub restart: Option<Empty>,
    /// Creates an object.
    pub create: Option<CreateChange>,
    /// Deletes the object.
    pub delete: Option<DeleteChange>,
    /// Runs a command in a pod.
    pub exec: Option<ExecChange>,
    /// Attaches to a pod.
    pub attach: Option<ContainerChange>,
    /// Starts a debug container in a pod.
    pub debug: Option<ContainerChange>,
    /// Forwards ports of a pod.
    pub port_forward: Option<PortForwardChange>,
    /// Evicts a pod beyond its disruption budget.
    pub evict: Option<Empty>,
}

/// Deletes an object.
#[serde_with::skip_serializing_none]
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct DeleteChange {
    /// What happens to the objects that the deleted object owns. Default: they are deleted too.
    pub propagation_policy: Option<PropagationPolicy>,
}

impl DeleteChange {
    /// Whether the objects that the deleted object owns are kept.
    pub fn orphans(&self) -> bool {
        self.propagation_policy == Some(PropagationPolicy::Orphan)
    }
}

/// What happens to the objects that a deleted object owns, as with `kubectl delete --cascade`.
#[derive(Clone, Copy, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
pub enum PropagationPolicy {
    /// They are deleted afterwards.
    Background,
    /// They are deleted first.
    Foreground,
    /// They stay, without an owner.
    Orphan,
}

/// A patch, values to remove, or both. The guard checks that one of them is set, because a CEL rule cannot
/// see a field of any type.
#[serde_with::skip_serializing_none]
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct UpdateChange {
    /// Type of the patch. Default Strategic.
    #[serde(default)]
    pub patch_type: PatchType,
    /// Patch without nulls. Values to remove are listed in `remove`.
    #[serde(default)]
    #[schemars(schema_with = "super::common::free_value")]
    pub patch: Option<Value>,
    /// JSON pointers to the values to remove.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    pub remove: Vec<String>,
    /// Keyed digests of the values of a Secret, instead of the values themselves.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    pub content_digests: Vec<ContentDigest>,
}

/// Keyed digest of one value of a Secret.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
pub struct ContentDigest {
    /// Key of the value in the Secret.
    #[schemars(length(min = 1, max = 253))]
    pub key: String,
    /// Keyed digest of the value.
    #[schemars(length(min = 1, max = 128))]
    pub hmac: String,
}

/// Type of a patch.
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

/// Sets the number of replicas.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
pub struct ScaleChange {
    /// New number of replicas.
    #[schemars(range(min = 0, max = 100_000))]
    pub replicas: i32,
}

/// Creates an object.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
pub struct CreateChange {
    /// The object, as it would be applied.
    #[schemars(schema_with = "super::common::free_object")]
    pub manifest: Value,
}

/// Runs a command in a pod.
#[serde_with::skip_serializing_none]
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
pub struct ExecChange {
    /// Name of the container. Default: the only container of the pod.
    #[schemars(length(max = 63))]
    pub container: Option<String>,
    /// The command and its arguments, one per item.
    #[schemars(length(min = 1, max = 32))]
    pub command: Vec<String>,
}

/// A container of a pod.
#[serde_with::skip_serializing_none]
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
pub struct ContainerChange {
    /// Name of the container.
    #[schemars(length(max = 63))]
    pub container: Option<String>,
    /// Image of the debug container.
    #[schemars(length(max = 512))]
    pub image: Option<String>,
}

/// Ports of a pod.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
pub struct PortForwardChange {
    /// Port numbers.
    #[schemars(length(min = 1, max = 16))]
    pub ports: Vec<i32>,
}

/// When a request may be carried out: for `duration` from the last approval or from `notBefore`, whichever is
/// later, or until `notAfter`. Exactly one of `duration` and `notAfter` is set.
#[serde_with::skip_serializing_none]
#[derive(Clone, Debug, Default, Deserialize, KubeSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = (
    "has(self.duration) != has(self.notAfter)",
    "set duration or notAfter, one of them (and notBefore, if it does not begin at once)"
))]
pub struct Window {
    /// Length of the window, from the last approval or from `notBefore`, whichever is later.
    pub duration: Option<Duration>,
    /// The request may not be carried out before this time.
    pub not_before: Option<Time>,
    /// The request may not be carried out after this time.
    pub not_after: Option<Time>,
}

/// Rollback that is approved together with a request (docs/rules.md#rollback).
#[serde_with::skip_serializing_none]
#[derive(Clone, Debug, Default, Deserialize, KubeSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = ("has(self.restorePrevious)", "set restorePrevious, or leave rollback out"))]
pub struct Rollback {
    /// Lets the previous values be written back, once for each use, while the window lasts.
    pub restore_previous: Option<Empty>,
}

/// Status of the request. Only the operator writes it.
#[serde_with::skip_serializing_none]
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ChangeRequestStatus {
    /// The `metadata.generation` that the conditions describe.
    #[serde(default)]
    pub observed_generation: i64,
    /// Conditions: Ready, Approved, Rejected, Expired, Stale, Spent.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "super::common::conditions")]
    pub conditions: Vec<Condition>,
    /// State of the request, for people and the column.
    pub state: Option<RequestState>,
    /// Who must still approve, for the column.
    #[schemars(length(max = 253))]
    pub missing: Option<String>,
    /// Uses so far and uses in all, for the column: `1/2`.
    #[schemars(length(max = 32))]
    pub uses: Option<String>,
    /// Who must do what next.
    pub next: Option<Next>,
    /// What each change does. Mayday computes it once and never again.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    pub plan: Vec<PlannedChange>,
    /// Digest of the spec and the plan. An Approval must name it.
    #[schemars(length(max = 80))]
    pub digest: Option<String>,
    /// Every incident that binds now. An Approval must name them all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    pub incidents: Vec<UidRef>,
    /// Decisions that count.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    pub decisions: Vec<CountedDecision>,
    /// When the approvals became complete.
    pub approved_time: Option<Time>,
    /// The request may be carried out until this time.
    pub expires_time: Option<Time>,
    /// Uses so far. Each is stored before its write passes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 200))]
    pub used: Vec<Use>,
}

crate::conditioned!(ChangeRequestStatus);

/// State of a request.
#[derive(Clone, Copy, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
pub enum RequestState {
    /// Mayday has not computed the plan yet.
    Planning,
    /// Approvals are missing.
    Waiting,
    /// The request may be carried out.
    Approved,
    /// An approver rejected the request, for good.
    Rejected,
    /// The request was withdrawn.
    Withdrawn,
    /// The window has ended.
    Expired,
    /// A target has changed since the request was planned.
    Stale,
    /// Every change was used as often as the request allows.
    Spent,
    /// The request cannot be planned; the condition Ready says why.
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

/// Plan of one change.
#[serde_with::skip_serializing_none]
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PlannedChange {
    /// Operation, as admission names it: Create, Update, Delete or Connect.
    #[schemars(length(max = 16))]
    pub operation: String,
    /// Object that changes.
    pub target: ObjectRef,
    /// Plural name of the object's kind, as policies name it: `deployments`.
    #[serde(default)]
    #[schemars(length(max = 253))]
    pub resource: String,
    /// Namespace of the object; absent for cluster-scoped objects.
    #[schemars(length(max = 63))]
    pub namespace: Option<String>,
    /// UID of the object; absent for create.
    #[schemars(length(max = 64))]
    pub uid: Option<String>,
    /// Values that change.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 256))]
    pub delta: Vec<Delta>,
    /// The change in words: `image of deployment/checkout in shop: shop/checkout:v1 → shop/checkout:v2`.
    #[schemars(length(max = 1000))]
    pub summary: String,
}

/// One value that changes. A list element with a known key is named by that key:
/// `/spec/containers/[name=app]/image`.
#[serde_with::skip_serializing_none]
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
pub struct Delta {
    /// Path of the value.
    #[schemars(length(max = 1024))]
    pub path: String,
    /// Value before the change. Absent: there was none.
    #[serde(default)]
    #[schemars(schema_with = "super::common::free_value")]
    pub before: Option<Value>,
    /// Value after the change. Absent: the value is removed.
    #[serde(default)]
    #[schemars(schema_with = "super::common::free_value")]
    pub after: Option<Value>,
}

/// One use of one change.
#[serde_with::skip_serializing_none]
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Use {
    /// Index of the change in `changes`.
    pub change: i32,
    /// Digest of the write that passed: its object and its delta. A retry of the same write is not counted
    /// again.
    #[schemars(length(max = 80))]
    pub digest: String,
    /// Version of the object right before the write or its rollback: the generation if the write raises it,
    /// else the resourceVersion. The same write counts as a retry only while the object still has this
    /// version, because the first write was then not stored. Every write changes a resourceVersion, so where
    /// it decides, the same user may also retry for ten seconds.
    #[schemars(length(max = 64))]
    pub version: Option<String>,
    /// User who made the write.
    #[schemars(length(max = 253))]
    pub by: String,
    /// Whether that user was impersonated: who it really was is in the audit log.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub impersonated: bool,
    /// When the write passed.
    pub time: Time,
    /// Values of the write, before and after. A rollback writes back the values before.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 256))]
    pub delta: Vec<Delta>,
    /// When the use was rolled back.
    pub restored_time: Option<Time>,
    /// User who rolled the use back.
    #[schemars(length(max = 253))]
    pub restored_by: Option<String>,
}
