//! What speaks against a false alarm, as far as one Incident shows it.

use super::Incident;
use super::incident_status::CheckResult;

impl Incident {
    /// What contradicts that there was no outage (docs/rules.md#outcome-false-alarm), in words; empty if nothing does.
    pub fn contradictions(&self) -> Vec<String> {
        let Some(status) = &self.status else { return Vec::new() };
        let mut found = Vec::new();
        let failing = status.checks.iter().filter(|check| check.result == CheckResult::Failing);
        found.extend(failing.map(|check| format!("check {} fails ({})", check.name, check.message)));
        let firing = status.signals.iter().filter(|signal| signal.end_time.is_none());
        let is_said = |name: &str| found.iter().any(|known: &String| known.contains(name));
        let firing: Vec<_> = firing.filter(|signal| !is_said(&signal.name)).collect();
        found.extend(firing.iter().map(|signal| format!("{} fires", signal.name)));
        if status.signals_left_out > 0 {
            found.push(format!("{} more signals fire", status.signals_left_out));
        }
        if !status.past_outages.is_empty() || status.restored_time.is_some() {
            found.push("its return to service was proved".to_owned());
        }
        found.extend(status.runs.iter().map(|run| format!("run/{} was started for it", run.name)));
        let began = status.start_time.as_ref();
        let since = status.changes.iter().filter(|change| began.is_none_or(|began| change.time.0 >= began.0));
        found.extend(since.map(|change| match &change.subject {
            Some(subject) => format!("{subject} has changed something since it began"),
            None => format!("{} has changed something since it began", change.by),
        }));
        found.dedup();
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    const AT: &str = "2026-11-22T02:04:10Z";

    fn contradictions(status: Value) -> Vec<String> {
        let mut whole = json!({"startTime": AT});
        json_patch::merge(&mut whole, &status);
        let incident = json!({"apiVersion": "mayday.dev/v1alpha1", "kind": "Incident", "metadata": {"name": "i"},
            "spec": {"title": "t", "severity": "SEV2"}, "status": whole});
        serde_json::from_value::<Incident>(incident).unwrap().contradictions()
    }

    fn signal(end: Option<&str>) -> Value {
        json!([{"sourceRef": {"name": "am"}, "id": "a", "name": "CheckoutDown", "severity": "SEV2",
            "startTime": AT, "lastSeenTime": AT, "endTime": end}])
    }

    fn check(result: &str) -> Value {
        json!([{"name": "rollout-0", "result": result, "message": "0 of 3 available", "sinceTime": AT}])
    }

    fn change(time: &str) -> Value {
        json!([{"subject": "chg/v1", "what": "w", "by": "emil", "time": time}])
    }

    #[test]
    fn each_trace_of_an_outage_contradicts_a_false_alarm() {
        for (status, words) in [
            (json!({"checks": check("Failing")}), "check rollout-0 fails (0 of 3 available)"),
            (json!({"signals": signal(None)}), "CheckoutDown fires"),
            (json!({"signalsLeftOut": 3}), "3 more signals fire"),
            (json!({"pastOutages": [{"endTime": AT}]}), "its return to service was proved"),
            (json!({"restoredTime": AT}), "its return to service was proved"),
            (json!({"runs": [{"name": "r"}]}), "run/r was started for it"),
            (json!({"changes": change(AT)}), "chg/v1 has changed something since it began"),
        ] {
            assert_eq!(contradictions(status.clone()), [words], "{status}");
        }
    }

    #[test]
    fn what_was_before_and_what_is_unknown_contradict_nothing() {
        for status in [
            json!({}),
            json!({"checks": check("Passing")}),
            json!({"checks": check("Unknown")}),
            json!({"signals": signal(Some(AT))}),
            json!({"changes": change("2026-11-22T02:04:09Z")}),
        ] {
            assert_eq!(contradictions(status.clone()), Vec::<String>::new(), "{status}");
        }
    }
}
