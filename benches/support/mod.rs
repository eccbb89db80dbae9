//! The cluster of a benchmark, and what its report is made of.

#![allow(dead_code, reason = "no benchmark needs all of it")]

pub mod replay;

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use serde_json::{Value, json};

/// The cluster in a folder, and the scripts that work on it.
pub struct Cluster {
    pub root: PathBuf,
    pub dir: PathBuf,
}

impl Cluster {
    /// The cluster in the folder that the benchmark is started with.
    pub fn of_arguments() -> Cluster {
        let root = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
        // cargo adds its own arguments.
        let dir = std::env::args().skip(1).find(|argument| !argument.starts_with('-'));
        let dir = PathBuf::from(dir.expect("the folder of a cluster: run it with make bench"));
        Cluster { root, dir }
    }

    /// Applies parts of the samples as the administrator.
    pub fn apply(&self, parts: &[&str]) {
        for part in parts {
            let file = format!("{}/config/samples/{part}.yaml", self.root.display());
            self.kubectl(&self.admin(), &format!("apply -f {file}"));
        }
    }

    /// The kubeconfig of the administrator.
    pub fn admin(&self) -> PathBuf {
        self.dir.join("kubeconfig")
    }

    pub fn script(&self, name: &str, arguments: &[&str]) -> String {
        let output = Command::new(self.root.join("dev").join(name))
            .args(arguments)
            .env("MAYDAY_DEV_DIR", &self.dir)
            .stdin(Stdio::null())
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "dev/{name} {}: {said}", arguments.join(" "));
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }

    pub fn kubectl(&self, kubeconfig: &Path, line: &str) {
        let output = Command::new(self.root.join("dev/kubectl"))
            .args(line.split(' '))
            .env("KUBECONFIG", kubeconfig)
            .stdin(Stdio::null())
            .output()
            .unwrap();
        assert!(output.status.success(), "kubectl {line}: {}", String::from_utf8_lossy(&output.stderr));
    }

    pub fn person(&self, name: &str, group: &str) -> PathBuf {
        PathBuf::from(self.script("user", &[name, group]))
    }
}

/// A client with the rights of a kubeconfig.
pub async fn client(kubeconfig: &Path) -> Client {
    let kubeconfig = Kubeconfig::read_from(kubeconfig).unwrap();
    let config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await.unwrap();
    Client::try_from(config).unwrap()
}

/// How many times as long the one took, with two digits.
pub fn ratio(one: Duration, other: Duration) -> f64 {
    (one.as_secs_f64() / other.as_secs_f64() * 100.0).round() / 100.0
}

/// Prints what was measured and writes it to `target/bench/NAME.json`.
pub fn report(cluster: &Cluster, name: &str, measured: &[(&str, f64)], setting: &Value) {
    for (what, value) in measured {
        println!("{value:>8.2}  {what}");
    }
    let values: serde_json::Map<String, Value> =
        measured.iter().map(|(what, value)| ((*what).to_owned(), json!(value))).collect();
    let written = json!({"benchmark": name, "setting": setting, "measured": values});
    let file = cluster.root.join(format!("target/bench/{name}.json"));
    std::fs::write(&file, serde_json::to_string_pretty(&written).unwrap()).unwrap();
    println!("written to target/bench/{name}.json");
}
