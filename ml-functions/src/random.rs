//! Randomness: a small generator, and the hash that it is made of.
//!
//! In: the seed of a run; out: the same numbers on every machine. Never reads a clock or the system's
//! randomness. Source: SplitMix64, Steele, Lea and Flood 2014, doi:10.1145/2714064.2660195.

/// A stream of random numbers.
#[derive(Debug, Clone)]
pub(crate) struct Random {
    state: u64,
}

impl Random {
    /// A stream of its own for each seed and purpose.
    pub(crate) fn new(seed: u64, purpose: u64) -> Random {
        Random {
            state: mix(seed ^ mix(purpose)),
        }
    }

    /// A number of `[0, 1)`, evenly spread.
    pub(crate) fn unit(&mut self) -> f64 {
        self.state = self.state.wrapping_add(GAMMA);
        (mix(self.state) >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// An index, drawn in proportion to the weights; `None` where they add to nothing.
    pub(crate) fn index(&mut self, weights: &[f64]) -> Option<usize> {
        let total: f64 = weights.iter().sum();
        let target = self.unit() * total;
        let mut cumulative = 0.0;
        let mut last = None;
        for (idx, &weight) in weights
            .iter()
            .enumerate()
            .filter(|(_, weight)| **weight > 0.0)
        {
            cumulative += weight;
            last = Some(idx);
            if cumulative > target {
                break;
            }
        }
        last
    }
}

/// What SplitMix64 adds to its state between two numbers.
const GAMMA: u64 = 0x9e37_79b9_7f4a_7c15;

/// The hash of a word: SplitMix64's first number from it.
#[inline(always)]
pub(crate) fn hash_word(word: u64) -> u64 {
    mix(word.wrapping_add(GAMMA))
}

/// Spreads every bit of a value over all bits.
#[inline(always)]
pub(crate) fn mix(value: u64) -> u64 {
    let value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn indices_follow_the_weights() {
        let mut random = Random::new(1, 2);
        let mut counts = [0_u32; 4];
        for _ in 0..40_000 {
            counts[random.index(&[1.0, 0.0, 2.0, 1.0]).unwrap()] += 1;
        }
        assert_eq!(counts[1], 0);
        assert!(counts[0].abs_diff(10_000) < 500, "{counts:?}");
        assert!(counts[2].abs_diff(20_000) < 500, "{counts:?}");
    }

    #[test]
    fn nothing_can_be_drawn_from_zeros() {
        assert_eq!(Random::new(0, 0).index(&[0.0, 0.0]), None);
        assert_eq!(Random::new(0, 0).index(&[]), None);
    }
}
