//! The part of Prometheus: tells a real Alertmanager that an alert fires, and that it no longer does.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;

use jiff::Timestamp;
use serde_json::json;

use crate::failed::{Failed, Result};
use crate::scene::Scene;

/// Name of the alert.
pub const ALERT: &str = "CheckoutDown";

/// An Alertmanager that posts to Mayday.
pub struct Monitoring {
    port: u16,
    app: String,
    namespace: String,
    started: Timestamp,
}

impl Monitoring {
    /// Starts it, with the token of the sample; `address` is where the AlertSource says that alerts go.
    pub fn start(scene: &Scene, address: &str) -> Result<Monitoring> {
        let configuration = json!({
            "route": {"receiver": "mayday", "group_by": ["alertname", "deployment"],
                "group_wait": "1s", "group_interval": "2s", "repeat_interval": "1m"},
            "receivers": [{"name": "mayday", "webhook_configs": [{"url": address, "send_resolved": true,
                "http_config": {"authorization": {"type": "Bearer", "credentials": "a-long-random-token"}}}]}],
        });
        // JSON is YAML.
        let file = scene.dir.join("alertmanager.yaml");
        fs::write(&file, configuration.to_string())
            .map_err(|error| Failed::new("Alertmanager's configuration", error.to_string()))?;
        let (dir, file) = (scene.dir.to_string_lossy(), file.to_string_lossy());
        scene.script("cluster", &["alertmanager", &dir, &file])?;
        Ok(Monitoring {
            port: scene.port("alertmanager")?,
            app: scene.app.clone(),
            namespace: scene.namespace.clone(),
            started: Timestamp::now(),
        })
    }

    /// The alert fires.
    pub fn fires(&mut self) -> Result {
        self.started = Timestamp::now();
        self.post(None)
    }

    /// The alert fires no more.
    pub fn clears(&self) -> Result {
        self.post(Some(Timestamp::now()))
    }

    fn post(&self, ended: Option<Timestamp>) -> Result {
        let mut alert = json!({
            "labels": {"alertname": ALERT, "severity": "error", "namespace": self.namespace, "deployment": self.app},
            "annotations": {"summary": "No pod of the checkout answers"},
            "startsAt": self.started.to_string(),
        });
        if let Some(ended) = ended {
            alert["endsAt"] = json!(ended.to_string());
        }
        let body = json!([alert]).to_string();
        let answer =
            self.send(&body).map_err(|error| Failed::new("Alertmanager answers", error.to_string()))?;
        match answer.split(' ').nth(1) {
            Some("200") => Ok(()),
            _ => Err(Failed::new("Alertmanager takes the alert", answer)),
        }
    }

    fn send(&self, body: &str) -> std::io::Result<String> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port))?;
        let length = body.len();
        write!(
            stream,
            "POST /api/v2/alerts HTTP/1.0\r\nhost: 127.0.0.1\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n{body}"
        )?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer)
    }
}
