//! A missing approval, a failed precondition, or a person stops a run before it acts.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use serde_json::{Value, json};

use crate::shop::{RUNBOOKS, Shop, run_named_in};
use crate::support::{Cluster, condition, eventually};

/// A Runbook that people start, which asks a question and then restarts checkout.
fn runbook(name: &str, change: &Value) -> String {
    let target = json!({"apiVersion": "apps/v1", "kind": "Deployment", "name": "checkout"});
    let mut runbook = json!({"apiVersion": "mayday.dev/v1alpha1", "kind": "Runbook",
        "metadata": {"name": name, "namespace": "shop"},
        "spec": {"summary": "Restart checkout", "start": "Manual", "approval": "PerRun",
            "serviceAccountName": "checkout-runbooks",
            "steps": [
                {"name": "look", "manual": {"instructions": "Is the database back?"}, "timeout": "5m"},
                {"name": "restart", "restart": {"target": target}, "timeout": "2m"}]}});
    json_patch::merge(&mut runbook, change);
    runbook.to_string()
}

/// emil starts it. Returns the name of the run, which the plugin prints even if the run comes to nothing.
fn starts(shop: &Shop<'_>, runbook: &str) -> String {
    let said = shop.emil.types(&format!("kubectl mayday run -n shop {runbook} --yes"));
    let told = if said.succeeded() { said.passes() } else { said.is_refused() };
    run_named_in(&told)
}

#[track_caller]
fn becomes(shop: &Shop<'_>, namespace: &str, runbook: &str, kind: &str, status: &str) -> Value {
    eventually(&format!("rb/{runbook} is {kind}={status}"), || {
        let found = shop.admin.reads(&format!("rb/{runbook} -n {namespace}"));
        condition(&found, kind).is_some_and(|found| found["status"] == status).then_some(found)
    })
}

/// `kubectl describe run` shows what each step did, who started and approved it, and as whom it acted.
fn is_told_in_events(shop: &Shop<'_>, run: &str) {
    let who = "(started by emil; acts as serviceaccount/checkout-runbooks; approved by amir, bea)";
    let expected = [
        ("StepSucceeded", format!("look: emil confirmed {who}")),
        ("StepActs", format!("restart: about to restart deployment/checkout {who}")),
        ("StepSucceeded", format!("restart: deployment/checkout was restarted {who}")),
        ("Succeeded", format!("every step succeeded {who}")),
    ];
    eventually("its Events tell it", || {
        let shown = shop.emil.types(&format!("kubectl describe -n shop run/{run}")).passes();
        let is_shown = |(reason, note): &(&str, String)| {
            shown.lines().any(|line| line.contains(&format!(" {reason} ")) && line.ends_with(note.as_str()))
        };
        expected.iter().all(is_shown).then_some(())
    });
}

#[test]
fn a_run_waits_for_its_approval_and_stops_at_a_guard_or_a_person() {
    let cluster = Cluster::start("runs");
    // A protected shop gives out no tokens of its accounts; this token is older.
    cluster.admin().types("kubectl create namespace shop").passes();
    cluster.admin().types("kubectl create serviceaccount -n shop checkout-runbooks").passes();
    let thief = cluster.service_account("shop", "checkout-runbooks");
    let shop = Shop::open(&cluster, &[]);
    let precondition = json!({"spec": {"approval": "Standing", "onFailure": "Escalate", "steps": [
        {"name": "restart", "timeout": "2m",
            "restart": {"target": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "checkout"}}}],
        "preconditions": [{"expression": "object.spec.replicas > 5", "message": "fewer than six replicas",
            "target": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "checkout"}}]}});
    let standing = json!({"spec": {"approval": "Standing"}});
    let limited = json!({"spec": {"approval": "Standing", "limits": {"runs": {"max": 1, "per": "1h"}},
        "steps": [{"name": "pause", "wait": {"duration": "1s"}}]}});
    // In an unprotected namespace, the account may come later than the Runbook that acts as it.
    shop.admin.types("kubectl create namespace depot").passes();
    let late = json!({"metadata": {"namespace": "depot"}, "spec": {"serviceAccountName": "late"}});
    let named = [
        ("careful", json!({})),
        ("conditional", precondition),
        ("standing", standing),
        ("limited", limited),
        ("late", late),
    ];
    for (name, change) in named {
        shop.admin.applies(&runbook(name, &change)).passes();
    }
    let missing = becomes(&shop, "depot", "late", "Ready", "False");
    assert!(
        condition(&missing, "Ready").unwrap()["message"].as_str().unwrap().contains("late"),
        "{missing:#}"
    );
    let account = json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "late",
        "namespace": "depot", "labels": {"mayday.dev/runbook-identity": "true"}}});
    shop.admin.applies(&account.to_string()).passes();

    // Before the approval Mayday reads nothing as the Runbook's account, not even for a dry run.
    let dry = json!({"apiVersion": "mayday.dev/v1alpha1", "kind": "RunbookRun",
        "metadata": {"name": "dry", "namespace": "shop"},
        "spec": {"runbookRef": {"name": "conditional"}, "dryRun": true}});
    shop.emil.pipes(&dry.to_string(), "kubectl create -f -").passes();
    eventually("the dry run waits for the Runbook's approval", || {
        let held = shop.admin.reads("run/dry -n shop");
        (condition(&held, "Blocked")?["reason"] == "NotApproved").then_some(())
    });

    let unapproved = becomes(&shop, "shop", "careful", "Approved", "False");
    let who = condition(&unapproved, "Approved").unwrap()["message"].as_str().unwrap();
    assert!(who.starts_with("amir and bea"), "by name, not only by group: {who}");
    for name in ["careful", "conditional", "standing", "limited"] {
        shop.is_approved(name);
    }

    // After the approval a dry run tells what would stop the run.
    let dry = shop.run_comes_to("dry", "DryRunComplete");
    let said = dry["status"]["steps"][0]["message"].as_str().unwrap();
    assert!(said.contains("fewer than six replicas"), "{said}");

    // The token of the runbooks' account without the mark of a run changes nothing.
    let before = shop.admin.reads("deploy/checkout -n shop")["metadata"]["generation"].clone();
    for command in [
        "kubectl rollout restart -n shop deploy/checkout",
        "kubectl annotate -n shop deploy/checkout mayday.dev/restarted-by=a-run",
    ] {
        let said = thief.types(command).is_refused();
        assert!(said.contains("change-gate.mayday.dev") && said.contains("is not approved"), "{said}");
    }
    assert_eq!(shop.admin.reads("deploy/checkout -n shop")["metadata"]["generation"], before);

    // A precondition that does not hold stops the run before anything is touched.
    let conditional = shop.run_comes_to(&starts(&shop, "conditional"), "Failed");
    let message = conditional["status"]["steps"][0]["message"].as_str().unwrap();
    assert!(message.contains("fewer than six replicas"), "{message}");
    // It belongs to no incident that would page anybody.
    let run = conditional["metadata"]["name"].as_str().unwrap();
    let told = format!(
        "Runbook conditional failed at restart: {message} (run/{run}). It belongs to no incident: \
         kubectl mayday show -n shop run/{run}"
    );
    eventually("who would lead is paged", || {
        shop.pages().contains(&("lena".to_owned(), told.clone())).then_some(())
    });

    // Each run waits for one person other than its starter, and says for whom.
    let run = starts(&shop, "careful");
    let waiting = shop.run_comes_to(&run, "WaitingForApproval");
    assert_eq!(waiting["status"]["next"]["who"], "one of amir, bea");
    let asked = format!("Runbook careful waits for an approval (run/{run}): ");
    eventually("both are asked", || {
        let all = shop.receiver.messages();
        let asked = all.iter().filter(|message| message.text().starts_with(&asked));
        let mut who: Vec<&str> = asked.map(|message| message.address()).collect();
        who.sort_unstable();
        (who == ["amir", "bea"]).then_some(())
    });
    let approve = format!("kubectl mayday approve -n shop run/{run} --yes");
    shop.emil.types(&approve).is_refused();
    shop.amir.types(&approve).passes();
    shop.run_comes_to(&run, "WaitingForPerson");

    // A person cancels it, once and for good, and it never acts.
    shop.emil.types(&format!("kubectl mayday cancel -n shop run/{run} --yes")).passes();
    shop.run_comes_to(&run, "Cancelled");
    let back = r#"--type merge -p '{"spec":{"cancel":false}}'"#;
    shop.emil.types(&format!("kubectl patch -n shop run/{run} {back}")).is_refused();
    let acts = || shop.writes().into_iter().filter(|(_, user)| user == RUNBOOKS).count();
    assert_eq!(acts(), 0, "{:?}", shop.writes());

    // The next run acts once it is approved and answered.
    let run = starts(&shop, "careful");
    shop.run_comes_to(&run, "WaitingForApproval");
    shop.bea.types(&format!("kubectl mayday approve -n shop run/{run} --yes")).passes();
    let asks = shop.run_comes_to(&run, "WaitingForPerson");
    assert_eq!(asks["status"]["next"]["who"], "emil (on duty)");
    // Failure list 26: it is not deleted while it is at work.
    let said = shop.admin.types(&format!("kubectl delete -n shop run/{run} --timeout=60s")).is_refused();
    assert!(said.contains("a run that is not settled stays"), "{said}");
    // Failure list 27: it ends with the content that it began with, although the Runbook is another one, and then gone, by
    // now. The edit needs new approvals.
    let edit = json!({"spec": {"steps": [{"name": "restart", "wait": {"duration": "1s"}}]}});
    shop.admin.applies(&runbook("careful", &edit)).passes();
    becomes(&shop, "shop", "careful", "Approved", "False");
    shop.admin.types("kubectl delete -n shop rb/careful").passes();
    let answer = asks["status"]["next"]["command"].as_str().unwrap();
    shop.emil.types(&format!("{answer} --yes")).passes();
    shop.run_comes_to(&run, "Succeeded");
    shop.was_restarted_exactly_once();
    is_told_in_events(&shop, &run);
    eventually("the approvals of the Runbook are gone too", || {
        let approvals = shop.admin.reads("approvals -n shop");
        let about = |approval: &Value| approval["spec"]["subjectRef"]["name"] == "careful";
        (!approvals["items"].as_array()?.iter().any(about)).then_some(())
    });

    becomes(&shop, "depot", "late", "Ready", "True");

    // A limit still counts runs that were deleted.
    let run = starts(&shop, "limited");
    shop.run_comes_to(&run, "Succeeded");
    shop.admin.types(&format!("kubectl delete -n shop run/{run} --timeout=60s")).passes();
    let held = shop.run_comes_to(&starts(&shop, "limited"), "Cancelled");
    let why = condition(&held, "Succeeded").unwrap()["message"].as_str().unwrap();
    assert!(why.starts_with("it ran 1 times within 1h; its limit is 1"), "{why}");

    // While an incident has a lead, a pre-approved run waits for the lead, even if it names no incident.
    let declare =
        "kubectl mayday declare 'Customers cannot pay' -n shop --service checkout --severity SEV2 --yes";
    shop.emil.types(declare).passes();
    let incident = shop.incident("it is declared", |_| true)["metadata"]["name"].as_str().unwrap().to_owned();
    shop.lena.types(&format!("kubectl mayday lead -n shop inc/{incident} --yes")).passes();
    shop.incident("lena leads", |incident| incident["status"]["lead"]["user"] == "lena");
    let aside = json!({"apiVersion": "mayday.dev/v1alpha1", "kind": "RunbookRun",
        "metadata": {"name": "aside", "namespace": "shop"}, "spec": {"runbookRef": {"name": "standing"}}});
    shop.emil.pipes(&aside.to_string(), "kubectl create -f -").passes();
    assert_eq!(shop.run_comes_to("aside", "WaitingForApproval")["status"]["next"]["who"], "lena (lead)");
    shop.lena.types("kubectl mayday approve -n shop run/aside --yes").passes();
    // The person on duty answers its question, because the run names no incident with a lead.
    let asks = shop.run_comes_to("aside", "WaitingForPerson");
    assert_eq!(asks["status"]["next"]["who"], "emil (on duty)");
    let answer = format!("{} --yes", asks["status"]["next"]["command"].as_str().unwrap());
    shop.lena.types(&answer).is_refused();
    shop.emil.types(&answer).passes();
    shop.run_comes_to("aside", "Succeeded");

    // Mayday tells the lead of a failed run of the incident, though all other messages stopped when she
    // answered.
    let failing = json!({"apiVersion": "mayday.dev/v1alpha1", "kind": "RunbookRun",
        "metadata": {"name": "failing", "namespace": "shop"},
        "spec": {"runbookRef": {"name": "conditional"}, "incidentRef": {"name": incident}}});
    shop.emil.pipes(&failing.to_string(), "kubectl create -f -").passes();
    shop.run_comes_to("failing", "WaitingForApproval");
    shop.lena.types("kubectl mayday approve -n shop run/failing --yes").passes();
    shop.run_comes_to("failing", "Failed");
    let leads = format!("(run/failing). lena leads: kubectl mayday show -n shop inc/{incident}");
    eventually("who leads is paged", || {
        shop.pages().iter().any(|(who, text)| who == "lena" && text.ends_with(&leads)).then_some(())
    });
    cluster.stop();
}
