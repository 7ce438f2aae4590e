//! Images: OCI documents, names, platforms, the registry client, pull, push, load and save.
//!
//! The engine calls [`Images`]; it stores everything in [`store`] and knows nothing of layers beyond the [`LayerUnpacker`]
//! that the engine hands in.
//!
//! An image is a chain of blobs: optionally an index, a manifest, a configuration, layers. The store's reference
//! (canonical name) points to the index or manifest; labels on these blobs keep the rest alive (`ctr.ref.content.*`,
//! `ctr.ref.layer.*`), and an index is labelled only for children that are complete here. Images of all platforms live
//! side by side. An image without a name is kept by a reference that starts with `<none>@`.
//!
//! Bytes from outside become objects only after size and digest are proved; a pull holds a lease from first to last and
//! writes its name in one transaction at the end. Public functions are cancel-safe: a dropped pull leaves partial blobs
//! that the next one resumes, and nothing else.
//!
//! Not here: converting layers (`layer`, `snapshot`), whether an image is in use (`engine`), reading the environment.

#![forbid(unsafe_code)]

mod archive;
mod catalog;
mod chunks;
mod commit;
mod content;
mod document;
mod error;
mod image;
mod images;
mod naming;
pub mod platform;
mod progress;
mod pull;
mod push;
mod reference;
pub mod registry;
mod transfer;
mod unpack;

pub use commit::{CommitSpec, LayerDraft};
pub use error::{BoxError, ImageError, Result};
pub use image::{Image, Layer};
pub use images::{Images, Loaded, PullOptions, PushOptions, Removed};
pub use oci_spec::image::ImageConfiguration;
pub use platform::Platform;
pub use platform::host::{Edition, Host, Isolation, Refusal};
pub use progress::{Progress, ProgressSink, Status, silent};
pub use reference::Reference;
pub use registry::{Auth, RegistryConfig};
pub use unpack::{LayerSink, LayerUnpacker};
