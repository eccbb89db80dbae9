use proptest::prelude::*;

use super::*;
use crate::api::oncall_rotation::{Restriction, Shift, ShiftUnit};

fn spec(turns: &[&str]) -> OnCallRotationSpec {
    let turn = |people: &&str| Turn {
        people: people.split_whitespace().map(str::to_owned).collect(),
        ..Turn::default()
    };
    let mut names: Vec<&str> = turns.iter().flat_map(|turn| turn.split_whitespace()).collect();
    names.sort_unstable();
    names.dedup();
    let people = names.iter().map(|name| Person { name: (*name).to_owned(), ..Person::default() });
    OnCallRotationSpec {
        time_zone: "Europe/Berlin".to_owned(),
        people: people.collect(),
        layers: vec![Layer {
            name: "weekly".to_owned(),
            start: "2026-01-05T09:00".to_owned(),
            turns: turns.iter().map(turn).collect(),
            ..Layer::default()
        }],
        ..OnCallRotationSpec::default()
    }
}

/// Noon of the third day of a week, from 0.
fn week(number: i64) -> Timestamp {
    let first: Timestamp = "2026-01-07T11:00:00Z".parse().unwrap();
    Timestamp::from_second(first.as_second() + number * 7 * 86_400).unwrap()
}

fn on_duty(spec: &OnCallRotationSpec, observed: &ObservedSchedule, at: Timestamp) -> String {
    let schedule = Schedule::of_known(spec, observed, Vec::new()).unwrap();
    let people: Vec<&str> = schedule.at(at).keys().map(|place| schedule.people[*place].as_str()).collect();
    people.join(" ")
}

/// Who is on duty in the weeks from that of the edit on.
fn after_edit(before: &[&str], after: &[&str], edited: i64, weeks: i64) -> Vec<String> {
    let first = observe(&spec(before), None, week(0));
    let spec = spec(after);
    let observed = observe(&spec, Some(&first), week(edited));
    (edited..edited + weeks).map(|number| on_duty(&spec, &observed, week(number))).collect()
}

// Kind of fault: an edit of a list changes who is on duty, because turns are counted from the start.
#[test]
fn the_running_turn_keeps_its_person_and_the_new_list_follows() {
    let three = ["u1", "u2", "u3"];
    assert_eq!(after_edit(&three, &["u2", "u3"], 1, 3), ["u2", "u3", "u2"], "an earlier one is removed");
    assert_eq!(after_edit(&three, &["u1", "u3"], 1, 3), ["u3", "u1", "u3"], "the running one is removed");
    assert_eq!(
        after_edit(&["u1", "u2"], &["u0", "u1", "u2"], 2, 4),
        ["u1", "u2", "u0", "u1"],
        "one is added in front"
    );
    assert_eq!(
        after_edit(&["u1", "u2"], &["u1", "u2", "u3"], 3, 3),
        ["u2", "u3", "u1"],
        "one is added at the end"
    );
    assert_eq!(
        after_edit(&three, &["u3", "u2", "u1"], 1, 3),
        ["u2", "u1", "u3"],
        "the order is turned around"
    );
    assert_eq!(
        after_edit(&["u1", "", "u2"], &["u2", "", "u1"], 4, 3),
        ["", "u1", "u2"],
        "a turn without people"
    );
    assert_eq!(after_edit(&["u1"], &["u2"], 5, 2), ["u2", "u2"], "everybody is replaced");
    assert_eq!(
        after_edit(&three, &["u1", "u2 u4", "u3"], 1, 3),
        ["u2 u4", "u3", "u1"],
        "the running turn is edited"
    );
    assert_eq!(
        after_edit(&["a", "b", "a", "c"], &["a", "b", "a", "d"], 2, 2),
        ["a", "d"],
        "the nearest of two"
    );
}

#[test]
fn an_edit_is_the_same_before_and_after_the_operator_has_stored_it() {
    let (before, after) = (spec(&["u1", "u2"]), spec(&["u0", "u1", "u2"]));
    let first = observe(&before, None, week(0));
    let stored = observe(&after, Some(&first), week(2));
    assert_eq!(on_duty(&after, &stored, week(2)), "u1");
    for later in 2..9 {
        assert_eq!(observe(&after, Some(&stored), week(later)), stored, "nothing was edited since");
    }
    // Back to the old list: again the running turn stays.
    let back = observe(&before, Some(&stored), week(4));
    assert_eq!(on_duty(&after, &stored, week(4)), "u0");
    assert_eq!(on_duty(&before, &back, week(4)), "u1", "u0 is gone, and u1 is next");
}

#[test]
fn another_length_or_start_begins_after_the_running_turn() {
    let before = spec(&["u1", "u2", "u3"]);
    let first = observe(&before, None, week(0));
    let mut after = before.clone();
    after.layers[0].shift = Shift { unit: ShiftUnit::Days, length: 1, duty: None };
    after.layers[0].start = "2026-01-06T09:00".to_owned();
    let observed = observe(&after, Some(&first), week(1));
    assert_eq!(on_duty(&after, &observed, week(1)), "u2");
    let tomorrow = Timestamp::from_second(week(1).as_second() + 86_400).unwrap();
    assert_eq!(on_duty(&after, &observed, tomorrow), "u3");
    let mut windows = before.clone();
    windows.layers[0].restrictions =
        vec![Restriction { from: "09:00".to_owned(), to: "17:00".to_owned(), ..Restriction::default() }];
    assert_eq!(observe(&windows, Some(&first), week(1)).layers[0].offset, 0, "windows move nobody");
}

#[test]
fn a_layer_that_has_not_begun_begins_with_its_first_turn() {
    let mut before = spec(&["u1", "u2"]);
    before.layers[0].start = "2026-03-02T09:00".to_owned();
    let first = observe(&before, None, week(0));
    let mut after = spec(&["u2", "u1"]);
    after.layers[0].start = "2026-03-02T09:00".to_owned();
    assert_eq!(observe(&after, Some(&first), week(1)).layers[0].offset, 0);
    let mut broken = before.clone();
    broken.layers[0].start = "nonsense".to_owned();
    assert_eq!(observe(&broken, Some(&first), week(20)).layers[0].offset, 0);
}

#[test]
fn people_whose_next_shift_moves_are_named_with_both_times() {
    let first = observe(&spec(&["u1", "u2"]), None, week(0));
    let second = observe(&spec(&["u1", "u3", "u2"]), Some(&first), week(0));
    let moved = moved(&first, &second, week(0));
    assert_eq!(
        moved,
        [
            "u1: 2026-01-26 09:00 CET instead of 2026-01-19 09:00 CET",
            "u2: 2026-01-19 09:00 CET instead of 2026-01-12 09:00 CET",
            "u3: 2026-01-12 09:00 CET, new",
        ]
    );
    assert_eq!(super::moved(&first, &first, week(0)), Vec::<String>::new());
}

#[test]
fn an_anchor_says_whose_turn_it_is_whatever_was_seen_before() {
    let mut anchored = spec(&["u1", "u2", "u3"]);
    anchored.layers[0].anchor = Some(Anchor { person: "u3".to_owned(), at: "2026-01-15T12:00".to_owned() });
    let plain = observe(&spec(&["u1", "u2", "u3"]), None, week(0));
    for known in [None, Some(&plain)] {
        let observed = observe(&anchored, known, week(4));
        assert_eq!([1, 2, 3].map(|number| on_duty(&anchored, &observed, week(number))), ["u3", "u1", "u2"]);
    }
    // Without it the running turn stays.
    let seen = observe(&anchored, None, week(4));
    let after = spec(&["u1", "u2", "u3"]);
    let observed = observe(&after, Some(&seen), week(4));
    assert_eq!([4, 5].map(|number| on_duty(&after, &observed, week(number))), ["u3", "u1"]);
}

#[test]
fn a_turn_that_joins_and_an_edit_afterwards_move_no_running_turn() {
    let mut before = spec(&["u1", "u2", "u3"]);
    before.layers[0].turns[2].from = Some("2026-02-03T12:00".to_owned());
    let first = observe(&before, None, week(0));
    let weeks = |spec: &OnCallRotationSpec, seen: &ObservedSchedule, from: i64| {
        (from..from + 4).map(|number| on_duty(spec, seen, week(number))).collect::<Vec<_>>()
    };
    assert_eq!(weeks(&before, &first, 2), ["u1", "u2", "u1", "u2"]);
    // In week 4 it joins while u1 is on duty, before the middle of the week.
    assert_eq!(weeks(&before, &first, 4), ["u1", "u2", "u3", "u1"]);
    let mut after = before.clone();
    after.layers[0].turns.remove(0);
    let edited = observe(&after, Some(&first), week(6));
    assert_eq!(weeks(&after, &edited, 6), ["u3", "u2", "u3", "u2"]);
    assert_eq!(observe(&after, Some(&edited), week(9)), edited);
}

proptest! {
    #[test]
    fn an_edit_that_keeps_a_turn_keeps_who_is_on_duty(
        before in proptest::collection::vec(0_u8..9, 1..8),
        after in proptest::collection::vec(0_u8..9, 1..8),
        edits in 1_i64..40,
    ) {
        let names = |list: &[u8]| list.iter().map(|person| format!("u{person}")).collect::<Vec<_>>();
        let (before, after) = (names(&before), names(&after));
        let words = |list: &[String]| spec(&list.iter().map(String::as_str).collect::<Vec<_>>());
        let first = observe(&words(&before), None, week(0));
        let running = on_duty(&words(&before), &first, week(edits));
        let observed = observe(&words(&after), Some(&first), week(edits));
        let now = on_duty(&words(&after), &observed, week(edits));
        prop_assert!(!after.contains(&running) || now == running, "{running} is still listed, and {now} is on duty");
        // Afterwards the new list follows in its order.
        let next = on_duty(&words(&after), &observed, week(edits + 1));
        let follows = (0..after.len()).any(|place| after[place] == now && after[(place + 1) % after.len()] == next);
        prop_assert!(follows, "{next} follows {now} in {after:?}");
    }
}
