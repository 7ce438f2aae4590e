//! Exported folders, made here as the system makes them, and what becomes of them.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use layer::LayerError;
use layer::tar::Piece;
use layer::windows::transport::{DIRECTORY_SUFFIX, TransportWriter, write_tombstones};
use layer::windows::{
    Attributes, Entry, FileTime, ImportTarget, Kind, LinkKind, Metadata, Reparse, StreamName, Table,
    WindowsLimits, WindowsPath, WindowsWriter, import_windows,
};

use super::Difference;
use crate::disk::Unfinished;
use crate::windows::{Change, ChangeKind};

/// An exported folder.
struct Exported {
    dir: tempfile::TempDir,
    folder: Unfinished,
}

impl Exported {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let folder = Unfinished::create(dir.path()).unwrap();
        fs::create_dir_all(folder.path().join("Files")).unwrap();
        Self { dir, folder }
    }

    fn place(&self, path: &str) -> PathBuf {
        self.folder.path().join(path)
    }

    fn write(&self, at: &str, path: &str, kind: Kind, content: &[u8]) {
        let entry = entry(path, kind);
        let mut writer = TransportWriter::new(fs::File::create(self.place(at)).unwrap(), &entry).unwrap();
        writer.data(content).unwrap();
        writer.finish().unwrap();
    }

    fn file(self, path: &str, content: &str) -> Self {
        self.write(path, path, file(content), content.as_bytes());
        self
    }

    fn directory(self, path: &str) -> Self {
        fs::create_dir(self.place(path)).unwrap();
        let at = format!("{path}{DIRECTORY_SUFFIX}");
        self.write(&at, path, directory(), b"");
        self
    }

    fn deleted(self, paths: &[&str]) -> Self {
        let paths: Vec<WindowsPath> = paths.iter().map(|path| WindowsPath::new(path).unwrap()).collect();
        let list = fs::File::create(self.place("tombstones.txt")).unwrap();
        write_tombstones(list, &paths).unwrap();
        self
    }

    /// Beside layers, the nearest first. The directory must live as long as the answer.
    fn beside(self, tables: Vec<Table>) -> (tempfile::TempDir, Difference) {
        let difference = Difference {
            folder: self.folder,
            tables,
            limits: WindowsLimits::default(),
        };
        (self.dir, difference)
    }
}

fn metadata(directory: bool) -> Metadata {
    Metadata::default_for(directory, FileTime::from_ticks(133_537_248_000_000_000))
}

fn file(content: &str) -> Kind {
    Kind::File {
        metadata: metadata(false),
        size: content.len() as u64,
    }
}

fn directory() -> Kind {
    Kind::Directory(metadata(true))
}

fn entry(path: &str, kind: Kind) -> Entry {
    Entry {
        path: WindowsPath::new(path).unwrap(),
        kind,
    }
}

struct Nowhere;

impl ImportTarget for Nowhere {
    fn object(&mut self, _: &Entry) -> Result<(), LayerError> {
        Ok(())
    }

    fn stream(&mut self, _: &StreamName, _: u64) -> Result<(), LayerError> {
        Ok(())
    }

    fn content(&mut self, _: Piece<'_>) -> Result<(), LayerError> {
        Ok(())
    }

    fn close(&mut self) -> Result<(), LayerError> {
        Ok(())
    }
}

/// The table of a base layer with these files, and directories where the name ends with a slash.
fn base(paths: &[&str]) -> Table {
    let mut writer = WindowsWriter::new(Vec::new());
    for path in paths {
        let (path, kind) = match path.strip_suffix('/') {
            Some(path) => (path, directory()),
            None => (*path, file("old")),
        };
        let content = if matches!(kind, Kind::File { .. }) {
            &b"old"[..]
        } else {
            b""
        };
        writer.entry(&entry(path, kind), content).unwrap();
    }
    let (tar, _) = writer.finish().unwrap();
    let limits = WindowsLimits::default();
    import_windows(&tar[..], None, &limits, &mut Nowhere, &mut io::sink())
        .unwrap()
        .table
}

fn lines(difference: &Difference) -> Vec<String> {
    let line = |Change { kind, path }| {
        let kind = match kind {
            ChangeKind::Added => "A",
            ChangeKind::Changed => "C",
            ChangeKind::Deleted => "D",
        };
        format!("{kind} {path}")
    };
    difference.changes().unwrap().into_iter().map(line).collect()
}

/// What is in an archive: names, with content, and with where links lead.
fn listed(tar: &[u8]) -> BTreeMap<String, String> {
    let mut archive = tar::Archive::new(tar);
    let entries = archive.entries().unwrap().map(|entry| {
        let mut entry = entry.unwrap();
        let name = String::from_utf8(entry.path_bytes().into_owned()).unwrap();
        let mut text = String::new();
        entry.read_to_string(&mut text).unwrap();
        if let Some(link) = entry.link_name_bytes() {
            text = format!("-> {}", String::from_utf8_lossy(&link));
        }
        (name, text)
    });
    entries.collect()
}

fn layer(difference: &Difference) -> BTreeMap<String, String> {
    let mut tar = Vec::new();
    let report = difference.layer(&mut tar).unwrap();
    assert_eq!(report.tar_bytes, tar.len() as u64);
    let listed = listed(&tar);
    assert_eq!(report.entries, listed.len() as u64);
    listed
}

#[test]
fn new_changed_and_deleted_things_are_told_apart() {
    let lower = base(&[
        "Files/",
        "Files/App/",
        "Files/App/gone.txt",
        "Files/App/old.txt",
        "Files/far/",
        "Files/far/x",
        "Hives/",
    ]);
    let exported = Exported::new()
        .directory("Files/app")
        .file("Files/app/OLD.txt", "changed")
        .file("Files/app/new.txt", "added")
        .deleted(&["Files/app/gone.txt", "Files/far/x", "Files/never/was"]);
    let (_dir, difference) = exported.beside(vec![lower]);
    assert_eq!(
        lines(&difference),
        [
            r"C C:\app",
            r"C C:\app\OLD.txt",
            r"D C:\app\gone.txt",
            r"A C:\app\new.txt",
            r"C C:\far",
            r"D C:\far\x",
        ]
    );
    let layer = layer(&difference);
    let names: Vec<&str> = layer.keys().map(String::as_str).collect();
    assert_eq!(
        names,
        [
            "Files",
            "Files/app",
            "Files/app/.wh.gone.txt",
            "Files/app/OLD.txt",
            "Files/app/new.txt",
            "Files/far",
            "Files/far/.wh.x",
            "Hives",
        ]
    );
    assert_eq!(layer["Files/app/OLD.txt"], "changed");
}

#[test]
fn what_took_the_place_of_something_has_no_deletion() {
    let lower = base(&[
        "Files/",
        "Files/anew/",
        "Files/anew/kept",
        "Files/anew/lost",
        "Files/anew/sub/",
        "Files/anew/sub/lost",
        "Files/file",
        "Files/folder/",
        "Files/folder/x",
    ]);
    let exported = Exported::new()
        .directory("Files/anew")
        .file("Files/anew/kept", "again")
        .directory("Files/file")
        .file("Files/folder", "a file now")
        .deleted(&["Files/anew", "Files/file", "Files/folder", "Files/folder/x"]);
    let (_dir, difference) = exported.beside(vec![lower]);
    let names: Vec<String> = layer(&difference).into_keys().collect();
    assert_eq!(
        names,
        [
            "Files",
            "Files/anew",
            "Files/anew/.wh.lost",
            "Files/anew/.wh.sub",
            "Files/anew/kept",
            "Files/file",
            "Files/folder",
            "Hives",
        ]
    );
}

#[test]
fn links_streams_hives_and_names_of_one_file_are_kept() {
    let exported = Exported::new().file("Files/one", "shared");
    fs::hard_link(exported.place("Files/one"), exported.place("Files/two")).unwrap();
    let mut link = metadata(true);
    link.attributes = Attributes::link(Attributes::DIRECTORY);
    let reparse = Reparse::new(LinkKind::Symlink, r"C:\elsewhere").unwrap();
    let kind = Kind::Link {
        metadata: link,
        reparse,
    };
    fs::create_dir(exported.place("Files/link")).unwrap();
    exported.write(&format!("Files/link{DIRECTORY_SUFFIX}"), "Files/link", kind, b"");
    let streamed = entry("Files/streamed", file("content"));
    let out = fs::File::create(exported.place("Files/streamed")).unwrap();
    let mut writer = TransportWriter::new(out, &streamed).unwrap();
    writer.data(b"content").unwrap();
    writer.stream(&StreamName::new("zone").unwrap(), 4).unwrap();
    writer.data(b"side").unwrap();
    writer.finish().unwrap();
    fs::create_dir(exported.place("Hives")).unwrap();
    fs::write(exported.place("Hives/System_Delta"), "raw").unwrap();
    fs::write(exported.place("Hives/System_Delta.LOG1"), "not of a layer").unwrap();
    let (_dir, difference) = exported.beside(vec![base(&["Files/"])]);
    let layer = layer(&difference);
    assert_eq!(layer["Files/one"], "shared");
    assert_eq!(layer["Files/two"], "-> Files/one");
    assert_eq!(layer["Files/link"], r"-> C:\elsewhere");
    assert_eq!(layer["Files/streamed:zone"], "side");
    assert_eq!(layer["Hives/System_Delta"], "raw");
    assert_eq!(layer.len(), 8, "{layer:?}");
}

#[test]
fn what_is_deleted_by_users_stays_out() {
    let exported = Exported::new()
        .directory("Files/$RECYCLE.BIN")
        .file("Files/$RECYCLE.BIN/x", "x")
        .deleted(&["Files/$Recycle.Bin/y"]);
    let lower = base(&["Files/", "Files/$Recycle.Bin/", "Files/$Recycle.Bin/y"]);
    let (_dir, difference) = exported.beside(vec![lower]);
    assert!(lines(&difference).is_empty());
}

#[test]
fn a_folder_that_is_none_of_the_system_is_refused_by_name() {
    let exported = Exported::new();
    fs::create_dir(exported.place("Files/undescribed")).unwrap();
    let (_dir, difference) = exported.beside(Vec::new());
    let refused = difference.changes().unwrap_err().to_string();
    assert!(refused.contains(r"C:\undescribed"), "{refused}");

    let exported = Exported::new();
    fs::write(exported.place("Files/cut"), "ab").unwrap();
    let (_dir, difference) = exported.beside(Vec::new());
    let refused = difference.layer(Vec::new()).unwrap_err();
    let cause = std::error::Error::source(&refused).unwrap().to_string();
    assert!(cause.contains("Files/cut"), "{cause}");

    let exported = Exported::new().file("Files/a", "a");
    fs::write(
        exported.place("tombstones.txt"),
        "\u{feff}Version 1.0\r\n\\..\\..\\x\r\n",
    )
    .unwrap();
    let (_dir, difference) = exported.beside(Vec::new());
    assert!(difference.changes().is_err());
}

#[test]
fn the_folder_goes_with_the_difference() {
    let exported = Exported::new().file("Files/a", "a");
    let (dir, difference) = exported.beside(Vec::new());
    assert_eq!(names(dir.path()), 1);
    drop(difference);
    assert_eq!(names(dir.path()), 0);
}

fn names(folder: &Path) -> usize {
    fs::read_dir(folder).unwrap().count()
}
