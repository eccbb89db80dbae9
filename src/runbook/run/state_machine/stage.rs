//! A stage for the tests of the state machine: the stored run, and operator processes that work on it while requests are
//! lost or late.

use std::ops::DerefMut;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::*;

/// The instant 0 of a story, in seconds.
pub const NOW: i64 = 1_800_000_000;

/// That many seconds into the story.
pub fn at(second: i64) -> Timestamp {
    Timestamp::from_second(NOW + second).unwrap()
}

/// The stored run.
pub struct StoredRun {
    pub spec: RunbookSpec,
    pub status: RunbookRunStatus,
    pub version: u64,
    pub cancel: bool,
    pub dry_run: bool,
    pub alone: Option<Alone<'static>>,
    pub now: i64,
}

impl StoredRun {
    pub fn new(spec: RunbookSpec, targets: &[Vec<Resolved>]) -> StoredRun {
        let status =
            RunbookRunStatus { steps: journal::steps(&spec, targets), ..RunbookRunStatus::default() };
        StoredRun { spec, status, version: 0, cancel: false, dry_run: false, alone: None, now: 0 }
    }
}

/// The stored run and the objects that it is about, as the API server holds them.
pub trait World: DerefMut<Target = StoredRun> {
    /// What a live look gives.
    fn seen(&self, look: &Look) -> Seen;

    /// What the API server does with the request of an act.
    fn patch(&mut self, act: &Act) -> Sent;
}

/// One operator process at work on the run: what it has read, and what it has learnt since.
#[derive(Clone)]
pub struct Operator {
    pub status: RunbookRunStatus,
    pub version: u64,
    pub pass: Pass,
    /// Whether the outcome of the last act is stored at once.
    pub must_store: bool,
}

/// The fate of a request.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Network {
    Fine,
    AnswerLost,
    RequestLost,
    Delayed,
}

impl Operator {
    pub fn read(run: &StoredRun) -> Operator {
        Operator {
            status: run.status.clone(),
            version: run.version,
            pass: Pass::default(),
            must_store: false,
        }
    }

    /// One that has just started: it knows what is stored, and nothing else.
    pub fn started(run: &StoredRun) -> Operator {
        let stored = serde_json::to_value(&run.status).unwrap();
        let status = serde_json::from_value(stored).unwrap();
        Operator { status, ..Operator::read(run) }
    }

    /// An operator that has announced the next act and has not sent it.
    pub fn about_to_act(world: &mut impl World) -> Operator {
        let mut operator = Operator::read(world);
        while !matches!(operator.next(world), Move::Act(_)) {
            operator.step(world, Network::Fine, &mut Vec::new());
        }
        operator
    }

    pub fn next(&self, run: &StoredRun) -> Move {
        let facts = RunFacts {
            namespace: "shop",
            name: "run",
            uid: "run-uid",
            generation: 1,
            cancel: run.cancel.then_some("cancelled by emil"),
            dry_run: run.dry_run,
            place: "shop",
            on_copies: false,
            alone: run.alone,
            actor: "system:serviceaccount:shop:sa",
            asked: "emil (on duty)",
            spec: &run.spec,
            status: &self.status,
            pass: &self.pass,
        };
        decide(&facts, at(run.now))
    }

    /// Makes one move. `late` collects requests that arrive later. False when it has nothing to do for now.
    pub fn step(&mut self, world: &mut impl World, network: Network, late: &mut Vec<Act>) -> bool {
        match self.next(world) {
            Move::AskPermit => self.pass.permit = Some(Permit::Go),
            Move::Look(look) => self.pass.seen = Some(world.seen(&look)),
            Move::AskWhen(_) => self.pass.when = Some(Ok(true)),
            Move::LookOutside(_) => {
                self.pass.outside = Some(outbound::look::Seen::inconclusive(String::new()))
            }
            Move::AskAnswer { .. } => self.pass.answer = Some(None),
            // As the controller does, so that a lost process loses several transitions at once.
            Move::Store(status) if relies_on_store(&status) || std::mem::take(&mut self.must_store) => {
                self.store(world, *status, network);
            }
            Move::Store(status) => {
                self.status = *status;
                self.pass = Pass::default();
            }
            Move::Hold(status, _) => {
                self.store(world, *status, network);
                return false;
            }
            Move::Act(act) => match network {
                Network::Fine => {
                    self.must_store = is_unprovable(&act);
                    self.pass = Pass { sent: world.patch(&act), ..Pass::default() };
                }
                Network::AnswerLost => {
                    world.patch(&act);
                    *self = Operator::read(world);
                }
                Network::RequestLost => *self = Operator::read(world),
                Network::Delayed => {
                    late.push(*act);
                    *self = Operator::read(world);
                }
            },
            Move::Done => return false,
        }
        true
    }

    /// Compare-and-swap on the run. After an unknown outcome the run is read again.
    fn store(&mut self, run: &mut StoredRun, status: RunbookRunStatus, network: Network) {
        if self.version == run.version && network != Network::RequestLost {
            if run.status != status {
                run.version += 1;
                run.status = status.clone();
            }
            if network == Network::Fine {
                let sent = if parts::announced(&status).is_some() { Sent::NotYet } else { Sent::Unknown };
                let pass = Pass { sent, ..Pass::default() };
                *self = Operator { status, version: run.version, pass, must_store: false };
                return;
            }
        }
        *self = Operator::read(run);
    }
}

/// Lets one operator work until it has nothing to do.
pub fn work(world: &mut impl World) -> Operator {
    let mut operator = Operator::read(world);
    for _ in 0..50 {
        if !operator.step(world, Network::Fine, &mut Vec::new()) {
            return operator;
        }
    }
    panic!("it never comes to rest: {:?}", world.status);
}

/// Whether the journal tells a story that can have happened, even if the clock was set back meanwhile.
pub fn is_consistent(status: &RunbookRunStatus) -> Result<(), String> {
    let in_order = |what: &str, start: &Option<Time>, end: &Option<Time>| match (start, end) {
        (Some(start), Some(end)) if end.0 < start.0 => {
            Err(format!("{what} ends at {} and starts at {}", end.0, start.0))
        }
        _ => Ok(()),
    };
    in_order("the run", &status.start_time, &status.end_time)?;
    for step in &status.steps {
        in_order(&step.name, &step.start_time, &step.end_time)?;
        if let Some(back) = &step.compensation {
            in_order(&format!("the way back of {}", step.name), &back.start_time, &back.end_time)?;
        }
        let open = step.acts.iter().filter(|act| act.outcome.is_none()).count();
        if open > usize::from(step.state == StepState::IntentRecorded) {
            return Err(format!("{} is {:?} with {open} open acts", step.name, step.state));
        }
    }
    let is_settled = status.is_settled();
    match is_settled && parts::announced(status).is_some() {
        true => Err("it has ended with an act whose outcome is open".to_owned()),
        false => Ok(()),
    }
}

/// Makes an object later by one version; `generation` if its spec has changed.
pub fn touch(object: &mut Value, generation: bool) {
    let version: i64 = object["metadata"]["resourceVersion"].as_str().unwrap().parse().unwrap();
    object["metadata"]["resourceVersion"] = (version + 1).to_string().into();
    if generation {
        let raised = object["metadata"]["generation"].as_i64().unwrap() + 1;
        object["metadata"]["generation"] = raised.into();
    }
}
