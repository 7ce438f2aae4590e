//! Disks of a virtual machine: SCSI attachments and persistent memory. Also settings of hot-adding them.

use std::collections::BTreeMap;

use crate::document::{choice, document};

document! {
    /// A SCSI controller.
    strict Scsi = "hcs_v2.Scsi" {
        /// Disks by LUN, 0..63.
        attachments: BTreeMap<u32, Attachment> = "Attachments",
    }
}

choice! {
    /// What a SCSI attachment is.
    strict AttachmentType = "-published" {
        /// A VHD or VHDX file.
        VirtualDisk = "VirtualDisk",
        /// An ISO image.
        Iso = "Iso",
        /// A physical disk of the host, offline there.
        PassThru = "PassThru",
        /// A disk served by a provider of the host.
        ExtensibleVirtualDisk = "ExtensibleVirtualDisk",
    }
}

choice! {
    /// How the host caches a disk.
    strict CachingMode = "-published" {
        /// Not at all.
        Uncached = "Uncached",
        /// Reads and writes.
        Cached = "Cached",
        /// Reads.
        ReadOnlyCached = "ReadOnlyCached",
    }
}

document! {
    /// One disk on a SCSI controller; also the settings of adding and updating one.
    strict Attachment = "hcs_v2.Attachment" {
        /// What it is.
        attachment_type: Option<AttachmentType> = "Type",
        /// The file or device on the host.
        path: String = "Path",
        /// Whether flushes of the guest are ignored.
        ignore_flushes: bool = "IgnoreFlushes",
        /// How the host caches it.
        caching_mode: Option<CachingMode> = "CachingMode",
        /// Whether writes may stay in the disk's own cache.
        no_write_hardening: bool = "NoWriteHardening",
        /// Whether a growing file is not grown ahead.
        disable_expansion_optimization: bool = "DisableExpansionOptimization",
        /// Whether the relative path to a parent disk is ignored.
        ignore_relative_locator: bool = "IgnoreRelativeLocator",
        /// Whether the host accounts reads and writes to the guest's context.
        capture_io_attribution_context: bool = "CaptureIoAttributionContext",
        /// No writes.
        read_only: bool = "ReadOnly",
        /// Whether the file may lie on a compressed volume.
        support_compressed_volumes: bool = "SupportCompressedVolumes",
        /// Whether the file may be sparse.
        always_allow_sparse_files: bool = "AlwaysAllowSparseFiles",
        /// The provider of an extensible disk.
        extensible_virtual_disk_type: String = "ExtensibleVirtualDiskType",
    }
}

choice! {
    /// The format of a persistent memory image.
    strict ImageFormat = "-published" {
        /// A fixed VHD: raw data and a footer.
        Vhd1 = "Vhd1",
        /// A VHDX file.
        Vhdx = "Vhdx",
    }
}

document! {
    /// Persistent memory.
    strict VirtualPMemController = "hcs_v2.VirtualPMemController" {
        /// Devices at start, by number.
        devices: BTreeMap<u32, VirtualPMemDevice> = "Devices",
        /// How many devices there can be; the others are empty. At most 128.
        maximum_count: u32 = "MaximumCount",
        /// The largest image.
        maximum_size_bytes: u64 = "MaximumSizeBytes",
        /// What backs empty devices.
        backing: String = "Backing",
    }
}

document! {
    /// One persistent memory device; also the settings of adding one.
    strict VirtualPMemDevice = "hcs_v2.VirtualPMemDevice" {
        /// The image on the host.
        host_path: String = "HostPath",
        /// No writes.
        read_only: bool = "ReadOnly",
        /// The format of the image.
        image_format: Option<ImageFormat> = "ImageFormat",
    }
}

document! {
    /// One of several images in one persistent memory device; the settings of adding one.
    strict VirtualPMemMapping = "hcs_v2.VirtualPMemMapping" {
        /// The image on the host.
        host_path: String = "HostPath",
        /// The format of the image.
        image_format: Option<ImageFormat> = "ImageFormat",
    }
}

/// The SCSI controllers of a virtual machine.
pub mod scsi {
    /// The controllers' names: version 5 GUIDs of `"0"` to `"3"`, so that host and guest agree on the number.
    pub const CONTROLLERS: [&str; 4] = [
        "df6d0690-79e5-55b6-a5ec-c1e2f77f580a",
        "0110f83b-de10-5172-a266-78bca56bf50a",
        "b5d2d8d4-3a75-51bf-945b-3444dc6b8579",
        "305891a9-b251-5dfe-91a2-c25d9212275b",
    ];

    /// Disks per controller.
    pub const LUNS: u32 = 64;

    /// The number of a controller, from its GUID (any case) or its plain number.
    pub fn controller_number(name: &str) -> Option<u32> {
        let position = CONTROLLERS
            .iter()
            .position(|guid| guid.eq_ignore_ascii_case(name))
            .or_else(|| (0..CONTROLLERS.len()).find(|number| number.to_string() == name))?;
        u32::try_from(position).ok()
    }

    #[cfg(test)]
    mod tests {
        #[test]
        fn controllers_are_found_by_guid_and_by_number() {
            assert_eq!(
                super::controller_number("B5D2D8D4-3a75-51bf-945b-3444dc6b8579"),
                Some(2)
            );
            assert_eq!(super::controller_number("3"), Some(3));
            assert_eq!(super::controller_number("4"), None);
            assert_eq!(super::controller_number("00"), None);
        }
    }
}
