//! Whether a request may be carried out now: approved as it is, and within its window. Pure.

use std::fmt;

use jiff::{SignedDuration, Timestamp};

use crate::api::ChangeRequest;
use crate::api::change_request::ChangeRequestSpec;
use crate::api::conditions::{ConditionType, is_true};
use crate::change::approval::quorum;
use crate::change::approval::quorum::Outcome;
use crate::text::instant;

/// Window of a request that names none.
const DEFAULT_WINDOW: SignedDuration = SignedDuration::from_hours(1);

/// Why a request may not be carried out.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum NotStanding {
    /// The requester withdrew it.
    Withdrawn,
    /// The object is being deleted.
    BeingDeleted,
    /// This person rejected it.
    RejectedBy(String),
    /// It was rejected, by a person who may no longer be eligible.
    Rejected,
    /// It has no plan, or its digest does not match its plan.
    NoPlan,
    /// Approvals are missing: whose, in words.
    NotApproved(String),
    /// Its window begins later.
    NotOpen(Timestamp),
    /// Its window is over.
    Closed(Timestamp),
}

impl fmt::Display for NotStanding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            NotStanding::Withdrawn => f.write_str("it was withdrawn"),
            NotStanding::BeingDeleted => f.write_str("it is being deleted"),
            NotStanding::RejectedBy(user) => write!(f, "{user} rejected it"),
            NotStanding::Rejected => f.write_str("it was rejected"),
            NotStanding::NoPlan => {
                f.write_str("it has no plan yet, or its plan is not the one its digest names")
            }
            NotStanding::NotApproved(missing) => f.write_str(&quorum::must_approve(missing)),
            NotStanding::NotOpen(from) => write!(f, "its window begins at {}", instant(*from)),
            NotStanding::Closed(until) => write!(f, "its window ended at {}", instant(*until)),
        }
    }
}

/// Begin and end of the window in which a request approved at that time may be carried out.
pub fn window(spec: &ChangeRequestSpec, approved: Timestamp) -> (Timestamp, Timestamp) {
    let window = spec.window.clone().unwrap_or_default();
    let from = window.not_before.map_or(approved, |time| time.0.max(approved));
    let length = window.duration.map_or(DEFAULT_WINDOW, |duration| duration.get());
    let until = match window.not_after {
        Some(time) => time.0,
        None => from.checked_add(length).unwrap_or(Timestamp::MAX),
    };
    (from, until)
}

/// Greatest length of the window of a request made at that time. Negative if it ends before it begins.
pub fn window_length(spec: &ChangeRequestSpec, asked: Timestamp) -> SignedDuration {
    let (from, until) = window(spec, asked);
    until.duration_since(from)
}

/// Whether a request stands: approved as it is, within its window. `outcome` is the evaluation of its approvals.
///
/// # Errors
/// Why it does not.
pub fn standing(request: &ChangeRequest, outcome: &Outcome, now: Timestamp) -> Result<(), NotStanding> {
    let status = request.status.clone().unwrap_or_default();
    if request.spec.withdrawn {
        return Err(NotStanding::Withdrawn);
    }
    if request.metadata.deletion_timestamp.is_some() {
        return Err(NotStanding::BeingDeleted);
    }
    if let Some(user) = &outcome.rejected_by {
        return Err(NotStanding::RejectedBy(user.clone()));
    }
    // A rejection is final, even if the person who made it is no longer eligible.
    if is_true(&status.conditions, ConditionType::Rejected) {
        return Err(NotStanding::Rejected);
    }
    if crate::change::approval::digest_of(request).is_none() {
        return Err(NotStanding::NoPlan);
    }
    if !outcome.approved {
        return Err(NotStanding::NotApproved(outcome.missing_phrase()));
    }
    let complete = status.approved_time.as_ref().map(|time| time.0).or(outcome.complete_time);
    let (from, until) = window(&request.spec, complete.unwrap_or(now));
    if now < from {
        return Err(NotStanding::NotOpen(from));
    }
    if now >= until || is_true(&status.conditions, ConditionType::Expired) {
        return Err(NotStanding::Closed(until));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::change::gate::grant::tests::{now, request};

    fn approved() -> Outcome {
        Outcome { approved: true, complete_time: Some(now()), ..Outcome::default() }
    }

    /// As the gate has it, with the reason as people read it.
    fn standing(request: &ChangeRequest, outcome: &Outcome, now: Timestamp) -> Result<(), String> {
        super::standing(request, outcome, now).map_err(|why| why.to_string())
    }

    fn at(time: &str) -> Timestamp {
        time.parse().unwrap()
    }

    #[test]
    fn the_window_runs_from_the_approval_or_as_written() {
        let (from, until) = window(&request(json!({})).spec, now());
        assert_eq!((from, until), (now(), at("2026-11-22T13:00:00Z")));
        let written = request(
            json!({"spec": {"window": {"notBefore": "2026-11-22T14:00:00Z", "notAfter": "2026-11-22T15:00:00Z"}}}),
        );
        let stands = |time: &str| standing(&written, &approved(), at(time)).is_ok();
        assert!(!stands("2026-11-22T13:59:59Z") && stands("2026-11-22T14:00:00Z"));
        assert!(stands("2026-11-22T14:59:59Z") && !stands("2026-11-22T15:00:00Z"));
    }

    #[test]
    fn a_later_approval_does_not_lengthen_the_window() {
        let stored = request(json!({"status": {"approvedTime": "2026-11-22T11:00:00Z"}}));
        assert!(standing(&stored, &approved(), now()).is_err());
    }

    #[test]
    fn a_request_that_does_not_stand_says_why() {
        for (request, outcome, why) in [
            (request(json!({"spec": {"withdrawn": true}})), approved(), "withdrawn"),
            (
                request(json!({"metadata": {"deletionTimestamp": "2026-11-22T11:00:00Z"}})),
                approved(),
                "being deleted",
            ),
            (
                request(json!({})),
                Outcome { missing: vec!["amir".into()], ..Outcome::default() },
                "amir must approve",
            ),
            (
                request(json!({})),
                Outcome { rejected_by: Some("bea".into()), ..approved() },
                "bea rejected it",
            ),
            (request(json!({"spec": {"requester": null}})), approved(), "no plan"),
        ] {
            let reason = standing(&request, &outcome, now()).unwrap_err();
            assert!(reason.contains(why), "{reason}");
        }
        let mut forged = request(json!({}));
        forged.status.as_mut().unwrap().plan[0].delta[0].after = Some(json!("shop/checkout:v9"));
        assert!(standing(&forged, &approved(), now()).is_err(), "a plan that the digest does not name");
    }

    #[test]
    fn a_rejection_stays_when_its_author_loses_the_right() {
        let condition = json!({"type": "Rejected", "status": "True", "reason": "Rejected", "message": "lena rejected it",
            "lastTransitionTime": "2026-11-22T12:00:00Z"});
        let rejected = request(json!({"status": {"conditions": [condition]}}));
        assert_eq!(standing(&rejected, &approved(), now()), Err("it was rejected".to_owned()));
    }

    #[test]
    fn a_duration_counts_from_the_begin_of_the_window() {
        let spec =
            request(json!({"spec": {"window": {"notBefore": "2026-11-23T12:00:00Z", "duration": "1h"}}}))
                .spec;
        assert_eq!(window(&spec, now()), (at("2026-11-23T12:00:00Z"), at("2026-11-23T13:00:00Z")));
    }
}
