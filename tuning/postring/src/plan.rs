//! The machine plan: which role works on which core.

use crate::config::Cores;

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
