//! The machine plan: which role works on which core.

use crate::config::Cores;
use std::path::Path;

/// A core for each shard and worker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    pub edge: Vec<usize>,
    pub scan: Vec<usize>,
    pub store: Vec<usize>,
    pub send: Vec<usize>,
}

/// Plans for the cores this process may use.
///
/// Scanning is most of the work of a mail (ten times the rest), so it gets most of the cores; on a small machine edge and store share
/// one, because they take turns: the store writes while the edge waits for it.
pub fn plan(cores: &Cores, available: &[usize], scan: bool) -> Result<Plan, String> {
    for &core in [&cores.edge, &cores.scan, &cores.store, &cores.send].into_iter().flatten().flatten() {
        if !available.contains(&core) {
            return Err(format!("cores: core {core} is not one this process may use ({available:?})"));
        }
    }
    let count = available.len().max(1);
    let at = |index: usize| available.get(index % count).copied().unwrap_or(0);
    let edges = (count / 4).max(1);
    let scanners = if count == 1 { 1 } else { count - edges };
    let edge = cores.edge.clone().unwrap_or_else(|| (0..edges).map(at).collect());
    let store = cores.store.clone().unwrap_or_else(|| vec![at(0)]);
    // Sending waits for others most of its time.
    let send = cores.send.clone().unwrap_or_else(|| vec![at(0)]);
    let scan = match (&cores.scan, scan) {
        (_, false) => Vec::new(),
        (Some(cores), true) => cores.clone(),
        (None, true) => (0..scanners).map(|index| at(if count == 1 { 0 } else { edges + index })).collect(),
    };
    Ok(Plan { edge, scan, store, send })
}

/// Refuses fewer shards than there is mail of: what the missing ones have journaled or queued would lie there unseen.
pub fn check_shards(plan: &Plan, data: &Path) -> Result<(), String> {
    let entries = |folder: &str| std::fs::read_dir(data.join(folder)).into_iter().flatten().flatten();
    for (role, shards, folders) in
        [("store", plan.store.len(), &["journal"][..]), ("send", plan.send.len(), &["journal", "queue"])]
    {
        for entry in folders.iter().flat_map(|folder| entries(folder)) {
            let name = entry.file_name().to_string_lossy().into_owned();
            let number =
                name.strip_prefix(role).and_then(|rest| rest.strip_prefix('-')).and_then(|number| number.parse::<usize>().ok());
            let holds_something = || std::fs::read_dir(entry.path()).is_ok_and(|mut files| files.next().is_some());
            if number.is_some_and(|number| number >= shards) && holds_something() {
                let or = if role == "send" { ", or remove it if `postring queue list` showed an empty queue" } else { "" };
                return Err(format!(
                    "cores.{role} plans {shards}, and {} is of another; give {role} as many cores again as it had{or}",
                    entry.path().display()
                ));
            }
        }
    }
    Ok(())
}

/// The cores this process may use.
pub fn available() -> Vec<usize> {
    let set = rustix::thread::sched_getaffinity(None).unwrap_or_else(|_| rustix::thread::CpuSet::new());
    let cores: Vec<usize> = (0..rustix::thread::CpuSet::MAX_CPU).filter(|core| set.is_set(*core)).collect();
    if cores.is_empty() { vec![0] } else { cores }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fewer_shards_than_there_is_mail_of_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        for shard in ["journal/store-0", "journal/store-1", "journal/send-0", "queue/send-2"] {
            std::fs::create_dir_all(folder.path().join(shard)).unwrap();
        }
        let cores =
            |store: usize, send: usize| Cores { store: Some(vec![0; store]), send: Some(vec![0; send]), ..Cores::default() };
        let judged = |store: usize, send: usize| check_shards(&plan(&cores(store, send), &[0], false).unwrap(), folder.path());
        assert_eq!(judged(1, 1), Ok(()), "empty folders hold nothing");
        for file in ["journal/store-1/00000001.journal", "queue/send-2/0006"] {
            std::fs::write(folder.path().join(file), b"x").unwrap();
        }
        assert!(judged(1, 3).unwrap_err().contains("cores.store plans 1"));
        assert!(judged(2, 2).unwrap_err().contains("queue/send-2"));
        assert_eq!(judged(2, 3), Ok(()));
    }

    #[test]
    fn small_and_large_machines() {
        let planned = |available: &[usize]| plan(&Cores::default(), available, true).unwrap();
        assert_eq!(planned(&[3]), Plan { edge: vec![3], scan: vec![3], store: vec![3], send: vec![3] });
        assert_eq!(planned(&[0, 1]), Plan { edge: vec![0], scan: vec![1], store: vec![0], send: vec![0] });
        assert_eq!(
            planned(&[0, 1, 2, 3, 4, 5, 6, 7]),
            Plan { edge: vec![0, 1], scan: vec![2, 3, 4, 5, 6, 7], store: vec![0], send: vec![0] }
        );
        assert!(plan(&Cores { edge: Some(vec![9]), ..Cores::default() }, &[0], true).unwrap_err().contains("core 9"));
        assert_eq!(plan(&Cores::default(), &[0], false).unwrap().scan, Vec::<usize>::new());
    }
}
