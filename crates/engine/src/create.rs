//! From what a user asked for to a container record: defaults, the image's configuration, and refusals.
//!
//! Pure functions; the engine calls them before it changes anything.

use std::path::Path;

use image::Image;

use crate::clock;
use crate::error::{Error, Kind, Result};
use crate::record::{ContainerRecord, CreateOptions, State};
use crate::spec::{check_target, merge_env, windows, with_default};
use crate::{names, signal};

const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// The least memory a container can be limited to; docker's own floor.
const LEAST_MEMORY: u64 = 6 << 20;

/// Refuses what no container can have here, naming the alternative; nothing is ignored silently.
///
/// # Errors
/// The first option that is wrong or unsupported.
pub(crate) fn check(options: &CreateOptions) -> Result<()> {
    if options.memory > 0 && options.memory < LEAST_MEMORY {
        return Err(Error::invalid("Minimum memory limit allowed is 6MB").hint("use --memory 6m or more"));
    }
    Ok(())
}

/// Refuses what a Linux container cannot have.
///
/// # Errors
/// The first option that is wrong or unsupported.
pub(crate) fn check_linux(options: &CreateOptions) -> Result<()> {
    match options.isolation.as_deref() {
        None | Some("" | "default" | "sandbox") => {}
        Some("hyperv") => {
            if options.network.as_deref() == Some("host") {
                return Err(Error::unimplemented(
                    "a virtual machine cannot have the network of the host",
                    "leave --isolation hyperv or --network host out",
                )
                .about("isolation", "hyperv"));
            }
        }
        Some(other) => {
            return Err(Error::unimplemented(
                format!("isolation {other:?} is not available on this host"),
                "use --isolation default, or --isolation hyperv",
            )
            .about("isolation", other));
        }
    }
    for bind in &options.mounts {
        check_target(&bind.target)?;
        if !bind.source.is_absolute() {
            return Err(Error::unimplemented(
                format!("named volume {:?} is not supported", bind.source.display()),
                "give an absolute host path to mount a directory or file",
            )
            .about("mount", bind.source.to_string_lossy()));
        }
    }
    Ok(())
}

/// The record of a new container named `name`.
///
/// # Errors
/// No command, a bad signal, or a relative working directory.
pub(crate) fn record(
    options: CreateOptions,
    name: String,
    image: &Image,
    containers: &Path,
) -> Result<ContainerRecord> {
    let id = names::new_id();
    let windows = image.platform.is_windows();
    let config = image.config.config().clone().unwrap_or_default();
    let (args, args_escaped) = windows::arguments(&options, image);
    if args.is_empty() {
        return Err(Error::invalid("no command specified")
            .about("image", &options.image)
            .hint("the image names no command; write one after the image"));
    }

    let hostname = options.hostname.clone().unwrap_or_else(|| id[..12].to_owned());
    let image_env = config.env().clone().unwrap_or_default();
    let env = match windows {
        true => windows::environment(&image_env, &options.env),
        false => linux_environment(image_env, &options, &hostname),
    };

    let given_dir = options
        .working_dir
        .clone()
        .or_else(|| config.working_dir().clone())
        .unwrap_or_default();
    let working_dir = match windows {
        true => windows::working_dir(&given_dir)?,
        false => linux_working_dir(given_dir)?,
    };
    let stop_signal = match options.stop_signal.as_deref().or(config.stop_signal().as_deref()) {
        Some(text) if !text.is_empty() && windows => windows::signal(text)?,
        Some(text) if !text.is_empty() => signal::parse(text)?,
        _ => signal::TERM,
    };

    let mut options = options;
    let mut labels: std::collections::BTreeMap<String, String> =
        config.labels().clone().unwrap_or_default().into_iter().collect();
    labels.append(&mut options.labels);
    options.labels = labels;
    Ok(ContainerRecord {
        log_path: containers.join(&id).join("log.json"),
        name,
        created_ns: clock::now_ns(),
        image: options.image.clone(),
        image_id: image.config_digest.clone(),
        manifest: image.manifest.clone(),
        platform: image.platform.to_string(),
        layers: image.layer_keys(),
        args,
        args_escaped: args_escaped && windows,
        env,
        working_dir,
        user: options
            .user
            .clone()
            .or_else(|| config.user().clone())
            .unwrap_or_default(),
        hostname,
        stop_signal,
        options,
        state: State::default(),
        id,
    })
}

/// The environment of a Linux container: the image's, what docker's users rely on, and what was asked for.
fn linux_environment(image: Vec<String>, options: &CreateOptions, hostname: &str) -> Vec<String> {
    let image = with_default(image, "PATH", DEFAULT_PATH);
    let env = with_default(merge_env(&image, &options.env), "HOSTNAME", hostname);
    match options.tty {
        true => with_default(env, "TERM", "xterm"),
        false => env,
    }
}

fn linux_working_dir(given: String) -> Result<String> {
    if given.is_empty() {
        return Ok("/".to_owned());
    }
    if !given.starts_with('/') {
        return Err(Error::invalid(format!(
            "the working directory '{given}' is invalid, it needs to be an absolute path"
        )));
    }
    Ok(given)
}

/// Makes sure that every bind source exists, creating directories where `-v` asks for it.
///
/// # Errors
/// A source that does not exist or cannot be made.
pub(crate) fn prepare_sources(options: &CreateOptions) -> Result<()> {
    for bind in &options.mounts {
        if bind.source.exists() {
            continue;
        }
        let source = bind.source.to_string_lossy();
        if !bind.create_source {
            return Err(Error::invalid(format!(
                "invalid mount config for type \"bind\": bind source path does not exist: {source}"
            ))
            .about("mount", source)
            .hint("create the path first, or use -v, which creates a directory"));
        }
        std::fs::create_dir_all(&bind.source).map_err(|error| {
            Error::new(
                Kind::FailedPrecondition,
                format!("cannot create the bind source {source}"),
            )
            .about("mount", source)
            .because(error)
        })?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::MountOption;

    #[test]
    fn what_is_not_supported_is_refused_with_an_alternative() {
        let isolation = CreateOptions {
            isolation: Some("process".into()),
            ..CreateOptions::default()
        };
        let volume = CreateOptions {
            mounts: vec![MountOption {
                source: "data".into(),
                target: "/data".into(),
                ..MountOption::default()
            }],
            ..CreateOptions::default()
        };
        for options in [isolation, volume] {
            let error = check(&options).and_then(|()| check_linux(&options)).unwrap_err();
            assert_eq!(error.kind(), Kind::Unimplemented);
            assert!(!error.hints().is_empty());
        }
        assert!(check(&CreateOptions::default()).is_ok() && check_linux(&CreateOptions::default()).is_ok());
    }

    #[test]
    fn a_missing_bind_source_is_created_only_when_asked() {
        let folder = tempfile::tempdir().unwrap();
        let source = folder.path().join("new/dir");
        let mut options = CreateOptions {
            mounts: vec![MountOption {
                source: source.clone(),
                target: "/x".into(),
                ..MountOption::default()
            }],
            ..CreateOptions::default()
        };
        assert!(prepare_sources(&options).is_err());
        options.mounts[0].create_source = true;
        prepare_sources(&options).unwrap();
        assert!(source.is_dir());
    }
}
