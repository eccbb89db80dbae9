//! Points at which a test lets the process die, to see that nothing is lost or done twice.

use crate::config::TestingConfig;

/// Kills the process at once, without any clean-up, if the configuration names this point.
pub fn point(testing: &TestingConfig, name: &str) {
    if testing.crash_at.iter().any(|point| point == name) {
        tracing::error!(point = name, "dying here, as the configuration asks");
        std::process::abort();
    }
}
