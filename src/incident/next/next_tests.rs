use std::sync::Arc;

use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::*;
use crate::api::{ChangeRequest, RunbookRun};

const AT: &str = "2026-11-22T02:04:10Z";

fn object<K: DeserializeOwned>(kind: &str, name: &str, patch: Value) -> Arc<K> {
    let mut whole = json!({"apiVersion": "mayday.dev/v1alpha1", "kind": kind,
        "metadata": {"name": name, "uid": name, "namespace": "shop", "creationTimestamp": AT}});
    json_patch::merge(&mut whole, &patch);
    Arc::new(serde_json::from_value(whole).unwrap())
}

/// A shop with a policy, a service, emil on call and lena as lead.
fn shop() -> IncidentFacts {
    let rotation = |name: &str, user: &str| {
        let person = json!({"name": user, "user": user, "contacts": [{"channelRef": {"name": "hook"}}]});
        let layer = json!({"name": "l", "start": "2026-01-05T09:00", "shift": {"unit": "Weeks", "length": 1},
            "turns": [{"people": [user]}]});
        object(
            "OnCallRotation",
            name,
            json!({"spec": {"timeZone": "UTC", "people": [person], "layers": [layer]}}),
        )
    };
    let policy = json!({"spec": {"scope": {"namespaces": {"names": ["shop"]}}, "approval": {},
        "incident": {"leads": {"groups": ["leads"]}, "severities": ["SEV2"]}}});
    let service = json!({"spec": {"title": "Checkout", "objects": [deployment()],
        "rotations": {"onCall": {"name": "payments"}, "lead": {"name": "crisis"}}}});
    IncidentFacts {
        policies: vec![object("ChangePolicy", "p", policy)],
        services: vec![object("BusinessService", "checkout", service)],
        rotations: vec![rotation("payments", "emil"), rotation("crisis", "lena")],
        ..IncidentFacts::default()
    }
}

fn deployment() -> Value {
    json!({"apiVersion": "apps/v1", "kind": "Deployment", "name": "checkout"})
}

fn incident(spec: Value, status: &Value) -> Incident {
    let mut whole = json!({"title": "t", "severity": "SEV2", "affected": [deployment()]});
    json_patch::merge(&mut whole, &spec);
    (*object::<Incident>("Incident", "i", json!({"spec": whole, "status": status}))).clone()
}

fn by(user: &str) -> Value {
    json!({"user": user, "time": AT})
}

/// A copy of the service, as an open incident has it.
fn status(patch: Value) -> Value {
    let mut whole = json!({"startTime": AT, "service": {"ref": {"name": "checkout", "uid": "checkout"}, "title": "Checkout",
        "rotations": {"onCall": {"name": "payments"}, "lead": {"name": "crisis"}}}});
    json_patch::merge(&mut whole, &patch);
    whole
}

/// The next action: who, what, command.
fn said(state: IncidentState, spec: Value, status: Value, facts: &IncidentFacts) -> (String, String, String) {
    let incident = incident(spec, &status);
    let scene = Scene {
        incident: &incident,
        facts,
        status: incident.status.as_ref().unwrap(),
        proved_at: "2026-11-22T02:30:00Z".parse().ok(),
        overdue: None,
        now: "2026-11-22T02:20:00Z".parse().unwrap(),
    };
    let next = decide(&scene, state).unwrap();
    (next.who, next.what, next.command.unwrap())
}

fn runbook(blocked: Option<&str>) -> Value {
    json!([{"name": "restart", "summary": "s", "automatic": false, "blocked": blocked}])
}

fn led() -> Value {
    json!({"roles": {"lead": by("lena")}})
}

fn request(state: &str, patch: Value) -> Arc<ChangeRequest> {
    let mut whole = json!({"spec": {"reason": "r", "requester": {"user": "emil"}, "changes": []},
        "status": {"state": state, "missing": "lena (lead) and one of amir, bea", "incidents": [{"name": "i", "uid": "i"}]}});
    json_patch::merge(&mut whole, &patch);
    object("ChangeRequest", "v1", whole)
}

/// A printed command does not do what it says: each state names the command of the person who is asked.
#[test]
fn every_state_gives_the_person_who_is_asked_their_command() {
    use IncidentState::{Acknowledged, Crisis, Monitoring, Open, Remediating, Resolved, Restored};
    let escalation = |people: Value| json!({"level": 0, "round": 0, "people": people});
    let calls = |people: Value| status(json!({"escalation": escalation(people)}));
    let unreached = status(json!({"escalation": escalation(json!(["emil"])),
        "pageDelivery": {"failure": "emil by hook: answered 503"}}));
    let exhausted = status(json!({"escalation": {"level": -1, "round": 0, "exhausted": true}}));
    let on_it = |patch: Value| {
        let mut whole = status(json!({"acknowledgement": by("bea")}));
        json_patch::merge(&mut whole, &patch);
        whole
    };
    let lead = |patch: Value| on_it(json!({"lead": by("lena"), "runbooks": patch}));
    let question = json!([{"name": "reported", "result": "Unknown", "message": "Is it over?", "sinceTime": AT, "digest": "d"}]);
    let (shop, wild) = (shop(), IncidentFacts::default());
    let mut asked = self::shop();
    asked.requests = vec![request("Waiting", json!({}))];
    let mut unled = self::shop();
    unled.requests =
        vec![request("Waiting", json!({"status": {"missing": "a lead (lena must claim it: c) and bea"}}))];
    let mut approved = self::shop();
    approved.requests = vec![request("Approved", json!({}))];
    let mut actors = self::shop();
    actors.requests = vec![request(
        "Approved",
        json!({"spec": {"actors": [{"user": "carl"}], "window": {"notBefore": "2026-11-22T03:00:00Z"}}}),
    )];
    let mut frozen = self::shop();
    let condition = json!({"type": "Blocked", "status": "True", "reason": "Frozen", "message": "", "lastTransitionTime": AT});
    frozen.runs = vec![object(
        "RunbookRun",
        "r",
        json!({"spec": {"runbookRef": {"name": "restart"}, "incidentRef": {"name": "i"}}, "status": {"state": "Blocked",
            "conditions": [condition], "next": {"who": "nobody", "what": "frz/sale stops automation"}}}),
    )];
    let mut running = self::shop();
    running.runs = vec![object(
        "RunbookRun",
        "r",
        json!({"spec": {"runbookRef": {"name": "restart"}, "incidentRef": {"name": "i"}}, "status": {"state": "Running"}}),
    )];
    let none = || json!({});
    let rows: Vec<(IncidentState, Value, Value, &IncidentFacts, &str, &str, &str)> = vec![
        (Open, none(), calls(json!(["emil"])), &shop, "emil", "acknowledge", "ack inc/i"),
        (Open, none(), status(none()), &shop, "whoever is on duty", "acknowledge", "ack inc/i"),
        (
            Open,
            none(),
            unreached,
            &shop,
            "anybody",
            "no page was delivered (emil by hook: answered 503): call emil, or acknowledge it yourself",
            "ack inc/i",
        ),
        (
            Open,
            none(),
            exhausted,
            &shop,
            "anybody",
            "acknowledge; nobody can be paged, and the timeline says why: call emil",
            "ack inc/i",
        ),
        (
            Acknowledged,
            none(),
            on_it(json!({"runbooks": runbook(None)})),
            &shop,
            "bea",
            "run runbook restart, or call a lead: lena",
            "run restart --incident i",
        ),
        (
            Acknowledged,
            none(),
            on_it(json!({"runbooks": runbook(Some("only by hand: kubectl mayday run -n shop restart"))})),
            &shop,
            "bea",
            "run runbook restart, or call a lead: lena",
            "run restart --incident i",
        ),
        (
            Acknowledged,
            none(),
            on_it(json!({"runbooks": runbook(Some("it is suspended"))})),
            &shop,
            "bea",
            "call a lead: lena",
            "who crisis",
        ),
        (Acknowledged, none(), on_it(none()), &shop, "bea", "call a lead: lena", "who crisis"),
        (
            Acknowledged,
            none(),
            on_it(json!({"acknowledgement": by("lena")})),
            &shop,
            "lena",
            "claim the lead",
            "lead inc/i",
        ),
        (
            Acknowledged,
            none(),
            on_it(none()),
            &wild,
            "bea",
            "repair it, and say that it is over",
            "resolve inc/i --outcome unproved --reason \"…\"",
        ),
        (
            Acknowledged,
            none(),
            on_it(json!({"runbooks": runbook(None)})),
            &wild,
            "bea",
            "run runbook restart, or say that it is over",
            "run restart --incident i",
        ),
        (
            Acknowledged,
            none(),
            on_it(json!({"checks": question})),
            &shop,
            "emil",
            "answer: Is it over?",
            "answer inc/i reported confirm",
        ),
        (
            Acknowledged,
            none(),
            on_it(json!({"checks": question})),
            &wild,
            "bea",
            "say when it is over; Is it over?",
            "resolve inc/i --outcome unproved --reason \"…\"",
        ),
        (
            Acknowledged,
            none(),
            on_it(none()),
            &unled,
            "lena",
            "claim the lead: chg/v1 waits for it",
            "lead inc/i",
        ),
        (Acknowledged, none(), on_it(none()), &approved, "emil", "apply chg/v1", "apply chg/v1"),
        (Remediating, none(), on_it(none()), &running, "nobody", "run/r is at work", "show run/r"),
        (
            Remediating,
            none(),
            on_it(none()),
            &frozen,
            "bea",
            "decide: run/r goes on when the freeze ends, or cancel it and repair by hand; frz/sale stops automation",
            "cancel run/r",
        ),
        (
            Crisis,
            led(),
            lead(json!([])),
            &asked,
            "lena (lead) and one of amir, bea",
            "approve chg/v1",
            "approve chg/v1",
        ),
        (Crisis, led(), lead(json!([])), &approved, "emil", "apply chg/v1", "apply chg/v1"),
        (
            Crisis,
            led(),
            lead(json!([])),
            &actors,
            "carl",
            "apply chg/v1 from 2026-11-22 03:00:00 UTC",
            "apply chg/v1",
        ),
        (
            Crisis,
            led(),
            lead(runbook(None)),
            &shop,
            "lena",
            "decide: run runbook restart, or ask for a change",
            "run restart --incident i",
        ),
        (
            Crisis,
            led(),
            lead(json!([])),
            &shop,
            "lena",
            "decide: no runbook fits; look at the checks and the last changes, and ask for a change",
            "show inc/i",
        ),
        (
            Crisis,
            json!({"roles": {"lead": by("lena"), "nominatedLead": by("emil")}}),
            lead(json!([])),
            &shop,
            "emil",
            "claim the lead, which lena hands over",
            "lead inc/i",
        ),
        (
            Crisis,
            json!({"roles": {"lead": by("lena"), "nominatedLead": by("zoe")}}),
            lead(json!([])),
            &asked,
            "zoe",
            "claim the lead, which lena hands over; no rotation says how to page zoe: call them",
            "lead inc/i",
        ),
        (
            Monitoring,
            none(),
            on_it(none()),
            &shop,
            "nobody",
            "the checks must go on passing until 2026-11-22 02:30:00 UTC",
            "show inc/i",
        ),
        (Restored, led(), lead(json!([])), &shop, "lena", "resolve", "resolve inc/i"),
        (Restored, none(), on_it(none()), &shop, "nobody", "it resolves by itself", "show inc/i"),
        (
            Resolved,
            led(),
            lead(json!([])),
            &shop,
            "lena",
            "read the report; a review (spec.review) is not acted on yet",
            "report inc/i",
        ),
    ];
    for (state, spec, status, facts, who, what, command) in rows {
        let (verb, rest) = command.split_once(' ').unwrap();
        let command = format!("kubectl mayday {verb} -n shop {rest}");
        let expected = (who.to_owned(), what.to_owned(), command);
        assert_eq!(said(state, spec, status, facts), expected, "{state}");
    }
}

#[test]
fn what_is_over_has_no_next_action() {
    let incident = incident(json!({}), &status(json!({})));
    let facts = shop();
    for state in [IncidentState::Closed, IncidentState::FalseAlarm, IncidentState::Duplicate] {
        let status = incident.status.as_ref().unwrap();
        let now = Timestamp::UNIX_EPOCH;
        let scene = Scene { incident: &incident, facts: &facts, status, proved_at: None, overdue: None, now };
        assert_eq!(decide(&scene, state), None);
    }
}

#[test]
fn the_younger_of_two_incidents_says_where_it_goes_on() {
    let mut facts = shop();
    let older = json!({"metadata": {"creationTimestamp": "2026-11-22T02:00:00Z"},
        "spec": {"title": "t", "severity": "SEV2", "serviceRefs": [{"name": "checkout"}]}, "status": status(json!({}))});
    facts.incidents = vec![object("Incident", "older", older)];
    let (who, what, command) = said(IncidentState::Open, json!({}), status(json!({})), &facts);
    assert_eq!((who.as_str(), what.as_str()), ("nobody", "it goes on as inc/older, the same outage"));
    assert_eq!(command, "kubectl mayday show -n shop inc/older");
    let status = status(json!({"lead": by("lena")}));
    let (who, what, command) = said(IncidentState::Crisis, led(), status, &facts);
    assert_eq!((who.as_str(), what.as_str()), ("lena", "claim the lead of inc/older, the same outage"));
    assert_eq!(command, "kubectl mayday lead -n shop inc/older");
}

#[test]
fn an_overdue_update_waits_for_the_one_voice() {
    let said = |roles: Value| {
        let incident = incident(json!({"roles": roles}), &status(json!({"lead": by("lena")})));
        let facts = shop();
        let scene = Scene {
            incident: &incident,
            facts: &facts,
            status: incident.status.as_ref().unwrap(),
            proved_at: None,
            overdue: "2026-11-22T02:40:00Z".parse().ok(),
            now: "2026-11-22T02:41:00Z".parse().unwrap(),
        };
        let next = decide(&scene, IncidentState::Crisis).unwrap();
        (waiting_on(&next), next.command.unwrap())
    };
    let (who, command) = said(json!({"lead": by("lena"), "communications": {"user": "carl"}}));
    assert_eq!(who, "carl: write to stakeholders, who were to hear by 2026-11-22 02:40:00 UTC");
    assert_eq!(command, "kubectl mayday update -n shop inc/i \"…\"");
    assert!(said(json!({"lead": by("lena")})).0.starts_with("lena: write"), "nobody else speaks");
}

fn checks(checks: &[(&str, Option<&str>, bool)]) -> Value {
    let check = |(result, digest, answered): &(&str, Option<&str>, bool)| {
        let answered = answered.then(|| by("emil"));
        json!({"name": "c", "result": result, "message": "m", "sinceTime": AT, "digest": digest, "answered": answered})
    };
    let checks: Vec<Value> = checks.iter().map(check).collect();
    status(json!({"lead": by("lena"), "checks": checks}))
}

#[test]
fn an_outage_that_no_check_can_see_is_ended_by_lead_and_peer() {
    let crisis = |status| said(IncidentState::Crisis, led(), status, &shop());
    let command = "kubectl mayday resolve -n shop inc/i --outcome unproved --reason \"…\" --ask";
    for blind in [
        checks(&[("Passing", None, false), ("Unknown", None, false)]),
        checks(&[("Failing", Some("d"), true)]),
    ] {
        let (who, what, said) = crisis(blind);
        assert_eq!((who.as_str(), said.as_str()), ("lena", command));
        assert!(what.starts_with("repair it; if service is back"), "{what}");
    }
    let still_out = checks(&[("Failing", None, false), ("Unknown", None, false)]);
    assert!(crisis(still_out).1.starts_with("decide"));
    let (who, what, said) = crisis(checks(&[("Unknown", Some("d"), false)]));
    assert_eq!((who.as_str(), what.as_str()), ("lena", "answer: m"), "the lead may answer too");
    assert_eq!(said, "kubectl mayday answer -n shop inc/i c confirm");
}

#[test]
fn an_end_that_was_said_too_early_waits_for_its_proof() {
    let mut spec = led();
    spec["resolution"] = json!({"outcome": "Restored"});
    let early = "; it is resolved, as was said, once it is proved";
    let what = |status: Value| said(IncidentState::Crisis, spec.clone(), status, &shop()).1;
    assert!(what(status(json!({"lead": by("lena")}))).ends_with(early));
    assert!(!what(status(json!({"lead": by("lena"), "restoredTime": AT}))).ends_with(early));
}

#[test]
fn a_runbook_that_has_run_for_the_outage_is_not_the_next_one() {
    let mut facts = shop();
    let ended = |patch: Value| -> Arc<RunbookRun> {
        let mut whole = json!({"spec": {"runbookRef": {"name": "restart"}, "incidentRef": {"name": "i"}},
            "status": {"state": "Failed", "endTime": "2026-11-22T02:10:00Z"}});
        json_patch::merge(&mut whole, &patch);
        object("RunbookRun", "r", whole)
    };
    let acknowledged = status(json!({"acknowledgement": by("bea"), "runbooks": runbook(None)}));
    let mut next = |run: Arc<RunbookRun>| {
        facts.runs = vec![run];
        said(IncidentState::Acknowledged, json!({}), acknowledged.clone(), &facts).1
    };
    assert_eq!(next(ended(json!({}))), "call a lead: lena");
    assert!(next(ended(json!({"spec": {"dryRun": true}}))).starts_with("run runbook restart"));
    assert!(
        next(ended(json!({"status": {"endTime": "2026-11-22T02:00:00Z"}})))
            .starts_with("run runbook restart")
    );
}

/// The answer to the question about a report counts, as the guard lets the same people answer.
#[test]
fn the_person_who_is_asked_a_question_may_answer_it() {
    let question =
        json!([{"name": "reported", "result": "Unknown", "message": "m", "sinceTime": AT, "digest": "d"}]);
    let answers = |user: &str| {
        let status = status(json!({"acknowledgement": by(user), "checks": question}));
        said(IncidentState::Acknowledged, json!({}), status, &shop()).0
    };
    assert_eq!([answers("emil"), answers("bea")], ["emil", "emil"], "bea is not on duty");
}
