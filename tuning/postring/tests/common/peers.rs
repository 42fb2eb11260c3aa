//! Other people's DNS servers and tools, for the interop tests: started in a temporary folder on a free port, ended at the end.

use super::{WAIT, port_base, signal};
use std::io::Write;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// True if the interop tests are to run; then all programs must be there.
pub fn wanted(programs: &[&str]) -> bool {
    if std::env::var_os("POSTRING_INTEROP").is_none() {
        println!("skipped: POSTRING_INTEROP=1 runs it, with {}", programs.join(", "));
        return false;
    }
    let missing: Vec<&str> = programs.iter().copied().filter(|program| find(program).is_none()).collect();
    assert!(missing.is_empty(), "POSTRING_INTEROP is set and {} not installed (see .ci/run)", missing.join(", "));
    true
}

/// Where a program is; daemons are not in everybody's PATH.
fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var("PATH").unwrap_or_default();
    let folders = path.split(':').chain(["/usr/sbin", "/usr/local/sbin", "/sbin"]);
    folders.map(|folder| PathBuf::from(folder).join(program)).find(|path| path.is_file())
}

/// Runs a tool with this standard input; gives whether it was content, and all it said.
pub fn tool(program: &str, arguments: &[&str], input: &str) -> (bool, String) {
    let mut process = Command::new(find(program).unwrap())
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    process.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let output = process.wait_with_output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8_lossy(&said).into_owned())
}

/// A server that runs.
pub struct Peer {
    pub folder: tempfile::TempDir,
    pub address: SocketAddr,
    program: &'static str,
    process: Option<Child>,
}

impl Peer {
    /// A folder and a port for it; not started.
    pub fn new(program: &'static str) -> Self {
        let address = SocketAddr::from(([127, 0, 0, 1], port_base() + 53));
        Self { folder: tempfile::tempdir().unwrap(), address, program, process: None }
    }

    /// A path in its folder.
    pub fn path(&self, name: &str) -> String {
        self.folder.path().join(name).to_str().unwrap().to_owned()
    }

    pub fn write(&self, name: &str, text: &str) {
        std::fs::write(self.folder.path().join(name), text).unwrap();
    }

    /// Starts it; `conf` is in its folder.
    pub fn up(&mut self, arguments: &[&str]) {
        let conf = self.path("conf");
        self.start(&[arguments, &["-c", &conf]].concat());
    }

    /// Starts it with these arguments alone.
    pub fn start(&mut self, arguments: &[&str]) {
        let log = std::fs::File::options().create(true).append(true).open(self.folder.path().join("log")).unwrap();
        let process = Command::new(find(self.program).unwrap())
            .args(arguments)
            .current_dir(self.folder.path())
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        self.process = Some(process);
    }

    pub fn signal(&self, which: rustix::process::Signal) {
        if let Some(process) = &self.process {
            signal(process.id().try_into().unwrap(), which);
        }
    }

    pub fn down(&mut self) {
        self.signal(rustix::process::Signal::TERM);
        let Some(mut process) = self.process.take() else { return };
        let until = Instant::now() + Duration::from_secs(20);
        while matches!(process.try_wait(), Ok(None)) {
            if Instant::now() > until {
                let _ = process.kill();
                let _ = process.wait();
                return;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    pub fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }

    pub fn wait(&self, what: &str, mut done: impl FnMut() -> bool) {
        let until = Instant::now() + WAIT;
        while !done() {
            assert!(Instant::now() < until, "waited for {what} in vain\n{}: {}", self.program, self.log());
            std::thread::sleep(Duration::from_millis(100));
        }
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{}: {}", self.program, self.log());
        }
        self.down();
    }
}
