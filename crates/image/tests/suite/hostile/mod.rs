//! A registry that lies, cuts, stalls, loops and begs for credentials. Whatever it does: a typed error or a right image,
//! nothing left behind, and no secret in a place where it does not belong.

mod blobs;
mod credentials;
mod manifests;
mod redirects;
mod servers;
mod uploads;

use std::sync::Arc;

use image::{Auth, ImageError, PullOptions, RegistryConfig};
use store::Digest;

use crate::kit::*;

/// Starts a registry with one image of one layer, whose blob answers are scripted.
async fn with_blob(
    image: &TestImage,
    blob: impl Fn(&Seen, usize, &[u8]) -> Option<Answer> + Send + Sync + 'static,
) -> Server {
    let (digest, bytes) = (image.layer(0).to_string(), image.layers[0].clone());
    Server::start(Content::default().image("t", image), move |seen, nth| {
        if seen.path().ends_with(&digest) {
            blob(seen, nth, &bytes)
        } else {
            None
        }
    })
    .await
}

async fn pull_manifest(media_type: &str, bytes: impl Into<Vec<u8>>) -> (World, ImageError) {
    let server = Server::start(
        Content::default().manifest("t", media_type, bytes.into()),
        |_, _| None,
    )
    .await;
    let world = World::new().await;
    let error = world.pull(&server.reference("x:t")).await.unwrap_err();
    world.assert_nothing_behind().await;
    (world, error)
}

fn challenge(realm: &str) -> Answer {
    Answer::new(
        401,
        r#"{"errors":[{"code":"UNAUTHORIZED","message":"authentication required"}]}"#,
    )
    .header(
        "WWW-Authenticate",
        format!(r#"Bearer realm="{realm}",service="test""#),
    )
}

fn basic_challenge() -> Answer {
    Answer::new(401, "").header("WWW-Authenticate", r#"Basic realm="x""#)
}

fn basic_auth() -> Auth {
    Auth::Basic {
        username: "user".into(),
        password: "canary-password".into(),
    }
}

async fn pull_with_auth(world: &World, server: &Server, auth: Option<Auth>) -> image::Result<image::Image> {
    let options = PullOptions {
        auth,
        ..World::options()
    };
    world
        .images
        .pull(
            &server.reference("x:t"),
            options,
            world.unpacker(),
            world.progress(),
        )
        .await
}
