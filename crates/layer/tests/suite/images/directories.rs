//! Large directories and deep trees.

use super::*;

/// Sealed headers of empty files, cheap enough for hundreds of thousands.
fn empty_files(count: usize, name: impl Fn(usize) -> String) -> Vec<u8> {
    let mut tar = Vec::with_capacity(count * 512 + 1024);
    for n in 0..count {
        let mut header = Header::new(b'0', name(n).as_bytes()).0;
        seal(&mut header);
        tar.extend_from_slice(&header);
    }
    tar.extend_from_slice(&[0; 1024]);
    tar
}

#[test]
fn a_directory_of_300_000_names_is_found_and_listed() {
    let (converted, image) = convert(&empty_files(300_000, |n| format!("d/some-file-name-{n}"))).unwrap();
    assert_eq!(converted.entries, 300_000);
    let image = Mounted::new(image);
    for n in [0, 1, 4711, 123_456, 299_999] {
        assert!(image.exists(format!("d/some-file-name-{n}")), "{n}");
    }
    assert!(!image.exists("d/some-file-name-300000"));
    assert_eq!(std::fs::read_dir(image.at("d")).unwrap().count(), 300_000);
}

#[test]
fn long_names_need_two_levels_of_index() {
    // Fifteen names of 250 bytes fill a block: more than 508 blocks need another level.
    let (_, image) = convert(&empty_files(12_000, |n| format!("d/{n:0>95}"))).unwrap();
    Mounted::new(image);
    let mut archive = Archive::new();
    for n in 0..9_000 {
        archive = archive.file(format!("d/{n:0>250}"), "");
    }
    let image = mount(archive);
    assert!(image.exists(format!("d/{:0>250}", 8_999)));
    assert_eq!(std::fs::read_dir(image.at("d")).unwrap().count(), 9_000);
}

#[test]
fn more_subdirectories_than_a_link_count_holds() {
    let (_, image) = convert(&empty_files(66_000, |n| format!("d/{n}/f"))).unwrap();
    let image = Mounted::new(image);
    assert_eq!(image.metadata("d").nlink(), 1);
    assert!(image.exists("d/65999/f"));
}

#[test]
fn many_empty_files_make_a_small_image() {
    let (converted, image) =
        convert(&empty_files(200_000, |n| format!("{}/{}/{n}", n % 100, n % 7))).unwrap();
    // Inodes of 256 bytes, names of some twenty, and little else.
    assert!(converted.image_bytes < 200_000 * 320, "{}", converted.image_bytes);
    let image = Mounted::new(image);
    assert!(image.exists("99/2/199999"));
}

#[test]
fn deep_paths_and_implied_parents() {
    let deep = "a/".repeat(2000) + "f";
    let (_, image) = convert(&Archive::new().file(&deep, "deep").end()).unwrap();
    let image = Mounted::new(image);
    // The whole path is too long for one call.
    let half = image.at("a/".repeat(1000));
    let script = format!("cd {} && cd {} && cat f", half.display(), "a/".repeat(1000));
    let output = Command::new("sh").args(["-c", &script]).output().unwrap();
    assert_eq!(output.stdout, b"deep");

    let (_, image) = convert(&empty_files(25_000, |n| format!("x{n}/y{n}/f"))).unwrap();
    assert!(Mounted::new(image).exists("x24999/y24999/f"));
}
