//! Plans each ChangeRequest once, re-evaluates its approvals on every change, and notifies approvers and requester.

use std::sync::Arc;

use jiff::Timestamp;
use kube::ResourceExt;
use kube::runtime::reflector::{ObjectRef, Store};

use crate::api::change_request::{ChangeRequestStatus, PlannedChange, RequestState};
use crate::api::conditions::Reason;
use crate::api::incident_status::Next;
use crate::api::notification::SubjectKind;
use crate::api::{self, ChangePolicy, ChangeRequest};
use crate::change::approval;
use crate::change::approval::approvers;
use crate::change::approval::facts::Facts;
use crate::change::diff::digest;
use crate::change::gate::audience::Audience;
use crate::change::policy;
use crate::change::request::decide;
use crate::change::request::decide::Live;
use crate::change::request::messages;
use crate::change::request::messages::People;
use crate::change::request::{plan, validate};
use crate::change::stamps;
use crate::cluster::caches::{Change, Kind, get, get_cluster};
use crate::cluster::conditions::{self, NotReady};
use crate::cluster::controller::{Reconciler, Requeue};
use crate::cluster::{Context, Error, SharedContext, status, workloads};
use crate::notify::message::Subject;
use crate::notify::store;
use crate::problem::{self, Problem};
use crate::text::cut;

/// Reconciles ChangeRequests.
pub struct ChangeRequestReconciler;

impl Reconciler for ChangeRequestReconciler {
    const NAME: &'static str = "changerequest";
    type Kind = ChangeRequest;

    fn cache(context: &Context) -> &Store<ChangeRequest> {
        &context.caches.requests
    }

    /// Requests that a change of something else may concern.
    fn enqueue_for(&self, change: &Change, context: &Context) -> Vec<ObjectRef<ChangeRequest>> {
        if change.kind == Kind::Notification {
            return store::subject_of(context, change, SubjectKind::ChangeRequest);
        }
        let is_of_namespace = matches!(
            change.kind,
            Kind::Approval
                | Kind::Incident
                | Kind::BusinessService
                | Kind::OnCallRotation
                | Kind::Deployment
                | Kind::StatefulSet
                | Kind::DaemonSet
        );
        let operator_namespace = context.config.namespace.as_str();
        let is_concerned = |request: &ChangeRequest| {
            let namespace = request.metadata.namespace.as_deref();
            match change.kind {
                Kind::ChangePolicy | Kind::Freeze => true,
                Kind::Namespace => namespace == Some(operator_namespace),
                // An incident of a namespace also binds changes of its policy, which are asked for in the operator's namespace.
                Kind::Incident if namespace == Some(operator_namespace) => true,
                _ => is_of_namespace && namespace == change.namespace.as_deref(),
            }
        };
        let found =
            context.caches.requests.state_filter(|request| is_concerned(request) && !is_settled(request));
        found.iter().map(|request| ObjectRef::from_obj(&**request)).collect()
    }

    async fn reconcile(
        &self,
        request: Arc<ChangeRequest>,
        context: &SharedContext,
    ) -> Result<Requeue, Error> {
        if request.metadata.deletion_timestamp.is_some() {
            return Ok(Requeue::Never);
        }
        let now = Timestamp::now();
        let namespace = request.namespace().unwrap_or_default();
        let is_planned = request.status.as_ref().is_some_and(|status| status.digest.is_some());
        // A request that cannot be asked as it is stays so: its spec never changes, and people were told to ask again.
        if !is_planned && is_settled(&request) && !request.spec.withdrawn {
            return Ok(Requeue::Never);
        }
        if !is_planned {
            let result = match plan(context, &request, &namespace).await {
                Err(Error::Terminal(message)) => Err(NotReady::Stalled(Reason::CannotPlan, message)),
                Err(error) => return Err(error),
                Ok(result) => result,
            };
            let next = planned(&request, result, now)?;
            // This write causes the next reconcile, which evaluates the approvals.
            status::write(context, &*request, next).await?;
            return Ok(Requeue::Never);
        }
        let facts = Facts::cached(context, &namespace);
        let evaluation = approval::evaluate(&request, &facts, now);
        let plan = request.status.as_ref().map_or(&[][..], |status| &status.plan);
        let live: Vec<Live> = plan.iter().map(|planned| live(context, planned)).collect();
        let decided = decide::decide(&request, &evaluation, &live, now);
        let everybody = facts.rotations.iter().flat_map(|rotation| &rotation.spec.people).fold(
            Vec::new(),
            |mut found: Vec<_>, person: &crate::api::oncall_rotation::Person| {
                if !found.iter().any(|known: &&crate::api::oncall_rotation::Person| known.user == person.user)
                {
                    found.push(person);
                }
                found
            },
        );
        let people = People {
            approvers: approvers::people(&facts.services, &facts.rotations, plan, approvers::approval),
            leads: approvers::people(&facts.services, &facts.rotations, plan, approvers::lead),
            everybody,
            concerned: Audience::concerned(&facts.services, &facts.rotations, plan),
        };
        let messages = messages::decide(&request, &decided.status, &evaluation, &people, now);
        let subject = Subject::from(&*request);
        let settle = messages::no_longer_needed(&decided.status, &store::about(context, &subject));
        store::create(context, &subject, &messages).await?;
        let before = request.status.as_ref().and_then(|status| status.state);
        let after = decided.status.state;
        status::write(context, &*request, decided.status).await?;
        store::settle(context, &namespace, &settle).await?;
        if before != after
            && let Some(state) = after
        {
            context
                .events
                .normal(&*request, &state.to_string(), &format!("chg/{} is now {state}", request.name_any()))
                .await;
        }
        Ok(decided.wake.into())
    }
}

/// Whether a request has ended, or can never be carried out: nothing else changes that, so it is not looked at again. A stale
/// one may fit its target again.
fn is_settled(request: &ChangeRequest) -> bool {
    let state = request.status.as_ref().and_then(|status| status.state);
    state.is_some_and(|state| state.is_over() && state != RequestState::Stale)
}

/// Plans a request, or says why it cannot be asked as it is.
async fn plan(
    context: &Context,
    request: &ChangeRequest,
    namespace: &str,
) -> Result<Result<Vec<PlannedChange>, NotReady>, Error> {
    let fields = validate::not_implemented(&request.spec);
    if !fields.is_empty() {
        return Ok(Err(NotReady::not_implemented(&fields)));
    }
    let invalid = |problems: Vec<Problem>| NotReady::Stalled(Reason::Invalid, problem::join(&problems));
    let asked = request.creation_timestamp().map_or_else(Timestamp::now, |time| time.0);
    let problems = validate::problems(&request.spec, namespace, asked);
    if !problems.is_empty() {
        return Ok(Err(invalid(problems)));
    }
    if request.spec.requester.is_none() || !stamps::is_stamped(&context.stamps, request) {
        let message = "nobody knows who asks: it was created past Mayday's webhook; delete it and ask again";
        return Ok(Err(NotReady::Stalled(Reason::Unstamped, message.to_owned())));
    }
    let plan = plan::plan(&context.planner, &request.spec, namespace, &context.config.namespace).await?;
    let problems = validate::beyond_store(&request.spec, &plan);
    if !problems.is_empty() {
        return Ok(Err(invalid(problems)));
    }
    let policies = context.caches.policies.state();
    let freezes = context.caches.freezes.state();
    let mut governing: Vec<&ChangePolicy> = Vec::new();
    for planned in &plan {
        for policy in policy::governing(&policies, &freezes, planned, &context.config.namespace) {
            if !governing.iter().any(|known| known.name_any() == policy.name_any()) {
                governing.push(policy);
            }
        }
    }
    let problems = validate::beyond_limits(&request.spec, asked, &governing);
    Ok(if problems.is_empty() { Ok(plan) } else { Err(invalid(problems)) })
}

/// The status of a request that has just been planned, or cannot be.
fn planned(
    request: &ChangeRequest,
    result: Result<Vec<PlannedChange>, NotReady>,
    now: Timestamp,
) -> Result<ChangeRequestStatus, Error> {
    let mut next = request.status.clone().unwrap_or_default();
    let generation = request.metadata.generation.unwrap_or_default();
    match result {
        Ok(plan) => {
            let uid = request.uid().unwrap_or_default();
            next.digest = Some(digest::request(&uid, &request.spec, &plan)?);
            next.plan = plan;
            next.state = Some(RequestState::Planning);
            conditions::ready(&mut next, generation, now, Ok("the request is planned".to_owned()));
        }
        Err(why) => {
            let withdrawn = request.spec.withdrawn;
            next.state = Some(if withdrawn { RequestState::Withdrawn } else { RequestState::Invalid });
            let requester =
                request.spec.requester.as_ref().map_or("whoever asked", |user| user.user.as_str());
            next.next = (!withdrawn).then(|| Next {
                who: requester.to_owned(),
                what: cut(&format!("ask again without what is wrong: {}", why.message()), 500),
                command: None,
            });
            conditions::ready(&mut next, generation, now, Err(why));
        }
    }
    Ok(next)
}

/// How a target is now, for the kinds that are cached; of others than workloads only whether it is still there.
fn live(context: &Context, planned: &PlannedChange) -> Live {
    let (namespace, name) = (planned.namespace.as_deref().unwrap_or_default(), planned.target.name.as_str());
    let (group, kind) = (planned.target.group(), planned.target.kind.as_str());
    let caches = &context.caches;
    if workloads::is_one(group, kind) {
        return match workloads::one(caches, namespace, kind, name) {
            Ok(None) => Live::Gone,
            Ok(Some(object)) => Live::Object(object),
            Err(_) => Live::Unknown,
        };
    }
    let uid = match (group, kind) {
        ("", "Namespace") => get_cluster(&caches.namespaces, name).and_then(|object| object.uid()),
        (api::GROUP, "ChangePolicy") => get_cluster(&caches.policies, name).and_then(|object| object.uid()),
        (api::GROUP, "Freeze") => get_cluster(&caches.freezes, name).and_then(|object| object.uid()),
        (api::GROUP, "Incident") => get(&caches.incidents, namespace, name).and_then(|object| object.uid()),
        _ => return Live::Unknown,
    };
    if uid == planned.uid { Live::Unknown } else { Live::Gone }
}
