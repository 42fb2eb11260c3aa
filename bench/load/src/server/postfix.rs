//! Postfix with virtual(8): its own instance, queue and mailboxes on the volume.

use super::{BOXES, DOMAIN, Server};
use crate::machine::Cores;
use crate::volume;
use std::fmt::Write as _;
use std::process::Stdio;

const MASTER: &str = "pickup unix n - n 60 1 pickup\ncleanup unix n - n - 0 cleanup\nqmgr unix n - n 300 1 qmgr\n\
    rewrite unix - - n - - trivial-rewrite\nbounce unix - - n - 0 bounce\ndefer unix - - n - 0 bounce\ntrace unix - - n - 0 bounce\n\
    verify unix - - n - 1 verify\nflush unix n - n 1000? 0 flush\nproxymap unix - - n - - proxymap\nsmtp unix - - n - - smtp\n\
    relay unix - - n - - smtp\nerror unix - - n - - error\nretry unix - - n - - error\ndiscard unix - - n - - discard\n\
    virtual unix - n n - - virtual\nanvil unix - - n - 1 anvil\nscache unix - - n - 1 scache\npostlog unix-dgram n - n - 1 postlogd\ntlsmgr unix - - n 1000? 1 tlsmgr\n";

/// What main.cf says where Postfix just takes mail: no look-up of anybody.
pub const MAIN_AS_COMPARED: &str = "mynetworks = 127.0.0.0/8\nsmtpd_peername_lookup = no\n\
    smtpd_relay_restrictions = permit_mynetworks, reject_unauth_destination\n";

impl Server {
    /// `main`: what main.cf says besides where things are, like [`MAIN_AS_COMPARED`].
    pub fn postfix(port: u16, cores: Option<Cores>, makeshift: bool, main: &str) -> Result<Self, String> {
        super::postfix_program("postfix")?;
        let mut server = Self::new("Postfix", port, cores, makeshift)?;
        server.add_postfix(main, "")?;
        Ok(server)
    }

    /// Starts Postfix here. `wrapper` begins the command that does.
    pub(super) fn add_postfix(&mut self, main: &str, wrapper: &str) -> Result<(), String> {
        let root = self.folder();
        let d = root.display();
        volume::shell(&format!(
            "mkdir -p {d}/etc {d}/spool {d}/data {d}/mail && chown postfix {d}/data && chown nobody:nogroup {d}/mail"
        ))?;
        let mut boxes = String::new();
        for number in 0..BOXES {
            let _ = writeln!(boxes, "u{number:02}@{DOMAIN} u{number:02}/Maildir/");
        }
        let main = format!(
            "compatibility_level = 3.6\nqueue_directory = {d}/spool\ndata_directory = {d}/data\ncommand_directory = /usr/sbin\n\
             daemon_directory = /usr/lib/postfix/sbin\nmeta_directory = /etc/postfix\nshlib_directory = /usr/lib/postfix\nmail_owner = postfix\n\
             setgid_group = postdrop\nmyhostname = mx.{DOMAIN}\nmydestination =\nlocal_recipient_maps =\nalias_maps =\n\
             inet_interfaces = 127.0.0.1\ninet_protocols = ipv4\nmaillog_file = {d}/mail.log\nmaillog_file_prefixes = {d}\n\
             virtual_mailbox_domains = {DOMAIN}\nvirtual_mailbox_maps = texthash:{d}/etc/boxes\nvirtual_mailbox_base = {d}/mail\n\
             virtual_uid_maps = static:65534\nvirtual_gid_maps = static:65534\nvirtual_minimum_uid = 1\nvirtual_mailbox_limit = 0\n\
             virtual_transport = virtual\nmessage_size_limit = 52428800\ndefault_process_limit = 300\nsmtpd_client_connection_count_limit = 0\nin_flow_delay = 0\n{main}"
        );
        let port = self.port;
        let master = format!("127.0.0.1:{port} inet n - n - - smtpd\n{MASTER}");
        for (name, text) in [("main.cf", &main), ("master.cf", &master), ("boxes", &boxes)] {
            std::fs::write(root.join("etc").join(name), text).map_err(|error| error.to_string())?;
        }
        let start = self.command(&format!("{wrapper}/usr/sbin/postfix -c {d}/etc start")).stderr(Stdio::null()).status();
        if !start.map_err(|error| error.to_string())?.success() {
            return Err(format!("{} did not start", self.name));
        }
        self.stop = Some(format!("/usr/sbin/postfix -c {d}/etc stop"));
        self.wait_port()
    }
}
