//! The step `wait`: until an instant that is computed from stored values, so that a restart does not move it.

use jiff::{SignedDuration, Timestamp};

use super::kind::{DEFAULT_TIMEOUT, Found, Poll, Progress, StepKind, Work, Written};
use crate::api::runbook_step::WaitStep;
use crate::problem::Problem;

impl StepKind for WaitStep {
    fn summary(&self) -> String {
        format!("wait {}", self.duration)
    }

    fn problems(&self, written: &Written<'_>) -> Vec<Problem> {
        let short = written.step.timeout.as_ref().filter(|timeout| timeout.get() < self.duration.get());
        let problem = short.map(|timeout| {
            let message =
                format!("the step would fail after {timeout}, before its wait of {} ends", self.duration);
            written.problem("timeout", message)
        });
        problem.into_iter().collect()
    }

    fn default_timeout(&self) -> SignedDuration {
        self.duration.get().checked_add(DEFAULT_TIMEOUT).unwrap_or(SignedDuration::MAX)
    }

    fn work(&self) -> Work<'_> {
        Work::Poll(self)
    }
}

impl Poll for WaitStep {
    fn poll(&self, _objects: &[Found<'_>], started: Timestamp, now: Timestamp) -> Progress {
        // A sum beyond the calendar never comes; cancelling the run ends such a wait.
        let until = started.checked_add(self.duration.get()).unwrap_or(Timestamp::MAX);
        if now >= until {
            return Progress::Done(format!("waited {}", self.duration));
        }
        let message = format!("waits {}, until {until}", self.duration);
        Progress::NotYet { message, until: Some(until) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::Duration;

    #[test]
    fn a_wait_ends_at_an_instant_that_a_restart_does_not_move() {
        let at = |second| Timestamp::from_second(second).unwrap();
        let step = WaitStep { duration: Duration::from_secs(90) };
        let early = step.poll(&[], at(1_000), at(1_089));
        assert!(matches!(early, Progress::NotYet { until: Some(until), .. } if until == at(1_090)));
        assert_eq!(step.poll(&[], at(1_000), at(1_090)), Progress::Done("waited 90s".into()));
    }
}
