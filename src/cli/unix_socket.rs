//! A listener's socket file: cleared away when nobody listens behind it, removed when we stop.

use std::{
    fs,
    io::{self, ErrorKind},
    os::unix::fs::{FileTypeExt, MetadataExt},
    path::{Path, PathBuf},
};

use log::{debug, info};

/// What is in the way of a new socket file.
#[derive(Debug)]
pub(crate) enum Obstacle {
    /// A server accepts connections there.
    InUse,
    /// It is some other kind of file, and somebody may need it.
    NotASocket,
    /// It cannot be told, or removed.
    Io(io::Error),
}

/// Makes room at `path`: removes a socket file that a server left behind when it was killed.
///
/// Two servers that start at the same moment on the same stale path may both get past this; the second
/// one's `bind` then fails, or takes the path over.
pub(crate) fn clear_stale(path: &Path) -> Result<(), Obstacle> {
    let file_type = match fs::symlink_metadata(path) {
        Ok(metadata) => metadata.file_type(),
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(Obstacle::Io(error)),
    };
    if !file_type.is_socket() {
        return Err(Obstacle::NotASocket);
    }
    // Through mio, because connecting must not block where a living server's backlog is full.
    match mio::net::UnixStream::connect(path) {
        Ok(_) => Err(Obstacle::InUse),
        Err(error) if error.kind() == ErrorKind::WouldBlock => Err(Obstacle::InUse),
        Err(error) if error.kind() == ErrorKind::ConnectionRefused => {
            info!(
                "removing {}: a socket file that nobody listens behind",
                path.display()
            );
            fs::remove_file(path).map_err(Obstacle::Io)
        }
        Err(error) => Err(Obstacle::Io(error)),
    }
}

/// Removes a socket file when dropped, unless another one has taken its place.
#[derive(Debug)]
pub(crate) struct SocketFile {
    path: PathBuf,
    identity: (u64, u64),
}

impl SocketFile {
    /// Takes charge of the file that a listener has just made at `path`.
    pub(crate) fn new(path: &Path) -> io::Result<Self> {
        Ok(Self {
            path: path.to_owned(),
            identity: identity(path)?,
        })
    }
}

fn identity(path: &Path) -> io::Result<(u64, u64)> {
    let metadata = fs::symlink_metadata(path)?;
    Ok((metadata.dev(), metadata.ino()))
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if identity(&self.path).is_ok_and(|now| now == self.identity)
            && let Err(error) = fs::remove_file(&self.path)
        {
            debug!("{} stays: {error}", self.path.display());
        }
    }
}
