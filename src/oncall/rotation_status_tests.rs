use super::*;
use jiff::SignedDuration;

fn rotation(change: impl Fn(&mut serde_json::Value)) -> OnCallRotation {
    let mut value = serde_json::json!({
        "apiVersion": "mayday.dev/v1alpha1", "kind": "OnCallRotation", "metadata": {"name": "payments", "generation": 3},
        "spec": {
            "timeZone": "Europe/Berlin",
            "people": [
                {"name": "emil", "user": "emil@x", "contacts": [{"channelRef": {"name": "mail"}}, {"channelRef": {"name": "hook"}}]},
                {"name": "bea", "user": "bea@x", "contacts": [{"channelRef": {"name": "hook"}}]}],
            "layers": [{"name": "weekly", "start": "2026-01-05T09:00", "shift": {"unit": "Weeks", "length": 1},
                "turns": [{"people": ["emil"]}, {"people": ["bea"]}]}]
        }
    });
    change(&mut value);
    serde_json::from_value(value).unwrap()
}

fn channels() -> Vec<Arc<NotificationChannel>> {
    let mut hook = NotificationChannel::new("hook", Default::default());
    let mut status = crate::api::notification_channel::NotificationChannelStatus::default();
    conditions::ready(&mut status, 1, Timestamp::UNIX_EPOCH, Ok(String::new()));
    hook.status = Some(status);
    vec![Arc::new(hook), Arc::new(NotificationChannel::new("mail", Default::default()))]
}

fn now() -> Timestamp {
    "2026-01-14T12:00:00Z".parse().unwrap()
}

fn facts() -> RotationFacts {
    RotationFacts { channels: channels(), ..RotationFacts::default() }
}

fn reason(status: &OnCallRotationStatus, kind: &str) -> String {
    let condition = status.conditions.iter().find(|c| c.type_ == kind).unwrap();
    format!("{} {}", condition.status, condition.reason)
}

fn message(status: &OnCallRotationStatus, kind: &str) -> String {
    status.conditions.iter().find(|c| c.type_ == kind).unwrap().message.clone()
}

#[test]
fn the_status_says_who_is_on_duty_from_when_to_when_and_who_is_next() {
    let (status, wake) = decide(&rotation(|_| {}), &facts(), now());
    assert_eq!(status.on_duty, [OnDuty { name: "bea".to_owned(), user: "bea@x".to_owned() }]);
    assert_eq!(status.since_time.unwrap().0, "2026-01-12T08:00:00Z".parse().unwrap());
    assert_eq!(status.until_time.unwrap().0, "2026-01-19T08:00:00Z".parse().unwrap());
    assert_eq!(status.next_names.as_deref(), Some("emil"));
    assert_eq!(wake, "2026-01-19T08:00:00Z".parse().ok());
    assert_eq!(status.observed_generation, 3);
    let (status, _) = decide(&rotation(|_| {}), &facts(), now());
    assert_eq!(
        ["Ready", "Covered", "Reachable"].map(|kind| reason(&status, kind)),
        ["True Accepted", "True Covered", "True Reachable"]
    );
}

#[test]
fn a_gap_is_reported_in_advance() {
    let later = rotation(|r| r["spec"]["layers"][0]["turns"][0]["people"] = serde_json::json!([]));
    let (status, _) = decide(&later, &facts(), now());
    assert_eq!(reason(&status, "Covered"), "False UncoveredLater");
    assert!(message(&status, "Covered").contains("from 2026-01-19 09:00 CET until 2026-01-26 09:00 CET"));
    assert_eq!(status.next_names.as_deref(), Some("nobody"));
}

#[test]
fn an_escalation_to_a_missing_target_is_reported_in_advance() {
    let slip = rotation(|r| {
        r["spec"]["escalation"] = serde_json::json!({"levels": [{"wait": "5m", "notify": [{"onDuty": {}}, {"rotation": {"name": "leedz"}}]}],
            "fallback": [{"channel": {"name": "nochan"}}]});
    });
    let (status, _) = decide(&slip, &facts(), now());
    assert_eq!(reason(&status, "Reachable"), "False UnknownTarget");
    assert!(
        message(&status, "Reachable").contains("chan/nochan, oncall/leedz"),
        "{}",
        message(&status, "Reachable")
    );
}

#[test]
fn people_without_a_ready_channel_are_named() {
    let facts = RotationFacts { channels: channels()[1..].to_vec(), ..RotationFacts::default() };
    let (status, _) = decide(&rotation(|_| {}), &facts, now());
    assert_eq!(reason(&status, "Reachable"), "False NoChannel");
    assert!(message(&status, "Reachable").contains("emil, bea"));
    assert_eq!(reason(&status, "Ready"), "True Accepted");
}

#[test]
fn bad_input_is_named_with_its_path() {
    type Change<'a> = &'a dyn Fn(&mut serde_json::Value);
    let cases: [(&str, &str, Change); 12] = [
        ("spec.timeZone: \"Mars/Base\"", "nobody", &|r| r["spec"]["timeZone"] = "Mars/Base".into()),
        ("spec.people[1].name: \"emil\"", "emil", &|r| {
            r["spec"]["people"][1]["name"] = "emil".into();
            r["spec"]["layers"][0]["turns"] = serde_json::json!([{"people": ["emil"]}]);
        }),
        ("does not exist there", "bea", &|r| r["spec"]["layers"][1]["start"] = "2026-03-29T02:30".into()),
        ("exists twice there", "bea", &|r| r["spec"]["layers"][1]["start"] = "2026-10-25T02:30".into()),
        ("\"weekly\" is the name of an earlier layer", "emil, bea", &|r| {
            r["spec"]["layers"][1]["name"] = "weekly".into();
        }),
        ("spec.layers[1].until: is not after the layer begins", "bea", &|r| {
            r["spec"]["layers"][1]["until"] = "2026-01-05T09:00".into();
        }),
        ("spec.layers[1].effectiveFrom: 2026-03-29T02:30 does not exist there", "emil, bea", &|r| {
            r["spec"]["layers"][1]["effectiveFrom"] = "2026-03-29T02:30".into();
        }),
        ("spec.layers[1].turns[0].until: is not after from", "bea", &|r| {
            r["spec"]["layers"][1]["turns"][0]["from"] = "2026-03-01T09:00".into();
            r["spec"]["layers"][1]["turns"][0]["until"] = "2026-02-01T09:00".into();
        }),
        ("spec.layers[1].anchor.person: \"bea\" is in no turn of the layer", "emil, bea", &|r| {
            r["spec"]["layers"][1]["anchor"] = serde_json::json!({"person": "bea", "at": "2026-01-06T09:00"});
        }),
        (
            "spec.layers[1].anchor.at: is before the first turn, which begins at 2026-01-05T09:00",
            "emil, bea",
            &|r| {
                r["spec"]["layers"][1]["anchor"] =
                    serde_json::json!({"person": "emil", "at": "2025-12-06T09:00"});
            },
        ),
        ("spec.layers[1].shift.duty: 90s is not a number of whole minutes", "bea", &|r| {
            r["spec"]["layers"][1]["shift"]["duty"] = "90s".into();
        }),
        ("spec.people[0].away[0].until: is not after from", "emil, bea", &|r| {
            r["spec"]["people"][0]["away"] =
                serde_json::json!([{"from": "2026-12-24T00:00", "until": "2026-12-24T00:00"}]);
        }),
    ];
    for (expected, on_duty, change) in cases {
        let slip = rotation(|r| {
            // A second layer beside the one of bea.
            let second = serde_json::json!({"name": "second", "start": "2026-01-05T09:00",
                "shift": {"unit": "Weeks", "length": 1}, "turns": [{"people": ["emil"]}]});
            r["spec"]["layers"].as_array_mut().unwrap().push(second);
            change(r);
        });
        let (status, _) = decide(&slip, &facts(), now());
        assert_eq!(reason(&status, "Ready"), "False Invalid");
        assert!(message(&status, "Ready").contains(expected), "{}", message(&status, "Ready"));
        assert_eq!(status.on_duty_names.as_deref(), Some(on_duty), "{expected}");
    }
}

#[test]
fn an_unknown_person_is_named_and_leaves_the_others_on_duty() {
    let (status, _) = decide(
        &rotation(|r| r["spec"]["layers"][0]["turns"][0]["people"] = serde_json::json!(["zoe"])),
        &facts(),
        now(),
    );
    assert_eq!(reason(&status, "Ready"), "False Invalid");
    assert!(message(&status, "Ready").contains("spec.layers[0].turns[0]: \"zoe\" is not in spec.people"));
    assert_eq!(status.on_duty_names.as_deref(), Some("bea"));
    assert_eq!(reason(&status, "Covered"), "False UncoveredLater");
}

#[test]
fn an_offset_selects_one_of_two_local_times() {
    let second = rotation(|r| r["spec"]["layers"][0]["start"] = "2025-10-26T02:30+01:00".into());
    let start: Timestamp = "2025-10-26T01:30:00Z".parse().unwrap();
    let before = start - SignedDuration::from_secs(1);
    let (status, _) = decide(&second, &facts(), before);
    assert_eq!(status.on_duty_names.as_deref(), Some("nobody"));
    let (status, _) = decide(&second, &facts(), start);
    assert_eq!(status.on_duty_names.as_deref(), Some("emil"));
}

// Kind of fault: a status that says something else each time it is looked at wakes its own controller for ever.
#[test]
fn a_status_stays_the_same_until_something_changes() {
    let gap = rotation(|r| {
        r["spec"]["layers"][0]["restrictions"] = serde_json::json!([{"from": "09:00", "to": "17:00"}]);
    });
    let at = |minute: i64| now() + SignedDuration::from_mins(minute);
    let (first, _) = decide(&gap, &facts(), at(0));
    for minute in 1..60 {
        let mut seen = gap.clone();
        seen.status = Some(first.clone());
        assert_eq!(decide(&seen, &facts(), at(minute)).0, first, "after {minute} minutes");
    }
    assert_eq!(first.uncovered_seconds, 30 * 16 * 3600);
    assert_eq!(first.next_turn_time.unwrap().0, "2026-01-19T08:00:00Z".parse().unwrap());
    let names: Vec<&str> = first.upcoming.iter().map(|shift| shift.names.as_str()).collect();
    assert_eq!(names[..3], ["bea", "nobody", "bea"]);
    assert_eq!(first.upcoming[0].start_time.as_ref().unwrap().0, "2026-01-14T08:00:00Z".parse().unwrap());
}

#[test]
fn intended_gaps_are_no_warning() {
    let gap = |allowed: bool| {
        rotation(move |r| {
            r["spec"]["layers"][0]["restrictions"] = serde_json::json!([{"from": "14:00", "to": "17:00"}]);
            r["spec"]["allowGaps"] = allowed.into();
        })
    };
    let (status, _) = decide(&gap(false), &facts(), now());
    assert_eq!(reason(&status, "Covered"), "False UncoveredNow");
    let said = message(&status, "Covered");
    assert!(
        said.starts_with("nobody is on duty now, until 2026-01-14 14:00 CET, then bea is, and 30 more times"),
        "{said}"
    );
    assert!(said.ends_with("kubectl mayday oncall override payments --add PERSON --for 8h"), "{said}");
    let (status, _) = decide(&gap(true), &facts(), now());
    assert_eq!((reason(&status, "Covered").as_str(), status.uncovered_seconds), ("True GapsAllowed", 0));
}

#[test]
fn only_people_who_are_needed_within_30_days_must_be_reachable() {
    let spare = |level: bool| {
        rotation(move |r| {
            r["spec"]["people"][1]["contacts"] = serde_json::json!([]);
            r["spec"]["layers"][0]["turns"] = serde_json::json!([{"people": ["emil"]}]);
            if level {
                let named = serde_json::json!([{"wait": "5m", "notify": [{"person": {"name": "bea"}}]}]);
                r["spec"]["escalation"] = serde_json::json!({"levels": named});
            }
        })
    };
    assert_eq!(reason(&decide(&spare(false), &facts(), now()).0, "Reachable"), "True Reachable");
    let (status, _) = decide(&spare(true), &facts(), now());
    assert_eq!(reason(&status, "Reachable"), "False NoChannel");
    assert!(message(&status, "Reachable").contains(": bea;"));
}

#[test]
fn hours_are_compared_and_who_is_never_on_duty_is_named() {
    let (status, _) = decide(&rotation(|_| {}), &facts(), now());
    let said = message(&status, "Fair");
    assert!(said.starts_with("the next 90 days are 9") && said.contains("% even: emil 1"), "{said}");
    // Seven daily turns and windows on weekdays: the people of Saturday and Sunday never come on duty.
    let weekdays = |advance: &'static str| {
        rotation(move |r| {
            let turns: Vec<_> = (0..7)
                .map(|day| serde_json::json!({"people": [if day == 5 { "bea" } else { "emil" }]}))
                .collect();
            r["spec"]["layers"][0]["shift"] = serde_json::json!({"unit": "Days", "length": 1});
            r["spec"]["layers"][0]["turns"] = turns.into();
            r["spec"]["layers"][0]["advance"] = advance.into();
            let days = serde_json::json!(["Mon", "Tue", "Wed", "Thu", "Fri"]);
            r["spec"]["layers"][0]["restrictions"] =
                serde_json::json!([{"days": days, "from": "09:00", "to": "17:00"}]);
        })
    };
    let (status, _) = decide(&weekdays("Calendar"), &facts(), now());
    assert_eq!(reason(&status, "Fair"), "False NeverOnDuty");
    assert!(message(&status, "Fair").starts_with("never on duty: bea; "), "{}", message(&status, "Fair"));
    assert_eq!(reason(&decide(&weekdays("Active"), &facts(), now()).0, "Fair"), "False Unbalanced");
}

#[test]
fn weeks_and_months_advance_alike_with_and_without_active_days() {
    let active = rotation(|r| r["spec"]["layers"][0]["advance"] = "Active".into());
    let (status, _) = decide(&active, &facts(), now());
    assert_eq!(
        (reason(&status, "Ready").as_str(), status.on_duty_names.as_deref()),
        ("True Accepted", Some("bea"))
    );
}

// Kind of fault: an edit changes who is on duty at once, and the status claims that it was so before.
#[test]
fn an_edit_keeps_the_running_turn_and_says_whose_shifts_move() {
    let mut before = rotation(|_| {});
    before.status = Some(decide(&before, &facts(), now()).0);
    let mut after = rotation(|r| {
        let amir = serde_json::json!({"name": "amir", "user": "amir@x", "contacts": [{"channelRef": {"name": "hook"}}]});
        r["spec"]["people"].as_array_mut().unwrap().push(amir);
        let turns = serde_json::json!([{"people": ["amir"]}, {"people": ["emil"]}, {"people": ["bea"]}]);
        r["spec"]["layers"][0]["turns"] = turns;
    });
    after.status = before.status.clone();
    let (status, wake) = decide(&after, &facts(), now());
    assert_eq!(status.on_duty_names.as_deref(), Some("bea"));
    assert_eq!(status.since_time, before.status.as_ref().unwrap().since_time);
    assert_eq!((status.next_names.as_deref(), wake), (Some("amir"), "2026-01-19T08:00:00Z".parse().ok()));
    assert_eq!(
        moved(&after, &status, now()).as_deref(),
        Some(
            "bea on duty; next shifts that moved: amir: 2026-01-19 09:00 CET, new; bea: 2026-02-02 09:00 CET instead of \
             2026-01-26 09:00 CET; emil: 2026-01-26 09:00 CET instead of 2026-01-19 09:00 CET"
        )
    );
    assert_eq!(moved(&before, before.status.as_ref().unwrap(), now()), None, "nothing was edited");
}
