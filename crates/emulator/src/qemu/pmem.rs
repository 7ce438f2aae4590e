//! Persistent memory devices: images that the guest maps instead of reading them.
//!
//! A device takes whole pieces of 2 MiB, as Linux does. An image whose length is none is copied for the machine and padded, which only
//! works for reading. What was added stays until the machine ends.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use hcs::{HResult, VirtualPMemDevice};
use serde_json::json;

use super::command::pmem_place;
use super::disks::refused;
use super::qmp::{Qmp, QmpError};
use crate::failure::{ALREADY_EXISTS, Failure};
use crate::image::Image;
use crate::vhd::Format;

/// What devices are made of.
const PIECE: u64 = 2 << 20;

/// The persistent memory devices of one machine.
#[derive(Default)]
pub(super) struct Pmem {
    /// The object behind each device; its image stays open, which keeps it locked.
    attached: BTreeMap<u32, (String, Image)>,
    next: u32,
}

impl Pmem {
    /// Fills a device. `directory` is for copies.
    pub(super) fn attach(
        &mut self,
        qmp: &mut Qmp,
        number: u32,
        device: &VirtualPMemDevice,
        directory: &Path,
    ) -> Result<(), Failure> {
        if self.attached.contains_key(&number) {
            return Err(Failure::new(
                ALREADY_EXISTS,
                format!("persistent memory device {number} is in use"),
            ));
        }
        let path = Path::new(&device.host_path);
        let image = Image::open(path, device.read_only)?;
        if image.inside.format == Format::Growing {
            return Err(Failure::new(
                HResult::NOT_SUPPORTED,
                format!(
                    "{} grows; persistent memory here must be a fixed VHD",
                    path.display()
                ),
            ));
        }
        self.next += 1;
        let copy = match image.inside.size.is_multiple_of(PIECE) {
            true => None,
            false if device.read_only => {
                Some(padded(&image, &directory.join(format!("pmem-{}", self.next)))?)
            }
            false => {
                return Err(Failure::invalid(format!(
                    "{} has {} bytes; what is written as persistent memory must have a multiple of {PIECE}",
                    path.display(),
                    image.inside.size
                )));
            }
        };
        let object = format!("pmem-{}", self.next);
        let source = copy.as_ref().map_or_else(
            || {
                PathBuf::from(format!(
                    "/proc/{}/fd/{}",
                    std::process::id(),
                    image.file.as_raw_fd()
                ))
            },
            |copy| copy.0.clone(),
        );
        let size = image.inside.size.next_multiple_of(PIECE);
        plug(qmp, number, &object, &source, size, device.read_only)
            .map_err(|error| refused(&format!("cannot attach {}", path.display()), error))?;
        self.attached.insert(number, (object, image));
        Ok(())
    }

    /// A filled device stays filled: QEMU cannot take this kind of memory out of a running machine.
    pub(super) fn detach(&mut self, number: u32) -> Result<(), Failure> {
        if !self.attached.contains_key(&number) {
            return Err(Failure::new(
                HResult::ELEMENT_NOT_FOUND,
                format!("persistent memory device {number} is empty"),
            ));
        }
        Err(Failure::unsupported(
            "QEMU cannot remove persistent memory from a running machine: use SCSI for what has to go, or end the machine",
        ))
    }
}

/// A file that goes with this value.
struct Copy(PathBuf);

impl Drop for Copy {
    fn drop(&mut self) {
        // QEMU has mapped it, or never will; the directory goes with the machine.
        let _ = fs::remove_file(&self.0);
    }
}

fn padded(image: &Image, path: &Path) -> Result<Copy, Failure> {
    let failed = |error| Failure::io(format!("cannot copy an image to {}", path.display()), error);
    let copy = Copy(path.to_owned());
    let mut file = File::options()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
        .map_err(failed)?;
    let mut from = io::Read::take(&image.file, image.inside.size);
    io::copy(&mut from, &mut file).map_err(failed)?;
    file.set_len(image.inside.size.next_multiple_of(PIECE))
        .map_err(failed)?;
    Ok(copy)
}

fn plug(
    qmp: &mut Qmp,
    number: u32,
    object: &str,
    source: &Path,
    size: u64,
    read_only: bool,
) -> Result<(), QmpError> {
    let memory = json!({
        "qom-type": "memory-backend-file",
        "id": object,
        "mem-path": source,
        "size": size,
        "share": true,
        "readonly": read_only,
    });
    qmp.execute("object-add", memory)?;
    let device = json!({
        "driver": "virtio-pmem-pci",
        "id": format!("device-{object}"),
        "memdev": object,
        "bus": "hot",
        "addr": pmem_place(number),
    });
    let plugged = qmp.execute("device_add", device);
    if plugged.is_err() {
        // The object has no user.
        let _ = qmp.execute("object-del", json!({ "id": object }));
    }
    plugged.map(drop)
}
