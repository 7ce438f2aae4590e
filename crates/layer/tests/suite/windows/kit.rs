//! Archives of Windows layers made by hand, as the published form has them, and ways to read them.
#![cfg_attr(
    not(target_os = "linux"),
    allow(dead_code, reason = "the suites of trees use the rest")
)]

use std::io::Cursor;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use layer::LayerError;
use layer::tar::Piece;
use layer::windows::{
    Entry, Kind, LinkKind, LowerTables, Metadata, Parents, Table, WindowsLimits, WindowsPath, WindowsReader,
};

use crate::kit::archive::{Archive, Header, record};

/// Records of a layer's entry.
pub(crate) type Records<'a> = &'a [(&'a str, &'a [u8])];

/// Owner and group administrators, everybody may read: made by hand from the published structure.
pub(crate) fn descriptor() -> Vec<u8> {
    let sid = |parts: &[u32]| {
        let mut sid = vec![1, parts.len() as u8, 0, 0, 0, 0, 0, 5];
        sid.extend(parts.iter().flat_map(|part| part.to_le_bytes()));
        sid
    };
    let (administrators, users) = (sid(&[32, 544]), sid(&[32, 545]));
    let mut ace = vec![0, 3, (8 + users.len()) as u8, 0];
    ace.extend(0x0012_0089u32.to_le_bytes());
    ace.extend(&users);
    let mut bytes = vec![1, 0, 4, 0x80, 20, 0, 0, 0, 36, 0, 0, 0, 0, 0, 0, 0, 52, 0, 0, 0];
    bytes.extend([&administrators[..], &administrators[..]].concat());
    bytes.extend([2, 0, (8 + ace.len()) as u8, 0, 1, 0, 0, 0]);
    bytes.extend(ace);
    bytes
}

/// The same, as records carry it.
pub(crate) fn descriptor_text() -> String {
    STANDARD.encode(descriptor())
}

/// An archive under construction, with the records of Windows.
#[derive(Clone, Default)]
pub(crate) struct Layer(pub(crate) Archive);

impl Layer {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// The least that a base layer must have.
    pub(crate) fn base() -> Self {
        Self::new().directory("Files")
    }

    /// An entry of any type with records; long names go to records too.
    pub(crate) fn entry(
        self,
        flag: u8,
        name: impl AsRef<[u8]>,
        link: impl AsRef<[u8]>,
        records: Records<'_>,
        content: impl AsRef<[u8]>,
    ) -> Self {
        let (name, link, content) = (name.as_ref(), link.as_ref(), content.as_ref());
        let mut records = records.to_vec();
        for (key, value) in [("path", name), ("linkpath", link)] {
            if value.len() > 100 {
                records.push((key, value));
            }
        }
        let archive = if records.is_empty() {
            self.0
        } else {
            self.0.pax(&records)
        };
        let header = Header::new(flag, name).link(link).size(content.len() as u64);
        Self(archive.entry(header, content))
    }

    pub(crate) fn directory(self, name: impl AsRef<[u8]>) -> Self {
        let records: Records<'_> = &[("MSWINDOWS.fileattr", b"16")];
        self.entry(b'5', name, "", records, "")
    }

    pub(crate) fn file(self, name: impl AsRef<[u8]>, content: impl AsRef<[u8]>) -> Self {
        self.entry(b'0', name, "", &[("MSWINDOWS.fileattr", b"32")], content)
    }

    /// A file with one record.
    pub(crate) fn file_with(self, name: &str, key: &str, value: impl AsRef<[u8]>) -> Self {
        self.entry(b'0', name, "", &[(key, value.as_ref())], "x")
    }

    pub(crate) fn symlink(self, name: impl AsRef<[u8]>, target: impl AsRef<[u8]>) -> Self {
        self.entry(b'2', name, target, &[("MSWINDOWS.fileattr", b"1024")], "")
    }

    pub(crate) fn junction(self, name: &str, target: &str) -> Self {
        let records: Records<'_> = &[("MSWINDOWS.fileattr", b"1040"), ("MSWINDOWS.mountpoint", b"1")];
        self.entry(b'2', name, target, records, "")
    }

    pub(crate) fn hard_link(self, name: impl AsRef<[u8]>, target: impl AsRef<[u8]>) -> Self {
        self.entry(b'1', name, target, &[], "")
    }

    /// Old GNU tools and new ones write holes like this.
    pub(crate) fn sparse(self, name: &str, size: &str, map: &str, data: &[u8]) -> Self {
        let records: Records<'_> = &[
            ("GNU.sparse.major", b"1"),
            ("GNU.sparse.minor", b"0"),
            ("GNU.sparse.name", name.as_bytes()),
            ("GNU.sparse.realsize", size.as_bytes()),
            ("MSWINDOWS.fileattr", b"544"),
        ];
        let mut content = map.as_bytes().to_vec();
        content.resize(512, 0);
        content.extend(data);
        self.entry(b'0', "GNUSparseFile.0/sparse", "", records, content)
    }

    /// An entry of the model, written by this code and not by the product's.
    pub(crate) fn modelled(self, entry: &Entry, content: &[u8]) -> Self {
        let name = entry.path.as_str();
        let mut owned: Vec<(String, String)> = Vec::new();
        if let Kind::Directory(metadata) | Kind::File { metadata, .. } | Kind::Link { metadata, .. } =
            &entry.kind
        {
            owned = described(metadata);
        }
        if let Kind::Link { reparse, .. } = &entry.kind
            && reparse.kind() == LinkKind::MountPoint
        {
            owned.push(("MSWINDOWS.mountpoint".to_owned(), "1".to_owned()));
        }
        let records: Vec<(&str, &[u8])> = owned
            .iter()
            .map(|(key, value)| (key.as_str(), value.as_bytes()))
            .collect();
        match &entry.kind {
            Kind::Directory(_) => self.entry(b'5', name, "", &records, ""),
            Kind::File { .. } => self.entry(b'0', name, "", &records, content),
            Kind::Link { reparse, .. } => self.entry(b'2', name, reparse.target(), &records, ""),
            Kind::Stream { name: stream, .. } => {
                self.entry(b'0', format!("{name}:{}", stream.as_str()), "", &[], content)
            }
            Kind::HardLink { target, .. } => self.hard_link(name, target.as_str()),
            Kind::Tombstone => {
                let (parent, name) = name.rsplit_once('/').unwrap();
                self.entry(b'0', format!("{parent}/.wh.{name}"), "", &[], "")
            }
        }
    }

    pub(crate) fn end(self) -> Vec<u8> {
        self.0.end()
    }
}

fn described(metadata: &Metadata) -> Vec<(String, String)> {
    let time = |ticks: u64| {
        let since = i128::from(ticks) - 116_444_736_000_000_000;
        let sign = if since < 0 { "-" } else { "" };
        let (seconds, ticks) = (since.abs() / 10_000_000, since.abs() % 10_000_000);
        format!("{sign}{seconds}.{ticks:07}00")
    };
    let times = &metadata.times;
    let mut records = vec![
        ("mtime".to_owned(), time(times.modified.ticks())),
        ("atime".to_owned(), time(times.accessed.ticks())),
        ("ctime".to_owned(), time(times.changed.ticks())),
        ("LIBARCHIVE.creationtime".to_owned(), time(times.created.ticks())),
        (
            "MSWINDOWS.fileattr".to_owned(),
            metadata.attributes.bits().to_string(),
        ),
        (
            "MSWINDOWS.rawsd".to_owned(),
            STANDARD.encode(metadata.descriptor.as_bytes()),
        ),
    ];
    for (name, value) in metadata.extended.iter() {
        let name = format!("MSWINDOWS.xattr.{}", String::from_utf8(name.to_vec()).unwrap());
        records.push((name, STANDARD.encode(value)));
    }
    records
}

/// A PAX header block of any payload.
pub(crate) fn payload(records: Records<'_>) -> Vec<u8> {
    records
        .iter()
        .flat_map(|(key, value)| record(key, value))
        .collect()
}

/// An entry and its content.
pub(crate) type Read = (Entry, Vec<u8>);

/// Reads an archive to its end: its entries, and what is known of the layer.
pub(crate) fn read_with(
    tar: &[u8],
    parents: Option<&dyn Parents>,
    limits: &WindowsLimits,
) -> Result<(Vec<Read>, Table), LayerError> {
    let mut reader = WindowsReader::new(Cursor::new(tar), parents, limits);
    let mut entries = Vec::new();
    while let Some(entry) = reader.next_entry()? {
        let mut content = Vec::new();
        while let Some(piece) = reader.next_piece()? {
            match piece {
                Piece::Data(bytes) => content.extend_from_slice(bytes),
                Piece::Hole(length) => content.resize(content.len() + length as usize, 0),
            }
        }
        if matches!(entry.kind, Kind::Tombstone) {
            content.clear();
        }
        entries.push((entry, content));
    }
    Ok((entries, reader.into_parts().1))
}

/// Reads a base layer.
pub(crate) fn read(tar: &[u8]) -> Result<Vec<Read>, LayerError> {
    read_with(tar, None, &WindowsLimits::default()).map(|(entries, _)| entries)
}

/// Reads a layer on top of another.
pub(crate) fn read_on(base: &[u8], tar: &[u8]) -> Result<Vec<Read>, LayerError> {
    let limits = WindowsLimits::default();
    let (_, table) = read_with(base, None, &limits).unwrap();
    let lower = LowerTables::new([&table]);
    read_with(tar, Some(&lower), &limits).map(|(entries, _)| entries)
}

/// The entry at a path that is no stream and no deletion.
pub(crate) fn at<'a>(entries: &'a [Read], path: &str) -> &'a Read {
    entries
        .iter()
        .find(|(entry, _)| {
            entry.path.as_str() == path && !matches!(entry.kind, Kind::Stream { .. } | Kind::Tombstone)
        })
        .unwrap_or_else(|| panic!("no {path}"))
}

/// The metadata of an entry.
pub(crate) fn metadata(entry: &Entry) -> &Metadata {
    match &entry.kind {
        Kind::Directory(metadata) | Kind::File { metadata, .. } | Kind::Link { metadata, .. } => metadata,
        other => panic!("{other:?} has no metadata"),
    }
}

pub(crate) fn path(text: &str) -> WindowsPath {
    WindowsPath::new(text).unwrap()
}
