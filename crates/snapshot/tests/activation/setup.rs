//! What the tests share: layers, something under them, and containers.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use layer::windows::{Kind, Metadata, WindowsLimits, WindowsPath, WindowsTree};
use snapshot::Snapshotter;
use snapshot::windows::{Activation, ChangeKind, Difference, LayerReport, WindowsLayers};
use store::{Digest, Store};

use crate::windows_kit::{Tar, chain, open, unpack, write};

pub(crate) const CREATED: &str = "1500000000.5";

/// A store, layers, something under them, and a container.
pub(crate) struct Setup {
    pub(crate) dir: tempfile::TempDir,
    _store: Store,
    pub(crate) layers: Arc<WindowsLayers>,
    pub(crate) paths: Vec<PathBuf>,
    pub(crate) keys: Vec<Digest>,
    pub(crate) under: PathBuf,
}

impl Setup {
    pub(crate) async fn new(tars: &[Vec<u8>]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let (store, layers) = open(&dir.path().join("store")).await;
        let (paths, keys) = chain(&layers, tars).await;
        let under = dir.path().join("prefix");
        write(under.join("Files/Windows/System32/notepad.exe"), "wine's notepad");
        write(under.join("Files/Windows/System32/cmd.exe"), "wine's cmd");
        write(under.join("Files/Windows/win.ini"), "[wine]");
        write(under.join("Files/Users/Public/Documents/none"), "");
        write(
            under.join("Registry/system.reg"),
            "WINE REGISTRY Version 2\n\n[A\\\\B] 1700000000\n#time=1d0000\n\"x\"=\"1\"\n",
        );
        Self {
            dir,
            _store: store,
            layers,
            paths,
            keys,
            under,
        }
    }

    pub(crate) async fn scratch(&self, id: &str) -> PathBuf {
        self.layers.create_scratch(id, None).await.unwrap().path
    }

    pub(crate) fn activate(&self, scratch: &Path) -> Activation {
        Activation::new(scratch, &self.paths, Some(&self.under)).unwrap()
    }

    pub(crate) fn difference(&self, scratch: &Path) -> Difference {
        Difference::open(scratch, &self.paths, Some(&self.under)).unwrap()
    }

    pub(crate) fn changes(&self, scratch: &Path) -> Vec<String> {
        let changes = self.difference(scratch).changes().unwrap();
        let line = |kind: ChangeKind| match kind {
            ChangeKind::Added => 'A',
            ChangeKind::Changed => 'C',
            ChangeKind::Deleted => 'D',
        };
        changes
            .iter()
            .map(|change| format!("{} {}", line(change.kind), change.path))
            .collect()
    }

    pub(crate) fn layer(&self, scratch: &Path) -> (Vec<u8>, LayerReport) {
        let mut tar = Vec::new();
        let report = self.difference(scratch).layer(&mut tar).unwrap();
        assert_eq!(report.tar_bytes, tar.len() as u64);
        let mut again = Vec::new();
        self.difference(scratch).layer(&mut again).unwrap();
        assert!(tar == again, "the same scratch gives the same bytes");
        (tar, report)
    }

    /// What the layer says, without metadata: path, and a word.
    pub(crate) fn words(&self, tar: &[u8]) -> BTreeMap<String, String> {
        let trees = self.trees();
        let dir = tempfile::tempdir().unwrap();
        let parents: Vec<&WindowsTree> = trees.iter().rev().collect();
        let limits = WindowsLimits::default();
        layer::windows::unpack_windows(tar, dir.path(), Some(&parents), &limits).unwrap();
        let tree = WindowsTree::open(dir.path(), &limits).unwrap();
        let mut words = BTreeMap::new();
        for entry in tree.table().entries() {
            let word = match entry.kind {
                Kind::Directory(_) => "directory".to_owned(),
                Kind::File { size, .. } => format!("file of {size}"),
                Kind::Link { reparse, .. } => format!("link to {}", reparse.target()),
                Kind::Stream { name, size } => format!("stream {} of {size}", name.as_str()),
                Kind::HardLink { target, .. } => format!("other name of {target}"),
                Kind::Tombstone => "deleted".to_owned(),
            };
            let known: &mut String = words.entry(entry.path.as_str().to_owned()).or_default();
            if !known.is_empty() {
                known.push_str(", ");
            }
            known.push_str(&word);
        }
        words
    }

    pub(crate) fn trees(&self) -> Vec<WindowsTree> {
        let limits = WindowsLimits::default();
        let open = |path: &PathBuf| WindowsTree::open(path, &limits).unwrap();
        self.paths.iter().map(open).collect()
    }

    /// Puts the layer on top, as an image that was committed, pushed and pulled again.
    pub(crate) async fn commit(&mut self, tar: &[u8]) {
        let layer = unpack(&self.layers, tar, &self.keys).await.unwrap();
        self.paths.push(layer.path);
        self.keys.push(layer.key);
    }

    pub(crate) fn metadata(&self, path: &str) -> Metadata {
        let trees = self.trees();
        let path = WindowsPath::new(path).unwrap();
        let tables = layer::windows::LowerTables::new(trees.iter().rev().map(WindowsTree::table));
        tables.object(&path).unwrap().metadata
    }
}

pub(crate) fn base() -> Vec<u8> {
    Tar::base()
        .directory("Files/windows")
        .directory("Files/windows/SYSTEM32")
        .file("Files/windows/SYSTEM32/CMD.exe", "image's cmd")
        .directory("Files/App")
        .described("Files/App/Readme.txt", "base", 0x22, CREATED)
        .described("Files/App/keep.txt", "keep", 0x21, CREATED)
        .file("Files/App/keep.txt:note", "a stream")
        .file("Files/App/old.txt", "old")
        .directory("Files/App/Sub")
        .file("Files/App/Sub/x", "x")
        .file("Files/App/Sub/y", "y")
        .hard_link("Files/App/twin", "Files/App/old.txt")
        .directory("Files/Data")
        .file("Files/Data/a", "a")
        .file("Files/Data/b", "b")
        .end()
}

pub(crate) fn second() -> Vec<u8> {
    Tar::new()
        .directory("Files")
        .directory("Files/APP")
        .file("Files/APP/README.txt", "second")
        .delete("Files/APP/Old.TXT")
        .delete("Files/APP/SUB")
        .end()
}

pub(crate) fn third() -> Vec<u8> {
    Tar::new()
        .directory("Files")
        .directory("Files/App")
        .directory("Files/App/Sub")
        .file("Files/App/Sub/z", "z")
        .symlink("Files/Data/b", "..\\App\\keep.txt")
        .delete("Files/Data/a")
        .end()
}

pub(crate) fn mounts() -> String {
    fs::read_to_string("/proc/self/mountinfo").unwrap()
}
