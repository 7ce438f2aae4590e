//! Large, sparse and fragmented files, and the image as a file of its own.

use super::*;

/// A sparse file in the PAX format 1.0 with one block of `n`s at each of the given offsets.
fn sparse(name: &str, size: u64, offsets: &[u64]) -> Archive {
    let mut body = format!("{}\n", offsets.len());
    for offset in offsets {
        body.push_str(&format!("{offset}\n4096\n"));
    }
    let mut body = body.into_bytes();
    body.resize(body.len().next_multiple_of(512), 0);
    for n in 0..offsets.len() {
        body.extend(std::iter::repeat_n((n % 255) as u8 + 1, 4096));
    }
    Archive::new()
        .pax(&[
            ("GNU.sparse.major", b"1"),
            ("GNU.sparse.minor", b"0"),
            ("GNU.sparse.name", name.as_bytes()),
            ("GNU.sparse.realsize", size.to_string().as_bytes()),
        ])
        .file("GNUSparseFile.0/x", body)
}

fn byte_at(image: &Mounted, name: &str, offset: u64) -> u8 {
    let mut byte = [0];
    File::open(image.at(name))
        .unwrap()
        .read_exact_at(&mut byte, offset)
        .unwrap();
    byte[0]
}

#[test]
fn files_over_4_gib_with_holes() {
    let size = 100 << 30;
    let offsets = [0, 4 << 30, (5 << 30) + 4096 * 17, size - 4096];
    let (converted, image) = convert(&sparse("huge", size, &offsets).end()).unwrap();
    assert!(converted.image_bytes < 1 << 20, "{}", converted.image_bytes);
    let image = Mounted::new(image);
    assert_eq!(image.metadata("huge").len(), size);
    assert_eq!(image.metadata("huge").blocks(), 4 * 8);
    for (n, offset) in (1..).zip(offsets) {
        assert_eq!(byte_at(&image, "huge", offset), n);
        assert_eq!(byte_at(&image, "huge", offset + 4095), n);
    }
    assert_eq!(byte_at(&image, "huge", 3 << 30), 0);
}

#[test]
fn files_in_thousands_of_pieces() {
    for pieces in [4, 5, 340, 341, 1360, 1361, 3000] {
        let offsets: Vec<u64> = (0..pieces).map(|n| (n * 40 + 3) * 4096).collect();
        let size = pieces * 40 * 4096 + 5;
        let image = mount(sparse("pieces", size, &offsets));
        assert_eq!(image.metadata("pieces").len(), size);
        for n in [0, 1, pieces / 2, pieces - 1] {
            let expected = (n % 255) as u8 + 1;
            assert_eq!(
                byte_at(&image, "pieces", offsets[n as usize]),
                expected,
                "{n} of {pieces}"
            );
            assert_eq!(
                byte_at(&image, "pieces", offsets[n as usize] + 4096),
                0,
                "behind {n} of {pieces}"
            );
        }
    }
}

#[test]
fn zeros_become_holes_and_come_back_as_zeros() {
    let mut content = vec![0; 3 << 20];
    for (offset, byte) in [
        (100_000, 1),
        (104_096, 2),
        (180_000, 3),
        (1 << 20, 4),
        ((2 << 20) + 17, 5),
    ] {
        content[offset] = byte;
    }
    let image = mount(
        Archive::new()
            .file("holes", &content)
            .file("zeros", vec![0; 1 << 20])
            .file("short", vec![0; 10])
            .file("tail", [vec![1; 5000], vec![0; 100_000]].concat())
            .file("empty", ""),
    );
    assert!(image.read("holes") == content);
    assert!(image.metadata("holes").blocks() < 1000);
    assert!(image.read("zeros") == vec![0; 1 << 20]);
    assert_eq!(image.metadata("zeros").blocks(), 0);
    assert_eq!(image.read("short"), vec![0; 10]);
    assert_eq!(image.metadata("tail").blocks(), 16);
    assert_eq!(image.read("tail").len(), 105_000);
    assert_eq!(image.metadata("empty").len(), 0);
}

#[test]
fn a_long_run_of_content_is_split_into_extents() {
    // More than four extents of 128 MiB, without zeros.
    let block: Vec<u8> = (0..1 << 20).map(|n| (n % 255) as u8 + 1).collect();
    let megabytes = 600u64;
    let header = Header::new(b'0', b"long").size(megabytes << 20).sealed();
    let body = std::iter::repeat_n(&block[..], 600).fold(
        Box::new(std::io::Cursor::new(header.to_vec())) as Box<dyn Read>,
        |stream, block| Box::new(stream.chain(block)),
    );
    let (_, image) = convert_with(body, &ConvertOptions::default()).unwrap();
    let image = Mounted::new(image);
    assert_eq!(image.metadata("long").len(), megabytes << 20);
    for offset in [
        0,
        (128 << 20) - 1,
        128 << 20,
        (512 << 20) + 12_345,
        (600 << 20) - 1,
    ] {
        assert_eq!(
            byte_at(&image, "long", offset),
            block[offset as usize % block.len()]
        );
    }
}

#[test]
fn replaced_files_give_their_blocks_back() {
    let mut archive = Archive::new().file("kept", vec![9; 10_000]);
    for n in 0..20u8 {
        archive = archive.file("again", vec![n + 1; 50_000 * usize::from(n + 1)]);
    }
    archive = archive
        .file("d/e/f", vec![1; 100_000])
        .hard_link("survivor", "d/e/f")
        .file("d/e/g", vec![2; 100_000]);
    let image = mount(archive.file("d", "small"));
    assert_eq!(image.read("again"), vec![20; 1_000_000]);
    assert_eq!(image.read("kept"), vec![9; 10_000]);
    assert_eq!(image.read("survivor"), vec![1; 100_000]);
    assert_eq!(image.text("d"), "small");
}

#[test]
fn the_footer_describes_the_disk() {
    let (converted, mut image) = convert(&Archive::new().file("a", "x").end()).unwrap();
    assert_eq!(image.as_file().metadata().unwrap().len(), converted.image_bytes);
    assert_eq!(converted.image_bytes % 4096, 512);
    image.seek(SeekFrom::End(-512)).unwrap();
    let mut footer = [0; 512];
    image.read_exact(&mut footer).unwrap();
    assert_eq!(&footer[..8], b"conectix");
    assert_eq!(footer[48..56], (converted.image_bytes - 512).to_be_bytes());
}

#[test]
fn equal_archives_give_equal_images_and_others_do_not() {
    let image = |text: &str| kit::bytes(&convert(&Archive::new().file("a", text).end()).unwrap().1);
    assert!(image("x") == image("x"));
    assert!(image("x") != image("y"));
}

#[test]
fn an_image_is_written_in_place_of_a_longer_one() {
    let file = NamedTempFile::new().unwrap();
    let long = Archive::new().file("big", vec![1; 4 << 20]).end();
    let short = Archive::new().file("small", "x").end();
    tar_to_vhd(&long[..], file.as_file(), &ConvertOptions::default()).unwrap();
    let converted = tar_to_vhd(&short[..], file.as_file(), &ConvertOptions::default()).unwrap();
    assert_eq!(file.as_file().metadata().unwrap().len(), converted.image_bytes);
    assert_eq!(Mounted::new(file).text("small"), "x");
}
