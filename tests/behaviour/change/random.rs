//! Random cases that can be played again: `MAYDAY_CASES` says how many, `MAYDAY_SEED` which.

use kube::Client;
use kube::config::{KubeConfigOptions, Kubeconfig};
use serde_json::Value;
use tokio::runtime::Runtime;

use crate::support::Cluster;

/// A generator of random numbers (SplitMix64), whose seed is printed.
pub struct Random(u64);

impl Random {
    /// The one of a test; its seed is printed, which shows if the test fails.
    pub fn of(test: &str, cases: usize) -> Random {
        let seed = std::env::var("MAYDAY_SEED").ok().map_or_else(
            || {
                let time = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
                time.as_millis() as u64
            },
            |seed| seed.parse().expect("MAYDAY_SEED is a number"),
        );
        println!("{test}: play it again with MAYDAY_SEED={seed} MAYDAY_CASES={cases}");
        Random(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below.
    pub fn below(&mut self, limit: usize) -> usize {
        (self.next() % limit as u64) as usize
    }

    /// Once in so many times.
    pub fn one_in(&mut self, times: usize) -> bool {
        self.below(times) == 0
    }

    /// One of several.
    pub fn choose<T: Clone>(&mut self, from: &[T]) -> T {
        from[self.below(from.len())].clone()
    }
}

/// How many cases are played: few unless `MAYDAY_CASES` asks for more.
pub fn cases(few: usize) -> usize {
    std::env::var("MAYDAY_CASES").map_or(few, |cases| cases.parse().expect("MAYDAY_CASES is a number"))
}

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

/// Puts a value at a JSON pointer, where its parent is.
pub fn put(object: &mut Value, pointer: &str, value: Value) {
    let (parent, name) = pointer.rsplit_once('/').unwrap();
    let name = name.replace("~1", "/").replace("~0", "~");
    if let Some(fields) = object.pointer_mut(parent).and_then(Value::as_object_mut) {
        match value.is_null() {
            true => fields.remove(&name),
            false => fields.insert(name, value),
        };
    }
}
