//! Measures the latency that the gate adds to a write, on a real API server: `make bench`.
//!
//! Each round tries every case once, as a dry run by the same person on the same kind of object, so that other load on the
//! machine affects all cases alike. The report holds ratios of medians of one run, since absolute times do not compare
//! across machines.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a benchmark says so by failing")]

mod support;

use std::time::{Duration, Instant};

use k8s_openapi::api::apps::v1::Deployment;
use kube::Client;
use kube::api::{Api, Patch, PatchParams, PostParams};
use mayday::api::ChangeRequest;
use serde_json::json;

use support::{Cluster, client, ratio, report};

/// Number of measured rounds.
const ROUNDS: usize = 200;
/// Number of rounds before them, which are not measured.
const WARM_UP: usize = 20;
/// Number of waiting requests about the same object in the crowd.
const CROWD: usize = 200;

/// One write of a round.
#[derive(Clone, Copy)]
struct Case {
    name: &'static str,
    namespace: &'static str,
    image: &'static str,
    passes: bool,
}

const UNPROTECTED: Case =
    Case { name: "unprotected", namespace: "plain", image: "shop/checkout:v2", passes: true };
const NOTHING: Case =
    Case { name: "nothing changes", namespace: "shop", image: "shop/checkout:v1", passes: true };
const APPROVED: Case = Case { name: "approved", namespace: "shop", image: "shop/checkout:v2", passes: true };
const REFUSED: Case = Case { name: "refused", namespace: "shop", image: "shop/checkout:v9", passes: false };

/// Creates the shop of the samples under its policy, the same Deployment without a policy, and one approved request.
fn furnish(cluster: &Cluster) {
    let admin = cluster.admin();
    cluster.apply(&["00-shop", "05-access", "10-policy"]);
    cluster.kubectl(&admin, "create namespace plain");
    cluster.kubectl(&admin, "create deployment checkout -n plain --image=shop/checkout:v1");
    cluster.kubectl(&admin, "create rolebinding edit -n plain --clusterrole=edit --group=shop-engineers");
    cluster.kubectl(&admin, "wait changepolicy/production --for=condition=Enforced --timeout=60s");
    let emil = cluster.person("emil", "shop-engineers");
    let image = APPROVED.image;
    cluster.kubectl(
        &emil,
        &format!("mayday ask -n shop deploy/checkout --image app={image} --why release --name v2 --yes"),
    );
    for approver in ["amir", "bea"] {
        let kubeconfig = cluster.person(approver, "shop-approvers");
        cluster.kubectl(&kubeconfig, "mayday approve -n shop chg/v2 --yes");
    }
}

/// Tries a case once.
async fn attempt(client: &Client, case: Case) -> Duration {
    let deployments: Api<Deployment> = Api::namespaced(client.clone(), case.namespace);
    let container = if case.namespace == "plain" { "checkout" } else { "app" };
    let patch =
        json!({"spec": {"template": {"spec": {"containers": [{"name": container, "image": case.image}]}}}});
    let params = PatchParams { dry_run: true, ..PatchParams::default() };
    let start = Instant::now();
    let answer = deployments.patch("checkout", &params, &Patch::Strategic(&patch)).await;
    let taken = start.elapsed();
    match answer {
        Ok(_) => assert!(case.passes, "{} passed", case.name),
        Err(kube::Error::Api(status)) if status.message.contains("Refused: ") => {
            assert!(!case.passes, "{}: {}", case.name, status.message);
        }
        Err(error) => panic!("{}: {error}", case.name),
    }
    taken
}

/// The median of each case, in their order.
async fn medians<const N: usize>(client: &Client, cases: [Case; N]) -> [Duration; N] {
    let mut taken: [Vec<Duration>; N] = std::array::from_fn(|_| Vec::new());
    for round in 0..WARM_UP + ROUNDS {
        for (case, taken) in cases.iter().zip(&mut taken) {
            let time = attempt(client, *case).await;
            if round >= WARM_UP {
                taken.push(time);
            }
        }
    }
    taken.map(|mut all| {
        all.sort();
        all[all.len() / 2]
    })
}

/// Creates many requests for other images of the same Deployment, none of them approved.
async fn gather_a_crowd(client: &Client) {
    let requests: Api<ChangeRequest> = Api::namespaced(client.clone(), "shop");
    for index in 0..CROWD {
        let image = format!("shop/checkout:w{index}");
        let asked = json!({
            "apiVersion": "mayday.dev/v1alpha1", "kind": "ChangeRequest",
            "metadata": {"name": format!("crowd-{index}"), "namespace": "shop"},
            "spec": {"reason": "crowd", "changes": [{
                "target": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "checkout"},
                "update": {"patch": {"spec": {"template": {"spec": {"containers": [{"name": "app", "image": image}]}}}}},
            }]},
        });
        let asked: ChangeRequest = serde_json::from_value(asked).unwrap();
        requests.create(&PostParams::default(), &asked).await.unwrap();
    }
    let end = Instant::now() + Duration::from_secs(300);
    loop {
        let known = requests.list(&Default::default()).await.unwrap();
        let planned =
            known.iter().filter(|request| request.status.as_ref().is_some_and(|s| !s.plan.is_empty()));
        let planned = planned.count();
        if planned > CROWD {
            return;
        }
        assert!(Instant::now() < end, "only {planned} requests were planned");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

#[tokio::main]
async fn main() {
    let cluster = Cluster::of_arguments();
    furnish(&cluster);
    let emil = client(&cluster.person("emil", "shop-engineers")).await;

    eprintln!("==> {ROUNDS} rounds of {} cases", 4);
    let [plain, nothing, approved, refused] = medians(&emil, [UNPROTECTED, NOTHING, APPROVED, REFUSED]).await;
    eprintln!("==> gathering {CROWD} requests about the same object");
    gather_a_crowd(&emil).await;
    let [plain_later, approved_in_crowd, refused_in_crowd] =
        medians(&emil, [UNPROTECTED, APPROVED, REFUSED]).await;

    let told = [
        ("× a write that changes nothing, to an unprotected one", ratio(nothing, plain)),
        ("× an approved write, to an unprotected one", ratio(approved, plain)),
        ("× a refused write, to an unprotected one", ratio(refused, plain)),
        (
            "× an approved write beside the crowd, to an unprotected one",
            ratio(approved_in_crowd, plain_later),
        ),
        ("× a refused write beside the crowd, to an unprotected one", ratio(refused_in_crowd, plain_later)),
    ];
    report(&cluster, "gate", &told, &json!({"rounds": ROUNDS, "crowd": CROWD}));
}
