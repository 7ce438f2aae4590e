//! How layers spell, on the host, what the prepared Wine prefix has too.
//!
//! A container's C: is the layers upon Wine's own files, merged by a file system that knows case. Published layers say
//! `Windows/System32` or `windows/system32`, and Wine has one of them: side by side there would be two, and programs would
//! find one. Layers therefore use the prefix's spelling on the host. It is a matter of the host: archives keep theirs.

/// Directories of the prefix. The emulator gives the well-known ones the names that Windows has; the rest is Wine's.
const DIRECTORIES: &[&str] = &[
    "Program Files",
    "Program Files (x86)",
    "Program Files (x86)/Common Files",
    "Program Files/Common Files",
    "Program Files/Common Files/Microsoft Shared",
    "Program Files/Common Files/System",
    "Program Files/Internet Explorer",
    "Program Files/Windows Media Player",
    "Program Files/Windows NT",
    "Program Files/Windows NT/Accessories",
    "ProgramData",
    "ProgramData/Microsoft",
    "ProgramData/Microsoft/Windows",
    "Users",
    "Windows",
    "Windows/Fonts",
    "Windows/SysWOW64",
    "Windows/System",
    "Windows/System32",
    "Windows/System32/Speech",
    "Windows/System32/Speech/Common",
    "Windows/System32/WindowsPowerShell",
    "Windows/System32/WindowsPowerShell/v1.0",
    "Windows/System32/drivers/etc",
    "Windows/System32/spool/drivers",
    "Windows/Temp",
    "Windows/WinSxS",
    "Windows/WinSxS/manifests",
    "Windows/globalization/sorting",
    "Windows/performance/winsat",
    "Windows/resources/themes",
];

/// Accounts that every prefix has a profile for.
const ACCOUNTS: &[&str] = &["ContainerAdministrator", "ContainerUser", "Public"];

/// Directories of a profile.
const PROFILE: &[&str] = &[
    "AppData",
    "AppData/Local",
    "AppData/Local/Microsoft",
    "AppData/Local/Temp",
    "AppData/LocalLow",
    "AppData/Roaming",
    "AppData/Roaming/Microsoft",
    "AppData/Roaming/Microsoft/Windows",
    "Contacts",
    "Desktop",
    "Documents",
    "Downloads",
    "Favorites",
    "Links",
    "Music",
    "Pictures",
    "Saved Games",
    "Searches",
    "Temp",
    "Videos",
];

/// Directories in which Wine spells everything else in small letters.
const SMALL: &[&str] = &[
    "Windows",
    "Windows/System32",
    "Windows/System32/drivers",
    "Windows/System32/wbem",
    "Windows/SysWOW64",
];

/// The last component of a path of a layer as the prefix spells it, if that may have it.
pub(crate) fn spelling(path: &str) -> Option<String> {
    let (area, path) = path.split_once('/')?;
    if area != "Files" {
        return None;
    }
    if let Some(known) = of(DIRECTORIES, path) {
        return Some(known);
    }
    if let Some((users, profile)) = path.split_once('/')
        && users.eq_ignore_ascii_case("users")
    {
        return match profile.split_once('/') {
            None => of(ACCOUNTS, profile),
            Some((account, inner)) => of(ACCOUNTS, account).and_then(|_| of(PROFILE, inner)),
        };
    }
    let (parent, name) = path.rsplit_once('/')?;
    of(SMALL, parent).map(|_| name.to_ascii_lowercase())
}

/// The last component of a path as the list has it.
fn of(list: &[&str], path: &str) -> Option<String> {
    let known = list.iter().find(|known| known.eq_ignore_ascii_case(path))?;
    known.rsplit('/').next().map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_prefix_has_is_spelled_as_it_does() {
        for (path, expected) in [
            ("Files/windows", Some("Windows")),
            ("Files/WINDOWS/system32", Some("System32")),
            ("Files/Windows/System32/KERNEL32.dll", Some("kernel32.dll")),
            ("Files/Windows/fonts", Some("Fonts")),
            ("Files/Windows/INF", Some("inf")),
            ("Files/PROGRA~1", None),
            ("Files/program files", Some("Program Files")),
            ("Files/users", Some("Users")),
            (
                "Files/Users/containerADMINISTRATOR",
                Some("ContainerAdministrator"),
            ),
            ("Files/Users/Public/documents", Some("Documents")),
            ("Files/Users/Me", None),
            ("Files/Users/Me/documents", None),
            ("Files/App/Windows", None),
            ("Files/Windows/App/README", None),
            ("UtilityVM/Files/Windows", None),
            ("Files", None),
        ] {
            assert_eq!(spelling(path).as_deref(), expected, "{path}");
        }
    }
}
