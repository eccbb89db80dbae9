use super::*;
use kube::core::DynamicObject;
use kube::core::admission::AdmissionReview;
use serde_json::Value;

fn now() -> Timestamp {
    "2026-11-22T12:00:00Z".parse().unwrap()
}

fn deployment(image: &str, replicas: i64) -> Value {
    json!({"apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": {"name": "checkout", "namespace": "shop", "uid": "du"},
        "spec": {"replicas": replicas, "template": {"metadata": {}, "spec": {"containers": [{"name": "app", "image": image}]}}}})
}

fn update(user: &str, before: Value, after: Value, edit: Value) -> Attempt {
    let mut request = json!({"uid": "1", "kind": {"group": "apps", "version": "v1", "kind": "Deployment"},
        "resource": {"group": "apps", "version": "v1", "resource": "deployments"}, "name": "checkout",
        "namespace": "shop", "operation": "UPDATE", "userInfo": {"username": user}, "object": after, "oldObject": before,
        "dryRun": false});
    json_patch::merge(&mut request, &edit);
    let review = json!({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": request});
    let review: AdmissionReview<DynamicObject> = serde_json::from_value(review).unwrap();
    Attempt::new(&review.try_into().unwrap()).unwrap()
}

fn to_image(user: &str, image: &str) -> Attempt {
    update(user, deployment("c:v1", 3), deployment(image, 3), json!({}))
}

fn request(edit: Value) -> ChangeRequest {
    let mut whole = json!({"apiVersion": "mayday.dev/v1alpha1", "kind": "ChangeRequest",
        "metadata": {"name": "v2", "namespace": "shop", "uid": "ru"},
        "spec": {"reason": "r", "requester": {"user": "emil"}, "rollback": {"restorePrevious": {}}, "changes": [
            {"target": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "checkout"}, "update": {"patch": {}}}]},
        "status": {"expiresTime": "2026-11-22T13:00:00Z", "plan": [{"operation": "Update", "namespace": "shop", "uid": "du",
            "target": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "checkout"}, "summary": "s",
            "delta": [{"path": "/spec/template/spec/containers/[name=app]/image", "before": "c:v1", "after": "c:v2"}]}]}});
    json_patch::merge(&mut whole, &edit);
    serde_json::from_value(whole).unwrap()
}

fn covers(request: &ChangeRequest, attempt: &Attempt) -> Option<Coverage> {
    coverage(request, request.status.as_ref().unwrap(), attempt, now()).unwrap()
}

#[test]
fn the_exact_change_passes_and_another_image_does_not() {
    assert!(matches!(covers(&request(json!({})), &to_image("emil", "c:v2")), Some(Coverage::Use(_))));
    assert_eq!(covers(&request(json!({})), &to_image("emil", "c:v3")), None);
}

#[test]
fn only_the_requester_or_a_named_actor_may_carry_it_out() {
    assert_eq!(covers(&request(json!({})), &to_image("zoe", "c:v2")), None);
    let named = request(json!({"spec": {"actors": [{"user": "zoe"}]}}));
    assert!(covers(&named, &to_image("zoe", "c:v2")).is_some());
    assert_eq!(covers(&named, &to_image("emil", "c:v2")), None);
}

#[test]
fn not_before_not_after_and_not_once_withdrawn() {
    let attempt = to_image("emil", "c:v2");
    assert_eq!(covers(&request(json!({"status": {"expiresTime": "2026-11-22T12:00:00Z"}})), &attempt), None);
    assert_eq!(covers(&request(json!({"status": {"expiresTime": null}})), &attempt), None);
    let later = json!({"spec": {"window": {"notBefore": "2026-11-22T12:30:00Z", "notAfter": "2026-11-22T13:00:00Z"}}});
    assert_eq!(covers(&request(later), &attempt), None);
    assert_eq!(covers(&request(json!({"spec": {"withdrawn": true}})), &attempt), None);
}

#[test]
fn another_object_of_the_same_name_is_not_covered() {
    let mut before = deployment("c:v1", 3);
    before["metadata"]["uid"] = json!("later");
    assert_eq!(covers(&request(json!({})), &update("emil", before, deployment("c:v2", 3), json!({}))), None);
}

fn with_use(request_edit: Value, image: &str) -> ChangeRequest {
    let mut request = request(request_edit);
    let Some(Coverage::Use(used)) = covers(&request, &to_image("emil", image)) else { panic!("not covered") };
    request.status.as_mut().unwrap().used.push(used);
    request
}

#[test]
fn a_second_use_is_not_covered_and_a_repeat_of_the_first_is() {
    let spent = with_use(json!({}), "c:v2");
    assert_eq!(
        covers(&spent, &to_image("emil", "c:v2")),
        Some(Coverage::Repeat),
        "the first was not stored, or is retried"
    );
    let mut returned = with_use(json!({}), "c:v2");
    returned.status.as_mut().unwrap().used[0].restored_time =
        Some(crate::cluster::conditions::seconds(now()));
    assert_eq!(covers(&returned, &to_image("emil", "c:v2")), None);
    let twice = with_use(json!({"spec": {"maxUses": 2}}), "c:v2");
    let mut returned = twice;
    returned.status.as_mut().unwrap().used[0].restored_time =
        Some(crate::cluster::conditions::seconds(now()));
    assert!(matches!(covers(&returned, &to_image("emil", "c:v2")), Some(Coverage::Use(_))));
}

#[test]
fn what_was_used_may_be_taken_back_once_and_only_exactly() {
    let mut used = with_use(json!({}), "c:v2");
    let back = |image: &str| update("emil", deployment("c:v2", 3), deployment(image, 3), json!({}));
    assert_eq!(covers(&used, &back("c:v1")), Some(Coverage::Restore(0)));
    assert_eq!(covers(&used, &back("c:v0")), None);
    used.status.as_mut().unwrap().used[0].restored_time = Some(crate::cluster::conditions::seconds(now()));
    assert_eq!(covers(&used, &back("c:v1")), None);
    let without = with_use(json!({"spec": {"rollback": null}}), "c:v2");
    assert_eq!(covers(&without, &back("c:v1")), None);
}

#[test]
fn scale_is_judged_as_a_change_of_its_parent() {
    let scale = |replicas: i64| {
        json!({"apiVersion": "autoscaling/v1", "kind": "Scale",
        "metadata": {"name": "checkout", "namespace": "shop", "uid": "du"}, "spec": {"replicas": replicas}})
    };
    let edit = json!({"subResource": "scale", "kind": {"group": "autoscaling", "kind": "Scale"}});
    let attempt = update("emil", scale(3), scale(8), edit);
    assert_eq!(attempt.target.display(), "deployment/checkout");
    let planned =
        request(json!({"status": {"plan": [{"operation": "Update", "namespace": "shop", "uid": "du",
        "target": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "checkout"}, "summary": "s",
        "delta": [{"path": "/spec/replicas", "before": 3, "after": 8}]}]}}));
    assert!(covers(&planned, &attempt).is_some());
    assert_eq!(covers(&request(json!({})), &attempt), None);
}

#[test]
fn a_restart_is_only_kubectls_annotation_with_a_time() {
    let restart = request(
        json!({"spec": {"changes": [{"target": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "checkout"}, "restart": {}}]},
        "status": {"plan": [{"operation": "Update", "namespace": "shop", "uid": "du",
            "target": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "checkout"}, "summary": "s",
            "delta": [{"path": RESTART_PATH, "after": "the time of the restart"}]}]}}),
    );
    let restarted = |value: &str, image: &str| {
        let mut after = deployment(image, 3);
        after["spec"]["template"]["metadata"] =
            json!({"annotations": {"kubectl.kubernetes.io/restartedAt": value}});
        update("emil", deployment("c:v1", 3), after, json!({}))
    };
    assert!(covers(&restart, &restarted("2026-11-22T12:00:00Z", "c:v1")).is_some());
    assert!(covers(&restart, &restarted("$(reboot)", "c:v1")).is_none());
    assert!(covers(&restart, &restarted("2026-11-22T12:00:00Z", "c:v2")).is_none());
}

#[test]
fn no_change_and_the_end_of_a_terminating_object_need_nobody() {
    let same = update("emil", deployment("c:v1", 3), deployment("c:v1", 3), json!({}));
    assert!(is_no_change(&same));
    assert!(!is_no_change(&to_image("emil", "c:v2")));
    let going = |finalizers: Value, image: &str, terminating: bool| {
        let mut object = deployment(image, 3);
        object["metadata"]["finalizers"] = finalizers;
        if terminating {
            object["metadata"]["deletionTimestamp"] = json!("2026-11-22T12:00:00Z");
        }
        object
    };
    let ends = |image: &str, after: Value, terminating: bool| {
        is_no_change(&update(
            "emil",
            going(json!(["a"]), "c:v1", terminating),
            going(after, image, terminating),
            json!({}),
        ))
    };
    assert!(ends("c:v1", json!([]), true));
    assert!(!ends("c:v1", json!(["a", "b"]), true), "parked with another finalizer");
    assert!(!ends("c:v2", json!([]), true), "changed while it goes");
    assert!(!ends("c:v1", json!([]), false), "not going");
}

#[test]
fn a_step_passes_only_with_its_mark_its_user_its_object_and_its_delta() {
    let run: RunbookRun = serde_json::from_value(json!({"apiVersion": "mayday.dev/v1alpha1", "kind": "RunbookRun",
        "metadata": {"name": "r", "namespace": "shop", "uid": "run"}, "spec": {"runbookRef": {"name": "b"}},
        "status": {"steps": [{"name": "s", "state": "IntentRecorded", "intent": {"operationId": "o", "resourceVersion": "1",
            "target": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "checkout"}, "uid": "du", "actor": "robot",
            "delta": [{"path": "/spec/template/spec/containers/[name=app]/image", "before": "c:v1", "after": "c:v2"}]}}]}}))
    .unwrap();
    let marked = |user: &str, image: &str, mark: &str| {
        let extra = json!({"userInfo": {"username": user, "extra": {"mayday.dev/run": [mark]}}});
        update(user, deployment("c:v1", 3), deployment(image, 3), extra)
    };
    assert!(is_step(&run, &marked("robot", "c:v2", "run")));
    assert!(!is_step(&run, &to_image("robot", "c:v2")), "holding the account alone is not enough");
    assert!(!is_step(&run, &marked("robot", "c:v2", "another")));
    assert!(!is_step(&run, &marked("emil", "c:v2", "run")));
    assert!(!is_step(&run, &marked("robot", "c:v3", "run")));
    let mut settled = run.clone();
    settled.status.as_mut().unwrap().steps[0].state = StepState::Settling;
    assert!(!is_step(&settled, &marked("robot", "c:v2", "run")));
}

#[test]
fn an_exempt_actor_does_what_is_listed_and_nothing_else() {
    let actors: Vec<ExemptActor> = serde_json::from_value(json!([{"user": "keda",
        "rules": [{"apiGroups": ["apps"], "resources": ["deployments/scale"], "operations": ["Update"]}]}]))
    .unwrap();
    assert!(!is_exempt(&actors, &to_image("keda", "c:v2")));
    let mut scale = to_image("keda", "c:v2");
    scale.subresource = "scale".into();
    assert!(is_exempt(&actors, &scale));
    scale.user = "emil".into();
    assert!(!is_exempt(&actors, &scale));
}
