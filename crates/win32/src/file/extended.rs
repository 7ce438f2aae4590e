//! Extended attributes, in the chained form of `FILE_FULL_EA_INFORMATION`.

use std::io;
use std::os::windows::io::AsRawHandle;
use std::ptr::null;

use windows_sys::Wdk::Storage::FileSystem::{NtQueryEaFile, NtSetEaFile};
use windows_sys::Win32::Foundation::{
    STATUS_BUFFER_OVERFLOW, STATUS_NO_EAS_ON_FILE, STATUS_NO_MORE_EAS, STATUS_SUCCESS,
};
use windows_sys::Win32::System::IO::IO_STATUS_BLOCK;

use super::buffer::{Buffer, chain, u32_at};
use super::call;
use super::object::Object;

/// Bytes before the name.
const HEADER: usize = 8;
/// Room for one attribute of any size, and in most cases for all.
const ROOM: usize = 128 << 10;

/// One extended attribute.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExtendedAttribute {
    /// `FILE_NEED_EA` (0x80): who does not understand it should not open the object.
    pub flags: u8,
    /// Its name, which volumes keep in upper case.
    pub name: Vec<u8>,
    /// Its value. Empty removes it.
    pub value: Vec<u8>,
}

impl Object {
    /// Sets extended attributes; others stay.
    pub fn set_extended(&self, attributes: &[ExtendedAttribute]) -> io::Result<()> {
        if attributes.is_empty() {
            return Ok(());
        }
        let packed = packed(attributes).ok_or_else(|| {
            io::Error::new(io::ErrorKind::InvalidInput, "an extended attribute is too long")
        })?;
        let buffer = Buffer::from_bytes(&packed);
        let mut done = IO_STATUS_BLOCK::default();
        // SAFETY: the handle is open and synchronous; the buffer has the size that is passed and is only read.
        let status =
            unsafe { NtSetEaFile(self.0.as_raw_handle(), &mut done, buffer.as_ptr(), buffer.size()) };
        Ok(call::check(status)?)
    }

    /// All extended attributes.
    pub fn extended(&self) -> io::Result<Vec<ExtendedAttribute>> {
        let mut attributes = Vec::new();
        let mut restart = true;
        loop {
            let mut buffer = Buffer::zeroed(ROOM);
            let mut done = IO_STATUS_BLOCK::default();
            let size = buffer.size();
            // SAFETY: the handle is open and synchronous; the buffer has the size that is passed; neither a list nor an
            // index says which attributes are meant.
            let status = unsafe {
                NtQueryEaFile(
                    self.0.as_raw_handle(),
                    &mut done,
                    buffer.as_mut_ptr(),
                    size,
                    false,
                    null(),
                    0,
                    null(),
                    restart,
                )
            };
            // More than fits is a warning: what fits was answered, the rest comes with the next call.
            let more = match status {
                STATUS_NO_EAS_ON_FILE | STATUS_NO_MORE_EAS => return Ok(attributes),
                STATUS_BUFFER_OVERFLOW => true,
                STATUS_SUCCESS => false,
                status => {
                    call::check(status)?;
                    false
                }
            };
            for entry in chain(&buffer.bytes(done.Information)) {
                attributes.push(unpacked(entry).ok_or(io::ErrorKind::InvalidData)?);
            }
            if !more || done.Information == 0 {
                return Ok(attributes);
            }
            restart = false;
        }
    }
}

/// The chain; `None` if a name or value is too long for it.
fn packed(attributes: &[ExtendedAttribute]) -> Option<Vec<u8>> {
    let mut chain = Vec::new();
    for (index, attribute) in attributes.iter().enumerate() {
        let name_length = u8::try_from(attribute.name.len()).ok()?;
        let value_length = u16::try_from(attribute.value.len()).ok()?;
        // The name ends with NUL, which its length does not count.
        let length = HEADER + attribute.name.len() + 1 + attribute.value.len();
        let next = if index + 1 == attributes.len() {
            0
        } else {
            length.next_multiple_of(4)
        };
        let start = chain.len();
        chain.extend(u32::try_from(next).ok()?.to_le_bytes());
        chain.extend([attribute.flags, name_length]);
        chain.extend(value_length.to_le_bytes());
        chain.extend(&attribute.name);
        chain.push(0);
        chain.extend(&attribute.value);
        chain.resize(start + length.next_multiple_of(4), 0);
    }
    u32::try_from(chain.len()).ok()?;
    Some(chain)
}

fn unpacked(entry: &[u8]) -> Option<ExtendedAttribute> {
    let lengths = u32_at(entry, 4)?.to_le_bytes();
    let name_length = usize::from(lengths[1]);
    let value_length = usize::from(u16::from_le_bytes([lengths[2], lengths[3]]));
    let value = HEADER + name_length + 1;
    Some(ExtendedAttribute {
        flags: lengths[0],
        name: entry.get(HEADER..HEADER + name_length)?.to_vec(),
        value: entry.get(value..value + value_length)?.to_vec(),
    })
}
