use super::*;
use crate::change::gate::action::tests::action;
use serde_json::Value;

const IMAGE: &str = "/spec/template/spec/containers/[name=app]/image";

pub fn now() -> Timestamp {
    "2026-11-22T12:00:00Z".parse().unwrap()
}

pub fn request(edit: Value) -> ChangeRequest {
    let mut whole = json!({"apiVersion": "mayday.dev/v1alpha1", "kind": "ChangeRequest",
        "metadata": {"name": "v2", "namespace": "shop", "uid": "cu"},
        "spec": {"reason": "r", "requester": {"user": "emil"}, "changes": [{
            "target": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "checkout"},
            "update": {"patch": {}}}]},
        "status": {"plan": [{"operation": "Update", "resource": "deployments", "namespace": "shop", "uid": "du", "summary": "s",
            "target": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "checkout"},
            "delta": [{"path": IMAGE, "before": "shop/checkout:v1", "after": "shop/checkout:v2"}]}]}});
    json_patch::merge(&mut whole, &edit);
    let mut request: ChangeRequest = serde_json::from_value(whole).unwrap();
    let status = request.status.as_mut().unwrap();
    status.digest = Some(digest::request("cu", &request.spec, &status.plan).unwrap());
    request
}

pub fn image(from: &str, to: &str) -> Action {
    let image = |tag: &str| {
        let image = format!("shop/checkout:{tag}");
        json!({"spec": {"template": {"spec": {"containers": [{"name": "app", "image": image}]}}}})
    };
    action(json!({"oldObject": image(from), "object": image(to)}))
}

/// The same action on the object as it is in a later version, which it raises.
fn in_generation(generation: i64, mut action: Action) -> Action {
    action.before["metadata"]["generation"] = json!(generation);
    action.after["metadata"]["generation"] = json!(generation + 1);
    action
}

/// As the gate has it, with the reason as people read it.
fn grant(request: &ChangeRequest, action: &Action, now: Timestamp) -> Result<Grant, String> {
    super::grant(request, action, now).map_err(|why| why.to_string())
}

/// Uses a request, and returns it with the use stored.
pub fn use_it(mut request: ChangeRequest, action: &Action) -> ChangeRequest {
    let Ok(Grant::Use(used)) = grant(&request, action, now()) else { panic!("not granted") };
    request.status.as_mut().unwrap().used.push(used);
    request
}

#[test]
fn the_exact_change_passes_once_and_its_repeat_is_not_counted() {
    let used = use_it(request(json!({})), &in_generation(3, image("v1", "v2")));
    assert_eq!(grant(&used, &in_generation(3, image("v1", "v2")), now()), Ok(Grant::Repeat));
    let asked_again = in_generation(4, image("v1", "v2"));
    assert_eq!(grant(&used, &asked_again, now()), Ok(Grant::Repeat), "somebody else's write came between");
}

#[test]
fn a_change_that_was_stored_and_overwritten_since_is_no_repeat() {
    let used = use_it(request(json!({})), &in_generation(3, image("v1", "v2")));
    let spent = Err("it was used 1 of 1 times: ask again".to_owned());
    assert_eq!(grant(&used, &in_generation(5, image("v1", "v2")), now()), spent);
    let mut unknown = used;
    unknown.status.as_mut().unwrap().used[0].version = None;
    assert_eq!(grant(&unknown, &in_generation(3, image("v1", "v2")), now()), spent);
}

#[test]
fn a_generation_that_a_client_wrote_is_ignored() {
    // The API server keeps no generation of a ConfigMap: the one written at its creation stays.
    let written = |version: &str| {
        let mut action = in_generation(7, image("v1", "v2"));
        action.after["metadata"]["generation"] = json!(7);
        action.before["metadata"]["resourceVersion"] = json!(version);
        action
    };
    let used = use_it(request(json!({})), &written("1"));
    let later = now() + SignedDuration::from_secs(11);
    assert_eq!(grant(&used, &written("1"), later), Ok(Grant::Repeat));
    assert!(grant(&used, &written("5"), later).is_err(), "there and back and there again");
}

#[test]
fn a_request_shares_a_value_only_with_a_change_of_it() {
    let scaled = action(json!({"oldObject": {"spec": {"replicas": 3}}, "object": {"spec": {"replicas": 9,
        "template": {"spec": {"containers": [{"name": "app", "image": "shop/checkout:v1"}]}}}}}));
    assert!(!shares_a_value(&request(json!({})), &scaled));
    assert!(shares_a_value(&request(json!({})), &image("v1", "v9")));
    assert!(shares_a_value(&request(json!({})), &action(json!({"operation": "DELETE", "object": null}))));
}

#[test]
fn a_creation_is_never_a_repeat() {
    let created = json!({"operation": "CREATE", "oldObject": null});
    let create = action(created);
    let mut planned = request(json!({"status": {"plan": [{"operation": "Create", "resource": "deployments",
        "namespace": "shop", "summary": "s", "target": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "checkout"}}]}}));
    let status = planned.status.as_mut().unwrap();
    status.plan[0].delta = create.delta.clone();
    let used = use_it(planned, &create);
    assert!(grant(&used, &create, now()).is_err(), "it may have been there meanwhile");
}

#[test]
fn dependents_are_orphaned_only_where_that_was_asked_for() {
    let asked = |delete: Value| {
        request(
            json!({"spec": {"changes": [{"target": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "checkout"},
            "delete": delete}]},
            "status": {"plan": [{"operation": "Delete", "resource": "deployments", "namespace": "shop", "uid": "du",
            "summary": "deletion of it", "target": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "checkout"}}]}}),
        )
    };
    let delete = |policy: &str| {
        action(json!({"operation": "DELETE", "object": null, "options": {"propagationPolicy": policy}}))
    };
    let (all, alone) = (asked(json!({})), asked(json!({"propagationPolicy": "Orphan"})));
    assert!(grant(&all, &delete("Foreground"), now()).is_ok());
    assert_eq!(grant(&all, &delete("Orphan"), now()), Err("it holds deletion of it".to_owned()));
    assert!(grant(&alone, &delete("Orphan"), now()).is_ok());
    assert!(grant(&alone, &delete("Background"), now()).is_err());
}

#[test]
fn an_action_that_differs_from_the_plan_does_not_pass() {
    let standing = request(json!({}));
    for (what, action) in [
        ("another image", image("v1", "v9")),
        ("from another image", image("v0", "v2")),
        ("more", action(json!({"object": {"metadata": {"labels": {"a": "b"}}}}))),
        ("another object of that name", action(json!({"oldObject": {"metadata": {"uid": "later"}}}))),
        ("another object", action(json!({"name": "till"}))),
        ("another namespace", action(json!({"namespace": "till"}))),
        ("another verb", action(json!({"operation": "DELETE", "object": null}))),
        ("somebody else", action(json!({"userInfo": {"username": "amir"}}))),
        ("another subresource", action(json!({"subResource": "status"}))),
    ] {
        assert!(grant(&standing, &action, now()).is_err(), "{what}");
    }
}

#[test]
fn named_actors_carry_a_request_out_instead_of_the_requester() {
    let for_amir = request(json!({"spec": {"actors": [{"user": "amir"}]}}));
    assert!(grant(&for_amir, &image("v1", "v2"), now()).unwrap_err().starts_with("amir may carry it out"));
    let other = grant(&for_amir, &image("v1", "v9"), now()).unwrap_err();
    assert!(
        other.starts_with("it does not hold"),
        "a value it does not hold is named before the actor: {other}"
    );
    assert!(grant(&for_amir, &action(json!({"userInfo": {"username": "amir"}})), now()).is_ok());
}

#[test]
fn max_uses_holds_for_each_change() {
    let restart = |time: &str| {
        action(
            json!({"object": {"spec": {"template": {"metadata": {"annotations": {"kubectl.kubernetes.io/restartedAt": time}},
            "spec": {"containers": [{"name": "app", "image": "shop/checkout:v1"}]}}}}}),
        )
    };
    let twice = request(json!({"spec": {"maxUses": 2, "changes": [{
        "target": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "checkout"}, "restart": {}}]}}));
    let first = in_generation(1, restart("2026-11-22T12:00:00Z"));
    let once = use_it(twice, &first);
    assert_eq!(grant(&once, &first, now()), Ok(Grant::Repeat));
    let both = use_it(once, &restart("2026-11-22T12:01:00Z"));
    let third = grant(&both, &restart("2026-11-22T12:02:00Z"), now());
    assert_eq!(third, Err("it was used 2 of 2 times: ask again".to_owned()));
}

#[test]
fn a_restart_is_its_annotation_alone() {
    let request = request(json!({"spec": {"changes": [{
        "target": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "checkout"}, "restart": {}}]}}));
    assert!(grant(&request, &image("v1", "v2"), now()).is_err());
    let more = action(json!({"object": {"spec": {"template": {"metadata": {"annotations":
        {"kubectl.kubernetes.io/restartedAt": "2026-11-22T12:00:00Z"}}}}}}));
    assert!(grant(&request, &more, now()).is_err(), "with another image");
}

#[test]
fn a_rollback_takes_back_a_use_once() {
    let without = use_it(request(json!({})), &image("v1", "v2"));
    let refused = grant(&without, &image("v2", "v1"), now());
    assert_eq!(refused, Err("taking it back was not approved with it".to_owned()));
    let with_rollback = request(json!({"spec": {"rollback": {"restorePrevious": {}}, "maxUses": 1}}));
    assert!(grant(&with_rollback, &image("v2", "v1"), now()).is_err(), "before it was used");
    let mut used = use_it(with_rollback, &image("v1", "v2"));
    assert_eq!(grant(&used, &image("v2", "v1"), now()), Ok(Grant::Restore(0)));
    assert!(grant(&used, &image("v2", "v0"), now()).is_err(), "to something else");
    let taken_back = &mut used.status.as_mut().unwrap().used[0];
    taken_back.restored_time = Some(stored_time(now()));
    taken_back.restored_by = Some("emil".into());
    taken_back.version = in_generation(4, image("v2", "v1")).version().map(|version| version.to_string());
    // The values are the same again: only the version tells a retry from a later rollback.
    let retry = in_generation(4, image("v2", "v1"));
    assert_eq!(grant(&used, &retry, now()), Ok(Grant::Repeat), "a retry of the rollback");
    let again = Err("it was taken back once already".to_owned());
    let later = in_generation(6, image("v2", "v1"));
    assert_eq!(grant(&used, &later, now()), again, "used again since, and rolled back once more");
    let unknown = in_generation(4, image("v2", "v1"));
    used.status.as_mut().unwrap().used[0].version = None;
    assert_eq!(grant(&used, &unknown, now()), again, "the version is unknown");
    assert!(grant(&used, &image("v1", "v2"), now()).is_err(), "forward again is a new use");
}

#[test]
fn a_changed_value_makes_the_entry_stale() {
    let two = request(
        json!({"status": {"plan": [{"operation": "Update", "resource": "deployments", "namespace": "shop",
        "uid": "du", "summary": "s", "target": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "checkout"},
        "delta": [{"path": IMAGE, "before": "shop/checkout:v1", "after": "shop/checkout:v2"},
            {"path": "/spec/replicas", "before": 5, "after": 8}]}]}}),
    );
    let why = grant(&two, &image("v1", "v2"), now()).unwrap_err();
    assert_eq!(why, "/spec/replicas was changed meanwhile: ask again");
}

#[test]
fn a_label_that_was_changed_back_and_forth_since_is_no_repeat() {
    let label = |version: &str, from: &str, to: &str| {
        let object = |colour: &str| json!({"metadata": {"generation": 3, "resourceVersion": version, "labels": {"colour": colour}}});
        action(json!({"oldObject": object(from), "object": object(to)}))
    };
    // The image of the object is the same before and after.
    let plain = |mut action: Action| {
        action.delta.retain(|delta| delta.path.starts_with("/metadata/"));
        action
    };
    let planned = json!([{"path": "/metadata/labels/colour", "before": "blue", "after": "green"}]);
    let mut request = request(json!({}));
    let status = request.status.as_mut().unwrap();
    status.plan[0].delta = serde_json::from_value(planned).unwrap();
    let first = plain(label("7", "blue", "green"));
    let used = use_it(request, &first);
    assert_eq!(grant(&used, &first, now()), Ok(Grant::Repeat));
    let again = plain(label("9", "blue", "green"));
    let later = now() + SignedDuration::from_secs(11);
    assert_eq!(grant(&used, &again, later), Err("it was used 1 of 1 times: ask again".to_owned()));
    // A status write moved the version meanwhile, so the API server sends the same request again.
    assert_eq!(grant(&used, &again, now()), Ok(Grant::Repeat));
}

/// A change of two images of one Deployment, and a request for it.
fn two_images(partial: &str) -> (ChangeRequest, impl Fn(&str, &str, &str, &str) -> Action) {
    let delta = |name: &str| json!({"path": format!("/spec/template/spec/containers/[name={name}]/image"), "before": "v1", "after": "v2"});
    let mut request = request(json!({"spec": {"partial": partial, "rollback": {"restorePrevious": {}}}}));
    let status = request.status.as_mut().unwrap();
    status.plan[0].delta = serde_json::from_value(json!([delta("app"), delta("log")])).unwrap();
    let images = |app: &str, log: &str| json!({"spec": {"template": {"spec": {"containers": [{"name": "app", "image": app}, {"name": "log", "image": log}]}}}});
    let change = move |app: &str, log: &str, to_app: &str, to_log: &str| {
        action(json!({"oldObject": images(app, log), "object": images(to_app, to_log)}))
    };
    (request, change)
}

#[test]
fn an_entry_is_used_as_a_whole_unless_it_allows_parts() {
    let (whole, change) = two_images("Forbidden");
    let part = "it is used as a whole, and /spec/template/spec/containers/[name=log]/image does not change with the rest";
    assert_eq!(grant(&whole, &change("v1", "v1", "v2", "v1"), now()), Err(part.to_owned()));
    assert!(grant(&whole, &change("v1", "v1", "v2", "v2"), now()).is_ok());
    assert!(grant(&whole, &change("v1", "v2", "v2", "v2"), now()).is_ok(), "the other has the value already");
    assert!(grant(&whole, &change("v1", "v1", "v2", "v3"), now()).is_err());
}

#[test]
fn each_part_of_an_entry_is_used_once() {
    let (parts, change) = two_images("Allowed");
    let one = use_it(parts.clone(), &change("v1", "v1", "v2", "v1"));
    let spent = Err("it was used 1 of 1 times: ask again".to_owned());
    assert_eq!(grant(&one, &change("v1", "v1", "v2", "v2"), now()), spent, "the first part a second time");
    let both = use_it(one, &change("v2", "v1", "v2", "v2"));
    assert_eq!(grant(&both, &change("v2", "v1", "v2", "v2"), now()), spent);
    assert_eq!(grant(&both, &change("v2", "v2", "v2", "v1"), now()), Ok(Grant::Restore(1)));
    let at_once = use_it(parts, &change("v1", "v1", "v2", "v2"));
    assert_eq!(grant(&at_once, &change("v1", "v2", "v2", "v2"), now()), spent);
}

/// A Service as the API server shows it, whose client has set the type and the ports.
fn service(kind: &str, node_port: Option<u32>, is_stated: bool) -> Value {
    let mut port = json!({"port": 80, "protocol": "TCP"});
    let mut set = json!({".": {}, "f:port": {}});
    if let Some(number) = node_port {
        port["nodePort"] = json!(number);
    }
    if is_stated {
        set["f:nodePort"] = json!({});
    }
    json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "checkout", "uid": "du", "managedFields": [
            {"manager": "kubectl", "operation": "Update", "fieldsV1": {"f:spec": {"f:type": {}, "f:ports": {"k:{\"port\":80,\"protocol\":\"TCP\"}": set}}}}]},
        "spec": {"type": kind, "clusterIP": "10.0.0.7", "clusterIPs": ["10.0.0.7"], "ports": [port], "replicas": null, "template": null}})
}

fn of_service(before: &Value, after: &Value) -> Action {
    action(
        json!({"kind": {"group": "", "kind": "Service"}, "resource": {"group": "", "resource": "services"},
        "oldObject": before, "object": after}),
    )
}

#[test]
fn a_port_that_the_api_server_chooses_passes_there_and_back() {
    let target = json!({"apiVersion": "v1", "kind": "Service", "name": "checkout"});
    let inner = service("ClusterIP", None, false);
    let outer = |port: u32| service("NodePort", Some(port), false);
    let planned = of_service(&inner, &outer(30001)).delta;
    assert!(
        planned.iter().any(|delta| delta.after == Some(json!(diff::server_assigned::ASSIGNED))),
        "{planned:?}"
    );
    let request = request(
        json!({"spec": {"rollback": {"restorePrevious": {}}, "changes": [{"target": target, "update": {"patch": {}}}]},
        "status": {"plan": [{"operation": "Update", "resource": "services", "namespace": "shop", "uid": "du", "summary": "s",
            "target": target, "delta": planned}]}}),
    );
    let stated = of_service(&inner, &service("NodePort", Some(30002), true));
    assert!(grant(&request, &stated, now()).unwrap_err().contains("nodePort"), "a person chose it");
    let used = use_it(request, &of_service(&inner, &outer(30002)));
    assert_eq!(grant(&used, &of_service(&outer(30002), &inner), now()), Ok(Grant::Restore(0)));
}

#[test]
fn the_counter_of_a_daemon_sets_template_is_no_change() {
    let set = |generation: &str, time: Option<&str>| {
        let annotations = time.map(|time| json!({"kubectl.kubernetes.io/restartedAt": time}));
        json!({"apiVersion": "apps/v1", "kind": "DaemonSet", "metadata": {"name": "checkout", "uid": "du",
                "annotations": {"deprecated.daemonset.template.generation": generation}},
            "spec": {"replicas": null, "template": {"metadata": {"annotations": annotations}, "spec": {"containers": []}}}})
    };
    let restart = action(json!({"kind": {"kind": "DaemonSet"}, "resource": {"resource": "daemonsets"},
        "oldObject": set("1", None), "object": set("2", Some("2026-11-22T12:00:00Z"))}));
    let target = json!({"apiVersion": "apps/v1", "kind": "DaemonSet", "name": "checkout"});
    let request = request(json!({"spec": {"changes": [{"target": target, "restart": {}}]},
        "status": {"plan": [{"operation": "Update", "resource": "daemonsets", "namespace": "shop", "uid": "du", "summary": "s", "target": target}]}}));
    assert!(matches!(grant(&request, &restart, now()), Ok(Grant::Use(_))));
    // On another kind the annotation is a person's own.
    let mut own = json!({"kind": {"kind": "ConfigMap"}});
    own["oldObject"] = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"annotations": {"deprecated.daemonset.template.generation": "1"}}});
    assert!(!action(own).changes_nothing());
}
