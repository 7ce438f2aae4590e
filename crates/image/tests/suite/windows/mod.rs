//! Windows images: which one a host takes, what it refuses before it fetches, and layers that registries do not distribute.

mod foreign;
mod hosts;
