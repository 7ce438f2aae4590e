//! The acceptance rules for Linux layers: what becomes of each case in the mounted image. Needs root.

mod attributes;
mod names;
mod replacing;
mod whiteouts;

use std::os::unix::fs::{FileTypeExt, MetadataExt};

use crate::kit::archive::{Archive, Header};
use crate::kit::mounted::{Mounted, mount};
use crate::kit::{convert, verdict};

fn refused(archive: Archive) -> &'static str {
    verdict(&archive.end())
}
