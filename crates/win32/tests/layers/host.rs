//! A layer store to test on: one test at a time, in a folder of its own, with the privileges that layers need.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde_json::Value;
use win32::layers::{LayerRef, LayerStore};
use win32::privilege::LayerPrivileges;

static TURN: Mutex<()> = Mutex::new(());

/// The store, while no other test has it.
pub(crate) struct Host {
    pub(crate) store: &'static LayerStore,
    folder: tempfile::TempDir,
    seen: usize,
    _privileges: LayerPrivileges,
    _turn: MutexGuard<'static, ()>,
}

fn reports() -> PathBuf {
    PathBuf::from(
        std::env::var_os("CTR_LIKE_DOUBLE_REPORTS").expect("these tests are run by ./scripts/test wine"),
    )
}

/// What the doubles are told to do wrong.
pub(crate) fn order(lines: &str) {
    fs::write(std::env::var_os("CTR_LIKE_LAYER_ORDERS").unwrap(), lines).unwrap();
}

/// The orders that are left.
pub(crate) fn orders() -> String {
    fs::read_to_string(std::env::var_os("CTR_LIKE_LAYER_ORDERS").unwrap()).unwrap()
}

impl Host {
    pub(crate) fn new() -> Self {
        let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
        order("");
        let mut host = Self {
            store: LayerStore::load().expect("these tests run on the doubles: ./scripts/test wine"),
            folder: tempfile::tempdir().unwrap(),
            seen: 0,
            _privileges: LayerPrivileges::hold().unwrap(),
            _turn: turn,
        };
        host.calls();
        host
    }

    /// A folder in the store, which may not be there.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A layer as a parent.
    pub(crate) fn parent(&self, name: &str) -> LayerRef {
        LayerRef {
            id: self.store.name_to_guid(name).unwrap(),
            path: self.path(name),
        }
    }

    /// A base layer, processed.
    pub(crate) fn base(&self, name: &str) {
        let layer = self.path(name);
        let config = layer.join(r"Files\Windows\System32\config");
        fs::create_dir_all(&config).unwrap();
        for hive in ["DEFAULT", "SAM", "SECURITY", "SOFTWARE", "SYSTEM"] {
            fs::write(config.join(hive), hive).unwrap();
        }
        fs::write(layer.join(r"Files\license.txt"), "licence").unwrap();
        fs::write(layer.join(r"Files\Windows\notepad.exe"), "notepad").unwrap();
        fs::create_dir_all(layer.join(r"UtilityVM\Files")).unwrap();
        self.store.process_base_image(&layer).unwrap();
        self.store
            .process_utility_image(&layer.join("UtilityVM"))
            .unwrap();
    }

    /// A layer that has `Files\app\config.json` and a hive, and `Files\license.txt` changed.
    pub(crate) fn layer(&self, name: &str, parents: &[LayerRef]) {
        let source = self.path("staging");
        let files = source.join("Files");
        fs::create_dir_all(files.join("app")).unwrap();
        fs::create_dir_all(source.join("Hives")).unwrap();
        fs::write(files.join("app.$wcidirs$"), object(0x10, None)).unwrap();
        fs::write(files.join(r"app\config.json"), object(0x22, Some(b"{}"))).unwrap();
        fs::write(files.join("license.txt"), object(0x20, Some(b"changed"))).unwrap();
        fs::write(source.join(r"Hives\Software_Delta"), "regf").unwrap();
        fs::create_dir(self.path(name)).unwrap();
        self.store
            .import(&self.path(name), &source, &layer_data(parents))
            .unwrap();
        fs::remove_dir_all(source).unwrap();
    }

    /// The calls since the last time: DLL, function, arguments.
    pub(crate) fn calls(&mut self) -> Vec<(String, String, Value)> {
        let file = reports().join(format!("{}.calls", std::process::id()));
        let text = fs::read_to_string(file).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        let new = lines[self.seen..]
            .iter()
            .map(|line| {
                let mut words = line.splitn(3, ' ').map(str::to_owned);
                let mut word = || words.next().unwrap();
                (word(), word(), serde_json::from_str(&word()).unwrap())
            })
            .collect();
        self.seen = lines.len();
        new
    }

    /// The end of a test: nothing may have been done wrong.
    pub(crate) fn finish(self) {
        for dll in ["computestorage", "vmcompute"] {
            let report = reports().join(format!("{}-{dll}.report", std::process::id()));
            assert!(!report.exists(), "{}", fs::read_to_string(report).unwrap());
        }
    }
}

/// An object in transport form, with a security descriptor and perhaps data.
pub(crate) fn object(attributes: u32, data: Option<&[u8]>) -> Vec<u8> {
    let mut descriptor = vec![1, 0, 4, 0x80];
    descriptor.resize(20, 0);
    let mut bytes = attributes.to_le_bytes().to_vec();
    bytes.extend(stream(3, &descriptor));
    bytes.extend(data.map(|data| stream(1, data)).unwrap_or_default());
    bytes
}

/// A stream of a backup stream.
pub(crate) fn stream(kind: u32, content: &[u8]) -> Vec<u8> {
    let mut bytes = kind.to_le_bytes().to_vec();
    bytes.extend(0u32.to_le_bytes());
    bytes.extend((content.len() as u64).to_le_bytes());
    bytes.extend(0u32.to_le_bytes());
    bytes.extend(content);
    bytes
}

/// The text of an id.
pub(crate) fn guid(id: u128) -> String {
    let hex = format!("{id:032x}");
    [&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]].join("-")
}

/// A `LayerData` document.
pub(crate) fn layer_data(parents: &[LayerRef]) -> String {
    let layers: Vec<Value> = parents
        .iter()
        .map(|parent| serde_json::json!({ "Id": guid(parent.id), "Path": parent.path }))
        .collect();
    serde_json::json!({ "SchemaVersion": { "Major": 2, "Minor": 1 }, "Layers": layers }).to_string()
}

/// The names below a folder, sorted.
pub(crate) fn names(folder: &Path) -> Vec<String> {
    let mut names = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(current) = folders.pop() {
        for entry in fs::read_dir(&current).unwrap() {
            let path = entry.unwrap().path();
            names.push(path.strip_prefix(folder).unwrap().to_str().unwrap().to_owned());
            if path.is_dir() {
                folders.push(path);
            }
        }
    }
    names.sort();
    names
}
