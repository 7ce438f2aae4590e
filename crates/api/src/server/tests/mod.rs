//! The server against clients of all manners, over in-memory connections.

mod calls;
mod connections;
mod house;
mod lines;
mod streams;

use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use self::house::{House, Raw, house};
use super::*;
