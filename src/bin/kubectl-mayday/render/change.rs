//! A request in words: exactly what changes, when, how often, who agreed and who is missing.

use mayday::api::ChangeRequest;
use mayday::api::approval::CountedDecision;
use mayday::api::change_request::{ChangeRequestStatus, Delta, Partial, PlannedChange, RequestState, Window};
use mayday::change::diff;
use mayday::change::diff::describe;
use mayday::change::gate::uses;
use serde_json::Value;

use super::{Here, next};
use crate::client::session::name_of;
use crate::text::{indent, said, yaml};
use mayday::text::exact;

/// The request in words. It leaves out nothing of the change, because people approve exactly that.
pub fn describe(request: &ChangeRequest, here: &Here) -> String {
    let none = ChangeRequestStatus::default();
    let status = request.status.as_ref().unwrap_or(&none);
    let state = super::state(status.state);
    let requester = request.spec.requester.as_ref().map_or("somebody", |requester| requester.user.as_str());
    let head = format!(
        "chg/{} in {}: {}\n  {state}, asked by {requester}",
        name_of(request),
        here.namespace,
        said(&request.spec.reason)
    );
    let is_over = status.state.is_some_and(RequestState::is_over);
    let next = next(status.next.as_ref(), is_over, here);
    [head, changes(request, status), terms(request, status, here), next].join("\n\n")
}

fn changes(request: &ChangeRequest, status: &ChangeRequestStatus) -> String {
    if status.plan.is_empty() {
        // Without a plan the effect is not known, so the text shows the change as it was asked for.
        return format!("Changes, not planned\n{}", indent(&yaml(&request.spec.changes), 2));
    }
    let used = |index: usize| uses::whole(&request.spec, status, index);
    let numbered = status.plan.iter().enumerate().map(|(index, planned)| {
        let uses = format!("used {} of {}", used(index), request.spec.max_uses);
        format!("{}. {} ({uses})\n{}", index + 1, exact(&planned.summary), indent(&effect(planned), 3))
    });
    format!("Changes\n{}", indent(&numbered.collect::<Vec<_>>().join("\n"), 2))
}

fn effect(planned: &PlannedChange) -> String {
    let place = planned.namespace.as_deref().map(|namespace| format!(" in {namespace}")).unwrap_or_default();
    let mut lines = vec![format!("{} of {}{place}", planned.operation, planned.target.display())];
    lines.extend(planned.delta.iter().map(value));
    lines.join("\n")
}

fn value(delta: &Delta) -> String {
    let side = |value: &Option<Value>| {
        value.as_ref().map_or_else(|| "nothing".to_owned(), |value| exact(&value.to_string()))
    };
    format!("{}: {} → {}", exact(&delta.path), side(&delta.before), side(&delta.after))
}

fn terms(request: &ChangeRequest, status: &ChangeRequestStatus, here: &Here) -> String {
    let spec = &request.spec;
    let mut lines = vec![format!("When: {}", window(spec.window.as_ref(), status, here))];
    let times = if spec.max_uses == 1 { "once".to_owned() } else { format!("{} times", spec.max_uses) };
    lines.push(format!("How often: each change {times}"));
    if spec.changes.iter().any(|change| change.update.is_some()) {
        lines.push(parts(spec.partial).to_owned());
    }
    if !spec.actors.is_empty() {
        let actors = crate::text::names(spec.actors.iter().map(|actor| actor.user.as_str()), "nobody");
        lines.push(format!("By whom: {actors}"));
    }
    lines.push(rollback(request));
    if status.incidents.is_empty() {
        lines.push("Incidents that bind: none".to_owned());
    } else {
        let incidents = status.incidents.iter().map(|incident| incident.name.as_str());
        lines.push(format!("Incidents that bind: {}", crate::text::names(incidents, "none")));
    }
    lines.push(format!("Decided: {}", decided(&status.decisions, here)));
    lines.extend(status.missing.as_ref().map(|missing| format!("Missing: {missing}")));
    lines.extend(status.digest.as_ref().map(|digest| format!("Digest: {digest}")));
    lines.join("\n")
}

/// Whether a part of an update may be applied, which who approves it must know.
pub fn parts(partial: Partial) -> &'static str {
    match partial {
        Partial::Forbidden => "Parts: none, all values of an update are changed at once or none is",
        Partial::Allowed => {
            "Parts: ALLOWED, each value of an update may be changed on its own and the others left as they are"
        }
    }
}

/// Whether the rollback is approved with it, and where it leads as far as that is planned.
pub fn rollback(request: &ChangeRequest) -> String {
    if !request.spec.allows_rollback() {
        return "Rollback: not approved with it; taking it back needs a request of its own".to_owned();
    }
    let plan = request.status.as_ref().map_or(&[][..], |status| &status.plan);
    let back: Vec<String> = plan
        .iter()
        .filter(|planned| planned.operation == "Update")
        .map(|planned| {
            let place = planned.namespace.as_deref().unwrap_or_default();
            describe::update(&planned.target, place, &diff::inverse(&planned.delta))
        })
        .collect();
    let to = if back.is_empty() { String::new() } else { format!(": {}", back.join("; ")) };
    format!(
        "Rollback: approved with it, once for each use, without another approval, while the window lasts{to}"
    )
}

/// The decisions that count, in words.
pub fn decided(decisions: &[CountedDecision], here: &Here) -> String {
    let line = |decision: &CountedDecision| {
        let (by, what, role) = (&decision.by, decision.decision, &decision.role);
        format!("{by} {what:?} as {role} at {}", here.instant(decision.time.0))
    };
    let lines: Vec<String> = decisions.iter().map(line).collect();
    if lines.is_empty() { "by nobody yet".to_owned() } else { lines.join("; ") }
}

fn window(window: Option<&Window>, status: &ChangeRequestStatus, here: &Here) -> String {
    let from = window.and_then(|window| window.not_before.as_ref());
    let from = from.map(|from| format!("from {} ", here.instant(from.0))).unwrap_or_default();
    let until = status.expires_time.as_ref().or(window.and_then(|window| window.not_after.as_ref()));
    match (window.and_then(|window| window.duration.as_ref()), until) {
        (Some(duration), _) if status.expires_time.is_none() => {
            format!("{from}for {duration} from the last approval")
        }
        (_, Some(until)) => format!("{from}until {}", here.instant(until.0)),
        (_, None) => format!("{from}for 1h from the last approval"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use jiff::tz::TimeZone;
    use mayday::api::change_request::{Change, ChangeRequestSpec, RequestState, Rollback, ScaleChange};
    use mayday::api::common::{Empty, ObjectRef, UidRef, UserRef};
    use serde_json::json;

    /// The kind: free text or a value that makes an approver read something else than what is stored.
    #[test]
    fn a_reason_and_a_value_cannot_pose_as_something_else() {
        let mut request = request();
        request.spec.reason = "the sale\n\nChanges\n  1. nothing\u{202e}".into();
        let status = json!({"plan": [{"operation": "Update", "summary": "image \u{441}heckout", "resource": "deployments",
            "target": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "checkout"},
            "delta": [{"path": "/spec/image", "before": "shop/checkout", "after": "shop/\u{441}heckout"}]}]});
        request.status = Some(serde_json::from_value(status).unwrap());
        let shown = describe(&request, &Here::in_the_shop(&TimeZone::UTC));
        assert_eq!(shown.lines().filter(|line| line.starts_with("Changes")).count(), 1, "{shown}");
        assert!(shown.contains("  |   1. nothing⟨U+202E⟩"), "{shown}");
        assert!(shown.contains("\"shop/checkout\" → \"shop/⟨U+0441⟩heckout\""), "{shown}");
        assert!(shown.contains("1. image ⟨U+0441⟩heckout"), "{shown}");
    }

    fn request() -> ChangeRequest {
        let target =
            ObjectRef { api_version: "apps/v1".into(), kind: "Deployment".into(), name: "checkout".into() };
        let change = Change {
            target: Some(target.clone()),
            scale: Some(ScaleChange { replicas: 8 }),
            ..Change::default()
        };
        let spec = ChangeRequestSpec {
            reason: "the sale starts at noon".into(),
            requester: Some(UserRef { user: "emil".into() }),
            changes: vec![change],
            max_uses: 1,
            ..Default::default()
        };
        let mut request = ChangeRequest::new("checkout-sale", spec);
        request.status = Some(ChangeRequestStatus {
            state: Some(RequestState::Waiting),
            plan: vec![PlannedChange {
                resource: "deployments".into(),
                operation: "Update".into(),
                target,
                namespace: Some("shop".into()),
                uid: Some("u".into()),
                delta: vec![Delta {
                    path: "/spec/replicas".into(),
                    before: Some(json!(3)),
                    after: Some(json!(8)),
                }],
                summary: "replicas of deployment/checkout in shop: 3 → 8".into(),
            }],
            incidents: vec![UidRef { name: "checkout-x7k2p".into(), uid: "i".into() }],
            missing: Some("lena (lead) and one of amir, bea".into()),
            ..Default::default()
        });
        request
    }

    #[test]
    fn shows_the_exact_effect_and_who_is_missing() {
        let text = describe(&request(), &Here::in_the_shop(&TimeZone::UTC));
        for expected in [
            "chg/checkout-sale in shop: the sale starts at noon\n  Waiting, asked by emil",
            "1. replicas of deployment/checkout in shop: 3 → 8 (used 0 of 1)",
            "/spec/replicas: 3 → 8",
            "When: for 1h from the last approval",
            "Incidents that bind: checkout-x7k2p",
            "Missing: lena (lead) and one of amir, bea",
        ] {
            assert!(text.contains(expected), "{expected:?} is missing in:\n{text}");
        }
    }

    #[test]
    fn an_approved_window_that_is_not_open_yet_says_when_it_opens() {
        let mut request = request();
        request.spec.window = serde_json::from_value(
            json!({"notBefore": "2026-11-23T02:00:00Z", "notAfter": "2026-11-23T04:00:00Z"}),
        )
        .unwrap();
        let said = "When: from 2026-11-23 02:00:00 UTC until 2026-11-23 04:00:00 UTC\n";
        assert!(describe(&request, &Here::in_the_shop(&TimeZone::UTC)).contains(said));
        request.status.as_mut().unwrap().expires_time =
            request.spec.window.as_ref().unwrap().not_after.clone();
        assert!(describe(&request, &Here::in_the_shop(&TimeZone::UTC)).contains(said));
    }

    #[test]
    fn the_rollback_is_said_plainly_whether_it_is_approved_or_not() {
        let mut request = request();
        assert!(
            describe(&request, &Here::in_the_shop(&TimeZone::UTC)).contains("Rollback: not approved with it")
        );
        request.spec.rollback = Some(Rollback { restore_previous: Some(Empty {}) });
        let text = describe(&request, &Here::in_the_shop(&TimeZone::UTC));
        assert!(text.contains("Rollback: approved with it, once for each use"), "{text}");
        assert!(text.contains("window lasts: replicas of deployment/checkout in shop, 8 → 3"), "{text}");
    }

    #[test]
    fn an_approver_reads_whether_parts_of_an_update_may_be_applied() {
        let mut request = request();
        assert!(
            !describe(&request, &Here::in_the_shop(&TimeZone::UTC)).contains("Parts:"),
            "a scale has no parts"
        );
        request.spec.changes[0] =
            Change { scale: None, update: Some(Default::default()), ..request.spec.changes[0].clone() };
        let said = |request: &ChangeRequest| describe(request, &Here::in_the_shop(&TimeZone::UTC));
        assert!(said(&request).contains("Parts: none, all values of an update are changed at once"));
        request.spec.partial = Partial::Allowed;
        assert!(said(&request).contains("Parts: ALLOWED, each value of an update may be changed on its own"));
    }

    #[test]
    fn a_request_without_a_plan_shows_the_changes_asked_for() {
        let request = ChangeRequest { status: None, ..request() };
        let text = describe(&request, &Here::in_the_shop(&TimeZone::UTC));
        assert!(text.contains("not planned"), "{text}");
        assert!(text.contains("replicas: 8"), "{text}");
    }
}
