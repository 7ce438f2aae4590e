//! Where mapped directories and files go: Windows paths, taken apart before they meet the file system.

use std::path::PathBuf;

use hcs::MappedDirectory;
use serde::Serialize;

use crate::failure::Failure;

/// A directory or file of the host in the container, as the container's init is told.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Mapped {
    pub(crate) source: PathBuf,
    /// A letter, lower case.
    pub(crate) drive: char,
    /// The names on the way; none is the drive itself.
    pub(crate) path: Vec<String>,
    pub(crate) read_only: bool,
}

/// Names that Windows gives to devices, whatever their extension.
const DEVICES: [&str; 6] = ["CON", "PRN", "AUX", "NUL", "CONIN$", "CONOUT$"];

/// Checks all mapped directories; the host's paths must exist.
pub(crate) fn mapped(directories: &[MappedDirectory]) -> Result<Vec<Mapped>, Failure> {
    let mut all: Vec<Mapped> = Vec::new();
    for directory in directories {
        let source = PathBuf::from(&directory.host_path);
        if !matches!(directory.host_path_type.as_str(), "" | "AbsolutePath") {
            return Err(Failure::unsupported(format!(
                "MappedDirectories: HostPathType {} is not supported here, use AbsolutePath",
                directory.host_path_type
            )));
        }
        if !source.is_absolute() {
            return Err(Failure::invalid(format!(
                "MappedDirectories: HostPath is {:?}, it must be absolute",
                directory.host_path
            )));
        }
        let metadata = source.metadata().map_err(|error| {
            Failure::io(format!("MappedDirectories: HostPath {}", source.display()), error)
        })?;
        let (drive, path) = place(&directory.container_path).map_err(|why| {
            Failure::invalid(format!(
                "MappedDirectories: ContainerPath is {:?}: {why}",
                directory.container_path
            ))
        })?;
        if path.is_empty() && !metadata.is_dir() {
            return Err(Failure::invalid(format!(
                "MappedDirectories: {} is a file and cannot be the drive {drive}:",
                source.display()
            )));
        }
        let fold = |path: &[String]| path.iter().map(|name| name.to_uppercase()).collect::<Vec<_>>();
        if all
            .iter()
            .any(|other| other.drive == drive && fold(&other.path) == fold(&path))
        {
            return Err(Failure::invalid(format!(
                "MappedDirectories: {} is given twice",
                directory.container_path
            )));
        }
        all.push(Mapped {
            source,
            drive,
            path,
            read_only: directory.read_only,
        });
    }
    // What lies deeper comes later, or it would be covered.
    all.sort_by_key(|mapped| mapped.path.len());
    Ok(all)
}

/// Takes an absolute path with a drive apart.
fn place(path: &str) -> Result<(char, Vec<String>), &'static str> {
    let mut start = path.chars();
    let (Some(letter), Some(':'), Some('\\' | '/')) = (start.next(), start.next(), start.next()) else {
        return Err("it must begin with a drive, like C:\\");
    };
    if !letter.is_ascii_alphabetic() {
        return Err("the drive must be a letter");
    }
    let drive = letter.to_ascii_lowercase();
    let names: Vec<String> = start
        .as_str()
        .split(['\\', '/'])
        .filter(|name| !name.is_empty())
        .map(str::to_owned)
        .collect();
    if drive == 'c' && names.is_empty() {
        return Err("C: is the container's own drive, name a directory on it");
    }
    for name in &names {
        let stem = name.split('.').next().unwrap_or_default().to_uppercase();
        let numbered = ["COM", "LPT"].iter().any(|port| {
            stem.strip_prefix(port)
                .is_some_and(|rest| rest.len() == 1 && ("1"..="9").contains(&rest))
        });
        if name == "." || name == ".." {
            return Err("it must not contain . or ..");
        }
        if name.ends_with(['.', ' ']) || name.contains(['<', '>', ':', '"', '|', '?', '*']) {
            return Err("a name contains what Windows does not allow");
        }
        if name.chars().any(char::is_control) || DEVICES.contains(&stem.as_str()) || numbered {
            return Err("a name is the name of a device");
        }
    }
    Ok((drive, names))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn directory(container_path: &str) -> MappedDirectory {
        MappedDirectory {
            host_path: "/tmp".to_owned(),
            container_path: container_path.to_owned(),
            ..Default::default()
        }
    }

    #[test]
    fn paths_are_taken_apart() {
        assert_eq!(
            place(r"C:\data\db").unwrap(),
            ('c', vec!["data".into(), "db".into()])
        );
        assert_eq!(place("e:/").unwrap(), ('e', vec![]));
    }

    #[test]
    fn paths_that_lead_elsewhere_or_are_no_names_are_refused() {
        for bad in [
            "",
            "data",
            r"\data",
            "C:",
            "C:data",
            r"C:\",
            r"\\server\share",
            r"1:\x",
            r"C:\..\x",
            r"C:\a\.",
            r"C:\con",
            r"C:\x\NUL.txt",
            r"C:\com1",
            r"C:\a.",
            r"C:\a:b",
            r"C:\a|b",
        ] {
            assert!(place(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn one_place_is_mapped_once_and_outer_places_first() {
        assert!(mapped(&[directory(r"C:\A"), directory(r"c:\a")]).is_err());
        let sorted = mapped(&[directory(r"C:\a\b"), directory(r"C:\a")]).unwrap();
        assert_eq!(sorted[0].path, ["a"]);
    }
}
