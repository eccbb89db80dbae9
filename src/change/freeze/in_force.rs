//! Which freezes are in force over a policy or a namespace, and until when. Pure.

use std::sync::Arc;

use jiff::Timestamp;
use kube::ResourceExt;

use super::period;
use crate::api::freeze::Stops;
use crate::api::{ChangePolicy, Freeze};
use crate::change::policy;
use crate::command::{Command, Verb};
use crate::text::{flat, instant};

/// Maximum length of a freeze's reason within a sentence, in bytes.
const MAX_REASON: usize = 120;

/// A freeze that is in force.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct InForce {
    /// Name of the freeze.
    pub name: String,
    /// UID of the freeze.
    pub uid: String,
    /// Name of its policy.
    pub policy: String,
    /// The half of it that was asked for.
    pub stops: Stops,
    /// Why, as its author wrote it.
    pub reason: String,
    /// When it ends; `None` if that cannot be told: then it lasts until it is corrected or lifted.
    pub until: Option<Timestamp>,
}

#[cfg(test)]
impl InForce {
    /// `frz/sale` stops changes under `cpol/production`.
    pub fn sale(until: Option<Timestamp>) -> InForce {
        InForce {
            name: "sale".into(),
            uid: "fu".into(),
            policy: "production".into(),
            stops: Stops::Changes,
            reason: "sale".into(),
            until,
        }
    }
}

impl InForce {
    /// What is on, why and until when, without a full stop: `frz/year-end stops changes under cpol/production until
    /// 2027-01-02 00:00:00 UTC (year-end closing)`.
    pub fn text(&self) -> String {
        let half = match self.stops {
            Stops::Changes => "changes",
            Stops::Automation => "automation",
        };
        let until = match self.until {
            Some(until) => format!("until {}", instant(until)),
            None => "until somebody corrects its times, which cannot be read".to_owned(),
        };
        let reason = flat(&self.reason, MAX_REASON);
        format!("frz/{} stops {half} under cpol/{} {until} ({reason})", self.name, self.policy)
    }

    /// The command that lifts it.
    pub fn unfreeze(&self) -> Command {
        Command::new(Verb::Unfreeze).word(&self.name)
    }
}

/// The freezes of these policies that stop that half, whether they are in force or not.
fn stopping<'a, 'f>(
    freezes: &'f [Arc<Freeze>],
    policies: impl IntoIterator<Item = &'a ChangePolicy>,
    half: Stops,
) -> impl Iterator<Item = &'f Arc<Freeze>> {
    let names: Vec<String> = policies.into_iter().map(ResourceExt::name_any).collect();
    freezes.iter().filter(move |freeze| {
        freeze.spec.stops.contains(&half) && names.contains(&freeze.spec.policy_ref.name)
    })
}

/// The freezes in force over these policies that stop that half, the one that ends last at the end.
pub fn over<'a>(
    freezes: &[Arc<Freeze>],
    policies: impl IntoIterator<Item = &'a ChangePolicy>,
    half: Stops,
    now: Timestamp,
) -> Vec<InForce> {
    let mut found: Vec<InForce> = stopping(freezes, policies, half)
        .filter_map(|freeze| {
            let until = match period::times(&freeze.spec, now) {
                Ok(times) => Some(times.current?.end),
                Err(_) => None,
            };
            Some(InForce {
                name: freeze.name_any(),
                uid: freeze.uid().unwrap_or_default(),
                policy: freeze.spec.policy_ref.name.clone(),
                stops: half,
                reason: freeze.spec.reason.clone(),
                until,
            })
        })
        .collect();
    found.sort_by(|a, b| {
        let key = |one: &InForce| (one.until.is_none(), one.until);
        (key(a), &a.name).cmp(&(key(b), &b.name))
    });
    found
}

/// The freeze that stops that half in a namespace and ends last.
pub fn in_namespace(
    freezes: &[Arc<Freeze>],
    policies: &[Arc<ChangePolicy>],
    namespace: &str,
    half: Stops,
    now: Timestamp,
) -> Option<InForce> {
    // No policy covers the operator's own namespace, so its name is not needed.
    over(freezes, policy::covering(policies, namespace, ""), half, now).pop()
}

/// The freeze over these policies that stops that half and begins next, and when.
pub fn next_start<'a>(
    freezes: &[Arc<Freeze>],
    policies: impl IntoIterator<Item = &'a ChangePolicy>,
    half: Stops,
    now: Timestamp,
) -> Option<(String, Timestamp)> {
    let starts = stopping(freezes, policies, half).filter_map(|freeze| {
        let start = period::times(&freeze.spec, now).ok()?.next?.start?;
        Some((freeze.name_any(), start))
    });
    starts.min_by_key(|(name, start)| (*start, name.clone()))
}

/// The next instant at which a freeze over these policies that stops that half begins or ends.
pub fn next_edge<'a>(
    freezes: &[Arc<Freeze>],
    policies: impl IntoIterator<Item = &'a ChangePolicy>,
    half: Stops,
    now: Timestamp,
) -> Option<Timestamp> {
    stopping(freezes, policies, half)
        .filter_map(|freeze| period::times(&freeze.spec, now).ok())
        .flat_map(|times| [times.current.map(|now| now.end), times.next.and_then(|next| next.start)])
        .flatten()
        .min()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, from_value, json};

    use super::*;

    fn freeze(name: &str, edit: Value) -> Arc<Freeze> {
        let mut spec = json!({"policyRef": {"name": "production"}, "stops": ["Changes", "Automation"],
            "reason": "year-end\nclosing", "startTime": "2026-12-20T00:00:00Z", "endTime": "2027-01-02T00:00:00Z"});
        json_patch::merge(&mut spec, &edit);
        Arc::new(Freeze::new(name, from_value(spec).unwrap()))
    }

    fn policies() -> Vec<Arc<ChangePolicy>> {
        [("production", "shop"), ("lab", "lab")]
            .map(|(name, namespace)| {
                let spec = json!({"scope": {"namespaces": {"names": [namespace]}}, "approval": {}});
                Arc::new(ChangePolicy::new(name, from_value(spec).unwrap()))
            })
            .into()
    }

    fn at(time: &str) -> Timestamp {
        time.parse().unwrap()
    }

    const DURING: &str = "2026-12-24T12:00:00Z";

    fn in_shop(freezes: &[Arc<Freeze>], half: Stops, now: &str) -> Option<String> {
        in_namespace(freezes, &policies(), "shop", half, at(now)).map(|freeze| freeze.text())
    }

    #[test]
    fn a_freeze_is_in_force_over_the_namespaces_of_its_policy_for_its_halves() {
        let all = [freeze("year-end", json!({}))];
        let said = "frz/year-end stops changes under cpol/production until 2027-01-02 00:00:00 UTC (year-end closing)";
        assert_eq!(in_shop(&all, Stops::Changes, DURING).as_deref(), Some(said));
        assert!(in_shop(&all, Stops::Automation, DURING).unwrap().contains(" stops automation under "));
        assert_eq!(in_shop(&all, Stops::Changes, "2026-12-19T00:00:00Z"), None);
        assert_eq!(in_shop(&all, Stops::Changes, "2027-01-02T00:00:00Z"), None);
        for elsewhere in ["lab", "other", ""] {
            assert_eq!(in_namespace(&all, &policies(), elsewhere, Stops::Changes, at(DURING)), None);
        }
        let half = [freeze("half", json!({"stops": ["Automation"]}))];
        assert_eq!(in_shop(&half, Stops::Changes, DURING), None);
        let stray = [freeze("stray", json!({"policyRef": {"name": "gone"}}))];
        assert_eq!(in_shop(&stray, Stops::Changes, DURING), None, "its policy is not there");
    }

    #[test]
    fn the_freeze_that_ends_last_is_named() {
        let early = freeze("early", json!({"endTime": "2026-12-25T00:00:00Z"}));
        let all = [freeze("a", json!({})), early.clone(), freeze("b", json!({}))];
        assert!(in_shop(&all, Stops::Changes, DURING).unwrap().starts_with("frz/b "));
        let endless = freeze(
            "endless",
            json!({"startTime": null, "endTime": null,
            "schedule": {"timeZone": "Europe/Atlantis", "from": {"day": "Fri", "time": "16:00"}, "until": {"day": "Mon", "time": "08:00"}}}),
        );
        let said = in_shop(&[endless, early], Stops::Changes, DURING).unwrap();
        assert!(
            said.contains("frz/endless stops changes under cpol/production until somebody corrects"),
            "{said}"
        );
    }

    #[test]
    fn the_next_edge_is_the_first_begin_or_end() {
        let all =
            [freeze("year-end", json!({})), freeze("early", json!({"endTime": "2026-12-25T00:00:00Z"}))];
        let policies = policies();
        let edge = |now: &str| {
            next_edge(&all, policies.iter().map(|policy| &**policy), Stops::Changes, at(now))
                .map(|edge| edge.to_string())
        };
        assert_eq!(edge("2026-12-01T00:00:00Z").as_deref(), Some("2026-12-20T00:00:00Z"));
        assert_eq!(edge("2026-12-20T00:00:00Z").as_deref(), Some("2026-12-25T00:00:00Z"));
        assert_eq!(edge("2026-12-25T00:00:00Z").as_deref(), Some("2027-01-02T00:00:00Z"));
        assert_eq!(edge("2027-01-02T00:00:00Z"), None);
        let start =
            |now: &str| next_start(&all, policies.iter().map(|policy| &**policy), Stops::Changes, at(now));
        assert_eq!(start("2026-12-01T00:00:00Z"), Some(("early".into(), at("2026-12-20T00:00:00Z"))));
        assert_eq!(start("2026-12-20T00:00:00Z"), None);
    }
}
