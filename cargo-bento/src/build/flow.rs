// SPDX-License-Identifier: GPL-2.0 OR MIT
//! What each function of the object does to control flow: whom it calls or jumps to, whether it can return, which
//! addresses it takes, where it would trap, and on which ways that can be reached. The checks and the recursion analysis
//! read this.

use std::collections::{BTreeMap, BTreeSet};

use bento::unwind::lsda;
use iced_x86::{Decoder, DecoderOptions, FlowControl, Instruction};

use super::elf::{Prelinked, Reloc, Target};
use super::unwind;

/// Functions of other objects that never return; the ABI header says so.
const NORETURN: [&str; 3] = ["bento_abandon", "bento_resume", "_Unwind_Resume"];

/// One function, decoded.
#[derive(Debug, Default)]
pub struct Flow {
    pub instructions: Vec<Instruction>,
    pub calls: BTreeSet<Callee>,
    /// Jumps that leave the function.
    pub tails: BTreeSet<Callee>,
    pub returns: bool,
    /// Starts of functions whose address it takes.
    pub taken: BTreeSet<u64>,
    /// Offsets of `ud2`.
    pub traps: Vec<u64>,
    /// Whatever its code points at or jumps to outside itself.
    pointed: BTreeSet<u64>,
    /// Into each instruction from others of the function.
    ways: BTreeMap<u64, Vec<Way>>,
    /// Where it is entered from outside: its start, and whatever a table or other code points at.
    entries: BTreeSet<u64>,
}

/// A way into an instruction.
#[derive(Debug, Clone, Copy)]
pub struct Way {
    pub from: Instruction,
    pub step: Step,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// It follows, or the jump goes there.
    Normal,
    /// The call panicked, and this is its landing pad.
    Unwind,
}

/// What an instruction on a way to a trap says about the trap.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// On this way it is all right.
    Excused,
    /// It is not.
    Guilty,
    /// What comes before must tell.
    Silent,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Callee {
    /// Start of a function in `.text`.
    Local(u64),
    Extern(String),
    Indirect,
}

/// The whole object; functions by their start.
#[derive(Debug)]
pub struct Program {
    pub flows: BTreeMap<u64, Flow>,
    pub noreturn: BTreeSet<u64>,
}

impl Program {
    pub fn read(object: &Prelinked) -> Program {
        let mut flows: BTreeMap<u64, Flow> =
            object.functions.iter().map(|function| (function.start, decode(object, function.start))).collect();
        ways(object, &mut flows);
        let noreturn = noreturn(&flows);
        Program { flows, noreturn }
    }

    pub fn never_returns(&self, callee: &Callee) -> bool {
        match callee {
            Callee::Local(start) => self.noreturn.contains(start),
            Callee::Extern(name) => NORETURN.contains(&name.as_str()),
            Callee::Indirect => false,
        }
    }

    /// Whether every way to `at`, in the function that begins at `start`, meets an instruction that excuses it before one
    /// that does not and before the function's entry. Loops are no ways of their own.
    pub fn every_way_to(&self, start: u64, at: u64, judge: &dyn Fn(&Way) -> Verdict) -> bool {
        let Some(flow) = self.flows.get(&start) else {
            return false;
        };
        let mut seen = BTreeSet::from([at]);
        let mut open = vec![at];
        while let Some(at) = open.pop() {
            // What nothing leads to is entered in a way not known here.
            let Some(ways) = flow.ways.get(&at).filter(|_| !flow.entries.contains(&at)) else {
                return false;
            };
            for way in ways {
                match judge(way) {
                    Verdict::Excused => {}
                    Verdict::Guilty => return false,
                    Verdict::Silent if seen.insert(way.from.ip()) => open.push(way.from.ip()),
                    Verdict::Silent => {}
                }
            }
        }
        true
    }

    /// Whether `at` only marks that calls before it do not come back.
    pub fn unreachable(&self, object: &Prelinked, start: u64, at: u64) -> bool {
        self.every_way_to(start, at, &|way| if self.ends(object, way) { Verdict::Excused } else { Verdict::Silent })
    }

    /// Whether nobody goes this way: it comes from a call that does not return.
    pub fn ends(&self, object: &Prelinked, way: &Way) -> bool {
        way.step == Step::Normal && is_call(&way.from) && self.never_returns(&callee(object, &way.from))
    }
}

pub fn is_call(instruction: &Instruction) -> bool {
    matches!(instruction.flow_control(), FlowControl::Call | FlowControl::IndirectCall)
}

fn decode(object: &Prelinked, start: u64) -> Flow {
    let mut flow = Flow::default();
    let Some(function) = object.function_at(start) else {
        return flow;
    };
    let inside = function.start..function.start + function.len;
    for instruction in Decoder::with_ip(64, object.code(function), start, DecoderOptions::NONE).iter() {
        match instruction.flow_control() {
            FlowControl::Call | FlowControl::IndirectCall => {
                flow.calls.insert(callee(object, &instruction));
            }
            FlowControl::UnconditionalBranch | FlowControl::ConditionalBranch | FlowControl::IndirectBranch => {
                match destination(object, &instruction) {
                    Destination::Return => flow.returns = true,
                    Destination::Text(at) if inside.contains(&at) => {}
                    out => {
                        if let Destination::Text(at) = out {
                            flow.pointed.insert(at);
                        }
                        flow.tails.insert(callee(object, &instruction));
                    }
                }
            }
            FlowControl::Return => flow.returns = true,
            FlowControl::Exception => flow.traps.push(instruction.ip()),
            _ => {
                if let Some(Target::Text(at)) = reloc(object, &instruction).map(|reloc| &reloc.target) {
                    flow.pointed.insert(*at);
                    if object.function_at(*at).is_some_and(|target| target.start == *at) {
                        flow.taken.insert(*at);
                    }
                }
            }
        }
        flow.instructions.push(instruction);
    }
    flow
}

enum Destination {
    Return,
    Text(u64),
    Extern(String),
    Unknown,
}

fn destination(object: &Prelinked, instruction: &Instruction) -> Destination {
    match reloc(object, instruction).map(|reloc| &reloc.target) {
        Some(Target::Extern(name)) if name == "__x86_return_thunk" => Destination::Return,
        Some(Target::Extern(name)) if name.starts_with("__x86_indirect_thunk") => Destination::Unknown,
        Some(Target::Extern(name)) => Destination::Extern(name.clone()),
        Some(Target::Text(at)) => Destination::Text(*at),
        Some(Target::Data(..)) => Destination::Unknown,
        None => match instruction.flow_control() {
            FlowControl::IndirectCall | FlowControl::IndirectBranch => Destination::Unknown,
            _ => Destination::Text(instruction.near_branch_target()),
        },
    }
}

/// Whom a call or a jump out of the function reaches.
pub fn callee(object: &Prelinked, instruction: &Instruction) -> Callee {
    match destination(object, instruction) {
        Destination::Text(at) => match object.function_at(at) {
            Some(function) => Callee::Local(function.start),
            None => Callee::Indirect,
        },
        Destination::Extern(name) => Callee::Extern(name),
        Destination::Return | Destination::Unknown => Callee::Indirect,
    }
}

/// Fills in how each instruction is reached.
fn ways(object: &Prelinked, flows: &mut BTreeMap<u64, Flow>) {
    let mut entries: BTreeSet<u64> = flows.keys().copied().collect();
    entries.extend(flows.values().flat_map(|flow| &flow.pointed));
    let tables = object.data_relocs.values().flat_map(BTreeMap::values);
    entries.extend(tables.filter_map(|reloc| if let Target::Text(at) = reloc.target { Some(at) } else { None }));
    // Tables that cannot be read are refused elsewhere. Without them nothing leads to a landing pad, which excuses nothing.
    let frames = unwind::frames(object).unwrap_or_default();
    for (start, flow) in flows {
        let end = flow.instructions.last().map_or(*start, Instruction::next_ip);
        flow.entries = entries.range(start..&end).copied().collect();
        let mut ways: BTreeMap<u64, Vec<Way>> = BTreeMap::new();
        let mut add = |to: u64, from: Instruction, step| ways.entry(to).or_default().push(Way { from, step });
        for instruction in &flow.instructions {
            let branches =
                matches!(instruction.flow_control(), FlowControl::UnconditionalBranch | FlowControl::ConditionalBranch);
            if branches && let Destination::Text(to) = destination(object, instruction) {
                add(to, *instruction, Step::Normal);
            }
            if !matches!(
                instruction.flow_control(),
                FlowControl::UnconditionalBranch
                    | FlowControl::IndirectBranch
                    | FlowControl::Return
                    | FlowControl::Exception
            ) {
                add(instruction.next_ip(), *instruction, Step::Normal);
            }
        }
        let table = frames.iter().find(|frame| frame.start == *start).and_then(|frame| frame.lsda.as_ref());
        let _ = table.map(|table| {
            lsda::for_each(table, |site, len, pad| {
                let covered = |call: &&Instruction| (site..site + len).contains(&(call.next_ip() - 1 - start));
                for call in flow.instructions.iter().filter(|call| pad != 0 && is_call(call)).filter(covered) {
                    add(start + pad, *call, Step::Unwind);
                }
            })
        });
        flow.ways = ways;
    }
}

fn reloc<'o>(object: &'o Prelinked, instruction: &Instruction) -> Option<&'o Reloc> {
    object.text_relocs.range(instruction.ip()..instruction.next_ip()).next().map(|(_, reloc)| reloc)
}

/// Starts from "nobody returns" and takes back what a return, or a jump to somebody who returns, disproves.
fn noreturn(flows: &BTreeMap<u64, Flow>) -> BTreeSet<u64> {
    let mut silent: BTreeSet<u64> = flows.iter().filter(|(_, flow)| !flow.returns).map(|(start, _)| *start).collect();
    loop {
        let before = silent.len();
        let kept = silent.iter().copied().filter(|start| {
            flows[start].tails.iter().all(|tail| match tail {
                Callee::Local(target) => silent.contains(target),
                Callee::Extern(name) => NORETURN.contains(&name.as_str()),
                Callee::Indirect => false,
            })
        });
        silent = kept.collect();
        if silent.len() == before {
            return silent;
        }
    }
}
