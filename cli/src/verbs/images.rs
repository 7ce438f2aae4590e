//! `ctr-like images`.

use std::collections::BTreeSet;

use api::message::{ImageList, ImageSummary, ListImages};
use api::{Context, Images as _};
use clap::Args;
use serde_json::{Map, Value, json};
use time::OffsetDateTime;

use crate::connect::Session;
use crate::failure::Outcome;
use crate::filters;
use crate::render::format::{Format, List};
use crate::render::{self, human};

/// List images
#[derive(Debug, Args)]
pub(crate) struct Images {
    /// Accepted for docker's sake: there are no hidden images
    #[arg(short, long)]
    all: bool,
    /// Also digests
    #[arg(long)]
    digests: bool,
    /// Only those that meet a condition
    #[arg(short, long, value_name = "NAME=VALUE")]
    filter: Vec<String>,
    /// table, json, or a template
    #[arg(long, value_name = "FORMAT")]
    format: Option<String>,
    /// Do not cut ids
    #[arg(long)]
    no_trunc: bool,
    /// Only ids
    #[arg(short, long)]
    quiet: bool,
    /// Only this repository, with or without a tag
    #[arg(value_name = "REPOSITORY[:TAG]")]
    repository: Option<String>,
}

const HEADERS: &[(&str, &str)] = &[
    ("Repository", "REPOSITORY"),
    ("Tag", "TAG"),
    ("Digest", "DIGEST"),
    ("ID", "IMAGE ID"),
    ("CreatedSince", "CREATED"),
    ("CreatedAt", "CREATED AT"),
    ("Size", "SIZE"),
    ("VirtualSize", "VIRTUAL SIZE"),
    ("SharedSize", "SHARED SIZE"),
    ("UniqueSize", "UNIQUE SIZE"),
    ("Containers", "CONTAINERS"),
    ("Platform", "PLATFORM"),
];

const NONE: &str = "<none>";

impl Images {
    pub(crate) async fn run(self, session: &Session) -> Outcome {
        let format = Format::parse(self.format.as_deref())?;
        let mut filters = filters::parse(&self.filter)?;
        if let Some(repository) = &self.repository {
            filters
                .entry("reference".to_owned())
                .or_default()
                .push(repository.clone());
        }
        let client = session.connect().await?;
        let list = client.list(Context::new(), ListImages { filters }).await?;
        if self.quiet {
            let mut seen = BTreeSet::new();
            for image in &list.images {
                if seen.insert(&image.id) {
                    render::line(&id(image, self.no_trunc))?;
                }
            }
            return Ok(0);
        }
        rows(&list, OffsetDateTime::now_utc(), self.no_trunc, self.digests).print(&format)?;
        Ok(0)
    }
}

fn id(image: &ImageSummary, whole: bool) -> String {
    if whole {
        image.id.clone()
    } else {
        human::short(&image.id)
    }
}

/// One row per tag, or one for an image without tags.
fn rows(list: &ImageList, now: OffsetDateTime, whole: bool, digests: bool) -> List {
    let mut columns = vec!["Repository", "Tag", "ID", "CreatedSince", "Size"];
    if digests {
        columns.insert(2, "Digest");
    }
    let mut rows: Vec<Map<String, Value>> = Vec::new();
    for image in &list.images {
        let untagged = image
            .repo_digests
            .first()
            .map(|digest| (repository(digest), NONE.to_owned()));
        let tags: Vec<(String, String)> = image.repo_tags.iter().map(|name| split(name)).collect();
        let names = if tags.is_empty() {
            vec![untagged.unwrap_or((NONE.to_owned(), NONE.to_owned()))]
        } else {
            tags
        };
        for (name, tag) in names {
            let digest = image
                .repo_digests
                .iter()
                .find(|digest| repository(digest) == name);
            let digest = digest
                .and_then(|digest| digest.split_once('@'))
                .map_or(NONE, |(_, digest)| digest);
            let fields = json!({
                "Repository": name,
                "Tag": tag,
                "Digest": digest,
                "ID": id(image, whole),
                "CreatedSince": human::ago(&image.created, now),
                "CreatedAt": human::timestamp(&image.created),
                "Size": human::size(image.size),
                "VirtualSize": human::size(image.size),
                "SharedSize": "N/A",
                "UniqueSize": "N/A",
                "Containers": image.containers.to_string(),
                "Platform": image.platform,
            });
            rows.extend(fields.as_object().cloned());
        }
    }
    List {
        columns,
        headers: HEADERS,
        rows,
    }
}

fn repository(digest: &str) -> String {
    digest.split('@').next().unwrap_or(digest).to_owned()
}

/// Repository and tag; the colon of a port is not that of a tag.
fn split(name: &str) -> (String, String) {
    match name.rsplit_once(':') {
        Some((repository, tag)) if !tag.contains('/') => (repository.to_owned(), tag.to_owned()),
        _ => (name.to_owned(), NONE.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list() -> ImageList {
        let image = ImageSummary {
            id: format!("sha256:{}", "0123456789abcdef".repeat(4)),
            repo_tags: vec!["busybox:latest".to_owned(), "127.0.0.1:5000/box:1".to_owned()],
            repo_digests: vec![format!("busybox@sha256:{}", "f".repeat(64))],
            created: "2026-01-01T00:00:00Z".to_owned(),
            size: 4_261_550,
            platform: "linux/amd64".to_owned(),
            ..ImageSummary::default()
        };
        let dangling = ImageSummary {
            repo_tags: Vec::new(),
            repo_digests: Vec::new(),
            ..image.clone()
        };
        ImageList {
            images: vec![image, dangling],
        }
    }

    fn lines(format: Option<&str>, digests: bool) -> String {
        let now = human::parse("2026-02-01T00:00:00Z").unwrap();
        rows(&list(), now, false, digests)
            .lines(&Format::parse(format).unwrap())
            .unwrap()
            .join("\n")
    }

    #[test]
    fn table_is_dockers() {
        insta::assert_snapshot!(lines(None, false), @r"
        REPOSITORY           TAG       IMAGE ID       CREATED       SIZE
        busybox              latest    0123456789ab   4 weeks ago   4.26MB
        127.0.0.1:5000/box   1         0123456789ab   4 weeks ago   4.26MB
        <none>               <none>    0123456789ab   4 weeks ago   4.26MB
        ");
        insta::assert_snapshot!(lines(Some("{{.Repository}}:{{.Tag}} {{.Digest}}"), true), @r"
        busybox:latest sha256:ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff
        127.0.0.1:5000/box:1 <none>
        <none>:<none> <none>
        ");
    }

    #[test]
    fn json_has_strings_only() {
        let first = lines(Some("json"), false).lines().next().unwrap().to_owned();
        insta::assert_snapshot!(first, @r#"{"Containers":"0","CreatedAt":"2026-01-01 00:00:00 +0000 UTC","CreatedSince":"4 weeks ago","Digest":"sha256:ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff","ID":"0123456789ab","Platform":"linux/amd64","Repository":"busybox","SharedSize":"N/A","Size":"4.26MB","Tag":"latest","UniqueSize":"N/A","VirtualSize":"4.26MB"}"#);
    }
}
