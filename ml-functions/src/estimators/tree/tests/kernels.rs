//! Histograms, rounding and elementary functions.

use proptest::prelude::*;

use super::*;
use crate::estimators::tree::chunk::{MAX_ROWS, Pairs};
use crate::estimators::tree::histogram::{ColumnRuns, HistogramLayout, NodeRows, SumsOfThreads};
use crate::estimators::tree::math::{exp, power_of_two_scale, round_to_i64};
use crate::estimators::tree::random;

#[test]
fn exp_is_exact_to_an_ulp_or_two() {
    for i in -7000..7000 {
        let x = f64::from(i) / 10.01;
        assert!((exp(x) / x.exp() - 1.0).abs() < 4e-16, "{x}");
    }
    assert_eq!(exp(0.0), 1.0);
    assert!(exp(-1e9) > 0.0 && exp(1e9).is_finite());
    assert_eq!(round_to_i64(-2.6), -3);
    assert_eq!(power_of_two_scale(1.0, 32_767.0), 16_384.0);
    assert_eq!(power_of_two_scale(0.25, 65_536.0), 262_144.0);
}

#[test]
fn samples_have_their_size_and_order() {
    let items: Vec<u32> = (0..100).collect();
    let chosen = random::sample(&items, 0.3, 5);
    assert_eq!(chosen.len(), 30);
    assert!(chosen.windows(2).all(|pair| pair[0] < pair[1]));
    assert_eq!(random::sample(&items, 0.0, 5).len(), 1);
    assert_ne!(chosen, random::sample(&items, 0.3, 6));
}

proptest! {
    #[test]
    fn histograms_are_exact(
        n_columns in 1usize..30,
        n_rows in 1usize..600,
        seed in 0u64..100,
        wide in any::<bool>(),
    ) {
        let bins: Vec<u8> =
            (0..n_rows * n_columns).map(|i| (hash_word(seed ^ i as u64) % 256) as u8).collect();
        let pairs: Vec<(i16, u16)> = (0..n_rows)
            .map(|i| { let x = hash_word(!seed ^ i as u64); (x as i16, (x >> 16) as u16) })
            .collect();
        let packed = if wide {
            Pairs::Wide(pairs.iter().map(|&(g, h)|
                (i64::from(g) << 32) as u64 | u64::from(h)).collect())
        } else {
            Pairs::Narrow(pairs.iter().map(|&(g, h)| (g as u16 as u32) << 16 | u32::from(h)).collect())
        };
        let columns: Vec<u32> =
            (0..n_columns as u32).filter(|&c| !hash_word(seed + u64::from(c)).is_multiple_of(4)).collect();
        let rows: Vec<u16> = (0..n_rows as u16).filter(|r| r % 3 != 1).collect();
        let node = NodeRows { rows: &rows, bins: &bins, n_columns };
        let mut sums = SumsOfThreads::default();
        // Twice through two partials: merged as if by threads.
        let mut other = SumsOfThreads::default();
        sums.own().add(node, &ColumnRuns::new(&columns), packed.of(0, n_rows).unwrap());
        other.own().add(node, &ColumnRuns::new(&columns), packed.of(0, n_rows).unwrap());
        sums.merge(other);
        if seed % 2 == 1 {
            sums = postcard::from_bytes(&postcard::to_allocvec(&sums).unwrap()).unwrap();
        }
        let layout = HistogramLayout::new((0..n_columns).map(|_| 255));
        let histogram = sums.histogram(&layout, None);
        for &column in &columns {
            let mut expected = vec![[0i64; 2]; 256];
            for &row in &rows {
                let bin = bins[row as usize * n_columns + column as usize] as usize;
                expected[bin][0] += 2 * i64::from(pairs[row as usize].0);
                expected[bin][1] += 2 * i64::from(pairs[row as usize].1);
            }
            prop_assert_eq!(histogram.column(&layout, column as usize), &expected[..]);
        }
    }
}

#[test]
fn narrow_sums_do_not_overflow() {
    let rows: Vec<u16> = (0..=u16::MAX).collect();
    let bins = vec![0u8; MAX_ROWS];
    for pair in [(i16::MIN, u16::MAX), (i16::MAX, u16::MAX)] {
        let pairs = Pairs::Narrow(vec![
            (pair.0 as u16 as u32) << 16 | u32::from(pair.1);
            MAX_ROWS
        ]);
        let node = NodeRows {
            rows: &rows,
            bins: &bins,
            n_columns: 1,
        };
        let mut sums = SumsOfThreads::default();
        for _ in 0..3 {
            sums.own()
                .add(node, &ColumnRuns::new(&[0]), pairs.of(0, MAX_ROWS).unwrap());
        }
        let layout = HistogramLayout::new(std::iter::once(1));
        let n = 3 * MAX_ROWS as i64;
        let expected = [n * i64::from(pair.0), n * i64::from(pair.1)];
        assert_eq!(
            sums.histogram(&layout, None).column(&layout, 0),
            [expected, [0; 2]]
        );
    }
}
