//! The files of the source tree.

use std::{
    fs,
    path::{Path, PathBuf},
};

/// Folders that hold no source: build output and version control.
const SKIPPED: [&str; 2] = ["target", ".git"];

/// A text file of the tree.
#[derive(Clone, Debug)]
pub struct SourceFile {
    /// Path from the root, with `/`.
    pub path: String,
    /// The whole text.
    pub text: String,
}

impl SourceFile {
    /// Whether it is Rust source.
    #[must_use]
    pub fn is_rust(&self) -> bool {
        self.path.ends_with(".rs")
    }

    /// Whether it holds test code only.
    #[must_use]
    pub fn is_test(&self) -> bool {
        self.path.contains("/tests/") || self.path.starts_with("tests/") || {
            self.path.ends_with("/tests.rs")
        }
    }

    /// The lines in front of the inline module of unit tests.
    pub fn production_lines(&self) -> impl Iterator<Item = &str> {
        let lines: Vec<&str> = self.text.lines().collect();
        let is_test_module = |window: &[&str]| {
            let [first, second] = window else { return false };
            *first == "#[cfg(test)]" && second.starts_with("mod ") && second.ends_with('{')
        };
        let end = lines.windows(2).position(is_test_module).unwrap_or(lines.len());
        lines.into_iter().take(end)
    }
}

/// The folder of the workspace.
///
/// # Panics
/// Where this crate does not lie two folders below it.
#[must_use]
pub fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.ancestors().nth(2).expect("this crate lies two folders below the root").to_owned()
}

/// Every text file of the tree, in the order of their paths.
///
/// # Panics
/// Where the tree can not be read.
#[must_use]
pub fn source_files() -> Vec<SourceFile> {
    let root = root();
    let mut files = Vec::new();
    collect(&root, &root, &mut files);
    files.sort_by(|a, b| a.path.cmp(&b.path));
    files
}

fn collect(root: &Path, folder: &Path, files: &mut Vec<SourceFile>) {
    for entry in fs::read_dir(folder).expect("the tree is readable") {
        let path = entry.expect("the tree is readable").path();
        let is_skipped = path.file_name().is_some_and(|name| SKIPPED.iter().any(|it| name == *it));
        if is_skipped || path.is_symlink() {
            continue;
        }
        if path.is_dir() {
            collect(root, &path, files);
        } else if let Ok(text) = fs::read_to_string(&path) {
            let relative = path.strip_prefix(root).expect("lies below the root");
            files.push(SourceFile { path: relative.to_string_lossy().into_owned(), text });
        }
    }
}
