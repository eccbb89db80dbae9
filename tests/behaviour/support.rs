//! Clusters, people and their commands.

pub mod proxy;
mod random;
mod reader;
mod times;

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{LazyLock, OnceLock};
use std::time::{Duration, Instant};

use serde_json::Value;

pub use random::{Random, cases, seed};
use times::timed;

/// How long anything may take before a test gives up; never part of what is asserted.
const PATIENCE: Duration = Duration::from_secs(120);

/// kubectl of the local cluster's version, which `dev/kubectl` runs too, after it has looked for it.
static KUBECTL: LazyLock<PathBuf> = LazyLock::new(|| {
    let line = "source dev/lib.sh; binary kubectl";
    let output = Command::new("bash").args(["-c", line]).current_dir(root()).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    PathBuf::from(String::from_utf8(output.stdout).unwrap().trim())
});

/// Where kubectl finds the plugin.
static PATH: LazyLock<String> = LazyLock::new(|| {
    let plugin = Path::new(env!("CARGO_BIN_EXE_kubectl-mayday")).parent().unwrap();
    format!("{}:{}", plugin.display(), std::env::var("PATH").unwrap_or_default())
});

/// The snapshot that clusters begin with, if `dev/test` has made one; otherwise they begin with nothing.
fn snapshot() -> Option<String> {
    std::env::var("MAYDAY_SNAPSHOT").ok()
}

/// The checkout.
pub fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// A control plane with the chart installed, and its operator processes.
pub struct Cluster {
    dir: PathBuf,
}

impl Cluster {
    /// The cluster that most tests share, with one operator that stays up.
    pub fn shared() -> &'static Cluster {
        static SHARED: OnceLock<Cluster> = OnceLock::new();
        SHARED.get_or_init(|| {
            let cluster = match snapshot() {
                // `dev/test` has started it while the tests were built.
                Some(_) => Cluster::unstarted("shared"),
                None => Cluster::without_operator("shared", &[]),
            };
            timed("operator", || cluster.operator(0).start());
            cluster
        })
    }

    /// A cluster of one's own, with one operator.
    pub fn start(name: &str) -> Cluster {
        let cluster = Cluster::without_operator(name, &[]);
        timed("operator", || cluster.operator(0).start());
        cluster
    }

    /// A cluster of one's own with the chart installed (with further helm arguments), and no operator yet.
    pub fn without_operator(name: &str, helm: &[&str]) -> Cluster {
        let cluster = Cluster::unstarted(name);
        timed("cluster", || {
            let snapshot = snapshot();
            let from: Vec<&str> = snapshot.as_deref().into_iter().collect();
            cluster.script("cluster", &[&["up", cluster.path()], from.as_slice()].concat());
            cluster.script("install", &[&[cluster.path()], helm].concat());
        });
        cluster
    }

    /// The place of a cluster that a script is to start.
    pub fn unstarted(name: &str) -> Cluster {
        Cluster { dir: root().join("target/test").join(name) }
    }

    /// Its folder, as the scripts take it.
    pub fn path(&self) -> &str {
        self.dir.to_str().unwrap()
    }

    /// A file under the cluster's folder.
    pub fn file(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    /// A script of `dev/`; its output, or a panic with all it said.
    pub fn script(&self, name: &str, arguments: &[&str]) -> String {
        let output = Command::new(root().join("dev").join(name))
            .args(arguments)
            .env("MAYDAY_DEV_DIR", &self.dir)
            .env("MAYDAY_BINARY", binary())
            .stdin(Stdio::null())
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "dev/{name} {}: {said}", arguments.join(" "));
        let killed = said.lines().any(|line| line.contains("mayday-") && line.contains("had to be killed"));
        assert!(!killed, "the operator does not stop: {said}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// One of the operator processes: 0 or 1.
    pub fn operator(&self, index: u32) -> Operator<'_> {
        Operator { cluster: self, index }
    }

    /// Everything is allowed.
    pub fn admin(&self) -> Person {
        Person { kubeconfig: self.file("kubeconfig") }
    }

    /// A person who logs in with a client certificate.
    pub fn person(&self, name: &str, groups: &[&str]) -> Person {
        let path = self.script("user", &[&[name], groups].concat());
        Person { kubeconfig: PathBuf::from(path.trim()) }
    }

    /// A service account, with a token.
    pub fn service_account(&self, namespace: &str, name: &str) -> Person {
        let admin = self.admin();
        let token = admin.types(&format!("kubectl create token -n {namespace} {name}")).passes();
        let config = admin.types("kubectl config view --raw -o json").passes();
        let mut config: Value = serde_json::from_str(&config).unwrap();
        config["users"][0]["user"] = serde_json::json!({"token": token.trim()});
        let kubeconfig = self.file(&format!("users/{namespace}.{name}"));
        fs::write(&kubeconfig, config.to_string()).unwrap();
        Person { kubeconfig }
    }

    /// The operator's own account, with its token.
    pub fn mayday(&self) -> Person {
        Person { kubeconfig: self.file("users/mayday") }
    }

    /// After its next start the operator no longer dies at a point that `config.testing.crashAt` names.
    pub fn mends(&self, point: &str) {
        let settings = fs::read_to_string(self.file("mayday.yaml")).unwrap();
        let mended = settings.replace(&format!("- {point}"), "- nowhere");
        assert_ne!(settings, mended, "{settings}");
        fs::write(self.file("mayday.yaml"), mended).unwrap();
    }

    /// The port of that name.
    pub fn port(&self, name: &str) -> u16 {
        let ports = fs::read_to_string(self.file("ports")).unwrap();
        let prefix = format!("{name}=");
        ports.lines().find_map(|line| line.strip_prefix(&prefix)).unwrap().parse().unwrap()
    }

    /// Stops everything of a cluster of one's own.
    pub fn stop(self) {
        self.script("cluster", &["down", self.path()]);
    }
}

/// The operator: what was built with the tests, or what `MAYDAY_BINARY` names.
fn binary() -> PathBuf {
    std::env::var_os("MAYDAY_BINARY").map_or_else(|| env!("CARGO_BIN_EXE_mayday").into(), PathBuf::from)
}

/// One operator process.
pub struct Operator<'a> {
    cluster: &'a Cluster,
    index: u32,
}

impl Operator<'_> {
    fn script(&self, action: &str) {
        self.cluster.script("operator", &[action, self.cluster.path(), &self.index.to_string()]);
    }

    /// Starts it, and returns once it is ready.
    pub fn start(&self) {
        self.script("start");
    }

    /// Starts it if it can: it may die meanwhile. Whether it is ready.
    pub fn tries_to_start(&self) -> bool {
        let index = self.index.to_string();
        let script = Command::new(root().join("dev/operator"))
            .args(["start", self.cluster.path(), &index])
            .env("MAYDAY_BINARY", binary())
            .stdin(Stdio::null())
            .output();
        script.unwrap().status.success()
    }

    /// Stops it in order.
    pub fn stop(&self) {
        self.script("stop");
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        let text = fs::read_to_string(self.cluster.file(&format!("pids/mayday-{}", self.index))).unwrap();
        text.split_whitespace().next().unwrap().parse().unwrap()
    }

    /// Ends it without warning, as a crash would.
    pub fn kill(&self) {
        let pid = self.pid();
        assert!(Command::new("kill").args(["-KILL", &pid.to_string()]).status().unwrap().success());
        eventually("the killed operator is gone", || (!is_alive(pid)).then_some(()));
    }

    /// What `/metrics`, `/livez` or `/readyz` answers: the status and the text.
    pub fn get(&self, path: &str) -> (u16, String) {
        self.answers(path).unwrap()
    }

    /// The same while it may not listen yet.
    pub fn answers(&self, path: &str) -> Option<(u16, String)> {
        let address = format!("127.0.0.1:{}", self.cluster.port(&format!("metrics-{}", self.index)));
        std::net::TcpStream::connect(&address).ok()?;
        Some(http(&address, &format!("GET {path} HTTP/1.0\r\n\r\n")))
    }

    /// Returns once it has died at one of the points where the settings let it.
    #[track_caller]
    pub fn has_died_at_its_point(&self, pid: u32) {
        eventually("the operator has died", || (!is_alive(pid)).then_some(()));
        assert!(self.log().contains("dying here"), "it died of something else");
    }

    /// The log so far.
    pub fn log(&self) -> String {
        fs::read_to_string(self.cluster.file(&format!("logs/mayday-{}.log", self.index))).unwrap()
    }
}

/// Sends one request as it is written, and reads the whole answer: the status and the body.
pub fn http(address: &str, request: &str) -> (u16, String) {
    use std::io::Read;
    let mut stream = std::net::TcpStream::connect(address).unwrap();
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let status = head.split_whitespace().nth(1).unwrap().parse().unwrap();
    (status, body.to_owned())
}

/// A person with a kubeconfig.
#[derive(Clone)]
pub struct Person {
    kubeconfig: PathBuf,
}

impl Person {
    /// Types a command: `kubectl …`, split at blanks; quotes hold blanks together.
    pub fn types(&self, command: &str) -> Output {
        self.runs(&words(command), None)
    }

    /// Pastes a line into a shell.
    pub fn pastes(&self, line: &str) -> Output {
        let kubectl = KUBECTL.parent().unwrap().display();
        let output = Command::new("sh")
            .args(["-c", line])
            .env("KUBECONFIG", &self.kubeconfig)
            .env("PATH", format!("{kubectl}:{}", *PATH))
            .stdin(Stdio::null())
            .output()
            .unwrap();
        Output::of(line.to_owned(), &output)
    }

    /// Types a command that reads from standard input.
    pub fn pipes(&self, input: &str, command: &str) -> Output {
        self.runs(&words(command), Some(input))
    }

    /// Applies manifests.
    pub fn applies(&self, manifests: &str) -> Output {
        self.pipes(manifests, "kubectl apply -f -")
    }

    /// Reads an object or a list as JSON, as `kubectl get -o json` prints it.
    #[track_caller]
    pub fn reads(&self, what: &str) -> Value {
        let command = format!("kubectl get {what} -o json");
        match reader::read(&self.kubeconfig, what) {
            Some(read) => read.unwrap_or_else(|error| panic!("{command}\n{error}")),
            None => serde_json::from_str(&self.types(&command).passes()).unwrap(),
        }
    }

    fn runs(&self, words: &[String], input: Option<&str>) -> Output {
        timed("command", || self.runs_kubectl(words, input))
    }

    fn runs_kubectl(&self, words: &[String], input: Option<&str>) -> Output {
        let (program, arguments) = words.split_first().unwrap();
        assert_eq!(program, "kubectl", "people type kubectl");
        let mut child = Command::new(KUBECTL.as_path())
            .args(arguments)
            .env("KUBECONFIG", &self.kubeconfig)
            .env("PATH", PATH.as_str())
            .stdin(if input.is_some() { Stdio::piped() } else { Stdio::null() })
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        if let Some(input) = input {
            child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
        }
        Output::of(words.join(" "), &child.wait_with_output().unwrap())
    }
}

/// The result of a command.
pub struct Output {
    command: String,
    success: bool,
    out: String,
    err: String,
}

impl Output {
    fn of(command: String, output: &std::process::Output) -> Output {
        Output {
            command,
            success: output.status.success(),
            out: String::from_utf8_lossy(&output.stdout).into_owned(),
            err: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    /// It must have worked; what it printed.
    #[track_caller]
    pub fn passes(self) -> String {
        assert!(self.success, "{}\n{}{}", self.command, self.out, self.err);
        self.out
    }

    /// Everything it printed, whether it worked or not.
    pub fn shows(&self) -> &str {
        &self.out
    }

    /// Whether it worked, for what is tried until it does.
    #[allow(dead_code, reason = "only some stories try again")]
    pub fn succeeded(&self) -> bool {
        self.success
    }

    /// It must have been refused; what was said.
    #[track_caller]
    pub fn is_refused(&self) -> String {
        assert!(!self.success, "was not refused: {}\n{}", self.command, self.out);
        self.err.clone()
    }
}

/// Splits a command line at blanks; single or double quotes hold blanks together. No other shell syntax.
pub fn words(command: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quote: Option<char> = None;
    for character in command.chars() {
        match quote {
            Some(open) if character == open => quote = None,
            Some(_) => word.get_or_insert_default().push(character),
            None if character == '\'' || character == '"' => {
                quote = Some(character);
                word.get_or_insert_default();
            }
            None if character.is_whitespace() => words.extend(word.take()),
            None => word.get_or_insert_default().push(character),
        }
    }
    assert!(quote.is_none(), "an open quote in {command}");
    words.extend(word);
    words
}

/// Looks until there is something to see, again after each change of an object that a look has read. After two
/// minutes it panics and says what it waited for.
#[track_caller]
pub fn eventually<T>(what: &str, look: impl FnMut() -> Option<T>) -> T {
    within(PATIENCE, what, look)
}

/// The same with another patience.
#[track_caller]
pub fn within<T>(patience: Duration, what: &str, look: impl FnMut() -> Option<T>) -> T {
    let Some(seen) = watches(patience, look) else { panic!("not seen in {} s: {what}", patience.as_secs()) };
    seen
}

/// The same, and `None` once the patience is over.
pub fn watches<T>(patience: Duration, mut look: impl FnMut() -> Option<T>) -> Option<T> {
    let end = Instant::now() + patience;
    timed("wait", || {
        loop {
            reader::begin();
            let seen = look();
            if seen.is_some() || Instant::now() >= end {
                return seen;
            }
            reader::wait_for_a_change();
        }
    })
}

/// Whether a process runs. One that has ended and is not reaped yet does not.
pub fn is_alive(pid: u32) -> bool {
    let stat = fs::read_to_string(Path::new("/proc").join(pid.to_string()).join("stat")).unwrap_or_default();
    stat.rsplit(") ").next().is_some_and(|rest| !rest.is_empty() && !rest.starts_with(['Z', 'X']))
}

/// A name that no other test and no earlier run has.
pub fn fresh(prefix: &str) -> String {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let time = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_millis();
    format!("{prefix}-{:x}{:x}", time & 0xffff_ffff, COUNT.fetch_add(1, Ordering::Relaxed))
}

/// The status of a condition of an object, if it has been set.
#[allow(dead_code, reason = "read by stories of outages; the others look at whole objects")]
pub fn condition<'a>(object: &'a Value, kind: &str) -> Option<&'a Value> {
    object["status"]["conditions"].as_array()?.iter().find(|condition| condition["type"] == kind)
}

/// The samples that users start from.
pub fn sample(name: &str) -> String {
    fs::read_to_string(root().join("config/samples").join(name)).unwrap()
}
