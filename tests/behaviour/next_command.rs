//! The next command always works: each command that a refusal, a condition, a page or `status.next` prints is typed as
//! it stands there, by the person it is printed for, and does what was said.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use std::cell::RefCell;
use std::collections::BTreeSet;

use mayday::command::{PROGRAM, shapes};
use serde_json::json;

use crate::change::shop::GLASS;
use crate::shop::{Shop, checkout_down};
use crate::support::{Cluster, Output, Person, condition, eventually, words};

/// What people type by themselves: no text prints it, and the plugin's own tests parse it.
const NEVER_PRINTED: [&str; 5] =
    ["completion", "freeze --for --why", "logs run", "version", "who --all-namespaces"];
/// Verbs that only read: they ask nothing, so they take no `--yes`.
const READING: [&str; 3] = ["report", "show", "who"];

/// The commands of the plugin in a text, as a person would copy them.
fn printed(text: &str) -> Vec<String> {
    text.match_indices(PROGRAM).map(|(at, _)| first_command(&text[at..])).collect()
}

/// The command at the start of a text: to the end of the line or the sentence, outside quotes.
fn first_command(text: &str) -> String {
    let mut quote = None;
    let mut end = text.len();
    for (at, character) in text.char_indices() {
        let rest = &text[at..];
        match quote {
            Some(open) if character == open => quote = None,
            Some(_) => {}
            None if character == '\'' || character == '"' => quote = Some(character),
            None if [". ", ", ", "; ", ") ", ")", "\n", " ("].iter().any(|stop| rest.starts_with(stop)) => {
                end = at;
                break;
            }
            None => {}
        }
    }
    text[..end].trim_end_matches(['.', ',']).trim_end().to_owned()
}

/// What makes a command another one: the verb, the kind that it is about, and the flags.
fn shape(words: &[String]) -> String {
    let mut shape = BTreeSet::new();
    let own = words.iter().position(|word| word == "--").unwrap_or(words.len());
    for word in words[1..own].iter().filter(|word| *word != "-n") {
        let kind = word.split_once('/').map(|(kind, _)| kind).filter(|_| words[0] != "ask");
        if word.starts_with('-') {
            shape.insert(word.clone());
        } else if let Some(kind) = kind.filter(|kind| kind.chars().all(|c| c.is_ascii_lowercase())) {
            shape.insert(kind.to_owned());
        }
    }
    let rest: Vec<String> = shape.into_iter().collect();
    format!("{} {}", words[0], rest.join(" ")).trim_end().to_owned()
}

/// What was typed so far.
#[derive(Default)]
struct Desk {
    typed: RefCell<BTreeSet<String>>,
}

impl Desk {
    /// Types the first printed command of that verb and with these words. Whatever stands there for something that only
    /// the reader knows is filled in: `(placeholder, value)`.
    #[track_caller]
    fn types(&self, person: &Person, text: &str, wanted: &str, fill: &[(&str, &str)]) -> Output {
        let is_wanted = |command: &String| {
            let parts = words(command);
            let mut wanted = wanted.split(' ');
            parts.get(2).map(String::as_str) == wanted.next()
                && wanted.all(|word| parts.iter().any(|part| part == word))
        };
        let commands = printed(text);
        let Some(command) = commands.iter().find(|command| is_wanted(command)) else {
            panic!("no command {wanted:?} is printed here: {text}")
        };
        self.typed.borrow_mut().insert(shape(&words(command)[2..]));
        let mut line = command.clone();
        for (placeholder, value) in fill {
            assert!(line.contains(placeholder), "{placeholder:?} is not in: {line}");
            line = line.replacen(placeholder, value, 1);
        }
        // Without a terminal, --yes is the person's answer.
        if !READING.contains(&wanted.split(' ').next().unwrap()) && !line.contains("--help") {
            // What is in no namespace takes no -n.
            line = match line.contains(" -n ") {
                true => line.replacen(" -n ", " --yes -n ", 1),
                false => format!("{line} --yes"),
            };
        }
        person.pastes(&line)
    }

    /// The same, and it must work; what was printed.
    #[track_caller]
    fn follows(&self, person: &Person, text: &str, wanted: &str) -> String {
        self.fills(person, text, wanted, &[])
    }

    #[track_caller]
    fn fills(&self, person: &Person, text: &str, wanted: &str, fill: &[(&str, &str)]) -> String {
        self.types(person, text, wanted, fill).passes()
    }
}

/// The shop with kim, who may lead too, and what the story needs.
struct Story<'a> {
    desk: Desk,
    shop: &'a Shop<'a>,
    kim: Person,
}

impl Story<'_> {
    /// `status.next.command` of an object of the shop, once it has that verb.
    #[track_caller]
    fn next(&self, what: &str, verb: &str) -> String {
        self.next_in("shop", what, verb)
    }

    #[track_caller]
    fn next_in(&self, namespace: &str, what: &str, verb: &str) -> String {
        eventually(&format!("the next command of {what} is {verb}"), || {
            let object = self.shop.admin.reads(&format!("{what} -n {namespace}"));
            let command = object["status"]["next"]["command"].as_str()?.to_owned();
            command.starts_with(&format!("{PROGRAM} {verb} ")).then_some(command)
        })
    }

    fn names(&self, kind: &str) -> BTreeSet<String> {
        let list = self.shop.admin.reads(&format!("{kind} -n shop"));
        list["items"]
            .as_array()
            .unwrap()
            .iter()
            .map(|item| item["metadata"]["name"].as_str().unwrap().to_owned())
            .collect()
    }

    /// The object of a kind that an act makes.
    #[track_caller]
    fn made(&self, kind: &str, act: impl FnOnce()) -> String {
        let before = self.names(kind);
        act();
        let new = self.names(kind).into_iter().find(|name| !before.contains(name));
        format!("{kind}/{}", new.unwrap_or_else(|| panic!("no new {kind}")))
    }

    /// emil's command is refused, and what the refusal prints makes a request that can be approved.
    #[track_caller]
    fn asks(&self, refused: &str, wanted: &str, fill: &[(&str, &str)]) -> String {
        let shop = self.shop;
        let said = shop.emil.types(refused).is_refused();
        let request = self.made("chg", || drop(self.desk.fills(&shop.emil, &said, wanted, fill)));
        let stored = self.shop.admin.reads(&format!("{request} -n shop"));
        assert_eq!(condition(&stored, "Ready").unwrap()["status"], "True", "{refused}: {stored:#}");
        request
    }

    /// The same for a request that nobody needs afterwards.
    #[track_caller]
    fn asks_in_vain(&self, refused: &str, wanted: &str, fill: &[(&str, &str)]) {
        let request = self.asks(refused, wanted, fill);
        self.shop.emil.types(&format!("kubectl mayday withdraw -n shop {request} --yes")).passes();
    }

    fn changes_on_a_quiet_day(&self) {
        let (desk, shop) = (&self.desk, self.shop);
        let v2 = "kubectl set image -n shop deploy/checkout app=shop/checkout:v2";
        let request = self.asks(v2, "ask --image", &[]);
        desk.follows(&shop.amir, &self.next(&request, "approve"), "approve");
        // The refusal names the request that waits.
        let said = shop.emil.types(v2).is_refused();
        desk.follows(&shop.bea, &said, "approve");
        let applied = desk.follows(&shop.emil, &self.next(&request, "apply"), "apply");
        desk.follows(&shop.emil, &applied, "show");
        let running = shop.admin.reads("deploy/checkout -n shop");
        assert_eq!(running["spec"]["template"]["spec"]["containers"][0]["image"], "shop/checkout:v2");

        let request = self.asks("kubectl scale -n shop deploy/checkout --replicas 4", "ask --scale", &[]);
        shop.admin.types(&format!("kubectl scale -n shop deploy/checkout --replicas 5 {GLASS}")).passes();
        desk.follows(&shop.emil, &self.next(&request, "withdraw"), "withdraw");

        let request = self.asks("kubectl rollout restart -n shop deploy/checkout", "ask --restart", &[]);
        let approval = self.made("appr", || {
            drop(desk.follows(&shop.amir, &self.next(&request, "approve"), "approve"));
        });
        let said = shop.bea.types(&format!("kubectl delete -n shop {approval}")).is_refused();
        let reject = self.made("appr", || drop(desk.follows(&shop.bea, &said, "reject")));
        let said = shop.bea.types(&format!("kubectl delete -n shop {reject}")).is_refused();
        desk.follows(&shop.bea, &said, "ask --help");

        self.asks_in_vain("kubectl label -n shop deploy/checkout team=pay", "ask --patch", &[]);
        self.asks_in_vain("kubectl delete -n shop deploy/checkout", "ask --delete", &[]);
        let orphan = "kubectl delete -n shop deploy/checkout --cascade=orphan";
        self.asks_in_vain(orphan, "ask --delete --orphan", &[]);
        let create = "kubectl create configmap -n shop made --from-literal=a=b";
        self.asks_in_vain(create, "ask -f", &[]);

        let secret = "kubectl create secret generic -n shop made --from-literal=a=b";
        let said = shop.emil.types(secret).is_refused();
        desk.fills(&shop.emil, &said, "break-glass", &[("COMMAND", secret)]);
        shop.admin.reads("secret/made -n shop");
    }

    fn runs(&self) {
        let (desk, shop) = (&self.desk, self.shop);
        for person in [&shop.amir, &shop.bea] {
            let said = eventually("the runbook says how it is approved", || {
                let runbook = shop.admin.reads("rb/look-first -n shop");
                condition(&runbook, "Approved")?["message"].as_str().map(str::to_owned)
            });
            desk.follows(person, &said, "approve");
        }
        let as_emil = "kubectl create --as emil --as-group shop-engineers -f -";
        let run = "{apiVersion: mayday.dev/v1alpha1, kind: RunbookRun, metadata: {name: r, namespace: shop}, \
                   spec: {runbookRef: {name: look-first}}}";
        let said = shop.admin.pipes(run, as_emil).is_refused();
        let run = self.made("run", || drop(desk.follows(&shop.emil, &said, "run")));
        desk.follows(&shop.amir, &self.next(&run, "approve"), "approve");
        desk.follows(&shop.emil, &self.next(&run, "answer"), "answer");
        let seen = eventually("the run waits by itself", || {
            let seen = shop.emil.types(&format!("kubectl mayday show -n shop {run}")).passes();
            seen.contains(" cancel ").then_some(seen)
        });
        let said = desk.follows(&shop.emil, &seen, "cancel");
        desk.follows(&shop.emil, &said, "show");
    }

    fn incident(&self) {
        let (desk, shop) = (&self.desk, self.shop);
        shop.alerts(&checkout_down(&json!({"labels": {"alertname": "Odd"}})));
        let open = shop.incident("it is open", |incident| incident["status"]["state"] == "Open");
        let incident = format!("inc/{}", open["metadata"]["name"].as_str().unwrap());
        let said = desk.follows(&shop.emil, &self.next(&incident, "ack"), "ack");
        desk.follows(&shop.emil, &said, "show");
        desk.follows(&shop.lena, &said, "lead");
        eventually("lena leads", || {
            (shop.admin.reads(&format!("{incident} -n shop"))["status"]["lead"]["user"] == "lena")
                .then_some(())
        });
        let nominate = format!(
            r#"kubectl patch -n shop {incident} --type merge -p '{{"spec":{{"roles":{{"nominatedLead":{{"user":"kim"}}}}}}}}'"#
        );
        let said = shop.emil.types(&nominate).is_refused();
        desk.fills(&shop.lena, &said, "lead --to", &[("USER", "kim")]);
        desk.follows(&self.kim, &self.next(&incident, "lead"), "lead");
        eventually("kim leads", || {
            (shop.admin.reads(&format!("{incident} -n shop"))["status"]["lead"]["user"] == "kim")
                .then_some(())
        });
        let said = shop
            .amir
            .types(&format!("kubectl mayday update -n shop {incident} 'all is well' --yes"))
            .is_refused();
        desk.follows(&shop.amir, &said, "note");

        let said = shop.admin.types(&format!("kubectl delete -n shop {incident}")).is_refused();
        // Service is not back: the command says so, and how the lead ends it with a peer.
        let said = desk.types(&self.kim, &said, "resolve", &[]).is_refused();
        let request = self.made("chg", || drop(desk.follows(&self.kim, &said, "resolve --outcome --ask")));
        desk.follows(&shop.amir, &self.next(&request, "approve"), "approve");
        desk.follows(&self.kim, &self.next(&request, "apply"), "apply");
        desk.follows(&self.kim, &self.next(&incident, "report"), "report");
        let again = r#"{"spec":{"resolution":{"outcome":"FalseAlarm","reason":"it was none"}}}"#;
        let said = self
            .kim
            .types(&format!("kubectl patch -n shop {incident} --type merge -p '{again}'"))
            .is_refused();
        desk.follows(&shop.emil, &said, "declare");
    }

    /// An outage that a person reports, with a question as its only proof.
    fn incident_of_a_person(&self) {
        let (desk, shop) = (&self.desk, self.shop);
        let reported = "{apiVersion: mayday.dev/v1alpha1, kind: Incident, metadata: {name: odd, namespace: shop}, spec: \
            {title: Odd, severity: SEV2, impact: Some, returnToService: {stableFor: 1s, checks: [{name: works, \
            confirmation: {question: Does it work}}]}}}";
        shop.emil.pipes(reported, "kubectl create -f -").passes();
        let said = shop.emil.types("kubectl mayday show -n shop inc/nosuch").is_refused();
        desk.fills(&shop.emil, &said, "show", &[("NAMESPACE", "shop")]);
        let said = shop.amir.types("kubectl mayday lead -n shop inc/odd --yes").is_refused();
        desk.follows(&shop.amir, &said, "who");
        let said = shop.emil.types("kubectl mayday show -n shop rb/look-first").passes();
        desk.fills(&shop.emil, &said, "run --incident", &[("NAME", "odd")]);

        shop.lena.types("kubectl mayday lead -n shop inc/odd --yes").passes();
        let said = shop.lena.types("kubectl mayday lead -n shop inc/odd --communications kim --yes").passes();
        desk.follows(&self.kim, &said, "update");
        let said = self.kim.types("kubectl mayday update -n shop inc/odd --external --yes").is_refused();
        desk.follows(&self.kim, &said, "update --external");

        desk.follows(&shop.lena, &self.next("inc/odd", "answer"), "answer");
        self.next("inc/odd", "resolve");
        let said = shop.emil.types("kubectl mayday resolve -n shop inc/odd --yes").is_refused();
        self.made("chg", || drop(desk.follows(&shop.emil, &said, "resolve --ask")));
        desk.follows(&shop.lena, &self.next("inc/odd", "resolve"), "resolve");

        shop.emil.pipes(&reported.replace("odd", "odder"), "kubectl create -f -").passes();
        let end = "kubectl mayday resolve -n shop inc/odder --outcome duplicate --duplicate-of inc/odd --reason same --yes";
        let said = shop.emil.types(end).is_refused();
        self.made("chg", || {
            drop(desk.fills(&shop.emil, &said, "resolve --duplicate-of", &[("NAME", "odd")]))
        });
    }

    /// Where no policy governs, one person ends what the checks cannot prove.
    fn without_a_policy(&self) {
        let (desk, admin) = (&self.desk, &self.shop.admin);
        admin.types("kubectl create namespace bare").passes();
        let incident = "{apiVersion: mayday.dev/v1alpha1, kind: Incident, metadata: {name: odd, namespace: bare}, spec: \
            {title: Odd, severity: SEV2, impact: Some, returnToService: {stableFor: 1s, checks: [{name: never, \
            condition: {target: {apiVersion: apps/v1, kind: Deployment, name: none}, type: Available, status: 'True'}}]}}}";
        admin.pipes(incident, "kubectl create -f -").passes();
        desk.follows(admin, &self.next_in("bare", "inc/odd", "ack"), "ack");
        desk.follows(admin, &self.next_in("bare", "inc/odd", "resolve"), "resolve --outcome");
        let seen = eventually("nothing is open there", || {
            let seen = admin.types("kubectl mayday show -n bare").passes();
            seen.contains("--all-namespaces").then_some(seen)
        });
        desk.follows(admin, &seen, "show --all-namespaces");
    }

    /// A freeze says how it is lifted, and an approver does so.
    fn freeze(&self) {
        let (desk, shop) = (&self.desk, self.shop);
        let freeze = "kubectl mayday freeze production --for 1h --automation --why sale --name sale --yes";
        shop.lena.types(freeze).passes();
        let said = eventually("the freeze is on", || {
            let freeze = shop.admin.reads("frz/sale");
            let active = condition(&freeze, "Active").filter(|active| active["status"] == "True")?;
            active["message"].as_str().map(str::to_owned)
        });
        desk.follows(&shop.amir, &said, "unfreeze");
    }

    /// An override without effect says where to look.
    fn rota(&self) {
        let (desk, shop) = (&self.desk, self.shop);
        let absent = "{apiVersion: mayday.dev/v1alpha1, kind: OnCallOverride, metadata: {name: absent, namespace: shop}, \
            spec: {rotationRef: {name: payments}, startTime: '2036-01-01T00:00:00Z', endTime: '2036-01-02T00:00:00Z', \
            remove: {person: bea}}}";
        shop.admin.applies(absent).passes();
        let said = eventually("it changes nothing", || {
            let stored = shop.admin.reads("override/absent -n shop");
            let active =
                condition(&stored, "Active").filter(|active| active["reason"] == "ChangesNothing")?;
            active["message"].as_str().map(str::to_owned)
        });
        desk.follows(&shop.emil, &said, "oncall");

        // A swap says how it is answered.
        let ask = "kubectl mayday oncall swap -n shop payments --with bea --from 2036-02-01T00:00:00Z --for 2h --yes";
        let said = shop.emil.types(ask).passes();
        desk.follows(&shop.bea, &said, "oncall take");
        desk.follows(&shop.emil, &said, "oncall decline");

        // A gap says how somebody is added.
        let later = jiff::Timestamp::now() + jiff::SignedDuration::from_hours(48);
        let until = later.strftime("%Y-%m-%dT%H:%M").to_string();
        for (name, times, reason) in [
            ("empty", "effectiveFrom: '2036-01-01T00:00'".to_owned(), "UncoveredNow"),
            ("ends", format!("until: '{until}'"), "UncoveredLater"),
        ] {
            let rotation = format!(
                "{{apiVersion: mayday.dev/v1alpha1, kind: OnCallRotation, metadata: {{name: {name}, namespace: shop}}, \
                 spec: {{timeZone: UTC, people: [{{name: emil, user: emil}}], layers: [{{name: l, start: '2026-01-05T09:00', \
                 shift: {{unit: Weeks, length: 1}}, turns: [{{people: [emil]}}], {times}}}]}}}}"
            );
            shop.admin.applies(&rotation).passes();
            let said = eventually(reason, || {
                let stored = shop.admin.reads(&format!("oncall/{name} -n shop"));
                let covered = condition(&stored, "Covered").filter(|covered| covered["reason"] == reason)?;
                covered["message"].as_str().map(str::to_owned)
            });
            desk.fills(&shop.emil, &said, "oncall --add", &[("PERSON", "emil")]);
        }
    }

    /// A Runbook says how it is rehearsed.
    fn drill(&self) {
        let (desk, shop) = (&self.desk, self.shop);
        let rehearsed = "{apiVersion: mayday.dev/v1alpha1, kind: Runbook, metadata: {name: rehearsed, namespace: shop}, \
            spec: {summary: Rehearsed, start: Manual, approval: Standing, serviceAccountName: checkout-runbooks, \
            drill: {every: 720h}, steps: [{name: rest, wait: {duration: 1s}}]}}";
        shop.admin.applies(rehearsed).passes();
        let said = eventually("it asks for a drill", || {
            let runbook = shop.admin.reads("rb/rehearsed -n shop");
            condition(&runbook, "Drilled")?["message"].as_str().map(str::to_owned)
        });
        shop.is_approved("rehearsed");
        desk.follows(&shop.emil, &said, "run --drill");
    }

    fn decisions_and_glass(&self) {
        let (desk, shop) = (&self.desk, self.shop);
        let runbook = shop.admin.reads("rb/look-first -n shop");
        let approval = json!({"apiVersion": "mayday.dev/v1alpha1", "kind": "Approval",
            "metadata": {"name": "blind", "namespace": "shop"}, "spec": {"decision": "Approve", "subjectRef":
                {"kind": "Runbook", "name": "look-first", "uid": runbook["metadata"]["uid"]},
                "digest": format!("v1:sha256:{}", "0".repeat(64))}});
        let said = shop.amir.pipes(&approval.to_string(), "kubectl create -f -").is_refused();
        desk.follows(&shop.amir, &said, "show");

        // zoe may edit and break the glass, but not read policies, so the plugin cannot know which group it takes.
        let zoe = shop.cluster.person("zoe", &[]);
        for command in [
            "kubectl create clusterrolebinding zoe --clusterrole edit --user zoe",
            "kubectl create clusterrole zoe-glass --verb impersonate --resource users --resource-name zoe",
            "kubectl create clusterrole zoe-groups --verb impersonate --resource groups --resource-name shop-break-glass \
             --resource-name night",
            "kubectl create clusterrolebinding zoe-glass --clusterrole zoe-glass --user zoe",
            "kubectl create clusterrolebinding zoe-groups --clusterrole zoe-groups --user zoe",
        ] {
            shop.admin.types(command).passes();
        }
        let label = "kubectl label -n shop deploy/checkout zoe=was-here";
        let said = zoe
            .types(&format!("kubectl mayday break-glass -n shop --why night --yes -- {label}"))
            .is_refused();
        desk.fills(&zoe, &said, "break-glass --group", &[("NAME", "shop-break-glass"), ("COMMAND", label)]);
    }
}

#[test]
fn every_printed_command_does_what_was_said() {
    let cluster = Cluster::start("next-command");
    let shop = Shop::open(&cluster, &[("stableFor: 30s", "stableFor: 1s")]);
    let kim = cluster.person("kim", &["shop-leads"]);
    let runbook = "{apiVersion: mayday.dev/v1alpha1, kind: Runbook, metadata: {name: look-first, namespace: shop}, spec: \
        {summary: Look first, start: Manual, approval: PerRun, serviceAccountName: checkout-runbooks, steps: [\
        {name: look, manual: {instructions: Look at it}}, {name: rest, wait: {duration: 10m}}]}}";
    shop.admin.applies(runbook).passes();
    let story = Story { desk: Desk::default(), shop: &shop, kim };
    story.changes_on_a_quiet_day();
    story.runs();
    story.incident();
    story.incident_of_a_person();
    story.freeze();
    story.drill();
    story.rota();
    story.decisions_and_glass();
    story.without_a_policy();

    let typed = story.desk.typed.into_inner();
    let printed: BTreeSet<String> = shapes().iter().map(|command| shape(&command.words())).collect();
    assert!(NEVER_PRINTED.iter().all(|known| printed.contains(*known)), "{printed:?}");
    let printed: BTreeSet<String> =
        printed.into_iter().filter(|shape| !NEVER_PRINTED.contains(&shape.as_str())).collect();
    let missing: Vec<&String> = printed.difference(&typed).collect();
    assert!(missing.is_empty(), "printed, and never typed here: {missing:?}");
    cluster.stop();
}
