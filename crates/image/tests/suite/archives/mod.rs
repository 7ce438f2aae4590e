//! `save` and `load`: through pipes, with other tools, and against archives made to hurt.

mod hostile;
#[cfg(target_os = "linux")]
mod other_tools;
mod round_trip;

use image::{ImageError, Loaded, PullOptions, silent};
use serde_json::json;
use store::Digest;

use crate::kit::*;

/// A world with one pulled image, under the short name `mine:1`.
pub(crate) async fn world_with(image: &TestImage) -> World {
    let server = Server::start(Content::default().image("t", image), |_, _| None).await;
    let world = World::new().await;
    let from = server.reference("x:t");
    let options = PullOptions {
        platform_explicit: false,
        ..World::options()
    };
    world.images.pull(&from, options, None, silent()).await.unwrap();
    world
        .images
        .tag(&from.to_string(), &"mine:1".parse().unwrap())
        .await
        .unwrap();
    world.images.remove(&from.to_string(), false).await.unwrap();
    world
}

pub(crate) async fn save(world: &World, names: &[&str]) -> Vec<u8> {
    let names: Vec<String> = names.iter().map(|n| (*n).to_owned()).collect();
    let mut bytes = Vec::new();
    world.images.save(&names, None, &mut bytes).await.unwrap();
    bytes
}

pub(crate) async fn load(world: &World, bytes: Vec<u8>) -> image::Result<Vec<Loaded>> {
    world
        .images
        .load(std::io::Cursor::new(bytes), world.progress())
        .await
}

async fn refused(bytes: Vec<u8>) -> ImageError {
    let world = World::new().await;
    let error = load(&world, bytes).await.unwrap_err();
    world.assert_nothing_behind().await;
    error
}

/// Builds archives member by member.
#[derive(Default)]
struct Archive(Vec<u8>);

impl Archive {
    fn file(mut self, name: &str, body: impl AsRef<[u8]>) -> Self {
        let mut builder = tar::Builder::new(&mut self.0);
        let mut header = tar::Header::new_gnu();
        header.set_size(body.as_ref().len() as u64);
        header.set_mode(0o644);
        // The crate refuses some of the names that are wanted here.
        let field = &mut header.as_gnu_mut().unwrap().name;
        field[..name.len()].copy_from_slice(name.as_bytes());
        header.set_cksum();
        builder.append(&header, body.as_ref()).unwrap();
        builder.into_inner().unwrap();
        let end = self.0.len() - 1024;
        self.0.truncate(end);
        self
    }

    fn link(mut self, name: &str, target: &str) -> Self {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(tar::EntryType::Symlink);
        header.set_size(0);
        header.set_path(name).unwrap();
        header.as_gnu_mut().unwrap().linkname[..target.len()].copy_from_slice(target.as_bytes());
        header.set_cksum();
        self.0.extend_from_slice(header.as_bytes());
        self
    }

    fn json(self, name: &str, value: &serde_json::Value) -> Self {
        self.file(name, serde_json::to_vec(value).unwrap())
    }

    fn end(mut self) -> Vec<u8> {
        self.0.extend([0; 1024]);
        self.0
    }

    fn blob(self, bytes: &[u8]) -> Self {
        let name = format!("blobs/sha256/{}", Digest::of(bytes).hex());
        self.file(&name, bytes)
    }

    fn layout(self, image: &TestImage, annotations: &serde_json::Value) -> Self {
        let index = json!({"schemaVersion": 2, "manifests": [{"mediaType": OCI_MANIFEST, "digest": image.digest(),
            "size": image.manifest.len(), "annotations": annotations}]});
        self.json("oci-layout", &json!({"imageLayoutVersion": "1.0.0"}))
            .json("index.json", &index)
    }
}
