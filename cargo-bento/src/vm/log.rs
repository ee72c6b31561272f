// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Reads a guest's kernel log: which lines mean that the kernel, not the command, found something wrong.

/// Each entry: all of its parts occur in a line that reports a fault.
const FAULTS: [&[&str]; 18] = [
    &["Oops"],
    &["BUG:"],
    &["kernel BUG at"],
    &["WARNING:"],
    &["KASAN:"],
    &["UBSAN:"],
    &["general protection"],
    &["Kernel panic"],
    &["possible circular locking"],
    &["possible recursive locking"],
    &["inconsistent lock state"],
    &["suspicious RCU usage"],
    &["sleeping function"],
    &["INFO: task", "blocked"],
    &["rcu:", "self-detected stall"],
    &["rcu:", "detected stalls"],
    &["kmemleak:", "new suspected"],
    &["ODEBUG:"],
];

/// The lines of `log` that report a fault and hold none of the `allowed` texts.
pub fn faults(log: &str, allowed: &[String]) -> Vec<String> {
    log.lines()
        .filter(|line| FAULTS.iter().any(|parts| parts.iter().all(|part| line.contains(part))))
        .filter(|line| !allowed.iter().any(|text| line.contains(text.as_str())))
        .map(|line| line.trim_end().to_owned())
        .collect()
}

/// The part of `log` from its first fault on, at most `lines` long.
pub fn excerpt(log: &str, fault: &str, lines: usize) -> String {
    let all: Vec<&str> = log.lines().collect();
    let first = all.iter().position(|line| line.trim_end() == fault).unwrap_or(0);
    let start = first.saturating_sub(3);
    all[start..all.len().min(start + lines)].join("\n")
}

/// The last `lines` of `log`.
pub fn tail(log: &str, lines: usize) -> String {
    let all: Vec<&str> = log.lines().collect();
    all[all.len().saturating_sub(lines)..].join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOG: &str = "[ 1] memfs: up\n[ 2] WARNING: CPU: 0 PID: 1 at fs/x.c:3\n[ 3] INFO: task sh:12 blocked for more than\n\
                       [ 4] kmemleak: 3 new suspected memory leaks\n[ 5] kmemleak: Kernel memory leak detector initialized\n";

    #[test]
    fn each_fault_is_found_once_and_ordinary_lines_are_not() {
        assert_eq!(faults(LOG, &[]).len(), 3);
        assert_eq!(faults(LOG, &["fs/x.c:3".into()]).len(), 2);
    }

    #[test]
    fn an_excerpt_begins_shortly_before_the_fault() {
        let fault = &faults(LOG, &[])[1];
        assert!(excerpt(LOG, fault, 4).ends_with("memory leaks") || excerpt(LOG, fault, 4).contains("blocked"));
        assert_eq!(tail(LOG, 1), LOG.lines().last().unwrap());
    }
}
