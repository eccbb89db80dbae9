//! Incident: one outage, from the first signal to the closed review (docs/rules.md#write-incident).

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::check::ReturnToService;
use super::common::{NameRef, ObjectRef, Severity, UserRef, same_second};
use super::incident_status::{CheckResult, CheckStatus, IncidentState, IncidentStatus};
use super::review::Review;

/// Maximum number of objects that an incident is about, as a run keeps them.
const MAX_SUBJECTS: usize = 32;

/// One outage, from the first signal to the closed review. Monitoring, `kubectl mayday declare` or a person
/// creates it. The operator keeps its state, and `status.next` says who must do what next.
#[serde_with::skip_serializing_none]
#[derive(Clone, CustomResource, Debug, Default, Deserialize, KubeSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
#[kube(
    group = "mayday.dev",
    version = "v1alpha1",
    kind = "Incident",
    plural = "incidents",
    shortname = "inc",
    category = "mayday",
    namespaced,
    status = "IncidentStatus",
    derive = "Default",
    derive = "PartialEq",
    selectable = ".spec.severity",
    selectable = ".status.state",
    printcolumn(name = "Sev", type_ = "string", json_path = ".spec.severity"),
    printcolumn(name = "State", type_ = "string", json_path = ".status.state"),
    printcolumn(name = "Waiting-On", type_ = "string", json_path = ".status.waitingOn"),
    printcolumn(name = "Lead", type_ = "string", json_path = ".status.lead.user"),
    printcolumn(name = "Since", type_ = "date", json_path = ".status.startTime"),
    printcolumn(name = "Title", type_ = "string", json_path = ".spec.title"),
    printcolumn(
        name = "Ready",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Ready\")].status",
        priority = 1
    )
)]
#[x_kube(validation = (
    "!has(self.resolution) || self.resolution.outcome == 'Restored' || has(self.resolution.reason)",
    "resolution.reason says why: needed for Unproved, FalseAlarm and Duplicate"
))]
#[x_kube(validation = (
    "!has(oldSelf.resolution) || has(self.resolution)",
    "a resolution stays: if the outage goes on, it is reopened by the next signal"
))]
#[x_kube(validation = (
    appended("updates", 50).as_str(),
    "updates that were written stay as they are: add another one behind them"
))]
#[x_kube(validation = (
    appended("notes", 100).as_str(),
    "notes that were written stay as they are: add another one behind them"
))]
#[x_kube(validation = (
    "!has(self.notes) || self.notes.map(n, n.text.size()).sum() <= 65536",
    "notes hold 65536 characters in all: write what is longer elsewhere, and link to it"
))]
#[x_kube(validation = (
    "!has(self.updates) || self.updates.map(u, has(u.text) ? u.text.size() : 0).sum() <= 32768",
    "updates hold 32768 characters in all: write what is longer elsewhere, and link to it"
))]
pub struct IncidentSpec {
    /// What is wrong, in a few words: `checkout is down`.
    #[schemars(length(min = 1, max = 200))]
    pub title: String,
    /// How bad it is, from SEV1 to SEV5. Everyone who may edit the incident may raise it. Lowering it takes
    /// the lead or a quorum.
    pub severity: Severity,
    /// Services that are out. Impact, people and checks are copied from the first one when the incident
    /// opens.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    pub service_refs: Vec<NameRef>,
    /// Objects that are out, in this namespace. Default: the objects of the services.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    pub affected: Vec<ObjectRef>,
    /// Whom the outage hurts, and how. Default: the impact of the service.
    #[schemars(length(max = 1000))]
    pub impact: Option<String>,
    /// Text that the public may read. Default: the public summary of the service.
    #[schemars(length(max = 1000))]
    pub public_summary: Option<String>,
    /// When the outage began, as exactly as it is known. Default: the start of the first signal.
    pub start_time: Option<Time>,
    /// How that time is known: `first failed payment in the gateway log`.
    #[schemars(length(max = 500))]
    pub start_time_source: Option<String>,
    /// How the outage was found. Absent: staff reported it.
    pub detection: Option<Detection>,
    /// Who acknowledges the incident. People may name only themselves. The status keeps who acknowledged
    /// first.
    pub acknowledgement: Option<Commitment>,
    /// Who leads, and who speaks to stakeholders.
    pub roles: Option<Roles>,
    /// Notes, such as what a person has seen. Everyone who may edit the incident may add one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 100))]
    pub notes: Vec<Note>,
    /// Messages to stakeholders, written by the lead or the communications lead. Each is sent once.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 50))]
    pub updates: Vec<Update>,
    /// Checks that prove the return to service. Default: the checks of the service.
    pub return_to_service: Option<ReturnToService>,
    /// How the outage ended, as the lead or a quorum says.
    pub resolution: Option<Resolution>,
    /// Lessons from the outage. Needed to close an incident of SEV1 or SEV2.
    pub review: Option<Review>,
}

/// Name of the check that asks a person whether an outage is over that only people have reported.
pub const REPORTED: &str = "reported";

/// CEL rule for an append-only list of at most `most` items. It compares each index once. The API server
/// charges a search of a list by the length of its text, and an object whose rule costs too much could never
/// be written again.
fn appended(list: &str, most: usize) -> String {
    let places: Vec<String> = (0..most).map(|place| place.to_string()).collect();
    format!(
        "!has(oldSelf.{list}) || oldSelf.{list}.size() == 0 || (has(self.{list}) && self.{list}.size() >= \
         oldSelf.{list}.size() && [{}].all(i, i >= oldSelf.{list}.size() || self.{list}[i] == oldSelf.{list}[i]))",
        places.join(",")
    )
}

impl Incident {
    /// Whether the incident is open: its stored state comes before `Resolved`. An incident without a state is
    /// open, because missing data does not mean health.
    pub fn is_open(&self) -> bool {
        self.status.as_ref().and_then(|status| status.state).is_none_or(IncidentState::is_open)
    }

    /// User name of the person who leads the incident now; `None` until a person claims the lead.
    pub fn lead(&self) -> Option<&str> {
        Some(self.spec.roles.as_ref()?.lead.as_ref()?.user.as_str())
    }

    /// Whether a person has acknowledged the incident. Claiming the lead also acknowledges it.
    pub fn is_answered(&self) -> bool {
        self.lead().is_some()
            || self.spec.acknowledgement.is_some()
            || self.status.as_ref().is_some_and(|status| status.acknowledgement.is_some())
    }

    /// The affected objects: those of the spec, or else those of the service according to `status`.
    pub fn affected_objects(&self, status: Option<&IncidentStatus>) -> Vec<ObjectRef> {
        if self.spec.affected.is_empty() {
            let service = status.and_then(|status| status.service.as_ref());
            return service.map(|service| service.objects.clone()).unwrap_or_default();
        }
        self.spec.affected.clone()
    }

    /// What the incident is about, each object once: what its firing signals name, then the affected objects.
    pub fn subjects(&self) -> Vec<ObjectRef> {
        let status = self.status.as_ref();
        let signals = status.into_iter().flat_map(|status| &status.signals);
        let firing = signals.filter(|signal| signal.is_firing()).filter_map(|signal| signal.object.clone());
        let mut found: Vec<ObjectRef> = Vec::new();
        for object in firing.chain(self.affected_objects(status)) {
            if !found.iter().any(|known| known.same_object(&object)) && found.len() < MAX_SUBJECTS {
                found.push(object);
            }
        }
        found
    }

    /// Whether Mayday itself has seen the outage, according to `status`. If only a person reported the outage
    /// and no source or check has noticed it, clear sources and checks do not prove that it is over
    /// (docs/rules.md#reported-by-a-person).
    pub fn is_noticed(&self, status: &IncidentStatus) -> bool {
        let reported = self.spec.detection.as_ref().map(|detection| detection.method).unwrap_or_default();
        reported.is_by_a_source() || !status.signals.is_empty() || status.noticed_time.is_some()
    }

    /// Whether passing checks prove the end of the outage: Mayday has seen it, or a person has confirmed the end.
    pub fn checks_see_the_end(&self, status: &IncidentStatus) -> bool {
        let is_confirmed =
            |check: &CheckStatus| check.name == REPORTED && check.result == CheckResult::Passing;
        self.is_noticed(status) || status.checks.iter().any(is_confirmed)
    }

    /// The commitment of the current lead; `None` if nobody leads, or nobody has claimed the lead since the last
    /// relapse.
    pub fn current_lead(&self) -> Option<&Commitment> {
        self.lead_by(self.status.as_ref())
    }

    fn lead_by(&self, status: Option<&IncidentStatus>) -> Option<&Commitment> {
        let claim = self.spec.roles.as_ref()?.lead.as_ref()?;
        let lapsed = status.and_then(|status| status.lapsed_lead.as_ref());
        lapsed.is_none_or(|lapsed| !claim.repeats(lapsed)).then_some(claim)
    }

    /// Whom the current lead has named as the next one; `None` once a relapse or another lead has ended that.
    pub fn nominee(&self) -> Option<&str> {
        self.nominee_by(self.status.as_ref())
    }

    /// The same according to a status that is not stored yet.
    pub fn nominee_by(&self, status: Option<&IncidentStatus>) -> Option<&str> {
        let lead = self.lead_by(status)?;
        let named = self.spec.roles.as_ref()?.nominated_lead.as_ref()?;
        let lapsed = status.and_then(|status| status.lapsed_nomination.as_ref());
        // Said before this lead claimed: it was said by another one, and the status may not hold that yet.
        let is_older = named.time.as_ref().zip(lead.time.as_ref()).is_some_and(|(said, led)| said.0 < led.0);
        let is_ended = is_older || lapsed.is_some_and(|lapsed| named.repeats(lapsed));
        (!is_ended && named.user != lead.user).then_some(named.user.as_str())
    }

    /// Name of the incident that goes on in place of this duplicate, as far as it is known; `None` if this is no
    /// duplicate.
    pub fn goes_on_as(&self) -> Option<&str> {
        let status = self.status.as_ref()?;
        let said = self.resolution(status).filter(|said| said.outcome == Outcome::Duplicate);
        let other = status.duplicate_of.as_ref().or_else(|| said?.duplicate_of.as_ref());
        (status.state == Some(IncidentState::Duplicate)).then_some(other?.name.as_str())
    }

    /// The resolution in the spec, unless the outage has come back since, according to `status`.
    pub fn resolution(&self, status: &IncidentStatus) -> Option<&Resolution> {
        let lapsed = status.lapsed_resolution.as_ref();
        self.spec.resolution.as_ref().filter(|said| lapsed.is_none_or(|lapsed| !said.repeats(lapsed)))
    }
}

/// How an outage was found.
#[serde_with::skip_serializing_none]
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Detection {
    /// What or who found the outage.
    pub method: DetectionMethod,
    /// Name of the source or the person: `support ticket 4711`.
    #[schemars(length(max = 253))]
    pub reporter: Option<String>,
    /// When Mayday or the person learned of the outage.
    pub time: Option<Time>,
}

/// What or who found an outage.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
pub enum DetectionMethod {
    /// An alert of a monitoring system.
    Alert,
    /// A heartbeat that stopped.
    Heartbeat,
    /// A condition of a Kubernetes object.
    Condition,
    /// A query over its limit.
    Query,
    /// A customer reported it.
    Customer,
    /// A stakeholder reported it.
    Stakeholder,
    /// A member of staff reported it.
    #[default]
    Staff,
}

impl DetectionMethod {
    /// Whether a source found the outage and not a person.
    pub fn is_by_a_source(self) -> bool {
        use DetectionMethod::{Alert, Condition, Heartbeat, Query};
        matches!(self, Alert | Heartbeat | Condition | Query)
    }
}

/// A person who takes on a task, and when the person said so.
#[serde_with::skip_serializing_none]
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Commitment {
    /// User name as the API server authenticates it; compared byte for byte.
    #[schemars(length(min = 1, max = 253))]
    pub user: String,
    /// When the person said so, in whole seconds. A statement from before a relapse no longer counts. To
    /// repeat it, write another time; `kubectl mayday` always writes one.
    pub time: Option<Time>,
}

impl Commitment {
    /// Whether both are the same statement, so that this one says nothing new.
    pub fn repeats(&self, other: &Commitment) -> bool {
        self.user == other.user && same_second(self.time.as_ref(), other.time.as_ref())
    }
}

/// Who leads, and who speaks to stakeholders (docs/rules.md#write-lead, #write-updates).
#[serde_with::skip_serializing_none]
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Roles {
    /// Who leads the incident. People may name only themselves, and only if the policy lets them lead.
    pub lead: Option<Commitment>,
    /// Person to whom the lead hands over, and when the lead said so. The handoff takes effect when that person claims the
    /// lead. A relapse or another lead ends it.
    pub nominated_lead: Option<Commitment>,
    /// The communications lead: the one voice to stakeholders. Set by the lead or the communications lead.
    pub communications: Option<UserRef>,
}

/// A note about the incident.
#[serde_with::skip_serializing_none]
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
pub struct Note {
    /// What a person saw, did or thinks.
    #[schemars(length(min = 1, max = 2000))]
    pub text: String,
    /// Time that the note is about. Default: when it was written.
    pub time: Option<Time>,
    /// Who wrote the note. People may name only themselves; `kubectl mayday note` does so.
    pub by: Option<UserRef>,
    /// Only in a further report of the outage: who told the author, `support ticket 4712`.
    #[schemars(length(min = 1, max = 253))]
    pub reporter: Option<String>,
}

/// Audience of a message to stakeholders.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
pub enum Audience {
    /// Inside the organisation.
    #[default]
    Internal,
    /// The public. Only a person sends a message to it.
    External,
}

/// One message to stakeholders.
#[serde_with::skip_serializing_none]
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Update {
    /// Audience of the message.
    pub audience: Audience,
    /// Text of the message. Absent: Mayday writes it, for External from the public summary.
    #[schemars(length(max = 2000))]
    pub text: Option<String>,
    /// When the next message is promised.
    pub next_update_time: Option<Time>,
    /// Who wrote it. Everybody may put only themselves; `kubectl mayday update` does.
    pub by: Option<UserRef>,
}

/// How an outage ended.
#[serde_with::skip_serializing_none]
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Resolution {
    /// Claimed outcome. Restored needs the proof in the status.
    pub outcome: Outcome,
    /// Reason for the outcome. Needed for Unproved, FalseAlarm and Duplicate.
    #[schemars(length(min = 1, max = 1000))]
    pub reason: Option<String>,
    /// For Duplicate: the other incident about the same outage.
    pub duplicate_of: Option<NameRef>,
    /// When the resolution was stated, in whole seconds. A statement from before a relapse no longer counts.
    /// To repeat it, write another time; `kubectl mayday` always writes one.
    pub time: Option<Time>,
}

impl Resolution {
    /// Whether both are the same statement, so that this one says nothing new.
    pub fn repeats(&self, other: &Resolution) -> bool {
        let words = |said: &Resolution| (said.outcome, said.reason.clone(), said.duplicate_of.clone());
        words(self) == words(other) && same_second(self.time.as_ref(), other.time.as_ref())
    }
}

/// How an outage may end (docs/rules.md#how-an-incident-ends).
#[derive(Clone, Copy, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
pub enum Outcome {
    /// The service has returned, and the checks prove it.
    Restored,
    /// The service has returned, but the checks cannot prove it. This takes the lead and one peer.
    Unproved,
    /// There was no outage.
    FalseAlarm,
    /// Another incident is about the same outage.
    Duplicate,
}
