//! The PAX records by which archives carry what only Windows has.

use std::collections::HashMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::table::Table;
use super::{Attributes, ExtendedAttributes, FileTime, LinkKind, Metadata, SecurityDescriptor, Times};
use crate::error::escape;
use crate::tar::{self, Timestamp};
use crate::{LayerError, Place};

pub(super) const ATTRIBUTES: &str = "MSWINDOWS.fileattr";
pub(super) const DESCRIPTOR: &str = "MSWINDOWS.rawsd";
pub(super) const CREATED: &str = "LIBARCHIVE.creationtime";
pub(super) const MOUNT_POINT: &str = "MSWINDOWS.mountpoint";
pub(super) const EXTENDED: &str = "MSWINDOWS.xattr.";
/// The descriptor as text, which nobody writes any more.
const TEXT_DESCRIPTOR: &str = "MSWINDOWS.sd";

/// Descriptors met before: archives repeat a few of them for every file.
#[derive(Debug, Default)]
pub(super) struct Descriptors(HashMap<(bool, Vec<u8>), SecurityDescriptor>);

/// What the records of one entry say.
pub(super) struct Records {
    pub(super) metadata: Metadata,
    pub(super) link: LinkKind,
}

impl Descriptors {
    /// Reads the records of an entry.
    pub(super) fn read(&mut self, entry: &tar::Entry, table: &mut Table) -> Result<Records, LayerError> {
        let here = &entry.place;
        let modified = FileTime::from(entry.mtime);
        let time = |time: Option<Timestamp>| time.map_or(modified, FileTime::from);
        let mut times = Times {
            created: modified,
            modified,
            accessed: time(entry.atime),
            changed: time(entry.ctime),
        };
        let mut attributes = None;
        let (mut raw, mut text) = (None, None);
        let mut link = LinkKind::Symlink;
        let mut extended = Vec::new();
        for (key, value) in &entry.windows {
            let bad = |problem| bad(key, problem, here);
            match std::str::from_utf8(key).map_err(|_| bad("the key is not valid UTF-8"))? {
                ATTRIBUTES => {
                    attributes = Some(bits(value).ok_or_else(|| bad("it is no number of 32 bits"))?)
                }
                DESCRIPTOR => raw = Some((key, value)),
                TEXT_DESCRIPTOR => text = Some((key, value)),
                CREATED => {
                    let time = Timestamp::parse(value).ok_or_else(|| bad("it is not a decimal number"))?;
                    times.created = time.into();
                }
                MOUNT_POINT if value != b"1" => return Err(bad("it is not 1")),
                MOUNT_POINT if entry.kind != tar::Kind::Symlink => return Err(bad("the entry is no link")),
                MOUNT_POINT => link = LinkKind::MountPoint,
                key => match key.strip_prefix(EXTENDED) {
                    Some(name) => {
                        let value = STANDARD.decode(value).map_err(|_| bad("it is not base64"))?;
                        extended.push((name.as_bytes().to_vec(), value));
                    }
                    None => tracing::debug!(
                        key = escape(key.as_bytes()),
                        "a record for Windows that nobody knows"
                    ),
                },
            }
        }
        if !entry.xattrs.is_empty() {
            tracing::debug!(entry = %here, "attributes of another system are dropped");
        }
        let directory = entry.kind == tar::Kind::Directory;
        let descriptor = match (raw, text) {
            (Some((key, value)), _) => self.descriptor(key, value, false, table, here)?,
            (None, Some((key, value))) => self.descriptor(key, value, true, table, here)?,
            (None, None) => SecurityDescriptor::default_for(directory),
        };
        let extended =
            ExtendedAttributes::new(extended).map_err(|problem| bad(EXTENDED.as_bytes(), problem, here))?;
        Ok(Records {
            metadata: Metadata {
                attributes: kind_attributes(entry.kind, link, attributes),
                times,
                descriptor,
                extended,
            },
            link,
        })
    }

    fn descriptor(
        &mut self,
        key: &[u8],
        value: &[u8],
        text: bool,
        table: &mut Table,
        here: &Place,
    ) -> Result<SecurityDescriptor, LayerError> {
        let known = (text, value.to_vec());
        if let Some(descriptor) = self.0.get(&known) {
            return Ok(descriptor.clone());
        }
        let bad = |problem| bad(key, problem, here);
        let descriptor = if text {
            let value = std::str::from_utf8(value).map_err(|_| bad("it is not valid UTF-8"))?;
            SecurityDescriptor::from_sddl(value)
        } else {
            let value = STANDARD.decode(value).map_err(|_| bad("it is not base64"))?;
            SecurityDescriptor::new(&value)
        };
        let descriptor = descriptor.map_err(bad)?;
        table.charge((value.len() + descriptor.as_bytes().len()) as u64, here)?;
        self.0.insert(known, descriptor.clone());
        Ok(descriptor)
    }
}

/// Attributes as the kind of the entry demands; archives of other systems have none.
fn kind_attributes(kind: tar::Kind, link: LinkKind, bits: Option<u32>) -> Attributes {
    match kind {
        tar::Kind::Directory => Attributes::directory(bits.unwrap_or(0)),
        tar::Kind::Symlink => {
            let directory = match link {
                LinkKind::MountPoint => Attributes::DIRECTORY,
                LinkKind::Symlink => 0,
            };
            Attributes::link(bits.unwrap_or(0) | directory)
        }
        _ => Attributes::file(bits.unwrap_or(Attributes::ARCHIVE)),
    }
}

/// A decimal number, digits only.
fn bits(value: &[u8]) -> Option<u32> {
    let digits = value.iter().all(u8::is_ascii_digit);
    let text = std::str::from_utf8(value).ok()?;
    if digits { text.parse().ok() } else { None }
}

/// Bytes as records carry them.
pub(super) fn encoded(bytes: &[u8]) -> String {
    STANDARD.encode(bytes)
}

fn bad(key: &[u8], problem: &'static str, here: &Place) -> LayerError {
    LayerError::BadAttribute {
        attribute: escape(key),
        problem,
        place: Box::new(here.clone()),
    }
}
