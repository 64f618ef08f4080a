//! Where a Unix socket is in the file system: the socket, the lock beside it, and who may use them.
//! For the buses, and for the operator's socket.
//!
//! Whoever holds the lock serves. The kernel releases it when its process dies, however it dies.
//! The lock file is never removed: two processes could then hold locks on two files of one name.

use std::{
    fs::{self, DirBuilder, File, Metadata, TryLockError},
    io,
    os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt, OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
};

use tokio::net::{UnixListener, UnixStream};

/// The path of a socket.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    socket: PathBuf,
    lock: PathBuf,
    /// Where it is configured, for whoever has to change it.
    key: &'static str,
}

/// Why there is no connection.
#[derive(Debug)]
pub(crate) enum NoConnection {
    /// Nobody listens there: who gets the lock, serves.
    Nobody,
    /// Somebody does, but has too much to do right now.
    Busy,
    /// It will not work until somebody mends it.
    Trouble(io::Error),
}

impl Place {
    /// `key` is the setting that says where it is.
    pub(crate) fn new(socket: &Path, key: &'static str) -> Self {
        let mut lock = socket.as_os_str().to_owned();
        lock.push(".lock");
        Self {
            socket: socket.to_owned(),
            lock: lock.into(),
            key,
        }
    }

    /// Makes the folder if it is missing, for this user alone.
    ///
    /// # Errors
    /// Also when another user could put a socket of his own there.
    pub(crate) fn prepare(&self) -> io::Result<()> {
        let folder = match self.socket.parent() {
            Some(folder) if !folder.as_os_str().is_empty() => folder,
            _ => Path::new("."),
        };
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(folder)
            .map_err(|error| {
                let what = format!("the folder {} cannot be made: {error}", folder.display());
                io::Error::new(error.kind(), what)
            })?;
        check_folder(folder, own_user(), self.key)
    }

    pub(crate) async fn connect(&self) -> Result<UnixStream, NoConnection> {
        match UnixStream::connect(&self.socket).await {
            Ok(stream) => match check_peer(&stream) {
                Ok(()) => Ok(stream),
                Err(error) => Err(NoConnection::Trouble(error)),
            },
            Err(error) => Err(match error.kind() {
                io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => NoConnection::Nobody,
                io::ErrorKind::WouldBlock => NoConnection::Busy,
                _ => NoConnection::Trouble(error),
            }),
        }
    }

    /// Takes the place; none if another process has it.
    pub(crate) fn serve(&self) -> io::Result<Option<Served>> {
        self.prepare()?;
        let lock = File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .mode(0o600)
            .open(&self.lock)
            .map_err(|error| {
                let what = format!("the lock {} cannot be opened: {error}", self.lock.display());
                io::Error::new(error.kind(), what)
            })?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Ok(None),
            Err(TryLockError::Error(error)) => return Err(error),
        }
        let lock_file = FileId::of(&lock.metadata()?);
        if fs::metadata(&self.lock).ok().as_ref().map(FileId::of) != Some(lock_file) {
            // Somebody removed it since it was opened: the next attempt finds the new one.
            return Ok(None);
        }
        // Whoever bound the socket is dead, or would hold the lock.
        let mut after_another = false;
        match fs::symlink_metadata(&self.socket) {
            Ok(metadata) if metadata.file_type().is_socket() => {
                after_another = true;
                fs::remove_file(&self.socket)?;
            }
            Ok(_) => {
                let what = format!(
                    "{} exists and is not a socket: set `{}` to another",
                    self.socket.display(),
                    self.key
                );
                return Err(io::Error::new(io::ErrorKind::AlreadyExists, what));
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        let listener = UnixListener::bind(&self.socket)?;
        // Before this line others could connect, but not pass `check_peer`.
        fs::set_permissions(&self.socket, fs::Permissions::from_mode(0o600))?;
        let socket_file = FileId::of(&fs::symlink_metadata(&self.socket)?);
        Ok(Some(Served {
            listener,
            after_another,
            lock,
            place: self.clone(),
            socket_file,
            lock_file,
        }))
    }
}

/// The place, taken. Dropping it gives it back; the socket stays, as after a crash.
#[derive(Debug)]
pub(crate) struct Served {
    // Fields are dropped in this order: nobody else may bind while this one still listens.
    pub(crate) listener: UnixListener,
    /// A socket was there already: whoever served it is dead.
    pub(crate) after_another: bool,
    #[expect(dead_code, reason = "holds the lock as long as it is open")]
    lock: File,
    place: Place,
    socket_file: FileId,
    lock_file: FileId,
}

impl Served {
    /// Are socket and lock still where others look for them? A cleaner of temporary files may
    /// have removed them.
    pub(crate) fn is_in_place(&self) -> bool {
        let socket = fs::symlink_metadata(&self.place.socket);
        // It was opened through a link if the operator made it one.
        let lock = fs::metadata(&self.place.lock);
        let is_file = |found: io::Result<Metadata>, file| {
            found.is_ok_and(|metadata| FileId::of(&metadata) == file)
        };
        is_file(socket, self.socket_file) && is_file(lock, self.lock_file)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct FileId {
    device: u64,
    inode: u64,
}

impl FileId {
    fn of(metadata: &Metadata) -> Self {
        Self {
            device: metadata.dev(),
            inode: metadata.ino(),
        }
    }
}

fn own_user() -> u32 {
    rustix::process::geteuid().as_raw()
}

fn check_folder(folder: &Path, own: u32, key: &str) -> io::Result<()> {
    let metadata = fs::metadata(folder)?;
    let mode = metadata.mode() & 0o7777;
    // The group counts as others: its members are not this user.
    let others_may_write = mode & 0o022 != 0 && mode & 0o1000 == 0;
    // If it is a link, whoever owns that may let it point elsewhere.
    let owners = [fs::symlink_metadata(folder)?.uid(), metadata.uid()];
    let stranger = owners.into_iter().find(|&owner| owner != own && owner != 0);
    if stranger.is_none() && !others_may_write {
        return Ok(());
    }
    let owner = stranger.unwrap_or(metadata.uid());
    let what = format!(
        "the folder {} (owner {owner}, mode {mode:o}) is open to other users; set `{key}` to a \
         socket in a folder that belongs to user {own} alone",
        folder.display()
    );
    Err(io::Error::new(io::ErrorKind::PermissionDenied, what))
}

/// Only this user, and root, may talk on a socket. Both sides check.
pub(crate) fn check_peer(stream: &UnixStream) -> io::Result<()> {
    allow(stream.peer_cred()?.uid(), own_user())
}

fn allow(peer: u32, own: u32) -> io::Result<()> {
    if peer == own || peer == 0 {
        return Ok(());
    }
    let what = format!(
        "the other end of the socket belongs to user {peer} and this process to user {own}; give \
         each user a socket of its own"
    );
    Err(io::Error::new(io::ErrorKind::PermissionDenied, what))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::os::unix::fs::{lchown, symlink};

    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().mode() & 0o7777
    }

    #[tokio::test]
    async fn the_place_is_for_one_and_for_this_user_alone() {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("new/folder/bus.sock");
        let place = Place::new(&socket, "path");
        assert!(matches!(place.connect().await, Err(NoConnection::Nobody)));
        let served = place.serve().unwrap().unwrap();
        assert!(place.serve().unwrap().is_none(), "it is taken");
        place.connect().await.unwrap();
        assert_eq!(mode(socket.parent().unwrap()), 0o700);
        assert_eq!(mode(&socket), 0o600);
        assert_eq!(mode(&folder.path().join("new/folder/bus.sock.lock")), 0o600);
        drop(served);
        assert!(
            matches!(place.connect().await, Err(NoConnection::Nobody)),
            "a stale socket"
        );
        assert!(place.serve().unwrap().is_some(), "is replaced");
    }

    #[tokio::test]
    async fn a_socket_that_was_removed_or_replaced_is_noticed() {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("bus.sock");
        let place = Place::new(&socket, "path");
        let served = place.serve().unwrap().unwrap();
        assert!(served.is_in_place());
        fs::remove_file(&socket).unwrap();
        assert!(!served.is_in_place());
        let _other = UnixListener::bind(&socket).unwrap();
        assert!(!served.is_in_place());
        drop(served);
        let served = place.serve().unwrap().unwrap();
        fs::remove_file(folder.path().join("bus.sock.lock")).unwrap();
        assert!(!served.is_in_place());
    }

    #[tokio::test]
    async fn a_file_that_is_no_socket_is_not_removed() {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("precious.txt");
        fs::write(&socket, "text").unwrap();
        let error = Place::new(&socket, "path").serve().unwrap_err().to_string();
        assert!(error.contains("not a socket"), "{error}");
        assert_eq!(fs::read(&socket).unwrap(), b"text");
    }

    #[test]
    fn folders_that_others_can_write_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let own = fs::metadata(folder.path()).unwrap().uid();
        let check = |mode: u32, own: u32| {
            fs::set_permissions(folder.path(), fs::Permissions::from_mode(mode)).unwrap();
            check_folder(folder.path(), own, "path")
        };
        assert!(check(0o755, own).is_ok());
        assert!(check(0o1777, own).is_ok(), "like /tmp");
        assert!(check(0o775, own).is_err(), "the group is not this user");
        let error = check(0o777, own).unwrap_err().to_string();
        assert!(error.contains("set `path`"), "{error}");
        if own != 0 {
            assert!(check(0o755, own + 1).is_err(), "another user's");
        }
    }

    #[test]
    fn a_folder_behind_a_link_of_another_user_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let (real, link) = (folder.path().join("real"), folder.path().join("link"));
        fs::create_dir(&real).unwrap();
        symlink(&real, &link).unwrap();
        let place = Place::new(&link.join("bus.sock"), "path");
        place.prepare().unwrap();
        // Only root can give it away.
        if own_user() == 0 {
            lchown(&link, Some(4711), None).unwrap();
            let error = place.prepare().unwrap_err().to_string();
            assert!(error.contains("owner 4711"), "{error}");
        }
    }

    #[tokio::test]
    async fn a_lock_that_is_a_link_stays_in_place() {
        let folder = tempfile::tempdir().unwrap();
        let link = folder.path().join("bus.sock.lock");
        symlink(folder.path().join("elsewhere"), &link).unwrap();
        let place = Place::new(&folder.path().join("bus.sock"), "path");
        let served = place.serve().unwrap().unwrap();
        assert!(served.is_in_place());
        fs::remove_file(&link).unwrap();
        assert!(!served.is_in_place());
    }

    #[test]
    fn other_users_are_not_talked_to() {
        assert!(allow(7, 7).is_ok());
        assert!(allow(0, 7).is_ok(), "root may do anything anyway");
        assert!(allow(8, 7).unwrap_err().to_string().contains("user 8"));
    }
}
