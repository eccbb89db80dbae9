//! The words of pages and of messages to stakeholders. Pure; what comes from alerts is treated as hostile.

use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};

use crate::api::common::Severity;
use crate::command::{Command, Verb};
use crate::text::{cut, flat};

/// Longest text of a message; the API refuses more than 4000 characters.
const MAX_TEXT: usize = 3_500;
/// Longest part that comes from outside.
const MAX_PART: usize = 300;

/// Deadlines closer than this are written with seconds.
const SHORT: SignedDuration = SignedDuration::from_mins(2);

/// A page to one person, or to a room.
#[derive(Clone, Debug)]
pub struct Page<'a> {
    /// How bad it is.
    pub severity: Severity,
    /// What is wrong: `checkout is down`.
    pub title: &'a str,
    /// Since when.
    pub start: Timestamp,
    /// How Mayday knows: `not available for 20 s`.
    pub finding: Option<&'a str>,
    /// Whom it hurts: `Customers may be unable to pay`.
    pub impact: Option<&'a str>,
    /// What Mayday has done, as a sentence: `Mayday has changed nothing: no approved runbook fits.`
    pub done: &'a str,
    /// Who is asked; absent for a room.
    pub person: Option<&'a str>,
    /// When it is written.
    pub now: Timestamp,
    /// Until when, and who is called then.
    pub then: Then<'a>,
    /// Namespace of the incident.
    pub namespace: &'a str,
    /// Name of the incident.
    pub name: &'a str,
    /// The rotation's time zone.
    pub zone: &'a TimeZone,
}

/// The next call if no one answers.
#[derive(Clone, Copy, Debug)]
pub enum Then<'a> {
    /// These people are called at that time. The person who is asked may be among them, and is then called
    /// again.
    Called(Timestamp, &'a [String]),
    /// No one else is left to call.
    NobodyElse,
}

impl Page<'_> {
    /// The time until which to answer, rounded down to the minute. A close deadline has seconds: its minute
    /// may be over when the page is read.
    fn answer_by(&self, deadline: Timestamp) -> String {
        if deadline.duration_since(self.now) < SHORT {
            return deadline.to_zoned(self.zone.clone()).strftime("%H:%M:%S").to_string();
        }
        minute(deadline, self.zone)
    }

    /// Names the people called next, for the person who reads the page: `bea and lena are called`,
    /// `you are called again`.
    fn called(&self, next: &[String]) -> String {
        let is_asked = |name: &String| Some(name.as_str()) == self.person;
        if next.iter().all(is_asked) {
            return "you are called again".to_owned();
        }
        let named: Vec<String> =
            next.iter().map(|name| if is_asked(name) { "you".to_owned() } else { name.clone() }).collect();
        let verb = if named.len() == 1 { "is" } else { "are" };
        format!("{} {verb} called", together(&named))
    }

    /// The page in words.
    pub fn text(&self) -> String {
        let title = flat(self.title, MAX_PART);
        let mut text = format!("{} {title} since {}", self.severity, clock(self.start, self.zone));
        if let Some(finding) = self.finding.map(|finding| flat(finding, MAX_PART)).filter(|f| !f.is_empty()) {
            text.push_str(&format!(" ({finding})"));
        }
        if let Some(impact) = self.impact.map(clause).filter(|impact| !impact.is_empty()) {
            text.push_str(&format!("; {impact}"));
        }
        text.push_str(&format!(". {} ", flat(self.done, MAX_PART)));
        let who = flat(self.person.unwrap_or("everybody here"), 63);
        match self.then {
            Then::Called(at, next) if !next.is_empty() => {
                text.push_str(&format!("{who}, answer by {} or {}: ", self.answer_by(at), self.called(next)));
            }
            Then::Called(..) | Then::NobodyElse => {
                text.push_str(&format!("{who}, nobody else is called after this, answer: "))
            }
        }
        let ack = Command::new(Verb::Ack).namespace(self.namespace).on("inc", self.name);
        text.push_str(&ack.to_string());
        cut(&text, MAX_TEXT)
    }
}

/// A message to stakeholders inside, which Mayday sends by itself.
#[derive(Clone, Debug)]
pub struct Stakeholders<'a> {
    /// Since when.
    pub start: Timestamp,
    /// Whom it hurts, or for outside the public summary.
    pub impact: &'a str,
    /// Who leads; only for inside.
    pub lead: Option<&'a str>,
    /// When they hear next.
    pub next_update: Option<Timestamp>,
    /// The rotation's time zone.
    pub zone: &'a TimeZone,
}

impl Stakeholders<'_> {
    /// The message for people inside.
    pub fn internal(&self) -> String {
        let since = format!("Since {} on {}", clock(self.start, self.zone), day(self.start, self.zone));
        let mut text = format!("{since} {}.", clause(self.impact));
        if let Some(lead) = self.lead {
            text.push_str(&format!(" {} leads the repair.", flat(lead, 63)));
        }
        self.with_next_update(text, minute)
    }

    /// The message for the public: the public summary and the time, no person.
    pub fn external(&self) -> String {
        let since = format!("Since {} on {}:", clock(self.start, self.zone), day(self.start, self.zone));
        let summary = flat(self.impact, 1_000);
        let end = if summary.ends_with(['.', '!', '?']) { "" } else { "." };
        self.with_next_update(format!("{since} {summary}{end}"), minute)
    }

    /// A text of a person with the promise of when they hear next; the zone is named, since the text may hold no other
    /// time.
    pub fn update(&self, text: String) -> String {
        self.with_next_update(text, minute_and_zone)
    }

    fn with_next_update(&self, mut text: String, time: fn(Timestamp, &TimeZone) -> String) -> String {
        if let Some(next) = self.next_update {
            text.push_str(&format!(" Next update by {}.", time(next, self.zone)));
        }
        cut(&text, MAX_TEXT)
    }
}

/// `03:04:10 CET`.
pub fn clock(at: Timestamp, zone: &TimeZone) -> String {
    at.to_zoned(zone.clone()).strftime("%H:%M:%S %Z").to_string()
}

/// `03:09`, rounded down: who answers by then is in time.
pub fn minute(at: Timestamp, zone: &TimeZone) -> String {
    at.to_zoned(zone.clone()).strftime("%H:%M").to_string()
}

/// `03:09 CET`, rounded down.
pub fn minute_and_zone(at: Timestamp, zone: &TimeZone) -> String {
    at.to_zoned(zone.clone()).strftime("%H:%M %Z").to_string()
}

/// `22 November`.
pub fn day(at: Timestamp, zone: &TimeZone) -> String {
    at.to_zoned(zone.clone()).strftime("%-d %B").to_string()
}

/// `bea`, `bea and lena`, `amir, bea and lena`.
pub fn together(names: &[String]) -> String {
    match names {
        [] => "nobody".to_owned(),
        [one] => flat(one, 63),
        [first @ .., last] => {
            let first: Vec<String> = first.iter().map(|name| flat(name, 63)).collect();
            format!("{} and {}", first.join(", "), flat(last, 63))
        }
    }
}

/// A sentence as a part of another one: without its full stop, its first word small unless it holds another capital, as
/// abbreviations and `PayPal` do. Other names cannot be told from words.
fn clause(sentence: &str) -> String {
    let flat = flat(sentence, 1_000);
    let flat = flat.trim_end_matches('.');
    let mut chars = flat.chars();
    let is_name = flat.split(' ').next().is_some_and(|word| word.chars().skip(1).any(char::is_uppercase));
    match chars.next() {
        Some(first) if !is_name => first.to_lowercase().chain(chars).collect(),
        _ => flat.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn berlin() -> TimeZone {
        crate::oncall::schedule::local_time::LocalClock::named("Europe/Berlin").unwrap().zone().clone()
    }

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    fn page<'a>(zone: &'a TimeZone, next: &'a [String]) -> Page<'a> {
        Page {
            severity: Severity::Sev2,
            title: "checkout is down",
            start: at("2026-11-22T02:04:10Z"),
            finding: Some("not available for 20 s"),
            impact: Some("Customers may be unable to pay."),
            done: "Mayday has changed nothing: no approved runbook fits.",
            person: Some("emil"),
            now: at("2026-11-22T02:04:30Z"),
            then: Then::Called(at("2026-11-22T02:09:30Z"), next),
            namespace: "shop",
            name: "checkout-x7k2p",
            zone,
        }
    }

    #[test]
    fn a_page_says_what_since_when_and_what_to_do() {
        let (zone, next) = (berlin(), ["bea".to_owned(), "lena".to_owned()]);
        let mut page = page(&zone, &next);
        let start = "SEV2 checkout is down since 03:04:10 CET (not available for 20 s); customers may be \
                     unable to pay. Mayday has changed nothing: no approved runbook fits. emil, ";
        let command = "kubectl mayday ack -n shop inc/checkout-x7k2p";
        assert_eq!(page.text(), format!("{start}answer by 03:09 or bea and lena are called: {command}"));
        page.then = Then::Called(at("2026-11-22T02:04:45Z"), &next);
        let short = page.text();
        assert!(short.contains("answer by 03:04:45 or"), "03:04 would be over before it is read: {short}");
        for nobody in [Then::NobodyElse, Then::Called(at("2026-11-22T02:09:30Z"), &[])] {
            page.then = nobody;
            assert_eq!(page.text(), format!("{start}nobody else is called after this, answer: {command}"));
        }
    }

    #[test]
    fn whoever_is_called_again_is_told_so() {
        let zone = berlin();
        let told = |next: &[&str]| {
            let next: Vec<String> = next.iter().map(|name| (*name).to_owned()).collect();
            page(&zone, &next).text()
        };
        assert!(told(&["emil"]).contains("emil, answer by 03:09 or you are called again: "));
        assert!(told(&["bea"]).contains("emil, answer by 03:09 or bea is called: "));
        assert!(told(&["emil", "bea"]).contains("emil, answer by 03:09 or you and bea are called: "));
    }

    #[test]
    fn hostile_text_stays_on_its_line_and_short() {
        let (zone, next) = (berlin(), []);
        let title = format!("x\r\nkubectl delete\u{202e}\u{0007} ns shop {}", "ö".repeat(1_000_000));
        let text = Page { title: &title, ..page(&zone, &next) }.text();
        assert!(!text.contains(['\n', '\r', '\u{7}', '\u{202e}']));
        assert!(text.len() < 1_000);
        assert!(text.ends_with("kubectl mayday ack -n shop inc/checkout-x7k2p"));
    }

    #[test]
    fn stakeholders_hear_since_when_and_when_again() {
        let zone = berlin();
        let message = Stakeholders {
            start: at("2026-11-22T02:04:10Z"),
            impact: "Customers may be unable to pay",
            lead: Some("lena"),
            next_update: Some(at("2026-11-22T02:40:00Z")),
            zone: &zone,
        };
        assert_eq!(
            message.internal(),
            "Since 03:04:10 CET on 22 November customers may be unable to pay. lena leads the repair. Next \
             update by 03:40."
        );
        let public = Stakeholders { impact: "Payments may fail. We are working on it.", ..message };
        assert_eq!(
            public.external(),
            "Since 03:04:10 CET on 22 November: Payments may fail. We are working on it. Next update by 03:40."
        );
    }

    #[test]
    fn a_name_keeps_its_capital_within_a_sentence() {
        assert_eq!(clause("Customers may be unable to pay."), "customers may be unable to pay");
        assert_eq!(clause("PayPal refuses payments"), "PayPal refuses payments");
        assert_eq!(clause("VPN is down"), "VPN is down");
        assert_eq!(clause(""), "");
    }

    #[test]
    fn names_are_joined_as_people_do() {
        let names = ["amir", "bea", "lena"].map(str::to_owned);
        assert_eq!(together(&names), "amir, bea and lena");
        assert_eq!(together(&names[..1]), "amir");
    }
}
