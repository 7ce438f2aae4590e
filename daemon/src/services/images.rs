//! `ctr.v1.Images` over the engine.

use std::sync::Arc;
use std::task::Poll;

use api::message::*;
use api::{ByteStream, Context, ItemStream, Status};
use async_trait::async_trait;
use futures_util::stream;
use image::{Image, ProgressSink};
use serde_json::json;
use tokio::sync::mpsc;

use super::{House, documents, filters, relay};
use crate::heap::Active;
use crate::status::status;

/// Progress that waits for a slow client; more is dropped, because only the newest matters.
const PROGRESS_QUEUE: usize = 256;

#[async_trait]
impl api::Images for House {
    async fn pull(&self, _: Context, request: PullImage) -> Result<ItemStream<TransferItem>, Status> {
        let engine = self.engine.clone();
        Ok(transfer(async move |progress| {
            let before = engine
                .images()
                .resolve(&request.reference, None)
                .await
                .ok()
                .map(|image| image.target);
            let auth = request.auth.map(auth);
            let image = engine
                .pull(&request.reference, request.platform.as_deref(), auth, progress)
                .await?;
            Ok(Transferred {
                reference: image
                    .reference
                    .as_ref()
                    .map_or_else(|| request.reference.clone(), ToString::to_string),
                id: image.config_digest.to_string(),
                up_to_date: before.as_ref() == Some(&image.target),
                digest: image.target.to_string(),
            })
        }))
    }

    async fn push(&self, _: Context, request: PushImage) -> Result<ItemStream<TransferItem>, Status> {
        let engine = self.engine.clone();
        Ok(transfer(async move |progress| {
            let platform = request.platform.as_deref();
            let skip = request.skip_foreign_layers;
            let digest = engine
                .push(
                    &request.reference,
                    platform,
                    request.auth.map(auth),
                    skip,
                    progress,
                )
                .await?;
            Ok(Transferred {
                reference: request.reference,
                digest: digest.to_string(),
                ..Transferred::default()
            })
        }))
    }

    async fn list(&self, _: Context, request: ListImages) -> Result<ImageList, Status> {
        filters::check(
            &request.filters,
            &["reference", "dangling", "label", "label!", "before", "since"],
        )?;
        if request.filters.contains_key("before") || request.filters.contains_key("since") {
            return Err(
                Status::unimplemented("the filters before and since").hint("sort by the Created column")
            );
        }
        let images = self.all_images().await?;
        let images = images
            .into_iter()
            .filter(|image| matches(image, &request.filters))
            .map(|image| {
                let users = self.engine.image_users(&image.config_digest).len();
                documents::image_summary(&image, u64::try_from(users).unwrap_or(u64::MAX))
            });
        Ok(ImageList {
            images: images.collect(),
        })
    }

    async fn inspect(&self, _: Context, request: InspectImage) -> Result<ImageInspection, Status> {
        let image = self
            .engine
            .resolve_image(&request.image, request.platform.as_deref())
            .await
            .map_err(|error| status(&error))?;
        Ok(ImageInspection {
            id: image.config_digest.to_string(),
            document: documents::image(&image),
        })
    }

    async fn tag(&self, _: Context, request: TagImage) -> Result<Empty, Status> {
        let engine = self.engine.clone();
        self.complete(async move { engine.tag(&request.source, &request.target).await })
            .await?;
        Ok(Empty {})
    }

    async fn remove(&self, _: Context, request: RemoveImage) -> Result<RemovedImage, Status> {
        if request.no_prune {
            return Err(
                Status::unimplemented("--no-prune: layers without an image are not kept")
                    .hint("tag the image first"),
            );
        }
        let engine = self.engine.clone();
        let removed = self
            .complete(async move { engine.remove_image(&request.image, request.force).await })
            .await?;
        Ok(RemovedImage {
            untagged: removed.untagged,
            deleted: removed.deleted.iter().map(ToString::to_string).collect(),
        })
    }

    async fn load(&self, _: Context, request: LoadImages) -> Result<ByteStream, Status> {
        if request.platform.is_some() {
            return Err(Status::unimplemented("loading one platform of an archive")
                .hint("load all, then remove the others"));
        }
        let (ours, theirs) = ByteStream::pair();
        let engine = self.engine.clone();
        self.tracker.spawn(async move {
            let _active = Active::begin();
            let (sender, mut receiver) = ours.split();
            let (write, read) = relay::pipe();
            let progress = quiet_progress(&sender);
            let upload = async {
                // An archive cut short by a client that went away must not be taken for a whole one.
                if !relay::upload(&mut receiver, write).await {
                    tracing::debug!("client left while loading");
                    std::future::pending::<()>().await;
                }
                std::future::pending::<()>().await;
            };
            tokio::select! {
                loaded = engine.load(read, progress) => {
                    let loaded = loaded.map(|loaded| json!(LoadedImages { loaded }));
                    sender.control(relay::outcome(loaded)).await.ok();
                }
                () = upload => {}
                () = sender.closed() => {}
            }
        });
        Ok(theirs)
    }

    async fn save(&self, _: Context, request: SaveImages) -> Result<ByteStream, Status> {
        if request.images.is_empty() {
            return Err(Status::invalid("no image given to save"));
        }
        for name in &request.images {
            // A missing image is better told before the first byte.
            let found = self.engine.resolve_image(name, request.platform.as_deref()).await;
            found.map_err(|error| status(&error))?;
        }
        let (ours, theirs) = ByteStream::pair();
        let engine = self.engine.clone();
        self.tracker.spawn(async move {
            let (sender, _receiver) = ours.split();
            let (write, read) = relay::pipe();
            let saving = engine.save(&request.images, request.platform.as_deref(), write);
            let (saved, sent) = tokio::join!(saving, relay::download(read, &sender));
            let control = match (saved, sent) {
                (Err(error), _) => api::Control::Error(status(&error)),
                (Ok(()), Err(error)) => api::Control::Error(error),
                (Ok(()), Ok(())) => api::Control::Result(json!({})),
            };
            sender.end(api::Channel::Stdout).await.ok();
            sender.control(control).await.ok();
        });
        Ok(theirs)
    }

    async fn prune(&self, _: Context, request: PruneImages) -> Result<Pruned, Status> {
        filters::check(&request.filters, &["label", "label!", "dangling"])?;
        let all = request.all
            || request
                .filters
                .get("dangling")
                .is_some_and(|values| values.iter().any(|v| v == "false"));
        let mut removed = Vec::new();
        for image in self.all_images().await? {
            let labels = documents::image_summary(&image, 0).labels;
            let unnamed = image.repo_tags.is_empty();
            let wanted = (unnamed || all) && filters::labels(&request.filters, &labels);
            if !wanted || !self.engine.image_users(&image.config_digest).is_empty() {
                continue;
            }
            let names = if unnamed {
                vec![image.config_digest.to_string()]
            } else {
                image.repo_tags.clone()
            };
            for name in names {
                let engine = self.engine.clone();
                let outcome = self
                    .complete(async move { engine.remove_image(&name, false).await })
                    .await?;
                removed.extend(outcome.untagged);
                removed.extend(outcome.deleted.iter().map(ToString::to_string));
            }
        }
        let engine = self.engine.clone();
        let report = self.complete(async move { engine.collect().await }).await?;
        Ok(Pruned {
            removed,
            reclaimed: report.freed_bytes,
        })
    }
}

impl House {
    async fn all_images(&self) -> Result<Vec<Image>, Status> {
        self.engine.list_images().await.map_err(|error| status(&error))
    }
}

/// Runs a transfer; its progress and its end become items. Dropping the stream cancels it, and what arrived is kept for
/// the next try.
fn transfer<W, F>(work: W) -> ItemStream<TransferItem>
where
    W: FnOnce(ProgressSink) -> F,
    F: Future<Output = engine::Result<Transferred>> + Send + 'static,
{
    let (sender, mut receiver) = mpsc::channel(PROGRESS_QUEUE);
    let sink: ProgressSink = Arc::new(move |progress| {
        if let Some(item) = item(progress) {
            sender.try_send(item).ok();
        }
    });
    let work = work(sink);
    let mut work = Some(Box::pin(async move {
        let _active = Active::begin();
        work.await
    }));
    let mut outcome = None;
    Box::pin(stream::poll_fn(move |context| {
        if let Some(running) = &mut work
            && let Poll::Ready(done) = running.as_mut().poll(context)
        {
            // Dropped here, and the progress channel's sender with it.
            work = None;
            outcome = Some(done.map(TransferItem::Done).map_err(|error| status(&error)));
        }
        match receiver.poll_recv(context) {
            Poll::Ready(Some(progress)) => Poll::Ready(Some(Ok(TransferItem::Progress(progress)))),
            // The outcome is the last item, after all progress.
            Poll::Ready(None) | Poll::Pending if work.is_none() => Poll::Ready(outcome.take()),
            Poll::Ready(None) | Poll::Pending => Poll::Pending,
        }
    }))
}

/// Progress for the wire; what the result says again is left out.
fn item(progress: image::Progress) -> Option<Progress> {
    let text = progress.status.to_string();
    if text.starts_with("Loaded image") {
        return None;
    }
    // Zero stands for "nothing to count" on that side and for "absent" on the wire.
    let counted = |bytes: u64| (progress.total > 0).then_some(bytes);
    Some(Progress {
        status: text,
        current: counted(progress.current),
        total: counted(progress.total),
        id: progress.id,
    })
}

/// Progress on the control channel of a byte stream; what does not fit is left out.
fn quiet_progress(sender: &api::StreamSender) -> ProgressSink {
    let sender = sender.clone();
    Arc::new(move |progress| {
        if let Some(item) = item(progress) {
            let _sent: bool = sender.try_control(api::Control::Progress(item));
        }
    })
}

fn auth(auth: Auth) -> image::Auth {
    match auth.identity_token {
        Some(token) => image::Auth::IdentityToken(token),
        None => image::Auth::Basic {
            username: auth.username,
            password: auth.password,
        },
    }
}

fn matches(image: &Image, filters: &Filters) -> bool {
    let labels = image
        .config
        .config()
        .as_ref()
        .and_then(|config| config.labels().clone())
        .unwrap_or_default();
    filters::any(filters, "dangling", |value| {
        (value == "true") == image.repo_tags.is_empty()
    }) && filters::any(filters, "reference", |value| {
        image.repo_tags.iter().any(|tag| reference_matches(value, tag))
    }) && filters::labels(filters, &labels.into_iter().collect())
}

/// `name`, `name:tag` or either with `*` for any characters.
fn reference_matches(pattern: &str, tag: &str) -> bool {
    let name = tag.rsplit_once(':').map_or(tag, |(name, _)| name);
    glob(pattern.as_bytes(), tag.as_bytes()) || glob(pattern.as_bytes(), name.as_bytes())
}

fn glob(pattern: &[u8], text: &[u8]) -> bool {
    match (pattern, text) {
        ([], []) => true,
        ([b'*', rest @ ..], _) => (0..=text.len()).any(|skip| glob(rest, &text[skip..])),
        ([p, pattern @ ..], [t, text @ ..]) => p == t && glob(pattern, text),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_match_with_and_without_their_tag() {
        for pattern in ["busybox", "busybox:1", "busy*", "*:1"] {
            assert!(reference_matches(pattern, "busybox:1"), "{pattern}");
        }
        assert!(!reference_matches("busybox:2", "busybox:1"));
    }
}
