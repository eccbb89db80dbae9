//! What each kind looks up before its rules decide.

use std::sync::Arc;

use json_patch::Patch;

use super::kind::{GuardedKind, Write, stored};
use super::kinds::{approval, change_request, freeze, incident, oncall_override, policy, run, runbook};
use super::lookup::Lookup;
use super::ruling::Ruling;
use super::stamp;
use super::subject;
use crate::api::approval::SubjectKind;
use crate::api::{
    Approval, ChangePolicy, ChangeRequest, Freeze, Incident, OnCallOverride, Runbook, RunbookRun,
};
use crate::change::diff::digest;
use crate::change::stamps;
use crate::runbook::account_use;
use crate::webhook::verdict::Verdict;

impl GuardedKind for Approval {
    type Facts<'a> = approval::Written<'a>;

    fn stamp(new: &Self, lookup: &Lookup<'_>) -> Result<Patch, Verdict> {
        let patch = stamp::by(new, &lookup.caller, &lookup.named_groups()).map_err(Verdict::refuse)?;
        lookup.sealed(new, patch)
    }

    async fn gather<'a>(
        write: &'a Write<Self>,
        lookup: &'a Lookup<'_>,
    ) -> Result<approval::Written<'a>, Verdict> {
        Ok(match write {
            Write::Create { new } => approval::Written::Made(Box::new(decision(new, lookup).await?)),
            Write::Update { .. } => approval::Written::Edited,
            Write::Delete { old } => approval::Written::Deleted {
                caller: &lookup.caller,
                by_operator: lookup.by_operator,
                orphaned: lookup.by_operator && lookup.is_orphaned(old).await?,
            },
        })
    }

    fn rule(write: &Write<Self>, facts: &approval::Written<'_>) -> Option<Ruling> {
        match (write, facts) {
            (Write::Create { .. }, approval::Written::Made(facts)) => Some(approval::create(facts)),
            (Write::Update { old, new }, approval::Written::Edited) => Some(approval::update(old, new)),
            (Write::Delete { old }, approval::Written::Deleted { caller, by_operator, orphaned }) => {
                Some(approval::delete(old, caller, *by_operator, *orphaned))
            }
            _ => None,
        }
    }
}

/// Looks up what a new decision needs. The subject is read from the API server: the person has just looked at it.
async fn decision<'a>(new: &'a Approval, lookup: &'a Lookup<'_>) -> Result<approval::Facts<'a>, Verdict> {
    let reference = &new.spec.subject_ref;
    let mut policies = lookup.over(&lookup.namespace);
    let mut incidents = Vec::new();
    let mut lacks_account = None;
    let found: Option<approval::Subject> = match reference.kind {
        SubjectKind::ChangeRequest => {
            let request: Option<ChangeRequest> = lookup.read(&reference.name).await?;
            policies = request.as_ref().map(|request| lookup.policies_of(request)).unwrap_or_default();
            incidents = lookup.open_incidents(&policies);
            request.as_ref().map(subject::request)
        }
        SubjectKind::Runbook => {
            let runbook: Option<Runbook> = lookup.read(&reference.name).await?;
            incidents = lookup.open_incidents(&policies);
            if let Some(runbook) = runbook.as_ref().filter(|_| account_use::is_asked_of_approver(new)) {
                let account = &runbook.spec.service_account_name;
                lacks_account = (!lookup.may_use(account).await?).then(|| account.clone());
            }
            runbook.as_ref().map(subject::runbook)
        }
        SubjectKind::RunbookRun => {
            let run: Option<RunbookRun> = lookup.read(&reference.name).await?;
            let named = run.as_ref().and_then(|run| run.spec.incident_ref.as_ref());
            let named = match named {
                Some(named) => lookup.find(&lookup.context.caches.incidents, &named.name).await?,
                None => None,
            };
            // The lead of every incident that binds must approve the run, also the lead of the named one. The question
            // of a step concerns the named incident only.
            if reference.step.is_none() {
                incidents = lookup.open_incidents(&policies);
            }
            incidents.extend(named);
            run.as_ref().map(|run| subject::run(run, reference))
        }
        SubjectKind::Incident => {
            let incident: Option<Incident> = lookup.read(&reference.name).await?;
            let found = incident.as_ref().map(|incident| subject::incident(incident, reference));
            incidents.extend(incident.map(Arc::new));
            found
        }
    };
    Ok(approval::Facts {
        approval: new,
        caller: &lookup.caller,
        subject: found,
        lacks_account,
        lead_groups: match reference.kind {
            SubjectKind::ChangeRequest | SubjectKind::RunbookRun => {
                lookup.lead_groups_under_freeze(&policies)
            }
            SubjectKind::Runbook | SubjectKind::Incident => Vec::new(),
        },
        policies,
        break_glass: lookup.break_glass(),
        leads: incidents.iter().filter_map(|incident| incident.lead()).map(str::to_owned).collect(),
        on_duty: lookup.on_duty(&incidents),
    })
}

impl GuardedKind for ChangePolicy {
    type Facts<'a> = policy::Facts<'a>;

    async fn gather<'a>(_: &'a Write<Self>, lookup: &'a Lookup<'_>) -> Result<policy::Facts<'a>, Verdict> {
        Ok(policy::Facts { caller: &lookup.caller, operator_namespace: &lookup.context.config.namespace })
    }

    fn rule(write: &Write<Self>, facts: &policy::Facts<'_>) -> Option<Ruling> {
        write
            .old_object()
            .map(|old| policy::change(old, write.new_object(), facts.caller, facts.operator_namespace))
    }
}

impl GuardedKind for ChangeRequest {
    type Facts<'a> = change_request::Facts<'a>;

    fn stamp(new: &Self, lookup: &Lookup<'_>) -> Result<Patch, Verdict> {
        let patch = stamp::user("requester", stamp::requester(&new.spec), &lookup.caller);
        lookup.sealed(new, patch.map_err(Verdict::refuse)?)
    }

    async fn gather<'a>(
        write: &'a Write<Self>,
        lookup: &'a Lookup<'_>,
    ) -> Result<change_request::Facts<'a>, Verdict> {
        Ok(change_request::Facts {
            caller: &lookup.caller,
            by_operator: lookup.by_operator,
            policies: lookup.policies_of(write.latest()),
            namespace: &lookup.namespace,
            now: lookup.now,
        })
    }

    fn rule(write: &Write<Self>, facts: &change_request::Facts<'_>) -> Option<Ruling> {
        Some(match write {
            Write::Create { new } => change_request::create(new, facts)
                .and_then(|| change_request::content(&new.spec, facts.namespace, &facts.policies, facts.now)),
            Write::Update { old, new } => change_request::update(old, new, facts),
            Write::Delete { old } => change_request::delete(old, facts),
        })
    }
}

impl GuardedKind for Freeze {
    type Facts<'a> = freeze::Facts<'a>;

    async fn gather<'a>(
        write: &'a Write<Self>,
        lookup: &'a Lookup<'_>,
    ) -> Result<freeze::Facts<'a>, Verdict> {
        Ok(freeze::Facts {
            caller: &lookup.caller,
            policy: lookup.policy(&write.oldest().spec.policy_ref.name).await?,
            operator_namespace: &lookup.context.config.namespace,
            now: lookup.now,
        })
    }

    fn rule(write: &Write<Self>, facts: &freeze::Facts<'_>) -> Option<Ruling> {
        let (policy, caller) = (facts.policy.as_deref(), facts.caller);
        write.old_object().map(|old| {
            freeze::change(old, write.new_object(), policy, caller, facts.operator_namespace, facts.now)
        })
    }
}

impl GuardedKind for Incident {
    type Facts<'a> = incident::Facts<'a>;

    async fn gather<'a>(
        write: &'a Write<Self>,
        lookup: &'a Lookup<'_>,
    ) -> Result<incident::Facts<'a>, Verdict> {
        Ok(incident::Facts {
            caller: &lookup.caller,
            is_governed: lookup.is_governed(),
            may_lead: lookup.may_lead(),
            original_exists: match write {
                Write::Update { new, .. } => lookup.original_exists(new).await?,
                Write::Create { .. } | Write::Delete { .. } => false,
            },
            original: write.old_object().and_then(|old| lookup.original(old)),
            known_users: lookup.known_users(),
            kept_for: lookup.context.config.retention.incidents.get(),
            now: lookup.now,
        })
    }

    fn rule(write: &Write<Self>, facts: &incident::Facts<'_>) -> Option<Ruling> {
        match write {
            Write::Create { .. } => None,
            Write::Update { old, new } => Some(incident::update(&incident::Change { old, new, facts })),
            Write::Delete { old } => Some(incident::delete(old, facts.kept_for, facts.now)),
        }
    }

    fn warnings(write: &Write<Self>, facts: &incident::Facts<'_>) -> Vec<String> {
        match write {
            Write::Update { old, new } => incident::warnings(&incident::Change { old, new, facts }),
            Write::Create { .. } | Write::Delete { .. } => Vec::new(),
        }
    }
}

impl GuardedKind for OnCallOverride {
    type Facts<'a> = oncall_override::Facts<'a>;

    async fn gather<'a>(
        write: &'a Write<Self>,
        lookup: &'a Lookup<'_>,
    ) -> Result<oncall_override::Facts<'a>, Verdict> {
        let named = &write.latest().spec.rotation_ref.name;
        Ok(oncall_override::Facts {
            caller: &lookup.caller,
            rotation: lookup.find(&lookup.context.caches.rotations, named).await?,
            now: lookup.now,
        })
    }

    fn rule(write: &Write<Self>, facts: &oncall_override::Facts<'_>) -> Option<Ruling> {
        write.new_object().map(|new| oncall_override::write(write.old_object(), new, facts))
    }
}

impl GuardedKind for Runbook {
    type Facts<'a> = runbook::Facts<'a>;

    fn stamp(new: &Self, lookup: &Lookup<'_>) -> Result<Patch, Verdict> {
        let digest = |runbook: &Runbook| digest::runbook(&runbook.spec).ok();
        let request = lookup.request;
        let old: Option<Runbook> = request.old_object.as_ref().map(|_| stored(request)).transpose()?;
        // Authors that the guard did not write are not known, so the list begins with this one.
        let old = old.filter(|old| stamps::is_stamped(&lookup.context.stamps, old));
        lookup.sealed(new, stamp::authors(new, old.as_ref(), &lookup.caller, digest))
    }

    async fn gather<'a>(
        write: &'a Write<Self>,
        lookup: &'a Lookup<'_>,
    ) -> Result<runbook::Facts<'a>, Verdict> {
        let asked = write.new_object().filter(|new| account_use::is_asked_of_author(write.old_object(), new));
        Ok(runbook::Facts {
            caller: &lookup.caller,
            namespace: &lookup.namespace,
            operator_namespace: &lookup.context.config.namespace,
            may_use: match asked {
                // What is wrong with it is said first, and an account that it does not name cannot be asked about.
                Some(new) if runbook::write(new) == Ruling::Allow => {
                    Some(lookup.may_use(&new.spec.service_account_name).await?)
                }
                _ => None,
            },
        })
    }

    fn rule(write: &Write<Self>, facts: &runbook::Facts<'_>) -> Option<Ruling> {
        write.new_object().map(|new| runbook::write(new).and_then(|| runbook::author(new, facts)))
    }
}

impl GuardedKind for RunbookRun {
    type Facts<'a> = run::Facts<'a>;

    fn stamp(new: &Self, lookup: &Lookup<'_>) -> Result<Patch, Verdict> {
        let starter = new.spec.started_by.as_ref().map(|by| by.user.as_str());
        let patch = stamp::user("startedBy", starter, &lookup.caller).map_err(Verdict::refuse)?;
        lookup.sealed(new, patch)
    }

    async fn gather<'a>(write: &'a Write<Self>, lookup: &'a Lookup<'_>) -> Result<run::Facts<'a>, Verdict> {
        let spec = &write.latest().spec;
        let caches = &lookup.context.caches;
        Ok(run::Facts {
            caller: &lookup.caller,
            by_operator: lookup.by_operator,
            runbook: lookup.find(&caches.runbooks, &spec.runbook_ref.name).await?,
            incident: match &spec.incident_ref {
                Some(named) => lookup.find(&caches.incidents, &named.name).await?,
                None => None,
            },
            is_governed: lookup.is_governed(),
        })
    }

    fn rule(write: &Write<Self>, facts: &run::Facts<'_>) -> Option<Ruling> {
        match write {
            Write::Create { new } => Some(run::create(new, facts)),
            Write::Update { .. } | Write::Delete { .. } => None,
        }
    }
}
