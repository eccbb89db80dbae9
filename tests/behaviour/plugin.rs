//! The plugin on a real API server: what it shows, and that it writes nothing unless a person said so.

use serde_json::{Value, json};

use crate::change::shop::Shop;
use crate::support::{Person, eventually, sample};

#[test]
fn who_shows_who_is_on_duty() {
    let shop = Shop::unprotected();
    let rotations = sample("20-oncall.yaml")
        .replace("namespace: shop", &format!("namespace: {}", shop.namespace))
        // emil sees his dentist on another day than that of the test.
        .replace("\"2026-11-24T", "\"2096-11-24T");
    shop.admin().applies(&rotations).passes();
    let duty = eventually("it is computed", || {
        let said = shop.types(&shop.emil(), "kubectl mayday who -n NS").passes();
        (!said.contains("unknown")).then_some(said)
    });
    for (rotation, person) in
        [("crisis-leads", "lena"), ("payments", "emil"), ("second-approvers", "amir, bea")]
    {
        let line = duty.lines().find(|line| line.contains(rotation)).unwrap();
        assert!(line.contains(person), "{duty}");
    }
    let one = shop.types(&shop.emil(), "kubectl mayday who -n NS payments").passes();
    assert!(one.contains("emil") && !one.contains("lena"), "{one}");
}

/// A Runbook that people start, approved.
fn runbook(shop: &Shop) {
    let target = json!({"apiVersion": "apps/v1", "kind": "Deployment", "name": "checkout"});
    let runbook = json!({"apiVersion": "mayday.dev/v1alpha1", "kind": "Runbook",
        "metadata": {"name": "careful", "namespace": shop.namespace},
        "spec": {"summary": "Look, then restart", "start": "Manual", "approval": "Standing",
            "serviceAccountName": "checkout-runbooks",
            "steps": [
                {"name": "look", "manual": {"instructions": "Is the database back?"}, "timeout": "5m"},
                {"name": "restart", "restart": {"target": target}, "timeout": "2m"}]}});
    shop.admin().applies(&runbook.to_string()).passes();
    for person in [shop.amir(), shop.bea()] {
        shop.types(&person, "kubectl mayday approve -n NS rb/careful --yes").passes();
    }
    shop.types(&shop.admin(), "kubectl wait -n NS rb/careful --for=condition=Approved --timeout=60s")
        .passes();
}

#[test]
fn a_trial_of_a_runbook_says_what_would_happen_and_does_nothing() {
    let shop = Shop::open();
    runbook(&shop);
    let said = shop.types(&shop.emil(), "kubectl mayday run -n NS careful --dry-run --yes").passes();
    assert!(said.contains("look") && said.contains("restart"), "{said}");
    let runs = shop.admin().reads(&format!("run -n {}", shop.namespace));
    assert_eq!(runs["items"][0]["spec"]["dryRun"], true);
    assert_eq!(shop.changes(), Vec::<String>::new());
}

#[test]
fn a_restart_and_a_waiting_change_are_carried_out_once_approved() {
    let shop = Shop::open();
    let emil = shop.emil();
    let ask =
        "kubectl mayday ask -n NS deploy/checkout --restart --why 'dead connections' --name again --yes";
    shop.types(&emil, ask).passes();
    shop.is_approved("again");
    shop.types(&emil, "kubectl rollout restart -n NS deploy/checkout").passes();
    shop.reaches("again", "Spent");

    let ask = "kubectl mayday ask -n NS deploy/checkout --image app=shop/checkout:v2 --why release --name v2 --yes \
               --apply-when-approved";
    let said = std::thread::scope(|scope| {
        let waits = scope.spawn(|| shop.types(&emil, ask).passes());
        eventually("it is asked for", || {
            let requests = shop.admin().reads(&format!("chg -n {}", shop.namespace));
            let is_planned = |request: &Value| {
                request["metadata"]["name"] == "v2" && request["status"]["digest"].is_string()
            };
            requests["items"].as_array()?.iter().any(is_planned).then_some(())
        });
        assert_eq!(shop.image(), "shop/checkout:v1", "nothing before it is approved");
        for person in [shop.amir(), shop.bea()] {
            shop.approves(&person, "v2").passes();
        }
        waits.join().unwrap()
    });
    assert_eq!(shop.image(), "shop/checkout:v2", "{said}");
    shop.reaches("v2", "Spent");
    assert_eq!(shop.changes(), ["emil: patch deployments/checkout", "emil: patch deployments/checkout"]);
}

#[test]
fn things_are_shown_as_a_user_of_kubectl_expects() {
    let shop = Shop::open();
    let (emil, admin) = (shop.emil(), shop.admin());
    runbook(&shop);
    let shows = |command: &str| shop.types(&emil, &format!("kubectl mayday {command}")).passes();
    assert!(shows("show -n NS rb").contains("rb/careful"));
    for command in ["show -n NS careful", "show -n NS rb careful", "show -n NS runbook/careful"] {
        assert!(shows(command).starts_with("rb/careful in "), "{command}");
    }
    assert_eq!(shows("show -n NS rb -o name").trim(), "runbook.mayday.dev/careful");
    let object: Value = serde_json::from_str(&shows("show -n NS rb/careful -o json")).unwrap();
    assert_eq!((&object["kind"], &object["metadata"]["name"]), (&json!("Runbook"), &json!("careful")));
    let all = shop.types(&admin, "kubectl mayday show rb -A").passes();
    assert!(all.lines().any(|line| line.contains(&shop.namespace) && line.contains("rb/careful")), "{all}");
    assert!(shows("version").contains("mayday.dev/v1alpha1"));
    assert!(shows("completion bash").contains("kubectl-mayday"));

    let which = shop.types(&emil, "kubectl mayday run -n NS").is_refused();
    assert!(which.contains("Which runbook?") && which.contains("rb/careful"), "{which}");
    let said = shop.types(&admin, "kubectl mayday show -n nosuch").is_refused();
    assert!(said.contains("There is no namespace nosuch."), "{said}");
    let said = shop.types(&emil, "kubectl mayday show -n NS nothing").is_refused();
    assert!(said.contains("What there is: ") && said.contains("rb/careful"), "{said}");
    let said = shop.types(&admin, "kubectl mayday show -n NS --as stranger").is_refused();
    assert!(said.contains("you may not list") && said.contains("--as stranger"), "{said}");
}

/// Without a terminal to say yes at.
#[track_caller]
fn shows_and_writes_nothing(shop: &Shop, person: &Person, command: &str) {
    let output = shop.types(person, command);
    let said = output.is_refused();
    assert!(said.contains("Nothing was done: there is no terminal to ask you at."), "{command}: {said}");
    assert!(!output.shows().trim().is_empty(), "{command} shows nothing");
}

#[test]
fn without_yes_each_command_shows_its_effect_and_writes_nothing() {
    let shop = Shop::open();
    let (emil, amir, admin) = (shop.emil(), shop.amir(), shop.admin());
    runbook(&shop);
    shop.asks_for_v2("open");
    shop.types(&emil, "kubectl mayday ask -n NS deploy/checkout --scale 4 --why sale --name approved --yes")
        .passes();
    shop.is_approved("approved");
    let service =
        sample("25-service.yaml").replace("namespace: shop", &format!("namespace: {}", shop.namespace));
    admin.applies(&service).passes();
    let declare =
        "kubectl mayday declare 'Customers cannot pay' -n NS --service checkout --severity SEV3 --yes";
    shows_and_writes_nothing(&shop, &emil, declare.trim_end_matches(" --yes"));
    assert_eq!(shop.types(&admin, "kubectl get inc -n NS -o name").passes(), "");
    shop.types(&emil, declare).passes();
    let names = |kind: &str| {
        let all = shop.types(&admin, &format!("kubectl get {kind} -n NS -o name")).passes();
        all.lines().map(|line| line.rsplit('/').next().unwrap().to_owned()).collect::<Vec<_>>()
    };
    let incident = names("inc").concat();
    shop.types(&emil, "kubectl mayday run -n NS careful --yes").passes();
    let run = names("run").concat();
    shop.types(
        &admin,
        &format!(
            "kubectl wait -n NS run/{run} --for=jsonpath={{.status.state}}=WaitingForPerson --timeout=60s"
        ),
    )
    .passes();

    // Only the fields that people may write; the operator writes the status.
    let written = || {
        let all = admin.reads(&format!("inc,chg,run,appr,rb -n {}", shop.namespace));
        let items = all["items"].as_array().unwrap().iter();
        items.map(|item| json!([item["kind"], item["metadata"]["name"], item["spec"]])).collect::<Vec<_>>()
    };
    let before = written();
    let deployment = admin.reads(&format!("deploy/checkout -n {}", shop.namespace))["spec"].clone();
    for (person, command) in [
        (&emil, "ack -n NS inc/INC"),
        (&emil, "note -n NS inc/INC 'the gateway answers 500'"),
        (&emil, "ask -n NS deploy/checkout --restart --why dead"),
        (&emil, "apply -n NS chg/approved"),
        (&amir, "approve -n NS chg/open"),
        (&amir, "reject -n NS chg/open --why no"),
        (&amir, "approve -n NS rb/careful"),
        (&emil, "withdraw -n NS chg/open"),
        (&emil, "run -n NS careful"),
        (&emil, "run -n NS careful --dry-run"),
        (&emil, "answer -n NS run/RUN look confirm"),
        (&emil, "cancel -n NS run/RUN"),
        (&emil, "resolve -n NS inc/INC --outcome false-alarm --reason drill"),
        (
            &emil,
            "break-glass -n NS --group shop-break-glass --why now -- kubectl scale -n NS deploy/checkout --replicas 1",
        ),
    ] {
        let command = command.replace("INC", &incident).replace("RUN", &run);
        shows_and_writes_nothing(&shop, person, &format!("kubectl mayday {command}"));
    }
    assert_eq!(written(), before);
    assert_eq!(admin.reads(&format!("deploy/checkout -n {}", shop.namespace))["spec"], deployment);
    assert_eq!(shop.changes(), Vec::<String>::new());
}
