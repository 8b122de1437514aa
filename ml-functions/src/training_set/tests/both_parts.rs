//! A pass over the states of both parts.

use super::*;

/// What a piece keeps: the number of its rows.
#[derive(Serialize, Deserialize)]
struct Rows(u64);

impl ChunkState for Rows {
    fn sections(&mut self) -> Vec<Vec<Values<'_>>> {
        Vec::new()
    }
}

#[derive(Serialize, Deserialize)]
struct CountRows;

impl StartStep for CountRows {
    type State = Rows;
    const NAME: &'static str = "tests.count";

    fn start(&self, _: PieceId, block: &FeatureBlock) -> Result<Rows> {
        Ok(Rows(block.n_samples as u64))
    }
}

/// Adds up the rows, each as often as it says, and keeps that.
#[derive(Clone, Serialize, Deserialize)]
struct Multiply(u64);

impl StateStep for Multiply {
    type State = Rows;
    type Partial = u64;
    const NAME: &'static str = "tests.multiply";

    fn partial(&self) -> u64 {
        0
    }

    fn run(&self, _: PieceId, state: &mut Rows, into: &mut u64) -> Result<()> {
        state.0 *= self.0;
        *into += state.0;
        Ok(())
    }

    fn merge(&self, into: &mut u64, other: u64) -> Result<()> {
        *into += other;
        Ok(())
    }
}

#[tokio::test]
async fn one_pass_visits_the_states_of_both_parts() {
    let source = source(columns(30_000, 3), 2, 7_000);
    let (set, run) = open(request(&CLASSIFIER, source, json!({}))).await.unwrap();
    let [n_training, n_evaluation] =
        [Part::Training, Part::Evaluation].map(|part| set.n_samples(part));
    assert!(n_training > 0 && n_evaluation > 0);
    for part in [Part::Training, Part::Evaluation] {
        set.start_states(&CountRows, part, &run).await.unwrap();
    }
    for n in 1..3 {
        let before = run.usage.cost().kept_passes;
        let (training, evaluation) = (Multiply(2), Multiply(5));
        let both = reduce_states_of_both(&set, &training, &evaluation, &run);
        let expected = (n_training * 2u64.pow(n), n_evaluation * 5u64.pow(n));
        assert_eq!(both.await.unwrap(), expected);
        assert_eq!(run.usage.cost().kept_passes, before + 1);
    }
}

#[tokio::test]
async fn a_part_without_states_brings_the_partial_of_none() {
    let source = source(columns(3_000, 3), 2, 7_000);
    let (set, run) = open(request(&CLASSIFIER, source, json!({}))).await.unwrap();
    let start = set.start_states(&CountRows, Part::Training, &run);
    start.await.unwrap();
    let (training, evaluation) = (Multiply(3), Multiply(5));
    let both = reduce_states_of_both(&set, &training, &evaluation, &run);
    let n_training = set.n_samples(Part::Training);
    assert_eq!(both.await.unwrap(), (n_training * 3, 0));
}
