//! Control groups: the sandbox's own, the containers', their limits and statistics.
//!
//! Limits of a new container are set by libcontainer; here is what happens before, later and after: the hierarchies
//! themselves, the sandbox's groups, changes to limits, statistics, and removal.

pub(crate) mod hierarchy;
pub(crate) mod limits;
pub(crate) mod stats;
pub(crate) mod tree;
