//! ChangePolicy: defines what counts as production, who approves, who may lead, and how far automation may
//! go.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, LabelSelector, Time};
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::common::{ObjectRef, Severity};
use super::duration::Duration;
use super::runbook::{RunApproval, Start};

/// What counts as production, who approves, who may lead, how far automation may go. Where several policies
/// cover an object, every one must be satisfied.
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
    printcolumn(name = "Incidents", type_ = "integer", json_path = ".status.incidents"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
pub struct ChangePolicySpec {
    /// What is protected.
    pub scope: Scope,
    /// What happens to a change that nobody approved. Default Deny.
    #[serde(default)]
    pub enforcement: Enforcement,
    /// When changes need an approval. Default Always.
    #[serde(default)]
    pub activation: Activation,
    /// Who approves.
    pub approval: ApprovalRule,
    /// What an incident changes.
    pub incident: Option<IncidentRule>,
    /// exec, attach, debug and port-forward.
    #[serde(default)]
    pub interactive: InteractiveRule,
    /// Evictions. Default WithinBudget.
    #[serde(default)]
    pub evictions: Evictions,
    /// Who may break the glass.
    pub break_glass: Option<Groups>,
    /// The most that runbooks in scope may do.
    #[serde(default)]
    pub automation: Automation,
    /// The most that a request may ask for.
    #[serde(default)]
    pub limits: RequestLimits,
    /// Third-party controllers that may write certain things without a request, where they log in themselves: whoever
    /// may impersonate their account is not exempt.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    pub exempt_actors: Vec<ExemptActor>,
}

/// What is protected.
#[serde_with::skip_serializing_none]
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
pub struct Scope {
    /// The namespaces, themselves included.
    pub namespaces: NamespaceScope,
    /// The kinds; default: everything in the namespaces, never Events, Leases and the kinds of `mayday.dev`.
    pub resources: Option<ResourceScope>,
}

/// Which namespaces: exactly one of the members.
#[serde_with::skip_serializing_none]
#[derive(Clone, Debug, Default, Deserialize, KubeSchema, PartialEq, Serialize)]
#[x_kube(validation = ("has(self.names) != has(self.selector)", "set exactly one of names, selector"))]
pub struct NamespaceScope {
    /// These.
    #[schemars(
        length(min = 1, max = 100),
        inner(length(max = 63), regex(pattern = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"))
    )]
    pub names: Option<Vec<String>>,
    /// Those with these labels; resolved to names in the status.
    pub selector: Option<LabelSelector>,
}

/// Which kinds.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
pub struct ResourceScope {
    /// Only these; default: all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    pub include: Vec<ResourceRule>,
    /// But not these.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    pub exclude: Vec<ResourceRule>,
}

/// Resources by API group and plural name.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ResourceRule {
    /// API groups; `""` is the core group, `*` all.
    #[schemars(length(min = 1, max = 32))]
    pub api_groups: Vec<String>,
    /// Plural names such as `deployments`; `*` all.
    #[schemars(length(min = 1, max = 32))]
    pub resources: Vec<String>,
}

/// What happens to a change that nobody approved.
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

/// Who approves.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
pub struct ApprovalRule {
    /// All of them; the requester never counts. Empty means nobody can approve.
    #[serde(default)]
    #[schemars(length(max = 8))]
    pub required: Vec<RequiredApproval>,
    /// Service accounts that may ask.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    pub pipelines: Vec<super::common::UserRef>,
    /// Users that are one person: of each list at most one counts.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    pub aliases: Vec<Alias>,
}

/// Several user names of one person.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
pub struct Alias {
    /// The user names.
    #[schemars(length(min = 2, max = 8))]
    pub users: Vec<String>,
}

/// So many of these groups.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
pub struct RequiredApproval {
    /// Name of the entry, for messages.
    #[schemars(length(min = 1, max = 63))]
    pub name: String,
    /// Members of any of them are eligible. Empty means nobody.
    #[serde(default)]
    #[schemars(length(max = 16))]
    pub groups: Vec<String>,
    /// How many persons.
    #[schemars(range(min = 1, max = 10))]
    pub count: i32,
}

/// What an incident changes.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct IncidentRule {
    /// Who may claim the lead. Empty means nobody.
    #[serde(default)]
    pub leads: Groups,
    /// Severities whose incidents bind changes to the lead. Empty means none.
    #[serde(default)]
    #[schemars(length(max = 5))]
    pub severities: Vec<Severity>,
    /// From when on an incident binds. Default Acknowledged.
    #[serde(default)]
    pub binds_from: BindsFrom,
}

/// From when on an incident binds.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
pub enum BindsFrom {
    /// From its creation.
    Detected,
    /// From the first answer of a person.
    #[default]
    Acknowledged,
    /// From the claim of a lead.
    LeadClaimed,
}

/// Groups of users.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
pub struct Groups {
    /// Names of groups as the API server authenticates them. Empty means nobody.
    #[serde(default)]
    #[schemars(length(max = 16))]
    pub groups: Vec<String>,
}

/// exec, attach, debug and port-forward.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct InteractiveRule {
    /// While no incident binds. Default Approve.
    #[serde(default)]
    pub normally: Interactive,
    /// While an incident binds. Default Approve.
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

/// The most that runbooks in scope may do.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Automation {
    /// Who may start one. Default Disabled.
    #[serde(default)]
    pub start: AutomationStart,
    /// Which approval is the least. Default PerRun.
    #[serde(default)]
    pub approval: RunApproval,
    /// Which approval is the least once a lead has claimed. Default PerRun.
    #[serde(default)]
    pub after_lead_claimed: RunApproval,
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

/// The most that a request may ask for.
#[serde_with::skip_serializing_none]
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RequestLimits {
    /// Uses of each change. Default 10.
    #[serde(default = "ten")]
    #[schemars(range(min = 1, max = 100))]
    pub max_uses: i32,
    /// Length of the window. Default 8h.
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

/// A third-party controller that may write certain things without a request.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
pub struct ExemptActor {
    /// User name, byte for byte.
    #[schemars(length(min = 1, max = 253))]
    pub user: String,
    /// What it may write.
    #[schemars(length(min = 1, max = 16))]
    pub rules: Vec<ExemptRule>,
}

/// What an exempt actor may write.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ExemptRule {
    /// API groups; `""` is the core group.
    #[schemars(length(min = 1, max = 16))]
    pub api_groups: Vec<String>,
    /// Plural names with subresource, such as `deployments/scale`.
    #[schemars(length(min = 1, max = 16))]
    pub resources: Vec<String>,
    /// Operations.
    #[schemars(length(min = 1, max = 4))]
    pub operations: Vec<Operation>,
}

/// What a request does, as admission names it.
#[derive(Clone, Copy, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[allow(missing_docs, reason = "the names say it")]
pub enum Operation {
    Create,
    Update,
    Delete,
    Connect,
}

/// What the operator knows of a policy.
#[serde_with::skip_serializing_none]
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ChangePolicyStatus {
    /// The `metadata.generation` that the conditions speak of.
    #[serde(default)]
    pub observed_generation: i64,
    /// What is true: Ready, Enforced.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "super::common::conditions")]
    pub conditions: Vec<Condition>,
    /// The namespaces that are protected now.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 500))]
    pub namespaces: Vec<String>,
    /// How many incidents bind changes under it.
    #[serde(default)]
    pub incidents: i32,
    /// When an approval first counted under it. From then on a loosening is itself a protected change.
    pub in_force_since_time: Option<Time>,
    /// Changes that nobody approved: break-glass and changes by nobody known; newest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 50))]
    pub unauthorized: Vec<UnauthorizedChange>,
}

crate::conditioned!(ChangePolicyStatus);

/// A change that nobody approved.
#[serde_with::skip_serializing_none]
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct UnauthorizedChange {
    /// Deterministic identity.
    #[schemars(length(max = 128))]
    pub id: String,
    /// Namespace of the object.
    #[schemars(length(max = 63))]
    pub namespace: String,
    /// The object.
    pub object: ObjectRef,
    /// What was done, in words.
    #[schemars(length(max = 500))]
    pub what: String,
    /// Who, as admission saw it; absent for a change that was only found later. Then the audit log knows.
    #[schemars(length(max = 253))]
    pub by: Option<String>,
    /// When it was seen.
    pub time: Time,
    /// How it was seen.
    pub kind: UnauthorizedKind,
}

/// How an unapproved change was seen.
#[derive(Clone, Copy, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
pub enum UnauthorizedKind {
    /// Somebody broke the glass while Mayday lived.
    BreakGlass,
    /// Mayday found the object changed, by nobody it knows.
    FoundLater,
    /// Enforcement is Warn or Audit, so it passed.
    NotEnforced,
}
