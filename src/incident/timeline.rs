//! Who did what, when. Pure.

use jiff::Timestamp;

use crate::api::incident_status::{IncidentStatus, TimelineEntry};
use crate::cluster::conditions::seconds;
use crate::cluster::events::cut;
use crate::text::flat;

/// Most entries; the first and the newest are kept.
const KEPT: usize = 200;
/// So many of the first ones: how it began is never lost.
const FIRST: usize = 40;

/// What Mayday does by itself stands under this name.
pub const MAYDAY: &str = "mayday";

/// Adds an entry, in the order of time.
pub fn add(status: &mut IncidentStatus, time: Timestamp, who: &str, what: &str) {
    let entry = TimelineEntry { time: seconds(time), who: cut(who, 253), what: flat(what, 500) };
    let place = status.timeline.partition_point(|known| known.time.0 <= entry.time.0);
    status.timeline.insert(place, entry);
    if status.timeline.len() > KEPT {
        status.timeline.remove(FIRST);
        status.timeline_left_out = status.timeline_left_out.saturating_add(1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_in_order_bounded_and_never_loses_the_beginning() {
        let mut status = IncidentStatus::default();
        for second in 0..300 {
            add(
                &mut status,
                Timestamp::from_second(second).unwrap(),
                "emil",
                &format!("entry {second}\nwith a line"),
            );
        }
        add(&mut status, Timestamp::from_second(5).unwrap(), "amir", "told later");
        assert_eq!((status.timeline.len(), status.timeline_left_out), (200, 101));
        assert_eq!(status.timeline[0].what, "entry 0 with a line");
        assert_eq!(status.timeline[6].what, "told later");
        assert_eq!(status.timeline[199].what, "entry 299 with a line");
    }
}
