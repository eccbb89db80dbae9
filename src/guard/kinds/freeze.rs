//! Who may lift a Freeze. Pure. Extending one is for everybody whom RBAC lets.

use std::sync::Arc;

use jiff::Timestamp;

use crate::api::freeze::Stops;
use crate::api::{ChangePolicy, Freeze};
use crate::change::freeze::coverage;
use crate::command::{Command, Flag, TEXT, Verb};
use crate::webhook::caller::Caller;

use crate::guard::ruling::Ruling;

/// What the rules look up before a Freeze is changed.
pub struct Facts<'a> {
    /// Who changes it.
    pub caller: &'a Caller,
    /// The policy that the freeze stops, if it exists.
    pub policy: Option<Arc<ChangePolicy>>,
    /// Where a change of the freeze is asked for.
    pub operator_namespace: &'a str,
    /// The time of the review.
    pub now: Timestamp,
}

/// Whether the freeze may become `new`, or be deleted where there is no new one.
pub fn change(
    old: &Freeze,
    new: Option<&Freeze>,
    policy: Option<&ChangePolicy>,
    caller: &Caller,
    operator_namespace: &str,
    now: Timestamp,
) -> Ruling {
    let extends = |new: &Freeze| coverage::extends(&old.spec, &new.spec);
    if coverage::is_over(&old.spec, now) || new.is_some_and(extends) {
        return Ruling::Allow;
    }
    let name = old.metadata.name.as_deref().unwrap_or_default();
    let Some(policy) = policy else {
        // Without its policy it stops nothing.
        return Ruling::Allow;
    };
    let policy_name = policy.metadata.name.as_deref().unwrap_or_default();
    // Less of a freeze is a freeze that is lifted in part: sooner, or on some days, or for one of its halves.
    let what = if new.is_some() { "lifting a part of" } else { "lifting" };
    if old.spec.stops.contains(&Stops::Changes) {
        let ask = Command::new(Verb::Ask).namespace(operator_namespace);
        let ask = match new {
            Some(_) => ask.flag(Flag::File, "FILE"),
            None => ask.on("frz", name).switch(Flag::Delete),
        };
        return Ruling::Quorum(format!(
            "Refused: {what} frz/{name} takes the approvals that a change under cpol/{policy_name} takes. Ask: \
             {}",
            ask.flag(Flag::Why, TEXT)
        ));
    }
    let groups: Vec<String> =
        policy.spec.approval.required.iter().flat_map(|required| required.groups.clone()).collect();
    let approves = caller.in_any(&groups);
    Ruling::require(approves && caller.direct && !caller.is_service_account(), || {
        format!(
            "Refused: {what} frz/{name}, which stops automation, is for one approver of cpol/{policy_name}, logged in \
             directly (groups: {}), who does: {}",
            if groups.is_empty() { "none".to_owned() } else { groups.join(", ") },
            Command::new(Verb::Unfreeze).word(name)
        )
    })
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, from_value, json};

    use super::*;

    fn freeze(patch: Value) -> Freeze {
        let mut spec = json!({
            "policyRef": {"name": "production"}, "stops": ["Changes", "Automation"], "reason": "year-end",
            "startTime": "2026-12-20T00:00:00Z", "endTime": "2027-01-02T00:00:00Z"
        });
        json_patch::merge(&mut spec, &patch);
        Freeze::new("year-end", from_value(spec).unwrap())
    }

    fn ruling(old: Value, new: Option<Value>, group: &str, now: &str) -> Ruling {
        let policy = ChangePolicy::new(
            "production",
            from_value(json!({
                "scope": {"namespaces": {"names": ["shop"]}},
                "approval": {"required": [{"name": "peers", "groups": ["shop-approvers"], "count": 2}]}
            }))
            .unwrap(),
        );
        let caller = Caller { user: "amir".into(), groups: vec![group.into()], direct: true };
        let new = new.map(freeze);
        change(&freeze(old), new.as_ref(), Some(&policy), &caller, "mayday-system", now.parse().unwrap())
    }

    const DURING: &str = "2026-12-24T00:00:00Z";

    #[test]
    fn extending_is_free() {
        for patch in [
            json!({"endTime": "2027-01-09T00:00:00Z"}),
            json!({"startTime": "2026-12-19T00:00:00Z"}),
            json!({"startTime": null}),
            json!({"reason": "and the audit"}),
        ] {
            assert_eq!(ruling(json!({}), Some(patch.clone()), "x", DURING), Ruling::Allow, "{patch}");
        }
    }

    #[test]
    fn lifting_a_freeze_of_changes_takes_the_quorum() {
        for patch in [
            json!({"endTime": "2026-12-23T00:00:00Z"}),
            json!({"startTime": "2026-12-21T00:00:00Z"}),
            json!({"stops": ["Automation"]}),
            json!({"policyRef": {"name": "other"}}),
        ] {
            let ruling = ruling(json!({}), Some(patch.clone()), "shop-approvers", DURING);
            assert!(matches!(ruling, Ruling::Quorum(_)), "{patch}");
        }
        let Ruling::Quorum(message) = ruling(json!({}), None, "shop-approvers", DURING) else { panic!() };
        assert!(message.contains("frz/year-end --delete"), "{message}");
    }

    #[test]
    fn a_freeze_of_automation_alone_is_lifted_by_one_approver() {
        let automation = json!({"stops": ["Automation"]});
        assert_eq!(ruling(automation.clone(), None, "shop-approvers", DURING), Ruling::Allow);
        assert!(matches!(ruling(automation, None, "x", DURING), Ruling::Refuse(_)));
    }

    #[test]
    fn a_weekly_freeze_is_lifted_by_any_schedule_that_stops_less() {
        let at = |day: &str, time: &str| json!({"day": day, "time": time});
        let weekly = |from: Value, until: Value| {
            json!({"startTime": null, "endTime": null,
                "schedule": {"timeZone": "Europe/Berlin", "from": from, "until": until}})
        };
        let stored = || weekly(at("Fri", "16:00"), at("Mon", "08:00"));
        let ruled = |new: Option<Value>| ruling(stored(), new, "x", DURING);
        assert_eq!(ruled(Some(weekly(at("Fri", "15:00"), at("Mon", "08:00")))), Ruling::Allow);
        for less in [
            Some(weekly(at("Fri", "17:00"), at("Mon", "08:00"))),
            Some(weekly(at("Fri", "16:00"), at("Sun", "23:00"))),
            Some(json!({"startTime": null, "endTime": "2099-01-01T00:00:00Z"})),
            None,
        ] {
            assert!(matches!(ruled(less.clone()), Ruling::Quorum(_)), "{less:?}");
        }
    }

    #[test]
    fn a_freeze_that_is_over_is_nobodys_concern() {
        assert_eq!(ruling(json!({}), None, "x", "2027-01-02T00:00:00Z"), Ruling::Allow);
    }
}
