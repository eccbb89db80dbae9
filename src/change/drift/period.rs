//! The time in which the gate judged nothing, and what is said of its changes. Pure.

use jiff::{SignedDuration, Timestamp};

use super::attribution::Difference;

/// Times in `managedFields` have whole seconds, and the gate was open a moment before that was seen.
const SLACK: SignedDuration = SignedDuration::from_secs(2);
/// Maximum number of differences in a namespace that are announced one by one; more are announced together.
pub const ONE_BY_ONE: usize = 5;

/// The time in which a change was not judged by the gate.
#[derive(Clone, Debug)]
pub enum Period {
    /// Mayday did not run.
    Stopped,
    /// The gate was open.
    Open {
        /// From when on.
        since: Timestamp,
    },
}

impl Period {
    /// Whether a difference may be of this time. Without the time of its last write it may.
    pub fn may_hold(&self, difference: &Difference<'_>) -> bool {
        match (self, &difference.last) {
            (Period::Open { since }, Some(last)) => {
                last.time >= since.saturating_sub(SLACK).unwrap_or(*since)
            }
            _ => true,
        }
    }

    /// The period as the end of a sentence.
    pub fn words(&self) -> &'static str {
        match self {
            Period::Stopped => "while Mayday did not run",
            Period::Open { .. } => "while the change gate was open",
        }
    }

    /// Many differences in one text.
    pub fn summary(&self, differences: &[Difference<'_>], namespace: &str) -> String {
        let first: Vec<String> =
            differences.iter().take(ONE_BY_ONE).map(|difference| difference.target.display()).collect();
        format!(
            "{} objects were changed in {namespace} {}: {} and {} more",
            differences.len(),
            self.words(),
            first.join(", "),
            differences.len() - first.len()
        )
    }
}
