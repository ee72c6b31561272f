// SPDX-License-Identifier: GPL-2.0 OR MIT
//! `bench disk --profile WORKLOAD`: the functions in which a workload spends its instructions, theirs beside ours. A plugin
//! of QEMU counts them (counter.c). Samples would not do: the guest's clock goes with its instructions, so that a
//! timer falls upon the same ones again and again.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::suites::Place;
use crate::ui;
use crate::vm::RunSpec;

const COUNTER: &str = "cargo-bento/src/bench/counter.c";
/// Functions that are shown: those that take most, on any side.
const SHOWN: usize = 40;
const USER: &str = "user space";

/// Instructions by module (of the kernel proper: "kernel") and function.
#[derive(Debug, Default)]
pub struct Profile(BTreeMap<(String, String), u64>);

/// Compiles the plugin.
pub fn plugin(place: &Place) -> Result<PathBuf> {
    let plugin = place.out.join("counter.so");
    let mut cc = Command::new("cc");
    cc.args(["-O2", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC", "-o"]).arg(&plugin);
    ui::run(cc.arg(place.root.join(COUNTER)), "QEMU's plugin cannot be compiled")?;
    Ok(plugin)
}

/// Has QEMU count, and the guest say where its functions are.
pub fn furnish(place: &Place, side: &str, plugin: &Path, spec: &mut RunSpec<'_>) -> Result<()> {
    let dir = folder(place, side);
    fs::create_dir_all(&dir).with_context(|| format!("{} cannot be created", dir.display()))?;
    spec.qemu.push("-plugin".to_owned());
    spec.qemu.push(format!("{},out={}", plugin.display(), dir.join("windows").display()));
    spec.env.push(("PROFILE".to_owned(), "1".to_owned()));
    spec.results = Some(dir);
    Ok(())
}

fn folder(place: &Place, side: &str) -> PathBuf {
    place.out.join("profile").join(side)
}

/// What was counted in the last round of `workload`, in a guest that printed `output`.
pub fn read(place: &Place, side: &str, workload: &str, output: &str) -> Result<Profile> {
    let dir = folder(place, side);
    let text = |name: &str| -> Result<String> {
        let path = dir.join(name);
        fs::read_to_string(&path).with_context(|| format!("{} cannot be read", path.display()))
    };
    let names: Vec<_> = output.lines().filter_map(|line| line.strip_prefix("bench ")?.split(' ').next()).collect();
    let Some(last) = names.iter().rposition(|name| *name == workload) else {
        let known: BTreeSet<_> = names.into_iter().collect();
        bail!("--profile {workload} is none of the workloads that ran: {}", Vec::from_iter(known).join(", "));
    };
    let windows = text("windows")?;
    let Some(counts) = windows.split("window\n").nth(last + 1) else {
        bail!("{} has no window for {workload}: remove the folder and run it again", dir.join("windows").display());
    };
    Ok(by_function(counts, &symbols(&text("kallsyms")?)))
}

/// Address, function and module of what the kernel can run.
fn symbols(kallsyms: &str) -> BTreeMap<u64, (String, String)> {
    let mut all = BTreeMap::new();
    for line in kallsyms.lines() {
        if let [address, kind, name, module @ ..] = &line.split_whitespace().collect::<Vec<_>>()[..]
            && "tTwW".contains(kind)
            && let Ok(address) = u64::from_str_radix(address, 16)
        {
            let module = module.first().map_or("kernel", |module| module.trim_matches(['[', ']']));
            all.entry(address).or_insert_with(|| (module.to_owned(), format!("{:#}", rustc_demangle::demangle(name))));
        }
    }
    all
}

fn by_function(counts: &str, symbols: &BTreeMap<u64, (String, String)>) -> Profile {
    let mut profile = Profile::default();
    for line in counts.lines() {
        if let Some((address, count)) = line.split_once(' ')
            && let (Ok(address), Ok(count)) = (u64::from_str_radix(address, 16), count.parse::<u64>())
        {
            let function = symbols.range(..=address).next_back().map(|(_, function)| function.clone());
            let user = || (USER.to_owned(), String::new());
            *profile.0.entry(function.filter(|_| address != 0).unwrap_or_else(user)).or_default() += count;
        }
    }
    profile
}

/// Two tables, in thousands of instructions: by module, and by function.
pub fn report(workload: &str, sides: &BTreeMap<&str, Profile>) -> String {
    let mut modules = BTreeMap::<String, BTreeMap<&str, u64>>::new();
    let mut functions = modules.clone();
    for (side, profile) in sides {
        for ((module, function), count) in &profile.0 {
            for (table, name) in [(&mut modules, module.clone()), (&mut functions, format!("{module} {function}"))] {
                *table.entry(name).or_default().entry(side).or_default() += count;
            }
        }
    }
    let mut text = format!(
        "\n{workload}, its last round, in 10^3 instructions. Unlike the figures above, these have in them what runs while no task \
         does: the idle loop and its timers.\n"
    );
    for (title, table, shown) in [("module", modules, usize::MAX), ("function", functions, SHOWN)] {
        let heads: String = sides.keys().map(|side| format!(" {side} |")).collect();
        let _ = writeln!(text, "\n| {title} |{heads}\n|---|{}", "---|".repeat(sides.len()));
        let mut rows: Vec<_> = table.into_iter().collect();
        rows.sort_by_key(|(_, counts)| std::cmp::Reverse(counts.values().max().copied()));
        for (name, counts) in rows.into_iter().take(shown) {
            let cells =
                sides.keys().map(|side| format!(" {:.0} |", counts.get(side).copied().unwrap_or(0) as f64 / 1e3));
            let _ = writeln!(text, "| {} |{}", name.trim_end(), cells.collect::<String>());
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_belongs_to_the_function_before_it() {
        let symbols = symbols("ffff10 T alpha\nffff20 t beta\t[rext4]\nffff30 d data\n");
        let profile = by_function("ffff10 3\nffff18 4\nffff2f 5\n0 6\n", &symbols);
        let expected = [("kernel", "alpha", 7), ("rext4", "beta", 5), (USER, "", 6)];
        let expected = expected.map(|(module, name, count)| ((module.to_owned(), name.to_owned()), count));
        assert_eq!(profile.0, BTreeMap::from(expected));
        let text = report("mail", &BTreeMap::from([("rext4", profile)]));
        assert!(text.contains("| rext4 beta | 0 |"), "{text}");
    }

    #[test]
    fn the_plugin_compiles() {
        plugin(&Place::find(Path::new(env!("CARGO_MANIFEST_DIR"))).unwrap()).unwrap();
    }
}
