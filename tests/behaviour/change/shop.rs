//! A protected shop for one test, and the people of the samples.

use serde_json::Value;

use crate::audit;
use crate::support::{Cluster, Output, Person, condition, eventually, fresh, sample};

/// Flags with which admin, who may impersonate, breaks the glass.
pub const GLASS: &str = "--as=emil --as-group=shop-break-glass --as-group=shop-engineers";

/// A namespace with the sample application, protected by a policy of its own.
pub struct Shop {
    pub cluster: &'static Cluster,
    pub namespace: String,
    pub policy: String,
    /// Length of the audit log when the shop was opened.
    opened: usize,
}

impl Shop {
    /// A shop under a policy that is enforced.
    pub fn open() -> Shop {
        let mut shop = Shop::unprotected();
        let (policy, _freeze) = sample("10-policy.yaml").split_once("\n---").map(owned).unwrap();
        let policy = policy
            .replace("name: production", &format!("name: {}", shop.policy))
            .replace("names: [shop]", &format!("names: [{}]", shop.namespace));
        shop.admin().applies(&policy).passes();
        eventually("the policy is enforced", || {
            let policy = shop.admin().reads(&format!("cpol/{}", shop.policy));
            condition(&policy, "Enforced").filter(|enforced| enforced["status"] == "True").map(|_| ())
        });
        shop.opened = audit::end(&shop.cluster.file("")).unwrap();
        shop
    }

    /// A shop without a policy.
    pub fn unprotected() -> Shop {
        let cluster = Cluster::shared();
        let namespace = fresh("shop");
        let shop = Shop { cluster, policy: format!("production-{namespace}"), namespace, opened: 0 };
        let mine = |text: String| {
            text.replace("name: shop\n", &format!("name: {}\n", shop.namespace))
                .replace("namespace: shop", &format!("namespace: {}", shop.namespace))
        };
        shop.admin().applies(&mine(sample("00-shop.yaml"))).passes();
        let access = mine(sample("05-access.yaml"));
        let here = format!("namespace: {}}}", shop.namespace);
        let bindings: Vec<_> = access.split("\n---\n").filter(|object| object.contains(&here)).collect();
        shop.admin().applies(&bindings.join("\n---\n")).passes();
        shop.types(&shop.admin(), "kubectl rollout status -n NS deploy/checkout --timeout=60s").passes();
        shop
    }

    pub fn admin(&self) -> Person {
        self.cluster.admin()
    }

    pub fn emil(&self) -> Person {
        self.cluster.person("emil", &["shop-engineers"])
    }

    pub fn amir(&self) -> Person {
        self.cluster.person("amir", &["shop-approvers"])
    }

    pub fn bea(&self) -> Person {
        self.cluster.person("bea", &["shop-approvers"])
    }

    /// Types a command; `NS` stands for the namespace.
    pub fn types(&self, person: &Person, command: &str) -> Output {
        person.types(&command.replace("NS", &self.namespace))
    }

    /// Creates the objects of a manifest; `NS` stands for the namespace.
    pub fn creates(&self, person: &Person, manifest: &str) -> Output {
        person.pipes(&manifest.replace("NS", &self.namespace), "kubectl create -f -")
    }

    /// Asks as emil for version 2 under this name; the request is planned when the command ends.
    pub fn asks_for_v2(&self, name: &str) {
        let ask =
            "kubectl mayday ask -n NS deploy/checkout --image app=shop/checkout:v2 --why 'release v2' --yes";
        self.types(&self.emil(), &format!("{ask} --name {name}")).passes();
    }

    pub fn approves(&self, person: &Person, request: &str) -> Output {
        self.types(person, &format!("kubectl mayday approve -n NS chg/{request} --yes"))
    }

    /// Approves as both approvers, and waits until it counts.
    pub fn is_approved(&self, request: &str) {
        self.approves(&self.amir(), request).passes();
        self.approves(&self.bea(), request).passes();
        self.reaches(request, "Approved");
    }

    /// Gives emil the rights to write objects of a cluster-scoped kind of Mayday and to ask in the operator's namespace, and
    /// the approvers the right to approve there.
    pub fn lets_emil_write(&self, kind: &str) {
        let name = format!("{}-{kind}", self.policy);
        let roles = "kubectl create rolebinding -n mayday-system";
        for command in [
            format!(
                "kubectl create clusterrole {name} --verb=get,patch,update,delete --resource={kind}.mayday.dev"
            ),
            format!("kubectl create clusterrolebinding {name} --clusterrole={name} --user=emil"),
            format!("{roles} {name} --clusterrole=mayday-responder --user=emil"),
            format!("{roles} {name}-approvers --clusterrole=mayday-approver --group=shop-approvers"),
        ] {
            self.admin().types(&command).passes();
        }
    }

    /// Approves a request in the operator's namespace.
    pub fn approves_for_the_cluster(&self, person: &Person, request: &str) {
        person.types(&format!("kubectl mayday approve -n mayday-system chg/{request} --yes")).passes();
    }

    pub fn request(&self, name: &str) -> Value {
        self.admin().reads(&format!("chg/{name} -n {}", self.namespace))
    }

    /// Waits for a condition of a request.
    #[track_caller]
    pub fn reaches(&self, request: &str, kind: &str) {
        eventually(&format!("{request} is {kind}"), || {
            let request = self.request(request);
            condition(&request, kind).filter(|seen| seen["status"] == "True").map(|_| ())
        });
    }

    /// The cells of the line that `kubectl get` prints for a request.
    pub fn columns(&self, request: &str) -> Vec<String> {
        let line =
            self.types(&self.emil(), &format!("kubectl get chg -n NS {request} --no-headers")).passes();
        line.split_whitespace().map(str::to_owned).collect()
    }

    /// The image that the Deployment runs.
    pub fn image(&self) -> Value {
        let deployment = self.admin().reads(&format!("deploy/checkout -n {}", self.namespace));
        deployment["spec"]["template"]["spec"]["containers"][0]["image"].clone()
    }

    /// Names and UIDs of the application's ready pods that stay.
    pub fn ready_pods(&self) -> Vec<(String, String)> {
        let pods = self.admin().reads(&format!("pods -n {} -l app=checkout", self.namespace));
        let ready = |pod: &&Value| {
            condition(pod, "Ready").is_some_and(|seen| seen["status"] == "True")
                && pod["metadata"]["deletionTimestamp"].is_null()
        };
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let pods = pods["items"].as_array().unwrap().iter().filter(ready);
        pods.map(|pod| (text(&pod["metadata"]["name"]), text(&pod["metadata"]["uid"]))).collect()
    }

    /// Changes in the namespace since it was protected, by the audit log: `emil: patch deployments/checkout`.
    pub fn changes(&self) -> Vec<String> {
        let entries = audit::read(&self.cluster.file(""), self.opened).unwrap();
        let changes = audit::changes(&entries, &self.namespace);
        changes.iter().map(ToString::to_string).collect()
    }
}

fn owned((one, other): (&str, &str)) -> (String, String) {
    (one.to_owned(), other.to_owned())
}
