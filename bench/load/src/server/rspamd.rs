//! Postfix with the checks of senders it has itself, and rspamd as its milter; both ask an Unbound. All three are one server: they do what the other
//! does in one program.
//!
//! rspamd loads its modules for SPF, DKIM and DMARC and the one that writes Authentication-Results, and nothing else: no rules, lists, statistics, Redis. As
//! Debian ships it, it does more and takes more.

use super::dns::unbound_text;
use super::{DOMAIN, Server, program};
use crate::machine::Cores;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

/// `LISTEN` of the milter, `RESOLVER` and `FOLDER` are put in. Loopback clients are strangers here: `check_local`.
const RSPAMD: &str = r#"
options {
    filters = "dkim";
    pidfile = "FOLDER/pid";
    control_socket = "FOLDER/control.sock mode=0600";
    cache_file = "FOLDER/symbols.cache";
    hs_cache_dir = "FOLDER";
    tempdir = "/tmp";
    url_tld = "/usr/share/rspamd/effective_tld_names.dat";
    local_addrs = [];
    dns { nameserver = ["RESOLVER"]; timeout = 1s; sockets = 16; retransmits = 5; }
}
logging { type = "file"; filename = "FOLDER/rspamd.log"; level = "warning"; }
worker "rspamd_proxy" {
    bind_socket = "LISTEN mode=0666";
    milter = yes;
    timeout = 30s;
    count = 1;
    upstream "local" { default = yes; self_scan = yes; }
}
actions { reject = 15; add_header = 6; greylist = null; }
modules { path = "/usr/share/rspamd/plugins"; }
dkim { check_local = true; check_authed = true; trusted_only = false; skip_multi = false; dkim_cache_size = 2k; }
spf { check_local = true; check_authed = true; spf_cache_size = 2k; }
dmarc { check_local = true; check_authed = true; }
milter_headers { use = ["authentication-results"]; skip_local = false; skip_authenticated = false;
    routines { authentication-results { add_smtp_user = false; } } }
"#;

/// The checks Postfix makes itself, as far as Postring makes them: names of the client and of EHLO, the sender's domain, a block list.
fn main(block_list: &str, milter: &str) -> String {
    format!(
        "mynetworks = 127.0.0.1/32\nsmtpd_peername_lookup = yes\nsmtpd_helo_required = yes\n\
         smtpd_client_restrictions = reject_unknown_reverse_client_hostname\n\
         smtpd_helo_restrictions = reject_invalid_helo_hostname, reject_non_fqdn_helo_hostname, reject_unknown_helo_hostname\n\
         smtpd_sender_restrictions = reject_non_fqdn_sender, reject_unknown_sender_domain\n\
         smtpd_recipient_restrictions = reject_unauth_destination, reject_rbl_client {block_list}\n\
         smtpd_milters = unix:{milter}\nmilter_default_action = tempfail\n"
    )
}

impl Server {
    /// `upstream`: the port of a DNS server that knows all there is.
    pub fn postfix_with_rspamd(
        port: u16,
        cores: Option<Cores>,
        makeshift: bool,
        block_list: &str,
        upstream: u16,
    ) -> Result<Self, String> {
        super::postfix_program("postfix")?;
        let (rspamd, unbound) = (program("rspamd", "rspamd")?, program("unbound", "unbound")?);
        let mut server = Self::new("Postfix+rspamd", port, cores, makeshift)?;
        let folder = server.folder();
        let wrong = |error: std::io::Error| format!("{}: {error}", folder.display());
        let write = |part: &str, name: &str, text: &str| -> Result<String, String> {
            let below = folder.join(part);
            std::fs::create_dir_all(&below).map_err(wrong)?;
            let text = text.replace("FOLDER", &below.display().to_string());
            std::fs::write(below.join(name), text).map_err(wrong)?;
            Ok(below.join(name).display().to_string())
        };

        // Postfix finds its resolver in resolv.conf, and that knows no ports: an address nobody else uses.
        let [high, low] = port.to_be_bytes();
        let resolver = SocketAddr::from((Ipv4Addr::new(127, 53, high, low), 53));
        let config = write("unbound", "config", &unbound_text(resolver, ".", upstream))?;
        server.start(&format!("{} -d -c {config}", unbound.display()))?;

        let milter = folder.join("rspamd/milter.sock").display().to_string();
        let text = RSPAMD.replace("LISTEN", &milter).replace("RESOLVER", &resolver.to_string());
        let config = write("rspamd", "config", &text)?;
        server.start(&format!("{} -f -i -u root -g root -c {config}", rspamd.display()))?;
        let until = Instant::now() + Duration::from_secs(30);
        while std::os::unix::net::UnixStream::connect(&milter).is_err() {
            if Instant::now() > until {
                let log = std::fs::read_to_string(folder.join("rspamd/rspamd.log")).unwrap_or_default();
                return Err(format!("rspamd does not listen on {milter}\n{}{log}", server.log()));
            }
            std::thread::sleep(Duration::from_millis(50));
        }

        // In a mount namespace of its own it has a resolv.conf of its own.
        let names = write("etc", "resolv.conf", &format!("nameserver {}\n", resolver.ip()))?;
        let wrapper = format!(
            "unshare --mount --propagation private sh -c 'mount --bind {names} /etc/resolv.conf && exec \"$@\"' {DOMAIN} "
        );
        server.add_postfix(&main(block_list, &milter), &wrapper)?;
        Ok(server)
    }
}
