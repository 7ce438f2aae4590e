//! Networks of users: made, found, joined, kept over restarts, and removed when nothing uses them.

use super::*;
use crate::NetworkOptions;

fn named(name: &str) -> NetworkOptions {
    NetworkOptions {
        name: name.to_owned(),
        ..NetworkOptions::default()
    }
}

async fn refused(engine: &Engine, options: NetworkOptions) -> (Kind, String) {
    let error = engine.create_network(options).await.unwrap_err();
    (error.kind(), error.to_string())
}

/// Names of all networks.
fn names(engine: &Engine) -> Vec<String> {
    engine
        .networks()
        .into_iter()
        .map(|network| network.name)
        .collect()
}

#[tokio::test]
async fn a_network_is_made_found_joined_and_removed() {
    let root = tempfile::tempdir().unwrap();
    let wires = Arc::new(Wires {
        ranges: vec!["10.208.0.0/24".parse().unwrap()],
        ..Wires::default()
    });
    let engine = on(root.path(), Some(wires.clone())).await;
    let (_, mut events) = engine.events().subscribe(None);
    let back = engine.create_network(named("back")).await.unwrap();
    assert_eq!((back.id.len(), back.driver.as_str()), (64, "nat"));
    let plan = back.plan.clone().unwrap();
    assert_eq!(
        (plan.id.as_str(), plan.subnet.to_string().as_str()),
        ("hcn of back", "10.208.1.0/24")
    );
    assert_eq!(names(&engine), ["back", "nat", "none"]);
    for name in ["back", &back.id, &back.id[..12]] {
        assert_eq!(engine.find_network(name).unwrap().id, back.id);
    }

    let mut options = asked(Some(&back.id[..12]), &[port(8080)]);
    options.ip = Some([10, 208, 1, 9].into());
    assert_eq!(settled(&engine, options.clone()), Ok(Some("back".to_owned())));
    options.network = Some("back".to_owned());
    let mut record = running("s1");
    record.options = options;
    let attached = engine.attach_network(&record).await.unwrap().unwrap();
    assert_eq!(
        (attached.network.as_str(), &attached.network_id),
        ("back", &back.id)
    );
    let place = wires.place.lock().unwrap().clone().unwrap();
    assert_eq!((place.network, place.ip), (plan, Some([10, 208, 1, 9].into())));

    let error = engine.remove_network("back").await.unwrap_err();
    assert_eq!(error.kind(), Kind::FailedPrecondition);
    let container = engine.find("box").unwrap();
    container.set_state(|state| state.network = Some(attached.clone()));
    let error = engine.remove_network("back").await.unwrap_err().to_string();
    let says = "network back has active endpoints (name:\"box\" id:\"box\")";
    assert!(error.ends_with(says), "{error}");
    let seen = engine.inspect_network("back").await.unwrap();
    assert_eq!((seen.containers.len(), seen.known), (1, None));

    engine.detach_network(&record, Some(&attached)).await;
    container.set_state(|state| state.network = None);
    assert!(!engine.networks_in_use().contains(&back.id));
    assert_eq!(engine.remove_network(&back.id[..12]).await.unwrap().name, "back");
    assert!(wires.made.lock().unwrap().is_empty());
    // A container that was made for it cannot start any more.
    assert_eq!(
        engine.attach_network(&record).await.unwrap_err().kind(),
        Kind::NotFound
    );
    for action in ["create", "connect", "disconnect", "destroy"] {
        let event = events.recv().await.unwrap();
        assert_eq!(
            (event.kind.as_str(), event.action.as_str(), &event.id),
            ("network", action, &back.id)
        );
        let container = event.attributes.get("container").map(String::as_str);
        assert_eq!(container, action.ends_with("connect").then_some("box"));
    }
}

#[test]
fn networks_outlive_the_engine_and_are_not_reaped() {
    let root = tempfile::tempdir().unwrap();
    let wires = Arc::new(Wires::default());
    // What watches containers ends with its runtime.
    let runtime = || tokio::runtime::Runtime::new().unwrap();
    let (back, nat) = runtime().block_on(async {
        let engine = on(root.path(), Some(wires.clone())).await;
        let back = engine.create_network(named("back")).await.unwrap();
        let nat = engine.find_network("nat").unwrap().id;
        engine.close().await;
        (back, nat)
    });
    *wires.kept.lock().unwrap() = None;
    runtime().block_on(async {
        let engine = on(root.path(), Some(wires.clone())).await;
        assert_eq!(engine.find_network("back").unwrap().id, back.id);
        assert_eq!(engine.find_network("nat").unwrap().id, nat);
        while wires.kept.lock().unwrap().as_deref() != Some(&["hcn of back".to_owned()]) {
            tokio::task::yield_now().await;
        }
        let seen = engine.inspect_network("nat").await.unwrap();
        assert_eq!(seen.known.unwrap().subnet, "172.28.0.0/16");
    });
}

#[tokio::test]
async fn what_cannot_be_made_or_removed_is_refused_in_dockers_words() {
    let root = tempfile::tempdir().unwrap();
    let wires = Wires {
        ranges: vec!["10.9.0.0/16".parse().unwrap()],
        ..Wires::default()
    };
    let engine = on(root.path(), Some(Arc::new(wires))).await;
    engine.create_network(named("back")).await.unwrap();
    let exists = |name: &str| format!("network with name {name} already exists");
    for name in ["back", "theirs"] {
        assert_eq!(
            refused(&engine, named(name)).await,
            (Kind::AlreadyExists, exists(name))
        );
    }
    // The name is free again.
    assert_eq!(names(&engine), ["back", "nat", "none"]);
    for subnet in ["10.9.1.0/24", "10.208.0.0/24"] {
        let options = NetworkOptions {
            subnet: Some(subnet.to_owned()),
            ..named("other")
        };
        let (kind, words) = refused(&engine, options).await;
        assert!(
            kind == Kind::FailedPrecondition && words.contains("Pool overlaps"),
            "{words}"
        );
    }
    assert_eq!(refused(&engine, named("host")).await.0, Kind::PermissionDenied);
    for name in ["nat", "none", "bridge"] {
        let error = engine.remove_network(name).await.unwrap_err();
        assert_eq!(error.kind(), Kind::PermissionDenied);
        assert!(
            error
                .to_string()
                .ends_with("is a pre-defined network and cannot be removed")
        );
    }
    let error = engine.remove_network("nope").await.unwrap_err();
    assert_eq!(
        (error.kind(), error.to_string().as_str()),
        (Kind::NotFound, "network nope not found")
    );
    assert_eq!(
        engine.find_network("").unwrap_err().kind(),
        Kind::NotFound,
        "no name begins every id"
    );
}

#[tokio::test]
async fn addresses_and_ports_are_refused_where_there_can_be_none() {
    let root = tempfile::tempdir().unwrap();
    let engine = on(root.path(), Some(Arc::default())).await;
    engine.create_network(named("back")).await.unwrap();
    let closed = NetworkOptions {
        internal: true,
        ..named("closed")
    };
    engine.create_network(closed).await.unwrap();
    let inside = NetworkOptions {
        driver: "internal".to_owned(),
        ..named("inside")
    };
    assert!(engine.create_network(inside).await.unwrap().internal);
    for name in ["closed", "inside"] {
        assert!(settled(&engine, asked(Some(name), &[])).is_ok());
        assert_eq!(
            settled(&engine, asked(Some(name), &[port(8080)])),
            Err(Kind::InvalidArgument)
        );
    }
    for (network, ip) in [
        (None, [10, 208, 0, 9]),
        (Some("nat"), [172, 28, 0, 9]),
        (Some("none"), [10, 208, 0, 9]),
        (Some("back"), [10, 209, 0, 9]),
        (Some("back"), [10, 208, 0, 1]),
        (Some("back"), [10, 208, 0, 255]),
    ] {
        let mut options = asked(network, &[]);
        options.ip = Some(ip.into());
        assert_eq!(settled(&engine, options), Err(Kind::InvalidArgument), "{ip:?}");
    }
}

#[tokio::test]
async fn without_a_driver_there_is_what_is_built_in() {
    let root = tempfile::tempdir().unwrap();
    let engine = on(root.path(), None).await;
    assert_eq!(names(&engine), ["host", "none"]);
    assert_eq!(refused(&engine, named("back")).await.0, Kind::Unimplemented);
    let seen = engine.inspect_network("host").await.unwrap();
    assert_eq!((seen.record.driver.as_str(), seen.containers.len()), ("host", 0));
    assert_eq!(
        engine.remove_network("host").await.unwrap_err().kind(),
        Kind::PermissionDenied
    );
}
