//! The daemon dies at any instant, and nothing is lost and nothing leaks.
//!
//! Clients work while the daemon is killed; after its next start everything that was acknowledged must be so, and the host
//! must have exactly what the daemon says that there is. `CTR_LIKE_CRASH_KILLS` says how often (25), `CTR_LIKE_CRASH_SEED`
//! repeats the choices of a run that failed; instants cannot be repeated exactly.

#![cfg(unix)]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod host;
mod random;
mod workload;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};
use tests::images::{LayoutBuilder, tar_of};
use tests::wire::{Answer, ask};
use tests::{BUSYBOX, Registry, TestDaemon, images, wait};

use crate::host::Inventory;
use crate::random::Random;
use crate::workload::{Knowledge, Known, Worker};

/// The longest life of a daemon under work, in microseconds.
const LIFE: usize = 400_000;
/// The longest life of one that is killed while it starts.
const BIRTH: usize = 60_000;
/// How long a new daemon may take to clear up; well below the time after which a wait gives up without a word.
const PATIENCE: Duration = Duration::from_secs(170);
/// Small images that come and go.
const SMALL: usize = 3;
/// Blobs that can be there: of the small images and of busybox a manifest, a configuration and at most two layers.
const BLOBS: usize = 4 * (SMALL + 1);

fn number(name: &str, otherwise: u64) -> u64 {
    std::env::var(name).map_or(otherwise, |text| {
        text.parse()
            .unwrap_or_else(|_| panic!("{name}={text} is no number"))
    })
}

/// Pushes images of two small layers, one of them shared.
fn small_images(folder: &Path) -> Vec<String> {
    let shared = tar_of(&[("shared", &[7; 300_000])]);
    let mut names = Vec::new();
    for index in 0..SMALL {
        let layout = LayoutBuilder::new(&folder.join(format!("small-{index}")));
        let mut random = Random::new(index as u64);
        let noise: Vec<u8> = (0..400_000)
            .map(|_| u8::try_from(random.below(256)).unwrap())
            .collect();
        let own = tar_of(&[("own", &noise)]);
        let platform = json!({"os": "linux", "architecture": "amd64"});
        let image = layout.image(&[shared.clone(), own], &platform, &json!({"Cmd": ["/own"]}));
        layout.tag(&image, "latest");
        let name = format!("crash/small-{index}:latest");
        names.push(Registry::shared().push_layout(layout.path(), "latest", &name));
    }
    names
}

/// Asks what must be answered.
fn must(daemon: &TestDaemon, method: &str, params: &Value) -> Value {
    match ask(&daemon.socket(), method, params) {
        Answer::Done(value) => value,
        other => panic!("{method} {params}: {other:?}"),
    }
}

/// The state of every container by name, and its id.
fn containers(daemon: &TestDaemon) -> BTreeMap<String, (String, String)> {
    let list = must(daemon, "ctr.v1.Containers/List", &json!({"all": true}));
    let rows = list["containers"].as_array().unwrap();
    let text = |row: &Value, key: &str| row[key].as_str().unwrap().to_owned();
    rows.iter()
        .map(|row| (text(row, "name"), (text(row, "state"), text(row, "id"))))
        .collect()
}

fn image_names(daemon: &TestDaemon) -> Vec<String> {
    let list = must(daemon, "ctr.v1.Images/List", &json!({}));
    let rows = list["images"].as_array().unwrap();
    rows.iter()
        .flat_map(|row| row["repo_tags"].as_array().unwrap().clone())
        .map(|tag| tag.as_str().unwrap().to_owned())
        .collect()
}

/// Compares what clients know with what the daemon says, and then the host with that.
fn compare(daemon: &TestDaemon, knowledge: &Knowledge) -> Result<(), String> {
    let mut inventory = Inventory {
        blobs: BLOBS,
        ..Inventory::default()
    };
    let found = containers(daemon);
    for (name, (state, id)) in &found {
        let known = knowledge
            .containers
            .get(name)
            .ok_or(format!("{name} is nobody's"))?;
        let runs = state == "running";
        let agrees = if known.short {
            // Started, it goes by itself; if not, it may be there.
            known.runs != Known::Yes && state == "created"
        } else {
            known.exists.allows(true) && known.runs.allows(runs)
        };
        if !agrees {
            return Err(format!("{name} is {state}, known: {known:?}"));
        }
        inventory.ids.insert(id.clone());
        if runs {
            inventory.running.insert(id.clone());
            inventory.sleeps.insert(known.seconds);
        }
        must(daemon, "ctr.v1.Containers/Inspect", &json!({"container": name}));
    }
    let lost = |(name, known): (&String, &workload::Container)| {
        let may_be_gone = known.exists.allows(false) || (known.short && known.runs != Known::No);
        (!may_be_gone && !found.contains_key(name)).then(|| format!("{name} is lost, known: {known:?}"))
    };
    if let Some(lost) = knowledge.containers.iter().find_map(lost) {
        return Err(lost);
    }
    let images = image_names(daemon);
    for (name, known) in &knowledge.images {
        if !known.allows(images.contains(name)) {
            return Err(format!("image {name}: {known:?}, there are {images:?}"));
        }
    }
    for image in &images {
        must(daemon, "ctr.v1.Images/Inspect", &json!({"image": image}));
    }
    host::blobs_are_sound(&daemon.root())?;
    host::agrees(daemon, &inventory)
}

/// Waits until everything agrees; what a daemon clears up after its start takes a moment.
fn settle(daemon: &TestDaemon, knowledge: &Knowledge) {
    let start = Instant::now();
    wait::until("everything agrees", || {
        let difference = compare(daemon, knowledge);
        assert!(difference.is_ok() || start.elapsed() < PATIENCE, "{difference:?}");
        difference.ok()
    });
}

/// What was unknown is seen now.
fn learn(daemon: &TestDaemon, knowledge: &mut Knowledge) {
    let found = containers(daemon);
    for (name, known) in &mut knowledge.containers {
        let state = found.get(name).map(|(state, _)| state.as_str());
        known.exists = Known::seen(state.is_some());
        known.runs = Known::seen(state == Some("running"));
    }
    let images = image_names(daemon);
    for (name, known) in &mut knowledge.images {
        *known = Known::seen(images.contains(name));
    }
    knowledge.tidy();
}

/// Works until the daemon is killed at an instant of chance; what is known then.
fn live_and_die(
    daemon: &mut TestDaemon,
    random: &mut Random,
    knowledge: &Knowledge,
    image: &str,
    small: &[String],
) -> Knowledge {
    let stop = Arc::new(AtomicBool::new(false));
    let mut worker = |mine: &dyn Fn(&str) -> bool, images: bool| {
        let containers = knowledge.containers.iter().filter(|(name, _)| mine(name));
        Worker {
            socket: daemon.socket(),
            random: random.split(),
            stop: stop.clone(),
            knowledge: Knowledge {
                containers: containers
                    .map(|(name, known)| (name.clone(), known.clone()))
                    .collect(),
                images: if images {
                    knowledge.images.clone()
                } else {
                    BTreeMap::new()
                },
                ..Knowledge::default()
            },
        }
    };
    let first = worker(&|name| name.starts_with("a-"), false);
    let second = worker(&|name| name.starts_with("b-"), false);
    let third = worker(&|_| false, true);
    let instant = Duration::from_micros(random.below(LIFE) as u64);
    std::thread::scope(|scope| {
        let workers = [
            scope.spawn(|| first.containers(image, "a")),
            scope.spawn(|| second.containers(image, "b")),
            scope.spawn(|| third.images(small, "crash/local")),
        ];
        pause(instant);
        daemon.kill();
        stop.store(true, Ordering::Relaxed);
        let mut known = Knowledge::default();
        for worker in workers {
            known.take_in(worker.join().unwrap());
        }
        known
    })
}

#[expect(
    clippy::disallowed_methods,
    reason = "the instant of a crash is a matter of time alone"
)]
fn pause(instant: Duration) {
    std::thread::sleep(instant);
}

#[test]
fn a_daemon_killed_at_any_instant_loses_nothing_and_leaks_nothing() {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let seed = number("CTR_LIKE_CRASH_SEED", now);
    let kills = number("CTR_LIKE_CRASH_KILLS", 25);
    eprintln!("CTR_LIKE_CRASH_SEED={seed} CTR_LIKE_CRASH_KILLS={kills}");
    let mut random = Random::new(seed);
    let mut daemon = TestDaemon::start();
    let image = images::pushed(BUSYBOX);
    let small = small_images(daemon.scratch());
    must(&daemon, "ctr.v1.Images/Pull", &json!({"reference": image}));
    let mut knowledge = Knowledge::default();
    let (mut answered, mut lost, mut births) = (0, 0, 0);
    let start = Instant::now();
    let mut killed = 0;
    while killed < kills {
        knowledge = live_and_die(&mut daemon, &mut random, &knowledge, &image, &small);
        killed += 1;
        answered += std::mem::take(&mut knowledge.answered);
        lost += std::mem::take(&mut knowledge.lost);
        assert!(
            knowledge.refused.is_empty(),
            "seed {seed}, kill {killed}: {:#?}",
            knowledge.refused
        );
        // Now and then the next one dies while it starts, too.
        while killed < kills && random.below(4) == 0 {
            daemon.begin();
            pause(Duration::from_micros(random.below(BIRTH) as u64));
            daemon.kill();
            killed += 1;
            births += 1;
        }
        daemon.launch();
        let (seen, known) = (&daemon, &knowledge);
        let checked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| settle(seen, known)));
        if let Err(panic) = checked {
            eprintln!("failed with CTR_LIKE_CRASH_SEED={seed} after {killed} kills");
            std::panic::resume_unwind(panic);
        }
        learn(&daemon, &mut knowledge);
    }
    let each = start.elapsed() / u32::try_from(kills).unwrap();
    eprintln!(
        "{kills} kills ({births} during a start), {answered} calls answered, {lost} lost, {each:?} each"
    );
    for name in knowledge.containers.keys() {
        must(
            &daemon,
            "ctr.v1.Containers/Remove",
            &json!({"container": name, "force": true}),
        );
    }
    for name in image_names(&daemon) {
        must(&daemon, "ctr.v1.Images/Remove", &json!({"image": name}));
    }
    let root = daemon.root();
    wait::until("nothing is left", || {
        let left = host::is_empty(&root);
        left.ok()
    });
}

#[test]
fn a_daemon_killed_while_its_sandbox_boots_leaves_it_to_the_next_one() {
    let mut daemon = TestDaemon::start_with_slow_sandboxes();
    let image = images::pushed(BUSYBOX);
    let shim = wait::until("a sandbox boots", || daemon.shims().first().copied());
    daemon.kill();
    daemon.begin();
    daemon.let_sandboxes_boot();
    wait::until("the next daemon answers", || {
        matches!(
            ask(&daemon.socket(), "ctr.v1.System/Ping", &json!({})),
            Answer::Done(_)
        )
        .then_some(())
    });
    assert_eq!(daemon.cli(["run", "--rm", &image, "echo", "hi"]).ok(), "hi");
    assert_eq!(daemon.shims(), [shim], "it is the same one, and the only one");
}
