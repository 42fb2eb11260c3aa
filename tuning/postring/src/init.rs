//! Makes a data folder with its configuration; never asks, never overwrites.

use crate::config::Config;
use postring_directory::{Directory, DkimAlgorithm, DkimKey, hash_password};
use std::fmt::Write as _;
use std::fs;
use std::io::Write as _;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};

/// The data folder's layout; another is refused.
const DATA_VERSION: &str = "1";

/// What to make.
pub struct Init<'a> {
    pub folder: &'a Path,
    pub domain: &'a str,
    pub accounts: &'a [String],
    /// Ports are this plus 25, 587, 465, 24, 53, 80, on loopback; without it the real ports on all addresses.
    pub port_base: Option<u16>,
}

/// An account with its password.
pub struct Made {
    pub config: PathBuf,
    pub passwords: Vec<(String, String)>,
}

const RULES: &str = "// Rules of this server. Metadata: score = points, malware = true refuses whatever the score.\n\
// Changes are seen within seconds; a broken rule leaves the old ones in force. Documentation: https://virustotal.github.io/yara-x/\n\n\
rule Windows_executable_in_archive_name {\n    meta:\n        score = 4\n    strings:\n\
        $name = /name=\"?[^\"\\r\\n]{1,80}\\.(pdf|docx?|xlsx?|jpg|txt)\\.(exe|scr|com|pif|js|vbs|bat|cmd|lnk)\"?/ nocase\n    condition:\n        $name\n}\n";

pub fn init(request: &Init<'_>) -> Result<Made, String> {
    let folder = request.folder;
    let occupied = fs::read_dir(folder).is_ok_and(|mut entries| entries.next().is_some());
    if occupied {
        return Err(format!(
            "{} is not empty; nothing was changed. Give another --dir, or start what is there: postring up --config {}",
            folder.display(),
            folder.join("postring.toml").display()
        ));
    }
    if !postring_mail::path::is_domain(request.domain) {
        return Err(format!("\"{}\" is no domain name; give something like --domain example.org", request.domain));
    }
    let wrong = |path: &Path| {
        let path = path.to_owned();
        move |error: std::io::Error| format!("{}: {error}", path.display())
    };
    let data = folder.join("data");
    for path in [folder, &data, &data.join("mail"), &data.join("rules"), &folder.join("tls"), &folder.join("dns")] {
        make_folder(path).map_err(wrong(path))?;
    }
    let hostname = format!("mx.{}", request.domain.to_ascii_lowercase());
    let (certificate, key) = self_signed(&hostname, request.domain)?;
    write_new(&folder.join("tls/certificate.pem"), &certificate, 0o644)?;
    write_new(&folder.join("tls/key.pem"), &key, 0o600)?;
    write_new(&data.join("rules/local.yar"), RULES, 0o644)?;
    let domain = request.domain.to_ascii_lowercase();
    let address = if request.port_base.is_some() { IpAddr::from([127, 0, 0, 1]) } else { own_address() };
    write_new(&folder.join(format!("dns/{domain}.zone")), &zone(&domain, address), 0o644)?;
    write_new(&folder.join("dns/blocked.ip4set"), BLOCKED, 0o644)?;
    write_new(&data.join("VERSION"), DATA_VERSION, 0o644)?;

    let directory = Directory::create(&data.join("directory.sqlite")).map_err(|error| error.to_string())?;
    directory.domain_add(request.domain).map_err(|error| error.to_string())?;
    make_dkim_keys(&directory, &domain)?;
    let mut passwords = Vec::new();
    for account in request.accounts {
        let password = random_password()?;
        directory.account_add(account, &hash_password(password.as_bytes())?, 0).map_err(|error| error.to_string())?;
        passwords.push((account.clone(), password));
    }
    // Last: a folder with a configuration is a whole one.
    let config = folder.join("postring.toml");
    write_new(&config, &configuration(&hostname, &domain, request.port_base), 0o644)?;
    Config::load(&config)?;
    Ok(Made { config, passwords })
}

/// Makes a domain's DKIM keys, one of each algorithm, their selectors with the day (counted from 1970).
pub fn make_dkim_keys(directory: &Directory, domain: &str) -> Result<(), String> {
    let seconds = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default().as_secs();
    for (algorithm, letter) in [(DkimAlgorithm::Ed25519, 'e'), (DkimAlgorithm::Rsa, 'r')] {
        let selector = format!("{}{letter}", seconds / 86_400);
        let key = DkimKey::generate(&selector, algorithm)?;
        directory.dkim_key_add(domain, &key).map_err(|error| error.to_string())?;
    }
    Ok(())
}

/// Refuses a data folder of another layout.
pub fn check_version(data: &Path) -> Result<(), String> {
    let path = data.join("VERSION");
    match fs::read_to_string(&path) {
        Ok(version) if version.trim() == DATA_VERSION => Ok(()),
        Ok(version) => Err(format!(
            "{} is of version {}, this program works with version {DATA_VERSION}; use the postring that made it. Nothing was changed",
            data.display(),
            version.trim()
        )),
        Err(error) => {
            Err(format!("{} is no data folder: {}: {error}; `postring init` makes one", data.display(), path.display()))
        }
    }
}

fn configuration(hostname: &str, domain: &str, base: Option<u16>) -> String {
    let list = |port: u16, loopback_only: bool| match base {
        Some(base) => format!("[\"{}\"]", SocketAddr::new(IpAddr::from([127, 0, 0, 1]), base.saturating_add(port))),
        None if loopback_only => format!("[\"127.0.0.1:{port}\"]"),
        None => format!("[\"[::]:{port}\"]"),
    };
    let mut text = String::new();
    let _ = write!(
        text,
        "# Postring. `postring check --config FILE` judges this file; `postring reference` prints every key with its default and meaning.\n\n\
         [server]\nhostname = \"{hostname}\"\ndata = \"data\"\n\n\
         [listen]\nsmtp = {}\nsubmission = {}\nsubmissions = {}\nlmtp = {}\ndns = {}\nhttp = {}\n\n\
         [tls]\n# Self-signed by `postring init`; put your own in its place, it is taken within seconds. Other names: [[tls.name]].\ncertificate = \"tls/certificate.pem\"\nkey = \"tls/key.pem\"\n\n\
         # Served on the dns port; `postring reload` reads the files again.\n\
         [[dns.zone]]\nname = \"{domain}\"\nfile = \"dns/{domain}.zone\"\n\n\
         # Clients whose address is in this list are refused at connect.\n\
         [[dns.block_list]]\nname = \"blocked.{domain}\"\nfile = \"dns/blocked.ip4set\"\nkind = \"ip4set\"\n\n\
         # Block lists of others, asked by DNS about every client of port 25; read their terms of use first. `postring reference` explains.\n\
         # [[policy.dnsbl]]\n# zone = \"bl.example.net\"\n",
        list(25, false),
        list(587, false),
        list(465, false),
        list(24, true),
        list(53, false),
        list(80, true),
    );
    text
}

const BLOCKED: &str = "\
# Addresses whose mail is refused, in rbldnsd's ip4set format; `postring reload` reads it again. A line can be an address, a network
# (192.0.2.0/24), a range (192.0.2.1-192.0.2.9) or an exclusion (!192.0.2.7); text behind it is what the client is told.
:127.0.0.2:listed by this server's administrator, $
# The entry every list has, for tests (RFC 5782 section 5); the second is an example (RFC 5737 address).
127.0.0.2 :127.0.0.2:this is the entry for tests
192.0.2.66 :127.0.0.2:this is an example
";

/// The first zone: what a domain needs to get mail here.
fn zone(domain: &str, address: IpAddr) -> String {
    let kind = if address.is_ipv4() { "A" } else { "AAAA" };
    format!(
        "; The zone of {domain}. Raise the serial with every change, then `postring reload`.\n\
         $TTL 3600\n\
         @        IN SOA mx hostmaster 1 7200 900 1209600 300\n\
         \x20        IN NS  mx\n\
         \x20        IN MX  10 mx\n\
         \x20        IN TXT \"v=spf1 mx -all\"\n\
         ; The address other servers reach this host at: is it right?\n\
         mx       IN {kind} {address}\n\
         ; The block list of this server is served below.\n\
         blocked  IN NS  mx\n"
    )
}

/// The address this machine would use to speak to the world; no packet is sent to find out.
fn own_address() -> IpAddr {
    let found = std::net::UdpSocket::bind("0.0.0.0:0").and_then(|socket| {
        // An address of documentation (RFC 5737): what matters is the route to it.
        socket.connect("192.0.2.1:53")?;
        socket.local_addr()
    });
    found.map_or(IpAddr::from([127, 0, 0, 1]), |address| address.ip())
}

fn make_folder(path: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    fs::DirBuilder::new().recursive(true).mode(0o755).create(path)
}

fn write_new(path: &Path, text: &str, mode: u32) -> Result<(), String> {
    use std::os::unix::fs::OpenOptionsExt;
    fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(path)
        .and_then(|mut file| file.write_all(text.as_bytes()).and_then(|()| file.sync_all()))
        .map_err(|error| format!("{}: {error}", path.display()))
}

fn self_signed(hostname: &str, domain: &str) -> Result<(String, String), String> {
    let names = vec![hostname.to_owned(), domain.to_owned(), "localhost".to_owned()];
    let made = rcgen::generate_simple_self_signed(names).map_err(|error| format!("no certificate could be made: {error}"))?;
    Ok((made.cert.pem(), made.signing_key.serialize_pem()))
}

/// Twenty characters, a hundred bits.
pub fn random_password() -> Result<String, String> {
    const LETTERS: &[u8; 32] = b"abcdefghijkmnpqrstuvwxyz23456789";
    let mut bytes = [0; 20];
    getrandom::fill(&mut bytes).map_err(|error| format!("no randomness from the system: {error}"))?;
    Ok(bytes.iter().filter_map(|byte| LETTERS.get(usize::from(byte & 31))).map(|byte| char::from(*byte)).collect())
}
