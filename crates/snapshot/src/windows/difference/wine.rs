//! What Wine makes in C: by itself, whenever it starts for a user or on a machine that it does not know.
//!
//! Directories and links with these names that are new and hold nothing else are none of the container's doing.

use layer::windows::folded;

/// Names below `users/<user>`, at any depth.
const PROFILE: &[&str] = &[
    "AppData",
    "Application Data",
    "Contacts",
    "Cookies",
    "Desktop",
    "Documents",
    "Downloads",
    "Favorites",
    "History",
    "INetCache",
    "INetCookies",
    "Links",
    "Local",
    "Local Settings",
    "LocalLow",
    "Microsoft",
    "Music",
    "My Documents",
    "My Music",
    "My Pictures",
    "My Videos",
    "NetHood",
    "Network Shortcuts",
    "Pictures",
    "PrintHood",
    "Printer Shortcuts",
    "Programs",
    "Recent",
    "Roaming",
    "Saved Games",
    "Searches",
    "SendTo",
    "Start Menu",
    "StartUp",
    "Temp",
    "Templates",
    "Themes",
    "Videos",
    "Windows",
];

/// Others, from C: on.
const PLACES: &[&str] = &[
    "ProgramData",
    "ProgramData/Microsoft",
    "ProgramData/Microsoft/Windows",
    "ProgramData/Microsoft/Windows/Start Menu",
    "ProgramData/Microsoft/Windows/Start Menu/Programs",
    "ProgramData/Microsoft/Windows/Start Menu/Programs/StartUp",
    "ProgramData/Microsoft/Windows/Templates",
    "users",
    "windows",
    "windows/temp",
];

/// Whether Wine makes an empty directory, or a link, at this path of a layer.
pub(super) fn makes(path: &str) -> bool {
    let Some(path) = path.strip_prefix("Files/") else {
        return false;
    };
    let same = |one: &str, other: &str| folded(one) == folded(other);
    if PLACES.iter().any(|place| same(place, path)) {
        return true;
    }
    let mut parts = path.split('/');
    if !parts.next().is_some_and(|first| same(first, "users")) || parts.next().is_none() {
        return false;
    }
    parts.all(|part| PROFILE.iter().any(|name| same(name, part)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn profiles_are_wines_and_what_programs_call_otherwise_is_not() {
        for path in [
            "Files/users/root",
            "Files/Users/app/AppData/Local/Temp",
            "Files/users/root/documents",
            "Files/windows/TEMP",
        ] {
            assert!(makes(path), "{path}");
        }
        for path in [
            "Files/users/root/work",
            "Files/AppData",
            "Files/app/Temp",
            "Files/users/root/AppData/Local/Vendor",
            "Hives",
        ] {
            assert!(!makes(path), "{path}");
        }
    }
}
