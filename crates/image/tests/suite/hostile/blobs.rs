//! Blobs with other bytes, other lengths, or that come in pieces.

use super::*;

#[tokio::test]
async fn a_blob_with_other_bytes_is_refused() {
    let image = TestImage::new(&["hello"]);
    let server = with_blob(&image, |_, _, bytes| {
        let mut wrong = bytes.to_vec();
        wrong[20] ^= 1;
        Some(Answer::new(200, wrong))
    })
    .await;
    let world = World::new().await;
    let error = world.pull(&server.reference("x:t")).await.unwrap_err();
    assert!(matches!(error, ImageError::DigestMismatch { .. }), "{error}");
    assert_eq!(*world.recorder.aborted.lock().unwrap(), 1);
    world.assert_nothing_behind().await;
}

#[tokio::test]
async fn a_wrong_size_in_the_manifest_is_refused() {
    for difference in [-1isize, 1] {
        let image = TestImage::new(&["hello"]);
        let size = image.layers[0].len().checked_add_signed(difference).unwrap();
        let layer = serde_json::json!({"mediaType": OCI_LAYER_GZIP, "digest": image.layer(0), "size": size});
        let lying = TestImage {
            manifest: TestImage::manifest_of(&image.config, &[layer]),
            ..image
        };
        for framed in [true, false] {
            let server = with_blob(&lying, move |_, _, bytes| {
                (!framed).then(|| Answer::new(200, bytes).with(Body::Full(bytes.to_vec()), None))
            })
            .await;
            let world = World::new().await;
            let error = world.pull(&server.reference("x:t")).await.unwrap_err();
            let expected = matches!(
                error,
                ImageError::SizeMismatch { .. }
                    | ImageError::DigestMismatch { .. }
                    | ImageError::Transport { .. }
            );
            assert!(expected, "{error}");
            world.assert_nothing_behind().await;
        }
    }
}

#[tokio::test]
async fn an_endless_body_is_stopped() {
    let image = TestImage::new(&["hello"]);
    let server = with_blob(&image, |_, _, _| {
        Some(Answer::new(200, "").with(Body::Endless, None))
    })
    .await;
    let world = World::new().await;
    let error = world.pull(&server.reference("x:t")).await.unwrap_err();
    assert!(matches!(error, ImageError::SizeMismatch { .. }), "{error}");
    world.assert_nothing_behind().await;
}

#[tokio::test]
async fn a_stalling_server_is_given_up() {
    let image = TestImage::big(100_000);
    let server = with_blob(&image, |seen, _, bytes| {
        let start = range_start(seen).unwrap_or(0);
        Some(ranged(seen, bytes).with(
            Body::Stall(bytes[start..start + 1000].to_vec()),
            Some(bytes.len() - start),
        ))
    })
    .await;
    // Every attempt ends with it, so that none can be too short for a slow host.
    let mut config = impatient();
    config.timeouts.stall = std::time::Duration::from_millis(300);
    let world = World::with(config, Recorder::default()).await;
    let error = world.pull(&server.reference("x:t")).await.unwrap_err();
    assert!(
        matches!(error, ImageError::Transport { attempts: 4, .. }),
        "{error}"
    );
    world.assert_nothing_behind().await;
}

#[tokio::test]
async fn a_connection_that_breaks_every_64_kib_is_resumed() {
    let image = TestImage::big(1 << 20);
    let server = with_blob(&image, |seen, _, bytes| {
        let start = range_start(seen).unwrap_or(0);
        let end = (start + (64 << 10)).min(bytes.len());
        let answer = ranged(seen, bytes);
        Some(answer.with(Body::Cut(bytes[start..end].to_vec()), Some(bytes.len() - start)))
    })
    .await;
    let world = World::new().await;
    world.pull(&server.reference("x:t")).await.unwrap();
    world.assert_unpacked(&image, 0);
    // One sink saw all of it: nothing was started over.
    assert_eq!(world.recorder.begun.lock().unwrap().len(), 1);
    assert!(server.requests("/blobs/").len() > 16);
}

#[tokio::test]
async fn a_server_without_ranges_is_read_from_the_start_again() {
    let image = TestImage::big(200_000);
    let server = with_blob(&image, |_, nth, bytes| {
        let whole = Answer::new(200, bytes);
        Some(if nth < 2 {
            whole.with(Body::Cut(bytes[..100_000].to_vec()), Some(bytes.len()))
        } else {
            whole
        })
    })
    .await;
    let world = World::new().await;
    world.pull(&server.reference("x:t")).await.unwrap();
    world.assert_unpacked(&image, 0);
    assert!(*world.recorder.aborted.lock().unwrap() > 0);
}

#[tokio::test]
async fn a_wrong_range_is_not_believed() {
    let image = TestImage::big(200_000);
    let server = with_blob(&image, |seen, nth, bytes| {
        Some(match (nth, range_start(seen)) {
            (0, _) => Answer::new(200, "").with(Body::Cut(bytes[..100_000].to_vec()), Some(bytes.len())),
            (_, Some(start)) => Answer::new(206, &bytes[start - 10..]).header(
                "Content-Range",
                format!("bytes {}-{}/{}", start - 10, bytes.len() - 1, bytes.len()),
            ),
            (_, None) => Answer::new(200, bytes),
        })
    })
    .await;
    let world = World::new().await;
    world.pull(&server.reference("x:t")).await.unwrap();
    world.assert_unpacked(&image, 0);
}

#[tokio::test]
async fn the_next_pull_continues_where_a_dead_one_stopped() {
    let image = TestImage::big(2 << 20);
    const SENT: usize = 3 << 19;
    let server = with_blob(&image, |seen, nth, bytes| {
        (nth == 0).then(|| ranged(seen, bytes).with(Body::Stall(bytes[..SENT].to_vec()), Some(bytes.len())))
    })
    .await;
    let world = World::with(RegistryConfig::default(), Recorder::default()).await;
    let reference = server.reference("x:t");
    let mut received = world.recorder.received.subscribe();
    tokio::select! {
        _ = world.pull(&reference) => panic!("the pull ended"),
        waited = received.wait_for(|n| *n >= SENT) => drop(waited.unwrap()),
    }
    world.pull(&reference).await.unwrap();
    let ranges: Vec<_> = server
        .requests(image.layer(0).hex())
        .iter()
        .filter_map(range_start)
        .collect();
    assert!(
        ranges.first().is_some_and(|start| *start >= 512 << 10),
        "{ranges:?}"
    );
    // The new sink has seen the first part from disk.
    world.assert_unpacked(&image, 0);
}

#[tokio::test]
async fn a_damaged_partial_copy_is_fetched_again() {
    for strict in [false, true] {
        let image = TestImage::big(300_000);
        let server = Server::start(Content::default().image("t", &image), |_, _| None).await;
        let world = World::with(
            impatient(),
            Recorder {
                strict,
                ..Recorder::default()
            },
        )
        .await;
        let lease = world.store.lease().await.unwrap();
        let (digest, size) = (image.layer(0), image.layers[0].len() as u64);
        let ingest = world
            .store
            .ingest(lease.id(), digest.as_str(), Some(digest.clone()), Some(size));
        let mut ingest = ingest.await.unwrap();
        for _ in 0..10 {
            ingest.write(vec![7; 10_000].into()).await.unwrap();
        }
        // Something must be on disk, which a failed commit makes sure of.
        ingest.commit(store::Labels::new()).await.unwrap_err();
        lease.release().await.unwrap();
        world.pull(&server.reference("x:t")).await.unwrap();
        let ranges: Vec<_> = server.requests(digest.hex()).iter().map(range_start).collect();
        // An unpacker that understands the bytes notices before anything is fetched.
        assert_eq!(
            ranges,
            if strict {
                vec![None]
            } else {
                vec![Some(100_000), None]
            }
        );
        world.assert_unpacked(&image, 0);
    }
}

#[tokio::test]
async fn wrong_bytes_are_the_registry_s_fault_even_if_the_unpacker_chokes_first() {
    let image = TestImage::big(100_000);
    let server = with_blob(&image, |_, _, bytes| Some(Answer::new(200, vec![7; bytes.len()]))).await;
    let world = World::strict().await;
    let error = world.pull(&server.reference("x:t")).await.unwrap_err();
    assert!(matches!(error, ImageError::DigestMismatch { .. }), "{error}");
    world.assert_nothing_behind().await;
}

#[tokio::test]
async fn a_repeated_layer_is_fetched_once_and_too_many_are_refused() {
    let one = TestImage::new(&["a"]);
    let tar = tar_of("file", b"a");
    let many = TestImage::from_tars("linux/amd64", &vec![tar.clone(); 200]);
    let server = Server::start(Content::default().image("t", &many), |_, _| None).await;
    let world = World::new().await;
    let image = world.pull(&server.reference("x:t")).await.unwrap();
    assert_eq!(image.layers.len(), 200);
    assert_eq!(server.requests(one.layer(0).hex()).len(), 1);
    let too_many = TestImage::from_tars("linux/amd64", &vec![tar; 257]);
    let server = Server::start(Content::default().image("t", &too_many), |_, _| None).await;
    let error = world.pull(&server.reference("x:t")).await.unwrap_err();
    assert!(matches!(error, ImageError::LimitExceeded { .. }), "{error}");
}

#[tokio::test]
async fn an_unpacker_that_fails_fails_the_pull_with_its_reason() {
    let image = TestImage::big(100_000);
    let server = Server::start(Content::default().image("t", &image), |_, _| None).await;
    let recorder = Recorder {
        fail_after: Some(1000),
        ..Recorder::default()
    };
    let world = World::with(impatient(), recorder).await;
    let error = world.pull(&server.reference("x:t")).await.unwrap_err();
    assert!(
        matches!(&error, ImageError::Unpack { source, .. } if source.to_string() == "the disk is full"),
        "{error}"
    );
    world.assert_nothing_behind().await;
}
