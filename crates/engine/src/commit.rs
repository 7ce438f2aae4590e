//! `commit`: an image of what a container has become.
//!
//! The layer comes out of the guest as a tar ([`crate::reach`]) and goes straight into the store ([`image::LayerDraft`]); the
//! configuration is the image's with what the container was created with over it, and over that the instructions of
//! `--change`.
//!
//! The processes of a Linux container stand still while its layer is read, unless that is not wanted. Where the guest cannot do that, and
//! for Windows containers, who asks for it is refused, and who does not ask is told that files may have been caught half-written.

mod change;

use serde_json::{Map, Value, json};
use store::Digest;
use task::{FileWork, FilesSpec, Place};

use crate::clock;
use crate::convert;
use crate::engine::Engine;
use crate::error::{Error, Kind, Result};
use crate::images::parse_reference;
use crate::reach::Reach;
use crate::record::{ContainerRecord, Status};

/// Bytes between the guest and the store.
const BUFFER: usize = 256 << 10;

/// What to make of a container.
#[derive(Clone, Debug, Default)]
pub struct CommitOptions {
    /// The image's name.
    pub reference: Option<String>,
    /// Who made it.
    pub author: String,
    /// Why.
    pub comment: String,
    /// Instructions of a Dockerfile.
    pub changes: Vec<String>,
    /// Have its processes stand still meanwhile; absent: where that is possible.
    pub pause: Option<bool>,
}

/// What was made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Committed {
    /// The image's id.
    pub id: Digest,
    /// What the user should know.
    pub warnings: Vec<String>,
}

impl Engine {
    /// Makes an image of a container.
    ///
    /// # Errors
    /// The container does not exist, an instruction or the name is wrong, or its image is not complete here any more.
    pub async fn commit(&self, name: &str, options: CommitOptions) -> Result<Committed> {
        let container = self.find(name)?;
        let record = container.snapshot();
        let reference = options.reference.as_deref().filter(|text| !text.is_empty());
        let reference = reference.map(parse_reference).transpose()?;
        if reference.as_ref().is_some_and(|name| name.digest().is_some()) {
            return Err(Error::invalid("refusing to create a tag with a digest reference"));
        }
        let running = matches!(record.state.status, Status::Running);
        if running && record.is_windows() && options.pause == Some(true) {
            return Err(Error::unimplemented(
                format!(
                    "Windows container {} cannot be paused while it is committed",
                    record.name
                ),
                "stop it first, or use --pause=false",
            )
            .about("container", &record.name));
        }
        let base = self.raw_config(&record).await?;
        let mut config = merged(base["config"].as_object().cloned().unwrap_or_default(), &record);
        let created_by = words(&config, "Cmd").join(" ");
        change::apply(&mut config, &options.changes)?;

        let mut reach = self.reach(&container, None).await?;
        let mut freeze = running && !record.is_windows() && options.pause != Some(false);
        let (begun, mut draft) = self.draft(&mut reach, freeze).await;
        if let (true, false, None, Err(error)) = (freeze, begun, options.pause, &draft) {
            tracing::info!(%error, container = record.id, "committed while it goes on");
            freeze = false;
            (_, draft) = self.draft(&mut reach, freeze).await;
        }
        let id = match draft {
            Ok(draft) => self
                .0
                .images
                .commit(
                    draft,
                    image::CommitSpec {
                        base: record.manifest.clone(),
                        config,
                        author: options.author,
                        comment: options.comment,
                        created_by,
                        created: clock::rfc3339(Some(clock::now_ns())),
                        name: reference,
                    },
                )
                .await
                .map_err(convert::image),
            Err(error) => Err(error),
        };
        let mut warnings = std::mem::take(&mut reach.warnings);
        // Until here: a container that does not run keeps its image, and is kept.
        reach.close().await;
        let id = id?;
        let mut attributes = record.event_attributes();
        attributes.insert("imageID".to_owned(), id.to_string());
        attributes.insert("imageRef".to_owned(), options.reference.unwrap_or_default());
        self.0
            .events
            .publish("container", "commit", &record.id, attributes);
        let caught = || {
            format!(
                "container {} ran while it was committed: files that it wrote at that moment may be incomplete",
                record.name
            )
        };
        warnings.extend((running && !freeze).then(caught));
        Ok(Committed { id, warnings })
    }

    /// Puts the layer of a container into the store; also whether the guest began with it.
    async fn draft(&self, reach: &mut Reach, freeze: bool) -> (bool, Result<image::LayerDraft>) {
        let spec = FilesSpec {
            place: Place::Root,
            work: FileWork::Layer { freeze },
        };
        let (write, read) = tokio::io::duplex(BUFFER);
        let drafting = self.0.images.draft_layer(read);
        let mut begun = false;
        let (ran, draft) = tokio::join!(reach.run(spec, || begun = true, None, write), drafting);
        let draft = match (ran, draft) {
            (Ok(()), draft) => draft.map_err(convert::image),
            (Err(error), Ok(draft)) => {
                if let Err(error) = self.0.images.discard_draft(draft).await {
                    tracing::warn!(%error, "layer of a failed commit not discarded");
                }
                Err(error)
            }
            (Err(error), Err(_)) => Err(error),
        };
        (begun, draft)
    }

    /// The configuration of a container's image. The container keeps it, also when nothing else does.
    async fn raw_config(&self, record: &ContainerRecord) -> Result<Value> {
        /// The largest configuration that is read.
        const LIMIT: u64 = 8 << 20;
        let bytes = self
            .0
            .store
            .read_blob(&record.image_id, LIMIT)
            .await
            .map_err(convert::store)?;
        serde_json::from_slice(&bytes).map_err(|error| {
            Error::new(
                Kind::DataLoss,
                format!("the configuration of image {} cannot be read", record.image),
            )
            .because(error)
        })
    }
}

/// The image's configuration with what the container was created with.
fn merged(mut config: Map<String, Value>, record: &ContainerRecord) -> Map<String, Value> {
    let options = &record.options;
    let mut set = |key: &str, value: Value| drop(config.insert(key.to_owned(), value));
    if let Some(entrypoint) = &options.entrypoint {
        set("Entrypoint", json!(entrypoint));
        // Arguments of the image are those of its own entry point.
        set("Cmd", json!(options.command));
    } else if !options.command.is_empty() {
        set("Cmd", json!(options.command));
    }
    for (key, value) in [
        ("User", &options.user),
        ("WorkingDir", &options.working_dir),
        ("StopSignal", &options.stop_signal),
    ] {
        if let Some(value) = value {
            set(key, json!(value));
        }
    }
    // The record has those of the image among them.
    if !options.labels.is_empty() {
        set("Labels", json!(options.labels));
    }
    let env = crate::spec::merge_env(&words(&config, "Env"), &options.env);
    if !env.is_empty() {
        config.insert("Env".to_owned(), json!(env));
    }
    config
}

/// A list of words of the configuration.
fn words(config: &Map<String, Value>, key: &str) -> Vec<String> {
    let list = config.get(key).and_then(Value::as_array);
    let words = list.into_iter().flatten().filter_map(Value::as_str);
    words.map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::running;

    #[test]
    fn the_image_is_what_the_container_was_created_as() {
        let mut record = running("s");
        record.options.command = vec!["sh".to_owned(), "-c".to_owned(), "true".to_owned()];
        record.options.env = vec!["A=2".to_owned(), "B=3".to_owned()];
        record.options.user = Some("nobody".to_owned());
        let base = json!({
            "Entrypoint": ["/init"], "Cmd": ["old"], "Env": ["PATH=/bin", "A=1"], "Healthcheck": {"Test": ["NONE"]}
        });
        let base = base.as_object().unwrap().clone();
        let config = merged(base.clone(), &record);
        assert_eq!(config["Entrypoint"], json!(["/init"]));
        assert_eq!(config["Cmd"], json!(["sh", "-c", "true"]));
        assert_eq!(config["Env"], json!(["PATH=/bin", "A=2", "B=3"]));
        assert_eq!(config["User"], "nobody");
        // What we do not know is kept.
        assert_eq!(config["Healthcheck"], base["Healthcheck"]);
        record.options.entrypoint = Some(vec!["/other".to_owned()]);
        record.options.command = Vec::new();
        let config = merged(base, &record);
        assert_eq!(
            (&config["Entrypoint"], &config["Cmd"]),
            (&json!(["/other"]), &json!([]))
        );
    }
}
