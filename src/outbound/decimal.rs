//! Decimal numbers that are compared exactly: a limit of 0.1 is 0.1, and no binary fraction near it. Pure.

use core::cmp::Ordering;

/// Digits before and after the point that a number may have.
const DIGITS: i64 = 400;

/// A decimal number.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Decimal {
    is_negative: bool,
    /// The digits of a number below one, without zeros at either end: 0.digits × 10^exponent. Empty for zero.
    digits: Vec<u8>,
    exponent: i64,
}

impl Decimal {
    /// Reads `-12.5`, `+3`, `.5` or `1e-9`; nothing else, so neither `NaN` nor `+Inf`.
    pub fn parse(text: &str) -> Option<Decimal> {
        let (is_negative, unsigned) = match text.as_bytes().first()? {
            b'-' => (true, &text[1..]),
            b'+' => (false, &text[1..]),
            _ => (false, text),
        };
        let (number, power) = match unsigned.split_once(['e', 'E']) {
            Some((number, power)) => (number, power.parse::<i64>().ok()?),
            None => (unsigned, 0),
        };
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        let is_number = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
        if (whole.is_empty() && fraction.is_empty()) || !is_number(whole) || !is_number(fraction) {
            return None;
        }
        let digits = [whole, fraction].concat();
        let leading = digits.bytes().take_while(|digit| *digit == b'0').count();
        let significant = digits.trim_matches('0');
        let exponent = i64::try_from(whole.len()).ok()? - i64::try_from(leading).ok()?;
        let exponent = exponent.checked_add(power)?;
        if significant.is_empty() {
            return Some(Decimal { is_negative: false, digits: Vec::new(), exponent: 0 });
        }
        let is_sane = exponent.abs() <= DIGITS && significant.len() <= 2 * 400;
        is_sane.then(|| Decimal { is_negative, digits: significant.into(), exponent })
    }
}

impl Ord for Decimal {
    fn cmp(&self, other: &Decimal) -> Ordering {
        let sign = |number: &Decimal| match (number.digits.is_empty(), number.is_negative) {
            (true, _) => 0,
            (false, false) => 1,
            (false, true) => -1,
        };
        let size = || (self.exponent, &self.digits).cmp(&(other.exponent, &other.digits));
        sign(self).cmp(&sign(other)).then_with(|| match sign(self) {
            0 => Ordering::Equal,
            1 => size(),
            _ => size().reverse(),
        })
    }
}

impl PartialOrd for Decimal {
    fn partial_cmp(&self, other: &Decimal) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn number(text: &str) -> Decimal {
        Decimal::parse(text).unwrap_or_else(|| panic!("{text}"))
    }

    #[test]
    fn numbers_are_compared_by_their_digits() {
        // Each is smaller than the next.
        let rising = [
            "-1e300",
            "-1000.5",
            "-1000",
            "-10",
            "-9.99",
            "-1",
            "-0.1",
            "-0.09",
            "-1e-300",
            "0",
            "5e-324",
            "0.05",
            "0.1",
            "0.1000000000000000055511151231257827",
            "0.3",
            "0.30000000000000004",
            "1",
            "1.5",
            "9",
            "10",
            "999.999",
            "1000",
            "9007199254740992",
            "9007199254740993",
            "1.7976931348623157e308",
        ];
        for (index, small) in rising.iter().enumerate() {
            for great in &rising[index + 1..] {
                assert!(number(small) < number(great), "{small} < {great}");
                assert!(number(great) > number(small), "{great} > {small}");
            }
        }
    }

    #[test]
    fn one_number_may_be_written_in_many_ways() {
        for (one, other) in [
            ("0", "-0.000"),
            ("1", "+1.0"),
            ("0.5", ".5"),
            ("1000", "1e3"),
            ("0.001", "1E-3"),
            ("007", "7"),
            ("12.50", "1.25e+1"),
            ("0e999999", "0"),
        ] {
            assert_eq!(number(one).cmp(&number(other)), Ordering::Equal, "{one} = {other}");
            assert_eq!(number(one), number(other));
        }
    }

    #[test]
    fn what_is_no_number_is_none() {
        for text in [
            "",
            "-",
            "+",
            ".",
            "e3",
            "1e",
            "1.2.3",
            "NaN",
            "+Inf",
            "-Inf",
            "inf",
            "0x10",
            "1_000",
            "1,5",
            " 1",
            "1 ",
            "--1",
            "1e999999999999999999999",
            "1e99999",
            "١",
        ] {
            assert_eq!(Decimal::parse(text), None, "{text:?}");
        }
    }
}
