//! The log of both programs: lines of text, on standard error or in a file.

use anyhow::{Context, Result};
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

/// Begins to log to `writer` what `filter` lets through: a level, or a list such as `warn,engine=debug`.
///
/// # Errors
/// The filter is not understood.
pub(crate) fn start<W>(filter: &str, writer: W) -> Result<()>
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let targets: Targets = filter.parse().with_context(|| {
        format!("cannot understand the log filter {filter:?}: use a level (error, warn, info, debug, trace) or a list such as warn,engine=debug")
    })?;
    let lines = tracing_subscriber::fmt::layer()
        .with_writer(writer)
        .with_ansi(false);
    tracing_subscriber::registry().with(targets).with(lines).init();
    Ok(())
}
