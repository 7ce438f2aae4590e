//! Bringing images, and making containers from images that may have to be brought first.

use api::message::{CreateContainer, Created, PullImage, TransferItem, Transferred};
use api::{Client, Code, Containers, Context, Images, ItemStream, Status};
use futures_util::StreamExt;

use crate::credentials;
use crate::failure::Failure;
use crate::progress::Show;
use crate::render;

/// Pulls with progress on standard error.
pub(crate) async fn pull(
    client: &Client,
    reference: &str,
    platform: Option<&str>,
    quiet: bool,
) -> Result<Transferred, Failure> {
    let request = PullImage {
        reference: reference.to_owned(),
        platform: platform.map(ToOwned::to_owned),
        auth: credentials::find(reference),
    };
    transfer(client.pull(Context::new(), request).await?, quiet).await
}

/// Shows a transfer until it is done.
pub(crate) async fn transfer(
    mut items: ItemStream<TransferItem>,
    quiet: bool,
) -> Result<Transferred, Failure> {
    let mut show = Show::new(quiet);
    let mut done = None;
    let outcome = loop {
        match items.next().await {
            Some(Ok(TransferItem::Progress(progress))) => show.progress(&progress),
            Some(Ok(TransferItem::Done(transferred))) => done = Some(transferred),
            Some(Err(status)) => break Err(status),
            None => break done.ok_or_else(|| Status::internal("the transfer ended without an outcome")),
        }
    };
    show.finish();
    Ok(outcome?)
}

/// How a container's image is obtained.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Policy<'a> {
    /// `always`, `missing` or `never`.
    pub(crate) pull: &'a str,
    pub(crate) quiet: bool,
}

/// Makes a container. Warnings go to standard error.
pub(crate) async fn create(
    client: &Client,
    request: CreateContainer,
    policy: Policy<'_>,
) -> Result<Created, Failure> {
    let bring = || pull(client, &request.image, request.platform.as_deref(), policy.quiet);
    if policy.pull == "always" {
        bring().await?;
    }
    let created = match client.create(Context::new(), request.clone()).await {
        Err(status) if policy.pull == "missing" && image_is_missing(&status) => {
            if !policy.quiet {
                render::note(&format!("Unable to find image '{}' locally", request.image));
            }
            bring().await?;
            client.create(Context::new(), request.clone()).await?
        }
        outcome => outcome?,
    };
    for warning in &created.warnings {
        render::note(&format!("WARNING: {warning}"));
    }
    Ok(created)
}

fn image_is_missing(status: &Status) -> bool {
    status.code == Code::NotFound
        && status
            .resource
            .as_ref()
            .is_some_and(|resource| resource.kind == "image")
}
