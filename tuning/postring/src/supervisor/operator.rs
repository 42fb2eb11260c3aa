//! The control socket: how the operator's commands reach the running system. One line of JSON in, one out.

use super::children::Note;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::time::Duration;

/// A request longer than this is nobody's.
const LINE_BYTES_MAX: u64 = 64 * 1024;
const WAIT: Duration = Duration::from_secs(10);

/// Where it is.
fn socket_path(data: &Path) -> PathBuf {
    data.join("run").join("control.sock")
}

/// Serves it, on a thread of its own.
pub fn listen(run_folder: &Path, notes: Sender<Note>) -> Result<(), String> {
    let path = run_folder.join("control.sock");
    let wrong = |error: std::io::Error| format!("{}: {error}", path.display());
    // The lock of the folder is ours: a socket that is there is a leftover.
    let _ = std::fs::remove_file(&path);
    let listener = UnixListener::bind(&path).map_err(wrong)?;
    std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o600)).map_err(wrong)?;
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let notes = notes.clone();
            std::thread::spawn(move || {
                // Whoever does not speak the protocol is not answered.
                let _ = serve(&stream, &notes);
            });
        }
    });
    Ok(())
}

fn serve(stream: &UnixStream, notes: &Sender<Note>) -> std::io::Result<()> {
    stream.set_read_timeout(Some(WAIT))?;
    let mut line = String::new();
    BufReader::new(stream).take(LINE_BYTES_MAX).read_line(&mut line)?;
    let words: Vec<String> = serde_json::from_str(&line)?;
    let (answer, receiver) = mpsc::sync_channel(1);
    let result = match notes.send(Note::Ask { words, answer }) {
        Ok(()) => receiver.recv_timeout(WAIT).unwrap_or_else(|error| {
            Err(match error {
                RecvTimeoutError::Timeout => "the supervisor did not answer".to_owned(),
                RecvTimeoutError::Disconnected => "the role that was asked has just ended; try again in a moment".to_owned(),
            })
        }),
        Err(_) => Err("the supervisor stops".to_owned()),
    };
    let mut text = serde_json::to_string(&result)?;
    text.push('\n');
    (&*stream).write_all(text.as_bytes())
}

/// Asks the running system; `Ok(None)` if none runs on this data folder.
pub fn ask(data: &Path, words: &[&str]) -> Result<Option<serde_json::Value>, String> {
    let path = socket_path(data);
    let mut stream = match UnixStream::connect(&path) {
        Ok(stream) => stream,
        Err(error) if matches!(error.kind(), std::io::ErrorKind::NotFound | std::io::ErrorKind::ConnectionRefused) => {
            return Ok(None);
        }
        Err(error) => return Err(format!("{}: {error}", path.display())),
    };
    let wrong = |error: std::io::Error| format!("the running system does not answer: {error}");
    stream.set_read_timeout(Some(WAIT)).map_err(wrong)?;
    let line = serde_json::to_string(words).map_err(|error| error.to_string())?;
    stream.write_all(format!("{line}\n").as_bytes()).map_err(wrong)?;
    let mut text = String::new();
    stream.read_to_string(&mut text).map_err(wrong)?;
    let result: Result<serde_json::Value, String> =
        serde_json::from_str(&text).map_err(|error| format!("the running system's answer: {error}"))?;
    result.map(Some)
}
