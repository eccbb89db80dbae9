//! The guard of our own kinds: who may write what, where that needs a look-up. What needs none is in the
//! admission policies of the chart, and holds while Mayday is down.
//!
//! Each kind has a file with pure rules over given facts; here the facts are gathered and the kinds told apart.

pub mod gather;
pub mod kinds;
pub mod ruling;
pub mod stamp;
pub mod subject;
pub mod unreadable;

use jiff::Timestamp;
use json_patch::Patch;
use kube::core::DynamicObject;
use kube::core::admission::Operation;
use serde::de::DeserializeOwned;

use crate::api::{Approval, ChangePolicy, ChangeRequest, Freeze, Incident, Runbook, RunbookRun};
use crate::change::diff::digest;
use crate::cluster::SharedContext;
use crate::cluster::caches::get_cluster;
use crate::webhook::caller::Caller;
use crate::webhook::review::Request;
use crate::webhook::verdict::Verdict;

use gather::Gathered;
use kinds::{approval, change_request, freeze, incident, policy, run, runbook};
use ruling::Ruling;

/// What is stamped on an object of ours that is written.
///
/// # Errors
/// The refusal: somebody else is named, or the object cannot be read.
pub fn stamp(context: &SharedContext, request: &Request) -> Result<Patch, Verdict> {
    let caller = caller(context, request);
    let refuse = |message: String| Verdict::refuse(message);
    match request.kind.kind.as_str() {
        "ChangeRequest" => {
            let new: ChangeRequest = written(request)?;
            stamp::user("requester", stamp::requester(&new.spec), &caller).map_err(refuse)
        }
        "RunbookRun" => {
            let new: RunbookRun = written(request)?;
            let named = new.spec.started_by.as_ref().map(|by| by.user.as_str());
            stamp::user("startedBy", named, &caller).map_err(refuse)
        }
        "Approval" => {
            let new: Approval = written(request)?;
            stamp::by(&new, &caller, &gather::named_groups(&context.caches.policies.state())).map_err(refuse)
        }
        "Runbook" => {
            let new: Runbook = written(request)?;
            let old: Option<Runbook> = request.old_object.as_ref().map(|_| stored(request)).transpose()?;
            Ok(stamp::authors(&new, old.as_ref(), &caller, |runbook| digest::runbook(&runbook.spec).ok()))
        }
        other => Err(unknown(other)),
    }
}

/// What the guard says of a write to an object of ours.
///
/// # Errors
/// The refusal when the object cannot be read, or what is to be looked up cannot be.
pub async fn rule(context: &SharedContext, request: &Request) -> Result<Ruling, Verdict> {
    let caller = caller(context, request);
    let gathered = Gathered::new(context, request);
    if request.operation == Operation::Delete && gathered.is_emptied_by(&caller) {
        return Ok(Ruling::Allow);
    }
    let deletes = request.operation == Operation::Delete;
    let kind = request.kind.kind.as_str();
    if let Some(problem) = problem_of(request.old_object.as_ref(), kind) {
        if let Some(problem) = problem_of(request.object.as_ref(), kind) {
            return Err(cannot_be_read(&problem, request));
        }
        // A request that deletes a collection names nothing itself.
        let old = request.old_object.as_ref().and_then(|old| old.metadata.name.as_deref());
        let name = old.unwrap_or(&request.name);
        let what = format!("{}/{name}", kind.to_lowercase());
        let (place, is_governed) = gathered.place(kind, name);
        return Ok(unreadable::mend(&what, place, &problem, is_governed));
    }
    Ok(match (kind, &request.operation) {
        ("Incident", Operation::Delete) => {
            incident::delete(&stored(request)?, context.config.retention.incidents.get(), Timestamp::now())
        }
        ("Incident", Operation::Update) => {
            let (old, new): (Incident, Incident) = (stored(request)?, written(request)?);
            let facts = incident::Facts {
                old: &old,
                new: &new,
                caller: &caller,
                is_governed: gathered.is_governed(),
                may_lead: gathered.may_lead(&caller),
                original_exists: gathered.original_exists(&new).await?,
            };
            incident::update(&facts)
        }
        ("ChangeRequest", operation) => {
            let new: Option<ChangeRequest> = (!deletes).then(|| written(request)).transpose()?;
            let old: Option<ChangeRequest> =
                (*operation != Operation::Create).then(|| stored(request)).transpose()?;
            let policies =
                new.as_ref().or(old.as_ref()).map(|chg| gathered.policies_of(chg)).unwrap_or_default();
            let facts = change_request::Facts {
                caller: &caller,
                by_operator: gathered.by_operator,
                policies: &policies,
            };
            match (&old, &new) {
                (None, Some(new)) => change_request::create(new, &facts).and_then(|| {
                    change_request::content(&new.spec, &gathered.namespace, &policies, Timestamp::now())
                }),
                (Some(old), Some(new)) => change_request::update(old, new, &facts),
                (Some(old), None) => change_request::delete(old, &facts),
                (None, None) => Ruling::Allow,
            }
        }
        ("Approval", Operation::Create) => gathered.approval(&written(request)?, &caller).await?,
        ("Approval", Operation::Update) => approval::update(&stored(request)?, &written(request)?),
        ("Approval", Operation::Delete) => {
            let old: Approval = stored(request)?;
            let orphaned = gathered.by_operator && gathered.is_orphaned(&old).await?;
            approval::delete(&old, &caller, gathered.by_operator, orphaned)
        }
        ("RunbookRun", Operation::Create) => {
            let new: RunbookRun = written(request)?;
            let runbook = gathered.find(&context.caches.runbooks, &new.spec.runbook_ref.name).await?;
            let incident = match &new.spec.incident_ref {
                Some(named) => gathered.find(&context.caches.incidents, &named.name).await?,
                None => None,
            };
            let facts = run::Facts {
                caller: &caller,
                by_operator: gathered.by_operator,
                runbook: runbook.as_deref(),
                incident: incident.as_deref(),
            };
            run::create(&new, &facts)
        }
        ("Runbook", Operation::Create | Operation::Update) => runbook::write(&written(request)?),
        ("ChangePolicy", Operation::Update | Operation::Delete) => {
            let old: ChangePolicy = stored(request)?;
            let new: Option<ChangePolicy> = (!deletes).then(|| written(request)).transpose()?;
            policy::change(&old, new.as_ref(), &caller, &context.config.namespace)
        }
        ("Freeze", Operation::Update | Operation::Delete) => {
            let old: Freeze = stored(request)?;
            let new: Option<Freeze> = (!deletes).then(|| written(request)).transpose()?;
            let policy = get_cluster(&context.caches.policies, &old.spec.policy_ref.name);
            let (policy, own) = (policy.as_deref(), &context.config.namespace);
            freeze::change(&old, new.as_ref(), policy, &caller, own, Timestamp::now())
        }
        (other, _) => return Err(unknown(other)),
    })
}

/// Who sent a request.
pub fn caller(context: &SharedContext, request: &Request) -> Caller {
    Caller::new(&request.user_info, &context.config.direct_login.extra_key)
}

fn written<K: DeserializeOwned>(request: &Request) -> Result<K, Verdict> {
    read(request.object.as_ref(), "object", request)
}

fn stored<K: DeserializeOwned>(request: &Request) -> Result<K, Verdict> {
    read(request.old_object.as_ref(), "oldObject", request)
}

fn read<K: DeserializeOwned>(
    object: Option<&DynamicObject>,
    part: &str,
    request: &Request,
) -> Result<K, Verdict> {
    let kind = &request.kind.kind;
    let object =
        object.ok_or_else(|| Verdict::refuse(format!("Refused: the review of a {kind} lacks its {part}")))?;
    decoded(object).map_err(|problem| cannot_be_read(&problem, request))
}

fn cannot_be_read(problem: &str, request: &Request) -> Verdict {
    let kind = &request.kind.kind;
    Verdict::refuse(format!(
        "Refused: {problem}. This {kind} cannot be read, and what cannot be read is not allowed; see its fields: \
         kubectl explain {}",
        kind.to_lowercase()
    ))
}

/// The object, or what is wrong with it and where: `spec.window.duration: …`.
fn decoded<K: DeserializeOwned>(object: &DynamicObject) -> Result<K, String> {
    let object = serde_json::to_value(object).map_err(|error| error.to_string())?;
    serde_path_to_error::deserialize(object).map_err(|error| error.to_string())
}

/// What is wrong with an object of that kind, if it cannot be read.
fn problem_of(object: Option<&DynamicObject>, kind: &str) -> Option<String> {
    fn of<K: DeserializeOwned>(object: &DynamicObject) -> Option<String> {
        decoded::<K>(object).err()
    }
    let object = object?;
    match kind {
        "Incident" => of::<Incident>(object),
        "ChangeRequest" => of::<ChangeRequest>(object),
        "Approval" => of::<Approval>(object),
        "RunbookRun" => of::<RunbookRun>(object),
        "Runbook" => of::<Runbook>(object),
        "ChangePolicy" => of::<ChangePolicy>(object),
        "Freeze" => of::<Freeze>(object),
        _ => None,
    }
}

/// What the guard is not made for it does not let pass.
fn unknown(kind: &str) -> Verdict {
    Verdict::refuse(format!(
        "Refused: the guard was asked about {kind}, which it has no rules for; the webhook configuration does not \
         fit this version of Mayday: kubectl get validatingwebhookconfiguration mayday-guard -o yaml"
    ))
}
