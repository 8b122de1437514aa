//! The folder of one process below a root that several may spill into.
//!
//! In: the root; out: a folder that goes with the process. What a process left that was killed goes at the next start of
//! another one over the same root: each holds a lock on its folder, which the system takes back however it ends.

use std::fs::File;
use std::path::{Path, PathBuf};

use datafusion::error::DataFusionError;

use crate::error::Result;

/// What the folders' names begin with; nothing else below a root is touched.
const PREFIX: &str = "auspex-spill-";

/// The folder of a process.
#[derive(Debug)]
pub(crate) struct SpillFolder {
    path: PathBuf,
    /// Holds the lock as long as it is open.
    open: File,
}

impl SpillFolder {
    /// Makes a folder below `root`, and removes those of processes that are gone.
    ///
    /// Errors: those of the file system about the new folder; what cannot be removed stays.
    pub(crate) fn create(root: &Path) -> Result<SpillFolder> {
        let mut number = [0; 8];
        auspex_storage::random(&mut number)?;
        let name = format!("{PREFIX}{:016x}", u64::from_le_bytes(number));
        Ok(SpillFolder::create_named(root, &name).map_err(DataFusionError::from)?)
    }

    fn create_named(root: &Path, name: &str) -> std::io::Result<SpillFolder> {
        std::fs::create_dir_all(root)?;
        // While another process begins, its folder may be there before its lock.
        let entrance = File::open(root)?;
        let alone = entrance.lock();
        let path = root.join(name);
        std::fs::create_dir(&path)?;
        let folder = SpillFolder {
            open: File::open(&path)?,
            path,
        };
        // Where the file system knows no locks, nobody can take this one for that of a process that is gone.
        let locked = folder.open.try_lock();
        if alone.is_ok() && locked.is_ok() {
            remove_abandoned(root, &folder.path);
        }
        Ok(folder)
    }

    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for SpillFolder {
    fn drop(&mut self) {
        // What still writes there keeps it until the next start.
        let _ = std::fs::remove_dir(&self.path);
    }
}

/// Removes the folders that no process holds, but for `own`.
fn remove_abandoned(root: &Path, own: &Path) {
    for entry in std::fs::read_dir(root).into_iter().flatten().flatten() {
        let path = entry.path();
        let is_ours = entry.file_name().to_string_lossy().starts_with(PREFIX);
        if !is_ours || path == own {
            continue;
        }
        let Ok(open) = File::open(&path) else {
            continue;
        };
        if open.try_lock().is_ok()
            && let Err(error) = std::fs::remove_dir_all(&path)
        {
            tracing::warn!(%error, folder = %path.display(), "what was spilled by a process that is gone stays");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_of_processes_that_are_gone_go_at_the_next_start() {
        let root = std::env::temp_dir().join(format!("spills-of-{}", std::process::id()));
        let names = || {
            let entries = std::fs::read_dir(&root).unwrap();
            let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
            let mut names: Vec<String> = names.collect();
            names.sort();
            names
        };
        let named = |name: &str| SpillFolder::create_named(&root, name).unwrap();
        let killed = root.join("auspex-spill-killed");
        std::fs::create_dir_all(killed.join("inner")).unwrap();
        std::fs::write(killed.join("inner/rows"), "rows").unwrap();
        std::fs::create_dir(root.join("another's")).unwrap();
        let living = named("auspex-spill-living");
        assert_eq!(names(), ["another's", "auspex-spill-living"]);
        let second = named("auspex-spill-second");
        drop(living);
        assert_eq!(names(), ["another's", "auspex-spill-second"]);
        std::fs::write(second.path().join("rows"), "rows").unwrap();
        let third = named("auspex-spill-third");
        assert!(second.path().join("rows").exists());
        drop((second, third));
        assert_eq!(names(), ["another's", "auspex-spill-second"]);
        drop(SpillFolder::create(&root).unwrap());
        assert_eq!(names(), ["another's"]);
        std::fs::remove_dir_all(&root).unwrap();
    }
}
