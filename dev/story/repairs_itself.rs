//! The first outage: an approved runbook repairs it, and everybody hears what they must.

use serde_json::Value;

use crate::audit::Audit;
use crate::failed::{Failed, Result, expect};
use crate::monitoring::{ALERT, Monitoring};
use crate::reports;
use crate::scene::{LeaveOut, Scene, condition, name};
use crate::tell;
use crate::wait::{quietly, seen, until};
use crate::wording::minutes_and_seconds;

/// Plays it.
pub fn play(scene: &Scene) -> Result {
    tell::heading("The first outage repairs itself");
    let (namespace, app) = (&scene.namespace, &scene.app);
    let source = scene.object("alertsource/alertmanager")?;
    let address = source["status"]["address"].as_str().unwrap_or_default();
    let monitoring = Monitoring::start(scene, address)?;
    let (mark, place) = (scene.inbox.mark(), Audit::read(&scene.dir)?.mark());

    tell::story(&format!("The pods of {app} get stuck, as their node sees it."));
    let node = crate::person::Person { name: "node", ..scene.admin.clone() };
    node.types(&format!("dev/stick {} {namespace} app={app}", scene.folder()))?.passes()?;

    tell::story("Mayday sees the Deployment itself; the person on duty is paged.");
    let incident = scene.one_open_incident()?;
    let start = started(scene, &incident)?;
    let since = minutes_and_seconds(&start);
    scene.inbox.hears(mark, "emil", &page(scene, &incident, since, "emil", "bea and lena are"))?;
    answer(scene, &incident)?;

    tell::story(&format!("Prometheus has noticed too: a real Alertmanager tells Mayday that {ALERT} fires."));
    monitoring.fires()?;
    until("the alert joins the same incident", || {
        let object = scene.object(&format!("inc/{incident}"))?;
        let signals = object["status"]["signals"].as_array().cloned().unwrap_or_default();
        let says = |source: &str| signals.iter().any(|signal| signal["sourceRef"]["name"] == source);
        Ok(seen((says("alertmanager") && says("workloads")).then_some(()), || format!("{signals:?}")))
    })?;
    scene.one_open_incident()?;

    tell::story("The approved runbook fits, and runs by itself, once.");
    one_run(scene)?;
    until("the Deployment is available again", || {
        let object = scene.object(&format!("deploy/{app}"))?;
        Ok(condition(&object, "Available", "True"))
    })?;
    monitoring.clears()?;
    tell::story("Nobody has to say that it is over: it is proved, and stays so.");
    let over = scene.state(&format!("inc/{incident}"), "Resolved")?;
    let by = over["status"]["resolved"]["user"].to_string();
    expect(by.contains("mayday"), "it was resolved by Mayday itself", by)?;

    scene.inbox.hears(
        mark,
        "",
        &format!("Since *:{since} * on * customers may be unable to pay. Next update by *."),
    )?;
    scene.inbox.hears(mark, "", &over_since(scene, &over))?;
    scene.inbox.nothing_else()?;
    reports::print(scene, &scene.emil, &incident, &[&format!("restart-{app}"), "emil"])?;
    judge(scene, place)
}

/// What a page says when no runbook fits.
pub fn page(scene: &Scene, incident: &str, since: &str, who: &str, then: &str) -> String {
    let (namespace, app) = (&scene.namespace, &scene.app);
    format!(
        "SEV2 {app} is down since *:{since} * (not available for * s); customers may be unable to pay. \
         Mayday has changed nothing: no approved runbook fits. {who}, answer by * or {then} called: \
         *kubectl mayday ack -n {namespace} inc/{incident}"
    )
}

/// The room reads at the end that the outage was over when the checks began to pass, not when a person said
/// so.
pub fn over_since(scene: &Scene, over: &Value) -> String {
    let healthy = over["status"]["healthySinceTime"].as_str().unwrap_or_default();
    format!("Over since *:{} *: {} is down. Proved healthy.", minutes_and_seconds(healthy), scene.app)
}

/// When an incident began, as stored.
pub fn started(scene: &Scene, incident: &str) -> Result<String> {
    quietly("the start of the incident", || {
        let object = scene.object(&format!("inc/{incident}"))?;
        let start = object["status"]["startTime"].as_str().map(str::to_owned);
        Ok(seen(start, || object["status"].to_string()))
    })
}

fn answer(scene: &Scene, incident: &str) -> Result {
    tell::story("emil answers, and nobody else is called.");
    if !scene.leaves_out(LeaveOut::Acknowledgement, "emil's acknowledgement") {
        let line = format!("kubectl mayday ack -n {} inc/{incident} --yes", scene.namespace);
        scene.emil.types(&line)?.passes()?;
    }
    scene.condition(&format!("inc/{incident}"), "Acknowledged", "True").map(drop)
}

fn one_run(scene: &Scene) -> Result {
    let runs = until("there is one run, and it succeeded", || {
        let runs = scene.list("runbookruns")?;
        let done = !runs.is_empty() && runs.iter().all(|run| run["status"]["state"] == "Succeeded");
        let state =
            |run: &Value| format!("{} {}: {}\n", name(run), run["status"]["state"], run["status"]["steps"]);
        Ok(if done { Ok(runs) } else { Err(runs.iter().map(state).collect()) })
    })?;
    match runs.len() {
        1 => Ok(()),
        several => Err(Failed::new("one run", format!("{several} runs"))),
    }
}

/// The audit log must show one restart, by the runbook's account, and nothing else.
fn judge(scene: &Scene, place: usize) -> Result {
    let (namespace, app) = (&scene.namespace, &scene.app);
    tell::story("The API server's audit log is the judge.");
    let audit = Audit::read(&scene.dir)?;
    let account = format!("system:serviceaccount:{namespace}:{app}-runbooks");
    let writes = audit.changes(place, namespace);
    let listed = [format!("{account}: patch deployments/{app}")];
    expect(
        writes == listed,
        &format!("the only write to production: {}", listed.concat()),
        writes.join("; "),
    )?;
    let (seconds, calls) = audit
        .alert_to_repair(place, ALERT, &account)
        .ok_or_else(|| Failed::new("the alert and the repair in the audit log", "one is missing"))?;
    tell::always(&format!(
        "  From the stored alert to the first write of the repair: {seconds:.2} s, {calls} API calls."
    ));
    Ok(())
}
