//! Bundles sparse columns: columns of which at most one differs from its usual bin in any row share a byte
//! (exclusive feature bundling, Ke et al. 2017, here without any conflict, so that no tree changes).
//!
//! In: chunks of a byte a column; out: chunks of fewer bytes, and how a bundle's codes stand for the bins
//! of its columns. Splits, histograms and models know columns only.

use auspex_gpu::Version;

use super::binning::FeatureBins;
use super::chunk::{TreeChunk, section};
use super::driver::Pass;
use super::histogram::ColumnRuns;
use super::split::BinSet;
use crate::error::Result;
use crate::training_set::{Access, PieceId, SectionSet, StateStep};

/// A column may be bundled if this share of the sampled values is in one bin.
const LEAST_USUAL_SHARE: f64 = 0.8;

/// Fewer columns are not worth two passes.
const LEAST_CANDIDATES: usize = 4;

/// Most columns that are looked at: each pair costs a bit.
const MOST_CANDIDATES: usize = 8192;

/// Words that a row may mark in the mean, which bounds the search for conflicts.
const MOST_MARKS: f64 = 4096.0;

/// Codes of a bundle, 0 being that every column is in its usual bin.
const CODES: usize = 256;

/// A column that may be bundled.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize, serde::Deserialize)]
pub(crate) struct Candidate {
    column: u32,
    /// The bin that most rows have.
    usual: u8,
    /// Bins besides, that of missing values included.
    n_codes: usize,
}

/// A column in a bundle: its bins but the usual one have the codes from `first` on.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize, serde::Deserialize)]
struct Member {
    column: u32,
    usual: u8,
    first: u8,
    n_codes: usize,
}

/// Which columns share a byte.
#[derive(Debug, Clone, PartialEq, Default, serde::Serialize, serde::Deserialize)]
pub(crate) struct Bundles {
    /// The columns of each byte: one that stands for itself, or the members of a bundle.
    bytes: Vec<ByteOf>,
    /// The byte of each column, and its place among the members if it is bundled.
    of_column: Vec<(u32, Option<u32>)>,
}

#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
enum ByteOf {
    Column(u32),
    Bundle(Vec<Member>),
}

impl Member {
    /// The code of a bin that is not the usual one.
    fn code(&self, bin: u8) -> u8 {
        self.first + bin - u8::from(bin > self.usual)
    }

    /// The bin that a code of the bundle stands for.
    fn bin(&self, code: u8) -> u8 {
        match usize::from(code).checked_sub(usize::from(self.first)) {
            Some(at) if at < self.n_codes => at as u8 + u8::from(at as u8 >= self.usual),
            _ => self.usual,
        }
    }
}

impl Bundles {
    /// Greedily, the columns in use most often first: each goes to the first bundle that has room and
    /// none of its conflicts. `None` if hardly any byte would be saved.
    fn plan(n_columns: usize, candidates: &[Candidate], found: &Conflicts) -> Option<Bundles> {
        let mut order: Vec<usize> = (0..candidates.len()).collect();
        order.sort_by_key(|&at| (std::cmp::Reverse(found.n_used[at]), at));
        // Members, codes in use, and the candidates that conflict with any member.
        let mut bundles: Vec<(Vec<Member>, usize, Vec<u64>)> = Vec::new();
        for at in order {
            let Candidate {
                column,
                usual,
                n_codes,
            } = candidates[at];
            let fits = |(_, n_used, conflicts): &(Vec<Member>, usize, Vec<u64>)| {
                n_used + n_codes <= CODES && conflicts[at / 64] >> (at % 64) & 1 == 0
            };
            let place = bundles.iter().position(fits).unwrap_or_else(|| {
                bundles.push((Vec::new(), 1, vec![0; found.n_words()]));
                bundles.len() - 1
            });
            let (members, n_used, conflicts) = &mut bundles[place];
            members.push(Member {
                column,
                usual,
                first: *n_used as u8,
                n_codes,
            });
            *n_used += n_codes;
            for (into, word) in conflicts.iter_mut().zip(found.of(at)) {
                *into |= word;
            }
        }
        bundles.retain(|(members, ..)| members.len() > 1);
        let n_saved: usize = bundles.iter().map(|(members, ..)| members.len() - 1).sum();
        let members = bundles.into_iter().map(|(members, ..)| members).collect();
        (n_saved * 10 >= n_columns).then(|| Bundles::new(n_columns, members))
    }

    /// A bundle takes the place of its first column.
    fn new(n_columns: usize, bundles: Vec<Vec<Member>>) -> Bundles {
        let mut bundle_of = vec![None; n_columns];
        for (number, members) in bundles.iter().enumerate() {
            for (at, member) in members.iter().enumerate() {
                bundle_of[member.column as usize] = Some((number, at as u32));
            }
        }
        let mut placed: Vec<Option<u32>> = vec![None; bundles.len()];
        let mut made = Bundles::default();
        for (column, bundle) in bundle_of.into_iter().enumerate() {
            let next = made.bytes.len() as u32;
            match bundle {
                None => {
                    made.bytes.push(ByteOf::Column(column as u32));
                    made.of_column.push((next, None));
                }
                Some((number, at)) => {
                    let byte = *placed[number].get_or_insert(next);
                    if byte == next {
                        made.bytes.push(ByteOf::Bundle(bundles[number].clone()));
                    }
                    made.of_column.push((byte, Some(at)));
                }
            }
        }
        made
    }

    /// The bytes of some columns, as runs.
    pub(crate) fn runs(&self, columns: &[u32]) -> ColumnRuns {
        let byte = |&column: &u32| self.of_column[column as usize].0;
        let mut bytes: Vec<u32> = columns.iter().map(byte).collect();
        bytes.sort_unstable();
        bytes.dedup();
        ColumnRuns::new(&bytes)
    }

    /// The byte that a split of a column looks at, and the codes that go left.
    pub(crate) fn split(&self, column: u32, left_bins: BinSet) -> (u32, BinSet) {
        let (byte, at) = self.of_column[column as usize];
        let Some(member) = self.member(byte, at) else {
            return (byte, left_bins);
        };
        let mut codes = BinSet::default();
        (0..=u8::MAX)
            .filter(|&code| left_bins.contains(member.bin(code) as usize))
            .for_each(|code| codes.insert(code as usize));
        (byte, codes)
    }

    /// Where a column's sums are among those of the bytes: the byte, and if it is bundled the first code
    /// and the usual bin, whose sums are those of all other codes.
    pub(crate) fn place(&self, column: usize) -> (usize, Option<(usize, usize)>) {
        let (byte, at) = self.of_column[column];
        let member = self.member(byte, at);
        let codes = member.map(|member| (member.first as usize, member.usual as usize));
        (byte as usize, codes)
    }

    fn member(&self, byte: u32, at: Option<u32>) -> Option<&Member> {
        match (&self.bytes[byte as usize], at) {
            (ByteOf::Bundle(members), Some(at)) => members.get(at as usize),
            _ => None,
        }
    }

    /// The bytes of a row.
    fn encode(&self, bins: &[u8], into: &mut Vec<u8>) {
        for byte in &self.bytes {
            into.push(match byte {
                ByteOf::Column(column) => bins[*column as usize],
                ByteOf::Bundle(members) => {
                    let used = members
                        .iter()
                        .find(|member| bins[member.column as usize] != member.usual);
                    used.map_or(0, |member| member.code(bins[member.column as usize]))
                }
            });
        }
    }
}

/// Finds the columns that share a byte in every row of both parts, and lets them; `None` if too few do.
pub(crate) async fn bundle<P: Pass>(passes: &P, bins: &FeatureBins) -> Result<Option<Bundles>> {
    let candidates = candidates(bins);
    if candidates.len() < LEAST_CANDIDATES {
        return Ok(None);
    }
    let conflicts = ConflictStep { candidates };
    let (mut found, held_out) = passes.both_parts(&conflicts, &conflicts).await?;
    conflicts.merge(&mut found, held_out)?;
    let plan = Bundles::plan(bins.columns.len(), &conflicts.candidates, &found);
    if let Some(bundles) = &plan {
        let step = BundleStep {
            bundles: bundles.clone(),
        };
        passes.both_parts(&step, &step).await?;
    }
    Ok(plan)
}

/// The columns with a usual bin, as many of them as can be looked at.
fn candidates(bins: &FeatureBins) -> Vec<Candidate> {
    let usual = bins
        .columns
        .iter()
        .enumerate()
        .filter_map(|(column, &feature)| {
            let dense = bins.dense.get(feature as usize)?;
            let (usual, share) = dense.usual?;
            let candidate = Candidate {
                column: column as u32,
                usual,
                n_codes: dense.n_bins(),
            };
            (share >= LEAST_USUAL_SHARE && candidate.n_codes + 1 < CODES)
                .then_some((share, candidate))
        });
    let mut ranked: Vec<(f64, Candidate)> = usual.collect();
    ranked.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.column.cmp(&b.1.column)));
    ranked.truncate(MOST_CANDIDATES);
    let n_words = ranked.len().div_ceil(64) as f64;
    let mut n_marks = 0.0;
    let cheap = ranked.into_iter().take_while(|(share, _)| {
        n_marks += (1.0 - share) * n_words;
        n_marks <= MOST_MARKS
    });
    let mut chosen: Vec<Candidate> = cheap.map(|(_, candidate)| candidate).collect();
    chosen.sort_unstable_by_key(|candidate| candidate.column);
    chosen
}

/// Marks which candidates differ from their usual bins in a common row.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
pub(crate) struct ConflictStep {
    candidates: Vec<Candidate>,
}

/// What the pass yields.
#[derive(Debug, Clone, PartialEq, Default, serde::Serialize, serde::Deserialize)]
pub(crate) struct Conflicts {
    /// A row of bits for each candidate: those that are used together with it.
    bits: Vec<u64>,
    /// Rows in which each is used.
    n_used: Vec<u64>,
}

impl Conflicts {
    fn n_words(&self) -> usize {
        self.n_used.len().div_ceil(64)
    }

    fn of(&self, at: usize) -> &[u64] {
        &self.bits[at * self.n_words()..(at + 1) * self.n_words()]
    }
}

impl StateStep for ConflictStep {
    type State = TreeChunk;
    type Partial = Conflicts;
    const NAME: &'static str = "tree.conflicts";

    fn partial(&self) -> Conflicts {
        let n = self.candidates.len();
        Conflicts {
            bits: vec![0; n * n.div_ceil(64)],
            n_used: vec![0; n],
        }
    }

    fn access(&self) -> Access {
        Access {
            reads: SectionSet::of(&[section::BINS]),
            writes: SectionSet::NONE,
        }
    }

    fn run(&self, _piece: PieceId, state: &mut TreeChunk, into: &mut Conflicts) -> Result<()> {
        let n_words = into.n_words();
        let (mut used, mut marks) = (Vec::new(), vec![0u64; n_words]);
        for row in 0..state.n_rows {
            let bins = state.row(row);
            for (at, candidate) in self.candidates.iter().enumerate() {
                if bins[candidate.column as usize] != candidate.usual {
                    used.push(at);
                    marks[at / 64] |= 1 << (at % 64);
                }
            }
            for &at in &used {
                into.n_used[at] += 1;
                let bits = &mut into.bits[at * n_words..(at + 1) * n_words];
                for (into, word) in bits.iter_mut().zip(&marks) {
                    *into |= word;
                }
            }
            used.drain(..).for_each(|at| marks[at / 64] = 0);
        }
        Ok(())
    }

    fn merge(&self, into: &mut Conflicts, other: Conflicts) -> Result<()> {
        for (into, word) in into.bits.iter_mut().zip(other.bits) {
            *into |= word;
        }
        for (into, n_used) in into.n_used.iter_mut().zip(other.n_used) {
            *into += n_used;
        }
        Ok(())
    }
}

/// Writes the bins anew, a byte a bundle.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
pub(crate) struct BundleStep {
    bundles: Bundles,
}

impl StateStep for BundleStep {
    type State = TreeChunk;
    type Partial = ();
    const NAME: &'static str = "tree.bundle";

    fn partial(&self) {}

    fn access(&self) -> Access {
        Access {
            reads: SectionSet::NONE,
            writes: SectionSet::of(&[section::BINS]),
        }
    }

    fn run(&self, _piece: PieceId, state: &mut TreeChunk, (): &mut ()) -> Result<()> {
        let mut bins = Vec::with_capacity(state.n_rows * self.bundles.bytes.len());
        for row in 0..state.n_rows {
            self.bundles.encode(state.row(row), &mut bins);
        }
        state.bins = bins;
        state.versions.bins = Version::new();
        state.n_columns = self.bundles.bytes.len();
        Ok(())
    }

    fn merge(&self, (): &mut (), (): ()) -> Result<()> {
        Ok(())
    }
}
