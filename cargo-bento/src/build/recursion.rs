// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Which functions can recurse, and where the stack check goes (SAFETY.md G6). A check costs a call, so only functions
//! on a cycle of the call graph get one, in the five-byte nop the compiler left at every entry; everything below the
//! last check needs a bounded number of bytes, computed here.

use std::collections::{BTreeMap, BTreeSet};

use super::elf::{Prelinked, Target, demangle};
use super::flow::{Callee, Program};
use crate::cli::Variant;

/// Length of the call to the check, and of the nop it replaces.
pub const ENTRY_NOP: u32 = 5;

/// The check: keeps every register, returns, or abandons the call when too little stack is left. In user space it has
/// another name because libc has an `mcount` of its own.
pub fn check(variant: Variant) -> &'static str {
    match variant {
        Variant::User => "bento_mcount",
        Variant::X86 | Variant::Uml | Variant::UmlKasan => "mcount",
    }
}

/// The nop LLVM emits for five bytes, after an optional `endbr64`.
const NOP: [u8; 5] = [0x0f, 0x1f, 0x44, 0x00, 0x08];
const ENDBR64: [u8; 4] = [0xf3, 0x0f, 0x1e, 0xfa];

/// A node of the call graph; `None` stands for "some function whose address is known".
type Node = Option<u64>;

/// Unchecked functions may use this much stack below a check; a longer chain gets one in its middle.
const CHAIN: u64 = 512;

/// What the analysis found.
#[derive(Debug)]
pub struct Recursion {
    /// Starts of functions on a cycle, or above a long chain.
    pub checked: BTreeSet<u64>,
    /// The unchecked chain of calls that needs most stack below one check.
    pub chain: Chain,
    /// The same for the report and the unwinding of a panic, which may begin at the end of any chain.
    pub panic: Chain,
}

/// Calls from the outermost in, and the bytes their frames take.
#[derive(Debug, Clone, Default)]
pub struct Chain {
    pub bytes: u64,
    pub functions: Vec<u64>,
}

/// Finds the cycles. `frames` holds each function's frame size.
pub fn analyse(object: &Prelinked, program: &Program, frames: &BTreeMap<u64, u64>) -> Recursion {
    let edges = edges(object, program);
    let exempt: BTreeSet<u64> = program.flows.keys().copied().filter(|start| is_panic(object, *start)).collect();
    let mut checked: BTreeSet<u64> =
        cyclic(&edges).into_iter().flatten().filter(|start| !exempt.contains(start)).collect();
    let authors: Vec<u64> = program.flows.keys().copied().filter(|start| !exempt.contains(start)).collect();
    loop {
        let stops = checked.union(&exempt).copied().collect();
        let mut depth = Depth { edges: &edges, stops: &stops, frames, known: BTreeMap::new() };
        let chains: Vec<Chain> = authors.iter().map(|start| depth.below(Some(*start), &mut BTreeSet::new())).collect();
        // The lowest function from which on a chain is too long; its own frame counts, so it may be one alone.
        let cut = chains.iter().filter_map(|chain| {
            let mut bytes = 0;
            chain.functions.iter().rev().find(|start| {
                bytes += frames.get(start).copied().unwrap_or(0) + 8;
                bytes > CHAIN && !checked.contains(start)
            })
        });
        let cut: BTreeSet<u64> = cut.copied().collect();
        if cut.is_empty() {
            let mut depth = Depth { edges: &edges, stops: &checked, frames, known: BTreeMap::new() };
            let panics = exempt.iter().map(|start| depth.below(Some(*start), &mut BTreeSet::new()));
            let panic = panics.max_by_key(|chain| chain.bytes).unwrap_or_default();
            let chain = chains.into_iter().max_by_key(|chain| chain.bytes).unwrap_or_default();
            return Recursion { checked, chain, panic };
        }
        checked.extend(cut);
    }
}

/// Where the call to the check goes in `start`: the offset of the nop.
pub fn nop_at(object: &Prelinked, start: u64) -> Option<u64> {
    let function = object.function_at(start)?;
    let code = object.code(function);
    let skip = if code.starts_with(&ENDBR64) { ENDBR64.len() } else { 0 };
    code.get(skip..skip + NOP.len()).filter(|bytes| **bytes == NOP).map(|_| start + skip as u64)
}

/// Calls, tail jumps, and through `None` every function whose address some code or table holds.
fn edges(object: &Prelinked, program: &Program) -> BTreeMap<Node, BTreeSet<Node>> {
    let mut edges: BTreeMap<Node, BTreeSet<Node>> = BTreeMap::new();
    let mut known = BTreeSet::new();
    for (start, flow) in &program.flows {
        known.extend(flow.taken.iter().copied());
        let out = edges.entry(Some(*start)).or_default();
        // What runs once somebody has panicked is no cycle of the author's: it comes back to nobody.
        let panic = is_panic(object, *start);
        for callee in flow.calls.iter().chain(&flow.tails) {
            match callee {
                Callee::Local(target) => out.insert(Some(*target)),
                Callee::Indirect => !panic && out.insert(None),
                Callee::Extern(_) => false,
            };
        }
    }
    for (section, relocs) in &object.data_relocs {
        if matches!(section.as_str(), ".eh_frame" | ".stack_sizes" | ".gcc_except_table") {
            continue;
        }
        for reloc in relocs.values() {
            if let Target::Text(at) = reloc.target {
                known.insert(at);
            }
        }
    }
    // The table of thunks is for the shim: Rust has no way to call through it.
    known.retain(|start| program.flows.contains_key(start) && !is_thunk(object, *start));
    edges.insert(None, known.into_iter().map(Some).collect());
    edges
}

/// What reports and unwinds a panic runs on the reserve that the check keeps free; a check there would cut it short.
fn is_panic(object: &Prelinked, start: u64) -> bool {
    const PATHS: [&str; 7] = [
        "core::panicking::",
        "bento::unwind::",
        "bento::contain::",
        "bento::host::",
        "bento::object::",
        "_Unwind_Resume",
        "__rustc::rust_begin_unwind",
    ];
    object.function_at(start).is_some_and(|function| {
        let name = demangle(&function.name);
        PATHS.iter().any(|path| name.trim_start_matches('<').starts_with(path))
    })
}

fn is_thunk(object: &Prelinked, start: u64) -> bool {
    object.function_at(start).is_some_and(|function| {
        let name = demangle(&function.name);
        name.contains("bento::thunk::")
    })
}

/// Nodes on a cycle, by Tarjan's algorithm without recursion of our own.
fn cyclic(edges: &BTreeMap<Node, BTreeSet<Node>>) -> Vec<Node> {
    struct State {
        index: usize,
        low: usize,
        on_stack: bool,
    }
    let mut states: BTreeMap<Node, State> = BTreeMap::new();
    let mut stack: Vec<Node> = Vec::new();
    let mut cyclic = Vec::new();
    let none = BTreeSet::new();
    for root in edges.keys() {
        if states.contains_key(root) {
            continue;
        }
        let mut work: Vec<(Node, Vec<Node>)> = Vec::new();
        let enter = |node: Node, states: &mut BTreeMap<Node, State>, stack: &mut Vec<Node>| {
            let index = states.len();
            states.insert(node, State { index, low: index, on_stack: true });
            stack.push(node);
            (node, edges.get(&node).unwrap_or(&none).iter().copied().collect::<Vec<_>>())
        };
        work.push(enter(*root, &mut states, &mut stack));
        while let Some((node, mut rest)) = work.pop() {
            if let Some(next) = rest.pop() {
                let seen = states.get(&next).map(|state| (state.index, state.on_stack));
                work.push((node, rest));
                match seen {
                    None => work.push(enter(next, &mut states, &mut stack)),
                    Some((index, true)) => lower(&mut states, node, index),
                    Some(_) => {}
                }
                continue;
            }
            let (index, low) = states.get(&node).map(|state| (state.index, state.low)).unwrap_or_default();
            if let Some((parent, _)) = work.last() {
                lower(&mut states, *parent, low);
            }
            if low == index {
                let at = stack.iter().rposition(|entry| *entry == node).unwrap_or_default();
                let component = stack.split_off(at);
                let itself = edges.get(&node).is_some_and(|out| out.contains(&node));
                for member in &component {
                    if let Some(state) = states.get_mut(member) {
                        state.on_stack = false;
                    }
                }
                if component.len() > 1 || itself {
                    cyclic.extend(component);
                }
            }
        }
        fn lower(states: &mut BTreeMap<Node, State>, node: Node, to: usize) {
            if let Some(state) = states.get_mut(&node) {
                state.low = state.low.min(to);
            }
        }
    }
    cyclic
}

/// Longest chain of frames that meets no stop.
struct Depth<'a> {
    edges: &'a BTreeMap<Node, BTreeSet<Node>>,
    stops: &'a BTreeSet<u64>,
    frames: &'a BTreeMap<u64, u64>,
    known: BTreeMap<Node, Chain>,
}

impl Depth<'_> {
    fn below(&mut self, node: Node, path: &mut BTreeSet<Node>) -> Chain {
        if let Some(known) = self.known.get(&node) {
            return known.clone();
        }
        if !path.insert(node) {
            return Chain::default();
        }
        let mut best = Chain::default();
        for next in self.edges.get(&node).into_iter().flatten() {
            if next.is_some_and(|start| self.stops.contains(&start)) {
                continue;
            }
            let below = self.below(*next, path);
            if below.bytes > best.bytes {
                best = below;
            }
        }
        path.remove(&node);
        if let Some(start) = node {
            // The frame and the return address above it.
            best.bytes += self.frames.get(&start).copied().unwrap_or(0) + 8;
            best.functions.insert(0, start);
        }
        self.known.insert(node, best.clone());
        best
    }
}
