//! An incident in words: state, next, instructions, runs, checks, last changes, the end of the timeline.

use mayday::api::incident_status::{CheckResult, CheckStatus, IncidentStatus, MatchingRunbook, Stamped};
use mayday::api::{Incident, Runbook, RunbookRun};

use super::{Here, next};
use crate::client::session::name_of;
use crate::text::{ago, indent, said};
use mayday::command::{Flag, Verb};

/// Maximum number of timeline entries shown, the newest.
const TIMELINE_TAIL: usize = 12;

/// The incident in words.
pub fn describe(incident: &Incident, runbooks: &[Runbook], runs: &[RunbookRun], here: &Here) -> String {
    let none = IncidentStatus::default();
    let status = incident.status.as_ref().unwrap_or(&none);
    let is_over = status.state.is_some_and(|state| !state.is_open());
    let mut parts = vec![head(incident, status, here), next(status.next.as_ref(), is_over, here)];
    let mut section = |title: &str, lines: Vec<String>| {
        if !lines.is_empty() {
            parts.push(format!("{title}\n{}", indent(&lines.join("\n"), 2)));
        }
    };
    let name = name_of(incident);
    section("Runbooks", status.runbooks.iter().map(|rb| runbook(rb, runbooks, name, here)).collect());
    section("Runs", runs.iter().map(super::run::line).collect());
    section("Checks", status.checks.iter().map(|check| self::check(check, incident, here)).collect());
    section("Signals", signals(status, here));
    section("Last changes to what is affected", changes(status, here));
    section("Notes", notes(incident, here));
    section("Timeline", timeline(status, here));
    parts.join("\n\n")
}

fn head(incident: &Incident, status: &IncidentStatus, here: &Here) -> String {
    let spec = &incident.spec;
    let state = super::state(status.state);
    let mut lines = vec![
        format!("inc/{} in {}: {}", name_of(incident), here.namespace, spec.title),
        format!("  {}, {state}", spec.severity),
    ];
    let mut fact = |name: &str, value: Option<String>| {
        lines.extend(value.map(|value| format!("  {name}: {value}")));
    };
    let stamped = |stamp: &Stamped| format!("{} since {}", stamp.user, here.instant(stamp.time.0));
    let began = status.start_time.as_ref().or(spec.start_time.as_ref());
    fact("Began", began.map(|time| format!("{}, {}", here.instant(time.0), ago(time.0, here.now))));
    let copy = status.service.as_ref();
    fact("Service", copy.map(|copy| format!("{} (bsvc/{})", copy.title, copy.r#ref.name)));
    let impact = spec.impact.as_ref().or(copy.and_then(|copy| copy.impact.as_ref()));
    fact("Impact", impact.cloned());
    fact("Reported", reports(incident, status));
    let delivery = status.page_delivery.clone().unwrap_or_default();
    fact("Paged", (!delivery.reached.is_empty()).then(|| delivery.reached.join(", ")));
    fact("Not paged", delivery.failure.filter(|_| delivery.reached.is_empty()));
    fact("Answered", status.acknowledgement.as_ref().map(stamped));
    fact("Lead", status.lead.as_ref().map(stamped));
    fact("Named as next lead", incident.nominee().map(str::to_owned));
    fact("Binds changes since", status.binds_since_time.as_ref().map(|time| here.instant(time.0)));
    fact("Duplicate of", status.duplicate_of.as_ref().map(|original| format!("inc/{}", original.name)));
    let taken: Vec<String> = status.duplicates.iter().map(|known| format!("inc/{}", known.name)).collect();
    fact("Has taken over", (!taken.is_empty()).then(|| taken.join(", ")));
    fact("Relapse of", status.relapse_of.as_ref().map(|before| format!("inc/{}", before.name)));
    fact(
        "Resolved",
        status.resolved.as_ref().map(|by| format!("by {} at {}", by.user, here.instant(by.time.0))),
    );
    let bridge = copy.and_then(|copy| copy.bridge.as_ref());
    fact("Call", bridge.and_then(|bridge| bridge.call_url.clone()));
    fact("Chat", bridge.and_then(|bridge| bridge.chat_url.clone()));
    fact("Screen", bridge.and_then(|bridge| bridge.screen_url.clone()));
    lines.join("\n")
}

/// Who reported the outage, if people did more than once.
fn reports(incident: &Incident, status: &IncidentStatus) -> Option<String> {
    let first = incident.spec.detection.as_ref().and_then(|found| found.reporter.clone());
    let further = incident.spec.notes.iter().filter_map(|note| note.reporter.clone());
    let all: Vec<String> = first.into_iter().chain(further.clone()).collect();
    (further.count() > 0).then(|| format!("{} times ({})", status.report_count, all.join(", ")))
}

fn runbook(matching: &MatchingRunbook, runbooks: &[Runbook], incident: &str, here: &Here) -> String {
    let start = if matching.automatic { "starts by itself" } else { "started by a person" };
    let mut lines = vec![format!("rb/{} ({start}): {}", matching.name, matching.summary)];
    lines.extend(matching.blocked.as_ref().map(|why| format!("  does not start: {why}")));
    let found = runbooks.iter().find(|runbook| name_of(*runbook) == matching.name);
    if let Some(instructions) = found.and_then(|runbook| runbook.spec.instructions.as_ref()) {
        lines.push(indent(instructions, 2));
    }
    let run = here.command(Verb::Run).word(&matching.name).flag(Flag::Incident, incident);
    lines.push(format!("  {run}"));
    lines.join("\n")
}

fn check(check: &CheckStatus, incident: &Incident, here: &Here) -> String {
    let since = ago(check.since_time.0, here.now);
    let line = format!("{}: {:?} ({since}): {}", check.name, check.result, check.message);
    let asks = check.digest.is_some() && check.result != CheckResult::Passing && incident.is_open();
    if asks {
        format!("{line}\n{}", answers(&format!("inc/{}", name_of(incident)), &check.name, here))
    } else {
        line
    }
}

/// The two commands that answer a question, each as it can be typed.
pub fn answers(subject: &str, question: &str, here: &Here) -> String {
    let answer =
        |word: &str| format!("  {}", here.command(Verb::Answer).word(subject).word(question).word(word));
    format!("{}\n{}", answer("confirm"), answer("deny"))
}

fn signals(status: &IncidentStatus, here: &Here) -> Vec<String> {
    let line = |signal: &mayday::api::incident_status::Signal| {
        let state = match &signal.end_time {
            Some(end) => format!("cleared {}", ago(end.0, here.now)),
            None => format!("fires since {}", here.instant(signal.start_time.0)),
        };
        let summary = signal.summary.as_ref().map(|summary| format!(": {summary}")).unwrap_or_default();
        format!("{} from {} {state}{summary}", signal.name, signal.source_ref.name)
    };
    let mut lines: Vec<String> = status.signals.iter().map(line).collect();
    if status.signals_left_out > 0 {
        lines.push(format!("and {} more", status.signals_left_out));
    }
    lines
}

fn changes(status: &IncidentStatus, here: &Here) -> Vec<String> {
    let line = |change: &mayday::api::incident_status::KnownChange| {
        let subject = change.subject.as_ref().map(|subject| format!(" ({subject})")).unwrap_or_default();
        format!("{}: {} by {}{subject}", here.instant(change.time.0), change.what, change.by)
    };
    status.changes.iter().map(line).collect()
}

fn notes(incident: &Incident, here: &Here) -> Vec<String> {
    let line = |note: &mayday::api::incident::Note| {
        let by = note.by.as_ref().map(|by| format!("{}: ", by.user)).unwrap_or_default();
        let time = note.time.as_ref().map(|time| format!("{}: ", here.instant(time.0))).unwrap_or_default();
        format!("{time}{by}{}", said(&note.text))
    };
    incident.spec.notes.iter().map(line).collect()
}

fn timeline(status: &IncidentStatus, here: &Here) -> Vec<String> {
    let hidden = status.timeline.len().saturating_sub(TIMELINE_TAIL);
    let mut lines = Vec::new();
    let left_out = hidden + usize::try_from(status.timeline_left_out).unwrap_or(0);
    if left_out > 0 {
        lines.push(format!("… {left_out} before"));
    }
    let line = |entry: &mayday::api::incident_status::TimelineEntry| {
        format!("{}  {}: {}", here.instant(entry.time.0), entry.who, entry.what)
    };
    lines.extend(status.timeline.iter().skip(hidden).map(line));
    lines
}

#[cfg(test)]
mod tests {
    use super::*;
    use jiff::tz::TimeZone;
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
    use mayday::api::incident::IncidentSpec;
    use mayday::api::incident_status::{IncidentState, Next, TimelineEntry};
    use mayday::api::runbook::RunbookSpec;

    fn time(text: &str) -> Time {
        Time(text.parse().unwrap())
    }

    fn incident() -> Incident {
        let spec = IncidentSpec { title: "checkout is down".into(), ..Default::default() };
        let mut incident = Incident::new("checkout-x7k2p", spec);
        incident.status = Some(IncidentStatus {
            state: Some(IncidentState::Acknowledged),
            start_time: Some(time("2026-11-22T02:04:10Z")),
            next: Some(Next {
                who: "emil".into(),
                what: "run a runbook, or call a lead".into(),
                command: Some("kubectl mayday lead -n shop inc/checkout-x7k2p".into()),
            }),
            runbooks: vec![MatchingRunbook {
                name: "restart-checkout".into(),
                summary: "Restart checkout".into(),
                automatic: true,
                blocked: Some("it is not approved".into()),
            }],
            checks: vec![CheckStatus {
                name: "payments".into(),
                result: CheckResult::Unknown,
                message: "Do payments work again?".into(),
                since_time: time("2026-11-22T02:05:00Z"),
                digest: Some("v1:sha256:00".into()),
                answered: None,
            }],
            timeline: (0..20)
                .map(|i| TimelineEntry {
                    time: time("2026-11-22T02:04:30Z"),
                    who: "mayday".into(),
                    what: format!("entry {i}"),
                })
                .collect(),
            ..Default::default()
        });
        incident
    }

    #[test]
    fn the_text_of_an_incident_says_what_is_next_and_how() {
        let zone = TimeZone::get("Europe/Berlin").unwrap();
        let here = Here::in_the_shop(&zone);
        let spec =
            RunbookSpec { instructions: Some("1. Restart it.\n2. Watch.\n".into()), ..Default::default() };
        let text = describe(&incident(), &[Runbook::new("restart-checkout", spec)], &[], &here);
        for expected in [
            "inc/checkout-x7k2p in shop: checkout is down\n  SEV2, Acknowledged",
            "Began: 2026-11-22 02:04:10 UTC (03:04:10 CET), 12m ago",
            "Next: emil: run a runbook, or call a lead\n  kubectl mayday lead -n shop inc/checkout-x7k2p",
            "does not start: it is not approved\n    1. Restart it.\n    2. Watch.",
            "kubectl mayday run -n shop restart-checkout --incident checkout-x7k2p",
            "payments confirm\n    kubectl mayday answer -n shop inc/checkout-x7k2p payments deny\n",
            "… 8 before",
            "entry 19",
        ] {
            assert!(text.contains(expected), "{expected:?} is missing in:\n{text}");
        }
        assert!(!text.contains("entry 7\n"), "{text}");
        let mut over = incident();
        over.status.as_mut().unwrap().state = Some(IncidentState::Resolved);
        let text = describe(&over, &[], &[], &here);
        assert!(!text.contains("kubectl mayday answer"), "nobody is asked any more: {text}");
    }
}
