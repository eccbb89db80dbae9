//! The checks that prove the return to service (docs/rules.md#silence-is-not-health). Missing data is Unknown, never Passing. Pure.

use std::collections::BTreeSet;

use jiff::{SignedDuration, Timestamp};
use kube::ResourceExt;
use serde_json::Value;

use super::facts::{IncidentFacts, Observed};
use super::questions;
use crate::api::check::{ConditionCheck, NamedCheck, ReturnToService, RolloutCheck};
use crate::api::common::{Empty, ObjectRef, stored_time};
use crate::api::conditions::Reason;
use crate::api::incident_status::{CheckResult, CheckStatus, IncidentStatus};
use crate::api::{ChangePolicy, Incident};
use crate::change::policy;
use crate::cluster::conditions::NotReady;
use crate::cluster::rollout::{self, Counts, Rollout};
use crate::cluster::workloads;
use crate::incident::staleness::{self, LeftOut};
use crate::outbound::look::{Look, Verdict};
use crate::outbound::{HttpUrl, encode, endpoints};
use crate::text::{cut, instant};

/// How long all checks must pass by default.
const STABLE_FOR: SignedDuration = SignedDuration::from_mins(5);

/// The checks of an incident: its own, or those of its service when it opened, or else a rollout check for each affected
/// workload and one for the alerts.
pub fn of(incident: &Incident, status: &IncidentStatus) -> ReturnToService {
    let of_service = || status.service.as_ref().and_then(|service| service.return_to_service.clone());
    let mut given = incident.spec.return_to_service.clone().or_else(of_service).unwrap_or_default();
    if given.checks.is_empty() {
        let objects = if incident.spec.affected.is_empty() {
            status.service.as_ref().map(|service| service.objects.clone()).unwrap_or_default()
        } else {
            incident.spec.affected.clone()
        };
        let rolled_out = objects.into_iter().filter(|object| workloads::is_one(object.group(), &object.kind));
        given.checks = rolled_out
            .enumerate()
            .map(|(index, target)| NamedCheck {
                name: format!("rollout-{index}"),
                rollout: Some(RolloutCheck { target }),
                ..NamedCheck::default()
            })
            .collect();
        given.checks.push(NamedCheck {
            name: "alerts".to_owned(),
            alerts_cleared: Some(Empty {}),
            ..NamedCheck::default()
        });
    }
    given
}

/// How long all checks must pass without interruption.
pub fn stable_for(given: &ReturnToService) -> SignedDuration {
    given.stable_for.as_ref().map_or(STABLE_FOR, |duration| duration.get())
}

/// How often a check looks outside while its incident is open.
pub const EVERY: SignedDuration = SignedDuration::from_secs(15);
/// How old an observation may be that still counts.
const FRESH: SignedDuration = SignedDuration::from_secs(60);
/// How long after the start of this process a stored result stands for the first look.
const FIRST_LOOK: SignedDuration = SignedDuration::from_secs(30);

/// What a check looks at outside of the cluster's API, and the member that says so; `None` if it does not.
pub fn outside(check: &NamedCheck) -> Option<(&'static str, Look<'_>)> {
    let query = check.query.as_ref().map(|query| ("query", Look::Query(query)));
    query.or_else(|| check.http.as_ref().map(|http| ("http", Look::Http(http))))
}

/// Why a check can never look outside, if so. `policies` are those over the namespace.
pub fn cannot_look(given: &ReturnToService, policies: &[&ChangePolicy], namespace: &str) -> Option<NotReady> {
    given.checks.iter().find_map(|check| {
        let (member, look) = outside(check)?;
        let path = format!("spec.returnToService.checks[{}].{member}", check.name);
        let url = match HttpUrl::parse(look.url()) {
            Ok(url) => url,
            Err(why) => return Some(NotReady::Stalled(Reason::Invalid, format!("{path}.url: {why}"))),
        };
        if let Some(why) = check.query.as_ref().and_then(|query| bad_query(&query.prom_ql)) {
            return Some(NotReady::Stalled(Reason::Invalid, format!("{path}.promQL: {why}")));
        }
        let why = endpoints::listed(policies, namespace, &url).err()?;
        Some(NotReady::Waiting(Reason::EndpointNotListed, format!("{path}.url: {why}")))
    })
}

/// What is wrong with a query of a check, which has no parameters.
fn bad_query(prom_ql: &str) -> Option<String> {
    match encode::parameters(prom_ql) {
        Ok(names) => names.first().map(|name| {
            format!("${name} is a parameter, which only the step of a Runbook has; write the value itself")
        }),
        Err(why) => Some(why),
    }
}

/// Fields that no controller acts on yet. Objects other than workloads cannot be checked.
pub fn not_implemented(given: &ReturnToService) -> Vec<String> {
    let is_other = |target: &ObjectRef| !workloads::is_one(target.group(), &target.kind);
    given
        .checks
        .iter()
        .flat_map(|check| {
            let rollout = check.rollout.as_ref().is_some_and(|rollout| is_other(&rollout.target));
            let condition = check.condition.as_ref().is_some_and(|condition| is_other(&condition.target));
            [("rollout.target.kind", rollout), ("condition.target.kind", condition)]
                .into_iter()
                .filter(|(_, is_set)| *is_set)
                .map(|(field, _)| format!("spec.returnToService.checks[{}].{field}", check.name))
        })
        .collect()
}

/// The results of the checks, and when to evaluate them again although nothing changes.
pub fn evaluate(
    incident: &Incident,
    facts: &IncidentFacts,
    status: &IncidentStatus,
    given: &ReturnToService,
    now: Timestamp,
) -> (Vec<CheckStatus>, Option<Timestamp>) {
    let mut wake = None;
    let since = |mut seen: CheckStatus| {
        seen.message = cut(&seen.message, 500);
        let known = status.checks.iter().find(|known| known.name == seen.name && known.result == seen.result);
        if let Some(known) = known {
            seen.since_time = known.since_time.clone();
        }
        seen
    };
    let is_question = |check: &&NamedCheck| check.confirmation.is_some();
    let mut results: Vec<CheckStatus> = given
        .checks
        .iter()
        .filter(|check| !is_question(check))
        .map(|check| since(look(incident, facts, status, check, now, &mut wake)))
        .collect();
    // A person is asked only when everything that Mayday can check itself passes.
    let passing_since = passing_since(&results);
    for (place, check) in given.checks.iter().enumerate().filter(|(_, check)| is_question(check)) {
        let round = passing_since.map(|since| format!("{}/{since}", status.relapses));
        let asked = questions::ask(incident, &facts.approvals, check, round.as_deref(), now, &mut wake);
        results.insert(place.min(results.len()), since(asked));
    }
    (results, wake)
}

/// Since when all of these checks pass, in Unix seconds; `None` while one does not.
fn passing_since(results: &[CheckStatus]) -> Option<i64> {
    let passes = results.iter().all(|check| check.result == CheckResult::Passing);
    passes.then(|| results.iter().map(|check| check.since_time.0.as_second()).max().unwrap_or_default())
}

fn look(
    incident: &Incident,
    facts: &IncidentFacts,
    status: &IncidentStatus,
    check: &NamedCheck,
    now: Timestamp,
    wake: &mut Option<Timestamp>,
) -> CheckStatus {
    let (result, message) = if check.alerts_cleared.is_some() {
        alerts(incident, facts, status, now, wake)
    } else if let Some(rollout) = &check.rollout {
        workload(facts.workload(&rollout.target), &rollout.target.kind, &rollout.target.display())
    } else if let Some(condition) = &check.condition {
        has_condition(facts.workload(&condition.target), condition)
    } else if let Some((_, look)) = outside(check) {
        looked(incident, facts, status, &check.name, look, now, wake)
    } else {
        (CheckResult::Unknown, "this version of Mayday cannot look at it yet".to_owned())
    };
    let name = check.name.clone();
    CheckStatus { name, result, message, since_time: stored_time(now), digest: None, answered: None }
}

/// Passes when every signal has been cleared for as long as its source demands, and none was dropped from the list.
fn alerts(
    incident: &Incident,
    facts: &IncidentFacts,
    status: &IncidentStatus,
    now: Timestamp,
    wake: &mut Option<Timestamp>,
) -> (CheckResult, String) {
    match staleness::left_out(status, now) {
        LeftOut::None => {}
        LeftOut::Firing { until } => {
            *wake = [*wake, Some(until)].into_iter().flatten().min();
            // Without their number, so that a storm does not change the words with each alert.
            let message = "more signals fire than fit into the list; status.signalsLeftOut counts the others";
            return (CheckResult::Failing, message.to_owned());
        }
        LeftOut::Stale(doubt) => return (CheckResult::Unknown, doubt),
    }
    let method = incident.spec.detection.as_ref().map(|detection| detection.method).unwrap_or_default();
    if status.signals.is_empty() {
        let known = if method.is_by_a_source() { CheckResult::Unknown } else { CheckResult::Passing };
        return (known, "no source reports anything".to_owned());
    }
    // Each name once: a storm of one alert changes nothing in the words.
    let firing: BTreeSet<&str> = status
        .signals
        .iter()
        .filter(|signal| signal.end_time.is_none())
        .map(|signal| signal.name.as_str())
        .collect();
    if let Some(doubt) = staleness::all_stale(status, facts, now) {
        return (CheckResult::Unknown, doubt);
    }
    if !firing.is_empty() {
        return (CheckResult::Failing, format!("firing: {}", Vec::from_iter(firing).join(", ")));
    }
    let settled = status.signals.iter().map(|signal| {
        let source = facts.sources.iter().find(|source| source.name_any() == signal.source_ref.name);
        let after = source
            .and_then(|source| source.spec.resolve_after.as_ref())
            .map_or(SignedDuration::ZERO, |d| d.get());
        signal.last_seen_time.0.saturating_add(after).unwrap_or(signal.last_seen_time.0)
    });
    match settled.max() {
        Some(at) if at > now => {
            *wake = [*wake, Some(at)].into_iter().flatten().min();
            (CheckResult::Failing, "cleared a moment ago".to_owned())
        }
        _ => (CheckResult::Passing, "every signal has cleared".to_owned()),
    }
}

/// What the last look outside has seen, if it counts.
fn looked(
    incident: &Incident,
    facts: &IncidentFacts,
    status: &IncidentStatus,
    name: &str,
    look: Look<'_>,
    now: Timestamp,
    wake: &mut Option<Timestamp>,
) -> (CheckResult, String) {
    let namespace = incident.namespace().unwrap_or_default();
    let policies = policy::covering(&facts.policies, &namespace, &facts.operator_namespace);
    let url = HttpUrl::parse(look.url());
    if let Err(why) = url.and_then(|url| endpoints::listed(&policies, &namespace, &url)) {
        return (CheckResult::Unknown, why);
    }
    let observed = facts.looks.get(name);
    let due = observed.and_then(|observed| observed.at.checked_add(EVERY).ok()).filter(|due| *due > now);
    let soon = || now.checked_add(SignedDuration::from_secs(1)).ok();
    *wake = [*wake, due.or_else(soon)].into_iter().flatten().min();
    let Some(Observed { at, seen, .. }) = observed else {
        // A new process has not looked yet. What the last one saw is no break, and proves nothing either.
        let known = status.checks.iter().find(|known| known.name == name);
        let is_starting = now.duration_since(facts.started) < FIRST_LOOK;
        let known = known.filter(|_| is_starting).map(|known| (known.result, known.message.clone()));
        return known.unwrap_or_else(|| (CheckResult::Unknown, "not looked at yet".to_owned()));
    };
    if now.duration_since(*at) > FRESH {
        return (CheckResult::Unknown, format!("last looked at {}, which is too long ago", instant(*at)));
    }
    let result = match seen.verdict {
        Verdict::Passes => CheckResult::Passing,
        Verdict::Fails => CheckResult::Failing,
        Verdict::Inconclusive => CheckResult::Unknown,
    };
    (result, seen.message.clone())
}

/// Passes when the rollout of a workload is complete, as `kubectl rollout status` sees it, and all its pods are
/// available. A workload that replaces pods only when they are deleted has no rollout; its pods decide.
pub fn workload(object: Option<&Value>, kind: &str, name: &str) -> (CheckResult, String) {
    let Some(object) = object else { return unknown(name) };
    let rollout = rollout::status(kind, object, name);
    if let Rollout::Unobserved(message) = rollout {
        return (CheckResult::Unknown, message);
    }
    let Counts { wanted, available, .. } = rollout::counts(kind, object);
    if wanted == 0 {
        return (CheckResult::Failing, format!("{name} is scaled to nothing"));
    }
    if available < wanted {
        return (CheckResult::Failing, format!("{name}: {available} of {wanted} available"));
    }
    match rollout {
        Rollout::Complete(_) => (CheckResult::Passing, format!("{name}: {wanted} of {wanted} available")),
        Rollout::Failed(_) if rollout::is_replaced_by_hand(object) => {
            (CheckResult::Passing, format!("{name}: {wanted} of {wanted} available"))
        }
        unfinished => (CheckResult::Failing, unfinished.message().to_owned()),
    }
}

fn unknown(name: &str) -> (CheckResult, String) {
    (CheckResult::Unknown, format!("{name} is not known: it does not exist, or is no workload"))
}

fn has_condition(object: Option<&Value>, check: &ConditionCheck) -> (CheckResult, String) {
    let name = check.target.display();
    let Some(object) = object else { return unknown(&name) };
    let conditions = object.pointer("/status/conditions").and_then(Value::as_array);
    let found = conditions.and_then(|all| all.iter().find(|one| one["type"] == check.type_.as_str()));
    match found.and_then(|found| found["status"].as_str()) {
        Some(status) if status == check.status => {
            (CheckResult::Passing, format!("{name}: {} is {status}", check.type_))
        }
        Some(status) => (CheckResult::Failing, format!("{name}: {} is {status}", check.type_)),
        None => (CheckResult::Unknown, format!("{name} has no condition {}", check.type_)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::outbound::look::Seen;
    use serde_json::json;

    fn deployment(edit: Value) -> Value {
        let mut whole = json!({"metadata": {"generation": 2}, "spec": {"replicas": 3},
            "status": {"observedGeneration": 2, "replicas": 3, "updatedReplicas": 3, "availableReplicas": 3}});
        json_patch::merge(&mut whole, &edit);
        whole
    }

    fn result(object: Option<Value>) -> CheckResult {
        workload(object.as_ref(), "Deployment", "deployment/checkout").0
    }

    #[test]
    fn a_rollout_passes_when_all_replicas_run_the_newest_template() {
        assert_eq!(result(Some(deployment(json!({})))), CheckResult::Passing);
        assert_eq!(
            result(Some(deployment(json!({"status": {"availableReplicas": 2}})))),
            CheckResult::Failing
        );
        assert_eq!(result(Some(deployment(json!({"status": {"replicas": 4}})))), CheckResult::Failing);
        assert_eq!(
            result(Some(deployment(json!({"status": {"observedGeneration": 1}})))),
            CheckResult::Unknown
        );
        assert_eq!(result(Some(deployment(json!({"spec": {"replicas": 0}})))), CheckResult::Failing);
        assert_eq!(result(None), CheckResult::Unknown);
    }

    // Kind of fault: health is judged by counts that a legal strategy never reaches.
    #[test]
    fn a_workload_is_healthy_in_every_state_that_its_strategy_ends_in() {
        let mut partitioned = deployment(json!({"status": {"updatedReplicas": 1, "readyReplicas": 3}}));
        partitioned["spec"]["updateStrategy"] =
            json!({"type": "RollingUpdate", "rollingUpdate": {"partition": 2}});
        let result = |kind: &str, object: &Value| workload(Some(object), kind, "it").0;
        assert_eq!(result("StatefulSet", &partitioned), CheckResult::Passing);
        let mut by_hand = partitioned.clone();
        by_hand["spec"]["updateStrategy"] = json!({"type": "OnDelete"});
        assert_eq!(result("StatefulSet", &by_hand), CheckResult::Passing);
        for object in [&mut partitioned, &mut by_hand] {
            object["status"]["availableReplicas"] = 2.into();
            assert_eq!(result("StatefulSet", object), CheckResult::Failing);
        }
        by_hand["metadata"]["generation"] = 3.into();
        assert_eq!(result("StatefulSet", &by_hand), CheckResult::Unknown);
    }

    #[test]
    fn the_default_checks_cover_every_affected_workload_and_the_alerts() {
        let affected: Vec<Value> = (0..64)
            .map(|n| json!({"apiVersion": "apps/v1", "kind": "Deployment", "name": format!("d{n}")}))
            .collect();
        let mut incident = Incident::new("i", Default::default());
        incident.spec.affected = serde_json::from_value(json!(affected)).unwrap();
        assert_eq!(of(&incident, &IncidentStatus::default()).checks.len(), 65);
    }

    #[test]
    fn a_check_that_is_not_built_yet_is_named() {
        let target = |kind: &str| json!({"target": {"apiVersion": "apps/v1", "kind": kind, "name": "n"}});
        let mut condition = target("ReplicaSet");
        condition["type"] = json!("Available");
        let given: ReturnToService = serde_json::from_value(json!({"checks": [
            {"name": "a", "rollout": target("Deployment")}, {"name": "b", "rollout": target("Job")},
            {"name": "c", "condition": condition}]}))
        .unwrap();
        let named = |check: &str| format!("spec.returnToService.checks[{check}");
        let expected = [named("b].rollout.target.kind"), named("c].condition.target.kind")];
        assert_eq!(not_implemented(&given), expected);
    }

    /// An incident with a query as its only check, and a policy that lists these endpoints.
    fn queried(urls: &[&str]) -> (Incident, IncidentFacts, ReturnToService) {
        let given: ReturnToService = serde_json::from_value(json!({"checks": [
            {"name": "errors", "query": {"url": "http://p:9090", "promQL": "max(errors)", "below": "1"}}]}))
        .unwrap();
        let endpoints: Vec<Value> = urls.iter().map(|url| json!({"name": "p", "url": url})).collect();
        let spec = json!({"scope": {"namespaces": {"names": ["shop"]}}, "approval": {},
            "automation": {"endpoints": endpoints}});
        let policy = ChangePolicy::new("production", serde_json::from_value(spec).unwrap());
        let facts = IncidentFacts {
            policies: vec![std::sync::Arc::new(policy)],
            started: at(-3600),
            ..IncidentFacts::default()
        };
        let mut incident = Incident::new("i", Default::default());
        incident.metadata.namespace = Some("shop".into());
        (incident, facts, given)
    }

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_796_000_000 + second).unwrap()
    }

    #[test]
    fn a_look_outside_counts_while_it_is_fresh() {
        let (incident, mut facts, given) = queried(&["http://p:9090"]);
        let status = IncidentStatus::default();
        let result = |facts: &IncidentFacts, second| {
            let (results, wake) = evaluate(&incident, facts, &status, &given, at(second));
            (results[0].result, results[0].message.clone(), wake)
        };
        assert_eq!(result(&facts, 0), (CheckResult::Unknown, "not looked at yet".into(), Some(at(1))));
        for (verdict, expected) in [
            (Verdict::Passes, CheckResult::Passing),
            (Verdict::Fails, CheckResult::Failing),
            (Verdict::Inconclusive, CheckResult::Unknown),
        ] {
            let seen = Seen { verdict, message: "the value is 2".into() };
            facts.looks.insert("errors".into(), Observed { first: at(0), at: at(0), seen });
            assert_eq!(result(&facts, 1), (expected, "the value is 2".into(), Some(at(15))));
            assert_eq!(result(&facts, 60).0, expected);
            let (stale, message, wake) = result(&facts, 61);
            assert_eq!((stale, wake), (CheckResult::Unknown, Some(at(62))));
            assert!(message.starts_with("last looked at 2026-"), "{message}");
        }
    }

    #[test]
    fn a_new_process_keeps_what_was_stored_until_its_first_look() {
        let (incident, mut facts, given) = queried(&["http://p:9090"]);
        let stored = json!([{"name": "errors", "result": "Passing", "message": "the value is 0",
            "sinceTime": "2026-11-22T02:00:00Z"}]);
        let status =
            IncidentStatus { checks: serde_json::from_value(stored).unwrap(), ..IncidentStatus::default() };
        facts.started = at(0);
        let result = |second| evaluate(&incident, &facts, &status, &given, at(second)).0[0].result;
        assert_eq!(
            (result(1), result(29), result(30)),
            (CheckResult::Passing, CheckResult::Passing, CheckResult::Unknown)
        );
    }

    #[test]
    fn an_endpoint_that_no_policy_lists_is_not_called_and_named() {
        let (incident, mut facts, given) = queried(&["http://q:9090"]);
        let seen = Seen { verdict: Verdict::Passes, message: "of before it was taken off".into() };
        facts.looks.insert("errors".into(), Observed { first: at(0), at: at(0), seen });
        let (results, _) = evaluate(&incident, &facts, &IncidentStatus::default(), &given, at(1));
        let why = "cpol/production does not list the endpoint http://p:9090";
        assert_eq!(results[0].result, CheckResult::Unknown);
        assert!(results[0].message.starts_with(why), "{}", results[0].message);
        let policies: Vec<&ChangePolicy> = facts.policies.iter().map(|policy| &**policy).collect();
        let Some(NotReady::Waiting(Reason::EndpointNotListed, said)) = cannot_look(&given, &policies, "shop")
        else {
            panic!("it is not said")
        };
        assert!(said.starts_with(&format!("spec.returnToService.checks[errors].query.url: {why}")), "{said}");
        assert!(said.ends_with("kubectl edit cpol production"), "{said}");
    }

    #[test]
    fn a_check_that_can_never_look_outside_is_named_with_its_field() {
        let said = |check: Value| {
            let given: ReturnToService = serde_json::from_value(json!({"checks": [check]})).unwrap();
            match cannot_look(&given, &[], "shop") {
                Some(NotReady::Stalled(Reason::Invalid, said)) => said,
                other => panic!("{other:?}"),
            }
        };
        let url = said(json!({"name": "a", "http": {"url": "http://127.1/"}}));
        assert!(
            url.starts_with("spec.returnToService.checks[a].http.url: it is not in its normal form"),
            "{url}"
        );
        let query = |prom_ql: &str| {
            said(json!({"name": "a", "query": {"url": "http://p", "promQL": prom_ql, "below": "1"}}))
        };
        let parameter = query(r#"up{a="$cluster"}"#);
        assert!(parameter.contains("checks[a].query.promQL: $cluster is a parameter"), "{parameter}");
        assert!(query(r#"up{a="b}"#).contains("checks[a].query.promQL: a string in the query has no end"));
    }

    #[test]
    fn a_person_is_asked_once_everything_else_is_well() {
        let given: ReturnToService = serde_json::from_value(json!({"checks": [
            {"name": "payments", "confirmation": {"question": "Do payments work?"}},
            {"name": "alerts", "alertsCleared": {}}]}))
        .unwrap();
        let mut incident = Incident::new("i", Default::default());
        incident.metadata.uid = Some("iu".into());
        let signal = |end: Value| {
            json!([{"sourceRef": {"name": "am"}, "id": "a", "name": "Down", "severity": "SEV2", "endTime": end,
            "startTime": "2026-11-22T02:00:00Z", "lastSeenTime": "2026-11-22T02:00:00Z"}])
        };
        let am = json!({"apiVersion": "mayday.dev/v1alpha1", "kind": "AlertSource", "metadata": {"name": "am"},
            "spec": {"alertmanager": {}, "severity": {"fixed": "SEV2"}}});
        let facts = IncidentFacts {
            sources: vec![std::sync::Arc::new(serde_json::from_value(am).unwrap())],
            ..IncidentFacts::default()
        };
        let mut status = IncidentStatus::default();
        let mut asked = |end: Value, second: i64| {
            status.signals = serde_json::from_value(signal(end)).unwrap();
            let now = Timestamp::from_second(1_796_000_000 + second).unwrap();
            status.checks = evaluate(&incident, &facts, &status, &given, now).0;
            let names: Vec<&str> = status.checks.iter().map(|check| check.name.as_str()).collect();
            assert_eq!(names, ["payments", "alerts"], "in their order");
            status.checks[0].digest.clone()
        };
        let over = json!("2026-11-22T02:10:00Z");
        assert_eq!(asked(Value::Null, 0), None);
        let first = asked(over.clone(), 10);
        assert!(first.is_some());
        assert_eq!(asked(over.clone(), 20), first, "while it goes on being well");
        assert_eq!(asked(Value::Null, 30), None);
        assert_ne!(asked(over, 40), first, "an answer of before does not count");
    }
}
