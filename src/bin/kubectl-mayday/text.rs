//! Shared texts: instants, lengths of time, tables. Pure.

use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};

/// An instant in UTC and, where it reads otherwise, in the person's zone:
/// `2026-11-22 02:04:10 UTC (03:04:10 CET)`.
pub fn instant(time: Timestamp, zone: &TimeZone) -> String {
    let utc = mayday::text::instant(time);
    let local = time.to_zoned(zone.clone());
    if local.offset().is_zero() {
        return utc;
    }
    let same_day = local.date() == time.to_zoned(TimeZone::UTC).date();
    let format = if same_day { "%H:%M:%S %Z" } else { "%Y-%m-%d %H:%M:%S %Z" };
    format!("{utc} ({})", local.strftime(format))
}

/// A length of time in at most two units, for columns: `45s`, `12m`, `3h5m`, `2d4h`.
pub fn span(length: SignedDuration) -> String {
    let seconds = length.as_secs().max(0);
    let two = |big: i64, big_unit: &str, small: i64, small_unit: &str| {
        if small == 0 { format!("{big}{big_unit}") } else { format!("{big}{big_unit}{small}{small_unit}") }
    };
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3600 => format!("{}m", seconds / 60),
        3600..86_400 => two(seconds / 3600, "h", seconds % 3600 / 60, "m"),
        _ => two(seconds / 86_400, "d", seconds % 86_400 / 3600, "h"),
    }
}

/// How long ago: `12m ago`.
pub fn ago(time: Timestamp, now: Timestamp) -> String {
    format!("{} ago", span(now.duration_since(time)))
}

/// Columns as kubectl prints them, without a line behind the last.
pub fn table(header: &[&str], rows: &[Vec<String>]) -> String {
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count());
        cells.chain(header.get(column).map(|cell| cell.len())).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..header.len()).map(width).collect();
    let line = |cells: &[&str]| {
        let padded = cells.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}"));
        padded.collect::<Vec<_>>().join("   ").trim_end().to_owned()
    };
    let mut lines = vec![line(header)];
    lines.extend(rows.iter().map(|row| line(&row.iter().map(String::as_str).collect::<Vec<_>>())));
    lines.join("\n")
}

/// What a person wrote: in the line, or as a block with a mark at each line, so that no line can pass for one of Mayday.
pub fn said(text: &str) -> String {
    match text.trim_end().contains('\n') {
        false => mayday::text::visible(text.trim_end()),
        true => format!("\n{}", indent(&mayday::text::block(text), 2)),
    }
}

/// The text with every line moved to the right.
pub fn indent(text: &str, by: usize) -> String {
    let pad = " ".repeat(by);
    let shift = |line: &str| if line.is_empty() { String::new() } else { format!("{pad}{line}") };
    text.lines().map(shift).collect::<Vec<_>>().join("\n")
}

/// A value of an object as YAML, so that what is shown can be applied.
pub fn yaml<T: serde::Serialize>(value: &T) -> String {
    serde_saphyr::to_string(value).unwrap_or_else(|error| format!("(cannot be shown as YAML: {error})"))
}

/// Names in a sentence, or what to say if there are none.
pub fn names<'a>(names: impl IntoIterator<Item = &'a str>, none: &str) -> String {
    let mut names: Vec<&str> = names.into_iter().collect();
    names.sort_unstable();
    if names.is_empty() { none.to_owned() } else { names.join(", ") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instants_are_in_utc_and_in_the_persons_zone() {
        let berlin = TimeZone::get("Europe/Berlin").unwrap();
        let time: Timestamp = "2026-11-22T02:04:10Z".parse().unwrap();
        assert_eq!(instant(time, &berlin), "2026-11-22 02:04:10 UTC (03:04:10 CET)");
        let late: Timestamp = "2026-07-01T23:30:00Z".parse().unwrap();
        assert_eq!(instant(late, &berlin), "2026-07-01 23:30:00 UTC (2026-07-02 01:30:00 CEST)");
        assert_eq!(instant(time, &TimeZone::UTC), "2026-11-22 02:04:10 UTC");
    }

    #[test]
    fn spans_have_at_most_two_units() {
        let text = |seconds| span(SignedDuration::from_secs(seconds));
        assert_eq!(text(45), "45s");
        assert_eq!(text(12 * 60 + 59), "12m");
        assert_eq!(text(3 * 3600 + 5 * 60), "3h5m");
        assert_eq!(text(3 * 3600), "3h");
        assert_eq!(text(2 * 86_400 + 4 * 3600), "2d4h");
        assert_eq!(text(-5), "0s");
    }

    #[test]
    fn tables_align() {
        let rows = vec![vec!["checkout-x7k2p".into(), "SEV2".into()], vec!["a".into(), "SEV1".into()]];
        assert_eq!(
            table(&["NAME", "SEV"], &rows),
            "NAME             SEV\ncheckout-x7k2p   SEV2\na                SEV1"
        );
    }
}
