//! Collections while others protect, pull and remove.

use super::*;

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn protecting_during_the_sweep_either_saves_or_waits_for_the_end() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).await.unwrap();
    let layers = Arc::new(Layers {
        gate: Some((Semaphore::new(0), Semaphore::new(0))),
        ..Layers::default()
    });
    store.register_collector("layer", layers.clone());
    for id in ["a", "b", "c"] {
        layers.add(id, None);
    }
    let collection = tokio::spawn({
        let store = store.clone();
        async move { store.collect().await.unwrap() }
    });
    let (arrived, go) = layers.gate.as_ref().unwrap();
    arrived.acquire().await.unwrap().forget();
    // One of the three is being removed now, the others are condemned.
    let lease = Arc::new(store.lease().await.unwrap());
    let protections: Vec<_> = ["a", "b", "c"]
        .into_iter()
        .map(|id| {
            let (lease, layers) = (lease.clone(), layers.clone());
            tokio::spawn(async move {
                lease.protect(Resource::new("layer", id)).await.unwrap();
                // What is there now must stay.
                layers.ids().contains(&id.to_owned())
            })
        })
        .collect();
    // Two protections end while the removal still waits.
    while protections.iter().filter(|task| task.is_finished()).count() < 2 {
        tokio::task::yield_now().await;
    }
    go.add_permits(3);
    let mut saved = 0;
    for task in protections {
        saved += usize::from(task.await.unwrap());
    }
    let report = collection.await.unwrap();
    assert_eq!((saved, report.removed.len()), (2, 1));
    assert_eq!(layers.ids().len(), 2);
    assert!(store.collect().await.unwrap().removed.is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn pulls_and_removals_during_endless_collection_lose_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).await.unwrap();
    let layers = Arc::new(Layers::default());
    store.register_collector("layer", layers.clone());
    let stop = tokio_util::sync::CancellationToken::new();
    let collector = tokio::spawn({
        let (store, stop) = (store.clone(), stop.clone());
        async move {
            let mut runs = 0;
            while !stop.is_cancelled() {
                store.collect().await.unwrap();
                runs += 1;
            }
            runs
        }
    });
    // Four images over the same few layers are pulled, used and removed again and again.
    let pullers: Vec<_> = (0..4)
        .map(|n| {
            let (store, layers) = (store.clone(), layers.clone());
            tokio::spawn(async move {
                for round in 0..25 {
                    let lease = store.lease().await.unwrap();
                    let mut labels = Labels::new();
                    for k in 0..3 {
                        let bytes = format!("layer {}", (n + k + round) % 5);
                        let diff = Digest::of(format!("diff of {bytes}"));
                        lease.protect(Resource::layer(&diff)).await.unwrap();
                        if !layers.ids().contains(&diff.to_string()) {
                            layers.add(diff.as_str(), None);
                        }
                        let digest = Digest::of(&bytes);
                        lease.protect(Resource::content(&digest)).await.unwrap();
                        if store.blob(&digest).await.unwrap().is_none() {
                            put(&store, lease.id(), bytes.as_bytes(), Labels::new()).await;
                        }
                        labels.extend([
                            Resource::content(&digest).label(k),
                            Resource::layer(&diff).label(k),
                        ]);
                    }
                    let manifest = put(&store, lease.id(), format!("m{n}").as_bytes(), labels.clone()).await;
                    // Labels of an older pull of the same manifest may name other layers.
                    store.label_blob(&manifest, labels.clone()).await.unwrap();
                    let name = format!("image{n}");
                    store
                        .put_reference(&name, &manifest, Labels::new())
                        .await
                        .unwrap();
                    lease.release().await.unwrap();
                    for (key, value) in &labels {
                        if key.contains("content") {
                            let digest = value.parse().unwrap();
                            store
                                .read_blob(&digest, 100)
                                .await
                                .unwrap_or_else(|e| panic!("{key}: {e}"));
                        } else {
                            assert!(layers.ids().contains(value), "{key} {value}");
                        }
                    }
                    store.remove_reference(&name).await.unwrap();
                }
            })
        })
        .collect();
    for puller in pullers {
        puller.await.unwrap();
    }
    stop.cancel();
    assert!(collector.await.unwrap() > 0);
    store.collect().await.unwrap();
    assert_eq!(
        (
            digests(&store).await.len(),
            blob_files(&store),
            layers.ids().len()
        ),
        (0, 0, 0)
    );
}
