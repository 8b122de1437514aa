//! A local folder whose objects survive a loss of power once they are put.
//!
//! In: puts, copies and renames; out: the same, after the file and the folders that name it were synced.
//! An object gets its name only after its bytes are on the disk, so that a crash leaves no half of one.
//! `LocalFileSystem` syncs nothing; all reading is left to it.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, ErrorKind, Write as _};
use std::path::{Path as FilePath, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, MultipartUpload, ObjectStore, ObjectStoreExt as _, PutMode,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, RenameOptions, Result, UploadPart,
};

use crate::error::is_disk_full;
use crate::stores::{Layer, Layered, StoreFailure, Unsettled};

/// Numbers the files that are being written, so that no two have one name.
static NEXT_STAGED: AtomicU64 = AtomicU64::new(0);

/// A folder on local disk.
#[derive(Debug)]
pub(crate) struct DurableStore {
    local: LocalFileSystem,
    /// A folder whose objects only the server's own account may read.
    private: Option<&'static str>,
}

/// Who may read what is made.
#[derive(Debug, Clone, Copy)]
enum Readers {
    Usual,
    /// Nobody but the account that made it, where the system knows accounts.
    Owner,
}

impl DurableStore {
    /// The same folder, durably.
    pub(crate) fn over(folder: LocalFileSystem) -> Layered<Self> {
        Layered::new(Self {
            local: folder,
            private: None,
        })
    }

    /// The same, where what is put below one of its folders is for the server's own account alone.
    pub(crate) fn with_private(folder: LocalFileSystem, private: &'static str) -> Layered<Self> {
        Layered::new(Self {
            local: folder,
            private: Some(private),
        })
    }

    fn readers(&self, path: &Path) -> Readers {
        let first = path.parts().next();
        match first.is_some_and(|first| Some(first.as_ref()) == self.private) {
            true => Readers::Owner,
            false => Readers::Usual,
        }
    }
}

#[async_trait]
impl Layer for DurableStore {
    fn below(&self, _: &Path) -> Result<&dyn ObjectStore> {
        Ok(&self.local)
    }

    fn failed(&self, path: &Path, error: Error) -> Error {
        match self.local.path_to_filesystem(path) {
            Ok(file) => named_if_full(&file, error),
            Err(_) => error,
        }
    }

    async fn put(&self, path: &Path, body: PutPayload, options: PutOptions) -> Result<PutResult> {
        let is_create = match options.mode {
            PutMode::Create => true,
            PutMode::Overwrite => false,
            PutMode::Update(_) => return self.local.put_opts(path, body, options).await,
        };
        let file = self.local.path_to_filesystem(path)?;
        let readers = self.readers(path);
        blocking(move || put(&file, &body, is_create, readers)).await?;
        // The object is there, whatever the answer to this question.
        let found = self.local.head(path).await;
        Ok(PutResult {
            e_tag: found.ok().and_then(|found| found.e_tag),
            version: None,
        })
    }

    async fn put_parts(
        &self,
        path: &Path,
        options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        let file = self.local.path_to_filesystem(path)?;
        make_folder_of(&file).await?;
        let inner = self.local.put_multipart_opts(path, options).await?;
        Ok(Box::new(DurableUpload { inner, path: file }))
    }

    async fn copy(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        let folder = make_folder_of(&self.local.path_to_filesystem(to)?).await?;
        self.local.copy_opts(from, to, options).await?;
        blocking(move || sync_folder(&folder).map_err(failed)).await
    }

    async fn rename(&self, from: &Path, to: &Path, options: RenameOptions) -> Result<()> {
        let folder = make_folder_of(&self.local.path_to_filesystem(to)?).await?;
        self.local.rename_opts(from, to, options).await?;
        blocking(move || sync_folder(&folder).map_err(failed)).await
    }
}

/// The folder of a file, made if it is missing.
async fn make_folder_of(file: &FilePath) -> Result<PathBuf> {
    let folder = folder_of(file);
    let made = folder.clone();
    blocking(move || create_folders(&made, Readers::Usual).map_err(failed)).await?;
    Ok(folder)
}

/// An upload in parts; its file is synced once it has its name. What names the object in turn, the
/// commit of a table, is put later.
#[derive(Debug)]
struct DurableUpload {
    inner: Box<dyn MultipartUpload>,
    path: PathBuf,
}

#[async_trait]
impl MultipartUpload for DurableUpload {
    fn put_part(&mut self, data: PutPayload) -> UploadPart {
        let part = self.inner.put_part(data);
        let path = self.path.clone();
        Box::pin(async move { part.await.map_err(|error| named_if_full(&path, error)) })
    }

    async fn complete(&mut self) -> Result<PutResult> {
        let result = self.inner.complete().await?;
        let path = self.path.clone();
        let sync = move || {
            File::open(&path)?.sync_all()?;
            sync_folder(&folder_of(&path))
        };
        blocking(move || sync().map_err(failed)).await?;
        Ok(result)
    }

    async fn abort(&mut self) -> Result<()> {
        self.inner.abort().await
    }
}

/// Writes a file under a name that listings do not show, syncs it, and gives it its own name.
fn put(path: &FilePath, payload: &PutPayload, is_create: bool, readers: Readers) -> Result<()> {
    let (mut file, staged) = staged(path, readers).map_err(failed)?;
    // Opened before the file has its name: from then on nothing may fail but the disk.
    let folder = open_folder(&folder_of(path));
    let written = payload
        .iter()
        .try_for_each(|bytes| file.write_all(bytes))
        .and_then(|()| file.sync_all());
    let named = written.and(folder).and_then(|folder| {
        match is_create {
            true => fs::hard_link(&staged, path)?,
            false => fs::rename(&staged, path)?,
        }
        Ok(folder)
    });
    if is_create || named.is_err() {
        // What is left behind after a crash is as invisible as it is harmless.
        let _ = fs::remove_file(&staged);
    }
    match named {
        Err(source) if is_create && source.kind() == ErrorKind::AlreadyExists => {
            Err(Error::AlreadyExists {
                path: path.to_string_lossy().into_owned(),
                source: source.into(),
            })
        }
        Err(source) => Err(failed(source)),
        Ok(None) => Ok(()),
        Ok(Some(folder)) => folder.sync_all().map_err(|source| {
            let source = Box::new(failed(source));
            Unsettled::put(path.to_string_lossy().into_owned(), source)
        }),
    }
}

/// A new file beside `path`; the store hides names with a number behind `#`.
fn staged(path: &FilePath, readers: Readers) -> io::Result<(File, PathBuf)> {
    const ATTEMPTS: usize = 100;
    let mut last = io::Error::from(ErrorKind::AlreadyExists);
    for _ in 0..ATTEMPTS {
        let number = NEXT_STAGED.fetch_add(1, Ordering::Relaxed);
        let mut name = path.as_os_str().to_owned();
        name.push(format!("#{}{number:06}", std::process::id()));
        let staged = PathBuf::from(name);
        let mut options = OpenOptions::new();
        #[cfg(unix)]
        if let Readers::Owner = readers {
            std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        }
        match options.write(true).create_new(true).open(&staged) {
            Ok(file) => return Ok((file, staged)),
            Err(error) => match error.kind() {
                // A folder that got empty may be removed at any moment.
                ErrorKind::NotFound => create_folders(&folder_of(path), readers)?,
                ErrorKind::AlreadyExists => last = error,
                _ => return Err(error),
            },
        }
    }
    Err(last)
}

/// Makes a folder and those above it that are missing, each synced into its parent.
fn create_folders(folder: &FilePath, readers: Readers) -> io::Result<()> {
    if folder.is_dir() {
        return Ok(());
    }
    let parent = folder_of(folder);
    if parent != folder {
        create_folders(&parent, readers)?;
    }
    #[cfg_attr(
        not(unix),
        expect(unused_mut, reason = "folders have a mode on Unix alone")
    )]
    let mut builder = DirBuilder::new();
    #[cfg(unix)]
    if let Readers::Owner = readers {
        std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    }
    match builder.create(folder) {
        Err(error) if error.kind() != ErrorKind::AlreadyExists => Err(error),
        _ => sync_folder(&parent),
    }
}

/// A folder, to have its names on the disk. Elsewhere folders cannot be opened, and the file system keeps its names itself.
fn open_folder(folder: &FilePath) -> io::Result<Option<File>> {
    match cfg!(unix) {
        true => File::open(folder).map(Some),
        false => Ok(None),
    }
}

/// The names in a folder are on the disk.
fn sync_folder(folder: &FilePath) -> io::Result<()> {
    match open_folder(folder)? {
        Some(folder) => folder.sync_all(),
        None => Ok(()),
    }
}

fn folder_of(path: &FilePath) -> PathBuf {
    path.parent().unwrap_or(path).to_path_buf()
}

/// The error of a full disk, with the file that did not fit: which of several disks it is, only the file tells.
fn named_if_full(file: &FilePath, error: Error) -> Error {
    match error {
        Error::Generic { store, source }
            if is_disk_full(source.as_ref()) && !source.is::<StoreFailure>() =>
        {
            let url = file.display().to_string();
            let source = Box::new(StoreFailure { url, source });
            Error::Generic { store, source }
        }
        error => error,
    }
}

fn failed(source: io::Error) -> Error {
    Error::Generic {
        store: "local disk",
        source: source.into(),
    }
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|source| Error::Generic {
        store: "local disk",
        source: source.into(),
    })?
}

#[cfg(test)]
mod tests {
    use futures::TryStreamExt as _;
    use object_store::ObjectMeta;

    use super::*;

    fn store() -> (tempfile::TempDir, Layered<DurableStore>) {
        let folder = tempfile::tempdir().unwrap();
        let local = LocalFileSystem::new_with_prefix(folder.path()).unwrap();
        (folder, DurableStore::over(local))
    }

    async fn read(store: &Layered<DurableStore>, path: &Path) -> Vec<u8> {
        let found = store.get(path).await.unwrap();
        found.bytes().await.unwrap().to_vec()
    }

    #[tokio::test]
    async fn what_is_put_is_there_and_nothing_else() {
        let (folder, store) = store();
        let path = Path::from("a/b/c.json");
        let put = store.put(&path, "one".into()).await.unwrap();
        let head = store.head(&path).await.unwrap();
        assert_eq!(put.e_tag, head.e_tag);
        store.put(&path, "two".into()).await.unwrap();
        assert_eq!(read(&store, &path).await, b"two");
        let taken = store.put_opts(&path, "three".into(), PutMode::Create.into());
        assert!(matches!(taken.await, Err(Error::AlreadyExists { .. })));
        assert_eq!(read(&store, &path).await, b"two");
        let files = fs::read_dir(folder.path().join("a/b")).unwrap();
        assert_eq!(files.count(), 1, "a staged file was left");
    }

    #[tokio::test]
    async fn parts_copies_and_renames_make_their_folders() {
        let (_folder, store) = store();
        let (first, second, third) = (Path::from("x/1"), Path::from("y/2"), Path::from("z/3"));
        let mut upload = store.put_multipart(&first).await.unwrap();
        upload.put_part("par".into()).await.unwrap();
        upload.put_part("ts".into()).await.unwrap();
        upload.complete().await.unwrap();
        store.copy(&first, &second).await.unwrap();
        store.rename(&second, &third).await.unwrap();
        assert_eq!(read(&store, &third).await, b"parts");
        let listed: Vec<ObjectMeta> = store.list(None).try_collect().await.unwrap();
        let mut names: Vec<String> = listed
            .iter()
            .map(|found| found.location.to_string())
            .collect();
        names.sort();
        assert_eq!(names, ["x/1", "z/3"]);
    }

    #[cfg(unix)]
    #[tokio::test]
    async fn the_private_folder_is_for_its_owner() {
        use std::os::unix::fs::PermissionsExt as _;

        let folder = tempfile::tempdir().unwrap();
        let local = LocalFileSystem::new_with_prefix(folder.path()).unwrap();
        let store = DurableStore::with_private(local, "log");
        for path in ["log/a/1.json", "logs/1.json"] {
            store.put(&Path::from(path), "x".into()).await.unwrap();
        }
        let mode = |path: &str| {
            let found = fs::metadata(folder.path().join(path)).unwrap();
            found.permissions().mode() & 0o777
        };
        assert_eq!(
            [mode("log"), mode("log/a"), mode("log/a/1.json")],
            [0o700, 0o700, 0o600]
        );
        assert_ne!([mode("logs"), mode("logs/1.json")], [0o700, 0o600]);
    }

    #[tokio::test]
    async fn a_file_in_the_way_of_a_folder_is_an_error() {
        let (_folder, store) = store();
        store.put(&Path::from("a"), "file".into()).await.unwrap();
        let below = store.put(&Path::from("a/b"), "x".into()).await;
        assert!(matches!(below, Err(Error::Generic { .. })), "{below:?}");
    }

    #[test]
    fn a_full_disk_names_the_file() {
        let full = failed(io::Error::from_raw_os_error(28));
        let error = crate::error::Error::from(named_if_full(FilePath::new("/d/a.csv"), full));
        assert_eq!(error.sqlstate(), "53100");
        assert!(
            error
                .detail()
                .is_some_and(|detail| detail.contains("/d/a.csv"))
        );
        let other = failed(io::Error::from(ErrorKind::PermissionDenied));
        let error = crate::error::Error::from(named_if_full(FilePath::new("/d/a.csv"), other));
        assert_eq!(error.sqlstate(), "58030");
    }
}
