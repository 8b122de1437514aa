//! Which role may name which files.
//!
//! In: a path as a statement wrote it; out: nothing, or a refusal. Below what the server allows to SQL at all, a role needs
//! a grant on an external location that holds the file, or to be one of the roles for the server's files.

use auspex_storage::{Definition, LocationDefinition, Locations, ObjectKind};
use url::Url;

use super::{Access, roles};
use crate::error::{Error, Result};
use crate::session::Session;

/// What a statement does with files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FileUse {
    Read,
    Write,
}

impl FileUse {
    fn privilege(self) -> &'static str {
        match self {
            FileUse::Read => "READ",
            FileUse::Write => "WRITE",
        }
    }

    /// The predefined role that has it for all locations of `--allow-location`.
    fn role(self) -> &'static str {
        match self {
            FileUse::Read => roles::READ_FILES,
            FileUse::Write => roles::WRITE_FILES,
        }
    }
}

impl Session {
    /// The URL of a path that the role which acts may use.
    pub(crate) fn file_url(&self, path: &str, usage: FileUse) -> Result<Url> {
        let locations = &self.engine.locations;
        let url = match usage {
            FileUse::Read => locations.resolve(path)?,
            FileUse::Write => locations.resolve_for_write(path)?,
        };
        self.access().check_file(locations, &url, path, usage)?;
        Ok(url)
    }
}

impl Access {
    fn check_file(
        &self,
        locations: &Locations,
        url: &Url,
        path: &str,
        usage: FileUse,
    ) -> Result<()> {
        // Files of tables lie in the warehouse: to read them raw would pass by the privileges of the tables.
        let by_role =
            self.is(usage.role()) && !locations.is_in_warehouse(url) && self.has_credentials(url);
        if self.is_superuser() || by_role || self.has_location(url, usage) {
            return Ok(());
        }
        Err(Error::NotAllowed {
            what: format!("{} \"{path}\"", usage.privilege().to_lowercase()),
            hint: Some(format!(
                "A superuser may GRANT {} ON LOCATION of an external location that holds it.",
                usage.privilege()
            )),
        })
    }

    /// Whether the credentials that open the file's store are granted, if there are any. A granted location needs none.
    fn has_credentials(&self, url: &Url) -> bool {
        let mut all = self.state().globals(ObjectKind::Credential);
        all.all(|entry| match &entry.definition {
            Definition::Credential(definition) => {
                !definition.covers(url) || self.has(entry, "USAGE")
            }
            _ => true,
        })
    }

    /// Whether a location that holds the file is granted.
    fn has_location(&self, url: &Url, usage: FileUse) -> bool {
        let mut all = self.state().globals(ObjectKind::Location);
        all.any(|entry| match &entry.definition {
            Definition::Location(LocationDefinition { url: location, .. }) => {
                self.has(entry, usage.privilege()) && Locations::holds(location, url)
            }
            _ => false,
        })
    }
}
