//! Merged roots: what containers see of their layers.

use std::collections::BTreeMap;
use std::fs;

use rustix::fs::getxattr;
use snapshot::windows::Activation;

use crate::setup::*;
use crate::windows_kit::{Tar, append, tree, write};

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
    // The number of the descriptor may be another test's at once, so it is known by what only this one has.
    write(root.join("Files/of-this-test"), "");
    assert!(root.join("Files/of-this-test").exists());
    drop(activation);
    assert!(!root.join("Files/of-this-test").exists());
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
