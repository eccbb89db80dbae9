//! The breaker: whether a Runbook may still start by itself, computed from the runs that its status remembers, so that a
//! restart of the operator or a deletion of runs changes nothing (docs/rules.md#run-breaker). Pure.
//!
//! What happened is told again in its order, each time: a run began, it ended, the outage came back, or the repair has
//! lasted. There is no counter that could be lost.

use jiff::Timestamp;
use kube::ResourceExt;

use super::limits::Obstacle;
use crate::api::Runbook;
use crate::api::breaker::{Breaker, BreakerState, BreakerStatus};
use crate::api::common::stored_time;
use crate::api::conditions::Reason;
use crate::api::runbook::RecentRun;
use crate::api::runbook_run::RunState;
use crate::command::{Command, Verb};
use crate::text::instant;

/// What a breaker is now.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Judgement {
    /// Its state.
    pub state: BreakerState,
    /// Since when; `None` if it has never opened.
    pub since: Option<Timestamp>,
    /// Open: when one run is tried.
    pub until: Option<Timestamp>,
    /// Why it opened.
    pub why: String,
    /// Half-open: the run that is being tried.
    pub trial: Option<String>,
    /// What happened before this counts for nothing any more; `None` if everything counts.
    pub counts_from: Option<Timestamp>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum What {
    Began,
    Ended,
    CameBack,
    Lasted,
}

/// Everything that the remembered runs tell, in its order.
fn story<'a>(
    breaker: &Breaker,
    recent: &[&'a RecentRun],
    now: Timestamp,
) -> Vec<(Timestamp, What, &'a RecentRun)> {
    let mut runs = recent.to_vec();
    runs.sort_by_key(|run| (run.start_time.0, &run.uid));
    let mut told = Vec::new();
    for run in runs {
        told.push((run.start_time.0, What::Began, run));
        let Some(end) = run.end_time.as_ref().map(|time| time.0) else { continue };
        told.push((end, What::Ended, run));
        if run.outcome != Some(RunState::Succeeded) {
            continue;
        }
        let lasted = end.checked_add(breaker.within().get()).unwrap_or(Timestamp::MAX);
        match &run.regressed_time {
            Some(time) => told.push((time.0.max(end), What::CameBack, run)),
            None => told.push((lasted, What::Lasted, run)),
        }
    }
    told.retain(|(at, ..)| *at <= now);
    told.sort_by_key(|(at, ..)| *at);
    told
}

/// The state while the story is told.
struct Telling<'a> {
    breaker: &'a Breaker,
    begun: Vec<Timestamp>,
    failures: i32,
    flaps: i32,
    opened: Option<Timestamp>,
    trial: Option<&'a RecentRun>,
    so_far: Judgement,
}

impl<'a> Telling<'a> {
    fn is_clean(&self) -> bool {
        self.so_far.state == BreakerState::Closed && self.failures == 0 && self.flaps == 0
    }

    fn opens(&mut self, at: Timestamp, why: Option<String>) {
        self.so_far.state = BreakerState::Open;
        self.opened = Some(at);
        self.so_far.since = Some(at);
        self.so_far.until = at.checked_add(self.breaker.open_for().get()).ok();
        if let Some(why) = why {
            self.so_far.why = why;
        }
        self.trial = None;
    }

    /// One run may be tried once the time is over.
    fn passes(&mut self, at: Timestamp) {
        if self.so_far.state == BreakerState::Open && self.so_far.until.is_some_and(|until| until <= at) {
            self.so_far.state = BreakerState::HalfOpen;
            self.so_far.since = self.so_far.until.take();
        }
    }

    fn closes(&mut self, at: Timestamp) {
        let counts_from = self.so_far.counts_from;
        self.so_far = Judgement { since: Some(at), counts_from, ..Judgement::default() };
        (self.opened, self.trial) = (None, None);
    }

    fn hears(&mut self, at: Timestamp, what: What, run: &'a RecentRun) {
        self.passes(at);
        let is_closed = self.so_far.state == BreakerState::Closed;
        let is_trial = self.trial.is_some_and(|trial| trial.uid == run.uid);
        match what {
            What::Began => {
                self.begun.push(at);
                if self.so_far.state == BreakerState::HalfOpen && self.trial.is_none() {
                    self.trial = Some(run);
                }
                let Some(limit) = self.breaker.runs.as_ref().filter(|_| is_closed) else { return };
                let since = at.checked_sub(limit.per.get()).unwrap_or(Timestamp::MIN);
                let count = self.begun.iter().filter(|begun| **begun > since).count();
                if count >= usize::try_from(limit.max).unwrap_or(0) {
                    self.opens(at, Some(format!("{count} runs began within {}", limit.per)));
                }
            }
            What::Ended => match run.outcome {
                Some(RunState::Succeeded) => {
                    self.failures = 0;
                    // A run that began before it opened proves nothing about what has happened since.
                    let is_proof = self.opened.is_some_and(|opened| run.start_time.0 > opened) || is_trial;
                    if !is_closed && is_proof {
                        self.closes(at);
                    }
                }
                // It was stopped, which says nothing about it.
                Some(RunState::Cancelled) => self.trial = self.trial.filter(|_| !is_trial),
                _ => {
                    self.failures = self.failures.saturating_add(1);
                    let count = self.failures;
                    let is_reached = self.breaker.failures.is_some_and(|most| count >= most);
                    if is_trial || (is_closed && is_reached) {
                        let why = (!is_trial).then(|| format!("{} failed", after_another(count)));
                        self.opens(at, why);
                    }
                }
            },
            What::CameBack => {
                self.flaps = self.flaps.saturating_add(1);
                let count = self.flaps;
                if is_closed && self.breaker.flaps.is_some_and(|most| count >= most) {
                    let within = self.breaker.within();
                    let why = format!("after {} the outage came back within {within}", after_another(count));
                    self.opens(at, Some(why));
                }
            }
            What::Lasted => self.flaps = 0,
        }
    }
}

fn after_another(count: i32) -> String {
    if count == 1 { "1 run".to_owned() } else { format!("{count} runs, one after the other,") }
}

/// What the breaker is after all that has happened. Before `counts_from` only the starts of runs count.
pub fn judge(
    breaker: &Breaker,
    recent: &[&RecentRun],
    counts_from: Option<Timestamp>,
    now: Timestamp,
) -> Judgement {
    let told = story(breaker, recent, now);
    let first = Judgement { counts_from, ..Judgement::default() };
    let mut telling = Telling {
        breaker,
        begun: Vec::new(),
        failures: 0,
        flaps: 0,
        opened: None,
        trial: None,
        so_far: first,
    };
    // The end of a run that works may be noticed later than it happened.
    let working = recent.iter().filter(|run| run.end_time.is_none()).map(|run| run.start_time.0).min();
    let times = told.iter().map(|(at, ..)| *at).skip(1).chain([now]);
    for ((at, what, run), next) in told.iter().zip(times) {
        if counts_from.is_some_and(|from| *at < from) {
            if *what == What::Began {
                telling.begun.push(*at);
            }
            continue;
        }
        telling.hears(*at, *what, run);
        if telling.is_clean() && next > *at && working.is_none_or(|start| next <= start) {
            telling.so_far.counts_from = telling.so_far.counts_from.max(Some(next));
        }
    }
    telling.passes(now);
    telling.so_far.trial = telling.trial.map(|run| run.name.clone());
    telling.so_far
}

/// Whether a run must be remembered for what may still happen to the breaker.
pub fn needs(breaker: &Breaker, run: &RecentRun, judged: &Judgement) -> bool {
    let Some(end) = run.end_time.as_ref().map(|time| time.0) else { return true };
    let lasted = end.checked_add(breaker.within().get()).unwrap_or(Timestamp::MAX);
    let last = match (&run.regressed_time, run.outcome) {
        (Some(time), _) => time.0.max(end),
        (None, Some(RunState::Succeeded)) if breaker.flaps.is_some() => lasted,
        _ => end,
    };
    let Some(from) = judged.counts_from else { return true };
    // A start counts for as long as it may be among those of a later one.
    let is_counted = breaker
        .runs
        .as_ref()
        .is_some_and(|limit| run.start_time.0.checked_add(limit.per.get()).unwrap_or(Timestamp::MAX) > from);
    is_counted || last >= from
}

/// What the status of a Runbook says about its breaker; `None` without one. `before` is what it said.
pub fn status(
    breaker: Option<&Breaker>,
    judged: &Judgement,
    before: Option<&BreakerStatus>,
) -> Option<BreakerStatus> {
    breaker?;
    let time = |time: Option<Timestamp>| time.map(stored_time);
    let is_closed = judged.state == BreakerState::Closed;
    // The runs that tell when it closed may be forgotten.
    let closed = before.filter(|before| is_closed && before.state == BreakerState::Closed);
    let closed = closed.and_then(|before| before.since_time.clone());
    Some(BreakerStatus {
        state: judged.state,
        since_time: time(judged.since).or(closed),
        until_time: time(judged.until),
        message: (!is_closed).then(|| judged.why.clone()),
        counts_from_time: time(judged.counts_from),
        paged_time: before.and_then(|before| before.paged_time.clone()).filter(|_| !is_closed),
    })
}

/// The judgement over what a Runbook remembers; the run with the UID `except` does not count.
pub fn of(
    runbook: &Runbook,
    recent: &[RecentRun],
    except: Option<&str>,
    now: Timestamp,
) -> Option<Judgement> {
    let breaker = runbook.spec.limits.as_ref()?.breaker.as_ref()?;
    let known = runbook.status.as_ref().and_then(|status| status.breaker.as_ref());
    let counts_from = known.and_then(|known| known.counts_from_time.as_ref()).map(|time| time.0);
    let recent: Vec<&RecentRun> = recent.iter().filter(|run| Some(run.uid.as_str()) != except).collect();
    Some(judge(breaker, &recent, counts_from, now))
}

/// The obstacle of a breaker that is open, or that tries another run.
pub fn obstacle(runbook: &Runbook, judged: &Judgement) -> Option<Obstacle> {
    let (namespace, name) = (runbook.namespace().unwrap_or_default(), runbook.name_any());
    let message = match (judged.state, &judged.trial, judged.until) {
        (BreakerState::Closed, ..) | (BreakerState::HalfOpen, None, _) => return None,
        (BreakerState::HalfOpen, Some(trial), _) => {
            format!("its breaker is half-open ({}), and run/{trial} is tried first", judged.why)
        }
        (BreakerState::Open, _, until) => {
            let until = until.map_or_else(String::new, |until| format!(" until {}", instant(until)));
            format!("its breaker is open{until}: {}", judged.why)
        }
    };
    let by_hand = Command::new(Verb::Run).namespace(namespace).word(&name);
    Some(Obstacle {
        reason: Reason::BreakerOpen,
        message: format!("{message}; by hand: {by_hand}"),
        until: judged.until,
    })
}

#[cfg(test)]
#[path = "breaker_tests.rs"]
mod tests;
