//! The part of Prometheus: tells a real Alertmanager that an alert fires, and that it no longer does.

use std::fs;

use serde_json::json;

use crate::failed::{Failed, Result};
use crate::person::Person;
use crate::scene::Scene;

/// Name of the alert.
pub const ALERT: &str = "CheckoutDown";

/// An Alertmanager that posts to Mayday.
pub struct Monitoring<'a> {
    scene: &'a Scene,
    /// The person who looks after monitoring, on this machine.
    person: Person,
}

impl Monitoring<'_> {
    /// Starts it, with the token of the sample; `address` is where the AlertSource says that alerts go.
    pub fn start<'a>(scene: &'a Scene, address: &str) -> Result<Monitoring<'a>> {
        let configuration = json!({
            "route": {"receiver": "mayday", "group_by": ["alertname", "deployment"],
                "group_wait": "1s", "group_interval": "2s", "repeat_interval": "1m"},
            "receivers": [{"name": "mayday", "webhook_configs": [{"url": address, "send_resolved": true,
                "http_config": {"authorization": {"type": "Bearer", "credentials": "a-long-random-token"}}}]}],
        });
        // JSON is YAML.
        fs::write(scene.dir.join("samples/alertmanager.yaml"), configuration.to_string())
            .map_err(|error| Failed::new("Alertmanager's configuration", error.to_string()))?;
        let person = Person { name: "monitoring", ..scene.admin.clone() };
        let folder = scene.folder();
        let line = format!("dev/cluster alertmanager {folder} {folder}/samples/alertmanager.yaml");
        person.prepares(&line)?.passes()?;
        Ok(Monitoring { scene, person })
    }

    /// The alert fires.
    pub fn fires(&self) -> Result {
        self.tells("fires")
    }

    /// The alert fires no more.
    pub fn clears(&self) -> Result {
        self.tells("clears")
    }

    fn tells(&self, what: &str) -> Result {
        let (folder, namespace, app) = (self.scene.folder(), &self.scene.namespace, &self.scene.app);
        let labels = format!("severity=error namespace={namespace} deployment={app}");
        let line = format!("dev/alert {what} {folder} {ALERT} \"No pod of the checkout answers\" {labels}");
        self.person.prepares(&line)?.passes().map(drop)
    }
}
