//! `oncall`: who is on duty when, and what changes that.

mod calendar;
mod change;
mod compare;
mod diff;

use std::sync::Arc;

use clap::{Args, Subcommand};
use jiff::Timestamp;
use mayday::api::{OnCallOverride, OnCallRotation};
use mayday::command::{Command, Verb};
use mayday::oncall::escalation::recipients;
use mayday::oncall::schedule::{Schedule, duty, timeline};
use serde_json::json;

use crate::client::clock;
use crate::client::failure::Failure;
use crate::client::session::{Session, name_of};
use crate::render::output::{self, Format};
use crate::render::terminal::{say, width};
use crate::text::{instant, table};

#[derive(Debug, Args)]
pub struct OncallArgs {
    #[command(subcommand)]
    pub act: Option<Act>,
    /// The rotation whose calendar is drawn [default: who is on duty in each rotation of the namespace]
    #[arg(value_name = "ROTATION")]
    pub rotation: Option<String>,
    /// From which time on: HH:MM here, or RFC 3339 [default: now]
    #[arg(long, value_name = "TIME")]
    pub at: Option<String>,
    /// How many days the calendar has
    #[arg(long, value_name = "N", default_value_t = 14, value_parser = clap::value_parser!(u16).range(1..=366))]
    pub days: u16,
    /// How to print it: json or yaml [default: for people]
    #[arg(short, long, value_name = "FORMAT", value_parser = Format::without_names)]
    pub output: Option<Format>,
}

/// What changes who is on duty.
#[derive(Debug, Subcommand)]
pub enum Act {
    /// Show whose shifts move if the rotations in a file were applied
    Diff(diff::DiffArgs),
    /// Change who is on duty for some time
    Override(change::OverrideArgs),
    /// Ask a person to take a shift
    Swap(change::SwapArgs),
    /// Take the shift that you are asked to take
    Take(change::AnswerArgs),
    /// Decline a swap, or take it back
    Decline(change::AnswerArgs),
}

pub async fn run(session: &Session, args: OncallArgs) -> Result<(), Failure> {
    match args.act {
        Some(Act::Diff(args)) => diff::run(session, args).await,
        Some(Act::Override(args)) => change::override_(session, args).await,
        Some(Act::Swap(args)) => change::swap(session, args).await,
        Some(Act::Take(args)) => change::take(session, args).await,
        Some(Act::Decline(args)) => change::decline(session, args).await,
        None => look(session, args).await,
    }
}

async fn look(session: &Session, args: OncallArgs) -> Result<(), Failure> {
    let now = session.now();
    let at = match &args.at {
        Some(text) => clock::instant("--at", text, &now.to_zoned(session.zone.clone()))?,
        None => now,
    };
    let overrides: Vec<Arc<OnCallOverride>> =
        session.list::<OnCallOverride>().await?.into_iter().map(Arc::new).collect();
    let Some(name) = &args.rotation else {
        let rotations: Vec<OnCallRotation> = session.list().await?;
        if rotations.is_empty() {
            session.is_a_namespace().await?;
            return Err(Failure::new(format!("There is no rotation in namespace {}.", session.namespace))
                .then(Command::new(Verb::Oncall).namespace("NAMESPACE").connection(&session.flags)));
        }
        let mut schedules = Vec::new();
        for rotation in &rotations {
            schedules.push((name_of(rotation), compiled(session, rotation, &overrides, now)?));
        }
        show_all(session, &schedules, at, args.output);
        return Ok(());
    };
    let rotation: OnCallRotation = session.get(name).await?;
    let schedule = compiled(session, &rotation, &overrides, now)?;
    let end = at + jiff::SignedDuration::from_hours(24 * i64::from(args.days));
    let shifts = timeline::shifts(&schedule, at, end);
    match args.output {
        Some(format) => output::print(format, &listed(name, &schedule, &shifts)),
        None => say(&calendar::draw(name, &rotation.spec.time_zone, &schedule, at, end, width())),
    }
    Ok(())
}

/// The schedule as the operator computes it, from the same objects.
fn compiled(
    session: &Session,
    rotation: &OnCallRotation,
    overrides: &[Arc<OnCallOverride>],
    now: Timestamp,
) -> Result<Schedule, Failure> {
    let name = name_of(rotation);
    recipients::schedule(rotation, overrides, now).ok_or_else(|| {
        Failure::new(format!("Who is on duty in oncall/{name} cannot be told: its time zone is not known."))
            .then(session.kubectl(&format!("edit -n {} oncall/{name}", session.namespace)))
    })
}

/// One line for each rotation.
fn show_all(session: &Session, schedules: &[(&str, Schedule)], at: Timestamp, format: Option<Format>) {
    let duties = schedules.iter().map(|(name, schedule)| (*name, duty::on_duty(schedule, at)));
    if let Some(format) = format {
        let items = duties.map(|(name, duty)| {
            json!({"rotation": name, "people": duty.people, "startTime": duty.since, "endTime": duty.until,
                "next": duty.next})
        });
        return output::print(format, &json!(items.collect::<Vec<_>>()));
    }
    let rows = duties.map(|(name, duty)| {
        let until = duty.until.map_or_else(|| "-".to_owned(), |until| instant(until, &session.zone));
        let next = duty.until.map_or_else(|| "-".to_owned(), |_| calendar::names(&duty.next));
        vec![name.to_owned(), calendar::names(&duty.people), until, next]
    });
    say(&table(&["ROTATION", "ON-DUTY", "UNTIL", "NEXT"], &rows.collect::<Vec<_>>()));
}

/// The shifts for programs.
fn listed(name: &str, schedule: &Schedule, shifts: &[timeline::Shift]) -> serde_json::Value {
    let people = |shift: &timeline::Shift| -> Vec<serde_json::Value> {
        let of = shift.on_duty.iter().map(|(place, sources)| {
            let by: Vec<String> = sources.iter().map(|source| schedule.words(source)).collect();
            json!({"name": schedule.people.get(*place), "by": by})
        });
        of.collect()
    };
    let shifts = shifts
        .iter()
        .map(|shift| json!({"startTime": shift.start, "endTime": shift.end, "people": people(shift)}));
    json!({"rotation": name, "shifts": shifts.collect::<Vec<_>>()})
}
