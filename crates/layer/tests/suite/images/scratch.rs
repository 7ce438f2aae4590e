//! Empty scratch disks, used by the kernel.

use super::*;

fn scratch(size: u64) -> NamedTempFile {
    let file = NamedTempFile::new().unwrap();
    write_empty_scratch(file.as_file(), size).unwrap();
    check(file.path());
    file
}

#[test]
fn scratch_disks_of_all_sizes_are_sound_and_small() {
    for size in [
        1 << 20,
        (1 << 20) + 4095,
        5_000_000,
        64 << 20,
        128 << 20,
        (128 << 20) + 4096,
        (128 << 20) + (10 << 20),
        (2 << 30) + (7 << 20),
        20 << 30,
        100 << 30,
        1 << 40,
    ] {
        let disk = scratch(size);
        let metadata = disk.as_file().metadata().unwrap();
        assert_eq!(metadata.len(), size - size % 4096 + 512);
        // A few blocks, and one for each sixteen groups of 128 MiB.
        let allowed = (64 << 10) + size / (2 << 30) * 4800;
        assert!(
            metadata.blocks() * 512 < allowed,
            "{size}: {}",
            metadata.blocks() * 512
        );
    }
    let error = write_empty_scratch(&tempfile::tempfile().unwrap(), 1000).unwrap_err();
    assert_eq!(error.code(), "bad-size");
    assert!(write_empty_scratch(&tempfile::tempfile().unwrap(), 1 << 50).is_err());
}

#[test]
fn a_growing_scratch_disk_is_the_same_disk_in_a_small_file() {
    for size in [1u64 << 20, 5_000_000, (128 << 20) + 4096, 20 << 30] {
        let growing = NamedTempFile::new().unwrap();
        write_empty_growing_scratch(growing.as_file(), size, [9; 16]).unwrap();
        let whole = size - size % 4096;
        assert_eq!(vhdx_size(growing.as_file()).unwrap(), Ok(whole));
        // The tables of the format, and a block for each 2 GiB and the start.
        let length = growing.as_file().metadata().unwrap().len();
        assert!(length <= (6 + size.div_ceil(2 << 30)) << 20, "{size}: {length}");
        qemu_img(&["check", "-q", "-f", "vhdx"], &[growing.path()]);
        let raw = NamedTempFile::new().unwrap();
        qemu_img(
            &["convert", "-f", "vhdx", "-O", "raw"],
            &[growing.path(), raw.path()],
        );
        check(raw.path());
        let fixed = scratch(size);
        fixed.as_file().set_len(whole).unwrap();
        qemu_img(&["compare", "-q", "-f", "raw"], &[raw.path(), fixed.path()]);
    }
}

fn qemu_img(arguments: &[&str], files: &[&Path]) {
    let output = Command::new("qemu-img")
        .args(arguments)
        .args(files)
        .output()
        .expect("qemu-img is installed");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{arguments:?} {files:?}: {said}");
}

#[test]
fn a_scratch_disk_can_be_filled() {
    let disk = scratch(64 << 20);
    {
        let mounted = Mounted::attach(disk.path(), "loop,rw");
        let block = vec![0x5a; 1 << 20];
        let mut written = 0;
        for n in 0.. {
            let mut file = File::create(mounted.at(format!("f{n}"))).unwrap();
            if file.write_all(&block).and_then(|()| file.sync_all()).is_err() {
                break;
            }
            written += 1;
        }
        assert!(written >= 60, "{written} MiB of 64");
    }
    check(disk.path());
}

#[test]
fn a_scratch_disk_takes_many_files_far_apart() {
    let disk = scratch(20 << 30);
    {
        let mounted = Mounted::attach(disk.path(), "loop,rw");
        for directory in 0..40 {
            let path = mounted.at(format!("d{directory}"));
            std::fs::create_dir(&path).unwrap();
            for file in 0..500 {
                std::fs::write(path.join(file.to_string()), format!("{directory}/{file}")).unwrap();
            }
        }
        rustix::fs::setxattr(
            mounted.at("d0"),
            "trusted.overlay.opaque",
            b"y",
            rustix::fs::XattrFlags::empty(),
        )
        .unwrap();
    }
    check(disk.path());
    let mounted = Mounted::attach(disk.path(), "loop,rw");
    assert_eq!(mounted.text("d39/499"), "39/499");
    for directory in 0..40 {
        std::fs::remove_dir_all(mounted.at(format!("d{directory}"))).unwrap();
    }
    drop(mounted);
    check(disk.path());
}

#[test]
fn overlay_works_on_a_scratch_disk() {
    let disk = scratch(64 << 20);
    let mounted = Mounted::attach(disk.path(), "loop,rw");
    let lower = mount(Archive::new().file("etc/a", "1").file("etc/b", "2"));
    for name in ["upper", "work", "merged"] {
        std::fs::create_dir(mounted.at(name)).unwrap();
    }
    let at = |name: &str| mounted.at(name).display().to_string();
    let options = format!(
        "lowerdir={},upperdir={},workdir={}",
        lower.path().display(),
        at("upper"),
        at("work")
    );
    let status = Command::new("mount")
        .args(["-t", "overlay", "overlay", "-o", &options, &at("merged")])
        .status()
        .unwrap();
    assert!(status.success());
    std::fs::write(mounted.at("merged/etc/a"), "changed").unwrap();
    std::fs::remove_file(mounted.at("merged/etc/b")).unwrap();
    assert!(
        Command::new("umount")
            .arg(at("merged"))
            .status()
            .unwrap()
            .success()
    );
    assert_eq!(mounted.text("upper/etc/a"), "changed");
    assert_eq!(mounted.metadata("upper/etc/b").rdev(), 0);
    assert_eq!(lower.text("etc/a"), "1");
}
