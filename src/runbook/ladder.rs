//! A ladder: Runbooks with `spec.order` that match one incident, tried one after the other until one helps
//! (docs/rules.md#ladder). Pure.

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use kube::ResourceExt;

use crate::api::conditions::Reason;
use crate::api::runbook::RunbookSpec;
use crate::api::runbook_run::{RunState, RunbookRunStatus};
use crate::api::{Runbook, RunbookRun};
use crate::runbook::limits::Obstacle;
use crate::runbook::locks::Claim;
use crate::runbook::run::permit;

/// How long the checks may take to pass after a run, and how long a run may wait to begin, if the Runbook does not say.
pub const DEFAULT_WINDOW: SignedDuration = SignedDuration::from_mins(5);

/// A Runbook of a ladder.
#[derive(Clone, Debug, PartialEq)]
pub struct Rung {
    /// Its name.
    pub name: String,
    /// How long the checks may take to pass after its run, and how long its run may wait to begin.
    pub window: SignedDuration,
    /// Its run in this episode.
    pub ran: Ran,
    /// Whether it may start now.
    pub is_free: bool,
}

/// The run of a rung in this episode.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Ran {
    /// There was none.
    No,
    /// It has not begun.
    Waits {
        /// When it was created.
        since: Timestamp,
        /// Whether it was told to stop.
        stops: bool,
    },
    /// It has begun, and is not settled.
    AtWork,
    /// It is settled since then.
    Ended(Timestamp, End),
    /// It was deleted.
    Gone,
}

/// How a run ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum End {
    /// It did what it should. Whether that helped, the checks must say.
    Done,
    /// It failed, or never began.
    Failed,
    /// A person stopped it.
    Stopped,
    /// What it did cannot be proved.
    Unknown,
}

/// What follows.
#[derive(Clone, Debug, PartialEq)]
pub enum Next {
    /// Nothing: the service is back, or no rung may start.
    Nothing,
    /// This rung begins.
    Start(usize),
    /// The run of this rung is told to stop: it has not begun in its time, and another one may.
    Stop(usize),
    /// A run is at work, or it is not known yet whether it has helped; until then, if that is known.
    Wait(Option<Timestamp>),
    /// A person decides: a person stopped this rung, or what it did cannot be proved.
    Held(usize),
    /// Every rung that may has run, and the service is not back.
    Exhausted,
}

/// Decides over the rungs, in their order. `is_back`: every check passes now.
pub fn decide(rungs: &[Rung], is_back: bool, now: Timestamp) -> Next {
    if rungs.iter().any(|rung| rung.ran == Ran::AtWork) {
        return Next::Wait(None);
    }
    let free = rungs.iter().position(|rung| rung.ran == Ran::No && rung.is_free);
    let waiting = rungs.iter().enumerate().find_map(|(index, rung)| match rung.ran {
        Ran::Waits { since, stops } => Some((index, since.saturating_add(rung.window).ok()?, stops)),
        _ => None,
    });
    if let Some((index, until, stops)) = waiting {
        return match now < until {
            _ if stops || is_back => Next::Wait(None),
            true => Next::Wait(Some(until)),
            // If no other may start, this one may still be of use.
            false => free.map_or(Next::Wait(None), |_| Next::Stop(index)),
        };
    }
    let held = |rung: &Rung| matches!(rung.ran, Ran::Ended(_, End::Stopped | End::Unknown));
    if let Some(index) = rungs.iter().position(held) {
        return Next::Held(index);
    }
    if is_back {
        return Next::Nothing;
    }
    let proved = rungs.iter().filter_map(|rung| match rung.ran {
        Ran::Ended(at, End::Done) => at.saturating_add(rung.window).ok(),
        _ => None,
    });
    if let Some(until) = proved.max().filter(|until| now < *until) {
        return Next::Wait(Some(until));
    }
    match free {
        Some(index) => Next::Start(index),
        None if rungs.iter().any(|rung| rung.ran != Ran::No) => Next::Exhausted,
        None => Next::Nothing,
    }
}

/// How long the checks may take to pass after a run of the Runbook.
pub fn window(spec: &RunbookSpec) -> SignedDuration {
    spec.verify.as_ref().map_or(DEFAULT_WINDOW, |verify| verify.window.get())
}

/// A Runbook as a rung. `ran`: whether the incident remembers its run in this episode; `run` is that run, if it still exists.
pub fn rung(runbook: &Runbook, ran: bool, run: Option<&RunbookRun>, is_free: bool) -> Rung {
    let window = window(&runbook.spec);
    Rung {
        name: runbook.name_any(),
        window,
        is_free,
        ran: match run {
            None if ran => Ran::Gone,
            None => Ran::No,
            Some(run) => of_run(run, window),
        },
    }
}

fn of_run(run: &RunbookRun, window: SignedDuration) -> Ran {
    let created = run.creation_timestamp().map_or(Timestamp::MAX, |time| time.0);
    let status = run.status.clone().unwrap_or_default();
    let state = status.state.unwrap_or_default();
    let has_begun = status.start_time.is_some();
    if !state.is_settled() {
        return if has_begun { Ran::AtWork } else { Ran::Waits { since: created, stops: run.spec.cancel } };
    }
    let ended = status.end_time.map_or(created, |time| time.0);
    // Mayday itself stops only a run that has not begun in its time.
    let is_late = !has_begun && created.saturating_add(window).is_ok_and(|late| late <= ended);
    let how = match state {
        RunState::Succeeded | RunState::Degraded => End::Done,
        RunState::Unknown => End::Unknown,
        RunState::Cancelled if run.spec.cancel && !is_late => End::Stopped,
        _ => End::Failed,
    };
    Ran::Ended(ended, how)
}

/// What became of the rungs, for a page.
pub fn account(rungs: &[Rung]) -> String {
    let word = |rung: &Rung| {
        let what = match rung.ran {
            Ran::No => "could not start",
            Ran::Ended(_, End::Done) => "ended, and the checks still fail",
            Ran::Ended(_, End::Failed) => "failed",
            Ran::Ended(_, End::Stopped) => "was stopped",
            Ran::Ended(_, End::Unknown) => "has an outcome that nobody can prove",
            Ran::Gone => "was deleted",
            Ran::Waits { .. } | Ran::AtWork => "is not settled",
        };
        format!("{} {what}", rung.name)
    };
    rungs.iter().map(word).collect::<Vec<_>>().join("; ")
}

/// The obstacle of an earlier run of the same ladder that is not settled. Runs that people start are none of it. As with a
/// lock, the start is stored before the last look at the others (docs/decisions/0067-a-lock-is-claimed-then-checked.md).
pub fn ahead(run: &RunbookRun, status: &RunbookRunStatus, runs: &[Arc<RunbookRun>]) -> Option<Obstacle> {
    let incident = run.spec.incident_ref.as_ref()?;
    status.snapshot.as_ref()?.spec.get("order").filter(|order| !order.is_null())?;
    if permit::started_by_person(run) {
        return None;
    }
    let namespace = run.namespace().unwrap_or_default();
    let claim = Claim::of(run, &namespace, status);
    let place = |run: &RunbookRun| (run.creation_timestamp().map(|time| time.0), run.name_any());
    let is_ahead = |other: &&Arc<RunbookRun>| {
        let begun = other.status.as_ref().is_some_and(|status| status.start_time.is_some());
        let waits_longer =
            || claim.start.is_none() && !begun && !other.is_settled() && place(other) < place(run);
        other.uid() != run.uid()
            && other.is_repair()
            && other.namespace() == run.namespace()
            && other.spec.incident_ref.as_ref() == Some(incident)
            && !permit::started_by_person(other)
            && (claim.comes_after(other) || waits_longer())
    };
    let other = runs.iter().find(is_ahead)?;
    Some(Obstacle {
        reason: Reason::EarlierAtWork,
        message: format!("run/{} of the same incident comes first, and is not settled", other.name_any()),
        until: None,
    })
}

#[cfg(test)]
#[path = "ladder_tests.rs"]
mod tests;
