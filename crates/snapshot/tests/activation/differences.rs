//! What containers change, and the layers that come of it.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};

use layer::windows::{Attributes, StreamName, WindowsLimits, WindowsPath, WindowsTree};
use rustix::fs::{XattrFlags, getxattr, setxattr};

use crate::setup::*;
use crate::windows_kit::{Tar, append, descriptor, tree, write};

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
