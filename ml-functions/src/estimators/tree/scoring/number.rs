//! The two widths of numbers that trees compare, and masks of leaves as wide as they are.
//!
//! In: thresholds of f64; out: thresholds that send every value of the width the same way.

use pulp::Simd;

use super::layout::MaskSplit;

/// Samples that are scored together: wide enough to hide latencies, narrow enough that the columns of
/// a hundred features stay in the second-level cache.
pub(super) const TILE: usize = 128;

/// Registers of masks that stay where they are while the splits pass. A tile fills a multiple of them,
/// whatever the machine's width.
const TOGETHER: usize = 8;

/// A number of a block.
pub(super) trait Number:
    std::fmt::Debug + Copy + PartialOrd + Send + Sync + 'static
{
    /// One bit for each leaf of a group. As wide as the number, so that both fill registers alike.
    type Mask: std::fmt::Debug + Copy + Send + Sync + 'static;
    /// Leaves in a mask.
    const MASK_BITS: usize;
    /// No leaf is ruled out.
    const ALL: Self::Mask;
    /// Compares with nothing.
    const NAN: Self;
    /// Fills room that no sample uses.
    const ZERO: Self;

    /// The greatest number that is at most `threshold`.
    fn at_most(threshold: f64) -> Self;
    /// The number with the other sign.
    fn negated(self) -> Self;
    /// The next greater number.
    fn next_up(self) -> Self;
    /// A mask without the leaves of `range`, which lies within the mask.
    fn without(range: std::ops::Range<usize>) -> Self::Mask;
    /// `alive`, without the leaves that `kept` lacks unless the low bit of `goes_left` is set.
    fn narrow(alive: Self::Mask, goes_left: u32, kept: Self::Mask) -> Self::Mask;
    /// The leaves of each sample that no split rules out.
    fn alive<S: Simd>(
        simd: S,
        splits: &[MaskSplit<Self>],
        columns: &[[Self; TILE]],
        alive: &mut [Self::Mask; TILE],
    );
    /// The mask as the low bits of a wider one.
    fn widened(mask: Self::Mask) -> u64;
}

macro_rules! number {
    (
        $number:ty, $mask:ty, $as_numbers:ident, $as_masks:ident, $splat:ident, $splat_mask:ident,
        $at_most:ident, $and:ident, $select:ident
    ) => {
        impl Number for $number {
            type Mask = $mask;
            const MASK_BITS: usize = <$mask>::BITS as usize;
            const ALL: $mask = <$mask>::MAX;
            const NAN: $number = <$number>::NAN;
            const ZERO: $number = 0.0;

            fn at_most(threshold: f64) -> $number {
                let nearest = threshold as $number;
                if f64::from(nearest) > threshold {
                    nearest.next_down()
                } else {
                    nearest
                }
            }

            #[inline(always)]
            fn negated(self) -> $number {
                -self
            }

            fn next_up(self) -> $number {
                self.next_up()
            }

            fn without(range: std::ops::Range<usize>) -> $mask {
                range.fold(<$mask>::MAX, |mask, leaf| mask & !(1 << leaf))
            }

            #[inline(always)]
            fn narrow(alive: $mask, goes_left: u32, kept: $mask) -> $mask {
                alive & (kept | <$mask>::from(goes_left & 1).wrapping_neg())
            }

            #[inline(always)]
            fn alive<S: Simd>(
                simd: S,
                splits: &[MaskSplit<$number>],
                columns: &[[$number; TILE]],
                alive: &mut [$mask; TILE],
            ) {
                let (alive, _) = S::$as_masks(alive);
                let all = simd.$splat_mask(<$mask>::MAX);
                for (number, alive) in alive.as_chunks_mut::<TOGETHER>().0.iter_mut().enumerate() {
                    let mut masks = [all; TOGETHER];
                    for split in splits {
                        let (x, _) = S::$as_numbers(&columns[split.column as usize]);
                        let threshold = simd.$splat(split.threshold);
                        let kept = simd.$splat_mask(split.kept);
                        // A column has as many registers as the masks.
                        let Some(x) = x.as_chunks::<TOGETHER>().0.get(number) else {
                            continue;
                        };
                        for (mask, &x) in masks.iter_mut().zip(x) {
                            let left = simd.$at_most(x, threshold);
                            *mask = simd.$and(*mask, simd.$select(left, all, kept));
                        }
                    }
                    *alive = masks;
                }
            }

            #[inline(always)]
            fn widened(mask: $mask) -> u64 {
                u64::from(mask)
            }
        }
    };
}

number!(
    f32,
    u32,
    as_simd_f32s,
    as_mut_simd_u32s,
    splat_f32s,
    splat_u32s,
    less_than_or_equal_f32s,
    and_u32s,
    select_u32s
);
number!(
    f64,
    u64,
    as_simd_f64s,
    as_mut_simd_u64s,
    splat_f64s,
    splat_u64s,
    less_than_or_equal_f64s,
    and_u64s,
    select_u64s
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rounded_thresholds_part_all_numbers_as_before() {
        let thresholds = [
            0.1,
            -0.1,
            0.0,
            1.0,
            1e300,
            -1e300,
            f64::INFINITY,
            f64::NEG_INFINITY,
            1e-300,
        ];
        for threshold in thresholds {
            let rounded = f32::at_most(threshold);
            let near = [
                rounded,
                rounded.next_up(),
                rounded.next_down(),
                f32::MAX,
                f32::MIN,
            ];
            for x in near
                .into_iter()
                .chain([f32::INFINITY, f32::NEG_INFINITY, 0.0, -0.0])
            {
                assert_eq!(
                    x <= rounded,
                    f64::from(x) <= threshold,
                    "{x} at {threshold}"
                );
            }
            assert_eq!(f64::at_most(threshold), threshold);
        }
    }
}
