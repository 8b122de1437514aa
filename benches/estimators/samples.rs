//! Samples in memory: numbers of f32, a category, and the label of a task.

use std::sync::Arc;

use auspex_ml::estimator::Task;
use auspex_ml::training::SampleSource;
use datafusion::arrow::array::{ArrayRef, Float32Array, Float64Array, RecordBatch, StringArray};
use datafusion::arrow::datatypes::{Field, Schema, SchemaRef};
use datafusion::execution::SendableRecordBatchStream;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;

/// Numbers of a sample.
const N_NUMBERS: u64 = 16;
/// Partitions of the samples.
const N_PARTITIONS: usize = 4;

/// See the module.
pub(crate) struct Samples {
    whole: RecordBatch,
}

/// Numbers of the unit interval, the same in every run.
fn unit(row: usize, stream: u64) -> f64 {
    let mut z =
        (row as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ stream.wrapping_mul(0xbf58_476d);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    ((z ^ (z >> 31)) >> 11) as f64 / (1_u64 << 53) as f64
}

impl Samples {
    pub(crate) fn new(task: Task, n_rows: usize) -> Samples {
        let group = |row: usize| (unit(row, 99) * 3.0).floor();
        let mut columns: Vec<(String, ArrayRef)> = Vec::new();
        for number in 0..N_NUMBERS {
            // The first numbers tell the groups apart, the others are noise.
            let share = if number < 4 { 2.0 } else { 0.0 };
            let value = |row| (share * group(row) + unit(row, number)) as f32;
            let values = Float32Array::from_iter_values((0..n_rows).map(value));
            columns.push((format!("x{number}"), Arc::new(values)));
        }
        let colour = |row| ["red", "green", "blue", "grey"][(unit(row, 50) * 4.0) as usize];
        let colours = StringArray::from_iter_values((0..n_rows).map(colour));
        columns.push(("colour".to_owned(), Arc::new(colours)));
        let signal = |row| group(row) + unit(row, 4) + unit(row, 60);
        match task {
            Task::Regression => {
                let labels = Float64Array::from_iter_values((0..n_rows).map(signal));
                columns.push(("label".to_owned(), Arc::new(labels)));
            }
            Task::Classification => {
                let class = |row| ["low", "mid", "high"][signal(row).min(2.9) as usize];
                let labels = StringArray::from_iter_values((0..n_rows).map(class));
                columns.push(("label".to_owned(), Arc::new(labels)));
            }
            Task::Clustering | Task::Decomposition => {}
        }
        let field =
            |(name, array): &(String, ArrayRef)| Field::new(name, array.data_type().clone(), true);
        let schema = Schema::new(columns.iter().map(field).collect::<Vec<_>>());
        let arrays = columns.into_iter().map(|(_, array)| array).collect();
        Samples {
            whole: RecordBatch::try_new(Arc::new(schema), arrays).unwrap(),
        }
    }

    /// The samples in batches.
    pub(crate) fn batches(&self, batch_rows: usize) -> Vec<RecordBatch> {
        let n_rows = self.whole.num_rows();
        let starts = (0..n_rows).step_by(batch_rows);
        starts
            .map(|start| self.whole.slice(start, batch_rows.min(n_rows - start)))
            .collect()
    }
}

impl SampleSource for Samples {
    fn schema(&self) -> SchemaRef {
        self.whole.schema()
    }

    fn n_partitions(&self) -> usize {
        N_PARTITIONS
    }

    fn open(&self, partition: usize) -> datafusion::error::Result<SendableRecordBatchStream> {
        let n_rows = self.whole.num_rows();
        let begin = |partition: usize| n_rows * partition / N_PARTITIONS;
        let (start, end) = (begin(partition), begin(partition + 1));
        let rows = self.whole.slice(start, end - start);
        let stream = futures::stream::iter([Ok(rows)]);
        let schema = self.whole.schema();
        Ok(Box::pin(RecordBatchStreamAdapter::new(schema, stream)))
    }
}
