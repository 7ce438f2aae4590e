//! Reading the transport form: all of it is checked, then it is laid over what the nearest parent has.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use windows_sys::Win32::Storage::FileSystem::FILE_ATTRIBUTE_REPARSE_POINT;

use crate::state::{Kept, KeptStreams};
use crate::streams::{self, Object};
use crate::tree::{self, key, verbatim, walk};

/// What the metadata of a directory is called, after its name.
pub(crate) const DIRECTORY: &str = ".$wcidirs$";

/// The hives that a layer can have changes of.
pub(crate) const DELTAS: [&str; 5] = [
    "DefaultUser_Delta",
    "Sam_Delta",
    "Security_Delta",
    "Software_Delta",
    "System_Delta",
];

/// Why a transport form is none, or why it could not be read.
pub(crate) enum Refusal {
    Wrong(String),
    Io(io::Error),
}

impl From<io::Error> for Refusal {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// A layer in transport form.
pub(crate) struct Transport {
    root: PathBuf,
    /// Below `Files`, parents before children; and whether it is a directory.
    objects: Vec<(PathBuf, bool)>,
    hives: Vec<String>,
}

fn wrong<T>(what: String) -> Result<T, Refusal> {
    Err(Refusal::Wrong(what))
}

fn with_suffix(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(DIRECTORY);
    PathBuf::from(name)
}

impl Transport {
    /// Checks everything.
    pub(crate) fn open(root: &Path) -> Result<Self, Refusal> {
        let root = verbatim(root);
        let allowed = ["Files", "Hives", "Files.$wcidirs$", "Hives.$wcidirs$"];
        for entry in fs::read_dir(&root)? {
            let name = entry?.file_name().to_string_lossy().into_owned();
            if !allowed.contains(&name.as_str()) {
                return wrong(format!("{name} is not part of a layer"));
            }
        }
        for directory in ["Files", "Hives"] {
            let file = with_suffix(&root.join(directory));
            if file.exists() {
                Self::check(&fs::read(file)?, directory, true)?;
            }
        }
        if !root.join("Files").is_dir() {
            return wrong("there is no Files".to_owned());
        }
        let transport = Self {
            objects: Self::objects(&root)?,
            hives: Self::hives(&root)?,
            root,
        };
        for (relative, directory) in &transport.objects {
            let name = format!(r"Files\{}", relative.display());
            Self::check(
                &fs::read(transport.place(relative, *directory))?,
                &name,
                *directory,
            )?;
        }
        Ok(transport)
    }

    fn check(bytes: &[u8], name: &str, directory: bool) -> Result<Object, Refusal> {
        streams::parse(bytes, directory).map_err(|what| Refusal::Wrong(format!("{name} {what}")))
    }

    /// The file that has the metadata of an object.
    fn place(&self, relative: &Path, directory: bool) -> PathBuf {
        let path = self.root.join("Files").join(relative);
        if directory { with_suffix(&path) } else { path }
    }

    fn objects(root: &Path) -> Result<Vec<(PathBuf, bool)>, Refusal> {
        let files = root.join("Files");
        let mut objects = Vec::new();
        for found in walk(&files)? {
            let text = found.relative.to_string_lossy().into_owned();
            let shown = format!(r"Files\{text}");
            if found.metadata.file_type().is_symlink() {
                return wrong(format!("{shown} is a link"));
            }
            if found.is_directory() {
                if !with_suffix(&files.join(&found.relative)).is_file() {
                    return wrong(format!("{shown} has no {DIRECTORY}"));
                }
                objects.push((found.relative, true));
            } else if let Some(directory) = text.strip_suffix(DIRECTORY) {
                if !files.join(directory).is_dir() {
                    return wrong(format!("{shown} has no directory"));
                }
            } else {
                objects.push((found.relative, false));
            }
        }
        Ok(objects)
    }

    fn hives(root: &Path) -> Result<Vec<String>, Refusal> {
        let mut hives = Vec::new();
        let folder = root.join("Hives");
        if !folder.exists() {
            return Ok(hives);
        }
        for found in walk(&folder)? {
            let name = found.relative.to_string_lossy().into_owned();
            let known = DELTAS.iter().any(|delta| delta.eq_ignore_ascii_case(&name));
            if !known || found.is_directory() {
                return wrong(format!(r"Hives\{name} is no hive"));
            }
            let bytes = fs::read(folder.join(&name))?;
            if bytes.len() > 4 && streams::parse(&bytes, false).is_ok() {
                return wrong(format!(r"Hives\{name} is not raw"));
            }
            hives.push(name);
        }
        Ok(hives)
    }

    /// Lays the changes over `layer\Files` and makes `layer\Hives`; `kept` is what the parent has and gets what this has.
    pub(crate) fn apply(&self, layer: &Path, kept: &mut KeptStreams) -> Result<(), Refusal> {
        let layer = verbatim(layer);
        let files = layer.join("Files");
        let mut directories = Vec::new();
        for (relative, directory) in &self.objects {
            let (source, place) = (self.place(relative, *directory), files.join(relative));
            let object = Self::check(&fs::read(&source)?, "the object", *directory)?;
            let times = fs::metadata(&source)?;
            let there = fs::symlink_metadata(&place).ok();
            if there
                .as_ref()
                .is_some_and(|there| !(*directory && there.is_dir()))
            {
                tree::remove(&place)?;
            }
            if *directory {
                if there.is_none_or(|there| !there.is_dir()) {
                    fs::create_dir(&place)?;
                }
                directories.push((place, times, object.attributes));
            } else {
                fs::write(&place, &object.data)?;
                tree::finish(&place, &times, object.attributes)?;
            }
            let entry = Kept {
                // Links are kept as data, not made.
                attributes: object.attributes & !FILE_ATTRIBUTE_REPARSE_POINT,
                streams: hex::encode(&object.others),
            };
            kept.insert(key(relative), entry);
        }
        for (place, times, attributes) in directories.iter().rev() {
            tree::finish(place, times, *attributes)?;
        }
        fs::create_dir(layer.join("Hives"))?;
        for hive in &self.hives {
            fs::copy(self.root.join("Hives").join(hive), layer.join("Hives").join(hive))?;
        }
        Ok(())
    }
}
