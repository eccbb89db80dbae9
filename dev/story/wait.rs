//! Waiting for something to be so, never for time to pass.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::failed::{Failed, Result};
use crate::{reader, tell};

/// How many seconds anything may take before the demo gives up.
static PATIENCE: AtomicU64 = AtomicU64::new(60);

/// From now on the demo expects its waits to fail.
pub fn expect_nothing() {
    PATIENCE.store(15, Ordering::Relaxed);
}

/// What one look saw: what is waited for, or what there is instead.
pub type Look<T> = std::result::Result<T, String>;

/// Looks until it is so.
pub fn until<T>(expected: &str, look: impl FnMut() -> Result<Look<T>>) -> Result<T> {
    let seen = quietly(expected, look)?;
    tell::held(expected);
    Ok(seen)
}

/// Looks until it is so, and says nothing.
pub fn quietly<T>(expected: &str, mut look: impl FnMut() -> Result<Look<T>>) -> Result<T> {
    let patience = Duration::from_secs(PATIENCE.load(Ordering::Relaxed));
    let end = Instant::now() + patience;
    loop {
        reader::begin();
        match look()? {
            Ok(seen) => return Ok(seen),
            Err(seen) if Instant::now() >= end => {
                return Err(Failed::new(format!("{expected}, within {} s", patience.as_secs()), seen));
            }
            Err(_) => reader::wait_for_a_change(),
        }
    }
}

/// A look at a value: there, or what there is instead.
pub fn seen<T>(value: Option<T>, otherwise: impl FnOnce() -> String) -> Look<T> {
    value.ok_or_else(otherwise)
}
