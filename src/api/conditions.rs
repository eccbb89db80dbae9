//! The types and reasons of conditions, as `kubectl get` and `kubectl wait --for=condition=…` see them.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;

/// Defines an enum whose variants are stored by their name.
macro_rules! names {
    ($(#[$doc:meta])* $name:ident { $($(#[$variant_doc:meta])+ $variant:ident,)+ }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
        pub enum $name {
            $($(#[$variant_doc])+ $variant,)+
        }

        impl $name {
            /// The value as stored.
            pub fn as_str(self) -> &'static str {
                match self {
                    $($name::$variant => stringify!($variant),)+
                }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.as_str())
            }
        }
    };
}

names! {
    /// The type of a condition. A condition that is absent has not been judged, or does not apply.
    ConditionType {
        /// Every kind. True: Mayday accepts the object and acts on it. False: the message says what to change or
        /// what must come first.
        Ready,
        /// Every kind, only while `Ready` is False. True: something else must come first; the object is right.
        Reconciling,
        /// Every kind, only while `Ready` is False. True: the object must be changed.
        Stalled,
        /// ChangeRequest, Runbook. True: enough people have approved this content. False: approvals are missing, or
        /// one approver rejected it.
        Approved,
        /// ChangeRequest. True: an approver rejected it, for good.
        Rejected,
        /// ChangeRequest. True: every change in it was used as often as was asked for, for good.
        Spent,
        /// ChangeRequest. True: its time window is over, for good.
        Expired,
        /// ChangeRequest. True: a target has changed since the request was planned.
        Stale,
        /// ChangePolicy. True: the probe, an unapproved change, was refused within the last minute. False: it was
        /// not refused. Unknown: no recent result.
        Enforced,
        /// Freeze, OnCallOverride. True: it is in force now.
        Active,
        /// Approval. True: the decision counts for its subject. False: it does not, and the message says why.
        /// Unknown: the subject has not been looked at since.
        Counted,
        /// Runbook. True: `spec.suspend` is set, so that nothing starts.
        Suspended,
        /// RunbookRun. True: something stands in the way of the run. Absent while it runs and once it has ended.
        Blocked,
        /// RunbookRun, once it has ended. True: every step succeeded, or the dry run is complete.
        Succeeded,
        /// RunbookRun. True: it ended before its first or next step because that was asked for or was necessary.
        Cancelled,
        /// Incident. True: a person has answered. Notification: its recipient has answered after it was sent.
        Acknowledged,
        /// Incident. True: every check passes now.
        Mitigated,
        /// Incident. True: every check has passed for as long as it must.
        Restored,
        /// Incident. True: the outage is over.
        Resolved,
        /// Incident. True: no review is needed any more.
        Reviewed,
        /// Incident. True: the checks turn between passing and failing, so that the incident does not resolve by
        /// itself until they hold.
        Flapping,
        /// Incident. True: a signal that fires has not been repeated for so long that nothing may ever clear it.
        SignalStale,
        /// NotificationChannel. True: the last message was taken. False: one waits or was given up. Unknown: nothing
        /// was sent yet.
        Delivering,
        /// Notification. True: the channel took it. False: it will not be sent any more. Unknown: it waits.
        Delivered,
        /// AlertSource. True: signals arrive, or the objects are watched. False: none can. Unknown: none has yet.
        Receiving,
        /// BusinessService. True: no incident is open about it.
        Healthy,
        /// OnCallRotation. True: every person has a contact whose channel is Ready.
        Reachable,
        /// OnCallRotation. True: somebody is on duty at every instant of the next 30 days.
        Covered,
    }
}

names! {
    /// Why a condition is as it is: one word that stays the same while the message may change.
    Reason {
        // Ready, Reconciling and Stalled.
        /// Ready: nothing is wrong.
        Accepted,
        /// Ready, Active, Receiving: a field is set that this version does not act on.
        NotImplemented,
        /// Ready, Covered: the spec contradicts itself, beyond what the schema can refuse.
        Invalid,
        /// Ready of a ChangeRequest: the API server refused the dry run of a change.
        CannotPlan,
        /// Ready of a ChangeRequest, Counted: Mayday's webhook did not stamp who created the object.
        Unstamped,
        /// Ready of a ChangePolicy: it names a namespace that no policy may protect.
        RefusedScope,
        /// Ready of a ChangePolicy: its namespace selector cannot be used.
        BadSelector,
        /// Ready of a ChangePolicy: it names a namespace that does not exist.
        UnknownNamespace,
        /// Ready of a NotificationChannel, Ready and Receiving of an AlertSource: its Secret is missing or unusable.
        CredentialUnusable,
        /// Ready of a NotificationChannel: no member is set.
        NoMember,
        /// Ready of a BusinessService: a rotation or channel that it names does not exist.
        NotFound,
        /// Ready of a Runbook: its ServiceAccount does not exist.
        ServiceAccountMissing,
        /// Ready of a Runbook: its ServiceAccount lacks the label that permits its use.
        ServiceAccountNotLabelled,
        /// Ready of an OnCallOverride: its rotation does not exist.
        RotationNotFound,
        /// Ready of an OnCallOverride: its rotation is not Ready.
        RotationNotReady,
        /// Ready of an OnCallOverride: it names a person whom the rotation does not have.
        UnknownPerson,

        // Approved, Rejected, Spent, Expired and Stale.
        /// Approved: enough people have approved.
        Approved,
        /// Approved of a Runbook: the approval ends within two weeks. Also the reason of the Event about it.
        ApprovalEnds,
        /// Approved of a Runbook, Blocked: approvals are missing.
        ApprovalMissing,
        /// Approved of a ChangeRequest: approvals are missing.
        Missing,
        /// Approved, Rejected, Blocked: an approver rejected it.
        Rejected,
        /// Spent: every use is spent.
        Spent,
        /// Expired: the time window is over. Delivering, Delivered: the message passed its deadline.
        Expired,
        /// Stale: a target has changed since the plan.
        TargetChanged,

        // Enforced.
        /// Enforced: the probe was not sent, or not within the last minute.
        NotTried,
        /// Enforced: the probe was refused, as it must be.
        ProbeRefused,
        /// Enforced: the probe was not refused by the gate. Restored: the checks have not passed for long enough.
        NotProved,

        // Active.
        /// Active: its time has not come.
        Scheduled,
        /// Active: it is in force.
        Active,
        /// Active: its time has passed. Resolved: the outage is over.
        Over,
        /// Active of an OnCallOverride: the same people are on duty with and without it.
        ChangesNothing,
        /// Active: the object is not Ready.
        NotReady,

        // Counted.
        /// Counted: it counts.
        Counted,
        /// Counted: its subject is not in the cache yet.
        NoSubject,
        /// Counted: the subject's controller has not read it yet.
        NotRead,
        /// Counted: another person answered first. Acknowledged: a person has answered.
        Answered,
        /// Counted: it is a decision on other content of the subject.
        OtherContent,
        /// Counted: a service account made it.
        ServiceAccount,
        /// Counted: it was made with the break-glass group.
        BreakGlass,
        /// Counted: whoever asked, wrote or started the subject made it.
        Requester,
        /// Counted: the person is in no group that may approve.
        NotEligible,
        /// Counted: no policy protects the subject.
        NoPolicy,
        /// Counted: it does not name every incident that binds.
        OtherIncidents,
        /// Counted: its own `spec.notAfter` has passed.
        Lapsed,
        /// Counted: it is being deleted.
        Withdrawn,
        /// Counted: it answers a question, and its subject asks none.
        NoQuestion,

        // Suspended, Blocked, Succeeded and Cancelled.
        /// Suspended, Blocked: `spec.suspend` of the Runbook is set.
        Suspended,
        /// Suspended: the Runbook may start.
        NotSuspended,
        /// Blocked: the Runbook does not exist.
        RunbookMissing,
        /// Blocked: the Runbook is not Ready.
        RunbookNotReady,
        /// Blocked: the Runbook is not approved.
        NotApproved,
        /// Blocked: the ServiceAccount of the Runbook may not be used.
        AccountNotUsable,
        /// Blocked: a policy switches such runs off.
        NotAllowed,
        /// Blocked: the Runbook has run as often as it may within an hour.
        LimitReached,
        /// Blocked: the Runbook has run a short time ago.
        CoolingDown,
        /// Blocked: another run acts on the same target.
        TargetBusy,
        /// Succeeded: every step succeeded.
        Succeeded,
        /// Succeeded: the dry run has said what every step would do.
        DryRunComplete,
        /// Succeeded: a step failed, or the run was stopped.
        Failed,
        /// Succeeded, Cancelled: the run was cancelled.
        Cancelled,
        /// Succeeded: an act was begun and its outcome cannot be proved.
        Unknown,

        // Conditions of an Incident.
        /// Acknowledged: no person has answered.
        Unanswered,
        /// Mitigated: every check passes.
        ChecksPass,
        /// Mitigated: a check does not pass.
        ChecksFail,
        /// Restored: the checks have passed for long enough.
        Proved,
        /// Resolved: the outage goes on.
        GoesOn,
        /// Reviewed: the incident needs no review.
        NotNeeded,
        /// Reviewed: the review is not written.
        NotReviewed,
        /// Flapping: the checks turn again and again.
        Unsteady,
        /// Flapping: the checks hold.
        Steady,
        /// SignalStale: a signal is not repeated any more.
        NotRepeated,
        /// SignalStale: every signal is repeated, or watched.
        Fresh,

        // Delivering.
        /// Delivering, Delivered: the message was taken.
        Delivered,
        /// Delivering: no message was sent yet.
        NothingSent,
        /// Delivering, Delivered: the receiver refused the message for good.
        Refused,
        /// Delivered: it waits to be sent.
        Queued,
        /// Delivered: nobody needed it any more before it was sent.
        Superseded,
        /// Delivering, Delivered: a message is tried again.
        Retrying,

        // Receiving.
        /// Receiving: a signal has arrived.
        Received,
        /// Receiving: no signal has arrived yet.
        NothingYet,
        /// Receiving: the objects are watched.
        Watching,

        // Healthy.
        /// Healthy: an incident is open.
        IncidentOpen,
        /// Healthy: no incident is open.
        NoIncident,

        // Reachable and Covered.
        /// Reachable: every person can be reached.
        Reachable,
        /// Reachable: a person has no contact whose channel is Ready.
        NoChannel,
        /// Reachable: the escalation names a rotation or channel that does not exist.
        UnknownTarget,
        /// Covered: somebody is always on duty.
        Covered,
        /// Covered: nobody is on duty now.
        UncoveredNow,
        /// Covered: nobody will be on duty for some time within the next 30 days.
        UncoveredLater,
    }
}

/// The condition with this type.
pub fn find(conditions: &[Condition], kind: ConditionType) -> Option<&Condition> {
    conditions.iter().find(|condition| condition.type_ == kind.as_str())
}

/// Whether the condition with this type is `True`.
pub fn is_true(conditions: &[Condition], kind: ConditionType) -> bool {
    find(conditions, kind).is_some_and(|condition| condition.status == "True")
}
