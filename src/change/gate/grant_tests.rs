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
