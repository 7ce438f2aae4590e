//! Disks of a running sandbox.

use std::fs::{self, File};
use std::os::unix::fs::{FileTypeExt, MetadataExt};

use compute::{ComputeService, wait_for_exit};
use hcs::{ExitType, HResult};
use serde_json::json;

use crate::host::{
    FOREVER, Host, disk, document, growing, leftovers, loops, run, seal, storage_daemons, wait_for_no_loops,
};

#[tokio::test]
async fn a_disk_appears_at_its_slot_without_the_footer_and_goes_again() {
    let host = Host::new(FOREVER);
    let image = host.image("layer.vhd", 8192, b'x');
    let system = host.start("disk").await;
    system
        .modify(&disk("Add", 1, 3, Some((&image, true))))
        .await
        .unwrap();
    let node = host.run_dir().join("disk/devices/1/3");
    assert!(fs::symlink_metadata(&node).unwrap().file_type().is_block_device());
    assert_eq!(fs::read(&node).unwrap(), vec![b'x'; 8192]);
    assert_eq!(loops(host.directory.path()).len(), 1);
    system.modify(&disk("Remove", 1, 3, None)).await.unwrap();
    assert!(!node.exists());
    assert!(wait_for_no_loops(host.directory.path()));
    assert_eq!(
        system
            .modify(&disk("Remove", 1, 3, None))
            .await
            .unwrap_err()
            .hresult,
        HResult::ELEMENT_NOT_FOUND
    );
    system.terminate().await.unwrap();
}

#[tokio::test]
async fn a_writable_disk_writes_to_the_image_and_leaves_the_footer_alone() {
    let host = Host::new(FOREVER);
    let image = host.image("scratch.vhd", 8192, 0);
    let before = fs::read(&image).unwrap();
    let system = host.start("scratch").await;
    system
        .modify(&disk("Add", 0, 0, Some((&image, false))))
        .await
        .unwrap();
    let node = host.run_dir().join("scratch/devices/0/0");
    let device = File::options().write(true).open(&node).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&device, &[b'y'; 8192], 0).unwrap();
    assert!(std::os::unix::fs::FileExt::write_all_at(&device, b"y", 8192).is_err());
    device.sync_all().unwrap();
    let after = fs::read(&image).unwrap();
    assert_eq!(&after[..8192], &[b'y'; 8192]);
    assert_eq!(&after[8192..], &before[8192..]);
    drop(device);
    system.terminate().await.unwrap();
}

#[tokio::test]
async fn a_disk_that_grows_has_its_full_size_and_keeps_what_was_written() {
    let host = Host::new(FOREVER);
    let image = growing(host.directory.path(), "scratch.vhdx", 1 << 30);
    let empty = fs::metadata(&image).unwrap().len();
    let system = host.start("growing").await;
    let node = host.run_dir().join("growing/devices/0/0");
    let (device, path) = (node.to_str().unwrap(), host.directory.path().join("mounted"));
    fs::create_dir(&path).unwrap();
    let mounted = path.to_str().unwrap();
    for round in 0..2 {
        system
            .modify(&disk("Add", 0, 0, Some((&image, false))))
            .await
            .unwrap();
        let mut size = File::open(&node).unwrap();
        assert_eq!(
            std::io::Seek::seek(&mut size, std::io::SeekFrom::End(0)).unwrap(),
            1 << 30
        );
        run("mount", &[device, mounted]);
        match round {
            0 => fs::write(path.join("file"), vec![b'z'; 20 << 20]).unwrap(),
            _ => {
                let found = fs::read(path.join("file")).unwrap();
                let wrong = found.iter().filter(|byte| **byte != b'z').count();
                assert_eq!((found.len(), wrong), (20 << 20, 0));
            }
        }
        // Whoever makes a namespace at this moment has the mount too, and keeps what was not written yet.
        run("sync", &["-f", mounted]);
        run("umount", &[mounted]);
        run("e2fsck", &["-fn", device]);
        let again = system
            .modify(&disk("Add", 1, 0, Some((&image, false))))
            .await
            .unwrap_err();
        assert_eq!(again.hresult, HResult::SHARING_VIOLATION);
        drop(size);
        system.modify(&disk("Remove", 0, 0, None)).await.unwrap();
        assert_eq!(storage_daemons(host.directory.path()), Vec::<String>::new());
    }
    let grown = fs::metadata(&image).unwrap().len() - empty;
    assert!((20 << 20..60 << 20).contains(&grown), "{grown}");
    run("qemu-img", &["check", "-q", image.to_str().unwrap()]);

    // One that is attached when its machine is killed.
    system
        .modify(&disk("Add", 0, 0, Some((&image, false))))
        .await
        .unwrap();
    system.terminate().await.unwrap();
    assert!(wait_for_no_loops(host.directory.path()));
    assert_eq!(host.leftovers(), Vec::<String>::new());
}

#[tokio::test]
async fn a_damaged_disk_that_grows_is_refused_and_leaves_nothing() {
    let host = Host::new(FOREVER);
    let image = growing(host.directory.path(), "damaged.vhdx", 64 << 20);
    let system = host.start("damaged").await;
    let file = File::options().write(true).open(&image).unwrap();
    // Where each block is: this one beyond the end of the file. Only who reads the whole table can tell.
    std::os::unix::fs::FileExt::write_all_at(&file, &(u64::MAX << 20 | 6).to_le_bytes(), 3 << 20).unwrap();
    let error = system
        .modify(&disk("Add", 0, 0, Some((&image, false))))
        .await
        .unwrap_err();
    assert!(error.to_string().contains("damaged.vhdx"), "{error}");
    assert!(error.to_string().contains("qemu-storage-daemon ended"), "{error}");
    file.set_len(100_000).unwrap();
    let error = system
        .modify(&disk("Add", 0, 0, Some((&image, false))))
        .await
        .unwrap_err();
    assert_eq!(error.hresult, HResult::from_win32(1392));
    system.terminate().await.unwrap();
    assert_eq!(host.leftovers(), Vec::<String>::new());
}

#[tokio::test]
async fn one_image_read_by_many_slots_and_sandboxes_has_one_device() {
    let host = Host::new(FOREVER);
    let image = host.image("shared.vhd", 4096, b's');
    let (one, two) = (host.start("image-one").await, host.start("image-two").await);
    for lun in 0..3 {
        one.modify(&disk("Add", 0, lun, Some((&image, true))))
            .await
            .unwrap();
    }
    two.modify(&disk("Add", 0, 0, Some((&image, true))))
        .await
        .unwrap();
    assert_eq!(loops(host.directory.path()).len(), 1);
    let number = |id: &str, lun: u32| {
        fs::metadata(host.run_dir().join(format!("{id}/devices/0/{lun}")))
            .unwrap()
            .rdev()
    };
    assert_eq!(number("image-one", 0), number("image-one", 2));
    assert_eq!(number("image-one", 0), number("image-two", 0));
    one.terminate().await.unwrap();
    assert_eq!(
        fs::read(host.run_dir().join("image-two/devices/0/0")).unwrap(),
        vec![b's'; 4096]
    );
    two.terminate().await.unwrap();
    assert_eq!(host.leftovers(), Vec::<String>::new());
}

#[tokio::test]
async fn a_disk_in_use_is_not_attached_for_writing() {
    let host = Host::new(FOREVER);
    let image = host.image("busy.vhd", 4096, 0);
    let (one, two) = (host.start("writer").await, host.start("reader").await);
    one.modify(&disk("Add", 0, 0, Some((&image, false))))
        .await
        .unwrap();
    for read_only in [true, false] {
        let error = two
            .modify(&disk("Add", 0, 0, Some((&image, read_only))))
            .await
            .unwrap_err();
        assert_eq!(error.hresult, HResult::SHARING_VIOLATION, "{error}");
    }
    one.modify(&disk("Remove", 0, 0, None)).await.unwrap();
    two.modify(&disk("Add", 0, 0, Some((&image, true))))
        .await
        .unwrap();
    let error = one
        .modify(&disk("Add", 0, 0, Some((&image, false))))
        .await
        .unwrap_err();
    assert_eq!(error.hresult, HResult::SHARING_VIOLATION);
    host.emulator.shutdown().await;
    assert_eq!(host.leftovers(), Vec::<String>::new());
}

#[tokio::test]
async fn files_that_are_no_disks_are_refused() {
    let host = Host::new(FOREVER);
    let raw = host.directory.path().join("raw.img");
    fs::write(&raw, vec![0; 8192]).unwrap();
    let system = host.start("bad").await;
    for (path, code) in [
        (raw.as_path(), HResult::from_bits(0xC03A_0001)),
        (host.directory.path(), HResult::E_INVALIDARG),
        ("/no/such.vhd".as_ref(), HResult::from_win32(2)),
    ] {
        let error = system
            .modify(&disk("Add", 0, 0, Some((path, true))))
            .await
            .unwrap_err();
        assert_eq!(error.hresult, code, "{error}");
        assert!(error.to_string().contains(path.to_str().unwrap()), "{error}");
    }
    // The slot is still free.
    let image = host.image("good.vhd", 4096, 0);
    system
        .modify(&disk("Add", 0, 0, Some((&image, true))))
        .await
        .unwrap();
    let taken = system
        .modify(&disk("Add", 0, 0, Some((&image, true))))
        .await
        .unwrap_err();
    assert_eq!(taken.hresult, HResult::from_win32(0xB7));
    system.terminate().await.unwrap();
    assert_eq!(host.leftovers(), Vec::<String>::new());
}

#[tokio::test]
async fn all_slots_can_be_filled_and_no_more() {
    let host = Host::new(FOREVER);
    let images: Vec<_> = (0..8).map(|n| host.image(&format!("{n}.vhd"), 4096, n)).collect();
    let system = host.start("full").await;
    let mut refused = 0;
    for request in 0..300u32 {
        let (controller, lun) = (request / 64, request % 64);
        let image = &images[request as usize % images.len()];
        match system
            .modify(&disk("Add", controller, lun, Some((image, true))))
            .await
        {
            Ok(()) => assert!(controller < 4),
            Err(error) => {
                assert_eq!(error.hresult, HResult::ELEMENT_NOT_FOUND, "{error}");
                refused += 1;
            }
        }
    }
    assert_eq!(refused, 300 - 256);
    let error = system
        .modify(&disk("Add", 0, 64, Some((&images[0], true))))
        .await
        .unwrap_err();
    assert_eq!(error.hresult, HResult::E_INVALIDARG);
    assert_eq!(loops(host.directory.path()).len(), images.len());
    for request in 0..256u32 {
        system
            .modify(&disk("Remove", request / 64, request % 64, None))
            .await
            .unwrap();
    }
    assert!(wait_for_no_loops(host.directory.path()));
    system.terminate().await.unwrap();
    assert_eq!(host.leftovers(), Vec::<String>::new());
}

#[tokio::test]
async fn disks_are_bound_concurrently_by_many_emulators() {
    let hosts: Vec<_> = (0..4).map(|_| Host::new(FOREVER)).collect();
    let mut tasks = Vec::new();
    for (number, host) in hosts.iter().enumerate() {
        let system = host.start(&format!("many{number}")).await;
        for lun in 0..8 {
            let image = host.image(&format!("{lun}.vhd"), 4096, lun);
            let (system, lun) = (std::sync::Arc::clone(&system), u32::from(lun));
            tasks.push(tokio::spawn(async move {
                system
                    .modify(&disk("Add", 0, lun, Some((&image, lun % 2 == 0))))
                    .await
                    .unwrap();
            }));
        }
    }
    for task in tasks {
        task.await.unwrap();
    }
    for host in &hosts {
        assert_eq!(loops(host.directory.path()).len(), 8);
        host.emulator.shutdown().await;
        assert_eq!(host.leftovers(), Vec::<String>::new());
    }
}

#[tokio::test]
async fn a_disk_can_be_replaced() {
    let host = Host::new(FOREVER);
    let (first, second) = (host.image("a.vhd", 4096, b'a'), host.image("b.vhd", 4096, b'b'));
    let system = host.start("replace").await;
    let update = disk("Update", 0, 0, Some((&second, true)));
    assert_eq!(
        system.modify(&update).await.unwrap_err().hresult,
        HResult::ELEMENT_NOT_FOUND
    );
    system
        .modify(&disk("Add", 0, 0, Some((&first, true))))
        .await
        .unwrap();
    system.modify(&update).await.unwrap();
    assert_eq!(
        fs::read(host.run_dir().join("replace/devices/0/0")).unwrap(),
        vec![b'b'; 4096]
    );
    system.terminate().await.unwrap();
    assert_eq!(host.leftovers(), Vec::<String>::new());
}

#[tokio::test]
async fn a_disk_of_the_document_is_mounted_by_the_guest_and_cleared_after_it() {
    let host =
        Host::new(r#"mount -t ext4 -o ro "$devices/0/0" "$root" && cat "$root/greeting" && exec sleep 0"#);
    let tree = host.directory.path().join("tree");
    fs::create_dir(&tree).unwrap();
    fs::write(tree.join("greeting"), "hello from the disk\n").unwrap();
    let image = host.directory.path().join("rootfs.vhd");
    let size = 4u64 << 20;
    File::create(&image).unwrap().set_len(size).unwrap();
    run(
        "mkfs.ext4",
        &[
            "-q",
            "-O",
            "^has_journal",
            "-d",
            tree.to_str().unwrap(),
            image.to_str().unwrap(),
        ],
    );
    seal(&File::options().write(true).open(&image).unwrap(), size);
    let mut machine = document();
    machine["VirtualMachine"]["Devices"]["Scsi"]["0"]["Attachments"] =
        json!({ "0": { "Type": "VirtualDisk", "Path": image, "ReadOnly": true } });
    let system = host
        .emulator
        .create("mounted", &machine.to_string())
        .await
        .unwrap();
    system.start().await.unwrap();
    assert_eq!(
        wait_for_exit(&*system).await.unwrap().exit_type,
        Some(ExitType::GracefulExit)
    );
    assert_eq!(leftovers(host.directory.path()), Vec::<String>::new());
}
