//! Merged roots of Windows containers, what containers change in them, and the layers that come of it. Needs root.
#![cfg(target_os = "linux")]
#![expect(clippy::unwrap_used, reason = "a failed step fails the test")]

mod windows_kit;

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use layer::windows::{Attributes, Kind, Metadata, StreamName, WindowsLimits, WindowsPath, WindowsTree};
use rustix::fs::{XattrFlags, getxattr, setxattr};
use snapshot::Snapshotter;
use snapshot::windows::{Activation, ChangeKind, Difference, LayerReport, WindowsLayers};
use store::{Digest, Store};
use windows_kit::{Tar, append, chain, descriptor, open, tree, unpack, write};

const CREATED: &str = "1500000000.5";

/// A store, layers, something under them, and a container.
struct Setup {
    dir: tempfile::TempDir,
    _store: Store,
    layers: Arc<WindowsLayers>,
    paths: Vec<PathBuf>,
    keys: Vec<Digest>,
    under: PathBuf,
}

impl Setup {
    async fn new(tars: &[Vec<u8>]) -> Self {
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

    async fn scratch(&self, id: &str) -> PathBuf {
        self.layers.create_scratch(id, None).await.unwrap().path
    }

    fn activate(&self, scratch: &Path) -> Activation {
        Activation::new(scratch, &self.paths, Some(&self.under)).unwrap()
    }

    fn difference(&self, scratch: &Path) -> Difference {
        Difference::open(scratch, &self.paths, Some(&self.under)).unwrap()
    }

    fn changes(&self, scratch: &Path) -> Vec<String> {
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

    fn layer(&self, scratch: &Path) -> (Vec<u8>, LayerReport) {
        let mut tar = Vec::new();
        let report = self.difference(scratch).layer(&mut tar).unwrap();
        assert_eq!(report.tar_bytes, tar.len() as u64);
        let mut again = Vec::new();
        self.difference(scratch).layer(&mut again).unwrap();
        assert!(tar == again, "the same scratch gives the same bytes");
        (tar, report)
    }

    /// What the layer says, without metadata: path, and a word.
    fn words(&self, tar: &[u8]) -> BTreeMap<String, String> {
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

    fn trees(&self) -> Vec<WindowsTree> {
        let limits = WindowsLimits::default();
        let open = |path: &PathBuf| WindowsTree::open(path, &limits).unwrap();
        self.paths.iter().map(open).collect()
    }

    /// Puts the layer on top, as an image that was committed, pushed and pulled again.
    async fn commit(&mut self, tar: &[u8]) {
        let layer = unpack(&self.layers, tar, &self.keys).await.unwrap();
        self.paths.push(layer.path);
        self.keys.push(layer.key);
    }

    fn metadata(&self, path: &str) -> Metadata {
        let trees = self.trees();
        let path = WindowsPath::new(path).unwrap();
        let tables = layer::windows::LowerTables::new(trees.iter().rev().map(WindowsTree::table));
        tables.object(&path).unwrap().metadata
    }
}

fn base() -> Vec<u8> {
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

fn second() -> Vec<u8> {
    Tar::new()
        .directory("Files")
        .directory("Files/APP")
        .file("Files/APP/README.txt", "second")
        .delete("Files/APP/Old.TXT")
        .delete("Files/APP/SUB")
        .end()
}

fn third() -> Vec<u8> {
    Tar::new()
        .directory("Files")
        .directory("Files/App")
        .directory("Files/App/Sub")
        .file("Files/App/Sub/z", "z")
        .symlink("Files/Data/b", "..\\App\\keep.txt")
        .delete("Files/Data/a")
        .end()
}

fn mounts() -> String {
    fs::read_to_string("/proc/self/mountinfo").unwrap()
}

#[tokio::test]
async fn the_merged_root_shows_what_the_layers_say() {
    let setup = Setup::new(&[base(), second(), third()]).await;
    let scratch = setup.scratch("c").await;
    let before = mounts();
    let activation = setup.activate(&scratch);
    assert_eq!(mounts(), before);
    let root = activation.path();
    assert!(root.to_str().unwrap().starts_with("/proc/self/fd/"));
    let found = tree(&root.join("Files"));
    let expected = [
        ("App", None),
        ("App/Readme.txt", Some("second")),
        ("App/Sub", None),
        ("App/Sub/z", Some("z")),
        ("App/keep.txt", Some("keep")),
        ("App/twin", Some("old")),
        ("Data", None),
        ("Users", None),
        ("Users/Public", None),
        ("Users/Public/Documents", None),
        ("Users/Public/Documents/none", Some("")),
        ("Windows", None),
        ("Windows/System32", None),
        ("Windows/System32/cmd.exe", Some("image's cmd")),
        ("Windows/System32/notepad.exe", Some("wine's notepad")),
        ("Windows/win.ini", Some("[wine]")),
    ];
    let expected = expected.map(|(path, content)| (path.to_owned(), content.map(str::to_owned)));
    assert_eq!(found, BTreeMap::from(expected));
    assert!(root.join("Registry/system.reg").is_file());
    // Wine knows of hidden files.
    let mut value = [0; 16];
    let length = getxattr(root.join("Files/App/keep.txt"), "user.DOSATTRIB", &mut value);
    assert!(length.is_err(), "neither hidden nor a file of the system");
    assert_eq!(setup.changes(&scratch), [] as [&str; 0]);
    let (tar, report) = setup.layer(&scratch);
    assert_eq!(
        setup.words(&tar).into_keys().collect::<Vec<_>>(),
        ["Files", "Hives"]
    );
    assert_eq!((report.entries, report.registry.len()), (2, 0));
    drop(activation);
    assert!(!root.join("Files").exists());
}

#[tokio::test]
async fn what_a_container_changes_becomes_a_layer_that_gives_the_same_tree() {
    let mut setup = Setup::new(&[base(), second(), third()]).await;
    let scratch = setup.scratch("c").await;
    let activation = setup.activate(&scratch);
    let c = activation.path().join("Files");
    append(c.join("App/keep.txt"), " and more");
    fs::remove_file(c.join("App/Readme.txt")).unwrap();
    write(c.join("App/Readme.txt"), "replaced");
    fs::rename(c.join("App/twin"), c.join("App/moved")).unwrap();
    fs::remove_dir_all(c.join("App/Sub")).unwrap();
    write(c.join("App/Sub/new"), "new");
    fs::remove_file(c.join("Windows/System32/notepad.exe")).unwrap();
    append(c.join("Windows/win.ini"), "\n[app]");
    write(c.join("Users/me/work/plan"), "plan");
    write(c.join("Users/me/hidden"), "h");
    setxattr(
        c.join("Users/me/hidden"),
        "user.DOSATTRIB",
        b"0x6",
        XattrFlags::empty(),
    )
    .unwrap();
    fs::hard_link(c.join("Users/me/work/plan"), c.join("Users/me/work/same")).unwrap();
    fs::set_permissions(c.join("Users/me/work/plan"), fs::Permissions::from_mode(0o444)).unwrap();
    symlink("work/plan", c.join("Users/me/link")).unwrap();
    write(c.join("Data/B"), "no link any more");
    // What Wine does by itself.
    fs::create_dir_all(c.join("Users/app/AppData/Local/Temp")).unwrap();
    symlink("/root", c.join("Users/app/Documents")).unwrap();
    drop(
        fs::File::options()
            .append(true)
            .open(c.join("Windows/System32/cmd.exe"))
            .unwrap(),
    );

    assert_eq!(
        setup.changes(&scratch),
        [
            "C C:\\App",
            "C C:\\App\\README.txt",
            "C C:\\App\\Sub",
            "A C:\\App\\Sub\\new",
            "D C:\\App\\Sub\\z",
            "C C:\\App\\keep.txt",
            "A C:\\App\\moved",
            "D C:\\App\\twin",
            "C C:\\Data",
            "C C:\\Data\\B",
            "C C:\\Users",
            "A C:\\Users\\me",
            "A C:\\Users\\me\\hidden",
            "A C:\\Users\\me\\link",
            "A C:\\Users\\me\\work",
            "A C:\\Users\\me\\work\\plan",
            "A C:\\Users\\me\\work\\same",
            "C C:\\windows",
            "C C:\\windows\\SYSTEM32",
            "D C:\\windows\\SYSTEM32\\notepad.exe",
            "C C:\\windows\\win.ini",
        ]
    );

    let (tar, report) = setup.layer(&scratch);
    assert!(report.registry.is_empty() && report.warnings.is_empty());
    let words = setup.words(&tar);
    let expected = [
        ("Files", "directory"),
        ("Files/App", "directory"),
        ("Files/App/README.txt", "file of 8"),
        ("Files/App/Sub", "directory"),
        ("Files/App/Sub/new", "file of 3"),
        ("Files/App/Sub/z", "deleted"),
        ("Files/App/keep.txt", "file of 13, stream note of 8"),
        ("Files/App/moved", "file of 3"),
        ("Files/App/twin", "deleted"),
        ("Files/Data", "directory"),
        ("Files/Data/B", "file of 16"),
        ("Files/Users", "directory"),
        ("Files/Users/me", "directory"),
        ("Files/Users/me/hidden", "file of 1"),
        ("Files/Users/me/link", "link to work\\plan"),
        ("Files/Users/me/work", "directory"),
        ("Files/Users/me/work/plan", "file of 4"),
        (
            "Files/Users/me/work/same",
            "other name of Files/Users/me/work/plan",
        ),
        ("Files/windows", "directory"),
        ("Files/windows/win.ini", "file of 12"),
        ("Hives", "directory"),
    ];
    let expected = expected.map(|(path, word)| (path.to_owned(), word.to_owned()));
    assert_eq!(words, BTreeMap::from(expected));

    let mut merged = tree(&c);
    drop(activation);
    setup.commit(&tar).await;
    let fresh = setup.scratch("fresh").await;
    let activation = setup.activate(&fresh);
    // What is not exported: a deletion of Wine's own file, what Wine makes, and links, which Linux does not see.
    merged.insert(
        "Windows/System32/notepad.exe".to_owned(),
        Some("wine's notepad".to_owned()),
    );
    merged.retain(|path, _| !path.starts_with("Users/app") && path != "Users/me/link");
    let data = merged.remove("Data/B");
    merged.insert("Data/b".to_owned(), data.unwrap());
    assert_eq!(tree(&activation.path().join("Files")), merged);

    let limits = WindowsLimits::default();
    let top = WindowsTree::open(setup.paths.last().unwrap(), &limits).unwrap();
    let keep = WindowsPath::new("Files/App/keep.txt").unwrap();
    let mut stream = String::new();
    let name = StreamName::new("note").unwrap();
    std::io::Read::read_to_string(&mut top.stream(&keep, &name).unwrap(), &mut stream).unwrap();
    assert_eq!(stream, "a stream");
    let keep = setup.metadata("Files/App/keep.txt");
    assert_eq!(keep.descriptor, descriptor());
    assert!(keep.times.created < keep.times.modified);
    assert_eq!(keep.times.created.ticks() % 10_000_000, 5_000_000);
    assert_eq!(
        keep.attributes.bits(),
        Attributes::ARCHIVE | Attributes::READ_ONLY
    );
    let hidden = setup.metadata("Files/Users/me/hidden").attributes;
    assert!(hidden.has(Attributes::HIDDEN | Attributes::SYSTEM | Attributes::ARCHIVE));
    let plan = setup.metadata("Files/Users/me/work/plan").attributes;
    assert!(plan.has(Attributes::READ_ONLY));
    let mut value = [0; 16];
    let path = activation.path().join("Files/Users/me/hidden");
    let length = getxattr(path, "user.DOSATTRIB", &mut value).unwrap();
    assert_eq!(&value[..length], b"0x6");
}

#[tokio::test]
async fn a_replaced_file_keeps_who_may_use_it_and_a_change_of_kind_is_no_deletion() {
    let mut setup = Setup::new(&[base()]).await;
    let scratch = setup.scratch("c").await;
    let activation = setup.activate(&scratch);
    let c = activation.path().join("Files");
    fs::remove_file(c.join("App/Readme.txt")).unwrap();
    write(c.join("App/README.TXT"), "other case");
    fs::remove_dir_all(c.join("App/Sub")).unwrap();
    write(c.join("App/Sub"), "a file now");
    fs::remove_file(c.join("Data/a")).unwrap();
    write(c.join("Data/a/inner"), "a directory now");
    fs::remove_dir_all(c.join("Windows/System32")).unwrap();
    fs::create_dir(c.join("Windows/System32")).unwrap();
    let (tar, _) = setup.layer(&scratch);
    let words = setup.words(&tar);
    let word = |path: &str| words.get(path).map(String::as_str);
    assert_eq!(word("Files/App/README.TXT"), Some("file of 10"));
    assert_eq!(word("Files/App/Sub"), Some("file of 10"));
    assert_eq!(word("Files/Data/a"), Some("directory"));
    assert_eq!(word("Files/windows/SYSTEM32/CMD.exe"), Some("deleted"));
    assert_eq!(word("Files/windows/SYSTEM32/notepad.exe"), None);
    let changes = setup.changes(&scratch);
    assert!(
        changes.contains(&"D C:\\windows\\SYSTEM32\\notepad.exe".to_owned()),
        "{changes:?}"
    );
    assert!(changes.contains(&"C C:\\App\\README.TXT".to_owned()));
    assert!(!changes.iter().any(|change| change.contains("Readme.txt")));
    drop(activation);
    setup.commit(&tar).await;
    let readme = setup.metadata("Files/App/readme.txt");
    assert_eq!(readme.descriptor, descriptor());
    assert!(readme.attributes.has(Attributes::HIDDEN));
    assert_ne!(readme.times.created.ticks() % 10_000_000, 5_000_000);
    let fresh = setup.scratch("fresh").await;
    let activation = setup.activate(&fresh);
    let found = tree(&activation.path().join("Files"));
    assert_eq!(found["App/Readme.txt"].as_deref(), Some("other case"));
    assert_eq!(found["App/Sub"].as_deref(), Some("a file now"));
    assert_eq!(found["Data/a/inner"].as_deref(), Some("a directory now"));
    assert!(
        !found.contains_key("Windows/System32/cmd.exe")
            || found["windows/system32/cmd.exe"].as_deref() == Some("wine's cmd")
    );
}

#[tokio::test]
async fn what_no_layer_can_hold_is_refused_by_name() {
    let setup = Setup::new(&[base()]).await;
    let refused = |scratch: &Path| {
        let error = setup.difference(scratch).layer(std::io::sink()).unwrap_err();
        error.to_string()
    };
    type Doing = fn(&Path);
    let cases: [(&str, Doing, &str); 7] = [
        (
            "socket",
            |c| drop(std::os::unix::net::UnixListener::bind(c.join("App/s")).unwrap()),
            "C:\\App\\s is a socket",
        ),
        (
            "outside",
            |c| symlink("/etc/passwd", c.join("App/p")).unwrap(),
            "C:\\App\\p is a link to /etc/passwd",
        ),
        (
            "above",
            |c| symlink("../../x", c.join("App/p")).unwrap(),
            "C:\\App\\p is a link to ../../x",
        ),
        (
            "colon",
            |c| write(c.join("App/a:b"), ""),
            "C:\\App\\a:b has a name",
        ),
        (
            "dot",
            |c| write(c.join("App/dot."), ""),
            "C:\\App\\dot. has a name",
        ),
        (
            "mark",
            |c| write(c.join("App/.wh.x"), ""),
            "C:\\App\\.wh.x has a name",
        ),
        (
            "case",
            |c| {
                write(c.join("App/one"), "");
                write(c.join("App/ONE"), "");
            },
            "differs from ONE only in case",
        ),
    ];
    for (id, doing, expected) in cases {
        let scratch = setup.scratch(id).await;
        let activation = setup.activate(&scratch);
        // A path of a socket is short.
        let link = setup.dir.path().join(id);
        symlink(activation.path().join("Files"), &link).unwrap();
        doing(&link);
        let error = refused(&scratch);
        assert!(error.contains(expected), "{id}: {error}");
        setup.difference(&scratch).changes().unwrap();
    }
}

#[tokio::test]
async fn layers_hide_each_other_whatever_takes_the_place_of_what() {
    let fourth = Tar::new()
        .directory("Files")
        .directory("Files/App")
        .delete("Files/App/Sub")
        .directory("Files/App/Sub")
        .file("Files/App/Sub/again", "again")
        .symlink("Files/App/keep.txt", "Sub\\again")
        .file("Files/Data", "a file now")
        .delete("Files/windows/system32/notepad.exe")
        .end();
    let fifth = Tar::new()
        .directory("Files")
        .directory("Files/App")
        .directory("Files/App/twin")
        .file("Files/App/twin/in", "in")
        .directory("Files/data")
        .file("Files/data/c", "c")
        .end();
    let mut setup = Setup::new(&[base(), fourth]).await;
    let scratch = setup.scratch("c").await;
    let activation = setup.activate(&scratch);
    let found = tree(&activation.path().join("Files"));
    let app: Vec<_> = found.keys().filter(|path| path.starts_with("App/")).collect();
    assert_eq!(
        app,
        [
            "App/Readme.txt",
            "App/Sub",
            "App/Sub/again",
            "App/old.txt",
            "App/twin"
        ]
    );
    assert_eq!(found["Data"].as_deref(), Some("a file now"));
    // No layer has it, so no layer hides it.
    assert!(found.contains_key("Windows/System32/notepad.exe"));
    // A directory with a link that Linux does not see can be removed, and then the link is gone too.
    fs::remove_dir_all(activation.path().join("Files/App")).unwrap();
    write(activation.path().join("Files/App/only"), "only");
    let (tar, _) = setup.layer(&scratch);
    assert_eq!(setup.words(&tar)["Files/App/keep.txt"], "deleted");
    drop(activation);

    setup.commit(&fifth).await;
    let activation = setup.activate(&setup.scratch("d").await);
    let found = tree(&activation.path().join("Files"));
    assert_eq!(found["App/twin/in"].as_deref(), Some("in"));
    let data: Vec<_> = found.keys().filter(|path| path.starts_with("Data")).collect();
    assert_eq!(data, ["Data", "Data/c"]);
}

#[tokio::test]
async fn a_container_gets_the_root_in_a_namespace_of_its_own_and_the_host_keeps_it() {
    use rustix::mount::{MoveMountFlags, UnmountFlags, move_mount, unmount};

    let setup = Setup::new(&[base()]).await;
    let scratch = setup.scratch("c").await;
    let activation = setup.activate(&scratch);
    let place = setup.dir.path().join("place");
    fs::create_dir(&place).unwrap();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNS).unwrap();
            let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH;
            move_mount(&activation, "", rustix::fs::CWD, &place, flags).unwrap();
            write(place.join("Files/App/made"), "in the container");
            // Something that the container has mounted is no part of its drive.
            let inner = place.join("Files/Data");
            rustix::mount::mount_bind(place.join("Files/App"), &inner).unwrap();
            let files =
                snapshot::windows::WindowsFiles::open(&activation.path().join("Files"), false).unwrap();
            let mut tar = Vec::new();
            files.export(&mut tar).unwrap();
            let names: Vec<_> = tar::Archive::new(&tar[..])
                .entries()
                .unwrap()
                .map(|entry| entry.unwrap().path().unwrap().display().to_string())
                .collect();
            assert!(names.contains(&"App/made".to_owned()) && names.contains(&"Data/".to_owned()));
            assert!(!names.contains(&"Data/made".to_owned()), "{names:?}");
            let mut tar = Vec::new();
            files.archive(r"C:\data", false, &mut tar).unwrap();
            assert!(tar::Archive::new(&tar[..]).entries().unwrap().count() > 3);
            unmount(&place, UnmountFlags::DETACH).unwrap();
        });
    });
    let made = fs::read_to_string(activation.path().join("Files/App/made")).unwrap();
    assert_eq!(made, "in the container");
    assert_eq!(setup.changes(&scratch), ["C C:\\App", "A C:\\App\\made"]);
}

#[tokio::test]
async fn a_changed_file_with_several_names_keeps_what_it_has() {
    let tar = Tar::base()
        .described("Files/one", "one", 0x22, CREATED)
        .file("Files/one:note", "a stream")
        .hard_link("Files/two", "Files/one")
        .end();
    let above = Tar::new()
        .directory("Files")
        .hard_link("Files/three", "Files/two")
        .end();
    let mut setup = Setup::new(&[tar, above]).await;
    let scratch = setup.scratch("c").await;
    let activation = setup.activate(&scratch);
    append(activation.path().join("Files/three"), "!");
    let (tar, _) = setup.layer(&scratch);
    let words = setup.words(&tar);
    assert_eq!(words["Files/three"], "file of 4, stream note of 8");
    assert_eq!(words.len(), 3);
    drop(activation);
    setup.commit(&tar).await;
    let metadata = setup.metadata("Files/three");
    assert!(metadata.attributes.has(Attributes::HIDDEN) && metadata.descriptor == descriptor());
    assert_eq!(metadata.times.created.ticks() % 10_000_000, 5_000_000);
}

#[tokio::test]
async fn a_tree_that_is_too_deep_is_refused() {
    let setup = Setup::new(&[base()]).await;
    let scratch = setup.scratch("c").await;
    let mut directory = scratch.join("upper/Files");
    for _ in 0..600 {
        directory.push("d");
    }
    fs::create_dir_all(directory).unwrap();
    let error = setup.difference(&scratch).changes().unwrap_err();
    assert!(error.to_string().contains("deeper"), "{error}");
}

#[tokio::test]
async fn changes_of_the_registry_are_told_and_not_exported() {
    let setup = Setup::new(&[base()]).await;
    let scratch = setup.scratch("c").await;
    let activation = setup.activate(&scratch);
    let file = activation.path().join("Registry/system.reg");
    let text = fs::read_to_string(&file).unwrap();
    fs::remove_file(&file).unwrap();
    write(
        &file,
        &text
            .replace("1700000000", "1800000000")
            .replace("1d0000", "1d1111"),
    );
    assert!(setup.layer(&scratch).1.registry.is_empty());
    // Wine sets these by itself.
    append(
        &file,
        "\n[System\\\\CurrentControlSet\\\\Control\\\\ComputerName\\\\ComputerName] 1\n\"n\"=\"h\"\n",
    );
    assert!(setup.layer(&scratch).1.registry.is_empty());
    append(&file, "\n[A\\\\C] 1\n\"y\"=\"2\"\n");
    let (tar, report) = setup.layer(&scratch);
    assert_eq!(report.registry, ["system.reg"]);
    assert_eq!(setup.words(&tar).len(), 2);
    assert!(setup.changes(&scratch).is_empty());
}

#[tokio::test]
async fn sixty_layers_can_be_stacked() {
    let mut tars = vec![base()];
    tars.extend((1..60).map(|n| {
        Tar::new()
            .directory("Files")
            .directory("Files/Layers")
            .file(&format!("Files/Layers/{n}"), n.to_string())
            .file("Files/Layers/top", n.to_string())
            .end()
    }));
    let setup = Setup::new(&tars).await;
    let scratch = setup.scratch("c").await;
    let activation = setup.activate(&scratch);
    let found = tree(&activation.path().join("Files/Layers"));
    assert_eq!(found.len(), 60);
    assert_eq!(found["top"].as_deref(), Some("59"));
    append(activation.path().join("Files/Layers/1"), "!");
    assert_eq!(setup.changes(&scratch), ["C C:\\Layers", "C C:\\Layers\\1"]);
    let (tar, _) = setup.layer(&scratch);
    assert_eq!(setup.words(&tar)["Files/Layers/1"], "file of 2");
}

#[tokio::test]
async fn activations_can_be_made_by_many_at_once_and_leave_nothing() {
    let setup = Setup::new(&[base(), second()]).await;
    let before = mounts();
    let mut scratches = Vec::new();
    for n in 0..16 {
        scratches.push(setup.scratch(&format!("c{n}")).await);
    }
    std::thread::scope(|scope| {
        for (n, scratch) in scratches.iter().enumerate() {
            let setup = &setup;
            scope.spawn(move || {
                let activation = setup.activate(scratch);
                write(activation.path().join("Files/mine"), &n.to_string());
                assert_eq!(setup.changes(scratch), ["A C:\\mine"]);
            });
        }
    });
    assert_eq!(mounts(), before);
    let error = Activation::new(&scratches[0], &[setup.dir.path().join("none")], None).unwrap_err();
    assert!(error.to_string().contains("none"), "{error}");
    assert!(Activation::new(&scratches[0], &[], None).is_err());
}

/// A measurement, not a test: run it by name, with `--ignored --nocapture`.
#[tokio::test]
#[ignore = "a measurement"]
async fn measure_20000_small_files() {
    let mut tar = Tar::base();
    for directory in 0..200 {
        tar = tar.directory(&format!("Files/d{directory}"));
        for file in 0..100 {
            let content = format!("{directory} {file} ").repeat(200);
            tar = tar.described(
                &format!("Files/d{directory}/f{file}.txt"),
                &content,
                0x20,
                CREATED,
            );
        }
    }
    let tar = tar.end();
    let setup = Setup::new(&[base()]).await;
    let say = |what: &str, start: Instant, bytes: usize| {
        let time = start.elapsed();
        let rate = bytes as f64 / 1e6 / time.as_secs_f64();
        writeln!(
            std::io::stdout(),
            "{what}: {time:?}, {rate:.0} MB/s of {bytes} bytes"
        )
        .unwrap();
    };
    let start = Instant::now();
    let layer = unpack(&setup.layers, &tar, &setup.keys).await.unwrap();
    say("unpack", start, tar.len());
    let start = Instant::now();
    unpack(
        &setup.layers,
        &Tar::new().file("Files/x", "x").end(),
        &[setup.keys[0].clone(), layer.key],
    )
    .await
    .unwrap();
    say("small layer upon it", start, 1);
    let scratch = setup.scratch("c").await;
    let start = Instant::now();
    let activation = setup.activate(&scratch);
    say("activation", start, 1);
    for directory in 0..200 {
        for file in 0..100 {
            let content = format!("{directory} {file} ").repeat(200);
            write(
                activation.path().join(format!("Files/d{directory}/f{file}.txt")),
                &content,
            );
        }
    }
    let start = Instant::now();
    assert!(setup.difference(&scratch).changes().unwrap().len() >= 20_000);
    say("changes", start, 1);
    let start = Instant::now();
    let mut out = Vec::new();
    setup.difference(&scratch).layer(&mut out).unwrap();
    say("layer", start, out.len());
}
