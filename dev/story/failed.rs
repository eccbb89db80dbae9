//! A step with an unexpected result.

use std::fmt;

use crate::tell;

/// What was expected, and what was seen instead.
#[derive(Debug)]
pub struct Failed {
    pub expected: String,
    pub seen: String,
}

pub type Result<T = ()> = std::result::Result<T, Failed>;

impl Failed {
    pub fn new(expected: impl Into<String>, seen: impl Into<String>) -> Failed {
        Failed { expected: expected.into(), seen: seen.into() }
    }
}

impl fmt::Display for Failed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "  expected: {}", self.expected)?;
        write!(f, "  seen:     {}", self.seen.trim().replace('\n', "\n            "))
    }
}

/// Says that it is as it must be, or stops the demo.
pub fn expect(holds: bool, expected: &str, seen: impl fmt::Display) -> Result {
    if !holds {
        return Err(Failed::new(expected, seen.to_string()));
    }
    tell::held(expected);
    Ok(())
}
