// SPDX-License-Identifier: GPL-2.0 OR MIT
//! `status`, `versions` and `state`.

use anyhow::{Result, bail};
use serde_json::{Map, Value, json};

use crate::acts::Last;
use crate::cbor;
use crate::layout::Layout;
use crate::mounts::{Door, Mount};
use crate::table::{self, row};

/// Attributes that are numbers.
const NUMBERS: [&str; 9] =
    ["version", "generation", "panics", "restarts", "restart_limit", "bad_values", "swaps", "sweep_left", "timeout_ms"];

pub fn status(mounts: &[Mount], json: bool) -> Result<bool> {
    let mut rows =
        vec![row(["MOUNT", "FS", "VERSION", "HEALTH", "PANICS", "RESTARTS", "SWAPS", "LAST PAUSE", "SERVED BY"])];
    let mut values = Vec::new();
    for mount in mounts {
        // One that ends meanwhile is left out.
        let (Ok(version), Ok(last)) = (mount.get("version"), Last::of(mount)) else { continue };
        let text = |name: &str| mount.try_get(name).unwrap_or_else(|| "?".to_owned());
        if json {
            let mut value = Map::new();
            value.insert("mountpoint".to_owned(), json!(mount.mountpoint));
            value.insert("fs".to_owned(), json!(mount.fs));
            value.insert("served_by".to_owned(), json!(mount.server()));
            for name in NUMBERS {
                let number = mount.try_get(name).and_then(|text| text.parse::<u64>().ok());
                value.insert(name.to_owned(), json!(number));
            }
            for name in ["health", "source", "gate"] {
                value.insert(name.to_owned(), json!(mount.try_get(name)));
            }
            value.insert("last_swap".to_owned(), last.json());
            values.push(Value::Object(value));
            continue;
        }
        let follow = match text("sweep_left").as_str() {
            "0" | "?" => String::new(),
            left => format!(" ({left} inodes follow)"),
        };
        rows.push(vec![
            mount.mountpoint.clone(),
            mount.fs.clone(),
            format!("{version}{follow}"),
            text("health"),
            text("panics"),
            text("restarts"),
            text("swaps"),
            table::time(text("pause_ns").parse().unwrap_or(0)),
            mount.server(),
        ]);
    }
    match (json, rows.len()) {
        (true, _) => println!("{:#}", Value::Array(values)),
        (false, 1) => println!("no bento file system is mounted"),
        (false, _) => table::print(&rows),
    }
    Ok(true)
}

pub fn versions(mounts: &[Mount], json: bool) -> Result<bool> {
    let mut rows = vec![row(["MOUNT", "FS", "VERSION", "", "FROM"])];
    let mut values = Vec::new();
    for mount in mounts {
        let Ok(now) = mount.version() else { continue };
        let default = match &mount.door {
            Door::Kernel(folder) => std::fs::read_to_string(folder.with_file_name("default")).ok(),
            Door::Daemon(_) => None,
        };
        let default = default.and_then(|text| text.trim().parse::<u32>().ok());
        for (number, place) in mount.versions()? {
            let mut marks = Vec::new();
            if number == now {
                marks.push("runs");
            }
            if Some(number) == default {
                marks.push("for new mounts");
            }
            values.push(json!({
                "mountpoint": mount.mountpoint, "fs": mount.fs, "version": number, "from": place,
                "runs": number == now, "default": Some(number) == default,
            }));
            rows.push(vec![mount.mountpoint.clone(), mount.fs.clone(), number.to_string(), marks.join(", "), place]);
        }
    }
    if json {
        println!("{:#}", Value::Array(values))
    } else {
        table::print(&rows)
    }
    Ok(true)
}

/// A snapshot of each, as an upgrade would take it.
pub fn state(mounts: &[Mount], json: bool) -> Result<bool> {
    let mut values = Vec::new();
    for mount in mounts {
        let before = Last::of(mount)?;
        if let Err(error) = mount.set("state", "1") {
            bail!("{}: {error:#}", mount.mountpoint);
        }
        if mount.is_kernel() {
            wait_for_snapshot(mount, before.seq)?;
        }
        let bytes = mount.state_bytes()?;
        let mut saved = cbor::Saved::parse(&bytes)?;
        // Cut off where types are many; the tags alone are readable too.
        if let Some(layout) = mount.try_get("layout").and_then(|text| Layout::of_instance(&text).ok()) {
            saved.state = layout.name(saved.state);
        }
        if json {
            values.push(json!({
                "mountpoint": mount.mountpoint, "fs": saved.name, "version": saved.version,
                "shape": format!("{:#018x}", saved.shape), "bytes": bytes.len(), "state": saved.state.json(),
            }));
            continue;
        }
        println!(
            "/ {}: {} version {}, shape {:#018x}, {} bytes /",
            mount.mountpoint,
            saved.name,
            saved.version,
            saved.shape,
            bytes.len()
        );
        println!("{}", saved.state.diagnostic(0));
    }
    if json {
        println!("{:#}", Value::Array(values));
    }
    Ok(true)
}

/// In the kernel a snapshot is queued work; it ends as an act does.
fn wait_for_snapshot(mount: &Mount, before: u64) -> Result<()> {
    for _ in 0..30_000 {
        let last = Last::of(mount)?;
        if last.seq > before {
            if !last.ok {
                bail!("{}: {}", mount.mountpoint, last.reason);
            }
            return Ok(());
        }
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
    bail!("{}: no snapshot after 30 s; see `dmesg`", mount.mountpoint)
}
