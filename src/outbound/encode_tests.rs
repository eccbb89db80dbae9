use proptest::prelude::*;

use super::*;

/// What a label of an alert may hold. Anybody who can send an alert writes it.
const HOSTILE: &[&str] = &[
    r#""} or vector(1) #"#,
    "$(id)",
    "`id`",
    "../../",
    "..",
    "{{ .Values.x }}",
    "${HOME}",
    "a\nb",
    "a\r\nHost: b",
    "a\0b",
    r"\",
    r#"\""#,
    "'",
    "a&b=c#d?e",
    "%2e%2e%2f",
    "%0d%0a",
    ".*|.+",
    "größe 🚀",
];

#[test]
fn a_hostile_value_is_one_path_segment_or_is_refused() {
    let golden: Vec<Result<&str, &str>> = vec![
        Ok("%22%7D%20or%20vector%281%29%20%23"),
        Ok("%24%28id%29"),
        Ok("%60id%60"),
        Err("'/'"),
        Err("no path segment"),
        Ok("%7B%7B%20.Values.x%20%7D%7D"),
        Ok("%24%7BHOME%7D"),
        Err("U+000A"),
        Err("U+000D"),
        Err("U+0000"),
        Err(r"'\\'"),
        Err(r"'\\'"),
        Ok("%27"),
        Ok("a%26b%3Dc%23d%3Fe"),
        Err("'%'"),
        Err("'%'"),
        Ok(".%2A%7C.%2B"),
        Ok("gr%C3%B6%C3%9Fe%20%F0%9F%9A%80"),
    ];
    assert_eq!(golden.len(), HOSTILE.len());
    for (value, expected) in HOSTILE.iter().zip(golden) {
        match (segment(value), expected) {
            (Ok(encoded), Ok(expected)) => assert_eq!(encoded, expected),
            (Err(why), Err(expected)) => assert!(why.contains(expected), "{value:?}: {why}"),
            (got, expected) => panic!("{value:?}: {got:?}, not {expected:?}"),
        }
    }
    assert!(segment("").is_err());
    assert!(segment(&"a".repeat(1_000_000)).unwrap_err().contains("1000000 bytes"));
}

#[test]
fn a_hostile_value_is_one_query_value_or_is_refused() {
    let encoded = |value: &str| query([("q", value)]);
    assert_eq!(encoded(r#""} or vector(1) #"#).unwrap(), "q=%22%7D%20or%20vector%281%29%20%23");
    assert_eq!(encoded("../../").unwrap(), "q=..%2F..%2F");
    assert_eq!(encoded("%2e%2e%2f").unwrap(), "q=%252e%252e%252f");
    assert_eq!(encoded("a&b=c#d?e").unwrap(), "q=a%26b%3Dc%23d%3Fe");
    assert_eq!(encoded("").unwrap(), "q=");
    for value in HOSTILE {
        let Ok(encoded) = encoded(value) else { continue };
        let url = url::Url::parse(&format!("http://a.example/?{encoded}")).unwrap();
        let read: Vec<_> =
            url.query_pairs().map(|(name, value)| (name.into_owned(), value.into_owned())).collect();
        assert_eq!(read, [("q".to_owned(), (*value).to_owned())]);
    }
    for value in ["a\nb", "a\0b", &"a".repeat(1_000_000)] {
        assert!(encoded(value).unwrap_err().starts_with("q: "), "{:?}", value.get(..9));
    }
}

#[test]
fn a_hostile_value_is_one_string_of_promql() {
    let bound = |value: &str| bind(r#"max(queue{queue="$queue"})"#, |_| Some(value)).unwrap();
    let golden = [
        r#"max(queue{queue="\"} or vector(1) #"})"#,
        r#"max(queue{queue="$(id)"})"#,
        r#"max(queue{queue="`id`"})"#,
        r#"max(queue{queue="../../"})"#,
        r#"max(queue{queue=".."})"#,
        r#"max(queue{queue="{{ .Values.x }}"})"#,
        r#"max(queue{queue="${HOME}"})"#,
        r#"max(queue{queue="a\u000ab"})"#,
        r#"max(queue{queue="a\u000d\u000aHost: b"})"#,
        r#"max(queue{queue="a\u0000b"})"#,
        r#"max(queue{queue="\\"})"#,
        r#"max(queue{queue="\\\""})"#,
        r#"max(queue{queue="'"})"#,
        r#"max(queue{queue="a&b=c#d?e"})"#,
        r#"max(queue{queue="%2e%2e%2f"})"#,
        r#"max(queue{queue="%0d%0a"})"#,
        r#"max(queue{queue=".*|.+"})"#,
        r#"max(queue{queue="größe 🚀"})"#,
    ];
    assert_eq!(golden.len(), HOSTILE.len());
    for (value, expected) in HOSTILE.iter().zip(golden) {
        assert_eq!(bound(value), expected);
    }
    let bind = |value: &'static str| bind(r#"up{a="$a"}"#, move |_| Some(value));
    assert!(bind("").unwrap_err().contains("empty"));
    assert!(bind("a".repeat(1_000_000).leak()).unwrap_err().contains("1000000 bytes"));
}

/// A JSON body with invalid UTF-8 never becomes a text.
#[test]
fn invalid_utf8_is_no_value() {
    assert!(serde_json::from_slice::<String>(b"\"a\xff\"").is_err());
    assert!(serde_json::from_str::<String>(r#""\ud800""#).is_err());
}

#[test]
fn only_the_whole_value_of_an_exact_matcher_is_a_parameter() {
    for (query, expected) in [
        (r#"up{a="$a"}"#, vec!["a"]),
        (r#"up{a = "$a", b != '$bC', c=`$c1`}"#, vec!["a", "bC", "c1"]),
        ("up{a= # why not \"\n \"$a\"}", vec!["a"]),
        (r#"up{a="$a"} / on(x) up{a="$a"}"#, vec!["a", "a"]),
        (r#"{"a.b"="$a"}"#, vec!["a"]),
        // Texts that only look like one.
        (r#"up{a="x$a"}"#, vec![]),
        (r#"up{a="$a "}"#, vec![]),
        (r#"up{a="$1"}"#, vec![]),
        (r#"up{a="$A"}"#, vec![]),
        (r#"up{a="$"}"#, vec![]),
        (r#"label_replace(up{a="b"}, "dst", "$name", "src", "(?P<name>.*)")"#, vec![]),
        (r#"up{a="b"} == "$a""#, vec![]),
        (r#"up{a="\"$a"}"#, vec![]),
        ("up # {a=\"$a\"}", vec![]),
        (r#"count("}") + up{a="b{"}"#, vec![]),
    ] {
        assert_eq!(parameters(query).unwrap(), expected, "{query}");
    }
    for query in [r#"up{a=~"$a"}"#, r#"up{a!~"$a"}"#, r#"up{a=~ '$a'}"#] {
        assert!(
            parameters(query).unwrap_err().contains("$a: a parameter stands after = or != only"),
            "{query}"
        );
    }
    for query in [r#"up{a="$a}"#, r#"up{a="\"}"#, "up{a='b\"}"] {
        assert!(parameters(query).unwrap_err().contains("no end"), "{query}");
    }
    let missing = bind(r#"up{a="$a"}"#, |_| None).unwrap_err();
    assert_eq!(missing, "there is no parameter a");
}

proptest! {
    /// Whatever the value is: what is around it stays, and the string that it becomes ends where it should.
    #[test]
    fn a_bound_value_ends_where_its_string_ends(value in "\\PC{1,40}|[\"\\\\{}#\\n$]{1,20}") {
        let bound = bind(r#"up{a="$a",b="c"}"#, |_| Some(value.as_str())).unwrap();
        let string = bound.strip_prefix("up{a=").unwrap();
        let end = string_end(string).unwrap();
        prop_assert_eq!(&string[end..], r#",b="c"}"#);
    }

    /// An encoded value is read back as it was.
    #[test]
    fn an_encoded_value_is_read_back_as_it_was(value in "\\PC{0,40}") {
        let encoded = query([("q", value.as_str())]).unwrap();
        let url = url::Url::parse(&format!("http://a.example/?{encoded}")).unwrap();
        let read = url.query_pairs().next().map(|(_, value)| value.into_owned()).unwrap_or_default();
        prop_assert_eq!(read, value);
    }
}
