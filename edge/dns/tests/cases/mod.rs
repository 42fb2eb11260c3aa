//! Conversations as data: runs each file of a folder and compares what comes out with what the file says.
//!
//! A file is its own expectation: what is asked stays, what is answered is written anew. With `REWRITE=1` it is kept so; read the difference then.

use std::path::Path;

/// Runs the `.txt` files of `tests/FOLDER`, at least `least` of them: `run` gives a file's text as it would have to be.
pub fn check(folder: &str, least: usize, mut run: impl FnMut(&str) -> String) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests").join(folder);
    let mut paths: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "txt"));
    paths.sort();
    assert!(paths.len() >= least, "files are missing: {paths:?}");
    let mut wrong = Vec::new();
    for path in paths {
        let text = std::fs::read_to_string(&path).unwrap();
        let now = run(&text);
        if std::env::var_os("REWRITE").is_some() {
            std::fs::write(&path, now).unwrap();
        } else if now != text {
            // Where one ends before the other all lines before are equal.
            let (mut ours, mut theirs) = (now.lines(), text.lines());
            let line = (1_usize..).find(|_| {
                let (our, their) = (ours.next(), theirs.next());
                our != their || our.is_none()
            });
            let line = line.unwrap_or(0);
            let at = |text: &str| text.lines().nth(line.saturating_sub(1)).unwrap_or("the end").to_owned();
            wrong.push(format!("{}:{line}: expected {:?}, now {:?}", path.display(), at(&text), at(&now)));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
