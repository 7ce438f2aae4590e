//! An HTTP server over raw sockets, so that it can cut, stall, lie and babble as a script says.

use std::{
    collections::HashMap,
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use image::Reference;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::TcpListener,
};

use super::Content;

/// A request as it was seen.
#[derive(Debug, Clone)]
pub struct Seen {
    pub method: String,
    pub target: String,
    pub headers: HashMap<String, String>,
    pub body: Vec<u8>,
}

impl Seen {
    pub fn path(&self) -> &str {
        self.target.split('?').next().unwrap_or_default()
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(String::as_str)
    }
}

/// How a body is sent.
#[derive(Debug, Clone)]
pub enum Body {
    Full(Vec<u8>),
    /// These bytes, then the connection is closed, whatever the headers said.
    Cut(Vec<u8>),
    /// These bytes, then silence.
    Stall(Vec<u8>),
    /// Zeros for ever, without a length.
    Endless,
}

/// An answer.
#[derive(Debug, Clone)]
pub struct Answer {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Body,
    /// Overrides the length of the body.
    pub length: Option<Option<usize>>,
}

impl Answer {
    pub fn new(status: u16, body: impl Into<Vec<u8>>) -> Self {
        Self {
            status,
            headers: Vec::new(),
            body: Body::Full(body.into()),
            length: None,
        }
    }

    pub fn header(mut self, name: &str, value: impl ToString) -> Self {
        self.headers.push((name.into(), value.to_string()));
        self
    }

    pub fn with(mut self, body: Body, length: Option<usize>) -> Self {
        self.body = body;
        self.length = Some(length);
        self
    }
}

type Script = Arc<dyn Fn(&Seen, usize) -> Option<Answer> + Send + Sync>;

/// An HTTP server whose answers are scripted; unscripted requests are answered from its content.
pub struct Server {
    pub address: SocketAddr,
    pub seen: Arc<Mutex<Vec<Seen>>>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Server {
    /// Serves `content`. The script sees each request first, with the number of earlier requests to the same path.
    pub async fn start(
        content: Content,
        script: impl Fn(&Seen, usize) -> Option<Answer> + Send + Sync + 'static,
    ) -> Self {
        Self::start_on("127.0.0.1:0", content, script).await
    }

    pub async fn start_on(
        bind: &str,
        content: Content,
        script: impl Fn(&Seen, usize) -> Option<Answer> + Send + Sync + 'static,
    ) -> Self {
        Self::start_with(bind, None, content, script).await
    }

    /// The same over TLS, with a certificate of a test authority for `localhost` and 127.0.0.1.
    pub async fn start_encrypted(bind: &str, content: Content) -> Self {
        use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};

        let certificate = CertificateDer::from_pem_slice(include_bytes!("../../data/leaf.pem")).unwrap();
        let key = PrivateKeyDer::from_pem_slice(include_bytes!("../../data/leaf.key")).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate], key)
            .unwrap();
        let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
        Self::start_with(bind, Some(acceptor), content, |_, _| None).await
    }

    async fn start_with(
        bind: &str,
        tls: Option<tokio_rustls::TlsAcceptor>,
        content: Content,
        script: impl Fn(&Seen, usize) -> Option<Answer> + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind(bind).await.unwrap();
        let address = listener.local_addr().unwrap();
        let seen: Arc<Mutex<Vec<Seen>>> = Arc::default();
        let (log, script, content): (_, Script, _) = (seen.clone(), Arc::new(script), Arc::new(content));
        let task = tokio::spawn(async move {
            loop {
                let Ok((stream, _)) = listener.accept().await else {
                    continue;
                };
                let (log, script, content, tls) = (log.clone(), script.clone(), content.clone(), tls.clone());
                tokio::spawn(async move {
                    let _ = match tls {
                        None => serve(stream, &log, &script, &content).await,
                        Some(tls) => match tls.accept(stream).await {
                            Ok(stream) => serve(stream, &log, &script, &content).await,
                            Err(error) => Err(error),
                        },
                    };
                });
            }
        });
        Self { address, seen, task }
    }

    /// A server that must not be contacted, or must not see a secret.
    pub async fn canary(bind: &str) -> Self {
        Self::start_on(bind, Content::default(), |_, _| None).await
    }

    pub fn requests(&self, part: &str) -> Vec<Seen> {
        self.seen
            .lock()
            .unwrap()
            .iter()
            .filter(|s| s.target.contains(part))
            .cloned()
            .collect()
    }

    pub fn saw_no_credentials(&self) -> bool {
        let seen = self.seen.lock().unwrap();
        seen.iter().all(|s| s.header("authorization").is_none())
    }

    pub fn saw_nothing(&self) -> bool {
        self.seen.lock().unwrap().is_empty()
    }

    pub fn reference(&self, name: &str) -> Reference {
        format!("{}/{name}", self.address).parse().unwrap()
    }
}

async fn serve(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    log: &Mutex<Vec<Seen>>,
    script: &Script,
    content: &Content,
) -> std::io::Result<()> {
    let mut buffer = Vec::new();
    let end = loop {
        if let Some(end) = buffer.windows(4).position(|w| w == b"\r\n\r\n") {
            break end + 4;
        }
        if stream.read_buf(&mut buffer).await? == 0 {
            return Ok(());
        }
    };
    let head = String::from_utf8_lossy(&buffer[..end]).into_owned();
    let mut lines = head.lines();
    let mut words = lines.next().unwrap_or_default().split(' ');
    let (method, target) = (
        words.next().unwrap_or_default().to_owned(),
        words.next().unwrap_or_default().to_owned(),
    );
    let headers: HashMap<String, String> = lines
        .filter_map(|l| l.split_once(':'))
        .map(|(k, v)| (k.trim().to_lowercase(), v.trim().to_owned()))
        .collect();
    let length: usize = headers
        .get("content-length")
        .and_then(|v| v.parse().ok())
        .unwrap_or(0);
    let mut body = buffer[end..].to_vec();
    while body.len() < length {
        if stream.read_buf(&mut body).await? == 0 {
            break;
        }
    }
    let request = Seen {
        method,
        target,
        headers,
        body,
    };
    let earlier = {
        let mut log = log.lock().unwrap();
        let earlier = log
            .iter()
            .filter(|s| s.path() == request.path() && s.method == request.method)
            .count();
        log.push(request.clone());
        earlier
    };
    let answer = script(&request, earlier).unwrap_or_else(|| content.answer(&request));
    let length = answer.length.unwrap_or(match &answer.body {
        Body::Full(bytes) => Some(bytes.len()),
        _ => None,
    });
    let mut head = format!("HTTP/1.1 {} Scripted\r\nConnection: close\r\n", answer.status);
    for (name, value) in &answer.headers {
        head += &format!("{name}: {value}\r\n");
    }
    if let Some(length) = length {
        head += &format!("Content-Length: {length}\r\n");
    }
    stream.write_all((head + "\r\n").as_bytes()).await?;
    if request.method == "HEAD" {
        return stream.shutdown().await;
    }
    match answer.body {
        Body::Full(bytes) | Body::Cut(bytes) => stream.write_all(&bytes).await?,
        Body::Stall(bytes) => {
            stream.write_all(&bytes).await?;
            stream.flush().await?;
            // Until the client gives up.
            let _ = stream.read(&mut [0; 64]).await;
        }
        Body::Endless => loop {
            stream.write_all(&[0; 4096]).await?;
        },
    }
    stream.shutdown().await
}
