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
    /// Host a domain
    Add {
        /// Like example.org
        name: String,
    },
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
    /// Show them
    List,
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
