//! Confinement: which files SQL may name.
//!
//! A path or URL as a user wrote it flows in; the URL of what it really is, links and `..` followed, flows out, or a
//! refusal. Names stay inside the warehouse, the locations that the server was started with, and the external locations
//! of the catalog, and outside the engine's own folders. Nothing here opens a file.

mod confined;
#[cfg(test)]
mod tests;

use std::ffi::OsString;
use std::io::ErrorKind;
use std::path::{Component, Path as FilePath, PathBuf};
use std::sync::Arc;

use object_store::ObjectStore;
use object_store::path::Path as ObjectPath;
use url::Url;

use crate::error::{Error, Result};
use crate::locations::confined::Confined;
use crate::stores::{Layered, ObjectUrl, StoreKind, Stores, object_url};
use crate::warehouse::{Warehouse, local_path};

/// Folders of the warehouse whose files SQL does not read raw.
const UNREADABLE: &[&str] = &["catalog", "models"];
const TABLES: &str = "tables";
/// The engine's own folders of the warehouse: SQL does not write them through external tables, and only in them garbage is
/// looked for.
pub(crate) const UNWRITABLE: &[&str] = &["catalog", "models", TABLES];

/// The places that SQL may name files in.
#[derive(Debug)]
pub struct Locations {
    /// The warehouse comes first.
    roots: Vec<Root>,
    /// The only place of these that files may lie in, if there is one.
    within: Option<Root>,
    /// Folders of the warehouse whose files are not read raw.
    unreadable: &'static [&'static str],
    stores: Arc<Stores>,
}

/// A place with all that lies in it.
#[derive(Debug, Clone)]
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

    /// How many folders it lies in.
    fn depth(&self) -> usize {
        match self {
            Self::Local(path) => path.components().count(),
            Self::Remote(url) => url.path().parts().count(),
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
        Ok(Self {
            roots,
            within: None,
            unreadable: UNREADABLE,
            stores: Arc::clone(warehouse.stores()),
        })
    }

    /// Where files may lie that a listing, a log or a manifest of a location leads to: who may read the location can write
    /// there what it leads to, so it leads only to what the same privilege reads.
    ///
    /// Of the external locations that hold it, the innermost counts, since the others hold what lies in that one. From
    /// outside the folder of managed tables nothing leads into it.
    pub(crate) fn led_to_by(&self, url: &Url) -> Arc<Self> {
        let access = self.stores.access();
        let external = access.locations().filter_map(|url| Root::of(url).ok());
        let holding = external.filter(|root| root.holds(url));
        let within = holding.max_by_key(Root::depth);
        let is_of_tables = self.is_in_tables(url);
        Arc::new(Self {
            roots: self.roots.clone(),
            within,
            unreadable: match is_of_tables {
                true => self.unreadable,
                false => UNWRITABLE,
            },
            stores: Arc::clone(&self.stores),
        })
    }

    /// Whether a URL lies in the folder of managed tables.
    fn is_in_tables(&self, url: &Url) -> bool {
        match self.roots.first() {
            Some(Root::Local(warehouse)) => {
                let tables = Root::Local(warehouse.join(TABLES));
                tables.holds(url)
            }
            Some(Root::Remote(warehouse)) => ObjectUrl::of(url).is_ok_and(|url| {
                let tables = warehouse.path().clone().join(TABLES);
                warehouse.root() == url.root() && url.path().prefix_matches(&tables)
            }),
            None => false,
        }
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
            let url = object_url(root, object);
            return self.admit_remote(url.as_str(), &ObjectUrl::of(&url)?, self.unreadable);
        }
        let path = FilePath::new("/").join(object.as_ref());
        let location = path.to_string_lossy();
        self.admit(&location, FilePath::new("/"), &path, self.unreadable)
            .map(drop)
    }

    /// A store that refuses what SQL may not read, for formats whose metadata name files.
    pub(crate) fn confine(self: &Arc<Self>, root: &Url) -> Result<Arc<dyn ObjectStore>> {
        let inner = self.stores.root_store(root)?;
        let confined = Confined::new(Arc::clone(self), root, inner);
        Ok(Arc::new(Layered::new(confined)))
    }

    /// Whether one of the places, those that statements opened included, passes the test.
    fn some_root(&self, test: impl Fn(&Root) -> bool) -> bool {
        if self.within.as_ref().is_some_and(|root| !test(root)) {
            return false;
        }
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
        if !self.some_root(holds) {
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
        if !self.some_root(holds) {
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
