//! The rivals on port 53, each with one worker, no limit of rates, no log of questions, and what it needs for the same data.

use super::{Server, program};
use crate::machine::Cores;
use crate::volume::Volume;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::path::Path;
use std::time::{Duration, Instant};

/// Where and how a rival runs.
#[derive(Clone, Copy, Debug)]
pub struct Place {
    pub port: u16,
    pub cores: Option<Cores>,
    /// Goes on without a cgroup.
    pub makeshift: bool,
}

impl Server {
    fn rival(name: &'static str, place: Place) -> Result<Self, String> {
        Self::on(Volume::plain, name, place.port, place.cores, place.makeshift)
    }

    /// Writes the configuration, `FOLDER` in it being the server's own, and starts the command with it.
    fn configured(mut self, command: &str, text: &str) -> Result<Self, String> {
        let folder = self.folder().display().to_string();
        let config = self.folder().join("config");
        std::fs::write(&config, text.replace("FOLDER", &folder)).map_err(|error| error.to_string())?;
        self.start(&format!("{command} {}", config.display()))?;
        Ok(self)
    }

    pub fn nsd(place: Place, zone: &str, file: &Path) -> Result<Self, String> {
        let program = program("nsd", "nsd")?;
        let Place { port, .. } = place;
        let text = format!(
            "server:\n server-count: 1\n ip-address: 127.0.0.1@{port}\n username: \"\"\n zonesdir: \"FOLDER\"\n pidfile: \"FOLDER/pid\"\n \
             zonelistfile: \"FOLDER/zone.list\"\n xfrdfile: \"FOLDER/xfrd.state\"\n xfrdir: \"FOLDER\"\n database: \"\"\n verbosity: 0\n \
             rrl-ratelimit: 0\n minimal-responses: yes\nremote-control:\n control-enable: no\nzone:\n name: {zone}\n zonefile: {}\n",
            file.display()
        );
        Self::rival("NSD", place)?.configured(&format!("{} -d -c", program.display()), &text)
    }

    pub fn knot(place: Place, zone: &str, file: &Path) -> Result<Self, String> {
        let program = program("knotd", "knot")?;
        let Place { port, .. } = place;
        let text = format!(
            "server:\n  listen: 127.0.0.1@{port}\n  rundir: FOLDER\n  udp-workers: 1\n  tcp-workers: 1\n  background-workers: 1\n\
             database:\n  storage: FOLDER\nlog:\n  - target: stderr\n    any: warning\n\
             template:\n  - id: default\n    storage: FOLDER\n    zonefile-sync: -1\n    journal-content: none\n    semantic-checks: off\n\
             zone:\n  - domain: {zone}\n    file: {}\n",
            file.display()
        );
        Self::rival("Knot", place)?.configured(&format!("{} -c", program.display()), &text)
    }

    /// A resolver without validation, which asks `upstream` about the zone.
    pub fn unbound(place: Place, zone: &str, upstream: u16) -> Result<Self, String> {
        let program = program("unbound", "unbound")?;
        let text = unbound_text((Ipv4Addr::LOCALHOST, place.port).into(), zone, upstream);
        Self::rival("Unbound", place)?.configured(&format!("{} -d -c", program.display()), &text)
    }

    /// A list of rbldnsd's type `kind`.
    pub fn rbldnsd(place: Place, zone: &str, kind: &str, file: &Path) -> Result<Self, String> {
        let program = program("rbldnsd", "rbldnsd")?;
        let mut server = Self::rival("rbldnsd", place)?;
        // It refuses to work as root, and names its files from its working folder.
        let folder = file.parent().unwrap_or(Path::new("/")).display().to_string();
        let name = file.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let user = if rustix::process::geteuid().is_root() { "-u daemon" } else { "" };
        server.start(&format!("{} -n {user} -w {folder} -b 127.0.0.1/{} {zone}:{kind}:{name}", program.display(), place.port))?;
        Ok(server)
    }

    /// Waits until a question is answered with records.
    pub fn wait_answer(&mut self, question: &[u8]) -> Result<(), String> {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).map_err(|error| error.to_string())?;
        socket.connect((Ipv4Addr::LOCALHOST, self.port)).map_err(|error| error.to_string())?;
        socket.set_read_timeout(Some(Duration::from_millis(100))).map_err(|error| error.to_string())?;
        let until = Instant::now() + Duration::from_secs(60);
        let mut answer = [0; 512];
        loop {
            // Nobody there yet, or not in time: it is asked again.
            let received = socket.send(question).and_then(|_| socket.recv(&mut answer));
            if received.is_ok()
                && matches!(answer, [_, _, flags, rcode, _, _, high, low, ..] if flags & 0x80 != 0 && rcode & 15 == 0 && (high, low) != (0, 0))
            {
                return Ok(());
            }
            let ended = self.processes.last_mut().and_then(|process| process.try_wait().ok().flatten());
            if ended.is_some() || Instant::now() > until {
                return Err(format!("{} does not answer on port {}\n{}", self.name, self.port, self.log()));
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

/// Unbound's configuration: what is listened on, and who is asked about the zone. It does not validate.
pub(super) fn unbound_text(listen: SocketAddr, zone: &str, upstream: u16) -> String {
    let (address, port) = (listen.ip(), listen.port());
    format!(
        "server:\n directory: \"FOLDER\"\n chroot: \"\"\n username: \"\"\n pidfile: \"FOLDER/pid\"\n use-syslog: no\n verbosity: 0\n \
         interface: {address}@{port}\n num-threads: 1\n do-ip6: no\n do-not-query-localhost: no\n access-control: 127.0.0.0/8 allow\n \
         module-config: \"iterator\"\n msg-cache-size: 256m\n rrset-cache-size: 512m\n outgoing-range: 4096\n num-queries-per-thread: 2048\n \
         local-zone: \"127.in-addr.arpa.\" nodefault\n\
         remote-control:\n control-enable: no\nstub-zone:\n name: \"{zone}\"\n stub-addr: 127.0.0.1@{upstream}\n"
    )
}
