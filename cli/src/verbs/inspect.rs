//! `ctr-like inspect`, `container inspect`, `image inspect` and `network inspect`.
//!
//! Without a format: one array, with the objects that exist. With one: a line per object. What does not exist is told on
//! standard error and makes the exit code 1; the others are printed all the same.

use api::message::{InspectContainer, InspectImage, InspectNetwork};
use api::{Client, Code, Containers, Context, Images, Networks, Status};
use clap::Args;
use serde::Serialize;
use serde_json::Value;
use serde_json::ser::{PrettyFormatter, Serializer};

use crate::connect::Session;
use crate::failure::{self, Failure, Outcome};
use crate::render;
use crate::render::format::Format;

/// Print everything about containers, images or networks
#[derive(Debug, Args)]
pub(crate) struct Inspect {
    /// json, or a template
    #[arg(short, long, value_name = "FORMAT")]
    format: Option<String>,
    /// Also sizes of containers
    #[arg(short, long)]
    size: bool,
    /// Kind of object
    #[arg(long, value_name = "KIND", value_parser = ["container", "image", "network"])]
    r#type: Option<String>,
    /// Containers, images or networks
    #[arg(required = true, value_name = "NAME")]
    names: Vec<String>,
}

/// Print everything about containers
#[derive(Debug, Args)]
pub(crate) struct InspectContainers {
    /// json, or a template
    #[arg(short, long, value_name = "FORMAT")]
    format: Option<String>,
    /// Also sizes
    #[arg(short, long)]
    size: bool,
    /// Containers
    #[arg(required = true, value_name = "CONTAINER")]
    names: Vec<String>,
}

/// Print everything about images
#[derive(Debug, Args)]
pub(crate) struct InspectImages {
    /// json, or a template
    #[arg(short, long, value_name = "FORMAT")]
    format: Option<String>,
    /// Platform, of several
    #[arg(long, value_name = "OS[/ARCH[/VARIANT]]")]
    platform: Option<String>,
    /// Images
    #[arg(required = true, value_name = "IMAGE")]
    names: Vec<String>,
}

/// Print everything about networks
#[derive(Debug, Args)]
pub(crate) struct InspectNetworks {
    /// json, or a template
    #[arg(short, long, value_name = "FORMAT")]
    format: Option<String>,
    /// Networks
    #[arg(required = true, value_name = "NETWORK")]
    names: Vec<String>,
}

impl Inspect {
    pub(crate) async fn run(self, session: &Session) -> Outcome {
        let format = form(self.format.as_deref())?;
        let client = session.connect().await?;
        let find = async |name: &str| match self.r#type.as_deref() {
            Some("container") => container(&client, name, self.size).await,
            Some("image") => image(&client, name, None).await,
            Some(_) => network(&client, name).await,
            None => any(&client, name, self.size).await,
        };
        print(&self.names, format.as_ref(), find).await
    }
}

impl InspectContainers {
    pub(crate) async fn run(self, session: &Session) -> Outcome {
        let format = form(self.format.as_deref())?;
        let client = session.connect().await?;
        print(&self.names, format.as_ref(), async |name: &str| {
            container(&client, name, self.size).await
        })
        .await
    }
}

impl InspectImages {
    pub(crate) async fn run(self, session: &Session) -> Outcome {
        let format = form(self.format.as_deref())?;
        let client = session.connect().await?;
        print(&self.names, format.as_ref(), async |name: &str| {
            image(&client, name, self.platform.as_deref()).await
        })
        .await
    }
}

impl InspectNetworks {
    pub(crate) async fn run(self, session: &Session) -> Outcome {
        let format = form(self.format.as_deref())?;
        let client = session.connect().await?;
        print(&self.names, format.as_ref(), async |name: &str| {
            network(&client, name).await
        })
        .await
    }
}

/// `None`: the array.
fn form(format: Option<&str>) -> Result<Option<Format>, Failure> {
    format
        .filter(|format| !format.is_empty())
        .map(|format| Format::parse(Some(format)))
        .transpose()
}

/// Whatever answers to a name, containers before images before networks.
async fn any(client: &Client, name: &str, size: bool) -> Result<Value, Status> {
    let absent =
        |outcome: &Result<Value, Status>| matches!(outcome, Err(status) if status.code == Code::NotFound);
    let found = container(client, name, size).await;
    if !absent(&found) {
        return found;
    }
    let found = image(client, name, None).await;
    if !absent(&found) {
        return found;
    }
    let found = network(client, name).await;
    // A daemon that is older than networks has none.
    let unknown = matches!(&found, Err(status) if status.code == Code::Unimplemented);
    if !unknown && !absent(&found) {
        return found;
    }
    Err(Status::not_found(format!("No such object: {name}")))
}

async fn container(client: &Client, name: &str, size: bool) -> Result<Value, Status> {
    let request = InspectContainer {
        container: name.to_owned(),
        size,
    };
    Containers::inspect(client, Context::new(), request)
        .await
        .map(|found| found.document)
}

async fn image(client: &Client, name: &str, platform: Option<&str>) -> Result<Value, Status> {
    let request = InspectImage {
        image: name.to_owned(),
        platform: platform.map(ToOwned::to_owned),
    };
    Images::inspect(client, Context::new(), request)
        .await
        .map(|found| found.document)
}

async fn network(client: &Client, name: &str) -> Result<Value, Status> {
    let request = InspectNetwork {
        network: name.to_owned(),
    };
    Networks::inspect(client, Context::new(), request)
        .await
        .map(|found| found.document)
}

async fn print(
    names: &[String],
    format: Option<&Format>,
    find: impl AsyncFn(&str) -> Result<Value, Status>,
) -> Outcome {
    let (mut found, mut failures) = (Vec::new(), Vec::new());
    for name in names {
        match find(name).await {
            Ok(document) => found.push(document),
            Err(status) if status.code == Code::Unavailable => return Err(status.into()),
            Err(status) => failures.push(status),
        }
    }
    let code = i32::from(!failures.is_empty());
    match format {
        None => render::line(&array(&found)?)?,
        Some(format) => {
            for document in &found {
                render::line(&format.object(document)?)?;
            }
        }
    }
    for status in failures {
        failure::report(Err(status.into()));
    }
    Ok(code)
}

/// An array with four spaces per level.
fn array(documents: &[Value]) -> Result<String, Failure> {
    let mut text = Vec::new();
    let mut writer = Serializer::with_formatter(&mut text, PrettyFormatter::with_indent(b"    "));
    documents
        .serialize(&mut writer)
        .map_err(|error| Failure::new(error.to_string()))?;
    String::from_utf8(text).map_err(|error| Failure::new(error.to_string()))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn array_has_four_spaces() {
        assert_eq!(array(&[]).unwrap(), "[]");
        assert_eq!(
            array(&[json!({"Id": "x"})]).unwrap(),
            "[\n    {\n        \"Id\": \"x\"\n    }\n]"
        );
    }
}
