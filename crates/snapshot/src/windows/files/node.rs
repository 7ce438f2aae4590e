//! What the kinds of hosts have in common about one object of a file system.
//!
//! A `Node` is an object that was found below the one of its directory without following anything. Each kind of host has one,
//! with the same functions: `plain` for Linux, `ntfs` for Windows.

use layer::tar::Timestamp;

/// What an object is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::windows) enum NodeKind {
    File,
    Directory,
    /// A link that can be followed by hand.
    Link,
    /// Anything else.
    Other,
}

/// Where a link leads, in names, which may be `..`.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::windows) enum Target {
    /// From the directory that the link is in.
    Relative(Vec<Vec<u8>>),
    /// From the root of the container's C:.
    #[cfg_attr(
        target_os = "linux",
        expect(dead_code, reason = "an absolute link of Linux is one of the host")
    )]
    Drive(Vec<Vec<u8>>),
    /// Elsewhere.
    Outside,
}

/// What a new object gets of what an archive says.
#[derive(Debug, Clone, Copy)]
pub(in crate::windows) struct Dress<'a> {
    pub(in crate::windows) directory: bool,
    /// Nobody may write to it.
    pub(in crate::windows) read_only: bool,
    /// Attributes in the form of [`super::pack::DOS_ATTRIBUTES`].
    pub(in crate::windows) attributes: Option<&'a [u8]>,
    /// When its content was written last, if that is to be set now.
    pub(in crate::windows) modified: Option<Timestamp>,
}
