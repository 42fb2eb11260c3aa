//! The command line.

use clap::{Args, Parser, Subcommand};
use std::path::PathBuf;

/// Mail infrastructure in one binary.
#[derive(Debug, Parser)]
#[command(
    version,
    about,
    long_about = "Mail infrastructure in one binary.\n\nWithout a command it makes a demo in ./demo, starts it on loopback ports and says what to try.",
    after_help = "Begin with:\n  postring                                        the demo\n  postring init --dir /srv/postring --domain example.org --account you@example.org\n  postring up --config /srv/postring/postring.toml"
)]
pub struct Arguments {
    #[command(subcommand)]
    pub command: Option<Command>,
}

#[derive(Debug, Args)]
pub struct ConfigPath {
    /// The configuration. Without it: ./postring.toml, ./demo/postring.toml, /etc/postring/postring.toml, the first that exists.
    #[arg(long, global = true)]
    pub config: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Start the demo: two accounts on loopback ports, in a folder of its own (what no command does too)
    Demo {
        /// The demo's folder; made if it is not there
        #[arg(long, default_value = "demo")]
        dir: PathBuf,
    },
    /// Make a data folder with its configuration; never asks, never overwrites
    #[command(
        after_help = "Example:\n  postring init --dir /srv/postring --domain example.org --account you@example.org\n  postring init --dir /tmp/try --domain example.org --port-base 20000   (ports 20025, 20587, ...)"
    )]
    Init {
        /// The folder; must be empty or not there
        #[arg(long)]
        dir: PathBuf,
        /// The first hosted domain
        #[arg(long)]
        domain: String,
        /// An account, user@domain; may be given often. Its password is generated and printed
        #[arg(long = "account")]
        accounts: Vec<String>,
        /// Ports on loopback: N+25 SMTP, N+587 submission, N+465 submissions, N+24 LMTP, N+53 DNS, N+80 HTTP. Without it the real ports
        #[arg(long, value_parser = clap::value_parser!(u16).range(1000..=64900))]
        port_base: Option<u16>,
    },
    /// Run all roles until SIGTERM or Ctrl-C
    Up(ConfigPath),
    /// Judge a configuration and what it names; changes nothing
    Check(ConfigPath),
    /// Have the running system read its configuration again; a bad one changes nothing
    Reload(ConfigPath),
    /// Print every key of the configuration with its meaning and default
    Reference,
    /// Hosted domains
    Domain {
        #[command(subcommand)]
        action: DomainAction,
        #[command(flatten)]
        config: ConfigPath,
    },
    /// Accounts
    Account {
        #[command(subcommand)]
        action: AccountAction,
        #[command(flatten)]
        config: ConfigPath,
    },
    /// Addresses that lead to other addresses
    Alias {
        #[command(subcommand)]
        action: AliasAction,
        #[command(flatten)]
        config: ConfigPath,
    },
    /// What runs, and what it has done
    Status {
        /// For machines
        #[arg(long)]
        json: bool,
        /// Again every second, until Ctrl-C
        #[arg(long, conflicts_with = "json")]
        watch: bool,
        #[command(flatten)]
        config: ConfigPath,
    },
    /// Mail that waits to be sent to other servers
    #[command(
        after_help = "WHICH is a message id of the list, a recipient, a recipient's domain, or all.\n\nExample:\n  postring queue list\n  postring queue retry example.net      the server there works again\n  postring queue drop 0006A1B2C3D4E5F0  nobody is told"
    )]
    Queue {
        #[command(subcommand)]
        action: QueueAction,
        #[command(flatten)]
        config: ConfigPath,
    },
    /// Names, zones and what the resolver keeps
    #[command(
        after_help = "Example:\n  postring dns query example.org MX --trace\n  postring dns query example.org MX --resolver 127.0.0.1:53\n  postring dns zone check example.org --file example.org.zone\n  postring dns zone list"
    )]
    Dns {
        #[command(subcommand)]
        action: DnsAction,
        #[command(flatten)]
        config: ConfigPath,
    },
    /// Who sent a mail: what the checks of the sender say, and why
    #[command(
        after_help = "Example:\n  postring auth dkim mail.eml\n  postring auth dkim --resolver 127.0.0.1:53 --json - < mail.eml\n  postring auth spf --ip 192.0.2.7 --helo mx.example.org --mail-from you@example.org\n  postring auth dmarc --ip 192.0.2.7 --helo mx.example.org --mail-from you@example.org mail.eml\n  postring auth arc mail.eml\n  postring auth org-domain mail.example.co.uk"
    )]
    Auth {
        #[command(subcommand)]
        action: crate::auth::AuthAction,
        #[command(flatten)]
        config: ConfigPath,
    },
    /// The SMTP front end
    #[command(
        after_help = "Example:\n  postring smtp explain --ip 192.0.2.7 --helo mx.example.org --mail-from a@example.org --rcpt you@your.example"
    )]
    Smtp {
        #[command(subcommand)]
        action: SmtpAction,
        #[command(flatten)]
        config: ConfigPath,
    },
    /// Reports to domains about mail that shows their names
    #[command(
        after_help = "Every day each domain that asks for it is told who sent mail in its name, if policy.dmarc.reports.from is set.\n\nExample:\n  postring dmarc list                what is noted, and who will be told\n  postring dmarc show example.org    the report as it would be sent now\n  postring dmarc send                now, not at night"
    )]
    Dmarc {
        #[command(subcommand)]
        action: crate::dmarc::DmarcAction,
        #[command(flatten)]
        config: ConfigPath,
    },
    /// Certificates, and the DNS records that vouch for them
    #[command(
        after_help = "Example:\n  postring tls list\n  postring tls tlsa    the records for another server that serves the zone of this host's name"
    )]
    Tls {
        #[command(subcommand)]
        action: crate::tls::command::TlsAction,
        #[command(flatten)]
        config: ConfigPath,
    },
    /// Entries of this server's block lists, at once and kept over restarts
    #[command(
        after_help = "WHAT is an address, a network (192.0.2.0/24), a range, or a domain name (.example.org: with all below it).\n\nExample:\n  postring block add 192.0.2.7 --for 86400 --why \"ticket 17\"\n  postring block del 192.0.2.7\n  postring block import bad-addresses.txt"
    )]
    Block {
        #[command(subcommand)]
        action: BlockAction,
        #[command(flatten)]
        config: ConfigPath,
    },
    /// Learn what is spam and what is ham
    #[command(
        after_help = "Example:\n  postring learn --spam /home/you/Maildir/.Junk\n  postring learn --ham archive.mbox\n\nThe classifier is silent until 50 messages of each kind are learned. Workers use what was learned within seconds."
    )]
    Learn {
        /// These are spam
        #[arg(long, required_unless_present = "ham", conflicts_with = "ham")]
        spam: bool,
        /// These are ham
        #[arg(long)]
        ham: bool,
        /// Files, mboxes, Maildirs or folders of messages
        #[arg(required = true)]
        paths: Vec<PathBuf>,
        /// For machines
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        config: ConfigPath,
    },
    /// Send a mail to the running system, or show the newest one of an account
    Try {
        #[command(subcommand)]
        action: TryAction,
        #[command(flatten)]
        config: ConfigPath,
    },
    /// A role's process; started by `up` only
    #[command(hide = true)]
    Child {
        /// Which
        role: String,
    },
}

#[derive(Debug, Subcommand)]
pub enum DomainAction {
    /// Host a domain: mail for it is taken, DKIM keys are made, and its zone is served
    Add {
        /// Like example.org
        name: String,
    },
    /// Print the records of a domain, for a server elsewhere that serves its zone
    Records {
        /// Like example.org
        name: String,
    },
    /// From how many points on mail is spam for the accounts of a domain; what is not given is as for all
    Scores {
        /// Like example.org
        name: String,
        #[command(flatten)]
        scores: ScoreArguments,
    },
    /// Print the template of the domains' zones, to be changed and named in dns.domain_template
    Template,
    /// Show them
    List,
}

#[derive(Debug, Subcommand)]
pub enum AccountAction {
    /// Add an account; its password is generated and printed, or read from standard input
    Add {
        /// Like user@example.org
        address: String,
        /// Read the password from standard input, its first line
        #[arg(long)]
        password_stdin: bool,
    },
    /// Set an account's password, read from standard input or generated and printed
    Password {
        /// Like user@example.org
        address: String,
        /// Read the password from standard input, its first line
        #[arg(long)]
        password_stdin: bool,
    },
    /// From how many points on mail is spam for an account; what is not given is as for its domain
    #[command(
        after_help = "A message for several recipients is judged for each. Who would refuse what another takes finds it in the Junk folder, where the\nsender cannot be told so of one alone (PRDR and LMTP can).\n\nExample:\n  postring account scores you@example.org --junk 4 --reject 20\n  postring account scores you@example.org                        as for the domain again"
    )]
    Scores {
        /// Like user@example.org
        address: String,
        #[command(flatten)]
        scores: ScoreArguments,
    },
    /// Show them
    List,
}

#[derive(Debug, clap::Args)]
pub struct ScoreArguments {
    /// Into the Junk folder from this score on (policy.junk_score)
    #[arg(long, allow_negative_numbers = true)]
    junk: Option<f64>,
    /// Refused from this score on (policy.reject_score)
    #[arg(long, allow_negative_numbers = true)]
    reject: Option<f64>,
}

impl From<ScoreArguments> for postring_directory::Scores {
    fn from(arguments: ScoreArguments) -> Self {
        Self { junk: arguments.junk, reject: arguments.reject }
    }
}

#[derive(Debug, Subcommand)]
pub enum AliasAction {
    /// Lead an address to others; @example.org catches what is nothing else
    Add {
        /// Like team@example.org
        address: String,
        /// Where to
        #[arg(required = true)]
        targets: Vec<String>,
    },
    /// Show them
    List,
}

#[derive(Debug, Subcommand)]
pub enum SmtpAction {
    /// What a client would be told up to RCPT, and why: the running server walks its policy, with its resolver and all it remembers
    Explain {
        /// The client's address
        #[arg(long)]
        ip: std::net::IpAddr,
        /// What it says in EHLO
        #[arg(long)]
        helo: String,
        /// The sender, without angle brackets; empty is the null sender
        #[arg(long, default_value = "")]
        mail_from: String,
        /// The recipient
        #[arg(long)]
        rcpt: String,
        /// For machines
        #[arg(long)]
        json: bool,
    },
}

#[derive(Debug, Subcommand)]
pub enum QueueAction {
    /// Show it, oldest first
    List {
        /// For machines
        #[arg(long)]
        json: bool,
    },
    /// Try again now
    Retry {
        /// A message id, a recipient, a domain, or all
        which: String,
    },
    /// Throw away; the senders are not told
    Drop {
        /// A message id, a recipient, a domain, or all
        which: String,
    },
}

#[derive(Debug, Subcommand)]
pub enum TryAction {
    /// Send a mail by SMTP
    Send {
        /// To whom; default: the first account
        #[arg(long)]
        to: Option<String>,
        /// Its subject
        #[arg(long, default_value = "A mail to try")]
        subject: String,
        /// Put the GTUBE string in it: it must be refused as spam
        #[arg(long)]
        spam: bool,
    },
    /// Show the newest mail of an account; default: the first
    Show {
        /// Whose
        account: Option<String>,
    },
}

#[derive(Debug, Subcommand)]
pub enum DnsAction {
    /// Resolve a name as this server would, with nothing from its cache
    Query(DnsQuestion),
    /// Zones and block lists that are served
    Zone {
        #[command(subcommand)]
        action: ZoneAction,
    },
    /// What the resolver keeps
    Cache {
        #[command(subcommand)]
        action: CacheAction,
    },
    /// The secret of DNS cookies (RFC 9018), data/dns/cookie.secrets
    Cookie {
        #[command(subcommand)]
        action: CookieAction,
    },
}

#[derive(Debug, Args)]
pub struct DnsQuestion {
    /// A domain name
    pub name: String,
    /// A record type, like MX
    #[arg(default_value = "A")]
    pub rtype: String,
    /// Ask this server instead of those of the configuration
    #[arg(long)]
    pub resolver: Option<std::net::SocketAddr>,
    /// Show each query and what came of it
    #[arg(long)]
    pub trace: bool,
    /// For machines
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Subcommand)]
pub enum ZoneAction {
    /// Judge zone files; changes nothing
    Check {
        /// A zone of the configuration, or the name of the one in --file; without it all
        name: Option<String>,
        /// A master file that need not be in the configuration
        #[arg(long)]
        file: Option<PathBuf>,
    },
    /// Show what is served
    List {
        /// For machines
        #[arg(long)]
        json: bool,
    },
    /// Read a zone's or list's files again, or ask a secondary's primaries; without a name all whose files have changed
    Reload {
        /// Which
        name: Option<String>,
    },
    /// Sign a zone anew now, and show its keys
    Sign {
        /// Which
        name: String,
    },
    /// Show a signed zone's keys, and what the registrar must be given
    Keys {
        /// Which
        name: String,
    },
    /// Begin to replace a zone's key
    Roll {
        /// Which
        name: String,
    },
    /// Say that the parent serves the DS of the new key
    DsSeen {
        /// Which
        name: String,
    },
}

#[derive(Debug, Subcommand)]
pub enum CacheAction {
    /// Show how much is kept, and what it was good for
    Stats {
        /// For machines
        #[arg(long)]
        json: bool,
    },
    /// Forget all, or one name
    Flush {
        /// Which name
        name: Option<String>,
        /// All names below it, too
        #[arg(long, requires = "name")]
        below: bool,
    },
}

#[derive(Debug, Subcommand)]
pub enum CookieAction {
    /// Make another secret; cookies made with the one before are still taken, those of the one before that are not
    Roll,
}

#[derive(Debug, Subcommand)]
pub enum BlockAction {
    /// List an address, a network or a name
    Add {
        /// What
        what: String,
        /// Which list; default: the first of addresses or of names
        #[arg(long)]
        list: Option<String>,
        /// What a TXT query, and the client that is refused, gets
        #[arg(long, default_value = "blocked by this server's administrator")]
        text: String,
        /// Seconds until it ends to hold; without it for good
        #[arg(long = "for")]
        seconds: Option<u32>,
        /// Why, for whoever looks at it later
        #[arg(long, default_value = "")]
        why: String,
    },
    /// Take one off, also one of the list's file
    Del {
        /// What
        what: String,
        /// Which list
        #[arg(long)]
        list: Option<String>,
        /// Why
        #[arg(long, default_value = "")]
        why: String,
    },
    /// Show what was set by command
    List {
        /// Which list; default: the first of addresses and the first of names
        list: Option<String>,
        /// For machines
        #[arg(long)]
        json: bool,
    },
    /// List all of a file: a line each, or a file of rbldnsd
    Import {
        /// The file
        file: PathBuf,
        /// Which list
        #[arg(long)]
        list: Option<String>,
        /// What a TXT query gets
        #[arg(long, default_value = "blocked by this server's administrator")]
        text: String,
        /// Seconds until they end to hold
        #[arg(long = "for")]
        seconds: Option<u32>,
        /// Why
        #[arg(long, default_value = "")]
        why: String,
    },
}
