//! `show --watch`: prints again whenever something of it changes, until the person stops it.

use std::pin::pin;
use std::time::Duration;

use futures::stream::BoxStream;
use futures::{StreamExt, stream};
use kube::runtime::{WatchStreamExt, watcher};
use mayday::api::{ChangeRequest, Incident, Runbook, RunbookRun};

use super::View;
use crate::client::failure::Failure;
use crate::client::session::{Named, Session};
use crate::render::terminal::try_say;

/// Changes that come together are shown together.
const TOGETHER: Duration = Duration::from_millis(200);

/// Prints the view now and after each change. Ends when nobody reads it any more.
pub async fn follow(session: &Session, view: &View) -> Result<(), Failure> {
    let all = view.all_namespaces;
    let changes = stream::select_all([
        changes::<Incident>(session, all),
        changes::<ChangeRequest>(session, all),
        changes::<Runbook>(session, all),
        changes::<RunbookRun>(session, all),
    ]);
    let mut changes = pin!(changes);
    let mut shown = String::new();
    loop {
        let text = view.text(session).await?;
        if text != shown {
            let gap = if shown.is_empty() || view.output.is_some() { "" } else { "\n" };
            if try_say(&format!("{gap}{text}")).is_err() {
                return Ok(());
            }
            shown = text;
        }
        if changes.next().await.is_none() {
            return Ok(());
        }
        tokio::time::sleep(TOGETHER).await;
        // What came meanwhile is read with the rest.
        while futures::FutureExt::now_or_never(changes.next()).flatten().is_some() {}
    }
}

/// A unit for each change of a kind. A lost connection is taken up again.
fn changes<K: Named>(session: &Session, all: bool) -> BoxStream<'static, ()> {
    let api = session.api_in::<K>(all);
    watcher(api, watcher::Config::default())
        .default_backoff()
        .filter_map(|change| async { change.ok().map(|_| ()) })
        .boxed()
}
