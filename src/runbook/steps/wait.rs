//! The step `wait`: an absolute instant, computed from stored values, so that a restart changes nothing.

use jiff::Timestamp;

use crate::api::runbook::WaitStep;

/// When the wait is over. A sum beyond the calendar never ends; cancelling the run does.
pub fn until(step: &WaitStep, started: Timestamp) -> Timestamp {
    started.checked_add(step.duration.get()).unwrap_or(Timestamp::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::Duration;

    #[test]
    fn a_wait_ends_at_an_instant_that_a_restart_does_not_move() {
        let started = Timestamp::from_second(1_000).unwrap();
        let step = WaitStep { duration: Duration::from_secs(90) };
        assert_eq!(until(&step, started).as_second(), 1_090);
    }
}
