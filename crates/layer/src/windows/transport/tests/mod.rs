//! Files of a transport folder: the bytes that Windows writes, and everything that it never would.

use std::io::{self, Cursor, Read};

use super::*;
use crate::LayerError;
use crate::windows::{
    Attributes, Entry, ExtendedAttributes, FileTime, Kind, LinkKind, Metadata, Reparse, SecurityDescriptor,
    StreamName, Times, WindowsLimits, WindowsPath,
};

mod hostile;
mod random;

/// No access list at all, which grants everything.
const DESCRIPTOR: [u8; 20] = [1, 0, 4, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];

fn limits() -> WindowsLimits {
    WindowsLimits {
        max_content_bytes: 1 << 20,
        ..WindowsLimits::default()
    }
}

fn times() -> Times {
    Times::all(FileTime::from_ticks(133_537_248_001_234_567))
}

fn path() -> WindowsPath {
    WindowsPath::new("Files/a.txt").unwrap()
}

fn metadata(attributes: Attributes) -> Metadata {
    Metadata {
        attributes,
        times: times(),
        descriptor: SecurityDescriptor::new(&DESCRIPTOR).unwrap(),
        extended: ExtendedAttributes::default(),
    }
}

fn file(attributes: u32, size: u64) -> Entry {
    Entry {
        path: path(),
        kind: Kind::File {
            metadata: metadata(Attributes::file(attributes)),
            size,
        },
    }
}

/// A stream as it stands in a file.
fn stream(id: u32, attributes: u32, size: i64, name: &str, content: &[u8]) -> Vec<u8> {
    let name: Vec<u8> = name.encode_utf16().flat_map(u16::to_le_bytes).collect();
    let mut bytes = id.to_le_bytes().to_vec();
    bytes.extend(attributes.to_le_bytes());
    bytes.extend(size.to_le_bytes());
    bytes.extend(u32::try_from(name.len()).unwrap().to_le_bytes());
    bytes.extend(name);
    bytes.extend(content);
    bytes
}

fn plain(id: u32, content: &[u8]) -> Vec<u8> {
    stream(id, 0, i64::try_from(content.len()).unwrap(), "", content)
}

fn block(offset: i64, content: &[u8]) -> Vec<u8> {
    let content = [&offset.to_le_bytes()[..], content].concat();
    let size = i64::try_from(content.len()).unwrap();
    stream(9, 8, size, "", &content)
}

/// A file with attributes and the streams that follow.
fn whole(attributes: u32, streams: &[Vec<u8>]) -> Vec<u8> {
    [attributes.to_le_bytes().to_vec(), streams.concat()].concat()
}

fn open(bytes: &[u8]) -> Result<TransportFile<Cursor<&[u8]>>, LayerError> {
    TransportFile::open(Cursor::new(bytes), path(), false, &limits())
}

fn content(bytes: &[u8]) -> Vec<u8> {
    let mut file = open(bytes).unwrap();
    let mut content = Vec::new();
    file.content().read_to_end(&mut content).unwrap();
    assert_eq!(content.len() as u64, file.entry(times()).size());
    content
}

#[test]
fn a_file_has_the_bytes_that_windows_reads() {
    let mut entry = file(Attributes::ARCHIVE | Attributes::HIDDEN, 5);
    if let Kind::File { metadata, .. } = &mut entry.kind {
        metadata.extended = ExtendedAttributes::new([(b"A".to_vec(), b"x".to_vec())]).unwrap();
    }
    let mut writer = TransportWriter::new(Vec::new(), &entry).unwrap();
    writer.data(b"hel").unwrap();
    writer.data(b"lo").unwrap();
    writer.stream(&StreamName::new("s").unwrap(), 2).unwrap();
    writer.data(b"on").unwrap();
    let bytes = writer.finish().unwrap();
    let expected = [
        &[0x22, 0, 0, 0][..],
        &[3, 0, 0, 0, 0, 0, 0, 0, 20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
        &DESCRIPTOR,
        &[2, 0, 0, 0, 0, 0, 0, 0, 12, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
        b"\0\0\0\0\0\x01\x01\0A\0x\0",
        &[1, 0, 0, 0, 0, 0, 0, 0, 5, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
        b"hello",
        &[4, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 16, 0, 0, 0],
        b":\0s\0:\0$\0D\0A\0T\0A\0",
        b"on",
    ];
    assert_eq!(bytes, expected.concat());

    let mut read = open(&bytes).unwrap();
    assert_eq!(read.entry(times()), entry);
    assert_eq!(content(&bytes), b"hello");
    let streams: Vec<Entry> = read.streams().collect();
    assert!(
        matches!(&streams[..], [Entry { kind: Kind::Stream { name, size: 2 }, .. }] if name.as_str() == "s")
    );
    let mut text = String::new();
    read.stream_content(0).unwrap().read_to_string(&mut text).unwrap();
    assert_eq!(text, "on");
    assert!(read.stream_content(1).is_none());
}

#[test]
fn directories_and_links_have_files_too() {
    let mut link = metadata(Attributes::link(Attributes::DIRECTORY));
    link.descriptor = SecurityDescriptor::default_for(true);
    let reparse = Reparse::new(LinkKind::MountPoint, r"C:\a").unwrap();
    let kinds = [
        (Kind::Directory(metadata(Attributes::directory(0))), true),
        (
            Kind::Link {
                metadata: link,
                reparse: reparse.clone(),
            },
            true,
        ),
        (
            Kind::Link {
                metadata: metadata(Attributes::link(0)),
                reparse: Reparse::new(LinkKind::Symlink, r"..\b").unwrap(),
            },
            false,
        ),
    ];
    for (kind, directory) in kinds {
        let entry = Entry { path: path(), kind };
        let bytes = TransportWriter::new(Vec::new(), &entry)
            .unwrap()
            .finish()
            .unwrap();
        let read = TransportFile::open(Cursor::new(&bytes[..]), path(), directory, &limits()).unwrap();
        assert_eq!(read.entry(times()), entry);
        assert_eq!(read.streams().len(), 0);
        let other = TransportFile::open(Cursor::new(&bytes[..]), path(), !directory, &limits());
        assert_eq!(other.unwrap_err().code(), "bad-transport");
    }
    let junction = whole(0x410, &[plain(3, &DESCRIPTOR), plain(8, &reparse.buffer())]);
    let read = TransportFile::open(Cursor::new(&junction[..]), path(), true, &limits()).unwrap();
    assert!(matches!(read.entry(times()).kind, Kind::Link { reparse: found, .. } if found == reparse));
}

#[test]
fn what_is_no_object_has_no_file() {
    for kind in [
        Kind::Tombstone,
        Kind::HardLink {
            target: path(),
            lower: false,
        },
        Kind::Stream {
            name: StreamName::new("s").unwrap(),
            size: 0,
        },
    ] {
        let entry = Entry { path: path(), kind };
        let refused = TransportWriter::new(Vec::new(), &entry).unwrap_err();
        assert_eq!(refused.code(), "unsupported");
    }
}

#[test]
fn exactly_what_was_announced_is_written() {
    let begin = |size| TransportWriter::new(Vec::new(), &file(0, size)).unwrap();
    let name = StreamName::new("s").unwrap();
    let mut short = begin(2);
    short.data(b"a").unwrap();
    assert_eq!(short.stream(&name, 0).unwrap_err().code(), "truncated");
    assert_eq!(begin(1).finish().unwrap_err().code(), "truncated");
    assert_eq!(begin(1).data(b"ab").unwrap_err().code(), "bad-transport");
    assert_eq!(begin(1).hole(2).unwrap_err().code(), "bad-transport");
    assert_eq!(begin(0).data(b"a").unwrap_err().code(), "bad-transport");
    let refused = TransportWriter::new(Vec::new(), &file(0, u64::MAX)).unwrap_err();
    assert_eq!(refused.code(), "limit");
    let directory = Entry {
        path: path(),
        kind: Kind::Directory(metadata(Attributes::directory(0))),
    };
    let mut directory = TransportWriter::new(Vec::new(), &directory).unwrap();
    assert_eq!(directory.stream(&name, 0).unwrap_err().code(), "bad-name");
    assert_eq!(directory.data(b"a").unwrap_err().code(), "bad-transport");
}

#[test]
fn holes_are_kept_where_the_file_keeps_them() {
    let written = |attributes| {
        let mut writer = TransportWriter::new(Vec::new(), &file(attributes, 10)).unwrap();
        writer.hole(3).unwrap();
        writer.data(b"abc").unwrap();
        writer.hole(4).unwrap();
        writer.finish().unwrap()
    };
    let head = |attributes| whole(attributes, &[plain(3, &DESCRIPTOR)]);
    let zeros = [head(0x20), plain(1, b"\0\0\0abc\0\0\0\0")].concat();
    assert_eq!(written(0x20), zeros);
    let blocks = [stream(1, 8, 0, "", b""), block(3, b"abc"), block(10, b"")].concat();
    assert_eq!(written(0x220), [head(0x220), blocks].concat());
    let empty = TransportWriter::new(Vec::new(), &file(0x200, 0)).unwrap();
    assert_eq!(
        empty.finish().unwrap(),
        [head(0x200), stream(1, 8, 0, "", b"")].concat()
    );
}

#[test]
fn every_presentation_of_a_sparse_file_is_understood() {
    let cases: [(&[Vec<u8>], &[u8]); 6] = [
        // Empty, as older and newer systems say it.
        (&[], b""),
        (&[stream(1, 8, 0, "", b"")], b""),
        // Nothing stored.
        (&[stream(1, 8, 0, "", b""), block(5, b"")], b"\0\0\0\0\0"),
        // One part.
        (&[stream(1, 8, 3, "", b"abc")], b"abc"),
        // Several parts, with a hole at the end and without.
        (
            &[
                stream(1, 8, 0, "", b""),
                block(1, b"a"),
                block(3, b"bc"),
                block(7, b""),
            ],
            b"\0a\0bc\0\0",
        ),
        (
            &[
                stream(1, 8, 0, "", b""),
                block(0, b"a"),
                block(1, b"b"),
                block(2, b""),
            ],
            b"ab",
        ),
    ];
    for (streams, expected) in cases {
        assert_eq!(content(&whole(0x220, streams)), expected);
        // What follows does not matter.
        let followed = [streams, &[plain(3, &DESCRIPTOR)]].concat();
        assert_eq!(content(&whole(0x220, &followed)), expected);
    }
}

#[test]
fn order_does_not_matter_and_what_means_nothing_is_passed_over() {
    let bytes = whole(
        0x20,
        &[
            stream(4, 0, 1, ":z:$DATA", b"z"),
            plain(1, b"content"),
            plain(7, &[0; 64]),
            plain(5, b"a name"),
            plain(6, b"properties"),
            plain(10, b"transactions"),
            stream(4, 0, 0, ":A:$DATA", b""),
            plain(3, SecurityDescriptor::default_for(true).as_bytes()),
        ],
    );
    assert_eq!(content(&bytes), b"content");
    let read = open(&bytes).unwrap();
    let names: Vec<String> = read
        .streams()
        .map(|entry| match entry.kind {
            Kind::Stream { name, .. } => name.as_str().to_owned(),
            _ => String::new(),
        })
        .collect();
    assert_eq!(names, ["A", "z"]);
    let Kind::File { metadata, .. } = read.entry(times()).kind else {
        panic!("a file")
    };
    assert_eq!(metadata.descriptor, SecurityDescriptor::default_for(true));
    // Nothing but attributes, of which those are cleared that a layer cannot carry.
    let bare = open(&whole(0x4c20, &[])).unwrap().entry(times());
    let Kind::File { metadata, size: 0 } = bare.kind else {
        panic!("an empty file")
    };
    assert_eq!(metadata.attributes.bits(), 0x20);
    assert_eq!(metadata.descriptor, SecurityDescriptor::default_for(false));
}

#[test]
fn a_file_that_cannot_be_read_is_named() {
    #[derive(Debug)]
    struct Broken;
    impl Read for Broken {
        fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
            Err(io::ErrorKind::PermissionDenied.into())
        }
    }
    impl io::Seek for Broken {
        fn seek(&mut self, _: io::SeekFrom) -> io::Result<u64> {
            Ok(100)
        }
    }
    let failed = TransportFile::open(Broken, path(), false, &limits()).unwrap_err();
    assert_eq!(
        failed.to_string(),
        "cannot read the transport file of \"Files/a.txt\" of a Windows layer"
    );
}
