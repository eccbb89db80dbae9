use serde_json::{Value, json};

use super::*;

const DAY: i64 = 86_400;

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + second).unwrap()
}

/// A Runbook with the digest `d` that amir approved at 0, rehearsed once a day.
fn runbook(spec: Value, status: Value) -> Runbook {
    let decided = json!({"name": "a", "uid": "a", "by": "amir", "decision": "Approve", "role": "shop-approvers", "time": at(0)});
    let mut whole = json!({"apiVersion": "mayday.dev/v1alpha1", "kind": "Runbook",
        "metadata": {"name": "restart", "namespace": "shop", "uid": "rb"},
        "spec": {"summary": "s", "serviceAccountName": "sa", "steps": [], "drill": {"every": "24h", "required": true}},
        "status": {"digest": "d", "approvedDigest": "d", "decisions": [decided]}});
    json_patch::merge(&mut whole, &json!({"spec": spec, "status": status}));
    serde_json::from_value(whole).unwrap()
}

fn ended(name: &str, state: &str, second: i64, patch: Value) -> Arc<RunbookRun> {
    let mut whole = json!({"apiVersion": "mayday.dev/v1alpha1", "kind": "RunbookRun",
        "metadata": {"name": name, "namespace": "shop", "uid": name},
        "spec": {"runbookRef": {"name": "restart"}, "drill": true, "dryRun": true},
        "status": {"state": state, "endTime": at(second), "steps": [{"name": "restart", "state": "Skipped"}],
            "snapshot": {"uid": "rb", "digest": "d", "spec": {}}}});
    json_patch::merge(&mut whole, &patch);
    Arc::new(serde_json::from_value(whole).unwrap())
}

fn policy(require_drill: bool, start: &str) -> Vec<Arc<ChangePolicy>> {
    vec![Arc::new(
        serde_json::from_value(json!({
            "apiVersion": "mayday.dev/v1alpha1", "kind": "ChangePolicy", "metadata": {"name": "production"},
            "spec": {"scope": {"namespaces": {"names": ["shop"]}}, "approval": {},
                "automation": {"start": start, "requireDrill": require_drill}},
        }))
        .unwrap(),
    )]
}

/// The Runbook after its controller has read the runs.
fn after(mut book: Runbook, runs: &[Arc<RunbookRun>]) -> Runbook {
    let mut status = book.status.clone().unwrap();
    note(&mut status, &book, runs);
    book.status = Some(status);
    book
}

fn says(book: &Runbook, second: i64) -> (State, Reason) {
    let verdict = verdict(book, &[], at(second)).unwrap();
    (verdict.state, verdict.reason)
}

#[test]
fn a_drill_is_due_at_once_then_after_its_interval() {
    let on = policy(false, "Manual");
    let never = runbook(json!({}), json!({}));
    assert_eq!(says(&never, 60), (State::Unknown, Reason::DrillDue));
    let (first, wake) = next(&never, true, &[], &on, at(60));
    let first = first.unwrap();
    assert!(first.spec.drill && first.spec.dry_run && wake.is_none(), "{first:?}");
    assert_eq!(next(&never, true, &[], &on, at(90)).0.as_ref(), Some(&first), "the name is the lock");

    let runs = [ended(&first.name_any(), "DryRunComplete", 100, json!({}))];
    let good = after(never, &runs);
    assert_eq!(says(&good, 101), (State::True, Reason::DrillSucceeded));
    assert_eq!(lapse(&good, &on, at(101)), None);
    assert_eq!(next(&good, true, &runs, &on, at(101)), (None, Some(at(100 + DAY))));
    let second = next(&good, true, &runs, &on, at(100 + DAY)).0.unwrap();
    assert_ne!(second.name_any(), first.name_any());
    assert_eq!(says(&good, 100 + DAY + 3599), (State::True, Reason::DrillSucceeded));
    assert_eq!(says(&good, 100 + DAY + 3600), (State::False, Reason::DrillOverdue));
    assert_eq!(verdict(&good, &[], at(101)).unwrap().until, Some(at(100 + DAY + 3600)));
    // What was remembered outlives the run.
    assert_eq!(after(good.clone(), &[]), good);
}

#[test]
fn a_failed_drill_lapses_the_approval_and_is_tried_again() {
    let on = policy(false, "Automatic");
    let failed = json!({"status": {"steps": [
        {"name": "restart", "state": "Failed", "message": "sa may not patch deployments"}]}});
    let runs = [ended("one", "DryRunComplete", 100, failed)];
    let book = after(runbook(json!({}), json!({})), &runs);
    let lapsed = lapse(&book, &on, at(101)).unwrap();
    assert_eq!(lapsed.reason, Reason::DrillFailed);
    assert_eq!(
        lapsed.message,
        "run/one failed at 2027-01-15 08:01:40 UTC: restart: sa may not patch deployments; mend that, then: kubectl mayday \
         run -n shop restart --drill"
    );
    assert_eq!(book.status.as_ref().unwrap().last_good_run_time, None);
    assert_eq!(next(&book, true, &runs, &on, at(101)), (None, Some(at(3700))));
    assert!(next(&book, true, &runs, &on, at(3700)).0.is_some());
    let tolerant = json!({"drill": {"required": false}});
    assert_eq!(lapse(&after(runbook(tolerant.clone(), json!({})), &runs), &on, at(101)), None);
    let strict = policy(true, "Automatic");
    assert!(lapse(&after(runbook(tolerant, json!({})), &runs), &strict, at(101)).is_some());
}

#[test]
fn a_drill_of_other_content_proves_nothing() {
    let runs = [ended("one", "DryRunComplete", 100, json!({"status": {"snapshot": {"digest": "older"}}}))];
    let book = after(runbook(json!({}), json!({})), &runs);
    assert_eq!(says(&book, 20), (State::Unknown, Reason::DrillDue));
    assert!(next(&book, true, &runs, &policy(false, "Manual"), at(101)).0.is_some(), "due at once");
    assert_eq!(says(&book, DAY), (State::False, Reason::DrillOverdue));
}

#[test]
fn a_cancelled_drill_does_not_count_and_is_tried_again() {
    let on = policy(false, "Manual");
    let runs =
        [ended("one", "DryRunComplete", 100, json!({})), ended("two", "Cancelled", 100 + DAY, json!({}))];
    let book = after(runbook(json!({}), json!({})), &runs);
    assert_eq!(book.status.as_ref().unwrap().last_drill.as_ref().unwrap().run, "one");
    assert_eq!(next(&book, true, &runs, &on, at(101 + DAY)), (None, Some(at(100 + DAY + 3600))));
    let third = next(&book, true, &runs, &on, at(100 + DAY + 3600)).0.unwrap();
    assert_ne!(
        Some(third.name_any()),
        next(&book, true, &runs[..1], &on, at(100 + DAY)).0.map(|run| run.name_any())
    );
}

#[test]
fn no_drill_begins_without_approval_or_while_it_is_switched_off() {
    let on = policy(false, "Manual");
    let book = runbook(json!({}), json!({}));
    let begins =
        |book: &Runbook, approved: bool, runs: &[Arc<RunbookRun>], policies: &[Arc<ChangePolicy>]| {
            next(book, approved, runs, policies, at(9)).0.is_some()
        };
    assert!(begins(&book, true, &[], &on));
    assert!(!begins(&book, false, &[], &on));
    assert!(!begins(&book, true, &[], &policy(false, "Disabled")));
    assert!(!begins(&runbook(json!({"suspend": true}), json!({})), true, &[], &on));
    assert!(!begins(&runbook(json!({"drill": null}), json!({})), true, &[], &on));
    let at_work = ended("one", "Running", 1, json!({"status": {"endTime": null}}));
    assert!(!begins(&book, true, &[at_work], &on), "one at a time");
    let of_another = json!({"status": {"endTime": null, "snapshot": {"uid": "older"}}});
    assert!(begins(&book, true, &[ended("one", "Running", 1, of_another)], &on));
}

#[test]
fn a_policy_may_ask_for_drills() {
    let none = runbook(json!({"drill": null}), json!({}));
    assert_eq!(verdict(&none, &policy(false, "Manual"), at(1)), None);
    let missing = lapse(&none, &policy(true, "Manual"), at(1)).unwrap();
    assert_eq!(missing.reason, Reason::DrillMissing);
    assert!(missing.message.starts_with("cpol/production asks for drills"), "{}", missing.message);
}

#[test]
fn the_last_good_run_is_a_repair_or_a_drill_that_succeeded() {
    let real = json!({"spec": {"drill": false, "dryRun": false}});
    let good = |runs: &[Arc<RunbookRun>]| {
        let book = after(runbook(json!({}), json!({})), runs);
        book.status.unwrap().last_good_run_time.map(|time| time.0)
    };
    assert_eq!(good(&[ended("a", "Succeeded", 5, real.clone())]), Some(at(5)));
    assert_eq!(good(&[ended("a", "Failed", 5, real.clone())]), None);
    assert_eq!(good(&[ended("a", "DryRunComplete", 5, json!({"spec": {"drill": false}}))]), None);
    let both = [ended("a", "Succeeded", 5, real), ended("b", "DryRunComplete", 9, json!({}))];
    assert_eq!(good(&both), Some(at(9)));
}
