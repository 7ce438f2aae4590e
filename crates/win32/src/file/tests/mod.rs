//! Objects of a volume: everything that is set comes back, and nothing leads elsewhere.
//!
//! The volumes of Wine 8 keep less than NTFS: where that shows, the test says what Wine answers instead.

use std::io;

use super::directory::is;
use super::*;

mod metadata;
mod places;

/// A directory of one test, removed with all that is in it.
struct Scratch {
    parent: Directory,
    name: String,
    directory: Directory,
}

impl Scratch {
    fn new(test: &str) -> Self {
        let parent = Directory::open(&std::env::temp_dir()).unwrap();
        let name = format!("ctr-like-{test}-{}", std::process::id());
        let directory = parent.create_directory(&name).unwrap();
        Self {
            parent,
            name,
            directory,
        }
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // Volumes other than NTFS keep the name until the last handle is closed.
        if let Ok(parent) = self.parent.try_clone() {
            self.directory = parent;
        }
        let removed = self.parent.remove_tree(&self.name);
        if !std::thread::panicking() {
            removed.unwrap();
            assert_eq!(
                self.parent.query(&self.name).unwrap_err().kind(),
                io::ErrorKind::NotFound
            );
        }
    }
}

fn wine() -> bool {
    let kernel = crate::dynamic::Library::load("ntdll.dll").unwrap();
    kernel.require("wine_get_version").is_ok()
}

#[track_caller]
fn assert_code<T: std::fmt::Debug>(result: io::Result<T>, code: u32) {
    assert!(is(result.as_ref().unwrap_err(), code), "{result:?}");
}

fn sorted(directory: &Directory) -> Vec<String> {
    let mut names = directory.list().unwrap();
    names.sort();
    names
}
