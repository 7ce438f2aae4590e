//! Images at their limits: directories, contents, archives of real tools, and scratch disks. Needs root.

mod contents;
mod directories;
mod other_tools;
mod scratch;

use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;
use std::process::Command;

use layer::{ConvertOptions, tar_to_vhd, vhdx_size, write_empty_growing_scratch, write_empty_scratch};
use tempfile::NamedTempFile;

use crate::kit::archive::{Archive, Header, seal};
use crate::kit::mounted::{Mounted, check, mount};
use crate::kit::{self, convert, convert_with};
