//! Bins: how the values of each feature become bytes.
//!
//! In: a sample of values per dense feature and target sums per category ([`super::survey`]); out:
//! [`FeatureBins`], which turns a value into a bin and a split over bins into a threshold or a set of
//! categories. Never looks at samples itself.

/// Most bins of a feature beside that of missing values, so that a bin is one byte.
pub(crate) const MAX_BINS: usize = 255;

/// The bins of one dense feature.
#[derive(Debug, Clone, PartialEq, Default, serde::Serialize, serde::Deserialize)]
pub(crate) struct DenseBins {
    /// Ascending; value ≤ `cuts[i]` goes to bin ≤ i and a value above all to bin `cuts.len()`.
    pub(crate) cuts: Vec<f64>,
    /// Whether any number was seen; without, there is no bin but the missing one.
    pub(crate) has_numbers: bool,
    /// Whether a missing value was seen.
    pub(crate) has_missing: bool,
    /// The bin of most sampled numbers, and its share of them.
    pub(crate) usual: Option<(u8, f64)>,
}

/// The bins of one categorical feature.
#[derive(Debug, Clone, PartialEq, Default, serde::Serialize, serde::Deserialize)]
pub(crate) struct CategoryBins {
    /// The bin of each category and, last, of NULL.
    pub(crate) bins: Vec<u8>,
    /// Number of bins.
    pub(crate) n_bins: usize,
}

/// The bins of all features.
///
/// The bin after a feature's last one is that of missing numbers and of categories never seen.
#[derive(Debug, Clone, PartialEq, Default, serde::Serialize, serde::Deserialize)]
pub(crate) struct FeatureBins {
    /// Of the dense features.
    pub(crate) dense: Vec<DenseBins>,
    /// Of the categorical features.
    pub(crate) categorical: Vec<CategoryBins>,
    /// The features that can be split, ascending: only they are kept as bins ("columns").
    pub(crate) columns: Vec<u32>,
}

impl DenseBins {
    /// The bins of a feature from sampled values and their weights; no weights are weights of 1.
    ///
    /// At most `max_bins` distinct values get a bin each, with cuts midway; else bins hold about the
    /// same weight, and a value of more than a bin's weight gets a bin of its own.
    pub(crate) fn fit(
        values: &[f64],
        weights: &[f64],
        has_missing: bool,
        max_bins: usize,
    ) -> DenseBins {
        let distinct = if weights.is_empty() {
            count_by_value(values)
        } else {
            sum_by_value(values, weights)
        };
        let cuts: Vec<f64> = if distinct.len() <= max_bins {
            distinct
                .windows(2)
                .map(|pair| midpoint(pair[0].0, pair[1].0))
                .collect()
        } else {
            weighted_quantiles(&distinct, max_bins)
        };
        DenseBins {
            usual: usual_bin(&distinct, &cuts),
            cuts,
            has_numbers: !distinct.is_empty(),
            has_missing,
        }
    }

    /// Number of bins without the missing one.
    pub(crate) fn n_bins(&self) -> usize {
        if self.has_numbers {
            self.cuts.len() + 1
        } else {
            0
        }
    }

    /// Values of this bin and those below are at most the threshold; that of the last bin is infinite.
    pub(crate) fn threshold(&self, bin: usize) -> f64 {
        self.cuts.get(bin).copied().unwrap_or(f64::INFINITY)
    }
}

impl CategoryBins {
    /// One bin per category if they fit, else categories of like target statistic share a bin.
    ///
    /// `sums` holds weight and weighted target of each category and, last, of NULL. The statistic is
    /// the mean shrunk to that of all by [`PRIOR_WEIGHT`], so that rare categories stay in the middle.
    pub(crate) fn fit(sums: &[(f64, f64)], max_bins: usize) -> CategoryBins {
        if sums.len() <= max_bins {
            return CategoryBins {
                bins: (0..sums.len()).map(|code| code as u8).collect(),
                n_bins: sums.len(),
            };
        }
        let (weight, target) = sums.iter().fold((0.0, 0.0), |(w, t), &(weight, target)| {
            (w + weight, t + target)
        });
        let prior = if weight > 0.0 { target / weight } else { 0.0 };
        let statistic = |&(weight, target): &(f64, f64)| {
            (target + prior * PRIOR_WEIGHT) / (weight + PRIOR_WEIGHT)
        };
        let mut order: Vec<usize> = (0..sums.len()).collect();
        order.sort_by(|&a, &b| {
            statistic(&sums[a])
                .total_cmp(&statistic(&sums[b]))
                .then(a.cmp(&b))
        });
        // Equal shares of weight plus one per category, so that bins exist without weight as well.
        let share = (weight + sums.len() as f64) / max_bins as f64;
        let mut bins = vec![0; sums.len()];
        let (mut bin, mut filled) = (0, 0.0);
        for code in order {
            if filled >= share * (bin + 1) as f64 && bin + 1 < max_bins {
                bin += 1;
            }
            bins[code] = bin as u8;
            filled += sums[code].0 + 1.0;
        }
        CategoryBins {
            bins,
            n_bins: bin + 1,
        }
    }
}

/// Samples' worth of the overall mean that every category's statistic starts with.
const PRIOR_WEIGHT: f64 = 20.0;

impl FeatureBins {
    /// Gathers the features and finds those that can be split.
    pub(crate) fn new(dense: Vec<DenseBins>, categorical: Vec<CategoryBins>) -> FeatureBins {
        let mut bins = FeatureBins {
            dense,
            categorical,
            columns: Vec::new(),
        };
        let n_features = bins.dense.len() + bins.categorical.len();
        bins.columns = (0..n_features)
            .filter(|&feature| match bins.dense.get(feature) {
                Some(dense) => dense.n_bins() + usize::from(dense.has_missing) >= 2,
                None => bins.n_bins(feature) >= 2,
            })
            .map(|feature| feature as u32)
            .collect();
        bins
    }

    /// Number of bins of a feature without the missing one.
    pub(crate) fn n_bins(&self, feature: usize) -> usize {
        match self.dense.get(feature) {
            Some(dense) => dense.n_bins(),
            None => self.categorical[feature - self.dense.len()].n_bins,
        }
    }

    /// Whether a feature has categories.
    pub(crate) fn is_categorical(&self, feature: usize) -> bool {
        feature >= self.dense.len()
    }
}

/// The distinct numbers with how often they occur.
fn count_by_value(values: &[f64]) -> Vec<(f64, f64)> {
    // -0 and 0 are one value to a comparison with a cut.
    let mut values: Vec<f64> = values
        .iter()
        .filter(|value| !value.is_nan())
        .map(|value| value + 0.0)
        .collect();
    values.sort_unstable_by(f64::total_cmp);
    values
        .chunk_by(|a, b| a == b)
        .map(|equal| (equal[0], equal.len() as f64))
        .collect()
}

/// The distinct numbers with their sums of weights.
fn sum_by_value(values: &[f64], weights: &[f64]) -> Vec<(f64, f64)> {
    let mut values: Vec<(f64, f64)> = values
        .iter()
        .zip(weights)
        .filter(|(value, _)| !value.is_nan())
        .map(|(value, &weight)| (value + 0.0, weight))
        .collect();
    values.sort_unstable_by(|a, b| a.0.total_cmp(&b.0).then(a.1.total_cmp(&b.1)));
    values
        .chunk_by(|a, b| a.0 == b.0)
        .map(|equal| (equal[0].0, equal.iter().map(|&(_, weight)| weight).sum()))
        .collect()
}

/// The first of the bins with the greatest weight, and its share of the whole.
fn usual_bin(distinct: &[(f64, f64)], cuts: &[f64]) -> Option<(u8, f64)> {
    let mut of_bin = vec![0.0; cuts.len() + 1];
    let mut bin = 0;
    for &(value, weight) in distinct {
        while cuts.get(bin).is_some_and(|&cut| value > cut) {
            bin += 1;
        }
        of_bin[bin] += weight;
    }
    let total: f64 = of_bin.iter().sum();
    let heavier = |best: (usize, f64), (bin, &weight): (usize, &f64)| {
        if weight > best.1 { (bin, weight) } else { best }
    };
    let (bin, weight) = of_bin.iter().enumerate().fold((0, 0.0), heavier);
    (total > 0.0).then_some((bin as u8, weight / total))
}

/// Between two neighbouring values: at least the lower one and below the upper one, also where the
/// mean overflows or rounds up.
fn midpoint(lower: f64, upper: f64) -> f64 {
    let middle = lower / 2.0 + upper / 2.0;
    if middle > lower && middle < upper {
        middle
    } else {
        lower
    }
}

/// Cuts so that bins hold about the same weight.
fn weighted_quantiles(distinct: &[(f64, f64)], max_bins: usize) -> Vec<f64> {
    let total: f64 = distinct.iter().map(|&(_, weight)| weight).sum();
    let is_heavy = |weight: f64| weight * max_bins as f64 >= total;
    let (n_heavy, heavy) = distinct
        .iter()
        .filter(|&&(_, weight)| is_heavy(weight))
        .fold((0, 0.0), |(n, sum), &(_, weight)| (n + 1, sum + weight));
    let mut rest = (total - heavy).max(0.0);
    let mut bins_left = max_bins.saturating_sub(n_heavy).max(1);
    let mut share = rest / bins_left as f64;
    let mut cuts = Vec::with_capacity(max_bins);
    let mut filled = 0.0;
    for pair in distinct.windows(2) {
        let (value, weight) = pair[0];
        if !is_heavy(weight) {
            filled += weight;
            rest -= weight;
        }
        // Half of the next value may be too much: cut where the share is met best.
        let next = if is_heavy(pair[1].1) {
            share
        } else {
            pair[1].1
        };
        if is_heavy(weight) || (is_heavy(pair[1].1) && filled > 0.0) || filled + next / 2.0 >= share
        {
            cuts.push(midpoint(value, pair[1].0));
            if !is_heavy(weight) {
                bins_left = bins_left.saturating_sub(1).max(1);
                share = rest.max(0.0) / bins_left as f64;
            }
            filled = 0.0;
        }
        if cuts.len() + 1 == max_bins {
            break;
        }
    }
    cuts
}
