//! Names: which image is meant, and what there is.
//!
//! A name is a reference of the store whose key is the canonical text. Several names may point to one target; an image
//! that lost its last name to another one (a new pull of a tag) is kept by a `<none>@` reference until it is
//! removed or pruned. Ids are digests of configurations, manifests and targets, and may be cut.
//!
//! Changing names is in `naming`.

use std::collections::{BTreeMap, BTreeSet};

use store::{Digest, Reference as Row};

use crate::{
    content::{child_labels, is_dangling, layers},
    document::{Config, Document, Manifest},
    error::{ImageError, Result},
    image::Image,
    images::Inner,
    platform::{Matcher, Platform},
    reference::Reference,
};

/// The references of the store that are image names, by target.
struct Names {
    by_target: BTreeMap<Digest, Vec<(Option<Reference>, Row)>>,
}

impl Names {
    fn new(rows: Vec<Row>) -> Self {
        let mut by_target: BTreeMap<_, Vec<_>> = BTreeMap::new();
        for row in rows {
            // Other references of the store, which are no canonical names, are not ours.
            let name = row
                .name
                .parse::<Reference>()
                .ok()
                .filter(|name| name.to_string() == row.name);
            if name.is_some() || is_dangling(&row.name) {
                by_target.entry(row.target.clone()).or_default().push((name, row));
            }
        }
        Self { by_target }
    }

    fn of(&self, target: &Digest) -> impl Iterator<Item = &Reference> {
        self.by_target
            .get(target)
            .into_iter()
            .flatten()
            .filter_map(|(name, _)| name.as_ref())
    }
}

/// What a text was found to mean.
pub(crate) struct Found {
    pub(crate) target: Digest,
    pub(crate) reference: Option<Reference>,
    /// The text was an id of this manifest, not a name or the id of an index.
    pub(crate) manifest: Option<Digest>,
}

impl Inner {
    async fn names(&self) -> Result<Names> {
        Ok(Names::new(self.content.store.references().await?))
    }

    pub(crate) async fn resolve(&self, text: &str, platform: Option<&Platform>) -> Result<Image> {
        let found = self.find(text).await?;
        let manifest = match found.manifest {
            Some(manifest) => {
                let image = self.image(&found.target, &manifest, None).await?;
                if let Some(wanted) = platform
                    && Matcher::new(wanted).rank(&image.platform).is_none()
                {
                    return Err(ImageError::PlatformMismatch {
                        reference: text.to_owned(),
                        wanted: Box::new(wanted.clone()),
                        available: vec![image.platform],
                    });
                }
                return Ok(image);
            }
            None => self.choose(text, &found.target, platform).await?,
        };
        self.image(&found.target, &manifest, found.reference).await
    }

    /// The manifests that are complete behind a target.
    pub(crate) async fn manifests(&self, target: &Digest) -> Result<Vec<Digest>> {
        let mut complete = Vec::new();
        let mut pending = vec![target.clone()];
        let mut seen = BTreeSet::new();
        while let Some(digest) = pending.pop() {
            if !seen.insert(digest.clone()) {
                continue;
            }
            match &*self.content.document(&digest).await? {
                Document::Manifest(_) => complete.push(digest),
                Document::Index(index) => {
                    let present = self.content.present_children(&digest).await?;
                    let children = index
                        .entries
                        .iter()
                        .rev()
                        .filter(|e| e.is_image)
                        .map(|e| &e.blob.digest);
                    pending.extend(children.filter(|c| present.contains(c)).cloned());
                }
            }
        }
        Ok(complete)
    }

    /// The manifest of a target for a platform; without one, the best for this machine, else any.
    async fn choose(&self, text: &str, target: &Digest, platform: Option<&Platform>) -> Result<Digest> {
        let mut available = Vec::new();
        for digest in self.manifests(target).await? {
            let (_, config) = self.parts(&digest).await?;
            available.push((digest, config.platform.clone()));
        }
        let plain = match platform {
            Some(platform) => Matcher::new(platform),
            None => Matcher::any_os(&Platform::host_default()),
        };
        let of_host = self.host.get().map(|host| match platform {
            Some(platform) => Matcher::new(&host.specific(platform)),
            None => host.matcher(&Platform::host_default()),
        });
        // What is here can be looked at, saved and pushed also where it does not run.
        for matcher in of_host.iter().chain([&plain]) {
            let ranked = available
                .iter()
                .filter_map(|(d, p)| matcher.rank(p).map(|rank| (rank, d)));
            if let Some((_, best)) = ranked.min_by_key(|(rank, _)| *rank) {
                return Ok(best.clone());
            }
        }
        match (platform, available.first()) {
            (Some(wanted), Some(_)) => Err(ImageError::PlatformMismatch {
                reference: text.to_owned(),
                wanted: Box::new(wanted.clone()),
                available: available.into_iter().map(|(_, p)| p).collect(),
            }),
            (None, Some((digest, _))) => Ok(digest.clone()),
            (_, None) => Err(ImageError::NotFound {
                name: text.to_owned(),
            }),
        }
    }

    async fn parts(&self, manifest: &Digest) -> Result<(Manifest, std::sync::Arc<Config>)> {
        match &*self.content.document(manifest).await? {
            Document::Manifest(parsed) => {
                let config = self.content.config(parsed).await?;
                Ok((parsed.clone(), config))
            }
            Document::Index(_) => Err(ImageError::invalid(
                format!("manifest {manifest}"),
                "it is an index",
            )),
        }
    }

    /// Everything about one manifest.
    pub(crate) async fn image(
        &self,
        target: &Digest,
        manifest: &Digest,
        reference: Option<Reference>,
    ) -> Result<Image> {
        let names = self.names().await?;
        self.image_with(&names, target, manifest, reference).await
    }

    async fn image_with(
        &self,
        names: &Names,
        target: &Digest,
        manifest_digest: &Digest,
        reference: Option<Reference>,
    ) -> Result<Image> {
        let (manifest, config) = self.parts(manifest_digest).await?;
        let layers = layers(&manifest, &config.diff_ids);
        let size_of = async |digest: &Digest| -> Result<u64> {
            Ok(self.content.store.blob(digest).await?.map_or(0, |b| b.size))
        };
        let manifest_size = size_of(manifest_digest).await?;
        let (target_media_type, target_size) = if target == manifest_digest {
            (manifest.media_type.clone(), manifest_size)
        } else {
            (
                self.content.document(target).await?.media_type().to_owned(),
                size_of(target).await?,
            )
        };
        let repo_tags = names
            .of(target)
            .filter(|n| n.digest().is_none())
            .map(Reference::familiar)
            .collect();
        let repo_digests: BTreeSet<_> = names
            .of(target)
            .map(|n| format!("{}@{target}", n.familiar_name()))
            .collect();
        let rows = names.by_target.get(target);
        let unique: BTreeMap<&Digest, u64> = layers.iter().map(|l| (&l.digest, l.size)).collect();
        let size = manifest_size + manifest.config.size + unique.values().sum::<u64>();
        Ok(Image {
            reference,
            target: target.clone(),
            target_media_type,
            target_size,
            manifest: manifest_digest.clone(),
            config_digest: manifest.config.digest.clone(),
            config: config.parsed.clone(),
            raw_config: config.raw.clone().into(),
            platform: config.platform.clone(),
            size,
            created: config.parsed.created().clone(),
            tagged_unix_ms: rows
                .into_iter()
                .flatten()
                .map(|(_, r)| r.updated_unix_ms)
                .max()
                .unwrap_or_default(),
            repo_tags,
            repo_digests: repo_digests.into_iter().collect(),
            layers,
        })
    }

    pub(crate) async fn list(&self) -> Result<Vec<Image>> {
        let names = self.names().await?;
        let mut images = Vec::new();
        for (target, rows) in &names.by_target {
            let reference = rows.iter().find_map(|(name, _)| name.clone());
            let manifests = match self.manifests(target).await {
                Ok(manifests) => manifests,
                Err(error) => {
                    tracing::warn!(%target, error = &error as &dyn std::error::Error, "an image cannot be listed");
                    continue;
                }
            };
            for manifest in manifests {
                match self
                    .image_with(&names, target, &manifest, reference.clone())
                    .await
                {
                    Ok(image) => images.push(image),
                    Err(error) => {
                        tracing::warn!(%manifest, error = &error as &dyn std::error::Error, "an image cannot be listed");
                    }
                }
            }
        }
        Ok(images)
    }

    pub(crate) async fn find(&self, text: &str) -> Result<Found> {
        let names = self.names().await?;
        if let Ok(reference) = text.parse::<Reference>()
            && let Some(target) = find_name(&names, &reference)
        {
            return Ok(Found {
                target,
                reference: Some(reference),
                manifest: None,
            });
        }
        if let Ok(reference) = text.parse::<Reference>()
            && let Some(digest) = reference.digest()
        {
            // A platform's own manifest below an index of this repository.
            for (target, rows) in &names.by_target {
                let same = rows
                    .iter()
                    .any(|(n, _)| n.as_ref().is_some_and(|n| n.name() == reference.name()));
                if same && self.manifests(target).await?.contains(digest) {
                    return Ok(Found {
                        target: target.clone(),
                        reference: None,
                        manifest: Some(digest.clone()),
                    });
                }
            }
            return Err(ImageError::NotFound {
                name: text.to_owned(),
            });
        }
        let prefix = text.strip_prefix("sha256:").unwrap_or(text);
        let is_id = (1..=64).contains(&prefix.len())
            && prefix.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        if !is_id {
            // Says what is wrong with a text that can be neither name nor id.
            if !text.is_empty() && text.parse::<Reference>().is_ok() {
                return Err(ImageError::NotFound {
                    name: text.to_owned(),
                });
            }
            return Err(text.parse::<Reference>().err().unwrap_or(ImageError::NotFound {
                name: text.to_owned(),
            }));
        }
        self.find_id(text, prefix, &names).await
    }

    async fn find_id(&self, text: &str, prefix: &str, names: &Names) -> Result<Found> {
        // By image id, so that one image under several targets is no ambiguity.
        let mut found: BTreeMap<Digest, Found> = BTreeMap::new();
        for target in names.by_target.keys() {
            let by_target = target.hex().starts_with(prefix);
            let Ok(manifests) = self.manifests(target).await else {
                continue;
            };
            for manifest in manifests {
                let Document::Manifest(parsed) = &*self.content.document(&manifest).await? else {
                    continue;
                };
                let id = &parsed.config.digest;
                if by_target && *target != manifest {
                    found.insert(
                        target.clone(),
                        Found {
                            target: target.clone(),
                            reference: None,
                            manifest: None,
                        },
                    );
                } else if id.hex().starts_with(prefix) || manifest.hex().starts_with(prefix) {
                    let hit = Found {
                        target: target.clone(),
                        reference: None,
                        manifest: Some(manifest.clone()),
                    };
                    // A target with a name is preferred.
                    if !found.contains_key(id) || names.of(target).next().is_some() {
                        found.insert(id.clone(), hit);
                    }
                }
            }
        }
        if found.len() > 1 {
            return Err(ImageError::Ambiguous {
                prefix: text.to_owned(),
                matches: found.into_keys().collect(),
            });
        }
        found.into_values().next().ok_or_else(|| ImageError::NotFound {
            name: text.to_owned(),
        })
    }

    /// Whether everything below a document is here, so that it can be saved or pushed as it is. Attestations are not
    /// kept, so an index with them never is.
    pub(crate) async fn is_complete(&self, digest: &Digest) -> Result<bool> {
        let mut pending = vec![digest.clone()];
        while let Some(digest) = pending.pop() {
            let Some(info) = self.content.store.blob(&digest).await? else {
                return Ok(false);
            };
            if let Document::Index(index) = &*self.content.document(&digest).await? {
                let present = child_labels(&info.labels);
                for entry in &index.entries {
                    if !entry.is_image || !present.contains(&entry.blob.digest) {
                        return Ok(false);
                    }
                    pending.push(entry.blob.digest.clone());
                }
            }
        }
        Ok(true)
    }
}

/// The target of a name: its own reference, or for `name@digest` any reference of the repository with this target.
fn find_name(names: &Names, reference: &Reference) -> Option<Digest> {
    let all = || {
        names
            .by_target
            .iter()
            .flat_map(|(target, rows)| rows.iter().map(move |(name, _)| (target, name)))
    };
    let Some(digest) = reference.digest() else {
        return all()
            .find(|(_, name)| name.as_ref() == Some(reference))
            .map(|(target, _)| target.clone());
    };
    let repository = reference.name();
    all()
        .filter(|(target, _)| *target == digest)
        .any(|(_, name)| name.as_ref().is_some_and(|n| n.name() == repository))
        .then(|| digest.clone())
}
