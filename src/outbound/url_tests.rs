use cel::{Context, Program, Value};

use super::*;
use crate::api::http_url::{self, RULES};

const TAKEN: &[&str] = &[
    "http://prometheus:9090",
    "http://prometheus.monitoring.svc:9090/",
    "https://hooks.example/services/T000/B-0_0~1?token=a%26b",
    "https://xn--bcher-kva.example/b%C3%BCcher",
    "http://10.0.0.7:8080/healthz",
    "http://127.0.0.1:9090/prometheus/",
    "http://[fd00::1]:9090/api",
    "https://a.example/a%20b/50%25;x=1,2/(b)!*'",
    "https://a.example/a%5Bb%5D?q=%7B%7D&q=a+b",
    "http://1password.example/",
];

/// What is refused, by the kind of trick.
const REFUSED: &[&str] = &[
    // Other schemes and none.
    "",
    "x",
    "//a.example/",
    "ftp://a.example/",
    "file:///etc/passwd",
    "gopher://a.example/",
    "javascript:alert(1)",
    "http:/a.example",
    "http:a.example",
    "http://",
    "https:///a",
    "HTTP://a.example/",
    // Users and passwords.
    "http://user@a.example/",
    "http://user:pass@a.example/",
    "http://a.example@127.0.0.1/",
    "http://a.example:80@127.0.0.1/",
    // Fragments.
    "http://a.example/#x",
    "http://a.example#@127.0.0.1/",
    // Characters that parsers drop or change.
    " http://a.example/",
    "http://a.example/ ",
    "http://a.example/a b",
    "http://a.example/\t",
    "http://a.exam\nple/",
    "http://a.example/\r\nHost: b",
    "http://a.example/\u{0}",
    "http://a.example\\@127.0.0.1/",
    "http:\\\\a.example/",
    "http://a.example/\\..\\b",
    "http://bücher.example/",
    "http://a.example/ü",
    "http://a。example/",
    "http://a.example/{x}",
    "http://a.example/\"x\"",
    "http://a.example/<x>",
    "http://a.example/a|b^c`",
    // Escapes.
    "http://a.example/%",
    "http://a.example/%2",
    "http://a.example/%zz",
    "http://a.example/%2g",
    "http://a.example/%%32e",
    "http://a.example/?q=%",
    "http://a.example/?q=%g0",
    "http://a.example/%2e%2e/admin",
    "http://a.example/%2E%2E/admin",
    "http://a.example/.%2e/admin",
    "http://a.example/%252e%252e/admin",
    "http://a.example/a%2fb",
    "http://a.example/a%5Cb",
    "http://a.example/%00",
    "http://a.example/?q=%0d%0a",
    "http://a.example/%7f",
    "http://a.example/%61dmin",
    // Dots in the path.
    "http://a.example/../b",
    "http://a.example/a/./b",
    "http://a.example/a/..",
    "http://a.example/..?x",
    // Hosts that are addresses in disguise.
    "http://2130706433/",
    "http://0x7f000001/",
    "http://0x7f.1/",
    "http://0177.0.0.1/",
    "http://127.1/",
    "http://127.0.0.1./",
    "http://127.0.0.01/",
    "http://1.2.3/",
    "http://0/",
    "http://a.0x7f/",
    "http://%31%32%37.0.0.1/",
    "http://[::ffff:127.0.0.1]/",
    "http://[0:0:0:0:0:0:0:1]/",
    "http://[::1%25lo]/",
    "http://[::G]/",
    // Hosts that are not written as they are sent.
    "http://A.example/",
    "http://a_b.example/",
    "http://-a.example/",
    "http://a.example./",
    "http://.a.example/",
    "http://a..example/",
    "http://a.example,b.example/",
    "http://*.example/",
    // Ports.
    "http://a.example:80/",
    "https://a.example:443/",
    "http://a.example:0/",
    "http://a.example:65536/",
    "http://a.example:/",
    "http://a.example:09/",
    "http://a.example:9x/",
    "http://a.example?x",
    "http://a.example/[x]",
];

/// Whether the API server takes a URL.
fn api_server_takes(text: &str) -> bool {
    let mut context = Context::default();
    context.add_variable_from_value("self", Value::from(text));
    let holds = |rule: &str| {
        let program = Program::compile(rule).unwrap_or_else(|error| panic!("{rule}: {error}"));
        program.execute(&context).unwrap_or_else(|error| panic!("{rule}: {error}")) == Value::Bool(true)
    };
    text.len() <= http_url::MAX && RULES.iter().all(|(rule, _)| holds(rule))
}

#[test]
fn a_url_that_is_taken_is_sent_as_it_is_written() {
    for text in TAKEN {
        let url = HttpUrl::parse(text).unwrap_or_else(|why| panic!("{text}: {why}"));
        assert!(
            url.as_str() == *text || url.as_str() == format!("{text}/"),
            "{text} became {}",
            url.as_str()
        );
        assert!(api_server_takes(text), "the API server refuses {text}");
    }
}

#[test]
fn a_url_that_could_be_read_differently_is_refused() {
    for text in REFUSED {
        let why = HttpUrl::parse(text).expect_err(text);
        assert!(!why.contains("a.example"), "{text}: the reason repeats it: {why}");
    }
    assert!(HttpUrl::parse(&format!("http://a.example/{}", "a".repeat(MAX))).is_err());
}

/// Only what needs a real parser passes the API server and is refused later.
#[test]
fn the_api_server_refuses_it_already() {
    let passes: Vec<&str> = REFUSED.iter().copied().filter(|text| api_server_takes(text)).collect();
    let only_here = ["http://[0:0:0:0:0:0:0:1]/", "http://a.example:65536/"];
    assert_eq!(passes, only_here);
}

#[test]
fn a_path_is_put_below_the_url() {
    let at = |base: &str| HttpUrl::parse(base).unwrap().at("/api/v1/query").as_str().to_owned();
    assert_eq!(at("http://p:9090"), "http://p:9090/api/v1/query");
    assert_eq!(at("http://p:9090/prom/"), "http://p:9090/prom/api/v1/query");
    assert_eq!(at("http://p:9090/prom?x=1"), "http://p:9090/prom/api/v1/query");
}
