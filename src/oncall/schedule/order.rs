//! Whose turn has which number. Turns may join or leave the list at a date; then the running turn stays until its end, as
//! with an edit (docs/rules.md#running-turn). Pure.

use jiff::Timestamp;

/// When a turn is in the list; half-open.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Listed {
    /// From when on; `None`: always.
    pub from: Option<Timestamp>,
    /// Until when; `None`: for good.
    pub until: Option<Timestamp>,
}

impl Listed {
    fn holds(self, at: Timestamp) -> bool {
        self.from.is_none_or(|from| from <= at) && self.until.is_none_or(|until| at < until)
    }
}

/// The list of turns through time. The places in it are found directly, however old it is.
#[derive(Clone, Debug)]
pub struct Order {
    /// Never empty; the first begins at the earliest instant.
    spans: Vec<Span>,
}

/// A time in which the list stays the same.
#[derive(Clone, Debug, Eq, PartialEq)]
struct Span {
    from: Timestamp,
    /// Indexes into the turns of the layer, in their order.
    turns: Vec<usize>,
    /// Turn number k is the one at place k + offset.
    offset: i64,
}

impl Order {
    /// The order of these turns. At `counted` the turn of number k is at place k + `offset` of the list of that instant.
    /// `number` gives the number of the turn that runs at an instant.
    pub fn new(
        turns: &[Listed],
        counted: Timestamp,
        offset: i64,
        number: impl Fn(Timestamp) -> i64,
    ) -> Order {
        let listed = |at: Timestamp| -> Vec<usize> {
            turns.iter().enumerate().filter(|(_, turn)| turn.holds(at)).map(|(place, _)| place).collect()
        };
        let mut bounds: Vec<Timestamp> = turns
            .iter()
            .flat_map(|turn| [turn.from, turn.until])
            .flatten()
            .filter(|at| *at > counted)
            .collect();
        bounds.sort_unstable();
        bounds.dedup();
        let mut running = Span { from: Timestamp::MIN, turns: listed(counted), offset };
        let mut spans = Vec::new();
        for bound in bounds {
            let turns = listed(bound);
            if turns == running.turns {
                continue;
            }
            // Instants are whole seconds: one second earlier the old list holds.
            let before = Timestamp::from_second(bound.as_second().saturating_sub(1)).unwrap_or(bound);
            let offset = running.carried(&turns, number(before), number(bound));
            spans.push(std::mem::replace(&mut running, Span { from: bound, turns, offset }));
        }
        spans.push(running);
        Order { spans }
    }

    /// The list at an instant, and the place in it of the turn with this number; `None` if the list is empty.
    pub fn place(&self, at: Timestamp, number: i64) -> Option<(&[usize], usize)> {
        let span = self.spans.iter().rfind(|span| span.from <= at)?;
        Some((&span.turns, span.place(number)?))
    }

    /// The turns from that of this number on, once around.
    pub fn following(&self, at: Timestamp, number: i64) -> impl Iterator<Item = usize> + '_ {
        let (turns, place) = self.place(at, number).unwrap_or_default();
        let (before, after) = turns.split_at_checked(place).unwrap_or_default();
        after.iter().chain(before).copied()
    }

    /// The instants at which the list changes.
    pub fn changes(&self) -> impl DoubleEndedIterator<Item = Timestamp> + '_ {
        self.spans.iter().skip(1).map(|span| span.from)
    }
}

impl Span {
    fn place(&self, number: i64) -> Option<usize> {
        let count = i64::try_from(self.turns.len()).ok()?;
        usize::try_from(number.checked_add(self.offset)?.checked_rem_euclid(count)?).ok()
    }

    /// The offset of the list that follows. `before` is the number of the turn that runs just before the change, `at`
    /// that of the change.
    fn carried(&self, turns: &[usize], before: i64, at: i64) -> i64 {
        let place =
            |turn: &usize| turns.iter().position(|known| known == turn).and_then(|p| i64::try_from(p).ok());
        // After an empty list the first turn begins.
        let Some((gone, rest)) = self.place(before).and_then(|running| self.turns.split_at_checked(running))
        else {
            return at.saturating_neg();
        };
        if let Some(place) = rest.first().and_then(place) {
            return place.saturating_sub(before);
        }
        // The running turn leaves: the next one in the old order that is still listed takes over.
        rest.iter().chain(gone).find_map(place).unwrap_or_default().saturating_sub(at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    /// Turns of ten seconds from 0; which one runs in the middle of each.
    fn order(turns: &[(Option<i64>, Option<i64>)], count: i64) -> Vec<Option<usize>> {
        let turns: Vec<Listed> =
            turns.iter().map(|(from, until)| Listed { from: from.map(at), until: until.map(at) }).collect();
        let order = Order::new(&turns, at(0), 0, |at| at.as_second().div_euclid(10));
        (0..count).map(|number| order.following(at(number * 10 + 5), number).next()).collect()
    }

    #[test]
    fn a_turn_joins_at_the_handoff_and_leaves_at_once() {
        let always = (None, None);
        let some = |turns: &[usize]| turns.iter().map(|turn| Some(*turn)).collect::<Vec<_>>();
        assert_eq!(order(&[always, always], 4), some(&[0, 1, 0, 1]));
        // The third joins while the second runs, and follows it.
        assert_eq!(order(&[always, always, (Some(13), None)], 5), some(&[0, 1, 2, 0, 1]));
        // It joins at the very handoff from the second.
        assert_eq!(order(&[always, always, (Some(20), None)], 5), some(&[0, 1, 2, 0, 1]));
        // The second leaves while it runs: the third takes over.
        assert_eq!(order(&[always, (None, Some(12)), always], 5), some(&[0, 2, 0, 2, 0]));
        // It leaves at its end.
        assert_eq!(order(&[always, (None, Some(20)), always], 5), some(&[0, 1, 2, 0, 2]));
        // Everybody leaves, and later somebody comes.
        assert_eq!(order(&[(None, Some(10)), (Some(30), None)], 5), [Some(0), None, None, Some(1), Some(1)]);
    }
}
