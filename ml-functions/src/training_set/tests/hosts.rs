//! What machines send before the first pass, and what a lost one changes.

use std::sync::atomic::AtomicUsize;

use super::super::hosting::HostRequest;
use super::*;

/// Rows that the encoder's fit samples of few features.
const SAMPLED_ROWS: usize = 10_000;

/// A hash as bytes, at most, and a row of one feature.
const HASH_BYTES: usize = 10;
const ROW_BYTES: usize = HASH_BYTES + size_of::<f64>();

/// What is counted over all machines.
#[derive(Default)]
struct Told {
    n_asked: AtomicUsize,
    fit_bytes: AtomicUsize,
    sample_bytes: AtomicUsize,
}

/// A machine for each partition; one is lost at some request.
struct Machines {
    source: Arc<Batches>,
    lost_at: Option<usize>,
    told: Arc<Told>,
}

struct Machine {
    hosted: HostedPartitions,
    lost_at: Option<usize>,
    told: Arc<Told>,
}

#[async_trait]
impl HostPool for Machines {
    async fn open(&self, partitions: &[usize]) -> Result<Vec<Arc<dyn PartitionHost>>> {
        let machine = |partition: &usize| -> Result<Arc<dyn PartitionHost>> {
            let request = request(&CLASSIFIER, Arc::clone(&self.source), json!({}));
            Ok(Arc::new(Machine {
                hosted: HostedPartitions::open(request, &[*partition], quiet())?,
                lost_at: self.lost_at,
                told: Arc::clone(&self.told),
            }))
        };
        partitions.iter().map(machine).collect()
    }
}

#[async_trait]
impl PartitionHost for Machine {
    fn partitions(&self) -> &[usize] {
        self.hosted.partitions()
    }

    async fn ask(&self, request: Arc<[u8]>) -> std::result::Result<Vec<u8>, HostFailure> {
        let number = self.told.n_asked.fetch_add(1, Ordering::Relaxed);
        let reply = self.hosted.ask(Arc::clone(&request)).await?;
        match from_bytes(&request).map_err(HostFailure::Failed)? {
            HostRequest::Fit(_) => self
                .told
                .fit_bytes
                .fetch_add(reply.len(), Ordering::Relaxed),
            HostRequest::Sample(_) => {
                let counter = &self.told.sample_bytes;
                counter.fetch_add(reply.len(), Ordering::Relaxed)
            }
            _ => 0,
        };
        match self.lost_at == Some(number) {
            true => Err(HostFailure::Lost(format!("at request {number}"))),
            false => Ok(reply),
        }
    }
}

/// Rows of three partitions, each with more rows than are sampled of all.
fn three_partitions() -> Arc<Batches> {
    source(columns(60_000, 3), 3, 8_192)
}

async fn remote(source: &Arc<Batches>, lost_at: Option<usize>) -> (String, Arc<Told>) {
    let told = Arc::new(Told::default());
    let pool = Machines {
        source: Arc::clone(source),
        lost_at,
        told: Arc::clone(&told),
    };
    let request = request(&CLASSIFIER, Arc::clone(source), json!({}));
    let run = quiet();
    let opened = Box::pin(RemoteTrainingSet::open(&request, Arc::new(pool), &run));
    let set = opened
        .await
        .unwrap_or_else(|error| panic!("{lost_at:?}: {error}"));
    (serde_json::to_string(set.encoder()).unwrap(), told)
}

#[tokio::test]
async fn only_the_rows_that_count_are_sent() {
    let source = three_partitions();
    let (local, _) = open(request(&CLASSIFIER, Arc::clone(&source), json!({})))
        .await
        .unwrap();
    let (encoder, told) = remote(&source, None).await;
    assert_eq!(encoder, serde_json::to_string(local.encoder()).unwrap());
    let fit_bytes = told.fit_bytes.load(Ordering::Relaxed);
    assert!(
        fit_bytes < 3 * SAMPLED_ROWS * (HASH_BYTES + 1),
        "{fit_bytes}"
    );
    // One sample, whatever the number of machines.
    let sample_bytes = told.sample_bytes.load(Ordering::Relaxed);
    let least = SAMPLED_ROWS * size_of::<f64>();
    let most = SAMPLED_ROWS * ROW_BYTES + 1_000;
    assert!((least..most).contains(&sample_bytes), "{sample_bytes}");
}

#[tokio::test]
async fn a_machine_may_be_lost_at_any_request_of_the_opening() {
    let source = three_partitions();
    let (encoder, told) = remote(&source, None).await;
    let n_asked = told.n_asked.load(Ordering::Relaxed);
    for lost_at in 0..n_asked {
        let (found, told) = remote(&source, Some(lost_at)).await;
        assert_eq!(found, encoder, "lost at request {lost_at}");
        assert!(told.n_asked.load(Ordering::Relaxed) > n_asked);
    }
}
