//! Instants as people type them: a clock time of their own zone, or RFC 3339. Pure.

use jiff::civil::{Date, DateTime, Time as ClockTime};
use jiff::{SignedDuration, Timestamp, ToSpan, Zoned};
use mayday::api::Duration;

use crate::client::failure::Failure;

/// The last time a clock here showed `14:03` or `14:03:10`; or so long ago as `30m`; or the instant in RFC 3339.
///
/// # Errors
/// When it is no time, or lies in the future.
pub fn last(flag: &str, text: &str, now: &Zoned) -> Result<Timestamp, Failure> {
    let time = read(flag, text, now, -1, |today| {
        if today > *now { on(now.date().checked_sub(1.day()).ok()?, today.time(), now) } else { Some(today) }
    })?;
    if time > now.timestamp() {
        return Err(Failure::usage(format!("{flag} {text} lies in the future.")));
    }
    Ok(time)
}

/// The next time a clock here shows `14:03` or `14:03:10`; or a length of time from now such as `30m`; or the instant in RFC 3339.
///
/// # Errors
/// When it is no time, or lies in the past.
pub fn next(flag: &str, text: &str, now: &Zoned) -> Result<Timestamp, Failure> {
    let time = read(flag, text, now, 1, |today| {
        if today < *now { on(now.date().checked_add(1.day()).ok()?, today.time(), now) } else { Some(today) }
    })?;
    if time < now.timestamp() {
        return Err(Failure::usage(format!("{flag} {text} lies in the past.")));
    }
    Ok(time)
}

/// Any instant: a local date and time such as `2026-12-24T09:00`, the next time a clock here shows `14:03`, a length of
/// time from now such as `30m`, or RFC 3339.
///
/// # Errors
/// When it is no time.
pub fn instant(flag: &str, text: &str, now: &Zoned) -> Result<Timestamp, Failure> {
    let local =
        text.parse::<DateTime>().ok().filter(|_| text.contains('T') && text.parse::<Timestamp>().is_err());
    if let Some(local) = local.and_then(|local| local.to_zoned(now.time_zone().clone()).ok()) {
        return Ok(local.timestamp());
    }
    read(flag, text, now, 1, |today| {
        if today < *now { on(now.date().checked_add(1.day()).ok()?, today.time(), now) } else { Some(today) }
    })
}

/// The end of a length of time from now: `30m`, `1h30m`, `2d`.
///
/// # Errors
/// When it is no length of time, or nothing.
pub fn within(flag: &str, text: &str, now: &Zoned) -> Result<Timestamp, Failure> {
    let length = length(text).filter(|length| *length > SignedDuration::ZERO);
    let end = length.and_then(|length| now.timestamp().checked_add(length).ok());
    end.ok_or_else(|| {
        Failure::usage(format!("{flag} {text:?} is no length of time: write one such as 30m, 2h or 2d."))
    })
}

/// A length of time as Kubernetes writes it, and days: `30m`, `1h30m`, `90d`.
fn length(text: &str) -> Option<SignedDuration> {
    if let Some(days) = text.strip_suffix('d') {
        let days: i64 = days.parse().ok().filter(|days| (1..=36_500).contains(days))?;
        return Some(SignedDuration::from_hours(days * 24));
    }
    Duration::try_from(text.to_owned()).ok().map(|duration| duration.get())
}

/// An instant as Kubernetes stores it: whole seconds, in UTC.
pub fn whole_seconds(time: Timestamp) -> String {
    time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

fn read(
    flag: &str,
    text: &str,
    now: &Zoned,
    direction: i32,
    choose: impl Fn(Zoned) -> Option<Zoned>,
) -> Result<Timestamp, Failure> {
    let instant = if let Some(length) = length(text) {
        now.timestamp().checked_add(length.checked_mul(direction).unwrap_or_default()).ok()
    } else if text.contains('T') {
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
            "{flag} {text:?} is no time: write HH:MM:SS (in your time zone, {}), a length of time such as 30m, or RFC 3339, \
             such as {example}.",
            now.strftime("%Z")
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
        assert_eq!([since("30m"), by("30m")], ["2026-11-21T22:40:00Z", "2026-11-21T23:40:00Z"]);
        assert_eq!([since("1h30m"), by("2d")], ["2026-11-21T21:40:00Z", "2026-11-23T23:10:00Z"]);
    }

    #[test]
    fn any_instant_may_be_a_local_date_and_time() {
        let at = |text: &str| instant("--at", text, &now()).unwrap().to_string();
        assert_eq!(at("2026-12-24T09:00"), "2026-12-24T08:00:00Z");
        assert_eq!(at("2026-11-01T09:00Z"), "2026-11-01T09:00:00Z");
        assert_eq!([at("00:40"), at("30m")], ["2026-11-21T23:40:00Z", "2026-11-21T23:40:00Z"]);
        assert_eq!(instant("--at", "soon", &now()).unwrap_err().code, 2);
    }

    #[test]
    fn a_length_of_time_ends_later_than_now() {
        assert_eq!(within("--for", "2h", &now()).unwrap().to_string(), "2026-11-22T01:10:00Z");
        for text in ["0s", "00:40", "2", "-2h", "soon"] {
            assert_eq!(within("--for", text, &now()).unwrap_err().code, 2, "{text}");
        }
    }

    #[test]
    fn an_unreadable_time_or_one_on_the_wrong_side_of_now_is_wrong_usage() {
        for text in ["yesterday", "25:00", "14", "2026-11-22T15:00:00Z"] {
            assert_eq!(last("--since", text, &now()).unwrap_err().code, 2, "{text}");
        }
        assert_eq!(next("--next-update", "2026-11-20T15:00:00Z", &now()).unwrap_err().code, 2);
    }
}
