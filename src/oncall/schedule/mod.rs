//! The schedule of a rotation: its layers are compiled once, and then answer for any instant. Pure.

pub mod absences;
pub mod duty;
pub mod fairness;
pub mod layer;
pub mod local_time;
pub mod on_duty_set;
pub mod order;
pub mod overrides;
pub mod restriction;
pub mod running_turn;
pub mod timeline;
pub mod turn;
pub mod validate;

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;

use crate::api::OnCallRotation;
use crate::api::oncall_rotation::{ObservedSchedule, OnCallRotationSpec};

use crate::oncall::schedule::absences::Absences;
use crate::oncall::schedule::layer::{CompiledLayer, Offset};
use crate::oncall::schedule::local_time::LocalClock;
use crate::oncall::schedule::on_duty_set::{OnDutySet, Source};
use crate::oncall::schedule::overrides::Override;
use crate::oncall::schedule::validate::Problem;

/// A compiled rotation.
#[derive(Clone, Debug)]
pub struct Schedule {
    /// The rotation's time zone.
    pub clock: LocalClock,
    /// Names in the order of `spec.people`; everything else refers to a person by the index here.
    pub people: Vec<String>,
    layers: Vec<CompiledLayer>,
    absences: Absences,
    overrides: Vec<Override>,
}

impl Schedule {
    /// Compiles a rotation with its overrides, in ascending precedence.
    ///
    /// # Errors
    /// The problems of the rotation, as [`validate::problems`] lists them.
    pub fn new(spec: &OnCallRotationSpec, overrides: Vec<Override>) -> Result<Schedule, Vec<Problem>> {
        let problems = validate::problems(spec);
        if !problems.is_empty() {
            return Err(problems);
        }
        let observed = running_turn::observe(spec, None, Timestamp::MIN);
        let schedule = Schedule::of_known(spec, &observed, overrides)?;
        if schedule.layers.len() < spec.layers.len() {
            return Err(not_understood("spec.layers"));
        }
        Ok(schedule)
    }

    /// Compiles the valid part of a rotation, so that one mistake leaves the other turns and layers on duty. Unknown
    /// people in turns and layers with invalid times are skipped. Of two people of one name the first counts; two layers
    /// of one name are both on duty. `observed` says how far edits have moved the turns of each layer.
    ///
    /// # Errors
    /// An unknown time zone.
    pub fn of_known(
        spec: &OnCallRotationSpec,
        observed: &ObservedSchedule,
        overrides: Vec<Override>,
    ) -> Result<Schedule, Vec<Problem>> {
        let clock = LocalClock::named(&spec.time_zone).ok_or_else(|| not_understood("spec.timeZone"))?;
        let people: Vec<String> = spec.people.iter().map(|person| person.name.clone()).collect();
        let mut places: BTreeMap<&str, usize> = BTreeMap::new();
        for (place, name) in people.iter().enumerate() {
            places.entry(name.as_str()).or_insert(place);
        }
        let offset = |index: usize| observed.layers.get(index).map(Offset::from).unwrap_or_default();
        let layers = spec.layers.iter().enumerate();
        let layers = layers
            .filter_map(|(index, layer)| CompiledLayer::new(layer, &clock, &places, offset(index)))
            .collect();
        let absences = Absences::new(&spec.people, &clock);
        Ok(Schedule { clock, people, layers, absences, overrides })
    }

    /// Compiles a rotation as it is at an instant: the turn that ran when it was edited stays until its end, whether the
    /// operator has seen the edit yet or not.
    ///
    /// # Errors
    /// An unknown time zone.
    pub fn of_rotation(
        rotation: &OnCallRotation,
        overrides: Vec<Override>,
        at: Timestamp,
    ) -> Result<Schedule, Vec<Problem>> {
        let known = rotation.status.as_ref().and_then(|status| status.schedule.as_ref());
        let observed = running_turn::observe(&rotation.spec, known, at);
        Schedule::of_known(&rotation.spec, &observed, overrides)
    }

    /// The same rotation with other overrides.
    pub fn with_overrides(&self, overrides: Vec<Override>) -> Schedule {
        Schedule { overrides, ..self.clone() }
    }

    /// The next handoff of any layer, whether it changes who is on duty or not.
    pub fn next_handoff(&self, at: Timestamp) -> Option<Timestamp> {
        self.layers.iter().filter_map(|layer| layer.next_handoff(&self.clock, at)).min()
    }

    /// Names of the people of a set, in their order in the rotation.
    pub fn names(&self, set: &OnDutySet) -> Vec<String> {
        set.keys().filter_map(|place| self.people.get(*place).cloned()).collect()
    }

    /// Who is on duty at an instant.
    pub fn at(&self, at: Timestamp) -> OnDutySet {
        let mut people = self.layers_at(at);
        overrides::apply(&self.overrides, at, &mut people);
        people
    }

    /// The people, by index, who are in turns, and never on duty since no window opens in any of them.
    pub fn never_on_duty(&self, at: Timestamp) -> Vec<usize> {
        let mut never = BTreeSet::new();
        let mut sometimes = BTreeSet::new();
        for layer in &self.layers {
            let idle = layer.idle(&self.clock, at);
            for (turn, person) in layer.everybody() {
                if idle.contains(&turn) {
                    never.insert(person)
                } else {
                    sometimes.insert(person)
                };
            }
        }
        never.difference(&sometimes).copied().collect()
    }

    /// Stands for what puts a person on duty in a UID: the layer and its turn, or the override.
    pub fn key(&self, source: &Source) -> String {
        match source {
            Source::Turn(layer, turn) => {
                format!("{}-{turn}", self.layers.get(*layer).map_or("", |layer| layer.name.as_str()))
            }
            Source::Override(index) => {
                self.overrides.get(*index).map(|entry| entry.name.clone()).unwrap_or_default()
            }
        }
    }

    /// What puts a person on duty, in words: `layer weekdays`, `override emil-dentist`.
    pub fn words(&self, source: &Source) -> String {
        match source {
            Source::Turn(layer, _) => {
                format!("layer {}", self.layers.get(*layer).map_or("", |layer| layer.name.as_str()))
            }
            Source::Override(index) => {
                format!("override {}", self.overrides.get(*index).map_or("", |entry| entry.name.as_str()))
            }
        }
    }

    /// The next instant at which anything may change.
    pub fn next_edge(&self, at: Timestamp) -> Option<Timestamp> {
        let layers = self.layers.iter().filter_map(|layer| layer.next(&self.clock, at));
        let overrides = self.overrides.iter().flat_map(|s| [s.start, s.end]).filter(|edge| *edge > at);
        layers.chain(overrides).chain(self.absences.next(at)).min()
    }

    /// The last instant, `at` included, at which anything may have changed.
    pub fn previous_edge(&self, at: Timestamp) -> Option<Timestamp> {
        let layers = self.layers.iter().filter_map(|layer| layer.previous(&self.clock, at));
        let overrides = self.overrides.iter().flat_map(|s| [s.start, s.end]).filter(|edge| *edge <= at);
        layers.chain(overrides).chain(self.absences.previous(at)).max()
    }

    /// The people of the layers before overrides: of all layers with a person on duty, those of the highest priority.
    fn layers_at(&self, at: Timestamp) -> OnDutySet {
        let mut on_duty = OnDutySet::default();
        let mut highest = i32::MIN;
        for (index, layer) in self.layers.iter().enumerate() {
            let Some((turn, people)) = layer.at(&self.clock, &self.absences, at) else { continue };
            if layer.priority > highest {
                highest = layer.priority;
                on_duty.clear();
            }
            if layer.priority == highest {
                for person in people {
                    on_duty.entry(person).or_default().insert(Source::Turn(index, turn));
                }
            }
        }
        on_duty
    }
}

fn not_understood(path: &str) -> Vec<Problem> {
    vec![Problem { path: path.to_owned(), message: "cannot be understood".to_owned() }]
}
