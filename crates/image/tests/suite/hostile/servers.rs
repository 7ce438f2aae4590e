//! Servers that are busy, absent, verbose, or not who they say they are.

use super::*;

#[tokio::test]
async fn busy_servers_are_asked_again() {
    let image = TestImage::new(&["a"]);
    let server = Server::start(Content::default().image("t", &image), |seen, nth| {
        let busy = [503, 429, 500][nth.min(2)];
        (nth < 3 && seen.method == "GET").then(|| Answer::new(busy, "busy").header("Retry-After", 0))
    })
    .await;
    let world = World::new().await;
    world.pull(&server.reference("x:t")).await.unwrap();
}

#[tokio::test]
async fn nobody_waits_for_years_and_errors_are_final() {
    for (status, after) in [(429, Some("999999999")), (418, None)] {
        let server = Server::start(Content::default(), move |_, _| {
            let answer = Answer::new(status, "\u{1b}]0;title\u{7}".repeat(100_000));
            Some(after.map_or(answer.clone(), |a| answer.clone().header("Retry-After", a)))
        })
        .await;
        let world = World::new().await;
        let error = world.pull(&server.reference("x:t")).await.unwrap_err();
        assert!(
            matches!(error, ImageError::Registry { status: s, .. } if s == status),
            "{error}"
        );
        assert_eq!(server.requests("/manifests/").len(), 1);
        let text = error.to_string();
        assert!(text.len() < 2000 && !text.contains('\u{1b}'), "{text}");
    }
}

#[tokio::test]
async fn a_flood_of_headers_is_an_error() {
    let server = Server::start(Content::default(), |_, _| {
        let mut answer = Answer::new(200, "{}");
        for n in 0..2000 {
            answer = answer.header(&format!("X-{n}"), "y".repeat(500));
        }
        Some(answer)
    })
    .await;
    let world = World::new().await;
    world.pull(&server.reference("x:t")).await.unwrap_err();
}

#[tokio::test]
async fn nobody_listening_is_reported_with_the_address() {
    let world = World::new().await;
    let closed = tokio::net::TcpListener::bind("127.0.0.1:0")
        .await
        .unwrap()
        .local_addr()
        .unwrap();
    let error = world
        .pull(&format!("{closed}/x").parse().unwrap())
        .await
        .unwrap_err();
    assert!(
        matches!(error, ImageError::Transport { attempts: 4, .. }),
        "{error}"
    );
    assert!(error.to_string().contains(&closed.to_string()), "{error}");
}

#[tokio::test]
async fn tls_is_verified_and_never_given_up() {
    let image = TestImage::new(&["a"]);
    let config = |server: &Server, roots: Vec<Vec<u8>>| RegistryConfig {
        encrypted_loopback: vec![server.address.to_string()],
        extra_roots: roots,
        ..impatient()
    };
    let authority = include_bytes!("../../data/ca.pem").to_vec();

    let server = Server::start_encrypted("127.0.0.1:0", Content::default().image("t", &image)).await;
    let world = World::with(config(&server, Vec::new()), Recorder::default()).await;
    let error = world.pull(&server.reference("x:t")).await.unwrap_err();
    assert!(
        matches!(&error, ImageError::Transport { attempts: 1, reason, .. } if reason.contains("TLS")),
        "{error}"
    );
    assert!(server.saw_nothing());

    let world = World::with(config(&server, vec![authority.clone()]), Recorder::default()).await;
    world.pull(&server.reference("x:t")).await.unwrap();

    // The certificate is for another address.
    let server = Server::start_encrypted("127.0.0.8:0", Content::default().image("t", &image)).await;
    let world = World::with(config(&server, vec![authority]), Recorder::default()).await;
    let error = world.pull(&server.reference("x:t")).await.unwrap_err();
    assert!(
        matches!(&error, ImageError::Transport { reason, .. } if reason.contains("TLS")),
        "{error}"
    );

    // A server without TLS where TLS is expected.
    let server = Server::start(Content::default().image("t", &image), |_, _| None).await;
    let mut impatient = config(&server, Vec::new());
    impatient.retry.attempts = 1;
    impatient.timeouts.connect = std::time::Duration::from_millis(300);
    let world = World::with(impatient, Recorder::default()).await;
    let error = world.pull(&server.reference("x:t")).await.unwrap_err();
    assert!(matches!(error, ImageError::Transport { .. }), "{error}");
    assert!(server.requests("/v2/").is_empty());
}
