//! Instants as people type them: a clock time of their own zone, or RFC 3339. Pure.

use jiff::civil::{Date, Time as ClockTime};
use jiff::{Timestamp, ToSpan, Zoned};

use crate::client::failure::Failure;

/// The last time a clock here showed `14:03` or `14:03:10`; or the instant in RFC 3339.
///
/// # Errors
/// When it is no time, or lies in the future.
pub fn last(flag: &str, text: &str, now: &Zoned) -> Result<Timestamp, Failure> {
    let time = read(flag, text, now, |today| {
        if today > *now { on(now.date().checked_sub(1.day()).ok()?, today.time(), now) } else { Some(today) }
    })?;
    if time > now.timestamp() {
        return Err(Failure::usage(format!("{flag} {text} lies in the future.")));
    }
    Ok(time)
}

/// The next time a clock here shows `14:03` or `14:03:10`; or the instant in RFC 3339.
///
/// # Errors
/// When it is no time, or lies in the past.
pub fn next(flag: &str, text: &str, now: &Zoned) -> Result<Timestamp, Failure> {
    let time = read(flag, text, now, |today| {
        if today < *now { on(now.date().checked_add(1.day()).ok()?, today.time(), now) } else { Some(today) }
    })?;
    if time < now.timestamp() {
        return Err(Failure::usage(format!("{flag} {text} lies in the past.")));
    }
    Ok(time)
}

/// An instant as Kubernetes stores it: whole seconds, in UTC.
pub fn whole_seconds(time: Timestamp) -> String {
    time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

fn read(
    flag: &str,
    text: &str,
    now: &Zoned,
    choose: impl Fn(Zoned) -> Option<Zoned>,
) -> Result<Timestamp, Failure> {
    let instant = if text.contains('T') {
        text.parse().ok()
    } else if text.contains(':') {
        let clock: Option<ClockTime> = text.parse().ok();
        clock.and_then(|clock| on(now.date(), clock, now)).and_then(choose).map(|time| time.timestamp())
    } else {
        // An hour alone would be as good as a guess.
        None
    };
    instant.ok_or_else(|| {
        let example = now.strftime("%Y-%m-%dT%H:%M:%S%:z");
        Failure::usage(format!(
            "{flag} {text:?} is no time: write HH:MM:SS (in your time zone) or RFC 3339, such as {example}."
        ))
    })
}

fn on(day: Date, clock: ClockTime, now: &Zoned) -> Option<Zoned> {
    day.to_datetime(clock).to_zoned(now.time_zone().clone()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn now() -> Zoned {
        "2026-11-22T00:10:00+01:00[Europe/Berlin]".parse().unwrap()
    }

    #[test]
    fn a_clock_time_is_the_last_or_the_next_one_in_the_persons_zone() {
        let since = |text: &str| last("--since", text, &now()).unwrap().to_string();
        assert_eq!(since("00:05"), "2026-11-21T23:05:00Z");
        assert_eq!(since("23:50:30"), "2026-11-21T22:50:30Z");
        assert_eq!(since("2026-11-21T20:00:00+01:00"), "2026-11-21T19:00:00Z");
        let by = |text: &str| next("--next-update", text, &now()).unwrap().to_string();
        assert_eq!(by("00:40"), "2026-11-21T23:40:00Z");
        assert_eq!(by("00:05"), "2026-11-22T23:05:00Z");
    }

    #[test]
    fn an_unreadable_time_or_one_on_the_wrong_side_of_now_is_wrong_usage() {
        for text in ["yesterday", "25:00", "14", "2026-11-22T15:00:00Z"] {
            assert_eq!(last("--since", text, &now()).unwrap_err().code, 2, "{text}");
        }
        assert_eq!(next("--next-update", "2026-11-20T15:00:00Z", &now()).unwrap_err().code, 2);
    }
}
