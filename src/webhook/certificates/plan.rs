//! When a certificate is made, renewed or dropped. Pure.
//!
//! The order matters: API servers must trust a new CA before any replica serves a certificate of it,
//! and must trust the old one until every replica has let go of it. So a CA is replaced in three steps, each
//! stored before the next: the next CA joins the bundle, it takes over, the old one leaves the bundle.

use jiff::{SignedDuration, Timestamp};

/// How long a CA is valid.
pub const CA_LIFETIME: SignedDuration = SignedDuration::from_hours(365 * 24);
/// How long a serving certificate is valid.
pub const LEAF_LIFETIME: SignedDuration = SignedDuration::from_hours(30 * 24);
/// How long before its making a certificate begins to be valid, for clocks that are behind.
pub const SKEW: SignedDuration = SignedDuration::from_mins(5);
/// How long both CAs are trusted before the next one signs, and before the old one is dropped: many times
/// what a replica or an API server needs to see a change.
const OVERLAP: SignedDuration = SignedDuration::from_mins(15);

/// From when until when a certificate is valid.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Validity {
    /// Not before then.
    pub from: Timestamp,
    /// Not after then.
    pub until: Timestamp,
}

impl Validity {
    /// When a third of the time is left.
    fn renewal(&self) -> Timestamp {
        let third = self.until.duration_since(self.from) / 3;
        self.until.saturating_sub(third).unwrap_or(self.from)
    }

    fn holds(&self, now: Timestamp) -> bool {
        self.from <= now && now < self.until
    }
}

/// The facts about the stored certificates that deciding needs.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Facts {
    /// The CA that signs.
    pub ca: Validity,
    /// The CA that will sign next; in the bundle already.
    pub next_ca: Option<Validity>,
    /// The CA that signed before; in the bundle still.
    pub old_ca: Option<Validity>,
    /// The serving certificate.
    pub leaf: Validity,
    /// Whether the serving certificate is signed by the CA and holds every wanted name.
    pub leaf_fits: bool,
    /// Whether every webhook configuration holds the whole bundle.
    pub published: bool,
}

/// What to do with what is stored.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Plan {
    /// Nothing, until then.
    Keep(Timestamp),
    /// Make everything new: there is nothing, or nothing that can still be trusted.
    Begin,
    /// Sign a new serving certificate.
    RenewLeaf,
    /// Make the next CA and put it into the bundle.
    PrepareCa,
    /// The next CA takes over and signs a new serving certificate; the old one stays in the bundle.
    SwitchCa,
    /// The old CA leaves the bundle.
    DropOldCa,
}

/// What to do at `now` with what is stored; nothing is stored at first.
pub fn decide(now: Timestamp, stored: Option<&Facts>) -> Plan {
    let Some(stored) = stored else { return Plan::Begin };
    if !stored.ca.holds(now) {
        return Plan::Begin;
    }
    if !stored.leaf_fits || !stored.leaf.holds(now) || stored.leaf.renewal() <= now {
        return Plan::RenewLeaf;
    }
    let mut wake = stored.leaf.renewal();
    if let Some(old) = stored.old_ca {
        let drop_at = after(stored.leaf.from, SKEW + OVERLAP).min(old.until);
        if drop_at <= now {
            return Plan::DropOldCa;
        }
        wake = wake.min(drop_at);
    }
    match stored.next_ca {
        Some(next) if !next.holds(now) => return Plan::PrepareCa,
        Some(next) => {
            let switch_at = after(next.from, SKEW + OVERLAP);
            if switch_at <= now && stored.published {
                return Plan::SwitchCa;
            }
            wake = wake.min(switch_at.max(now));
        }
        None if stored.ca.renewal() <= now => return Plan::PrepareCa,
        None => wake = wake.min(stored.ca.renewal()),
    }
    Plan::Keep(wake)
}

fn after(time: Timestamp, duration: SignedDuration) -> Timestamp {
    time.saturating_add(duration).unwrap_or(time)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn day(days: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + days * 86_400).unwrap()
    }

    fn minute(days: i64, minutes: i64) -> Timestamp {
        after(day(days), SignedDuration::from_mins(minutes))
    }

    fn made(at: Timestamp, lifetime: SignedDuration) -> Validity {
        Validity { from: at.checked_sub(SKEW).unwrap(), until: after(at, lifetime) }
    }

    fn fresh() -> Facts {
        Facts {
            ca: made(day(0), CA_LIFETIME),
            next_ca: None,
            old_ca: None,
            leaf: made(day(0), LEAF_LIFETIME),
            leaf_fits: true,
            published: true,
        }
    }

    #[test]
    fn nothing_stored_makes_everything() {
        assert_eq!(decide(day(0), None), Plan::Begin);
    }

    #[test]
    fn a_leaf_is_renewed_at_two_thirds_of_its_life() {
        let Plan::Keep(wake) = decide(day(0), Some(&fresh())) else { unreachable!() };
        assert!((minute(19, 23 * 60)..=day(20)).contains(&wake), "{wake}");
        assert_eq!(decide(day(20), Some(&fresh())), Plan::RenewLeaf);
        assert_eq!(decide(day(31), Some(&fresh())), Plan::RenewLeaf, "also when it has expired");
    }

    #[test]
    fn a_leaf_that_lacks_a_name_is_renewed_at_once() {
        assert_eq!(decide(day(0), Some(&Facts { leaf_fits: false, ..fresh() })), Plan::RenewLeaf);
    }

    #[test]
    fn an_expired_ca_is_replaced_with_everything() {
        assert_eq!(decide(day(366), Some(&fresh())), Plan::Begin);
    }

    #[test]
    fn a_ca_is_replaced_in_three_steps_after_the_bundle_is_published() {
        let old = Facts { leaf: made(day(243), LEAF_LIFETIME), ..fresh() };
        assert_eq!(decide(day(244), Some(&old)), Plan::PrepareCa);

        let prepared = Facts { next_ca: Some(made(day(244), CA_LIFETIME)), ..old.clone() };
        assert_eq!(decide(minute(244, 14), Some(&prepared)), Plan::Keep(minute(244, 15)));
        assert_eq!(decide(minute(244, 15), Some(&prepared)), Plan::SwitchCa);
        let unpublished = Facts { published: false, ..prepared };
        assert_eq!(decide(day(250), Some(&unpublished)), Plan::Keep(day(250)));

        let switched = Facts {
            ca: made(day(244), CA_LIFETIME),
            next_ca: None,
            old_ca: Some(old.ca),
            leaf: made(minute(244, 15), LEAF_LIFETIME),
            ..fresh()
        };
        assert_eq!(decide(minute(244, 29), Some(&switched)), Plan::Keep(minute(244, 30)));
        assert_eq!(decide(minute(244, 30), Some(&switched)), Plan::DropOldCa);
    }
}
