//! `ctr-like save`.

use std::io::IsTerminal;
use std::path::{Path, PathBuf};

use api::message::SaveImages;
use api::{Channel, Context, Control, Frame, Images, Status, StreamReceiver};
use clap::Args;
use tokio::io::{AsyncWrite, AsyncWriteExt};

use crate::connect::Session;
use crate::failure::{Failure, Outcome};

/// Write images to an archive
#[derive(Debug, Args)]
pub(crate) struct Save {
    /// Write to a file instead of standard output
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Only this platform, of several
    #[arg(long, value_name = "OS[/ARCH[/VARIANT]]")]
    platform: Option<String>,
    /// Images
    #[arg(required = true, value_name = "IMAGE")]
    images: Vec<String>,
}

impl Save {
    pub(crate) async fn run(self, session: &Session) -> Outcome {
        if self.output.is_none() && std::io::stdout().is_terminal() {
            return Err(Failure::new("cowardly refusing to save to a terminal")
                .hint("write -o FILE, or redirect the output"));
        }
        let client = session.connect().await?;
        let stream = client
            .save(
                Context::new(),
                SaveImages {
                    images: self.images,
                    platform: self.platform,
                },
            )
            .await?;
        let (_sender, receiver) = stream.split();
        match &self.output {
            None => receive(receiver, tokio::io::stdout()).await?,
            Some(path) => replace(path, receiver).await?,
        }
        Ok(0)
    }
}

/// Writes beside the file and takes its place at the end, so a failure leaves what was there.
async fn replace(path: &Path, receiver: StreamReceiver) -> Result<(), Failure> {
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
async fn receive(mut receiver: StreamReceiver, mut output: impl AsyncWrite + Unpin) -> Result<(), Failure> {
    let failed = |error: &std::io::Error| Failure::io("cannot write the archive", error);
    while let Some(frame) = receiver.recv().await {
        match frame {
            Frame::Data(_, bytes) => output.write_all(&bytes).await.map_err(|error| failed(&error))?,
            Frame::Control(Control::Error(status)) => return Err(status.into()),
            Frame::End(Channel::Stdout) => return output.flush().await.map_err(|error| failed(&error)),
            Frame::Control(_) | Frame::End(_) => {}
        }
    }
    Err(Status::unavailable("the daemon ended the transfer in the middle").into())
}
