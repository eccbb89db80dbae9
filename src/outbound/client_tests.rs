use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::*;

/// What a far side has received, one text a connection.
type Received = Arc<Mutex<Vec<String>>>;

/// A far side that reads a request and then does as it is told. Returns its port.
async fn far_side<F>(answer: impl Fn(TcpStream) -> F + Send + 'static) -> (u16, Received)
where
    F: Future<Output = ()> + Send + 'static,
{
    let _ = rustls::crypto::ring::default_provider().install_default();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let received: Received = Arc::default();
    let log = Arc::clone(&received);
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut request = vec![0; 16 * 1024];
            let read = stream.read(&mut request).await.unwrap_or_default();
            log.lock().unwrap().push(String::from_utf8_lossy(&request[..read]).into_owned());
            tokio::spawn(answer(stream));
        }
    });
    (port, received)
}

/// A far side that answers with these bytes.
async fn answering(bytes: impl Into<Vec<u8>>) -> (u16, Received) {
    let bytes: Arc<[u8]> = bytes.into().into();
    far_side(move |mut stream| {
        let bytes = Arc::clone(&bytes);
        async move {
            let _ = stream.write_all(&bytes).await;
            let _ = stream.shutdown().await;
        }
    })
    .await
}

fn local() -> Outbound {
    Outbound { allow_loopback: true, api_server: None }
}

async fn get(client: &Outbound, url: &str) -> Result<Answer, CallError> {
    let url = HttpUrl::parse(url).unwrap();
    let timeout = Duration::from_secs(2);
    let (method, headers) = (Method::GET, HeaderMap::new());
    client.call(Call { method, url: &url, headers, body: None, authorities: None, timeout }).await
}

/// A far side over TLS with a certificate for a name; its port and the certificate in PEM.
async fn over_tls(name: &str) -> (u16, String) {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let made = rcgen::generate_simple_self_signed([name.to_owned()]).unwrap();
    let key = rustls::pki_types::PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
    let config = rustls::ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)
        .unwrap();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let port = listener.local_addr().unwrap().port();
    let config = axum_server::tls_rustls::RustlsConfig::from_config(Arc::new(config));
    let app = axum::Router::new().fallback(|headers: axum::http::HeaderMap| async move {
        headers["host"].to_str().unwrap_or_default().to_owned()
    });
    let server = axum_server::from_tcp_rustls(listener, config).unwrap();
    tokio::spawn(server.serve(app.into_make_service()));
    (port, made.cert.pem())
}

#[tokio::test]
async fn the_certificate_and_the_host_are_those_of_the_name_and_not_of_the_address() {
    let (port, authority) = over_tls("localhost").await;
    let call = async |host: &str, authorities: Option<&str>| {
        let url = HttpUrl::parse(&format!("https://{host}:{port}/")).unwrap();
        let (method, headers, timeout) = (Method::GET, HeaderMap::new(), Duration::from_secs(5));
        local().call(Call { method, url: &url, headers, body: None, authorities, timeout }).await
    };
    let answer = call("localhost", Some(&authority)).await.unwrap();
    assert_eq!(answer.body.unwrap(), format!("localhost:{port}").as_bytes());
    // The same server under another name, and an authority that is not trusted.
    for refused in [call("127.0.0.1", Some(&authority)).await, call("localhost", None).await] {
        let error = refused.unwrap_err();
        assert!(matches!(error, CallError::NotSent(_)), "{error}");
    }
}

#[tokio::test]
async fn a_request_holds_the_url_that_was_validated_and_no_more() {
    let (port, received) =
        answering("HTTP/1.1 200 OK\r\nContent-Length: 2\r\nRetry-After: 7\r\n\r\nok").await;
    let answer = get(&local(), &format!("http://localhost:{port}/a%20b/c;d?e=%26&f=+")).await.unwrap();
    assert_eq!((answer.status, answer.body.unwrap().as_slice()), (200, &b"ok"[..]));
    assert_eq!(answer.retry_after.as_deref(), Some("7"));
    let request = received.lock().unwrap().concat();
    let mut lines: Vec<&str> = request.trim_end().lines().collect();
    lines.sort_unstable();
    let host = format!("host: localhost:{port}");
    let expected = [
        "GET /a%20b/c;d?e=%26&f=+ HTTP/1.1",
        "accept-encoding: identity",
        "accept: */*",
        &host,
        "user-agent: mayday",
    ];
    assert_eq!(lines, expected);
}

#[tokio::test]
async fn a_redirect_is_an_answer_and_is_not_followed() {
    let (elsewhere, visited) = answering("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await;
    for status in [301, 302, 303, 307, 308] {
        let (port, _) = answering(format!(
            "HTTP/1.1 {status} x\r\nLocation: http://127.0.0.1:{elsewhere}/\r\nContent-Length: 0\r\n\r\n"
        ))
        .await;
        assert_eq!(get(&local(), &format!("http://127.0.0.1:{port}/")).await.unwrap().status, status);
    }
    assert!(visited.lock().unwrap().is_empty());
}

#[tokio::test]
async fn no_byte_is_sent_to_an_address_that_is_refused() {
    let (port, received) = answering("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await;
    for host in ["127.0.0.1", "localhost", "[::1]"] {
        let refused = get(&Outbound::default(), &format!("http://{host}:{port}/")).await.unwrap_err();
        assert!(
            matches!(refused, CallError::Refused(_)) && refused.to_string().contains("loopback"),
            "{refused}"
        );
    }
    for host in ["169.254.169.254", "0.0.0.0", "[fe80::1]", "[64:ff9b::a9fe:a9fe]", "224.0.0.1"] {
        let refused = get(&local(), &format!("http://{host}:{port}/")).await.unwrap_err();
        assert!(matches!(refused, CallError::Refused(_)), "{host}: {refused}");
    }
    let api_server = format!("https://localhost:{port}").parse().unwrap();
    for host in ["127.0.0.1", "localhost"] {
        let refused =
            get(&Outbound::new(true, &api_server), &format!("http://{host}:{port}/")).await.unwrap_err();
        assert_eq!(refused.to_string(), "is not called: its address is the Kubernetes API server");
    }
    assert!(received.lock().unwrap().is_empty());
}

#[tokio::test]
async fn a_body_is_read_up_to_its_limit_whatever_length_it_declares() {
    let full = "x".repeat(MAX_BODY);
    let (port, _) = answering(format!("HTTP/1.1 200 OK\r\nContent-Length: {MAX_BODY}\r\n\r\n{full}")).await;
    assert_eq!(
        get(&local(), &format!("http://127.0.0.1:{port}/")).await.unwrap().body.unwrap().len(),
        MAX_BODY
    );
    let (port, _) = answering(format!("HTTP/1.1 201 Created\r\n\r\n{full}x")).await;
    let answer = get(&local(), &format!("http://127.0.0.1:{port}/")).await.unwrap();
    assert_eq!((answer.status, answer.body), (201, Err(BodyError::TooLarge)));
    // An endless body: the far side goes on until the connection is closed under it.
    let ended: Arc<Mutex<Option<usize>>> = Arc::default();
    let log = Arc::clone(&ended);
    let (port, _) = far_side(move |mut stream| {
        let log = Arc::clone(&log);
        async move {
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 1073741824\r\n\r\n").await;
            let mut sent = 0;
            while stream.write_all(&[b'x'; 8192]).await.is_ok() {
                sent += 8192;
            }
            *log.lock().unwrap() = Some(sent);
        }
    })
    .await;
    let answer = get(&local(), &format!("http://127.0.0.1:{port}/")).await.unwrap();
    assert_eq!((answer.status, answer.body), (200, Err(BodyError::TooLarge)));
    let closed = async {
        while ended.lock().unwrap().is_none() {
            tokio::task::yield_now().await;
        }
    };
    timeout(Duration::from_secs(10), closed).await.unwrap();
    // What was in the buffers of both sockets.
    assert!(ended.lock().unwrap().unwrap() < 32 * 1024 * 1024);
}

#[tokio::test]
async fn a_compressed_body_is_not_unpacked() {
    // 1 GiB of zeros would begin like this.
    let bomb = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3, 0xed, 0xc1];
    let mut bytes = b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 12\r\n\r\n".to_vec();
    bytes.extend(bomb);
    let (port, _) = answering(bytes).await;
    let answer = get(&local(), &format!("http://127.0.0.1:{port}/")).await.unwrap();
    assert_eq!((answer.status, answer.body), (200, Err(BodyError::Compressed)));
}

#[tokio::test]
async fn a_far_side_that_drips_or_is_silent_is_given_up_in_time() {
    let started = Instant::now();
    let (silent, received) = far_side(|stream| async move {
        tokio::time::sleep(Duration::from_secs(60)).await;
        drop(stream);
    })
    .await;
    let error = get(&local(), &format!("http://127.0.0.1:{silent}/")).await.unwrap_err();
    assert!(matches!(error, CallError::NoAnswer(_)), "{error}");
    assert_eq!(received.lock().unwrap().len(), 1, "it is not asked again");
    let drip = |head: &'static str| {
        far_side(move |mut stream| async move {
            let _ = stream.write_all(head.as_bytes()).await;
            while stream.write_all(b"x").await.is_ok() {
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        })
    };
    let (in_body, _) = drip("HTTP/1.1 200 OK\r\nContent-Length: 60000\r\n\r\n").await;
    let answer = get(&local(), &format!("http://127.0.0.1:{in_body}/")).await.unwrap();
    assert_eq!((answer.status, answer.body), (200, Err(BodyError::Broken)));
    let (in_head, _) = drip("HTTP/1.1 200 OK\r\nX-").await;
    let error = get(&local(), &format!("http://127.0.0.1:{in_head}/")).await.unwrap_err();
    assert!(matches!(error, CallError::NoAnswer(_)), "{error}");
    assert!(started.elapsed() < Duration::from_secs(20), "{:?}", started.elapsed());
}

#[tokio::test]
async fn a_broken_connection_is_no_answer_and_is_not_tried_again() {
    let (port, received) = far_side(|stream| async move { drop(stream) }).await;
    let error = get(&local(), &format!("http://127.0.0.1:{port}/")).await.unwrap_err();
    assert!(matches!(error, CallError::NoAnswer(_)), "{error}");
    assert_eq!(received.lock().unwrap().len(), 1);
    // Nothing listens there any more.
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    drop(listener);
    let error = get(&local(), &format!("http://127.0.0.1:{port}/")).await.unwrap_err();
    assert!(matches!(error, CallError::NotSent(_)), "{error}");
    let error = get(&local(), "http://nothing.invalid/").await.unwrap_err();
    assert!(matches!(error, CallError::NotSent(_)), "{error}");
    assert!(!error.to_string().contains("nothing.invalid"), "{error}");
}
