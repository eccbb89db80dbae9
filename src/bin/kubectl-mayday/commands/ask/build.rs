//! Builds the ChangeRequest from the person's words. Pure.

use kube::api::ObjectMeta;
use mayday::api::ChangeRequest;
use mayday::api::change_request::{
    Change, ChangeRequestSpec, DeleteChange, Partial, PatchType, PropagationPolicy, Rollback, ScaleChange,
    UpdateChange, Window,
};
use mayday::api::common::{Empty, NameRef, ObjectRef, UserRef};
use mayday::change::diff::describe;
use serde_json::{Value, json};

use super::AskArgs;
use crate::client::failure::Failure;
use crate::client::manifest;
use crate::text::names;

/// Longest name that is made; the API server allows 253, people read fewer.
const LONGEST_NAME: usize = 60;

/// The request, ready to be created. `rollback` says whether taking each use back is approved with it.
pub fn request(args: &AskArgs, changes: Vec<Change>, namespace: &str, rollback: bool) -> ChangeRequest {
    let name = args.name.clone().unwrap_or_else(|| name(args, &changes));
    // A rollback needs an object that was there before, and a restart leaves nothing to take back.
    let restorable = changes.iter().all(|change| change.update.is_some() || change.scale.is_some());
    let spec = ChangeRequestSpec {
        reason: args.why.clone(),
        actors: args.actor.iter().map(|user| UserRef { user: user.clone() }).collect(),
        incident_ref: args.incident.clone().map(|name| NameRef { name }),
        changes,
        window: Some(Window { duration: Some(args.window.clone()), ..Window::default() }),
        partial: if args.in_parts { Partial::Allowed } else { Partial::Forbidden },
        max_uses: args.uses,
        rollback: (rollback && restorable).then_some(Rollback { restore_previous: Some(Empty {}) }),
        ..ChangeRequestSpec::default()
    };
    let metadata =
        ObjectMeta { name: Some(name), namespace: Some(namespace.to_owned()), ..ObjectMeta::default() };
    ChangeRequest { metadata, spec, status: None }
}

/// The changes that the flags ask of one object. `live` is the object, needed for images, and for patches of lists.
pub fn of_target(args: &AskArgs, target: &ObjectRef, live: Option<&Value>) -> Result<Vec<Change>, Failure> {
    let on = |change: Change| Change { target: Some(target.clone()), ..change };
    let mut changes = Vec::new();
    if !args.image.is_empty() {
        let update = images(&args.image, target, live.unwrap_or(&Value::Null))?;
        changes.push(on(Change { update: Some(update), ..Change::default() }));
    }
    if let Some(replicas) = args.scale {
        changes.push(on(Change { scale: Some(ScaleChange { replicas }), ..Change::default() }));
    }
    if args.restart {
        changes.push(on(Change { restart: Some(Empty {}), ..Change::default() }));
    }
    if let Some(text) = &args.patch {
        let patch = serde_json::from_str(text)
            .map_err(|error| Failure::usage(format!("--patch is no JSON: {error}.")))?;
        changes.push(manifest::patch(target.clone(), patch, live)?);
    }
    if args.delete {
        let propagation_policy = args.orphan.then_some(PropagationPolicy::Orphan);
        let delete = Some(DeleteChange { propagation_policy });
        changes.push(on(Change { delete, ..Change::default() }));
    }
    Ok(changes)
}

/// What `kubectl set image` would patch.
fn images(wanted: &[String], target: &ObjectRef, live: &Value) -> Result<UpdateChange, Failure> {
    let at = describe::pod_spec(target).ok_or_else(|| {
        Failure::usage(format!("{} has no containers: --image is for workloads.", target.display()))
    })?;
    let pod = live.pointer(at).unwrap_or(&Value::Null);
    let mut patch = json!({});
    for text in wanted {
        let Some((container, image)) = text.split_once('=').filter(|(c, i)| !c.is_empty() && !i.is_empty())
        else {
            return Err(Failure::usage(format!("--image {text:?} is not CONTAINER=IMAGE.")));
        };
        let list = ["containers", "initContainers"].into_iter().find(|list| has(pod, list, container));
        let Some(list) = list else {
            let there = ["containers", "initContainers"].into_iter().flat_map(|list| containers(pod, list));
            return Err(Failure::usage(format!(
                "{} has no container {container}. What it has: {}.",
                target.display(),
                names(there, "none")
            )));
        };
        if has(&patch, list, container) {
            return Err(Failure::usage(format!("--image {container}=… is given twice.")));
        }
        if patch.get(list).is_none() {
            patch[list] = json!([]);
        }
        if let Some(items) = patch[list].as_array_mut() {
            items.push(json!({"name": container, "image": image}));
        }
    }
    let patch =
        at.rsplit('/').filter(|field| !field.is_empty()).fold(patch, |inner, field| json!({field: inner}));
    Ok(UpdateChange { patch_type: PatchType::Strategic, patch: Some(patch), ..UpdateChange::default() })
}

fn containers<'a>(pod: &'a Value, list: &str) -> impl Iterator<Item = &'a str> {
    let items = pod.get(list).and_then(Value::as_array).into_iter().flatten();
    items.filter_map(|container| container.get("name").and_then(Value::as_str))
}

fn has(pod: &Value, list: &str, container: &str) -> bool {
    containers(pod, list).any(|name| name == container)
}

/// A name that says what is asked: `checkout-v2`, `checkout-scale-8`, `checkout-restart`.
fn name(args: &AskArgs, changes: &[Change]) -> String {
    let first = changes.first();
    let target = first.and_then(|change| change.target.as_ref()).map(|target| target.name.clone());
    let created = first.and_then(|change| change.create.as_ref());
    let created =
        created.and_then(|create| create.manifest.pointer("/metadata/name")).and_then(Value::as_str);
    let object = target.or(created.map(str::to_owned)).unwrap_or_else(|| "change".to_owned());
    let what = if let Some(image) = args.image.first() {
        tag(image)
    } else if let Some(replicas) = args.scale {
        format!("scale-{replicas}")
    } else if args.restart {
        "restart".to_owned()
    } else if args.delete {
        "delete".to_owned()
    } else if args.patch.is_some() {
        "patch".to_owned()
    } else {
        "apply".to_owned()
    };
    as_name(&format!("{object}-{what}"))
}

/// The tag of `app=registry:5000/shop/checkout:v2`; for a digest its first characters.
fn tag(image: &str) -> String {
    let image = image.split_once('=').map_or(image, |(_, image)| image);
    if let Some((_, digest)) = image.split_once('@') {
        return digest.trim_start_matches("sha256:").chars().take(7).collect();
    }
    let last = image.rsplit('/').next().unwrap_or(image);
    last.split_once(':').map_or("image", |(_, tag)| tag).to_owned()
}

fn as_name(text: &str) -> String {
    let lower = text.to_ascii_lowercase();
    let dashed: String =
        lower.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).take(LONGEST_NAME).collect();
    dashed.trim_matches('-').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        ask: AskArgs,
    }

    fn ask(words: &[&str]) -> AskArgs {
        Line::try_parse_from(["ask"].iter().chain(words)).unwrap().ask
    }

    fn checkout() -> ObjectRef {
        ObjectRef { api_version: "apps/v1".into(), kind: "Deployment".into(), name: "checkout".into() }
    }

    fn live() -> Value {
        json!({"spec": {"template": {"spec": {
            "containers": [{"name": "app", "image": "shop/checkout:v1"}],
            "initContainers": [{"name": "migrate", "image": "shop/migrate:v1"}]
        }}}})
    }

    fn built(words: &[&str]) -> Value {
        let args = ask(words);
        let changes = of_target(&args, &checkout(), Some(&live())).unwrap();
        serde_json::to_value(request(&args, changes, "shop", true)).unwrap()
    }

    #[test]
    fn an_image_becomes_the_request_that_the_example_shows() {
        let target = json!({"apiVersion": "apps/v1", "kind": "Deployment", "name": "checkout"});
        let patch = json!({"spec": {"template": {"spec": {"containers": [{"name": "app", "image": "shop/checkout:v2"}]}}}});
        let request = built(&["deploy/checkout", "--image", "app=shop/checkout:v2", "--why", "release v2"]);
        assert_eq!(request["metadata"], json!({"name": "checkout-v2", "namespace": "shop"}));
        assert_eq!(
            request["spec"],
            json!({
                "reason": "release v2",
                "changes": [{"target": target, "update": {"patchType": "Strategic", "patch": patch}}],
                "partial": "Forbidden",
                "window": {"duration": "1h"},
                "maxUses": 1,
                "rollback": {"restorePrevious": {}},
                "withdrawn": false
            })
        );
    }

    #[test]
    fn scale_and_restart_are_two_changes() {
        let request =
            built(&["deploy/checkout", "--scale", "8", "--restart", "--why", "the sale", "--uses", "2"]);
        assert_eq!(request.pointer("/metadata/name"), Some(&json!("checkout-scale-8")));
        assert_eq!(request.pointer("/spec/changes/0/scale"), Some(&json!({"replicas": 8})));
        assert_eq!(request.pointer("/spec/changes/1/restart"), Some(&json!({})));
        assert_eq!(request.pointer("/spec/maxUses"), Some(&json!(2)));
        assert_eq!(request.pointer("/spec/rollback"), None);
    }

    #[test]
    fn the_rollback_is_only_asked_for_where_it_is_wanted() {
        let args = ask(&["deploy/checkout", "--scale", "8", "--why", "x"]);
        let changes = of_target(&args, &checkout(), None).unwrap();
        assert_eq!(request(&args, changes, "shop", false).spec.rollback, None);
        let both = ["ask", "deploy/x", "--restart", "--why", "x", "--with-rollback", "--without-rollback"];
        assert!(Line::try_parse_from(both).is_err());
    }

    #[test]
    fn init_containers_are_found_and_unknown_ones_listed() {
        let request = built(&["deploy/checkout", "--image", "migrate=shop/migrate:v2", "--why", "x"]);
        let path = "/spec/changes/0/update/patch/spec/template/spec/initContainers/0/image";
        assert_eq!(request.pointer(path), Some(&json!("shop/migrate:v2")));
        let args = ask(&["deploy/checkout", "--image", "web=shop/web:v1", "--why", "x"]);
        let failure = of_target(&args, &checkout(), Some(&live())).unwrap_err();
        assert_eq!(failure.sentence, "deployment/checkout has no container web. What it has: app, migrate.");
        assert_eq!(failure.code, 2);
    }

    #[test]
    fn a_patch_is_asked_for_as_it_is() {
        let request = built(&["deploy/checkout", "--patch", r#"{"spec":{"paused":true}}"#, "--why", "x"]);
        assert_eq!(request.pointer("/spec/changes/0/update/patch"), Some(&json!({"spec": {"paused": true}})));
        assert_eq!(request.pointer("/spec/changes/0/target/name"), Some(&json!("checkout")));
        for wrong in [r#"{"spec":{"args":[null]}}"#, "{", "{}", "7"] {
            let args = ask(&["deploy/checkout", "--patch", wrong, "--why", "x"]);
            assert_eq!(of_target(&args, &checkout(), None).unwrap_err().code, 2, "{wrong}");
        }
    }

    #[test]
    fn names_are_made_of_what_is_asked() {
        assert_eq!(tag("app=registry.example:5000/shop/checkout:v2"), "v2");
        assert_eq!(tag("app=registry.example:5000/shop/checkout"), "image");
        assert_eq!(tag("app=shop/checkout@sha256:0123456789abcdef"), "0123456");
        assert_eq!(as_name("checkout-V2.1_rc"), "checkout-v2-1-rc");
        assert_eq!(as_name(&format!("{}-", "a".repeat(80))).len(), LONGEST_NAME);
    }

    #[test]
    fn flags_about_an_object_need_one() {
        assert!(Line::try_parse_from(["ask", "--restart", "--why", "x"]).is_err());
        assert!(Line::try_parse_from(["ask", "deploy/x", "--restart", "--delete", "--why", "x"]).is_err());
        assert!(
            Line::try_parse_from(["ask", "deploy/x", "--restart", "--why", "x", "--for", "1 day"]).is_err()
        );
    }
}
