//! `show`: where something stands, who must do what next, and with which command.

mod found;
mod frozen;
mod overview;
mod watch;

use clap::Args;
use mayday::api::{Incident, Runbook, RunbookRun};

use crate::client::address::{self, Address, Kind};
use crate::client::failure::Failure;
use crate::client::session::{Session, name_of, uid_of};
use crate::render;
use crate::render::Here;
use crate::render::output::{self, Format};
use crate::render::terminal::{say, say_exactly};
use found::Found;

#[derive(Debug, Args)]
pub struct ShowArgs {
    /// What to show: inc/NAME, chg/NAME, rb/NAME, run/NAME, a name alone, or all of a kind: inc, chg, rb, run [default:
    /// what is open in the namespace]
    #[arg(value_name = "KIND/NAME", num_args = 0..=2)]
    pub what: Vec<String>,
    /// How to print it: json, yaml or name [default: for people]
    #[arg(short, long, value_name = "FORMAT", value_parser = Format::any)]
    pub output: Option<Format>,
    /// In every namespace
    #[arg(short = 'A', long)]
    pub all_namespaces: bool,
    /// Print it again whenever it changes
    #[arg(short, long)]
    pub watch: bool,
}

/// What a person asks to see.
#[derive(Clone, Debug, PartialEq)]
enum What {
    /// What is open.
    Open,
    /// All objects of a kind.
    All(Kind),
    /// One object.
    One(Address),
    /// The one object of that name, of whatever kind.
    Named(String),
}

impl What {
    fn of(words: &[String]) -> Result<What, String> {
        match words {
            [] => Ok(What::Open),
            [one] if one.contains('/') => one.parse().map(What::One),
            [one] => match address::kind(one) {
                Some(kind) => Ok(What::All(kind)),
                None => address::checked_name(one).map(What::Named),
            },
            [kind, name, ..] => format!("{kind}/{name}").parse().map(What::One),
        }
    }
}

/// What is shown, where, and in which form.
struct View {
    what: What,
    output: Option<Format>,
    all_namespaces: bool,
}

pub async fn run(session: &Session, args: ShowArgs) -> Result<(), Failure> {
    let what = What::of(&args.what).map_err(Failure::usage)?;
    if args.all_namespaces && matches!(what, What::One(_) | What::Named(_)) {
        return Err(Failure::usage("One object is in one namespace: leave out -A, and name it with -n."));
    }
    let view = View { what, output: args.output, all_namespaces: args.all_namespaces };
    if args.watch {
        return watch::follow(session, &view).await;
    }
    let text = view.text(session).await?;
    match view.output {
        Some(_) if text.is_empty() => {}
        Some(_) => say_exactly(&text),
        None => say(&text),
    }
    Ok(())
}

impl View {
    /// What is shown now.
    async fn text(&self, session: &Session) -> Result<String, Failure> {
        match &self.what {
            What::Open => overview::open(session, self).await,
            What::All(kind) => overview::all(session, self, *kind).await,
            What::One(address) => self.one(session, Found::get(session, address).await?).await,
            What::Named(name) => self.one(session, Found::named(session, name).await?).await,
        }
    }

    async fn one(&self, session: &Session, found: Found) -> Result<String, Failure> {
        match self.output {
            Some(format) => Ok(output::text(format, &found.value())),
            None => found.text(session).await,
        }
    }
}

/// Reads what belongs to the incident, and prints it.
pub async fn print_incident(session: &Session, incident: &Incident) -> Result<(), Failure> {
    say(&incident_text(session, incident).await?);
    Ok(())
}

async fn incident_text(session: &Session, incident: &Incident) -> Result<String, Failure> {
    let status = incident.status.clone().unwrap_or_default();
    let mut runbooks = Vec::new();
    for matching in &status.runbooks {
        // One that was deleted meanwhile is still named, only its instructions are gone.
        runbooks.extend(session.find::<Runbook>(&matching.name).await?);
    }
    let mut runs: Vec<RunbookRun> = session.list().await?;
    runs.retain(|run| belongs_to(run, incident));
    runs.sort_by(|a, b| a.metadata.creation_timestamp.cmp(&b.metadata.creation_timestamp));
    Ok(render::incident::describe(incident, &runbooks, &runs, &Here::of(session)))
}

fn belongs_to(run: &RunbookRun, incident: &Incident) -> bool {
    let listed =
        incident.status.as_ref().is_some_and(|status| status.runs.iter().any(|r| r.name == name_of(run)));
    let exact = run.status.as_ref().and_then(|status| status.incident_ref.as_ref());
    match exact {
        Some(exact) => exact.uid == uid_of(incident),
        None => listed || run.spec.incident_ref.as_ref().is_some_and(|named| named.name == name_of(incident)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_object_is_named_as_with_kubectl() {
        let of = |words: &[&str]| What::of(&words.iter().map(|&word| word.to_owned()).collect::<Vec<_>>());
        let one = Address { kind: Kind::Runbook, name: "restart".into() };
        assert_eq!(of(&[]), Ok(What::Open));
        assert_eq!(of(&["rb/restart"]), Ok(What::One(one.clone())));
        assert_eq!(of(&["runbooks", "restart"]), Ok(What::One(one)));
        assert_eq!(of(&["rb"]), Ok(What::All(Kind::Runbook)));
        assert_eq!(of(&["checkout-x7k2p"]), Ok(What::Named("checkout-x7k2p".into())));
        assert!(of(&["deploy/checkout"]).unwrap_err().contains("write inc/NAME"));
        assert!(of(&["Check Out"]).is_err());
    }

    #[test]
    fn a_run_of_an_older_incident_of_the_same_name_does_not_belong() {
        let mut incident = Incident::new("checkout-x7k2p", Default::default());
        incident.metadata.uid = Some("new".into());
        let mut run = RunbookRun::new("r", mayday::api::runbook_run::RunbookRunSpec::default());
        run.spec.incident_ref = Some(mayday::api::common::NameRef { name: "checkout-x7k2p".into() });
        assert!(belongs_to(&run, &incident));
        let old = mayday::api::common::UidRef { name: "checkout-x7k2p".into(), uid: "old".into() };
        run.status = Some(mayday::api::runbook_run::RunbookRunStatus {
            incident_ref: Some(old),
            ..Default::default()
        });
        assert!(!belongs_to(&run, &incident));
    }
}
