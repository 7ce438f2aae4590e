//! Control groups: the sandbox's own, the containers', their limits and statistics.
//!
//! libcontainer takes no part in it: groups are made ahead and entered by helpers ([`slots`]), limits are set by the
//! agent ([`limits`]).

pub(crate) mod freezer;
pub(crate) mod hierarchy;
pub(crate) mod limits;
pub(crate) mod slots;
pub(crate) mod stats;
pub(crate) mod tree;
