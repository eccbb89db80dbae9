//! A far side of HTTP: it answers each path as it is told, and remembers what it was sent.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use crate::receiver;

/// A request as it arrived.
#[derive(Clone, Debug)]
pub struct Request {
    /// The first line: `GET /shop HTTP/1.1`.
    pub line: String,
    /// The headers, with names in small letters.
    pub headers: BTreeMap<String, String>,
    /// The body.
    pub body: String,
    /// When it was there.
    pub time: Instant,
}

/// An answer: status and body.
type Answers = BTreeMap<String, (u16, String)>;

/// What the next request on a path is answered: status, and after how many seconds it is to come again.
type Busy = BTreeMap<String, (u16, u32)>;

/// It listens on a free loopback port, until the process ends.
pub struct FarSide {
    port: u16,
    answers: Arc<Mutex<Answers>>,
    received: Arc<Mutex<Vec<Request>>>,
    busy: Arc<Mutex<Busy>>,
}

impl FarSide {
    /// Starts it. A path that it was not told about is answered with 404.
    pub fn start() -> FarSide {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let (answers, received) = (Arc::<Mutex<Answers>>::default(), Arc::default());
        let busy = Arc::<Mutex<Busy>>::default();
        let far_side = FarSide {
            port,
            answers: Arc::clone(&answers),
            received: Arc::clone(&received),
            busy: Arc::clone(&busy),
        };
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (answers, received) = (Arc::clone(&answers), Arc::clone(&received));
                let busy = Arc::clone(&busy);
                std::thread::spawn(move || answer(stream, (&answers, &busy), &received));
            }
        });
        far_side
    }

    /// A URL on it.
    pub fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port)
    }

    /// From now on a path is answered like this. Status 0: never.
    pub fn answers(&self, path: &str, status: u16, body: &str) {
        self.answers.lock().unwrap().insert(path.to_owned(), (status, body.to_owned()));
    }

    /// The next request on a path is answered with this status and `Retry-After`.
    pub fn asks_for_time(&self, path: &str, status: u16, seconds: u32) {
        self.busy.lock().unwrap().insert(path.to_owned(), (status, seconds));
    }

    /// All that has arrived.
    pub fn all(&self) -> Vec<Request> {
        self.received.lock().unwrap().clone()
    }

    /// What has arrived on a path.
    pub fn received(&self, path: &str) -> Vec<Request> {
        let is_here = |request: &&Request| request.line.split(' ').nth(1) == Some(path);
        self.received.lock().unwrap().iter().filter(is_here).cloned().collect()
    }
}

/// What Prometheus answers for one value of now.
pub fn value(value: &str) -> String {
    let now = jiff::Timestamp::now().as_second();
    format!(
        r#"{{"status":"success","data":{{"resultType":"vector","result":[{{"metric":{{}},"value":[{now},"{value}"]}}]}}}}"#
    )
}

fn answer(
    mut stream: TcpStream,
    (answers, busy): (&Mutex<Answers>, &Mutex<Busy>),
    received: &Mutex<Vec<Request>>,
) {
    let Ok(request) = read(&stream) else { return };
    let path = request.line.split(' ').nth(1).unwrap_or_default().to_owned();
    received.lock().unwrap().push(request);
    if let Some((status, seconds)) = busy.lock().unwrap().remove(&path) {
        let answer = format!(
            "HTTP/1.1 {status} x\r\ncontent-length: 0\r\nretry-after: {seconds}\r\nconnection: close\r\n\r\n"
        );
        let _ = stream.write_all(answer.as_bytes());
        return;
    }
    let (status, body) = answers.lock().unwrap().get(&path).cloned().unwrap_or((404, String::new()));
    if status == 0 {
        // The sender gives up first.
        let _ = stream.read(&mut [0]);
        return;
    }
    let length = body.len();
    let answer =
        format!("HTTP/1.1 {status} x\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}");
    let _ = stream.write_all(answer.as_bytes());
}

fn read(stream: &TcpStream) -> std::io::Result<Request> {
    let (first, headers, body) = receiver::read(stream)?;
    let body = String::from_utf8_lossy(&body).into_owned();
    Ok(Request { line: first.trim().to_owned(), headers, body, time: Instant::now() })
}
