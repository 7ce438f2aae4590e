//! An open file, directory or link, and what the volume keeps about it.

use std::fs::File;
use std::io;
use std::os::windows::io::AsRawHandle;

use windows_sys::Wdk::Storage::FileSystem::{
    FILE_BASIC_INFORMATION, FILE_DIRECTORY_FILE, FILE_OPEN, FileAttributeTagInformation,
    FileBasicInformation, FileIdInformation, FileStandardInformation, NtQuerySecurityObject,
    NtSetSecurityObject,
};
use windows_sys::Win32::Foundation::{
    STATUS_ACCESS_DENIED, STATUS_BUFFER_TOO_SMALL, STATUS_PRIVILEGE_NOT_HELD,
};
use windows_sys::Win32::Security::{
    ATTRIBUTE_SECURITY_INFORMATION, BACKUP_SECURITY_INFORMATION, DACL_SECURITY_INFORMATION,
    GROUP_SECURITY_INFORMATION, LABEL_SECURITY_INFORMATION, OBJECT_SECURITY_INFORMATION,
    OWNER_SECURITY_INFORMATION, SACL_SECURITY_INFORMATION, SCOPE_SECURITY_INFORMATION,
    SE_DACL_AUTO_INHERIT_REQ, SE_DACL_AUTO_INHERITED, SE_DACL_PRESENT, SE_SACL_AUTO_INHERIT_REQ,
    SE_SACL_AUTO_INHERITED, SE_SACL_PRESENT,
};
use windows_sys::Win32::Storage::FileSystem::{
    FILE_ATTRIBUTE_ARCHIVE, FILE_ATTRIBUTE_DIRECTORY, FILE_ATTRIBUTE_HIDDEN, FILE_ATTRIBUTE_NORMAL,
    FILE_ATTRIBUTE_NOT_CONTENT_INDEXED, FILE_ATTRIBUTE_READONLY, FILE_ATTRIBUTE_REPARSE_POINT,
    FILE_ATTRIBUTE_SYSTEM, FILE_ATTRIBUTE_TEMPORARY, FILE_LIST_DIRECTORY, FILE_SHARE_DELETE, FILE_SHARE_READ,
    FILE_SHARE_WRITE, SYNCHRONIZE,
};
use windows_sys::Win32::System::Ioctl::{FSCTL_GET_REPARSE_POINT, FSCTL_SET_REPARSE_POINT, FSCTL_SET_SPARSE};

use super::buffer::{Buffer, i64_at, u32_at};
use super::call::{self, Opening, Status};
use super::name::Name;

/// Most bytes of reparse data (`MAXIMUM_REPARSE_DATA_BUFFER_SIZE`).
const MAX_REPARSE: usize = 16 << 10;
/// Most bytes of a security descriptor that are read: two full access lists with room for the rest.
const MAX_SECURITY: u32 = 256 << 10;
/// What anybody may read who may read the object.
const PARTS: OBJECT_SECURITY_INFORMATION =
    OWNER_SECURITY_INFORMATION | GROUP_SECURITY_INFORMATION | DACL_SECURITY_INFORMATION;
/// What stands in the audit list: what is audited, and labels, resource attributes and policies.
const AUDIT: OBJECT_SECURITY_INFORMATION = SACL_SECURITY_INFORMATION
    | LABEL_SECURITY_INFORMATION
    | ATTRIBUTE_SECURITY_INFORMATION
    | SCOPE_SECURITY_INFORMATION;
/// Bytes before the parts of a self-relative descriptor.
const SECURITY_HEADER: usize = 20;
/// `SE_SELF_RELATIVE` in the upper byte of the control word.
const SE_SELF_RELATIVE_HIGH: u8 = 0x80;
/// What a caller may set. The rest belongs to the kind of object or to what is done by calls of their own.
const SETTABLE: u32 = FILE_ATTRIBUTE_READONLY
    | FILE_ATTRIBUTE_HIDDEN
    | FILE_ATTRIBUTE_SYSTEM
    | FILE_ATTRIBUTE_ARCHIVE
    | FILE_ATTRIBUTE_TEMPORARY
    | FILE_ATTRIBUTE_NOT_CONTENT_INDEXED;

/// Times and attributes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Basic {
    /// When it was made, in units of 100 nanoseconds since 1601. When set, 0 leaves what is.
    pub created: i64,
    /// When its content was written last; units and 0 as above.
    pub modified: i64,
    /// When it was used last; units and 0 as above.
    pub accessed: i64,
    /// When anything about it changed last; units and 0 as above.
    pub changed: i64,
    /// `FILE_ATTRIBUTE_*`. When set, 0 leaves what is, and what says what the object is (directory, link, sparse) or
    /// how the volume stores it is ignored.
    pub attributes: u32,
}

/// What is known about an object without reading it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Facts {
    /// Times and attributes.
    pub basic: Basic,
    /// Bytes of its content, holes included; 0 for a directory.
    pub size: u64,
    /// Number of its names.
    pub links: u32,
    /// What tells it from all others of its volume. Two names with one number are hard links.
    pub id: [u8; 16],
    /// Serial number of the volume.
    pub volume: u64,
    /// Kind of reparse point; 0 for what is none.
    pub reparse_tag: u32,
}

impl Facts {
    /// Whether it is a reparse point: a link, or something that a filter driver makes of it.
    pub fn is_reparse_point(&self) -> bool {
        self.basic.attributes & FILE_ATTRIBUTE_REPARSE_POINT != 0
    }

    /// Whether it is a directory, or a link that stands for one.
    pub fn is_directory(&self) -> bool {
        self.basic.attributes & FILE_ATTRIBUTE_DIRECTORY != 0
    }
}

/// An open file, directory or link. Closed on drop.
#[derive(Debug)]
pub struct Object(pub(super) File);

impl Object {
    /// The content. Streams are opened by calls of their own.
    pub fn as_file(&self) -> &File {
        &self.0
    }

    /// Attributes, times, size and identity.
    pub fn facts(&self) -> io::Result<Facts> {
        let basic = call::query(&self.0, FileBasicInformation, size_of::<FILE_BASIC_INFORMATION>())?;
        let standard = call::query(&self.0, FileStandardInformation, 24)?;
        let id = call::query(&self.0, FileIdInformation, 24)?;
        let (attributes, reparse_tag) = self.tag()?;
        let cut = || io::Error::from(io::ErrorKind::UnexpectedEof);
        let time = |at| i64_at(&basic, at).ok_or_else(cut);
        Ok(Facts {
            basic: Basic {
                created: time(0)?,
                accessed: time(8)?,
                modified: time(16)?,
                changed: time(24)?,
                attributes,
            },
            size: if attributes & FILE_ATTRIBUTE_DIRECTORY != 0 {
                // Some volumes say how long the list of names is.
                0
            } else {
                let size = i64_at(&standard, 8).ok_or_else(cut)?;
                u64::try_from(size).map_err(|_| io::ErrorKind::InvalidData)?
            },
            links: u32_at(&standard, 16).ok_or_else(cut)?,
            volume: i64_at(&id, 0).ok_or_else(cut)?.cast_unsigned(),
            id: *id.get(8..).and_then(<[u8]>::first_chunk).ok_or_else(cut)?,
            reparse_tag,
        })
    }

    /// Attributes and kind of reparse point.
    pub(super) fn tag(&self) -> io::Result<(u32, u32)> {
        let answer = call::query(&self.0, FileAttributeTagInformation, 8)?;
        let attributes = u32_at(&answer, 0).ok_or(io::ErrorKind::UnexpectedEof)?;
        let tag = u32_at(&answer, 4).ok_or(io::ErrorKind::UnexpectedEof)?;
        let is_reparse_point = attributes & FILE_ATTRIBUTE_REPARSE_POINT != 0;
        Ok((attributes, if is_reparse_point { tag } else { 0 }))
    }

    /// Sets times and attributes. To be done last: what is written or set afterwards changes times, and a file that
    /// is read-only takes no streams.
    pub fn set_basic(&self, basic: Basic) -> io::Result<()> {
        let attributes = match basic.attributes & SETTABLE {
            // Zero would leave what is; asked was for none.
            0 if basic.attributes != 0 => FILE_ATTRIBUTE_NORMAL,
            attributes => attributes,
        };
        let mut bytes = Vec::new();
        for time in [basic.created, basic.accessed, basic.modified, basic.changed] {
            // Negative numbers are commands that switch the keeping of times off and on.
            if time < 0 {
                return Err(io::Error::new(io::ErrorKind::InvalidInput, "a time before 1601"));
            }
            bytes.extend(time.to_le_bytes());
        }
        bytes.extend(attributes.to_le_bytes());
        bytes.resize(size_of::<FILE_BASIC_INFORMATION>(), 0);
        Ok(call::set(&self.0, FileBasicInformation, &bytes)?)
    }

    /// The security descriptor in self-relative form: all of it where the process may read audit lists, else without
    /// them.
    pub fn security(&self) -> io::Result<Vec<u8>> {
        let parts = OWNER_SECURITY_INFORMATION | GROUP_SECURITY_INFORMATION | DACL_SECURITY_INFORMATION;
        let all =
            parts | SACL_SECURITY_INFORMATION | LABEL_SECURITY_INFORMATION | BACKUP_SECURITY_INFORMATION;
        match self.security_parts(all) {
            Err(Status(STATUS_ACCESS_DENIED | STATUS_PRIVILEGE_NOT_HELD)) => {
                Ok(self.security_parts(PARTS | LABEL_SECURITY_INFORMATION)?)
            }
            other => Ok(other?),
        }
    }

    fn security_parts(&self, parts: OBJECT_SECURITY_INFORMATION) -> Result<Vec<u8>, Status> {
        let mut size = 1024;
        loop {
            let mut buffer = Buffer::zeroed(usize::try_from(size).unwrap_or_default());
            let mut needed = 0;
            // SAFETY: the handle is open, the buffer has the size that is passed, and the out pointer is valid.
            let status = call::check(unsafe {
                NtQuerySecurityObject(
                    self.0.as_raw_handle(),
                    parts,
                    buffer.as_mut_ptr(),
                    buffer.size(),
                    &mut needed,
                )
            });
            match status {
                // Larger by then, if somebody changes it: bounded, so this ends.
                Err(Status(STATUS_BUFFER_TOO_SMALL)) if needed > size && needed <= MAX_SECURITY => {
                    size = needed
                }
                other => {
                    other?;
                    return Ok(buffer.bytes(usize::try_from(needed).unwrap_or_default()));
                }
            }
        }
    }

    /// Sets those parts that a self-relative descriptor has: owner, group, access list, and all that stands in the
    /// audit list, which takes a privilege. The volume takes the bytes as they are; what they inherit is kept.
    pub fn set_security(&self, descriptor: &[u8]) -> io::Result<()> {
        let malformed = || io::Error::new(io::ErrorKind::InvalidInput, "a malformed security descriptor");
        if descriptor.len() < SECURITY_HEADER || !is_whole(descriptor) {
            return Err(malformed());
        }
        let mut descriptor = descriptor.to_vec();
        let mut control = u16::from_le_bytes([descriptor[2], descriptor[3]]);
        let has = |at| u32_at(&descriptor, at).is_some_and(|offset| offset != 0);
        let mut parts = 0;
        for (present, part) in [
            (has(4), OWNER_SECURITY_INFORMATION),
            (has(8), GROUP_SECURITY_INFORMATION),
            (control & SE_DACL_PRESENT != 0, DACL_SECURITY_INFORMATION),
            (control & SE_SACL_PRESENT != 0, AUDIT),
        ] {
            parts |= if present { part } else { 0 };
        }
        if parts == PARTS | AUDIT {
            // Only whole descriptors are taken as a backup, which keeps kinds of entries that have no part of their own.
            parts |= BACKUP_SECURITY_INFORMATION;
        }
        // The mark of lists that were inherited is only taken over by whoever asks for it.
        for (mark, request) in [
            (SE_DACL_AUTO_INHERITED, SE_DACL_AUTO_INHERIT_REQ),
            (SE_SACL_AUTO_INHERITED, SE_SACL_AUTO_INHERIT_REQ),
        ] {
            if control & mark != 0 {
                control |= request;
            }
        }
        descriptor[2..4].copy_from_slice(&control.to_le_bytes());
        let buffer = Buffer::from_bytes(&descriptor);
        // SAFETY: the handle is open. The descriptor is aligned, self-relative, and proved above to lie in its buffer
        // with all its parts, which the call only reads.
        let status =
            unsafe { NtSetSecurityObject(self.0.as_raw_handle(), parts, buffer.as_ptr().cast_mut()) };
        Ok(call::check(status)?)
    }

    /// The reparse data, a whole `REPARSE_DATA_BUFFER`. An object that is no reparse point answers
    /// `ERROR_NOT_A_REPARSE_POINT`.
    pub fn reparse(&self) -> io::Result<Vec<u8>> {
        Ok(call::control(&self.0, FSCTL_GET_REPARSE_POINT, &[], MAX_REPARSE)?)
    }

    /// Makes it a reparse point of a whole `REPARSE_DATA_BUFFER`. A directory must be empty.
    pub fn set_reparse(&self, data: &[u8]) -> io::Result<()> {
        call::control(&self.0, FSCTL_SET_REPARSE_POINT, data, 0)?;
        Ok(())
    }

    /// Lets the file have holes: what is skipped when writing takes no room.
    pub fn set_sparse(&self) -> io::Result<()> {
        call::control(&self.0, FSCTL_SET_SPARSE, &[], 0)?;
        Ok(())
    }

    /// The same directory once more, with a place of its own when it is listed.
    pub(super) fn reopened_for_listing(&self) -> io::Result<File> {
        let opening = Opening {
            rights: &[FILE_LIST_DIRECTORY | SYNCHRONIZE],
            share: FILE_SHARE_READ | FILE_SHARE_WRITE | FILE_SHARE_DELETE,
            disposition: FILE_OPEN,
            options: FILE_DIRECTORY_FILE,
        };
        Ok(opening.below(&self.0, &Name::itself())?)
    }
}

/// Whether a self-relative descriptor lies within its bytes with all its parts. What they grant is not judged.
fn is_whole(descriptor: &[u8]) -> bool {
    let part = |at| -> Option<&[u8]> {
        let offset = usize::try_from(u32_at(descriptor, at)?).ok()?;
        if offset == 0 {
            return Some(&[]);
        }
        descriptor.get(offset..).filter(|part| !part.is_empty())
    };
    let identifier = |at| {
        part(at).is_some_and(|part| match part {
            [] => true,
            [_, count, ..] => part.len() >= 8 + 4 * usize::from(*count),
            _ => false,
        })
    };
    let list = |at| {
        part(at).is_some_and(|part| match part {
            [] => true,
            [_, _, low, high, ..] => {
                let size = usize::from(u16::from_le_bytes([*low, *high]));
                (8..=part.len()).contains(&size)
            }
            _ => false,
        })
    };
    let self_relative = descriptor
        .get(3)
        .is_some_and(|high| high & SE_SELF_RELATIVE_HIGH != 0);
    self_relative && identifier(4) && identifier(8) && list(12) && list(16)
}
