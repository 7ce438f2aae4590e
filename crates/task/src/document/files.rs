//! What the agent gets to start a tool on the files of a container.
//!
//! The reserved program name makes our agent run itself; another one says that there is no such program.

use std::collections::BTreeMap;

use gcs::message::ProcessParameters;
use serde_json::{Value, json};

use super::{Slot, guest};
use crate::files::{FileWork, Place};

/// The name under which our agent has its tools.
const PROGRAM: &str = "ctr-like-files";

/// Where the files of a container are in the guest.
pub(crate) struct Rooms<'a> {
    /// The container.
    pub(crate) id: &'a str,
    /// Its layers, topmost first.
    pub(crate) lower: &'a [Slot],
    /// Its first process, which sees everything that is mounted in it.
    pub(crate) pid: Option<u32>,
}

impl Rooms<'_> {
    fn place(&self, place: Place) -> Value {
        match (place, self.pid) {
            (Place::Share(index), _) => json!({"root": guest::share(self.id, index)}),
            (Place::Root, Some(pid)) => json!({"pid": pid}),
            (Place::Root, None) => json!({"root": guest::rootfs(self.id)}),
        }
    }

    fn layers(&self) -> Value {
        let lower: Vec<String> = self.lower.iter().map(|slot| guest::layer(*slot)).collect();
        json!({"upper": guest::upper(self.id), "lower": lower})
    }
}

/// The parameters of a tool.
pub(crate) fn tool(rooms: &Rooms<'_>, place: Place, work: &FileWork) -> ProcessParameters {
    let (verb, mut object, details) = match work {
        FileWork::Stat { path } => ("stat", rooms.place(place), json!({"path": path})),
        FileWork::Archive { path, follow } => (
            "archive",
            rooms.place(place),
            json!({"path": path, "follow": follow}),
        ),
        FileWork::Extract { path, owner, replace } => {
            let owner = owner.map(|(uid, gid)| json!({"uid": uid, "gid": gid}));
            let details = json!({"path": path, "owner": owner, "overwrite_dir_with_file": replace});
            ("extract", rooms.place(place), details)
        }
        FileWork::Export => ("export", json!({"root": guest::rootfs(rooms.id)}), json!({})),
        FileWork::Changes => ("changes", rooms.layers(), json!({})),
        FileWork::Layer { .. } => ("layer", rooms.layers(), json!({})),
        FileWork::Processes => ("processes", json!({"pid": rooms.pid}), json!({})),
    };
    if let (Value::Object(object), Value::Object(details)) = (&mut object, details) {
        object.extend(details);
    }
    let mut environment = BTreeMap::new();
    // Of a container that does not run there is nothing to freeze.
    if matches!(work, FileWork::Layer { freeze: true }) && rooms.pid.is_some() {
        environment.insert(gcs::FREEZE.to_owned(), rooms.id.to_owned());
    }
    ProcessParameters {
        command_args: vec![PROGRAM.to_owned(), verb.to_owned(), object.to_string()],
        environment,
        create_std_in_pipe: matches!(work, FileWork::Extract { .. }),
        create_std_out_pipe: true,
        create_std_err_pipe: true,
        ..ProcessParameters::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arguments(pid: Option<u32>, place: Place, work: &FileWork) -> (String, Value) {
        let rooms = Rooms {
            id: "c1",
            lower: &[Slot::new(2), Slot::new(0)],
            pid,
        };
        let parameters = tool(&rooms, place, work);
        let [program, verb, object] = &parameters.command_args[..] else {
            panic!("{:?}", parameters.command_args);
        };
        assert_eq!(program, PROGRAM);
        (verb.clone(), serde_json::from_str(object).unwrap())
    }

    #[test]
    fn a_running_container_is_seen_by_its_first_process_others_by_their_mounts() {
        let path = "/etc".to_owned();
        let archive = FileWork::Archive { path, follow: true };
        let (verb, object) = arguments(Some(7), Place::Root, &archive);
        assert_eq!(verb, "archive");
        assert_eq!(object, json!({"pid": 7, "path": "/etc", "follow": true}));
        let (_, object) = arguments(None, Place::Root, &archive);
        assert_eq!(object["root"], "/run/gcs/c/c1/rootfs");
        let (_, object) = arguments(Some(7), Place::Share(3), &archive);
        assert_eq!(object["root"], "/run/gcs/c/c1/mounts/m3");
        // What is mounted in a container is no part of it.
        let (_, object) = arguments(Some(7), Place::Root, &FileWork::Export);
        assert_eq!(object, json!({"root": "/run/gcs/c/c1/rootfs"}));
    }

    #[test]
    fn differences_are_between_the_upper_directory_and_the_layers_topmost_first() {
        let (verb, object) = arguments(Some(7), Place::Root, &FileWork::Changes);
        assert_eq!(verb, "changes");
        assert_eq!(
            object,
            json!({
                "upper": "/run/gcs/c/c1/scratch/c1/upper",
                "lower": ["/run/mounts/scsi/m2", "/run/mounts/scsi/m0"],
            })
        );
    }

    #[test]
    fn a_container_that_runs_is_frozen_for_its_layer_when_that_is_asked_for() {
        let frozen = |pid, freeze| {
            let rooms = Rooms {
                id: "c1",
                lower: &[],
                pid,
            };
            let parameters = tool(&rooms, Place::Root, &FileWork::Layer { freeze });
            parameters.environment.get(gcs::FREEZE).cloned()
        };
        assert_eq!(frozen(Some(7), true).as_deref(), Some("c1"));
        assert_eq!(frozen(Some(7), false), None);
        assert_eq!(frozen(None, true), None);
    }

    #[test]
    fn processes_are_those_of_the_first_one() {
        let (verb, object) = arguments(Some(7), Place::Root, &FileWork::Processes);
        assert_eq!((verb.as_str(), object), ("processes", json!({"pid": 7})));
    }

    #[test]
    fn only_an_extraction_reads() {
        let rooms = Rooms {
            id: "c1",
            lower: &[],
            pid: None,
        };
        let extract = FileWork::Extract {
            path: "/".to_owned(),
            owner: Some((1, 2)),
            replace: false,
        };
        let parameters = tool(&rooms, Place::Root, &extract);
        assert!(parameters.create_std_in_pipe);
        assert!(parameters.command_args[2].contains(r#""owner":{"gid":2,"uid":1}"#));
        assert!(!tool(&rooms, Place::Root, &FileWork::Layer { freeze: true }).create_std_in_pipe);
    }
}
