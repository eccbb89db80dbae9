//! Runs whose steps reach outside of the API server.

use std::collections::VecDeque;

use serde_json::json;

use super::*;
use crate::outbound::look::Seen as Outside;
use crate::outbound::look::Verdict;
use crate::runbook::limits::Obstacle;

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + second).unwrap()
}

/// A run of one step, and what its far side does.
struct Scene {
    spec: RunbookSpec,
    status: RunbookRunStatus,
    pass: Pass,
    /// What becomes of each request; `None`: the process dies after it was sent.
    answers: VecDeque<Option<Sent>>,
    /// Operation id and body of each request that was sent, and when.
    sent: Vec<(String, Value, i64)>,
    looks: VecDeque<Outside>,
    permit: Permit,
    /// After that many requests the process dies.
    dies_after: Option<usize>,
    cancel: bool,
    dry_run: bool,
    now: i64,
}

fn scene(step: Value, answers: Vec<Option<Sent>>) -> Scene {
    let spec: RunbookSpec =
        serde_json::from_value(json!({"summary": "s", "serviceAccountName": "sa", "steps": [step]})).unwrap();
    let status = RunbookRunStatus { steps: journal::steps(&spec, &[vec![]]), ..RunbookRunStatus::default() };
    Scene {
        spec,
        status,
        pass: Pass::default(),
        answers: answers.into(),
        sent: Vec::new(),
        looks: VecDeque::new(),
        permit: Permit::Go,
        dies_after: None,
        cancel: false,
        dry_run: false,
        now: 0,
    }
}

fn flush(idempotency: &str) -> Value {
    json!({"name": "flush", "timeout": "5m", "http": {"url": "http://cache:8080", "path": "/flush", "method": "PUT",
        "idempotency": idempotency}})
}

impl Scene {
    /// Goes on until the run has ended, or until it waits beyond an instant.
    fn goes_on(&mut self, until: i64) -> RunState {
        for _ in 0..200 {
            let facts = RunFacts {
                namespace: "shop",
                name: "run",
                uid: "run-uid",
                generation: 1,
                cancel: self.cancel.then_some("cancelled by emil"),
                dry_run: self.dry_run,
                place: "shop",
                on_copies: false,
                alone: None,
                actor: "system:serviceaccount:shop:sa",
                asked: "emil",
                spec: &self.spec,
                status: &self.status,
                pass: &self.pass,
            };
            match decide(&facts, at(self.now)) {
                Move::AskPermit => self.pass.permit = Some(self.permit.clone()),
                Move::LookOutside(0) => self.pass.outside = Some(self.looks.pop_front().unwrap()),
                Move::Store(status) => {
                    let announced = parts::announced(&status).is_some();
                    let sent = if announced { Sent::NotYet } else { Sent::Unknown };
                    self.status = *status;
                    self.pass = Pass { sent, ..Pass::default() };
                }
                Move::Hold(status, wake) => {
                    self.status = *status;
                    self.pass = Pass::default();
                    let wake = wake.map_or(i64::MAX, |wake| wake.as_second() - at(0).as_second());
                    if wake > until {
                        break;
                    }
                    self.now = self.now.max(wake);
                }
                Move::Act(act) => {
                    self.sent.push((act.operation_id.clone(), act.body.clone().unwrap(), self.now));
                    let sent = self.answers.pop_front().unwrap().unwrap_or_default();
                    self.pass = Pass { sent, ..Pass::default() };
                    if self.dies_after == Some(self.sent.len()) {
                        self.pass = Pass::default();
                        break;
                    }
                }
                Move::Done => break,
                other => panic!("{other:?}"),
            }
        }
        self.status.state.unwrap_or_default()
    }

    fn message(&self) -> &str {
        self.status.steps[0].message.as_deref().unwrap_or_default()
    }
}

fn applied() -> Option<Sent> {
    Some(Sent::Applied(vec![Output { name: "status".into(), value: "204".into() }]))
}

fn lost() -> Option<Sent> {
    Some(Sent::Unanswered("cache:8080 did not answer within 10 s".into()))
}

#[test]
fn a_request_is_sent_once_and_its_status_is_kept() {
    for idempotency in ["Key", "SafeMethod", "None"] {
        let mut scene = scene(flush(idempotency), vec![applied()]);
        assert_eq!(scene.goes_on(1000), RunState::Succeeded);
        assert_eq!(scene.sent.len(), 1);
        let step = &scene.status.steps[0];
        assert_eq!(step.message.as_deref(), Some("endpoint/cache:8080 was called"));
        assert_eq!((step.outputs[0].name.as_str(), step.outputs[0].value.as_str()), ("status", "204"));
    }
}

// A timeout after the request was sent: nothing is sent again, and a person is asked.
#[test]
fn a_request_that_may_not_be_repeated_is_unknown_without_an_answer() {
    for answer in [lost(), None] {
        let mut scene = scene(flush("None"), vec![answer]);
        assert_eq!(scene.goes_on(1000), RunState::Unknown);
        assert_eq!(scene.sent.len(), 1, "it is not sent again");
        assert!(
            scene.message().contains("nobody knows whether the request had an effect"),
            "{}",
            scene.message()
        );
    }
}

// An answer that comes after the timeout: the same key again, with growing pauses.
#[test]
fn a_request_with_a_key_is_sent_again_as_it_was() {
    let mut scene = scene(flush("Key"), vec![lost(), None, lost(), applied()]);
    assert_eq!(scene.goes_on(1000), RunState::Succeeded);
    let (operation, body, _) = scene.sent[0].clone();
    assert_eq!((operation.as_str(), &body["key"]), ("run-uid/flush/0", &json!("run-uid/flush/0")));
    assert!(scene.sent.iter().all(|(again, same, _)| (again, same) == (&operation, &body)));
    let times: Vec<i64> = scene.sent.iter().map(|(_, _, time)| *time).collect();
    assert!(times.is_sorted() && times.len() == 4 && times[3] > times[0], "{times:?}");
}

#[test]
fn a_request_that_is_never_answered_ends_unknown_and_not_as_failed() {
    let mut scene = scene(flush("Key"), std::iter::repeat_n(lost(), 100).collect());
    assert_eq!(scene.goes_on(1000), RunState::Unknown);
    assert!(scene.sent.len() > 3 && scene.sent.len() < 30, "{} requests", scene.sent.len());
    assert!(
        scene.message().contains("nobody knows whether endpoint/cache:8080 was called"),
        "{}",
        scene.message()
    );
}

#[test]
fn what_stops_a_run_between_two_sends_does_not_make_the_first_undone() {
    let stop = Permit::Stop(RunState::Failed, "stopped before its next act: rb/x is not approved".into());
    for (cancel, permit) in [(true, Permit::Go), (false, stop)] {
        let mut scene = scene(flush("Key"), vec![lost(), applied()]);
        scene.dies_after = Some(1);
        scene.goes_on(1000);
        (scene.cancel, scene.permit) = (cancel, permit);
        assert_eq!(scene.goes_on(1000), RunState::Unknown, "{}", scene.message());
        assert_eq!(scene.sent.len(), 1);
    }
    // Blocked, it goes on with the same request.
    let mut scene = scene(flush("Key"), vec![lost(), applied()]);
    scene.dies_after = Some(1);
    scene.goes_on(1000);
    let obstacle = Obstacle {
        reason: crate::api::conditions::Reason::NotAllowed,
        message: "a freeze".into(),
        until: Some(at(60)),
    };
    scene.permit = Permit::Wait(obstacle);
    scene.goes_on(59);
    scene.permit = Permit::Go;
    scene.now = 60;
    assert_eq!(scene.goes_on(1000), RunState::Succeeded, "{}", scene.message());
    assert_eq!((scene.sent.len(), &scene.sent[0].0), (2, &scene.sent[1].0));
}

#[test]
fn an_answer_that_means_failure_fails_the_step() {
    let mut scene = scene(flush("Key"), vec![Some(Sent::Failed("cache:8080 answered 404".into()))]);
    assert_eq!(scene.goes_on(1000), RunState::Failed);
    assert_eq!(scene.message(), "cache:8080 answered 404");
}

/// Failure list 54: a receiver that asks for time gets it, and no attempt is used up by that.
#[test]
fn a_request_that_is_turned_away_waits_as_long_as_it_is_asked_to() {
    let seconds = SignedDuration::from_secs;
    let busy =
        |asked: Option<i64>| Some(Sent::TurnedAway("cache:8080 answered 429".into(), asked.map(seconds)));
    for idempotency in ["None", "Key"] {
        let mut scene = scene(flush(idempotency), vec![busy(Some(40)), busy(None), applied()]);
        assert_eq!(scene.goes_on(1000), RunState::Succeeded, "{}", scene.message());
        let times: Vec<i64> = scene.sent.iter().map(|(_, _, time)| *time).collect();
        assert_eq!((times[0], times[1]), (0, 40));
        assert!(times[2] > 40 && times[2] <= 71, "{times:?}");
        assert!(scene.sent.iter().all(|(operation, ..)| *operation == scene.sent[0].0), "one operation");
        assert_eq!(scene.status.steps[0].retries, 0);
    }
    // It asks for more time than the step has.
    let mut late = scene(flush("None"), vec![busy(Some(301))]);
    assert_eq!(late.goes_on(1000), RunState::Failed);
    assert_eq!(late.message(), "not in time: cache:8080 answered 429");
}

#[test]
fn a_request_whose_effect_is_open_stays_open_while_its_receiver_is_busy() {
    let seconds = SignedDuration::from_secs;
    let said = || "cache:8080 answered 503".to_owned();
    let mut waits = scene(flush("Key"), vec![Some(Sent::Busy(said(), seconds(60))), applied()]);
    waits.goes_on(10);
    // Another process, or this one because something else has changed, looks at the run meanwhile.
    waits.now = 30;
    assert_eq!(waits.goes_on(1000), RunState::Succeeded, "{}", waits.message());
    assert_eq!(waits.sent[1].2, 60);
    let turned_away = Some(Sent::TurnedAway(said(), Some(seconds(60))));
    let mut open = scene(flush("Key"), vec![lost(), turned_away, applied()]);
    assert_eq!(open.goes_on(1000), RunState::Succeeded, "{}", open.message());
    assert!(open.sent[2].2 >= open.sent[1].2 + 60, "{:?}", open.sent);
    assert_eq!(open.sent[0].1, open.sent[2].1, "the same request, with the same key");
    let mut unknown = scene(flush("None"), vec![Some(Sent::Busy(said(), seconds(60)))]);
    assert_eq!(unknown.goes_on(1000), RunState::Unknown, "a 503 says nothing about the effect");
}

#[test]
fn a_dry_run_sends_nothing() {
    let mut scene = scene(flush("None"), vec![]);
    scene.dry_run = true;
    assert_eq!(scene.goes_on(1000), RunState::DryRunComplete);
    assert_eq!(scene.message(), "would send PUT http://cache:8080/flush; a dry run sends nothing");
}

#[test]
fn a_check_outside_waits_until_it_passes_and_never_passes_by_what_is_unknown() {
    let check = json!({"name": "errors", "timeout": "1m",
        "check": {"query": {"url": "http://p:9090", "promQL": "max(errors)", "below": "1"}}});
    let seen = |verdict, message: &str| Outside { verdict, message: message.to_owned() };
    let mut passes = scene(check.clone(), vec![]);
    passes.looks = [
        seen(Verdict::Inconclusive, "the value is NaN, which is no number"),
        seen(Verdict::Fails, "the value is 2, not below 1"),
        seen(Verdict::Passes, "the value is 0, below 1"),
    ]
    .into();
    assert_eq!(passes.goes_on(1000), RunState::Succeeded);
    assert_eq!((passes.message(), passes.now), ("the value is 0, below 1", 10));
    let mut never = scene(check, vec![]);
    never.looks =
        std::iter::repeat_n(seen(Verdict::Inconclusive, "Prometheus cannot be reached"), 20).collect();
    assert_eq!(never.goes_on(1000), RunState::Failed);
    assert_eq!(never.message(), "not in time: Prometheus cannot be reached");
}
