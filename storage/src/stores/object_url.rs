//! The name of an object: a store's root and a path in it, in the one form that is compared.
//!
//! Texts and URLs flow in. Dots are resolved and percent signs decoded once, so that two names of one object are equal,
//! and a prefix is matched by whole parts of the path.

use object_store::path::Path;
use url::Url;

use crate::error::{Error, Result};

/// The place of an object or folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ObjectUrl {
    /// Scheme and authority, with the path `/`.
    root: Url,
    path: Path,
    /// Whether the URL ended in a slash.
    is_folder: bool,
}

impl ObjectUrl {
    /// Reads a URL as a user wrote it. Errors: `InvalidLocation`, without user and password.
    pub(crate) fn parse(location: &str) -> Result<Self> {
        let url = Url::parse(location).map_err(|_| invalid(location))?;
        Self::of(&url)
    }

    /// The place that a URL names.
    pub(crate) fn of(url: &Url) -> Result<Self> {
        let is_azure = matches!(url.scheme(), "abfs" | "abfss");
        let has_user = !url.username().is_empty() && !is_azure;
        let is_plain = url.query().is_none() && url.fragment().is_none();
        let has_host = url.scheme() == "file" || url.host_str().is_some_and(|h| !h.is_empty());
        if has_user || url.password().is_some() || !is_plain || !has_host {
            return Err(invalid(&shown(url)));
        }
        let path = Path::from_url_path(url.path()).map_err(|_| invalid(&shown(url)))?;
        let is_folder = url.path().ends_with('/');
        let mut root = url.clone();
        root.set_path("/");
        Ok(Self {
            root,
            path,
            is_folder,
        })
    }

    pub(crate) fn root(&self) -> &Url {
        &self.root
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Whether `other` is this place or lies below it.
    pub(crate) fn contains(&self, other: &Self) -> bool {
        self.root == other.root && other.path.prefix_matches(&self.path)
    }

    /// The URL, of a folder with a slash at its end.
    pub(crate) fn to_url(&self) -> Url {
        let mut url = self.root.clone();
        let encoded = self.path.as_ref().replace('%', "%25");
        let end = match self.is_folder && !encoded.is_empty() {
            true => "/",
            false => "",
        };
        url.set_path(&format!("/{encoded}{end}"));
        url
    }
}

/// The URL of an object of a store, with its special characters encoded.
pub(crate) fn object_url(root: &Url, object: &Path) -> Url {
    let mut url = root.clone();
    url.set_path(&format!("/{}", object.as_ref().replace('%', "%25")));
    url
}

/// The URL of an object below a store's root, to be shown.
pub(crate) fn url_of(root: &Url, path: &Path) -> String {
    format!("{}{path}", root.as_str())
}

fn invalid(location: &str) -> Error {
    Error::InvalidLocation {
        location: location.into(),
    }
}

/// A URL without what may be a secret.
pub(crate) fn shown(url: &Url) -> String {
    let mut shown = url.clone();
    let _ = shown.set_password(None);
    if !matches!(url.scheme(), "abfs" | "abfss") {
        let _ = shown.set_username("");
    }
    shown.set_query(None);
    shown.set_fragment(None);
    shown.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn contains(outer: &str, inner: &str) -> bool {
        let outer = ObjectUrl::parse(outer).unwrap();
        ObjectUrl::parse(inner).is_ok_and(|inner| outer.contains(&inner))
    }

    #[test]
    fn prefixes_are_whole_parts() {
        for inside in [
            "s3://b/a",
            "s3://b/a/",
            "s3://b/a/x",
            "s3://b/a/y/../x",
            "s3://b/%61/x",
        ] {
            assert!(contains("s3://b/a/", inside), "{inside}");
        }
        for outside in [
            "s3://b/ab",
            "s3://b/A/x",
            "s3://b/a/../x",
            "s3://b/a/%2e%2e/x",
            "s3://b/a/..%2fx",
            "s3://b/a%2f..%2fx",
            "s3://b2/a/x",
            "s3://b:80/a/x",
            "gs://b/a/x",
            "s3://user@b/a/x",
            "s3://b@c/a/x",
            "s3://b/a/x?versionId=1",
            "s3://b/a/x#y",
            "s3:b/a/x",
            "s3:///a/x",
            "s3://b/a//x",
        ] {
            assert!(!contains("s3://b/a/", outside), "{outside}");
        }
        assert!(contains(
            "https://Example.com/d/",
            "https://example.com:443/d/x.csv"
        ));
        assert!(!contains("https://example.com/", "http://example.com/x"));
        assert!(!contains(
            "https://example.com/",
            "https://example.com.evil.org/x"
        ));
        assert!(contains(
            "abfss://c@acc.dfs.core.windows.net/a",
            "abfss://c@acc.dfs.core.windows.net/a/b"
        ));
        assert!(!contains(
            "abfss://c@acc.dfs.core.windows.net/a",
            "abfss://d@acc.dfs.core.windows.net/a/b"
        ));
    }

    #[test]
    fn a_place_survives_its_url() {
        for url in [
            "s3://b/",
            "s3://b/a%20b/c.csv",
            "s3://b/a%2520b/",
            "https://h/x",
        ] {
            let place = ObjectUrl::parse(url).unwrap();
            assert_eq!(place.to_url().as_str(), url);
            assert_eq!(ObjectUrl::of(&place.to_url()).unwrap(), place);
        }
    }

    #[test]
    fn secrets_of_urls_are_not_shown() {
        let error = ObjectUrl::parse("s3://key:secret@b/x?token=secret").unwrap_err();
        assert_eq!(error.sqlstate(), "22023");
        assert!(!error.to_string().contains("secret"), "{error}");
    }
}
