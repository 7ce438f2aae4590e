//! Values and keys of `HKEY_LOCAL_MACHINE`.

use std::io;
use std::ptr::{null, null_mut};

use windows_sys::Win32::Foundation::ERROR_FILE_NOT_FOUND;
use windows_sys::Win32::System::Registry::{
    HKEY, HKEY_LOCAL_MACHINE, KEY_SET_VALUE, REG_OPTION_NON_VOLATILE, REG_OPTION_VOLATILE, REG_SZ,
    RRF_RT_REG_DWORD, RRF_RT_REG_SZ, RegCloseKey, RegCreateKeyExW, RegDeleteTreeW, RegGetValueW,
    RegSetValueExW,
};

use crate::handle::{succeeded, wide};

/// A key that is open for writing.
#[derive(Debug)]
pub struct Key(HKEY);

impl Key {
    /// Opens a key, and makes it with everything above it where it is missing. A `volatile` key is not kept.
    pub fn create(path: &str, volatile: bool) -> io::Result<Self> {
        let path = wide(path)?;
        let kind = if volatile {
            REG_OPTION_VOLATILE
        } else {
            REG_OPTION_NON_VOLATILE
        };
        let mut key = null_mut();
        // SAFETY: the string is NUL-terminated and `key` is a place for the answer; the rest may be null.
        let code = unsafe {
            RegCreateKeyExW(
                HKEY_LOCAL_MACHINE,
                path.as_ptr(),
                0,
                null(),
                kind,
                KEY_SET_VALUE,
                null(),
                &raw mut key,
                null_mut(),
            )
        };
        succeeded(code)?;
        Ok(Self(key))
    }

    /// Sets a value of any type; an empty name is the default value of the key.
    pub fn set(&self, name: &str, kind: u32, data: &[u8]) -> io::Result<()> {
        let name = wide(name)?;
        let size = u32::try_from(data.len()).map_err(io::Error::other)?;
        // SAFETY: the key is open, the string is NUL-terminated and `data` has `size` bytes.
        succeeded(unsafe { RegSetValueExW(self.0, name.as_ptr(), 0, kind, data.as_ptr(), size) })
    }

    /// Sets a text.
    pub fn set_text(&self, name: &str, text: &str) -> io::Result<()> {
        let data: Vec<u8> = wide(text)?.into_iter().flat_map(u16::to_le_bytes).collect();
        self.set(name, REG_SZ, &data)
    }
}

impl Drop for Key {
    fn drop(&mut self) {
        // SAFETY: the key is open and closed here alone.
        unsafe { RegCloseKey(self.0) };
    }
}

/// Removes a key with everything below it.
pub fn delete(path: &str) -> io::Result<()> {
    let path = wide(path)?;
    // SAFETY: the string is NUL-terminated.
    succeeded(unsafe { RegDeleteTreeW(HKEY_LOCAL_MACHINE, path.as_ptr()) })
}

/// A number of a key; an error if there is none.
pub fn number(path: &str, name: &str) -> io::Result<u32> {
    let (path, name) = (wide(path)?, wide(name)?);
    let (mut value, mut size) = (0_u32, 4_u32);
    // SAFETY: the strings are NUL-terminated; the value has the size that is passed, and no other type is accepted.
    let code = unsafe {
        RegGetValueW(
            HKEY_LOCAL_MACHINE,
            path.as_ptr(),
            name.as_ptr(),
            RRF_RT_REG_DWORD,
            null_mut(),
            (&raw mut value).cast(),
            &raw mut size,
        )
    };
    succeeded(code)?;
    Ok(value)
}

/// A text of a key, `None` if there is none.
pub fn text(path: &str, name: &str) -> io::Result<Option<String>> {
    let (path, name) = (wide(path)?, wide(name)?);
    let mut units = vec![0_u16; 4096];
    let mut size = u32::try_from(size_of_val(&units[..])).map_err(io::Error::other)?;
    // SAFETY: the strings are NUL-terminated; the buffer has the size that is passed, and no other type is accepted.
    let code = unsafe {
        RegGetValueW(
            HKEY_LOCAL_MACHINE,
            path.as_ptr(),
            name.as_ptr(),
            RRF_RT_REG_SZ,
            null_mut(),
            units.as_mut_ptr().cast(),
            &raw mut size,
        )
    };
    match code {
        ERROR_FILE_NOT_FOUND => Ok(None),
        code => succeeded(code).map(|()| {
            let end = units.iter().position(|unit| *unit == 0);
            Some(String::from_utf16_lossy(&units[..end.unwrap_or(units.len())]))
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_made_written_and_removed() {
        const PATH: &str = r"Software\ctr-like-test\key";
        let key = Key::create(PATH, true).unwrap();
        key.set_text("name", "value").unwrap();
        key.set("", 4, &7_u32.to_le_bytes()).unwrap();
        drop(key);
        assert_eq!(text(PATH, "name").unwrap().as_deref(), Some("value"));
        assert_eq!(text(PATH, "nothing").unwrap(), None);
        delete(r"Software\ctr-like-test").unwrap();
        assert_eq!(
            delete(r"Software\ctr-like-test").unwrap_err().raw_os_error(),
            Some(2)
        );
    }
}
