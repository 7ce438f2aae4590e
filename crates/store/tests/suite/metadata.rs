//! Records, transactions, locking.

use std::path::Path;

use serde::{Deserialize, Serialize};
use store::{Digest, Durability, Labels, Resource, Store, StoreError};

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Container {
    name: String,
    #[serde(default)]
    exit: Option<i32>,
}

fn container(name: &str) -> Container {
    Container {
        name: name.into(),
        exit: None,
    }
}

async fn reopen(store: Store, root: &Path) -> Store {
    store.close().await.unwrap();
    Store::open(root).await.unwrap()
}

#[tokio::test]
async fn records_survive_reopening_whatever_their_durability() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = Store::open(dir.path()).await.unwrap();
    for durability in [Durability::Immediate, Durability::Eventual] {
        let table = store.table::<Container>("container").durability(durability);
        table.put("a", &container("first")).await.unwrap();
        table.put_new("b", &container("second")).await.unwrap();
        let taken = table.put_new("b", &container("third")).await.unwrap_err();
        assert!(matches!(taken, StoreError::AlreadyExists { .. }), "{taken}");
        drop(table);
        store = reopen(store, dir.path()).await;
        let table = store.table::<Container>("container").durability(durability);
        assert_eq!(table.get("a").await.unwrap(), Some(container("first")));
        assert_eq!(
            table.list().await.unwrap(),
            [
                ("a".to_owned(), container("first")),
                ("b".to_owned(), container("second"))
            ]
        );
        assert!(table.remove("a").await.unwrap());
        assert!(!table.remove("a").await.unwrap());
        assert!(table.remove("b").await.unwrap());
        assert_eq!(table.get("a").await.unwrap(), None);
        assert!(
            store
                .table::<Container>("containers")
                .list()
                .await
                .unwrap()
                .is_empty()
        );
    }
}

#[tokio::test]
async fn older_records_are_brought_up_to_date_and_newer_ones_refused() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).await.unwrap();
    let old = store.table::<String>("t");
    old.put("k", &"name".to_owned()).await.unwrap();
    let new = store.table::<Container>("t").version(3, |version, value| {
        Ok(match version {
            1 => serde_json::json!({ "name": value }),
            _ => serde_json::json!({ "name": value["name"], "exit": 7 }),
        })
    });
    assert_eq!(
        new.get("k").await.unwrap(),
        Some(Container {
            name: "name".into(),
            exit: Some(7)
        })
    );
    new.put("k", &container("x")).await.unwrap();
    let error = old.get("k").await.unwrap_err();
    assert!(
        matches!(
            error,
            StoreError::NewerRecord {
                found: 3,
                supported: 1,
                ..
            }
        ),
        "{error}"
    );
    let wrong = store.table::<u32>("t").version(3, |_, value| Ok(value));
    assert!(matches!(
        wrong.get("k").await,
        Err(StoreError::MalformedRecord { .. })
    ));
}

#[derive(Debug, thiserror::Error)]
enum EngineError {
    #[error("the name is in use")]
    InUse,
    #[error(transparent)]
    Store(#[from] StoreError),
}

#[tokio::test]
async fn a_transaction_happens_as_a_whole_or_not_at_all() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).await.unwrap();
    let containers = store.table::<Container>("container");
    let names = store.table::<String>("name");
    let create = |id: &'static str, name: &'static str| {
        let (containers, names) = (containers.clone(), names.clone());
        store.transaction_with(Durability::Eventual, move |txn| {
            txn.put(&containers, id, &container(name))?;
            txn.put_root(&format!("container/{id}"), vec![Resource::new("scratch", id)])?;
            assert_eq!(txn.list(&containers)?.last().map(|(id, _)| id.as_str()), Some(id));
            match txn.get(&names, name)? {
                Some(_) => Err(EngineError::InUse),
                None => Ok(txn.put_new(&names, name, &id.to_owned())?),
            }
        })
    };
    create("1", "web").await.unwrap();
    assert!(matches!(create("2", "web").await, Err(EngineError::InUse)));
    create("3", "db").await.unwrap();
    assert_eq!(
        containers
            .list()
            .await
            .unwrap()
            .into_iter()
            .map(|(id, _)| id)
            .collect::<Vec<_>>(),
        ["1", "3"]
    );
    assert_eq!(store.roots().await.unwrap().len(), 2);
    assert_eq!(
        store.roots().await.unwrap()[0].resources,
        [Resource::new("scratch", "1")]
    );

    let dangling = store
        .put_reference("r", &Digest::of(b"none"), Labels::new())
        .await
        .unwrap_err();
    assert!(dangling.is_not_found());
    assert!(!store.remove_reference("r").await.unwrap());
    assert!(store.remove_root("container/1").await.unwrap());
    assert!(!store.remove_root("container/1").await.unwrap());
}

#[tokio::test]
async fn a_panicking_transaction_harms_only_itself() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).await.unwrap();
    let table = store.table::<u32>("t");
    let inner = table.clone();
    let result: Result<(), StoreError> = store
        .transaction(move |txn| {
            txn.put(&inner, "k", &1)?;
            panic!("on purpose");
        })
        .await;
    assert!(matches!(result, Err(StoreError::Closed)));
    assert_eq!(table.get("k").await.unwrap(), None);
    table.put("k", &2).await.unwrap();
    assert_eq!(table.get("k").await.unwrap(), Some(2));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn concurrent_transactions_have_an_order() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).await.unwrap();
    let counter = store.table::<u32>("counter");
    let tasks: Vec<_> = (0..200)
        .map(|n| {
            let (store, counter) = (store.clone(), counter.clone());
            tokio::spawn(async move {
                let durability = if n % 3 == 0 {
                    Durability::Immediate
                } else {
                    Durability::Eventual
                };
                let add = move |txn: &mut store::Transaction<'_>| {
                    let value = txn.get(&counter, "n")?.unwrap_or(0);
                    txn.put(&counter, "n", &(value + 1))?;
                    Ok::<_, StoreError>(value)
                };
                store.transaction_with(durability, add).await.unwrap()
            })
        })
        .collect();
    let mut seen = Vec::new();
    for task in tasks {
        seen.push(task.await.unwrap());
    }
    seen.sort_unstable();
    assert_eq!(seen, (0..200).collect::<Vec<_>>());
    let store = {
        drop(counter);
        reopen(store, dir.path()).await
    };
    assert_eq!(store.table::<u32>("counter").get("n").await.unwrap(), Some(200));
}

#[tokio::test]
async fn a_dump_shows_everything() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).await.unwrap();
    let lease = store.lease().await.unwrap();
    lease.protect(Resource::new("layer", "l1")).await.unwrap();
    store
        .table::<Container>("container")
        .put("c1", &container("web"))
        .await
        .unwrap();
    store
        .put_root("container/c1", vec![Resource::new("scratch", "c1")])
        .await
        .unwrap();
    let dump = store.dump().await.unwrap();
    assert_eq!(dump["tables"]["table/container"]["c1"]["d"]["name"], "web");
    assert_eq!(dump["tables"]["root"]["container/c1"][0]["kind"], "scratch");
    assert_eq!(dump["tables"]["protection"].as_object().unwrap().len(), 1);
    assert_eq!(dump["tables"]["meta"]["format"], 1);
    assert_eq!(
        store.leases().await.unwrap()[0].resources,
        [Resource::new("layer", "l1")]
    );
}

#[tokio::test]
async fn a_dropped_lease_is_released() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).await.unwrap();
    let lease = store.lease().await.unwrap();
    lease.protect(Resource::new("layer", "l1")).await.unwrap();
    drop(lease);
    // Transactions run in order, so this one comes after the release.
    store.transaction(|_| Ok::<_, StoreError>(())).await.unwrap();
    assert!(store.leases().await.unwrap().is_empty());
    assert!(store.dump().await.unwrap()["tables"].get("protection").is_none());
}

#[cfg(unix)]
#[tokio::test]
async fn a_directory_that_others_can_write_is_refused() {
    use std::os::unix::fs::PermissionsExt;
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("root");
    std::fs::create_dir(&root).unwrap();
    std::fs::set_permissions(&root, std::fs::Permissions::from_mode(0o777)).unwrap();
    assert!(matches!(
        Store::open(&root).await,
        Err(StoreError::UnsafeRoot { .. })
    ));
    std::fs::set_permissions(&root, std::fs::Permissions::from_mode(0o755)).unwrap();
    Store::open(&root).await.unwrap();
    let fresh = dir.path().join("a/b");
    Store::open(&fresh).await.unwrap();
    assert_eq!(
        std::fs::metadata(&fresh).unwrap().permissions().mode() & 0o777,
        0o700
    );
}
