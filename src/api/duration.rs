//! Lengths of time as people write them: the Gateway API's syntax (GEP-2257), such as `90s` or `1h30m`.

use std::fmt;

use jiff::SignedDuration;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

/// Up to four numbers of at most five digits, each with its unit: h, m, s or ms.
const PATTERN: &str = "^([0-9]{1,5}(h|m|s|ms)){1,4}$";

/// A length of time. It keeps the text it was written with, so that a digest over it does not change.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(try_from = "String", into = "String")]
pub struct Duration {
    text: String,
    value: SignedDuration,
}

/// A text that is not a length of time.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{0:?} is not a duration: write numbers with units h, m, s or ms, such as 90s or 1h30m")]
pub struct DurationError(String);

impl Duration {
    /// A whole number of seconds.
    pub fn from_secs(seconds: u32) -> Duration {
        Duration { text: format!("{seconds}s"), value: SignedDuration::from_secs(i64::from(seconds)) }
    }

    /// The length; never negative.
    pub fn get(&self) -> SignedDuration {
        self.value
    }
}

impl TryFrom<String> for Duration {
    type Error = DurationError;

    fn try_from(text: String) -> Result<Duration, DurationError> {
        let value = parse(&text).ok_or_else(|| DurationError(text.clone()))?;
        Ok(Duration { text, value })
    }
}

impl From<Duration> for String {
    fn from(duration: Duration) -> String {
        duration.text
    }
}

impl fmt::Display for Duration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

fn parse(text: &str) -> Option<SignedDuration> {
    let mut rest = text;
    let mut total = SignedDuration::ZERO;
    let mut parts = 0;
    while !rest.is_empty() {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        if digits == 0 || digits > 5 || parts == 4 {
            return None;
        }
        let number: i64 = rest[..digits].parse().ok()?;
        rest = &rest[digits..];
        let (millis, unit) = match rest.as_bytes() {
            [b'm', b's', ..] => (1, 2),
            [b'h', ..] => (3_600_000, 1),
            [b'm', ..] => (60_000, 1),
            [b's', ..] => (1_000, 1),
            _ => return None,
        };
        total = total.checked_add(SignedDuration::from_millis(number.checked_mul(millis)?))?;
        rest = &rest[unit..];
        parts += 1;
    }
    (parts > 0).then_some(total)
}

impl JsonSchema for Duration {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Duration".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": "string", "pattern": PATTERN, "maxLength": 32})
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_the_gateway_api_allows() {
        let seconds = |text: &str| Duration::try_from(text.to_owned()).map(|d| d.get().as_millis());
        assert_eq!(seconds("90s"), Ok(90_000));
        assert_eq!(seconds("1h30m"), Ok(5_400_000));
        assert_eq!(seconds("1m5s500ms"), Ok(65_500));
        assert_eq!(seconds("0s"), Ok(0));
    }

    #[test]
    fn refuses_everything_else() {
        for text in ["", "5", "-5s", "5d", "1.5h", "123456s", "1h1h1h1h1h", " 5s", "s"] {
            assert!(Duration::try_from(text.to_owned()).is_err(), "{text:?}");
        }
    }

    #[test]
    fn keeps_the_text_it_was_written_with() {
        let duration = Duration::try_from("60s".to_owned()).unwrap();
        assert_eq!(String::from(duration), "60s");
    }
}
