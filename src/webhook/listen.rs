//! The server over TLS, from its first certificate until the last review is answered.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use axum::Router;
use axum_server::Handle;
use jiff::Timestamp;
use tokio_util::sync::CancellationToken;

use super::certificates::{serving, store::CertificateStore};
use crate::cluster::error::chain;
use crate::cluster::{Error, SharedContext};

/// Time that reviews under way have at the end; longer than any review may take.
const DRAIN: Duration = Duration::from_secs(5);
/// Between tries to get a certificate at the start.
const RETRY: Duration = Duration::from_secs(1);

/// Serves until `stop`, then answers the reviews under way.
///
/// # Errors
/// When the address cannot be listened on, or the certificate cannot be shown.
pub async fn run(
    context: SharedContext,
    router: Router,
    stop: CancellationToken,
) -> Result<&'static str, Box<dyn std::error::Error + Send + Sync>> {
    let config = &context.config;
    // No verdict without facts: an empty cache knows of no policy.
    let ready = async {
        context.caches.synced().await;
        context.stamps.loaded(&context.client, &config.namespace).await;
    };
    if stop.run_until_cancelled(ready).await.is_none() {
        return Ok("admission");
    }
    let store = CertificateStore::new(context.client.clone(), &config.namespace, &config.admission.names);
    let certificates = loop {
        match store.obtain(Timestamp::now()).await {
            Ok(certificates) => break certificates,
            Err(error @ Error::Terminal(_)) => return Err(error.into()),
            Err(error) => tracing::warn!(error = %chain(&error), "no certificate yet; trying again"),
        }
        if stop.run_until_cancelled(tokio::time::sleep(RETRY)).await.is_none() {
            return Ok("admission");
        }
    };
    let shown = serving::config(&certificates.leaf).await?;
    let following = serving::follow(store, shown.clone(), certificates.leaf, stop.clone());
    let handle = Handle::new();
    let address = config.admission.address;
    let draining = {
        let handle = handle.clone();
        async move {
            stop.cancelled().await;
            handle.graceful_shutdown(Some(DRAIN));
        }
    };
    let listening = {
        let handle = handle.clone();
        let context = Arc::clone(&context);
        async move {
            if handle.listening().await.is_some() {
                context.is_admitting.store(true, Ordering::Relaxed);
                tracing::info!(%address, "admission listens");
            }
        }
    };
    let server = axum_server::bind_rustls(address, shown).handle(handle).serve(router.into_make_service());
    let background = async {
        tokio::join!(draining, following, listening);
        // The server ends when it is drained, not at `stop`.
        futures::future::pending::<()>().await;
    };
    tokio::select! {
        served = server => {
            served.map_err(|error| format!("admission cannot listen on {address}: {error}"))?;
        }
        () = background => {}
    }
    Ok("admission")
}
