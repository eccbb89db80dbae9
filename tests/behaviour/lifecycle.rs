//! An outage from start to end as people steer it: a relapse, the same commands again, and every way to end it.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use std::collections::BTreeSet;

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::shop::{Shop, checkout_down};
use crate::support::{Cluster, Person, condition, eventually, fresh};

fn name(incident: &Value) -> String {
    incident["metadata"]["name"].as_str().unwrap().to_owned()
}

/// Whether a page waits to be sent.
fn is_paged(shop: &Shop<'_>) -> bool {
    shop.stored_pages().iter().any(|page| page["status"]["state"] == "Queued")
}

/// Types `kubectl mayday VERB` about the incident, which must work.
#[track_caller]
fn says(person: &Person, verb: &str, incident: &str) {
    person.types(&format!("kubectl mayday {verb} -n shop inc/{incident} --yes")).passes();
}

/// One outage with the same commands each time: an alert fires, emil acknowledges, lena leads, the alert clears, lena
/// resolves. Counts the relapses before, and the pages.
fn is_out_until_lena_ends_it(shop: &Shop<'_>, relapses: i64, pages: usize) -> String {
    let alert = checkout_down(&json!({}));
    shop.alerts(&alert);
    let open = shop.incident("it is open and emil is paged", |incident| {
        let status = &incident["status"];
        status["state"] == "Open" && status["relapses"] == relapses && shop.pages().len() == pages
    });
    let incident = name(&open);
    assert!(open["status"]["acknowledgement"].is_null() && open["status"]["lead"].is_null(), "{open:#}");
    assert!(shop.pages().iter().all(|(person, _)| person == "emil"), "{:?}", shop.pages());

    says(&shop.emil, "ack", &incident);
    let answered = shop.incident("emil has answered", |i| i["status"]["acknowledgement"]["user"] == "emil");
    assert_eq!(answered["status"]["state"], "Acknowledged");
    assert!(answered["status"]["lapsedAcknowledgement"].is_null(), "{answered:#}");
    assert!(answered["status"]["escalation"]["nextTime"].is_null(), "{answered:#}");
    eventually("no page waits to be sent any more", || (!is_paged(shop)).then_some(()));

    says(&shop.lena, "lead", &incident);
    shop.incident("lena leads", |i| {
        i["status"]["state"] == "Crisis" && i["status"]["lead"]["user"] == "lena"
    });

    // The alert fires, so the lead alone cannot say that there is none.
    let alarm = "--outcome false-alarm --reason 'it looks well' --yes";
    let said =
        shop.lena.types(&format!("kubectl mayday resolve -n shop inc/{incident} {alarm}")).is_refused();
    assert!(said.contains("takes you, who lead, and one peer, since "), "{said}");
    assert!(said.contains("CheckoutDown"), "{said}");

    let mut cleared = alert;
    json_patch::merge(&mut cleared, &json!({"status": "resolved", "endsAt": Timestamp::now().to_string()}));
    shop.alerts(&cleared);
    shop.incident("it is proved", |incident| incident["status"]["state"] == "Restored");
    says(&shop.lena, "resolve", &incident);
    let ended = shop.incident("it is resolved", |incident| incident["status"]["state"] == "Resolved");
    assert_eq!(ended["status"]["resolved"]["user"], "lena");
    incident
}

#[test]
fn the_same_people_count_again_after_a_relapse_once_they_say_so() {
    let cluster = Cluster::start("lifecycle");
    let shop = Shop::open(&cluster, &[("stableFor: 30s", "stableFor: 1s")]);
    let incident = is_out_until_lena_ends_it(&shop, 0, 1);
    assert_eq!(is_out_until_lena_ends_it(&shop, 1, 2), incident, "the same outage is the same incident");

    // The acknowledgement does not cover a worse severity.
    shop.alerts(&checkout_down(&json!({})));
    shop.incident("it is out again", |i| i["status"]["state"] == "Open" && shop.pages().len() == 3);
    says(&shop.emil, "ack", &incident);
    shop.incident("emil has answered", |i| i["status"]["state"] == "Acknowledged");
    shop.alerts(&checkout_down(&json!({"labels": {"severity": "critical"}, "fingerprint": "beef"})));
    let worse = shop.incident("it is worse and emil is paged anew", |i| {
        i["spec"]["severity"] == "SEV1" && i["status"]["state"] == "Open" && shop.pages().len() == 4
    });
    assert!(worse["status"]["acknowledgement"].is_null(), "{worse:#}");
    assert!(shop.pages()[3].1.starts_with("SEV1 "), "{:?}", shop.pages());

    // A return too late for reopening is another incident, which names the one it is a relapse of.
    says(&shop.lena, "lead", &incident);
    shop.incident("lena leads", |i| i["status"]["state"] == "Crisis");
    for fingerprint in ["c0ffee", "beef"] {
        let cleared =
            json!({"status": "resolved", "fingerprint": fingerprint, "endsAt": Timestamp::now().to_string()});
        shop.alerts(&checkout_down(&cleared));
    }
    shop.incident("it is proved", |i| i["status"]["state"] == "Restored");
    says(&shop.lena, "resolve", &incident);
    let ended = shop.incident("it is resolved", |i| i["status"]["state"] == "Resolved");
    let patience =
        r#"kubectl patch -n shop asrc/alertmanager --type merge -p '{"spec":{"reopenWithin":"1s"}}'"#;
    shop.admin.types(patience).passes();
    eventually("Mayday knows that it has less time", || {
        let source = shop.admin.reads("asrc/alertmanager -n shop");
        (source["status"]["observedGeneration"] == source["metadata"]["generation"]).then_some(())
    });
    let resolved: Timestamp = ended["status"]["resolved"]["time"].as_str().unwrap().parse().unwrap();
    let relapse = eventually("it comes back as another incident", || {
        // A post within that time would reopen the first incident.
        if Timestamp::now().duration_since(resolved).as_secs() > 1 {
            shop.alerts(&checkout_down(&json!({})));
        }
        shop.incidents().into_iter().find(|found| name(found) != incident)
    });
    let relapse = name(&relapse);
    let linked = eventually("it says what it is a relapse of", || {
        let found = shop.incidents().into_iter().find(|found| name(found) == relapse)?;
        (found["status"]["relapseOf"]["name"] == incident.as_str()).then_some(found)
    });
    assert_eq!(linked["status"]["state"], "Open");
    cluster.stop();
}

/// Waits until the condition holds for the incident, and returns it.
#[track_caller]
fn incident(shop: &Shop<'_>, name: &str, what: &str, holds: impl Fn(&Value) -> bool) -> Value {
    eventually(what, || Some(shop.admin.reads(&format!("inc/{name} -n shop"))).filter(|found| holds(found)))
}

/// emil declares an incident whose end no check can see. Returns after its first reconcile.
fn declares(shop: &Shop<'_>, name: &str, spec: &Value) {
    let blind = json!({"checks": [{"name": "payments", "condition": {"type": "Available", "status": "True",
        "target": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "gone"}}}]});
    let mut whole = json!({"title": name, "severity": "SEV3", "returnToService": blind});
    json_patch::merge(&mut whole, spec);
    let manifest = json!({"apiVersion": "mayday.dev/v1alpha1", "kind": "Incident",
        "metadata": {"name": name, "namespace": "shop"}, "spec": whole});
    shop.emil.applies(&manifest.to_string()).passes();
    incident(shop, name, "it is looked at", |found| found["status"]["state"].is_string());
}

/// The others approve, and the requester carries it out.
fn approve_and_apply(shop: &Shop<'_>, peers: &[&Person], asker: &Person, request: &str) {
    for peer in peers {
        let apply = format!("kubectl mayday apply -n shop chg/{request} --yes");
        assert!(asker.types(&apply).is_refused().contains("so it lets nothing through"));
        peer.types(&format!("kubectl mayday approve -n shop chg/{request} --yes")).passes();
    }
    eventually("it is approved", || {
        let request = shop.admin.reads(&format!("chg/{request} -n shop"));
        (condition(&request, "Approved")?["status"] == "True").then_some(())
    });
    asker.types(&format!("kubectl mayday apply -n shop chg/{request} --yes")).passes();
}

/// What would have no effect on a duplicate is refused with the other incident and the command, by the plugin and by the
/// API server.
#[track_caller]
fn nothing_is_written_to_a_duplicate(shop: &Shop<'_>) {
    let before = shop.admin.reads("inc/younger -n shop")["spec"].clone();
    for (person, command, instead) in [
        (&shop.emil, "ack -n shop inc/younger", "kubectl mayday ack -n shop inc/older"),
        (&shop.lena, "lead -n shop inc/younger", "kubectl mayday lead -n shop inc/older"),
        (
            &shop.emil,
            "note -n shop inc/younger 'it hangs'",
            "kubectl mayday note -n shop inc/older 'it hangs'",
        ),
        (
            &shop.lena,
            "resolve -n shop inc/younger --outcome false-alarm --reason no",
            "kubectl mayday resolve -n shop inc/older",
        ),
    ] {
        let said = person.types(&format!("kubectl mayday {command} --yes")).is_refused();
        assert!(said.contains("inc/older, which goes on") && said.contains(instead), "{command}: {said}");
    }
    let (ack, lead) =
        (json!({"acknowledgement": {"user": "emil"}}), json!({"roles": {"lead": {"user": "lena"}}}));
    let resolve = json!({"resolution": {"outcome": "FalseAlarm", "reason": "no"}});
    for (person, spec, instead) in [
        (&shop.emil, ack, "kubectl mayday ack -n shop inc/older"),
        (&shop.emil, json!({"notes": [{"text": "it hangs"}]}), "kubectl mayday note -n shop inc/older"),
        (&shop.emil, json!({"title": "worse"}), "kubectl edit -n shop inc/older"),
        (&shop.lena, lead, "kubectl mayday lead -n shop inc/older"),
        (&shop.lena, resolve, "kubectl mayday resolve -n shop inc/older"),
    ] {
        let patch = json!({"spec": spec});
        let said = person
            .types(&format!("kubectl patch -n shop inc/younger --type merge -p '{patch}'"))
            .is_refused();
        assert!(
            said.contains("same outage as inc/older, which goes on") && said.contains(instead),
            "{patch}: {said}"
        );
    }
    assert_eq!(shop.admin.reads("inc/younger -n shop")["spec"], before);
}

/// What would have no effect on an incident that is over is refused.
#[track_caller]
fn an_end_is_said_once(shop: &Shop<'_>, name: &str) {
    let again = json!({"resolution": {"outcome": "FalseAlarm", "reason": "another"}});
    for (spec, words) in [
        (again, "was resolved as Unproved by lena at "),
        (
            json!({"roles": {"lead": {"user": "lena", "time": "2096-01-01T00:00:00Z"}}}),
            "so nobody leads it any more",
        ),
        (
            json!({"acknowledgement": {"user": "lena"}}),
            "is over (Resolved), so acknowledgement would have no effect",
        ),
        (json!({"serviceRefs": []}), "is over (Resolved), so serviceRefs would have no effect"),
    ] {
        let patch = json!({"spec": spec});
        let patch = format!("kubectl patch -n shop inc/{name} --type merge -p '{patch}'");
        let said = shop.lena.types(&patch).is_refused();
        assert!(said.contains(words) && said.contains("kubectl mayday declare -n shop"), "{patch}: {said}");
    }
    let note = format!("kubectl mayday note -n shop inc/{name} 'the cause was the gateway' --yes");
    shop.emil.types(&note).passes();
}

#[test]
fn two_incidents_become_one_and_every_end_takes_the_right_people() {
    let cluster = Cluster::start("endings");
    let shop = Shop::open(&cluster, &[]);

    // A second incident about the same outage: the older takes over severity, start and affected objects.
    declares(&shop, "older", &json!({"serviceRefs": [{"name": "checkout"}]}));
    let age =
        |name| shop.admin.reads(&format!("inc/{name} -n shop"))["metadata"]["creationTimestamp"].clone();
    let second: Timestamp = age("older").as_str().unwrap().parse().unwrap();
    eventually("the next one is younger", || {
        (Timestamp::now().as_second() > second.as_second()).then_some(())
    });
    let deployment = |name| json!({"apiVersion": "apps/v1", "kind": "Deployment", "name": name});
    let affected = json!([deployment("checkout"), deployment("till")]);
    let younger = json!({"severity": "SEV1", "serviceRefs": [{"name": "checkout"}], "affected": affected,
        "startTime": "2026-11-22T02:04:10Z", "startTimeSource": "first failed payment"});
    declares(&shop, "younger", &younger);
    let duplicate =
        incident(&shop, "younger", "it is a duplicate", |found| found["status"]["state"] == "Duplicate");
    assert_eq!(duplicate["status"]["duplicateOf"]["name"], "older");
    assert_eq!(shop.notifications("inc/younger"), Vec::<Value>::new(), "nobody hears of it twice");
    let taken = incident(&shop, "older", "it has taken over", |found| {
        found["status"]["duplicates"][0]["name"] == "younger"
            && found["status"]["startTime"] == younger["startTime"]
    });
    for field in ["severity", "affected", "startTime"] {
        assert_eq!(taken["spec"][field], younger[field], "{field}");
    }
    nothing_is_written_to_a_duplicate(&shop);
    assert_eq!(taken["spec"]["startTimeSource"], "inc/younger: first failed payment");
    // Neither is acknowledged, so the worse one pages emil again, under the name that stays.
    let pages = eventually("emil hears that it is worse", || {
        let says = |pages: &[(String, String)], what| pages.iter().any(|(_, text)| text.contains(what));
        Some(shop.pages()).filter(|pages| says(pages, "SEV3 older") && says(pages, "SEV1 older"))
    });
    assert_eq!(pages.len(), 2, "{pages:?}");

    // Notes appear in the timeline under the name of their author.
    let forged = r#"{"spec":{"notes":[{"text":"x","by":{"user":"emil"}}]}}"#;
    let note = format!("kubectl patch -n shop inc/older --type merge -p '{forged}'");
    assert!(shop.amir.types(&note).is_refused().contains("Refused: a note is by oneself, and you are amir"));
    shop.emil.types("kubectl mayday note -n shop inc/older 'the gateway answers 503' --yes").passes();
    incident(&shop, "older", "the note is told", |found| {
        let timeline = found["status"]["timeline"].as_array().unwrap();
        timeline
            .iter()
            .any(|entry| entry["who"] == "emil" && entry["what"] == "noted: the gateway answers 503")
    });

    // The lead lowers the severity that was taken over, and ends without proof together with a peer.
    says(&shop.lena, "lead", "older");
    let lower = r#"kubectl patch -n shop inc/older --type merge -p '{"spec":{"severity":"SEV2"}}'"#;
    shop.lena.types(lower).passes();
    let unproved = "kubectl mayday resolve -n shop inc/older --outcome unproved --reason";
    let crisis = incident(&shop, "older", "lena leads", |found| found["status"]["state"] == "Crisis");
    assert_eq!(crisis["status"]["next"]["command"], format!("{unproved} \"…\" --ask"));
    let refused = shop.lena.types(&format!("{unproved} 'no probe' --yes")).is_refused();
    assert!(refused.contains("takes you, who lead, and one peer"), "{refused}");
    assert!(refused.contains(&format!("{unproved} 'no probe' --ask")), "{refused}");
    shop.lena.types(&format!("{unproved} 'no probe' --ask --yes")).passes();
    approve_and_apply(&shop, &[&shop.amir], &shop.lena, "older-unproved");
    let ended = incident(&shop, "older", "it is over", |found| found["status"]["state"] == "Resolved");
    assert_eq!(ended["spec"]["severity"], "SEV2", "what was taken over once is not taken over again");
    assert!(ended["status"]["reports"]["internal"].as_str().unwrap().contains("emil: noted: the gateway"));
    an_end_is_said_once(&shop, "older");

    // Without a lead a quorum says that there was no outage.
    declares(&shop, "alarm", &json!({"serviceRefs": [{"name": "checkout"}]}));
    let alarm = "kubectl mayday resolve -n shop inc/alarm --outcome false-alarm --reason 'a drill'";
    let refused = shop.emil.types(&format!("{alarm} --yes")).is_refused();
    assert!(refused.contains("is for a lead, whom nobody is yet") && refused.contains("--ask"), "{refused}");
    shop.emil.types(&format!("{alarm} --ask --yes")).passes();
    approve_and_apply(&shop, &[&shop.amir, &shop.bea], &shop.emil, "alarm-falsealarm");
    incident(&shop, "alarm", "it was none", |found| found["status"]["state"] == "FalseAlarm");

    // With a lead, the lead alone.
    for (name, how, state) in [
        ("drill", "--outcome false-alarm", "FalseAlarm"),
        ("same", "--outcome duplicate --duplicate-of inc/older", "Duplicate"),
    ] {
        declares(&shop, name, &json!({}));
        says(&shop.lena, "lead", name);
        let end = |person: &Person| {
            person.types(&format!("kubectl mayday resolve -n shop inc/{name} {how} --reason why --yes"))
        };
        assert!(end(&shop.emil).is_refused().contains("resolving it is for lena, who leads"));
        end(&shop.lena).passes();
        incident(&shop, name, "lena has ended it", |found| found["status"]["state"] == state);
    }

    // Every declared outage has its own name, even without a source that numbers them.
    let declare =
        "kubectl mayday declare 'Customers cannot pay' -n shop --service checkout --severity SEV3 --yes";
    let mut names = BTreeSet::new();
    for _ in 0..3 {
        shop.emil.types(declare).passes();
        let open = eventually("it is declared", || {
            let all = shop.admin.reads("inc -n shop");
            let declared = all["items"].as_array()?.iter().filter(|found| {
                found["spec"]["title"] == "Customers cannot pay" && found["status"]["state"] != "FalseAlarm"
            });
            declared.map(|found| found["metadata"]["name"].as_str().unwrap().to_owned()).next()
        });
        says(&shop.lena, "lead", &open);
        let end = "--outcome false-alarm --reason 'a drill' --yes";
        shop.lena.types(&format!("kubectl mayday resolve -n shop inc/{open} {end}")).passes();
        incident(&shop, &open, "it is over", |found| found["status"]["state"] == "FalseAlarm");
        assert!(names.insert(open), "{names:?}");
    }
    cluster.stop();
}

#[test]
fn an_incident_whose_takeover_is_refused_is_worked_on_all_the_same() {
    let (cluster, namespace) = (Cluster::shared(), fresh("takeover"));
    let admin = cluster.admin();
    admin.types(&format!("kubectl create namespace {namespace}")).passes();
    // A policy of the cluster refuses Mayday's write.
    let match_here =
        json!({"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": namespace}}});
    let policy = json!({"apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingAdmissionPolicy",
        "metadata": {"name": namespace}, "spec": {
            "matchConstraints": {"resourceRules": [{"apiGroups": ["mayday.dev"], "apiVersions": ["*"],
                "operations": ["UPDATE"], "resources": ["incidents"]}]},
            "validations": [{"expression": "object.spec.severity == oldObject.spec.severity", "message": "it stays"}]}});
    let binding = json!({"apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingAdmissionPolicyBinding",
        "metadata": {"name": namespace},
        "spec": {"policyName": namespace, "validationActions": ["Deny"], "matchResources": match_here}});
    admin.applies(&policy.to_string()).passes();
    admin.applies(&binding.to_string()).passes();
    let declares = |name: &str, severity: &str| {
        let manifest = json!({"apiVersion": "mayday.dev/v1alpha1", "kind": "Incident",
            "metadata": {"name": name, "namespace": namespace},
            "spec": {"title": name, "severity": severity, "serviceRefs": [{"name": "checkout"}]}});
        admin.applies(&manifest.to_string()).passes();
    };
    let service = json!({"apiVersion": "mayday.dev/v1alpha1", "kind": "BusinessService",
        "metadata": {"name": "checkout", "namespace": namespace}, "spec": {"title": "Checkout"}});
    admin.applies(&service.to_string()).passes();
    declares("older", "SEV3");
    let raise = format!(
        r#"kubectl patch inc/older -n {namespace} --dry-run=server --type merge -p '{{"spec":{{"severity":"SEV1"}}}}'"#
    );
    eventually("the policy binds", || (!admin.types(&raise).succeeded()).then_some(()));
    let second = admin.reads(&format!("inc/older -n {namespace}"))["metadata"]["creationTimestamp"].clone();
    let second: Timestamp = second.as_str().unwrap().parse().unwrap();
    eventually("the next one is younger", || {
        (Timestamp::now().as_second() > second.as_second()).then_some(())
    });
    declares("younger", "SEV1");
    eventually("Mayday has tried to take over", || {
        let log = cluster.operator(0).log();
        log.lines().any(|line| line.contains(&namespace) && line.contains("it stays")).then_some(())
    });
    let note = r#"--type merge -p '{"spec":{"notes":[{"text":"the gateway answers 503"}]}}'"#;
    admin.types(&format!("kubectl patch inc/older -n {namespace} {note}")).passes();
    eventually("the note is told", || {
        let older = admin.reads(&format!("inc/older -n {namespace}"));
        let timeline = older["status"]["timeline"].as_array()?;
        timeline.iter().any(|entry| entry["what"] == "noted: the gateway answers 503").then_some(())
    });
    admin.types(&format!("kubectl delete validatingadmissionpolicybinding {namespace}")).passes();
    eventually("it has taken over in the end", || {
        let younger = admin.reads(&format!("inc/younger -n {namespace}"));
        (younger["status"]["duplicateOf"]["name"] == "older").then_some(())
    });
    admin.types(&format!("kubectl delete validatingadmissionpolicy {namespace}")).passes();
}
