//! Leader election: one process holds the lease and runs the controllers. Safety does not depend on the
//! lease; names, preconditions and compare-and-swap provide it. The lease only keeps processes from doing the
//! same work twice.

use std::time::{Duration, Instant};

use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};
use kube::api::PostParams;
use kube::{Api, Client};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::Error;

const NAME: &str = "mayday";
/// A holder that has not renewed the lease for this long has lost it.
const DURATION: Duration = Duration::from_secs(15);
/// The holder gives up the lease after this time without renewal. Shorter than [`DURATION`], so that it stops
/// before another process may take the lease.
const GIVE_UP: Duration = Duration::from_secs(10);
/// Interval at which the holder renews the lease and the others look at it.
const INTERVAL: Duration = Duration::from_secs(2);

/// The version of the lease that was last seen, and since when by this process's own clock. Clocks of other
/// machines are not trusted.
#[derive(Clone, Debug)]
struct Observed {
    version: Option<String>,
    since: Instant,
}

/// The next action of this process on the lease. Pure.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Step {
    Create,
    Renew,
    Take,
    Wait,
}

fn decide(lease: Option<&Lease>, identity: &str, unchanged_for: Duration) -> Step {
    let Some(lease) = lease else { return Step::Create };
    let spec = lease.spec.as_ref();
    match spec.and_then(|spec| spec.holder_identity.as_deref()) {
        Some(holder) if holder == identity => Step::Renew,
        None | Some("") => Step::Take,
        Some(_) => {
            let seconds = spec.and_then(|spec| spec.lease_duration_seconds).unwrap_or_default();
            let duration = u64::try_from(seconds).map_or(DURATION, Duration::from_secs).max(DURATION);
            if unchanged_for >= duration { Step::Take } else { Step::Wait }
        }
    }
}

/// Tries to acquire and renew the lease until `stop`, then releases it. `holding` tells whether this process
/// has it.
pub async fn run(
    client: Client,
    namespace: String,
    identity: String,
    holding: watch::Sender<bool>,
    stop: CancellationToken,
) {
    let api: Api<Lease> = Api::namespaced(client, &namespace);
    let mut observed = Observed { version: None, since: Instant::now() };
    let mut renewed: Option<Instant> = None;
    loop {
        // The time counts from before the request. The answer may come long after other processes saw the
        // renewal.
        let asked = Instant::now();
        let attempt = tokio::time::timeout(GIVE_UP / 2, turn(&api, &identity, &mut observed)).await;
        let held = match attempt {
            Ok(Ok(held)) => Some(held),
            Ok(Err(error)) => {
                tracing::warn!(error = %super::error::chain(&error), "the lease was not renewed");
                None
            }
            Err(_) => {
                tracing::warn!("the lease was not renewed in time");
                None
            }
        };
        renewed = renewed_at(renewed, asked, held);
        let holds = holds(renewed, Instant::now());
        holding.send_if_modified(|held| std::mem::replace(held, holds) != holds);
        tokio::select! {
            () = stop.cancelled() => break,
            () = tokio::time::sleep(INTERVAL) => {}
        }
    }
    holding.send_replace(false);
    if renewed.is_some() {
        release(&api, &identity).await;
    }
}

/// When this process last renewed the lease, if it has it. `held` is the result of the attempt at `asked`;
/// `None` means that the result is unknown. Pure.
fn renewed_at(before: Option<Instant>, asked: Instant, held: Option<bool>) -> Option<Instant> {
    match held {
        Some(true) => Some(asked),
        Some(false) => None,
        None => before,
    }
}

/// Whether a process that last renewed the lease at `renewed` may still act. Pure.
fn holds(renewed: Option<Instant>, now: Instant) -> bool {
    renewed.is_some_and(|at| now.saturating_duration_since(at) < GIVE_UP)
}

/// Reads the lease once and creates, renews or takes it if possible. Returns whether this process then holds
/// it.
async fn turn(api: &Api<Lease>, identity: &str, observed: &mut Observed) -> Result<bool, Error> {
    let lease = api.get_opt(NAME).await?;
    let version = lease.as_ref().and_then(|lease| lease.metadata.resource_version.clone());
    if observed.version != version {
        *observed = Observed { version, since: Instant::now() };
    }
    let step = decide(lease.as_ref(), identity, observed.since.elapsed());
    let written = match step {
        Step::Wait => return Ok(false),
        Step::Create => api.create(&PostParams::default(), &held(None, identity)).await,
        // The write carries the resourceVersion, so if two processes take the lease, one gets a conflict.
        Step::Renew | Step::Take => api.replace(NAME, &PostParams::default(), &held(lease, identity)).await,
    };
    match written {
        Ok(_) => Ok(true),
        Err(kube::Error::Api(status)) if status.code == 409 => Ok(false),
        Err(error) => Err(error.into()),
    }
}

fn held(lease: Option<Lease>, identity: &str) -> Lease {
    let now = MicroTime(Timestamp::now());
    let mut lease = lease.unwrap_or_else(|| Lease {
        metadata: ObjectMeta { name: Some(NAME.to_owned()), ..ObjectMeta::default() },
        spec: None,
    });
    let spec = lease.spec.get_or_insert_with(LeaseSpec::default);
    if spec.holder_identity.as_deref() != Some(identity) {
        spec.holder_identity = Some(identity.to_owned());
        spec.acquire_time = Some(now.clone());
        spec.lease_transitions = Some(spec.lease_transitions.unwrap_or_default() + 1);
    }
    spec.lease_duration_seconds = i32::try_from(DURATION.as_secs()).ok();
    spec.renew_time = Some(now);
    lease
}

/// Releases the lease so that another process can take it at once.
async fn release(api: &Api<Lease>, identity: &str) {
    let Ok(Some(mut lease)) = api.get_opt(NAME).await else { return };
    let Some(spec) = lease.spec.as_mut() else { return };
    if spec.holder_identity.as_deref() != Some(identity) {
        return;
    }
    spec.holder_identity = None;
    if let Err(error) = api.replace(NAME, &PostParams::default(), &lease).await {
        tracing::warn!(%error, "the lease was not given back; it lapses by itself");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lease(holder: &str) -> Lease {
        held(None, holder)
    }

    #[test]
    fn who_cannot_renew_gives_up_before_another_may_take_it() {
        let start = Instant::now();
        let second = |count: u64| start + Duration::from_secs(count);
        let renewed = renewed_at(None, second(0), Some(true));
        let unknown = renewed_at(renewed, second(8), None);
        assert!(holds(unknown, second(9)));
        assert!(!holds(unknown, second(10)), "counted from before the question that was answered");
        assert!(GIVE_UP < DURATION);
        assert!(!holds(renewed_at(renewed, second(2), Some(false)), second(2)), "another holds it");
    }

    #[test]
    fn a_lease_that_is_not_there_is_created() {
        assert_eq!(decide(None, "a", Duration::ZERO), Step::Create);
    }

    #[test]
    fn the_holder_renews_however_long_ago_it_did() {
        assert_eq!(decide(Some(&lease("a")), "a", Duration::from_secs(600)), Step::Renew);
    }

    #[test]
    fn another_takes_it_only_after_its_time_by_its_own_clock() {
        assert_eq!(decide(Some(&lease("a")), "b", Duration::from_secs(14)), Step::Wait);
        assert_eq!(decide(Some(&lease("a")), "b", Duration::from_secs(15)), Step::Take);
    }

    #[test]
    fn one_that_was_given_back_is_taken_at_once() {
        assert_eq!(decide(Some(&lease("")), "b", Duration::ZERO), Step::Take);
    }
}
