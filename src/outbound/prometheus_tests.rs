//! The answers are as Prometheus 3, Thanos and VictoriaMetrics write them.

use serde_json::json;

use super::*;

fn now() -> Timestamp {
    "2026-11-22T03:00:00Z".parse().unwrap()
}

fn check(limit: serde_json::Value) -> QueryCheck {
    let mut whole = json!({"url": "http://p:9090", "promQL": "up"});
    json_patch::merge(&mut whole, &limit);
    serde_json::from_value(whole).unwrap()
}

fn below_1() -> QueryCheck {
    check(json!({"below": "1"}))
}

/// A vector of these values, of a time in seconds after now.
fn vector(values: &[&str], after: f64) -> String {
    #[allow(clippy::cast_precision_loss, reason = "it is exact for a long time to come")]
    let time = now().as_second() as f64 + after;
    let series: Vec<String> = values
        .iter()
        .map(|value| format!(r#"{{"metric":{{"job":"api"}},"value":[{time:.3},"{value}"]}}"#))
        .collect();
    format!(r#"{{"status":"success","data":{{"resultType":"vector","result":[{}]}}}}"#, series.join(","))
}

fn judged(status: u16, body: &str) -> Seen {
    judge(&below_1(), status, body.as_bytes(), now())
}

fn is_inconclusive(status: u16, body: &str, why: &str) {
    let seen = judged(status, body);
    assert_eq!(seen.verdict, Verdict::Inconclusive, "{body}: {}", seen.message);
    assert!(seen.message.contains(why), "{body}: {}", seen.message);
}

#[test]
fn one_fresh_finite_value_is_compared() {
    assert_eq!(judged(200, &vector(&["0.5"], 0.781)).verdict, Verdict::Passes);
    let fails = judged(200, &vector(&["1"], -299.0));
    assert_eq!(fails, Seen { verdict: Verdict::Fails, message: "the value is 1, not below 1".to_owned() });
    let scalar = r#"{"status":"success","data":{"resultType":"scalar","result":[1795316400,"0.25"]}}"#;
    let seen = judged(200, scalar);
    assert_eq!((seen.verdict, seen.message.as_str()), (Verdict::Passes, "the value is 0.25, below 1"));
    let infos = vector(&["0"], 0.0).replace(
        r#""status":"success","#,
        r#""status":"success","infos":["PromQL info: metric might not be a counter, name does not end in _total"],"#,
    );
    assert_eq!(
        judged(200, &infos).verdict,
        Verdict::Passes,
        "an info is about the query, not about the data"
    );
}

#[test]
fn the_limit_is_exact_and_is_not_within_itself() {
    let verdict = |limit: serde_json::Value, value: &str| {
        judge(&check(limit), 200, vector(&[value], 0.0).as_bytes(), now()).verdict
    };
    for (limit, value, expected) in [
        (json!({"above": "0.3"}), "0.30000000000000004", Verdict::Passes),
        (json!({"above": "0.3"}), "0.3", Verdict::Fails),
        (json!({"below": "0.3"}), "0.3", Verdict::Fails),
        (json!({"below": "9007199254740993"}), "9007199254740992", Verdict::Passes),
        (json!({"above": "-1"}), "-0", Verdict::Passes),
        (json!({"below": "1000"}), "1e+03", Verdict::Fails),
        (json!({"below": "1001"}), "1e+03", Verdict::Passes),
        (json!({"below": "much"}), "1", Verdict::Inconclusive),
        (json!({}), "1", Verdict::Inconclusive),
        (json!({"above": "0", "below": "2"}), "1", Verdict::Inconclusive),
    ] {
        assert_eq!(verdict(limit.clone(), value), expected, "{value} for {limit}");
    }
}

#[test]
fn what_is_no_single_number_is_inconclusive() {
    is_inconclusive(200, &vector(&[], 0.0), "finds nothing");
    is_inconclusive(200, &vector(&["0", "0"], 0.0), "returns 2 values");
    is_inconclusive(200, &vector(&["NaN"], 0.0), "NaN");
    is_inconclusive(200, &vector(&["+Inf"], 0.0), "+Inf");
    is_inconclusive(200, &vector(&["-Inf"], 0.0), "-Inf");
    is_inconclusive(
        200,
        r#"{"status":"success","data":{"resultType":"vector","result":[{"metric":{},"histogram":[1795316400,{"count":"60","sum":"33.3"}]}]}}"#,
        "histogram",
    );
    is_inconclusive(
        200,
        r#"{"status":"success","data":{"resultType":"matrix","result":[{"metric":{},"values":[[1795316400,"0"]]}]}}"#,
        "returns a matrix",
    );
    is_inconclusive(
        200,
        r#"{"status":"success","data":{"resultType":"string","result":[1795316400,"0"]}}"#,
        "returns a string",
    );
}

#[test]
fn a_partial_answer_is_inconclusive() {
    let with = |field: &str| {
        vector(&["0"], 0.0).replace(r#""status":"success","#, &format!(r#""status":"success",{field},"#))
    };
    is_inconclusive(
        200,
        &with(r#""warnings":["store 10.0.0.7:10901: connection refused"]"#),
        "may be partial: store",
    );
    is_inconclusive(200, &with(r#""isPartial":true"#), "partial");
    assert_eq!(judged(200, &with(r#""isPartial":false"#)).verdict, Verdict::Passes);
}

#[test]
fn a_sample_of_another_time_is_inconclusive() {
    is_inconclusive(200, &vector(&["0"], -601.0), "stale: it is of 2026-11-22 02:49:59 UTC");
    is_inconclusive(200, &vector(&["0"], -301.0), "stale");
    is_inconclusive(200, &vector(&["0"], 301.0), "in the future");
    for time in ["1e300", "-1e300", "\"now\"", "null"] {
        let body = format!(
            r#"{{"status":"success","data":{{"resultType":"vector","result":[{{"metric":{{}},"value":[{time},"0"]}}]}}}}"#
        );
        assert_eq!(judged(200, &body).verdict, Verdict::Inconclusive, "{time}");
    }
}

#[test]
fn an_error_is_inconclusive_and_only_prometheus_is_quoted() {
    is_inconclusive(
        400,
        r#"{"status":"error","errorType":"bad_data","error":"invalid parameter \"query\": 1:4: parse error: unexpected end of input"}"#,
        "answered 400: bad_data: invalid parameter",
    );
    is_inconclusive(
        503,
        r#"{"status":"error","errorType":"timeout","error":"query timed out"}"#,
        "503: timeout",
    );
    is_inconclusive(422, r#"{"status":"error","errorType":"execution","error":"many-to-many"}"#, "422");
    // A success with another status, and an error with 200.
    is_inconclusive(500, &vector(&["0"], 0.0), "answered 500");
    is_inconclusive(
        200,
        r#"{"status":"error","errorType":"internal","error":"x"}"#,
        "answered 200: internal: x",
    );
    for (status, body) in [
        (200, "<html>secret</html>"),
        (200, ""),
        (200, "0"),
        (200, "null"),
        (200, "{}"),
        (200, r#"{"token":"secret"}"#),
        (200, r#"{"status":"success"}"#),
        (200, r#"{"status":"success","data":null}"#),
        (200, r#"{"status":"success","data":{"resultType":"vector","result":"secret"}}"#),
        (200, r#"{"status":"success","data":{"resultType":"scalar","result":[1]}}"#),
        (200, "\u{feff}{}"),
        (502, "Bad Gateway: secret"),
        (404, "404 page not found"),
        (401, "Unauthorized"),
    ] {
        let seen = judged(status, body);
        assert_eq!(seen.verdict, Verdict::Inconclusive, "{status} {body}");
        assert!(!seen.message.contains("secret"), "{body}: {}", seen.message);
    }
    let long = format!(r#"{{"status":"error","errorType":"x","error":"{}"}}"#, "e".repeat(10_000));
    assert!(judged(400, &long).message.len() < 300);
}
