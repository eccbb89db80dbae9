//! The outage reports, printed and checked.

use crate::failed::{Result, expect};
use crate::person::Person;
use crate::scene::Scene;
use crate::wording::matches;

/// Prints both reports. The internal one names what is given; the external one names no person, object or image.
pub fn print(scene: &Scene, who: &Person, incident: &str, named: &[&str]) -> Result {
    println!("\nWhat is left behind: a report for the people inside, and one for everybody.");
    let line = format!("kubectl mayday report -n {} inc/{incident}", scene.namespace);
    let internal = who.types(&line)?.passes()?;
    let external = who.types(&format!("{line} --external"))?.passes()?;
    let sentence = matches("*For * s, from * to * UTC*", &internal);
    expect(sentence, "the report says for how long, from when to when", &internal)?;
    for word in named {
        expect(internal.contains(word), &format!("the report names {word}"), &internal)?;
    }
    let secret = ["emil", "amir", "bea ", "lena", "shop/", "sha256", "chg/", "deploy"];
    let found: Vec<&str> = secret.into_iter().filter(|word| external.contains(word)).collect();
    expect(found.is_empty(), "the external one names no person, object, image or digest", found.join(", "))?;
    expect(external.contains("Payments may fail"), "it holds the public summary", &external)
}
