//! Waiting for something to be so, never for time to pass.

use std::time::{Duration, Instant};

use crate::failed::{Failed, Result};

/// How long anything may take before the demo gives up.
const PATIENCE: Duration = Duration::from_secs(60);
/// Between two looks.
const PAUSE: Duration = Duration::from_millis(250);

/// What one look saw: what is waited for, or what there is instead.
pub type Look<T> = std::result::Result<T, String>;

/// Looks until it is so.
pub fn until<T>(expected: &str, look: impl FnMut() -> Result<Look<T>>) -> Result<T> {
    let seen = quietly(expected, look)?;
    println!("  ok: {expected}");
    Ok(seen)
}

/// Looks until it is so, and says nothing.
pub fn quietly<T>(expected: &str, mut look: impl FnMut() -> Result<Look<T>>) -> Result<T> {
    let end = Instant::now() + PATIENCE;
    loop {
        match look()? {
            Ok(seen) => return Ok(seen),
            Err(seen) if Instant::now() >= end => {
                return Err(Failed::new(format!("{expected}, within {} s", PATIENCE.as_secs()), seen));
            }
            Err(_) => std::thread::sleep(PAUSE),
        }
    }
}

/// A look at a value: there, or what there is instead.
pub fn seen<T>(value: Option<T>, otherwise: impl FnOnce() -> String) -> Look<T> {
    value.ok_or_else(otherwise)
}
