//! Where messages arrive in tests and in the demo: a receiver of Standard Webhooks that checks every signature.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use serde_json::Value;
use sha2::Sha256;

/// What the samples sign with.
pub const SIGNING_KEY: &str = "whsec_bWF5ZGF5LWRlbW8tc2lnbmluZy1rZXk=";

/// One message that arrived, signature checked.
#[derive(Clone, Debug)]
pub struct Received {
    /// Its identity; repeats of a delivery carry the same.
    pub id: String,
    /// The JSON that was posted.
    pub body: Value,
}

impl Received {
    /// What a person reads.
    pub fn text(&self) -> &str {
        self.body["text"].as_str().unwrap_or_default()
    }

    /// Whom it was addressed to.
    pub fn address(&self) -> &str {
        self.body["address"].as_str().unwrap_or_default()
    }
}

/// A receiver on a free loopback port, until the process ends.
pub struct Receiver {
    port: u16,
    received: Arc<Mutex<Vec<Received>>>,
    unanswered: Arc<Mutex<BTreeSet<String>>>,
}

impl Receiver {
    /// Starts it.
    pub fn start() -> Receiver {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let received = Arc::new(Mutex::new(Vec::new()));
        let inbox = Arc::clone(&received);
        let unanswered = Arc::new(Mutex::new(BTreeSet::new()));
        let hanging = Arc::clone(&unanswered);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (inbox, hanging) = (Arc::clone(&inbox), Arc::clone(&hanging));
                std::thread::spawn(move || answer(stream, &inbox, &hanging));
            }
        });
        Receiver { port, received, unanswered }
    }

    /// From now on messages for this address arrive and are never answered.
    #[allow(dead_code, reason = "the demo's receiver always answers")]
    pub fn hangs_for(&self, address: &str) {
        self.unanswered.lock().unwrap().insert(address.to_owned());
    }

    /// Where to post to.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}/pages", self.port)
    }

    /// Everything that arrived so far, in order, each message once.
    pub fn messages(&self) -> Vec<Received> {
        let mut seen = BTreeSet::new();
        let all = self.received.lock().unwrap();
        all.iter().filter(|message| seen.insert(message.id.clone())).cloned().collect()
    }
}

fn answer(mut stream: TcpStream, inbox: &Mutex<Vec<Received>>, unanswered: &Mutex<BTreeSet<String>>) {
    let status = match read(&stream) {
        Ok((_, headers, body)) => match check(&headers, &body) {
            Ok(received) => {
                let hangs = unanswered.lock().unwrap().contains(received.address());
                inbox.lock().unwrap().push(received);
                if hangs {
                    // The sender gives up first.
                    let _ = stream.read(&mut [0]);
                    return;
                }
                "204 No Content"
            }
            Err(problem) => {
                eprintln!("the receiver refuses a message: {problem}");
                "401 Unauthorized"
            }
        },
        Err(_) => "400 Bad Request",
    };
    let _ = stream
        .write_all(format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n").as_bytes());
}

/// The first line, the headers and the body of an HTTP request.
pub fn read(stream: &TcpStream) -> std::io::Result<(String, BTreeMap<String, String>, Vec<u8>)> {
    let mut reader = BufReader::new(stream);
    let (mut first, mut headers) = (String::new(), BTreeMap::new());
    reader.read_line(&mut first)?;
    loop {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        let Some((name, value)) = line.trim().split_once(':') else { break };
        headers.insert(name.to_lowercase(), value.trim().to_owned());
    }
    let length = headers.get("content-length").and_then(|length| length.parse().ok()).unwrap_or(0);
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    Ok((first, headers, body))
}

/// A Standard Webhooks signature over id, timestamp and body.
fn check(headers: &BTreeMap<String, String>, body: &[u8]) -> Result<Received, String> {
    let header = |name: &str| headers.get(name).ok_or(format!("{name} is missing"));
    let (id, timestamp, signature) =
        (header("webhook-id")?, header("webhook-timestamp")?, header("webhook-signature")?);
    let key = STANDARD.decode(SIGNING_KEY.trim_start_matches("whsec_")).map_err(|error| error.to_string())?;
    let mut mac = Hmac::<Sha256>::new_from_slice(&key).map_err(|error| error.to_string())?;
    mac.update(format!("{id}.{timestamp}.").as_bytes());
    mac.update(body);
    let expected = format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes()));
    if !signature.split(' ').any(|candidate| candidate == expected) {
        return Err(format!("the signature of {id} is wrong"));
    }
    let body = serde_json::from_slice(body).map_err(|error| error.to_string())?;
    Ok(Received { id: id.clone(), body })
}
