//! What stands among local files and is none: links in circles, pipes, sockets and devices.
//!
//! A folder flows in; its files flow out where the library's own listing ends at a link that leads back. To open a pipe
//! would wait for whoever writes to it, so that what is no file is left out before anything is opened.

use std::fs;
use std::path::{Path as FilePath, PathBuf};
use std::sync::Arc;

use object_store::path::Path;
use object_store::{Error as StoreError, ObjectMeta, ObjectStore, ObjectStoreExt as _};
use url::Url;

use crate::error::{Error, Result};

/// Where an object of a store lies on this machine.
fn local_path(root: &Url, object: &Path) -> Option<PathBuf> {
    if root.scheme() != "file" {
        return None;
    }
    let mut url = root.clone();
    url.set_path(&format!("/{}", object.as_ref().replace('%', "%25")));
    url.to_file_path().ok()
}

/// Whether what has an object's name can be read as one.
pub(crate) fn is_readable(root: &Url, object: &Path) -> bool {
    let found = local_path(root, object).and_then(|path| fs::metadata(path).ok());
    // What is not there, or not local, is the store's business.
    found.is_none_or(|found| found.is_file() || found.is_dir())
}

/// Whether a listing ended at a link that leads back to a folder above it.
pub(crate) fn is_circle(error: &StoreError) -> bool {
    let text = error.to_string();
    text.contains("File system loop found") || text.contains("levels of symbolic links")
}

/// The files below a folder, and the folders in it, without what leads back.
pub(crate) async fn without_circles(
    store: &Arc<dyn ObjectStore>,
    root: &Url,
    folder: &Path,
    is_deep: bool,
) -> Result<(Vec<ObjectMeta>, Vec<Path>)> {
    let Some(path) = local_path(root, folder) else {
        return Ok((Vec::new(), Vec::new()));
    };
    let walked = tokio::task::spawn_blocking(move || walk(path, is_deep)).await;
    let (files, folders) = walked.map_err(|error| Error::Internal {
        what: error.to_string(),
    })?;
    let named = |path: &PathBuf| Path::from_absolute_path(path).ok();
    let mut found = Vec::new();
    for file in files.iter().filter_map(named) {
        match store.head(&file).await {
            Ok(meta) => found.push(meta),
            Err(StoreError::NotFound { .. }) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok((found, folders.iter().filter_map(named).collect()))
}

/// Whether a folder is one of those that were passed on the way to it, or lies above one.
fn leads_back(above: &[PathBuf], folder: &FilePath) -> bool {
    above.iter().any(|passed| passed.starts_with(folder))
}

/// The files and folders in a folder, or all below it.
fn walk(folder: PathBuf, is_deep: bool) -> (Vec<PathBuf>, Vec<PathBuf>) {
    let (mut files, mut folders) = (Vec::new(), Vec::new());
    let real = |path: &PathBuf| fs::canonicalize(path).ok();
    // Each with the real places of the folders above it.
    let mut open: Vec<(PathBuf, Vec<PathBuf>)> = vec![(folder.clone(), Vec::new())];
    while let Some((folder, mut above)) = open.pop() {
        above.extend(real(&folder));
        let entries = fs::read_dir(&folder).into_iter().flatten();
        for path in entries.flatten().map(|entry| entry.path()) {
            // A link to nothing or to itself has no metadata.
            let Ok(found) = fs::metadata(&path) else {
                continue;
            };
            if found.is_file() {
                files.push(path);
            } else if found.is_dir() && real(&path).is_some_and(|real| !leads_back(&above, &real)) {
                folders.push(path.clone());
                if is_deep {
                    open.push((path, above.clone()));
                }
            }
        }
    }
    (files, folders)
}

#[cfg(all(test, unix))]
mod tests {
    use object_store::local::LocalFileSystem;

    use super::*;

    fn names<'a>(paths: impl Iterator<Item = &'a Path>) -> Vec<String> {
        let names = paths.filter_map(|path| path.filename());
        names.map(str::to_owned).collect()
    }

    #[tokio::test]
    async fn links_that_lead_back_are_left_out() {
        let folder = tempfile::tempdir().unwrap();
        let inner = folder.path().join("inner");
        fs::create_dir(&inner).unwrap();
        fs::write(inner.join("a.csv"), "a\n1\n").unwrap();
        std::os::unix::fs::symlink(folder.path(), inner.join("up")).unwrap();
        std::os::unix::fs::symlink(inner.join("self"), inner.join("self")).unwrap();
        let store: Arc<dyn ObjectStore> = Arc::new(LocalFileSystem::new());
        let root = Url::parse("file:///").unwrap();
        let path = Path::from_absolute_path(folder.path()).unwrap();
        let (files, folders) = without_circles(&store, &root, &path, true).await.unwrap();
        let locations = files.iter().map(|meta| &meta.location);
        assert_eq!(names(locations), ["a.csv"]);
        assert_eq!(names(folders.iter()), ["inner"]);
        assert!(is_readable(&root, &path.join("inner").join("a.csv")));
    }
}
