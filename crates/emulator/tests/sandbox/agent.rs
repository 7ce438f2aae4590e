//! The real guest agent in a sandbox: it comes up, connects, sees its disks, and leaves nothing.

use std::path::{Path, PathBuf};

use compute::{ComputeService, ComputeSystem, GuestListener};
use emulator::{Config, Emulator, Machine};
use hcs::Properties;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::host::{cgroups, disk, document, image, leftovers};

/// Where `scripts/build-guest` puts the agent.
fn agent() -> PathBuf {
    let built = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/guest-agent/ctr-like-guest");
    std::path::absolute(built).unwrap()
}

async fn serve_entropy(mut port: Box<dyn GuestListener>) {
    while let Ok(mut guest) = port.accept().await {
        // The guest may have read enough and gone.
        let _ = guest.write_all(&[7; 512]).await;
    }
}

async fn keep_log(mut port: Box<dyn GuestListener>) -> String {
    let mut text = String::new();
    while let Ok(mut guest) = port.accept().await {
        let _ = guest.read_to_string(&mut text).await;
    }
    text
}

#[tokio::test]
async fn the_agent_connects_and_its_end_leaves_nothing() {
    let agent = agent();
    assert!(
        agent.exists(),
        "{} does not exist: run scripts/build-guest",
        agent.display()
    );
    for host_network in [false, true] {
        let directory = tempfile::tempdir().unwrap();
        let config = Config {
            run_dir: directory.path().join("run"),
            agent: agent.clone(),
            host_network,
            machine: Machine::Sandbox,
        };
        let emulator = Emulator::new(config).unwrap();
        let id = format!("agent-{host_network}");
        let system = emulator.create(&id, &document().to_string()).await.unwrap();
        let mut bridge = system.listen(0x4000_0000).await.unwrap();
        tokio::spawn(serve_entropy(system.listen(1).await.unwrap()));
        let log = tokio::spawn(keep_log(system.listen(109).await.unwrap()));
        system.start().await.unwrap();
        let guest = bridge.accept().await.unwrap();

        let layer = image(directory.path(), "layer.vhd", 4096, 1);
        system
            .modify(&disk("Add", 0, 0, Some((&layer, true))))
            .await
            .unwrap();
        let names = process_names(&*system).await;
        assert!(
            names.iter().any(|name| name.starts_with("ctr-like-guest")),
            "{names:?}"
        );
        system.pause().await.unwrap();
        system.resume().await.unwrap();
        drop(guest);
        system.terminate().await.unwrap();
        println!("{}", log.await.unwrap());
        assert_eq!(leftovers(directory.path()), Vec::<String>::new());
        assert_eq!(cgroups(&id), Vec::<PathBuf>::new());
    }
}

async fn process_names(system: &dyn ComputeSystem) -> Vec<String> {
    let text = system
        .properties(r#"{"PropertyTypes":["ProcessList"]}"#)
        .await
        .unwrap();
    let properties: Properties = serde_json::from_str(&text).unwrap();
    properties
        .process_list
        .into_iter()
        .map(|process| process.image_name)
        .collect()
}
