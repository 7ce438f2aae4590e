//! Limits of memory and processors, from the start and changed later.

use serde_json::json;

use crate::host::{Host, document, run};

#[tokio::test(flavor = "multi_thread")]
async fn memory_is_limited_and_can_be_given_more() {
    let host = Host::new();
    let volume = host.volume();
    let system = host
        .start(&document(&volume, json!({ "Memory": { "SizeInMB": 128 } })))
        .await;
    assert_eq!(run(&*system, "eat 20").await.out, "eaten");
    let greedy = run(&*system, "eat 400").await;
    assert!(greedy.code != 0 && greedy.out.is_empty(), "{greedy:?}");
    let more =
        json!({ "ResourcePath": "Container/Memory/SizeInMB", "RequestType": "Update", "Settings": 1024 });
    system.modify(&more.to_string()).await.unwrap();
    assert_eq!(run(&*system, "eat 400").await.out, "eaten");
    system.terminate().await.unwrap();
    assert_eq!(host.leftovers(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn processors_are_limited_in_each_of_the_three_ways() {
    let host = Host::new();
    let volume = host.volume();
    let system = host
        .start(&document(&volume, json!({ "Processor": { "Maximum": 5000 } })))
        .await;
    for processor in [
        json!({ "Count": 1 }),
        json!({ "Weight": 200 }),
        json!({ "Maximum": 1000 }),
    ] {
        let change =
            json!({ "ResourcePath": "Container/Processor", "RequestType": "Update", "Settings": processor });
        system.modify(&change.to_string()).await.unwrap();
    }
    let both = json!({ "ResourcePath": "Container/Processor", "RequestType": "Update", "Settings": { "Count": 1, "Weight": 2 } });
    assert!(system.modify(&both.to_string()).await.is_err());
    // A tenth of all processors: the program runs for a second, and uses less than it would alone.
    let used = |text: String| {
        let statistics: serde_json::Value = serde_json::from_str(&text).unwrap();
        statistics["Statistics"]["Processor"]["TotalRuntime100ns"]
            .as_u64()
            .unwrap()
    };
    let query = r#"{"PropertyTypes":["Statistics"]}"#;
    assert_eq!(run(&*system, "exit 0").await.code, 0);
    let before = used(system.properties(query).await.unwrap());
    let began = std::time::Instant::now();
    assert_eq!(run(&*system, "spin 1000").await.code, 0);
    let elapsed = began.elapsed().as_nanos() / 100;
    let spent = used(system.properties(query).await.unwrap()) - before;
    let processors = std::thread::available_parallelism().unwrap().get() as u128;
    // The limit holds over periods; twice of it leaves room for one at each end.
    assert!(
        u128::from(spent) < elapsed * processors / 5,
        "{spent} of {elapsed}"
    );
    system.terminate().await.unwrap();
}
