//! Where requests come in: a TCP port, or a socket file for a proxy on this machine. Opened by `app`, read by `server`.
//! Invariant: a socket file that another process listens on is never taken, and ours goes with us.

use std::fmt;
use std::fs::{self, Permissions};
use std::io::{self, ErrorKind};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::UnixStream as Probe;
use std::path::{Path, PathBuf};

use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};

use crate::config::Listen;
use crate::security::address::Peer;

/// Its own user and group may connect: put the proxy into that group.
const FILE_MODE: u32 = 0o660;

/// An open door.
pub(crate) enum Listener {
    /// A TCP port.
    Tcp(TcpListener),
    /// A socket file.
    Unix(UnixListener, SocketFile),
}

/// Somebody who came in.
pub(super) enum Accepted {
    Tcp(TcpStream),
    Unix(UnixStream),
}

/// What somebody gets for whom there is no file left.
const NO_ROOM: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\nConnection: close\r\nRetry-After: 5\r\n\
    Content-Type: text/plain\r\nContent-Length: 21\r\n\r\ntoo many connections\n";

impl Accepted {
    /// The number of its file.
    pub(super) fn number(&self) -> u64 {
        let number = match self {
            Self::Tcp(stream) => stream.as_raw_fd(),
            Self::Unix(stream) => stream.as_raw_fd(),
        };
        u64::try_from(number).unwrap_or_default()
    }

    /// Says no, without waiting for anything; not a word where TLS is expected.
    pub(super) fn refuse(self, is_tls: bool) {
        // Who has gone meanwhile needs no word.
        let _ = match &self {
            Self::Tcp(stream) if !is_tls => stream.try_write(NO_ROOM),
            Self::Unix(stream) => stream.try_write(NO_ROOM),
            Self::Tcp(_) => Ok(0),
        };
    }
}

impl Listener {
    /// Opens what the configuration names.
    pub(crate) async fn open(listen: &Listen) -> io::Result<Self> {
        match listen {
            Listen::Tcp(address) => Ok(Self::Tcp(TcpListener::bind(address).await?)),
            Listen::Unix(path) => {
                let (listener, file) = SocketFile::open(path)?;
                Ok(Self::Unix(listener, file))
            }
        }
    }

    pub(super) async fn accept(&self) -> io::Result<(Accepted, Peer)> {
        match self {
            Self::Tcp(listener) => {
                let (stream, address) = listener.accept().await?;
                // A socket that refuses is gone already, and says so at the first read.
                let _ = stream.set_nodelay(true);
                Ok((Accepted::Tcp(stream), Peer::from(address)))
            }
            Self::Unix(listener, _) => {
                let (stream, _) = listener.accept().await?;
                Ok((Accepted::Unix(stream), Peer::Unix))
            }
        }
    }
}

/// The address as bound: a port that the system picked is in it.
impl fmt::Display for Listener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(listener) => match listener.local_addr() {
                Ok(address) => address.fmt(f),
                Err(_) => Ok(()),
            },
            Self::Unix(_, file) => write!(f, "unix:{}", file.path.display()),
        }
    }
}

/// A socket file of ours; removed with the value, unless somebody has put another in its place.
pub(crate) struct SocketFile {
    path: PathBuf,
    id: (u64, u64),
}

impl SocketFile {
    fn open(path: &Path) -> io::Result<(UnixListener, Self)> {
        refuse_if_taken(path)?;
        // Under another name first: at its own the file appears with its mode and with somebody listening, in one step.
        let mut unready = path.as_os_str().to_owned();
        unready.push(format!(".{}", std::process::id()));
        let unready = PathBuf::from(unready);
        remove_if_there(&unready)?;
        let listener = UnixListener::bind(&unready)?;
        let settled = fs::set_permissions(&unready, Permissions::from_mode(FILE_MODE))
            .and_then(|()| file_id(&unready))
            .and_then(|id| fs::rename(&unready, path).map(|()| id));
        match settled {
            Ok(id) => Ok((listener, Self { path: path.to_owned(), id })),
            Err(error) => {
                // The error that matters is the first one.
                let _ = fs::remove_file(&unready);
                Err(error)
            }
        }
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if file_id(&self.path).is_ok_and(|id| id == self.id) {
            // One that stays is replaced at the next start.
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// A file that nobody listens on is left from a process that died, and may be replaced.
fn refuse_if_taken(path: &Path) -> io::Result<()> {
    match fs::symlink_metadata(path) {
        Ok(file) if file.file_type().is_socket() => {}
        Ok(_) => {
            let text = "there is a file of that name which is no socket; move it away";
            return Err(io::Error::new(ErrorKind::AlreadyExists, text));
        }
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    }
    match Probe::connect(path) {
        Err(error) if matches!(error.kind(), ErrorKind::ConnectionRefused | ErrorKind::NotFound) => Ok(()),
        Ok(_) => Err(io::Error::new(ErrorKind::AddrInUse, "another process listens there")),
        // Whether it lives is not to be known; as above where it is only too busy.
        Err(error) => Err(io::Error::new(error.kind(), format!("another process may listen there: {error}"))),
    }
}

fn remove_if_there(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Tells a file from another of the same name.
fn file_id(path: &Path) -> io::Result<(u64, u64)> {
    let file = fs::symlink_metadata(path)?;
    Ok((file.dev(), file.ino()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open(path: &Path) -> io::Result<(UnixListener, SocketFile)> {
        SocketFile::open(path)
    }

    #[tokio::test]
    async fn a_socket_file_is_for_its_user_and_group_and_goes_with_its_listener() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("slotcast.sock");
        let (listener, file) = open(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, FILE_MODE);
        assert!(Probe::connect(&path).is_ok());
        drop((listener, file));
        assert_eq!(fs::read_dir(&folder).unwrap().count(), 0, "nothing stays");
    }

    #[tokio::test]
    async fn a_file_that_a_dead_process_left_is_replaced_and_a_live_one_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("slotcast.sock");
        drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
        assert!(path.exists(), "left behind");
        let (_listener, file) = open(&path).unwrap();
        let error = open(&path).err().unwrap();
        assert_eq!(error.kind(), ErrorKind::AddrInUse);
        assert!(error.to_string().contains("another process listens there"), "{error}");
        assert!(Probe::connect(&path).is_ok(), "the live one is as it was");

        fs::remove_file(&path).unwrap();
        let (_other, _others_file) = open(&path).unwrap();
        drop(file);
        assert!(path.exists(), "another's file is not removed");
    }

    #[tokio::test]
    async fn a_file_that_is_no_socket_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notes.txt");
        fs::write(&path, "mine").unwrap();
        assert!(open(&path).err().unwrap().to_string().contains("no socket"));
        assert_eq!(fs::read(&path).unwrap(), b"mine");
    }
}
