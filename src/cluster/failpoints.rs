//! Points at which a test makes the process crash, to check that nothing is lost or done twice.
//!
//! Only a build with the feature `failpoints` has them. In every other build a point does nothing, and the
//! setting that names the points is refused as unknown.

use crate::config::Config;

/// Kills the process at once, without any clean-up, if the settings name this point.
#[cfg(feature = "failpoints")]
pub fn point(config: &Config, name: &str) {
    use std::hash::{BuildHasher, Hasher, RandomState};
    let chance = RandomState::new().build_hasher().finish();
    let is_due = chance.checked_rem(config.testing.crash_one_in).is_none_or(|rest| rest == 0);
    if is_due && config.testing.crash_at.iter().any(|point| point == name) {
        tracing::error!(point = name, "dying here, as the configuration asks");
        std::process::abort();
    }
}

/// Does nothing: this build has no failpoints.
#[cfg(not(feature = "failpoints"))]
pub fn point(_: &Config, _: &str) {}
