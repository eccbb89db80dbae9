//! A rotation as a calendar of letters: a row for each person, the shifts in words, and how the duty is spread. Pure.

use jiff::civil::DateTime;
use jiff::{SignedDuration, Timestamp, ToSpan, Zoned};
use mayday::oncall::schedule::{Schedule, duty, fairness, local_time, timeline};

use crate::text::table;

/// Cells of a day; each stands for six hours.
const CELLS: i64 = 4;
/// The most days of the rows; the list below them has all.
const MOST_DAYS: i64 = 28;
/// Width of a terminal that is not known.
const WIDTH: usize = 100;

/// The calendar between two instants, in the time zone of the rotation.
pub fn draw(
    name: &str,
    zone: &str,
    schedule: &Schedule,
    from: Timestamp,
    to: Timestamp,
    width: Option<usize>,
) -> String {
    let shifts = timeline::shifts(schedule, from, to);
    let data = local_time::data_version();
    let mut parts =
        vec![format!("oncall/{name}, times in {zone} (time zone data {data})\n{}", now(schedule, from))];
    parts.push(rows(schedule, from, to, width.unwrap_or(WIDTH)));
    parts.push(list(schedule, &shifts));
    parts.push(spread(schedule, &shifts));
    parts.join("\n\n")
}

fn now(schedule: &Schedule, at: Timestamp) -> String {
    let duty = duty::on_duty(schedule, at);
    let since = duty.since.map(|since| format!(" since {}", local(schedule, since))).unwrap_or_default();
    let then = match duty.until {
        Some(until) => format!(" until {}, then {}", local(schedule, until), names(&duty.next)),
        None => ", and no change is in sight".to_owned(),
    };
    format!("On duty: {}{since}{then}.", names(&duty.people))
}

/// One row for each person: four cells a day.
fn rows(schedule: &Schedule, from: Timestamp, to: Timestamp, width: usize) -> String {
    let longest =
        schedule.people.iter().map(|name| name.chars().count()).max().unwrap_or(0).max(NOBODY.len());
    let fitting = (width.saturating_sub(longest + 2) / (CELLS as usize + 1)).max(1);
    let first = zoned(schedule, from).datetime().date();
    let last = zoned(schedule, to).datetime().date();
    let days = i64::from((last - first).get_days()).clamp(1, MOST_DAYS).min(fitting as i64);
    let mut lines = [String::new(), String::new()];
    let mut cells: Vec<Vec<String>> = vec![Vec::new(); schedule.people.len() + 1];
    for date in (0..days).filter_map(|day| first.checked_add(day.days()).ok()) {
        lines[0].push_str(&format!("{:<5}", date.strftime("%a").to_string()));
        lines[1].push_str(&format!("{:<5}", date.day()));
        let mut drawn: Vec<String> = vec![String::new(); schedule.people.len() + 1];
        for cell in 0..CELLS {
            let begin = moment(schedule, date.at(0, 0, 0, 0), cell);
            let end = moment(schedule, date.at(0, 0, 0, 0), cell + 1);
            let Some((begin, end)) = begin.zip(end) else { continue };
            let within = timeline::shifts(schedule, begin, end);
            let length = (end.as_second() - begin.as_second()).max(1);
            let share = |seconds: i64| match seconds {
                0 => '·',
                seconds if seconds >= length => '█',
                _ => '▒',
            };
            for (place, row) in drawn.iter_mut().take(schedule.people.len()).enumerate() {
                let mine = within.iter().filter(|shift| shift.on_duty.contains_key(&place));
                row.push(share(mine.map(|shift| shift.end.as_second() - shift.start.as_second()).sum()));
            }
            if let Some(row) = drawn.last_mut() {
                row.push(share(timeline::uncovered_seconds(&within)));
            }
        }
        for (row, drawn) in cells.iter_mut().zip(drawn) {
            row.push(drawn);
        }
    }
    let pad = " ".repeat(longest);
    let mut out: Vec<String> =
        lines.iter().map(|line| format!("{pad}  {line}").trim_end().to_owned()).collect();
    let labels = schedule.people.iter().map(String::as_str).chain([NOBODY]);
    for (label, row) in labels.zip(&cells) {
        let is_empty = row.iter().all(|cell| cell.chars().all(|letter| letter == '·'));
        if label != NOBODY || !is_empty {
            out.push(format!("{label:<longest$}  {}", row.join(" ")));
        }
    }
    out.join("\n")
}

const NOBODY: &str = "(nobody)";

/// The shifts, each in a line.
fn list(schedule: &Schedule, shifts: &[timeline::Shift]) -> String {
    let row = |shift: &timeline::Shift| {
        let people = schedule.names(&shift.on_duty);
        let mut by: Vec<String> =
            shift.on_duty.values().flatten().map(|source| schedule.words(source)).collect();
        by.sort();
        by.dedup();
        vec![local(schedule, shift.start), local(schedule, shift.end), names(&people), by.join(", ")]
    };
    table(&["FROM", "UNTIL", "WHO", "BY"], &shifts.iter().map(row).collect::<Vec<_>>())
}

/// Hours, nights and weekends of each person, and how even they are.
fn spread(schedule: &Schedule, shifts: &[timeline::Shift]) -> String {
    let loads = fairness::loads(schedule, shifts);
    let hours = |seconds: i64| (seconds / 3600).to_string();
    let rows =
        schedule.people.iter().zip(&loads).map(|(name, load)| {
            vec![name.clone(), hours(load.total), hours(load.nights), hours(load.weekends)]
        });
    let table = table(&["PERSON", "HOURS", "NIGHTS", "WEEKENDS"], &rows.collect::<Vec<_>>());
    let score = fairness::score(&loads.iter().map(|load| load.total).collect::<Vec<_>>());
    let word = if score >= fairness::BALANCED { "balanced" } else { "not balanced" };
    format!("{table}\nBalance of these hours: {score} % ({word}; from {} % on they are).", fairness::BALANCED)
}

pub fn names(names: &[String]) -> String {
    if names.is_empty() { "nobody".to_owned() } else { names.join(", ") }
}

fn zoned(schedule: &Schedule, at: Timestamp) -> Zoned {
    at.to_zoned(schedule.clock.zone().clone())
}

pub fn local(schedule: &Schedule, at: Timestamp) -> String {
    zoned(schedule, at).strftime("%a %Y-%m-%d %H:%M").to_string()
}

/// The instant of a cell of a day.
fn moment(schedule: &Schedule, midnight: DateTime, cell: i64) -> Option<Timestamp> {
    let local = midnight.checked_add(SignedDuration::from_hours(24 / CELLS * cell)).ok()?;
    schedule.clock.first(local_time::WallClock::of(local).ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use mayday::api::oncall_rotation::OnCallRotationSpec;

    #[test]
    fn the_calendar_shows_rows_shifts_and_hours() {
        let spec: OnCallRotationSpec = serde_json::from_value(serde_json::json!({
            "timeZone": "Europe/Berlin",
            "people": [{"name": "emil", "user": "emil"}, {"name": "bea", "user": "bea"}],
            "layers": [{"name": "daily", "start": "2026-11-23T12:00", "shift": {"unit": "Days", "length": 1},
                "turns": [{"people": ["emil"]}, {"people": ["bea"]}, {"people": []}]}]
        }))
        .unwrap();
        let schedule = Schedule::new(&spec, Vec::new()).unwrap();
        let at = |text: &str| text.parse::<Timestamp>().unwrap();
        let drawn = draw(
            "payments",
            "Europe/Berlin",
            &schedule,
            at("2026-11-23T11:00:00Z"),
            at("2026-11-26T11:00:00Z"),
            None,
        );
        for expected in [
            "oncall/payments, times in Europe/Berlin (time zone data 20",
            "On duty: emil since Mon 2026-11-23 12:00 until Tue 2026-11-24 12:00, then bea.",
            "          Mon  Tue  Wed\n          23   24   25\n",
            "emil      ··██ ██·· ····\n",
            "bea       ···· ··██ ██··\n",
            "(nobody)  ██·· ···· ··██\n",
            "Tue 2026-11-24 12:00   Wed 2026-11-25 12:00   bea      layer daily\n",
            "Wed 2026-11-25 12:00   Thu 2026-11-26 12:00   nobody\n",
            "emil     24      8        0\n",
            "Balance of these hours: 100 % (balanced; from 95 % on they are).",
        ] {
            assert!(drawn.contains(expected), "{expected}\nin\n{drawn}");
        }
        let narrow = rows(&schedule, at("2026-11-23T11:00:00Z"), at("2026-11-26T11:00:00Z"), 17);
        assert!(narrow.lines().all(|line| line.chars().count() <= 17), "{narrow}");
    }
}
