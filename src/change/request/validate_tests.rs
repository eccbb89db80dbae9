use serde_json::json;

use super::*;

fn asked() -> Timestamp {
    "2026-11-22T00:00:00Z".parse().unwrap()
}

fn spec(edit: Value) -> ChangeRequestSpec {
    let mut whole = json!({"reason": "r", "changes": [update(json!({"patch": {"spec": {"replicas": 3}}}))]});
    json_patch::merge(&mut whole, &edit);
    serde_json::from_value(whole).unwrap()
}

fn deployment() -> Value {
    json!({"apiVersion": "apps/v1", "kind": "Deployment", "name": "checkout"})
}

fn update(update: Value) -> Value {
    json!({"target": deployment(), "update": update})
}

fn create(manifest: Value) -> Value {
    json!({"create": {"manifest": manifest}})
}

fn config_map(metadata: Value) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata})
}

/// The problems as people read them.
fn texts(problems: Vec<Problem>) -> Vec<String> {
    problems.iter().map(ToString::to_string).collect()
}

#[test]
fn bad_input_is_named_with_its_place() {
    let secret = json!({"apiVersion": "v1", "kind": "Secret", "name": "s"});
    let of_secret = |update: Value| json!({"target": secret, "update": update});
    let nested = json!({"spec": {"template": {"spec": {"containers": [{"name": "app", "image": null}]}}}});
    for (change, said) in [
        (
            json!({"target": {"apiVersion": "v1", "kind": "Pod", "name": "*"}, "delete": {}}),
            ".target: a wildcard names nothing",
        ),
        (
            json!({"target": {"apiVersion": "v1", "kind": "ConfigMap", "name": "c"}, "restart": {}}),
            ".restart: a ConfigMap cannot be restarted",
        ),
        (update(json!({})), ".update: set patch, remove, or both"),
        (
            update(json!({"patch": nested})),
            ".update.patch.spec.template.spec.containers[0].image: is null; what is to go is listed in remove",
        ),
        (update(json!({"patch": []})), ".update.patch: a patch of this patchType is an object"),
        (
            update(json!({"patchType": "JSON", "patch": {}})),
            ".update.patch: a patch of this patchType is a list",
        ),
        (update(json!({"remove": ["spec"]})), ".update.remove: \"spec\" is no JSON pointer"),
        (
            update(json!({"patch": {"a": 1}, "remove": ["spec"]})),
            ".update.remove: \"spec\" is no JSON pointer",
        ),
        (
            update(json!({"patch": {"a": 1}, "remove": ["/spec/containers/0/image"]})),
            ".update.remove: /spec/containers/0/image goes through a list",
        ),
        (
            of_secret(json!({"patch": {"data": {"password": "cA=="}}})),
            ".update.patch: the content of a Secret",
        ),
        (
            of_secret(json!({"patchType": "JSON", "patch": [{"op": "remove", "path": "/data"}]})),
            ".update.patch: the content",
        ),
        (of_secret(json!({"remove": ["/data/password"]})), ".target: the content of a Secret"),
        (
            create(
                json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s"}, "stringData": {"p": "p"}}),
            ),
            ".create.manifest: the content of a Secret",
        ),
        (create(config_map(json!({"generateName": "c-"}))), ".create.manifest.metadata.name: is needed"),
        (
            create(config_map(json!({"name": "c", "namespace": "till"}))),
            ".create.manifest.metadata.namespace: is till, but",
        ),
        (
            create(config_map(json!({"name": "c", "labels": null}))),
            ".create.manifest.metadata.labels: is null",
        ),
    ] {
        let problems = texts(problems(&spec(json!({"changes": [change]})), "shop", asked()));
        let start = format!("spec.changes[0]{said}");
        assert!(problems.iter().any(|problem| problem.starts_with(&start)), "{start}: {problems:?}");
    }
    let none = texts(problems(&spec(json!({"changes": []})), "shop", asked()));
    assert_eq!(none, ["spec.changes: a request names at least one change"]);
}

#[test]
fn a_good_request_has_no_problem() {
    let good = [
        json!({"target": deployment(), "scale": {"replicas": 8}}),
        json!({"target": deployment(), "restart": {}}),
        update(json!({"patchType": "JSON", "patch": [{"op": "remove", "path": "/spec/containers/0"}]})),
        json!({"target": {"apiVersion": "v1", "kind": "Secret", "name": "s"}, "delete": {}}),
        create(config_map(json!({"name": "c", "namespace": "shop"}))),
    ];
    assert_eq!(problems(&spec(json!({"changes": good})), "shop", asked()), []);
}

#[test]
fn a_request_that_is_too_large_to_store_is_named() {
    let spec = |uses: i32| spec(json!({"changes": [], "maxUses": uses}));
    let plan = |values: usize, size: usize| -> Vec<PlannedChange> {
        let delta: Vec<Value> = (0..values)
            .map(|value| json!({"path": format!("/data/{value}"), "after": "x".repeat(size)}))
            .collect();
        serde_json::from_value(json!([{"operation": "Update", "summary": "s", "delta": delta,
            "target": {"apiVersion": "v1", "kind": "ConfigMap", "name": "c"}}]))
        .unwrap()
    };
    let beyond_store =
        |spec: &ChangeRequestSpec, plan: &[PlannedChange]| texts(super::beyond_store(spec, plan));
    assert_eq!(beyond_store(&spec(1), &plan(256, 10)), Vec::<String>::new());
    assert!(beyond_store(&spec(1), &plan(257, 10))[0].contains("it touches 257 values"));
    assert!(beyond_store(&spec(1), &plan(1, 300_000))[0].contains("524288 can be kept"));
    assert!(beyond_store(&spec(100), &plan(1, 6_000))[0].contains("524288 can be kept"));
    assert!(beyond_store(&spec(100), &[plan(1, 1), plan(1, 1), plan(1, 1)].concat())[0].contains("300 uses"));
}

fn said_of_window(edit: Value, most: &str) -> Vec<String> {
    let policy = ChangePolicy::new(
        "production",
        serde_json::from_value(json!({"scope": {"namespaces": {"names": ["shop"]}}, "approval": {},
            "limits": {"maxUses": 2, "maxWindow": most}}))
        .unwrap(),
    );
    let spec = spec(edit);
    let mut said = problems(&spec, "shop", asked());
    said.extend(beyond_limits(&spec, asked(), &[&policy]));
    texts(said)
}

#[test]
fn a_window_or_uses_beyond_a_limit_are_named_with_the_policy() {
    let window = |window: Value| said_of_window(json!({"window": window}), "8h");
    for good in [json!({"duration": "8h"}), json!({"notAfter": "2026-11-22T08:00:00Z"})] {
        assert_eq!(window(good), Vec::<String>::new());
    }
    let too_long = "spec.window: longer than the 8h that cpol/production allows";
    for long in [
        json!({"duration": "481m"}),
        json!({"notBefore": "2026-11-22T00:00:00Z", "notAfter": "2027-11-22T00:00:00Z"}),
        json!({"notAfter": "2026-11-22T08:00:01Z"}),
    ] {
        assert_eq!(window(long), [too_long]);
    }
    for none in [
        json!({"duration": "0s"}),
        json!({"notAfter": "2026-11-21T23:59:59Z"}),
        json!({"notBefore": "2026-11-22T00:00:00Z", "notAfter": "2026-11-21T00:00:00Z"}),
    ] {
        assert_eq!(window(none), ["spec.window: it has no length, or is over already"]);
    }
    let uses = said_of_window(json!({"maxUses": 3}), "8h");
    assert_eq!(uses, ["spec.maxUses: more than the 2 that cpol/production allows"]);
}

#[test]
fn a_request_without_a_window_is_checked_with_the_default() {
    assert_eq!(said_of_window(json!({}), "1h"), Vec::<String>::new());
    let said = said_of_window(json!({}), "30m");
    assert!(said[0].starts_with("spec.window: without one it is 1h, longer than the 30m"), "{said:?}");
}

#[test]
fn fields_without_effect_are_named() {
    let changes = json!([{"target": deployment(), "exec": {"command": ["jstack"]}}]);
    assert_eq!(not_implemented(&spec(json!({"changes": changes}))), ["spec.changes[0].exec"]);
}
