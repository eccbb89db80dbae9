//! The gate itself: at rest the operator writes nothing, and what somebody changes in the admission objects is restored
//! and reported, together with what was changed meanwhile.

use std::time::Duration;

use serde_json::{Value, json};

use crate::audit;
use crate::change::shop::GLASS;
use crate::shop::Shop;
use crate::support::{Cluster, Person, condition, eventually, within};

const OPERATOR: &str = "system:serviceaccount:mayday-system:mayday";
const GATE: &str = "validatingwebhookconfiguration/mayday-change-gate";

/// A policy of one shape.
fn policy(name: &str, spec: &Value) -> String {
    let mut whole = json!({"scope": {"namespaces": {"names": ["guarded"]}},
        "approval": {"required": [{"name": "peers", "groups": ["approvers"], "count": 1}]}});
    json_patch::merge(&mut whole, spec);
    json!({"apiVersion": "mayday.dev/v1alpha1", "kind": "ChangePolicy", "metadata": {"name": name}, "spec": whole})
        .to_string()
}

/// What decides of an admission object.
fn content(admin: &Person, what: &str) -> Value {
    let object = admin.reads(what);
    json!([object["webhooks"], object["spec"]])
}

fn enforced(admin: &Person) -> Option<Value> {
    condition(&admin.reads("cpol/production"), "Enforced").cloned()
}

fn is_enforced(admin: &Person) -> Option<()> {
    enforced(admin).filter(|found| found["status"] == "True").map(drop)
}

/// What was recorded, newest first, each as `kind what`.
fn recorded(admin: &Person) -> Vec<String> {
    let policy = admin.reads("cpol/production");
    let all = policy["status"]["unauthorized"].as_array().cloned().unwrap_or_default();
    all.iter()
        .map(|one| format!("{} {}", one["kind"].as_str().unwrap(), one["what"].as_str().unwrap()))
        .collect()
}

/// The kind: an operator that works although nothing changed. Every shape of a set of policies is a member.
#[test]
fn the_operator_at_rest_writes_and_reads_no_admission_object() {
    let cluster = Cluster::start("at-rest");
    let admin = cluster.admin();
    admin.types("kubectl create namespace guarded").passes();
    admin.types("kubectl create namespace guarded-too").passes();
    let glass = json!({"breakGlass": {"groups": ["glass"]}});
    let shapes: Vec<(&str, Vec<String>)> = vec![
        ("no policy", vec![]),
        ("no break-glass group", vec![policy("a", &json!({}))]),
        ("a break-glass group", vec![policy("a", &glass)]),
        (
            "several policies",
            vec![
                policy("a", &glass),
                policy("b", &json!({"scope": {"namespaces": {"names": ["guarded", "guarded-too"]}}})),
            ],
        ),
        (
            "no namespace matches",
            vec![policy(
                "a",
                &json!({"scope": {"namespaces": {"names": null,
            "selector": {"matchLabels": {"nothing": "has-it"}}}}}),
            )],
        ),
        (
            "exempt actors and kinds",
            vec![policy(
                "a",
                &json!({
            "scope": {"resources": {"exclude": [{"apiGroups": ["apps"], "resources": ["replicasets"]}]}},
            "exemptActors": [{"user": "system:serviceaccount:keda:keda-operator", "rules": [
                {"apiGroups": ["apps"], "resources": ["deployments/scale"], "operations": ["Update"]}]}]}),
            )],
        ),
    ];
    for (shape, policies) in shapes {
        for policy in &policies {
            admin.applies(policy).passes();
        }
        let settled = || {
            let all = admin.reads("cpol");
            let is_settled = |policy: &Value| {
                let enforced = condition(policy, "Enforced")?;
                let nowhere = policy["status"]["namespaces"].as_array().is_none_or(Vec::is_empty);
                (enforced["status"] == "True" || nowhere).then_some(())
            };
            all["items"].as_array().unwrap().iter().all(|policy| is_settled(policy).is_some()).then_some(())
        };
        eventually(&format!("{shape}: the policies are settled"), settled);
        // The last writes of the set-up reach the log, and the operator sees them.
        std::thread::sleep(Duration::from_secs(2));
        let from = audit::end(&cluster.file("")).unwrap();
        std::thread::sleep(Duration::from_secs(4));
        let entries = audit::read(&cluster.file(""), from).unwrap();
        let own = entries.iter().filter(|entry| entry["user"]["username"] == OPERATOR);
        let done: Vec<String> = own
            .filter(|entry| {
                audit::is_write(entry) || entry["objectRef"]["apiGroup"] == "admissionregistration.k8s.io"
            })
            .map(|entry| format!("{} {}", entry["verb"], entry["requestURI"]))
            .collect();
        assert_eq!(done, Vec::<String>::new(), "{shape}");
        if !policies.is_empty() {
            admin.types("kubectl delete cpol --all").passes();
        }
    }
    stored_requests_cost_nothing(&cluster, &admin);
    cluster.stop();
}

/// The kind: work for objects that the change of another object does not concern. Requests that wait, that have ended and
/// that can never be planned are members.
fn stored_requests_cost_nothing(cluster: &Cluster, admin: &Person) {
    admin.types("kubectl create deployment -n guarded web --image=shop/web:v1").passes();
    admin.applies(&policy("production", &json!({}))).passes();
    let request = |number: u32, withdrawn: bool| {
        let name = if number % 3 == 2 { "not-there" } else { "web" };
        let request = json!({"apiVersion": "mayday.dev/v1alpha1", "kind": "ChangeRequest",
                "metadata": {"name": format!("number-{number}"), "namespace": "guarded"},
                "spec": {"reason": "x", "withdrawn": withdrawn, "changes": [{
                    "target": {"apiVersion": "apps/v1", "kind": "Deployment", "name": name}, "restart": {}}]}});
        format!("---\n{request}\n")
    };
    admin.applies(&(0..48).map(|number| request(number, false)).collect::<String>()).passes();
    let withdrawn = (0..48).filter(|number| number % 3 == 1);
    admin.applies(&withdrawn.map(|number| request(number, true)).collect::<String>()).passes();
    eventually("every request has its state", || {
        let all = admin.reads("chg -n guarded");
        let mut all = all["items"].as_array().unwrap().iter();
        let is_settled = |request: &Value| {
            matches!(request["status"]["state"].as_str(), Some("Waiting" | "Withdrawn" | "Invalid"))
        };
        all.all(is_settled).then_some(())
    });
    let from = audit::end(&cluster.file("")).unwrap();
    let incident = json!({"apiVersion": "mayday.dev/v1alpha1", "kind": "Incident",
        "metadata": {"name": "out", "namespace": "guarded"}, "spec": {"title": "nobody can pay", "severity": "SEV2",
            "affected": [{"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"}]}});
    admin.applies(&incident.to_string()).passes();
    eventually("the incident is read", || {
        admin.reads("inc/out -n guarded")["status"]["state"].is_string().then_some(())
    });
    std::thread::sleep(Duration::from_secs(2));
    let entries = audit::read(&cluster.file(""), from).unwrap();
    let own = entries.iter().filter(|entry| entry["user"]["username"] == OPERATOR && audit::is_read(entry));
    let read: Vec<&str> = own
        .filter(|entry| {
            entry["objectRef"]["namespace"] == "guarded" && entry["objectRef"]["apiGroup"] == "apps"
        })
        .map(|entry| entry["requestURI"].as_str().unwrap())
        .collect();
    assert_eq!(read, Vec::<&str>::new());
}

/// The kind: a change of what the API server is told to ask about, or of what becomes of the answer. Every field of every
/// admission object, an added and a removed entry, and a deletion are members.
#[test]
fn a_change_of_the_gate_itself_is_restored_and_reported() {
    let cluster = Cluster::start("tampered");
    let shop = Shop::open(&cluster, &[]);
    let admin = cluster.admin();
    eventually("the baseline is there", || {
        let maps = admin.reads("configmaps -n mayday-system");
        let mut maps = maps["items"].as_array().unwrap().iter();
        maps.any(|map| map["metadata"]["name"] == "mayday-baseline-shop").then_some(())
    });
    let set = |path: &str, value: &str| format!(r#"[{{"op":"add","path":"{path}","value":{value}}}]"#);
    let stamp = "mutatingwebhookconfiguration/mayday-guard-stamp";
    let guard = "validatingwebhookconfiguration/mayday-guard";
    let binding = "validatingadmissionpolicybinding/mayday-approvals";
    let rules = "validatingadmissionpolicy/mayday-approvals";
    let changes: Vec<(&str, String, &str)> = vec![
        (GATE, set("/w/failurePolicy", r#""Ignore""#), "failurePolicy is Ignore instead of Fail"),
        (
            GATE,
            set("/w/objectSelector", r#"{"matchLabels":{"a":"b"}}"#),
            "objectSelector.matchLabels.a was added (b)",
        ),
        (
            GATE,
            set("/w/matchConditions/-", r#"{"name":"never","expression":"false"}"#),
            "matchConditions.never.expression was added",
        ),
        (GATE, set("/w/namespaceSelector", r#"{"matchLabels":{"a":"b"}}"#), "namespaceSelector"),
        (GATE, set("/w/rules", "[]"), "rules is missing"),
        (
            GATE,
            set("/w/clientConfig/url", r#""https://127.0.0.1:1/gate""#),
            "clientConfig.url is https://127.0.0.1:1/gate instead of",
        ),
        (GATE, set("/w/timeoutSeconds", "1"), "timeoutSeconds is 1 instead of 3"),
        (
            GATE,
            r#"[{"op":"remove","path":"/webhooks/1"}]"#.to_owned(),
            "break-glass.change-gate.mayday.dev was removed",
        ),
        (guard, set("/w/failurePolicy", r#""Ignore""#), "guard.mayday.dev.failurePolicy"),
        (stamp, set("/w/rules/0/operations", r#"["UPDATE"]"#), "guard.mayday.dev.rules"),
        (binding, set("/spec/validationActions", r#"["Warn"]"#), "validationActions"),
        (
            rules,
            set("/spec/matchConditions", r#"[{"name":"never","expression":"false"}]"#),
            "matchConditions.never",
        ),
    ];
    // The pauses grow to 30 seconds while an object is changed again and again, as here.
    for (what, edit, named) in &changes {
        let before = content(&admin, what);
        let edit = edit.replace("/w/", "/webhooks/0/");
        admin.types(&format!("kubectl patch {what} --type json -p '{edit}'")).passes();
        eventually(&format!("{what} {named}: restored"), || (content(&admin, what) == before).then_some(()));
        eventually(&format!("{what} {named}: recorded"), || {
            let found = recorded(&admin);
            let is_it = |one: &&String| {
                one.starts_with(&format!("GateChanged {what} was changed")) && one.contains(named)
            };
            found.iter().find(is_it).cloned()
        });
    }
    for what in [GATE, guard, stamp, binding, rules] {
        let before = content(&admin, what);
        admin.types(&format!("kubectl delete {what}")).passes();
        eventually(&format!("{what} is back"), || {
            (admin.types(&format!("kubectl get {what}")).succeeded() && content(&admin, what) == before)
                .then_some(())
        });
        eventually(&format!("{what}: its deletion is recorded"), || {
            recorded(&admin)
                .contains(&format!("GateChanged {what} was deleted; Mayday restores it"))
                .then_some(())
        });
    }
    eventually("somebody on duty hears of it", || {
        let all = shop.receiver.messages();
        all.iter()
            .any(|one| one.address() == "emil" && one.text().starts_with("The gate itself was changed"))
            .then_some(())
    });
    let events = admin
        .types("kubectl get events -n default -o custom-columns=R:.reason,K:.involvedObject.kind")
        .passes();
    assert!(
        events
            .lines()
            .any(|line| line.contains("GateChanged") && line.contains("ValidatingWebhookConfiguration")),
        "{events}"
    );
    eventually("the gate is proved again", || is_enforced(&admin));
    the_emergency_switch_holds(&admin);
    forged_decisions_count_for_nothing(&shop);
    a_policy_loosened_by_break_glass_is_an_alarm(&shop);
    a_kind_is_not_deleted(&admin);
    // What was restored belongs to the chart as before.
    cluster.script("install", &[cluster.path(), "--set", "webhook.timeoutSeconds=4"]);
    let timeout = || admin.reads(GATE)["webhooks"][0]["timeoutSeconds"].clone();
    assert_eq!(timeout(), 4);
    let told = recorded(&admin);
    std::thread::sleep(Duration::from_secs(3));
    assert_eq!(timeout(), 4, "an upgrade is no change to be undone");
    assert_eq!(recorded(&admin), told, "nor one to be reported");
    cluster.stop();
}

/// While the switch holds, nothing is restored, `Enforced` is false, and what is changed is reported within ten seconds.
fn the_emergency_switch_holds(admin: &Person) {
    let switch = "kubectl create configmap mayday-emergency -n mayday-system \
                  --from-literal=emergencyDisabledUntil=2099-01-01T00:00:00Z";
    admin.types(switch).passes();
    let before = content(admin, GATE);
    let open = r#"[{"op":"add","path":"/webhooks/0/objectSelector","value":{"matchLabels":{"a":"b"}}}]"#;
    admin.types(&format!("kubectl patch {GATE} --type json -p '{open}'")).passes();
    let image =
        |version: u32| format!("kubectl set image -n shop deploy/checkout app=shop/checkout:v{version}");
    // The API server heeds the change a moment later.
    eventually("a change passes", || admin.types(&image(2)).succeeded().then_some(()));
    for command in
        ["label configmap -n shop checkout-old-limits x=y", "create service clusterip -n shop extra --tcp=80"]
    {
        admin.types(&format!("kubectl {command}")).passes();
    }
    within(Duration::from_secs(10), "each change is reported", || {
        let found = recorded(admin);
        let is_told = |start: &str| found.iter().any(|one| one.starts_with(start));
        let all = [
            "FoundLater deployment/checkout was changed in shop while the change gate was open",
            "FoundLater configmap/checkout-old-limits was changed in shop while the change gate was open",
            "FoundLater service/extra was created in shop while the change gate was open",
        ];
        all.into_iter().all(is_told).then_some(())
    });
    let found =
        eventually("the condition says so", || enforced(admin).filter(|found| found["status"] == "False"));
    assert_eq!(found["reason"], "GateChanged", "{found}");
    let message = found["message"].as_str().unwrap();
    assert!(message.contains("kubectl delete configmap mayday-emergency -n mayday-system"), "{message}");
    assert_ne!(content(admin, GATE), before);
    admin.types("kubectl delete configmap mayday-emergency -n mayday-system").passes();
    eventually("restored", || (content(admin, GATE) == before).then_some(()));
    eventually("and proved", || is_enforced(admin));
    assert!(admin.types(&image(3)).is_refused().contains("is not approved"));
    let mut found = recorded(admin);
    found.retain(|one| one.starts_with("FoundLater"));
    assert_eq!(found.len(), 3, "each once: {found:?}");
}

/// The kind: an object in somebody's name that the guard did not admit.
fn forged_decisions_count_for_nothing(shop: &Shop<'_>) {
    let admin = &shop.admin;
    let image = "deploy/checkout --image app=shop/checkout:v9";
    shop.emil.types(&format!("kubectl mayday ask -n shop {image} --why release --yes")).passes();
    let request = eventually("the request is planned", || {
        let request = admin.reads("chg/checkout-v9 -n shop");
        request["status"]["digest"].is_string().then_some(request)
    });
    let switch = "kubectl create configmap mayday-emergency -n mayday-system \
                  --from-literal=emergencyDisabledUntil=2099-01-01T00:00:00Z";
    admin.types(switch).passes();
    for what in [
        "mutatingwebhookconfiguration/mayday-guard-stamp",
        "validatingwebhookconfiguration/mayday-guard",
        "validatingadmissionpolicybinding/mayday-approvals",
        "validatingadmissionpolicybinding/mayday-stamps",
    ] {
        admin.types(&format!("kubectl delete {what}")).passes();
    }
    let api = "mayday.dev/v1alpha1";
    let forge = |object: &Value| admin.pipes(&object.to_string(), "kubectl create -f -");
    for user in ["amir", "bea"] {
        let forged = json!({"apiVersion": api, "kind": "Approval", "metadata": {"name": user, "namespace": "shop"}, "spec": {
            "subjectRef": {"kind": "ChangeRequest", "name": "checkout-v9", "uid": request["metadata"]["uid"]},
            "digest": request["status"]["digest"], "decision": "Approve", "by": {"user": user, "groups": ["shop-approvers"]}}});
        // The API server forgets what was deleted a moment later.
        eventually("a forged decision is stored", || forge(&forged).succeeded().then_some(()));
    }
    let forged = json!({"apiVersion": api, "kind": "ChangeRequest", "metadata": {"name": "forged", "namespace": "shop"}, "spec": {
        "reason": "x", "requester": {"user": "lena"},
        "changes": [{"target": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "checkout"}, "restart": {}}]}});
    forge(&forged).passes();
    admin.types("kubectl delete configmap mayday-emergency -n mayday-system").passes();
    eventually("the gate is proved again", || is_enforced(admin));

    for user in ["amir", "bea"] {
        let counted = eventually("it is seen", || {
            condition(&admin.reads(&format!("appr/{user} -n shop")), "Counted")
                .filter(|found| found["status"] == "False")
                .cloned()
        });
        assert_eq!(counted["reason"], "Unstamped", "{counted}");
    }
    let ready = condition(&admin.reads("chg/forged -n shop"), "Ready").cloned().unwrap();
    assert_eq!(ready["reason"], "Unstamped", "{ready}");
    assert_eq!(admin.reads("chg/checkout-v9 -n shop")["status"]["state"], "Waiting");
    let apply = "kubectl set image -n shop deploy/checkout app=shop/checkout:v9";
    assert!(shop.emil.types(apply).is_refused().contains("is not approved"));
    // Their own decisions count.
    for person in [&shop.amir, &shop.bea] {
        person.types("kubectl mayday approve -n shop chg/checkout-v9 --yes").passes();
    }
    eventually("the request is approved", || {
        (admin.reads("chg/checkout-v9 -n shop")["status"]["state"] == "Approved").then_some(())
    });
    shop.emil.types(apply).passes();
}

/// The kind: a use of the break-glass group. A write to the policy itself is one like any other.
fn a_policy_loosened_by_break_glass_is_an_alarm(shop: &Shop<'_>) {
    let admin = &shop.admin;
    eventually("the policy is in force", || {
        admin.reads("cpol/production")["status"]["inForceSinceTime"].is_string().then_some(())
    });
    admin
        .types("kubectl create clusterrole policies --verb=get,patch --resource=changepolicies.mayday.dev")
        .passes();
    admin
        .types("kubectl create clusterrolebinding policies --clusterrole=policies --group=shop-break-glass")
        .passes();
    let set = |mode: &str| {
        format!(r#"kubectl patch cpol production --type merge -p '{{"spec":{{"enforcement":"{mode}"}}}}'"#)
    };
    assert!(admin.types(&set("Warn")).is_refused().contains("takes the approvals"));
    admin.types(&format!("{} {GLASS} --dry-run=server", set("Warn"))).passes();
    admin.types(&format!("{} {GLASS}", set("Warn"))).passes();
    eventually("it is recorded", || {
        let found = recorded(admin);
        let all: Vec<_> = found.iter().filter(|one| one.starts_with("BreakGlass")).collect();
        (all == ["BreakGlass changepolicy/production was loosened: spec.enforcement"]).then_some(())
    });
    eventually("everybody hears of it", || {
        let all = shop.receiver.messages();
        let is_told = |user: &str| {
            all.iter().any(|one| {
                one.address() == user
                    && one.text().starts_with("emil broke the glass at ")
                    && one.text().contains("was loosened")
            })
        };
        ["amir", "bea", "emil", "lena"].into_iter().all(is_told).then_some(())
    });
    admin.types(&set("Deny")).passes();
    eventually("the gate is proved again", || is_enforced(admin));
}

/// The kind: all objects of a kind go without being judged one by one.
fn a_kind_is_not_deleted(admin: &Person) {
    for kind in ["changepolicies", "approvals", "incidents"] {
        let said = admin.types(&format!("kubectl delete crd {kind}.mayday.dev --wait=false")).is_refused();
        assert!(
            said.contains(&format!("Refused: with {kind}.mayday.dev every object of it would be deleted")),
            "{said}"
        );
    }
    let hide = r#"[{"op":"replace","path":"/spec/versions/0/served","value":false}]"#;
    let said =
        admin.types(&format!("kubectl patch crd freezes.mayday.dev --type json -p '{hide}'")).is_refused();
    assert!(said.contains("stays served"), "{said}");
    admin.types("kubectl label crd freezes.mayday.dev team=pay").passes();
}
