//! Layers and scratches from their beginning to their end, as files.

use std::fs;
use std::path::Path;

use crate::host::{Host, names, object, stream};

/// 40 GiB.
const SIZE: u64 = 40 << 30;

#[test]
fn an_image_of_two_layers_is_run_and_committed_and_removed() {
    let host = Host::new();
    let store = host.store;
    host.base("l1");
    let base = host.path("l1");
    let hives = [
        "DefaultUser_Base",
        "Sam_Base",
        "Security_Base",
        "Software_Base",
        "System_Base",
    ];
    assert_eq!(names(&base.join("Hives")), hives);
    for disk in ["blank-base.vhdx", "blank.vhdx", r"UtilityVM\SystemTemplate.vhdx"] {
        assert!(base.join(disk).is_file(), "{disk}");
    }

    host.layer("l2", &[host.parent("l1")]);
    let files = host.path("l2").join("Files");
    let read = |path: &Path| fs::read_to_string(path).unwrap();
    assert_eq!(read(&files.join(r"app\config.json")), "{}");
    assert_eq!(read(&files.join("license.txt")), "changed");
    assert_eq!(
        read(&files.join(r"Windows\notepad.exe")),
        "notepad",
        "of the parent"
    );
    assert_eq!(read(&host.path(r"l2\Hives\Software_Delta")), "regf");

    let (scratch, parents) = (host.path("scratch"), [host.parent("l2"), host.parent("l1")]);
    store.create_scratch(&scratch, &parents).unwrap();
    store.expand_scratch(&scratch, SIZE).unwrap();
    store.activate(&scratch).unwrap();
    store.prepare(&scratch, &parents).unwrap();
    let volume = store.mount_path(&scratch).unwrap();
    let volume = Path::new(&volume);
    assert_eq!(names(volume), names(&files));
    fs::write(volume.join(r"app\result.txt"), "made").unwrap();
    fs::write(volume.join("license.txt"), "changed again").unwrap();
    fs::remove_dir_all(volume.join(r"Windows\System32")).unwrap();
    store.unprepare(&scratch).unwrap();

    let exported = host.path("exported");
    fs::create_dir(&exported).unwrap();
    store.export(&scratch, &exported, &parents).unwrap();
    store.deactivate(&scratch).unwrap();
    assert_eq!(
        names(&exported.join("Files")),
        ["app", "app.$wcidirs$", r"app\result.txt", "license.txt"]
    );
    assert_eq!(names(&exported.join("Hives")).len(), 5);
    let tombstones = fs::read_to_string(exported.join("tombstones.txt")).unwrap();
    let lines: Vec<&str> = tombstones.lines().collect();
    assert_eq!(lines, ["\u{feff}Version 1.0", r"\Windows\System32"]);
    let license = fs::read(exported.join(r"Files\license.txt")).unwrap();
    assert_eq!(
        license[4..],
        object(0, Some(b"changed again"))[4..],
        "with what the parent keeps"
    );
    let directory = fs::read(exported.join(r"Files\app.$wcidirs$")).unwrap();
    assert_eq!(directory, object(0x10, None));
    let made = fs::read(exported.join(r"Files\app\result.txt")).unwrap();
    assert!(made.ends_with(&stream(1, b"made")));

    // What the container wrote is there again, and a later run begins with it.
    store.activate(&scratch).unwrap();
    store.prepare(&scratch, &parents).unwrap();
    assert_eq!(read(&volume.join(r"app\result.txt")), "made");
    store.unprepare(&scratch).unwrap();
    store.deactivate(&scratch).unwrap();

    for folder in ["scratch", "l2", "l1"] {
        store.destroy(&host.path(folder)).unwrap();
        assert!(!host.path(folder).exists());
    }
    host.finish();
}

#[test]
fn what_was_exported_is_a_layer_again() {
    let host = Host::new();
    host.base("l1");
    let (scratch, parents) = (host.path("scratch"), [host.parent("l1")]);
    host.store.create_scratch(&scratch, &parents).unwrap();
    host.store.activate(&scratch).unwrap();
    host.store.prepare(&scratch, &parents).unwrap();
    let volume = host.store.mount_path(&scratch).unwrap();
    fs::create_dir(Path::new(&volume).join("new")).unwrap();
    fs::write(Path::new(&volume).join(r"new\file.txt"), "made").unwrap();
    host.store.unprepare(&scratch).unwrap();
    let exported = host.path("exported");
    fs::create_dir(&exported).unwrap();
    host.store.export(&scratch, &exported, &parents).unwrap();
    host.store.deactivate(&scratch).unwrap();

    fs::remove_file(exported.join("tombstones.txt")).unwrap();
    let layer = host.path("l2");
    fs::create_dir(&layer).unwrap();
    let data = crate::host::layer_data(&parents);
    host.store.import(&layer, &exported, &data).unwrap();
    assert_eq!(
        fs::read_to_string(layer.join(r"Files\new\file.txt")).unwrap(),
        "made"
    );
    host.finish();
}

#[test]
fn many_threads_prepare_one_after_the_other() {
    let host = Host::new();
    host.base("l1");
    let parents = [host.parent("l1")];
    let scratches: Vec<_> = (0..6).map(|number| host.path(&format!("s{number}"))).collect();
    for scratch in &scratches {
        host.store.create_scratch(scratch, &parents).unwrap();
        host.store.activate(scratch).unwrap();
    }
    let store = host.store;
    // The double notes when two threads are in the call.
    std::thread::scope(|scope| {
        for scratch in &scratches {
            scope.spawn(|| store.prepare(scratch, &parents).unwrap());
        }
    });
    for scratch in &scratches {
        store.unprepare(scratch).unwrap();
        store.deactivate(scratch).unwrap();
    }
    host.finish();
}

#[test]
fn a_machine_gets_access_to_a_file() {
    let host = Host::new();
    let disk = host.path("disk.vhdx");
    fs::write(&disk, "a disk").unwrap();
    host.store.grant_vm_access("pod1@vm", &disk).unwrap();
    host.finish();
}
