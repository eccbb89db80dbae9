//! The certificate that the server shows. It is swapped while the server runs, and no connection is lost.

use std::time::Duration;

use axum_server::tls_rustls::RustlsConfig;
use jiff::Timestamp;
use tokio_util::sync::CancellationToken;

use super::make::Pair;
use super::store::CertificateStore;
use crate::cluster::error::chain;

/// Interval at which a replica looks for a new certificate; far shorter than the overlap of two CAs.
const LOOK: Duration = Duration::from_secs(30);

/// TLS settings that show a certificate.
///
/// # Errors
/// When certificate and key do not fit together.
pub async fn config(leaf: &Pair) -> std::io::Result<RustlsConfig> {
    RustlsConfig::from_pem(leaf.certificate.clone().into_bytes(), leaf.key.clone().into_bytes()).await
}

/// Shows every new certificate soon after it is stored, until `stop`. After a failure the server keeps the
/// certificate that it shows.
pub async fn follow(store: CertificateStore, shown: RustlsConfig, first: Pair, stop: CancellationToken) {
    let mut leaf = first;
    while stop.run_until_cancelled(tokio::time::sleep(LOOK)).await.is_some() {
        let stored = match store.obtain(Timestamp::now()).await {
            Ok(certificates) => certificates.leaf,
            Err(error) => {
                tracing::warn!(error = %chain(&error), "certificates cannot be read; the present one stays");
                continue;
            }
        };
        if stored == leaf {
            continue;
        }
        let (certificate, key) = (stored.certificate.clone(), stored.key.clone());
        match shown.reload_from_pem(certificate.into_bytes(), key.into_bytes()).await {
            Ok(()) => {
                tracing::info!("the webhooks show a new certificate");
                leaf = stored;
            }
            Err(error) => {
                tracing::warn!(%error, "the new certificate cannot be shown; the present one stays")
            }
        }
    }
}
