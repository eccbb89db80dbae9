//! The types and reasons of conditions (docs/rules.md#conditions-and-columns), as `kubectl get` and
//! `kubectl wait --for=condition=…` show them.

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
    /// The type of a condition. An absent condition has not been evaluated yet, or does not apply.
    ConditionType {
        /// Every kind. True: Mayday accepts the object and acts on it. False: the message says what to
        /// change, or what must happen first.
        Ready,
        /// Every kind, only while `Ready` is False. True: the object is right, but something else must happen
        /// first.
        Reconciling,
        /// Every kind, only while `Ready` is False. True: a person must change the object first.
        Stalled,
        /// ChangeRequest, Runbook. True: enough people have approved this content. False: approvals are
        /// missing, or an approver rejected it.
        Approved,
        /// ChangeRequest, only if True. An approver rejected it. This is final.
        Rejected,
        /// ChangeRequest, only if True. Every change in it was used as often as the request allows. This is
        /// final.
        Spent,
        /// ChangeRequest, only if True. Its window has ended. This is final.
        Expired,
        /// ChangeRequest, only while True. A target has changed since the request was planned.
        Stale,
        /// ChangePolicy. True: the gate refused the probe within the last minute. False: the gate did not
        /// refuse it. Unknown: there is no result of the last minute.
        Enforced,
        /// Freeze, OnCallOverride. True: it is in force now.
        Active,
        /// Approval. True: the decision counts for its subject. False: it does not, and the message says why.
        /// Unknown: Mayday has not evaluated it with its subject yet.
        Counted,
        /// Runbook. True: its ServiceAccount has the rights that the steps need, and its approvers may use the account.
        /// False: a run would wait before its first step; the message says for which rights. Unknown: it cannot be asked yet.
        Permitted,
        /// Runbook. True: `spec.suspend` is set, and no run starts.
        Suspended,
        /// Runbook, if it is rehearsed or must be. True: its last drill succeeded and is not too old. False: it failed or
        /// is overdue. Unknown: no drill of this content has ended yet.
        Drilled,
        /// Runbook, only if it has a breaker. True: it does not start by itself now.
        BreakerOpen,
        /// RunbookRun, only while True. The run waits: an approval is missing, or an obstacle is in its way.
        /// Absent while the run works and after it has ended.
        Blocked,
        /// RunbookRun, after it has ended. True: every step succeeded, or the dry run is complete. False: the
        /// reason says how it ended.
        Succeeded,
        /// RunbookRun, only if True. It was cancelled before its next step, and the message says why.
        Cancelled,
        /// Incident. True: a person has acknowledged it. Notification, only for a page. True: its recipient
        /// has acknowledged the incident after the page was sent.
        Acknowledged,
        /// Incident. True: every check passes now.
        Mitigated,
        /// Incident. True: every check has passed without a break for `stableFor`.
        Restored,
        /// Incident. True: the outage is over.
        Resolved,
        /// Incident. True: the review is complete, or not needed.
        Reviewed,
        /// Incident. True: the checks turned from failing to passing or back six times within 30 minutes. The
        /// incident does not resolve by itself until they hold.
        Flapping,
        /// Incident. True: a signal fires that nothing will clear: its source or its object is gone, or the
        /// source has been silent.
        SignalStale,
        /// NotificationChannel. True: the channel took the last message. False: a message waits after a
        /// failed attempt, or was given up. Unknown: no message was sent yet.
        Delivering,
        /// Notification. True: the channel took it. False: it will not be sent. Unknown: it waits to be sent.
        Delivered,
        /// AlertSource. True: a signal has arrived, or Mayday watches the objects. False: no signal can
        /// arrive. Unknown: no signal has arrived yet.
        Receiving,
        /// BusinessService. True: no incident is open about it.
        Healthy,
        /// OnCallRotation. True: everybody who is on duty within 30 days, or named by a level, has a contact whose
        /// channel is Ready.
        Reachable,
        /// OnCallRotation. True: the duty of the next 90 days is spread evenly. False: it is not, or somebody in a turn is
        /// never on duty. The message has the hours of each person.
        Fair,
        /// OnCallRotation. True: a person is on duty at every instant of the next 30 days.
        Covered,
    }
}

names! {
    /// The reason of a condition: one word that stays the same while the message may change. Each comment
    /// begins with the conditions that have the reason.
    Reason {
        // Ready, Reconciling and Stalled.
        /// Ready: nothing is wrong.
        Accepted,
        /// Ready, Active, Receiving: a field is set that this version does not act on.
        NotImplemented,
        /// Ready, Covered, Active: the spec contradicts itself or a limit, in a way that the schema cannot refuse.
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
        /// Ready of a NotificationChannel or an OnCallRotation, Ready and Receiving of an AlertSource: its Secret is missing
        /// or unusable.
        CredentialUnusable,
        /// Ready of a NotificationChannel: no member is set that selects the kind of channel.
        NoMember,
        /// Ready of a BusinessService: a rotation or channel that it names does not exist. Ready of a Freeze: its policy
        /// does not exist.
        NotFound,
        /// Ready of a BusinessService, an Incident or a Runbook: a policy does not list an endpoint that it calls.
        EndpointNotListed,
        /// Ready of a Runbook: its ServiceAccount does not exist.
        ServiceAccountMissing,
        /// Ready of a Runbook: its ServiceAccount lacks the label that permits its use.
        ServiceAccountNotLabelled,
        /// Ready of an OnCallOverride: its rotation does not exist.
        RotationNotFound,
        /// Ready of an OnCallOverride: its rotation is not Ready.
        RotationNotReady,
        /// Ready of an OnCallOverride: it names a person who is not in the rotation.
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
        /// Expired: the window has ended. Delivering, Delivered: the message passed its deadline.
        Expired,
        /// Stale: a target has changed since the request was planned.
        TargetChanged,

        // Enforced.
        /// Enforced: Mayday has not sent the probe, or not within the last minute.
        NotTried,
        /// Enforced: the gate refused the probe, as it must.
        ProbeRefused,
        /// Enforced: the configuration of the gate is not as it should be, or was restored and is not proved yet. Also the
        /// reason of the Event about it.
        GateChanged,
        /// Enforced: the gate did not refuse the probe. Restored: the checks have not passed for `stableFor`.
        NotProved,

        // Active.
        /// Active: the time of the override, or the next one of the freeze, has not begun.
        Scheduled,
        /// Active: it is in force.
        Active,
        /// Active: its time has passed. Resolved: the outage is over.
        Over,
        /// Active of an OnCallOverride: the same people are on duty with and without it.
        ChangesNothing,
        /// Active of an OnCallOverride: a swap that is not answered yet.
        Asked,
        /// Active of an OnCallOverride: a swap that was declined.
        Declined,
        /// Active: the object is not Ready.
        NotReady,

        // Counted.
        /// Counted: the decision counts.
        Counted,
        /// Counted: the subject is not in the cache yet.
        NoSubject,
        /// Counted: the controller of the subject has not read the decision yet.
        NotRead,
        /// Counted: another person answered the question first. Acknowledged: a person has acknowledged.
        Answered,
        /// Counted: the decision is about other content of the subject.
        OtherContent,
        /// Counted: a service account made the decision.
        ServiceAccount,
        /// Counted: the decision was made with the break-glass group.
        BreakGlass,
        /// Counted: the decision was made by the requester, an author or the starter of the subject.
        Requester,
        /// Counted: the person is not in a group that may approve.
        NotEligible,
        /// Counted: no policy covers the subject.
        NoPolicy,
        /// Counted: the decision does not name every incident that binds.
        OtherIncidents,
        /// Counted: `spec.notAfter` of the decision has passed. Active of an OnCallOverride: a swap was not answered in time.
        Lapsed,
        /// Counted: the decision is being deleted.
        Withdrawn,
        /// Counted: the decision answers a question, and the subject asks none.
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
        /// Blocked: the run may not act as the ServiceAccount of the Runbook.
        AccountNotUsable,
        /// Blocked: its ServiceAccount lacks a right that a step needs. Permitted: the same, of a Runbook.
        AccountLacksPermission,
        /// Permitted: its ServiceAccount may do what the steps need, as far as that is known without an incident.
        AccountSuffices,
        /// Permitted: a person whose approval counts may not use the ServiceAccount.
        ApproverLacksAccount,
        /// Permitted: there is no answer, since the ServiceAccount cannot be used yet.
        NotAsked,
        /// Blocked: a policy does not allow such runs.
        NotAllowed,
        /// Blocked: a Freeze stops automation until a time, and the run began by itself.
        Frozen,
        /// Blocked: the Runbook has reached `limits.runs`.
        LimitReached,
        /// Blocked: the cooldown of the Runbook has not passed.
        CoolingDown,
        /// Blocked: the copies of a drill are not up yet.
        CopiesNotReady,
        /// Blocked: an earlier Runbook of the same ladder is not settled.
        EarlierAtWork,
        /// Blocked: another run acts on the same target.
        TargetBusy,
        /// BreakerOpen, Blocked: the breaker of the Runbook is open, or another run is tried first. Also the reason of the
        /// Event about it.
        BreakerOpen,
        /// BreakerOpen: one run may be tried.
        BreakerHalfOpen,
        /// BreakerOpen: nothing holds the Runbook back.
        BreakerClosed,
        /// Blocked: as many runs work in the namespace as its policies let.
        ConcurrencyReached,
        /// Blocked: as many runs work in the cluster as the configuration of Mayday lets.
        ClusterConcurrencyReached,
        /// Blocked: fewer of the other pods or nodes are healthy than a policy asks for.
        TooFewHealthy,
        /// Blocked: it cannot be told which objects the run would act on.
        TargetsUnknown,
        /// Succeeded: every step succeeded.
        Succeeded,
        /// Succeeded: the dry run is complete, and the steps say what they would do.
        DryRunComplete,
        /// Succeeded: a step failed, or the run was stopped.
        Failed,
        /// Succeeded: every step ended, at least one failed, and the run went on.
        Degraded,
        /// Succeeded, Cancelled: the run was cancelled.
        Cancelled,
        /// Succeeded: an act was announced, and its outcome cannot be proved.
        Unknown,

        // Drilled; where a drill is required also Approved of a Runbook, and Blocked.
        /// Drilled: the last drill succeeded.
        DrillSucceeded,
        /// Drilled, Approved, Blocked: the last drill failed.
        DrillFailed,
        /// Drilled, Approved, Blocked: no drill has ended for too long.
        DrillOverdue,
        /// Drilled, Approved, Blocked: no drill of this content has ended yet.
        DrillDue,
        /// Drilled, Approved, Blocked: a policy asks for drills, and the Runbook has none.
        DrillMissing,

        // Conditions of an Incident.
        /// Acknowledged: no person has acknowledged.
        Unanswered,
        /// Mitigated: every check passes.
        ChecksPass,
        /// Mitigated: a check does not pass.
        ChecksFail,
        /// Restored: the checks have passed for `stableFor`.
        Proved,
        /// Resolved: the outage goes on.
        GoesOn,
        /// Reviewed: the incident needs no review.
        NotNeeded,
        /// Reviewed: the review is not written.
        NotReviewed,
        /// Flapping: the checks keep turning between failing and passing.
        Unsteady,
        /// Flapping: the checks hold.
        Steady,
        /// SignalStale: nothing will clear a firing signal.
        NotRepeated,
        /// SignalStale: every firing signal is still repeated or watched.
        Fresh,

        // Delivering.
        /// Delivering, Delivered: the channel took the message.
        Delivered,
        /// Delivering: no message was sent yet.
        NothingSent,
        /// Delivering, Delivered: the receiver refused the message for good.
        Refused,
        /// Delivered: the message waits to be sent.
        Queued,
        /// Delivered: the message was no longer needed before it was sent.
        Superseded,
        /// Delivering, Delivered: an attempt failed, and another one follows.
        Retrying,

        // Receiving.
        /// Receiving: a signal has arrived.
        Received,
        /// Receiving: no signal has arrived yet, or there is nothing to watch yet.
        NothingYet,
        /// Receiving: a post was refused for good, and none was taken since. Also the reason of the Event about it.
        PostRefused,
        /// Ready and Receiving of an AlertSource: objects of this kind never carry the condition that it watches.
        NoSuchCondition,
        /// Receiving: Mayday watches the objects.
        Watching,

        // Healthy.
        /// Healthy: an incident is open.
        IncidentOpen,
        /// Healthy: no incident is open.
        NoIncident,

        // Reachable and Covered.
        /// Fair: the hours of all people are nearly the same.
        Balanced,
        /// Fair: some people have more hours than others.
        Unbalanced,
        /// Fair: no window ever opens in any turn of a person.
        NeverOnDuty,
        /// Covered: there are gaps, and `spec.allowGaps` allows them.
        GapsAllowed,
        /// Reachable: every person can be reached.
        Reachable,
        /// Reachable: a person has no contact whose channel is Ready.
        NoChannel,
        /// Reachable: the escalation names a rotation or channel that does not exist.
        UnknownTarget,
        /// Covered: a person is on duty at every instant of the next 30 days.
        Covered,
        /// Covered: nobody is on duty now.
        UncoveredNow,
        /// Covered: at some time within the next 30 days nobody is on duty.
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
