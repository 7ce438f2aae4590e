//! Task records on disk: what is left of a task when its sandbox's process dies.
//!
//! One small file per task in `<sandbox directory>/tasks`. It exists from the creation of a task until its deletion
//! and holds the exit once there is one. [`super::LocalSandbox`] writes, [`crate::shim`] reads the records of a dead
//! shim. Written to a temporary name and renamed; not synced, because the directory does not survive a reboot.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::ExitStatus;

/// A task's record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Record {
    id: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    exit: Option<ExitStatus>,
}

fn directory(sandbox: &Path) -> PathBuf {
    sandbox.join("tasks")
}

fn file(sandbox: &Path, id: &str) -> PathBuf {
    directory(sandbox).join(format!("{id}.json"))
}

/// Makes the place for records.
pub(crate) fn prepare(sandbox: &Path) -> std::io::Result<()> {
    std::fs::create_dir_all(directory(sandbox))
}

/// Writes a record. A failure costs only what a dead sandbox can still tell.
pub(crate) fn write(sandbox: &Path, id: &str, exit: Option<&ExitStatus>) {
    let record = Record {
        id: id.to_owned(),
        exit: exit.cloned(),
    };
    let path = file(sandbox, id);
    let temporary = path.with_extension("new");
    let text = serde_json::to_vec(&record).expect("a record is plain data");
    if let Err(error) = std::fs::write(&temporary, text).and_then(|()| std::fs::rename(&temporary, &path)) {
        tracing::warn!(task = id, %error, "task record not written");
    }
}

/// Removes a record.
pub(crate) fn remove(sandbox: &Path, id: &str) {
    if let Err(error) = std::fs::remove_file(file(sandbox, id))
        && error.kind() != std::io::ErrorKind::NotFound
    {
        tracing::warn!(task = id, %error, "task record not removed");
    }
}

/// Removes all records of a sandbox. Their directory is ours alone.
pub(crate) fn clear(sandbox: &Path) {
    if let Err(error) = std::fs::remove_dir_all(directory(sandbox))
        && error.kind() != std::io::ErrorKind::NotFound
    {
        tracing::warn!(%error, "task records not removed");
    }
}

/// Reads all records; those that cannot be read are left out.
pub(crate) fn read(sandbox: &Path) -> BTreeMap<String, Option<ExitStatus>> {
    let Ok(entries) = std::fs::read_dir(directory(sandbox)) else {
        return BTreeMap::new();
    };
    let files = entries.flatten().map(|entry| entry.path());
    let records = files.filter(|path| path.extension().is_some_and(|extension| extension == "json"));
    let records =
        records.filter_map(|path| serde_json::from_slice::<Record>(&std::fs::read(path).ok()?).ok());
    records.map(|record| (record.id, record.exit)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_are_kept_until_the_task_is_deleted() {
        let dir = tempfile::tempdir().unwrap();
        prepare(dir.path()).unwrap();
        let exit = ExitStatus::now(3, None);
        write(dir.path(), "a", None);
        write(dir.path(), "b", None);
        write(dir.path(), "b", Some(&exit));
        write(dir.path(), "c", None);
        remove(dir.path(), "c");
        std::fs::write(dir.path().join("tasks/broken.json"), "{").unwrap();
        let expected = BTreeMap::from([("a".to_owned(), None), ("b".to_owned(), Some(exit))]);
        assert_eq!(read(dir.path()), expected);
    }
}
