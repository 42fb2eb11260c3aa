//! Finds the users the children become.

use crate::config::{Users as Config, UsersMode};
use postring_control::{Role, User};
use serde::Serialize;

const PASSWD: &str = "/etc/passwd";

/// Each role's user.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Users {
    edge: User,
    scan: User,
    store: User,
    send: User,
}

impl Users {
    pub fn of(&self, role: Role) -> User {
        match role {
            Role::Edge => self.edge,
            Role::Scan => self.scan,
            Role::Store => self.store,
            Role::Send => self.send,
        }
    }
}

/// The users in use; none: all work as who started us.
pub fn resolve(config: &Config) -> Result<Option<Users>, String> {
    if config.mode == UsersMode::Off {
        return Ok(None);
    }
    if !rustix::process::geteuid().is_root() {
        return match config.mode {
            UsersMode::Required => {
                Err("users.mode = \"required\": only root can start each process as its own user; start as root, or set \"auto\""
                    .to_owned())
            }
            UsersMode::Auto | UsersMode::Off => Ok(None),
        };
    }
    let passwd = std::fs::read_to_string(PASSWD).map_err(|error| format!("{PASSWD}: {error}"))?;
    match look_up(config, &passwd)? {
        Found::All(users) => Ok(Some(users)),
        Found::Missing(text) if config.mode == UsersMode::Required => Err(format!("users.mode = \"required\": {text}")),
        Found::Missing(text) => {
            tracing::warn!("every process works as root: {text}");
            Ok(None)
        }
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Found {
    All(Users),
    Missing(String),
}

fn look_up(config: &Config, passwd: &str) -> Result<Found, String> {
    let mut found: Vec<(Role, User)> = Vec::new();
    let mut missing = Vec::new();
    for (role, name) in config.names() {
        let Some(user) = user(passwd, name) else {
            missing.push(name);
            continue;
        };
        if user.uid == 0 || user.gid == 0 {
            return Err(format!(
                "users.{role} = \"{name}\": is root or of its group; give each role a user with a group of its own"
            ));
        }
        if let Some((other, _)) = found.iter().find(|(_, other)| other.uid == user.uid) {
            return Err(format!("users.{role} = \"{name}\": is the user of {other} too; each role needs its own"));
        }
        found.push((role, user));
    }
    if let [(_, edge), (_, scan), (_, store), (_, send)] = *found {
        return Ok(Found::All(Users { edge, scan, store, send }));
    }
    let commands: Vec<String> = missing
        .iter()
        .map(|name| format!("useradd --system --user-group --no-create-home --shell /usr/sbin/nologin {name}"))
        .collect();
    Ok(Found::Missing(format!("no user {} in {PASSWD}; make them with: {}", missing.join(", "), commands.join(" && "))))
}

/// By name; a number is taken as it is, its group from its line or else the same number.
fn user(passwd: &str, name: &str) -> Option<User> {
    let line = |line: &str| {
        // passwd(5): name:password:UID:GID:comment:directory:shell
        let mut fields = line.split(':');
        let name = fields.next()?.to_owned();
        let (uid, gid) = (fields.nth(1)?.parse().ok()?, fields.next()?.parse().ok()?);
        Some((name, User { uid, gid }))
    };
    let mut lines = passwd.lines().filter_map(line);
    match name.parse::<u32>() {
        Ok(uid) => Some(lines.find(|(_, user)| user.uid == uid).map_or(User { uid, gid: uid }, |(_, user)| user)),
        Err(_) => lines.find(|(found, _)| found == name).map(|(_, user)| user),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "root:x:0:0:root:/root:/bin/bash\n# a comment\n\nbroken:x\nhalf:x:7\npostring-edge:x:991:881::/:/x\n\
        postring-scan:x:992:882::/:/x\npostring-store:x:993:883:mail, all:/:/x\nnegative:x:-1:5::/:/x\n";

    fn config(send: &str) -> Config {
        Config { send: send.to_owned(), ..Config::default() }
    }

    #[test]
    fn users_are_found_by_name_and_by_number() {
        let id = |uid, gid| Some(User { uid, gid });
        assert_eq!(user(TEXT, "postring-store"), id(993, 883));
        assert_eq!(user(TEXT, "992"), id(992, 882));
        assert_eq!(user(TEXT, "64001"), id(64_001, 64_001));
        for nobody in ["postring", "postring-edge:x", "broken", "half", "negative", "", "# a comment"] {
            assert_eq!(user(TEXT, nobody), None, "{nobody}");
        }
        let Found::All(users) = look_up(&config("64004"), TEXT).unwrap() else { panic!("all are there") };
        assert_eq!(Some(users.of(Role::Send)), id(64_004, 64_004));
        assert_eq!(Some(users.of(Role::Edge)), id(991, 881));
    }

    #[test]
    fn who_is_missing_is_said_with_the_command() {
        let Found::Missing(text) = look_up(&Config::default(), TEXT).unwrap() else { panic!("one is missing") };
        assert!(text.starts_with("no user postring-send in /etc/passwd; make them with: useradd --system "), "{text}");
        assert!(text.ends_with("nologin postring-send") && !text.contains('\n'), "{text}");
        assert!(look_up(&config("postring-scan"), TEXT).unwrap_err().contains("is the user of scan too"));
        let grouped = format!("{TEXT}wheel:x:5:0::/:/x\n");
        assert!(look_up(&config("wheel"), &grouped).unwrap_err().contains("users.send = \"wheel\": is root or of its group"));
    }
}
