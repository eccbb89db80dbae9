//! Waiting for the operator: by watch, never by asking again and again.

use std::pin::pin;
use std::time::Duration;

use futures::StreamExt;
use kube::runtime::{WatchStreamExt, watcher};
use mayday::command::Verb;

use crate::client::failure::{Failure, explain, role};
use crate::client::session::{Named, Session};

/// How long a command waits for the operator, which answers within a moment unless it is down.
pub const PATIENCE: Duration = Duration::from_secs(15);

/// How the waiting ended.
pub enum Waited<K> {
    /// The object is as wanted.
    Done(K),
    /// The time is over; the object as it was last seen.
    TimeOver(Option<K>),
}

/// Watches one object until `done` holds of it, at most for `limit` (none: until the person stops the command).
///
/// # Errors
/// When the object is gone, or may not be watched.
pub async fn until<K: Named>(
    session: &Session,
    name: &str,
    limit: Option<Duration>,
    done: impl Fn(&K) -> bool,
) -> Result<Waited<K>, Failure> {
    let mut last = None;
    let over = async {
        match limit {
            Some(limit) => tokio::time::sleep(limit).await,
            None => std::future::pending().await,
        }
    };
    let mut over = pin!(over);
    let mut changes = pin!(watcher::watch_object(session.api::<K>(), name).default_backoff());
    loop {
        let change = tokio::select! {
            change = changes.next() => change,
            () = &mut over => return Ok(Waited::TimeOver(last)),
        };
        match change {
            Some(Ok(Some(object))) if done(&object) => return Ok(Waited::Done(object)),
            Some(Ok(Some(object))) => last = Some(object),
            // The watch begins with the stored object; a later absence means that it was deleted.
            Some(Ok(None)) => {
                return Err(Failure::new(format!("{}/{name} is gone: somebody deleted it.", K::SHORT))
                    .then(session.command(Verb::Show)));
            }
            Some(Err(error)) => give_up_if_forbidden::<K>(session, name, error)?,
            None => return Ok(Waited::TimeOver(last)),
        }
    }
}

/// A lost connection is tried again with growing pauses; a refusal stays one.
fn give_up_if_forbidden<K: Named>(
    session: &Session,
    name: &str,
    error: watcher::Error,
) -> Result<(), Failure> {
    let refusal = match error {
        watcher::Error::InitialListFailed(error) | watcher::Error::WatchStartFailed(error) => error,
        watcher::Error::WatchError(status) => kube::Error::Api(status),
        _ => return Ok(()),
    };
    match &refusal {
        kube::Error::Api(status) if matches!(status.code, 401 | 403) => {
            let what = format!("watch {}/{name}", K::SHORT);
            Err(explain(&refusal, &session.attempt(&what, role::VIEWER)))
        }
        _ => Ok(()),
    }
}
