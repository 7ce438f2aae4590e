//! `ctr-like load`.

use std::io::IsTerminal;
use std::path::PathBuf;

use api::message::{LoadImages, LoadedImages};
use api::{Channel, Context, Control, Frame, Images, Status, StreamSender};
use bytes::BytesMut;
use clap::Args;
use tokio::io::{AsyncRead, AsyncReadExt};

use crate::connect::Session;
use crate::failure::{Failure, Outcome};
use crate::progress::Show;
use crate::render;

/// Take images from an archive
#[derive(Debug, Args)]
pub(crate) struct Load {
    /// Read from a file instead of standard input
    #[arg(short, long, value_name = "FILE")]
    input: Option<PathBuf>,
    /// Say nothing on the way
    #[arg(short, long)]
    quiet: bool,
    /// Only this platform, of several
    #[arg(long, value_name = "OS[/ARCH[/VARIANT]]")]
    platform: Option<String>,
}

impl Load {
    pub(crate) async fn run(self, session: &Session) -> Outcome {
        let source: Box<dyn AsyncRead + Send + Unpin> = match &self.input {
            Some(path) => {
                let file = tokio::fs::File::open(path).await;
                Box::new(
                    file.map_err(|error| Failure::io(format!("cannot open {}", path.display()), &error))?,
                )
            }
            None if std::io::stdin().is_terminal() => {
                return Err(Failure::new("requested load from stdin, but stdin is a terminal")
                    .hint("write -i FILE, or pipe an archive in"));
            }
            None => Box::new(tokio::io::stdin()),
        };
        let client = session.connect().await?;
        let stream = client
            .load(
                Context::new(),
                LoadImages {
                    platform: self.platform,
                },
            )
            .await?;
        let (sender, mut receiver) = stream.split();
        let mut show = Show::new(self.quiet);
        let mut loaded: Option<LoadedImages> = None;
        let answers = async {
            while let Some(frame) = receiver.recv().await {
                match frame {
                    Frame::Control(Control::Progress(progress)) => show.progress(&progress),
                    Frame::Control(Control::Result(result)) => loaded = serde_json::from_value(result).ok(),
                    Frame::Control(Control::Error(status)) => return Err(Failure::from(status)),
                    Frame::Data(..) | Frame::End(_) => {}
                }
            }
            Ok(())
        };
        let sending = async {
            match send(source, sender).await {
                // The answer tells how it went, also when the daemon took less than we have.
                Ok(()) => std::future::pending().await,
                Err(failure) => failure,
            }
        };
        tokio::select! {
            answered = answers => answered?,
            failure = sending => return Err(failure),
        }
        show.finish();
        let Some(loaded) = loaded else {
            return Err(Status::unavailable("the daemon ended the transfer without an outcome").into());
        };
        for name in &loaded.loaded {
            let kind = if name.starts_with("sha256:") {
                "Loaded image ID"
            } else {
                "Loaded image"
            };
            render::line(&format!("{kind}: {name}"))?;
        }
        Ok(0)
    }
}

async fn send(mut source: Box<dyn AsyncRead + Send + Unpin>, sender: StreamSender) -> Result<(), Failure> {
    let mut buffer = BytesMut::new();
    loop {
        buffer.reserve(64 * 1024);
        let read = source
            .read_buf(&mut buffer)
            .await
            .map_err(|error| Failure::io("cannot read the archive", &error))?;
        let ended = if read == 0 {
            sender.end(Channel::Stdin).await
        } else {
            sender.send(Channel::Stdin, buffer.split().freeze()).await
        };
        if read == 0 || ended.is_err() {
            return Ok(());
        }
    }
}
