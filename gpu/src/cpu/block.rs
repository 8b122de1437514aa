//! Inner products of six columns with four: the inner loop of sums of products.
//!
//! In: columns of one length, a multiple of four; out: 24 sums of products. Each is carried in four running sums, by the
//! row's number modulo four, which are added by halves in the end: the same bits from every set of instructions. The
//! instructions are named, since the compiler cuts such a block into pieces that do not stay in registers.

use super::tile;

/// Columns on the left.
pub(super) const LEFT: usize = 6;
/// Columns on the right.
pub(super) const RIGHT: usize = 4;
/// Running sums of a product.
const LANES: usize = 4;

/// The products of each left column with each right one.
pub(super) type Block = [[f64; RIGHT]; LEFT];

/// Computes a block.
pub(super) type Multiply = fn([&[f64]; LEFT], [&[f64]; RIGHT]) -> Block;

/// The fastest way of this machine.
pub(super) fn fastest() -> Multiply {
    #[cfg(target_arch = "x86_64")]
    {
        if std::arch::is_x86_feature_detected!("avx512f") {
            return x86::multiply_512;
        }
        if std::arch::is_x86_feature_detected!("avx2") && std::arch::is_x86_feature_detected!("fma")
        {
            return x86::multiply_256;
        }
    }
    multiply_portable
}

/// A column by its running sums.
#[inline(always)]
fn lanes(column: &[f64], n: usize) -> &[[f64; LANES]] {
    &column.as_chunks::<LANES>().0[..n]
}

fn multiply_portable(left: [&[f64]; LEFT], right: [&[f64]; RIGHT]) -> Block {
    let mut block = [[0.0; RIGHT]; LEFT];
    for (products, left) in block.iter_mut().zip(&left) {
        for (product, right) in products.iter_mut().zip(&right) {
            let n = left.len() / LANES;
            let mut sums = [0.0; LANES];
            for (a, b) in lanes(left, n).iter().zip(lanes(right, n)) {
                for (sum, (a, b)) in sums.iter_mut().zip(a.iter().zip(b)) {
                    *sum = f64::mul_add(*a, *b, *sum);
                }
            }
            *product = tile::sum_lanes(&sums);
        }
    }
    block
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::x86_64::{
        __m256d, __m512d, _mm256_fmadd_pd, _mm256_loadu_pd, _mm256_setzero_pd, _mm256_storeu_pd,
        _mm512_add_pd, _mm512_broadcast_f64x4, _mm512_castpd256_pd512, _mm512_fmadd_pd,
        _mm512_insertf64x4, _mm512_permute_pd, _mm512_setzero_pd, _mm512_shuffle_f64x2,
        _mm512_storeu_pd,
    };

    use super::{Block, LANES, LEFT, RIGHT, lanes, tile};

    pub(super) fn multiply_512(left: [&[f64]; LEFT], right: [&[f64]; RIGHT]) -> Block {
        // SAFETY: `fastest` has found the instructions.
        unsafe { with_512(left, right) }
    }

    pub(super) fn multiply_256(left: [&[f64]; LEFT], right: [&[f64]; RIGHT]) -> Block {
        let [l0, l1, l2, l3, l4, l5] = left;
        // SAFETY: as above.
        let (a, b) = unsafe { (with_256([l0, l1, l2], right), with_256([l3, l4, l5], right)) };
        [a[0], a[1], a[2], b[0], b[1], b[2]]
    }

    #[inline]
    #[target_feature(enable = "avx")]
    fn load(values: &[f64; LANES]) -> __m256d {
        // SAFETY: there are four numbers; the instruction asks for no alignment.
        unsafe { _mm256_loadu_pd(values.as_ptr()) }
    }

    #[inline]
    #[target_feature(enable = "avx")]
    fn sum(lanes: __m256d) -> f64 {
        let mut values = [0.0; LANES];
        // SAFETY: as above.
        unsafe { _mm256_storeu_pd(values.as_mut_ptr(), lanes) };
        tile::sum_lanes(&values)
    }

    /// A register has the running sums of a left column with two right ones: 12 of 32 registers carry the block.
    #[target_feature(enable = "avx512f,avx2,fma")]
    fn with_512(left: [&[f64]; LEFT], right: [&[f64]; RIGHT]) -> Block {
        let n = left[0].len() / LANES;
        let [l0, l1, l2, l3, l4, l5] = left;
        let left = [
            lanes(l0, n),
            lanes(l1, n),
            lanes(l2, n),
            lanes(l3, n),
            lanes(l4, n),
            lanes(l5, n),
        ];
        let [r0, r1, r2, r3] = right;
        let (r0, r1, r2, r3) = (lanes(r0, n), lanes(r1, n), lanes(r2, n), lanes(r3, n));
        let mut sums: [[__m512d; 2]; LEFT] = [[_mm512_setzero_pd(); 2]; LEFT];
        for chunk in 0..n {
            let low = _mm512_castpd256_pd512(load(&r0[chunk]));
            let first = _mm512_insertf64x4::<1>(low, load(&r1[chunk]));
            let low = _mm512_castpd256_pd512(load(&r2[chunk]));
            let second = _mm512_insertf64x4::<1>(low, load(&r3[chunk]));
            for (sums, left) in sums.iter_mut().zip(&left) {
                let a = _mm512_broadcast_f64x4(load(&left[chunk]));
                sums[0] = _mm512_fmadd_pd(a, first, sums[0]);
                sums[1] = _mm512_fmadd_pd(a, second, sums[1]);
            }
        }
        let mut block = [[0.0; RIGHT]; LEFT];
        for (products, sums) in block.iter_mut().zip(&sums) {
            // Sums 0 and 1 of each product, plus sums 2 and 3; then the odd ones to the even ones.
            let low = _mm512_shuffle_f64x2::<0b10_00_10_00>(sums[0], sums[1]);
            let high = _mm512_shuffle_f64x2::<0b11_01_11_01>(sums[0], sums[1]);
            let halves = _mm512_add_pd(low, high);
            let odd = _mm512_permute_pd::<0b0101_0101>(halves);
            let mut both = [0.0; 2 * RIGHT];
            // SAFETY: there is room for eight numbers; the instruction asks for no alignment.
            unsafe { _mm512_storeu_pd(both.as_mut_ptr(), _mm512_add_pd(halves, odd)) };
            *products = [both[0], both[2], both[4], both[6]];
        }
        block
    }

    /// Half a block: 12 sums and four operands fill the 16 registers.
    #[target_feature(enable = "avx2,fma")]
    fn with_256(left: [&[f64]; LEFT / 2], right: [&[f64]; RIGHT]) -> [[f64; RIGHT]; LEFT / 2] {
        let n = left[0].len() / LANES;
        let [l0, l1, l2] = left;
        let left = [lanes(l0, n), lanes(l1, n), lanes(l2, n)];
        let [r0, r1, r2, r3] = right;
        let right = [lanes(r0, n), lanes(r1, n), lanes(r2, n), lanes(r3, n)];
        let mut sums = [[_mm256_setzero_pd(); LEFT / 2]; RIGHT];
        for chunk in 0..n {
            let a = [
                load(&left[0][chunk]),
                load(&left[1][chunk]),
                load(&left[2][chunk]),
            ];
            for (sums, right) in sums.iter_mut().zip(&right) {
                let b = load(&right[chunk]);
                sums[0] = _mm256_fmadd_pd(a[0], b, sums[0]);
                sums[1] = _mm256_fmadd_pd(a[1], b, sums[1]);
                sums[2] = _mm256_fmadd_pd(a[2], b, sums[2]);
            }
        }
        let mut block = [[0.0; RIGHT]; LEFT / 2];
        for (column, sums) in sums.iter().enumerate() {
            for (products, &sums) in block.iter_mut().zip(sums) {
                products[column] = sum(sums);
            }
        }
        block
    }
}

#[cfg(test)]
mod tests {
    use super::{Multiply, multiply_portable};

    #[test]
    fn every_set_of_instructions_gives_the_same_bits() {
        let mut others: Vec<Multiply> = vec![super::fastest()];
        #[cfg(target_arch = "x86_64")]
        if std::arch::is_x86_feature_detected!("fma") {
            others.push(super::x86::multiply_256);
        }
        for n in [0, 4, 8, 12, 256] {
            let columns: Vec<Vec<f64>> = (0..10)
                .map(|column| {
                    (0..n)
                        .map(|row| ((row * 31 + column * 7) as f64).sin())
                        .collect()
                })
                .collect();
            let left = [0, 1, 2, 3, 4, 5].map(|at: usize| columns[at].as_slice());
            let right = [6, 7, 8, 9].map(|at: usize| columns[at].as_slice());
            let expected = multiply_portable(left, right);
            let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
            assert!((expected[5][2] - dot(left[5], right[2])).abs() < 1e-12);
            for multiply in &others {
                assert_eq!(multiply(left, right), expected);
            }
        }
    }
}
