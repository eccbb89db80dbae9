//! A runbook in words: what it does, as whom, whether it may.

use mayday::api::Runbook;
use mayday::api::conditions::{ConditionType, find, is_true};
use mayday::api::runbook::{AUTHORS_ANNOTATION, RunbookStatus};

use super::Here;
use super::change::decided;
use crate::client::session::name_of;
use crate::text::{indent, yaml};
use mayday::command::{Flag, Verb};

/// The runbook in words, with its whole spec, because people approve exactly that.
pub fn describe(runbook: &Runbook, here: &Here) -> String {
    let name = name_of(runbook);
    let spec = &runbook.spec;
    let none = RunbookStatus::default();
    let status = runbook.status.as_ref().unwrap_or(&none);
    let mut lines = vec![
        format!("rb/{name} in {}: {}", here.namespace, spec.summary),
        format!(
            "  start: {:?}, approval: {:?}, acts as ServiceAccount {}",
            spec.start, spec.approval, spec.service_account_name
        ),
    ];
    let approved = is_true(&status.conditions, ConditionType::Approved);
    lines.push(format!("  Approved: {}", if approved { "yes" } else { "no" }));
    if let Some(why) = find(&status.conditions, ConditionType::Approved).filter(|_| !approved) {
        lines.push(format!("  {}", why.message));
    }
    lines.push(format!("  Decided: {}", decided(&status.decisions, here)));
    let until = status.approved_until_time.as_ref();
    lines.extend(until.map(|until| format!("  Approved until: {}", here.instant(until.0))));
    let authors = runbook.metadata.annotations.as_ref().and_then(|all| all.get(AUTHORS_ANNOTATION));
    lines.extend(authors.map(|authors| format!("  Changed since the last approval by: {authors}")));
    lines.extend(
        status.last_good_run_time.as_ref().map(|last| format!("  Last good run: {}", here.instant(last.0))),
    );
    lines.extend(status.last_run_time.as_ref().map(|last| format!("  Last run: {}", here.instant(last.0))));
    let breaker = find(&status.conditions, ConditionType::BreakerOpen);
    lines.extend(breaker.map(|breaker| {
        let state = status.breaker.as_ref().map(|breaker| format!("{:?}", breaker.state)).unwrap_or_default();
        format!("  Breaker: {state}, {}", breaker.message)
    }));
    lines.extend(status.digest.as_ref().map(|digest| format!("  Digest: {digest}")));
    lines.push(format!("\n{}\n", indent(&yaml(spec), 2)));
    let drilled = find(&status.conditions, ConditionType::Drilled);
    lines.extend(drilled.map(|drilled| format!("  Drilled={}: {}", drilled.status, drilled.message)));
    let lapsed = find(&status.conditions, ConditionType::Approved).zip(drilled);
    let lapsed = lapsed.is_some_and(|(approved, drilled)| {
        !is_true(&status.conditions, ConditionType::Approved) && approved.reason == drilled.reason
    });
    lines.push(if approved {
        format!("Next: {}", here.command(Verb::Run).word(name).flag(Flag::Incident, "NAME"))
    } else if lapsed {
        format!("Next: {}", here.command(Verb::Run).word(name).switch(Flag::Drill))
    } else {
        format!(
            "Next: whoever may approve, and did not write it: {}",
            here.command(Verb::Approve).on("rb", name)
        )
    });
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use jiff::tz::TimeZone;
    use mayday::api::runbook::RunbookSpec;

    #[test]
    fn an_unapproved_runbook_says_who_acts_next() {
        let zone = TimeZone::UTC;
        let here = Here::in_the_shop(&zone);
        let spec = RunbookSpec { service_account_name: "checkout-runbooks".into(), ..Default::default() };
        let text = describe(&Runbook::new("restart-checkout", spec), &here);
        assert!(text.contains("acts as ServiceAccount checkout-runbooks"), "{text}");
        assert!(text.ends_with("kubectl mayday approve -n shop rb/restart-checkout"), "{text}");
    }
}
