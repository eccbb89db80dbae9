//! `freeze`: stops changes, automation or both under a policy, until a time.

use clap::Args;
use jiff::Timestamp;
use kube::Api;
use kube::api::{ObjectMeta, PostParams};
use mayday::api::change_policy::Enforcement;
use mayday::api::common::{NameRef, stored_time};
use mayday::api::freeze::{FreezeSpec, Stops};
use mayday::api::{ChangePolicy, Freeze};
use mayday::change::policy::namespaces;
use mayday::command::{Command, Verb};

use crate::client::address;
use crate::client::clock;
use crate::client::cluster_wide;
use crate::client::failure::{Failure, explain};
use crate::client::session::{FIELD_MANAGER, Session, name_of};
use crate::render::terminal::{confirm, say};
use crate::text::names;

#[derive(Debug, Args)]
pub struct FreezeArgs {
    /// The policy whose namespaces are frozen
    #[arg(value_name = "POLICY", value_parser = address::policy)]
    pub policy: String,
    /// For how long, from now: 30m, 2h, 2d
    #[arg(long = "for", value_name = "LENGTH", conflicts_with = "until", required_unless_present = "until")]
    pub length: Option<String>,
    /// Until when: HH:MM here, or RFC 3339
    #[arg(long, value_name = "TIME")]
    pub until: Option<String>,
    /// Stop changes: they need a lead and a peer [default: both]
    #[arg(long)]
    pub changes: bool,
    /// Stop automation: nothing starts by itself [default: both]
    #[arg(long)]
    pub automation: bool,
    /// Why; everybody whom it stops reads it
    #[arg(long, value_name = "TEXT")]
    pub why: String,
    /// Name of the freeze [default: the policy's, and five characters]
    #[arg(long, value_name = "NAME", value_parser = address::checked_name)]
    pub name: Option<String>,
}

pub async fn run(session: &Session, args: FreezeArgs) -> Result<(), Failure> {
    let end = end(session, &args)?;
    let policy: ChangePolicy = cluster_wide::get(session, &args.policy).await?;
    let freeze = build(&args, end);
    let until = crate::text::instant(end, &session.zone);
    confirm(session.connection.yes, &about_to(&freeze.spec, &policy, &until))?;
    let parameters = PostParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PostParams::default() };
    let what = format!("freeze cpol/{}", args.policy);
    let created = Api::<Freeze>::all(session.client.clone()).create(&parameters, &freeze).await;
    let created = created.map_err(|error| explain(&error, &cluster_wide::attempt(session, &what)))?;
    let name = name_of(&created);
    say(&format!("frz/{name} is on until {until}.\nNext: to lift it earlier: {}", unfreeze(session, name)));
    Ok(())
}

/// The command that lifts a freeze.
pub fn unfreeze(session: &Session, name: &str) -> Command {
    Command::new(Verb::Unfreeze).connection(&session.flags).word(name)
}

fn end(session: &Session, args: &FreezeArgs) -> Result<Timestamp, Failure> {
    let now = session.now().to_zoned(session.zone.clone());
    match (&args.length, &args.until) {
        (Some(length), _) => clock::within("--for", length, &now),
        (None, Some(until)) => clock::next("--until", until, &now),
        (None, None) => Err(Failure::usage("Say until when: --for 2h, or --until TIME.")),
    }
}

fn build(args: &FreezeArgs, end: Timestamp) -> Freeze {
    let both = args.changes == args.automation;
    let halves = [(Stops::Changes, args.changes), (Stops::Automation, args.automation)];
    let spec = FreezeSpec {
        policy_ref: NameRef { name: args.policy.clone() },
        stops: halves.into_iter().filter(|(_, named)| both || *named).map(|(half, _)| half).collect(),
        reason: args.why.clone(),
        end_time: Some(stored_time(end)),
        ..FreezeSpec::default()
    };
    let mut freeze = Freeze::new("", spec);
    let prefix: String = args.policy.chars().take(200).collect();
    freeze.metadata = ObjectMeta {
        name: args.name.clone(),
        generate_name: args.name.is_none().then(|| format!("{prefix}-")),
        ..ObjectMeta::default()
    };
    freeze
}

/// What a freeze stops: `changes and automation`.
pub fn halves(spec: &FreezeSpec) -> &'static str {
    match (spec.stops.contains(&Stops::Changes), spec.stops.contains(&Stops::Automation)) {
        (true, true) => "changes and automation",
        (true, false) => "changes",
        _ => "automation",
    }
}

fn about_to(spec: &FreezeSpec, policy: &ChangePolicy, until: &str) -> String {
    let name = name_of(policy);
    let place = names(namespaces(policy, ""), "no namespace");
    let mut lines = vec![
        format!("You stop {} in {place} (cpol/{name}) until {until}.", halves(spec)),
        format!("Why: {}", spec.reason),
    ];
    if spec.stops.contains(&Stops::Changes) {
        let leads = policy.spec.incident.as_ref().map_or(&[][..], |rule| &rule.leads.groups);
        let leads = names(leads.iter().map(String::as_str), "nobody, as the policy names no leads");
        lines.push(format!(
            "A change then needs one lead ({leads}) and a peer, also one that is approved already."
        ));
        if policy.spec.enforcement != Enforcement::Deny {
            let how = policy.spec.enforcement;
            lines.push(format!(
                "But cpol/{name} refuses nothing (enforcement: {how:?}): changes pass all the same."
            ));
        }
    }
    if spec.stops.contains(&Stops::Automation) {
        lines.push(
            "No run then starts by itself, and one that did waits before its next act. People can still start runs."
                .to_owned(),
        );
    }
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Typed {
        #[command(flatten)]
        args: FreezeArgs,
    }

    fn typed(words: &[&str]) -> Result<FreezeArgs, clap::Error> {
        Typed::try_parse_from([&["freeze"], words].concat()).map(|typed| typed.args)
    }

    fn built(words: &[&str]) -> Freeze {
        build(&typed(words).unwrap(), "2026-11-22T04:10:00.5Z".parse().unwrap())
    }

    #[test]
    fn a_freeze_stops_both_halves_unless_one_is_named() {
        let stops = |words: &[&str]| {
            built(&[&["production", "--for", "2h", "--why", "w"], words].concat()).spec.stops
        };
        let both = [Stops::Changes, Stops::Automation];
        assert_eq!(stops(&[]), both);
        assert_eq!(stops(&["--changes", "--automation"]), both);
        assert_eq!(stops(&["--changes"]), [Stops::Changes]);
        assert_eq!(stops(&["--automation"]), [Stops::Automation]);
    }

    #[test]
    fn a_freeze_has_an_end_a_reason_and_a_name() {
        let freeze = built(&["cpol/production", "--until", "14:00", "--why", "sale"]);
        assert_eq!(freeze.spec.policy_ref.name, "production");
        assert_eq!(freeze.spec.reason, "sale");
        assert_eq!(freeze.spec.end_time.unwrap().0.to_string(), "2026-11-22T04:10:00Z");
        assert_eq!(
            (freeze.metadata.name, freeze.metadata.generate_name.as_deref()),
            (None, Some("production-"))
        );
        let named = built(&["production", "--for", "2h", "--why", "sale", "--name", "sale"]);
        assert_eq!((named.metadata.name.as_deref(), named.metadata.generate_name), (Some("sale"), None));
    }

    #[test]
    fn a_freeze_without_an_end_or_a_reason_is_wrong_usage() {
        for words in [
            &["production", "--why", "w"][..],
            &["production", "--for", "2h"],
            &["production", "--for", "2h", "--until", "14:00", "--why", "w"],
            &["frz/production", "--for", "2h", "--why", "w"],
        ] {
            assert!(typed(words).is_err(), "{words:?}");
        }
    }

    #[test]
    fn the_question_says_whom_it_stops() {
        let policy = |edit: serde_json::Value| {
            let mut spec = serde_json::json!({"scope": {"namespaces": {"names": ["shop"]}}, "approval": {},
                "incident": {"leads": {"groups": ["shop-leads"]}}});
            json_patch::merge(&mut spec, &edit);
            ChangePolicy::new("production", serde_json::from_value(spec).unwrap())
        };
        let freeze = built(&["production", "--for", "2h", "--why", "sale"]);
        let asked = |edit| about_to(&freeze.spec, &policy(edit), "14:00");
        let plain = asked(serde_json::json!({}));
        assert!(plain.starts_with(
            "You stop changes and automation in shop (cpol/production) until 14:00.\nWhy: sale\n"
        ));
        assert!(plain.contains("one lead (shop-leads) and a peer"), "{plain}");
        assert!(asked(serde_json::json!({"incident": null})).contains("names no leads"));
        assert!(
            asked(serde_json::json!({"enforcement": "Warn"})).contains("refuses nothing (enforcement: Warn)")
        );
    }
}
