//! Confinement: which files SQL may name.
//!
//! A path as a user wrote it flows in; the URL of what it really is, links and `..` followed, flows out, or a refusal.
//! Paths stay inside the warehouse and the locations that an administrator allowed, and outside the engine's own
//! folders. Nothing here opens a file.

use std::ffi::OsString;
use std::io::ErrorKind;
use std::path::{Component, Path as FilePath, PathBuf};

use object_store::local::LocalFileSystem;
use object_store::path::Path as ObjectPath;
use url::Url;

use crate::error::{Error, Result};
use crate::warehouse::{Warehouse, local_path};

/// Folders of the warehouse whose files SQL does not read raw.
const UNREADABLE: &[&str] = &["catalog", "models"];
/// Folders of the warehouse that SQL does not write through external tables.
const UNWRITABLE: &[&str] = &["catalog", "models", "tables"];

/// The places that SQL may name files in.
#[derive(Debug)]
pub struct Locations {
    /// Canonical folders or files; the warehouse comes first.
    roots: Vec<PathBuf>,
    warehouse: Option<PathBuf>,
}

impl Locations {
    /// The warehouse and the `allowed` paths or `file://` URLs, each of which must exist.
    ///
    /// Errors: `LocationNotFound` for an allowed location that is absent, `UnsupportedScheme`.
    pub fn new(warehouse: &Warehouse, allowed: &[String]) -> Result<Self> {
        let warehouse = warehouse.local_root().map(FilePath::to_path_buf);
        let mut roots: Vec<PathBuf> = warehouse.iter().cloned().collect();
        for location in allowed {
            let root =
                std::fs::canonicalize(local_path(location)?).map_err(|e| match e.kind() {
                    ErrorKind::NotFound => Error::LocationNotFound {
                        location: location.clone(),
                    },
                    _ => Error::from_io(e),
                })?;
            roots.push(root);
        }
        Ok(Self { roots, warehouse })
    }

    /// The URL of a location that a statement reads; that of a folder ends in a slash.
    ///
    /// A relative path is tried in the warehouse, then in each allowed location: the first that exists counts, else
    /// the first. Errors: `LocationRefused` outside all of them, `LocationReserved` in the engine's own folders.
    pub fn resolve(&self, path: &str) -> Result<Url> {
        self.resolve_within(path, UNREADABLE)
    }

    /// The URL of a location that a statement writes, which excludes the folder of managed tables too.
    pub fn resolve_for_write(&self, path: &str) -> Result<Url> {
        self.resolve_within(path, UNWRITABLE)
    }

    fn resolve_within(&self, location: &str, reserved: &[&'static str]) -> Result<Url> {
        let path = local_path(location)?;
        if path.is_absolute() {
            let found = self.admit(location, FilePath::new("/"), &path, reserved)?;
            return to_url(location, &found);
        }
        let mut first = None;
        for root in &self.roots {
            match self.admit(location, root, &path, reserved) {
                Ok(found) if found.exists() => return to_url(location, &found),
                other => first = first.or(Some(other)),
            }
        }
        let first = first.unwrap_or_else(|| Err(refused(location)))?;
        to_url(location, &first)
    }

    /// Refuses a listed object that a link leads to from outside, or that is the engine's own.
    pub(crate) fn check_object(&self, object: &ObjectPath) -> Result<()> {
        let path = LocalFileSystem::new().path_to_filesystem(object)?;
        let location = path.to_string_lossy();
        self.admit(&location, FilePath::new("/"), &path, UNREADABLE)
            .map(drop)
    }

    /// The real path of `path` seen from `base`, if it lies in a root and not in a reserved folder.
    fn admit(
        &self,
        location: &str,
        base: &FilePath,
        path: &FilePath,
        reserved: &[&'static str],
    ) -> Result<PathBuf> {
        let real = real_path(base, path).ok_or_else(|| refused(location))?;
        if !self.roots.iter().any(|root| real.starts_with(root)) {
            return Err(refused(location));
        }
        let Some(warehouse) = &self.warehouse else {
            return Ok(real);
        };
        for folder in reserved {
            let own = warehouse.join(folder);
            // A folder above an own one would be listed together with it.
            if real.starts_with(&own) || own.starts_with(&real) {
                return Err(Error::LocationReserved {
                    location: location.into(),
                    folder,
                });
            }
        }
        Ok(real)
    }
}

/// Follows `path` from the canonical folder `base` as the file system would: links of the longest existing prefix are
/// resolved step by step, so that `..` after a link means the parent of its target. `None`: a link leads nowhere, or
/// a folder cannot be read.
fn real_path(base: &FilePath, path: &FilePath) -> Option<PathBuf> {
    let mut real = base.to_path_buf();
    // Names below the existing prefix, which hold no links.
    let mut missing: Vec<OsString> = Vec::new();
    for component in path.components() {
        match component {
            Component::RootDir => real = PathBuf::from("/"),
            Component::Prefix(_) => return None,
            Component::CurDir => {}
            Component::ParentDir => {
                if missing.pop().is_none() {
                    real.pop();
                }
            }
            Component::Normal(name) if !missing.is_empty() => missing.push(name.into()),
            Component::Normal(name) => {
                let next = real.join(name);
                match next.symlink_metadata() {
                    Ok(_) => real = next.canonicalize().ok()?,
                    Err(e)
                        if matches!(e.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) =>
                    {
                        missing.push(name.into());
                    }
                    Err(_) => return None,
                }
            }
        }
    }
    real.extend(missing);
    Some(real)
}

fn to_url(location: &str, path: &FilePath) -> Result<Url> {
    let as_folder = path.is_dir() || (location.ends_with('/') && !path.exists());
    let url = match as_folder {
        true => Url::from_directory_path(path),
        false => Url::from_file_path(path),
    };
    url.map_err(|()| Error::InvalidLocation {
        location: location.into(),
    })
}

fn refused(location: &str) -> Error {
    Error::LocationRefused {
        location: location.into(),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;
    use std::sync::Arc;

    use super::*;

    struct Fixture {
        dir: tempfile::TempDir,
        warehouse: Arc<Warehouse>,
    }

    /// `warehouse/`, `allowed/` and `secret/` beside each other.
    async fn fixture() -> Fixture {
        let dir = tempfile::tempdir().unwrap();
        for file in [
            "warehouse/data/a.csv",
            "warehouse/catalog/1.json",
            "warehouse/models/m/1/manifest.json",
            "warehouse/tables/t/x.parquet",
            "allowed/b.csv",
            "allowed/data/a.csv",
            "secret/s.csv",
        ] {
            let path = dir.path().join(file);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, "x\n1\n").unwrap();
        }
        let warehouse = Warehouse::open(dir.path().join("warehouse").to_str().unwrap())
            .await
            .unwrap();
        Fixture { dir, warehouse }
    }

    impl Fixture {
        fn path(&self, path: &str) -> String {
            self.dir
                .path()
                .canonicalize()
                .unwrap()
                .join(path)
                .to_str()
                .unwrap()
                .into()
        }

        fn locations(&self, allowed: &[&str]) -> Locations {
            let allowed: Vec<String> = allowed.iter().map(|path| self.path(path)).collect();
            Locations::new(&self.warehouse, &allowed).unwrap()
        }
    }

    fn state(found: Result<Url>) -> &'static str {
        found.map_or_else(|error| error.sqlstate(), |_| "ok")
    }

    #[tokio::test]
    async fn relative_paths_are_tried_in_order() {
        let f = fixture().await;
        let locations = f.locations(&["allowed"]);
        let url = |path: &str| locations.resolve(path).unwrap().to_file_path().unwrap();
        assert_eq!(
            url("data/a.csv").to_str().unwrap(),
            f.path("warehouse/data/a.csv")
        );
        assert_eq!(url("b.csv").to_str().unwrap(), f.path("allowed/b.csv"));
        assert_eq!(
            url("none.csv").to_str().unwrap(),
            f.path("warehouse/none.csv")
        );
        assert!(
            locations
                .resolve("data")
                .unwrap()
                .as_str()
                .ends_with("/warehouse/data/")
        );
        assert_eq!(
            url("data/../data/./a.csv").to_str().unwrap(),
            f.path("warehouse/data/a.csv")
        );
    }

    #[tokio::test]
    async fn nothing_escapes() {
        let f = fixture().await;
        symlink(f.path("secret"), f.path("warehouse/link")).unwrap();
        symlink(f.path("secret/s.csv"), f.path("warehouse/data/s.csv")).unwrap();
        symlink(f.path("secret/new.csv"), f.path("warehouse/dangling.csv")).unwrap();
        symlink(f.path("allowed/data"), f.path("warehouse/inside")).unwrap();
        let locations = f.locations(&["allowed"]);
        let file_url = |path: &str| format!("file://{}", f.path(path));
        for path in [
            "../secret/s.csv".to_owned(),
            "data/../../secret/s.csv".into(),
            "none/../../secret/s.csv".into(),
            "link/s.csv".into(),
            "link/none.csv".into(),
            "data/s.csv".into(),
            "dangling.csv".into(),
            // The target's parent is allowed/, whose sibling is secret/.
            "inside/../../secret/s.csv".into(),
            f.path("secret/s.csv"),
            f.path("secret"),
            f.path("warehouse/../secret/s.csv"),
            f.path("warehouse-sibling"),
            "/etc/passwd".into(),
            file_url("secret/s.csv"),
            file_url("warehouse/%2e%2e/secret/s.csv"),
            file_url("warehouse/..%2fsecret/s.csv"),
            "file:///etc/passwd".into(),
            "file:/etc/passwd".into(),
        ] {
            let error = locations.resolve(&path).unwrap_err();
            assert!(
                matches!(error, Error::LocationRefused { .. }),
                "{path}: {error:?}"
            );
            assert!(error.hint().unwrap().contains("--allow-location"));
            assert!(error.to_string().contains(&path));
        }
        assert_eq!(state(locations.resolve("inside/a.csv")), "ok");
        assert_eq!(state(locations.resolve("inside/../b.csv")), "ok");
        assert_eq!(state(locations.resolve("s3://bucket/x")), "0A000");
        assert_eq!(state(locations.resolve("a\0b")), "22023");
        // In a plain path, % is a character.
        let literal = locations.resolve("%2e%2e/secret/s.csv").unwrap();
        assert!(
            literal
                .path()
                .ends_with("/warehouse/%252e%252e/secret/s.csv"),
            "{literal}"
        );
    }

    #[tokio::test]
    async fn the_engines_folders_are_its_own() {
        let f = fixture().await;
        symlink(f.path("warehouse/catalog"), f.path("allowed/log")).unwrap();
        let locations = f.locations(&["allowed"]);
        for path in [
            "catalog",
            "catalog/1.json",
            "models/m/1/manifest.json",
            &f.path("allowed/log/1.json"),
        ] {
            let error = locations.resolve(path).unwrap_err();
            assert!(
                matches!(error, Error::LocationReserved { .. }),
                "{path}: {error:?}"
            );
            assert_eq!(error.sqlstate(), "42501");
        }
        assert_eq!(state(f.locations(&[]).resolve(".")), "42501");
        assert_eq!(state(locations.resolve("tables/t/x.parquet")), "ok");
        assert_eq!(
            state(locations.resolve_for_write("tables/t/x.parquet")),
            "42501"
        );
        assert_eq!(state(locations.resolve_for_write("data/new.csv")), "ok");
        // Allowing a folder above the warehouse does not open what the warehouse keeps.
        let wide = f.locations(&["."]);
        assert_eq!(state(wide.resolve(&f.path("secret/s.csv"))), "ok");
        assert_eq!(state(wide.resolve(&f.path("."))), "42501");
        assert_eq!(
            state(wide.resolve(&f.path("warehouse/catalog/1.json"))),
            "42501"
        );
    }

    #[tokio::test]
    async fn an_allowed_location_must_exist() {
        let f = fixture().await;
        let error = Locations::new(&f.warehouse, &[f.path("nowhere")]).unwrap_err();
        assert_eq!(error.sqlstate(), "58P01");
        let file = f.locations(&["secret/s.csv"]);
        assert_eq!(state(file.resolve(&f.path("secret/s.csv"))), "ok");
        assert_eq!(state(file.resolve(&f.path("secret/t.csv"))), "42501");
    }
}
