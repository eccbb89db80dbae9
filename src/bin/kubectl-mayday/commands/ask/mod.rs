//! `ask`: asks for one precise change, with words like those of the commands that would make it.

mod build;

use std::io::Read;
use std::path::{Path, PathBuf};

use clap::Args;
use kube::discovery::Scope;
use mayday::api::change_request::{Change, RequestState};
use mayday::api::conditions::{ConditionType, find};
use mayday::api::{ChangeRequest, Duration, Incident};
use mayday::command::Verb;
use serde_json::Value;

use crate::client::failure::{Failure, Reason, explain, role};
use crate::client::session::{Session, name_of};
use crate::client::{address, manifest, target};
use crate::commands::apply;
use crate::commands::approve::planned;
use crate::render;
use crate::render::Here;
use crate::render::terminal::{confirm, say};
use crate::text::{indent, yaml};

/// Maximum number of names that are tried while they are taken.
const NAMES: usize = 9;

#[derive(Debug, Args)]
pub struct AskArgs {
    /// The object to change: deploy/checkout
    #[arg(value_name = "KIND/NAME")]
    pub target: Option<String>,
    /// Another image of a container; may be repeated
    #[arg(long, value_name = "CONTAINER=IMAGE", requires = "target")]
    pub image: Vec<String>,
    /// Another number of replicas
    #[arg(long, value_name = "N", requires = "target", value_parser = clap::value_parser!(i32).range(0..=100_000))]
    pub scale: Option<i32>,
    /// Restart, as kubectl rollout restart does
    #[arg(long, requires = "target")]
    pub restart: bool,
    /// A patch as JSON: an object, in which what is null goes, or a list of operations (RFC 6902)
    #[arg(long, value_name = "JSON", requires = "target")]
    pub patch: Option<String>,
    /// Delete the object
    #[arg(long, requires = "target", conflicts_with_all = ["image", "scale", "restart", "patch"])]
    pub delete: bool,
    /// Leave what belongs to it, as kubectl delete --cascade=orphan does
    #[arg(long, requires = "delete")]
    pub orphan: bool,
    /// What applying these manifests would change: a file, - for standard input, or the JSON itself; may be repeated
    #[arg(short, long, value_name = "FILE")]
    pub file: Vec<PathBuf>,
    /// Why
    #[arg(long, value_name = "TEXT")]
    pub why: String,
    /// Name of the request [default: after the change]
    #[arg(long, value_name = "NAME", value_parser = address::change_request)]
    pub name: Option<String>,
    /// Let each value of an update be used on its own, not only all at once
    #[arg(long)]
    pub in_parts: bool,
    /// How long it may be carried out, from the last approval
    #[arg(long = "for", value_name = "DURATION", default_value = "1h", value_parser = duration)]
    pub window: Duration,
    /// How often each change may be used
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(i32).range(1..=100))]
    pub uses: i32,
    /// Who may carry it out; may be repeated [default: you]
    #[arg(long, value_name = "USER")]
    pub actor: Vec<String>,
    /// The incident that explains it
    #[arg(long, value_name = "inc/NAME", value_parser = address::incident)]
    pub incident: Option<String>,
    /// Approve with it: taking each use back once [default unless an incident is open]
    #[arg(long, conflicts_with = "without_rollback")]
    pub with_rollback: bool,
    /// Taking it back shall need a request of its own [default while an incident is open]
    #[arg(long)]
    pub without_rollback: bool,
    /// Wait until it is approved, then carry out exactly the change
    #[arg(long)]
    pub apply_when_approved: bool,
}

pub async fn run(session: &Session, args: AskArgs) -> Result<(), Failure> {
    let is_for_others = !args.actor.is_empty() && !args.actor.contains(&session.me().await?.user);
    if args.apply_when_approved && is_for_others {
        return Err(Failure::usage(
            "--apply-when-approved carries it out as you, and --actor names only others: leave out one of them.",
        ));
    }
    let changes = changes(session, &args).await?;
    let rollback = args.with_rollback || (!args.without_rollback && is_calm(session, &args).await);
    let request = build::request(&args, changes, &session.namespace, rollback);
    if args.apply_when_approved {
        say("Once it is approved, you carry it out at once.");
    }
    let name = submit(session, request, args.name.is_some()).await?;
    if args.apply_when_approved {
        return apply::when_approved(session, &name).await;
    }
    let apply = session.command(Verb::Apply).on("chg", &name);
    say(&match is_for_others {
        true => format!("\nOnce approved, it is for {} to carry out: {apply}", args.actor.join(" or ")),
        false => format!("\nOnce approved, your own command passes, or: {apply}"),
    });
    Ok(())
}

/// Whether no incident is open here. During an incident a rollback leads back to the broken state, so it is
/// approved only if the person says so. The same holds if the person cannot read incidents.
async fn is_calm(session: &Session, args: &AskArgs) -> bool {
    args.incident.is_none()
        && session.list::<Incident>().await.is_ok_and(|incidents| !incidents.iter().any(Incident::is_open))
}

/// Shows the request, asks, stores it, and shows what the operator makes of it; gives its name.
///
/// # Errors
/// When the person says no, or the API server refuses it.
pub async fn submit(session: &Session, request: ChangeRequest, named: bool) -> Result<String, Failure> {
    confirm(
        session.connection.yes,
        &format!(
            "This asks for a change in {}:\n{}\n{}\n{}",
            session.namespace,
            indent(&yaml(&request), 2),
            render::change::parts(request.spec.partial),
            render::change::rollback(&request)
        ),
    )?;
    let stored = create(session, request, named).await?;
    let name = name_of(&stored).to_owned();
    say(&format!("Asked: chg/{name}."));
    let request = planned(session, &name).await?;
    if let Some(why) = never(&request) {
        return Err(Failure::new(format!("chg/{name} can never be approved: {why}."))
            .then(session.command(Verb::Show).on("chg", &name)));
    }
    say(&render::change::describe(&request, &Here::of(session)));
    Ok(name)
}

/// Why the request as written cannot be carried out; none if it can.
fn never(request: &ChangeRequest) -> Option<&str> {
    let status = request.status.as_ref().filter(|status| status.state == Some(RequestState::Invalid))?;
    let ready = find(&status.conditions, ConditionType::Ready)?;
    Some(&ready.message)
}

async fn changes(session: &Session, args: &AskArgs) -> Result<Vec<Change>, Failure> {
    let mut changes = Vec::new();
    if let Some(text) = &args.target {
        let (target, resource, capabilities) = target::resolve(session, text).await?;
        // Images and patches of lists depend on what is there.
        let live = match (args.image.is_empty(), args.patch.is_some()) {
            (false, _) => Some(target::read(session, &target, &resource, &capabilities).await?),
            (true, true) => target::read_if_allowed(session, &target, &resource, &capabilities).await?,
            (true, false) => None,
        };
        let of_target = build::of_target(args, &target, live.as_ref())?;
        if of_target.is_empty() {
            return Err(Failure::usage(format!(
                "What is to change in {text} is not said: --image, --scale, --restart, --patch or --delete. A file \
                 says itself what it is about."
            )));
        }
        changes.extend(of_target);
    }
    for file in &args.file {
        for document in manifest::documents(&contents(file)?, &named(file))? {
            changes.extend(of_manifest(session, document).await?);
        }
    }
    if changes.is_empty() && !args.file.is_empty() {
        return Err(Failure::new("Nothing would change, so there is nothing to ask for."));
    }
    if changes.is_empty() {
        return Err(Failure::usage(
            "There is no change: say --image, --scale, --restart, --patch or --delete with KIND/NAME, or -f FILE.",
        ));
    }
    Ok(changes)
}

/// A manifest updates an existing object and creates a missing one. None, with a message, if nothing would
/// change.
async fn of_manifest(session: &Session, document: Value) -> Result<Option<Change>, Failure> {
    let target = manifest::target(&document, &session.namespace)?;
    let (resource, capabilities) = target::served(session, &target).await?;
    let api = target::api(session, &resource, &capabilities);
    let there = api.get_opt(&target.name).await;
    let what = format!("read {}", target.display());
    let there = there.map_err(|error| explain(&error, &session.attempt(&what, "view")))?;
    let namespace = matches!(capabilities.scope, Scope::Namespaced).then_some(session.namespace.as_str());
    let Some(live) = there else { return manifest::create(document, namespace).map(Some) };
    let name = target.display();
    let change = manifest::update(target, document, &target::as_value(&live, &name)?)?;
    if change.is_none() {
        say(&format!("{name} is so already: nothing of it is asked for."));
    }
    Ok(change)
}

async fn create(
    session: &Session,
    mut request: ChangeRequest,
    named: bool,
) -> Result<ChangeRequest, Failure> {
    let base = request.metadata.name.clone().unwrap_or_default();
    let mut number = 1;
    loop {
        match session.create(&request, "ask for a change", role::RESPONDER).await {
            // The command chooses the name only if the person gave none.
            Err(failure) if failure.reason == Reason::AlreadyExists && !named && number < NAMES => {
                number += 1;
                request.metadata.name = Some(format!("{base}-{number}"));
            }
            Err(failure) if failure.reason == Reason::AlreadyExists => {
                let sentence = format!("{} Add --name with another name.", failure.sentence);
                return Err(
                    Failure { sentence, ..failure }.then(session.command(Verb::Show).on("chg", &base))
                );
            }
            outcome => return outcome,
        }
    }
}

/// A file as messages name it.
fn named(file: &Path) -> String {
    match file.to_str() {
        Some(text) if text.starts_with('{') => "the manifest behind -f".to_owned(),
        _ => file.display().to_string(),
    }
}

/// The text of a file, of the standard input for `-`, or of a manifest that stands there itself.
pub fn contents(file: &PathBuf) -> Result<String, Failure> {
    let mut text = String::new();
    // A printed command holds the manifest of a new object itself.
    if let Some(inline) = file.to_str().filter(|text| text.starts_with('{')) {
        return Ok(inline.to_owned());
    }
    let read = if file.as_os_str() == "-" {
        std::io::stdin().lock().read_to_string(&mut text).map(|_| text)
    } else {
        std::fs::read_to_string(file)
    };
    read.map_err(|error| Failure::usage(format!("{} cannot be read: {error}.", file.display())))
}

fn duration(text: &str) -> Result<Duration, String> {
    Duration::try_from(text.to_owned()).map_err(|error| error.to_string())
}

#[cfg(test)]
#[path = "printed_tests.rs"]
mod tests;
