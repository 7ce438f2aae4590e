//! Installing and removing the service.

use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use hcs::command_line;
use win32::service::{Definition as Wanted, Service, ServiceAccess, ServiceManager};
use win32::{event_log, file, folder, privilege};

use super::Installation;
use super::life::end;
use super::manager::{Definition, NAME, open, program_data, refused};
use crate::connect::{Session, daemon_program};
use crate::failure::{Failure, Outcome};
use crate::render;

const DISPLAY_NAME: &str = "ctr-like";
const DESCRIPTION: &str =
    "Runs containers for the ctr-like command line. Containers that run go on when it stops.";

/// The Host Network Service, which makes the networks of containers. It comes with the feature Containers.
const HNS: &str = "hns";

/// When it is started again after a failure; the last one counts for all that follow.
const RESTARTS: [Duration; 3] = [
    Duration::from_secs(1),
    Duration::from_secs(5),
    Duration::from_secs(30),
];

/// Without a failure for this long, the times begin anew.
const RESET: Duration = Duration::from_secs(24 * 60 * 60);

/// How long the system waits for it when it goes down; as long as the daemon says that leaving may take.
const PRESHUTDOWN: Duration = Duration::from_secs(60);

/// How long the service manager may take to forget a service.
const FORGET: Duration = Duration::from_secs(30);

const ERROR_CALL_NOT_IMPLEMENTED: i32 = 120;
const ERROR_INVALID_LEVEL: i32 = 124;

const INSTALLING: &str = "installing the service";
const REMOVING: &str = "removing the service";

/// Installs the service, or brings what is installed up to date.
pub(crate) async fn install(session: &Session, installation: Installation) -> Outcome {
    if let Some(group) = &installation.group {
        win32::security::account_sid(group).map_err(|error| {
            Failure::io(format!("there is no group {group:?}"), &error)
                .hint("make it in Computer Management, or with: net localgroup NAME /add")
        })?;
    }
    let program = absolute(&daemon_program()?)?;
    if !program.is_file() {
        return Err(Failure::new(format!(
            "there is no daemon at {}",
            program.display()
        )));
    }
    let line = image_path(&program, &words(session, &installation)?)?;
    // First of all: whoever may not is told so before anything is touched.
    let manager = ServiceManager::connect(true).map_err(|error| refused(INSTALLING, &error))?;
    let found = manager.open(NAME, ServiceAccess::Change);
    let found = found.map_err(|error| refused(INSTALLING, &error))?;
    let dependencies: &[&str] = match manager.open(HNS, ServiceAccess::Look) {
        Ok(Some(_)) => &[HNS],
        _ => &[],
    };
    let wanted = Wanted {
        display_name: DISPLAY_NAME,
        command_line: &line,
        dependencies,
    };
    for folder in folders(&installation)? {
        folder::claim(&folder).map_err(|error| unsafe_folder(&error))?;
    }
    let done = match &found {
        None => "installed the service",
        Some(service) if is(service, &wanted)? => "the service is installed already, with the same arguments",
        Some(service) => {
            service
                .configure(&wanted)
                .map_err(|error| refused(INSTALLING, &error))?;
            "updated the service; what changed counts when it starts again"
        }
    };
    let fresh = found.is_none();
    let service = match found {
        Some(service) => service,
        None => manager
            .create(NAME, &wanted)
            .map_err(|error| refused(INSTALLING, &error))?,
    };
    let outcome = complete(&service);
    if outcome.is_err() && fresh {
        // Half a service is none. What failed is what is told.
        drop(service.delete());
    }
    let lacking = outcome?;
    render::note(&format!("ctr-like: {done}"));
    if !lacking.is_empty() {
        render::note(&format!(
            "ctr-like: this system does not keep: {}",
            lacking.join(", ")
        ));
    }
    if fresh {
        render::note("ctr-like: it starts with Windows; start it now with: ctr-like daemon start");
    }
    Ok(0)
}

/// The command line of the service. The program is always quoted: without that, a blank in its path would let another program be
/// taken for it.
fn image_path(program: &Path, words: &[String]) -> Result<String, Failure> {
    Ok(format!("\"{}\" {}", text(program)?, command_line::join(words)))
}

/// The arguments of the daemon.
fn words(session: &Session, installation: &Installation) -> Result<Vec<String>, Failure> {
    let mut words = vec!["--service".to_owned()];
    let mut add = |flag: &str, value: Option<String>| {
        if let Some(value) = value {
            words.extend([flag.to_owned(), value]);
        }
    };
    let path = |path: &Option<PathBuf>| path.as_deref().map(|path| text(&absolute(path)?)).transpose();
    add("--host", session.named_endpoint().map(ToString::to_string));
    add("--group", installation.group.clone());
    add("--root", path(&installation.root)?);
    add("--run-dir", path(&run_dir(installation))?);
    add("--config", path(&installation.config)?);
    words.extend(installation.arguments.iter().cloned());
    Ok(words)
}

/// The one that was named, or the one in the root that was named; else the daemon's own default.
fn run_dir(installation: &Installation) -> Option<PathBuf> {
    let in_root = || installation.root.as_ref().map(|root| root.join("run"));
    installation.run_dir.clone().or_else(in_root)
}

/// The folders that only administrators may touch: the one with the settings, and those of the data.
fn folders(installation: &Installation) -> Result<Vec<PathBuf>, Failure> {
    let mut folders = vec![program_data()];
    for folder in [installation.root.clone(), run_dir(installation)]
        .into_iter()
        .flatten()
    {
        folders.push(absolute(&folder)?);
    }
    Ok(folders)
}

fn absolute(path: &Path) -> Result<PathBuf, Failure> {
    std::path::absolute(path)
        .map_err(|error| Failure::io(format!("not a usable path: {}", path.display()), &error))
}

fn text(path: &Path) -> Result<String, Failure> {
    path.to_str()
        .map(str::to_owned)
        .ok_or_else(|| Failure::new(format!("not a usable path: {}", path.display())))
}

fn unsafe_folder(error: &folder::FolderError) -> Failure {
    let failure = match std::error::Error::source(error) {
        None => Failure::new(error.to_string()),
        Some(source) => {
            Failure::from(api::Status::new(api::Code::Unknown, error.to_string()).caused_by(source))
        }
    };
    match error {
        folder::FolderError::Foreign { path, .. } | folder::FolderError::NoFolder { path } => {
            failure.hint(format!(
                "look at what is in it and remove it, or choose another folder with --root: {}",
                path.display()
            ))
        }
        folder::FolderError::Io { .. } => failure,
    }
}

/// Whether the service is what is wanted.
fn is(service: &Service, wanted: &Wanted<'_>) -> Result<bool, Failure> {
    let config = service.config().map_err(|error| refused(INSTALLING, &error))?;
    Ok(config.command_line == wanted.command_line
        && config.display_name == wanted.display_name
        && config.dependencies == wanted.dependencies
        && config.start == "automatic")
}

/// All that is not part of the definition itself. Gives what the system does not know.
fn complete(service: &Service) -> Result<Vec<&'static str>, Failure> {
    let settings = [
        ("the description", service.set_description(DESCRIPTION)),
        ("the delayed start", service.set_delayed_start()),
        ("restarts after a failure", service.set_restarts(&RESTARTS, RESET)),
        ("restarts after an error", service.set_restarts_after_errors()),
        ("its own identity", service.set_own_identity()),
        (
            "the time to end before the system does",
            service.set_preshutdown(PRESHUTDOWN),
        ),
    ];
    let mut lacking = Vec::new();
    for (what, outcome) in settings {
        match outcome {
            Ok(()) => {}
            Err(error) if is_unknown(&error) => lacking.push(what),
            Err(error) => return Err(refused(INSTALLING, &error)),
        }
    }
    event_log::register_source(NAME).map_err(|error| refused("registering the event source", &error))?;
    Ok(lacking)
}

/// The service manager does not have such a setting.
fn is_unknown(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(ERROR_CALL_NOT_IMPLEMENTED | ERROR_INVALID_LEVEL)
    )
}

/// Stops the service with its containers and removes it; with `purge` also all that it stored.
pub(crate) async fn uninstall(session: &Session, purge: bool) -> Outcome {
    let service = open(REMOVING, ServiceAccess::Change)?;
    let installed = service.is_some();
    let mut data = vec![program_data()];
    if let Some(service) = service {
        let config = service.config().map_err(|error| refused(REMOVING, &error))?;
        let definition = Definition::of(&config);
        data = vec![definition.run_dir(), definition.root(), program_data()];
        // The one that the service listens at, wherever this command was to go.
        let session = Session::new(Some(definition.host()), false).unwrap_or_else(|_| session.clone());
        if let Err(failure) = end(&service, &session, true).await {
            // One that does not answer any more is stopped all the same.
            render::note("ctr-like: its containers cannot be stopped; they are left alone");
            end(&service, &session, false).await.map_err(|_| failure)?;
        }
        service.delete().map_err(|error| refused(REMOVING, &error))?;
        drop(service);
        forgotten().await?;
    }
    event_log::remove_source(NAME).map_err(|error| refused("removing the event source", &error))?;
    render::note(match installed {
        true => "ctr-like: removed the service",
        false => "ctr-like: the service is not installed",
    });
    data.dedup();
    for folder in data.iter().filter(|folder| folder.is_dir()) {
        if purge {
            remove(folder)?;
        } else if !data
            .iter()
            .any(|other| other != folder && folder.starts_with(other))
        {
            render::note(&format!("ctr-like: its data is still in {}", folder.display()));
        }
    }
    Ok(0)
}

/// Waits until there is no such service any more.
async fn forgotten() -> Result<(), Failure> {
    let end = Instant::now() + FORGET;
    while open(REMOVING, ServiceAccess::Look)?.is_some() {
        if Instant::now() > end {
            return Err(Failure::new(
                "the service is removed when the last program that has it open is closed",
            )
            .hint("close the Services window, Task Manager and Event Viewer"));
        }
        // The service manager tells nobody when it forgets.
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
    Ok(())
}

/// What tells a folder of the daemon from one that was named by mistake.
const OURS: [&str; 3] = ["metadata.redb", "daemon.log", "lock"];

/// Removes a folder with all of its layers, whose access lists are those of images.
fn remove(path: &Path) -> Result<(), Failure> {
    let named = path.parent().zip(path.file_name().and_then(|name| name.to_str()));
    let ours = *path == program_data() || OURS.iter().any(|name| path.join(name).exists());
    let (Some((above, name)), true) = (named, ours) else {
        render::note(&format!(
            "ctr-like: {} does not look like the daemon's and is left alone",
            path.display()
        ));
        return Ok(());
    };
    folder::claim(path).map_err(|error| unsafe_folder(&error))?;
    let failed = |error: &(dyn std::error::Error + 'static)| {
        Failure::from(
            api::Status::new(api::Code::Unknown, format!("cannot remove {}", path.display()))
                .caused_by(error),
        )
    };
    let _privileges = privilege::LayerPrivileges::hold().map_err(|error| failed(&error))?;
    let above = file::Directory::open(above).map_err(|error| failed(&error))?;
    above.remove_tree(name).map_err(|error| failed(&error))?;
    render::note(&format!("ctr-like: removed {}", path.display()));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_are_kept_quoted_and_absolute() {
        let session = Session::new(Some("npipe:////./pipe/x"), false).unwrap();
        let installation = Installation {
            group: Some("My Users".to_owned()),
            root: Some(r"C:\my data\".into()),
            arguments: vec!["--log".to_owned(), "engine=\"debug\"".to_owned()],
            ..Installation::default()
        };
        let program = Path::new(r"C:\tools\ctr-liked.exe");
        let line = image_path(program, &words(&session, &installation).unwrap()).unwrap();
        let wanted = [
            r#""C:\tools\ctr-liked.exe" --service --host npipe:////./pipe/x --group "My Users""#,
            r#" --root "C:\my data\\" --run-dir "C:\my data\run" --log "engine=\"debug\"""#,
        ];
        assert_eq!(line, wanted.concat());
        let read = command_line::split(&line);
        assert_eq!(
            (read[0].as_str(), read[7].as_str()),
            (r"C:\tools\ctr-liked.exe", r"C:\my data\")
        );
        assert_eq!(run_dir(&installation), Some(r"C:\my data\run".into()));
        assert_eq!(
            folders(&installation).unwrap(),
            [program_data(), r"C:\my data\".into(), r"C:\my data\run".into()]
        );
    }
}
