use super::*;
use serde_json::json;

#[test]
fn a_page_to_a_lead_goes_to_people_who_can_be_reached() {
    let rotation = |name: &str, person: &str, channel: &str| -> Arc<OnCallRotation> {
        let whole = json!({"apiVersion": "mayday.dev/v1alpha1", "kind": "OnCallRotation", "metadata": {"name": name},
            "spec": {"timeZone": "UTC",
                "people": [{"name": person, "user": person, "contacts": [{"channelRef": {"name": channel}}]}],
                "layers": [{"name": "l", "start": "2026-01-05T09:00", "shift": {"unit": "Weeks", "length": 1},
                    "turns": [{"people": [person]}]}]}});
        Arc::new(serde_json::from_value(whole).unwrap())
    };
    let rotations = [rotation("leads", "lena", "broken"), rotation("payments", "emil", "hook")];
    let named: ServiceRotations =
        serde_json::from_value(json!({"lead": {"name": "leads"}, "onCall": {"name": "payments"}})).unwrap();
    let called = |channels: &[&str]| {
        let channels: Vec<_> = channels
            .iter()
            .map(|name| Arc::new(NotificationChannel::new(name, Default::default())))
            .collect();
        let at = "2026-11-22T02:04:00Z".parse().unwrap();
        let found = for_a_lead(&named, &rotations, &[], &channels, at);
        found.iter().map(|one| one.name().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(called(&["broken", "hook"]), ["lena"]);
    assert_eq!(called(&["hook"]), ["emil"]);
    assert_eq!(called(&[]), ["lena"], "the page waits for a channel");
}
