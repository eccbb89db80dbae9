//! Random cases that can be played again.

use std::hash::{BuildHasher, Hasher, RandomState};

/// How many cases a property is tried with: the usual number, times `MAYDAY_CASES` (`make test-all` sets it).
pub fn cases(usual: usize) -> usize {
    let factor = std::env::var("MAYDAY_CASES").ok().map_or(1, |factor| factor.parse().unwrap());
    usual * factor
}

/// The seed in `MAYDAY_SEED`, or a new one, which it prints.
pub fn seed() -> u64 {
    let given = std::env::var("MAYDAY_SEED").ok().map(|seed| seed.parse().unwrap());
    let seed = given.unwrap_or_else(|| RandomState::new().build_hasher().finish());
    eprintln!("again with the same numbers: MAYDAY_SEED={seed}");
    seed
}

/// Random numbers from a seed (SplitMix64). A test that fails prints the seed; `MAYDAY_SEED` plays it again.
pub struct Random(u64);

impl Random {
    /// Numbers from the seed in `MAYDAY_SEED`, or from a new one.
    pub fn seeded() -> Random {
        Random::from(seed())
    }

    /// Numbers from a seed.
    pub fn from(seed: u64) -> Random {
        Random(seed)
    }

    /// A number from 0 to `end`, exclusive.
    pub fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % end
    }

    /// An index of something of this length.
    pub fn index(&mut self, length: usize) -> usize {
        usize::try_from(self.below(length as u64)).unwrap()
    }

    /// Once in so many times.
    pub fn one_in(&mut self, times: u64) -> bool {
        self.below(times) == 0
    }

    /// One of several.
    pub fn choose<T: Clone>(&mut self, from: &[T]) -> T {
        from[self.index(from.len())].clone()
    }
}
