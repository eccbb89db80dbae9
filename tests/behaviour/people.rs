//! Escalation, who may answer, lead and resolve, and what people do while Mayday is stopped.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use std::time::Duration;

use serde_json::{Value, json};

use crate::shop::{Shop, checkout_down};
use crate::support::{Cluster, Output, Person, eventually, watches};

fn name(incident: &Value) -> String {
    incident["metadata"]["name"].as_str().unwrap().to_owned()
}

fn patches(person: &Person, incident: &str, spec: &str) -> Output {
    person.types(&format!("kubectl patch -n shop inc/{incident} --type merge -p '{{\"spec\":{spec}}}'"))
}

#[track_caller]
fn is_refused(output: Output, words: &str) {
    let said = output.is_refused();
    assert!(said.contains(words), "{words:?} is not in: {said}");
}

#[test]
fn the_next_level_is_paged_until_a_person_answers_and_only_leads_lead() {
    let cluster = Cluster::start("people");
    let quick = [("wait: 5m", "wait: 5s"), ("wait: 10m", "wait: 10s"), ("timeout: 10s", "timeout: 1m")];
    let shop = Shop::open(&cluster, &quick);
    // The receiver of the first page hangs, which must not delay the others.
    shop.receiver.hangs_for("emil");
    shop.alerts(&checkout_down(&json!({})));
    let incident = name(&shop.incident("it is open", |incident| incident["status"]["state"] == "Open"));
    let mut pages = Vec::new();
    let seen = watches(Duration::from_secs(120), || {
        pages = shop.stored_pages();
        let by_webhook = |page: &&Value| page["spec"]["channelRef"]["name"] == "oncall-webhook";
        let of = |user: &str| {
            pages.iter().filter(by_webhook).find(|page| page["spec"]["recipient"]["user"] == user)
        };
        let is_tried = |page: &Value| page["status"]["attempts"].as_i64().unwrap_or_default() > 0;
        (of("bea")?["status"]["state"] == "Sent" && !is_tried(of("emil")?)).then_some(())
    });
    assert!(seen.is_some(), "the next level is not paged while the first attempt goes on: {pages:#?}");
    let pages = eventually("the next level is paged", || Some(shop.pages()).filter(|pages| pages.len() >= 3));
    assert_eq!(pages[0].0, "emil", "first who is on duty");
    let mut next = [pages[1].0.as_str(), pages[2].0.as_str()];
    next.sort_unstable();
    assert_eq!(next, ["bea", "lena"], "then those of the next level");
    assert!(pages[0].1.contains("or bea and lena are called"), "{}", pages[0].1);

    is_refused(
        patches(&shop.emil, &incident, r#"{"acknowledgement":{"user":"bea"}}"#),
        "Refused: acknowledgement is for oneself, and you are emil",
    );
    shop.bea.types(&format!("kubectl mayday ack -n shop inc/{incident} --yes")).passes();
    let answered =
        shop.incident("it is acknowledged", |incident| incident["status"]["state"] == "Acknowledged");
    let status = &answered["status"];
    assert_eq!(status["acknowledgement"]["user"], "bea");
    assert!(status["escalation"]["nextTime"].is_null(), "{:#}", status["escalation"]);
    eventually("no page waits to be sent any more", || {
        shop.stored_pages().iter().all(|page| page["status"]["state"] != "Queued").then_some(())
    });
    let paged = shop.pages();
    for spec in [r#"{"acknowledgement":{"user":"emil"}}"#, r#"{"acknowledgement":null}"#] {
        is_refused(patches(&shop.amir, &incident, spec), "Refused: acknowledgement is for oneself");
    }

    let lead = format!("kubectl mayday lead -n shop inc/{incident} --yes");
    for (who, user) in [(&shop.emil, "emil"), (&shop.amir, "amir")] {
        is_refused(who.types(&lead), &format!("Refused: no ChangePolicy lets {user} lead incidents in shop"));
    }
    is_refused(
        patches(&shop.emil, &incident, r#"{"roles":{"lead":{"user":"lena"}}}"#),
        "Refused: everybody claims the lead for themselves, and you are emil",
    );
    let borrowed = "--as=lena --as-group=shop-leads";
    let claim = format!(
        "kubectl patch -n shop inc/{incident} --type merge {borrowed} -p '{{\"spec\":{{\"roles\":{{\"lead\":{{\"user\":\"lena\"}}}}}}}}'"
    );
    is_refused(shop.admin.types(&claim), "Refused: a lead is a person who logged in directly");
    shop.lena.types(&lead).passes();
    shop.incident("lena leads", |incident| {
        incident["status"]["lead"]["user"] == "lena" && incident["status"]["state"] == "Crisis"
    });

    for (spec, words) in [
        (r#"{"severity":"SEV4"}"#, "lowering SEV2 to SEV4 is for lena, who leads"),
        (r#"{"serviceRefs":[]}"#, "taking services away is for lena, who leads"),
        (
            r#"{"affected":[{"apiVersion":"apps/v1","kind":"Deployment","name":"other"}]}"#,
            "taking affected objects away is for lena, who leads",
        ),
        (
            r#"{"returnToService":{"checks":[],"stableFor":"1s"}}"#,
            "weakening the checks that prove the return to service is for lena, who leads",
        ),
        (
            r#"{"resolution":{"outcome":"FalseAlarm","reason":"no"}}"#,
            "as a false alarm takes lena, who leads, and one peer",
        ),
        (r#"{"roles":{"lead":{"user":"emil"}}}"#, "lena leads"),
        (r#"{"roles":{"lead":null}}"#, "is handed over, not dropped"),
    ] {
        is_refused(patches(&shop.emil, &incident, spec), words);
    }
    for what in [format!("inc/{incident}"), "inc --all".to_owned()] {
        let delete = format!("kubectl delete -n shop {what}");
        is_refused(shop.admin.types(&delete), &format!("kubectl mayday resolve -n shop inc/{incident}"));
        is_refused(shop.lena.types(&delete), "cannot delete");
    }
    patches(&shop.lena, &incident, r#"{"severity":"SEV3"}"#).passes();
    patches(&shop.emil, &incident, r#"{"severity":"SEV2"}"#).passes();

    // The public message is sent only when the lead or communications decide so, and then once.
    let public = || {
        let all = shop.receiver.messages();
        all.iter().filter(|message| message.text().contains("Payments may fail")).count()
    };
    assert_eq!(public(), 0);
    let update = format!("kubectl mayday update -n shop inc/{incident} --external --yes");
    let carl = cluster.person("carl", &["shop-communications"]);
    is_refused(carl.types(&update), "hear one voice, the communications lead's or the lead's");
    patches(&shop.lena, &incident, r#"{"roles":{"communications":{"user":"carl"}}}"#).passes();
    carl.types(&update).passes();
    eventually("the public hears it", || (public() > 0).then_some(()));

    // Mayday paged no person, although every level would have been due by now.
    let stopped = jiff::Timestamp::now();
    eventually("twice the longest wait is over", || {
        (jiff::Timestamp::now().duration_since(stopped).as_secs() > 20).then_some(())
    });
    assert_eq!(shop.pages(), paged, "everything stops at the acknowledgement");
    assert_eq!(public(), 1, "an update is sent once");
    cluster.stop();
}

#[test]
fn acts_of_people_while_mayday_is_stopped_count_when_it_starts() {
    let cluster = Cluster::start("stopped");
    // Nothing is really broken here, so the checks must not prove it healthy in between.
    let shop = Shop::open(&cluster, &[("stableFor: 30s", "stableFor: 10m")]);
    let emil = &shop.emil;
    for (name, replicas) in [("more", 4), ("less", 2)] {
        let ask = format!(
            "kubectl mayday ask -n shop deploy/checkout --scale {replicas} --why load --name {name} --yes"
        );
        emil.types(&ask).passes();
    }
    cluster.operator(0).stop();
    let declare =
        "kubectl mayday declare 'Customers cannot pay' -n shop --service checkout --severity SEV2 --yes";
    emil.types(declare).passes();
    let incident = name(&shop.incident("it is declared", |_| true));
    emil.types(&format!("kubectl mayday note -n shop inc/{incident} 'the gateway answers 500' --yes"))
        .passes();
    shop.bea.types(&format!("kubectl mayday ack -n shop inc/{incident} --yes")).passes();

    let lead = format!("kubectl mayday lead -n shop inc/{incident} --yes");
    let ask =
        "kubectl mayday ask -n shop deploy/checkout --image app=shop/checkout:v2 --why 'release v2' --yes";
    let image = "kubectl set image -n shop deploy/checkout app=shop/checkout:v2";
    is_refused(shop.lena.types(&lead), "guard.mayday.dev");
    is_refused(emil.types(ask), "guard.mayday.dev");
    let approve = "kubectl mayday approve -n shop chg/more --yes";
    let reject = "kubectl mayday reject -n shop chg/less --why 'too few' --yes";
    is_refused(shop.amir.types(approve), "guard.mayday.dev");
    is_refused(shop.bea.types(reject), "guard.mayday.dev");
    is_refused(emil.types(image), "change-gate.mayday.dev");
    is_refused(shop.admin.types(image), "change-gate.mayday.dev");

    cluster.operator(0).start();
    let taken = shop.incident("what was done counts", |incident| {
        incident["status"]["acknowledgement"]["user"] == "bea"
            && incident["status"]["state"] == "Acknowledged"
    });
    // No check has seen the outage, so a person who is on duty is asked when it is over.
    let asked = shop.incident("emil is asked", |incident| {
        let next = &incident["status"]["next"];
        next["who"] == "emil"
            && next["what"].as_str().unwrap_or_default().starts_with("answer: Is the outage over")
    });
    assert_eq!(
        asked["status"]["next"]["command"],
        format!("kubectl mayday answer -n shop inc/{incident} reported confirm")
    );
    assert_eq!(taken["spec"]["notes"][0]["text"], "the gateway answers 500");
    assert_eq!(shop.pages(), [], "somebody has answered already");
    is_refused(emil.types(image), "Refused: image of deployment/checkout in shop");
    shop.amir.types(approve).passes();
    shop.bea.types(reject).passes();
    eventually("the approval and the rejection count", || {
        let state = |name: &str| shop.admin.reads(&format!("chg/{name} -n shop"))["status"].clone();
        let counts = state("more")["decisions"].as_array().is_some_and(|all| all.len() == 1);
        (counts && state("less")["state"] == "Rejected").then_some(())
    });
    emil.types(ask).passes();
    shop.lena.types(&lead).passes();
    shop.incident("lena leads", |incident| incident["status"]["lead"]["user"] == "lena");
    let requests = shop.admin.reads("chg -n shop");
    assert_eq!(requests["items"].as_array().unwrap().len(), 3);
    cluster.stop();
}
