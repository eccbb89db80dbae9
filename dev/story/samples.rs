//! The samples of `config/samples` with the names of this run, and waits that fit into three minutes.

use std::fs;

use crate::failed::{Failed, Result};
use crate::scene::Scene;

/// How long a person has to answer a page.
const ANSWER: &str = "15s";
/// How long a Deployment must be out before it counts.
const HOLD: &str = "5s";

/// Writes the parts of a sample whose objects have these names (all parts without names) to the cluster's folder;
/// gives the file as a person types it.
pub fn write(scene: &Scene, file: &str, names: &[&str]) -> Result<String> {
    let sample = scene.root.join("config/samples").join(file);
    let text = fs::read_to_string(&sample)
        .map_err(|error| Failed::new(format!("the sample {}", sample.display()), error.to_string()))?;
    let wanted = |part: &&str| {
        names.is_empty() || names.iter().any(|name| part.contains(&format!("\n  name: {name}\n")))
    };
    let parts: Vec<String> = text.split("\n---\n").filter(wanted).map(|part| renamed(scene, part)).collect();
    let folder = scene.dir.join("samples");
    let written =
        fs::create_dir_all(&folder).and_then(|()| fs::write(folder.join(file), parts.join("\n---\n")));
    written.map_err(|error| Failed::new("the samples are written", error.to_string()))?;
    Ok(format!("{}/samples/{file}", scene.folder()))
}

fn renamed(scene: &Scene, part: &str) -> String {
    let namespace = &scene.namespace;
    let names = [
        ("shop/checkout:v1", scene.good.as_str()),
        ("namespace: shop\n", &format!("namespace: {namespace}\n")),
        ("namespace: shop}", &format!("namespace: {namespace}}}")),
        ("  name: shop\n", &format!("  name: {namespace}\n")),
        ("names: [shop]", &format!("names: [{namespace}]")),
        ("http://127.0.0.1:18080/pages", &scene.inbox.url()),
        ("wait: 5m", &format!("wait: {ANSWER}")),
        ("holdFor: 20s", &format!("holdFor: {HOLD}")),
        // The second outage is one of its own, although it comes a minute after the first.
        ("  severity: {fixed: SEV2}\n", "  severity: {fixed: SEV2}\n  reopenWithin: 1s\n"),
        ("reopenWithin: 10m", "reopenWithin: 1s"),
    ];
    // Each line ends in a newline, also the last of a part.
    let mut text = format!("{part}\n");
    for (sample, run) in names {
        text = text.replace(sample, run);
    }
    // After the image, which holds the application's name already.
    let image = &scene.good;
    text.split(image.as_str())
        .map(|piece| piece.replace("checkout", &scene.app))
        .collect::<Vec<_>>()
        .join(image)
}
