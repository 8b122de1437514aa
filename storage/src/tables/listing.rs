//! Finding the files of a table: single files, folders, patterns, and several of these together.
//!
//! URLs flow in, the files that are there now flow out, in the order of their paths, all of one format. Each is checked
//! against the allowed locations, also those that a link in a folder leads to. No file is opened.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use futures::TryStreamExt as _;
use glob::{MatchOptions, Pattern};
use object_store::path::Path;
use object_store::{ObjectMeta, ObjectStore, ObjectStoreExt as _};
use url::Url;

use crate::catalog::ExternalFormat;
use crate::error::{Error, Result};
use crate::locations::Locations;
use crate::stores::Stores;
use crate::tables::format::format_of;
use crate::tables::local_files::{is_circle, is_readable, without_circles};
use crate::tables::snapshot::{SnapshotFile, TableSnapshot};

/// A star stays within one name; two stars are any folders.
const MATCHING: MatchOptions = MatchOptions {
    case_sensitive: true,
    require_literal_separator: true,
    require_literal_leading_dot: false,
};

/// The files of one table.
#[derive(Debug)]
pub(crate) struct Listing {
    /// The file, or the folder that all files lie in.
    pub(crate) base: Url,
    pub(crate) store: Arc<dyn ObjectStore>,
    pub(crate) format: ExternalFormat,
    /// At least one.
    pub(crate) files: Vec<ListedFile>,
}

/// One file of a table.
#[derive(Debug, Clone)]
pub(crate) struct ListedFile {
    pub(crate) meta: ObjectMeta,
    /// The names of the folders below the location, and of the file.
    pub(crate) names: Vec<String>,
    /// Whether the statement named it, by its name or a pattern, and not only its folder.
    is_named: bool,
    /// The path below the base of the listing.
    shown: Vec<String>,
}

impl ListedFile {
    /// What a model pins of the file.
    fn pinned(&self) -> SnapshotFile {
        SnapshotFile {
            path: self.shown.join("/"),
            bytes: self.meta.size,
            modified_ms: self.meta.last_modified.timestamp_millis(),
            e_tag: self.meta.e_tag.clone(),
        }
    }

    fn new(root: &Path, meta: ObjectMeta, is_named: bool) -> Self {
        let parts = meta.location.prefix_match(root).into_iter().flatten();
        let mut names: Vec<String> = parts.map(|part| part.as_ref().to_owned()).collect();
        if names.is_empty() {
            names.extend(meta.location.filename().map(ToOwned::to_owned));
        }
        Self {
            shown: names.clone(),
            meta,
            names,
            is_named,
        }
    }
}

/// What lies at a location that is not a set of files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TableFolder {
    Delta,
    Iceberg,
}

/// What a location turned out to be.
#[derive(Debug)]
pub(crate) enum Found {
    Files(Listing),
    Table(TableFolder),
}

/// Finds the files of `urls`, which lie in one store; `wanted`: only those of this format.
///
/// Errors: `LocationNotFound`, `EmptyFolder`, `UnknownFormat`, `MixedFiles`, `DistantLocations`, `LocationRefused`.
pub(crate) async fn find(
    stores: &Stores,
    locations: &Locations,
    urls: &[Url],
    wanted: Option<ExternalFormat>,
) -> Result<Found> {
    let Some(first) = urls.first() else {
        return Err(Error::Internal {
            what: "a table without a location".into(),
        });
    };
    let store = stores.root_store(first)?;
    let mut files: Vec<ListedFile> = Vec::new();
    let mut base = first.clone();
    for url in urls {
        if url.scheme() != first.scheme() || url.authority() != first.authority() {
            return Err(Error::DistantLocations {
                first: shown(first),
                second: shown(url),
            });
        }
        match list(&store, url).await? {
            Entries::Table(table) => return Ok(Found::Table(table)),
            Entries::Files(found, folder) => {
                files.extend(found);
                base.set_path(&folder);
            }
        }
    }
    if urls.len() > 1 {
        base.set_path("/");
        for file in &mut files {
            let all = file.meta.location.parts();
            file.shown = all.map(|part| part.as_ref().to_owned()).collect();
        }
    }
    let format = one_format(&mut files, urls, wanted)?;
    let led_to: Vec<_> = urls.iter().map(|url| locations.led_to_by(url)).collect();
    for file in &files {
        check_one(&led_to, first, &file.meta.location)?;
    }
    files.sort_by(|a, b| a.meta.location.cmp(&b.meta.location));
    files.dedup_by(|a, b| a.meta.location == b.meta.location);
    let listing = Listing {
        base,
        store,
        format,
        files,
    };
    listing.refuse_torn()?;
    Ok(Found::Files(listing))
}

impl Listing {
    /// Refuses a file without a byte, whose writer or upload was cut off; texts may have no rows.
    fn refuse_torn(&self) -> Result<()> {
        if matches!(self.format, ExternalFormat::Csv | ExternalFormat::NdJson) {
            return Ok(());
        }
        match self.files.iter().find(|file| file.meta.size == 0) {
            Some(torn) => Err(Error::BadFile {
                file: self.place().url(torn.meta.location.as_ref()),
                format: self.format.name(),
                reason: "it has no bytes".into(),
            }),
            None => Ok(()),
        }
    }
}

/// Errors: those of `check_object`, if none of the locations that a statement named leads to the object.
fn check_one(led_to: &[Arc<Locations>], root: &Url, object: &Path) -> Result<()> {
    let mut checked = Ok(());
    for locations in led_to {
        checked = locations.check_object(root, object);
        if checked.is_ok() {
            break;
        }
    }
    checked
}

fn path_of(url: &Url) -> Result<Path> {
    Path::from_url_path(url.path()).map_err(|_| Error::InvalidLocation {
        location: shown(url),
    })
}

enum Entries {
    /// Files, and the path of the URL below which they were found.
    Files(Vec<ListedFile>, String),
    Table(TableFolder),
}

async fn list(store: &Arc<dyn ObjectStore>, url: &Url) -> Result<Entries> {
    let root = path_of(url)?;
    if !url.path().ends_with('/') {
        if !is_readable(url, &root) {
            return Err(Error::NotAFile {
                location: shown(url),
            });
        }
        match store.head(&root).await {
            Ok(meta) => {
                let file = ListedFile::new(&root, meta, true);
                return Ok(Entries::Files(vec![file], url.path().into()));
            }
            Err(object_store::Error::NotFound { .. }) => {}
            Err(error) => return Err(error.into()),
        }
        if is_http(url) && !is_pattern(root.as_ref()) {
            return Err(Error::LocationNotFound {
                location: shown(url),
            });
        }
    }
    if is_http(url) {
        return Err(Error::NoListing {
            location: shown(url),
        });
    }
    if !url.path().ends_with('/')
        && let Some((folder, pattern)) = split_pattern(&root)
    {
        let matched = matching(store, url, &folder, &pattern).await?;
        return match matched.is_empty() {
            true => Err(Error::NoMatch {
                pattern: shown(url),
            }),
            false => Ok(Entries::Files(matched, folder_path(&folder))),
        };
    }
    let found = below_folder(store, url, (&root, &root), false).await?;
    if found.is_empty() && !url.path().ends_with('/') {
        return Err(Error::LocationNotFound {
            location: shown(url),
        });
    }
    Ok(match table_folder(&found) {
        Some(table) => Entries::Table(table),
        None => Entries::Files(found, folder_path(&root)),
    })
}

/// Whether a location is of a store whose servers list no files; some do (WebDAV), most take the request for a fault.
pub(crate) fn is_http(url: &Url) -> bool {
    matches!(url.scheme(), "http" | "https")
}

/// The path of a folder's URL.
fn folder_path(folder: &Path) -> String {
    match folder.as_ref().is_empty() {
        true => "/".into(),
        false => format!("/{}/", folder.as_ref().replace('%', "%25")),
    }
}

/// Which table format's own files lie in a folder.
fn table_folder(files: &[ListedFile]) -> Option<TableFolder> {
    files.iter().find_map(|file| match file.names.as_slice() {
        [folder, ..] if folder == "_delta_log" => Some(TableFolder::Delta),
        [folder, name] if folder == "metadata" && name.ends_with(".metadata.json") => {
            Some(TableFolder::Iceberg)
        }
        _ => None,
    })
}

/// All files below a folder, with their names as seen from `root`.
async fn below_folder(
    store: &Arc<dyn ObjectStore>,
    url: &Url,
    (folder, root): (&Path, &Path),
    is_named: bool,
) -> Result<Vec<ListedFile>> {
    let found: Result<Vec<ObjectMeta>, _> = store.list(Some(folder)).try_collect().await;
    let found = match found {
        Err(error) if is_circle(&error) => without_circles(store, url, folder, true).await?.0,
        found => found?,
    };
    let files = found.into_iter();
    let files = files.map(|meta| ListedFile::new(root, meta, is_named));
    let mut files: Vec<ListedFile> = files.collect();
    files.sort_by(|a, b| a.meta.location.cmp(&b.meta.location));
    Ok(files)
}

/// Whether a name is a pattern.
pub(crate) fn is_pattern(text: &str) -> bool {
    text.contains(['*', '?', '['])
}

/// The folder above the first pattern in a path, and the patterns below it.
fn split_pattern(path: &Path) -> Option<(Path, Vec<String>)> {
    let parts: Vec<String> = path.parts().map(|part| part.as_ref().to_owned()).collect();
    let at = parts.iter().position(|part| is_pattern(part))?;
    let folder = Path::from_iter(parts[..at].iter().map(String::as_str));
    Some((folder, parts[at..].to_vec()))
}

/// The files that match patterns below a folder; of a folder that matches, all files.
async fn matching(
    store: &Arc<dyn ObjectStore>,
    url: &Url,
    folder: &Path,
    patterns: &[String],
) -> Result<Vec<ListedFile>> {
    let mut folders = vec![folder.clone()];
    let mut files = Vec::new();
    for (level, text) in patterns.iter().enumerate() {
        if text == "**" {
            for below in &folders {
                let found = matching_anywhere(store, url, (folder, below), &patterns[level..]);
                files.extend(found.await?);
            }
            return Ok(files);
        }
        let pattern = compile(text)?;
        let is_last = level + 1 == patterns.len();
        let mut next = Vec::new();
        for folder_here in &folders {
            let (objects, folders) = in_folder(store, url, folder_here).await?;
            let matches = |path: &Path| {
                path.filename()
                    .is_some_and(|name| pattern.matches_with(name, MATCHING))
            };
            next.extend(folders.into_iter().filter(|path| matches(path)));
            if is_last {
                let objects = objects.into_iter();
                let found = objects.filter(|meta| matches(&meta.location));
                // What has bytes is a file.
                let found = found.filter(|meta| meta.size > 0 || is_readable(url, &meta.location));
                files.extend(found.map(|meta| ListedFile::new(folder, meta, true)));
            }
        }
        folders = next;
    }
    for matched in &folders {
        files.extend(below_folder(store, url, (matched, folder), false).await?);
    }
    Ok(files)
}

/// The objects and folders in a folder.
async fn in_folder(
    store: &Arc<dyn ObjectStore>,
    url: &Url,
    folder: &Path,
) -> Result<(Vec<ObjectMeta>, Vec<Path>)> {
    match store.list_with_delimiter(Some(folder)).await {
        Err(error) if is_circle(&error) => without_circles(store, url, folder, false).await,
        listed => listed
            .map(|listed| (listed.objects, listed.common_prefixes))
            .map_err(Error::from),
    }
}

/// The files below a folder whose path from there matches patterns that begin with two stars.
async fn matching_anywhere(
    store: &Arc<dyn ObjectStore>,
    url: &Url,
    (root, folder): (&Path, &Path),
    patterns: &[String],
) -> Result<Vec<ListedFile>> {
    let pattern = compile(&patterns.join("/"))?;
    let mut files = below_folder(store, url, (folder, root), true).await?;
    files.retain(|file| {
        let parts = file
            .meta
            .location
            .prefix_match(folder)
            .into_iter()
            .flatten();
        let path: Vec<String> = parts.map(|part| part.as_ref().to_owned()).collect();
        pattern.matches_with(&path.join("/"), MATCHING)
    });
    Ok(files)
}

fn compile(text: &str) -> Result<Pattern> {
    Pattern::new(text).map_err(|error| Error::InvalidPattern {
        pattern: text.into(),
        reason: error.msg,
    })
}

/// Leaves the files of one format, and says which; files of one format are all compressed or none.
fn one_format(
    files: &mut Vec<ListedFile>,
    urls: &[Url],
    wanted: Option<ExternalFormat>,
) -> Result<ExternalFormat> {
    let location = || urls.iter().map(shown).collect::<Vec<_>>().join(", ");
    let is_single = urls.len() == 1 && files.len() == 1 && files[0].names.len() == 1;
    let mut found: Option<(ExternalFormat, String)> = None;
    let mut kept = Vec::new();
    for file in std::mem::take(files) {
        let name = file.names.last().map(String::as_str).unwrap_or_default();
        // Writers keep their notes in files and folders with such names.
        let is_hidden = file.names.iter().any(|name| name.starts_with(['_', '.']));
        if is_hidden && !(is_single && file.is_named) {
            continue;
        }
        let (format, ending) = match (format_of(name), wanted) {
            (Some((format, ending)), None) => (format, ending),
            (Some((format, ending)), Some(wanted)) if format == wanted => (format, ending),
            // What a statement names is what it says, whatever the file's name.
            (_, Some(wanted)) if file.is_named => (wanted, ""),
            _ => continue,
        };
        match &found {
            Some((_, first)) if !first.eq_ignore_ascii_case(ending) => {
                return Err(Error::MixedFiles {
                    location: location(),
                    first: first.clone(),
                    second: ending.into(),
                });
            }
            Some(_) => {}
            None => found = Some((format, ending.into())),
        }
        kept.push(file);
    }
    *files = kept;
    if let Some((format, _)) = found {
        return Ok(format);
    }
    let is_file = urls.len() == 1 && !urls[0].path().ends_with('/') && wanted.is_none();
    Err(match is_file {
        true => Error::UnknownFormat {
            location: location(),
        },
        false => Error::EmptyFolder {
            location: location(),
            format: wanted.map_or("data", ExternalFormat::name).into(),
        },
    })
}

impl Listing {
    /// What a model pins.
    pub(crate) fn describe(&self) -> TableSnapshot {
        TableSnapshot {
            format: self.format.name().into(),
            location: self.base.to_string(),
            version: None,
            files: self.files.iter().map(ListedFile::pinned).collect(),
        }
    }

    /// Leaves out the files that a snapshot does not name. Errors: `SnapshotLost` if one of its own is not what it was.
    pub(crate) fn keep(&mut self, snapshot: &TableSnapshot) -> Result<()> {
        let found = self.files.iter().map(ListedFile::pinned);
        let found: BTreeMap<String, SnapshotFile> =
            found.map(|now| (now.path.clone(), now)).collect();
        for file in &snapshot.files {
            let now = found.get(&file.path);
            if now.is_some_and(|now| file.is_still(now)) {
                continue;
            }
            let what = if now.is_some() {
                "was written since"
            } else {
                "is gone"
            };
            return Err(Error::SnapshotLost {
                location: snapshot.location.clone(),
                what: format!("file \"{}\" {what}", file.path),
            });
        }
        let pinned: BTreeSet<&str> = snapshot.files.iter().map(|f| f.path.as_str()).collect();
        self.files
            .retain(|file| pinned.contains(file.pinned().path.as_str()));
        Ok(())
    }
}

/// A location as users write it.
pub(crate) fn shown(url: &Url) -> String {
    match url.to_file_path() {
        Ok(path) => path.to_string_lossy().into_owned(),
        Err(()) => crate::stores::shown(url),
    }
}
