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
    virtual unix - n n - - virtual\nanvil unix - - n - 1 anvil\nscache unix - - n - 1 scache\npostlog unix-dgram n - n - 1 postlogd\n";

impl Server {
    pub fn postfix(port: u16, cores: Option<Cores>, makeshift: bool) -> Result<Self, String> {
        super::postfix_program("postfix")?;
        let mut server = Self::new("postfix", port, cores, makeshift)?;
        let root = server.folder();
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
             setgid_group = postdrop\nmyhostname = mx.{DOMAIN}\nmydestination =\nlocal_recipient_maps =\nalias_maps =\nmynetworks = 127.0.0.0/8\n\
             inet_interfaces = 127.0.0.1\ninet_protocols = ipv4\nsmtpd_peername_lookup = no\n\
             smtpd_relay_restrictions = permit_mynetworks, reject_unauth_destination\nmaillog_file = {d}/mail.log\nmaillog_file_prefixes = {d}\n\
             virtual_mailbox_domains = {DOMAIN}\nvirtual_mailbox_maps = texthash:{d}/etc/boxes\nvirtual_mailbox_base = {d}/mail\n\
             virtual_uid_maps = static:65534\nvirtual_gid_maps = static:65534\nvirtual_minimum_uid = 1\nvirtual_mailbox_limit = 0\n\
             virtual_transport = virtual\nmessage_size_limit = 52428800\ndefault_process_limit = 300\nsmtpd_client_connection_count_limit = 0\nin_flow_delay = 0\n"
        );
        let master = format!("127.0.0.1:{port} inet n - n - - smtpd\n{MASTER}");
        for (name, text) in [("main.cf", &main), ("master.cf", &master), ("boxes", &boxes)] {
            std::fs::write(root.join("etc").join(name), text).map_err(|error| error.to_string())?;
        }
        let start = server.command(&format!("/usr/sbin/postfix -c {d}/etc start")).stderr(Stdio::null()).status();
        if !start.map_err(|error| error.to_string())?.success() {
            return Err("Postfix did not start".to_owned());
        }
        server.stop = Some(format!("/usr/sbin/postfix -c {d}/etc stop"));
        server.wait_port()?;
        Ok(server)
    }
}
