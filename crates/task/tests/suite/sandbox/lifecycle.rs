//! The way up and the way down: order, failures on the way, and tasks that share layers or an id.

use super::*;

#[tokio::test]
async fn a_task_goes_up_in_order_and_comes_down_in_reverse() {
    let bench = Bench::new().await;
    let code = bench.run(bench.task("c1", &["echo", "hi"])).await;
    assert_eq!(code, (0, "hi\n".into(), String::new()));
    bench.sandbox.trim().await.unwrap();
    let lines = bench.journal.take();
    let at = |part: &str| position(&lines, part);
    let controller = "Scsi/df6d0690-79e5-55b6-a5ec-c1e2f77f580a/Attachments";
    for (lun, disk, mount) in [
        (0, "/layers/top.vhd", "guest add disk 0 /run/mounts/scsi/m0"),
        (1, "/layers/base.vhd", "guest add disk 1 /run/mounts/scsi/m1"),
        (2, "/scratch/c1.vhd", "guest add disk 2 /run/gcs/c/c1"),
    ] {
        let attach = at(&format!("host Add {controller}/{lun} {disk}"));
        assert!(attach < at(mount), "{lines:#?}");
        assert!(at(mount) < at("guest add overlay"), "{lines:#?}");
    }
    let up = [
        "guest add overlay /run/gcs/c/c1/rootfs /run/mounts/scsi/m0:/run/mounts/scsi/m1",
        "guest create c1",
        "guest start c1",
        "guest init c1 echo hi",
        "guest remove overlay /run/gcs/c/c1/rootfs",
        "guest remove disk 2 /run/gcs/c/c1",
        "guest unplug 2",
        &format!("host Remove {controller}/2"),
        "guest delete c1",
    ];
    assert!(up.map(at).is_sorted(), "{lines:#?}");
    for lun in [0, 1] {
        let down = [
            "guest remove overlay".to_owned(),
            format!("guest remove disk {lun} /run/mounts/scsi/m{lun}"),
            format!("guest unplug {lun}"),
            format!("host Remove {controller}/{lun}"),
        ];
        assert!(down.map(|part| at(&part)).is_sorted(), "{lines:#?}");
    }
    assert_eq!(lines.len(), 21, "{lines:#?}");
    assert_eq!(bench.log("c1"), [("stdout".into(), "hi\n".into())]);
    assert!(!bench.record("c1").exists());
}

#[tokio::test]
async fn layers_are_mounted_once_for_all_tasks_and_stay_until_the_last_is_gone() {
    let bench = Bench::with(Duration::from_secs(3600)).await;
    let (first, second) = tokio::join!(
        bench.sandbox.create(bench.task("c1", &["hang"])),
        bench.sandbox.create(bench.task("c2", &["hang"])),
    );
    first.unwrap();
    second.unwrap();
    assert_eq!(
        bench.journal.count("host Add"),
        4,
        "two layers, two scratches: {:#?}",
        bench.journal.take()
    );
    bench.sandbox.delete("c1").await.unwrap();
    bench.sandbox.trim().await.unwrap();
    assert_eq!(
        bench.journal.count("guest remove disk 0"),
        0,
        "the other task uses it"
    );
    bench.sandbox.delete("c2").await.unwrap();
    assert_eq!(
        bench.journal.count("guest remove disk 0"),
        0,
        "the next task may want it"
    );
    bench.journal.take();
    bench.create("c3", &["hang"]).await;
    assert_eq!(bench.journal.count("host Add"), 1, "only a scratch");
    bench.sandbox.delete("c3").await.unwrap();
    bench.sandbox.trim().await.unwrap();
    assert_eq!(bench.journal.count("host Remove"), 3);
}

#[tokio::test]
async fn layers_without_users_go_after_a_while() {
    let bench = Bench::new().await;
    bench.create("c1", &["hang"]).await;
    bench.sandbox.delete("c1").await.unwrap();
    bench
        .until("host Remove Scsi/df6d0690-79e5-55b6-a5ec-c1e2f77f580a/Attachments/0")
        .await;
    bench
        .until("host Remove Scsi/df6d0690-79e5-55b6-a5ec-c1e2f77f580a/Attachments/1")
        .await;
}

#[tokio::test]
async fn whatever_fails_on_the_way_up_leaves_nothing_behind() {
    let steps = [
        "host Add Scsi/df6d0690-79e5-55b6-a5ec-c1e2f77f580a/Attachments/0",
        "host Add Scsi/df6d0690-79e5-55b6-a5ec-c1e2f77f580a/Attachments/2",
        "guest add disk 0",
        "guest add disk 1",
        "guest add disk 2",
        "guest add overlay",
        "host Add Plan9/Shares",
        "guest add share",
        "guest create c1",
    ];
    for step in steps {
        let bench = Bench::new().await;
        let mut spec = bench.task("c1", &["hang"]);
        spec.oci_spec["mounts"] = json!([{"destination": "/data", "type": "bind", "source": "x"}]);
        spec.shares = vec![share(bench.dir.path(), false, 0)];
        bench.journal.fail(step);
        let error = bench.sandbox.create(spec.clone()).await.unwrap_err();
        assert!(
            matches!(error.kind, ErrorKind::Guest | ErrorKind::Compute),
            "{step}: {error}"
        );
        bench.sandbox.trim().await.unwrap();
        let lines = bench.journal.take();
        for (made, unmade) in [
            ("host Add Scsi", "host Remove Scsi"),
            ("host Add Plan9", "host Remove Plan9"),
            ("guest add disk", "guest remove disk"),
            ("guest add overlay", "guest remove overlay"),
            ("guest add share", "guest remove share"),
        ] {
            let worked = |line: &&String| !line.ends_with("FAILS");
            let made = lines
                .iter()
                .filter(worked)
                .filter(|line| line.starts_with(made))
                .count();
            let unmade = lines.iter().filter(|line| line.starts_with(unmade)).count();
            assert_eq!(made, unmade, "{step}: {lines:#?}");
        }
        assert!(!bench.record("c1").exists(), "{step}");
        assert!(bench.sandbox.tasks().await.unwrap().is_empty(), "{step}");
        // The same task can be made once the cause is gone, with the same slots.
        bench.journal.heal();
        bench
            .sandbox
            .create(spec)
            .await
            .unwrap_or_else(|error| panic!("{step}: {error}"));
        assert_eq!(bench.journal.count("guest add disk 2 /run/gcs/c/c1"), 1, "{step}");
    }
}

#[tokio::test]
async fn a_start_that_fails_can_only_be_deleted() {
    let bench = Bench::new().await;
    bench.create("c1", &["hang"]).await;
    bench.journal.fail("guest init");
    let error = bench.sandbox.start("c1").await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Guest);
    assert!(error.to_string().contains("told to fail"), "{error}");
    bench.journal.heal();
    assert_eq!(
        bench.sandbox.start("c1").await.unwrap_err().kind,
        ErrorKind::InvalidState
    );
    bench.sandbox.delete("c1").await.unwrap();
    let lines = bench.journal.take();
    assert!(position(&lines, "guest shutdown c1 forced=true") < position(&lines, "guest remove overlay"));
    bench.create("c1", &["hang"]).await;
}

#[tokio::test]
async fn a_caller_that_gives_up_leaves_a_whole_task() {
    let bench = Bench::new().await;
    let hold = bench.journal.hold("guest add overlay");
    let create = bench.sandbox.create(bench.task("c1", &["echo", "hi"]));
    assert!(
        tokio::time::timeout(Duration::from_millis(50), create)
            .await
            .is_err()
    );
    assert_eq!(
        bench
            .sandbox
            .create(bench.task("c1", &["hang"]))
            .await
            .unwrap_err()
            .kind,
        ErrorKind::AlreadyExists
    );
    hold.notify_one();
    bench.sandbox.start("c1").await.unwrap();
    assert_eq!(bench.sandbox.wait("c1", None).await.unwrap().code, 0);
}

#[tokio::test]
async fn a_new_task_waits_for_the_deletion_of_an_old_one_with_its_id() {
    let bench = Bench::new().await;
    bench.create("c1", &["hang"]).await;
    let hold = bench.journal.hold("guest remove overlay");
    let sandbox = bench.sandbox.clone();
    let deleting = tokio::spawn(async move { sandbox.delete("c1").await });
    bench.until("guest shutdown c1").await;
    let creating = bench.sandbox.create(bench.task("c1", &["hang"]));
    tokio::pin!(creating);
    assert!(
        tokio::time::timeout(Duration::from_millis(20), creating.as_mut())
            .await
            .is_err()
    );
    hold.notify_one();
    creating.await.unwrap();
    deleting.await.unwrap().unwrap();
    let lines = bench.journal.take();
    let last_create = lines
        .iter()
        .rposition(|line| line.contains("guest create c1"))
        .unwrap();
    assert!(position(&lines, "guest delete c1") < last_create);
}

#[tokio::test]
async fn shares_are_mounted_over_the_scratch_and_rewritten_in_the_specification() {
    let bench = Bench::new().await;
    let file = bench.dir.path().join("file.txt");
    std::fs::write(&file, "x").unwrap();
    let mut spec = bench.task("c1", &["hang"]);
    spec.oci_spec["mounts"] = json!([
        {"destination": "/proc", "type": "proc", "source": "proc"},
        {"destination": "/data", "type": "bind", "source": "x"},
        {"destination": "/file", "type": "bind", "source": "y"},
    ]);
    spec.shares = vec![share(bench.dir.path(), false, 1), share(&file, true, 2)];
    bench.sandbox.create(spec).await.unwrap();
    bench.sandbox.delete("c1").await.unwrap();
    let lines = bench.journal.take();
    let at = |part: &str| position(&lines, part);
    assert!(at("guest add disk 2 /run/gcs/c/c1") < at("guest add share 0 /run/gcs/c/c1/mounts/m1"));
    assert!(at("guest add share 1 /run/gcs/c/c1/mounts/m2") < at("guest create c1"));
    at("guest create c1 proc /run/gcs/c/c1/mounts/m1 /run/gcs/c/c1/mounts/m2/file.txt");
    assert!(at("guest remove share 0") < at("host Remove Plan9/Shares"));
    assert!(at("guest remove share 1") < at("guest remove disk 2"));
    let missing = share(&bench.dir.path().join("missing"), false, 0);
    let spec = task::TaskSpec {
        shares: vec![missing],
        ..bench.task("c2", &["hang"])
    };
    let error = bench.sandbox.create(spec).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Io);
    assert!(error.to_string().contains("missing"), "{error}");
}
