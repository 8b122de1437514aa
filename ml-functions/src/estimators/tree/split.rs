//! The best split of a node.
//!
//! In: a node's histogram; out: the column, the bins that go left and the loss that it removes, by
//! XGBoost's formulas. Ties go to the lowest column and bin. Never sees rows.

mod scorer;

use super::binning::MAX_BINS;
use super::histogram::{Histogram, HistogramLayout, Sums};
use super::parameters::Regularization;
use scorer::{Prefixes, Scorer};

/// Splits of less gain are rounding errors (XGBoost's `kRtEps`).
const MIN_GAIN: f64 = 1e-6;

/// From this number of bins on, a categorical split is charged `category_l2`.
const MANY_CATEGORIES: usize = 5;

/// A set of bins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
pub(crate) struct BinSet {
    words: [u64; 4],
}

impl BinSet {
    /// The bins up to and with this one.
    pub(crate) fn up_to(bin: usize) -> BinSet {
        let word = |word: usize| match bin.checked_sub(64 * word) {
            None => 0,
            Some(bit) => u64::MAX >> 63usize.saturating_sub(bit),
        };
        BinSet {
            words: std::array::from_fn(word),
        }
    }

    /// Adds a bin.
    pub(crate) fn insert(&mut self, bin: usize) {
        self.words[bin / 64] |= 1 << (bin % 64);
    }

    /// A bit for each bin.
    pub(crate) fn words(&self) -> [u64; 4] {
        self.words
    }

    /// Whether it holds a bin.
    pub(crate) fn contains(&self, bin: usize) -> bool {
        self.words[bin / 64] >> (bin % 64) & 1 == 1
    }

    /// 1 for each bin that it holds, else 0.
    pub(crate) fn table(&self) -> [u8; 256] {
        std::array::from_fn(|bin| u8::from(self.contains(bin)))
    }
}

/// A split of a node.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct NodeSplit {
    /// The column.
    pub(crate) column: usize,
    /// The last bin that goes left, of a dense column.
    pub(crate) bin: usize,
    /// All bins that go left, the missing one included if it does.
    pub(crate) left_bins: BinSet,
    /// Whether missing values go left.
    pub(crate) missing_left: bool,
    /// Loss reduction.
    pub(crate) gain: f64,
    /// Sums of the rows that go left.
    pub(crate) left: Sums,
}

/// What a column is to the search.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ColumnKind {
    /// Whether its bins have no order.
    pub(crate) is_categorical: bool,
    /// The sign that monotony asks for.
    pub(crate) monotone: i8,
}

/// Bounds of a leaf's value, from the monotone splits above it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct ValueBounds {
    /// The least value.
    pub(crate) low: f64,
    /// The greatest value.
    pub(crate) high: f64,
}

impl ValueBounds {
    /// No bounds.
    pub(crate) const NONE: ValueBounds = ValueBounds {
        low: f64::NEG_INFINITY,
        high: f64::INFINITY,
    };
}

/// A node whose split is sought.
pub(crate) struct NodeToSplit {
    /// Its sums.
    pub(crate) total: Sums,
    /// Bounds of its children's values.
    pub(crate) bounds: ValueBounds,
    /// Number of its rows.
    pub(crate) n_rows: u64,
}

/// The formulas of gain and value for quantised sums.
#[derive(Debug, Clone, Copy)]
pub(crate) struct SplitFinder<'a> {
    /// What splits must satisfy.
    pub(crate) regularization: &'a Regularization,
    /// Where columns are in a histogram.
    pub(crate) layout: &'a HistogramLayout,
    /// What each column is.
    pub(crate) kinds: &'a [ColumnKind],
    /// What one unit of a gradient and of a hessian stands for.
    pub(crate) units: [f64; 2],
}

/// The best split of the columns so far.
pub(crate) struct Best {
    /// The split.
    pub(crate) split: Option<NodeSplit>,
    gain: f64,
    /// Room for the gains of a column.
    prefixes: Box<Prefixes>,
}

/// The bins of a column that rows are in, with the sums left of the threshold after each.
pub(crate) struct TouchedBins {
    /// The bins, ascending.
    pub(crate) bins: [u8; MAX_BINS + 1],
    /// The sums.
    pub(crate) left: [Sums; MAX_BINS + 1],
    /// How many there are.
    pub(crate) n_bins: usize,
}

impl Default for TouchedBins {
    fn default() -> TouchedBins {
        TouchedBins {
            bins: [0; MAX_BINS + 1],
            left: [[0; 2]; MAX_BINS + 1],
            n_bins: 0,
        }
    }
}

impl SplitFinder<'_> {
    /// The best split over some columns (ascending), if any gains enough.
    pub(crate) fn best_split(
        &self,
        node: &NodeToSplit,
        histogram: &Histogram,
        columns: &[u32],
    ) -> Option<NodeSplit> {
        let mut best = self.none_yet(node);
        for &column in columns {
            let column = column as usize;
            self.scan(
                node,
                column,
                histogram.column(self.layout, column),
                &mut best,
            );
        }
        best.split
    }

    /// No split, and the gain that the first must exceed.
    pub(crate) fn none_yet(&self, node: &NodeToSplit) -> Best {
        Best {
            split: None,
            gain: self
                .noise(node)
                .max(MIN_GAIN)
                .max(self.regularization.min_split_loss),
            prefixes: Box::default(),
        }
    }

    /// Looks for a better split in the sums of a column's bins and, last, of its missing values.
    pub(crate) fn scan(&self, node: &NodeToSplit, column: usize, cells: &[Sums], best: &mut Best) {
        if self.kinds[column].is_categorical {
            self.scan_categories(node, column, cells, best);
        } else {
            self.scan_numbers(node, column, cells, best);
        }
    }

    /// Whether [`SplitFinder::scan_touched`] can stand in for the column's [`SplitFinder::scan`] where
    /// no row of the node misses its number.
    pub(crate) fn is_plain_column(&self, node: &NodeToSplit, column: usize) -> bool {
        let kind = self.kinds[column];
        !kind.is_categorical && self.is_plain(kind, node.bounds)
    }

    /// The same as a scan of all bins, whose thresholds at bins without rows are those before them.
    pub(crate) fn scan_touched(
        &self,
        node: &NodeToSplit,
        column: usize,
        touched: &TouchedBins,
        best: &mut Best,
    ) {
        let scorer = Scorer::new(self, node, self.kinds[column], 0.0);
        let prefixes = &mut best.prefixes;
        for (at, &left) in touched.left[..touched.n_bins].iter().enumerate() {
            [prefixes.gradients[at], prefixes.hessians[at]] = scorer.real(left);
        }
        if let Some(at) = scorer.best_of(touched.n_bins, best) {
            let left = touched.left[at];
            let missing_left = 2 * left[1] >= node.total[1];
            let threshold = (column, touched.bins[at] as usize);
            best.set_threshold(
                threshold,
                left,
                missing_left,
                best.gain,
                self.layout.n_bins(column),
            );
        }
    }

    /// The gain that rounding alone may bring about: a row's rounding error has a variance of at most
    /// a quarter of a squared unit, so that the sum's square over the hessians is at most that times
    /// n / H in the mean, and forty times that is beyond the best of thousands of splits.
    fn noise(&self, node: &NodeToSplit) -> f64 {
        let hessian = node.total[1] as f64 * self.units[1];
        10.0 * self.units[0] * self.units[0] * node.n_rows as f64 / hessian.max(f64::MIN_POSITIVE)
    }

    /// The value of a leaf: -T(G) / (H + λ), within its bounds.
    pub(crate) fn value(&self, gradient: f64, hessian: f64, bounds: ValueBounds) -> f64 {
        leaf_value(self.regularization, gradient, hessian, bounds)
    }

    /// Whether gains need no values: T(G)² / (H + λ) is then the loss that the best value removes.
    fn is_plain(&self, kind: ColumnKind, bounds: ValueBounds) -> bool {
        kind.monotone == 0
            && bounds == ValueBounds::NONE
            && self.regularization.max_delta_step == 0.0
    }

    /// Thresholds in order; with missing values also both of their ways.
    fn scan_numbers(&self, node: &NodeToSplit, column: usize, cells: &[Sums], best: &mut Best) {
        let [bins @ .., missing] = cells else {
            return;
        };
        let kind = self.kinds[column];
        let scorer = Scorer::new(self, node, kind, 0.0);
        if scorer.is_plain && *missing == [0; 2] && bins.len() <= MAX_BINS {
            scorer.scan_plain(column, bins, best);
            return;
        }
        let mut left = [0i64; 2];
        let n_thresholds = if *missing == [0; 2] {
            bins.len().saturating_sub(1)
        } else {
            bins.len()
        };
        for (bin, cell) in bins[..n_thresholds].iter().enumerate() {
            left = plus(left, *cell);
            // Without a row of this node in the bin, the split is the one before.
            if *cell == [0; 2] && bin > 0 {
                continue;
            }
            if *missing == [0; 2] {
                if let Some(gain) = scorer.gain_above(left, best.gain) {
                    let missing_left = 2 * left[1] >= node.total[1];
                    best.set_threshold((column, bin), left, missing_left, gain, bins.len());
                }
                continue;
            }
            for missing_left in [false, true] {
                let with = if missing_left {
                    plus(left, *missing)
                } else {
                    left
                };
                if let Some(gain) = scorer.gain_above(with, best.gain) {
                    best.set_threshold((column, bin), with, missing_left, gain, bins.len());
                }
            }
        }
    }

    /// Categories in order of G / H: one of the cuts of this order is the best of all partitions
    /// (Fisher 1958). Those of no row here go where the greater part goes.
    fn scan_categories(&self, node: &NodeToSplit, column: usize, cells: &[Sums], best: &mut Best) {
        let smoothing = self.regularization.category_smoothing;
        let mut order: Vec<(f64, usize)> = cells
            .iter()
            .enumerate()
            .filter(|(_, cell)| **cell != [0; 2])
            .map(|(bin, cell)| {
                let hessian = cell[1] as f64 * self.units[1] + smoothing;
                (
                    cell[0] as f64 * self.units[0] / hessian.max(f64::MIN_POSITIVE),
                    bin,
                )
            })
            .collect();
        order.sort_unstable_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
        let many = order.len() >= MANY_CATEGORIES;
        let l2 = if many {
            self.regularization.category_l2
        } else {
            0.0
        };
        let scorer = Scorer::new(self, node, self.kinds[column], l2);
        let mut left = [0i64; 2];
        let mut found = None;
        for (position, &(_, bin)) in order.iter().enumerate().take(order.len().saturating_sub(1)) {
            left = plus(left, cells[bin]);
            if let Some(gain) = scorer.gain_above(left, best.gain) {
                best.gain = gain;
                found = Some((position, left));
            }
        }
        let Some((position, left)) = found else {
            return;
        };
        let missing_left = 2 * left[1] >= node.total[1];
        let mut left_bins = BinSet::default();
        order[..=position]
            .iter()
            .for_each(|&(_, bin)| left_bins.insert(bin));
        if missing_left {
            (0..cells.len())
                .filter(|&bin| cells[bin] == [0; 2])
                .for_each(|bin| left_bins.insert(bin));
        }
        best.split = Some(NodeSplit {
            column,
            bin: 0,
            left_bins,
            missing_left,
            gain: best.gain,
            left,
        });
    }
}

impl Best {
    fn set_threshold(
        &mut self,
        (column, bin): (usize, usize),
        left: Sums,
        missing_left: bool,
        gain: f64,
        n_bins: usize,
    ) {
        let mut left_bins = BinSet::up_to(bin);
        if missing_left {
            left_bins.insert(n_bins);
        }
        self.gain = gain;
        self.split = Some(NodeSplit {
            column,
            bin,
            left_bins,
            missing_left,
            gain,
            left,
        });
    }
}

/// The value of a leaf before the learn rate: -T(G) / (H + λ), at most `max_delta_step`, within bounds.
pub(crate) fn leaf_value(
    regularization: &Regularization,
    gradient: f64,
    hessian: f64,
    bounds: ValueBounds,
) -> f64 {
    let denominator = hessian + regularization.l2_reg;
    if hessian <= 0.0 || denominator <= 0.0 {
        return 0.0f64.max(bounds.low).min(bounds.high);
    }
    let shrunk = (gradient.abs() - regularization.l1_reg)
        .max(0.0)
        .copysign(gradient);
    let mut value = -shrunk / denominator;
    let step = regularization.max_delta_step;
    if step > 0.0 {
        value = value.clamp(-step, step);
    }
    // Not clamp: it panics where bounds cross.
    value.max(bounds.low).min(bounds.high)
}

fn plus(a: Sums, b: Sums) -> Sums {
    [a[0] + b[0], a[1] + b[1]]
}
