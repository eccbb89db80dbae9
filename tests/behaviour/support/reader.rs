//! Reads objects as `kubectl get -o json` prints them, with a client that stays connected, and waits for
//! changes with watches. A new process for each look would cost more than the look itself.

use std::cell::RefCell;
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock, Mutex};
use std::time::Duration;

use futures::AsyncReadExt;
use futures::future::select_all;
use http::Request;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use serde_json::{Value, json};
use tokio::runtime::Runtime;

/// Media type of the answer that lists the resources of the API server, with their short names.
const DISCOVERY: &str = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";

/// Interval between two looks at something without a watch.
const UNWATCHED: Duration = Duration::from_millis(100);
/// Longest interval between two looks at something with a watch.
const WATCHED: Duration = Duration::from_millis(250);

static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| {
    // Another test may have installed it.
    let _ = rustls::crypto::ring::default_provider().install_default();
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
});

thread_local! {
    /// What this thread has read since it began to look.
    static SEEN: RefCell<Vec<Seen>> = const { RefCell::new(Vec::new()) };
}

/// Something that was read, and the watch that tells of its next change.
struct Seen {
    reader: Arc<Reader>,
    watch: String,
}

/// A client with the credentials of one kubeconfig.
pub struct Reader {
    client: Client,
    resources: Mutex<Vec<Resource>>,
}

/// A resource that the API server has.
#[derive(Clone)]
struct Resource {
    names: Vec<String>,
    api_version: String,
    kind: String,
    path: String,
    plural: String,
    is_namespaced: bool,
}

/// `RESOURCE[/NAME| NAME] [-n NAMESPACE] [-l SELECTOR]`, as kubectl takes it.
struct Query {
    resource: String,
    name: Option<String>,
    namespace: String,
    selector: Option<String>,
}

impl Query {
    /// Nothing for what kubectl alone can read: several kinds, all namespaces.
    fn parse(what: &str) -> Option<Query> {
        let mut query =
            Query { resource: String::new(), name: None, namespace: "default".to_owned(), selector: None };
        let mut words = what.split_whitespace();
        while let Some(word) = words.next() {
            match word {
                "-n" => query.namespace = words.next()?.to_owned(),
                "-l" => query.selector = Some(words.next()?.to_owned()),
                _ if word.starts_with('-') || word.contains(',') => return None,
                _ if query.resource.is_empty() => match word.split_once('/') {
                    Some((resource, name)) => {
                        query.resource = resource.to_owned();
                        query.name = Some(name.to_owned());
                    }
                    None => query.resource = word.to_owned(),
                },
                _ if query.name.is_none() => query.name = Some(word.to_owned()),
                _ => return None,
            }
        }
        (!query.resource.is_empty()).then_some(query)
    }
}

/// The object or the list, without managed fields; nothing where only kubectl can read it.
pub fn read(kubeconfig: &Path, what: &str) -> Option<Result<Value, String>> {
    let query = Query::parse(what)?;
    let reader = Reader::of(kubeconfig);
    Some(RUNTIME.block_on(reader.read(&query)).map(|(value, watch)| {
        SEEN.with_borrow_mut(|seen| seen.push(Seen { reader, watch }));
        value
    }))
}

/// Forgets what this thread has read.
pub fn begin() {
    SEEN.with_borrow_mut(Vec::clear);
}

/// Returns once an object changes that this thread has read since it began, and after a while in any case: a
/// look may concern more than objects.
pub fn wait_for_a_change() {
    let seen = SEEN.take();
    if seen.is_empty() {
        return std::thread::sleep(UNWATCHED);
    }
    RUNTIME.block_on(async {
        let watches = seen.iter().map(|seen| Box::pin(seen.changes()));
        // A watch that ends by itself says nothing; then time decides.
        if let Ok((false, ..)) = tokio::time::timeout(WATCHED, select_all(watches)).await {
            tokio::time::sleep(UNWATCHED).await;
        }
    });
}

impl Seen {
    /// Whether there was a change, once there is one or the watch has ended.
    async fn changes(&self) -> bool {
        let Ok(mut events) = self.reader.client.request_stream(get(&self.watch, None)).await else {
            return false;
        };
        let mut start = [0; 16];
        let length = events.read(&mut start).await.unwrap_or_default();
        // A version that is too old for a watch is answered at once, and no change.
        length > 0 && !start.starts_with(br#"{"type":"ERROR""#)
    }
}

impl Reader {
    /// One for each kubeconfig.
    fn of(kubeconfig: &Path) -> Arc<Reader> {
        static READERS: LazyLock<Mutex<HashMap<PathBuf, Arc<Reader>>>> = LazyLock::new(Mutex::default);
        let mut readers = READERS.lock().unwrap();
        let connect = || Arc::new(RUNTIME.block_on(Reader::connect(kubeconfig)));
        Arc::clone(readers.entry(kubeconfig.to_owned()).or_insert_with(connect))
    }

    async fn connect(kubeconfig: &Path) -> Reader {
        let kubeconfig = Kubeconfig::read_from(kubeconfig).unwrap();
        let config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await.unwrap();
        Reader { client: Client::try_from(config).unwrap(), resources: Mutex::default() }
    }

    async fn read(&self, query: &Query) -> Result<(Value, String), String> {
        let resource = self.resource(&query.resource).await?;
        let place = match resource.is_namespaced {
            true => format!("{}/namespaces/{}/{}", resource.path, query.namespace, resource.plural),
            false => format!("{}/{}", resource.path, resource.plural),
        };
        let selector = query
            .selector
            .iter()
            .map(|selector| format!("&labelSelector={}", encoded(selector)))
            .collect::<String>();
        let (path, field) = match &query.name {
            Some(name) => (format!("{place}/{name}"), format!("&fieldSelector=metadata.name%3D{name}")),
            None => (format!("{place}?{}", selector.trim_start_matches('&')), String::new()),
        };
        let mut value = self.get(&path, None).await?;
        let version = value["metadata"]["resourceVersion"].as_str().unwrap_or_default();
        let watch = format!("{place}?watch=true&resourceVersion={version}{field}{selector}");
        match value.get_mut("items").and_then(Value::as_array_mut) {
            Some(items) if query.name.is_none() => items.iter_mut().for_each(|item| {
                item["apiVersion"] = json!(resource.api_version);
                item["kind"] = json!(resource.kind);
                strip(item);
            }),
            _ => strip(&mut value),
        }
        Ok((value, watch))
    }

    async fn get(&self, path: &str, accept: Option<&str>) -> Result<Value, String> {
        let answer = match self.client.request(get(path, accept)).await {
            // A connection that was kept may have ended with the API server that is back by now.
            Err(error) if !matches!(error, kube::Error::Api(_)) => {
                self.client.request(get(path, accept)).await
            }
            answer => answer,
        };
        answer.map_err(|error| error.to_string())
    }

    /// The resource with that name or short name; asks again where it is not known, for kinds come and go.
    async fn resource(&self, name: &str) -> Result<Resource, String> {
        let known =
            |all: &[Resource]| all.iter().find(|one| one.names.iter().any(|known| known == name)).cloned();
        if let Some(found) = known(&self.resources.lock().unwrap()) {
            return Ok(found);
        }
        let mut all = Vec::new();
        for (root, is_core) in [("/api", true), ("/apis", false)] {
            let said = self.get(root, Some(DISCOVERY)).await?;
            let groups = said["items"].as_array().into_iter().flatten();
            all.extend(groups.flat_map(|group| resources(group, is_core)));
        }
        let found = known(&all).ok_or_else(|| format!("the API server has no {name}"));
        *self.resources.lock().unwrap() = all;
        found
    }
}

/// Those of a group's preferred version.
fn resources(group: &Value, is_core: bool) -> Vec<Resource> {
    let name = group["metadata"]["name"].as_str().unwrap_or_default();
    let preferred = &group["versions"][0];
    let version = preferred["version"].as_str().unwrap_or_default();
    let api_version = if is_core { version.to_owned() } else { format!("{name}/{version}") };
    let path = if is_core { format!("/api/{version}") } else { format!("/apis/{api_version}") };
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let all = preferred["resources"].as_array().into_iter().flatten();
    all.map(|resource| {
        let short = resource["shortNames"].as_array().into_iter().flatten();
        let names = [&resource["resource"], &resource["singularResource"]].into_iter().chain(short);
        Resource {
            names: names.map(text).collect(),
            api_version: api_version.clone(),
            kind: text(&resource["responseKind"]["kind"]),
            path: path.clone(),
            plural: text(&resource["resource"]),
            is_namespaced: resource["scope"] == "Namespaced",
        }
    })
    .collect()
}

fn get(path: &str, accept: Option<&str>) -> Request<Vec<u8>> {
    let mut request = Request::get(path);
    if let Some(accept) = accept {
        request = request.header("accept", accept);
    }
    request.body(Vec::new()).unwrap()
}

/// A selector in a URL.
fn encoded(selector: &str) -> String {
    selector.replace('%', "%25").replace('=', "%3D").replace(',', "%2C").replace('!', "%21")
}

/// kubectl leaves managed fields out.
fn strip(object: &mut Value) {
    if let Some(metadata) = object["metadata"].as_object_mut() {
        metadata.remove("managedFields");
    }
}
