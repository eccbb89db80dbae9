use super::*;

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
    let cases: [(&str, &str, Change); 5] = [
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
