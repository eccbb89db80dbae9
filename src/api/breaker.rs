//! The breaker of a Runbook (docs/rules.md#run-breaker).

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::duration::Duration;
use super::runbook::RunLimit;

/// When a Runbook no longer starts by itself: it fails, it runs too often, or what it repairs does not last. A person may
/// still start it.
#[serde_with::skip_serializing_none]
#[derive(Clone, Debug, Default, Deserialize, KubeSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = (
    "has(self.failures) || has(self.runs) || has(self.flaps)",
    "a breaker needs at least one of failures, runs, flaps"
))]
#[x_kube(validation = ("!has(self.within) || has(self.flaps)", "within says how soon a repair counts as a flap: set flaps too"))]
pub struct Breaker {
    /// Number of runs, one after the other, that must fail. A run that changed nothing does not count.
    #[schemars(range(min = 1, max = 100))]
    pub failures: Option<i32>,
    /// Number of runs that must begin within a time.
    pub runs: Option<RunLimit>,
    /// Number of repairs, one after the other, that must not last: the run succeeded, and the outage came back within
    /// `within`.
    #[schemars(range(min = 1, max = 100))]
    pub flaps: Option<i32>,
    /// How long after the end of a run the outage may come back to count. Default 30m.
    pub within: Option<Duration>,
    /// How long nothing starts by itself. Then one run is tried. Default 1h.
    pub open_for: Option<Duration>,
}

impl Breaker {
    /// How long after the end of a run a return of the outage counts.
    pub fn within(&self) -> Duration {
        self.within.clone().unwrap_or_else(|| Duration::from_secs(30 * 60))
    }

    /// How long nothing starts by itself.
    pub fn open_for(&self) -> Duration {
        self.open_for.clone().unwrap_or_else(|| Duration::from_secs(60 * 60))
    }
}

/// State of a breaker.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
pub enum BreakerState {
    /// The Runbook may start by itself.
    #[default]
    Closed,
    /// Nothing starts by itself.
    Open,
    /// One run may start by itself. If it succeeds the breaker closes, otherwise it opens again.
    HalfOpen,
}

/// What became of the breaker, computed from `recentRuns`.
#[serde_with::skip_serializing_none]
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct BreakerStatus {
    /// State of the breaker.
    pub state: BreakerState,
    /// Since when it is in this state. Absent if it has never opened.
    pub since_time: Option<Time>,
    /// Open: when one run is tried.
    pub until_time: Option<Time>,
    /// Why it opened.
    #[schemars(length(max = 500))]
    pub message: Option<String>,
    /// What happened before this time counts for nothing any more.
    pub counts_from_time: Option<Time>,
    /// When the rotation of the lead was paged. Absent while the breaker is closed.
    pub paged_time: Option<Time>,
}
