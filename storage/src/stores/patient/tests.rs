//! A patient store over a faulty one: every kind of fault is outlasted, or named.

use std::sync::atomic::Ordering;

use object_store::ObjectStoreExt as _;
use object_store::memory::InMemory;

use super::*;
use crate::error::Error as OurError;
use crate::stores::{ALL_FAULTS, Fault, FaultyStore, Plan};

fn one(fault: Fault) -> &'static [Fault] {
    let idx = ALL_FAULTS.iter().position(|known| *known == fault);
    &ALL_FAULTS[idx.unwrap()..=idx.unwrap()]
}

struct Fixture {
    inner: Arc<InMemory>,
    store: Arc<dyn ObjectStore>,
    n_faults: Arc<std::sync::atomic::AtomicU64>,
}

fn fixture(rate: u64, faults: &'static [Fault], patience: Patience) -> Fixture {
    let inner = Arc::new(InMemory::new());
    let plan = Plan {
        seed: 7,
        rate,
        faults,
    };
    let (faulty, n_faults) = FaultyStore::over(Arc::clone(&inner) as Arc<dyn ObjectStore>, plan);
    let root = Url::parse("s3://bucket/").unwrap();
    Fixture {
        inner,
        store: PatientStore::over(&root, faulty, patience),
        n_faults,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_fault_is_outlasted() {
    for fault in ALL_FAULTS {
        let rate = match fault {
            // Each one costs the bound of an attempt.
            Fault::Hangs => 20,
            _ => 400,
        };
        let f = fixture(rate, one(*fault), Patience::of_tests(12));
        for n in 0..25_u8 {
            let path = Path::from(format!("d/{n:02}"));
            let body = vec![n; 1000];
            let options = PutOptions::from(PutMode::Create);
            let put = f
                .store
                .put_opts(&path, body.clone().into(), options.clone());
            put.await
                .unwrap_or_else(|error| panic!("{fault:?}: {error}"));
            // Whoever comes second loses, although the fault may strike again.
            let taken = f
                .store
                .put_opts(&path, vec![99; 1000].into(), options)
                .await;
            assert!(
                matches!(taken, Err(Error::AlreadyExists { .. })),
                "{taken:?}"
            );
            let found = f.store.get(&path).await.unwrap().bytes().await.unwrap();
            assert_eq!(found, body, "{fault:?}");
            let ranges = f
                .store
                .get_ranges(&path, &[0..10, 900..1000])
                .await
                .unwrap();
            assert_eq!(ranges.iter().map(Bytes::len).collect::<Vec<_>>(), [10, 100]);
            let range = f.store.get_range(&path, 500..2000).await.unwrap();
            assert_eq!(range.len(), 500, "a range beyond the end is cut, not short");
            assert_eq!(f.store.head(&path).await.unwrap().size, 1000);
            let listed = f.store.list(None).try_collect::<Vec<_>>().await.unwrap();
            assert_eq!(listed.len(), usize::from(n) + 1, "{fault:?}");
        }
        assert!(f.n_faults.load(Ordering::Relaxed) > 2, "{fault:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_never_works_is_an_error_with_the_url() {
    let hurried = Patience {
        attempt: Duration::from_millis(5),
        ..Patience::of_tests(3)
    };
    for (fault, said) in [
        (Fault::Fails, "reset"),
        (Fault::Hangs, "no answer for 5 ms"),
        (Fault::Throttles, "503"),
        (Fault::ShortRead, "500 bytes of the range 0 to 1000"),
        (Fault::TornWrite, "reset"),
    ] {
        let f = fixture(1000, one(fault), hurried);
        let path = Path::from("d/a");
        f.inner.put(&path, vec![1; 1000].into()).await.unwrap();
        let error = f.store.get(&path).await.unwrap_err();
        assert_eq!(f.n_faults.load(Ordering::Relaxed), 3, "{fault:?}");
        let error = OurError::from(error);
        assert_eq!(error.sqlstate(), "58030", "{fault:?}");
        assert!(error.to_string().contains("s3://bucket/d/a"), "{error}");
        let detail = error.detail().unwrap();
        assert!(detail.contains(said), "{fault:?}: {detail}");
        let listed = f.store.list(Some(&Path::from("d"))).try_next().await;
        let error = OurError::from(listed.unwrap_err());
        assert!(error.to_string().contains("s3://bucket/d"), "{error}");
        let put = f.store.put(&Path::from("d/b"), "x".into()).await;
        let error = OurError::from(put.unwrap_err());
        assert!(error.to_string().contains("s3://bucket/d/b"), "{error}");
    }
}

#[tokio::test]
async fn what_cannot_pass_is_not_tried_again() {
    let f = fixture(0, ALL_FAULTS, Patience::of_tests(12));
    let missing = f.store.get(&Path::from("none")).await;
    assert!(matches!(missing, Err(Error::NotFound { .. })));
    // The same bytes by somebody else are as good as one's own; others are in the way.
    let path = Path::from("a");
    f.inner.put(&path, "other".into()).await.unwrap();
    let create = |body: &'static str| f.store.put_opts(&path, body.into(), PutMode::Create.into());
    assert!(create("other").await.is_ok());
    assert!(matches!(
        create("mine!").await,
        Err(Error::AlreadyExists { .. })
    ));
}

/// A body that ends early.
#[derive(Debug)]
struct Short(InMemory);

#[async_trait]
impl Layer for Short {
    fn below(&self, _: &Path) -> Result<&dyn ObjectStore> {
        Ok(&self.0)
    }

    async fn get(&self, path: &Path, options: GetOptions) -> Result<GetResult> {
        let got = self.0.get_opts(path, options).await?;
        let (meta, range, attributes) =
            (got.meta.clone(), got.range.clone(), got.attributes.clone());
        let body = got.bytes().await?;
        let body = once(Ok(body.slice(..body.len() - 1)));
        Ok(GetResult {
            payload: GetResultPayload::Stream(body),
            meta,
            range,
            attributes,
        })
    }
}

#[tokio::test]
async fn a_large_file_that_ends_early_fails_at_its_end() {
    let inner = InMemory::new();
    let path = Path::from("large.csv");
    let size = WHOLE_FILE_BYTES as usize + 1;
    inner.put(&path, vec![b'x'; size].into()).await.unwrap();
    let root = Url::parse("s3://bucket/").unwrap();
    let store = PatientStore::over(
        &root,
        Arc::new(Layered::new(Short(inner))),
        Patience::of_tests(12),
    );
    let body = store.get(&path).await.unwrap().bytes().await;
    let error = OurError::from(body.unwrap_err());
    assert_eq!(error.sqlstate(), "58030");
    assert!(
        error.to_string().contains("s3://bucket/large.csv"),
        "{error}"
    );
    assert!(error.detail().unwrap().contains("range 0 to 1048577"));
}

/// A store that lists all its files, whatever file is to come before them.
#[derive(Debug)]
struct Heedless(InMemory);

impl Layer for Heedless {
    fn below(&self, _: &Path) -> Result<&dyn ObjectStore> {
        Ok(&self.0)
    }

    fn list(
        &self,
        folder: Option<&Path>,
        _: Option<&Path>,
    ) -> Result<BoxStream<'static, Result<ObjectMeta>>> {
        Ok(self.0.list(folder))
    }
}

#[tokio::test]
async fn a_listing_begins_behind_its_offset() {
    let inner = InMemory::new();
    for n in 0..4 {
        let path = Path::from(format!("d/{n}"));
        inner.put(&path, "x".into()).await.unwrap();
    }
    let root = Url::parse("az://container/").unwrap();
    let heedless = Arc::new(Layered::new(Heedless(inner)));
    let store = PatientStore::over(&root, heedless, Patience::of_tests(2));
    let (folder, offset) = (Path::from("d"), Path::from("d/1"));
    let listed = store.list_with_offset(Some(&folder), &offset);
    let listed: Vec<_> = listed.try_collect().await.unwrap();
    let names: Vec<_> = listed.iter().map(|file| file.location.as_ref()).collect();
    assert_eq!(names, ["d/2", "d/3"]);
    assert_eq!(store.list(Some(&folder)).count().await, 4);
}

/// What becomes of an upload of four bytes, and the object's mark afterwards.
async fn uploaded(fault: Fault, before: Option<&str>) -> (Result<PutResult>, Option<String>) {
    let (path, inner) = (Path::from("a"), Arc::new(InMemory::new()));
    if let Some(before) = before {
        inner.put(&path, before.to_owned().into()).await.unwrap();
    }
    let parts = inner.put_multipart(&path).await.unwrap();
    let store = PatientStore {
        root: Url::parse("s3://bucket/").unwrap(),
        inner: Arc::clone(&inner) as Arc<dyn ObjectStore>,
        patience: Patience::of_tests(1),
    };
    let mut upload = store.upload(&path, FaultyStore::upload(parts, fault)).await;
    upload.put_part("0123".into()).await.unwrap();
    let put = upload.complete().await;
    let found = inner.head(&path).await.ok();
    (put, found.and_then(|found| found.e_tag))
}

#[tokio::test]
async fn an_upload_whose_last_answer_is_lost_is_done() {
    for before in [None, Some("abcd"), Some("longer")] {
        let (put, mark) = uploaded(Fault::TornWrite, before).await;
        assert_eq!(put.unwrap().e_tag, mark, "{before:?}");
        let (put, _) = uploaded(Fault::Fails, before).await;
        assert!(put.is_err(), "{before:?}");
    }
}
