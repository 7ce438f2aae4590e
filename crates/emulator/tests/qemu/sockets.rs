//! Sockets between guest and host: bytes in both directions, ends of one direction, many connections, speed.

use std::time::Instant;

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::host::Host;

#[tokio::test(flavor = "multi_thread")]
async fn each_direction_ends_by_itself_and_nothing_is_lost() {
    let host = Host::new();
    let mut guest = host.boot("half").await;

    // The host ends its direction: the program's input ends, and its output still comes.
    let mut listener = guest.system.listen(5000).await.unwrap();
    guest
        .tell("vs 5000 /test/bin/sh -c 'wc -c; sleep 1; echo more' &")
        .await;
    let mut stream = listener.accept().await.unwrap();
    stream.write_all(&vec![1; 300_000]).await.unwrap();
    stream.shutdown().await.unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).await.unwrap();
    assert_eq!(text, "300000\nmore\n");
    drop(stream);

    // The guest ends its direction and still receives: the relay passes on the end of what the host sends through the other one.
    let mut other_end = guest.connect(5000, 5001).await;
    let mut stream = listener.accept().await.unwrap();
    other_end.write_all(b"last words").await.unwrap();
    other_end.shutdown().await.unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).await.unwrap();
    assert_eq!(text, "last words");
    stream.write_all(b"an answer after that").await.unwrap();
    drop(stream);
    let mut text = String::new();
    other_end.read_to_string(&mut text).await.unwrap();
    assert_eq!(text, "an answer after that");

    // What a program wrote before it ended arrives, also when the reader comes after its end.
    guest.tell("vs 5000 /test/bin/sh -c 'seq 1 40000' &").await;
    let mut stream = listener.accept().await.unwrap();
    assert_eq!(guest.run("wait; echo gone").await, "gone");
    let mut text = String::new();
    stream.read_to_string(&mut text).await.unwrap();
    assert!(
        text.ends_with("\n40000\n") && text.len() == 228_894,
        "{}",
        text.len()
    );

    // A port that nobody listens on refuses at once.
    let (code, message) = guest.try_run("vs 5999 /test/bin/true").await;
    assert_eq!(code, 2);
    assert!(
        message.contains("reset") || message.contains("refused"),
        "{message}"
    );

    guest.tell("exit").await;
    guest.exit().await;
    assert_eq!(host.leftovers(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn hundreds_of_connections_live_side_by_side() {
    const MANY: usize = 300;
    let host = Host::new();
    let mut guest = host.boot("many").await;
    let mut listener = guest.system.listen(5000).await.unwrap();
    guest
        .tell(&format!(
            "for i in $(seq {MANY}); do vs 5000 /test/bin/cat & done"
        ))
        .await;
    let mut streams = Vec::new();
    while streams.len() < MANY {
        streams.push(listener.accept().await.unwrap());
    }
    // The first one is flooded and never read; the others go on.
    let (first, rest) = streams.split_first_mut().unwrap();
    let flood = vec![0; 64 * 1024];
    let mut stuck = 0;
    while tokio::time::timeout(std::time::Duration::from_millis(500), first.write_all(&flood))
        .await
        .is_ok()
    {
        stuck += flood.len();
        assert!(stuck < 16 << 20, "somebody keeps everything");
    }
    for (number, stream) in rest.iter_mut().enumerate() {
        let word = format!("word {number}");
        stream.write_all(word.as_bytes()).await.unwrap();
        stream.shutdown().await.unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).await.unwrap();
        assert_eq!(text, word);
    }
    guest.system.terminate().await.unwrap();
    assert_eq!(host.leftovers(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn large_amounts_go_through_in_both_directions() {
    const MIB: usize = 64;
    let host = Host::new();
    let mut guest = host.boot("large").await;
    let mut listener = guest.system.listen(5000).await.unwrap();

    guest
        .tell(&format!(
            "vs 5000 /test/bin/dd if=/dev/zero bs=64k count={} 2>/dev/null &",
            MIB * 16
        ))
        .await;
    let mut stream = listener.accept().await.unwrap();
    let begun = Instant::now();
    let copied = tokio::io::copy(&mut stream, &mut tokio::io::sink())
        .await
        .unwrap();
    println!(
        "from the guest: {:.0} MiB/s",
        MIB as f64 / begun.elapsed().as_secs_f64()
    );
    // dd says on the same stream what it did.
    assert!(copied >= (MIB << 20) as u64);
    drop(stream);

    guest.tell("vs 5000 /test/bin/sh -c 'cat | wc -c' &").await;
    let mut stream = listener.accept().await.unwrap();
    let begun = Instant::now();
    let piece = vec![3; 1 << 20];
    for _ in 0..MIB {
        stream.write_all(&piece).await.unwrap();
    }
    stream.shutdown().await.unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).await.unwrap();
    println!(
        "to the guest: {:.0} MiB/s",
        MIB as f64 / begun.elapsed().as_secs_f64()
    );
    assert_eq!(text.trim(), (MIB << 20).to_string());
    guest.system.terminate().await.unwrap();
}
