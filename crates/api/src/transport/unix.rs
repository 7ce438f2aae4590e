//! Unix sockets.
//!
//! The socket file appears complete: it is bound under a temporary name, gets its mode (0660) and group, and is then
//! renamed over the old one. It is removed when the listener is dropped, unless another took its place.

use std::fs;
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use tokio::net::unix::UCred;
use tokio::net::{UnixListener, UnixStream};

use super::{Access, Connection};
use crate::Peer;

pub(super) struct UnixSocket {
    listener: UnixListener,
    path: PathBuf,
    inode: (u64, u64),
}

impl UnixSocket {
    pub(super) async fn bind(path: &Path, access: &Access) -> io::Result<Self> {
        if let Some(parent) = path.parent() {
            fs::DirBuilder::new()
                .recursive(true)
                .mode(0o711)
                .create(parent)
                .map_err(|error| about(parent, &error))?;
        }
        refuse_if_answered(path).await?;
        let mut name = path.file_name().unwrap_or_default().to_owned();
        name.push(format!(".{}", std::process::id()));
        let fresh = path.with_file_name(name);
        let _ = fs::remove_file(&fresh);
        let listener = UnixListener::bind(&fresh).map_err(|error| about(&fresh, &error))?;
        let publish = || {
            fs::set_permissions(&fresh, fs::Permissions::from_mode(0o660))?;
            if let Some(group) = access.group {
                std::os::unix::fs::chown(&fresh, None, Some(group))?;
            }
            let found = fs::symlink_metadata(&fresh)?;
            fs::rename(&fresh, path)?;
            Ok((found.dev(), found.ino()))
        };
        match publish() {
            Ok(inode) => Ok(Self {
                listener,
                path: path.to_owned(),
                inode,
            }),
            Err(error) => {
                let _ = fs::remove_file(&fresh);
                Err(about(path, &error))
            }
        }
    }

    pub(super) async fn accept(&self) -> io::Result<Connection> {
        let (stream, _) = self.listener.accept().await?;
        let credentials = stream.peer_cred()?;
        Ok(connection(stream, &credentials))
    }
}

impl Drop for UnixSocket {
    fn drop(&mut self) {
        if fs::symlink_metadata(&self.path).is_ok_and(|found| (found.dev(), found.ino()) == self.inode) {
            let _ = fs::remove_file(&self.path);
        }
    }
}

async fn refuse_if_answered(path: &Path) -> io::Result<()> {
    let found = match fs::symlink_metadata(path) {
        Ok(found) => found,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(about(path, &error)),
    };
    let taken = |message: String| io::Error::new(io::ErrorKind::AddrInUse, message);
    if !found.file_type().is_socket() {
        return Err(taken(format!("{} exists and is not a socket", path.display())));
    }
    match UnixStream::connect(path).await {
        Err(error)
            if matches!(
                error.kind(),
                io::ErrorKind::ConnectionRefused | io::ErrorKind::NotFound
            ) =>
        {
            Ok(())
        }
        Ok(stream) => {
            let owner = stream
                .peer_cred()
                .ok()
                .and_then(|peer| peer.pid())
                .map_or_else(String::new, |pid| format!(" (pid {pid})"));
            Err(taken(format!(
                "another daemon{owner} listens on {}",
                path.display()
            )))
        }
        Err(error) => Err(taken(format!("{} is in use: {error}", path.display()))),
    }
}

pub(super) async fn connect(path: &Path) -> io::Result<Connection> {
    let stream = UnixStream::connect(path).await?;
    let credentials = stream.peer_cred()?;
    let ours = rustix::process::geteuid().as_raw();
    if credentials.uid() != 0 && credentials.uid() != ours {
        return Err(io::Error::new(
            io::ErrorKind::PermissionDenied,
            format!(
                "{} is served by user {}, which is neither root nor you",
                path.display(),
                credentials.uid()
            ),
        ));
    }
    Ok(connection(stream, &credentials))
}

fn connection(stream: UnixStream, peer: &UCred) -> Connection {
    let peer = Peer {
        uid: Some(peer.uid()),
        pid: peer.pid().and_then(|pid| u32::try_from(pid).ok()),
        sid: None,
    };
    Connection {
        io: Box::new(stream),
        peer,
        half_close: true,
    }
}

fn about(path: &Path, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn socket_is_for_owner_and_group_and_goes_with_its_listener() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("deep/ctr-like.sock");
        let socket = UnixSocket::bind(&path, &Access::default()).await.unwrap();
        assert_eq!(
            fs::symlink_metadata(&path).unwrap().permissions().mode() & 0o777,
            0o660
        );
        let (client, server) = tokio::join!(connect(&path), socket.accept());
        assert_eq!(server.unwrap().peer.pid, Some(std::process::id()));
        assert_eq!(
            client.unwrap().peer.uid,
            Some(rustix::process::geteuid().as_raw())
        );
        drop(socket);
        assert!(!path.exists());
    }

    #[tokio::test]
    async fn stale_socket_is_replaced_and_a_live_one_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s");
        drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
        assert!(path.exists());
        let socket = UnixSocket::bind(&path, &Access::default()).await.unwrap();
        let error = UnixSocket::bind(&path, &Access::default()).await.err().unwrap();
        assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
        assert!(error.to_string().contains("another daemon (pid"), "{error}");
        drop(socket);
    }

    #[tokio::test]
    async fn file_in_the_way_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s");
        fs::write(&path, "precious").unwrap();
        let error = UnixSocket::bind(&path, &Access::default()).await.err().unwrap();
        assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
        assert_eq!(fs::read_to_string(&path).unwrap(), "precious");
    }

    #[tokio::test]
    async fn successor_keeps_its_socket_when_the_predecessor_is_dropped() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s");
        let first = UnixSocket::bind(&path, &Access::default()).await.unwrap();
        fs::remove_file(&path).unwrap();
        let second = UnixSocket::bind(&path, &Access::default()).await.unwrap();
        drop(first);
        assert!(path.exists());
        drop(second);
    }
}
