//! The client against daemons that misbehave, speak another version, or are not there.

use proptest::prelude::*;
use proptest::sample::Index;
use tokio::io::{AsyncBufReadExt, BufReader};

use super::*;

/// A daemon that answers every line with `answer`.
async fn answering(answer: &'static str) -> Result<Client, Status> {
    let (mut listener, connector) = memory();
    tokio::spawn(async move {
        while let Ok(connection) = listener.accept().await {
            let (reader, mut writer) = tokio::io::split(connection.io);
            let mut lines = BufReader::new(reader).lines();
            while let Ok(Some(_)) = lines.next_line().await {
                let _ = writer.write_all(answer.as_bytes()).await;
            }
        }
    });
    Client::connect(connector, "test 1").await
}

#[tokio::test]
async fn answers_that_make_no_sense_are_errors() {
    for answer in [
        "hello\n",
        "{\"id\":0,\"result\":7}\n",
        "{\"id\":0}\n",
        "{}\n",
        "{\"id\":0,\"result\":{}\n",
    ] {
        let error = answering(answer).await.err().unwrap();
        assert_eq!(error.code, Code::Internal, "{answer} {error:?}");
    }
}

#[tokio::test]
async fn daemon_of_another_generation_is_refused() {
    let error = answering("{\"id\":0,\"result\":{\"version\":\"7\",\"api\":{\"min\":3,\"max\":4}}}\n")
        .await
        .err()
        .unwrap();
    assert_eq!(
        error.message,
        "the daemon speaks API versions 3 to 4, this client 1 to 1"
    );
}

#[tokio::test]
async fn refusal_at_the_door_is_told() {
    let error = answering("{\"id\":null,\"error\":{\"code\":\"RESOURCE_EXHAUSTED\",\"message\":\"full\"}}\n")
        .await
        .err()
        .unwrap();
    assert_eq!(
        (error.code, error.message.as_str()),
        (Code::ResourceExhausted, "full")
    );
}

/// A daemon that greets, and answers everything else with these bytes before it goes away.
async fn greeting(bytes: Vec<u8>) -> Client {
    let (mut listener, connector) = memory();
    tokio::spawn(async move {
        let (reader, mut writer) = tokio::io::split(listener.accept().await.unwrap().io);
        let mut lines = BufReader::new(reader).lines();
        lines.next_line().await.unwrap();
        let greeting = b"{\"id\":0,\"result\":{\"version\":\"7\",\"api\":{\"min\":1,\"max\":1}}}\n";
        writer.write_all(greeting).await.unwrap();
        lines.next_line().await.unwrap();
        // The client may have hung up already.
        let _ = writer.write_all(&bytes).await;
        let _ = writer.shutdown().await;
    });
    Client::connect(connector, "test 1").await.unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn no_bytes_of_a_daemon_break_the_client(changes in prop::collection::vec((any::<Index>(), any::<u8>()), 0..8)) {
        let mut bytes = concat!(
            r#"{"id":1,"item":{"time":"t","stream":"stdout","data":"AP8="}}"#, "\n",
            r#"{"id":7,"result":{}}"#, "\n",
            r#"{"id":1,"error":{"code":"NOT_FOUND","message":"gone","hints":["look"]}}"#, "\n",
        )
        .as_bytes()
        .to_vec();
        for (at, byte) in changes {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let client = greeting(bytes).await;
            let items = match client.logs(Context::new(), logs(true)).await {
                Ok(items) => items.collect().await,
                Err(status) => vec![Err(status)],
            };
            assert!(items.len() <= 4, "{items:?}");
            for status in items.into_iter().filter_map(Result::err) {
                assert!(!status.message.is_empty());
            }
        });
    }
}

#[cfg(unix)]
#[tokio::test]
async fn nobody_listening_is_unavailable_with_the_address() {
    let endpoint = crate::Endpoint::Unix("/nonexistent/ctr.sock".into());
    let error = Client::connect(endpoint, "test 1").await.err().unwrap();
    assert_eq!(error.code, Code::Unavailable);
    assert_eq!(
        error.message,
        "cannot connect to the daemon at unix:///nonexistent/ctr.sock"
    );
}
