//! Freezes whose times mean nothing, and freezes of nothing.

use serde_json::{Value, json};

use super::{stored, told};
use crate::support::{Cluster, fresh};

#[test]
fn a_freeze_whose_times_mean_nothing_is_refused_with_what_and_where() {
    let admin = Cluster::shared().admin();
    let freeze = |change: &Value| {
        let mut object = stored(
            "Freeze",
            &fresh("bad"),
            json!({"policyRef": {"name": "nosuch"}, "stops": ["Changes"], "reason": "sale"}),
        );
        json_patch::merge(&mut object["spec"], change);
        object.to_string()
    };
    let time = |day: &str, time: &str| json!({"day": day, "time": time});
    let weekly = |zone: &str, from: Value, until: Value| json!({"schedule": {"timeZone": zone, "from": from, "until": until}});
    let (start, end) = ("2026-12-20T00:00:00Z", "2027-01-02T00:00:00Z");
    let refused = [
        (json!({}), "set endTime (and startTime, if it does not begin at once), or schedule"),
        (json!({"startTime": end, "endTime": start}), "endTime must be after startTime"),
        (json!({"endTime": "2026-12-20T00:00:00+99:99"}), "spec"),
        (json!({"endTime": end, "stops": ["Changes", "Changes"]}), "stops must name each half once"),
        (json!({"endTime": end, "stops": []}), "spec.stops"),
        (json!({"endTime": end, "stops": ["Everything"]}), "spec.stops[0]"),
        (weekly("Europe/Berlin", time("Fri", "16:00"), time("Fri", "16:00")), "spec.schedule: Invalid value"),
        (weekly("Europe/Atlantis", time("Fri", "16:00"), time("Mon", "08:00")), "Europe/Atlantis"),
        (weekly("Local", time("Fri", "16:00"), time("Mon", "08:00")), "timeZone must be an IANA time zone"),
        (weekly("+02:00", time("Fri", "16:00"), time("Mon", "08:00")), "spec.schedule.timeZone"),
        (weekly("Europe/Berlin", time("Fri", "24:00"), time("Mon", "08:00")), "spec.schedule.from.time"),
        (weekly("Europe/Berlin", time("Friday", "16:00"), time("Mon", "08:00")), "spec.schedule.from.day"),
    ];
    for (change, because) in refused {
        let said = admin.pipes(&freeze(&change), "kubectl apply -f -").is_refused();
        assert!(said.contains(because), "{because:?} is not in: {said}");
    }
}

#[test]
fn a_freeze_of_a_policy_that_is_not_there_says_so() {
    let admin = Cluster::shared().admin();
    let name = fresh("stray");
    let spec = json!({"policyRef": {"name": name}, "stops": ["Automation"], "reason": "sale", "endTime": "2099-01-01T00:00:00Z"});
    admin.pipes(&stored("Freeze", &name, spec).to_string(), "kubectl apply -f -").passes();
    let said = told(&format!("frz/{name}"), "Ready", "False");
    assert!(
        said.starts_with(&format!("spec.policyRef.name: there is no cpol/{name}, so it stops nothing")),
        "{said}"
    );
    let asked = "--for 1h --why sale --yes";
    let said = admin.types(&format!("kubectl mayday freeze {name} {asked}")).is_refused();
    assert!(said.contains(&format!("There is no cpol/{name}. What there is: ")), "{said}");
    let said = admin.types(&format!("kubectl mayday unfreeze {name}-typo --yes")).is_refused();
    assert!(said.contains(&format!("There is no frz/{name}-typo.")) && said.contains(&name), "{said}");
    // Without its policy it stops nothing, so it goes freely.
    admin.types(&format!("kubectl mayday unfreeze {name} --yes")).passes();
}
