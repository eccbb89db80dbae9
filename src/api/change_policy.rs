//! ChangePolicy: what counts as production, who approves, who may lead, and how far automation may go
//! (docs/rules.md#write-changepolicy).

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, LabelSelector, Time};
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::common::{ObjectRef, Severity};
use super::duration::Duration;
use super::runbook::{RunApproval, Start};

/// Rules of production: what is protected, who approves changes, who may lead, and how far automation may go.
/// Where several policies cover an object, every one must be satisfied.
#[serde_with::skip_serializing_none]
#[derive(Clone, CustomResource, Debug, Default, Deserialize, KubeSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
#[kube(
    group = "mayday.dev",
    version = "v1alpha1",
    kind = "ChangePolicy",
    plural = "changepolicies",
    shortname = "cpol",
    category = "mayday",
    status = "ChangePolicyStatus",
    derive = "Default",
    derive = "PartialEq",
    printcolumn(name = "Namespaces", type_ = "string", json_path = ".status.namespaces", priority = 1),
    printcolumn(name = "Enforcement", type_ = "string", json_path = ".spec.enforcement"),
    printcolumn(
        name = "Enforced",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Enforced\")].status"
    ),
    printcolumn(
        name = "Ready",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Ready\")].status"
    ),
    printcolumn(name = "Incidents", type_ = "integer", json_path = ".status.incidents"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
pub struct ChangePolicySpec {
    /// Objects that the policy protects.
    pub scope: Scope,
    /// What happens to a change without an approval. Default Deny.
    #[serde(default)]
    pub enforcement: Enforcement,
    /// When changes need an approval. Default Always.
    #[serde(default)]
    pub activation: Activation,
    /// Who approves changes.
    pub approval: ApprovalRule,
    /// Who may lead, and which incidents bind changes.
    pub incident: Option<IncidentRule>,
    /// What happens to exec, attach, debug and port-forward.
    #[serde(default)]
    pub interactive: InteractiveRule,
    /// What happens to evictions. Default WithinBudget.
    #[serde(default)]
    pub evictions: Evictions,
    /// Groups whose members may break the glass.
    pub break_glass: Option<Groups>,
    /// Upper limits for runbooks in scope, and what Mayday may call from there.
    #[serde(default)]
    pub automation: Automation,
    /// Upper limits for requests.
    #[serde(default)]
    pub limits: RequestLimits,
    /// Third-party controllers that may write certain objects without a request. The exemption covers only
    /// the controller's own login, not a user who impersonates its account.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    pub exempt_actors: Vec<ExemptActor>,
}

/// Objects that a policy protects (docs/rules.md#scope).
#[serde_with::skip_serializing_none]
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
pub struct Scope {
    /// Protected namespaces. Their Namespace objects are protected too.
    pub namespaces: NamespaceScope,
    /// Protected kinds. Default: every kind in the namespaces. Events, Leases and the kinds of `mayday.dev`
    /// are never protected.
    pub resources: Option<ResourceScope>,
}

/// Namespaces, by name or by label. Exactly one of `names` and `selector` is set.
#[serde_with::skip_serializing_none]
#[derive(Clone, Debug, Default, Deserialize, KubeSchema, PartialEq, Serialize)]
#[x_kube(validation = ("has(self.names) != has(self.selector)", "set exactly one of names, selector"))]
pub struct NamespaceScope {
    /// Names of the namespaces.
    #[schemars(
        length(min = 1, max = 100),
        inner(length(max = 63), regex(pattern = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"))
    )]
    pub names: Option<Vec<String>>,
    /// Labels of the namespaces. The status lists the selected names.
    pub selector: Option<LabelSelector>,
}

/// Kinds to protect.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
pub struct ResourceScope {
    /// Only these kinds are protected. Default: all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    pub include: Vec<ResourceRule>,
    /// These kinds are not protected.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    pub exclude: Vec<ResourceRule>,
}

/// Resources by API group and plural name.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ResourceRule {
    /// API groups: `""` is the core group, `*` means all.
    #[schemars(length(min = 1, max = 32))]
    pub api_groups: Vec<String>,
    /// Plural names such as `deployments`; `*` means all.
    #[schemars(length(min = 1, max = 32))]
    pub resources: Vec<String>,
}

/// What happens to a change without an approval.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
pub enum Enforcement {
    /// It is refused.
    #[default]
    Deny,
    /// It passes with a warning.
    Warn,
    /// It passes and is recorded.
    Audit,
}

/// When changes need an approval.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
pub enum Activation {
    /// Always.
    #[default]
    Always,
    /// While an incident binds.
    DuringIncident,
}

/// Who approves changes (docs/rules.md#quorum).
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
pub struct ApprovalRule {
    /// Entries that must all be satisfied. The requester never counts. Empty: nobody can approve.
    #[serde(default)]
    #[schemars(length(max = 8))]
    pub required: Vec<RequiredApproval>,
    /// Service accounts that may ask for changes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    pub pipelines: Vec<super::common::UserRef>,
    /// User names that belong to one person. Of each list at most one counts.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    pub aliases: Vec<Alias>,
}

/// Several user names of one person.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
pub struct Alias {
    /// User names of the person.
    #[schemars(length(min = 2, max = 8))]
    pub users: Vec<String>,
}

/// A number of approvals from members of certain groups.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
pub struct RequiredApproval {
    /// Name of the entry, for messages.
    #[schemars(length(min = 1, max = 63))]
    pub name: String,
    /// Groups whose members are eligible. Empty: nobody is eligible.
    #[serde(default)]
    #[schemars(length(max = 16))]
    pub groups: Vec<String>,
    /// Number of people who must approve.
    #[schemars(range(min = 1, max = 10))]
    pub count: i32,
}

/// Who may lead, and which incidents bind changes (docs/rules.md#binding-incidents).
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct IncidentRule {
    /// Groups whose members may claim the lead. Empty: nobody may.
    #[serde(default)]
    pub leads: Groups,
    /// Severities of the incidents that bind changes to the lead. Empty: no incident binds.
    #[serde(default)]
    #[schemars(length(max = 5))]
    pub severities: Vec<Severity>,
    /// When an incident begins to bind changes. Default Acknowledged.
    #[serde(default)]
    pub binds_from: BindsFrom,
}

/// When an incident begins to bind changes.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
pub enum BindsFrom {
    /// When it is created.
    Detected,
    /// When a person acknowledges it.
    #[default]
    Acknowledged,
    /// When a person claims the lead.
    LeadClaimed,
}

/// Groups of users.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
pub struct Groups {
    /// Names of groups, as the API server authenticates them. Empty: nobody.
    #[serde(default)]
    #[schemars(length(max = 16))]
    pub groups: Vec<String>,
}

/// What happens to exec, attach, debug and port-forward.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct InteractiveRule {
    /// While no incident binds changes. Default Approve.
    #[serde(default)]
    pub normally: Interactive,
    /// While an incident binds changes. Default Approve.
    #[serde(default)]
    pub during_incident: Interactive,
}

/// What happens to exec, attach, debug and port-forward.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
pub enum Interactive {
    /// They pass.
    Allow,
    /// They pass and are recorded.
    Record,
    /// They need an approved request.
    #[default]
    Approve,
}

/// What happens to evictions.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
pub enum Evictions {
    /// They pass where a PodDisruptionBudget covers the pod and allows it.
    #[default]
    WithinBudget,
    /// They need an approved request.
    Approve,
}

/// Upper limits for runbooks in scope, and what Mayday may call from there.
#[serde_with::skip_serializing_none]
#[derive(Clone, Debug, Default, Deserialize, KubeSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = (
    "!has(self.endpoints) || self.endpoints.all(e, self.endpoints.exists_one(other, other.name == e.name))",
    "endpoints: each has a name of its own"
))]
pub struct Automation {
    /// Who may start a runbook. Default Disabled.
    #[serde(default)]
    pub start: AutomationStart,
    /// Least approval that a run needs. Standing: the Runbook's own approval is enough. PerRun: each run needs
    /// one of its own. Default PerRun.
    #[serde(default)]
    pub approval: RunApproval,
    /// Least approval that a run needs once a lead has claimed. Default PerRun.
    #[serde(default)]
    pub after_lead_claimed: RunApproval,
    /// Maximum number of runs that work at once in each namespace in scope. A run counts from its start until it is
    /// settled; those that wait begin in the order of their creation (docs/rules.md#run-concurrency). Absent: no limit.
    #[schemars(range(min = 1, max = 1000))]
    pub concurrency: Option<i32>,
    /// Least percentage of the other pods of the namespace's workloads, or of the other nodes for a run that changes one,
    /// that must be healthy for a run to begin by itself (docs/rules.md#run-siblings). Absent: not asked.
    #[schemars(range(min = 1, max = 100))]
    pub min_healthy: Option<i32>,
    /// Addresses that steps and checks may call (docs/rules.md#endpoints). Empty: none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    pub endpoints: Vec<Endpoint>,
    /// ServiceAccounts whose Runbooks may change objects outside every namespace, such as nodes
    /// (docs/rules.md#cluster-identities). Empty: none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    pub cluster_identities: Vec<ClusterIdentity>,
    /// Whether a Runbook counts as approved only while its last drill succeeded and is not overdue
    /// (docs/rules.md#drills).
    #[serde(default)]
    pub require_drill: bool,
}

/// A ServiceAccount whose Runbooks may change objects outside every namespace. Its RBAC rights bind it all the same.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
pub struct ClusterIdentity {
    /// Namespace of the ServiceAccount and of its Runbooks.
    #[schemars(length(min = 1, max = 63), regex(pattern = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"))]
    pub namespace: String,
    /// Name of the ServiceAccount.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
}

/// An address that steps and checks may call. It may be in the cluster or in a private network.
#[serde_with::skip_serializing_none]
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Endpoint {
    /// Name of the endpoint, for people.
    #[schemars(length(min = 1, max = 63), regex(pattern = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"))]
    pub name: String,
    /// Origin, and a path if only what is below it may be called: `http://prometheus.monitoring.svc:9090`.
    #[schemars(schema_with = "super::http_url::of_endpoint")]
    pub url: String,
    /// Certificates in PEM of the authorities that may vouch for the endpoint, instead of the public ones.
    #[schemars(length(min = 1, max = 8192), regex(pattern = "-----BEGIN CERTIFICATE-----"))]
    pub ca_bundle: Option<String>,
}

/// Who may start a runbook.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
pub enum AutomationStart {
    /// Nobody.
    #[default]
    Disabled,
    /// People.
    Manual,
    /// People, and Mayday by itself.
    Automatic,
}

impl AutomationStart {
    /// Whether the policy lets a runbook start in this way.
    pub fn allows(self, start: Start) -> bool {
        match self {
            AutomationStart::Disabled => false,
            AutomationStart::Manual => start == Start::Manual,
            AutomationStart::Automatic => true,
        }
    }
}

/// Upper limits for requests.
#[serde_with::skip_serializing_none]
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RequestLimits {
    /// Maximum number of uses of each change. Default 10.
    #[serde(default = "ten")]
    #[schemars(range(min = 1, max = 100))]
    pub max_uses: i32,
    /// Maximum length of the window. Default 8h.
    #[serde(default = "eight_hours")]
    pub max_window: Duration,
}

fn ten() -> i32 {
    10
}

fn eight_hours() -> Duration {
    Duration::from_secs(8 * 3600)
}

impl Default for RequestLimits {
    fn default() -> RequestLimits {
        RequestLimits { max_uses: ten(), max_window: eight_hours() }
    }
}

/// A third-party controller that may write certain objects without a request.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
pub struct ExemptActor {
    /// User name of the controller, compared byte for byte.
    #[schemars(length(min = 1, max = 253))]
    pub user: String,
    /// Writes that the controller may make.
    #[schemars(length(min = 1, max = 16))]
    pub rules: Vec<ExemptRule>,
}

/// Writes that an exempt actor may make.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ExemptRule {
    /// API groups; `""` is the core group.
    #[schemars(length(min = 1, max = 16))]
    pub api_groups: Vec<String>,
    /// Plural names, with a subresource if there is one, such as `deployments/scale`.
    #[schemars(length(min = 1, max = 16))]
    pub resources: Vec<String>,
    /// Operations that the controller may perform.
    #[schemars(length(min = 1, max = 4))]
    pub operations: Vec<Operation>,
}

/// Operation of a write, as admission names it.
#[derive(Clone, Copy, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[allow(missing_docs, reason = "the names say it")]
pub enum Operation {
    Create,
    Update,
    Delete,
    Connect,
}

/// Status of the policy. Only the operator writes it.
#[serde_with::skip_serializing_none]
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ChangePolicyStatus {
    /// The `metadata.generation` that the conditions describe.
    #[serde(default)]
    pub observed_generation: i64,
    /// Conditions: Ready, Enforced.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "super::common::conditions")]
    pub conditions: Vec<Condition>,
    /// The namespaces that are protected now.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 500))]
    pub namespaces: Vec<String>,
    /// Number of incidents that bind changes under this policy.
    #[serde(default)]
    pub incidents: i32,
    /// When an approval first counted under this policy. From then on, loosening the policy is itself a
    /// protected change.
    pub in_force_since_time: Option<Time>,
    /// Unauthorized changes, newest first: by break-glass, by an unknown user, or under a policy that does
    /// not deny.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 50))]
    pub unauthorized: Vec<UnauthorizedChange>,
}

crate::conditioned!(ChangePolicyStatus);

/// A change that was made without an approval.
#[serde_with::skip_serializing_none]
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct UnauthorizedChange {
    /// Identity of the change. The same change always has the same identity.
    #[schemars(length(max = 128))]
    pub id: String,
    /// Namespace of the object; empty if it is cluster-scoped.
    #[schemars(length(max = 63))]
    pub namespace: String,
    /// The object.
    pub object: ObjectRef,
    /// The change in words.
    #[schemars(length(max = 500))]
    pub what: String,
    /// User who made the change, as admission saw it. Absent if Mayday only found the change later; then the
    /// audit log shows the user.
    #[schemars(length(max = 253))]
    pub by: Option<String>,
    /// When Mayday saw the change.
    pub time: Time,
    /// How Mayday saw the change.
    pub kind: UnauthorizedKind,
}

/// How an unauthorized change was seen.
#[derive(Clone, Copy, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
pub enum UnauthorizedKind {
    /// A user broke the glass while Mayday was running.
    BreakGlass,
    /// Mayday found the object changed and knows nothing that explains the change.
    FoundLater,
    /// The change passed, because enforcement is Warn or Audit.
    NotEnforced,
    /// Somebody changed the gate itself: a webhook configuration or an admission policy of Mayday.
    GateChanged,
}
