//! What a share may be called and lead to, whoever shares it.

use hcs::{Plan9Share, plan9_flags};

use crate::failure::Failure;

const KNOWN_FLAGS: u32 = plan9_flags::READ_ONLY
    | plan9_flags::LINUX_METADATA
    | plan9_flags::CASE_SENSITIVE
    | plan9_flags::USE_SHARE_ROOT_IDENTITY
    | plan9_flags::RESTRICT_FILE_ACCESS
    | plan9_flags::UNLIMITED_CONNECTIONS;

/// Checks the form of a share.
pub(crate) fn check_share(share: &Plan9Share) -> Result<(), Failure> {
    let plain = |name: &str| !name.is_empty() && name != "." && name != ".." && !name.contains(['/', '\0']);
    if share.name.is_empty() {
        return Err(Failure::json("Plan9Share.Name is required"));
    }
    if !plain(&share.name) || share.name.len() > 255 {
        return Err(Failure::invalid(format!(
            "share name {:?} is not a file name",
            share.name
        )));
    }
    if share.path.is_empty() {
        return Err(Failure::json("Plan9Share.Path is required"));
    }
    if !share.path.starts_with('/') || share.path.contains('\0') {
        return Err(Failure::invalid(format!(
            "Plan9Share.Path {:?} is not an absolute path",
            share.path
        )));
    }
    let unknown = share.flags & !KNOWN_FLAGS;
    if unknown != 0 {
        return Err(Failure::invalid(format!(
            "Plan9Share.Flags has unknown bits {unknown:#x}"
        )));
    }
    let restricted = share.flags & plan9_flags::RESTRICT_FILE_ACCESS != 0;
    if restricted == share.allowed_files.is_empty() {
        return Err(Failure::invalid(
            "Plan9Share.AllowedFiles and the flag 0x80 need each other",
        ));
    }
    if let Some(bad) = share.allowed_files.iter().find(|name| !plain(name)) {
        return Err(Failure::invalid(format!(
            "Plan9Share.AllowedFiles: {bad:?} is not a bare file name"
        )));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn share(name: &str, path: &str, flags: u32, files: &[&str]) -> Plan9Share {
        Plan9Share {
            name: name.to_owned(),
            path: path.to_owned(),
            flags,
            allowed_files: files.iter().map(|file| (*file).to_owned()).collect(),
            ..Default::default()
        }
    }

    #[test]
    fn names_that_lead_elsewhere_are_refused() {
        for bad in [
            share("..", "/x", 0, &[]),
            share("a/b", "/x", 0, &[]),
            share("", "/x", 0, &[]),
            share("a", "x", 0, &[]),
            share("a", "", 0, &[]),
            share("a", "/x", 0x80, &["../passwd"]),
            share("a", "/x", 0x80, &[]),
            share("a", "/x", 0, &["file"]),
            share("a", "/x", 0x2, &[]),
        ] {
            assert!(check_share(&bad).is_err(), "{bad:?}");
        }
        assert!(check_share(&share("3", "/volumes/src", 4, &[])).is_ok());
        assert!(check_share(&share("3", "/volumes/src", 0x85, &["app.config"])).is_ok());
    }
}
