//! `oncall override`, `oncall swap`, and the answers to a swap.

use std::sync::Arc;

use clap::Args;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use mayday::api::common::{Empty, stored_time};
use mayday::api::oncall_override::{OnCallOverrideSpec, OnePerson, Replace, ReplaceAll, Swap};
use mayday::api::{OnCallOverride, OnCallRotation};
use mayday::command::Verb;
use mayday::oncall::escalation::recipients;
use mayday::oncall::schedule::overrides::Override;
use mayday::oncall::schedule::{Schedule, timeline};
use serde_json::json;

use super::calendar::local;
use super::{compare, compiled};
use crate::client::clock;
use crate::client::failure::{Failure, role};
use crate::client::session::{Session, generated, name_of};
use crate::render::terminal::{confirm, say};

/// How far ahead the next shift of a person is looked for.
const AHEAD: SignedDuration = SignedDuration::from_hours(366 * 24);

/// When an override holds.
#[derive(Debug, Args)]
pub struct Times {
    /// From when on: HH:MM or 2026-12-24T09:00 here, or RFC 3339 [default: now]
    #[arg(long, value_name = "TIME")]
    pub from: Option<String>,
    /// Until when
    #[arg(long, value_name = "TIME", conflicts_with = "length")]
    pub until: Option<String>,
    /// For how long: 30m, 2h, 2d
    #[arg(long = "for", value_name = "LENGTH")]
    pub length: Option<String>,
}

#[derive(Debug, Args)]
#[command(group = clap::ArgGroup::new("act").required(true).args(["replace", "all_by", "add", "remove", "clear"]))]
pub struct OverrideArgs {
    /// The rotation
    #[arg(value_name = "ROTATION")]
    pub rotation: String,
    /// The person who is replaced, with --by
    #[arg(long, value_name = "PERSON", requires = "by")]
    pub replace: Option<String>,
    /// The person who is on duty instead
    #[arg(long, value_name = "PERSON", requires = "replace")]
    pub by: Option<String>,
    /// A person who is on duty instead of everybody; may be repeated
    #[arg(long, value_name = "PERSON")]
    pub all_by: Vec<String>,
    /// A person who is on duty too
    #[arg(long, value_name = "PERSON")]
    pub add: Option<String>,
    /// A person who is off duty
    #[arg(long, value_name = "PERSON")]
    pub remove: Option<String>,
    /// Nobody is on duty
    #[arg(long)]
    pub clear: bool,
    #[command(flatten)]
    pub times: Times,
    /// Why, for everybody who reads it
    #[arg(long, value_name = "TEXT")]
    pub why: Option<String>,
}

#[derive(Debug, Args)]
pub struct SwapArgs {
    /// The rotation
    #[arg(value_name = "ROTATION")]
    pub rotation: String,
    /// The person who is asked to take the shift
    #[arg(long, value_name = "PERSON")]
    pub with: String,
    /// Whose shift it is [default: yours]
    #[arg(long, value_name = "PERSON")]
    pub person: Option<String>,
    /// The part of it [default: the whole next shift of that person]
    #[command(flatten)]
    pub times: Times,
    /// Why, for the person who is asked
    #[arg(long, value_name = "TEXT")]
    pub why: Option<String>,
}

#[derive(Debug, Args)]
pub struct AnswerArgs {
    /// The swap
    #[arg(value_name = "override/NAME", value_parser = crate::client::address::on_call_override)]
    pub name: String,
}

/// Writes an override, after showing what it changes.
pub async fn override_(session: &Session, args: OverrideArgs) -> Result<(), Failure> {
    let found = Found::read(session, &args.rotation).await?;
    let (start, end) = times(session, &args.times, None)?;
    let mut spec = OnCallOverrideSpec::between(&args.rotation, start, end);
    spec.reason = args.why;
    spec.replace = args.replace.zip(args.by).map(|(person, by)| Replace { person, by });
    spec.replace_all = (!args.all_by.is_empty()).then_some(ReplaceAll { by: args.all_by });
    spec.add = args.add.map(|person| OnePerson { person });
    spec.remove = args.remove.map(|person| OnePerson { person });
    spec.clear = args.clear.then_some(Empty {});
    let effect = found.effect(&spec)?;
    confirm(
        session.connection.yes,
        &format!("You change who is on duty in oncall/{}:\n{effect}", args.rotation),
    )?;
    let name = create(session, spec).await?;
    say(&format!(
        "override/{name} is written.\nNext: to take it back: {}",
        session.kubectl(&format!("delete -n {} override/{name}", session.namespace))
    ));
    Ok(())
}

/// Asks a person to take a shift.
pub async fn swap(session: &Session, args: SwapArgs) -> Result<(), Failure> {
    let found = Found::read(session, &args.rotation).await?;
    let person = match args.person {
        Some(person) => person,
        None => found.name_of_user(&session.me().await?.user)?,
    };
    let shift = found.next_shift(&person, session.now());
    let (start, end) = times(session, &args.times, shift)?;
    let mut spec = OnCallOverrideSpec::between(&args.rotation, start, end);
    spec.reason = args.why;
    spec.swap = Some(Swap { person: person.clone(), by: args.with.clone(), answer: None });
    let effect = found.effect(&spec)?;
    let with = &args.with;
    confirm(
        session.connection.yes,
        &format!(
            "You ask {with} to take this of {person} in oncall/{}; it counts once {with} takes it:\n{effect}",
            args.rotation
        ),
    )?;
    let name = create(session, spec).await?;
    let answer = |word: &str| session.command(Verb::Oncall).word(word).word(format!("override/{name}"));
    say(&format!(
        "override/{name} asks {with}.\nNext: {with}: take it: {}\nor decline it: {}",
        answer("take"),
        answer("decline")
    ));
    Ok(())
}

/// Takes the shift that one is asked to take.
pub async fn take(session: &Session, args: AnswerArgs) -> Result<(), Failure> {
    answer(session, &args.name, "Taken").await
}

/// Declines a swap, or takes it back; both people may.
pub async fn decline(session: &Session, args: AnswerArgs) -> Result<(), Failure> {
    answer(session, &args.name, "Declined").await
}

async fn answer(session: &Session, name: &str, answer: &str) -> Result<(), Failure> {
    let stored: OnCallOverride = session.get(name).await?;
    let Some(swap) = &stored.spec.swap else {
        return Err(Failure::new(format!("override/{name} is no swap: nobody has to answer it."))
            .then(session.kubectl(&format!("delete -n {} override/{name}", session.namespace))));
    };
    let (start, end) = (stored.spec.start_time.0, stored.spec.end_time.0);
    let when = format!(
        "from {} until {}",
        crate::text::instant(start, &session.zone),
        crate::text::instant(end, &session.zone)
    );
    let (rotation, person, by) = (&stored.spec.rotation_ref.name, &swap.person, &swap.by);
    let about_to = match answer {
        "Taken" => format!("{by} takes the shift of {person} in oncall/{rotation} {when}."),
        _ => format!("{person} keeps the shift in oncall/{rotation} {when}."),
    };
    confirm(session.connection.yes, &about_to)?;
    let what = format!("answer override/{name}");
    let patch = json!({"spec": {"swap": {"answer": answer}}});
    let _: OnCallOverride = session.patch(name, &patch, &what).await?;
    say(&format!("override/{name} is answered: {answer}."));
    Ok(())
}

/// A rotation and the overrides of its namespace.
struct Found {
    rotation: OnCallRotation,
    schedule: Schedule,
    overrides: Vec<Arc<OnCallOverride>>,
    now: Timestamp,
}

impl Found {
    async fn read(session: &Session, name: &str) -> Result<Found, Failure> {
        let rotation: OnCallRotation = session.get(name).await?;
        let overrides: Vec<Arc<OnCallOverride>> =
            session.list::<OnCallOverride>().await?.into_iter().map(Arc::new).collect();
        let now = session.now();
        let schedule = compiled(session, &rotation, &overrides, now)?;
        Ok(Found { rotation, schedule, overrides, now })
    }

    /// The person of a Kubernetes user.
    fn name_of_user(&self, user: &str) -> Result<String, Failure> {
        let person = self.rotation.spec.people.iter().find(|person| person.user == user);
        person.map(|person| person.name.clone()).ok_or_else(|| {
            Failure::usage(format!(
                "You are {user}, and oncall/{} has no person of that user: say --person.",
                name_of(&self.rotation)
            ))
        })
    }

    /// The next shift of a person that has not begun.
    fn next_shift(&self, person: &str, now: Timestamp) -> Option<(Timestamp, Timestamp)> {
        let place = self.schedule.people.iter().position(|name| name == person)?;
        let shifts = timeline::shifts(&self.schedule, now, now + AHEAD);
        let mut merged: Vec<(Timestamp, Timestamp)> = Vec::new();
        for shift in shifts.iter().filter(|shift| shift.on_duty.contains_key(&place)) {
            match merged.last_mut() {
                // Other people may come and go meanwhile; another turn of the same person is another shift.
                Some((_, end)) if *end == shift.start && !begins_turn(shift, &shifts, place) => {
                    *end = shift.end
                }
                _ => merged.push((shift.start, shift.end)),
            }
        }
        merged.into_iter().find(|(start, _)| *start > now)
    }

    /// What an override changes, in lines.
    fn effect(&self, spec: &OnCallOverrideSpec) -> Result<String, Failure> {
        let name = name_of(&self.rotation);
        let people = &self.schedule.people;
        if let Err(person) = Override::new("new", spec, people) {
            let known = people.join(", ");
            return Err(Failure::usage(format!("{person} is not in oncall/{name}; its people are {known}.")));
        }
        let mut spec = spec.clone();
        if let Some(swap) = spec.swap.take() {
            spec.replace = Some(Replace { person: swap.person, by: swap.by });
        }
        let (start, end) = (spec.start_time.0, spec.end_time.0);
        let mut new = OnCallOverride::new("new", spec);
        new.metadata.creation_timestamp = Some(Time(self.now));
        let all: Vec<Arc<OnCallOverride>> = self.overrides.iter().cloned().chain([Arc::new(new)]).collect();
        let after = recipients::schedule(&self.rotation, &all, self.now);
        let differences =
            after.map(|after| compare::differences(&self.schedule, &after, start, end)).unwrap_or_default();
        if differences.is_empty() {
            return Err(Failure::new(format!(
                "Nothing was written: between {} and {} the same people of oncall/{name} are on duty with and without it.",
                local(&self.schedule, start),
                local(&self.schedule, end)
            )));
        }
        Ok(compare::lines(&self.schedule, &differences))
    }
}

/// Whether the person begins another turn with this shift.
fn begins_turn(shift: &timeline::Shift, shifts: &[timeline::Shift], place: usize) -> bool {
    let before = shifts.iter().find(|other| other.end == shift.start);
    before.and_then(|before| before.on_duty.get(&place)) != shift.on_duty.get(&place)
}

/// Start and end of an override; without any flag those of the shift.
fn times(
    session: &Session,
    times: &Times,
    shift: Option<(Timestamp, Timestamp)>,
) -> Result<(Timestamp, Timestamp), Failure> {
    let now = session.now().to_zoned(session.zone.clone());
    let start = match (&times.from, shift) {
        (Some(text), _) => clock::instant("--from", text, &now)?,
        (None, Some((start, _))) if times.until.is_none() && times.length.is_none() => start,
        (None, _) => now.timestamp(),
    };
    let end = match (&times.until, &times.length, shift) {
        (Some(text), _, _) => clock::instant("--until", text, &now)?,
        (None, Some(length), _) => clock::within("--for", length, &start.to_zoned(session.zone.clone()))?,
        (None, None, Some((_, end))) => end,
        (None, None, None) => return Err(Failure::usage("Say until when: --for 2h, or --until TIME.")),
    };
    // Instants are stored in whole seconds.
    let (start, end) = (stored_time(start).0, stored_time(end).0);
    if end <= start {
        return Err(Failure::usage(format!("It ends at {end}, which is not after its start at {start}.")));
    }
    Ok((start, end))
}

async fn create(session: &Session, spec: OnCallOverrideSpec) -> Result<String, Failure> {
    let rotation = spec.rotation_ref.name.clone();
    let mut object = OnCallOverride::new("", spec);
    object.metadata = generated(&rotation, &session.namespace);
    let what = format!("write an override of oncall/{rotation}");
    let created = session.create(&object, &what, role::RESPONDER).await?;
    Ok(name_of(&created).to_owned())
}
