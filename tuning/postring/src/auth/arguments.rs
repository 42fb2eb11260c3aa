//! What `postring auth` is asked.

use clap::{Args, Subcommand};
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

#[derive(Debug, Subcommand)]
pub enum AuthAction {
    /// Validate the ARC chain of a message (RFC 8617): who handled it, and what they found; fails unless the chain is whole
    #[command(
        after_help = "Example:\n  postring auth arc mail.eml\n  postring auth arc --resolver 127.0.0.1:53 --json - < mail.eml"
    )]
    Arc(ArcQuestion),
    /// Verify the DKIM signatures of a message (RFC 6376); fails if none is good
    Dkim(DkimQuestion),
    /// What does the author's domain want done with a message (DMARC, RFC 7489, RFC 9989), after SPF and DKIM? Fails if the result is fail
    #[command(
        after_help = "Example:\n  postring auth dmarc --ip 192.0.2.7 --helo mx.example.org --mail-from you@example.org mail.eml\n  postring auth dmarc --ip 192.0.2.7 --helo mx.example.org --tree-walk --json - < mail.eml\nWithout --mail-from it is the null sender, and SPF is that of --helo."
    )]
    Dmarc(DmarcQuestion),
    /// Which domain is the organization's, by the public suffix list or by the tree walk (RFC 7489 section 3.2, RFC 9989 section 4.10)?
    #[command(
        after_help = "Example:\n  postring auth org-domain mail.example.co.uk\n  postring auth org-domain --psl public_suffix_list.dat mail.example.co.uk\n  postring auth org-domain --tree-walk --resolver 127.0.0.1:53 mail.example.org"
    )]
    OrgDomain(OrgDomainQuestion),
    /// May this client send mail for this domain (SPF, RFC 7208)? Fails if it may not
    #[command(
        after_help = "Example:\n  postring auth spf --ip 192.0.2.7 --helo mx.example.org --mail-from you@example.org\nWithout --mail-from it is the null sender, and the domain is that of --helo."
    )]
    Spf(SpfQuestion),
}

#[derive(Debug, Args)]
pub struct ArcQuestion {
    /// A file with one message, with CRLF or LF at its line ends; - is standard input
    pub file: PathBuf,
    /// Ask this server for the keys instead of those of the configuration, or of the system without one
    #[arg(long)]
    pub resolver: Option<SocketAddr>,
    /// For machines
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Args)]
pub struct DkimQuestion {
    /// A file with one message, with CRLF or LF at its line ends; - is standard input
    pub file: PathBuf,
    /// Ask this server for the keys instead of those of the configuration, or of the system without one
    #[arg(long)]
    pub resolver: Option<SocketAddr>,
    /// For machines
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Args)]
pub struct SpfQuestion {
    /// The client's address
    #[arg(long)]
    pub ip: IpAddr,
    /// What it says in EHLO
    #[arg(long)]
    pub helo: String,
    /// The sender, without angle brackets; empty is the null sender
    #[arg(long, default_value = "")]
    pub mail_from: String,
    /// Ask this server instead of those of the configuration, or of the system without one
    #[arg(long)]
    pub resolver: Option<SocketAddr>,
    /// For machines
    #[arg(long)]
    pub json: bool,
}

/// How organizations are told apart.
#[derive(Debug, Args)]
pub struct OrganizationArguments {
    /// Public suffix list, in the format of publicsuffix.org, instead of the one the program was built with
    #[arg(long, conflicts_with = "tree_walk")]
    pub psl: Option<PathBuf>,
    /// Ask the DNS where an organization ends, as RFC 9989 has it, instead of a list
    #[arg(long)]
    pub tree_walk: bool,
}

#[derive(Debug, Args)]
pub struct DmarcQuestion {
    /// A file with one message, with CRLF or LF at its line ends; - is standard input
    pub file: PathBuf,
    /// The client's address
    #[arg(long)]
    pub ip: IpAddr,
    /// What it says in EHLO
    #[arg(long)]
    pub helo: String,
    /// The sender, without angle brackets; empty is the null sender
    #[arg(long, default_value = "")]
    pub mail_from: String,
    #[command(flatten)]
    pub organization: OrganizationArguments,
    /// Which of a hundred messages this is, for a policy that is for some alone (pct=)
    #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(u8).range(0..100))]
    pub sample: u8,
    /// Ask this server instead of those of the configuration, or of the system without one
    #[arg(long)]
    pub resolver: Option<SocketAddr>,
    /// For machines
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Args)]
pub struct OrgDomainQuestion {
    /// The domain, with U-labels or A-labels
    pub domain: String,
    #[command(flatten)]
    pub organization: OrganizationArguments,
    /// For --tree-walk: ask this server instead of those of the configuration, or of the system without one
    #[arg(long)]
    pub resolver: Option<SocketAddr>,
    /// For machines
    #[arg(long)]
    pub json: bool,
}
