//! Where the demo plays: the cluster's folder, the people, the names of this run.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::failed::{Failed, Result};
use crate::inbox::Inbox;
use crate::person::Person;
use crate::tell;
use crate::wait::{self, Look, quietly};

/// What a test leaves out, to see the demo fail right there.
#[derive(Clone, Copy, Debug, Eq, PartialEq, clap::ValueEnum)]
pub enum LeaveOut {
    /// bea does not approve the runbook.
    Approval,
    /// emil does not answer his page.
    Acknowledgement,
    /// The webhook that guards production is not there.
    Webhook,
    /// lena does not approve the rollback while she leads.
    Lead,
}

/// Everything a scene needs.
pub struct Scene {
    pub root: PathBuf,
    pub dir: PathBuf,
    pub namespace: String,
    /// Name of the application, its Deployment and its service.
    pub app: String,
    /// The image that works, the release that breaks, and an unapproved one.
    pub good: String,
    pub broken: String,
    pub other: String,
    pub admin: Person,
    pub emil: Person,
    pub amir: Person,
    pub bea: Person,
    pub lena: Person,
    pub inbox: Inbox,
    leave_out: Option<LeaveOut>,
}

impl Scene {
    /// A scene in the cluster under a folder, with names of its own.
    pub fn new(dir: &Path, leave_out: Option<LeaveOut>) -> Result<Scene> {
        let root = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
        let path = std::env::var("PATH").unwrap_or_default();
        let path = format!("{}:{path}", dir.join("bin").display());
        let person = |name, groups: &[&str]| -> Result<Person> {
            let kubeconfig = script(&root, dir, "user", &[&[name], groups].concat())?;
            let kubeconfig = PathBuf::from(kubeconfig.trim());
            Ok(Person { name, kubeconfig, path: path.clone(), folder: root.clone() })
        };
        let app = format!("checkout-{}", random());
        let image = |tag: &str| format!("shop/{app}:{tag}-{}", random());
        Ok(Scene {
            admin: Person {
                name: "admin",
                kubeconfig: dir.join("kubeconfig"),
                path: path.clone(),
                folder: root.clone(),
            },
            emil: person("emil", &["shop-engineers"])?,
            amir: person("amir", &["shop-approvers"])?,
            bea: person("bea", &["shop-approvers"])?,
            lena: person("lena", &["shop-leads"])?,
            namespace: format!("shop-{}", random()),
            good: image("v"),
            broken: image("broken"),
            other: image("v"),
            app,
            inbox: Inbox::open(),
            dir: dir.to_owned(),
            root,
            leave_out,
        })
    }

    /// Whether this is left out. If so, prints it and shortens the next waits.
    pub fn leaves_out(&self, act: LeaveOut, what: &str) -> bool {
        let leaves_out = self.leave_out == Some(act);
        if leaves_out {
            tell::always(&format!("(Left out: {what}.)"));
            wait::expect_nothing();
        }
        leaves_out
    }

    /// The folder as a person types it.
    pub fn folder(&self) -> String {
        as_typed(&self.dir)
    }

    /// An object of the shop as the admin reads it.
    pub fn object(&self, what: &str) -> Result<Value> {
        self.admin.reads(&self.namespace, what)
    }

    /// The objects of a kind in the shop.
    pub fn list(&self, kind: &str) -> Result<Vec<Value>> {
        Ok(self.object(kind)?["items"].as_array().cloned().unwrap_or_default())
    }

    /// Waits until a condition of an object of the shop has a status.
    pub fn condition(&self, what: &str, kind: &str, status: &str) -> Result<Value> {
        wait::until(&format!("{what} is {kind}={status}"), || {
            let object = self.object(what)?;
            Ok(condition(&object, kind, status).map(|()| object))
        })
    }

    /// Waits until an incident, a request or a run is in a state.
    pub fn state(&self, what: &str, state: &str) -> Result<Value> {
        wait::until(&format!("{what} is {state}"), || {
            let object = self.object(what)?;
            let now = object["status"]["state"].as_str().unwrap_or("without a state").to_owned();
            Ok(if now == state { Ok(object) } else { Err(format!("{now}: {}", object["status"]["next"])) })
        })
    }

    /// Waits until exactly one incident of the application is open, and gives its name.
    pub fn one_open_incident(&self) -> Result<String> {
        let open = quietly("an incident", || {
            let open: Vec<Value> = self.list("incidents")?.into_iter().filter(is_open).collect();
            Ok(if open.is_empty() { Err("no open incident".to_owned()) } else { Ok(open) })
        })?;
        let names: Vec<String> = open.iter().map(|incident| name(incident).to_owned()).collect();
        crate::failed::expect(names.len() == 1, "one outage is one incident", names.join(", "))?;
        Ok(names.concat())
    }

    /// The image that the application runs now.
    pub fn image(&self) -> Result<String> {
        let deployment = self.object(&format!("deploy/{}", self.app))?;
        let image = deployment.pointer("/spec/template/spec/containers/0/image");
        Ok(image.and_then(Value::as_str).unwrap_or_default().to_owned())
    }

    /// The command that sets an image, as anybody types it.
    pub fn set_image(&self, image: &str) -> String {
        format!("kubectl -n {} set image deploy/{} app={image}", self.namespace, self.app)
    }
}

/// A folder as a person in the checkout types it.
pub fn as_typed(folder: &Path) -> String {
    folder.strip_prefix(env!("CARGO_MANIFEST_DIR")).unwrap_or(folder).display().to_string()
}

/// The name of an object.
pub fn name(object: &Value) -> &str {
    object["metadata"]["name"].as_str().unwrap_or_default()
}

/// Whether an object has a condition with that status; otherwise what it says.
pub fn condition(object: &Value, kind: &str, status: &str) -> Look<()> {
    let conditions = object["status"]["conditions"].as_array();
    let found = conditions.into_iter().flatten().find(|condition| condition["type"] == kind);
    match found {
        Some(found) if found["status"] == status => Ok(()),
        Some(found) => Err(format!("{kind}={}: {}", found["status"], found["message"])),
        None => Err(format!("no condition {kind} yet")),
    }
}

fn is_open(incident: &Value) -> bool {
    let over = ["Resolved", "Closed", "FalseAlarm", "Duplicate"];
    !over.contains(&incident["status"]["state"].as_str().unwrap_or_default())
}

fn script(root: &Path, dir: &Path, name: &str, arguments: &[&str]) -> Result<String> {
    let line = format!("dev/{name} {}", arguments.join(" "));
    let output = Command::new(root.join("dev").join(name))
        .args(arguments)
        .env("MAYDAY_DEV_DIR", dir)
        .stdin(Stdio::null())
        .output()
        .map_err(|error| Failed::new(&line, error.to_string()))?;
    if !output.status.success() {
        return Err(Failed::new(format!("{line} works"), String::from_utf8_lossy(&output.stderr)));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Four characters that no other run has, as far as anybody can foresee.
fn random() -> String {
    format!("{:04x}", RandomState::new().build_hasher().finish() & 0xffff)
}
