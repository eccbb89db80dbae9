//! A freeze of automation: nothing starts by itself, and a run that did is held before its next act, until the freeze is
//! lifted or over. The policy's kill switch stops a run for good.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use crate::shop::{RUNBOOKS, Shop, checkout_down};
use crate::support::{Cluster, condition, eventually};

const SLOW: &str = "CheckoutSlow";

/// A Runbook that asks a question and then restarts checkout.
fn runbook() -> String {
    let target = json!({"apiVersion": "apps/v1", "kind": "Deployment", "name": "checkout"});
    json!({"apiVersion": "mayday.dev/v1alpha1", "kind": "Runbook", "metadata": {"name": "careful", "namespace": "shop"},
        "spec": {"summary": "Restart checkout", "start": "Automatic", "approval": "Standing", "match": [{"alertName": SLOW}],
            "serviceAccountName": "checkout-runbooks",
            "steps": [
                {"name": "look", "manual": {"instructions": "Is the database back?"}, "timeout": "10m"},
                {"name": "restart", "restart": {"target": target}, "timeout": "2m"}]}})
    .to_string()
}

struct Story<'a> {
    shop: Shop<'a>,
}

impl Story<'_> {
    fn runs(&self) -> Vec<Value> {
        self.shop.admin.reads("run -n shop")["items"].as_array().unwrap().clone()
    }

    #[track_caller]
    fn run_is(&self, name: &str, state: &str) -> Value {
        eventually(&format!("run/{name} is {state}"), || {
            let run = self.shop.admin.reads(&format!("run/{name} -n shop"));
            (run["status"]["state"] == state).then_some(run)
        })
    }

    /// Answers the question of a run.
    fn answers(&self, run: &str) {
        let answer = format!("kubectl mayday answer -n shop run/{run} look confirm --yes");
        self.shop.emil.types(&answer).passes();
    }

    /// lena freezes automation, and it is on.
    fn freezes(&self, name: &str) {
        let freeze =
            "kubectl mayday freeze production --for 1h --automation --why 'storage is being moved' --yes";
        let said = self.shop.lena.types(&format!("{freeze} --name {name}")).passes();
        assert!(
            said.contains(&format!("Next: to lift it earlier: kubectl mayday unfreeze {name}")),
            "{said}"
        );
        eventually("the freeze is on", || {
            let freeze = self.shop.admin.reads(&format!("frz/{name}"));
            condition(&freeze, "Active").filter(|active| active["status"] == "True").map(drop)
        });
    }

    fn is_told(&self, name: &str, reason: &str) {
        eventually(&format!("{reason} of frz/{name}"), || {
            let events = self.shop.admin.reads("events -A");
            let is_it = |event: &&Value| {
                event["reason"] == reason
                    && event["involvedObject"]["kind"] == "Freeze"
                    && event["involvedObject"]["name"] == name
            };
            events["items"].as_array()?.iter().find(is_it).map(drop)
        });
    }

    fn acts(&self) -> usize {
        self.shop.writes().into_iter().filter(|(_, user)| user == RUNBOOKS).count()
    }
}

#[test]
fn a_freeze_holds_automation_until_it_is_lifted_or_over() {
    let cluster = Cluster::start("freeze");
    let shop = Shop::open(&cluster, &[]);
    shop.admin.applies(&runbook()).passes();
    shop.is_approved("careful");
    let story = Story { shop };
    let shop = &story.shop;

    // Nothing starts by itself, and the incident says why and how a person starts it.
    story.freezes("moving");
    let shown = shop.lena.types("kubectl mayday show -n shop").passes();
    assert!(
        shown.contains("frz/moving: nothing starts by itself in shop (cpol/production) until "),
        "{shown}"
    );
    shop.alerts(&checkout_down(&json!({"labels": {"alertname": SLOW}})));
    let incident = shop.incident("it says why nothing started", |incident| {
        let blocked = incident["status"]["runbooks"][0]["blocked"].as_str().unwrap_or_default();
        blocked.starts_with("frz/moving stops automation under cpol/production until ")
    });
    let incident = incident["metadata"]["name"].as_str().unwrap();
    let blocked = shop.incidents()[0]["status"]["runbooks"][0]["blocked"].as_str().unwrap().to_owned();
    let by_hand = format!("; by hand: kubectl mayday run -n shop careful --incident {incident}");
    assert!(blocked.ends_with(&by_hand), "{blocked}");
    assert_eq!(story.runs(), Vec::<Value>::new());

    // One approver lifts a freeze of automation, and the run starts by itself.
    let said = shop.emil.types("kubectl mayday unfreeze moving --yes").is_refused();
    assert!(said.contains("by a ClusterRoleBinding"), "{said}");
    shop.amir.types("kubectl mayday unfreeze moving --yes").passes();
    let run = eventually("the run starts by itself", || story.runs().into_iter().next());
    let run = run["metadata"]["name"].as_str().unwrap().to_owned();
    story.run_is(&run, "WaitingForPerson");

    // A run that has begun is held before its act, and goes on by itself when the freeze ends.
    story.freezes("again");
    story.answers(&run);
    let held = story.run_is(&run, "Blocked");
    let why = condition(&held, "Blocked").unwrap();
    assert_eq!(why["reason"], "Frozen", "{why}");
    let said = why["message"].as_str().unwrap();
    assert!(said.starts_with("frz/again stops automation under cpol/production until "), "{said}");
    assert!(said.ends_with("(storage is being moved); to lift it: kubectl mayday unfreeze again"), "{said}");
    assert_eq!(held["status"]["next"]["what"], why["message"]);
    assert_eq!(held["status"]["steps"][1]["intent"], Value::Null);
    let decides = shop.incident("the person on duty decides whether it waits", |incident| {
        incident["status"]["next"]["command"] == format!("kubectl mayday cancel -n shop run/{run}")
    });
    assert_eq!(decides["status"]["next"]["who"], "emil");
    assert_eq!(story.acts(), 0, "{:?}", shop.writes());
    let end = Timestamp::now().checked_add(SignedDuration::from_secs(4)).unwrap();
    let sooner = format!(r#"{{"spec":{{"endTime":"{}"}}}}"#, end.strftime("%Y-%m-%dT%H:%M:%SZ"));
    let shorten = format!("kubectl patch frz/again --type merge -p '{sooner}'");
    shop.amir.types(&shorten).passes();
    story.run_is(&run, "Succeeded");
    shop.was_restarted_exactly_once();
    story.is_told("again", "FreezeBegan");
    story.is_told("again", "FreezeEnded");
    let over = shop.admin.reads("frz/again");
    assert_eq!(condition(&over, "Active").unwrap()["reason"], "Over");

    // The kill switch stops a run that a person started, between two acts and for good.
    let said = shop.emil.types("kubectl mayday run -n shop careful --yes").passes();
    let run = said.split_whitespace().find_map(|word| word.strip_prefix("run/")).unwrap();
    let run = run.trim_end_matches('.');
    story.run_is(run, "WaitingForPerson");
    let off =
        r#"kubectl patch cpol/production --type merge -p '{"spec":{"automation":{"start":"Disabled"}}}'"#;
    shop.admin.types(off).passes();
    story.answers(run);
    let stopped = story.run_is(run, "Failed");
    let why = condition(&stopped, "Succeeded").unwrap()["message"].as_str().unwrap();
    let switched_off = "cpol/production switches runbooks off (automation.start: Disabled)";
    assert_eq!(why, format!("stopped before its next act: {switched_off}"));
    shop.was_restarted_exactly_once();
    cluster.stop();
}

/// The kind: a switch that is set between the last check and the act.
#[test]
fn a_freeze_set_between_intent_and_act_holds_the_act() {
    const POINT: &str = "after-intent";
    let cluster =
        Cluster::without_operator("frozen-intent", &["--set", "config.testing.crashAt={after-intent}"]);
    cluster.operator(0).start();
    let shop = Shop::open(&cluster, &[("holdFor: 20s", "holdFor: 1s"), ("stableFor: 30s", "stableFor: 3s")]);
    shop.is_approved("restart-checkout");
    let process = cluster.operator(0).pid();
    shop.gets_stuck();
    shop.alerts(&checkout_down(&json!({})));
    cluster.operator(0).has_died_at_its_point(process);

    // Stopping the line works while Mayday is down.
    let freeze = json!({"apiVersion": "mayday.dev/v1alpha1", "kind": "Freeze", "metadata": {"name": "late"},
        "spec": {"policyRef": {"name": "production"}, "stops": ["Automation"], "reason": "wait", "endTime": "2099-01-01T00:00:00Z"}});
    shop.lena.pipes(&freeze.to_string(), "kubectl create -f -").passes();
    cluster.mends(POINT);
    cluster.operator(0).start();
    let story = Story { shop };
    let run = eventually("the run is there", || story.runs().into_iter().next());
    let run = run["metadata"]["name"].as_str().unwrap().to_owned();
    let held = story.run_is(&run, "Blocked");
    assert_eq!(condition(&held, "Blocked").unwrap()["reason"], "Frozen");
    assert_eq!(held["status"]["steps"][0]["intent"], Value::Null);
    assert_eq!(story.acts(), 0, "{:?}", story.shop.writes());

    story.shop.amir.types("kubectl mayday unfreeze late --yes").passes();
    story.run_is(&run, "Succeeded");
    story.shop.was_restarted_exactly_once();
    cluster.stop();
}
