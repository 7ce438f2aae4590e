//! A full disk must not end the daemon, nor lose what it acknowledged. Needs root, to mount a small file system.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};

use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};
use store::{Durability, Store};

struct Mounted(PathBuf);

impl Drop for Mounted {
    fn drop(&mut self) {
        unmount(&self.0, UnmountFlags::DETACH).expect("it was mounted");
    }
}

fn fill(path: &Path) {
    let mut file = File::create(path).expect("a file can be created");
    for len in [1 << 20, 4096] {
        while file.write_all(&vec![1; len]).is_ok() {}
    }
}

#[tokio::test]
async fn when_space_is_back_the_store_goes_on_with_everything_it_acknowledged() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("small");
    fs::create_dir(&root).unwrap();
    mount("none", &root, "tmpfs", MountFlags::empty(), c"size=12m,mode=700")
        .expect("this test must run as root");
    let _mounted = Mounted(root.clone());
    let mut store = Store::open(&root).await.unwrap();
    let mut acknowledged = Vec::new();
    for round in 0..6 {
        let filler = root.join("filler");
        fill(&filler);
        let durability = [Durability::Immediate, Durability::Eventual][round % 2];
        let table = store.table::<String>("t").durability(durability);
        let mut refused = 0;
        for n in 0..10_000 {
            let key = format!("{round}-{n}");
            match table.put(&key, &"x".repeat(5000)).await {
                Ok(()) => acknowledged.push(key),
                Err(error) => {
                    assert!(error.is_no_space(), "{error:?}");
                    refused += 1;
                    // Reading goes on.
                    assert_eq!(table.list().await.unwrap().len(), acknowledged.len());
                }
            }
            if refused == 3 {
                break;
            }
        }
        assert_eq!(refused, 3, "the disk was not full");
        fs::remove_file(&filler).unwrap();
        table.put("again", &round.to_string()).await.unwrap();
        table.remove("again").await.unwrap();
        drop(table);
        if round == 3 {
            store.close().await.unwrap();
            store = Store::open(&root).await.unwrap();
        }
        let table = store.table::<String>("t");
        let found: Vec<_> = table
            .list()
            .await
            .unwrap()
            .into_iter()
            .map(|(key, _)| key)
            .collect();
        acknowledged.sort();
        assert_eq!(found, acknowledged);
        // Room for the next round.
        for key in acknowledged.drain(..) {
            table.remove(&key).await.unwrap();
        }
    }
}
