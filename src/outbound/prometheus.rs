//! What an answer of Prometheus' HTTP API says (`/api/v1/query`). Only one fresh, finite, whole value counts; anything else
//! is inconclusive, with the reason. Pure.

use jiff::{SignedDuration, Timestamp};
use serde::Deserialize;
use serde_json::{Number, Value};

use super::decimal::Decimal;
use super::look::{Seen, Verdict};
use crate::api::check::QueryCheck;
use crate::text::{flat, instant};

/// Path of an instant query below the base URL.
pub const PATH: &str = "/api/v1/query";
/// How old a sample may be.
const FRESH: SignedDuration = SignedDuration::from_mins(5);
/// Maximum length of a foreign text in a message, in bytes.
const MAX_FOREIGN: usize = 200;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Answer {
    status: String,
    data: Option<Data>,
    error_type: Option<String>,
    error: Option<String>,
    #[serde(default)]
    warnings: Vec<String>,
    /// VictoriaMetrics says so when a part of its storage did not answer.
    #[serde(default)]
    is_partial: bool,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Data {
    result_type: String,
    result: Value,
}

#[derive(Deserialize)]
struct Series {
    value: Option<Sample>,
}

/// Unix seconds, and the value as a text.
type Sample = (Number, String);

/// Whether an answer is within the limit of a check.
pub fn judge(check: &QueryCheck, status: u16, body: &[u8], now: Timestamp) -> Seen {
    match value(status, body, now) {
        Ok(value) => compare(check, &value),
        Err(why) => Seen::inconclusive(why),
    }
}

/// The one value of an answer, as Prometheus writes it.
///
/// # Errors
/// Why there is none that counts.
fn value(status: u16, body: &[u8], now: Timestamp) -> Result<String, String> {
    let answer = match serde_json::from_slice::<Answer>(body) {
        Ok(answer) => answer,
        Err(_) if status == 200 => return Err("the answer is not that of Prometheus' API".to_owned()),
        Err(_) => return Err(format!("the answer is the status {status}, and not that of Prometheus' API")),
    };
    if answer.status != "success" || status != 200 {
        // What a Prometheus says about the query. Another service's answer is not repeated.
        let said = answer.error_type.zip(answer.error).map(|(kind, error)| format!("{kind}: {error}"));
        let said = said.map_or_else(String::new, |said| format!(": {}", flat(&said, MAX_FOREIGN)));
        return Err(format!("Prometheus answered {status}{said}"));
    }
    if let Some(warning) = answer.warnings.first() {
        return Err(format!("the answer may be partial: {}", flat(warning, MAX_FOREIGN)));
    }
    if answer.is_partial {
        return Err("the answer is partial".to_owned());
    }
    let data = answer.data.ok_or("the answer holds no data")?;
    let unreadable = || "the answer holds no readable value".to_owned();
    let (time, value): Sample = match data.result_type.as_str() {
        "scalar" => serde_json::from_value(data.result).map_err(|_| unreadable())?,
        "vector" => {
            let series: Vec<Series> = serde_json::from_value(data.result).map_err(|_| unreadable())?;
            let mut series = series.into_iter();
            match (series.next(), series.len()) {
                (None, _) => return Err("the query finds nothing: it returns no value".to_owned()),
                (Some(one), 0) => one.value.ok_or("the query returns a histogram, and no number")?,
                (Some(_), more) => {
                    return Err(format!(
                        "the query returns {} values, and must return one: use max(...) or sum(...)",
                        more + 1
                    ));
                }
            }
        }
        other => {
            return Err(format!(
                "the query returns a {}, and must return one value",
                flat(other, MAX_FOREIGN)
            ));
        }
    };
    let time = seconds(&time).ok_or_else(unreadable)?;
    let age = now.duration_since(time);
    if age > FRESH {
        return Err(format!("the sample is stale: it is of {}", instant(time)));
    }
    if age < -FRESH {
        return Err(format!("the sample is of {}, which is in the future", instant(time)));
    }
    Ok(value)
}

/// Unix seconds with a fraction.
fn seconds(number: &Number) -> Option<Timestamp> {
    let milliseconds = (number.as_f64()? * 1000.0).round();
    let is_sane = milliseconds.abs() < 1e15;
    #[allow(clippy::cast_possible_truncation, reason = "it was just checked")]
    let whole = milliseconds as i64;
    Timestamp::from_millisecond(whole).ok().filter(|_| is_sane)
}

/// Compares a value with the limit, as decimal numbers.
fn compare(check: &QueryCheck, text: &str) -> Seen {
    let Some(value) = Decimal::parse(text) else {
        return Seen::inconclusive(format!("the value is {}, which is no number", flat(text, 40)));
    };
    let (limit, words, is_within): (_, _, fn(&Decimal, &Decimal) -> bool) = match (&check.above, &check.below)
    {
        (Some(limit), None) => (limit, "above", |value, limit| value > limit),
        (None, Some(limit)) => (limit, "below", |value, limit| value < limit),
        _ => return Seen::inconclusive("set exactly one of above, below".to_owned()),
    };
    let Some(number) = Decimal::parse(limit) else {
        return Seen::inconclusive(format!("the limit {limit:?} is no decimal number"));
    };
    let text = flat(text, 40);
    let (verdict, not) =
        if is_within(&value, &number) { (Verdict::Passes, "") } else { (Verdict::Fails, "not ") };
    Seen { verdict, message: format!("the value is {text}, {not}{words} {limit}") }
}

#[cfg(test)]
#[path = "prometheus_tests.rs"]
mod tests;
