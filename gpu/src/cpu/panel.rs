//! The inner loops of distances: panels of rows against some points, the nearest so far, and sums of rows by number.
//!
//! In: panels of eight rows, whose columns lie side by side; out: numbers of each row. A row's sums are its own, in the order
//! of the columns, each square added by one fused operation: the same bits from every set of instructions. The
//! instructions are named, since the compiler cuts such sums into pieces that do not fill registers.

/// Rows of a panel.
pub(super) const LANES: usize = 8;
/// Points that are compared at once: with [`LANES`] rows they fill half of AVX2's registers.
pub(super) const GROUP: usize = 4;

/// A number for each row of a panel: a line of the cache, since what lies across two is read twice.
#[derive(Debug, Clone, Copy, PartialEq)]
#[repr(C, align(64))]
pub(super) struct Lanes(pub(super) [f64; LANES]);

impl Lanes {
    pub(super) const ZERO: Lanes = Lanes([0.0; LANES]);
}

/// The number of a point for each row of a panel; as wide as distances, so that one mask chooses both.
pub(super) type Ids = [u64; LANES];
/// The squared distances of a panel's rows to each point of a group.
pub(super) type Distances = [Lanes; GROUP];

/// The loops of a set of instructions.
#[derive(Debug, Clone, Copy)]
pub(super) struct Loops {
    /// Σ (x − c)² over the columns of each panel, for a group of points by columns; panels may have more columns.
    pub(super) compare: fn(&[Lanes], &[[f64; GROUP]], &mut [Distances]),
    /// Keeps the nearer ones of the points so far and of a group whose first point has that number; those before have
    /// lower ones, of which the first group has none.
    pub(super) choose: fn(&[Distances], u64, &mut [Lanes], &mut [Ids]),
    /// Adds each row of a panel, which has eight columns or a multiple, to the sums of its number, which are as long.
    pub(super) add: fn(&[Lanes], &Ids, &mut [Lanes]),
}

impl Loops {
    /// The fastest ones of this machine.
    pub(super) fn fastest() -> Loops {
        #[cfg(target_arch = "x86_64")]
        {
            let has_avx2 = std::arch::is_x86_feature_detected!("avx2")
                && std::arch::is_x86_feature_detected!("fma");
            if has_avx2 && std::arch::is_x86_feature_detected!("avx512f") {
                return x86::LOOPS_512;
            }
            if has_avx2 {
                return x86::LOOPS_256;
            }
        }
        PORTABLE
    }
}

const PORTABLE: Loops = Loops {
    compare: compare_portable,
    choose: choose_portable,
    add: add_portable,
};

fn compare_portable(panels: &[Lanes], points: &[[f64; GROUP]], into: &mut [Distances]) {
    let width = panels.len() / into.len().max(1);
    for (panel, into) in into.iter_mut().enumerate() {
        let columns = &panels[panel * width..][..width];
        *into = [Lanes::ZERO; GROUP];
        for (x, c) in columns.iter().zip(points) {
            for (sums, c) in into.iter_mut().zip(c) {
                for (sum, x) in sums.0.iter_mut().zip(x.0) {
                    let difference = x - c;
                    *sum = difference.mul_add(difference, *sum);
                }
            }
        }
    }
}

fn choose_portable(found: &[Distances], first: u64, best: &mut [Lanes], ids: &mut [Ids]) {
    for (distances, (best, ids)) in found.iter().zip(best.iter_mut().zip(ids)) {
        if first == 0 {
            (*best, *ids) = (Lanes([f64::INFINITY; LANES]), [0; LANES]);
        }
        for (id, distances) in (first..).zip(distances) {
            for (lane, &distance) in distances.0.iter().enumerate() {
                // Strictly less, so that the lower number wins a tie.
                if distance < best.0[lane] {
                    (best.0[lane], ids[lane]) = (distance, id);
                }
            }
        }
    }
}

/// The blocks of eight columns of a panel, each with the place of its sums in those of every row.
#[inline(always)]
fn blocks<'a>(
    columns: &'a [Lanes],
    ids: &Ids,
) -> impl Iterator<Item = (&'a [Lanes; LANES], [usize; LANES])> {
    let blocks = columns.as_chunks::<LANES>().0;
    let starts = ids.map(|id| id as usize * blocks.len());
    let blocks = blocks.iter().enumerate();
    blocks.map(move |(block, columns)| (columns, starts.map(|start| start + block)))
}

fn add_portable(columns: &[Lanes], ids: &Ids, sums: &mut [Lanes]) {
    for (columns, places) in blocks(columns, ids) {
        for (lane, place) in places.into_iter().enumerate() {
            for (sum, column) in sums[place].0.iter_mut().zip(columns) {
                *sum += column.0[lane];
            }
        }
    }
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::x86_64::{
        __m256d, __m512d, _CMP_LT_OQ, _mm256_add_pd, _mm256_blendv_pd, _mm256_castpd_si256,
        _mm256_castsi256_pd, _mm256_cmp_pd, _mm256_fmadd_pd, _mm256_loadu_pd, _mm256_loadu_si256,
        _mm256_min_pd, _mm256_permute2f128_pd, _mm256_set1_epi64x, _mm256_set1_pd,
        _mm256_setzero_pd, _mm256_setzero_si256, _mm256_storeu_pd, _mm256_storeu_si256,
        _mm256_sub_pd, _mm256_unpackhi_pd, _mm256_unpacklo_pd, _mm512_add_pd,
        _mm512_castpd256_pd512, _mm512_cmp_pd_mask, _mm512_fmadd_pd, _mm512_insertf64x4,
        _mm512_loadu_epi64, _mm512_loadu_pd, _mm512_mask_set1_epi64, _mm512_min_pd,
        _mm512_permutex2var_pd, _mm512_set_epi64, _mm512_set1_pd, _mm512_setzero_pd,
        _mm512_setzero_si512, _mm512_storeu_epi64, _mm512_storeu_pd, _mm512_sub_pd,
        _mm512_unpackhi_pd, _mm512_unpacklo_pd,
    };

    use super::{Distances, GROUP, Ids, LANES, Lanes, Loops, blocks};

    /// Half a panel.
    const HALF: usize = LANES / 2;

    pub(super) const LOOPS_512: Loops = Loops {
        // SAFETY: `fastest` has found the instructions.
        compare: |panels, points, into| unsafe { compare_512(panels, points, into) },
        // SAFETY: as above.
        choose: |found, first, best, ids| unsafe { choose_512(found, first, best, ids) },
        // SAFETY: as above.
        add: |columns, ids, sums| unsafe { add_512(columns, ids, sums) },
    };

    pub(super) const LOOPS_256: Loops = Loops {
        // SAFETY: as above.
        compare: |panels, points, into| unsafe { compare_256(panels, points, into) },
        // SAFETY: as above.
        choose: |found, first, best, ids| unsafe { choose_256(found, first, best, ids) },
        // SAFETY: as above.
        add: |columns, ids, sums| unsafe { add_256(columns, ids, sums) },
    };

    #[inline]
    #[target_feature(enable = "avx512f")]
    fn store(into: &mut Lanes, lanes: __m512d) {
        // SAFETY: there is room for eight numbers; the instruction asks for no alignment.
        unsafe { _mm512_storeu_pd(into.0.as_mut_ptr(), lanes) };
    }

    /// Four of a panel's numbers.
    #[inline]
    #[target_feature(enable = "avx")]
    fn half<const AT: usize>(column: &Lanes) -> __m256d {
        const { assert!(AT + HALF <= LANES) };
        // SAFETY: there are four numbers from there on; the instruction asks for no alignment.
        unsafe { _mm256_loadu_pd(column.0.as_ptr().add(AT)) }
    }

    #[inline]
    #[target_feature(enable = "avx")]
    fn store_half<const AT: usize>(into: &mut Lanes, lanes: __m256d) {
        const { assert!(AT + HALF <= LANES) };
        // SAFETY: there is room for four numbers from there on; the instruction asks for no alignment.
        unsafe { _mm256_storeu_pd(into.0.as_mut_ptr().add(AT), lanes) };
    }

    #[inline]
    #[target_feature(enable = "avx512f")]
    fn load(lanes: &Lanes) -> __m512d {
        // SAFETY: there are eight numbers; the instruction asks for no alignment.
        unsafe { _mm512_loadu_pd(lanes.0.as_ptr()) }
    }

    /// Two panels at a time, so that a point's coordinate is read once for both.
    #[target_feature(enable = "avx512f")]
    fn compare_512(panels: &[Lanes], points: &[[f64; GROUP]], into: &mut [Distances]) {
        let width = panels.len() / into.len().max(1);
        let (pairs, rest) = into.as_chunks_mut::<2>();
        let of_rest = &panels[2 * pairs.len() * width..];
        for (pair, into) in pairs.iter_mut().enumerate() {
            let (first, second) = panels[2 * pair * width..][..2 * width].split_at(width);
            let mut sums = [[_mm512_setzero_pd(); GROUP]; 2];
            for ((x, y), c) in first.iter().zip(second).zip(points) {
                let panels = [load(x), load(y)];
                for (at, c) in c.iter().enumerate() {
                    let c = _mm512_set1_pd(*c);
                    for (sums, x) in sums.iter_mut().zip(panels) {
                        let difference = _mm512_sub_pd(x, c);
                        sums[at] = _mm512_fmadd_pd(difference, difference, sums[at]);
                    }
                }
            }
            let into = into.as_flattened_mut().iter_mut();
            for (into, sum) in into.zip(sums.as_flattened()) {
                store(into, *sum);
            }
        }
        if let [into] = rest {
            let mut sums = [_mm512_setzero_pd(); GROUP];
            for (x, c) in of_rest.iter().zip(points) {
                let x = load(x);
                for (sum, c) in sums.iter_mut().zip(c) {
                    let difference = _mm512_sub_pd(x, _mm512_set1_pd(*c));
                    *sum = _mm512_fmadd_pd(difference, difference, *sum);
                }
            }
            for (into, sum) in into.iter_mut().zip(sums) {
                store(into, sum);
            }
        }
    }

    /// Eight sums of four lanes: half of the registers.
    #[target_feature(enable = "avx2,fma")]
    fn compare_256(panels: &[Lanes], points: &[[f64; GROUP]], into: &mut [Distances]) {
        let width = panels.len() / into.len().max(1);
        for (panel, into) in into.iter_mut().enumerate() {
            let columns = &panels[panel * width..][..width];
            let mut sums = [[_mm256_setzero_pd(); 2]; GROUP];
            for (x, c) in columns.iter().zip(points) {
                let x = [half::<0>(x), half::<HALF>(x)];
                for (sums, c) in sums.iter_mut().zip(c) {
                    let c = _mm256_set1_pd(*c);
                    for (sum, x) in sums.iter_mut().zip(x) {
                        let difference = _mm256_sub_pd(x, c);
                        *sum = _mm256_fmadd_pd(difference, difference, *sum);
                    }
                }
            }
            for (into, [low, high]) in into.iter_mut().zip(sums) {
                store_half::<0>(into, low);
                store_half::<HALF>(into, high);
            }
        }
    }

    #[target_feature(enable = "avx512f")]
    fn choose_512(found: &[Distances], first: u64, best: &mut [Lanes], ids: &mut [Ids]) {
        for (distances, (best, ids)) in found.iter().zip(best.iter_mut().zip(ids)) {
            let mut least = _mm512_set1_pd(f64::INFINITY);
            let mut chosen = _mm512_setzero_si512();
            if first > 0 {
                least = load(best);
                // SAFETY: there are eight numbers; the instruction asks for no alignment.
                chosen = unsafe { _mm512_loadu_epi64(ids.as_ptr().cast()) };
            }
            for (id, distances) in (first as i64..).zip(distances) {
                let distances = load(distances);
                let is_nearer = _mm512_cmp_pd_mask::<_CMP_LT_OQ>(distances, least);
                // The second operand, where one is no number.
                least = _mm512_min_pd(distances, least);
                chosen = _mm512_mask_set1_epi64(chosen, is_nearer, id);
            }
            store(best, least);
            // SAFETY: as above.
            unsafe { _mm512_storeu_epi64(ids.as_mut_ptr().cast(), chosen) };
        }
    }

    #[target_feature(enable = "avx2")]
    fn choose_256(found: &[Distances], first: u64, best: &mut [Lanes], ids: &mut [Ids]) {
        for (distances, (best, ids)) in found.iter().zip(best.iter_mut().zip(ids)) {
            choose_half::<0>(distances, first, best, ids);
            choose_half::<HALF>(distances, first, best, ids);
        }
    }

    #[inline]
    #[target_feature(enable = "avx2")]
    fn choose_half<const AT: usize>(
        distances: &Distances,
        first: u64,
        best: &mut Lanes,
        ids: &mut Ids,
    ) {
        const { assert!(AT + HALF <= LANES) };
        let mut least = _mm256_set1_pd(f64::INFINITY);
        let mut chosen = _mm256_setzero_si256();
        if first > 0 {
            least = half::<AT>(best);
            // SAFETY: there are four numbers from there on; the instruction asks for no alignment.
            chosen = unsafe { _mm256_loadu_si256(ids.as_ptr().add(AT).cast()) };
        }
        for (id, distances) in (first as i64..).zip(distances) {
            let distances = half::<AT>(distances);
            let is_nearer = _mm256_cmp_pd::<_CMP_LT_OQ>(distances, least);
            least = _mm256_min_pd(distances, least);
            let (before, id) = (_mm256_castsi256_pd(chosen), _mm256_set1_epi64x(id));
            let both = _mm256_blendv_pd(before, _mm256_castsi256_pd(id), is_nearer);
            chosen = _mm256_castpd_si256(both);
        }
        store_half::<AT>(best, least);
        // SAFETY: as above.
        unsafe { _mm256_storeu_si256(ids.as_mut_ptr().add(AT).cast(), chosen) };
    }

    #[target_feature(enable = "avx512f,avx2")]
    fn add_512(columns: &[Lanes], ids: &Ids, sums: &mut [Lanes]) {
        for (columns, places) in blocks(columns, ids) {
            let rows = [turn_four::<0>(columns), turn_four::<HALF>(columns)];
            for (place, row) in places.into_iter().zip(rows.as_flattened()) {
                let sum = &mut sums[place];
                store(sum, _mm512_add_pd(load(sum), *row));
            }
        }
    }

    /// Four rows of eight columns: pairs of columns are interleaved, then pairs of pairs.
    #[inline]
    #[target_feature(enable = "avx512f,avx2")]
    fn turn_four<const AT: usize>(columns: &[Lanes; LANES]) -> [__m512d; HALF] {
        let mut pairs = [_mm512_setzero_pd(); HALF];
        for (column, pair) in pairs.iter_mut().enumerate() {
            let low = _mm512_castpd256_pd512(half::<AT>(&columns[column]));
            *pair = _mm512_insertf64x4::<1>(low, half::<AT>(&columns[column + HALF]));
        }
        let [a, b, c, d] = pairs;
        let (even_ab, odd_ab) = (_mm512_unpacklo_pd(a, b), _mm512_unpackhi_pd(a, b));
        let (even_cd, odd_cd) = (_mm512_unpacklo_pd(c, d), _mm512_unpackhi_pd(c, d));
        // From 8 on the second operand's.
        let low = _mm512_set_epi64(13, 12, 5, 4, 9, 8, 1, 0);
        let high = _mm512_set_epi64(15, 14, 7, 6, 11, 10, 3, 2);
        [
            _mm512_permutex2var_pd(even_ab, low, even_cd),
            _mm512_permutex2var_pd(odd_ab, low, odd_cd),
            _mm512_permutex2var_pd(even_ab, high, even_cd),
            _mm512_permutex2var_pd(odd_ab, high, odd_cd),
        ]
    }

    #[target_feature(enable = "avx2")]
    fn add_256(columns: &[Lanes], ids: &Ids, sums: &mut [Lanes]) {
        for (columns, places) in blocks(columns, ids) {
            let (left, right) = columns.split_at(HALF);
            add_four::<0>([left, right], &places[..HALF], sums);
            add_four::<HALF>([left, right], &places[HALF..], sums);
        }
    }

    /// Adds four rows, each of two halves.
    #[inline]
    #[target_feature(enable = "avx2")]
    fn add_four<const AT: usize>(
        [left, right]: [&[Lanes]; 2],
        places: &[usize],
        sums: &mut [Lanes],
    ) {
        let rows = turn_block::<AT>(left)
            .into_iter()
            .zip(turn_block::<AT>(right));
        for (&place, (low, high)) in places.iter().zip(rows) {
            let sum = &mut sums[place];
            store_half::<0>(sum, _mm256_add_pd(half::<0>(sum), low));
            store_half::<HALF>(sum, _mm256_add_pd(half::<HALF>(sum), high));
        }
    }

    /// Four rows of four columns.
    #[inline]
    #[target_feature(enable = "avx2")]
    fn turn_block<const AT: usize>(columns: &[Lanes]) -> [__m256d; HALF] {
        let mut block = [_mm256_setzero_pd(); HALF];
        for (into, column) in block.iter_mut().zip(columns) {
            *into = half::<AT>(column);
        }
        let [a, b, c, d] = block;
        let (even_ab, odd_ab) = (_mm256_unpacklo_pd(a, b), _mm256_unpackhi_pd(a, b));
        let (even_cd, odd_cd) = (_mm256_unpacklo_pd(c, d), _mm256_unpackhi_pd(c, d));
        [
            _mm256_permute2f128_pd::<0x20>(even_ab, even_cd),
            _mm256_permute2f128_pd::<0x20>(odd_ab, odd_cd),
            _mm256_permute2f128_pd::<0x31>(even_ab, even_cd),
            _mm256_permute2f128_pd::<0x31>(odd_ab, odd_cd),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::{Distances, GROUP, Ids, LANES, Lanes, Loops, PORTABLE};

    /// Numbers of which some are equal and some are none.
    fn number(at: usize) -> f64 {
        match at % 13 {
            5 => f64::NAN,
            7 => 0.25,
            _ => (at as f64 * 0.7).sin(),
        }
    }

    fn others() -> Vec<Loops> {
        let mut others = vec![Loops::fastest()];
        #[cfg(target_arch = "x86_64")]
        if std::arch::is_x86_feature_detected!("avx2") && std::arch::is_x86_feature_detected!("fma")
        {
            others.push(super::x86::LOOPS_256);
        }
        others
    }

    /// The nearest of two groups of points to the rows of three panels.
    fn nearest(loops: &Loops, n_columns: usize) -> (Vec<Distances>, Vec<Lanes>, Vec<Ids>) {
        let width = n_columns.next_multiple_of(LANES);
        let panels: Vec<Lanes> = (0..3 * width)
            .map(|at| Lanes(std::array::from_fn(|lane| number(at * LANES + lane))))
            .collect();
        let mut found = vec![[Lanes::ZERO; GROUP]; 3];
        let (mut best, mut ids) = (vec![Lanes::ZERO; 3], vec![[9; LANES]; 3]);
        for first in [0, GROUP] {
            let points: Vec<[f64; GROUP]> = (0..n_columns)
                .map(|j| std::array::from_fn(|i| (1000 * first + j * GROUP + i % 3) as f64 * 0.3))
                .collect();
            (loops.compare)(&panels, &points, &mut found);
            (loops.choose)(&found, first as u64, &mut best, &mut ids);
        }
        (found, best, ids)
    }

    #[test]
    fn every_set_of_instructions_gives_the_same_bits() {
        let bits = |lanes: &[Lanes]| {
            lanes
                .iter()
                .map(|x| x.0.map(f64::to_bits))
                .collect::<Vec<_>>()
        };
        for n_columns in [0, 1, 3, 16] {
            let expected = nearest(&PORTABLE, n_columns);
            for loops in others() {
                let found = nearest(&loops, n_columns);
                assert_eq!(found.2, expected.2);
                assert_eq!(bits(&found.1), bits(&expected.1));
                let all = |found: &[Distances]| {
                    let lanes = found.as_flattened().iter();
                    lanes.flat_map(|lanes| lanes.0).collect::<Vec<f64>>()
                };
                // Those that are no number may have other bits.
                for (found, expected) in all(&found.0).into_iter().zip(all(&expected.0)) {
                    assert!(found == expected || (found.is_nan() && expected.is_nan()));
                }
            }
        }
    }

    #[test]
    fn rows_go_to_the_sums_of_their_numbers() {
        let ids = [2, 0, 2, 1, 3, 3, 0, 2];
        for n_blocks in 0..4 {
            let columns: Vec<Lanes> = (0..n_blocks * LANES)
                .map(|j| Lanes(std::array::from_fn(|lane| (j * LANES + lane) as f64)))
                .collect();
            for loops in [PORTABLE].into_iter().chain(others()) {
                let mut sums = vec![Lanes([0.5; LANES]); 4 * n_blocks];
                (loops.add)(&columns, &ids, &mut sums);
                for (at, sum) in sums.iter().enumerate() {
                    let (id, block) = (at / n_blocks, at % n_blocks);
                    let mut expected = [0.5; LANES];
                    for lane in (0..LANES).filter(|&lane| ids[lane] == id as u64) {
                        for (sum, column) in expected.iter_mut().zip(&columns[block * LANES..]) {
                            *sum += column.0[lane];
                        }
                    }
                    assert_eq!(sum.0, expected);
                }
            }
        }
    }
}
