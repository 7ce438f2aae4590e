//! What clients do while the daemon is killed, and what they may rely on afterwards.
//!
//! Each worker has containers or image names of its own, so that nobody else's doings change what it knows. An answer
//! that came is a promise; a call whose answer was lost was done or was not.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use serde_json::{Value, json};
use tests::wire::{Answer, ask};

use crate::random::Random;

/// What a client knows of something.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Known {
    /// It is not so.
    #[default]
    No,
    /// It is so.
    Yes,
    /// The answer was lost.
    Perhaps,
}

impl Known {
    /// Whether what is seen agrees with what is known.
    pub(crate) fn allows(self, seen: bool) -> bool {
        match self {
            Self::Perhaps => true,
            Self::Yes => seen,
            Self::No => !seen,
        }
    }

    /// What is known when it is seen.
    pub(crate) fn seen(seen: bool) -> Self {
        if seen { Self::Yes } else { Self::No }
    }
}

/// A container as its client knows it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Container {
    pub(crate) exists: Known,
    pub(crate) runs: Known,
    /// It ends at once and removes itself.
    pub(crate) short: bool,
    /// The argument of its `sleep`, which nobody else has.
    pub(crate) seconds: u64,
}

/// Everything that the clients know.
#[derive(Clone, Debug, Default)]
pub(crate) struct Knowledge {
    pub(crate) containers: BTreeMap<String, Container>,
    /// Image names, and whether they exist.
    pub(crate) images: BTreeMap<String, Known>,
    /// What was refused although nothing was wrong with it.
    pub(crate) refused: Vec<String>,
    /// Calls that were answered, and lost.
    pub(crate) answered: usize,
    pub(crate) lost: usize,
}

impl Knowledge {
    pub(crate) fn take_in(&mut self, other: Self) {
        self.containers.extend(other.containers);
        self.images.extend(other.images);
        self.refused.extend(other.refused);
        self.answered += other.answered;
        self.lost += other.lost;
    }

    /// Forgets what is known not to be.
    pub(crate) fn tidy(&mut self) {
        self.containers
            .retain(|_, container| container.exists != Known::No);
    }
}

/// The first `sleep` of all; far from what other programs on the machine would ask for.
pub(crate) const FIRST_SLEEP: u64 = 7_000_000;
static SLEEPS: AtomicU64 = AtomicU64::new(FIRST_SLEEP);

/// A worker's means.
pub(crate) struct Worker {
    pub(crate) socket: PathBuf,
    pub(crate) random: Random,
    pub(crate) stop: Arc<AtomicBool>,
    pub(crate) knowledge: Knowledge,
}

impl Worker {
    fn socket(&self) -> &Path {
        &self.socket
    }

    /// Calls; true when it was done, none when the answer was lost.
    fn call(&mut self, method: &str, params: &Value) -> (Known, Value) {
        match ask(self.socket(), method, params) {
            Answer::Done(result) => {
                self.knowledge.answered += 1;
                (Known::Yes, result)
            }
            Answer::Lost => {
                self.knowledge.lost += 1;
                (Known::Perhaps, Value::Null)
            }
            Answer::Refused(error) => {
                self.knowledge.refused.push(format!("{method} {params}: {error}"));
                (Known::No, Value::Null)
            }
        }
    }

    /// Told to stop, or nobody answers any more, or something is wrong.
    fn over(&self) -> bool {
        let known = &self.knowledge;
        self.stop.load(Ordering::Relaxed) || known.lost > 0 || !known.refused.is_empty()
    }

    /// Makes, starts, executes in and removes containers until it is over.
    pub(crate) fn containers(mut self, image: &str, prefix: &str) -> Knowledge {
        while !self.over() {
            let names: Vec<String> = self
                .knowledge
                .containers
                .iter()
                .filter(|(_, container)| container.exists == Known::Yes && !container.short)
                .map(|(name, _)| name.clone())
                .collect();
            let crowded = names.len() >= 3;
            match self.random.below(if crowded { 4 } else { 10 }) {
                0..=1 => self.remove(&names),
                2..=3 => self.exec(&names),
                4..=5 => self.start_one(&names),
                6 => self.short(image, prefix),
                choice => self.run(image, prefix, choice > 7),
            }
        }
        self.knowledge
    }

    fn create(&mut self, image: &str, prefix: &str, short: bool) -> (String, Known) {
        let seconds = SLEEPS.fetch_add(1, Ordering::Relaxed);
        let name = format!("{prefix}-{seconds}");
        let command = if short {
            json!(["true"])
        } else {
            json!(["sleep", seconds.to_string()])
        };
        let params = json!({"image": image, "name": name, "command": command, "auto_remove": short});
        let (exists, _) = self.call("ctr.v1.Containers/Create", &params);
        let container = Container {
            exists,
            runs: Known::No,
            short,
            seconds,
        };
        self.knowledge.containers.insert(name.clone(), container);
        (name, exists)
    }

    fn start(&mut self, name: &str) {
        let (runs, _) = self.call("ctr.v1.Containers/Start", &json!({"container": name}));
        if let Some(container) = self.knowledge.containers.get_mut(name) {
            container.runs = runs;
        }
    }

    fn run(&mut self, image: &str, prefix: &str, start: bool) {
        let (name, made) = self.create(image, prefix, false);
        if made == Known::Yes && start {
            self.start(&name);
        }
    }

    /// `run --rm true`.
    fn short(&mut self, image: &str, prefix: &str) {
        let (name, made) = self.create(image, prefix, true);
        if made == Known::Yes {
            self.start(&name);
        }
    }

    fn start_one(&mut self, names: &[String]) {
        if let Some(name) = self.random.pick(names).cloned()
            && self.knowledge.containers[&name].runs == Known::No
        {
            self.start(&name);
        }
    }

    fn remove(&mut self, names: &[String]) {
        let Some(name) = self.random.pick(names).cloned() else {
            return;
        };
        let (removed, _) = self.call(
            "ctr.v1.Containers/Remove",
            &json!({"container": name, "force": true}),
        );
        let container = self.knowledge.containers.get_mut(&name).expect("a name of ours");
        match removed {
            Known::Yes => (container.exists, container.runs) = (Known::No, Known::No),
            // It may have been killed and not removed yet.
            _ => (container.exists, container.runs) = (Known::Perhaps, Known::Perhaps),
        }
    }

    fn exec(&mut self, names: &[String]) {
        let Some(name) = self
            .random
            .pick(names)
            .filter(|name| self.knowledge.containers[*name].runs == Known::Yes)
            .cloned()
        else {
            return;
        };
        let command = json!({"container": name, "command": ["touch", "/touched"]});
        let (made, exec) = self.call("ctr.v1.Containers/ExecCreate", &command);
        if made == Known::Yes {
            let _ = self.call(
                "ctr.v1.Containers/ExecStartDetached",
                &json!({"exec": exec["id"]}),
            );
        }
    }

    /// Pulls, tags and removes images until it is over.
    pub(crate) fn images(mut self, sources: &[String], prefix: &str) -> Knowledge {
        for source in sources {
            self.knowledge.images.entry(source.clone()).or_default();
        }
        while !self.over() {
            let there: Vec<String> = self
                .knowledge
                .images
                .iter()
                .filter(|(_, known)| **known == Known::Yes)
                .map(|(name, _)| name.clone())
                .collect();
            match self.random.below(5) {
                0..=1 => {
                    let Some(source) = self.random.pick(sources).cloned() else {
                        return self.knowledge;
                    };
                    let before = self.knowledge.images[&source];
                    let (pulled, _) = self.call("ctr.v1.Images/Pull", &json!({"reference": source}));
                    // What was there stays there, whatever becomes of another pull.
                    let known = if before == Known::Yes { before } else { pulled };
                    self.knowledge.images.insert(source, known);
                }
                2..=3 => {
                    let Some(name) = self.random.pick(&there).cloned() else {
                        continue;
                    };
                    let (removed, _) = self.call("ctr.v1.Images/Remove", &json!({"image": name}));
                    let known = if removed == Known::Yes {
                        Known::No
                    } else {
                        Known::Perhaps
                    };
                    self.knowledge.images.insert(name, known);
                }
                _ => {
                    let Some(source) = self.random.pick(&there).cloned() else {
                        continue;
                    };
                    let target = format!("{prefix}:tag{}", self.random.below(4));
                    let before = self.knowledge.images.get(&target).copied().unwrap_or_default();
                    let (tagged, _) =
                        self.call("ctr.v1.Images/Tag", &json!({"source": source, "target": target}));
                    let known = if before == Known::Yes { before } else { tagged };
                    self.knowledge.images.insert(target, known);
                }
            }
        }
        self.knowledge
    }
}
