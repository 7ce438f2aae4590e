//! Challenges and token services: who is shown which secret, and who never is.

use super::*;

#[tokio::test]
async fn a_token_is_fetched_once_and_used() {
    let image = TestImage::new(&["a", "b", "c"]);
    let server = Server::start(Content::default().image("t", &image), |seen, _| {
        if seen.path() == "/token" {
            return Some(Answer::new(200, r#"{"token":"good","expires_in":300}"#));
        }
        let realm = format!("http://{}/token", seen.header("host").unwrap());
        (seen.header("authorization") != Some("Bearer good")).then(|| challenge(&realm))
    })
    .await;
    let world = World::new().await;
    pull_with_auth(&world, &server, Some(basic_auth())).await.unwrap();
    let tokens = server.requests("/token");
    assert_eq!(tokens.len(), 1);
    assert!(
        tokens[0].target.contains("scope=repository%3Ax%3Apull"),
        "{}",
        tokens[0].target
    );
    assert!(tokens[0].header("authorization").unwrap().starts_with("Basic "));
    // The password went to the token service only.
    let elsewhere = server.requests("/v2/");
    assert!(
        elsewhere
            .iter()
            .all(|s| !s.header("authorization").unwrap_or_default().starts_with("Basic"))
    );
}

#[tokio::test]
async fn basic_credentials_are_sent_where_they_are_asked_for() {
    let image = TestImage::new(&["a"]);
    let script = |seen: &Seen, _: usize| {
        (seen.header("authorization") != Some("Basic dXNlcjpjYW5hcnktcGFzc3dvcmQ=")).then(basic_challenge)
    };
    let server = Server::start(Content::default().image("t", &image), script).await;
    let world = World::new().await;
    pull_with_auth(&world, &server, Some(basic_auth())).await.unwrap();
    let wrong = Auth::Basic {
        username: "user".into(),
        password: "wrong".into(),
    };
    for auth in [None, Some(wrong)] {
        let error = pull_with_auth(&world, &server, auth).await.unwrap_err();
        assert!(matches!(error, ImageError::Unauthorized { .. }), "{error}");
        assert!(error.hint().is_some());
    }
}

#[tokio::test]
async fn a_token_service_elsewhere_does_not_see_the_password() {
    let canary = Server::start_on("127.0.0.2:0", Content::default(), |_, _| {
        Some(Answer::new(200, r#"{"token":"anonymous"}"#))
    })
    .await;
    let realm = format!("http://{}/token", canary.address);
    let server = Server::start(Content::default(), move |_, _| Some(challenge(&realm))).await;
    let world = World::new().await;
    let error = pull_with_auth(&world, &server, Some(basic_auth()))
        .await
        .unwrap_err();
    assert!(matches!(error, ImageError::Unauthorized { .. }), "{error}");
    assert!(!canary.saw_nothing());
    assert!(
        canary
            .requests("")
            .iter()
            .all(|s| s.header("authorization").is_none() && !s.target.contains("user"))
    );
}

#[tokio::test]
async fn endless_challenges_end() {
    let server = Server::start(Content::default(), |seen, _| {
        let realm = format!("http://{}/token", seen.header("host").unwrap());
        Some(if seen.path() == "/token" {
            Answer::new(200, r#"{"token":"bad"}"#)
        } else {
            challenge(&realm)
        })
    })
    .await;
    let world = World::new().await;
    let error = world.pull(&server.reference("x:t")).await.unwrap_err();
    assert!(matches!(error, ImageError::Unauthorized { .. }), "{error}");
    assert!(server.requests("/manifests/").len() <= 3);
}

#[tokio::test]
async fn token_answers_are_not_trusted() {
    for (answer, limit) in [
        (Answer::new(200, vec![b'x'; 2 << 20]), true),
        (Answer::new(200, "not json"), false),
        (Answer::new(200, r#"{"token":"a\r\nX-Injected: 1"}"#), false),
        (Answer::new(403, "\u{1b}[2Jno"), false),
    ] {
        let server = Server::start(Content::default(), move |seen, _| {
            let realm = format!("http://{}/token", seen.header("host").unwrap());
            Some(if seen.path() == "/token" {
                answer.clone()
            } else {
                challenge(&realm)
            })
        })
        .await;
        let world = World::new().await;
        let error = world.pull(&server.reference("x:t")).await.unwrap_err();
        assert_eq!(
            matches!(error, ImageError::LimitExceeded { .. }),
            limit,
            "{error}"
        );
        assert!(
            limit || matches!(error, ImageError::Unauthorized { .. }),
            "{error}"
        );
        assert!(!error.to_string().contains('\u{1b}'));
        assert!(
            server
                .requests("")
                .iter()
                .all(|s| s.header("x-injected").is_none())
        );
    }
}

#[tokio::test]
async fn a_refresh_token_is_exchanged_and_a_bearer_token_is_sent_as_it_is() {
    let image = TestImage::new(&["a"]);
    let server = Server::start(Content::default().image("t", &image), |seen, _| {
        if seen.path() == "/token" {
            let form = String::from_utf8_lossy(&seen.body).into_owned();
            let right = seen.method == "POST"
                && form.contains("grant_type=refresh_token")
                && form.contains("refresh_token=refresh-me")
                && form.contains("scope=repository%3Ax%3Apull");
            return Some(if right {
                Answer::new(200, r#"{"access_token":"good"}"#)
            } else {
                Answer::new(401, "")
            });
        }
        let realm = format!("http://{}/token", seen.header("host").unwrap());
        (seen.header("authorization") != Some("Bearer good")).then(|| challenge(&realm))
    })
    .await;
    for (auth, right) in [
        (Auth::IdentityToken("refresh-me".into()), true),
        (Auth::IdentityToken("other".into()), false),
        (Auth::Bearer("good".into()), true),
        (Auth::Bearer("bad".into()), false),
    ] {
        let world = World::new().await;
        let result = pull_with_auth(&world, &server, Some(auth.clone())).await;
        assert_eq!(result.is_ok(), right, "{auth:?}: {result:?}");
        assert!(right || matches!(result, Err(ImageError::Unauthorized { .. })));
    }
}

#[tokio::test]
async fn secrets_do_not_show_in_errors() {
    let server = Server::start(Content::default(), |seen, _| {
        let location = format!("ftp://user:canary@{}/x?sig=canary", seen.header("host").unwrap());
        Some(Answer::new(307, "").header("Location", location))
    })
    .await;
    let world = World::new().await;
    let error = pull_with_auth(&world, &server, Some(basic_auth()))
        .await
        .unwrap_err();
    let text = format!("{error} {error:?}");
    assert!(!text.contains("canary"), "{text}");
}
