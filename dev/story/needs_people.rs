//! The second outage: a release that fails after it became ready, which only people can take back.

use serde_json::Value;

use crate::audit::Audit;
use crate::failed::{Result, expect};
use crate::repairs_itself::{over_since, page, started};
use crate::reports;
use crate::scene::{LeaveOut, Scene, condition, name};
use crate::tell;
use crate::wait::{quietly, seen, until};
use crate::wording::{matches, minutes_and_seconds};

/// Who must approve, in the words that people read.
const QUIET: &str = "amir and bea";
const CRISIS: &str = "lena (lead) and one of amir, bea";

/// Plays it.
pub fn play(scene: &Scene) -> Result {
    tell::heading("The second outage needs people");
    let place = Audit::read(&scene.dir)?.mark();
    let release = release(scene)?;
    let incident = paged(scene)?;
    claimed(scene, &incident)?;
    let first = back_once(scene, &incident)?;
    let second = back_for_good(scene, &incident)?;
    over(scene, &incident, &release, &[&first, &second])?;
    scene.inbox.nothing_else()?;
    judge(scene, place)
}

/// A release is asked for, approved and applied like any other.
fn release(scene: &Scene) -> Result<String> {
    tell::story(
        "emil has a release. He may edit the Deployment as far as Kubernetes is concerned; Mayday says no.",
    );
    refused(scene, &scene.good, &scene.broken, &format!("{QUIET} must approve"))?;
    tell::story("So he asks, as the answer told him to; the approvers hear of it.");
    let effect = format!("in {}, {} → {}", scene.namespace, scene.good, scene.broken);
    let asks = Asks { effect, during: "", rollback: true, must: QUIET };
    let request = ask(scene, &scene.broken, "the new release", "", &asks)?;
    approve(scene, &[&scene.amir, &scene.bea], &request)?;
    tell::story("His own command passes now.");
    scene.emil.types(&scene.set_image(&scene.broken))?.passes()?;
    scene.emil.prepares(&rollout(scene))?.passes()?;
    Ok(request)
}

/// No monitoring sees it, no runbook fits, and emil does not answer.
fn paged(scene: &Scene) -> Result<String> {
    tell::story("The release was ready. Ten seconds later it fails; no monitoring says so, Mayday sees it.");
    let mark = scene.inbox.mark();
    let incident = scene.one_open_incident()?;
    let start = started(scene, &incident)?;
    let since = minutes_and_seconds(&start);
    scene.inbox.hears(mark, "emil", &page(scene, &incident, since, "emil", "bea and lena are"))?;
    let told = format!("Since *:{since} * on * customers may be unable to pay. Next update by *.");
    scene.inbox.hears(mark, "", &told)?;
    tell::story("emil is away from his desk. Mayday calls the next level.");
    for who in ["bea", "lena"] {
        scene.inbox.hears(mark, who, &page(scene, &incident, since, who, "emil is"))?;
    }
    let runs = scene.list("runbookruns")?;
    let of_this = runs.iter().filter(|run| run["spec"]["incidentRef"]["name"] == incident.as_str()).count();
    expect(of_this == 0, "no runbook fits, and none ran", of_this)?;
    Ok(incident)
}

/// lena leads; from now on a change needs her and one more.
fn claimed(scene: &Scene, incident: &str) -> Result {
    tell::story("lena leads. That answers the pages, too.");
    let mark = scene.inbox.mark();
    let line = format!("kubectl mayday lead -n {} inc/{incident} --yes", scene.namespace);
    scene.lena.types(&line)?.passes()?;
    let crisis = scene.state(&format!("inc/{incident}"), "Crisis")?;
    let lead = crisis["status"]["lead"]["user"].to_string();
    expect(lead == "\"lena\"", "the lead is lena", lead)?;
    let message = "Since * on * customers may be unable to pay. lena leads the repair. Next update by *.";
    scene.inbox.hears(mark, "", message)
}

/// A rollback, approved by amir first and lena second; used once, taken back once, and then used up.
fn back_once(scene: &Scene, incident: &str) -> Result<String> {
    tell::story("emil is back, and wants the old image. Not so fast.");
    let who = format!("Incident {incident} (SEV2) is open: {CRISIS} must approve.");
    refused(scene, &scene.broken, &scene.good, &who)?;
    tell::story("He asks, and wants the rollback from it approved as well; lena and the approvers are told.");
    let effect = format!("in {}, {} → {}", scene.namespace, scene.broken, scene.good);
    let asks = Asks { effect, during: incident, rollback: true, must: CRISIS };
    let request = ask(scene, &scene.good, "back to what worked", " --with-rollback", &asks)?;
    waits_for(scene, incident, &request)?;
    tell::story("amir alone is not enough.");
    alone(scene, &scene.amir, &request)?;
    refused(scene, &scene.broken, &scene.good, &format!("chg/{request}"))?;
    tell::story("amir and lena are.");
    let lead = match scene.leaves_out(LeaveOut::Lead, "lena's approval") {
        true => vec![],
        false => vec![&scene.lena],
    };
    approve(scene, &lead, &request)?;
    tell::story("That holds for the image that they saw, and for no other.");
    refused(scene, &scene.broken, &scene.other, "it does not hold this value")?;
    tell::story("The exact command passes.");
    scene.emil.types(&scene.set_image(&scene.good))?.passes()?;
    let (namespace, app) = (&scene.namespace, &scene.app);
    tell::story(
        "The rollback from it was approved with it; emil takes it by mistake. Everybody hears of it.",
    );
    let mark = scene.inbox.mark();
    scene.emil.types(&scene.set_image(&scene.broken))?.passes()?;
    let taken = format!(
        "emil took back at * UTC what chg/{request} had let through: image of deployment/{app} in {namespace}, {} → {}. \
         That was approved with it, once. Look: kubectl mayday show -n {namespace} chg/{request}",
        scene.good, scene.broken
    );
    for who in ["", "emil", "lena", "amir", "bea"] {
        scene.inbox.hears(mark, who, &taken)?;
    }
    tell::story("But what was approved was one use, not two.");
    refused(scene, &scene.broken, &scene.good, "it was used 1 of 1 times")?;
    Ok(request)
}

/// The same once more, this time approved by lena first and bea second.
fn back_for_good(scene: &Scene, incident: &str) -> Result<String> {
    tell::story("He must ask again. This time lena is first, and alone she is not enough either.");
    let effect = format!("in {}, {} → {}", scene.namespace, scene.broken, scene.good);
    let asks = Asks { effect, during: incident, rollback: false, must: CRISIS };
    let request = ask(scene, &scene.good, "back to what worked, for good", "", &asks)?;
    alone(scene, &scene.lena, &request)?;
    refused(scene, &scene.broken, &scene.good, &format!("chg/{request}"))?;
    tell::story("lena and bea are.");
    approve(scene, &[&scene.bea], &request)?;
    scene.emil.types(&scene.set_image(&scene.good))?.passes()?;
    scene.emil.prepares(&rollout(scene))?.passes()?;
    tell::story("Healthy is what is proved, and stays so.");
    scene.condition(&format!("inc/{incident}"), "Restored", "True")?;
    Ok(request)
}

fn over(scene: &Scene, incident: &str, release: &str, named: &[&str]) -> Result {
    tell::story("lena says that it is over.");
    scene.state(&format!("inc/{incident}"), "Restored")?;
    let line = format!("kubectl mayday resolve -n {} inc/{incident} --yes", scene.namespace);
    let mark = scene.inbox.mark();
    scene.lena.types(&line)?.passes()?;
    let over = scene.state(&format!("inc/{incident}"), "Resolved")?;
    scene.inbox.hears(mark, "", &over_since(scene, &over))?;
    let named = [&["lena", "emil", "amir", "bea", &scene.good], named].concat();
    reports::print(scene, &scene.lena, incident, &named)?;
    let internal = scene.object(&format!("inc/{incident}"))?;
    let internal = internal["status"]["reports"]["internal"].as_str().unwrap_or_default();
    let cause = format!(
        "*The last change before it: image of deployment/* → {} (chg/{release}, *applied by emil at *",
        scene.broken
    );
    expect(matches(&cause, internal), "it names the release as the last change before the outage", internal)
}

/// emil's change is refused, and the answer holds these words.
fn refused(scene: &Scene, before: &str, after: &str, words: &str) -> Result {
    let (namespace, app) = (&scene.namespace, &scene.app);
    let said = scene.emil.types(&scene.set_image(after))?;
    let sentence =
        format!("Refused: image of deployment/{app} in {namespace}, {before} → {after}, is not approved.");
    expect(said.err.contains(words), &format!("the answer says: {words}"), &said.err)?;
    said.refused(&sentence)?;
    expect(scene.image()? == before, &format!("the image is still {before}"), scene.image()?)
}

/// What a message says of a request.
struct Asks<'a> {
    /// `in shop, shop/checkout:v1 → shop/checkout:v2`.
    effect: String,
    /// The incident, if one is open.
    during: &'a str,
    rollback: bool,
    must: &'a str,
}

/// emil asks for an image, and the approvers hear of it. Gives the name of the request.
fn ask(scene: &Scene, image: &str, why: &str, flag: &str, asks: &Asks<'_>) -> Result<String> {
    let (namespace, app) = (&scene.namespace, &scene.app);
    let mark = scene.inbox.mark();
    let before: Vec<String> = requests(scene)?;
    let line = format!(
        "kubectl mayday ask -n {namespace} deploy/{app} --image app={image} --why \"{why}\"{flag} --yes"
    );
    scene.emil.types(&line)?.passes()?;
    let request = quietly("one new request", || {
        let new: Vec<String> = requests(scene)?.into_iter().filter(|name| !before.contains(name)).collect();
        Ok(seen((new.len() == 1).then(|| new.concat()), || new.join(", ")))
    })?;
    let Asks { effect, during, rollback, must } = asks;
    let during = if during.is_empty() { String::new() } else { format!(" during {during}") };
    let rollback = if *rollback { "Taking each use back once would be approved with it. " } else { "" };
    let text = format!(
        "emil asks{during}: image of deployment/{app} {effect}. Why: {why}. {rollback}{must} must approve. \
         Look and decide: kubectl mayday approve -n {namespace} chg/{request}"
    );
    for who in ["amir", "bea", "lena"].into_iter().filter(|who| must.contains(who)) {
        scene.inbox.hears(mark, who, &text)?;
    }
    Ok(request)
}

fn requests(scene: &Scene) -> Result<Vec<String>> {
    Ok(scene.list("changerequests")?.iter().map(|request| name(request).to_owned()).collect())
}

/// Everybody given approves, and that makes the request approved; emil hears it.
fn approve(scene: &Scene, who: &[&crate::person::Person], request: &str) -> Result {
    let mark = scene.inbox.mark();
    for person in who {
        let line = format!("kubectl mayday approve -n {} chg/{request} --yes", scene.namespace);
        person.types(&line)?.passes()?;
    }
    let approved = scene.condition(&format!("chg/{request}"), "Approved", "True")?;
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let decisions = approved["status"]["decisions"].as_array().cloned().unwrap_or_default();
    let by: Vec<String> = decisions
        .iter()
        .map(|decision| format!("{} ({})", text(&decision["by"]), text(&decision["role"])))
        .collect();
    let all = who.iter().all(|person| by.iter().any(|by| by.starts_with(person.name)));
    expect(all && by.len() == 2, "two people approved it", by.join(", "))?;
    let message = format!(
        "chg/{request} is approved by {}: {}. Carry it out by * UTC: kubectl mayday apply -n {} chg/{request}",
        by.join(" and "),
        text(&approved["status"]["plan"][0]["summary"]),
        scene.namespace
    );
    scene.inbox.hears(mark, "emil", &message)
}

/// One approval counts, and is not enough.
fn alone(scene: &Scene, person: &crate::person::Person, request: &str) -> Result {
    let line = format!("kubectl mayday approve -n {} chg/{request} --yes", scene.namespace);
    person.types(&line)?.passes()?;
    let decided = until(&format!("{}'s decision counts", person.name), || {
        let object = scene.object(&format!("chg/{request}"))?;
        let decisions = object["status"]["decisions"].as_array().cloned().unwrap_or_default();
        let counts = decisions
            .iter()
            .any(|decision| decision["by"]["user"] == person.name || decision["by"] == person.name);
        Ok(if counts { Ok(object) } else { Err(format!("{decisions:?}")) })
    })?;
    let missing = format!("still missing: {}", decided["status"]["missing"].as_str().unwrap_or_default());
    expect(condition(&decided, "Approved", "True").is_err(), &missing, "Approved=True")
}

/// The incident's column says who must do what next.
fn waits_for(scene: &Scene, incident: &str, request: &str) -> Result {
    until(&format!("the incident waits for chg/{request}"), || {
        let object: Value = scene.object(&format!("inc/{incident}"))?;
        let waiting = object["status"]["waitingOn"].as_str().unwrap_or_default().to_owned();
        Ok(seen(waiting.ends_with(&format!("approve chg/{request}")).then_some(()), || waiting.clone()))
    })?;
    let listed = scene.emil.types(&format!("kubectl -n {} get inc", scene.namespace))?.passes()?;
    listed.lines().for_each(|line| tell::briefly(&format!("      {line}")));
    Ok(())
}

fn rollout(scene: &Scene) -> String {
    format!("kubectl -n {} rollout status deploy/{} --timeout=60s", scene.namespace, scene.app)
}

/// The audit log must show emil's four approved changes, and nothing else.
fn judge(scene: &Scene, place: usize) -> Result {
    tell::story("The API server's audit log is the judge.");
    let writes = Audit::read(&scene.dir)?.changes(place, &scene.namespace);
    let listed = vec![format!("emil: patch deployments/{}", scene.app); 4];
    let expected = "the only writes to production: the release, the rollback, its restore, the rollback";
    expect(writes == listed, expected, writes.join("; "))
}
