//! What became of the pages for a new incident, in words. Pure.

use mayday::api::Incident;

/// Whether it is known who is paged and what became of it, or that there is nobody to page.
pub fn is_known(incident: &Incident) -> bool {
    let Some(status) = incident.status.as_ref().filter(|status| status.state.is_some()) else { return false };
    let delivery = status.page_delivery.clone().unwrap_or_default();
    let is_nobody =
        status.escalation.as_ref().is_some_and(|known| known.exhausted && known.people.is_empty());
    let is_duplicate = status.duplicate_of.is_some();
    is_duplicate
        || is_nobody
        || status.acknowledgement.is_some()
        || delivery.failure.is_some()
        || !delivery.reached.is_empty()
}

/// Who was paged for the incident as it was last seen; `who`: the command that says who is on duty.
pub fn words(seen: Option<&Incident>, who: &str) -> String {
    let status = seen.and_then(|seen| seen.status.clone()).unwrap_or_default();
    if status.state.is_none() {
        return format!("Mayday has not looked at it: nobody is paged yet. Call somebody: {who}");
    }
    if let Some(by) = &status.acknowledgement {
        return format!("{} has answered already.", by.user);
    }
    let people = status.escalation.map(|escalation| escalation.people).unwrap_or_default();
    let delivery = status.page_delivery.unwrap_or_default();
    match (people.is_empty(), delivery.reached.is_empty(), delivery.failure) {
        (_, false, _) => format!("Mayday has paged {}.", delivery.reached.join(", ")),
        (_, true, Some(failure)) => {
            format!("No page was delivered ({failure}). Call {}: {who}", named(&people))
        }
        (true, true, None) => format!("Mayday can page nobody for it. Call somebody: {who}"),
        (false, true, None) => {
            format!("Mayday is paging {}; nothing is delivered yet. Call them: {who}", people.join(", "))
        }
    }
}

fn named(people: &[String]) -> String {
    if people.is_empty() { "somebody".to_owned() } else { people.join(" or ") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn incident(status: Value) -> Incident {
        let mut incident = Incident::new("a", Default::default());
        incident.status = serde_json::from_value(status).unwrap();
        incident
    }

    /// Said although it did not happen: that somebody was paged.
    #[test]
    fn only_people_whose_channel_took_the_page_are_called_paged() {
        let who = "kubectl mayday who -n shop checkout";
        let escalation = json!({"level": 0, "round": 0, "people": ["emil", "bea"]});
        let exhausted = json!({"level": -1, "round": 0, "exhausted": true});
        for (status, known, said) in [
            (
                json!({}),
                false,
                format!("Mayday has not looked at it: nobody is paged yet. Call somebody: {who}"),
            ),
            (
                json!({"state": "Open", "escalation": exhausted}),
                true,
                format!("Mayday can page nobody for it. Call somebody: {who}"),
            ),
            (
                json!({"state": "Open", "escalation": escalation, "pageDelivery": {}}),
                false,
                format!("Mayday is paging emil, bea; nothing is delivered yet. Call them: {who}"),
            ),
            (
                json!({"state": "Open", "escalation": escalation, "pageDelivery": {"failure": "emil by hook: answered 503"}}),
                true,
                format!("No page was delivered (emil by hook: answered 503). Call emil or bea: {who}"),
            ),
            (
                json!({"state": "Open", "escalation": escalation, "pageDelivery": {"reached": ["emil"], "failure": "x"}}),
                true,
                "Mayday has paged emil.".to_owned(),
            ),
            (
                json!({"state": "Acknowledged", "acknowledgement": {"user": "bea", "time": "2026-11-22T02:04:10Z"}}),
                true,
                "bea has answered already.".to_owned(),
            ),
        ] {
            let incident = incident(status.clone());
            assert_eq!((is_known(&incident), words(Some(&incident), who)), (known, said), "{status}");
        }
        assert!(words(None, who).starts_with("Mayday has not looked"));
    }
}
