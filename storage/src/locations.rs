//! Confinement: which files SQL may name.
//!
//! A path or URL as a user wrote it flows in; the URL of what it really is, links and `..` followed, flows out, or a
//! refusal. Names stay inside the warehouse, the locations that the server was started with, and the external locations
//! of the catalog, and outside the engine's own folders. Nothing here opens a file.

mod confined;

use std::ffi::OsString;
use std::io::ErrorKind;
use std::path::{Component, Path as FilePath, PathBuf};
use std::sync::Arc;

use object_store::ObjectStore;
use object_store::path::Path as ObjectPath;
use url::Url;

use crate::error::{Error, Result};
use crate::locations::confined::Confined;
use crate::stores::{Layered, ObjectUrl, StoreKind, Stores};
use crate::warehouse::{Warehouse, local_path};

/// Folders of the warehouse whose files SQL does not read raw.
const UNREADABLE: &[&str] = &["catalog", "models"];
/// The engine's own folders of the warehouse: SQL does not write them through external tables, and only in them garbage is
/// looked for.
pub(crate) const UNWRITABLE: &[&str] = &["catalog", "models", "tables"];

/// The places that SQL may name files in.
#[derive(Debug)]
pub struct Locations {
    /// The warehouse comes first.
    roots: Vec<Root>,
    stores: Arc<Stores>,
}

/// A place with all that lies in it.
#[derive(Debug)]
enum Root {
    /// A canonical folder or file.
    Local(PathBuf),
    /// A folder or object of a store.
    Remote(ObjectUrl),
}

impl Root {
    /// Reads a location of an administrator. A local one must exist.
    fn of(location: &str) -> Result<Self> {
        if let Some(url) = remote_url(location)? {
            return Ok(Self::Remote(url));
        }
        let path = std::fs::canonicalize(local_path(location)?);
        path.map(Self::Local).map_err(|e| match e.kind() {
            ErrorKind::NotFound => Error::LocationNotFound {
                location: location.into(),
            },
            _ => Error::from_io(e),
        })
    }
}

impl Root {
    /// Whether what a URL means lies in it.
    fn holds(&self, url: &Url) -> bool {
        match self {
            Self::Local(root) => url.to_file_path().is_ok_and(|path| path.starts_with(root)),
            Self::Remote(root) => ObjectUrl::of(url).is_ok_and(|url| root.contains(&url)),
        }
    }
}

/// A location as a URL of a store, if it is one. Errors: `InvalidLocation`, `UnsupportedScheme`.
pub(crate) fn remote_url(location: &str) -> Result<Option<ObjectUrl>> {
    let scheme = location.split_once("://").map(|(scheme, _)| scheme);
    match scheme {
        None => Ok(None),
        Some(scheme) if scheme.eq_ignore_ascii_case("file") => Ok(None),
        Some(scheme) => {
            let url = ObjectUrl::parse(location)?;
            match StoreKind::of_scheme(url.root().scheme()) {
                Some(_) => Ok(Some(url)),
                None => Err(Error::UnsupportedScheme {
                    scheme: scheme.into(),
                    location: url.to_url().into(),
                }),
            }
        }
    }
}

impl Locations {
    /// The warehouse and the `allowed` paths or URLs; local ones must exist.
    ///
    /// Errors: `LocationNotFound` for an allowed location that is absent, `UnsupportedScheme`.
    pub fn new(warehouse: &Warehouse, allowed: &[String]) -> Result<Self> {
        let mut roots = vec![match warehouse.local_root() {
            Some(path) => Root::Local(path.to_path_buf()),
            None => Root::Remote(ObjectUrl::of(warehouse.url())?),
        }];
        for location in allowed {
            roots.push(Root::of(location)?);
        }
        let stores = Arc::clone(warehouse.stores());
        Ok(Self { roots, stores })
    }

    /// The form in which an external location is kept: the URL of a folder or file that is there, or of a store.
    ///
    /// Errors: `LocationNotFound`, `InvalidLocation`, `UnsupportedScheme`.
    pub fn canonical(location: &str) -> Result<String> {
        match Root::of(location)? {
            Root::Remote(url) => Ok(url.to_url().into()),
            Root::Local(path) => Ok(to_url(location, &path)?.into()),
        }
    }

    /// Whether an external location, in the form that it is kept in, holds what a URL of `resolve` means.
    pub fn holds(location: &str, url: &Url) -> bool {
        Root::of(location).is_ok_and(|root| root.holds(url))
    }

    /// Whether a URL of `resolve` lies in the warehouse.
    pub fn is_in_warehouse(&self, url: &Url) -> bool {
        self.roots.first().is_some_and(|root| root.holds(url))
    }

    /// The URL of a location that a statement reads; that of a local folder ends in a slash.
    ///
    /// A relative path is tried in the warehouse, then in each allowed local folder: the first in which it exists
    /// counts, else the first. Errors: `LocationRefused` outside all of them, `LocationReserved` in the engine's own
    /// folders, `UnsupportedScheme`, `InvalidLocation`.
    pub fn resolve(&self, path: &str) -> Result<Url> {
        self.resolve_within(path, UNREADABLE)
    }

    /// The URL of a location that a statement writes, which excludes the folder of managed tables too.
    pub fn resolve_for_write(&self, path: &str) -> Result<Url> {
        self.resolve_within(path, UNWRITABLE)
    }

    fn resolve_within(&self, location: &str, reserved: &[&'static str]) -> Result<Url> {
        if let Some(url) = remote_url(location)? {
            self.admit_remote(location, &url, reserved)?;
            return Ok(url.to_url());
        }
        let path = local_path(location)?;
        if path.is_absolute() {
            let found = self.admit(location, FilePath::new("/"), &path, reserved)?;
            return to_url(location, &found);
        }
        let mut first = None;
        for root in &self.roots {
            let tried = match root {
                Root::Local(root) => match self.admit(location, root, &path, reserved) {
                    Ok(found) if is_there(&found) => return to_url(location, &found),
                    Ok(found) => to_url(location, &found),
                    Err(error) => Err(error),
                },
                // Only the warehouse has relative names: to ask other stores would cost a request each.
                Root::Remote(root) if first.is_none() => self.below(root, location, reserved),
                Root::Remote(_) => continue,
            };
            first = first.or(Some(tried));
        }
        first.unwrap_or_else(|| Err(refused(location)))
    }

    /// The URL of a relative path below a remote root.
    fn below(&self, root: &ObjectUrl, location: &str, reserved: &[&'static str]) -> Result<Url> {
        let mut folder = root.to_url();
        if !folder.path().ends_with('/') {
            folder.set_path(&format!("{}/", folder.path()));
        }
        // What is special in a URL is a plain character in a path.
        let path = location
            .replace('%', "%25")
            .replace('?', "%3F")
            .replace('#', "%23");
        let joined = folder
            .join(&format!("./{path}"))
            .map_err(|_| refused(location))?;
        let url = ObjectUrl::of(&joined)?;
        self.admit_remote(location, &url, reserved)?;
        Ok(url.to_url())
    }

    /// Refuses an object that a table's own metadata or a listing names but that SQL may not read: one outside, one
    /// that a link leads to from outside, or one of the engine's own.
    pub(crate) fn check_object(&self, root: &Url, object: &ObjectPath) -> Result<()> {
        if root.scheme() != "file" {
            let mut url = root.clone();
            let encoded = object.as_ref().replace('%', "%25");
            url.set_path(&format!("/{encoded}"));
            return self.admit_remote(url.as_str(), &ObjectUrl::of(&url)?, UNREADABLE);
        }
        let path = FilePath::new("/").join(object.as_ref());
        let location = path.to_string_lossy();
        self.admit(&location, FilePath::new("/"), &path, UNREADABLE)
            .map(drop)
    }

    /// A store that refuses what SQL may not read, for formats whose metadata name files.
    pub(crate) fn confine(self: &Arc<Self>, root: &Url) -> Result<Arc<dyn ObjectStore>> {
        let inner = self.stores.root_store(root)?;
        let confined = Confined::new(Arc::clone(self), root, inner);
        Ok(Arc::new(Layered::new(confined)))
    }

    /// All places, those that statements opened included.
    fn all_roots(&self, test: impl Fn(&Root) -> bool) -> bool {
        let access = self.stores.access();
        self.roots.iter().any(&test)
            // A local folder that is gone opens nothing.
            || access.locations().filter_map(|url| Root::of(url).ok()).any(|root| test(&root))
    }

    fn admit_remote(
        &self,
        location: &str,
        url: &ObjectUrl,
        reserved: &[&'static str],
    ) -> Result<()> {
        let holds = |root: &Root| matches!(root, Root::Remote(root) if root.contains(url));
        if !self.all_roots(holds) {
            return Err(refused(location));
        }
        let Some(Root::Remote(warehouse)) = self.roots.first() else {
            return Ok(());
        };
        if warehouse.root() != url.root() {
            return Ok(());
        }
        for folder in reserved {
            let own = warehouse.path().clone().join(*folder);
            if url.path().prefix_matches(&own) || own.prefix_matches(url.path()) {
                return Err(reserved_error(location, folder));
            }
        }
        Ok(())
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
        let holds = |root: &Root| matches!(root, Root::Local(root) if real.starts_with(root));
        if !self.all_roots(holds) {
            return Err(refused(location));
        }
        let Some(Root::Local(warehouse)) = self.roots.first() else {
            return Ok(real);
        };
        for folder in reserved {
            let own = warehouse.join(folder);
            // A folder above an own one would be listed together with it.
            if real.starts_with(&own) || own.starts_with(&real) {
                return Err(reserved_error(location, folder));
            }
        }
        Ok(real)
    }
}

/// Whether a path exists or, as a pattern, matches one that does.
fn is_there(path: &FilePath) -> bool {
    let pattern = path.to_string_lossy();
    path.exists()
        || (pattern.contains(['*', '?', '['])
            && glob::glob(&pattern).is_ok_and(|mut found| found.any(|entry| entry.is_ok())))
}

fn reserved_error(location: &str, folder: &'static str) -> Error {
    Error::LocationReserved {
        location: location.into(),
        folder,
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
        assert_eq!(state(locations.resolve("s3://bucket/x")), "42501");
        assert_eq!(state(locations.resolve("ftp://host/x")), "0A000");
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

    #[tokio::test]
    async fn urls_are_allowed_by_whole_prefixes() {
        let f = fixture().await;
        let allowed = ["s3://lake/raw".to_owned(), "https://example.com/d/".into()];
        let locations = Locations::new(&f.warehouse, &allowed).unwrap();
        for inside in [
            "s3://lake/raw/x.csv",
            "s3://lake/raw/",
            "https://example.com/d/x.csv",
        ] {
            assert_eq!(locations.resolve(inside).unwrap().as_str(), inside);
        }
        for outside in [
            "s3://lake/rawest/x.csv",
            "s3://lake/raw/../x.csv",
            "s3://lake/raw/%2e%2e/x.csv",
            "s3://other/raw/x.csv",
            "https://example.com/x.csv",
            "http://example.com/d/x.csv",
            "https://example.com.evil.org/d/x.csv",
            "https://example.com:8443/d/x.csv",
            "gs://lake/raw/x.csv",
        ] {
            assert_eq!(state(locations.resolve(outside)), "42501", "{outside}");
        }
        for malformed in [
            "s3://u:p@lake/raw/x",
            "s3://lake/raw/..%2fx",
            "https://example.com/d/x?q=1",
        ] {
            assert_eq!(state(locations.resolve(malformed)), "22023", "{malformed}");
        }
        let root = Url::parse("s3://lake/").unwrap();
        let check = |path: &str| {
            locations
                .check_object(&root, &ObjectPath::from(path))
                .is_ok()
        };
        assert!(check("raw/a b/%41.parquet") && !check("secret/a.parquet"));
    }
}
