//! Running the tools, making overlays and archives, and seeing everything that a tree is.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use rustix::buffer::spare_capacity;
use serde_json::{Value, json};
use tempfile::TempDir;

/// What the tool left.
#[derive(Debug)]
pub(crate) struct Done {
    pub(crate) code: Option<i32>,
    pub(crate) output: Vec<u8>,
    pub(crate) errors: String,
}

impl Done {
    /// Its output; it must have succeeded without a word.
    pub(crate) fn ok(self) -> Vec<u8> {
        assert_eq!((self.code, self.errors.as_str()), (Some(0), ""));
        self.output
    }

    /// The code of the error with which it failed.
    pub(crate) fn failure(&self) -> String {
        assert_eq!(self.code, Some(1), "{}", self.errors);
        let last: Value = serde_json::from_str(self.errors.lines().last().unwrap()).unwrap();
        assert!(!last["message"].as_str().unwrap().is_empty());
        last["code"].as_str().unwrap().to_owned()
    }
}

/// The tool, about to be started.
pub(crate) fn command(verb: &str, request: &Value) -> Command {
    let mut command = Command::new(crate::support::agent());
    command
        .args(["ctr-like-files", verb, &request.to_string()])
        .env_clear();
    command
}

/// Runs a verb with this input.
pub(crate) fn run(verb: &str, request: &Value, input: &[u8]) -> Done {
    let mut child = command(verb, request)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let output = std::thread::scope(|scope| {
        // It may end before it has read everything.
        scope.spawn(move || stdin.write_all(input).ok());
        child.wait_with_output().unwrap()
    });
    Done {
        code: output.status.code(),
        output: output.stdout,
        errors: String::from_utf8(output.stderr).unwrap(),
    }
}

/// Puts an archive into a directory.
pub(crate) fn extract(root: &Path, path: &str, archive: &[u8]) -> Done {
    run(
        "extract",
        &json!({"root": root, "path": path, "owner": null}),
        archive,
    )
}

/// The archive of a path.
pub(crate) fn archive(root: &Path, path: &str) -> Vec<u8> {
    run(
        "archive",
        &json!({"root": root, "path": path, "follow": false}),
        b"",
    )
    .ok()
}

/// Runs a program that must succeed, in a directory and with input.
pub(crate) fn program(directory: &Path, words: &[&str], input: &[u8]) -> Vec<u8> {
    let mut child = Command::new(words[0])
        .args(&words[1..])
        .current_dir(directory)
        .env("TZ", "UTC")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let output = std::thread::scope(|scope| {
        scope.spawn(move || stdin.write_all(input).ok());
        child.wait_with_output().unwrap()
    });
    assert!(output.status.success(), "{words:?}: {}", output.status);
    output.stdout
}

/// Runs a shell script in a directory.
pub(crate) fn shell(directory: &Path, script: &str) {
    program(directory, &["sh", "-euc", script], b"");
}

/// Unpacks with GNU tar, with everything it can keep.
pub(crate) fn unpack(directory: &Path, archive: &[u8], more: &[&str]) {
    let mut words = vec![
        "tar",
        "-x",
        "-p",
        "--numeric-owner",
        "--same-owner",
        "--xattrs",
        "--xattrs-include=*",
    ];
    words.extend(more);
    words.extend(["-f", "-"]);
    program(directory, &words, archive);
}

/// Packs with GNU tar.
pub(crate) fn pack(directory: &Path, words: &[&str]) -> Vec<u8> {
    let mut all = vec!["tar", "-c", "--numeric-owner"];
    all.extend(words);
    all.extend(["-f", "-", "."]);
    program(directory, &all, b"")
}

/// The names in an archive, as GNU tar shows them.
pub(crate) fn names(archive: &[u8]) -> Vec<String> {
    let text = program(
        Path::new("/"),
        &["tar", "-t", "--quoting-style=literal", "-f", "-"],
        archive,
    );
    String::from_utf8_lossy(&text)
        .lines()
        .map(str::to_owned)
        .collect()
}

/// Everything that one object is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Facts {
    mode: u32,
    owner: (u32, u32),
    /// Seconds and nanoseconds.
    time: (i64, i64),
    device: u64,
    content: Vec<u8>,
    attributes: BTreeMap<String, Vec<u8>>,
    /// The first name of the same object.
    same_as: PathBuf,
}

/// All objects below a directory by path. The directory itself is not among them.
pub(crate) fn tree(root: &Path) -> BTreeMap<PathBuf, Facts> {
    let mut found = BTreeMap::new();
    let mut first = BTreeMap::new();
    walk(root, root, &mut found, &mut first);
    found
}

fn walk(
    root: &Path,
    directory: &Path,
    found: &mut BTreeMap<PathBuf, Facts>,
    first: &mut BTreeMap<(u64, u64), PathBuf>,
) {
    let mut entries: Vec<_> = fs::read_dir(directory).unwrap().map(Result::unwrap).collect();
    entries.sort_by_key(fs::DirEntry::path);
    for entry in entries {
        let path = entry.path();
        let name = path.strip_prefix(root).unwrap().to_path_buf();
        let facts = fs::symlink_metadata(&path).unwrap();
        let kind = facts.file_type();
        let content = if kind.is_symlink() {
            fs::read_link(&path).unwrap().as_os_str().as_bytes().to_vec()
        } else if kind.is_file() {
            fs::read(&path).unwrap()
        } else {
            Vec::new()
        };
        let device = kind.is_block_device() || kind.is_char_device();
        let same_as = first
            .entry((facts.dev(), facts.ino()))
            .or_insert_with(|| name.clone());
        found.insert(
            name.clone(),
            Facts {
                mode: facts.mode(),
                owner: (facts.uid(), facts.gid()),
                time: (facts.mtime(), facts.mtime_nsec()),
                device: if device { facts.rdev() } else { 0 },
                content,
                attributes: attributes(&path),
                same_as: same_as.clone(),
            },
        );
        if kind.is_dir() {
            walk(root, &path, found, first);
        }
    }
}

fn attributes(path: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut list = Vec::with_capacity(64 << 10);
    rustix::fs::llistxattr(path, spare_capacity(&mut list)).unwrap();
    list.split(|byte| *byte == 0)
        .filter(|name| !name.is_empty() && !name.starts_with(b"trusted.overlay."))
        .map(|name| {
            let mut value = Vec::with_capacity(64 << 10);
            rustix::fs::lgetxattr(path, name, spare_capacity(&mut value)).unwrap();
            (String::from_utf8(name.to_vec()).unwrap(), value)
        })
        .collect()
}

/// Fails with the first object that two trees do not share.
pub(crate) fn same(one: &Path, other: &Path) {
    let (one, other) = (tree(one), tree(other));
    let names = |tree: &BTreeMap<PathBuf, Facts>| tree.keys().cloned().collect::<Vec<_>>();
    assert_eq!(names(&one), names(&other));
    for (name, facts) in &one {
        assert_eq!(facts, &other[name], "{}", name.display());
    }
}

/// An overlay on two layers.
pub(crate) struct Overlay {
    dir: TempDir,
}

impl Overlay {
    /// Mounts it after a script has filled `bottom` and `top`.
    pub(crate) fn new(script: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        for name in ["bottom", "top", "upper", "work", "merged"] {
            fs::create_dir(dir.path().join(name)).unwrap();
        }
        shell(dir.path(), script);
        let overlay = Self { dir };
        let options = format!(
            "redirect_dir=nofollow,metacopy=off,lowerdir={}:{},upperdir={},workdir={}",
            overlay.at("top").display(),
            overlay.at("bottom").display(),
            overlay.at("upper").display(),
            overlay.at("work").display()
        );
        mount(
            Some("overlay"),
            &overlay.merged(),
            Some("overlay"),
            MsFlags::empty(),
            Some(options.as_str()),
        )
        .unwrap();
        overlay
    }

    pub(crate) fn at(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(crate) fn merged(&self) -> PathBuf {
        self.at("merged")
    }

    /// The request of `changes` and `layer`.
    pub(crate) fn request(&self) -> Value {
        json!({"upper": self.at("upper"), "lower": [self.at("top"), self.at("bottom")]})
    }
}

impl Drop for Overlay {
    fn drop(&mut self) {
        let _ = umount2(&self.merged(), MntFlags::MNT_DETACH);
    }
}

/// A mount of its own that goes away with the value.
pub(crate) struct Memory {
    path: PathBuf,
}

impl Memory {
    pub(crate) fn mount(path: &Path) -> Self {
        let none: Option<&str> = None;
        mount(Some("tmpfs"), path, Some("tmpfs"), MsFlags::empty(), none).unwrap();
        Self {
            path: path.to_owned(),
        }
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        let _ = umount2(&self.path, MntFlags::MNT_DETACH);
    }
}
