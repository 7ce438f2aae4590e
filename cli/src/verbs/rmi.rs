//! `ctr-like rmi`.

use api::message::RemoveImage;
use api::{Code, Context, Images, Status};
use clap::Args;

use crate::connect::Session;
use crate::failure::{self, Outcome};
use crate::render;

/// Remove images
#[derive(Debug, Args)]
pub(crate) struct Rmi {
    /// Also with several names, or when a stopped container uses it
    #[arg(short, long)]
    force: bool,
    /// Keep what nothing else refers to
    #[arg(long)]
    no_prune: bool,
    /// Remove one platform only
    #[arg(long, value_name = "OS[/ARCH[/VARIANT]]")]
    platform: Option<String>,
    /// Images
    #[arg(required = true, value_name = "IMAGE")]
    images: Vec<String>,
}

impl Rmi {
    pub(crate) async fn run(self, session: &Session) -> Outcome {
        if self.platform.is_some() {
            let status = Status::unimplemented("one platform of an image cannot be removed by itself");
            return Err(status.hint("leave out --platform to remove the image").into());
        }
        let client = session.connect().await?;
        let mut code = 0;
        for image in self.images {
            let request = RemoveImage {
                image,
                force: self.force,
                no_prune: self.no_prune,
            };
            match Images::remove(&client, Context::new(), request).await {
                Ok(removed) => {
                    for name in &removed.untagged {
                        render::line(&format!("Untagged: {name}"))?;
                    }
                    for digest in &removed.deleted {
                        render::line(&format!("Deleted: {digest}"))?;
                    }
                }
                Err(status) if status.code == Code::Unavailable => return Err(status.into()),
                Err(status) => code = failure::report(Err(status.into())),
            }
        }
        Ok(code)
    }
}
