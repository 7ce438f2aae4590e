//! The merged root of a container: its layers and its scratch as one tree, without a trace in the host's mount table.
//!
//! The overlay is mounted in a mount namespace that only one short-lived thread is in, and taken out of it as a detached
//! mount. So nobody sees it, nothing is left when the process is killed, and it is gone with the last descriptor. Layers
//! are named by descriptors, relative to `/proc/self/fd`: the kernel takes one page of options, paths would fill it soon.

use std::ffi::CString;
use std::io;
use std::marker::PhantomData;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use nix::sched::CloneFlags;
use rustix::fs::CWD;
use rustix::mount::{MountFlags, MountPropagationFlags, OpenTreeFlags, mount, mount_change, open_tree};

use super::Difference;
use super::object::{Object, link_in_proc};
use super::scratch::{UPPER, WORK};
use crate::error::{Result, io_error};

/// What the kernel takes, with the zero at the end.
const OPTIONS: usize = 4096;

/// A merged root, for as long as this value lives.
#[derive(Debug)]
pub struct Activation {
    root: OwnedFd,
    parts: Given,
}

/// What was stacked, as it was given.
#[derive(Debug)]
struct Given {
    scratch: PathBuf,
    layers: Vec<PathBuf>,
    under: Option<PathBuf>,
}

/// Keeps the layers under a scratch, which they always are.
#[derive(Debug)]
pub struct Merged<'a>(PhantomData<&'a Activation>);

impl Activation {
    /// Stacks the directories of layers, the base first, upon `under`, and the scratch upon them. A scratch must not have
    /// two activations that are written to.
    ///
    /// # Errors
    /// A directory does not exist, there are too many, or the process may not mount.
    pub fn new(scratch: &Path, layers: &[PathBuf], under: Option<&Path>) -> Result<Self> {
        // The thread has another directory to start from.
        let absolute = |path: &Path| path.canonicalize().map_err(io_error("open", path));
        let parts = Parts {
            lower: layers
                .iter()
                .rev()
                .map(PathBuf::as_path)
                .chain(under)
                .map(absolute)
                .collect::<Result<_>>()?,
            scratch: absolute(scratch)?,
        };
        let root = std::thread::scope(|scope| {
            let mounting = std::thread::Builder::new()
                .name("activation".to_owned())
                .spawn_scoped(scope, || mount_apart(&parts))?;
            mounting
                .join()
                .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        });
        Ok(Self {
            root: root.map_err(io_error("stack the layers of", scratch))?,
            parts: Given {
                scratch: scratch.to_owned(),
                layers: layers.to_vec(),
                under: under.map(Path::to_owned),
            },
        })
    }

    /// Keeps the layers where they are until the answer is dropped.
    ///
    /// # Errors
    /// None: here nothing takes them away.
    pub fn hold(&self) -> Result<Merged<'_>> {
        Ok(Merged(PhantomData))
    }

    /// What the container has written, beside its layers. It may run meanwhile.
    ///
    /// # Errors
    /// As [`Difference::open`].
    pub fn difference(&self) -> Result<Difference> {
        let Given {
            scratch,
            layers,
            under,
        } = &self.parts;
        Difference::open(scratch, layers, under.as_deref())
    }

    /// Where the merged root is, for this process: `/proc/self/fd/N`.
    #[must_use]
    pub fn path(&self) -> PathBuf {
        link_in_proc(&self.root).into()
    }

    /// Where the container's C: is.
    #[must_use]
    pub fn files(&self) -> PathBuf {
        self.path().join("Files")
    }

    /// The id by which the system knows a layer of this container: none, there is no system that does.
    #[must_use]
    pub fn layer_id(&self, _: &Path) -> Option<u128> {
        None
    }
}

impl AsFd for Activation {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.root.as_fd()
    }
}

/// What is stacked.
struct Parts {
    /// Topmost first.
    lower: Vec<PathBuf>,
    scratch: PathBuf,
}

/// Mounts where nobody else looks. To be called on a thread that ends afterwards.
fn mount_apart(parts: &Parts) -> io::Result<OwnedFd> {
    nix::sched::unshare(CloneFlags::CLONE_NEWNS)?;
    mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC)?;
    // Opened here, because the kernel stacks only what belongs to the namespace that it mounts in.
    let lower = parts.lower.iter().map(|path| Object::directory(path));
    let lower = lower.collect::<io::Result<Vec<_>>>()?;
    let upper = Object::directory(&parts.scratch.join(UPPER))?;
    let work = Object::directory(&parts.scratch.join(WORK))?;
    let options = options(&lower, &upper, &work)?;
    rustix::process::chdir("/proc/self/fd")?;
    let flags = MountFlags::NODEV | MountFlags::NOSUID;
    mount("overlay", &parts.scratch, "overlay", flags, &*options)?;
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    Ok(open_tree(CWD, &parts.scratch, flags)?)
}

fn options(lower: &[Object], upper: &Object, work: &Object) -> io::Result<CString> {
    let name = |object: &Object| object.as_fd().as_raw_fd().to_string();
    let names: Vec<String> = lower.iter().map(name).collect();
    // Nothing of a file may be kept elsewhere: the difference of the scratch is read without the overlay.
    let text = format!(
        "lowerdir={},upperdir={},workdir={},xino=off,redirect_dir=off,metacopy=off,index=off",
        names.join(":"),
        name(upper),
        name(work)
    );
    if text.len() >= OPTIONS || lower.is_empty() {
        let text = format!("the kernel cannot stack {} layers", lower.len());
        return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
    }
    Ok(CString::new(text)?)
}
