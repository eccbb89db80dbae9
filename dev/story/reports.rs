//! The outage reports, printed and checked.

use jiff::Timestamp;

use crate::failed::{Failed, Result, expect};
use crate::person::Person;
use crate::scene::{Scene, name};
use crate::tell;
use crate::wording::has_word;

/// Prints both reports. The internal one names what is given; the external one names no person, object or image.
pub fn print(scene: &Scene, who: &Person, incident: &str, named: &[&str]) -> Result {
    tell::story("What is left behind: a report for the people inside, and one for everybody.");
    let line = format!("kubectl mayday report -n {} inc/{incident}", scene.namespace);
    let internal = who.types(&line)?.passes()?;
    let external = who.types(&format!("{line} --external"))?.passes()?;
    let lines = external.lines().filter(|line| !line.is_empty());
    lines.take(6).for_each(|line| tell::briefly(&format!("      {line}")));
    let span = span(scene, incident)?;
    for report in [&internal, &external] {
        expect(report.contains(&span), &format!("the report says: {span}"), report)?;
    }
    for word in named {
        expect(has_word(&internal, word), &format!("the report names {word}"), &internal)?;
    }
    let found: Vec<String> =
        secrets(scene, incident)?.into_iter().filter(|word| has_word(&external, word)).collect();
    expect(found.is_empty(), "the external one names no person, object, image or digest", found.join(", "))?;
    expect(external.contains("Payments may fail"), "it holds the public summary", &external)
}

/// For how long, from when to when, by the stored times: service was back when the checks began to pass for good.
fn span(scene: &Scene, incident: &str) -> Result<String> {
    let status = scene.object(&format!("inc/{incident}"))?["status"].clone();
    let time = |field: &str| -> Result<Timestamp> {
        let text = status[field].as_str().unwrap_or_default();
        text.parse().map_err(|_| Failed::new(format!("the incident's {field} is stored"), text))
    };
    let (from, to) = (time("startTime")?, time("healthySinceTime")?);
    let seconds = to.as_second() - from.as_second();
    let length = match (seconds / 60, seconds % 60) {
        (0, seconds) => format!("{seconds} s"),
        (minutes, 0) => format!("{minutes} min"),
        (minutes, seconds) => format!("{minutes} min {seconds} s"),
    };
    let day = |at: Timestamp| at.strftime("%Y-%m-%d %H:%M:%S").to_string();
    Ok(format!("For {length}, from {} to {} UTC", day(from), day(to)))
}

/// Every word that must not appear outside: people, objects, images, digests.
fn secrets(scene: &Scene, incident: &str) -> Result<Vec<String>> {
    let people = [&scene.emil, &scene.amir, &scene.bea, &scene.lena].map(|person| person.name);
    let mut secrets: Vec<String> = [&people[..], &[&scene.app, &scene.namespace, incident, "sha256"]]
        .concat()
        .iter()
        .map(ToString::to_string)
        .collect();
    for image in [&scene.good, &scene.broken, &scene.other] {
        let tag = image.rsplit(':').next().unwrap_or_default();
        secrets.extend([image.clone(), tag.to_owned()]);
    }
    for kind in ["changerequests", "runbooks", "runbookruns", "pods"] {
        for object in scene.list(kind)? {
            secrets.push(name(&object).to_owned());
            let digest = object["status"]["digest"].as_str().and_then(|digest| digest.rsplit(':').next());
            secrets.extend(digest.map(str::to_owned));
        }
    }
    Ok(secrets)
}
