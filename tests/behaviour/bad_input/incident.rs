//! Ways out of an incident: milder, smaller, proved by less, over or gone. Only the lead takes them, or
//! people agree to them, or they are refused.

use serde_json::{Value, json};

use super::{is_one_sentence, stored};
use crate::change::shop::Shop;
use crate::support::{Output, Person, eventually};

/// Declares an incident about checkout and basket.
fn declared(shop: &Shop, name: &str) {
    let object = |name: &str| json!({"apiVersion": "apps/v1", "kind": "Deployment", "name": name});
    let rollout = |name: &str| json!({"name": name, "rollout": {"target": object(name)}});
    let spec = json!({
        "title": "nobody can pay", "severity": "SEV2", "serviceRefs": [{"name": "checkout"}, {"name": "basket"}],
        "startTime": ago(10),
        "affected": [object("checkout"), object("basket")],
        "returnToService": {"checks": [rollout("checkout"), rollout("basket")], "stableFor": "10m"},
    });
    shop.creates(&shop.emil(), &in_shop(stored("Incident", name, spec))).passes();
}

fn ago(minutes: i64) -> String {
    let then = jiff::Timestamp::now() - jiff::SignedDuration::from_mins(minutes);
    then.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

fn in_shop(mut object: Value) -> String {
    object["metadata"]["namespace"] = json!("NS");
    object.to_string()
}

fn patches(shop: &Shop, person: &Person, incident: &str, spec: &Value) -> Output {
    let patch = json!({"spec": spec});
    shop.types(person, &format!("kubectl patch -n NS inc/{incident} --type merge -p '{patch}'"))
}

fn read(shop: &Shop, incident: &str) -> Value {
    shop.admin().reads(&format!("inc/{incident} -n {}", shop.namespace))
}

/// Every way to make it milder, and the words for it.
fn milder() -> [(Value, &'static str); 9] {
    let checkout = json!({"apiVersion": "apps/v1", "kind": "Deployment", "name": "checkout"});
    let one = json!([{"name": "checkout", "rollout": {"target": checkout}}]);
    let checks = "weakening the checks that prove the return to service";
    [
        (json!({"startTime": ago(5)}), "letting it begin later"),
        (json!({"severity": "SEV4"}), "lowering SEV2 to SEV4"),
        (json!({"serviceRefs": [{"name": "checkout"}]}), "taking services away"),
        (json!({"serviceRefs": null}), "taking services away"),
        (json!({"affected": [checkout]}), "taking affected objects away"),
        (json!({"returnToService": {"checks": one}}), checks),
        (json!({"returnToService": {"stableFor": "1s"}}), checks),
        (json!({"returnToService": null}), checks),
        (json!({"resolution": {"outcome": "FalseAlarm", "reason": "a mistake"}}), "resolving it"),
    ]
}

#[test]
fn an_incident_is_made_milder_by_nobody_alone() {
    let shop = Shop::open();
    let (admin, emil) = (shop.admin(), shop.emil());
    declared(&shop, "one");
    let before = read(&shop, "one")["spec"].clone();
    let ns = &shop.namespace;
    for (spec, what) in milder() {
        for person in [&emil, &admin] {
            let said = patches(&shop, person, "one", &spec).is_refused();
            is_one_sentence(
                &said,
                &format!(
                    "Refused: in inc/one, {what} is for a lead, whom nobody is yet, or takes the approvals"
                ),
            );
            let ask = match what {
                "resolving it" => {
                    format!(
                        "kubectl mayday resolve -n {ns} inc/one --outcome false-alarm --reason \"…\" --ask"
                    )
                }
                _ => format!("kubectl mayday ask -n {ns} inc/one --patch '"),
            };
            assert!(said.contains(&format!("Ask: {ask}")), "{said}");
        }
    }
    for command in ["kubectl delete -n NS inc/one", "kubectl delete -n NS inc --all"] {
        let said = shop.types(&admin, command).is_refused();
        is_one_sentence(
            &said,
            &format!("Refused: inc/one is open; resolve it first: kubectl mayday resolve -n {ns} inc/one"),
        );
    }
    let later = jiff::Timestamp::now() + jiff::SignedDuration::from_hours(1);
    let said = patches(&shop, &emil, "one", &json!({"startTime": later})).is_refused();
    is_one_sentence(&said, "Refused: spec.startTime: an outage began before it was declared");
    let spec = json!({"title": "nobody will be able to pay", "severity": "SEV2", "startTime": later});
    let said = shop.creates(&emil, &in_shop(stored("Incident", "tomorrow", spec))).is_refused();
    is_one_sentence(&said, "Refused: spec.startTime: an outage began before it was declared");
    assert_eq!(read(&shop, "one")["spec"], before, "nothing is half done");

    // A quorum may agree: the change is asked for like any other, and exactly that change passes.
    let ask = r#"kubectl mayday ask -n NS inc/one --patch '{"spec":{"severity":"SEV3"}}' --name milder --why 'few orders' --yes"#;
    shop.types(&emil, ask).passes();
    shop.approves(&shop.amir(), "milder").passes();
    let said = patches(&shop, &emil, "one", &json!({"severity": "SEV3"})).is_refused();
    is_one_sentence(&said, "The request chg/milder does not let it pass: ");
    assert!(said.contains(&format!("Approve: kubectl mayday approve -n {ns} chg/milder")), "{said}");
    assert!(!said.contains("Ask: "), "{said}");
    shop.approves(&shop.bea(), "milder").passes();
    shop.reaches("milder", "Approved");
    patches(&shop, &emil, "one", &json!({"severity": "SEV4"})).is_refused();
    patches(&shop, &emil, "one", &json!({"severity": "SEV3"})).passes();
    let after = read(&shop, "one")["spec"].clone();
    assert_eq!(after["severity"], "SEV3");
    assert_eq!(after["serviceRefs"], before["serviceRefs"]);
    patches(&shop, &emil, "one", &json!({"serviceRefs": null})).is_refused();
}

#[test]
fn the_lead_is_handed_over_by_the_lead_to_one_person() {
    let shop = Shop::open();
    declared(&shop, "one");
    let lead = |name: &str| shop.cluster.person(name, &["shop-leads"]);
    let (emil, lena, zoe) = (shop.emil(), lead("lena"), lead("zoe"));
    let claim = "kubectl mayday lead -n NS inc/one --yes";
    shop.types(&lena, claim).passes();

    let ns = &shop.namespace;
    let said = patches(&shop, &zoe, "one", &json!({"roles": {"lead": {"user": "zoe"}}})).is_refused();
    is_one_sentence(
        &said,
        &format!(
            "Refused: lena leads inc/one and has not handed over to you; lena: kubectl mayday lead -n {ns} inc/one --to zoe"
        ),
    );
    for (person, user) in [(&zoe, "zoe"), (&emil, "emil")] {
        let said =
            patches(&shop, person, "one", &json!({"roles": {"nominatedLead": {"user": user}}})).is_refused();
        is_one_sentence(&said, "Refused: only the lead hands inc/one over, who is lena");
    }
    for spec in [
        json!({"roles": {"lead": {"user": "lena"}, "nominatedLead": {"user": "zoe"}}}),
        json!({"roles": null}),
    ] {
        patches(&shop, &zoe, "one", &spec).is_refused();
    }
    assert_eq!(read(&shop, "one")["spec"]["roles"]["lead"]["user"], "lena");

    shop.types(&lena, "kubectl mayday lead -n NS inc/one --to zoe --yes").passes();
    let said = patches(&shop, &emil, "one", &json!({"roles": {"lead": {"user": "zoe"}}})).is_refused();
    is_one_sentence(&said, "Refused: everybody claims the lead for themselves, and you are emil");
    shop.types(&zoe, claim).passes();
    eventually("zoe leads", || (read(&shop, "one")["status"]["lead"]["user"] == "zoe").then_some(()));

    // The former lead may do none of this any more. The new lead may do all of it but call it a false alarm.
    for (spec, what) in milder() {
        let said = patches(&shop, &lena, "one", &spec).is_refused();
        is_one_sentence(&said, &format!("Refused: in inc/one, {what} is for zoe, who leads"));
    }
    for (spec, _) in &milder()[..5] {
        patches(&shop, &zoe, "one", spec).passes();
    }
    let said = shop.types(&shop.admin(), "kubectl delete -n NS inc/one").is_refused();
    is_one_sentence(&said, "Refused: inc/one is open");
}

#[test]
fn an_incident_that_is_full_of_words_can_still_be_worked_on() {
    let shop = Shop::open();
    let (emil, lena) = (shop.emil(), shop.cluster.person("lena", &["shop-leads"]));
    let notes = |length: usize| -> Vec<Value> {
        (0..100).map(|number| json!({"text": format!("{number:03} {}", "🔥".repeat(length - 4))})).collect()
    };
    let declared = |notes: Vec<Value>| {
        let spec = json!({"title": "many words", "severity": "SEV3", "notes": notes, "serviceRefs": [{"name": "checkout"}]});
        shop.creates(&emil, &in_shop(stored("Incident", "words", spec)))
    };
    let said = declared(notes(2000)).is_refused();
    assert!(said.contains("notes hold 65536 characters in all"), "{said}");
    declared(notes(655)).passes();
    eventually("Mayday has written its status", || {
        read(&shop, "words")["status"]["state"].is_string().then_some(())
    });
    shop.types(&emil, "kubectl mayday ack -n NS inc/words --yes").passes();
    shop.types(&lena, "kubectl mayday lead -n NS inc/words --yes").passes();
    eventually("lena leads", || (read(&shop, "words")["status"]["lead"]["user"] == "lena").then_some(()));

    let updates: Vec<Value> = (0..50)
        .map(|number| json!({"audience": "Internal", "text": format!("{number:03} {}", "🔥".repeat(651))}))
        .collect();
    let file = shop.cluster.file(&format!("{}-updates.json", shop.namespace));
    let write = |updates: &[Value]| {
        std::fs::write(&file, json!({"spec": {"updates": updates}}).to_string()).unwrap();
        let patch = format!("kubectl patch -n NS inc/words --type merge --patch-file {}", file.display());
        shop.types(&lena, &patch)
    };
    write(&updates).passes();
    let mut other = updates.clone();
    other[7]["text"] = json!("something else");
    let said = write(&other).is_refused();
    assert!(said.contains("updates that were written stay as they are"), "{said}");
    let said = shop.types(&emil, "kubectl mayday note -n NS inc/words 'one more' --yes").is_refused();
    assert!(said.contains("100"), "{said}");

    let end = "kubectl mayday resolve -n NS inc/words --outcome false-alarm --reason 'a test' --yes";
    shop.types(&lena, end).passes();
    eventually("it is over and has its reports", || {
        let status = read(&shop, "words")["status"].clone();
        (status["state"] == "FalseAlarm" && status["reports"]["internal"].is_string()).then_some(())
    });
    let said = shop.types(&shop.admin(), "kubectl delete -n NS inc --all").is_refused();
    is_one_sentence(&said, "Refused: inc/words is kept until 20");
}

/// Where the schema of an Incident says what an instant of its detection looks like.
const PATTERN: &str =
    "/spec/versions/0/schema/openAPIV3Schema/properties/spec/properties/detection/properties/time/pattern";

/// What the API server takes for a date-time.
const ODD: &str = "2026-11-22T14:03:10+99:99";

fn patches_the_kind(shop: &Shop, operation: &Value) {
    let patch = json!([operation]);
    shop.admin().types(&format!("kubectl patch crd incidents.mayday.dev --type json -p '{patch}'")).passes();
}

#[test]
fn an_unreadable_instant_is_refused_and_a_stored_one_stops_nothing_else() {
    let shop = Shop::open();
    let emil = shop.emil();
    let with = |field: &str, value: Value| {
        let mut spec = json!({"title": "nobody can pay", "severity": "SEV2"});
        spec[field] = value;
        spec
    };
    for time in [
        ODD,
        "2026-11-22T14:03:10x5Z",
        "2026-11-22T14:03:10Ztomorrow",
        "2026-02-30T14:03:10Z",
        "9999-12-31T23:59:59Z",
    ] {
        let spec = with("notes", json!([{"text": "no till works", "time": time}]));
        let said = shop.creates(&emil, &in_shop(stored("Incident", "odd", spec))).is_refused();
        assert!(said.contains("spec.notes[0].time"), "{time}: {said}");
    }
    for time in ["2026-11-22T14:03:10Z", "2026-11-22T14:03:10.123456789+05:30"] {
        let spec = with("notes", json!([{"text": "no till works", "time": time}]));
        let name = if time.ends_with('Z') { "even" } else { "finer" };
        shop.creates(&emil, &in_shop(stored("Incident", name, spec))).passes();
    }

    // As it was before the schema had that rule.
    let crd = shop.admin().reads("crd incidents.mayday.dev");
    let pattern = crd.pointer(PATTERN).unwrap().clone();
    patches_the_kind(&shop, &json!({"op": "remove", "path": PATTERN}));
    let odd = in_shop(stored("Incident", "odd", with("detection", json!({"method": "Staff", "time": ODD}))));
    eventually("it is stored", || shop.creates(&emil, &odd).succeeded().then_some(()));
    patches_the_kind(&shop, &json!({"op": "add", "path": PATTERN, "value": pattern}));

    let operator = shop.cluster.operator(1);
    operator.start();
    let counted = "mayday_unreadable_objects_total{kind=\"Incident\"} ";
    let metrics = operator.get("/metrics").1;
    assert!(metrics.contains(counted) && !metrics.contains(&format!("{counted}0")), "{metrics}");
    operator.stop();
    let next = with("affected", json!([]));
    shop.creates(&emil, &in_shop(stored("Incident", "next", next))).passes();
    eventually("the others go on", || read(&shop, "next")["status"]["state"].is_string().then_some(()));
    assert!(read(&shop, "odd")["status"].is_null());

    let said = patches(&shop, &emil, "odd", &json!({"severity": "SEV4", "title": "x"})).is_refused();
    is_one_sentence(&said, "Refused: spec.detection.time: ");
    assert!(said.contains("This Incident cannot be read"), "{said}");
    let mended = json!({"severity": "SEV4", "detection": {"time": null}});
    let said = patches(&shop, &emil, "odd", &mended).is_refused();
    is_one_sentence(&said, "Refused: incident/odd cannot be read as it is stored (spec.detection.time: ");
    patches(&shop, &emil, "odd", &json!({"detection": {"time": null}})).passes();
    eventually("it goes on", || read(&shop, "odd")["status"]["state"].is_string().then_some(()));
}

#[test]
fn what_mayday_cannot_write_is_told_where_people_look() {
    let shop = Shop::open();
    let name = format!("unwritable-{}", shop.namespace);
    let policy = json!({"apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingAdmissionPolicy",
        "metadata": {"name": name}, "spec": {
            "matchConstraints": {"resourceRules": [{"apiGroups": ["mayday.dev"], "apiVersions": ["*"],
                "operations": ["UPDATE"], "resources": ["incidents/status"]}]},
            "matchConditions": [{"name": "this", "expression": format!("object.metadata.name == '{name}'")}],
            "validations": [{"expression": "false", "message": "the disk is full of words"}]}});
    let binding = json!({"apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingAdmissionPolicyBinding",
        "metadata": {"name": name}, "spec": {"policyName": name, "validationActions": ["Deny"]}});
    let spec = json!({"title": "nobody can pay", "severity": "SEV3"});
    shop.creates(&shop.emil(), &in_shop(stored("Incident", &name, spec))).passes();
    let open = eventually("it is open", || {
        Some(read(&shop, &name)).filter(|found| found["status"]["state"].is_string())
    });
    for object in [policy, binding] {
        shop.admin().applies(&object.to_string()).passes();
    }
    let path =
        format!("/apis/mayday.dev/v1alpha1/namespaces/{}/incidents/{name}/status?dryRun=All", shop.namespace);
    let write = format!("kubectl replace --raw {path} -f -");
    eventually("the policy is in force", || {
        let mut tried = read(&shop, &name);
        tried["status"] = open["status"].clone();
        let tried = shop.cluster.mayday().pipes(&tried.to_string(), &write);
        (!tried.succeeded() && tried.is_refused().contains("the disk is full")).then_some(())
    });

    // The note belongs into the timeline, which Mayday cannot write.
    shop.types(&shop.emil(), &format!("kubectl mayday note -n NS inc/{name} 'no till works' --yes")).passes();
    let event = eventually("an Event says it", || {
        let events = shop.admin().reads(&format!("events -n {}", shop.namespace));
        events["items"].as_array()?.iter().find(|event| event["reason"] == "ReconcileFailed").cloned()
    });
    let note = event["message"].as_str().unwrap();
    assert!(
        note.contains("Mayday cannot go on with it") && note.contains("the disk is full of words"),
        "{note}"
    );
    for kind in ["validatingadmissionpolicybinding", "validatingadmissionpolicy"] {
        shop.admin().types(&format!("kubectl delete {kind} {name}")).passes();
    }
    eventually("it goes on", || (read(&shop, &name)["status"]["notesAnnounced"] == 1).then_some(()));
}
