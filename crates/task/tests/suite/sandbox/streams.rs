//! Streams and exits: output, input, terminals, execs, and clients that read slowly or not at all.

use super::*;

#[tokio::test]
async fn exit_codes_and_both_streams_come_out() {
    let bench = Bench::new().await;
    assert_eq!(bench.run(bench.task("c1", &["exit", "7"])).await.0, 7);
    let (code, out, err) = bench.run(bench.task("c2", &["both"])).await;
    assert_eq!(
        (code, out.as_str(), err.as_str()),
        (0, "to stdout\n", "to stderr\n")
    );
    let mut records = bench.log("c2");
    records.sort();
    assert_eq!(
        records,
        [
            ("stderr".into(), "to stderr\n".into()),
            ("stdout".into(), "to stdout\n".into())
        ]
    );
}

#[tokio::test]
async fn a_guest_that_dials_a_stream_again_is_heard_on_the_last_connection() {
    let bench = Bench::new().await;
    let (code, out, err) = bench.run(bench.task("c1", &["again", "both"])).await;
    assert_eq!(
        (code, out.as_str(), err.as_str()),
        (0, "to stdout\n", "to stderr\n")
    );
}

#[tokio::test]
async fn a_terminal_has_one_stream_and_takes_its_size() {
    let bench = Bench::new().await;
    let spec = task::TaskSpec {
        terminal: true,
        ..bench.task("c1", &["both"])
    };
    bench.sandbox.create(spec).await.unwrap();
    bench.sandbox.resize("c1", None, 40, 120).await.unwrap();
    let streams = bench.sandbox.attach("c1", None).await.unwrap();
    assert!(streams.stdin.is_none());
    bench.sandbox.start("c1").await.unwrap();
    assert_eq!(
        read_frames(streams.output).await,
        ("to stdout\n".into(), String::new())
    );
    assert_eq!(bench.journal.count("guest resize c1 120x40"), 1);
    let spec = bench.task("c2", &["hang"]);
    bench.sandbox.create(spec).await.unwrap();
    assert_eq!(
        bench.sandbox.resize("c2", None, 1, 1).await.unwrap_err().kind,
        ErrorKind::InvalidState
    );
}

#[tokio::test]
async fn input_goes_in_and_its_end_ends_the_process_only_when_asked_for() {
    let bench = Bench::new().await;
    let spec = task::TaskSpec {
        stdin: true,
        stdin_once: true,
        ..bench.task("c1", &["cat"])
    };
    bench.sandbox.create(spec).await.unwrap();
    let streams = bench.sandbox.attach("c1", None).await.unwrap();
    let mut stdin = streams.stdin.unwrap();
    // Before the start, it waits.
    stdin.write_all(b"hello ").await.unwrap();
    bench.sandbox.start("c1").await.unwrap();
    stdin.write_all(b"world").await.unwrap();
    stdin.shutdown().await.unwrap();
    assert_eq!(read_frames(streams.output).await.0, "hello world");
    assert_eq!(bench.sandbox.wait("c1", None).await.unwrap().code, 0);

    let spec = task::TaskSpec {
        stdin: true,
        stdin_once: false,
        ..bench.task("c2", &["cat"])
    };
    bench.sandbox.create(spec).await.unwrap();
    bench.sandbox.start("c2").await.unwrap();
    for word in ["one", "two"] {
        let mut streams = bench.sandbox.attach("c2", None).await.unwrap();
        let mut stdin = streams.stdin.take().unwrap();
        stdin.write_all(word.as_bytes()).await.unwrap();
        stdin.shutdown().await.unwrap();
        let mut frame = [0; 8];
        streams.output.read_exact(&mut frame).await.unwrap();
        assert_eq!(&frame[5..], word.as_bytes());
    }
    assert_eq!(
        bench.sandbox.state("c2").await.unwrap().status,
        TaskStatus::Running
    );
    bench.sandbox.signal("c2", None, 15).await.unwrap();
    assert_eq!(bench.sandbox.wait("c2", None).await.unwrap().code, 143);
}

#[tokio::test]
async fn a_client_that_reads_slowly_loses_nothing_and_one_that_left_disturbs_nobody() {
    let bench = Bench::new().await;
    bench.create("c1", &["fill", "300000"]).await;
    let left = bench.sandbox.attach("c1", None).await.unwrap();
    let slow = bench.sandbox.attach("c1", None).await.unwrap();
    bench.sandbox.start("c1").await.unwrap();
    drop(left);
    // The process cannot end while its output has not been taken.
    let wait = bench.sandbox.wait("c1", None);
    assert!(
        tokio::time::timeout(Duration::from_millis(50), wait)
            .await
            .is_err()
    );
    assert_eq!(read_frames(slow.output).await.0.len(), 300_000);
    assert_eq!(bench.sandbox.wait("c1", None).await.unwrap().code, 0);
    let logged: usize = bench.log("c1").iter().map(|(_, text)| text.len()).sum();
    assert_eq!(logged, 300_000);
}

#[tokio::test]
async fn a_client_that_stopped_reading_cannot_keep_a_killed_process() {
    let bench = Bench::new().await;
    bench.create("c1", &["fill", "3000000"]).await;
    let stuck = bench.sandbox.attach("c1", None).await.unwrap();
    bench.sandbox.start("c1").await.unwrap();
    bench.sandbox.signal("c1", None, 9).await.unwrap();
    assert_eq!(bench.sandbox.wait("c1", None).await.unwrap().code, 137);
    drop(stuck);
}

#[tokio::test]
async fn an_exec_has_its_own_streams_and_exit() {
    let bench = Bench::new().await;
    bench.create("c1", &["hang"]).await;
    bench.sandbox.start("c1").await.unwrap();
    let (_, streams) = bench
        .sandbox
        .exec("c1", "e1", process_spec(&["both"]))
        .await
        .unwrap();
    assert_eq!(
        read_frames(streams.unwrap().output).await,
        ("to stdout\n".into(), "to stderr\n".into())
    );
    assert_eq!(bench.sandbox.wait("c1", Some("e1")).await.unwrap().code, 0);
    let again = bench
        .sandbox
        .exec("c1", "e1", process_spec(&["both"]))
        .await
        .unwrap_err();
    assert_eq!(again.kind, ErrorKind::AlreadyExists);
    bench.sandbox.delete_exec("c1", "e1").await.unwrap();
    assert_eq!(
        bench.sandbox.wait("c1", Some("e1")).await.unwrap_err().kind,
        ErrorKind::NotFound
    );

    let cat = task::ProcessSpec {
        stdin: true,
        ..process_spec(&["cat"])
    };
    let (_, streams) = bench.sandbox.exec("c1", "e2", cat).await.unwrap();
    let streams = streams.unwrap();
    let mut stdin = streams.stdin.unwrap();
    stdin.write_all(b"in").await.unwrap();
    stdin.shutdown().await.unwrap();
    assert_eq!(read_frames(streams.output).await.0, "in");

    let detached = task::ProcessSpec {
        detached: true,
        ..process_spec(&["exit", "3"])
    };
    let (_, streams) = bench.sandbox.exec("c1", "e3", detached).await.unwrap();
    assert!(streams.is_none());
    assert_eq!(bench.sandbox.wait("c1", Some("e3")).await.unwrap().code, 3);
    bench.journal.fail("guest exec c1 echo");
    assert!(
        bench
            .sandbox
            .exec("c1", "e4", process_spec(&["echo", "x"]))
            .await
            .is_err()
    );
    assert_eq!(
        bench.sandbox.wait("c1", Some("e4")).await.unwrap_err().kind,
        ErrorKind::NotFound
    );
    assert_eq!(
        bench.log("c1"),
        [("stdout".into(), "hanging\n".into())],
        "execs are not logged"
    );
}
