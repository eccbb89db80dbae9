//! The header `Retry-After`, by which a receiver says when it wants to be asked again. Pure.

use jiff::{SignedDuration, Timestamp};

/// How long a receiver asks to be left alone: the header holds seconds, or a date.
pub fn wait(text: &str, now: Timestamp) -> Option<SignedDuration> {
    if let Ok(seconds) = text.trim().parse::<u32>() {
        return Some(SignedDuration::from_secs(i64::from(seconds)));
    }
    let date = jiff::fmt::rfc2822::parse(text.trim()).ok()?;
    Some(date.timestamp().duration_since(now).max(SignedDuration::ZERO))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_is_seconds_or_a_date() {
        let now: Timestamp = "2026-11-22T02:00:00Z".parse().unwrap();
        assert_eq!(wait(" 7 ", now), Some(SignedDuration::from_secs(7)));
        assert_eq!(wait("Sun, 22 Nov 2026 02:01:00 GMT", now), Some(SignedDuration::from_mins(1)));
        assert_eq!(wait("Sun, 22 Nov 2026 01:00:00 GMT", now), Some(SignedDuration::ZERO), "it has passed");
        for no_wait in ["", "soon", "-1", "99999999999"] {
            assert_eq!(wait(no_wait, now), None, "{no_wait:?}");
        }
    }
}
