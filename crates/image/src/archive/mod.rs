//! Image archives: `load` and `save`.
//!
//! Two formats are read, from a stream, in any order of members: an *OCI layout* (`oci-layout`, `index.json`,
//! `blobs/sha256/..`) and a *docker-archive* (`manifest.json` with the paths of configurations and layers). What is
//! written is both at once, so docker, podman, skopeo and containerd read it.
//!
//! Members are data: their names are looked up, never joined to a path; every blob is verified against its name; links
//! are resolved among the members only; counts and sizes are limited before anything is read. A load holds a lease, and
//! an archive that turns out to be malformed leaves nothing but what the next collection removes.

mod assemble;
mod load;
mod save;
mod tar;

pub(crate) use load::load;
pub(crate) use save::save;
