//! Inner products of six columns with six: the inner loop of sums of products.
//!
//! In: columns of one length, a multiple of four; out: 36 sums of products, added to those before. Each is carried in four
//! running sums, by the row's number modulo four, which are added by halves in the end: the same bits from every set of
//! instructions. The instructions are named, since the compiler cuts such a block into pieces that do not stay in
//! registers. A block on the diagonal, whose columns are the same on both sides, need not have what lies above it.

use super::tile;

/// Columns on each side.
pub(super) const SIDE: usize = 6;
/// Running sums of a product.
const LANES: usize = 4;

/// Some columns of one length.
pub(super) type Side<'a> = [&'a [f64]; SIDE];
/// The products of each left column with each right one.
pub(super) type Block = [[f64; SIDE]; SIDE];

/// Ways to add the products of a left side and a right one to a block.
#[derive(Debug, Clone, Copy)]
pub(super) struct Multiply {
    /// All of them.
    pub(super) whole: fn(&Side<'_>, &Side<'_>, &mut Block),
    /// Those of each left column with the right ones up to its place; others may be added or not.
    pub(super) lower: fn(&Side<'_>, &Side<'_>, &mut Block),
}

/// The fastest way of this machine.
pub(super) fn fastest() -> Multiply {
    #[cfg(target_arch = "x86_64")]
    {
        if std::arch::is_x86_feature_detected!("avx512f") {
            return x86::MULTIPLY_512;
        }
        if std::arch::is_x86_feature_detected!("avx2") && std::arch::is_x86_feature_detected!("fma")
        {
            return x86::MULTIPLY_256;
        }
    }
    PORTABLE
}

const PORTABLE: Multiply = Multiply {
    whole: multiply_portable,
    lower: multiply_portable,
};

/// A side by its running sums, once all columns were found to be of one length.
#[inline(always)]
fn lanes<'a>(side: &Side<'a>, n: usize) -> [&'a [[f64; LANES]]; SIDE] {
    // Written out, since a closure over arrays is called rather than inlined.
    let [a, b, c, d, e, f] = side;
    let of = |column: &'a [f64]| &column.as_chunks::<LANES>().0[..n];
    [of(a), of(b), of(c), of(d), of(e), of(f)]
}

fn multiply_portable(left: &Side<'_>, right: &Side<'_>, block: &mut Block) {
    let n = left[0].len() / LANES;
    let (left, right) = (lanes(left, n), lanes(right, n));
    for (products, left) in block.iter_mut().zip(left) {
        for (product, right) in products.iter_mut().zip(right) {
            let mut sums = [0.0; LANES];
            for (a, b) in left.iter().zip(right) {
                for (sum, (a, b)) in sums.iter_mut().zip(a.iter().zip(b)) {
                    *sum = f64::mul_add(*a, *b, *sum);
                }
            }
            *product += tile::sum_lanes(&sums);
        }
    }
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::x86_64::{
        __m128d, __m256d, __m512d, _mm_add_pd, _mm_loadu_pd, _mm_storeu_pd, _mm256_add_pd,
        _mm256_castpd256_pd128, _mm256_fmadd_pd, _mm256_hadd_pd, _mm256_loadu_pd,
        _mm256_permute2f128_pd, _mm256_permute4x64_pd, _mm256_setzero_pd, _mm256_storeu_pd,
        _mm512_add_pd, _mm512_broadcast_f64x4, _mm512_castpd256_pd512, _mm512_castpd512_pd128,
        _mm512_castpd512_pd256, _mm512_extractf64x4_pd, _mm512_fmadd_pd, _mm512_insertf64x4,
        _mm512_permutexvar_pd, _mm512_set_epi64, _mm512_setzero_pd, _mm512_shuffle_f64x2,
        _mm512_unpackhi_pd, _mm512_unpacklo_pd,
    };

    use super::{Block, LANES, Multiply, SIDE, Side, lanes};

    pub(super) const MULTIPLY_512: Multiply = Multiply {
        // SAFETY: `fastest` has found the instructions.
        whole: |left, right, block| unsafe { with_512::<false>(left, right, block) },
        // SAFETY: as above.
        lower: |left, right, block| unsafe { with_512::<true>(left, right, block) },
    };

    pub(super) const MULTIPLY_256: Multiply = Multiply {
        // SAFETY: as above.
        whole: |left, right, block| unsafe { with_256(left, right, block) },
        // SAFETY: as above.
        lower: |left, right, block| unsafe { with_256(left, right, block) },
    };

    #[inline]
    #[target_feature(enable = "avx")]
    fn load(values: &[f64; LANES]) -> __m256d {
        // SAFETY: there are four numbers; the instruction asks for no alignment.
        unsafe { _mm256_loadu_pd(values.as_ptr()) }
    }

    /// Adds the products of a left column: the first four and the last two.
    #[inline]
    #[target_feature(enable = "avx")]
    fn add(into: &mut [f64; SIDE], four: __m256d, two: __m128d) {
        let (first, last) = into.split_at_mut(LANES);
        let (first, last) = (first.as_mut_ptr(), last.as_mut_ptr());
        // SAFETY: there are four numbers and two behind them; the instructions ask for no alignment.
        unsafe {
            _mm256_storeu_pd(first, _mm256_add_pd(_mm256_loadu_pd(first), four));
            _mm_storeu_pd(last, _mm_add_pd(_mm_loadu_pd(last), two));
        }
    }

    /// A register has the running sums of a left column with two right ones: 18 of 32 registers carry the block.
    #[target_feature(enable = "avx512f,avx2,fma")]
    fn with_512<const IS_LOWER: bool>(left: &Side<'_>, right: &Side<'_>, block: &mut Block) {
        let n = left[0].len() / LANES;
        let (left, right) = (lanes(left, n), lanes(right, n));
        let mut sums = [[_mm512_setzero_pd(); SIDE / 2]; SIDE];
        for chunk in 0..n {
            let mut pairs = [_mm512_setzero_pd(); SIDE / 2];
            for (pair, columns) in pairs.iter_mut().zip(right.as_chunks::<2>().0) {
                let low = _mm512_castpd256_pd512(load(&columns[0][chunk]));
                *pair = _mm512_insertf64x4::<1>(low, load(&columns[1][chunk]));
            }
            for (row, (sums, left)) in sums.iter_mut().zip(&left).enumerate() {
                let a = _mm512_broadcast_f64x4(load(&left[chunk]));
                for (at, (sum, pair)) in sums.iter_mut().zip(pairs).enumerate() {
                    if !IS_LOWER || 2 * at <= row {
                        *sum = _mm512_fmadd_pd(a, pair, *sum);
                    }
                }
            }
        }
        // Numbers at even places, then the others: what the first of two left columns has, then the second.
        let by_left = _mm512_set_epi64(7, 5, 3, 1, 6, 4, 2, 0);
        for (into, sums) in block
            .as_chunks_mut::<2>()
            .0
            .iter_mut()
            .zip(sums.as_chunks::<2>().0)
        {
            let [[a, b, c], [d, e, f]] = *sums;
            let four = add_odds(halves(a, b), halves(d, e));
            let four = _mm512_permutexvar_pd(by_left, four);
            let two = halves(c, f);
            let two = _mm512_permutexvar_pd(by_left, add_odds(two, two));
            let [first, second] = into;
            add(
                first,
                _mm512_castpd512_pd256(four),
                _mm512_castpd512_pd128(two),
            );
            let two = _mm512_extractf64x4_pd::<0>(two);
            let two = _mm256_permute4x64_pd::<0b11_10>(two);
            add(
                second,
                _mm512_extractf64x4_pd::<1>(four),
                _mm256_castpd256_pd128(two),
            );
        }
    }

    /// Of each of four products, running sums 0 and 1 plus running sums 2 and 3.
    #[inline]
    #[target_feature(enable = "avx512f")]
    fn halves(first: __m512d, second: __m512d) -> __m512d {
        let low = _mm512_shuffle_f64x2::<0b10_00_10_00>(first, second);
        let high = _mm512_shuffle_f64x2::<0b11_01_11_01>(first, second);
        _mm512_add_pd(low, high)
    }

    /// Even numbers plus the odd ones behind them, those of both in turns.
    #[inline]
    #[target_feature(enable = "avx512f")]
    fn add_odds(first: __m512d, second: __m512d) -> __m512d {
        let evens = _mm512_unpacklo_pd(first, second);
        _mm512_add_pd(evens, _mm512_unpackhi_pd(first, second))
    }

    /// Two left columns at a time: 12 sums and three operands of 16 registers.
    #[target_feature(enable = "avx2,fma")]
    fn with_256(left: &Side<'_>, right: &Side<'_>, block: &mut Block) {
        let n = left[0].len() / LANES;
        let (left, right) = (lanes(left, n), lanes(right, n));
        for (left, into) in left
            .as_chunks::<2>()
            .0
            .iter()
            .zip(block.as_chunks_mut::<2>().0)
        {
            let mut sums = [[_mm256_setzero_pd(); SIDE]; 2];
            for chunk in 0..n {
                let a = [load(&left[0][chunk]), load(&left[1][chunk])];
                for (at, right) in right.iter().enumerate() {
                    let b = load(&right[chunk]);
                    sums[0][at] = _mm256_fmadd_pd(a[0], b, sums[0][at]);
                    sums[1][at] = _mm256_fmadd_pd(a[1], b, sums[1][at]);
                }
            }
            for (into, [a, b, c, d, e, f]) in into.iter_mut().zip(sums) {
                let four = _mm256_hadd_pd(halves_of_two(a, b), halves_of_two(c, d));
                let four = _mm256_permute4x64_pd::<0b11_01_10_00>(four);
                let two = halves_of_two(e, f);
                let two = _mm256_permute4x64_pd::<0b10_00>(_mm256_hadd_pd(two, two));
                add(into, four, _mm256_castpd256_pd128(two));
            }
        }
    }

    /// Of each of two products, running sums 0 and 1 plus running sums 2 and 3.
    #[inline]
    #[target_feature(enable = "avx2")]
    fn halves_of_two(a: __m256d, b: __m256d) -> __m256d {
        let low = _mm256_permute2f128_pd::<0x20>(a, b);
        let high = _mm256_permute2f128_pd::<0x31>(a, b);
        _mm256_add_pd(low, high)
    }
}

#[cfg(test)]
mod tests {
    use super::{Block, PORTABLE, SIDE};

    #[test]
    fn every_set_of_instructions_gives_the_same_bits() {
        let mut others = vec![super::fastest()];
        #[cfg(target_arch = "x86_64")]
        if std::arch::is_x86_feature_detected!("fma") {
            others.push(super::x86::MULTIPLY_256);
        }
        for n in [0, 4, 8, 12, 256] {
            let columns: Vec<Vec<f64>> = (0..2 * SIDE)
                .map(|column| {
                    (0..n)
                        .map(|row| ((row * 31 + column * 7) as f64).sin())
                        .collect()
                })
                .collect();
            let left = [0, 1, 2, 3, 4, 5].map(|at: usize| columns[at].as_slice());
            let right = [6, 7, 8, 9, 10, 11].map(|at: usize| columns[at].as_slice());
            let before: Block = [[0.5, 1.5, 2.5, 3.5, 4.5, 5.5]; SIDE];
            let mut expected = before;
            (PORTABLE.whole)(&left, &right, &mut expected);
            for (left, (expected, before)) in left.iter().zip(expected.iter().zip(before)) {
                for (right, (expected, before)) in right.iter().zip(expected.iter().zip(before)) {
                    let product: f64 = left.iter().zip(*right).map(|(a, b)| a * b).sum();
                    assert!((expected - before - product).abs() < 1e-12);
                }
            }
            for multiply in &others {
                let mut found = before;
                (multiply.whole)(&left, &right, &mut found);
                assert_eq!(found, expected);
                let mut found = before;
                (multiply.lower)(&left, &right, &mut found);
                for (row, (found, expected)) in found.iter().zip(&expected).enumerate() {
                    assert_eq!(found[..=row], expected[..=row]);
                }
            }
        }
    }
}
