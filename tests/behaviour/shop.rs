//! The shop of the samples: its people, its alerts, and what the audit log says was done to it.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use std::io::{Read, Write};
use std::net::TcpStream;

use serde_json::{Value, json};

use crate::audit;
use crate::receiver::Receiver;
use crate::support::{Cluster, Person, condition, eventually, sample};

/// The account that does the restarts of the samples.
pub const RUNBOOKS: &str = "system:serviceaccount:shop:checkout-runbooks";
/// The token of the sample's intake.
pub const TOKEN: &str = "a-long-random-token";

/// The shop in a cluster of one's own, everything of the samples applied and ready, the runbook approved.
pub struct Shop<'a> {
    pub cluster: &'a Cluster,
    pub receiver: Receiver,
    pub admin: Person,
    pub emil: Person,
    pub amir: Person,
    pub bea: Person,
    pub lena: Person,
    /// How long the audit log was when everything was ready.
    opened: usize,
}

impl<'a> Shop<'a> {
    /// Opens it; `edits` are replacements in the samples, each of which must be found in one of them.
    pub fn open(cluster: &'a Cluster, edits: &[(&str, &str)]) -> Shop<'a> {
        let receiver = Receiver::start();
        let files = [
            "00-shop",
            "05-access",
            "10-policy",
            "20-oncall",
            "21-channels",
            "25-service",
            "30-detect",
            "40-runbooks",
        ];
        let mut samples: Vec<String> = files.map(|name| sample(&format!("{name}.yaml"))).to_vec();
        let url = receiver.url();
        // emil sees his dentist on another day than that of the test.
        let fixed = [("http://127.0.0.1:18080/pages", url.as_str()), ("\"2026-11-24T", "\"2096-11-24T")];
        for (old, new) in [&fixed, edits].concat() {
            let found = samples.iter().any(|sample| sample.contains(old));
            assert!(found, "no sample has {old}");
            samples.iter_mut().for_each(|sample| *sample = sample.replace(old, new));
        }
        let admin = cluster.admin();
        for sample in samples {
            admin.applies(&sample).passes();
        }
        let engineer = |name| cluster.person(name, &["shop-engineers"]);
        let approver = |name| cluster.person(name, &["shop-approvers"]);
        let (emil, amir, bea) = (engineer("emil"), approver("amir"), approver("bea"));
        let lena = cluster.person("lena", &["shop-leads"]);
        let mut shop = Shop { cluster, receiver, admin, emil, amir, bea, lena, opened: 0 };
        for (what, wanted) in
            [("cpol/production", "Enforced"), ("oncall/payments", "Ready"), ("bsvc/checkout", "Ready")]
        {
            eventually(&format!("{what} is {wanted}"), || shop.holds(what, wanted));
        }
        eventually("checkout is available", || {
            let deployment = shop.admin.reads("deploy/checkout -n shop");
            (deployment["status"]["availableReplicas"] == 3).then_some(())
        });
        shop.opened = audit::end(&cluster.file("")).unwrap();
        shop
    }

    /// Approves a Runbook as both approvers, and waits until it may run.
    #[track_caller]
    pub fn is_approved(&self, runbook: &str) {
        self.is_approved_in("shop", runbook);
    }

    /// The same in another namespace.
    #[track_caller]
    pub fn is_approved_in(&self, namespace: &str, runbook: &str) {
        self.both_approve(namespace, runbook);
        eventually(&format!("rb/{runbook} is approved and ready"), || {
            let found = self.admin.reads(&format!("rb/{runbook} -n {namespace}"));
            let holds = |kind: &str| condition(&found, kind).is_some_and(|found| found["status"] == "True");
            (holds("Approved") && holds("Ready")).then_some(())
        });
    }

    /// Approves a Runbook as both approvers.
    #[track_caller]
    pub fn both_approve(&self, namespace: &str, runbook: &str) {
        for approver in [&self.amir, &self.bea] {
            approver.types(&format!("kubectl mayday approve -n {namespace} rb/{runbook} --yes")).passes();
        }
    }

    fn holds(&self, what: &str, kind: &str) -> Option<()> {
        let object = self.admin.reads(&format!("{what} -n shop"));
        (condition(&object, kind)?["status"] == "True").then_some(())
    }

    /// The run with this name, once it is in this state. A run that has ended otherwise never will be.
    #[track_caller]
    pub fn run_comes_to(&self, run: &str, state: &str) -> Value {
        eventually(&format!("run/{run} is {state}"), || {
            let found = self.admin.reads(&format!("run/{run} -n shop"));
            let now = &found["status"]["state"];
            let has_ended = found["status"]["endTime"].is_string();
            assert!(!has_ended || now == state, "it is {now}: {:#}", found["status"]);
            (now == state).then_some(found)
        })
    }

    /// Every pod of checkout stops answering, as its node sees it.
    pub fn gets_stuck(&self) {
        let dir = self.cluster.file("");
        self.cluster.script("stick", &[dir.to_str().unwrap(), "shop", "app=checkout"]);
    }

    /// Posts a body to the intake of an operator; the status and the sentence of the answer.
    pub fn posts(&self, operator: u32, token: &str, body: &[u8]) -> (u16, String) {
        post(self.cluster.port(&format!("intake-{operator}")), "/v1/alerts/shop/alertmanager", token, body)
    }

    /// Posts an alert as Alertmanager does, which must be stored.
    pub fn alerts(&self, alert: &Value) {
        let (status, said) = self.posts(0, TOKEN, message(alert).to_string().as_bytes());
        assert_eq!((status, said.as_str()), (200, "stored\n"));
    }

    /// The incidents of the shop.
    pub fn incidents(&self) -> Vec<Value> {
        self.admin.reads("inc -n shop")["items"].as_array().unwrap().clone()
    }

    /// The only incident, once there is one and it meets the condition.
    #[track_caller]
    pub fn incident(&self, what: &str, holds: impl Fn(&Value) -> bool) -> Value {
        eventually(what, || {
            let incidents = self.incidents();
            assert!(incidents.len() <= 1, "one outage, one incident: {incidents:#?}");
            incidents.into_iter().next().filter(|incident| holds(incident))
        })
    }

    /// The Notifications about an object of the shop, such as `inc/checkout-x7k2p`, the oldest first.
    pub fn notifications(&self, about: &str) -> Vec<Value> {
        let mut found = self.admin.reads("ntf -n shop")["items"].as_array().unwrap().clone();
        found.retain(|notification| notification["spec"]["about"] == about);
        found.sort_by_key(|notification| notification["metadata"]["creationTimestamp"].to_string());
        found
    }

    /// The pages about the only incident that are stored.
    pub fn stored_pages(&self) -> Vec<Value> {
        let incidents = self.incidents();
        let names = incidents.iter().map(|incident| incident["metadata"]["name"].as_str().unwrap());
        let about = names.flat_map(|name| self.notifications(&format!("inc/{name}")));
        about.filter(|notification| notification["spec"]["purpose"] == "Page").collect()
    }

    /// The pages that arrived: to whom, and what was said.
    pub fn pages(&self) -> Vec<(String, String)> {
        let all = self.receiver.messages();
        let pages = all.iter().filter(|message| message.body["type"] == "page");
        pages.map(|page| (page.address().to_owned(), page.text().to_owned())).collect()
    }

    /// The audit log's verdict: what was changed in the shop since it was open, `emil: patch deployments/checkout`.
    pub fn changes(&self) -> Vec<String> {
        self.changed().iter().map(ToString::to_string).collect()
    }

    /// Who changed something in the shop since it was open: the verb and the user.
    pub fn writes(&self) -> Vec<(String, String)> {
        let verb = |act: &str| act.split(' ').next().unwrap_or_default().to_owned();
        self.changed().into_iter().map(|change| (verb(&change.act), change.user)).collect()
    }

    fn changed(&self) -> Vec<audit::Change> {
        let entries = audit::read(&self.cluster.file(""), self.opened).unwrap();
        audit::changes(&entries, "shop")
    }

    /// The runbook restarted checkout once, and no other account changed anything in the shop.
    #[track_caller]
    pub fn was_restarted_exactly_once(&self) {
        assert_eq!(self.changes(), [format!("{RUNBOOKS}: patch deployments/checkout")]);
    }
}

/// Name of the run that the plugin tells of.
pub fn run_named_in(told: &str) -> String {
    let name = told.split_whitespace().find_map(|word| word.strip_prefix("run/")).unwrap();
    name.trim_end_matches(['.', ':']).to_owned()
}

/// `CheckoutDown`, begun now, with changes to it.
pub fn checkout_down(change: &Value) -> Value {
    let mut alert = json!({
        "status": "firing", "startsAt": jiff::Timestamp::now().to_string(), "endsAt": "0001-01-01T00:00:00Z",
        "labels": {"alertname": "CheckoutDown", "severity": "error", "deployment": "checkout"},
        "annotations": {"summary": "checkout answers nobody"}, "fingerprint": "c0ffee",
    });
    json_patch::merge(&mut alert, change);
    alert
}

/// A message of Alertmanager with one alert.
pub fn message(alert: &Value) -> Value {
    json!({
        "version": "4", "groupKey": "{}:{}", "status": "firing", "receiver": "mayday", "truncatedAlerts": 0,
        "groupLabels": {"alertname": "CheckoutDown"}, "commonLabels": {}, "externalURL": "http://am", "alerts": [alert],
    })
}

/// Posts as curl does: a body of some size is sent when the receiver says that it wants it.
pub fn post(port: u16, path: &str, token: &str, body: &[u8]) -> (u16, String) {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    let head = format!(
        "POST {path} HTTP/1.1\r\nhost: mayday\r\nconnection: close\r\nauthorization: Bearer {token}\r\n\
         content-type: application/json\r\ncontent-length: {}\r\nexpect: 100-continue\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).unwrap();
    let mut answer = Vec::new();
    let mut byte = [0];
    while !answer.ends_with(b"\r\n\r\n") {
        stream.read_exact(&mut byte).unwrap();
        answer.push(byte[0]);
    }
    if answer.starts_with(b"HTTP/1.1 100") {
        stream.write_all(body).unwrap();
        answer.clear();
    }
    stream.read_to_end(&mut answer).unwrap();
    status_and_text(answer)
}

/// Begins to post with the token, and sends nothing of the body until the connection is dropped.
pub fn begins_to_post(port: u16, path: &str) -> TcpStream {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    let head = format!(
        "POST {path} HTTP/1.1\r\nhost: mayday\r\nauthorization: Bearer {TOKEN}\r\ncontent-length: 9\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).unwrap();
    stream
}

/// Posts with these headers (`name: value\r\n` each) as most programs do: sends all, and only then reads.
pub fn post_at_once(port: u16, path: &str, headers: &str, body: &[u8]) -> (u16, String) {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    let head = format!("POST {path} HTTP/1.1\r\nhost: mayday\r\nconnection: close\r\n{headers}\r\n");
    stream.write_all(&[head.as_bytes(), body].concat()).unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    status_and_text(answer)
}

fn status_and_text(answer: Vec<u8>) -> (u16, String) {
    let answer = String::from_utf8(answer).unwrap();
    let (head, text) = answer.split_once("\r\n\r\n").unwrap();
    (head.split(' ').nth(1).unwrap().parse().unwrap(), text.to_owned())
}
