//! Rotations as people live with them: swaps, leave, and the calendar in the terminal.

use serde_json::{Value, json};

use crate::support::{Cluster, Person, condition, eventually, fresh, http};

const HOUR: jiff::SignedDuration = jiff::SignedDuration::from_hours(1);

/// A namespace with the rotation `payments`: emil for good; bea may stand in.
struct Rota {
    admin: Person,
    namespace: String,
}

impl Rota {
    fn open() -> Rota {
        let cluster = Cluster::shared();
        let (admin, namespace) = (cluster.admin(), fresh("rota"));
        admin.types(&format!("kubectl create namespace {namespace}")).passes();
        for user in ["emil", "bea", "zoe"] {
            let bind = "kubectl create rolebinding --clusterrole mayday-responder";
            admin.types(&format!("{bind} -n {namespace} {user} --user {user}")).passes();
        }
        let rota = Rota { admin, namespace };
        rota.applies(&json!({"apiVersion": "mayday.dev/v1alpha1", "kind": "OnCallRotation", "metadata": {"name": "payments"},
            "spec": {"timeZone": "Europe/Berlin", "people": [{"name": "emil", "user": "emil"}, {"name": "bea", "user": "bea"}],
                "layers": [{"name": "always", "start": "2026-01-05T09:00", "shift": {"unit": "Weeks", "length": 1},
                    "turns": [{"people": ["emil"]}]}]}}));
        eventually("emil is on duty", || (rota.on_duty() == "emil").then_some(()));
        rota
    }

    fn applies(&self, object: &Value) {
        self.admin.pipes(&object.to_string(), &format!("kubectl apply -n {} -f -", self.namespace)).passes();
    }

    fn on_duty(&self) -> String {
        let rotation = self.admin.reads(&format!("oncall/payments -n {}", self.namespace));
        rotation["status"]["onDutyNames"].as_str().unwrap_or_default().to_owned()
    }

    /// A swap of emil and bea between two instants, relative to now.
    fn swap(&self, name: &str, from: i32, to: i32) -> Value {
        let now = jiff::Timestamp::now();
        let at = |hours: i32| (now + HOUR * hours).strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
        json!({"apiVersion": "mayday.dev/v1alpha1", "kind": "OnCallOverride", "metadata": {"name": name},
            "spec": {"rotationRef": {"name": "payments"}, "startTime": at(from), "endTime": at(to),
                "swap": {"person": "emil", "by": "bea"}}})
    }

    fn state(&self, name: &str, reason: &str) -> Value {
        eventually(reason, || {
            let stored = self.admin.reads(&format!("override/{name} -n {}", self.namespace));
            let active = condition(&stored, "Active").filter(|active| active["reason"] == reason)?;
            Some(active.clone())
        })
    }

    fn answer(&self, name: &str, answer: &str) -> String {
        let patch = format!("{{\"spec\":{{\"swap\":{{\"answer\":{answer}}}}}}}");
        format!("kubectl patch -n {} override/{name} --type merge -p '{patch}'", self.namespace)
    }
}

// Kind of fault: somebody else agrees to a swap in a person's name, who then knows nothing of their shift.
#[test]
fn a_swap_is_taken_only_by_the_person_who_is_asked() {
    let cluster = Cluster::shared();
    let rota = Rota::open();
    let (emil, bea, zoe) =
        (cluster.person("emil", &[]), cluster.person("bea", &[]), cluster.person("zoe", &[]));
    let swap = rota.swap("concert", 2, 3);
    emil.pipes(&swap.to_string(), &format!("kubectl apply -n {} -f -", rota.namespace)).passes();
    rota.state("concert", "Asked");

    for (person, who) in [(&emil, "emil"), (&zoe, "zoe"), (&rota.admin, "an admin")] {
        let said = person.types(&rota.answer("concert", "\"Taken\"")).is_refused();
        assert!(
            said.contains("only bea takes override/concert, logged in directly as user bea"),
            "{who}: {said}"
        );
    }
    let said = rota.admin.types(&format!("{} --as bea", rota.answer("concert", "\"Taken\""))).is_refused();
    assert!(said.contains("only bea takes"), "{said}");
    bea.types(&rota.answer("concert", "\"Taken\"")).passes();
    rota.state("concert", "Scheduled");
    let later = "{\"spec\":{\"endTime\":\"2036-01-01T00:00:00Z\"}}";
    let longer = format!("kubectl patch -n {} override/concert --type merge -p '{later}'", rota.namespace);
    let said = emil.types(&longer).is_refused();
    assert!(said.contains("a swap that was answered stays as it was agreed"), "{said}");

    // The calendar shows it, and both may undo it.
    let calendar =
        || bea.types(&format!("kubectl mayday oncall -n {} payments --days 1", rota.namespace)).passes();
    let drawn = calendar();
    assert!(drawn.contains("On duty: emil") && drawn.contains("override concert"), "{drawn}");
    let said = zoe.types(&rota.answer("concert", "null")).is_refused();
    assert!(said.contains("only bea and emil change the answer"), "{said}");
    emil.types(&rota.answer("concert", "\"Declined\"")).passes();
    rota.state("concert", "Declined");
    assert!(!calendar().contains("override concert"));

    // The plugin finds the shift, shows what changes, and writes nothing that changes nothing.
    let ask = format!("kubectl mayday oncall swap -n {} payments --with bea --yes", rota.namespace);
    let said = emil.types(&ask).passes();
    assert!(said.contains("You ask bea to take this of emil in oncall/payments"), "{said}");
    let nothing =
        format!("kubectl mayday oncall override -n {} payments --add emil --for 2h --yes", rota.namespace);
    let said = emil.types(&nothing).is_refused();
    assert!(said.contains("Nothing was written: ") && said.contains("with and without it"), "{said}");
    let said = zoe.types(&ask).is_refused();
    assert!(said.contains("You are zoe, and oncall/payments has no person of that user"), "{said}");

    // Whose shifts an edit would move is seen before it is applied.
    let mut edited = rota.admin.reads(&format!("oncall/payments -n {}", rota.namespace));
    edited["spec"]["layers"][0]["turns"] = json!([{"people": ["bea"]}, {"people": ["emil"]}]);
    let diff = format!("kubectl mayday oncall diff -n {} -f -", rota.namespace);
    let said = emil.pipes(&edited.to_string(), &diff).passes();
    assert!(
        said.contains("oncall/payments: next shifts that move: bea: ") && said.contains(", new"),
        "{said}"
    );

    // What began without an answer has lapsed.
    rota.applies(&rota.swap("late", -1, 1));
    rota.state("late", "Lapsed");
    let said = bea.types(&rota.answer("late", "\"Taken\"")).is_refused();
    assert!(said.contains("has lapsed"), "{said}");
    assert_eq!(rota.on_duty(), "emil");
}

// Kind of fault: a calendar that anybody can read by guessing a name, or that shows other shifts than the pages go to.
#[test]
fn a_calendar_program_reads_the_shifts_with_the_token_only() {
    let cluster = Cluster::shared();
    let rota = Rota::open();
    let token = "0123456789abcdef0123456789abcdef";
    let get = |query: &str| {
        let path = format!("/v1/oncall/{}/payments.ics{query}", rota.namespace);
        http(&format!("127.0.0.1:{}", cluster.port("intake-0")), &format!("GET {path} HTTP/1.0\r\n\r\n"))
    };
    let with_token = format!("?token={token}");
    assert_eq!(get(&with_token).0, 404, "it has no calendar yet");
    let wanted = "{\"spec\":{\"calendarFeed\":{\"secretRef\":{\"name\":\"calendar\"}}}}";
    let patch = format!("kubectl patch -n {} oncall/payments --type merge -p '{wanted}'", rota.namespace);
    rota.admin.types(&patch).passes();
    eventually("the missing Secret is said", || {
        let rotation = rota.admin.reads(&format!("oncall/payments -n {}", rota.namespace));
        let ready = condition(&rotation, "Ready").filter(|ready| ready["status"] == "False")?;
        let said = ready["message"].as_str()?;
        (said.contains("spec.calendarFeed: Secret calendar does not exist") && said.ends_with("emil on duty"))
            .then_some(())
    });
    rota.applies(&json!({"apiVersion": "v1", "kind": "Secret", "type": "mayday.dev/credential",
        "metadata": {"name": "calendar"}, "stringData": {"token": token}}));
    let file = eventually("the calendar is there", || {
        let (status, file) = get(&with_token);
        (status == 200).then_some(file)
    });
    assert!(file.contains("BEGIN:VCALENDAR\r\n") && file.contains(": emil\r\n"), "{file}");
    for query in ["", "?token=", "?token=0123456789abcdef0123456789abcdee", "?token=0"] {
        let (status, said) = get(query);
        assert_eq!(status, 404, "{query}");
        assert!(said.contains("there is no such calendar, or the token is wrong"), "{said}");
    }
    let (status, file) = get(&format!("{with_token}&person=bea"));
    assert!(status == 200 && !file.contains("BEGIN:VEVENT"), "bea has no shift: {file}");
    assert_eq!(get(&format!("{with_token}&person=zoe")).0, 404);
}

// Kind of fault: a person learns of a shift from the first page at night.
#[test]
fn a_person_is_told_once_before_a_shift_begins() {
    let cluster = Cluster::shared();
    let rota = Rota::open();
    // A turn of bea begins within a day, whenever this runs.
    let start = jiff::Timestamp::now() - HOUR * 23;
    let contact = |address: &str| json!([{"channelRef": {"name": "hook"}, "address": address}]);
    let rotation = json!({"apiVersion": "mayday.dev/v1alpha1", "kind": "OnCallRotation", "metadata": {"name": "nights"},
        "spec": {"timeZone": "UTC", "remind": "4h",
            "people": [{"name": "emil", "user": "emil", "contacts": contact("e")},
                {"name": "bea", "user": "bea", "contacts": contact("b")}],
            "layers": [{"name": "daily", "start": start.strftime("%Y-%m-%dT%H:%M").to_string(),
                "shift": {"unit": "Days", "length": 1}, "turns": [{"people": ["emil"]}, {"people": ["bea"]}]}]}});
    rota.applies(&rotation);
    let reminders = || -> Vec<Value> {
        let stored = rota.admin.reads(&format!("ntf -n {}", rota.namespace));
        let all = stored["items"].as_array().into_iter().flatten();
        all.filter(|one| one["spec"]["purpose"] == "Reminder").cloned().collect()
    };
    let told = eventually("bea is told", || reminders().first().cloned());
    assert_eq!(
        (told["spec"]["about"].as_str(), told["spec"]["address"].as_str()),
        (Some("oncall/nights"), Some("b"))
    );
    let text = told["spec"]["text"].as_str().unwrap();
    assert!(
        text.starts_with("bea, you are on duty in nights from ")
            && text.contains("kubectl mayday oncall -n "),
        "{text}"
    );

    // Looked at again, it is not said again; nor does the gap of another rotation go unseen in the metrics.
    let gap = rotation.to_string().replace("nights", "gaps").replace("\"remind\":\"4h\",", "");
    let mut gap: Value = serde_json::from_str(&gap).unwrap();
    gap["spec"]["layers"][0]["until"] = (start + HOUR * 48).strftime("%Y-%m-%dT%H:%M").to_string().into();
    rota.applies(&gap);
    eventually("the uncovered time is counted", || {
        let (_, metrics) = cluster.operator(0).get("/metrics");
        let line = metrics.lines().find_map(|line| line.strip_prefix("mayday_oncall_uncovered_seconds "))?;
        (line.parse::<f64>().unwrap() > 28.0 * 86_400.0).then_some(())
    });
    assert_eq!(reminders().len(), 1);
}
