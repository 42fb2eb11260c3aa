//! `postring try`: a mail to the running system without another program, and a look at it.

use crate::cli::TryAction;
use crate::config::Config;
use postring_directory::Directory;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::time::Duration;

pub fn run(config: &Config, action: TryAction) -> Result<(), String> {
    match action {
        TryAction::Send { to, subject, spam } => send(config, &to.map_or_else(|| first_account(config), Ok)?, &subject, spam),
        TryAction::Show { account } => show(config, &account.map_or_else(|| first_account(config), Ok)?),
    }
}

fn first_account(config: &Config) -> Result<String, String> {
    let directory = Directory::open(&config.server.data.join("directory.sqlite")).map_err(|error| error.to_string())?;
    let accounts = directory.accounts().map_err(|error| error.to_string())?;
    let first = accounts.first().ok_or("there is no account yet; `postring account add user@domain`")?;
    Ok(format!("{}@{}", first.local_part, first.domain))
}

fn send(config: &Config, to: &str, subject: &str, spam: bool) -> Result<(), String> {
    let address = config.listen.smtp.first().ok_or("listen.smtp is empty: nobody listens")?;
    let wrong = |error: std::io::Error| format!("{address}: {error}; is the system up?");
    let stream = TcpStream::connect(address).map_err(wrong)?;
    stream.set_read_timeout(Some(Duration::from_secs(30))).map_err(wrong)?;
    let mut reader = BufReader::new(stream.try_clone().map_err(wrong)?);
    let text = if spam {
        ["XJS*C4JDBQADN1.NSBN3*2IDNEN*", "GTUBE-STANDARD-ANTI-UBE-TEST-EMAIL*C.34X"].concat()
    } else {
        "It works.".to_owned()
    };
    let clean: String = subject.chars().filter(|c| !c.is_control()).collect();
    let message = format!("From: <try@postring.example>\r\nTo: <{to}>\r\nSubject: {clean}\r\n\r\n{text}\r\n.\r\n");
    let commands = [
        "",
        "EHLO localhost\r\n",
        "MAIL FROM:<try@postring.example>\r\n",
        &format!("RCPT TO:<{to}>\r\n"),
        "DATA\r\n",
        &message,
        "QUIT\r\n",
    ];
    for command in commands {
        for line in command.lines() {
            println!("> {line}");
        }
        (&stream).write_all(command.as_bytes()).map_err(wrong)?;
        let mut line = String::new();
        loop {
            line.clear();
            if reader.read_line(&mut line).map_err(wrong)? == 0 {
                return Err("the server closed the connection".to_owned());
            }
            print!("< {line}");
            if line.as_bytes().get(3) != Some(&b'-') {
                break;
            }
        }
        if line.starts_with(['4', '5']) {
            return Err("it was refused, see above".to_owned());
        }
    }
    Ok(())
}

fn show(config: &Config, account: &str) -> Result<(), String> {
    let (local_part, domain) = account.rsplit_once('@').ok_or("give an address, user@domain")?;
    let maildir = config.server.data.join("mail").join(domain).join(local_part).join("Maildir");
    let mut newest = None;
    for folder in ["new", "cur", ".Junk/new", ".Junk/cur"] {
        for entry in std::fs::read_dir(maildir.join(folder)).into_iter().flatten().flatten() {
            let modified = entry.metadata().and_then(|metadata| metadata.modified()).ok();
            if newest.as_ref().is_none_or(|(_, newest)| modified > *newest) {
                newest = Some((entry.path(), modified));
            }
        }
    }
    let (path, _) = newest.ok_or_else(|| format!("{account} has no mail yet ({})", maildir.display()))?;
    let bytes = std::fs::read(&path).map_err(|error| format!("{}: {error}", path.display()))?;
    println!("{}\n", path.display());
    std::io::stdout().write_all(&bytes).map_err(|error| error.to_string())
}
