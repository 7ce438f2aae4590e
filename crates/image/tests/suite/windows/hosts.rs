//! Which Windows image a host takes, and what it refuses before it fetches a layer.

use image::{Edition, Host, Image, ImageError, Isolation, PullOptions, silent};
use serde_json::json;

use crate::kit::*;

const BUILDS: [&str; 4] = [
    "10.0.17763.5000",
    "10.0.20348.999",
    "10.0.20348.2340",
    "10.0.26100.1742",
];

/// A name with an image for Linux and images for versions of Windows; each of these has a tag of its own, too.
async fn offer(builds: &[&str]) -> (Server, Vec<TestImage>) {
    let mut images = vec![TestImage::for_platform("linux/amd64", &["linux"])];
    let mut platforms = vec![json!({"os": "linux", "architecture": "amd64"})];
    for build in builds {
        let platform = format!("windows({build})/amd64");
        images.push(TestImage::for_platform(&platform, &[build]));
        platforms.push(json!({"os": "windows", "architecture": "amd64", "os.version": build}));
    }
    let entries: Vec<_> = images.iter().zip(platforms).collect();
    let mut content = Content::default().manifest("all", OCI_INDEX, index_of(&entries));
    let windows = index_of(&entries[1..]);
    content = content.manifest("windows", OCI_INDEX, windows);
    for (n, image) in images.iter().enumerate() {
        content = content.image(&format!("n{n}"), image);
    }
    (Server::start(content, |_, _| None).await, images)
}

fn server(build: u32, hyperv: bool) -> Host {
    Host::windows(build, 100, Edition::Server, hyperv)
}

async fn world(host: Host) -> World {
    let world = World::new().await;
    world.images.set_host(host);
    world
}

fn explicit(platform: &str) -> PullOptions {
    PullOptions {
        platform_explicit: true,
        ..PullOptions::new(platform.parse().unwrap())
    }
}

fn windows() -> PullOptions {
    PullOptions::new("windows/amd64".parse().unwrap())
}

async fn pull(world: &World, server: &Server, tag: &str, options: PullOptions) -> image::Result<Image> {
    let name = server.reference(&format!("app:{tag}"));
    world
        .images
        .pull(&name, options, world.unpacker(), silent())
        .await
}

fn version(image: &Image) -> &str {
    image.platform.os_version.as_deref().unwrap_or("linux")
}

#[tokio::test]
async fn a_windows_host_takes_the_newest_version_that_it_runs() {
    let (registry, _) = offer(&BUILDS).await;
    for (host, expected) in [
        (server(20348, true), "10.0.20348.2340"),
        (server(17763, false), "10.0.17763.5000"),
        (server(25398, false), "10.0.20348.2340"),
        (server(26100, false), "10.0.26100.1742"),
        (server(19041, true), "10.0.17763.5000"),
    ] {
        let world = world(host.clone()).await;
        for options in [windows(), explicit("windows/amd64")] {
            let image = pull(&world, &registry, "all", options).await.unwrap();
            assert_eq!(version(&image), expected, "{host}");
            let found = world.images.resolve(image.id().as_str(), None).await.unwrap();
            assert!(world.images.isolation(&found, None).unwrap().is_some());
        }
    }
}

#[tokio::test]
async fn a_windows_host_takes_an_image_for_linux_when_there_is_none_for_windows() {
    let (registry, images) = offer(&[]).await;
    let world = world(server(20348, true)).await;
    let image = pull(&world, &registry, "all", windows()).await.unwrap();
    assert_eq!(image.id(), &images[0].id());
    assert_eq!(world.images.isolation(&image, None).unwrap(), None);
}

#[tokio::test]
async fn what_is_too_new_is_refused_before_a_layer_is_fetched() {
    let (registry, images) = offer(&["10.0.26100.1742", "10.0.27000.1"]).await;
    let world = world(server(20348, true)).await;
    let name = registry.reference("app:windows").name();
    for (tag, options) in [
        ("windows", windows()),
        ("windows", explicit("windows/amd64")),
        ("n1", windows()),
        ("n1", explicit("windows/amd64")),
    ] {
        let error = pull(&world, &registry, tag, options).await.unwrap_err();
        assert!(matches!(error, ImageError::Incompatible { .. }), "{error}");
        assert_eq!(
            error.to_string(),
            format!(
                "{name}:{tag} does not run here: the image is for Windows build 26100 (10.0.26100.1742), this host is \
                 Windows Server build 20348 (10.0.20348.100): no isolation runs an image that is newer than its host"
            )
        );
        assert_eq!(
            error.hint().unwrap(),
            "use an image for this host, often tagged ltsc2022; or use a host with Windows build 26100 or newer"
        );
    }
    for image in &images {
        assert!(registry.requests(image.layer(0).hex()).is_empty());
    }
    world.assert_nothing_behind().await;
    // What was not for this host to choose is still a wrong platform.
    let error = pull(&world, &registry, "windows", explicit("linux/amd64"))
        .await
        .unwrap_err();
    assert!(matches!(error, ImageError::PlatformMismatch { .. }), "{error}");
}

#[tokio::test]
async fn a_refusal_names_what_the_same_name_has_for_this_host() {
    let (registry, images) = offer(&BUILDS).await;
    let world = world(server(20348, false)).await;
    let name = registry.reference("app:all").name();
    let fitting = format!(
        "use the newest version that runs here, 10.0.20348.2340: {name}@{}",
        images[3].digest()
    );

    let newer = pull(&world, &registry, "all", explicit("windows(10.0.26100.9)/amd64"))
        .await
        .unwrap_err();
    assert_eq!(
        newer.hint().unwrap(),
        format!("{fitting}; or use a host with Windows build 26100 or newer")
    );
    let older = pull(&world, &registry, "all", explicit("windows(10.0.17763.1)/amd64"))
        .await
        .unwrap_err();
    assert!(
        older
            .to_string()
            .ends_with("process isolation needs a matching build, and Hyper-V isolation is not available"),
        "{older}"
    );
    assert_eq!(
        older.hint().unwrap(),
        format!("{fitting}; or turn the Windows feature Hyper-V on")
    );
    world.assert_nothing_behind().await;
    // It is as good as its word.
    let digest = images[3].digest();
    let named = registry.reference("app:all").with_digest(digest);
    let image = world
        .images
        .pull(&named, windows(), world.unpacker(), silent())
        .await
        .unwrap();
    assert_eq!(version(&image), "10.0.20348.2340");
}

#[tokio::test]
async fn an_isolation_that_is_asked_for_decides_with() {
    let (registry, _) = offer(&["10.0.17763.5000"]).await;
    let world = world(server(20348, true)).await;
    let asked = |isolation| PullOptions {
        isolation: Some(isolation),
        ..windows()
    };
    let error = pull(&world, &registry, "windows", asked(Isolation::Process))
        .await
        .unwrap_err();
    assert_eq!(
        error.hint().unwrap(),
        "leave --isolation process out, and it runs with Hyper-V isolation; or use an image for this host, often tagged \
         ltsc2022"
    );
    world.assert_nothing_behind().await;
    let image = pull(&world, &registry, "windows", asked(Isolation::HyperV))
        .await
        .unwrap();
    assert_eq!(
        world.images.isolation(&image, None).unwrap(),
        Some(Isolation::HyperV)
    );
    assert!(world.images.isolation(&image, Some(Isolation::Process)).is_err());
}

#[tokio::test]
async fn on_linux_every_version_is_taken_and_linux_is_preferred() {
    let (registry, images) = offer(&BUILDS).await;
    for host in [Host::linux_with_wine(), Host::linux()] {
        let world = world(host).await;
        let image = pull(&world, &registry, "all", World::options()).await.unwrap();
        assert_eq!(image.id(), &images[0].id());
        let image = pull(&world, &registry, "windows", World::options())
            .await
            .unwrap();
        assert_eq!(version(&image), "10.0.26100.1742");
        let old = pull(&world, &registry, "n1", World::options()).await.unwrap();
        assert_eq!(version(&old), "10.0.17763.5000");
    }
}

#[tokio::test]
async fn an_image_that_does_not_run_here_can_still_be_looked_at_and_saved() {
    let image = TestImage::for_platform("windows(10.0.26100.1742)/amd64", &["new"]);
    let elsewhere = crate::archives::world_with(&image).await;
    let archive = crate::archives::save(&elsewhere, &["mine:1"]).await;
    let world = world(server(20348, false)).await;
    crate::archives::load(&world, archive.clone()).await.unwrap();
    let found = world.images.resolve("mine:1", None).await.unwrap();
    assert_eq!(version(&found), "10.0.26100.1742");
    assert!(world.images.isolation(&found, None).is_err());
    assert_eq!(crate::archives::save(&world, &["mine:1"]).await, archive);
}
