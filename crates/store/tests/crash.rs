//! A killed process: nothing acknowledged is lost, nothing half done is seen, nothing leaks.
//!
//! The test starts itself again as a child that works on a store from several tasks and reports on its standard output when
//! an operation begins and when it was acknowledged. It is killed after a random number of reports.

#![expect(clippy::unwrap_used, reason = "a failed step fails the test")]

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use bytes::Bytes;
use store::{Digest, Durability, Labels, Lease, Resource, Store, StoreError};

const ROOT: &str = "STORE_TEST_CHILD_ROOT";
const RUN: &str = "STORE_TEST_CHILD_RUN";

fn child(test: &str, root: &Path, run: usize) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", test, "--ignored", "--nocapture", "--test-threads=1"])
        .env(ROOT, root)
        .env(RUN, run.to_string())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap()
}

fn say(line: &str) {
    // One write per line, so that the lines of several tasks never mix.
    let mut out = std::io::stdout().lock();
    out.write_all(format!("@ {line}\n").as_bytes()).unwrap();
    out.flush().unwrap();
}

/// What the child said in this line. The test harness begins the first one with words of its own.
fn report(line: &str) -> Option<&str> {
    line.split_once("@ ").map(|(_, report)| report)
}

fn content(name: &str) -> Vec<u8> {
    let len = 1 + name.bytes().fold(7_usize, |h, b| h * 31 + usize::from(b)) % 150_000;
    name.bytes().cycle().take(len).collect()
}

async fn put(store: &Store, lease: &Lease, bytes: Vec<u8>) -> Digest {
    let digest = Digest::of(&bytes);
    let size = Some(bytes.len() as u64);
    let mut ingest = store
        .ingest(lease.id(), digest.as_str(), Some(digest.clone()), size)
        .await
        .unwrap();
    for chunk in bytes[usize::try_from(ingest.offset()).unwrap()..].chunks(40_000) {
        ingest.write(Bytes::copy_from_slice(chunk)).await.unwrap();
    }
    ingest.commit(Labels::new()).await.unwrap().digest
}

#[test]
#[ignore = "the child process of another test"]
fn child_that_works() {
    let Some(root) = std::env::var_os(ROOT) else {
        return;
    };
    let run = std::env::var(RUN).unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let store = Store::open(Path::new(&root)).await.unwrap();
        let mut tasks = Vec::new();
        for task in 0..3 {
            let (store, run) = (store.clone(), run.clone());
            tasks.push(tokio::spawn(async move {
                for n in 0..1000 {
                    let name = format!("{run}-{task}-{n}");
                    work(&store, &name, n).await;
                }
            }));
        }
        for task in tasks {
            task.await.unwrap();
        }
    });
}

async fn work(store: &Store, name: &str, n: usize) {
    let lease = store.lease().await.unwrap();
    say(&format!("begin ref {name}"));
    let digest = put(store, &lease, content(name)).await;
    store.put_reference(name, &digest, Labels::new()).await.unwrap();
    say(&format!("done ref {name}"));
    let _ = lease.release().await;

    let durability = if n.is_multiple_of(2) {
        Durability::Eventual
    } else {
        Durability::Immediate
    };
    let (record, twin) = (store.table::<String>("record"), store.table::<String>("twin"));
    say(&format!("begin rec {name}"));
    let key = name.to_owned();
    let both = store.transaction_with(durability, move |txn| {
        txn.put(&record, &key, &key)?;
        txn.put(&twin, &key, &key)?;
        txn.put_root(&key, vec![Resource::new("scratch", &*key)])
    });
    both.await.unwrap();
    say(&format!("done rec {name}"));

    if n.is_multiple_of(3) {
        say(&format!("begin unref {name}"));
        store.remove_reference(name).await.unwrap();
        say(&format!("done unref {name}"));
    }
    if n % 5 == 4 {
        store.collect().await.unwrap();
    }
}

#[derive(Default)]
struct Expected {
    references: BTreeSet<String>,
    records: BTreeSet<String>,
    /// Begun and not acknowledged: may or may not have happened.
    open: BTreeMap<String, String>,
}

impl Expected {
    fn note(&mut self, line: &str) {
        let words: Vec<&str> = line.split_whitespace().collect();
        let [phase, what, name] = words[..] else {
            panic!("{line}")
        };
        if phase == "begin" {
            self.open.insert(name.into(), what.into());
            return;
        }
        self.open.remove(name);
        match what {
            "ref" => drop(self.references.insert(name.into())),
            "unref" => drop(self.references.remove(name)),
            "rec" => drop(self.records.insert(name.into())),
            _ => panic!("{line}"),
        }
    }

    /// Compares, and takes over what happened to the operations that were open.
    fn settle(&mut self, what: [&str; 2], found: BTreeSet<String>) {
        let expected = if what[0] == "ref" {
            &mut self.references
        } else {
            &mut self.records
        };
        for name in expected.symmetric_difference(&found) {
            let begun = self.open.get(name).map(String::as_str);
            assert!(
                begun.is_some_and(|begun| what.contains(&begun)),
                "{what:?} {name}, open: {begun:?}"
            );
        }
        *expected = found;
    }
}

async fn keys(store: &Store, table: &'static str) -> BTreeSet<String> {
    let records = store.table::<String>(table).list().await.unwrap();
    records.into_iter().map(|(key, _)| key).collect()
}

async fn verify(root: &Path, expected: &mut Expected) {
    let store = Store::open(root).await.unwrap();
    assert!(store.leases().await.unwrap().is_empty());
    let references = store.references().await.unwrap();
    for reference in &references {
        assert_eq!(reference.target, Digest::of(content(&reference.name)));
        store.verify_blob(&reference.target).await.unwrap();
    }
    expected.settle(
        ["ref", "unref"],
        references.iter().map(|r| r.name.clone()).collect(),
    );
    let (records, twins) = (keys(&store, "record").await, keys(&store, "twin").await);
    let roots: BTreeSet<_> = store
        .roots()
        .await
        .unwrap()
        .into_iter()
        .map(|root| root.name)
        .collect();
    assert!(records == twins && records == roots, "a transaction was torn");
    expected.settle(["rec", "rec"], records);
    expected.open.clear();

    store.collect().await.unwrap();
    let blobs: BTreeSet<_> = store
        .blobs()
        .await
        .unwrap()
        .into_iter()
        .map(|b| b.digest.hex().to_owned())
        .collect();
    let wanted: BTreeSet<_> = references.iter().map(|r| r.target.hex().to_owned()).collect();
    let files: BTreeSet<_> = std::fs::read_dir(root.join("blobs/sha256"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    assert_eq!(blobs, wanted);
    assert_eq!(files, wanted);
    store.close().await.unwrap();
}

#[test]
fn killed_at_random_instants_it_keeps_every_promise() {
    let dir = tempfile::tempdir().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let mut expected = Expected::default();
    for run in 0..30 {
        let patience = rand::random_range(0..60_usize);
        let mut child = child("child_that_works", dir.path(), run);
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut ours = 0;
        while ours < patience {
            let line = lines.next().expect("the child works until it is killed").unwrap();
            if let Some(report) = report(&line) {
                ours += 1;
                expected.note(report);
            }
        }
        child.kill().unwrap();
        // What it said before it died counts as well.
        for line in lines.map_while(Result::ok) {
            report(&line).into_iter().for_each(|report| expected.note(report));
        }
        child.wait().unwrap();
        runtime.block_on(verify(dir.path(), &mut expected));
    }
    assert!(!expected.records.is_empty());
}

#[test]
#[ignore = "the child process of another test"]
fn child_that_holds_the_lock() {
    let Some(root) = std::env::var_os(ROOT) else {
        return;
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let store = runtime.block_on(Store::open(Path::new(&root))).unwrap();
    say("open");
    // Until the parent closes the pipe.
    let _ = std::io::stdin().lock().read_line(&mut String::new());
    drop(store);
}

#[test]
fn a_second_process_is_told_who_has_the_store() {
    let dir = tempfile::tempdir().unwrap();
    let mut child = child("child_that_holds_the_lock", dir.path(), 0);
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    assert!(lines.any(|line| line.unwrap().ends_with("@ open")));
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let error = runtime.block_on(Store::open(dir.path())).unwrap_err();
    assert!(
        matches!(error, StoreError::Locked { pid: Some(pid), .. } if pid == child.id()),
        "{error}"
    );
    assert!(error.to_string().contains(&child.id().to_string()));
    child.kill().unwrap();
    child.wait().unwrap();
    runtime.block_on(Store::open(dir.path())).unwrap();
}
