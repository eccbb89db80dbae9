//! A client for tests that ask the API server more than kubectl could in the time.

use kube::Client;
use kube::config::{KubeConfigOptions, Kubeconfig};
use tokio::runtime::Runtime;

use crate::support::Cluster;

/// A client of the cluster's admin, and what it runs on.
pub fn client(cluster: &Cluster) -> (Runtime, Client) {
    // Another test may have installed it.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let client = runtime.block_on(async {
        let kubeconfig = Kubeconfig::read_from(cluster.file("kubeconfig")).unwrap();
        let options = KubeConfigOptions::default();
        let mut config = kube::Config::from_custom_kubeconfig(kubeconfig, &options).await.unwrap();
        // A refused eviction is an answer.
        config.default_retry = false;
        Client::try_from(config).unwrap()
    });
    (runtime, client)
}
