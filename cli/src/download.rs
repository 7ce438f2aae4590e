//! Archives that come from the daemon: to standard output, or into a file that is replaced only by a whole one.

use std::io::IsTerminal;
use std::path::Path;

use api::{Channel, Control, Frame, Status, StreamReceiver};
use tokio::io::{AsyncWrite, AsyncWriteExt};

use crate::failure::Failure;

/// Refuses to write an archive where a person reads.
pub(crate) fn refuse_terminal(verb: &str) -> Result<(), Failure> {
    if std::io::stdout().is_terminal() {
        return Err(Failure::new(format!("cowardly refusing to {verb} to a terminal"))
            .hint("write -o FILE, or redirect the output"));
    }
    Ok(())
}

/// Writes beside the file and takes its place at the end, so a failure leaves what was there.
pub(crate) async fn replace(path: &Path, receiver: StreamReceiver) -> Result<(), Failure> {
    let failed = |error: &std::io::Error| Failure::io(format!("cannot write {}", path.display()), error);
    if path.exists() && !path.is_file() {
        // A device or a named pipe cannot be replaced.
        let file = tokio::fs::File::options()
            .write(true)
            .open(path)
            .await
            .map_err(|error| failed(&error))?;
        return receive(receiver, file).await;
    }
    let mut name = std::ffi::OsString::from(".");
    name.push(
        path.file_name()
            .ok_or_else(|| Failure::new(format!("{} is not a file name", path.display())))?,
    );
    name.push(format!(".{}", std::process::id()));
    let fresh = path.with_file_name(name);
    let file = tokio::fs::File::options()
        .write(true)
        .create_new(true)
        .open(&fresh)
        .await
        .map_err(|error| failed(&error))?;
    let outcome = match receive(receiver, file).await {
        Ok(()) => tokio::fs::rename(&fresh, path)
            .await
            .map_err(|error| failed(&error)),
        Err(failure) => Err(failure),
    };
    if outcome.is_err() {
        let _ = tokio::fs::remove_file(&fresh).await;
    }
    outcome
}

/// Takes the archive; it is whole when its channel ended.
pub(crate) async fn receive(
    mut receiver: StreamReceiver,
    mut output: impl AsyncWrite + Unpin,
) -> Result<(), Failure> {
    let failed = |error: &std::io::Error| Failure::io("cannot write the archive", error);
    while let Some(frame) = receiver.recv().await {
        match frame {
            Frame::Data(_, bytes) => output.write_all(&bytes).await.map_err(|error| failed(&error))?,
            Frame::Control(Control::Error(status)) => return Err(status.into()),
            Frame::End(Channel::Stdout) => return output.flush().await.map_err(|error| failed(&error)),
            Frame::Control(_) | Frame::End(_) => {}
        }
    }
    Err(cut())
}

/// The daemon went away before the end of an archive.
pub(crate) fn cut() -> Failure {
    Status::unavailable("the daemon ended the transfer in the middle").into()
}
