//! Loop devices behind SCSI attachments.
//!
//! [`LoopDevices`] is shared by all sandboxes of an emulator. A read-only image attached several times has one device, found by
//! the identity of the file; the kernel then shares its page cache and super block between all containers.
//!
//! A device lives as long as somebody has it open: we while it is attached, the guest while it is mounted. The kernel clears it
//! with the last close, also when this process is killed, so nothing has to be undone. It holds the very file that locks the image.
//!
//! A disk that grows is exported as a file first (`growing`), which has the device behind it.
//!
//! Device nodes are made where they are needed: nothing depends on what `/dev` contains. Calls block for about a millisecond.

use std::collections::HashMap;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use rustix::fs::{CWD, FileType, Mode, makedev, mknodat};
use rustix::io::Errno;

use crate::failure::Failure;
use crate::image::Image;
use crate::kernel;
use crate::sandbox::growing::Export;
use crate::vhd::Format;

/// Major number of loop devices (`Documentation/admin-guide/devices.txt`).
const LOOP_MAJOR: u32 = 7;
/// Major and minor number of the control device: `misc`, and the number reserved for it.
const CONTROL: (u32, u32) = (10, 237);
/// How often another user may snatch the free device from us before we give up.
const TRIES: u32 = 128;

/// Identity of an image file; stable while the file is open.
type FileId = (u64, u64);

/// All loop devices of an emulator.
#[derive(Debug, Default)]
pub(crate) struct LoopDevices {
    shared: Mutex<HashMap<FileId, Weak<LoopDevice>>>,
}

/// One loop device that is bound to an image.
#[derive(Debug)]
pub(crate) struct LoopDevice {
    number: u32,
    size: u64,
    // Keeps the device bound: it clears itself with the last close.
    _open: File,
    // After the device, which writes to it until then.
    _export: Option<Export>,
}

impl LoopDevice {
    /// The device number for nodes.
    pub(crate) fn dev(&self) -> u64 {
        makedev(LOOP_MAJOR, self.number)
    }

    /// Bytes of the disk.
    pub(crate) fn size(&self) -> u64 {
        self.size
    }
}

impl LoopDevices {
    /// Binds an image. `nodes` is a directory on a file system that allows device nodes.
    pub(crate) fn bind(
        &self,
        image: &Path,
        read_only: bool,
        nodes: &Path,
    ) -> Result<Arc<LoopDevice>, Failure> {
        let Image { file, inside } = Image::open(image, read_only)?;
        let cannot_open = |error| Failure::io(format!("cannot open disk {}", image.display()), error);
        let metadata = file.metadata().map_err(cannot_open)?;
        let (id, size) = ((metadata.dev(), metadata.ino()), inside.size);

        // Held while binding, so that two attachments of one image do not make two devices.
        let mut shared = self.shared.lock().unwrap_or_else(PoisonError::into_inner);
        shared.retain(|_, device| device.strong_count() > 0);
        if read_only && let Some(device) = shared.get(&id).and_then(Weak::upgrade) {
            return Ok(device);
        }
        let (backing, export) = match inside.format {
            Format::Fixed => (file, None),
            Format::Growing => {
                let (view, export) = Export::start(file, image, read_only, nodes)?;
                (view, Some(export))
            }
        };
        let (number, open) = bind_free_device(&backing, size, read_only, image, nodes).map_err(|error| {
            Failure::io(format!("cannot bind a loop device to {}", image.display()), error)
        })?;
        let device = Arc::new(LoopDevice {
            number,
            size,
            _open: open,
            _export: export,
        });
        if read_only {
            shared.insert(id, Arc::downgrade(&device));
        }
        Ok(device)
    }
}

fn bind_free_device(
    backing: &File,
    size: u64,
    read_only: bool,
    image: &Path,
    nodes: &Path,
) -> io::Result<(u32, File)> {
    let control = open_device(
        nodes,
        FileType::CharacterDevice,
        makedev(CONTROL.0, CONTROL.1),
        false,
    )
    .map_err(|error| io::Error::new(error.kind(), format!("the loop driver is not available: {error}")))?;
    let mut last = io::Error::from(Errno::BUSY);
    for _ in 0..TRIES {
        let number = kernel::free_loop_number(&control)?;
        let bound = open_device(
            nodes,
            FileType::BlockDevice,
            makedev(LOOP_MAJOR, number),
            !read_only,
        )
        .and_then(|device| kernel::configure_loop(&device, backing, size, read_only, image).map(|()| device));
        match bound {
            Ok(device) => return Ok((number, device)),
            // Another user of the control device was faster, or the device was removed meanwhile.
            Err(error) if matches!(Errno::from_io_error(&error), Some(Errno::BUSY | Errno::NXIO)) => {
                last = error
            }
            Err(error) => return Err(error),
        }
    }
    Err(last)
}

/// Opens a device through a node that exists for the moment only.
fn open_device(nodes: &Path, kind: FileType, dev: u64, write: bool) -> io::Result<File> {
    let node = TemporaryNode(nodes.join(format!(".{}", uuid::Uuid::new_v4())));
    mknodat(CWD, &node.0, kind, Mode::RUSR | Mode::WUSR, dev)?;
    OpenOptions::new().read(true).write(write).open(&node.0)
}

struct TemporaryNode(PathBuf);

impl Drop for TemporaryNode {
    fn drop(&mut self) {
        // A node that was never made cannot be removed; one that was is in a directory that goes with the sandbox.
        let _ = fs::remove_file(&self.0);
    }
}
