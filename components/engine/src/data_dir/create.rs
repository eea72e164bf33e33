//! Directories that are still there after a power cut.

use std::{
    fs::{self, File},
    io,
    path::Path,
};

/// Makes `path` and what is missing above it. A directory is an entry of the one above, and is durable only with
/// that: `sync` is called for the parent of each directory that was made, before it returns.
pub(crate) fn create_durably(
    path: &Path,
    sync: &mut dyn FnMut(&Path) -> io::Result<()>,
) -> io::Result<()> {
    let is_missing = |path: &&Path| !path.as_os_str().is_empty() && !path.is_dir();
    let missing: Vec<&Path> = path.ancestors().take_while(is_missing).collect();
    for directory in missing.into_iter().rev() {
        match fs::create_dir(directory) {
            // Another process makes it at the same moment, and may end before it has synced.
            Err(cause) if cause.kind() == io::ErrorKind::AlreadyExists && directory.is_dir() => {}
            made => made?,
        }
        sync(parent(directory))?;
    }
    Ok(())
}

/// The directory that a directory is an entry of.
pub(super) fn parent(directory: &Path) -> &Path {
    match directory.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        Some(_relative) => Path::new("."),
        None => directory,
    }
}

/// Makes the entries of a directory durable.
pub(crate) fn sync_directory(directory: &Path) -> io::Result<()> {
    File::open(directory)?.sync_all()
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    #[test]
    fn every_parent_of_a_directory_that_was_made_is_synced() {
        let scratch = tempfile::tempdir().expect("scratch directory");
        let path = scratch.path().join("a/b/c");
        let mut synced = Vec::new();
        let mut note = |directory: &Path| {
            assert!(directory.is_dir(), "{} is not there yet", directory.display());
            synced.push((directory.to_owned(), fs::read_dir(directory)?.count()));
            Ok(())
        };
        create_durably(&path, &mut note).expect("made");
        create_durably(&path, &mut note).expect("there already");
        assert!(path.is_dir());
        // Each with its new entry.
        let expected = ["", "a", "a/b"].map(|parent| (scratch.path().join(parent), 1));
        let plain = |(path, entries): (PathBuf, usize)| (path.components().collect(), entries);
        assert_eq!(synced, expected.map(plain));
    }

    #[test]
    fn a_sync_that_fails_is_told() {
        let scratch = tempfile::tempdir().expect("scratch directory");
        let path = scratch.path().join("a");
        let failed = create_durably(&path, &mut |_parent| Err(io::Error::other("broken")));
        assert_eq!(failed.expect_err("not durable").to_string(), "broken");
    }

    #[test]
    fn parents_of_relative_paths() {
        for (path, expected) in [("a/b", "a"), ("a", "."), ("/a", "/"), ("/", "/")] {
            assert_eq!(parent(Path::new(path)), Path::new(expected));
        }
    }
}
