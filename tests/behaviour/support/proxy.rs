//! A proxy between the operator and the API server: it loses, delays and doubles requests as a test says.
//!
//! It has the certificate of the API server, since both are at 127.0.0.1, and passes every header on, so that the
//! operator is the same user behind it.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::fs;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock, Mutex};
use std::time::Duration;

use futures::stream;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Bytes, Frame, Incoming};
use hyper::{HeaderMap, Method, Request, Response, StatusCode, header};
use hyper_util::rt::TokioIo;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;

use super::{Cluster, Random, eventually};

static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| {
    // Another test may have installed it.
    let _ = rustls::crypto::ring::default_provider().install_default();
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
});

/// What happens to a request.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Fault {
    /// It never arrives, and the connection ends.
    RequestLost,
    /// It is carried out, and the connection ends before the answer.
    AnswerLost,
    /// The connection ends in the middle of the answer.
    AnswerCut,
    /// It is carried out twice, and the second answer comes back.
    Doubled,
    /// The connection ends, and the request arrives a second later all the same.
    Late,
    /// It takes half a second longer.
    Slow,
    /// It never arrives, and this status comes back.
    Refused(u16),
    /// It never arrives: the API server is busy, and asks to be left alone for so many seconds.
    Busy(u32),
    /// It is carried out, and this status comes back.
    Misreported(u16),
    /// It waits until the test lets go, and then arrives.
    Held,
    /// It is carried out, and its answer waits until the test lets go.
    AnswerHeld,
}

/// A request as it came.
pub struct Asked {
    pub method: Method,
    /// Path and query.
    pub path: String,
    headers: HeaderMap,
    body: Bytes,
}

impl Asked {
    /// Whether it is a write of a run, as the account of its Runbook.
    pub fn is_act(&self) -> bool {
        let is_read = self.method == Method::GET || self.path.contains("dryRun=All");
        !is_read && self.headers.keys().any(|name| name.as_str() == "impersonate-extra-mayday.dev%2frun")
    }

    /// Whether it stores the status of the run with this name.
    pub fn stores(&self, run: &str) -> bool {
        self.method == Method::PUT && self.path.contains(&format!("/runbookruns/{run}/status"))
    }

    /// Whether the text is in its body.
    pub fn says(&self, text: &str) -> bool {
        self.body.windows(text.len()).any(|window| window == text.as_bytes())
    }

    /// Its body.
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }

    fn is_watch(&self) -> bool {
        self.path.contains("watch=true") || self.path.contains("watch=1")
    }

    fn is_about_the_lease(&self) -> bool {
        self.path.contains("/leases/")
    }
}

/// Concerns the next requests that it is about.
struct Rule {
    what: String,
    fault: Fault,
    times: u32,
    is_about: Box<dyn Fn(&Asked) -> bool + Send>,
}

/// Faults by chance.
struct Chaos {
    random: Random,
    one_in: u64,
}

struct Shared {
    upstream: String,
    client: reqwest::Client,
    rules: Mutex<Vec<Rule>>,
    chaos: Mutex<Option<Chaos>>,
    counts: Mutex<BTreeMap<Fault, u32>>,
    requests: AtomicU64,
    frozen: watch::Sender<bool>,
    /// How many requests wait, and how often they were let go.
    held: watch::Sender<u32>,
    let_go: watch::Sender<u32>,
}

/// It listens on a free loopback port, until the process ends.
pub struct Proxy {
    shared: Arc<Shared>,
}

/// The end of a connection without an answer.
#[derive(Debug, thiserror::Error)]
#[error("the connection ends here")]
struct Broken;

type Answer = Response<UnsyncBoxBody<Bytes, Broken>>;

impl Proxy {
    /// Starts it in front of a cluster. Operators that are started afterwards go through it.
    pub fn before(cluster: &Cluster) -> Proxy {
        let file = |name: &str| cluster.file(&format!("pki/{name}"));
        let chain: Vec<_> = CertificateDer::pem_file_iter(file("serving.crt")).unwrap().flatten().collect();
        let key = PrivateKeyDer::from_pem_file(file("serving.key")).unwrap();
        let authority = reqwest::Certificate::from_pem(&fs::read(file("ca.crt")).unwrap()).unwrap();
        let runtime = RUNTIME.enter();
        let tls = rustls::ServerConfig::builder().with_no_client_auth().with_single_cert(chain, key).unwrap();
        let client = reqwest::Client::builder().tls_certs_only([authority]).no_proxy().build().unwrap();
        let listener = RUNTIME.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
        let upstream = format!("https://127.0.0.1:{}", cluster.port("apiserver"));
        let address = format!("https://{}", listener.local_addr().unwrap());
        let kubeconfig = fs::read_to_string(cluster.file("users/mayday")).unwrap();
        assert!(kubeconfig.contains(&upstream), "{kubeconfig}");
        fs::write(cluster.file("users/mayday"), kubeconfig.replace(&upstream, &address)).unwrap();
        let shared = Arc::new(Shared {
            upstream,
            client,
            rules: Mutex::default(),
            chaos: Mutex::default(),
            counts: Mutex::default(),
            requests: AtomicU64::default(),
            frozen: watch::Sender::new(false),
            held: watch::Sender::new(0),
            let_go: watch::Sender::new(0),
        });
        RUNTIME.spawn(listen(listener, TlsAcceptor::from(Arc::new(tls)), Arc::clone(&shared)));
        drop(runtime);
        Proxy { shared }
    }

    /// Concerns the next request that this is about, named `what`.
    pub fn next(&self, what: &str, fault: Fault, is_about: impl Fn(&Asked) -> bool + Send + 'static) {
        self.add(what, fault, 1, is_about);
    }

    /// Concerns every request that this is about, until [`Proxy::mends`].
    pub fn every(&self, fault: Fault, is_about: impl Fn(&Asked) -> bool + Send + 'static) {
        self.add("", fault, u32::MAX, is_about);
    }

    fn add(&self, what: &str, fault: Fault, times: u32, is_about: impl Fn(&Asked) -> bool + Send + 'static) {
        let rule = Rule { what: what.to_owned(), fault, times, is_about: Box::new(is_about) };
        self.shared.rules.lock().unwrap().push(rule);
    }

    /// One request in so many suffers a fault from now on, by chance.
    pub fn disturbs(&self, random: Random, one_in: u64) {
        *self.shared.chaos.lock().unwrap() = Some(Chaos { random, one_in });
    }

    /// From now on every request arrives, and is answered. Says what has not happened of what was to happen next.
    pub fn mends(&self) -> Vec<String> {
        *self.shared.chaos.lock().unwrap() = None;
        let rules = std::mem::take(&mut *self.shared.rules.lock().unwrap());
        rules.into_iter().filter(|rule| rule.times == 1).map(|rule| rule.what).collect()
    }

    /// Watches tell nothing from now on, or tell all that they have withheld.
    pub fn freezes_watches(&self, frozen: bool) {
        self.shared.frozen.send_replace(frozen);
    }

    /// Returns once a request is held.
    #[track_caller]
    pub fn has_caught(&self, what: &str) {
        eventually(what, || (*self.shared.held.borrow() > 0).then_some(()));
    }

    /// Lets all go that is held.
    pub fn lets_go(&self) {
        self.shared.held.send_replace(0);
        self.shared.let_go.send_modify(|times| *times += 1);
    }

    /// How many requests have come.
    pub fn requests(&self) -> u64 {
        self.shared.requests.load(Ordering::Relaxed)
    }

    /// How often each fault has happened.
    pub fn counts(&self) -> BTreeMap<Fault, u32> {
        self.shared.counts.lock().unwrap().clone()
    }
}

async fn listen(listener: TcpListener, tls: TlsAcceptor, shared: Arc<Shared>) {
    while let Ok((stream, _)) = listener.accept().await {
        let (tls, shared) = (tls.clone(), Arc::clone(&shared));
        tokio::spawn(async move {
            let _ = stream.set_nodelay(true);
            let Ok(stream) = tls.accept(stream).await else { return };
            let service = hyper::service::service_fn(|request| pass(Arc::clone(&shared), request));
            let _ = hyper::server::conn::http1::Builder::new()
                .serve_connection(TokioIo::new(stream), service)
                .await;
        });
    }
}

async fn pass(shared: Arc<Shared>, request: Request<Incoming>) -> Result<Answer, Broken> {
    let (head, body) = request.into_parts();
    let body = body.collect().await.map_err(|_| Broken)?.to_bytes();
    let path = head.uri.path_and_query().map(ToString::to_string).unwrap_or_default();
    let asked = Asked { method: head.method, path, headers: head.headers, body };
    shared.requests.fetch_add(1, Ordering::Relaxed);
    let fault = shared.fault(&asked);
    let Some(fault) = fault else { return shared.answer(&asked, None).await };
    *shared.counts.lock().unwrap().entry(fault).or_default() += 1;
    match fault {
        Fault::RequestLost => Err(Broken),
        Fault::AnswerLost => {
            shared.carry_out(&asked).await?;
            Err(Broken)
        }
        Fault::AnswerCut => shared.answer(&asked, Some(1)).await,
        Fault::Doubled => {
            shared.carry_out(&asked).await?;
            shared.answer(&asked, None).await
        }
        Fault::Late => {
            tokio::spawn(async move {
                tokio::time::sleep(Duration::from_secs(1)).await;
                shared.carry_out(&asked).await
            });
            Err(Broken)
        }
        Fault::Slow => {
            tokio::time::sleep(Duration::from_millis(250)).await;
            let answer = shared.answer(&asked, None).await;
            tokio::time::sleep(Duration::from_millis(250)).await;
            answer
        }
        Fault::Refused(status) => Ok(refusal(status)),
        Fault::Busy(seconds) => Ok(busy(seconds)),
        Fault::Misreported(status) => {
            shared.carry_out(&asked).await?;
            Ok(refusal(status))
        }
        Fault::Held => {
            shared.hold().await;
            shared.answer(&asked, None).await
        }
        Fault::AnswerHeld => {
            let answer = shared.answer(&asked, None).await;
            shared.hold().await;
            answer
        }
    }
}

impl Shared {
    fn fault(&self, asked: &Asked) -> Option<Fault> {
        let mut rules = self.rules.lock().unwrap();
        if let Some(index) = rules.iter().position(|rule| (rule.is_about)(asked)) {
            let fault = rules[index].fault;
            match rules[index].times {
                1 => drop(rules.remove(index)),
                u32::MAX => {}
                _ => rules[index].times -= 1,
            }
            return Some(fault);
        }
        drop(rules);
        let mut chaos = self.chaos.lock().unwrap();
        let Chaos { random, one_in } = chaos.as_mut()?;
        // Who leads is another test's subject: here it would only cost time.
        if asked.is_about_the_lease() || !random.one_in(*one_in) {
            return None;
        }
        let unanswered =
            [Fault::RequestLost, Fault::Slow, Fault::Refused(429), Fault::Refused(500), Fault::Refused(503)];
        let mut known = unanswered.to_vec();
        if asked.is_watch() {
            known = vec![Fault::RequestLost, Fault::AnswerCut, Fault::Refused(503)];
        } else if asked.method != Method::GET {
            let done =
                [Fault::AnswerLost, Fault::AnswerCut, Fault::Misreported(504), Fault::Doubled, Fault::Late];
            known.extend(done);
            known.push(Fault::Refused(409));
        } else {
            known.push(Fault::AnswerCut);
        }
        Some(random.choose(&known))
    }

    async fn send(&self, asked: &Asked) -> Result<reqwest::Response, Broken> {
        let mut headers = asked.headers.clone();
        for name in [header::HOST, header::CONNECTION, header::CONTENT_LENGTH, header::TRANSFER_ENCODING] {
            headers.remove(name);
        }
        let request = self.client.request(asked.method.clone(), format!("{}{}", self.upstream, asked.path));
        request.headers(headers).body(asked.body.clone()).send().await.map_err(|_| Broken)
    }

    /// Sends it on, and returns once its answer is complete.
    async fn carry_out(&self, asked: &Asked) -> Result<(), Broken> {
        self.send(asked).await?.bytes().await.map(drop).map_err(|_| Broken)
    }

    /// Sends it on, and passes the answer back as it comes: all of it, or so many bytes.
    async fn answer(&self, asked: &Asked, cut: Option<usize>) -> Result<Answer, Broken> {
        let mut frozen = self.frozen.subscribe();
        if asked.is_watch() {
            thawed(&mut frozen).await;
        }
        let is_watch = asked.is_watch();
        let response = self.send(asked).await?;
        let mut answer = Response::builder().status(response.status());
        for (name, value) in response.headers() {
            if ![header::CONNECTION, header::TRANSFER_ENCODING].contains(name) {
                answer = answer.header(name, value);
            }
        }
        let chunks =
            stream::unfold((response, frozen, cut), move |(mut response, mut frozen, cut)| async move {
                if cut == Some(0) {
                    return Some((Err(Broken), (response, frozen, cut)));
                }
                let chunk = response.chunk().await;
                if is_watch {
                    thawed(&mut frozen).await;
                }
                let chunk = chunk.map_err(|_| Broken).transpose()?;
                let chunk = chunk.map(|chunk| match cut {
                    Some(length) => Frame::data(chunk.slice(..length.min(chunk.len()))),
                    None => Frame::data(chunk),
                });
                Some((chunk, (response, frozen, cut.map(|_| 0))))
            });
        answer.body(BodyExt::boxed_unsync(StreamBody::new(Box::pin(chunks)))).map_err(|_| Broken)
    }

    async fn hold(&self) {
        let mut let_go = self.let_go.subscribe();
        self.held.send_modify(|held| *held += 1);
        let _ = let_go.changed().await;
    }
}

async fn thawed(frozen: &mut watch::Receiver<bool>) {
    let _ = frozen.wait_for(|frozen| !frozen).await;
}

/// What the API server says when it has too much to do: a text and a header, and no object.
fn busy(seconds: u32) -> Answer {
    let full = Full::new(Bytes::from("Too many requests, please try again later.\n"));
    Response::builder()
        .status(StatusCode::TOO_MANY_REQUESTS)
        .header(header::CONTENT_TYPE, "text/plain; charset=utf-8")
        .header(header::RETRY_AFTER, seconds)
        .body(full.map_err(|never: Infallible| match never {}).boxed_unsync())
        .unwrap()
}

/// What the API server says when it cannot serve a request.
fn refusal(status: u16) -> Answer {
    let (reason, message) = match status {
        409 => ("Conflict", "the object has been modified; please apply your changes to the latest version"),
        429 => (
            "TooManyRequests",
            "the server has received too many requests and has asked us to try again later",
        ),
        503 => ("ServiceUnavailable", "the server is currently unable to handle the request"),
        504 => ("Timeout", "request did not complete within the allotted timeout"),
        _ => ("InternalError", "etcdserver: leader changed"),
    };
    let body = serde_json::json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": status,
        "reason": reason, "message": message, "metadata": {}});
    let full = Full::new(Bytes::from(body.to_string())).map_err(|never: Infallible| match never {});
    Response::builder()
        .status(StatusCode::from_u16(status).unwrap())
        .header(header::CONTENT_TYPE, "application/json")
        .header(header::RETRY_AFTER, "1")
        .body(full.boxed_unsync())
        .unwrap()
}
