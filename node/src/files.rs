//! Writing files so that nobody ever finds a half of one.

use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

/// How many symbolic links are followed one after another: as many as Linux does.
const MAX_LINKS: usize = 40;

/// Who may read a new file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Access {
    /// Its owner alone (mode 0600), from the moment it exists.
    Secret,
    /// Whoever the system's defaults let.
    Open,
}

/// A file to come. What it will hold may be a secret: it is zeroised when dropped, and never printed.
pub(crate) struct NewFile {
    /// Where.
    pub(crate) path: PathBuf,
    /// What it will hold.
    pub(crate) text: Zeroizing<String>,
    /// Who may read it.
    pub(crate) access: Access,
}

impl fmt::Debug for NewFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NewFile").field("path", &self.path).field("access", &self.access).finish_non_exhaustive()
    }
}

/// Creates all files or none, and never replaces one that exists. The last one appears last: its presence says that all are there.
///
/// # Errors
/// The path that is at fault, and why. Nothing has changed then.
pub(crate) fn create_all(files: &[NewFile]) -> Result<(), (PathBuf, io::Error)> {
    let mut drafts = Vec::new();
    for file in files {
        let draft = Draft::create(&file.path, file.access).map_err(|error| (file.path.clone(), error))?;
        drafts.push(draft);
        let draft = drafts.last_mut().map(|draft| &mut draft.file);
        draft
            .map_or(Ok(()), |out| out.write_all(file.text.as_bytes()).and_then(|()| out.sync_all()))
            .map_err(|error| (file.path.clone(), error))?;
    }
    let mut placed: Vec<&Path> = Vec::new();
    for draft in &drafts {
        if let Err(error) = draft.place_new() {
            for path in placed {
                let _ = fs::remove_file(path);
            }
            return Err((draft.target.clone(), error));
        }
        placed.push(&draft.target);
    }
    if let Some(parent) = files.first().and_then(|file| file.path.parent()) {
        sync_dir(parent).map_err(|error| (parent.to_owned(), error))?;
    }
    Ok(())
}

/// A file under a temporary name beside the one that it will have. Removed when dropped, unless it was put into place.
#[derive(Debug)]
pub(crate) struct Draft {
    /// Where to write.
    pub(crate) file: File,
    temporary: PathBuf,
    target: PathBuf,
}

impl Draft {
    /// Begins a file that will stand at `target`.
    pub(crate) fn create(target: &Path, access: Access) -> io::Result<Self> {
        let name =
            target.file_name().ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "this names no file"))?;
        // The process id keeps two processes apart; what a killed process left behind under ours is nobody's.
        let mut hidden = std::ffi::OsString::from(".");
        hidden.push(name);
        hidden.push(format!(".{}.tmp", std::process::id()));
        let temporary = target.with_file_name(hidden);
        match fs::remove_file(&temporary) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut options = OpenOptions::new();
        options.write(true).create_new(true);
        #[cfg(unix)]
        if access == Access::Secret {
            use std::os::unix::fs::OpenOptionsExt;
            options.mode(0o600);
        }
        let file = options.open(&temporary)?;
        Ok(Self { file, temporary, target: target.to_owned() })
    }

    /// Makes the file durable and puts it at its place, over what stood there.
    pub(crate) fn place(self) -> io::Result<()> {
        self.file.sync_all()?;
        fs::rename(&self.temporary, &self.target)?;
        sync_dir(self.target.parent().unwrap_or(Path::new(".")))
    }

    /// Puts the file at its place, which must be free.
    fn place_new(&self) -> io::Result<()> {
        // A link, unlike a rename, fails where the name is taken.
        match fs::hard_link(&self.temporary, &self.target) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists && !self.target.exists() => {
                // Some file systems have no links.
                fs::rename(&self.temporary, &self.target)
            }
            other => other,
        }
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        // Gone already where it was renamed.
        let _ = fs::remove_file(&self.temporary);
    }
}

/// Where a file that somebody named goes.
#[derive(Debug)]
pub(crate) enum Destination {
    /// To this path, where there is nothing or a regular file: symbolic links are followed already.
    File(PathBuf),
    /// Into something that stands there and is no regular file, such as a device or a pipe.
    Stream(File),
}

impl Destination {
    /// Looks at what stands at `path`. Blocks where a pipe has no reader yet.
    pub(crate) fn of(path: &Path) -> io::Result<Self> {
        match fs::metadata(path) {
            Ok(there) if there.is_file() => fs::canonicalize(path).map(Self::File),
            Ok(_) => OpenOptions::new().write(true).open(path).map(Self::Stream),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Self::File(end_of_links(path))),
            Err(error) => Err(error),
        }
    }
}

/// Where symbolic links lead that end nowhere.
fn end_of_links(path: &Path) -> PathBuf {
    let mut path = path.to_owned();
    for _ in 0..MAX_LINKS {
        match fs::read_link(&path) {
            Ok(to) => path = path.parent().unwrap_or(Path::new("")).join(to),
            Err(_) => break,
        }
    }
    path
}

/// Reads a file of at most `cap` bytes.
pub(crate) fn read_capped(path: &Path, cap: u64) -> io::Result<Vec<u8>> {
    let file = File::open(path)?;
    let metadata = file.metadata()?;
    if metadata.is_dir() {
        return Err(io::Error::new(io::ErrorKind::IsADirectory, "it is a directory"));
    }
    // Room for all of it at once: a buffer that grows leaves copies behind, and this may be a key.
    let room = metadata.len().min(cap).saturating_add(1);
    let mut bytes = Vec::with_capacity(usize::try_from(room).unwrap_or(0));
    file.take(cap + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > cap {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, format!("it has more than {cap} bytes")));
    }
    Ok(bytes)
}

/// Makes the names in a directory durable.
fn sync_dir(dir: &Path) -> io::Result<()> {
    let dir = if dir.as_os_str().is_empty() { Path::new(".") } else { dir };
    if cfg!(unix) { File::open(dir)?.sync_all() } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn new(path: PathBuf, text: &str, access: Access) -> NewFile {
        NewFile { path, text: text.to_owned().into(), access }
    }

    fn names(dir: &Path) -> Vec<String> {
        let mut names: Vec<String> =
            fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn creates_all_files_and_leaves_no_temporary_one() {
        let dir = tempfile::tempdir().unwrap();
        let files = [
            new(dir.path().join("key"), "secret\n", Access::Secret),
            new(dir.path().join("open"), "text\n", Access::Open),
        ];
        create_all(&files).unwrap();
        assert_eq!(names(dir.path()), ["key", "open"]);
        assert_eq!(fs::read_to_string(dir.path().join("key")).unwrap(), "secret\n");
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            assert_eq!(fs::metadata(dir.path().join("key")).unwrap().permissions().mode() & 0o777, 0o600);
        }
    }

    #[test]
    fn what_a_file_will_hold_is_not_printed() {
        let file = new(PathBuf::from("key"), "secret words", Access::Secret);
        assert!(!format!("{file:?}").contains("secret words"), "{file:?}");
    }

    #[test]
    fn creates_none_where_one_exists() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("b"), "old").unwrap();
        let files = [new(dir.path().join("a"), "new", Access::Open), new(dir.path().join("b"), "new", Access::Open)];
        let (path, error) = create_all(&files).unwrap_err();
        assert_eq!((path, error.kind()), (dir.path().join("b"), io::ErrorKind::AlreadyExists));
        assert_eq!(names(dir.path()), ["b"]);
        assert_eq!(fs::read_to_string(dir.path().join("b")).unwrap(), "old");
    }

    #[test]
    fn a_dropped_draft_leaves_the_old_file_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("blocks");
        fs::write(&path, "old").unwrap();
        let mut draft = Draft::create(&path, Access::Open).unwrap();
        draft.file.write_all(b"ne").unwrap();
        drop(draft);
        assert_eq!(
            (names(dir.path()).as_slice(), fs::read_to_string(&path).unwrap().as_str()),
            (["blocks".to_owned()].as_slice(), "old")
        );
    }

    #[cfg(unix)]
    #[test]
    fn a_symbolic_link_leads_to_the_file_to_write_and_a_device_is_written_into() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().canonicalize().unwrap();
        let link = root.join("link");
        std::os::unix::fs::symlink("second", &link).unwrap();
        std::os::unix::fs::symlink("target", root.join("second")).unwrap();
        let target = |path: &Path| match Destination::of(path).unwrap() {
            Destination::File(path) => path,
            Destination::Stream(file) => panic!("{file:?}"),
        };
        assert_eq!(target(&link), root.join("target"), "while there is nothing");
        fs::write(root.join("target"), "old").unwrap();
        assert_eq!(target(&link), root.join("target"), "while there is a file");
        assert_eq!(target(&root.join("new")), root.join("new"));
        assert!(matches!(Destination::of(Path::new("/dev/null")).unwrap(), Destination::Stream(_)));
        assert_eq!(Destination::of(&root).unwrap_err().kind(), io::ErrorKind::IsADirectory);
    }

    #[test]
    fn a_file_above_the_cap_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f");
        fs::write(&path, "12345").unwrap();
        assert_eq!(read_capped(&path, 5).unwrap(), b"12345");
        assert_eq!(read_capped(&path, 4).unwrap_err().kind(), io::ErrorKind::FileTooLarge);
        assert_eq!(read_capped(dir.path(), 4).unwrap_err().kind(), io::ErrorKind::IsADirectory);
    }
}
