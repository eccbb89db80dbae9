//! `unfreeze`: lifts a freeze, for good. Mayday refuses it where others must agree, and says how to ask them.

use clap::Args;
use kube::Api;
use kube::api::{DeleteParams, Preconditions};
use mayday::api::Freeze;
use mayday::api::conditions::{ConditionType, is_true};
use mayday::text::flat;

use crate::client::address;
use crate::client::cluster_wide;
use crate::client::failure::{Failure, explain};
use crate::client::session::Session;
use crate::commands::freeze::halves;
use crate::render::terminal::{confirm, say};

#[derive(Debug, Args)]
pub struct UnfreezeArgs {
    /// The freeze
    #[arg(value_name = "frz/NAME", value_parser = address::freeze)]
    pub freeze: String,
}

pub async fn run(session: &Session, args: UnfreezeArgs) -> Result<(), Failure> {
    let name = &args.freeze;
    let freeze: Freeze = cluster_wide::get(session, name).await?;
    let until = freeze.status.as_ref().and_then(|status| status.until_time.as_ref());
    let until = until.map(|until| crate::text::instant(until.0, &session.zone));
    confirm(session.connection.yes, &about_to(&freeze, until.as_deref()))?;
    // The freeze that was shown, and no other of that name.
    let preconditions = Preconditions { uid: freeze.metadata.uid.clone(), resource_version: None };
    let parameters = DeleteParams { preconditions: Some(preconditions), ..DeleteParams::default() };
    let what = format!("lift frz/{name}");
    let deleted = Api::<Freeze>::all(session.client.clone()).delete(name, &parameters).await;
    deleted.map_err(|error| explain(&error, &cluster_wide::attempt(session, &what)))?;
    say(&format!("frz/{name} is lifted. What it held goes on by itself."));
    Ok(())
}

fn about_to(freeze: &Freeze, until: Option<&str>) -> String {
    let spec = &freeze.spec;
    let name = freeze.metadata.name.as_deref().unwrap_or_default();
    let is_active =
        freeze.status.as_ref().is_some_and(|status| is_true(&status.conditions, ConditionType::Active));
    let now = match (is_active, until) {
        (true, Some(until)) => format!("now, until {until}"),
        (true, None) => "now".to_owned(),
        (false, Some(until)) => format!("not now; its next or last end is {until}"),
        (false, None) => "not now".to_owned(),
    };
    let weekly = if spec.schedule.is_some() { "\nIt repeats every week, and does so no more." } else { "" };
    format!(
        "You lift frz/{name}, for good. It stops {} under cpol/{} ({now}): {}{weekly}",
        halves(spec),
        spec.policy_ref.name,
        flat(&spec.reason, 500)
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_question_says_what_is_lifted() {
        let freeze = |edit: serde_json::Value| -> Freeze {
            let mut whole = json!({"apiVersion": "mayday.dev/v1alpha1", "kind": "Freeze", "metadata": {"name": "sale"},
                "spec": {"policyRef": {"name": "production"}, "stops": ["Automation"], "reason": "sale"}});
            json_patch::merge(&mut whole, &edit);
            serde_json::from_value(whole).unwrap()
        };
        let said = "You lift frz/sale, for good. It stops automation under cpol/production (not now): sale";
        assert_eq!(about_to(&freeze(json!({})), None), said);
        let time = json!({"day": "Fri", "time": "16:00"});
        let weekly = freeze(json!({"spec": {"schedule": {"timeZone": "UTC", "from": time, "until": time}}}));
        assert!(about_to(&weekly, Some("14:00")).ends_with("It repeats every week, and does so no more."));
        let active = json!({"type": "Active", "status": "True", "reason": "Active", "message": "",
            "lastTransitionTime": "2026-11-22T02:04:10Z"});
        let active = freeze(json!({"status": {"conditions": [active]}}));
        assert!(about_to(&active, Some("14:00")).contains("(now, until 14:00)"));
    }
}
